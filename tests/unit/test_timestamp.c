/* test_timestamp.c - RFC 3339 both ways. */
#include "registry/core/timestamp.h"

#include "tests/support/unit.h"

#define S INT64_C(1000000)

static void test_timestamp_prints_what_is_needed(void **state)
{
    static const struct {
        int64_t us;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {1, "1970-01-01T00:00:00.000001Z"},
        {1500000, "1970-01-01T00:00:01.5Z"},
        {1772352930 * S, "2026-03-01T08:15:30Z"},
        {1772352930 * S + 120030, "2026-03-01T08:15:30.12003Z"},
        {1709164800 * S, "2024-02-29T00:00:00Z"},
        {-1, "1969-12-31T23:59:59.999999Z"},
        {INT64_MAX, "9999-12-31T23:59:59.775807Z"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char text[TIMESTAMP_MAX];
        assert_string_equal(timestamp_print(cases[i].us, text), cases[i].text);
    }
}

static void test_timestamp_reads_any_offset(void **state)
{
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2026-03-01T08:15:30Z", 1772352930 * S},
        {"2026-03-01t08:15:30.5z", 1772352930 * S + 500000},
        {"2026-03-01 08:15:30+00:00", 1772352930 * S},
        {"2026-03-01T10:15:30+02:00", 1772352930 * S},
        {"2026-03-01T02:45:30-05:30", 1772352930 * S},
        {"2026-03-01T08:15:30.1234569999Z", 1772352930 * S + 123456},
        {"2024-02-29T00:00:00Z", 1709164800 * S},
        {"2016-12-31T23:59:60Z", 1483228800 * S},
        {"9999-12-31T23:59:59Z", 253402300799 * S},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t us = -1;
        if (!timestamp_parse(slice_of(cases[i].text), &us) || us != cases[i].us)
            fail_msg("%s: %lld", cases[i].text, (long long)us);
    }
}

static void test_timestamp_refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "2026",
        "2026-03-01",
        "2026-03-01T08:15:30",
        "2026-03-01T08:15:30.Z",
        "2026-03-01T08:15Z",
        "2026-3-01T08:15:30Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-13-01T00:00:60Z",
        "2026-01-00T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T23:60:00Z",
        "2026-01-01T23:00:61Z",
        "2026-01-01T23:00:00+24:00",
        "2026-01-01T23:00:00+0100",
        "2026-01-01T23:00:00ZZ",
        " 2026-01-01T23:00:00Z",
        "2026-01-01x23:00:00Z",
        "+026-01-01T23:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:30:00+01:00",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        int64_t us;
        if (timestamp_parse(slice_of(cases[i]), &us))
            fail_msg("read: %s", cases[i]);
    }
}

static void test_timestamp_reads_what_it_printed(void **state)
{
    (void)state;
    for (int64_t us = 0; us < 250000000000 * S; us += 1234567890 * S + 987601) {
        char text[TIMESTAMP_MAX];
        int64_t back;
        assert_true(timestamp_parse(slice_of(timestamp_print(us, text)), &back));
        assert_true(back == us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timestamp_prints_what_is_needed),
        cmocka_unit_test(test_timestamp_reads_any_offset),
        cmocka_unit_test(test_timestamp_refuses),
        cmocka_unit_test(test_timestamp_reads_what_it_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

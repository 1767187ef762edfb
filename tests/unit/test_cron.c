/* test_cron.c - schedules: what is one, and when they come, in time zones with their gaps. */
#include <string.h>

#include "registry/core/cron.h"
#include "registry/core/timestamp.h"
#include "tests/support/unit.h"

static const char *shown(int64_t at, char out[TIMESTAMP_MAX])
{
    return at < 0 ? "never" : timestamp_print(at * 1000000, out);
}

static int64_t moment(const char *text)
{
    int64_t us = 0;

    assert_true(timestamp_parse(slice_of(text), &us));
    return us / 1000000;
}

static struct cron parsed(const char *text)
{
    struct cron cron;
    struct error err = {0};

    if (cron_parse(slice_of(text), &cron, &err) < 0)
        fail_msg("%s: %s", text, err.message);
    return cron;
}

struct next_case {
    const char *cron, *zone, *after, *next;
};

static void check_next(const struct next_case *test)
{
    OWNED(zone_drop) struct zone *zone = NULL;
    const struct cron cron = parsed(test->cron);
    char text[TIMESTAMP_MAX];
    struct error err = {0};

    if (zone_open(&zone, slice_of(test->zone), &err) < 0)
        fail_msg("%s", err.message);
    shown(cron_next(&cron, zone, moment(test->after)), text);
    if (strcmp(text, test->next) != 0)
        fail_msg("%s in %s after %s: %s, not %s", test->cron, test->zone, test->after, text,
                 test->next);
}

static void test_cron_next_by_fields(void **state)
{
    static const struct next_case cases[] = {
        {"* * * * *", "UTC", "2026-03-01T08:15:00Z", "2026-03-01T08:16:00Z"},
        {"* * * * *", "UTC", "2026-03-01T08:15:59Z", "2026-03-01T08:16:00Z"},
        {"30 3 * * *", "UTC", "2026-03-01T03:30:00Z", "2026-03-02T03:30:00Z"},
        {"30 3 * * *", "UTC", "2026-03-01T03:29:59.5Z", "2026-03-01T03:30:00Z"},
        {"*/20 * * * *", "UTC", "2026-03-01T08:40:00Z", "2026-03-01T09:00:00Z"},
        {"5-59/20 * * * *", "UTC", "2026-03-01T08:26:00Z", "2026-03-01T08:45:00Z"},
        {"0,30 8-10/2 * * *", "UTC", "2026-03-01T08:30:00Z", "2026-03-01T10:00:00Z"},
        {"59 23 31 12 *", "UTC", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"},
        {"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
        {"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"},
        {"0 0 31 * *", "UTC", "2026-03-31T00:00:00Z", "2026-05-31T00:00:00Z"},
        {"0 0 * jan,MAR *", "UTC", "2026-02-03T00:00:00Z", "2026-03-01T00:00:00Z"},
        /* weekdays: 2026-03-01 is a Sunday */
        {"0 0 * * 0", "UTC", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"},
        {"0 0 * * 7", "UTC", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"},
        {"0 0 * * Mon-fri", "UTC", "2026-02-27T00:00:00Z", "2026-03-02T00:00:00Z"},
        {"0 0 * * fri-sun", "UTC", "2026-02-28T00:00:00Z", "2026-03-01T00:00:00Z"},
        {"0 0 * * 1-7/6", "UTC", "2026-02-24T00:00:00Z", "2026-03-01T00:00:00Z"},
        /* both restricted: either; one of them with a star: both */
        {"0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", "2026-03-06T00:00:00Z"},
        {"0 0 13 * 5", "UTC", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"},
        {"0 0 4 * mon", "UTC", "2026-03-02T00:00:00Z", "2026-03-04T00:00:00Z"},
        {"0 0 */2 * mon", "UTC", "2026-03-01T00:00:00Z", "2026-03-09T00:00:00Z"},
        {"0 0 13 * */5", "UTC", "2026-01-01T00:00:00Z", "2026-02-13T00:00:00Z"},
        {"31 1 */7 7 5", "UTC", "2022-07-29T01:31:00Z", "2033-07-01T01:31:00Z"},
        {"@hourly", "UTC", "2026-03-01T08:15:00Z", "2026-03-01T09:00:00Z"},
        {"@daily", "UTC", "2026-03-01T08:15:00Z", "2026-03-02T00:00:00Z"},
        {" @midnight\t", "UTC", "2026-03-01T08:15:00Z", "2026-03-02T00:00:00Z"},
        {"@weekly", "UTC", "2026-03-01T08:15:00Z", "2026-03-08T00:00:00Z"},
        {"@monthly", "UTC", "2026-03-01T08:15:00Z", "2026-04-01T00:00:00Z"},
        {"@yearly", "UTC", "2026-03-01T08:15:00Z", "2027-01-01T00:00:00Z"},
        {"@annually", "UTC", "2026-03-01T08:15:00Z", "2027-01-01T00:00:00Z"},
        {"\t0  4 *\t* * ", "UTC", "2026-03-01T08:15:00Z", "2026-03-02T04:00:00Z"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        check_next(&cases[i]);
}

static void test_cron_next_in_zones(void **state)
{
    static const struct next_case cases[] = {
        {"30 3 * * *", "Europe/Berlin", "2026-01-10T00:00:00Z", "2026-01-10T02:30:00Z"},
        {"30 3 * * *", "Europe/Berlin", "2026-07-10T00:00:00Z", "2026-07-10T01:30:00Z"},
        {"0 0 1 * *", "Pacific/Kiritimati", "2026-03-30T00:00:00Z", "2026-03-31T10:00:00Z"},
        {"0 0 1 * *", "America/New_York", "2026-03-30T00:00:00Z", "2026-04-01T04:00:00Z"},
        {"15 5 * * *", "Asia/Kathmandu", "2026-03-01T00:00:00Z", "2026-03-01T23:30:00Z"},
        /* clocks leap from 02:00 to 03:00 */
        {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
        {"30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
        {"0,30 2 * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
        {"0 3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
        {"*/30 * * * *", "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z"},
        {"*/30 * * * *", "Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"},
        {"30 2 8 3 *", "America/New_York", "2026-03-01T00:00:00Z", "2026-03-08T07:00:00Z"},
        {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-03T15:30:00Z"},
        /* 02:00 to 03:00 comes twice */
        {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
        {"30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
        {"45 2 * * *", "Europe/Berlin", "2026-10-25T01:10:00Z", "2026-10-26T01:45:00Z"},
        {"0 3 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00Z"},
        {"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-04T14:45:00Z"},
        /* a whole day is left out */
        {"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "2011-12-30T10:00:00Z"},
        /* by the rule at the end of the file */
        {"30 3 * * *", "Europe/Berlin", "2080-07-10T00:00:00Z", "2080-07-10T01:30:00Z"},
        {"30 2 * * *", "Europe/Berlin", "2080-03-30T12:00:00Z", "2080-03-31T01:00:00Z"},
        {"0 12 * * *", "America/Santiago", "2090-01-10T00:00:00Z", "2090-01-10T15:00:00Z"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        check_next(&cases[i]);
}

/* Whatever the zone: after it, on the minute of its wall or where that leaps, and never skipping a
 * day. */
static void test_cron_next_of_every_day_is_a_day_later(void **state)
{
    static const char *const zones[] = {"Europe/Berlin", "America/St_Johns",    "Africa/Casablanca",
                                        "America/Nuuk",  "Australia/Lord_Howe", "UTC"};
    const struct cron cron = parsed("30 2 * * *");

    (void)state;
    for (size_t i = 0; i < LENGTH(zones); i++) {
        OWNED(zone_drop) struct zone *zone = NULL;
        struct error err = {0};
        assert_int_equal(zone_open(&zone, slice_of(zones[i]), &err), 0);
        int64_t at = moment("2019-12-31T00:00:00Z");
        for (int day = 0; day < 3000; day++) {
            int64_t next = cron_next(&cron, zone, at);
            assert_true(next > at && next <= at + 27 * 3600);
            assert_true(day == 0 || next >= at + 21 * 3600);
            at = next;
        }
    }
}

static void test_cron_parse_refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "*",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 0 *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "5-1 * * * *",
        "1-2-3 * * * *",
        "*/0 * * * *",
        "*/60 * * * *",
        "5/15 * * * *",
        "*/ * * * *",
        "1,,2 * * * *",
        ", * * * *",
        "1, * * * *",
        "a * * * *",
        "* * * janu *",
        "* * * * monday",
        "jan * * * *",
        "@reboot",
        "@",
        "0 0 30 2 *",
        "0 0 31 4,6,9 *",
        "0 0 31 feb *",
        "* * * * *\n",
        "1 2 3 4 5;",
        "** * * * *",
        "*5 * * * *",
        "+5 * * * *",
        "* * * * sat-mon",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct cron cron;
        struct error err = {0};
        if (cron_parse(slice_of(cases[i]), &cron, &err) == 0)
            fail_msg("accepted: %s", cases[i]);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_true(err.message[0] != 0);
    }
}

static void test_cron_parse_accepts_days_that_come_by_weekday(void **state)
{
    (void)state;
    parsed("0 0 30 2 mon"); /* either: Mondays of February */
    parsed("0 0 1-31/30 * *");
    parsed("0-59/59 0-23/23 1-31 1-12 0-7");
}

static void test_cron_parse_is_bounded(void **state)
{
    char text[CRON_TEXT_MAX + 16];
    struct cron cron;
    struct error err = {0};

    (void)state;
    memset(text, '1', sizeof(text));
    assert_int_equal(cron_parse((struct slice){text, sizeof(text)}, &cron, &err), -1);
    for (size_t i = 0; i + 1 < CRON_TEXT_MAX - 8; i++)
        text[i] = i % 2 == 0 ? '1' : ',';
    memcpy(text + CRON_TEXT_MAX - 10, "1 * * * *", 9);
    err = (struct error){0};
    assert_int_equal(cron_parse((struct slice){text, CRON_TEXT_MAX - 1}, &cron, &err), 0);
    assert_int_equal(cron.minutes, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cron_next_by_fields),
        cmocka_unit_test(test_cron_next_in_zones),
        cmocka_unit_test(test_cron_next_of_every_day_is_a_day_later),
        cmocka_unit_test(test_cron_parse_refuses),
        cmocka_unit_test(test_cron_parse_accepts_days_that_come_by_weekday),
        cmocka_unit_test(test_cron_parse_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

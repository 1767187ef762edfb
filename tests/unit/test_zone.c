/* test_zone.c - time zones, held against the C library's, and files that lie. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/zone.h"
#include "tests/support/unit.h"

static struct zone *opened(const char *name)
{
    struct zone *zone = NULL;
    struct error err = {0};

    if (zone_open(&zone, slice_of(name), &err) < 0)
        fail_msg("%s: %s", name, err.message);
    return zone;
}

/* What the C library says, which knows one zone at a time. */
static int32_t expected(int64_t at)
{
    time_t moment = (time_t)at;
    struct tm local;

    localtime_r(&moment, &local);
    return (int32_t)local.tm_gmtoff;
}

static void check_zone(const char *name)
{
    OWNED(zone_drop) struct zone *zone = opened(name);
    const int64_t from = -4000000000, to = 5600000000; /* 1843 to 2147 */
    const int64_t step = 86400 * 3 + 12345;

    setenv("TZ", name, 1);
    tzset();
    for (int64_t at = from, last = 0; at < to; at += step) {
        int32_t offset = zone_offset(zone, at);
        if (offset != expected(at))
            fail_msg("%s at %lld: %d, not %d", name, (long long)at, offset, expected(at));
        if (at > from && offset != zone_offset(zone, last)) { /* to the second */
            int64_t low = last, high = at;
            while (high - low > 1) {
                int64_t middle = low + (high - low) / 2;
                if (zone_offset(zone, middle) == zone_offset(zone, last))
                    low = middle;
                else
                    high = middle;
            }
            if (expected(low) != zone_offset(zone, low) ||
                expected(high) != zone_offset(zone, high))
                fail_msg("%s changes elsewhere than %lld", name, (long long)high);
        }
        last = at;
    }
}

static void test_zone_is_what_the_c_library_says(void **state)
{
    static const char *const names[] = {
        "Europe/Berlin",
        "Europe/London",
        "Europe/Dublin",
        "America/New_York",
        "America/Sao_Paulo",
        "America/Santiago",
        "America/Nuuk",
        "America/St_Johns",
        "Africa/Casablanca",
        "Africa/Cairo",
        "Asia/Kathmandu",
        "Asia/Tehran",
        "Asia/Gaza",
        "Asia/Tokyo",
        "Australia/Lord_Howe",
        "Australia/Sydney",
        "Pacific/Apia",
        "Pacific/Auckland",
        "Pacific/Kiritimati",
        "Antarctica/Troll",
        "Etc/GMT+12",
        "EST5EDT",
        "America/Argentina/Buenos_Aires",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(names); i++)
        check_zone(names[i]);
    unsetenv("TZ");
    tzset();
}

static void test_zone_of_the_machine(void **state)
{
    OWNED(zone_drop) struct zone *zone = opened("");

    (void)state;
    for (int64_t at = 1700000000; at < 1800000000; at += 1000000)
        assert_int_equal(zone_offset(zone, at), expected(at));
    assert_null(opened("UTC"));
    assert_int_equal(zone_offset(NULL, 1700000000), 0);
}

static void test_zone_open_refuses(void **state)
{
    static const char *const names[] = {
        "Europe", "Europe/Nowhere",  "../zoneinfo/UTC", "/etc/localtime",
        "/",      "Europe/../UTC",   "zone.tab",        "tzdata.zi",
        "a b",    "Europe/Berlin\n", "posix/",          "Europe/Berlin/x",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(names); i++) {
        struct zone *zone = NULL;
        struct error err = {0};
        if (zone_open(&zone, slice_of(names[i]), &err) == 0)
            fail_msg("accepted: %s", names[i]);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_null(zone);
    }
}

/* --- files --- */

enum { FILE_MAX = 512 };

/* A file without changes, with one type of `offset`, and a rule. */
static size_t file_of(char *out, int32_t offset, const char *rule)
{
    size_t size = 0;

    for (int block = 0; block < 2; block++) {
        memset(out + size, 0, 44);
        memcpy(out + size, "TZif2", 5);
        out[size + 20 + 4 * 4 + 3] = 1; /* types */
        out[size + 20 + 5 * 4 + 3] = 4; /* bytes of names */
        size += 44;
        for (int i = 0; i < 4; i++)
            out[size++] = (char)(offset >> (24 - 8 * i));
        memcpy(out + size, "\0\0ABC", 6);
        size += 6;
    }
    return size + (size_t)snprintf(out + size, FILE_MAX - size, "\n%s\n", rule);
}

struct rule_case {
    const char *rule;
    int64_t at;
    int32_t offset;
};

static void test_zone_rules(void **state)
{
    static const struct rule_case cases[] = {
        {"", 0, 60},
        {"UTC0", 0, 0},
        {"CET-1", 0, 3600},
        {"<-0330>3:30", 0, -12600},
        {"<+0530>-5:30:15", 0, 19815},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1774745999, 3600}, /* 2026-03-29T00:59:59Z */
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1774746000, 7200},
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1792889999, 7200}, /* 2026-10-25T00:59:59Z */
        {"CET-1CEST,M3.5.0,M10.5.0/3", 1792890000, 3600},
        {"A1", 0, 0},                                          /* malformed */
        {"AAA-1BBB-3,J60,J300", 1772323200 - 7200, 3600},      /* 2026-02-28T22:00Z */
        {"AAA-1BBB-3,J60,J300", 1772323200 + 3600, 10800},     /* J60: the first of March */
        {"AAA-1BBB-3,J60,J300", 1835481600 - 3600 * 23, 3600}, /* 2028-02-29 is not J60 */
        {"AAA-1BBB-3,J60,J300", 1835481600 + 3600, 10800},     /* 2028-03-01T01:00Z */
        {"AAA-1BBB-3,59,300", 1835395200 + 3600, 10800},       /* 59: 2028-02-29 */
        {"AAA0BBB,0/0,J365/25", 1782864000, 3600},             /* all the year */
        {"AAA0BBB,0/0,J365/25", 1767225600, 3600},             /* and at its turn */
        {"AAA10BBB,M10.1.0,M4.1.0/3", 1767225600, -32400},     /* south: summer over new year */
        {"AAA10BBB,M10.1.0,M4.1.0/3", 1782864000, -36000},
        {"AAA3BBB2,M3.4.0/-2,M10.5.0/-1", 1774137599, -10800}, /* 2026-03-21T23:59:59Z */
        {"AAA3BBB2,M3.4.0/-2,M10.5.0/-1", 1774141200, -7200},
    };
    char file[FILE_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        size_t size = file_of(file, 60, cases[i].rule);
        OWNED(zone_drop) struct zone *zone = zone_parse((struct slice){file, size});
        if (strcmp(cases[i].rule, "A1") == 0) {
            assert_null(zone);
            continue;
        }
        if (zone == NULL || zone_offset(zone, cases[i].at) != cases[i].offset)
            fail_msg("%s at %lld: %d, not %d", cases[i].rule, (long long)cases[i].at,
                     zone == NULL ? -1 : zone_offset(zone, cases[i].at), cases[i].offset);
    }
}

static void test_zone_parse_refuses_rules(void **state)
{
    static const char *const rules[] = {
        "C",
        "CET",
        "CET-25",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "<CET-1",
        "CET-1CEST,M0.1.0,J1",
        "CET-1CEST,M13.1.0,J1",
        "CET-1CEST,M3.6.0,J1",
        "CET-1CEST,M3.0.0,J1",
        "CET-1CEST,M3.5.7,J1",
        "CET-1CEST,J0,J1",
        "CET-1CEST,J366,J1",
        "CET-1CEST,366,1",
        "CET-1CEST,M3.5.0/168,J1",
        "CET-1CEST,J1,J2,J3",
        "CET-1:60",
        "CET-1x",
    };
    char file[FILE_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(rules); i++) {
        size_t size = file_of(file, 60, rules[i]);
        if (zone_parse((struct slice){file, size}) != NULL)
            fail_msg("accepted: %s", rules[i]);
    }
}

static void test_zone_parse_refuses_files_that_lie(void **state)
{
    char file[FILE_MAX];
    size_t size = file_of(file, 60, "UTC0");
    const size_t second = 44 + 10;

    (void)state;
    for (size_t cut = 0; cut < size; cut++)
        assert_null(zone_parse((struct slice){file, cut}));
    const struct {
        size_t at;
        char value;
    } lies[] = {
        {0, 'X'},
        {4, 1},
        {second, 'X'},
        {second + 20 + 8 + 3, 1},
        {second + 20 + 12, 1},
        {second + 20 + 12, -1},
        {second + 20 + 16 + 3, 0},
        {second + 20 + 16 + 3, 2},
        {second + 20 + 20 + 1, 1},
        {second + 44, 0x7f},
    };
    for (size_t i = 0; i < LENGTH(lies); i++) {
        char was = file[lies[i].at];
        file[lies[i].at] = lies[i].value;
        if (zone_parse((struct slice){file, size}) != NULL)
            fail_msg("accepted: %zu", i);
        file[lies[i].at] = was;
    }
    OWNED(zone_drop) struct zone *zone = zone_parse((struct slice){file, size});
    assert_non_null(zone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zone_is_what_the_c_library_says),
        cmocka_unit_test(test_zone_of_the_machine),
        cmocka_unit_test(test_zone_open_refuses),
        cmocka_unit_test(test_zone_rules),
        cmocka_unit_test(test_zone_parse_refuses_rules),
        cmocka_unit_test(test_zone_parse_refuses_files_that_lie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

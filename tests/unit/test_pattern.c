/* test_pattern.c - patterns of grants as sets of names. */
#include <stdlib.h>
#include <string.h>

#include "storage/pattern.h"
#include "tests/support/unit.h"

static const struct {
    const char *pattern;
    bool valid;
} grammar[] = {
    {"*", true},       {"a", true},        {"team/app", true}, {"team/*", true},
    {"a/b/c/*", true}, {"", false},        {"**", false},      {"/*", false},
    {"team*", false},  {"team/**", false}, {"team/*/", false}, {"*/app", false},
    {"Team/*", false}, {"team/", false},   {"a/*/b", false},   {"team/ *", false},
};

static void test_pattern_valid(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(grammar); i++)
        if (pattern_valid(slice_of(grammar[i].pattern)) != grammar[i].valid)
            fail_msg("%s", grammar[i].pattern);
}

static const struct {
    const char *pattern, *repository;
    bool covers;
} coverage[] = {
    {"*", "a", true},
    {"*", "team/app", true},
    {"team/app", "team/app", true},
    {"team/app", "team/app/x", false},
    {"team/app", "team/ap", false},
    {"team/*", "team/app", true},
    {"team/*", "team/a/b", true},
    {"team/*", "team", false},
    {"team/*", "team/", false}, /* no name, and nothing below it */
    {"team/*", "teams/app", false},
    {"team/*", "team-x/app", false},
    {"team/*", "other/team/app", false},
    {"team/a/*", "team/b", false},
};

static void test_pattern_covers(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(coverage); i++)
        if (pattern_covers(slice_of(coverage[i].pattern), slice_of(coverage[i].repository)) !=
            coverage[i].covers)
            fail_msg("%s on %s", coverage[i].pattern, coverage[i].repository);
}

static const struct {
    const char *inner, *outer;
    bool within;
} nesting[] = {
    {"*", "*", true},
    {"team/*", "*", true},
    {"a", "*", true},
    {"*", "team/*", false},
    {"*", "a", false},
    {"team/*", "team/*", true},
    {"team/a/*", "team/*", true},
    {"team/*", "team/a/*", false},
    {"team/a", "team/*", true},
    {"team", "team/*", false},
    {"team/*", "team", false},
    {"teams/*", "team/*", false},
    {"a", "a", true},
    {"a", "b", false},
    {"a/b", "a", false},
};

static void test_pattern_within(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(nesting); i++)
        if (pattern_within(slice_of(nesting[i].inner), slice_of(nesting[i].outer)) !=
            nesting[i].within)
            fail_msg("%s within %s", nesting[i].inner, nesting[i].outer);
}

static void expect_fold(const char *const *patterns, size_t count, const char *expected)
{
    OWNED(buffer_drop) struct buffer folded = BUFFER_NONE;
    struct slice items[8];

    for (size_t i = 0; i < count; i++)
        items[i] = slice_of(patterns[i]);
    count = pattern_fold(items, count);
    for (size_t i = 0; i < count; i++)
        buffer_print(&folded, "%.*s ", SLICE_ARG(items[i]));
    buffer_append(&folded, "", 1);
    assert_string_equal(folded.at, expected);
}

static void test_pattern_fold_keeps_disjoint_ones_in_order(void **state)
{
    const char *nested[] = {"a/b/c", "a/*", "a", "a/b/*", "a/*", "a-b/*", "b"};
    const char *all[] = {"a", "*", "b/*"};
    const char *alike[] = {"a0", "a/b", "a/*", "a.b", "a_b"};

    (void)state;
    expect_fold(NULL, 0, "");
    expect_fold(nested, LENGTH(nested), "a a-b/* a/* b ");
    expect_fold(all, LENGTH(all), "* ");
    expect_fold(alike, LENGTH(alike), "a.b a/* a0 a_b ");
}

/* The range holds a name exactly when the pattern covers it. */
static void test_pattern_range_is_what_it_covers(void **state)
{
    const char *const names[] = {"a",    "a-b",   "a.b",  "a/0",   "a/b", "a/b-c", "a/b/c",
                                 "a/z",  "a0",    "a0/b", "aa",    "a_b", "b",     "z",
                                 "a/b.", "zz/zz", "0",    "a/b/z", "a--b"};
    const char *const patterns[] = {"*", "a", "a/*", "a/b", "a/b/*", "zz/*", "0", "z"};

    (void)state;
    for (size_t i = 0; i < LENGTH(patterns); i++) {
        OWNED(buffer_drop) struct buffer from = BUFFER_NONE;
        OWNED(buffer_drop) struct buffer to = BUFFER_NONE;
        pattern_range(slice_of(patterns[i]), &from, &to);
        for (size_t j = 0; j < LENGTH(names); j++) {
            struct slice name = slice_of(names[j]);
            bool inside = slice_compare(buffer_slice(&from), name) <= 0 &&
                          slice_compare(name, buffer_slice(&to)) < 0;
            if (inside != pattern_covers(slice_of(patterns[i]), name))
                fail_msg("%s on %s", patterns[i], names[j]);
        }
    }
}

static void test_pattern_covering_gives_all_that_cover(void **state)
{
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;
    struct slice out[PATTERNS_COVERING_MAX];
    const char *const expected[] = {"*", "a/*", "a/bc/*", "a/bc/d"};
    char deepest[256];

    (void)state;
    assert_int_equal(pattern_covering(SLICE("a/bc/d"), &texts, out), LENGTH(expected));
    for (size_t i = 0; i < LENGTH(expected); i++) {
        assert_true(slice_equal_text(out[i], expected[i]));
        assert_true(pattern_covers(out[i], SLICE("a/bc/d")));
    }
    for (size_t i = 0; i < sizeof(deepest) - 1; i++)
        deepest[i] = i % 2 == 0 ? 'a' : '/';
    deepest[255] = 0;
    texts.size = 0;
    assert_int_equal(pattern_covering(slice_of(deepest), &texts, out), 129);
    assert_true(slice_equal_text(out[128], deepest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern_valid),
        cmocka_unit_test(test_pattern_covers),
        cmocka_unit_test(test_pattern_within),
        cmocka_unit_test(test_pattern_fold_keeps_disjoint_ones_in_order),
        cmocka_unit_test(test_pattern_range_is_what_it_covers),
        cmocka_unit_test(test_pattern_covering_gives_all_that_cover),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

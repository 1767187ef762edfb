/* test_repositories.c - settings of repositories, and lists through filters: what they show, that
 * pages join, and what they cost. */
#include "tests/support/accounts.h"
#include "tests/support/plans.h"

/* --- settings --- */

static void test_repositories_settings(void **state)
{
    struct fixture *fixture = *state;
    OWNED(repository_drop) struct repository found = {.id = 0};
    const bool yes = true;
    const struct slice text = SLICE("what it is");
    bool public = true;

    OK(repository_is_public(fixture->store, SLICE("new"), &public, &fixture->err));
    assert_false(public);
    FAILS(repository_find(fixture->store, SLICE("new"), &found, &fixture->err), ERROR_NOT_FOUND);
    GROWS(repository_create(fixture->store, SLICE("new"), false, SLICE_NONE, &an_event,
                            &fixture->err));
    REFUSES(
        repository_create(fixture->store, SLICE("new"), true, SLICE_NONE, &an_event, &fixture->err),
        ERROR_CONFLICT);
    STAYS(repository_update(fixture->store, SLICE("new"),
                            &(struct repository_change){.description = &text, .if_version = 1},
                            &an_event, &fixture->err));
    REFUSES(repository_update(fixture->store, SLICE("new"),
                              &(struct repository_change){.public = &yes, .if_version = 1},
                              &an_event, &fixture->err),
            ERROR_PRECONDITION);
    REFUSES(repository_update(fixture->store, SLICE("none"),
                              &(struct repository_change){.public = &yes}, &an_event,
                              &fixture->err),
            ERROR_NOT_FOUND);
    GROWS(repository_update(fixture->store, SLICE("new"),
                            &(struct repository_change){.public = &yes}, &an_event, &fixture->err));
    OK(repository_is_public(fixture->store, SLICE("new"), &public, &fixture->err));
    assert_true(public);
    OK(repository_find(fixture->store, SLICE("new"), &found, &fixture->err));
    assert_string_equal(found.name, "new");
    assert_string_equal(found.description, "what it is");
    assert_true(found.public && found.created_at > 0);
    assert_int_equal(found.version, 3);
    assert_int_equal(found.tags, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 3);
}

/* --- lists through filters --- */

static const char *const names[] = {"a",      "a-b",    "a/b",      "a/b/c", "a/d",  "a0",
                                    "b",      "b/x",    "c/public", "d",     "team", "team-x/a",
                                    "team/a", "team/b", "team/c/d", "teams", "z",    "z/public"};

/* Those with "public" in the name are; all have had a manifest but "d". */
static void names_fill(struct fixture *fixture)
{
    OWNED(buffer_drop) struct buffer sql = BUFFER_NONE;

    buffer_append_text(&sql, "");
    for (size_t i = 0; i < LENGTH(names); i++)
        buffer_print(&sql,
                     "INSERT INTO repositories(name, created_at, first_manifest_at, public)"
                     " VALUES ('%s', 1, %s, %d);",
                     names[i], strcmp(names[i], "d") == 0 ? "NULL" : "1",
                     strstr(names[i], "public") != NULL);
    script(fixture, sql.at);
}

struct shown {
    const char *patterns[6];
    bool public;
};

static bool is_shown(const struct shown *shown, const char *name)
{
    for (size_t i = 0; shown->patterns[i] != NULL; i++)
        if (pattern_covers(slice_of(shown->patterns[i]), slice_of(name)))
            return true;
    return shown->public && strstr(name, "public") != NULL;
}

static struct repository_filter filter_of(const struct shown *shown, struct slice *patterns)
{
    size_t count = 0;

    for (; shown->patterns[count] != NULL; count++)
        patterns[count] = slice_of(shown->patterns[count]);
    return (struct repository_filter){
        .public = shown->public, .patterns = patterns, .pattern_count = count};
}

/* Walks the pages: exactly what the filter shows, each once, in order. */
static void expect_walk(struct fixture *fixture, const struct shown *shown, bool catalogue,
                        size_t limit)
{
    struct slice patterns[6];
    const struct repository_filter filter = filter_of(shown, patterns);
    char last[256] = "";
    size_t at = 0;
    bool more = true;

    while (more) {
        OWNED(page_drop) struct page page = {.names = NULL};
        OWNED(repository_page_drop) struct repository_page settings = {.items = NULL};
        if (catalogue)
            OK(storage_repository_list(fixture->store, slice_of(last), &filter, limit, &page,
                                       &fixture->err));
        else
            OK(repository_settings_list(fixture->store, slice_of(last), SLICE_NONE, &filter, limit,
                                        &settings, &fixture->err));
        size_t count = catalogue ? page.count : settings.count;
        more = catalogue ? page.more : settings.more;
        assert_true(count <= limit && (count == limit || !more));
        for (size_t i = 0; i < count; i++, at++) {
            const char *name = catalogue ? page.names[i] : settings.items[i].name;
            while (at < LENGTH(names) &&
                   (!is_shown(shown, names[at]) || (catalogue && strcmp(names[at], "d") == 0)))
                at++;
            assert_true(at < LENGTH(names));
            assert_string_equal(name, names[at]);
            assert_true(slice_to_text(slice_of(name), last, sizeof(last)));
        }
    }
    for (; at < LENGTH(names); at++)
        assert_false(is_shown(shown, names[at]) && !(catalogue && strcmp(names[at], "d") == 0));
}

static const struct shown filters[] = {
    {{NULL}, false},
    {{NULL}, true},
    {{"*"}, false},
    {{"*"}, true},
    {{"a"}, false},
    {{"a/*"}, true},
    {{"team/*", "a/*", "team/a", "team/c/*"}, false},
    {{"team/*", "a/*", "team/a", "b"}, true},
    {{"c/public", "c/*", "z/*"}, true},
    {{"none", "none/*", "zz/*", "d"}, false},
    {{"z", "a", "*", "b/*"}, true},
};

/* CAT-02 */
static void test_repositories_filters_show_exactly_theirs(void **state)
{
    const size_t limits[] = {1, 2, 3, 100};

    names_fill(*state);
    for (size_t i = 0; i < LENGTH(filters); i++)
        for (size_t j = 0; j < LENGTH(limits); j++) {
            expect_walk(*state, &filters[i], true, limits[j]);
            expect_walk(*state, &filters[i], false, limits[j]);
        }
}

static void test_repositories_page_says_whether_more_follow(void **state)
{
    struct fixture *fixture = *state;
    const struct slice team = SLICE("team/*");
    const struct repository_filter filter = {.patterns = &team, .pattern_count = 1};
    const struct repository_filter all = {.all = true};
    OWNED(page_drop) struct page page = {.names = NULL};

    names_fill(fixture);
    OK(storage_repository_list(fixture->store, SLICE_NONE, &filter, 3, &page, &fixture->err));
    assert_true(page.count == 3 && !page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE_NONE, &filter, 2, &page, &fixture->err));
    assert_true(page.count == 2 && page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE_NONE, &filter, 0, &page, &fixture->err));
    assert_true(page.count == 0 && page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE("team/a"), &filter, SIZE_MAX, &page,
                               &fixture->err));
    assert_true(page.count == 2 && !page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE("~~"), &all, 9, &page, &fixture->err));
    assert_true(page.count == 0 && !page.more);
    page_drop(&page);
    OK(storage_repository_list(fixture->store, SLICE_NONE, NULL, 100, &page, &fixture->err));
    assert_int_equal(page.count, LENGTH(names) - 1);
}

static void test_repositories_are_searched_within_the_filter(void **state)
{
    struct fixture *fixture = *state;
    const struct slice team = SLICE("team/*");
    const struct repository_filter filter = {.public = true, .patterns = &team, .pattern_count = 1};
    OWNED(repository_page_drop) struct repository_page page = {.items = NULL};

    names_fill(fixture);
    push_text(fixture, "one", "v1"); /* team/app */
    push_text(fixture, "one", "v2");
    OK(repository_settings_list(fixture->store, SLICE_NONE, SLICE("A"), &filter, 2, &page,
                                &fixture->err));
    assert_int_equal(page.count, 2);
    assert_string_equal(page.items[0].name, "team/a");
    assert_string_equal(page.items[1].name, "team/app");
    assert_int_equal(page.items[0].tags, 0);
    assert_int_equal(page.items[1].tags, 2);
    assert_true(page.more); /* "a" is in team/b as well */
    repository_page_drop(&page);
    OK(repository_settings_list(fixture->store, SLICE_NONE, SLICE("public"), &filter, 9, &page,
                                &fixture->err));
    assert_int_equal(page.count, 2);
    assert_true(page.items[0].public && page.items[1].public);
}

/* --- cost --- */

/* What SQLite's machine does for a page of each list, for a caller who sees few. */
static uint64_t lists_steps(struct fixture *fixture)
{
    const struct slice patterns[] = {SLICE("mine/*"), SLICE("n500"), SLICE("none/*")};
    const struct repository_filter filter = {
        .public = true, .patterns = patterns, .pattern_count = LENGTH(patterns)};
    OWNED(page_drop) struct page page = {.names = NULL};
    OWNED(repository_page_drop) struct repository_page settings = {.items = NULL};
    uint64_t before = atomic_load(&machine_steps);

    OK(storage_repository_list(fixture->store, SLICE("m"), &filter, 100, &page, &fixture->err));
    OK(repository_settings_list(fixture->store, SLICE("m"), SLICE_NONE, &filter, 100, &settings,
                                &fixture->err));
    assert_int_equal(page.count, 4);
    assert_int_equal(settings.count, 4);
    return atomic_load(&machine_steps) - before;
}

static void test_repositories_page_costs_what_it_shows(void **state)
{
    struct fixture *fixture = *state;

    script(fixture, "INSERT INTO repositories(name, created_at, first_manifest_at, public)"
                    " VALUES ('mine/a', 1, 1, 0), ('mine/b', 1, 1, 0), ('n500', 1, 1, 0),"
                    "        ('public', 1, 1, 1), ('a/public', 1, 1, 1)");
    uint64_t few = lists_steps(fixture);
    script(fixture,
           "WITH RECURSIVE n(i) AS (SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
           "INSERT INTO repositories(name, created_at, first_manifest_at)"
           " SELECT 'n' || i, 1, 1 FROM n");
    assert_true(few > 20);
    assert_int_equal(lists_steps(fixture), few);
}

/* Runs last: statements of the tests above. */
static void test_repositories_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_repositories_settings),
        FIXTURE_TEST(test_repositories_filters_show_exactly_theirs),
        FIXTURE_TEST(test_repositories_page_says_whether_more_follow),
        FIXTURE_TEST(test_repositories_are_searched_within_the_filter),
        FIXTURE_TEST(test_repositories_page_costs_what_it_shows),
        FIXTURE_TEST(test_repositories_no_statement_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

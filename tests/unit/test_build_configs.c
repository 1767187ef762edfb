/* test_build_configs.c - how repositories are built: written with versions, found by their
 * webhooks; secrets that nobody lists. */
#include "tests/support/plans.h"

#include "storage/builds.h"

static const struct audit_event event = {.actor = {"ana", 3},
                                         .actor_id = 7,
                                         .action = {"build.configure", 15},
                                         .target = {"repository/team/app", 19},
                                         .outcome = {"done", 4}};

static int try_put(struct fixture *fixture, const char *repository, const char *spec,
                   int64_t if_version, struct build_config *out, bool *created)
{
    const struct build_config_change change = {.repository = slice_of(repository),
                                               .spec = slice_of(spec),
                                               .if_version = if_version,
                                               .event = &event};

    fixture->err = (struct error){0};
    return build_config_put(fixture->store, &change, out, created, &fixture->err);
}

static int64_t put(struct fixture *fixture, const char *repository)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    bool created;

    assert_int_equal(try_put(fixture, repository, "{}", 0, &config, &created), 0);
    return config.id;
}

/* --- configurations --- */

static void test_build_configs_are_made_then_changed(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_config_drop) struct build_config first = {.id = 0};
    OWNED(build_config_drop) struct build_config second = {.id = 0};
    bool created = false;

    assert_int_equal(try_put(fixture, "team/app", "{\"a\":1}", -1, &first, &created), 0);
    assert_true(created);
    assert_int_equal(first.version, 1);
    assert_string_equal(first.repository, "team/app");
    assert_string_equal(first.spec, "{\"a\":1}");
    assert_int_equal(strlen(first.hook), 32);
    assert_int_equal(try_put(fixture, "team/app", "{\"a\":2}", 1, &second, &created), 0);
    assert_false(created);
    assert_int_equal(second.id, first.id);
    assert_int_equal(second.version, 2);
    assert_string_equal(second.spec, "{\"a\":2}");
    assert_string_equal(second.hook, first.hook); /* made once */
    assert_int_equal(second.created_at, first.created_at);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 2);
}

/* Whoever changes it says how far what starts by itself may reach. */
static void test_build_configs_keep_the_reach_of_who_set_them_last(void **state)
{
    struct fixture *fixture = *state;
    struct build_config_change change = {.repository = SLICE("team/app"),
                                         .spec = SLICE("{}"),
                                         .reach = "repository:team/app:pull,push"};
    const char *const reaches[] = {change.reach, NULL, "repository:other:*"};

    for (size_t i = 0; i < LENGTH(reaches); i++) {
        OWNED(build_config_drop) struct build_config config = {.id = 0}, found = {.id = 0};
        bool created;
        change.reach = reaches[i];
        OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
        OK(build_config_find(fixture->store, change.repository, &found, &fixture->err));
        for (size_t k = 0; k < 2; k++) {
            const char *reach = k == 0 ? config.reach : found.reach;
            if (reaches[i] == NULL)
                assert_null(reach);
            else
                assert_string_equal(reach, reaches[i]);
        }
    }
}

static void test_build_configs_versions_are_asked_for(void **state)
{
    const struct {
        const char *repository;
        int64_t if_version;
        enum error_code code;
    } cases[] = {
        {"team/app", -1, ERROR_PRECONDITION}, /* it is there */
        {"team/app", 2, ERROR_PRECONDITION},
        {"team/new", 1, ERROR_NOT_FOUND},
    };
    struct fixture *fixture = *state;
    struct build_config config;
    bool created;

    put(fixture, "team/app");
    for (size_t i = 0; i < LENGTH(cases); i++) {
        assert_int_equal(try_put(fixture, cases[i].repository, "{\"no\":1}", cases[i].if_version,
                                 &config, &created),
                         -1);
        assert_int_equal(fixture->err.code, cases[i].code);
    }
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_configs WHERE spec = '{}'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 1);
}

static void test_build_configs_are_found_by_name_and_hook(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    OWNED(build_config_drop) struct build_config same = {.id = 0};
    struct build_config none;

    put(fixture, "other");
    put(fixture, "team/app");
    OK(build_config_find(fixture->store, REPOSITORY, &config, &fixture->err));
    OK(build_config_by_hook(fixture->store, slice_of(config.hook), &same, &fixture->err));
    assert_int_equal(same.id, config.id);
    FAILS(build_config_find(fixture->store, SLICE("team"), &none, &fixture->err), ERROR_NOT_FOUND);
    FAILS(build_config_by_hook(fixture->store, SLICE("team/app"), &none, &fixture->err),
          ERROR_NOT_FOUND);
}

static void test_build_configs_go_with_all_they_hold(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = put(fixture, "team/app");
    const struct build_delivery_new delivery = {
        .config = id, .sender = SLICE("github"), .id = SLICE("d1")};

    OK(build_secret_put(fixture->store, id, BUILD_SECRET_HOOK, SLICE("s"), SLICE("v"), NULL,
                        &fixture->err));
    OK(build_delivery_put(fixture->store, &delivery, SLICE("ignored"), &fixture->err));
    FAILS(build_config_delete(fixture->store, REPOSITORY, 9, &event, &fixture->err),
          ERROR_PRECONDITION);
    OK(build_config_delete(fixture->store, REPOSITORY, 1, &event, &fixture->err));
    FAILS(build_config_delete(fixture->store, REPOSITORY, 0, &event, &fixture->err),
          ERROR_NOT_FOUND);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_secrets"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_deliveries"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 2);
}

static void listed(struct fixture *fixture, const char *last,
                   const struct repository_filter *visible, size_t limit, const char *names,
                   bool more)
{
    OWNED(build_config_page_drop) struct build_config_page page = {.items = NULL};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    OK(build_config_list(fixture->store, slice_of(last), visible, limit, &page, &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&text, "%s ", page.items[i].repository);
    buffer_append(&text, "", 1);
    assert_string_equal(text.at, names);
    assert_int_equal(page.more, more);
}

static void test_build_configs_are_listed_to_who_may_see_them(void **state)
{
    struct fixture *fixture = *state;
    const struct slice patterns[] = {SLICE("b/*"), SLICE("d")};
    const struct repository_filter mine = {.patterns = patterns, .pattern_count = 2};
    const struct repository_filter mine_and_public = {
        .public = true, .patterns = patterns, .pattern_count = 2};
    const struct repository_filter all = {.all = true}, none = {.all = false};

    put(fixture, "d");
    put(fixture, "a");
    put(fixture, "b/x");
    put(fixture, "c");
    OK(repository_create(fixture->store, SLICE("c"), true, SLICE(""), NULL, &fixture->err));
    script(fixture, "UPDATE build_configs SET repository = '~9' WHERE repository = 'a'");
    listed(fixture, "", NULL, 10, "b/x c d ", false); /* what is set aside is seen by nobody */
    listed(fixture, "", &all, 2, "b/x c ", true);
    listed(fixture, "c", &all, 2, "d ", false);
    listed(fixture, "", &mine, 10, "b/x d ", false);
    listed(fixture, "", &mine, 1, "b/x ", true);
    listed(fixture, "", &mine_and_public, 10, "b/x c d ", false);
    listed(fixture, "", &none, 10, "", false);
}

/* --- secrets --- */

static int secret_put(struct fixture *fixture, int64_t config, enum build_secret_kind kind,
                      const char *name, struct slice value)
{
    fixture->err = (struct error){0};
    return build_secret_put(fixture->store, config, kind, slice_of(name), value, &event,
                            &fixture->err);
}

static void test_build_secrets_are_listed_without_their_values(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = put(fixture, "team/app");
    OWNED(build_secrets_drop) struct build_secrets names = {.items = NULL};
    OWNED(build_secrets_drop) struct build_secrets values = {.items = NULL};

    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, "b", SLICE("old")), 0);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, "b", SLICE("new word")), 0);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, "a", SLICE("x")), 0);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_HOOK, "c", SLICE("y")), 0);
    OK(build_secret_list(fixture->store, id, BUILD_SECRET_FILE, false, &names, &fixture->err));
    OK(build_secret_list(fixture->store, id, BUILD_SECRET_FILE, true, &values, &fixture->err));
    assert_int_equal(names.count, 2);
    assert_int_equal(values.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(names.items[i].name, i == 0 ? "a" : "b");
        assert_null(names.items[i].value);
        assert_true(names.items[i].created_at > 0);
    }
    assert_string_equal(values.items[1].value, "new word");
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"
                                     " WHERE detail LIKE '%word%' OR target LIKE '%word%'"),
                     0);
}

static void test_build_secrets_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = put(fixture, "team/app");
    OWNED(memory_drop) char *big = memory_new(BUILD_SECRET_SIZE_MAX + 1);
    char name[16];

    memset(big, 'x', BUILD_SECRET_SIZE_MAX + 1);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, "big",
                                (struct slice){big, BUILD_SECRET_SIZE_MAX + 1}),
                     -1);
    assert_int_equal(fixture->err.code, ERROR_INVALID);
    assert_string_equal(fixture->err.field, "value");
    for (int i = 0; i <= BUILD_SECRETS_MAX; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, name,
                                    (struct slice){big, BUILD_SECRET_SIZE_MAX}),
                         i < BUILD_SECRETS_MAX ? 0 : -1);
    }
    assert_int_equal(fixture->err.code, ERROR_CONFLICT);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_FILE, "s0", SLICE("again")), 0);
    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_HOOK, "other", SLICE("kind")), 0);
    assert_int_equal(secret_put(fixture, id + 1, BUILD_SECRET_HOOK, "no", SLICE("config")), -1);
    assert_int_equal(fixture->err.code, ERROR_NOT_FOUND);
}

static void test_build_secrets_are_deleted_by_kind_and_name(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = put(fixture, "team/app");

    assert_int_equal(secret_put(fixture, id, BUILD_SECRET_HOOK, "s", SLICE("v")), 0);
    FAILS(build_secret_delete(fixture->store, id, BUILD_SECRET_FILE, SLICE("s"), &event,
                              &fixture->err),
          ERROR_NOT_FOUND);
    OK(build_secret_delete(fixture->store, id, BUILD_SECRET_HOOK, SLICE("s"), &event,
                           &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_secrets"), 0);
}

/* Runs last: statements of the tests above. */
static void test_build_configs_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_build_configs_are_made_then_changed),
        FIXTURE_TEST(test_build_configs_keep_the_reach_of_who_set_them_last),
        FIXTURE_TEST(test_build_configs_versions_are_asked_for),
        FIXTURE_TEST(test_build_configs_are_found_by_name_and_hook),
        FIXTURE_TEST(test_build_configs_go_with_all_they_hold),
        FIXTURE_TEST(test_build_configs_are_listed_to_who_may_see_them),
        FIXTURE_TEST(test_build_secrets_are_listed_without_their_values),
        FIXTURE_TEST(test_build_secrets_are_bounded),
        FIXTURE_TEST(test_build_secrets_are_deleted_by_kind_and_name),
        FIXTURE_TEST(test_build_configs_no_statement_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_accounts.c - accounts and grants through accounts.h, over the real database; the migration
 * that brings them, and the plan of every statement that ran on the way. */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/support/accounts.h"
#include "tests/support/plans.h"

/* The next sync fails: in the place of the library's. */
static atomic_int sync_fails;

int fdatasync(int fd)
{
    if (atomic_exchange(&sync_fails, 0) == 0)
        return (int)syscall(SYS_fdatasync, fd);
    errno = EIO;
    return -1;
}

static int64_t in_an_hour(void)
{
    return clock_now_us() + 3600ll * 1000000;
}

/* --- accounts --- */

static void test_accounts_are_found_as_created(void **state)
{
    struct fixture *fixture = *state;
    OWNED(account_drop) struct account found = {.id = 0};
    struct account ana = {.name = (char[]){"ana"},
                          .kind = ACCOUNT_USER,
                          .role = ACCOUNT_ROLE_AUDITOR,
                          .description = (char[]){"Ana of the team"},
                          .password_hash = (char[]){"$y$hash"},
                          .expires_at = in_an_hour()};
    int64_t before = clock_now_us();

    GROWS(account_create(fixture->store, &ana, false, &an_event, &fixture->err));
    assert_true(ana.id > 0 && ana.created_at >= before && ana.password_at == ana.created_at);
    assert_int_equal(ana.version, 1);
    fixture_reopen(fixture);
    OK(account_find(fixture->store, SLICE("ana"), &found, &fixture->err));
    assert_int_equal(found.id, ana.id);
    assert_string_equal(found.name, "ana");
    assert_int_equal(found.kind, ACCOUNT_USER);
    assert_int_equal(found.role, ACCOUNT_ROLE_AUDITOR);
    assert_string_equal(found.description, "Ana of the team");
    assert_string_equal(found.password_hash, "$y$hash");
    assert_int_equal(found.password_at, ana.password_at);
    assert_int_equal(found.expires_at, ana.expires_at);
    assert_false(found.external || found.disabled);
    assert_int_equal(found.last_login_at, 0);
    account_drop(&found);
    OK(account_find_id(fixture->store, ana.id, &found, &fixture->err));
    assert_string_equal(found.name, "ana");
    account_drop(&found);
    FAILS(account_find(fixture->store, SLICE("an"), &found, &fixture->err), ERROR_NOT_FOUND);
    FAILS(account_find(fixture->store, SLICE_NONE, &found, &fixture->err), ERROR_NOT_FOUND);
    FAILS(account_find_id(fixture->store, ana.id + 1, &found, &fixture->err), ERROR_NOT_FOUND);
}

static void test_accounts_share_one_space_of_names(void **state)
{
    struct fixture *fixture = *state;
    struct account robot = {.name = (char[]){"ana"}, .kind = ACCOUNT_ROBOT};

    user_new(fixture, "ana");
    REFUSES(account_create(fixture->store, &robot, false, &an_event, &fixture->err),
            ERROR_CONFLICT);
    assert_int_equal(number(fixture, "SELECT count(*) FROM accounts"), 1);
}

/* accounts.h (1) */
static void test_accounts_changes_are_audited(void **state)
{
    struct fixture *fixture = *state;
    OWNED(audit_page_drop) struct audit_page page = {.items = NULL};

    user_new(fixture, "ana");
    OK(audit_list(fixture->store, &(struct audit_query){.limit = 9}, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    const struct audit_record *record = &page.items[0];
    assert_true(record->at > 0 && record->at <= clock_now_us());
    assert_string_equal(record->actor, "root");
    assert_int_equal(record->actor_id, 7);
    assert_string_equal(record->action, "test.done");
    assert_string_equal(record->target, "user/ana");
    assert_string_equal(record->outcome, "done");
    assert_string_equal(record->remote, "192.0.2.1");
    assert_string_equal(record->request_id, "r-1");
    assert_string_equal(record->detail, "{\"a\":1}");
    assert_int_equal(record->repeats, 1);
}

static int update(struct fixture *fixture, const char *name, struct account_change change)
{
    fixture->err = (struct error){0};
    return account_update(fixture->store, ACCOUNT_USER, slice_of(name), &change, &an_event,
                          &fixture->err);
}

static void test_accounts_update_changes_what_is_named(void **state)
{
    struct fixture *fixture = *state;
    OWNED(account_drop) struct account found = {.id = 0};
    const enum account_role role = ACCOUNT_ROLE_OPERATOR;
    const struct slice description = SLICE("of the night shift");
    const int64_t expires_at = in_an_hour(), never = 0;

    user_new(fixture, "ana");
    GROWS(update(fixture, "ana", (struct account_change){.role = &role, .if_version = 1}));
    GROWS(update(fixture, "ana", (struct account_change){.description = &description}));
    GROWS(update(fixture, "ana", (struct account_change){.expires_at = &expires_at}));
    OK(account_find(fixture->store, SLICE("ana"), &found, &fixture->err));
    assert_int_equal(found.role, ACCOUNT_ROLE_OPERATOR);
    assert_string_equal(found.description, "of the night shift");
    assert_string_equal(found.password_hash, "$y$hash");
    assert_int_equal(found.expires_at, expires_at);
    assert_int_equal(found.version, 4);
    GROWS(update(fixture, "ana", (struct account_change){.expires_at = &never}));
    account_drop(&found);
    OK(account_find(fixture->store, SLICE("ana"), &found, &fixture->err));
    assert_int_equal(found.expires_at, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 5);
}

static void test_accounts_update_refuses(void **state)
{
    struct fixture *fixture = *state;
    const bool yes = true;
    const struct account_change old = {.disabled = &yes, .if_version = 2};
    const struct account_change any = {.disabled = &yes};

    user_new(fixture, "ana");
    REFUSES(update(fixture, "ana", old), ERROR_PRECONDITION);
    REFUSES(update(fixture, "bob", any), ERROR_NOT_FOUND);
    REFUSES(
        account_update(fixture->store, ACCOUNT_ROBOT, SLICE("ana"), &any, &an_event, &fixture->err),
        ERROR_NOT_FOUND);
    REFUSES(
        account_delete(fixture->store, ACCOUNT_ROBOT, SLICE("ana"), 0, &an_event, &fixture->err),
        ERROR_NOT_FOUND);
    REFUSES(account_delete(fixture->store, ACCOUNT_USER, SLICE("ana"), 2, &an_event, &fixture->err),
            ERROR_PRECONDITION);
    assert_int_equal(number(fixture, "SELECT disabled FROM accounts"), 0);
}

/* TOK-28 */
static void test_accounts_new_password_ends_what_the_old_one_opened(void **state)
{
    struct fixture *fixture = *state;
    const struct slice hash = SLICE("$y$another");
    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob");
    int64_t kept = session_make(fixture, ana, 1);
    OWNED(account_drop) struct account found = {.id = 0};

    session_make(fixture, ana, 2);
    session_make(fixture, bob, 3);
    token_make(fixture, ana, TOKEN_PERSONAL, 1);
    token_make(fixture, ana, TOKEN_REFRESH, 2);
    token_make(fixture, bob, TOKEN_REFRESH, 3);
    int64_t before = clock_now_us();
    GROWS(update(fixture, "ana",
                 (struct account_change){.password_hash = &hash, .keep_session = kept}));
    assert_int_equal(number(fixture, "SELECT count(*) FROM sessions"), 2);
    assert_int_equal(number(fixture, "SELECT min(id) FROM sessions"), kept);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens WHERE kind = 1"), 1);
    assert_int_equal(number(fixture, "SELECT max(account_id) FROM tokens WHERE kind = 2"), bob);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens WHERE kind = 2"), 1);
    OK(account_find(fixture->store, SLICE("ana"), &found, &fixture->err));
    assert_string_equal(found.password_hash, "$y$another");
    assert_true(found.password_at >= before);
}

static void test_accounts_disabled_is_signed_out(void **state)
{
    struct fixture *fixture = *state;
    const bool yes = true;
    int64_t ana = user_new(fixture, "ana");
    int64_t session = session_make(fixture, ana, 1);

    token_make(fixture, ana, TOKEN_PERSONAL, 1);
    token_make(fixture, ana, TOKEN_REFRESH, 2);
    GROWS(
        update(fixture, "ana", (struct account_change){.disabled = &yes, .keep_session = session}));
    assert_int_equal(number(fixture, "SELECT count(*) FROM sessions"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens"), 1);
    assert_int_equal(number(fixture, "SELECT kind FROM tokens"), TOKEN_PERSONAL);
}

static void test_accounts_delete_takes_all_along(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana");

    user_new(fixture, "bob");
    session_make(fixture, ana, 1);
    token_make(fixture, ana, TOKEN_PERSONAL, 1);
    grant_new(fixture, "ana", "team/*", LEVEL_READ);
    grant_new(fixture, "bob", "team/*", LEVEL_READ);
    GROWS(account_delete(fixture->store, ACCOUNT_USER, SLICE("ana"), 1, &an_event, &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM accounts"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM sessions"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM grants"), 1);
    /* the same name again is somebody else */
    assert_true(user_new(fixture, "ana") > ana);
}

/* accounts.h (3) */
static void test_accounts_last_administrator_stays(void **state)
{
    struct fixture *fixture = *state;
    const enum account_role user = ACCOUNT_ROLE_USER, admin = ACCOUNT_ROLE_ADMIN;
    const bool yes = true;
    const int64_t expires_at = in_an_hour();
    const struct slice description = SLICE("x");
    const struct account_change forbidden[] = {
        {.role = &user}, {.disabled = &yes}, {.expires_at = &expires_at}};

    admin_new(fixture, "root");
    admin_new(fixture, "away");
    OK(update(fixture, "away", (struct account_change){.disabled = &yes}));
    admin_new(fixture, "guest");
    OK(update(fixture, "guest", (struct account_change){.expires_at = &expires_at}));
    for (size_t i = 0; i < LENGTH(forbidden); i++)
        REFUSES(update(fixture, "root", forbidden[i]), ERROR_CONFLICT);
    REFUSES(
        account_delete(fixture->store, ACCOUNT_USER, SLICE("root"), 0, &an_event, &fixture->err),
        ERROR_CONFLICT);
    OK(update(fixture, "root",
              (struct account_change){.description = &description, .role = &admin}));
    OK(account_delete(fixture->store, ACCOUNT_USER, SLICE("guest"), 0, &an_event, &fixture->err));
    OK(account_delete(fixture->store, ACCOUNT_USER, SLICE("away"), 0, &an_event, &fixture->err));
    admin_new(fixture, "other");
    OK(update(fixture, "root", forbidden[0]));
    REFUSES(update(fixture, "other", forbidden[1]), ERROR_CONFLICT);
}

static void test_accounts_first_administrator_is_made_once(void **state)
{
    struct fixture *fixture = *state;
    struct account first = {
        .name = (char[]){"root"}, .kind = ACCOUNT_USER, .role = ACCOUNT_ROLE_ADMIN};
    struct account second = {
        .name = (char[]){"other"}, .kind = ACCOUNT_USER, .role = ACCOUNT_ROLE_ADMIN};
    bool exists = true;

    user_new(fixture, "ana");
    OK(account_admin_exists(fixture->store, &exists, &fixture->err));
    assert_false(exists);
    GROWS(account_create(fixture->store, &first, true, &an_event, &fixture->err));
    OK(account_admin_exists(fixture->store, &exists, &fixture->err));
    assert_true(exists);
    REFUSES(account_create(fixture->store, &second, true, &an_event, &fixture->err),
            ERROR_CONFLICT);
    OK(account_create(fixture->store, &second, false, &an_event, &fixture->err));
}

/* --- two at once --- */

struct racer {
    struct fixture *fixture;
    const char *name;
    bool demote; /* else: become the first administrator */
    pthread_barrier_t *start;
    int result;
    struct error err;
};

static void *race(void *arg)
{
    struct racer *racer = arg;
    struct storage *store = racer->fixture->store;
    const enum account_role user = ACCOUNT_ROLE_USER;
    const struct account_change demotion = {.role = &user};
    OWNED(memory_drop) char *name = memory_text(slice_of(racer->name));
    struct account account = {.name = name, .kind = ACCOUNT_USER, .role = ACCOUNT_ROLE_ADMIN};

    thread_role_current = ROLE_WORKER;
    pthread_barrier_wait(racer->start);
    racer->result = racer->demote ? account_update(store, ACCOUNT_USER, slice_of(racer->name),
                                                   &demotion, &an_event, &racer->err)
                                  : account_create(store, &account, true, &an_event, &racer->err);
    return NULL;
}

/* Both at once: one wins, the other is told so. */
static void race_two(struct fixture *fixture, bool demote)
{
    pthread_barrier_t start;
    struct racer racers[2] = {{fixture, "one", demote, &start, 0, {0}},
                              {fixture, "two", demote, &start, 0, {0}}};
    pthread_t threads[2];

    pthread_barrier_init(&start, NULL, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
    assert_int_equal(racers[0].result + racers[1].result, -1);
    assert_int_equal(racers[racers[0].result < 0 ? 0 : 1].err.code, ERROR_CONFLICT);
    assert_int_equal(number(fixture, "SELECT count(*) FROM accounts WHERE role = 1"), 1);
}

static void test_accounts_two_cannot_be_the_first(void **state)
{
    for (int i = 0; i < 20; i++) {
        race_two(*state, false);
        script(*state, "DELETE FROM accounts");
    }
}

static void test_accounts_two_cannot_both_step_down(void **state)
{
    for (int i = 0; i < 20; i++) {
        admin_new(*state, "one");
        admin_new(*state, "two");
        race_two(*state, true);
        script(*state, "DELETE FROM accounts");
    }
}

/* --- users of the password file, the last log-in --- */

static void test_accounts_external_ones_appear(void **state)
{
    struct fixture *fixture = *state;
    OWNED(account_drop) struct account eve = {.id = 0};
    OWNED(account_drop) struct account again = {.id = 0};

    GROWS(account_ensure_external(fixture->store, SLICE("eve"), &eve, &fixture->err));
    assert_true(eve.id > 0 && eve.external && eve.password_hash == NULL);
    assert_int_equal(eve.kind, ACCOUNT_USER);
    assert_int_equal(eve.role, ACCOUNT_ROLE_USER);
    assert_string_equal(eve.name, "eve");
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'user.create'"
                                     "   AND actor = 'eve' AND target = 'user/eve'"),
                     1);
    STAYS(account_ensure_external(fixture->store, SLICE("eve"), &again, &fixture->err));
    assert_int_equal(again.id, eve.id);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 1);
}

static void test_accounts_external_ones_take_no_name(void **state)
{
    struct fixture *fixture = *state;
    OWNED(account_drop) struct account out = {.id = 0};
    struct account waiting = {.name = (char[]){"waiting"}, .kind = ACCOUNT_USER};
    const struct slice hash = SLICE("$y$own");

    user_new(fixture, "ana");
    account_new(fixture, "ci", ACCOUNT_ROBOT, ACCOUNT_ROLE_USER);
    REFUSES(account_ensure_external(fixture->store, SLICE("ana"), &out, &fixture->err),
            ERROR_CONFLICT);
    account_drop(&out);
    REFUSES(account_ensure_external(fixture->store, SLICE("ci"), &out, &fixture->err),
            ERROR_CONFLICT);
    account_drop(&out);
    OK(account_create(fixture->store, &waiting, false, &an_event, &fixture->err));
    GROWS(account_ensure_external(fixture->store, SLICE("waiting"), &out, &fixture->err));
    assert_true(out.external && out.id == waiting.id);
    account_drop(&out);
    /* with a password of its own it leaves the file */
    OK(update(fixture, "waiting", (struct account_change){.password_hash = &hash}));
    REFUSES(account_ensure_external(fixture->store, SLICE("waiting"), &out, &fixture->err),
            ERROR_CONFLICT);
}

static void test_accounts_touch_writes_once_a_minute(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana");

    STAYS(account_touch(fixture->store, ana, &fixture->err));
    int64_t first = number(fixture, "SELECT last_login_at FROM accounts");
    assert_true(first > 0);
    OK(account_touch(fixture->store, ana, &fixture->err));
    assert_int_equal(number(fixture, "SELECT last_login_at FROM accounts"), first);
    script(fixture, "UPDATE accounts SET last_login_at = last_login_at - 61000000");
    OK(account_touch(fixture->store, ana, &fixture->err));
    assert_true(number(fixture, "SELECT last_login_at FROM accounts") > first);
    assert_int_equal(number(fixture, "SELECT version FROM accounts"), 1);
    FAILS(account_touch(fixture->store, ana + 1, &fixture->err), ERROR_NOT_FOUND);
}

static void expect_accounts(struct fixture *fixture, const char *after, const char *search,
                            size_t limit, const char *expected, uint64_t total, bool more)
{
    OWNED(account_page_drop) struct account_page page = {.items = NULL};
    OWNED(buffer_drop) struct buffer names = BUFFER_NONE;

    OK(account_list(fixture->store, ACCOUNT_USER, slice_of(after), slice_of(search), limit, &page,
                    &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&names, "%s ", page.items[i].name);
    buffer_append(&names, "", 1);
    assert_string_equal(names.at, expected);
    assert_int_equal(page.total, total);
    assert_int_equal(page.more, more);
}

static void test_accounts_are_listed_by_name(void **state)
{
    struct fixture *fixture = *state;
    const char *const names[] = {"bob", "ana", "b_b", "bxb", "carol", "ann"};

    for (size_t i = 0; i < LENGTH(names); i++)
        user_new(fixture, names[i]);
    account_new(fixture, "bot", ACCOUNT_ROBOT, ACCOUNT_ROLE_USER);
    expect_accounts(fixture, NULL, NULL, 9, "ana ann b_b bob bxb carol ", 6, false);
    expect_accounts(fixture, NULL, NULL, 6, "ana ann b_b bob bxb carol ", 6, false);
    expect_accounts(fixture, NULL, NULL, 2, "ana ann ", 6, true);
    expect_accounts(fixture, "ann", NULL, 2, "b_b bob ", 6, true);
    expect_accounts(fixture, "bxb", NULL, 2, "carol ", 6, false);
    expect_accounts(fixture, NULL, "AN", 9, "ana ann ", 2, false);
    expect_accounts(fixture, NULL, "b_b", 9, "b_b ", 1, false);
    expect_accounts(fixture, NULL, "%", 9, "", 0, false);
    expect_accounts(fixture, NULL, "!", 9, "", 0, false);
    expect_accounts(fixture, NULL, NULL, 0, "", 6, true);
}

/* --- grants --- */

static void test_accounts_grant_is_one_row_a_pair(void **state)
{
    struct fixture *fixture = *state;
    OWNED(grant_drop) struct grant grant = {.id = 0};
    bool created = false;
    int64_t ana = user_new(fixture, "ana");

    GROWS(grant_put(fixture->store, SLICE("ana"), SLICE("team/*"), LEVEL_WRITE, 0, &an_event,
                    &grant, &created, &fixture->err));
    assert_true(created);
    assert_int_equal(grant.account_id, ana);
    assert_string_equal(grant.account, "ana");
    assert_int_equal(grant.kind, ACCOUNT_USER);
    assert_string_equal(grant.pattern, "team/*");
    assert_int_equal(grant.rights, LEVEL_WRITE);
    assert_int_equal(grant.version, 1);
    int64_t id = grant.id;
    grant_drop(&grant);
    GROWS(grant_put(fixture->store, SLICE("ana"), SLICE("team/*"), LEVEL_ADMIN, 1, &an_event,
                    &grant, &created, &fixture->err));
    assert_false(created);
    assert_int_equal(grant.id, id);
    assert_int_equal(grant.version, 2);
    grant_drop(&grant);
    OK(grant_find(fixture->store, id, &grant, &fixture->err));
    assert_int_equal(grant.rights, LEVEL_ADMIN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 3);
    GROWS(grant_delete(fixture->store, id, 2, &an_event, &fixture->err));
    grant_drop(&grant);
    FAILS(grant_find(fixture->store, id, &grant, &fixture->err), ERROR_NOT_FOUND);
}

static void test_accounts_grant_refuses(void **state)
{
    struct fixture *fixture = *state;
    OWNED(grant_drop) struct grant grant = {.id = 0};
    bool created = false;

    user_new(fixture, "ana");
    int64_t id = grant_new(fixture, "ana", "team/*", LEVEL_READ);
    REFUSES(grant_put(fixture->store, SLICE("bob"), SLICE("*"), LEVEL_READ, 0, &an_event, &grant,
                      &created, &fixture->err),
            ERROR_NOT_FOUND);
    REFUSES(grant_put(fixture->store, SLICE("ana"), SLICE("team/*"), LEVEL_READ, 2, &an_event,
                      &grant, &created, &fixture->err),
            ERROR_PRECONDITION);
    REFUSES(grant_put(fixture->store, SLICE("ana"), SLICE("new/*"), LEVEL_READ, 1, &an_event,
                      &grant, &created, &fixture->err),
            ERROR_PRECONDITION);
    REFUSES(grant_delete(fixture->store, id, 2, &an_event, &fixture->err), ERROR_PRECONDITION);
    REFUSES(grant_delete(fixture->store, id + 1, 0, &an_event, &fixture->err), ERROR_NOT_FOUND);
    assert_int_equal(number(fixture, "SELECT actions FROM grants"), LEVEL_READ);
}

static void test_accounts_grants_have_a_limit(void **state)
{
    struct fixture *fixture = *state;
    OWNED(grant_drop) struct grant grant = {.id = 0};
    bool created = false;
    char pattern[32];

    user_new(fixture, "ana");
    user_new(fixture, "bob");
    for (int i = 0; i < GRANTS_MAX; i++) {
        snprintf(pattern, sizeof(pattern), "team/%d", i);
        grant_new(fixture, "ana", pattern, LEVEL_READ);
    }
    REFUSES(grant_put(fixture->store, SLICE("ana"), SLICE("*"), LEVEL_READ, 0, &an_event, &grant,
                      &created, &fixture->err),
            ERROR_CONFLICT);
    grant_new(fixture, "bob", "*", LEVEL_READ);
    int64_t id = grant_new(fixture, "ana", pattern, LEVEL_ADMIN); /* a change is none more */
    OK(grant_delete(fixture->store, id, 0, &an_event, &fixture->err));
    grant_new(fixture, "ana", "*", LEVEL_READ);
}

static void test_accounts_rights_are_one_snapshot(void **state)
{
    struct fixture *fixture = *state;
    OWNED(account_rights_drop) struct account_rights rights = {.grants = NULL};
    int64_t ana = user_new(fixture, "ana");

    user_new(fixture, "bob");
    grant_new(fixture, "ana", "team/*", LEVEL_WRITE);
    grant_new(fixture, "bob", "*", LEVEL_ADMIN);
    grant_new(fixture, "ana", "other/app", LEVEL_READ);
    OK(account_rights_load(fixture->store, ana, &rights, &fixture->err));
    assert_string_equal(rights.account.name, "ana");
    assert_int_equal(rights.grant_count, 2);
    assert_string_equal(rights.grants[0].pattern, "other/app");
    assert_int_equal(rights.grants[1].rights, LEVEL_WRITE);
    account_rights_drop(&rights);
    FAILS(account_rights_load(fixture->store, 99, &rights, &fixture->err), ERROR_NOT_FOUND);
}

static void expect_grants(struct fixture *fixture, struct grant_query query, const char *expected,
                          uint64_t total, bool more)
{
    OWNED(grant_page_drop) struct grant_page page = {.items = NULL};
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;

    OK(grant_list(fixture->store, &query, &page, &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&texts, "%s:%s ", page.items[i].account, page.items[i].pattern);
    buffer_append(&texts, "", 1);
    assert_string_equal(texts.at, expected);
    assert_int_equal(page.total, total);
    assert_int_equal(page.more, more);
}

static void test_accounts_grants_are_listed_by_what_they_reach(void **state)
{
    struct fixture *fixture = *state;
    const struct slice app = SLICE("team/app"), team = SLICE("team/*");

    user_new(fixture, "ana");
    user_new(fixture, "bob");
    int64_t first = grant_new(fixture, "ana", "team/*", LEVEL_READ);
    grant_new(fixture, "bob", "*", LEVEL_READ);
    grant_new(fixture, "bob", "team/app", LEVEL_READ);
    grant_new(fixture, "ana", "team", LEVEL_READ);
    grant_new(fixture, "ana", "teams/x", LEVEL_READ);
    expect_grants(fixture, (struct grant_query){.limit = 9},
                  "ana:team/* bob:* bob:team/app ana:team ana:teams/x ", 5, false);
    expect_grants(fixture, (struct grant_query){.limit = 2}, "ana:team/* bob:* ", 5, true);
    expect_grants(fixture, (struct grant_query){.limit = 1, .after_id = first}, "bob:* ", 5, true);
    expect_grants(fixture, (struct grant_query){.limit = 9, .account = SLICE("bob")},
                  "bob:* bob:team/app ", 2, false);
    expect_grants(fixture, (struct grant_query){.limit = 9, .covers = app},
                  "ana:team/* bob:* bob:team/app ", 3, false);
    expect_grants(fixture, (struct grant_query){.limit = 1, .after_id = first, .covers = app},
                  "bob:* ", 3, true);
    expect_grants(fixture, (struct grant_query){.limit = 9, .covers = SLICE("team")},
                  "bob:* ana:team ", 2, false);
    expect_grants(fixture, (struct grant_query){.limit = 9, .within = team},
                  "ana:team/* bob:team/app ", 2, false);
    expect_grants(fixture, (struct grant_query){.limit = 9, .within = SLICE("*")},
                  "ana:team/* bob:* bob:team/app ana:team ana:teams/x ", 5, false);
    expect_grants(fixture, (struct grant_query){.limit = 9, .within = team, .covers = app},
                  "ana:team/* bob:team/app ", 2, false);
    expect_grants(
        fixture,
        (struct grant_query){.limit = 9, .within = team, .covers = app, .account = SLICE("ana")},
        "ana:team/* ", 1, false);
    expect_grants(fixture, (struct grant_query){.limit = 9, .account = SLICE("eve")}, "", 0, false);
}

/* --- the generation --- */

/* accounts.h (2): what failed may turn out to have happened, and what was read to be undone. */
static void test_accounts_generation_grows_with_a_recovery(void **state)
{
    struct fixture *fixture = *state;
    const bool yes = true;

    user_new(fixture, "ana");
    uint64_t before = accounts_generation(fixture->store);
    atomic_store(&sync_fails, 1);
    assert_int_equal(update(fixture, "ana", (struct account_change){.disabled = &yes}), -1);
    assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE);
    assert_true(accounts_generation(fixture->store) > before);
    OK(meta_ready(fixture->meta, &fixture->err));
    user_new(fixture, "bob"); /* it works again */
}

/* --- the migration --- */

/* Takes the database back to what the first schema made, with a repository and a session in it. */
static void test_accounts_come_to_a_database_of_the_first_schema(void **state)
{
    struct fixture *fixture = *state;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload_owner owner = {.owner = "?"};
    OWNED(repository_drop) struct repository repository = {.id = 0};

    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    script(fixture, "DROP TABLE tokens; DROP TABLE sessions; DROP TABLE grants;"
                    "DROP TABLE accounts; DROP TABLE audit; DROP INDEX repositories_public;"
                    "ALTER TABLE repositories DROP COLUMN public;"
                    "ALTER TABLE repositories DROP COLUMN description;"
                    "ALTER TABLE repositories DROP COLUMN version;"
                    "ALTER TABLE uploads DROP COLUMN owner;"
                    "DROP TABLE pins; DROP TABLE protections; DROP TABLE policies;"
                    "DROP TABLE build_move_tags; DROP TABLE build_moves;"
                    "DROP TABLE rebase_moves; DROP TABLE rebases; DROP TABLE manifest_bases;"
                    "DROP TABLE build_attestations; DROP TABLE build_keys; DROP TABLE build_turns; "
                    "DROP TABLE build_messages; DROP TABLE build_secrets;"
                    "DROP TABLE build_deliveries;"
                    "DROP TABLE build_configs; DROP TABLE builds;"
                    "DROP INDEX blobs_damaged;"
                    "DROP TABLE quota_usage; DROP TABLE quota_blobs;"
                    "DROP TABLE quotas; DROP TABLE jobs; DROP INDEX repositories_deleted;"
                    "ALTER TABLE repositories DROP COLUMN deleted_at;"
                    "ALTER TABLE repositories DROP COLUMN deleted_name;"
                    "ALTER TABLE uploads DROP COLUMN account_id;"
                    "ALTER TABLE repository_blobs DROP COLUMN account_id;"
                    "ALTER TABLE tag_history DROP COLUMN actor;"
                    "ALTER TABLE tag_history DROP COLUMN cause;"
                    "DROP INDEX tags_protected; DROP INDEX manifests_deleted;"
                    "DROP INDEX tags_manifest;"
                    "CREATE INDEX tags_manifest ON tags(repo_id, manifest_id);"
                    "DROP INDEX tag_history_repository;"
                    "ALTER TABLE deleted_tags DROP COLUMN deleted_at;"
                    "ALTER TABLE deleted_tags DROP COLUMN protection;"
                    "ALTER TABLE tags DROP COLUMN protection;"
                    "ALTER TABLE gc_queue DROP COLUMN follows;"
                    "ALTER TABLE trash DROP COLUMN attempts;"
                    "DROP INDEX pull_counts_day;"
                    "DELETE FROM schema_version WHERE version > 1");
    fixture_reopen(fixture);
    assert_int_equal(number(fixture, "SELECT max(version) FROM schema_version"), 4);
    OK(repository_find(fixture->store, REPOSITORY, &repository, &fixture->err));
    assert_false(repository.public);
    assert_string_equal(repository.description, "");
    assert_int_equal(repository.version, 1);
    OK(upload_owner_find(fixture->store, REPOSITORY, slice_of(id), &owner, &fixture->err));
    assert_string_equal(owner.owner, "");
    user_new(fixture, "ana");
    fixture_reopen(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM accounts"), 1);
}

/* Runs last: statements of the tests above. */
static void test_accounts_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_accounts_are_found_as_created),
        FIXTURE_TEST(test_accounts_share_one_space_of_names),
        FIXTURE_TEST(test_accounts_changes_are_audited),
        FIXTURE_TEST(test_accounts_update_changes_what_is_named),
        FIXTURE_TEST(test_accounts_update_refuses),
        FIXTURE_TEST(test_accounts_new_password_ends_what_the_old_one_opened),
        FIXTURE_TEST(test_accounts_disabled_is_signed_out),
        FIXTURE_TEST(test_accounts_delete_takes_all_along),
        FIXTURE_TEST(test_accounts_last_administrator_stays),
        FIXTURE_TEST(test_accounts_first_administrator_is_made_once),
        FIXTURE_TEST(test_accounts_two_cannot_be_the_first),
        FIXTURE_TEST(test_accounts_two_cannot_both_step_down),
        FIXTURE_TEST(test_accounts_external_ones_appear),
        FIXTURE_TEST(test_accounts_external_ones_take_no_name),
        FIXTURE_TEST(test_accounts_touch_writes_once_a_minute),
        FIXTURE_TEST(test_accounts_are_listed_by_name),
        FIXTURE_TEST(test_accounts_grant_is_one_row_a_pair),
        FIXTURE_TEST(test_accounts_grant_refuses),
        FIXTURE_TEST(test_accounts_grants_have_a_limit),
        FIXTURE_TEST(test_accounts_rights_are_one_snapshot),
        FIXTURE_TEST(test_accounts_grants_are_listed_by_what_they_reach),
        FIXTURE_TEST(test_accounts_generation_grows_with_a_recovery),
        FIXTURE_TEST(test_accounts_come_to_a_database_of_the_first_schema),
        FIXTURE_TEST(test_accounts_no_statement_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

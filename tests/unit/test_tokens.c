/* test_tokens.c - tokens, refresh tokens, browsers' sessions and owners of upload sessions through
 * accounts.h, over the real database; and the plan of every statement that ran on the way. */
#include "tests/support/accounts.h"
#include "tests/support/plans.h"

enum { SECOND = 1000000 };

static const int64_t MINUTE = 60ll * SECOND, HOUR = 3600ll * SECOND;

#define COUNT(table) number(fixture, "SELECT count(*) FROM " table)

/* --- personal tokens --- */

static void test_tokens_are_found_by_hash_and_id(void **state)
{
    struct fixture *fixture = *state;
    uint8_t hash[SECRET_HASH_SIZE];
    OWNED(token_drop) struct token token = {.id = 0};
    int64_t ana = user_new(fixture, "ana"), id = 0, end = clock_now_us() + HOUR;

    STAYS(token_new_try(fixture, ana, TOKEN_PERSONAL, 1, end, &id));
    OK(token_find(fixture->store, hash_new(hash, 1), &token, &fixture->err));
    assert_int_equal(token.id, id);
    assert_int_equal(token.account_id, ana);
    assert_int_equal(token.kind, TOKEN_PERSONAL);
    assert_string_equal(token.account, "ana");
    assert_string_equal(token.hint, "slipway_pat_Ab...yz");
    assert_string_equal(token.label, "laptop");
    assert_string_equal(token.scopes, "api");
    assert_string_equal(token.service, "registry");
    assert_int_equal(token.expires_at, end);
    assert_true(token.created_at > 0 && token.last_used_from == NULL && !token.disabled);
    assert_int_equal(token.rotated_at + token.last_used_at, 0);
    assert_int_equal(token.version, 1);
    token_drop(&token);
    OK(token_find_id(fixture->store, id, &token, &fixture->err));
    assert_string_equal(token.account, "ana");
    token_drop(&token);
    FAILS(token_find(fixture->store, hash_new(hash, 2), &token, &fixture->err), ERROR_NOT_FOUND);
    FAILS(token_find_id(fixture->store, id + 1, &token, &fixture->err), ERROR_NOT_FOUND);
    FAILS(token_new_try(fixture, ana + 1, TOKEN_PERSONAL, 2, 0, &id), ERROR_NOT_FOUND);
    /* the secret of another one is refused, not shared */
    FAILS(token_new_try(fixture, ana, TOKEN_PERSONAL, 1, 0, &id), ERROR_INTERNAL);
}

static void test_tokens_have_a_limit(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob"), id = 0;

    for (int i = 0; i < TOKENS_MAX; i++)
        token_make(fixture, ana, TOKEN_PERSONAL, i);
    REFUSES(token_new_try(fixture, ana, TOKEN_PERSONAL, 1000, 0, &id), ERROR_CONFLICT);
    token_make(fixture, bob, TOKEN_PERSONAL, 1000);
    token_make(fixture, ana, TOKEN_REFRESH, 1001);
    script(fixture, "UPDATE tokens SET expires_at = 1 WHERE id = 1");
    token_make(fixture, ana, TOKEN_PERSONAL, 1002);
}

static void test_tokens_oldest_refresh_token_makes_room(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana"), id = 0;

    for (int i = 0; i < TOKENS_MAX; i++)
        token_make(fixture, ana, TOKEN_REFRESH, i);
    script(fixture, "UPDATE tokens SET rotated_at = 1 WHERE id = 7");
    STAYS(token_new_try(fixture, ana, TOKEN_REFRESH, 1000, 0, &id));
    assert_int_equal(COUNT("tokens"), TOKENS_MAX);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens WHERE id = 7"), 0);
    STAYS(token_new_try(fixture, ana, TOKEN_REFRESH, 1001, 0, &id));
    assert_int_equal(number(fixture, "SELECT min(id) FROM tokens"), 2);
}

static void test_tokens_are_deleted_and_disabled(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token token = {.id = 0};
    int64_t ana = user_new(fixture, "ana");
    int64_t id = token_make(fixture, ana, TOKEN_PERSONAL, 1);

    GROWS(token_set_disabled(fixture->store, id, true, 1, &an_event, &fixture->err));
    OK(token_find_id(fixture->store, id, &token, &fixture->err));
    assert_true(token.disabled);
    assert_int_equal(token.version, 2);
    REFUSES(token_set_disabled(fixture->store, id, false, 1, &an_event, &fixture->err),
            ERROR_PRECONDITION);
    REFUSES(token_set_disabled(fixture->store, 99, false, 0, &an_event, &fixture->err),
            ERROR_NOT_FOUND);
    REFUSES(token_delete(fixture->store, id, 1, &an_event, &fixture->err), ERROR_PRECONDITION);
    REFUSES(token_delete(fixture->store, 99, 0, &an_event, &fixture->err), ERROR_NOT_FOUND);
    GROWS(token_set_disabled(fixture->store, id, false, 0, &an_event, &fixture->err));
    GROWS(token_delete(fixture->store, id, 3, &an_event, &fixture->err));
    assert_int_equal(COUNT("tokens"), 0);
    assert_int_equal(COUNT("audit"), 5);
}

static int rotate(struct fixture *fixture, int64_t id, int which, int64_t old_end, int64_t version,
                  struct token *out)
{
    uint8_t hash[SECRET_HASH_SIZE];
    const struct token_new successor = {.secret_hash = hash_new(hash, which),
                                        .hint = SLICE("slipway_pat_Cd...wx"),
                                        .label = SLICE("ignored"),
                                        .scopes = SLICE("ignored"),
                                        .expires_at = clock_now_us() + HOUR};

    fixture->err = (struct error){0};
    return token_rotate(fixture->store, id, &successor, old_end, version, &an_event, out,
                        &fixture->err);
}

static void test_tokens_rotate_with_overlap(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token fresh = {.id = 0};
    OWNED(token_drop) struct token old = {.id = 0};
    int64_t ana = user_new(fixture, "ana"), end = clock_now_us() + MINUTE;
    int64_t id = token_make(fixture, ana, TOKEN_PERSONAL, 1);

    REFUSES(rotate(fixture, id, 2, end, 2, &fresh), ERROR_PRECONDITION);
    REFUSES(rotate(fixture, 99, 2, end, 0, &fresh), ERROR_NOT_FOUND);
    GROWS(rotate(fixture, id, 2, end, 1, &fresh));
    assert_true(fresh.id > id && fresh.expires_at > end);
    assert_int_equal(fresh.account_id, ana);
    assert_int_equal(fresh.kind, TOKEN_PERSONAL);
    assert_string_equal(fresh.label, "laptop");
    assert_string_equal(fresh.scopes, "api");
    assert_string_equal(fresh.hint, "slipway_pat_Cd...wx");
    OK(token_find_id(fixture->store, id, &old, &fixture->err));
    assert_int_equal(old.expires_at, end);
    assert_true(old.rotated_at > 0);
    int64_t first = fresh.id;
    token_drop(&fresh);
    REFUSES(rotate(fixture, id, 3, end, 0, &fresh), ERROR_CONFLICT); /* it has a successor */
    OK(token_set_disabled(fixture->store, first, true, 0, &an_event, &fixture->err));
    REFUSES(rotate(fixture, first, 3, end, 0, &fresh), ERROR_CONFLICT);
    script(fixture, "UPDATE tokens SET disabled = 0, expires_at = 5 WHERE rotated_at IS NULL");
    REFUSES(rotate(fixture, first, 3, end, 0, &fresh), ERROR_CONFLICT);
    id = token_make(fixture, ana, TOKEN_REFRESH, 9);
    REFUSES(rotate(fixture, id, 3, end, 0, &fresh), ERROR_NOT_FOUND);
}

/* The end of the old one is the sooner of both, and 0 is none. */
static void test_tokens_rotate_never_lengthens_the_old_one(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana"), id = 0, soon = clock_now_us() + MINUTE;
    const int64_t ends[][2] = {{soon, soon + 5}, {soon + 5, soon}, {soon, 0}, {0, soon}};

    for (int i = 0; i < (int)LENGTH(ends); i++) {
        OWNED(token_drop) struct token fresh = {.id = 0};
        OWNED(token_drop) struct token old = {.id = 0};
        OK(token_new_try(fixture, ana, TOKEN_PERSONAL, 10 + i, ends[i][0], &id));
        OK(rotate(fixture, id, 20 + i, ends[i][1], 0, &fresh));
        OK(token_find_id(fixture->store, id, &old, &fixture->err));
        assert_int_equal(old.expires_at, soon);
    }
}

static void test_tokens_touch_writes_once_a_minute(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token token = {.id = 0};
    int64_t id = token_make(fixture, user_new(fixture, "ana"), TOKEN_PERSONAL, 1);

    STAYS(token_touch(fixture->store, id, SLICE("192.0.2.1"), &fixture->err));
    OK(token_touch(fixture->store, id, SLICE("192.0.2.2"), &fixture->err));
    OK(token_find_id(fixture->store, id, &token, &fixture->err));
    assert_string_equal(token.last_used_from, "192.0.2.1");
    assert_true(token.last_used_at > 0);
    assert_int_equal(token.version, 1);
    script(fixture, "UPDATE tokens SET last_used_at = last_used_at - 61000000");
    OK(token_touch(fixture->store, id, SLICE("192.0.2.2"), &fixture->err));
    token_drop(&token);
    OK(token_find_id(fixture->store, id, &token, &fixture->err));
    assert_string_equal(token.last_used_from, "192.0.2.2");
    FAILS(token_touch(fixture->store, 99, SLICE("x"), &fixture->err), ERROR_NOT_FOUND);
}

static void expect_tokens(struct fixture *fixture, int64_t account, int64_t after, size_t limit,
                          size_t expected, uint64_t total, bool more)
{
    OWNED(token_page_drop) struct token_page page = {.items = NULL};

    OK(token_list(fixture->store, account, TOKEN_PERSONAL, after, limit, &page, &fixture->err));
    assert_int_equal(page.count, expected);
    assert_int_equal(page.total, total);
    assert_int_equal(page.more, more);
    for (size_t i = 0; i < page.count; i++) {
        assert_true(page.items[i].id > after);
        assert_true(account == 0 || page.items[i].account_id == account);
        after = page.items[i].id;
    }
}

static void test_tokens_are_listed_by_id(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob");
    int64_t first = token_make(fixture, ana, TOKEN_PERSONAL, 1);

    token_make(fixture, bob, TOKEN_PERSONAL, 2);
    token_make(fixture, ana, TOKEN_REFRESH, 3);
    token_make(fixture, ana, TOKEN_PERSONAL, 4);
    expect_tokens(fixture, 0, 0, 9, 3, 3, false);
    expect_tokens(fixture, 0, 0, 2, 2, 3, true);
    expect_tokens(fixture, 0, first, 2, 2, 3, false);
    expect_tokens(fixture, ana, 0, 9, 2, 2, false);
    expect_tokens(fixture, ana, 0, 1, 1, 2, true);
    expect_tokens(fixture, ana, first, 1, 1, 2, false);
    expect_tokens(fixture, bob, 0, 9, 1, 1, false);
}

/* --- robots, made whole --- */

static int robot_try(struct fixture *fixture, const char *name, int which, struct token *out)
{
    uint8_t hash[SECRET_HASH_SIZE];
    OWNED(memory_drop) char *text = memory_text(slice_of(name));
    struct account account = {.name = text, .kind = ACCOUNT_ROBOT};
    const struct robot_grant grants[] = {{SLICE("team/*"), LEVEL_READ, &an_event},
                                         {SLICE("app"), LEVEL_READ, &an_event},
                                         {SLICE("app"), LEVEL_WRITE, &an_event}};
    const struct token_new token = {
        .kind = TOKEN_PERSONAL, .secret_hash = hash_new(hash, which), .label = SLICE("first")};
    const struct robot_new robot = {&account, &an_event, grants, 3, &token, &an_event};

    fixture->err = (struct error){0};
    return robot_create(fixture->store, &robot, out, &fixture->err);
}

static void test_tokens_robot_is_made_whole(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token token = {.id = 0};

    GROWS(robot_try(fixture, "ci", 1, &token));
    assert_string_equal(token.account, "ci");
    assert_string_equal(token.label, "first");
    assert_int_equal(COUNT("tokens JOIN accounts a ON a.id = account_id AND a.kind = 2"), 1);
    assert_int_equal(COUNT("grants WHERE pattern = 'app' AND actions = 3"), 1);
    assert_int_equal(COUNT("grants"), 2);
    assert_int_equal(COUNT("audit"), 5);
}

static void test_tokens_robot_is_made_whole_or_not(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token token = {.id = 0};
    OWNED(token_drop) struct token none = {.id = 0};

    OK(robot_try(fixture, "ci", 1, &token));
    REFUSES(robot_try(fixture, "ci", 2, &none), ERROR_CONFLICT);
    REFUSES(robot_try(fixture, "deploy", 1, &none),
            ERROR_INTERNAL); /* a secret twice: its last step */
    assert_int_equal(none.id, 0);
    assert_int_equal(COUNT("accounts"), 1);
    assert_int_equal(COUNT("grants"), 2);
}

/* --- refresh tokens --- */

static int refresh(struct fixture *fixture, int64_t id, int which, bool *reused)
{
    uint8_t hash[SECRET_HASH_SIZE];
    const struct token_new successor = {.secret_hash = hash_new(hash, which),
                                        .hint = SLICE("hint"),
                                        .expires_at = clock_now_us() + HOUR};

    fixture->err = (struct error){0};
    return token_refresh_rotate(fixture->store, id, &successor, MINUTE, reused, &an_event,
                                &fixture->err);
}

static int refresh_use(struct fixture *fixture, int64_t id, bool *reused)
{
    fixture->err = (struct error){0};
    return token_refresh_use(fixture->store, id, MINUTE, reused, &an_event, &fixture->err);
}

/* TOK-27, TOK-29 */
static void test_tokens_refresh_gives_a_successor(void **state)
{
    struct fixture *fixture = *state;
    OWNED(token_drop) struct token fresh = {.id = 0};
    uint8_t hash[SECRET_HASH_SIZE];
    int64_t ana = user_new(fixture, "ana");
    int64_t id = token_make(fixture, ana, TOKEN_REFRESH, 1);
    int64_t events = COUNT("audit");
    bool reused = true;

    STAYS(refresh_use(fixture, id, &reused)); /* unrotated, as often as one likes */
    assert_false(reused);
    STAYS(refresh(fixture, id, 2, &reused));
    assert_false(reused);
    OK(token_find(fixture->store, hash_new(hash, 2), &fresh, &fixture->err));
    assert_int_equal(fresh.kind, TOKEN_REFRESH);
    assert_int_equal(fresh.account_id, ana);
    assert_string_equal(fresh.service, "registry");
    assert_int_equal(number(fixture, "SELECT count(DISTINCT family) FROM tokens"), 1);
    int64_t rotated_at = number(fixture, "SELECT rotated_at FROM tokens WHERE id = 1");
    assert_true(rotated_at > 0);
    STAYS(refresh(fixture, id, 3, &reused)); /* an answer was lost: once more, within the minute */
    assert_false(reused);
    STAYS(refresh_use(fixture, id, &reused));
    assert_false(reused);
    assert_int_equal(number(fixture, "SELECT rotated_at FROM tokens WHERE id = 1"), rotated_at);
    assert_int_equal(COUNT("tokens"), 3);
    assert_int_equal(COUNT("audit"), events);
}

static void expect_family_gone(struct fixture *fixture, bool successor)
{
    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob");
    int64_t id = token_make(fixture, ana, TOKEN_REFRESH, 1);
    bool reused = false;

    token_make(fixture, ana, TOKEN_PERSONAL, 5);
    token_make(fixture, bob, TOKEN_REFRESH, 6);
    script(fixture, "UPDATE tokens SET family = x'00' WHERE account_id = 2");
    OK(refresh(fixture, id, 2, &reused));
    script(fixture, "UPDATE tokens SET rotated_at = rotated_at - 61000000");
    int64_t events = COUNT("audit");
    GROWS(successor ? refresh(fixture, id, 3, &reused) : refresh_use(fixture, id, &reused));
    assert_true(reused);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tokens WHERE account_id = 1"
                                     "   AND kind = 2"),
                     0);
    assert_int_equal(COUNT("tokens"), 2);
    assert_int_equal(COUNT("audit"), events + 1);
    FAILS(refresh_use(fixture, id, &reused), ERROR_NOT_FOUND);
    FAILS(refresh(fixture, id, 3, &reused), ERROR_NOT_FOUND);
}

static void test_tokens_refresh_used_again_ends_the_family(void **state)
{
    expect_family_gone(*state, true);
}

static void test_tokens_refresh_shown_again_ends_the_family(void **state)
{
    expect_family_gone(*state, false);
}

static void test_tokens_refresh_refuses(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana");
    int64_t personal = token_make(fixture, ana, TOKEN_PERSONAL, 1);
    int64_t id = token_make(fixture, ana, TOKEN_REFRESH, 2);
    bool reused = false;

    REFUSES(refresh(fixture, 99, 3, &reused), ERROR_NOT_FOUND);
    REFUSES(refresh(fixture, personal, 3, &reused), ERROR_NOT_FOUND);
    script(fixture, "UPDATE tokens SET disabled = 1 WHERE kind = 2");
    REFUSES(refresh(fixture, id, 3, &reused), ERROR_NOT_FOUND);
    script(fixture, "UPDATE tokens SET disabled = 0, expires_at = 1 WHERE kind = 2");
    REFUSES(refresh(fixture, id, 3, &reused), ERROR_NOT_FOUND);
    REFUSES(refresh_use(fixture, id, &reused), ERROR_NOT_FOUND);
    assert_false(reused);
}

/* --- browsers' sessions --- */

static void test_tokens_sessions_are_found_and_end(void **state)
{
    struct fixture *fixture = *state;
    OWNED(login_session_drop) struct login_session session = {.id = 0};
    uint8_t hash[SECRET_HASH_SIZE];
    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob");
    int64_t id = session_make(fixture, ana, 1), before = COUNT("audit");

    OK(login_session_find(fixture->store, hash_new(hash, 1), &session, &fixture->err));
    assert_int_equal(session.id, id);
    assert_int_equal(session.account_id, ana);
    assert_string_equal(session.account, "ana");
    assert_string_equal(session.remote, "192.0.2.9");
    assert_string_equal(session.agent, "a browser");
    assert_true(session.created_at > 0 && session.used_at == session.created_at &&
                session.password_at == session.created_at);
    REFUSES(login_session_delete(fixture->store, id, bob, &an_event, &fixture->err),
            ERROR_NOT_FOUND);
    GROWS(login_session_delete(fixture->store, id, ana, &an_event, &fixture->err));
    assert_int_equal(COUNT("audit"), before + 1);
    login_session_drop(&session);
    FAILS(login_session_find(fixture->store, hash, &session, &fixture->err), ERROR_NOT_FOUND);
    GROWS(login_session_delete(fixture->store, session_make(fixture, bob, 2), 0, &an_event,
                               &fixture->err));
    FAILS(login_session_create(fixture->store, 99, hash, SLICE("x"), SLICE("y"), &an_event, &id,
                               &fixture->err),
          ERROR_NOT_FOUND);
}

static void test_tokens_oldest_session_makes_room(void **state)
{
    struct fixture *fixture = *state;
    uint8_t hash[SECRET_HASH_SIZE];
    int64_t ana = user_new(fixture, "ana"), id = 0;

    for (int i = 0; i < SESSIONS_MAX; i++)
        STAYS(login_session_create(fixture->store, ana, hash_new(hash, i), SLICE("x"), SLICE("y"),
                                   &an_event, &id, &fixture->err));
    session_make(fixture, user_new(fixture, "bob"), 1000);
    GROWS(login_session_create(fixture->store, ana, hash_new(hash, 1001), SLICE("x"), SLICE("y"),
                               &an_event, &id, &fixture->err));
    assert_int_equal(COUNT("sessions"), SESSIONS_MAX + 1);
    assert_int_equal(number(fixture, "SELECT min(id) FROM sessions"), 2);
}

static void test_tokens_session_touch_writes_once_a_minute(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = session_make(fixture, user_new(fixture, "ana"), 1);
    int64_t used_at = number(fixture, "SELECT used_at FROM sessions");

    OK(login_session_touch(fixture->store, id, &fixture->err));
    assert_int_equal(number(fixture, "SELECT used_at FROM sessions"), used_at);
    script(fixture, "UPDATE sessions SET used_at = used_at - 61000000");
    STAYS(login_session_touch(fixture->store, id, &fixture->err));
    assert_true(number(fixture, "SELECT used_at FROM sessions") >= used_at);
    FAILS(login_session_touch(fixture->store, 99, &fixture->err), ERROR_NOT_FOUND);
}

static void test_tokens_sessions_are_listed(void **state)
{
    struct fixture *fixture = *state;
    OWNED(login_page_drop) struct login_page page = {.items = NULL};
    int64_t ana = user_new(fixture, "ana");
    int64_t first = session_make(fixture, ana, 1);

    session_make(fixture, user_new(fixture, "bob"), 2);
    session_make(fixture, ana, 3);
    OK(login_session_list(fixture->store, ana, 0, 1, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    assert_int_equal(page.items[0].id, first);
    assert_int_equal(page.total, 2);
    assert_true(page.more);
    login_page_drop(&page);
    OK(login_session_list(fixture->store, ana, first, 1, &page, &fixture->err));
    assert_true(page.count == 1 && page.items[0].id > first && !page.more);
    login_page_drop(&page);
    OK(login_session_list(fixture->store, 0, 0, 9, &page, &fixture->err));
    assert_int_equal(page.count, 3);
    assert_int_equal(page.total, 3);
    assert_string_equal(page.items[1].account, "bob");
}

/* --- expiry --- */

static void test_tokens_expire(void **state)
{
    struct fixture *fixture = *state;
    int64_t ana = user_new(fixture, "ana"), id = 0, now = clock_now_us();
    bool more = true;

    OK(token_new_try(fixture, ana, TOKEN_PERSONAL, 1, now - 1, &id));
    OK(token_new_try(fixture, ana, TOKEN_REFRESH, 2, now - 1, &id));
    OK(token_new_try(fixture, ana, TOKEN_PERSONAL, 3, now + HOUR, &id));
    token_make(fixture, ana, TOKEN_PERSONAL, 4);
    session_make(fixture, ana, 1);
    script(fixture, "UPDATE sessions SET used_at = 10, created_at = 5");
    session_make(fixture, ana, 2);
    script(fixture, "UPDATE sessions SET created_at = 20 WHERE created_at > 20");
    STAYS(token_expire(fixture->store, 10, 5, &more, &fixture->err));
    assert_true(more);
    assert_int_equal(COUNT("tokens"), 2);
    assert_int_equal(COUNT("sessions"), 2);
    GROWS(token_expire(fixture->store, 11, 5, &more, &fixture->err)); /* unused for long */
    assert_int_equal(COUNT("sessions"), 1);
    GROWS(token_expire(fixture->store, INT64_MIN, 21, &more, &fixture->err)); /* too old */
    assert_int_equal(COUNT("sessions"), 0);
    STAYS(token_expire(fixture->store, INT64_MIN, INT64_MIN, &more, &fixture->err));
    assert_false(more);
    assert_int_equal(COUNT("tokens"), 2);
}

/* --- who opened an upload session --- */

/* TOK-55 */
static void test_tokens_upload_remembers_its_owner(void **state)
{
    struct fixture *fixture = *state;
    struct upload_owner owner = {.started_at = 0};
    char id[OCI_UPLOAD_ID_SIZE + 1], nobodys[OCI_UPLOAD_ID_SIZE + 1];
    int64_t before = clock_now_us();

    const struct actor ours = {.account = 7, .owner = SLICE("account:7")};
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, &ours, id, &fixture->err));
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, nobodys,
                            &fixture->err));
    OK(upload_owner_find(fixture->store, REPOSITORY, slice_of(id), &owner, &fixture->err));
    assert_string_equal(owner.owner, "account:7");
    assert_true(owner.started_at >= before && owner.started_at <= clock_now_us());
    OK(upload_owner_find(fixture->store, REPOSITORY, slice_of(nobodys), &owner, &fixture->err));
    assert_string_equal(owner.owner, "");
    FAILS(upload_owner_find(fixture->store, SLICE("other"), slice_of(id), &owner, &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
    FAILS(upload_owner_find(fixture->store, REPOSITORY, SLICE("x"), &owner, &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
}

/* Runs last: statements of the tests above. The oldest refresh token of an account is looked for
 * among its own, few enough to sort. */
static void test_tokens_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, "CASE                                WHEN rotated_at") >= 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_tokens_are_found_by_hash_and_id),
        FIXTURE_TEST(test_tokens_have_a_limit),
        FIXTURE_TEST(test_tokens_oldest_refresh_token_makes_room),
        FIXTURE_TEST(test_tokens_are_deleted_and_disabled),
        FIXTURE_TEST(test_tokens_rotate_with_overlap),
        FIXTURE_TEST(test_tokens_rotate_never_lengthens_the_old_one),
        FIXTURE_TEST(test_tokens_touch_writes_once_a_minute),
        FIXTURE_TEST(test_tokens_are_listed_by_id),
        FIXTURE_TEST(test_tokens_robot_is_made_whole),
        FIXTURE_TEST(test_tokens_robot_is_made_whole_or_not),
        FIXTURE_TEST(test_tokens_refresh_gives_a_successor),
        FIXTURE_TEST(test_tokens_refresh_used_again_ends_the_family),
        FIXTURE_TEST(test_tokens_refresh_shown_again_ends_the_family),
        FIXTURE_TEST(test_tokens_refresh_refuses),
        FIXTURE_TEST(test_tokens_sessions_are_found_and_end),
        FIXTURE_TEST(test_tokens_oldest_session_makes_room),
        FIXTURE_TEST(test_tokens_session_touch_writes_once_a_minute),
        FIXTURE_TEST(test_tokens_sessions_are_listed),
        FIXTURE_TEST(test_tokens_expire),
        FIXTURE_TEST(test_tokens_upload_remembers_its_owner),
        FIXTURE_TEST(test_tokens_no_statement_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

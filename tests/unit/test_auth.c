/* test_auth.c - decisions over a real storage: nobody, passwords, the password file, the management
 * API, setup, and what else is asked of an identity. */
#include <unistd.h>

#include "tests/support/auth_clock.h"

static struct slice header_none(void)
{
    return SLICE_NONE;
}

/* --- nobody --- */

/* Spec: PING-02, TOK-08, TOK-09, AUTHZ-01. */
static void test_auth_refuses_nobody(void **state)
{
    (void)state;
    repository_public("pub");
    for (enum action action = ACTION_NONE; action < ACTION_COUNT; action++) {
        bool open = action == ACTION_NONE || action == ACTION_TOKEN || action == ACTION_HOOK ||
                    action == ACTION_API_PUBLIC;

        assert_int_equal(ask_for(action, "pub", header_none()),
                         open ? ERROR_NONE : ERROR_UNAUTHORIZED);
        assert_null(world.answer.fault);
        assert_int_not_equal(world.peeked, AUTH_ASK); /* never a worker's business */
        if (open)
            assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
    }
}

static void test_auth_open_mode_grants_everybody(void **state)
{
    (void)state;
    world.options.mode = AUTH_MODE_NONE;
    world_reopen();
    for (enum action action = ACTION_TOKEN; action < ACTION_COUNT; action++) {
        if (action == ACTION_HOOK)
            continue; /* who sends one is not asked */
        assert_int_equal(ask_for(action, "any", header_none()), ERROR_NONE);
        assert_int_equal(world.answer.identity->kind, IDENTITY_OPEN);
        assert_int_equal(world.peeked, AUTH_GRANTED);
        assert_int_equal(world.answer.may_push, true);
    }
    assert_true(auth_may(world.auth, world.answer.identity, SLICE_NONE, LEVEL_ADMIN));
}

/* Without tokens there is no other way to pull for everybody. Spec: TOK-62. */
static void test_auth_basic_alone_lets_everybody_pull_what_is_public(void **state)
{
    (void)state;
    repository_public("pub");
    world.options.challenge_basic = world.options.anonymous_pull = true;
    world_reopen();
    assert_int_equal(ask_for(ACTION_PULL, "pub", header_none()), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PULL, "secret", header_none()), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PUSH, "pub", header_none()), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_BASE, NULL, header_none()), ERROR_UNAUTHORIZED);
    world.options.anonymous_pull = false;
    world_reopen();
    assert_int_equal(ask_for(ACTION_PULL, "pub", header_none()), ERROR_UNAUTHORIZED);
}

/* --- passwords --- */

/* Spec: PING-03, TOK-16, TOK-61, AUTHZ-01. */
static void test_auth_passwords(void **state)
{
    OWNED(buffer_drop) struct buffer right = BUFFER_NONE, wrong = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "team/*", LEVEL_WRITE);
    basic("ana", PASSWORD, &right);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&right)), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
    assert_string_equal(world.answer.identity->name, "ana");
    assert_int_equal(world.answer.identity->credential, CREDENTIAL_PASSWORD);
    assert_true(world.answer.identity->password_at > 0);
    assert_int_equal(ask_for(ACTION_PUSH, "team/a", buffer_slice(&right)), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED); /* remembered */
    assert_true(world.answer.may_push);
    assert_int_equal(ask_for(ACTION_PULL, "other", buffer_slice(&right)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_DELETE, "team/a", buffer_slice(&right)), ERROR_DENIED);
    for (int i = 0; i < 2; i++) {
        static const char *const names[] = {"ana", "nobody"};

        basic(names[i], "wrong pass", &wrong);
        assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&wrong)), ERROR_UNAUTHORIZED);
        assert_string_equal(world.err.message, "wrong name or password");
        assert_null(world.answer.fault);
        assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
    }
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&wrong)), ERROR_UNAUTHORIZED);
}

/* Spec: TOK-58, TOK-71. */
static void test_auth_headers_that_say_nothing(void **state)
{
    OWNED(buffer_drop) struct buffer empty = BUFFER_NONE;

    (void)state;
    basic("", "", &empty);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&empty)), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&empty)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_BASE, NULL, SLICE("Negotiate abc")), ERROR_UNAUTHORIZED);
    assert_int_equal(world.peeked, AUTH_REFUSED);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, SLICE("Basic ***")), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_BASE, NULL, SLICE("")), ERROR_UNAUTHORIZED);
}

/* What changed since is seen at once, and nothing is hashed for it. */
static void test_auth_remembered_passwords_are_checked_again(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    int64_t grant = grant_make("ana", "a", LEVEL_READ);
    basic("ana", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_NONE);
    DONE(grant_delete(world.fixture->store, grant, 0, &TEST_EVENT, &world.err));
    assert_int_equal(ask_for(ACTION_PULL, "a", buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(world.peeked, AUTH_ASK);
    user_delete("ana");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
}

static void test_auth_a_changed_password_ends_the_old_one(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    const struct slice other =
        SLICE("$2b$04$abcdefghijklmnopqrstuugrVnoQHkvhi0Tz9leE6mP3ikkslxM8.");
    const struct account_change change = {.password_hash = &other};

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    basic("ana", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
    DONE(account_update(world.fixture->store, ACCOUNT_USER, SLICE("ana"), &change, &TEST_EVENT,
                        &world.err));
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    basic("ana", "other pass", &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
}

static void test_auth_disabled_and_expired_accounts(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    user_make("bob", ACCOUNT_ROLE_USER);
    user_disable("ana");
    script(world.fixture, "UPDATE accounts SET expires_at = 1 WHERE name = 'bob'");
    basic("ana", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    basic("bob", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
}

/* An account's end is no commit: the identity itself must end with it. */
static void test_auth_identities_end_with_the_account(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    OWNED(identity_drop) const struct identity *known = NULL;
    const int64_t soon = clock_now_us() + 100 * (int64_t)US_PER_S;
    char expiry[100];

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    snprintf(expiry, sizeof(expiry), "UPDATE accounts SET expires_at = %lld", (long long)soon);
    script(world.fixture, expiry);
    basic("ana", PASSWORD, &header);
    struct auth_request request = wants(ACTION_BASE, NULL, buffer_slice(&header));
    assert_int_equal(ask(&request), ERROR_NONE);
    known = identity_hold(world.answer.identity);
    assert_int_equal(caller_of(known)->good_until, soon);
    request.known = known;
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED);
    ((struct caller *)(uintptr_t)known)->good_until = 1; /* as if that time had come */
    script(world.fixture, "UPDATE accounts SET expires_at = 1");
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
}

static void test_auth_connections_remember(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    OWNED(identity_drop) const struct identity *known = NULL;
    struct auth_request request;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    user_make("bob", ACCOUNT_ROLE_USER);
    basic("ana", PASSWORD, &header);
    request = wants(ACTION_BASE, NULL, buffer_slice(&header));
    assert_int_equal(ask(&request), ERROR_NONE);
    known = identity_hold(world.answer.identity);
    remember_close(world.auth->remember); /* only the connection knows now */
    world.auth->remember = remember_open();
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
    remember_close(world.auth->remember);
    world.auth->remember = remember_open();
    request.known = known;
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED);
    basic("bob", PASSWORD, &header); /* somebody else on the same connection */
    request.authorization = buffer_slice(&header);
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_string_equal(world.answer.identity->name, "bob");
    request.authorization = SLICE_NONE;
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    basic("ana", PASSWORD, &header);
    request.authorization = buffer_slice(&header);
    user_delete("ana");
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
}

/* --- the password file --- */

static void htpasswd_use(const char *content)
{
    world.options.htpasswd_file = world.htpasswd;
    file_write(world.htpasswd, slice_of(content));
}

/* Spec: TOK-61. */
static void test_auth_password_file(void **state)
{
    OWNED(buffer_drop)
    struct buffer header = BUFFER_NONE, own = BUFFER_NONE, token = BUFFER_NONE, line = BUFFER_NONE;

    (void)state;
    user_make("bob", ACCOUNT_ROLE_USER);
    buffer_print(&line, "ana:%s\nbob:%s\nUpper:%s\n", PASSWORD_HASH,
                 "$2b$04$abcdefghijklmnopqrstuugrVnoQHkvhi0Tz9leE6mP3ikkslxM8.", PASSWORD_HASH);
    buffer_append(&line, "", 1);
    htpasswd_use(line.at);
    world_reopen();
    basic("ana", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
    assert_true(world.answer.identity->account > 0);
    basic("bob", "other pass", &own); /* has an account with a password of its own */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&own)), ERROR_UNAUTHORIZED);
    basic("Upper", PASSWORD, &own); /* no name of an account */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&own)), ERROR_UNAUTHORIZED);
    user_token("ana", "", &token);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&token)), ERROR_NONE);
    htpasswd_use("# nobody\n");
    DONE(auth_reload(world.auth, true, &world.err));
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&token)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
}

/* --- the management API --- */

static void test_auth_api_hides_what_may_not_be_seen(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "seen", LEVEL_READ);
    grant_make("ana", "own/*", LEVEL_ADMIN);
    repository_public("pub");
    basic("ana", PASSWORD, &header);
    assert_int_equal(ask_for(ACTION_API_READ, "hidden", buffer_slice(&header)), ERROR_NOT_FOUND);
    assert_int_equal(ask_for(ACTION_API_READ, "seen", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_API_READ, "pub", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_API_MANAGE, "hidden", buffer_slice(&header)), ERROR_NOT_FOUND);
    assert_int_equal(ask_for(ACTION_API_MANAGE, "seen", buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_API_MANAGE, "pub", buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_API_MANAGE, "own/x", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_API_ACCOUNTS, NULL, buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_API_READ, "pub", header_none()), ERROR_UNAUTHORIZED);
}

static void test_auth_socket_is_an_administrator(void **state)
{
    struct auth_request request = wants(ACTION_API_ACCOUNTS, NULL, SLICE_NONE);

    (void)state;
    request.local = true;
    request.changes = true;
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_LOCAL);
    assert_string_equal(world.answer.identity->name, "local");
    DONE(auth_require_fresh(world.auth, world.answer.identity, &world.err));
    request.action = ACTION_BASE; /* for the management API only */
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    request.action = ACTION_TOKEN;
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
}

/* --- the first administrator --- */

static void test_auth_setup(void **state)
{
    char token[AUTH_SECRET_MAX] = "", after[AUTH_SECRET_MAX] = "", other[AUTH_SECRET_MAX] = "";
    const struct auth_login from = {
        .remote = SLICE("192.0.2.1"), .network = world.network, .request_id = SLICE("id")};
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;

    (void)state;
    auth_setup_token(world.auth, token);
    assert_int_equal(strlen(token), SECRET_TEXT_SIZE);
    secret_new(SECRET_SETUP, other);
    REFUSED(auth_setup(world.auth, slice_of(other), SLICE("root"), SLICE("long enough"), &from,
                       &world.err),
            ERROR_UNAUTHORIZED);
    REFUSED(auth_setup(world.auth, slice_of(token), SLICE("Root"), SLICE("long enough"), &from,
                       &world.err),
            ERROR_INVALID);
    REFUSED(
        auth_setup(world.auth, slice_of(token), SLICE("root"), SLICE("short"), &from, &world.err),
        ERROR_INVALID);
    REFUSED(auth_setup(world.auth, slice_of(token), SLICE("rootroot"), SLICE("rootroot"), &from,
                       &world.err),
            ERROR_INVALID);
    DONE(auth_setup(world.auth, slice_of(token), SLICE("root"), SLICE("long enough"), &from,
                    &world.err));
    auth_setup_token(world.auth, after);
    assert_string_equal(after, "");
    REFUSED(auth_setup(world.auth, slice_of(token), SLICE("eve"), SLICE("long enough"), &from,
                       &world.err),
            ERROR_CONFLICT);
    basic("root", "long enough", &header);
    assert_int_equal(ask_for(ACTION_API_ACCOUNTS, NULL, buffer_slice(&header)), ERROR_NONE);
}

static void test_auth_setup_is_over_once_there_is_an_administrator(void **state)
{
    char token[AUTH_SECRET_MAX] = "";
    const struct auth_login from = {.network = world.network};

    (void)state;
    auth_setup_token(world.auth, token);
    user_make("ana", ACCOUNT_ROLE_ADMIN); /* in another way */
    REFUSED(auth_setup(world.auth, slice_of(token), SLICE("eve"), SLICE("long enough"), &from,
                       &world.err),
            ERROR_CONFLICT);
    DONE(auth_reload(world.auth, false, &world.err));
    auth_setup_token(world.auth, token);
    assert_string_equal(token, "");
    world_reopen();
    auth_setup_token(world.auth, token);
    assert_string_equal(token, "");
}

/* --- further questions --- */

static void test_auth_rights_of_a_caller(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct repository_filter filter;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "team/*", LEVEL_WRITE);
    grant_make("ana", "team/a", LEVEL_READ);
    grant_make("ana", "drop", RIGHT_PUSH);
    repository_public("pub");
    assert_int_equal(ask_for(ACTION_BASE, NULL, basic("ana", PASSWORD, &header)), ERROR_NONE);
    const struct identity *ana = world.answer.identity;
    assert_int_equal(auth_rights(world.auth, ana, SLICE("team/a")), LEVEL_WRITE);
    assert_int_equal(auth_rights(world.auth, ana, SLICE("pub")), RIGHT_PULL);
    assert_int_equal(auth_rights(world.auth, ana, SLICE("other")), 0);
    assert_true(auth_may(world.auth, ana, SLICE("pub"), RIGHT_PULL));
    assert_false(auth_may(world.auth, ana, SLICE("pub"), LEVEL_WRITE));
    assert_false(auth_may(world.auth, ana, SLICE("other"), RIGHT_PULL));
    assert_false(auth_may(world.auth, ana, SLICE_NONE, RIGHT_PULL));
    assert_true(auth_may_pattern(world.auth, ana, SLICE("team/x/*"), LEVEL_WRITE));
    assert_false(auth_may_pattern(world.auth, ana, SLICE("team/x/*"), LEVEL_ADMIN));
    auth_list_filter(world.auth, ana, &filter);
    assert_false(filter.all);
    assert_true(filter.public);
    assert_int_equal(filter.pattern_count, 1); /* team/a lies within; drop may not be read */
    assert_true(slice_equal_text(filter.patterns[0], "team/*"));
}

static void test_auth_lists_of_narrowed_tokens(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];
    struct repository_filter filter;

    (void)state;
    token_make(user_make("root", ACCOUNT_ROLE_ADMIN), "repository:team/*:pull repository:x:push",
               secret);
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, basic("root", secret, &header)), ERROR_NONE);
    auth_list_filter(world.auth, world.answer.identity, &filter);
    assert_false(filter.all);
    assert_false(filter.public);
    assert_int_equal(filter.pattern_count, 1);
    assert_true(slice_equal_text(filter.patterns[0], "team/*"));
    assert_int_equal(ask_for(ACTION_CATALOG, NULL, basic("root", PASSWORD, &header)), ERROR_NONE);
    auth_list_filter(world.auth, world.answer.identity, &filter);
    assert_true(filter.all);
}

/* Spec: TOK-66. */
static void test_auth_pulls_are_counted(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct pull_quota quota;
    uint8_t network[8] = {1};

    (void)state;
    clock_stop();
    world.options.pulls_anonymous = (struct auth_rate){1, 60000};
    world.options.pulls_account = (struct auth_rate){2, 60000};
    world_reopen();
    user_make("ana", ACCOUNT_ROLE_USER);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, header_none()), ERROR_NONE);
    const struct identity *nobody = world.answer.identity;
    assert_true(auth_pull_admit(world.auth, nobody, SLICE("192.0.2.1"), network, true, &quota));
    assert_true(quota.limited);
    assert_int_equal(quota.limit, 1);
    assert_int_equal(quota.remaining, 0);
    assert_int_equal(quota.window_s, 60);
    assert_string_equal(quota.source, "192.0.2.1");
    assert_false(auth_pull_admit(world.auth, nobody, SLICE("192.0.2.1"), network, true, &quota));
    assert_true(quota.retry_after_s > 0);
    network[0] = 2;
    assert_true(auth_pull_admit(world.auth, nobody, SLICE("192.0.2.2"), network, true, &quota));
    assert_int_equal(ask_for(ACTION_BASE, NULL, basic("ana", PASSWORD, &header)), ERROR_NONE);
    assert_true(
        auth_pull_admit(world.auth, world.answer.identity, SLICE("x"), network, true, &quota));
    assert_int_equal(quota.remaining, 1);
    assert_string_equal(quota.source, "ana");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_auth_refuses_nobody),
        AUTH_TEST(test_auth_open_mode_grants_everybody),
        AUTH_TEST(test_auth_basic_alone_lets_everybody_pull_what_is_public),
        AUTH_TEST(test_auth_passwords),
        AUTH_TEST(test_auth_headers_that_say_nothing),
        AUTH_TEST(test_auth_remembered_passwords_are_checked_again),
        AUTH_TEST(test_auth_a_changed_password_ends_the_old_one),
        AUTH_TEST(test_auth_disabled_and_expired_accounts),
        AUTH_TEST(test_auth_identities_end_with_the_account),
        AUTH_TEST(test_auth_connections_remember),
        AUTH_TEST(test_auth_password_file),
        AUTH_TEST(test_auth_api_hides_what_may_not_be_seen),
        AUTH_TEST(test_auth_socket_is_an_administrator),
        AUTH_TEST(test_auth_setup),
        AUTH_TEST(test_auth_setup_is_over_once_there_is_an_administrator),
        AUTH_TEST(test_auth_rights_of_a_caller),
        AUTH_TEST(test_auth_lists_of_narrowed_tokens),
        CLOCK_TEST(test_auth_pulls_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

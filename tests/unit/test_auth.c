/* test_auth.c - decisions over a real storage: credentials, memory, sessions, guard, setup. */
#include <unistd.h>

#include "tests/support/auth.h"
#include "tests/support/still_clock.h"

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

/* --- personal tokens --- */

/* Spec: TOK-65. */
static void test_auth_personal_tokens(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, jwt = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_USER);
    grant_make("ana", "team/*", LEVEL_WRITE);
    int64_t id = token_make(ana, "repository:team/a:pull", secret);
    basic("ana", secret, &header);
    assert_int_equal(ask_for(ACTION_PULL, "team/a", buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_ASK); /* nothing to be hashed slowly */
    assert_int_equal(world.answer.identity->credential, CREDENTIAL_TOKEN);
    assert_int_equal(world.answer.identity->token, id);
    assert_false(world.answer.may_push);
    assert_int_equal(ask_for(ACTION_PUSH, "team/a", buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_PULL, "team/b", buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_API_SIGNED_IN, NULL, buffer_slice(&header)), ERROR_DENIED);
    assert_int_equal(ask_for(ACTION_API_READ, "team/a", buffer_slice(&header)), ERROR_NONE);
    token_get(buffer_slice(&header), "repository:team/a:pull,push repository:team/b:pull", &jwt);
    assert_int_equal(ask_for(ACTION_PULL, "team/a", buffer_slice(&jwt)), ERROR_NONE);
    assert_int_equal(world.answer.identity->token, id);
    assert_int_equal(ask_for(ACTION_PUSH, "team/a", buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PULL, "team/b", buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    FAULT("insufficient_scope");
    DONE(token_delete(world.fixture->store, id, 0, &TEST_EVENT, &world.err));
    assert_int_equal(ask_for(ACTION_PULL, "team/a", buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_PULL, "team/a", buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
}

static void test_auth_personal_tokens_that_do_not_stand(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    int64_t ana = user_make("ana", ACCOUNT_ROLE_USER);
    user_make("bob", ACCOUNT_ROLE_USER);
    token_make(ana, "", secret);
    basic("bob", secret, &header); /* whose it is not */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    basic("ana", secret, &header);
    script(world.fixture, "UPDATE tokens SET disabled = 1");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    script(world.fixture, "UPDATE tokens SET disabled = 0, expires_at = 1");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    script(world.fixture, "UPDATE tokens SET expires_at = NULL");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
    secret[20] = secret[20] == 'a' ? 'b' : 'a'; /* the checksum tells: a wrong password */
    basic("ana", secret, &header);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
}

/* A secret with a checksum that is not taken where it is shown is hashed, and so asked slowly: else
 * strangers had every worker hash at once. auth (5). */
static void test_auth_hashes_slowly_what_looks_like_a_token(void **state)
{
    static const struct {
        enum secret_kind kind;
        enum action action;
        enum auth_peeked peeked;
    } cases[] = {
        {SECRET_PERSONAL, ACTION_BASE, AUTH_ASK},
        {SECRET_REFRESH, ACTION_BASE, AUTH_ASK_SLOWLY},
        {SECRET_SETUP, ACTION_BASE, AUTH_ASK_SLOWLY},
        {SECRET_PERSONAL, ACTION_TOKEN, AUTH_ASK},
        {SECRET_REFRESH, ACTION_TOKEN, AUTH_ASK},
        {SECRET_SETUP, ACTION_TOKEN, AUTH_ASK_SLOWLY},
        {SECRET_PERSONAL, ACTION_API_READ, AUTH_ASK},
        {SECRET_REFRESH, ACTION_API_READ, AUTH_ASK_SLOWLY},
    };
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        secret_new(cases[i].kind, secret);
        basic("ana", secret, &header);
        ask_for(cases[i].action, "team/a", buffer_slice(&header));
        assert_int_equal(world.err.code, ERROR_UNAUTHORIZED);
        assert_int_equal(world.peeked, cases[i].peeked);
    }
}

/* Whatever the clock says that is asked later. */
static void test_auth_replaced_tokens_end_with_that(void **state)
{
    const int64_t later = clock_now_us() + 3600 * (int64_t)US_PER_S;
    const struct {
        int64_t rotated_at, expires_at;
        bool stands;
    } cases[] = {
        {0, 0, true},          {0, later, true},          {later, 0, true},
        {later, later, false}, {later, later - 1, false}, {later, later + 1, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct token token = {.kind = TOKEN_PERSONAL,
                              .rotated_at = cases[i].rotated_at,
                              .expires_at = cases[i].expires_at};
        assert_int_equal(token_stands(&token, TOKEN_PERSONAL), cases[i].stands);
    }
}

/* The management API takes it as Bearer, the distribution API does not; with JWTs it is the other
 * way round. Who is remembered is refused with the same words (TOK-06). */
static void test_auth_bearer_means_one_thing_in_each_api(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, jwt = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    token_make(user_make("ana", ACCOUNT_ROLE_ADMIN), "", secret);
    bearer(secret, &header);
    user_token("ana", "", &jwt);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    assert_int_equal(ask_for(ACTION_API_ACCOUNTS, NULL, buffer_slice(&header)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_API_ACCOUNTS, NULL, buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&jwt)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_API_ACCOUNTS, NULL, buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");
    assert_int_equal(ask_for(ACTION_API_PUBLIC, NULL, buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
    assert_int_equal(ask_for(ACTION_TOKEN, NULL, buffer_slice(&jwt)), ERROR_UNAUTHORIZED);
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

/* --- sessions --- */

/* A session of ana's; the Cookie header. */
static struct slice session_open(bool secure, struct buffer *cookie)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, set = BUFFER_NONE;
    struct slice pair, rest;

    assert_int_equal(ask_for(ACTION_API_PUBLIC, NULL, basic("ana", PASSWORD, &header)), ERROR_NONE);
    DONE(auth_session_open(world.auth, world.answer.identity, SLICE("192.0.2.1"),
                           SLICE("browser \r\n"), SLICE("id"), secure, &set, &world.err));
    slice_split(buffer_slice(&set), ';', &pair, &rest);
    cookie->size = 0;
    buffer_append_slice(cookie, pair);
    if (secure)
        assert_true(slice_equal_text(rest, " Path=/; Max-Age=86400; Secure; HttpOnly; "
                                           "SameSite=Strict"));
    return buffer_slice(cookie);
}

static struct auth_request with_cookie(enum action action, const struct buffer *cookie)
{
    struct auth_request request = wants(action, NULL, SLICE_NONE);

    request.cookie = buffer_slice(cookie);
    return request;
}

static void test_auth_sessions(void **state)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE;
    struct auth_request request;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    user_make("root", ACCOUNT_ROLE_ADMIN);
    session_open(false, &cookie);
    request = with_cookie(ACTION_API_ACCOUNTS, &cookie);
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.answer.identity->credential, CREDENTIAL_COOKIE);
    assert_true(world.answer.identity->session > 0);
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED);
    request.tls = true; /* then it has another name */
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    session_open(true, &cookie);
    request.cookie = buffer_slice(&cookie);
    assert_int_equal(ask(&request), ERROR_NONE);
    request.action = ACTION_BASE; /* counts below /api only */
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    request.action = ACTION_TOKEN;
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
    request.action = ACTION_API_ACCOUNTS;
    user_disable("ana");
    assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    request.action = ACTION_API_PUBLIC; /* and does not keep from signing in */
    assert_int_equal(ask(&request), ERROR_NONE);
    assert_int_equal(world.answer.identity->kind, IDENTITY_ANONYMOUS);
}

static void test_auth_sessions_end(void **state)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE;
    static const char *const ends[] = {
        "UPDATE sessions SET used_at = used_at - 3601000000",
        "UPDATE sessions SET created_at = created_at - 86401000000",
        "DELETE FROM sessions",
    };

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    for (size_t i = 0; i < LENGTH(ends); i++) {
        session_open(false, &cookie);
        script(world.fixture, ends[i]);
        struct auth_request request = with_cookie(ACTION_API_SIGNED_IN, &cookie);
        assert_int_equal(ask(&request), ERROR_UNAUTHORIZED);
    }
    session_open(false, &cookie);
    script(world.fixture, "UPDATE sessions SET used_at = used_at - 3500000000");
    struct auth_request request = with_cookie(ACTION_API_SIGNED_IN, &cookie);
    assert_int_equal(ask(&request), ERROR_NONE); /* and is noted: */
    assert_true(number(world.fixture, "SELECT MAX(used_at) FROM sessions") >
                clock_now_us() - 60 * (int64_t)US_PER_S);
}

static void test_auth_sessions_are_for_passwords(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, set = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    token_make(user_make("ana", ACCOUNT_ROLE_USER), "", secret);
    assert_int_equal(ask_for(ACTION_API_PUBLIC, NULL, basic("ana", secret, &header)), ERROR_NONE);
    REFUSED(auth_session_open(world.auth, world.answer.identity, SLICE(""), SLICE(""), SLICE(""),
                              true, &set, &world.err),
            ERROR_DENIED);
    auth_session_cookie_clear(true, &set);
    assert_true(slice_equal_text(buffer_slice(&set), "__Host-slipway=; Path=/; Max-Age=0; Secure; "
                                                     "HttpOnly; SameSite=Strict"));
}

static void test_auth_fresh_passwords(void **state)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE, header = BUFFER_NONE;

    (void)state;
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    session_open(false, &cookie);
    struct auth_request request = with_cookie(ACTION_API_SIGNED_IN, &cookie);
    assert_int_equal(ask(&request), ERROR_NONE);
    DONE(auth_require_fresh(world.auth, world.answer.identity, &world.err));
    session_open(false, &cookie);
    script(world.fixture, "UPDATE sessions SET password_at = password_at - 901000000");
    request.cookie = buffer_slice(&cookie);
    assert_int_equal(ask(&request), ERROR_NONE);
    REFUSED(auth_require_fresh(world.auth, world.answer.identity, &world.err),
            ERROR_PASSWORD_STALE);
    assert_int_equal(ask_for(ACTION_API_SIGNED_IN, NULL, basic("ana", PASSWORD, &header)),
                     ERROR_NONE);
    DONE(auth_require_fresh(world.auth, world.answer.identity, &world.err));
}

/* --- other pages --- */

static const struct {
    const char *site, *origin;
    bool json;
    bool cookie, unasked; /* whether it counts with a cookie, and where nobody is asked */
    bool basic;
} PAGES[] = {
    {"same-origin", NULL, true, true, true, true},
    {"same-origin", NULL, false, false, false, true},
    {"same-site", NULL, true, false, false, false},
    {"cross-site", "http://registry.test:5000", true, false, false, false},
    {"cross-site", NULL, false, false, false, false},
    {"none", NULL, true, false, false, false},
    {NULL, "http://registry.test:5000", true, true, true, true},
    {NULL, "https://registry.test:5000", true, false, false, false},
    {NULL, "http://evil.test", true, false, false, false},
    {NULL, "null", true, false, false, false},
    {NULL, NULL, true, false, true, true},
    {NULL, NULL, false, false, false, true},
};

static enum error_code page_ask(struct auth_request request, size_t i)
{
    request.changes = true;
    request.fetch_site = slice_of(PAGES[i].site);
    request.origin = slice_of(PAGES[i].origin);
    request.json = PAGES[i].json;
    return ask(&request);
}

static void test_auth_changes_come_from_our_own_page(void **state)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE, header = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];

    (void)state;
    token_make(user_make("ana", ACCOUNT_ROLE_ADMIN), "", secret);
    session_open(false, &cookie);
    basic("ana", PASSWORD, &header);
    bearer(secret, &token);
    for (size_t i = 0; i < LENGTH(PAGES); i++) {
        enum error_code cookie_code = page_ask(with_cookie(ACTION_API_SIGNED_IN, &cookie), i);
        enum error_code nobody_code = page_ask(wants(ACTION_API_PUBLIC, NULL, SLICE_NONE), i);

        assert_int_equal(cookie_code, PAGES[i].cookie ? ERROR_NONE : ERROR_CSRF);
        assert_int_equal(nobody_code, PAGES[i].unasked ? ERROR_NONE : ERROR_CSRF);
        assert_int_equal(page_ask(wants(ACTION_API_SIGNED_IN, NULL, buffer_slice(&header)), i),
                         PAGES[i].basic ? ERROR_NONE : ERROR_CSRF);
        assert_int_equal(page_ask(wants(ACTION_API_SIGNED_IN, NULL, buffer_slice(&token)), i),
                         ERROR_NONE); /* no browser adds that by itself */
    }
    struct auth_request reads = with_cookie(ACTION_API_SIGNED_IN, &cookie);
    assert_int_equal(ask(&reads), ERROR_NONE);
    world.options.mode = AUTH_MODE_NONE;
    world.options.public_url = "http://registry.test:5000";
    world_reopen();
    for (size_t i = 0; i < LENGTH(PAGES); i++)
        assert_int_equal(page_ask(wants(ACTION_API_ACCOUNTS, NULL, SLICE_NONE), i),
                         PAGES[i].unasked ? ERROR_NONE : ERROR_CSRF);
}

/* A page of evil.test is of the "same origin" once that name points at us. */
static void test_auth_open_mode_knows_its_own_names(void **state)
{
    static const struct {
        const char *host;
        bool ours;
    } cases[] = {
        {"127.0.0.1:5000", true},  {"10.1.2.3", true},         {"[::1]:5000", true},
        {"localhost", true},       {"LocalHost:5000", true},   {"registry.test", true},
        {"evil.test", false},      {"evil.test:5000", false},  {"localhost.evil.test", false},
        {"127.0.0.1.evil", false}, {"registry.test:1", false}, {NULL, false},
    };

    (void)state;
    world.options.mode = AUTH_MODE_NONE;
    world.options.public_url = "https://registry.test";
    world_reopen();
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct auth_request request = wants(ACTION_API_ACCOUNTS, NULL, SLICE_NONE);
        request.changes = request.json = true;
        request.host = slice_of(cases[i].host);
        assert_int_equal(ask(&request), ERROR_NONE); /* no browser */
        request.fetch_site = SLICE("same-origin");
        assert_int_equal(ask(&request), cases[i].ours ? ERROR_NONE : ERROR_CSRF);
    }
}

static void test_auth_public_url_is_our_own_page(void **state)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE;

    (void)state;
    world.options.public_url = "https://public.test/";
    world_reopen();
    user_make("ana", ACCOUNT_ROLE_ADMIN);
    session_open(false, &cookie);
    struct auth_request request = with_cookie(ACTION_API_SIGNED_IN, &cookie);
    request.changes = true;
    request.origin = SLICE("https://public.test");
    assert_int_equal(ask(&request), ERROR_NONE);
    request.origin = SLICE("https://public.test.evil");
    assert_int_equal(ask(&request), ERROR_CSRF);
}

/* --- guessing --- */

/* Spec: TOK-20. */
static void test_auth_guessing_is_slowed(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    enum error_code code = ERROR_UNAUTHORIZED;
    int failed = 0;

    (void)state;
    clock_stop();
    world.options.account_rate = (struct auth_rate){2, 60000};
    world_reopen();
    user_make("ana", ACCOUNT_ROLE_USER);
    basic("ana", "wrong pass", &header);
    for (; failed < 8 && code == ERROR_UNAUTHORIZED; failed++)
        code = ask_for(ACTION_TOKEN, NULL, buffer_slice(&header));
    assert_int_equal(code, ERROR_TOOMANYREQUESTS);
    assert_int_equal(failed, 4);
    assert_int_equal(world.err.retry_after_s, 1);
    basic("ana", PASSWORD, &header); /* not even with the right one */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_TOOMANYREQUESTS);
    clock_move(1000);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_NONE);
}

/* Else whoever guesses is let in by the right one, however many wrong ones came before. */
static void test_auth_remembered_passwords_wait_for_a_pause(void **state)
{
    OWNED(buffer_drop) struct buffer right = BUFFER_NONE, wrong = BUFFER_NONE;
    OWNED(identity_drop) const struct identity *known = NULL;

    (void)state;
    clock_stop();
    world.options.account_rate = (struct auth_rate){2, 60000};
    world_reopen();
    user_make("ana", ACCOUNT_ROLE_USER);
    basic("ana", PASSWORD, &right);
    basic("ana", "wrong pass", &wrong);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&right)), ERROR_NONE);
    known = identity_hold(world.answer.identity);
    world.network[0] ^= 1; /* from elsewhere */
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&wrong)), ERROR_UNAUTHORIZED);
    for (int i = 0; i < 2; i++) {
        const struct slice header = buffer_slice(i == 0 ? &wrong : &right);
        assert_int_equal(ask_for(ACTION_BASE, NULL, header), ERROR_TOOMANYREQUESTS);
        assert_int_equal(world.peeked, AUTH_ASK_SLOWLY);
    }
    struct auth_request shared = wants(ACTION_BASE, NULL, buffer_slice(&right));
    shared.known = known; /* by a connection of a proxy */
    assert_int_equal(ask(&shared), ERROR_TOOMANYREQUESTS);
    world.network[0] ^= 1; /* where its owner is */
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&right)), ERROR_NONE);
    assert_int_equal(world.peeked, AUTH_GRANTED);
}

static void test_auth_guessing_is_slowed_by_address(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE, remembered = BUFFER_NONE;
    char secret[SECRET_TEXT_SIZE + 1];
    struct auth_secret unknown;

    (void)state;
    clock_stop();
    world.options.address_rate = (struct auth_rate){2, 60000};
    world_reopen();
    token_make(user_make("ana", ACCOUNT_ROLE_USER), "", secret);
    basic("ana", secret, &remembered);
    for (int i = 0; i < 5; i++) /* a success costs nothing */
        assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&remembered)), ERROR_NONE);
    for (int i = 0; i < 3; i++) {
        auth_secret_new(&unknown);
        basic("ana", unknown.text, &header);
        assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_UNAUTHORIZED);
    }
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&header)), ERROR_TOOMANYREQUESTS);
    assert_int_equal(ask_for(ACTION_BASE, NULL, buffer_slice(&remembered)), ERROR_NONE);
    assert_int_equal(ask_for(ACTION_API_SIGNED_IN, NULL, bearer(unknown.text, &header)),
                     ERROR_TOOMANYREQUESTS);
    assert_int_equal(ask_for(ACTION_BASE, NULL, SLICE("Bearer a.b.c")), ERROR_UNAUTHORIZED);
    FAULT("invalid_token");  /* nobody guesses a signature */
    bearer(secret, &header); /* and one that is there is no guess, from wherever it comes */
    assert_int_equal(ask_for(ACTION_API_SIGNED_IN, NULL, buffer_slice(&header)), ERROR_NONE);
}

static void test_auth_refusals_are_noted(void **state)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct audit_page page = {0};
    const struct audit_query query = {.action = SLICE("login.refused"), .limit = 10};

    (void)state;
    ask_for(ACTION_BASE, NULL, basic("anyone", "wrong pass", &header));
    ask_for(ACTION_BASE, NULL, basic("na me", "wrong pass", &header));
    fixture_reopen(world.fixture); /* writes what is in memory */
    DONE(audit_list(world.fixture->store, &query, &page, &world.err));
    world.auth->storage = world.fixture->store;
    assert_int_equal(page.count, 2);
    assert_string_equal(page.items[0].target, "user/na me");
    assert_string_equal(page.items[1].target, "user/anyone");
    assert_string_equal(page.items[1].remote, "192.0.2.1");
    assert_string_equal(page.items[1].outcome, "refused");
    assert_string_equal(page.items[1].actor, "");
    audit_page_drop(&page);
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

static int clock_tear_down(void **state)
{
    clock_go_on();
    return auth_tear_down(state);
}

#define CLOCK_TEST(name) cmocka_unit_test_setup_teardown(name, auth_set_up, clock_tear_down)

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
        AUTH_TEST(test_auth_personal_tokens),
        AUTH_TEST(test_auth_personal_tokens_that_do_not_stand),
        AUTH_TEST(test_auth_hashes_slowly_what_looks_like_a_token),
        AUTH_TEST(test_auth_replaced_tokens_end_with_that),
        AUTH_TEST(test_auth_bearer_means_one_thing_in_each_api),
        AUTH_TEST(test_auth_api_hides_what_may_not_be_seen),
        AUTH_TEST(test_auth_socket_is_an_administrator),
        AUTH_TEST(test_auth_sessions),
        AUTH_TEST(test_auth_sessions_end),
        AUTH_TEST(test_auth_sessions_are_for_passwords),
        AUTH_TEST(test_auth_fresh_passwords),
        AUTH_TEST(test_auth_changes_come_from_our_own_page),
        AUTH_TEST(test_auth_open_mode_knows_its_own_names),
        AUTH_TEST(test_auth_public_url_is_our_own_page),
        CLOCK_TEST(test_auth_guessing_is_slowed),
        CLOCK_TEST(test_auth_remembered_passwords_wait_for_a_pause),
        CLOCK_TEST(test_auth_guessing_is_slowed_by_address),
        AUTH_TEST(test_auth_refusals_are_noted),
        AUTH_TEST(test_auth_setup),
        AUTH_TEST(test_auth_setup_is_over_once_there_is_an_administrator),
        AUTH_TEST(test_auth_rights_of_a_caller),
        AUTH_TEST(test_auth_lists_of_narrowed_tokens),
        CLOCK_TEST(test_auth_pulls_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

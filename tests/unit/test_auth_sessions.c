/* test_auth_sessions.c - sessions of browsers, and pages that are not ours. */
#include "tests/support/auth.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_auth_sessions),
        AUTH_TEST(test_auth_sessions_end),
        AUTH_TEST(test_auth_sessions_are_for_passwords),
        AUTH_TEST(test_auth_fresh_passwords),
        AUTH_TEST(test_auth_changes_come_from_our_own_page),
        AUTH_TEST(test_auth_open_mode_knows_its_own_names),
        AUTH_TEST(test_auth_public_url_is_our_own_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

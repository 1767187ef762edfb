/* test_v2_token.c - the token endpoint on the wire, over an auth that notes what it was asked. */
#include <stdio.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/v2/v2_internal.h"
#include "tests/support/handler.h"
#include "tests/support/unit.h"

#define FORM "application/x-www-form-urlencoded"

/* --- auth --- */

static const struct identity ana = {.kind = IDENTITY_ACCOUNT,
                                    .credential = CREDENTIAL_PASSWORD,
                                    .account_kind = ACCOUNT_USER,
                                    .account = 1,
                                    .name = "ana"};
static const struct identity nobody = {.kind = IDENTITY_ANONYMOUS, .name = ""};
static const struct identity everybody = {.kind = IDENTITY_OPEN, .name = ""};

static struct {
    bool knows_password, knows_refresh, keys, fits;
    int issues, logins, refreshes, held;
    const struct identity *issued_to;
    char scope[128], client[64], name[64], password[64];
    bool offline;
} fake;

const struct identity *identity_hold(const struct identity *identity)
{
    fake.held += identity != NULL;
    return identity;
}

void identity_drop(const struct identity **identity)
{
    fake.held -= *identity != NULL;
    *identity = NULL;
}

static int issue(const struct token_wish *wish, struct token_given *out)
{
    fake.offline = wish->offline;
    assert_true(slice_to_text(wish->scope, fake.scope, sizeof(fake.scope)));
    assert_true(slice_to_text(wish->client, fake.client, sizeof(fake.client)));
    buffer_append_text(&out->token, "h.p.s");
    buffer_append_text(&out->scope, "repository:a:pull");
    if (wish->offline)
        buffer_append_text(&out->refresh, "again");
    out->issued_at = 1700000000;
    out->expires_in = 900;
    return 0;
}

int auth_token_issue(struct auth *auth, const struct identity *identity,
                     const struct token_wish *wish, struct token_given *out, struct error *err)
{
    (void)auth;
    (void)err;
    fake.issues++;
    fake.issued_to = identity;
    return issue(wish, out);
}

int auth_token_refresh(struct auth *auth, const struct auth_login *login,
                       const struct token_wish *wish, struct token_given *out, struct error *err)
{
    (void)auth;
    fake.refreshes++;
    assert_true(slice_to_text(login->password, fake.password, sizeof(fake.password)));
    if (!fake.knows_refresh)
        return error_set(err, ERROR_UNAUTHORIZED, "not valid");
    return issue(wish, out);
}

/* What starts with a T is a token. */
bool auth_login_hashes(const struct auth_login *login)
{
    assert_false(login->password_only);
    return !slice_starts(login->password, "T");
}

int auth_login(struct auth *auth, const struct auth_login *login, const struct identity **out,
               struct error *err)
{
    (void)auth;
    fake.logins++;
    assert_false(login->password_only);
    assert_string_equal(login->remote.at, "192.0.2.7");
    assert_non_null(login->network);
    assert_true(slice_to_text(login->name, fake.name, sizeof(fake.name)));
    assert_true(slice_to_text(login->password, fake.password, sizeof(fake.password)));
    if (!fake.knows_password)
        return error_set(err, ERROR_UNAUTHORIZED, "not valid");
    *out = identity_hold(&ana);
    return 0;
}

void token_given_drop(struct token_given *given)
{
    buffer_drop(&given->token);
    buffer_drop(&given->scope);
    buffer_drop(&given->refresh);
}

bool auth_account_fits(const struct identity *identity, struct slice authorization,
                       struct slice account)
{
    assert_ptr_equal(identity, &ana);
    (void)authorization, (void)account;
    return fake.fits;
}

void auth_key_set(const struct auth *auth, struct buffer *out, char etag[17])
{
    (void)auth;
    memcpy(etag, "0123456789abcdef", 17);
    if (fake.keys)
        buffer_append_text(out, "{\"keys\":[]}");
}

/* --- one request --- */

static struct config config;

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    fake.fits = true;
    return 0;
}

static struct exchange *asked_by(struct exchange *exchange, enum method method,
                                 const struct identity *caller)
{
    exchange_init(exchange, &config, method, NULL);
    exchange->request.name = SLICE_NONE;
    exchange->request.caller = caller;
    memcpy(exchange->request.remote, "192.0.2.7", sizeof("192.0.2.7"));
    return exchange;
}

static int post(struct exchange *exchange, const char *body)
{
    asked_by(exchange, METHOD_POST, &nobody);
    with_header(exchange, "content-type", FORM);
    exchange->request.body = slice_of(body);
    return run(exchange, v2_token_post);
}

static const char *text_of(const struct exchange *exchange)
{
    static char text[512];

    assert_true(slice_to_text(buffer_slice(&exchange->reply.text), text, sizeof(text)));
    return text;
}

/* --- GET --- */

/* Spec: TOK-19, TOK-21. */
static void test_get_answers_with_both_names_of_the_token(void **state)
{
    struct exchange exchange;

    (void)state;
    asked_by(&exchange, METHOD_GET, &ana);
    with_parameter(&exchange, "service", "registry");
    with_parameter(&exchange, "client_id", "docker");
    assert_int_equal(run(&exchange, v2_token_get), 200);
    assert_string_equal(text_of(&exchange),
                        "{\"token\":\"h.p.s\",\"access_token\":\"h.p.s\","
                        "\"issued_at\":\"2023-11-14T22:13:20Z\",\"expires_in\":900}");
    assert_true(head_has(&exchange, "Content-Type: application/json\r\n"));
    assert_ptr_equal(fake.issued_to, &ana);
    assert_string_equal(fake.client, "docker");
    assert_false(fake.offline);
    reply_drop(&exchange.reply);
}

/* Spec: TOK-11. */
static void test_get_joins_all_scopes(void **state)
{
    struct exchange exchange;

    (void)state;
    asked_by(&exchange, METHOD_GET, &ana);
    with_parameter(&exchange, "scope", "repository:a:pull repository:b:push");
    with_parameter(&exchange, "scope", "");
    with_parameter(&exchange, "scope", "registry:catalog:*");
    assert_int_equal(run(&exchange, v2_token_get), 200);
    assert_string_equal(fake.scope, "repository:a:pull repository:b:push  registry:catalog:*");
    reply_drop(&exchange.reply);
}

/* Spec: TOK-14, TOK-22. */
static void test_get_gives_a_refresh_token_only_when_asked(void **state)
{
    static const struct {
        const char *value;
        bool offline;
    } cases[] = {{"true", true}, {"false", false}, {"", false}, {"1", false}, {NULL, false}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        asked_by(&exchange, METHOD_GET, &ana);
        with_parameter(&exchange, "offline_token", cases[i].value);
        assert_int_equal(run(&exchange, v2_token_get), 200);
        assert_int_equal(fake.offline, cases[i].offline);
        assert_int_equal(strstr(text_of(&exchange), "\"refresh_token\":\"again\"") != NULL,
                         cases[i].offline);
        reply_drop(&exchange.reply);
    }
}

/* Spec: TOK-10, TOK-13, and that nothing is guessed. */
static void test_get_refuses_what_it_cannot_mean(void **state)
{
    static const struct {
        const char *name, *value, *again;
        bool fits;
        int status;
    } cases[] = {
        {"account", "ana", NULL, true, 200},  {"account", "bob", NULL, false, 401},
        {"account", "ana", "bob", true, 400}, {"service", "elsewhere", NULL, true, 200},
        {"service", "", NULL, true, 200},     {"service", "a", "a", true, 400},
        {"client_id", "a", "b", true, 400},   {"offline_token", "true", "false", true, 400},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        fake.fits = cases[i].fits;
        asked_by(&exchange, METHOD_GET, &ana);
        with_parameter(&exchange, cases[i].name, cases[i].value);
        with_parameter(&exchange, cases[i].name, cases[i].again);
        assert_int_equal(run(&exchange, v2_token_get), cases[i].status);
        assert_int_equal(exchange.reply.length > 0, cases[i].status == 200);
        reply_drop(&exchange.reply);
    }
}

/* --- POST --- */

/* Spec: TOK-24. */
static void test_post_answers_with_what_was_granted(void **state)
{
    struct exchange exchange;

    (void)state;
    fake.knows_password = true;
    assert_int_equal(post(&exchange, "grant_type=password&username=ana&password=a%3Ab+c%26"
                                     "&service=s&client_id=x&scope=repository%3Aa%3Apull"
                                     "&scope=repository:b:pull&access_type=offline"),
                     200);
    assert_string_equal(text_of(&exchange),
                        "{\"token\":\"h.p.s\",\"access_token\":\"h.p.s\",\"token_type\":\"Bearer\","
                        "\"scope\":\"repository:a:pull\",\"refresh_token\":\"again\","
                        "\"issued_at\":\"2023-11-14T22:13:20Z\",\"expires_in\":900}");
    assert_string_equal(fake.name, "ana");
    assert_string_equal(fake.password, "a:b c&");
    assert_string_equal(fake.scope, "repository:a:pull repository:b:pull");
    assert_ptr_equal(fake.issued_to, &ana);
    assert_int_equal(fake.held, 0);
    reply_drop(&exchange.reply);

    fake.knows_refresh = true;
    assert_int_equal(post(&exchange, "grant_type=refresh_token&refresh_token=once"), 200);
    assert_string_equal(fake.password, "once");
    assert_false(fake.offline);
    reply_drop(&exchange.reply);
}

/* Spec: TOK-26. */
static void test_post_refuses_what_is_no_request(void **state)
{
    static const struct {
        const char *body;
        int status;
        enum error_code code;
        int logins, refreshes;
    } cases[] = {
        {"grant_type=password&username=ana&password=no", 401, ERROR_UNAUTHORIZED, 1, 0},
        {"grant_type=refresh_token&refresh_token=no", 401, ERROR_UNAUTHORIZED, 0, 1},
        {"grant_type=password&username=ana", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=password&password=x", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=refresh_token", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=authorization_code&code=x", 400, ERROR_UNSUPPORTED, 0, 0},
        {"grant_type=", 400, ERROR_UNSUPPORTED, 0, 0},
        {"username=ana&password=x", 400, ERROR_BAD_REQUEST, 0, 0},
        {"", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=password&username=ana&username=bob&password=x", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=password&grant_type=refresh_token", 400, ERROR_BAD_REQUEST, 0, 0},
        {"grant_type=password&username=ana&password=%zz", 400, ERROR_BAD_REQUEST, 0, 0},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        assert_int_equal(post(&exchange, cases[i].body), cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        assert_int_equal(fake.logins, cases[i].logins);
        assert_int_equal(fake.refreshes, cases[i].refreshes);
        assert_int_equal(fake.issues, 0);
        reply_drop(&exchange.reply);
    }
}

/* Whatever may log in with a password is for a login thread. auth (5). */
static void test_post_knows_when_nothing_is_hashed(void **state)
{
    static const struct {
        const char *body;
        bool hashless;
    } cases[] = {
        {"grant_type=password&username=ana&password=x", false},
        {"%67rant_type=p%61ssword&password=x&username=", false},
        {"refresh_token=T&username=ana&password=x&grant_type=password", false},
        {"grant_type=password&username=T&password=", false},
        {"grant_type=password&username=ana&password=T1", true},
        {"grant_type=refresh_token&refresh_token=x", true},
        {"grant_type=refresh_token&username=ana&password=x", true},
        {"grant_type=refresh_token&grant_type=password&username=ana&password=x", true},
        {"grant_type=password&username=ana", true},
        {"grant_type=password&username=ana&password=%zz", true},
        {"", true},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        fake.knows_password = fake.knows_refresh = true;
        post(&exchange, cases[i].body);
        assert_int_equal(v2_token_hashless(&exchange.request), cases[i].hashless);
        bool logs_in_by_password = fake.logins > 0 && fake.password[0] != 'T';
        assert_int_equal(logs_in_by_password, !cases[i].hashless);
        reply_drop(&exchange.reply);
    }
}

/* --- no accounts at all --- */

static void test_open_registry_has_no_token_endpoint(void **state)
{
    struct exchange exchange;

    (void)state;
    asked_by(&exchange, METHOD_GET, &everybody);
    assert_int_equal(run(&exchange, v2_token_get), 404);
    reply_drop(&exchange.reply);
    asked_by(&exchange, METHOD_POST, &everybody);
    assert_int_equal(run(&exchange, v2_token_post), 404);
    reply_drop(&exchange.reply);
    asked_by(&exchange, METHOD_GET, NULL);
    assert_false(v2_keys_peek(&exchange.request, &exchange.reply));
    assert_int_equal(run(&exchange, v2_keys_get), 404);
    assert_int_equal(fake.issues + fake.logins, 0);
    reply_drop(&exchange.reply);
}

/* --- keys --- */

/* Spec: TOK-49. */
static void test_keys_are_cached_by_those_who_verify(void **state)
{
    struct exchange exchange;

    (void)state;
    fake.keys = true;
    asked_by(&exchange, METHOD_GET, NULL);
    assert_true(v2_keys_peek(&exchange.request, &exchange.reply));
    assert_int_equal(exchange.reply.status, 200);
    assert_string_equal(text_of(&exchange), "{\"keys\":[]}");
    assert_true(head_has(&exchange, "ETag: \"0123456789abcdef\"\r\n"));
    assert_true(head_has(&exchange, "Cache-Control: public, max-age=300\r\n"));
    reply_drop(&exchange.reply);

    asked_by(&exchange, METHOD_GET, NULL);
    with_header(&exchange, "if-none-match", "\"0123456789abcdef\"");
    assert_int_equal(run(&exchange, v2_keys_get), 304);
    assert_int_equal(exchange.reply.length, 0);
    reply_drop(&exchange.reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_get_answers_with_both_names_of_the_token, set_up),
        cmocka_unit_test_setup(test_get_joins_all_scopes, set_up),
        cmocka_unit_test_setup(test_get_gives_a_refresh_token_only_when_asked, set_up),
        cmocka_unit_test_setup(test_get_refuses_what_it_cannot_mean, set_up),
        cmocka_unit_test_setup(test_post_answers_with_what_was_granted, set_up),
        cmocka_unit_test_setup(test_post_refuses_what_is_no_request, set_up),
        cmocka_unit_test_setup(test_post_knows_when_nothing_is_hashed, set_up),
        cmocka_unit_test_setup(test_open_registry_has_no_token_endpoint, set_up),
        cmocka_unit_test_setup(test_keys_are_cached_by_those_who_verify, set_up),
    };

    thread_role_current = ROLE_WORKER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_auth_tokens.c - personal tokens: which stand, where, and how long. */
#include "tests/support/auth.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        AUTH_TEST(test_auth_personal_tokens),
        AUTH_TEST(test_auth_personal_tokens_that_do_not_stand),
        AUTH_TEST(test_auth_hashes_slowly_what_looks_like_a_token),
        AUTH_TEST(test_auth_replaced_tokens_end_with_that),
        AUTH_TEST(test_auth_bearer_means_one_thing_in_each_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_auth_guessing.c - guessing is slowed, and refusals are noted. */
#include "tests/support/auth_clock.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        CLOCK_TEST(test_auth_guessing_is_slowed),
        CLOCK_TEST(test_auth_remembered_passwords_wait_for_a_pause),
        CLOCK_TEST(test_auth_guessing_is_slowed_by_address),
        AUTH_TEST(test_auth_refusals_are_noted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

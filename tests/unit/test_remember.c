/* test_remember.c - who stays in memory when there is no room for all. */
#include <stdlib.h>

#include "auth/auth_internal.h"
#include "tests/support/unit.h"

enum { WAYS = 8, SET_SIZE = 64 * 1024, MANY = 100 };

static void key_make(int number, uint8_t key[SECRET_HASH_SIZE])
{
    memset(key, 0, SECRET_HASH_SIZE); /* its first bytes name the set: the same for all */
    key[SECRET_HASH_SIZE - 1] = (uint8_t)number;
}

static void remember_new(struct remember *remember, enum identity_kind kind, int number,
                         size_t size)
{
    struct caller *caller = memory_new(sizeof(*caller));

    caller->identity.kind = kind;
    caller->text_size = size;
    caller->text = memory_new(size + 1);
    caller->good_until = INT64_MAX;
    atomic_init(&caller->holders, 1);
    key_make(number, caller->key);
    remember_put(remember, caller);
    const struct caller *done = caller;
    caller_drop(&done);
}

static bool is_there(struct remember *remember, int number)
{
    OWNED(caller_drop) const struct caller *found = NULL;
    uint8_t key[SECRET_HASH_SIZE];

    key_make(number, key);
    found = remember_find(remember, key, 0);
    return found != NULL;
}

static void test_remember_who_rested_longest_gives_way(void **state)
{
    struct remember *remember = remember_open();

    (void)state;
    for (int i = 0; i < WAYS; i++)
        remember_new(remember, IDENTITY_ACCOUNT, i, 100);
    assert_true(is_there(remember, 0)); /* used again */
    remember_new(remember, IDENTITY_ACCOUNT, WAYS, 100);
    assert_true(is_there(remember, 0));
    assert_false(is_there(remember, 1));
    assert_true(is_there(remember, WAYS));
    remember_new(remember, IDENTITY_FOREIGN, WAYS + 1, SET_SIZE / 2);
    remember_new(remember, IDENTITY_FOREIGN, WAYS + 2, SET_SIZE / 2);
    assert_false(is_there(remember, WAYS + 1)); /* bytes are counted too */
    assert_true(is_there(remember, WAYS + 2));
    remember_close(remember);
}

/* Anybody gets as many tokens for nobody as he likes. */
static void test_remember_nobody_displaces_nobody_with_a_name(void **state)
{
    struct remember *remember = remember_open();

    (void)state;
    for (int i = 0; i < WAYS - 1; i++)
        remember_new(remember, IDENTITY_ACCOUNT, i, 100);
    for (int i = WAYS; i < MANY; i++)
        remember_new(remember, IDENTITY_ANONYMOUS, i, SET_SIZE / 2);
    for (int i = 0; i < WAYS - 1; i++)
        assert_true(is_there(remember, i));
    assert_true(is_there(remember, MANY - 1)); /* among themselves the last one stays */
    assert_false(is_there(remember, MANY - 2));
    remember_new(remember, IDENTITY_ACCOUNT, WAYS - 1, 100);
    for (int i = 0; i < WAYS; i++)
        assert_true(is_there(remember, i));
    assert_false(is_there(remember, MANY - 1));
    remember_new(remember, IDENTITY_ANONYMOUS, MANY, 100);
    assert_false(is_there(remember, MANY));
    remember_new(remember, IDENTITY_ACCOUNT, WAYS, SET_SIZE - 4096); /* no room for its fellows */
    remember_new(remember, IDENTITY_ANONYMOUS, MANY, SET_SIZE / 2);
    assert_true(is_there(remember, WAYS));
    assert_false(is_there(remember, MANY));
    remember_close(remember);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remember_who_rested_longest_gives_way),
        cmocka_unit_test(test_remember_nobody_displaces_nobody_with_a_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

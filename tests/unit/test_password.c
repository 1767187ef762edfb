/* test_password.c - hashes that are written and read, and that all answers cost the same. */
#include "auth/password.h"

#include <crypt.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

/* Written by htpasswd -nbBC: cost 4 of "U*U" and of "", cost 10 of "correct horse". */
#define BCRYPT_4 "$2y$04$0AiJOlHDchXmbd2a949S/OnlOq/7xzIwXvVaMz1ySc5Z.4AqZuUNu"
#define BCRYPT_4_EMPTY "$2y$04$ShDek9rlx7xlIwVKb3fPHeREl7TTilQ8mvIH0CK5jMCDy3D74aFYq"
#define BCRYPT_10 "$2y$10$4UtBXR25RXA6TIFoEQk9LuP6YYIXPfGlCNeVEjrDJPUaecxsBXzHu"

static char long_password[PASSWORD_SIZE_MAX + 2];

/* Spec: TOK-69. */
static void test_password_hash_is_salted_and_verified(void **state)
{
    char first[PASSWORD_HASH_MAX], second[PASSWORD_HASH_MAX];
    struct error err = {0};

    (void)state;
    assert_int_equal(password_hash(SLICE("correct horse"), first, &err), 0);
    assert_int_equal(password_hash(SLICE("correct horse"), second, &err), 0);
    assert_memory_equal(first, "$y$j", 4);
    assert_string_not_equal(first, second);
    assert_true(password_hash_readable(slice_of(first)));
    assert_int_equal(password_bcrypt_cost(slice_of(first)), 0);
    assert_true(password_verify(SLICE("correct horse"), first, 0));
    assert_true(password_verify(SLICE("correct horse"), second, 5));
    assert_false(password_verify(SLICE("correct hors"), first, 0));
    assert_false(password_verify(SLICE("correct horse "), first, 0));
    assert_false(password_verify(SLICE(""), first, 0));
}

static void test_password_hash_refuses_what_cannot_be_checked(void **state)
{
    static const struct {
        struct slice password;
        int outcome;
    } cases[] = {
        {SLICE(""), -1},
        {SLICE("1234567"), -1},
        {SLICE("12345678"), 0},
        {SLICE("12345678\0more"), -1},
        {{long_password, PASSWORD_SIZE_MAX}, 0},
        {{long_password, PASSWORD_SIZE_MAX + 1}, -1},
    };
    char hash[PASSWORD_HASH_MAX];

    (void)state;
    memset(long_password, 'x', sizeof(long_password));
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error err = {0};
        assert_int_equal(password_hash(cases[i].password, hash, &err), cases[i].outcome);
        if (cases[i].outcome < 0)
            assert_string_equal(err.field, "password");
        else
            assert_true(password_verify(cases[i].password, hash, 0));
    }
    /* the last one that was hashed has 511 of them: each byte counts, and no more fit */
    assert_false(password_verify((struct slice){long_password, PASSWORD_SIZE_MAX - 1}, hash, 0));
    assert_false(password_verify((struct slice){long_password, PASSWORD_SIZE_MAX + 1}, hash, 0));
}

/* What stands behind a NUL would else not count; nor is it taken for an empty password. */
static void test_password_verify_refuses_nul(void **state)
{
    static const char hash[] = BCRYPT_4, empty[] = BCRYPT_4_EMPTY;

    (void)state;
    assert_true(password_verify(SLICE("U*U"), hash, 0));
    assert_false(password_verify(SLICE("U*U\0"), hash, 0));
    assert_false(password_verify(SLICE("U*U\0x"), hash, 0));
    assert_true(password_verify(SLICE(""), empty, 0));
    assert_false(password_verify(SLICE("x\0"), empty, 0));
    assert_false(password_verify(SLICE("\0"), empty, 0));
    memset(long_password, 'x', sizeof(long_password));
    assert_false(password_verify((struct slice){long_password, PASSWORD_SIZE_MAX + 1}, empty, 0));
}

/* Spec: TOK-61. */
static void test_password_verify_reads_bcrypt(void **state)
{
    char hash[PASSWORD_HASH_MAX];

    (void)state;
    for (const char *kind = "aby"; *kind != 0; kind++) {
        memcpy(hash, BCRYPT_4, sizeof(BCRYPT_4));
        hash[2] = *kind;
        assert_true(password_verify(SLICE("U*U"), hash, 0));
        assert_true(password_verify(SLICE("U*U"), hash, 6));
        assert_false(password_verify(SLICE("U*V"), hash, 0));
        assert_int_equal(password_bcrypt_cost(slice_of(hash)), 4);
    }
}

static void test_password_hash_readable_knows_its_kinds(void **state)
{
#define SALT22 "CCCCCCCCCCCCCCCCCCCCC."
#define HASH31 "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
#define HASH43 "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWE5YPO9kmyuRG"
    static const struct {
        const char *hash;
        unsigned cost;
        bool readable;
    } cases[] = {
        {"$2a$05$" SALT22 HASH31, 5, true},
        {"$2b$04$" SALT22 HASH31, 4, true},
        {"$2y$14$" SALT22 HASH31, 14, true},
        {"$2y$15$" SALT22 HASH31, 15, false},
        {"$2y$31$" SALT22 HASH31, 31, false},
        {"$2y$32$" SALT22 HASH31, 0, false},
        {"$2y$03$" SALT22 HASH31, 0, false},
        {"$2y$0a$" SALT22 HASH31, 0, false},
        {"$2x$05$" SALT22 HASH31, 0, false},
        {"$2$05$." SALT22 HASH31, 0, false},
        {"$2a$05$" SALT22 HASH31 "x", 0, false},
        {"$2a$05$" SALT22 "E5YPO9kmyuRGyh0XouQYb4YMJKvyOe", 0, false},
        {"$2a$05$" SALT22 "E5YPO9kmyuRGyh0XouQYb4YMJKvyOe:", 0, false},
        {"$y$jAT$" SALT22 "$" HASH43, 0, true},
        {"$y$j75$" SALT22 "$" HASH43, 0, true},
        {"$y$jBT$" SALT22 "$" HASH43, 0, true},
        {"$y$jCT$" SALT22 "$" HASH43, 0, false}, /* 128 MiB */
        {"$y$j6T$" SALT22 "$" HASH43, 0, false},
        {"$y$jAU$" SALT22 "$" HASH43, 0, false},
        {"$y$jAT." SALT22 "$" HASH43, 0, false},
        {"$y$jAT$" SALT22 HASH43, 0, false},
        {"$y$jAT$$" HASH43, 0, false},
        {"$y$jAT$" SALT22 "$" HASH43 "x", 0, false},
        {"$y$jAT$" SALT22 "$", 0, false},
        {"$y$j", 0, false},
        {"$6$salt$hash", 0, false},
        {"$apr1$salt$hash", 0, false},
        {"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", 0, false},
        {"plain", 0, false},
        {"", 0, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        assert_int_equal(password_bcrypt_cost(slice_of(cases[i].hash)), cases[i].cost);
        assert_int_equal(password_hash_readable(slice_of(cases[i].hash)), cases[i].readable);
    }
    assert_false(password_hash_readable(SLICE_NONE));
}

/* --- the cost --- */

/* What libcrypt was asked for: hashes of yescrypt by the last of their cost, and the rounds of
 * bcrypt, of which time is made. */
struct cost {
    unsigned yescrypt, rounds;
};
static struct cost cost;

/* In the place of the library's. */
char *crypt_rn(const char *phrase, const char *setting, void *data, int size)
{
    __typeof__(&crypt_rn) real;

    *(void **)&real = dlsym(RTLD_NEXT, "crypt_rn");
    if (strncmp(setting, "$2", 2) == 0)
        cost.rounds += 1U << strtoul(setting + 4, NULL, 10);
    else
        cost.yescrypt = cost.yescrypt * 256 + (unsigned char)setting[4];
    return real(phrase, setting, data, size);
}

static struct cost cost_of(const char *hash, unsigned bcrypt_cost)
{
    cost = (struct cost){0, 0};
    (void)password_verify(SLICE("not the password"), hash, bcrypt_cost);
    return cost;
}

static void assert_alike(struct cost a, struct cost b)
{
    assert_int_equal(a.yescrypt, b.yescrypt);
    assert_int_equal(a.rounds, b.rounds);
}

/* Spec: TOK-61. */
static void test_password_verify_costs_the_same_whatever_the_hash(void **state)
{
    static const char *const hashes[] = {NULL, "plain", BCRYPT_4, BCRYPT_10};
    char ours[PASSWORD_HASH_MAX];
    struct error err = {0};

    (void)state;
    assert_int_equal(password_hash(SLICE("correct horse"), ours, &err), 0);
    const struct cost alone = {(unsigned char)ours[4], 0};
    const struct cost mixed = {(unsigned char)ours[4], 1 << 10};
    assert_alike(cost_of(ours, 0), alone);
    assert_alike(cost_of(NULL, 0), alone);
    assert_alike(cost_of("$2y$15$" SALT22 HASH31, 0), alone);
    assert_alike(cost_of(ours, 10), mixed);
    for (size_t i = 0; i < LENGTH(hashes); i++)
        assert_alike(cost_of(hashes[i], 10), mixed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_password_hash_is_salted_and_verified),
        cmocka_unit_test(test_password_hash_refuses_what_cannot_be_checked),
        cmocka_unit_test(test_password_verify_refuses_nul),
        cmocka_unit_test(test_password_verify_reads_bcrypt),
        cmocka_unit_test(test_password_hash_readable_knows_its_kinds),
        cmocka_unit_test(test_password_verify_costs_the_same_whatever_the_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_secret.c - secrets: their form, their checksum, that no two are alike. */
#include "auth/secret.h"

#include <string.h>

#include "tests/support/unit.h"

static const char *const PREFIXES[] = {[SECRET_PERSONAL] = "slipway_pat_",
                                       [SECRET_REFRESH] = "slipway_ref_",
                                       [SECRET_SETUP] = "slipway_set_"};

/* Spec: TOK-27, TOK-65. */
static void test_secret_new_has_its_form(void **state)
{
    (void)state;
    for (enum secret_kind kind = SECRET_PERSONAL; kind <= SECRET_SETUP; kind++) {
        char text[SECRET_TEXT_SIZE + 1], other[SECRET_TEXT_SIZE + 1];
        secret_new(kind, text);
        secret_new(kind, other);
        assert_int_equal(strlen(text), SECRET_TEXT_SIZE);
        assert_true(slice_starts(slice_of(text), PREFIXES[kind]));
        assert_int_equal(secret_kind_of(slice_of(text)), kind);
        assert_string_not_equal(text, other);
    }
}

/* A known one, its checksum computed by zlib.crc32: what was given out must stay valid. */
static void test_secret_checksum_is_the_common_crc32(void **state)
{
    (void)state;
    assert_int_equal(
        secret_kind_of(SLICE("slipway_pat_ExampleOfTheTestsNotASecretOfAnybody0123169miF")),
        SECRET_PERSONAL);
}

static void test_secret_kind_of_refuses_any_change(void **state)
{
    char text[SECRET_TEXT_SIZE + 2];

    (void)state;
    secret_new(SECRET_PERSONAL, text);
    for (size_t i = 0; i < SECRET_TEXT_SIZE; i++) {
        char kept = text[i];
        text[i] = kept == 'a' ? 'b' : 'a';
        assert_int_equal(secret_kind_of(slice_of(text)), SECRET_NONE);
        text[i] = '-';
        assert_int_equal(secret_kind_of(slice_of(text)), SECRET_NONE);
        text[i] = 0;
        assert_int_equal(secret_kind_of((struct slice){text, SECRET_TEXT_SIZE}), SECRET_NONE);
        text[i] = kept;
    }
    assert_int_equal(secret_kind_of((struct slice){text, SECRET_TEXT_SIZE - 1}), SECRET_NONE);
    text[SECRET_TEXT_SIZE] = '0';
    assert_int_equal(secret_kind_of((struct slice){text, SECRET_TEXT_SIZE + 1}), SECRET_NONE);
    assert_int_equal(secret_kind_of(SLICE("a password")), SECRET_NONE);
    assert_int_equal(secret_kind_of(SLICE_NONE), SECRET_NONE);
}

/* 80,000 draws of 62 characters: each 1290 times, give or take seven standard deviations. Taking
 * bytes modulo 62 would draw the first eight a quarter more often. */
static void test_secret_new_draws_each_character_alike(void **state)
{
    unsigned seen[256] = {0};
    char text[SECRET_TEXT_SIZE + 1];

    (void)state;
    for (int i = 0; i < 2000; i++) {
        secret_new(SECRET_REFRESH, text);
        for (int k = 12; k < 52; k++)
            seen[(unsigned char)text[k]]++;
    }
    unsigned kinds = 0;
    for (int c = 0; c < 256; c++) {
        kinds += seen[c] > 0;
        assert_true(seen[c] == 0 || (seen[c] > 1040 && seen[c] < 1540));
    }
    assert_int_equal(kinds, 62);
}

static void test_secret_hash_is_sha256(void **state)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    uint8_t hash[SECRET_HASH_SIZE];

    (void)state;
    secret_hash(SLICE("abc"), hash);
    assert_memory_equal(hash, abc, sizeof(abc));
}

static void test_secret_hint_shows_eight_characters(void **state)
{
    char text[SECRET_TEXT_SIZE + 1], hint[32];

    (void)state;
    secret_new(SECRET_PERSONAL, text);
    secret_hint(slice_of(text), hint);
    assert_int_equal(strlen(hint), 12 + 4 + 3 + 4);
    assert_memory_equal(hint, text, 16);
    assert_memory_equal(hint + 16, "...", 3);
    assert_string_equal(hint + 19, text + SECRET_TEXT_SIZE - 4);
}

static void test_secret_equal_compares_whole(void **state)
{
    (void)state;
    assert_true(secret_equal(SLICE("abc"), SLICE("abc")));
    assert_false(secret_equal(SLICE("abc"), SLICE("abd")));
    assert_false(secret_equal(SLICE("abc"), SLICE("ab")));
    assert_true(secret_equal(SLICE(""), SLICE_NONE));
}

static void test_secret_wipe_leaves_zeros(void **state)
{
    char text[] = "secret", zeros[sizeof(text)] = {0};

    (void)state;
    secret_wipe(text, sizeof(text));
    assert_memory_equal(text, zeros, sizeof(text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret_new_has_its_form),
        cmocka_unit_test(test_secret_checksum_is_the_common_crc32),
        cmocka_unit_test(test_secret_kind_of_refuses_any_change),
        cmocka_unit_test(test_secret_new_draws_each_character_alike),
        cmocka_unit_test(test_secret_hash_is_sha256),
        cmocka_unit_test(test_secret_hint_shows_eight_characters),
        cmocka_unit_test(test_secret_equal_compares_whole),
        cmocka_unit_test(test_secret_wipe_leaves_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_digest.c - digests: parsing, printing, hashing, and a state that can be kept. */
#include "registry/core/digest.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

#define EMPTY_256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define EMPTY_512                                                                                  \
    "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce"                             \
    "47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
#define BRACES_256 "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define HELLO_256 "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

/* Spec: NAME-04, NAME-05, NAME-13. */
static void test_digest_parse(void **state)
{
    static const struct {
        const char *text;
        bool known, any;
    } cases[] = {
        {"sha256:" EMPTY_256, true, true},
        {"sha512:" EMPTY_512, true, true},
        {"blake3:" EMPTY_256, false, true},
        {"a+b.c-d_e:C=d_e-", false, true},
        {"sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", false, false},
        {"sha256:e3b0", false, false},
        {"sha256:" EMPTY_256 "0", false, false},
        {"sha512:" EMPTY_256, false, false},
        {"sha256:", false, false},
        {"sha256", false, false},
        {":" EMPTY_256, false, false},
        {"", false, false},
        {"SHA256:" EMPTY_256, false, false},
        {"sha256:" EMPTY_256 ":x", false, false},
        {"a++b:c", false, false},
        {"+a:c", false, false},
        {"a+:c", false, false},
        {"a:c/d", false, false},
        {"a:c d", false, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct digest digest;
        struct error err = {0}, other = {0};
        char text[DIGEST_TEXT_MAX];

        if ((digest_parse(slice_of(cases[i].text), &digest, &err) == 0) != cases[i].known ||
            (digest_parse_any(slice_of(cases[i].text), &digest, &other) == 0) != cases[i].any)
            fail_msg("'%s' is judged wrongly", cases[i].text);
        if (!cases[i].known)
            assert_int_equal(err.code, ERROR_DIGEST_INVALID);
        if (cases[i].any)
            assert_string_equal(digest_text(&digest, text), cases[i].text);
    }
}

/* Spec: NAME-03. */
static void test_digest_parse_any_is_bounded(void **state)
{
    char text[DIGEST_TEXT_MAX + 1];
    struct digest digest;
    struct error err = {0};

    (void)state;
    memset(text, 'a', sizeof(text));
    text[3] = ':';
    assert_int_equal(digest_parse_any((struct slice){text, DIGEST_TEXT_MAX - 1}, &digest, &err), 0);
    assert_int_equal(digest_parse_any((struct slice){text, DIGEST_TEXT_MAX}, &digest, &err), -1);
    assert_int_equal(err.code, ERROR_DIGEST_INVALID);
}

/* Spec: NAME-15. */
static void test_digest_key_round_trip(void **state)
{
    static const char *const texts[] = {"sha256:" EMPTY_256, "sha512:" EMPTY_512, "x:y"};

    (void)state;
    for (size_t i = 0; i < LENGTH(texts); i++) {
        struct digest digest, again;
        struct error err = {0};
        uint8_t key[DIGEST_KEY_MAX];

        assert_int_equal(digest_parse_any(slice_of(texts[i]), &digest, &err), 0);
        size_t size = digest_key(&digest, key);
        assert_true(digest_from_key((struct slice){(const char *)key, size}, &again));
        assert_true(digest_equal(&digest, &again));
        again.bytes[0] ^= 1;
        assert_false(digest_equal(&digest, &again));
    }
    struct digest out;
    assert_false(digest_from_key(SLICE("\1short"), &out));
    assert_false(digest_from_key(SLICE("\7unknown"), &out));
    assert_false(digest_from_key(SLICE_NONE, &out));
}

static void test_digest_of_known_content(void **state)
{
    static const struct {
        enum digest_algorithm algorithm;
        const char *content, *text;
    } cases[] = {
        {DIGEST_SHA256, "", "sha256:" EMPTY_256},
        {DIGEST_SHA512, "", "sha512:" EMPTY_512},
        {DIGEST_SHA256, "{}", "sha256:" BRACES_256},
        {DIGEST_SHA256, "hello world", "sha256:" HELLO_256},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct digest digest;
        char text[DIGEST_TEXT_MAX];

        digest_of(cases[i].algorithm, slice_of(cases[i].content), &digest);
        assert_string_equal(digest_text(&digest, text), cases[i].text);
    }
}

/* A state kept at any byte and taken up again ends in the digest of the whole. */
static void test_hasher_saved_anywhere(void **state)
{
    static const enum digest_algorithm algorithms[] = {DIGEST_SHA256, DIGEST_SHA512};
    char content[300];

    (void)state;
    for (size_t i = 0; i < sizeof(content); i++)
        content[i] = (char)(i * 7);
    for (size_t a = 0; a < LENGTH(algorithms); a++) {
        struct digest whole, pieces;
        digest_of(algorithms[a], (struct slice){content, sizeof(content)}, &whole);
        for (size_t cut = 0; cut <= sizeof(content); cut++) {
            struct hasher first, second;
            uint8_t saved[HASHER_SAVED_MAX];

            hasher_start(&first, algorithms[a]);
            hasher_update(&first, content, cut);
            size_t size = hasher_save(&first, saved);
            assert_true(size <= sizeof(saved));
            assert_true(hasher_restore(&second, (struct slice){(const char *)saved, size}));
            hasher_update(&second, content + cut, sizeof(content) - cut);
            hasher_digest(&second, &pieces);
            assert_true(digest_equal(&whole, &pieces));
        }
    }
}

/* The layout is fixed: a state written by one release is read by the next. */
static void test_hasher_saved_layout(void **state)
{
    struct hasher hasher;
    uint8_t saved[HASHER_SAVED_MAX];
    char hex[2 * HASHER_SAVED_MAX + 1] = "";

    (void)state;
    hasher_start(&hasher, DIGEST_SHA256);
    hasher_update(&hasher, "abc", 3);
    hex_encode(saved, hasher_save(&hasher, saved), hex);
    assert_string_equal(hex, "0101"
                             "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"
                             "0000000000000018"
                             "616263");
}

static void test_hasher_restore_refuses_what_it_did_not_save(void **state)
{
    struct hasher hasher;
    uint8_t saved[HASHER_SAVED_MAX];

    (void)state;
    hasher_start(&hasher, DIGEST_SHA256);
    hasher_update(&hasher, "abc", 3);
    size_t size = hasher_save(&hasher, saved);
    for (size_t cut = 0; cut < size; cut++)
        assert_false(hasher_restore(&hasher, (struct slice){(const char *)saved, cut}));
    saved[0] = 9;
    assert_false(hasher_restore(&hasher, (struct slice){(const char *)saved, size}));
    saved[0] = 1;
    saved[1] = DIGEST_OTHER;
    assert_false(hasher_restore(&hasher, (struct slice){(const char *)saved, size}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_digest_parse),
        cmocka_unit_test(test_digest_parse_any_is_bounded),
        cmocka_unit_test(test_digest_key_round_trip),
        cmocka_unit_test(test_digest_of_known_content),
        cmocka_unit_test(test_hasher_saved_anywhere),
        cmocka_unit_test(test_hasher_saved_layout),
        cmocka_unit_test(test_hasher_restore_refuses_what_it_did_not_save),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

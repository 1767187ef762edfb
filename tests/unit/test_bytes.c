/* test_bytes.c - slices, buffers, numbers, hex, and the error value. */
#include "registry/core/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/error.h"
#include "tests/support/unit.h"

static void test_slice_to_u64(void **state)
{
    static const struct {
        const char *text;
        bool valid;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"007", true, 7},
        {"9223372036854775807", true, INT64_MAX},
        {"9223372036854775808", false, 0},
        {"99999999999999999999", false, 0},
        {"", false, 0},
        {"-1", false, 0},
        {"+1", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"0x1", false, 0},
        {"1.0", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        uint64_t value = 0;
        if (slice_to_u64(slice_of(cases[i].text), &value) != cases[i].valid ||
            value != cases[i].value)
            fail_msg("'%s' is read wrongly", cases[i].text);
    }
    uint64_t value = 1;
    assert_true(slice_to_u64_saturated(SLICE("9223372036854775806"), &value));
    assert_int_equal(value, INT64_MAX - 1);
    assert_true(slice_to_u64_saturated(SLICE("99999999999999999999"), &value));
    assert_int_equal(value, INT64_MAX);
    assert_false(slice_to_u64_saturated(SLICE("99999999999999999999x"), &value));
    assert_false(slice_to_u64_saturated(SLICE(""), &value));
}

static void test_slice_parts(void **state)
{
    struct slice head, tail;

    (void)state;
    assert_true(slice_split(SLICE("a:b:c"), ':', &head, &tail));
    assert_true(slice_equal_text(head, "a") && slice_equal_text(tail, "b:c"));
    assert_true(slice_split(SLICE("a:"), ':', &head, &tail));
    assert_true(tail.at != NULL && tail.size == 0);
    assert_false(slice_split(SLICE("abc"), ':', &head, &tail));
    assert_true(slice_equal_text(head, "abc") && tail.at == NULL);
    assert_false(slice_split(SLICE_NONE, ':', &head, &tail));
    assert_true(slice_equal_text(slice_trim(SLICE(" \ta b\t ")), "a b"));
    assert_true(slice_equal_text(slice_trim(SLICE(" \t ")), ""));
    assert_true(slice_equal_text(slice_from(SLICE("abc"), 1), "bc"));
    assert_int_equal(slice_from(SLICE("abc"), 9).size, 0);
    assert_true(slice_starts(SLICE("abc"), "ab") && !slice_starts(SLICE("a"), "ab"));
    assert_true(slice_ends(SLICE("abc"), "bc") && !slice_ends(SLICE("c"), "bc"));
    assert_true(slice_equal_ignore_case(SLICE("ClOsE"), "close"));
    assert_false(slice_equal_ignore_case(SLICE("closed"), "close"));
}

static void test_slice_compare_is_bytewise(void **state)
{
    static const char *const ordered[] = {"", "A", "B", "a", "a.b", "a_b", "b", "\xc3"};

    (void)state;
    for (size_t i = 0; i < LENGTH(ordered); i++)
        for (size_t j = 0; j < LENGTH(ordered); j++) {
            int order = slice_compare(slice_of(ordered[i]), slice_of(ordered[j]));
            assert_true((order < 0) == (i < j) && (order == 0) == (i == j));
        }
}

static void test_slice_to_text(void **state)
{
    char text[4];

    (void)state;
    assert_true(slice_to_text(SLICE("abc"), text, sizeof(text)));
    assert_string_equal(text, "abc");
    assert_false(slice_to_text(SLICE("abcd"), text, sizeof(text)));
    assert_false(slice_to_text((struct slice){"a\0b", 3}, text, sizeof(text)));
    assert_true(slice_to_text(SLICE_NONE, text, sizeof(text)));
    assert_string_equal(text, "");
}

static void test_buffer_grows(void **state)
{
    OWNED(buffer_drop) struct buffer buffer = BUFFER_NONE;

    (void)state;
    for (int i = 0; i < 1000; i++)
        buffer_print(&buffer, "%d,", i % 10);
    assert_int_equal(buffer.size, 2000);
    assert_memory_equal(buffer.at + 1996, "8,9,", 4);
    buffer.size = 0;
    buffer_append_u64(&buffer, 0);
    buffer_append_u64(&buffer, UINT64_MAX);
    assert_true(slice_equal_text(buffer_slice(&buffer), "018446744073709551615"));
}

/* Spec: ERR-01: whatever a message holds, the body stays JSON. */
static void test_buffer_append_json_escapes(void **state)
{
    OWNED(buffer_drop) struct buffer buffer = BUFFER_NONE;

    (void)state;
    buffer_append_json(&buffer, SLICE("a\"b\\c\n\x01\x7f/"));
    assert_true(slice_equal_text(buffer_slice(&buffer), "\"a\\\"b\\\\c\\u000a\\u0001\\u007f/\""));
    buffer.size = 0;
    buffer_append_json(&buffer, SLICE("\xc3\xa9\xff\xc3\"\xe2\x82"));
    assert_true(slice_equal_text(buffer_slice(&buffer), "\"\xc3\xa9??\\\"??\""));
}

static void test_hex(void **state)
{
    uint8_t bytes[2];
    char text[4];

    (void)state;
    assert_true(hex_decode(SLICE("0aff"), bytes, 2));
    assert_true(bytes[0] == 0x0a && bytes[1] == 0xff);
    hex_encode(bytes, 2, text);
    assert_memory_equal(text, "0aff", 4);
    assert_false(hex_decode(SLICE("0aFF"), bytes, 2));
    assert_false(hex_decode(SLICE("0aff0"), bytes, 2));
    assert_false(hex_decode(SLICE("0a"), bytes, 2));
    assert_false(hex_decode(SLICE("0ag0"), bytes, 2));
}

static void test_utf8_mend(void **state)
{
    static const struct {
        const char *text, *mended;
    } cases[] = {{"", ""},
                 {"plain", "plain"},
                 {"\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"},
                 {"cut \xc3", "cut ?"},
                 {"\xe2\x82", "??"},
                 {"\xffx\xe2\x82\xac\x80", "?x\xe2\x82\xac?"}};
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        snprintf(text, sizeof(text), "%s", cases[i].text);
        utf8_mend(text);
        assert_string_equal(text, cases[i].mended);
    }
}

static void test_error_is_utf8_where_it_is_cut(void **state)
{
    struct error err = {0};
    size_t last = sizeof(err.message) - 2;

    (void)state;
    error_set(&err, ERROR_INVALID, "%*s\xc3\xa9 is not known", (int)last, "");
    assert_int_equal(strlen(err.message), last + 1);
    assert_int_equal(err.message[last], '?');
}

static void test_error_keeps_the_first(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(error_set(&err, ERROR_BLOB_UNKNOWN, "no %s", "blob"), -1);
    assert_int_equal(error_set(&err, ERROR_INTERNAL, "later"), -1);
    assert_int_equal(err.code, ERROR_BLOB_UNKNOWN);
    assert_int_equal(err.status, 404);
    assert_string_equal(err.message, "no blob");
    error_clear(&err);
    assert_int_equal(err.code, ERROR_NONE);
}

/* Spec: ERR-06. */
static void test_error_full_disk_is_507(void **state)
{
    static const int numbers[] = {ENOSPC, EDQUOT};

    (void)state;
    for (size_t i = 0; i < LENGTH(numbers); i++) {
        struct error err = {0};
        error_set_errno(&err, ERROR_INTERNAL, numbers[i], "cannot write");
        assert_int_equal(err.status, 507);
        assert_true(strlen(err.cause) > 0);
    }
    struct error err = {0};
    error_set_errno(&err, ERROR_INTERNAL, EIO, "cannot write");
    assert_int_equal(err.status, 500);
}

/* Spec: ERR-02, ERR-04: below 500 only the fourteen codes of the specification. */
static void test_error_codes_are_those_of_the_specification(void **state)
{
    static const char *const names[] = {
        "BLOB_UNKNOWN",     "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID",
        "MANIFEST_INVALID", "MANIFEST_UNKNOWN",    "NAME_INVALID",        "MANIFEST_BLOB_UNKNOWN",
        "NAME_UNKNOWN",     "SIZE_INVALID",        "UNAUTHORIZED",        "DENIED",
        "UNSUPPORTED",      "TOOMANYREQUESTS",
    };

    (void)state;
    for (enum error_code code = ERROR_NONE + 1; code < ERROR_CODE_COUNT; code++) {
        bool known = false;
        for (size_t i = 0; i < LENGTH(names); i++)
            known |= strcmp(names[i], error_code_name(code)) == 0;
        if (error_code_status(code) < 500 && !known)
            fail_msg("%s is not for a client's mistake", error_code_name(code));
    }
}

/* Spec: s2i 13.26 */
static void test_buffer_append_wrapped(void **state)
{
    static const struct {
        const char *text, *lines;
    } cases[] = {
        {"", ""},
        {"  ab cd", "  ab cd"},
        {"0123456789", "0123456789"},
        {"01234 6789", "01234 6789"},
        {"01234 67890", "01234\n   67890"},
        {"  one two three four", "  one two\n   three\n   four"},
        {"0123456789abc d 0123456789abc", "0123456789abc\n   d\n   0123456789abc"},
        {"a b         c ", "a b\n   c "},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        buffer_append_wrapped(&out, slice_of(cases[i].text), 3, 10);
        if (!slice_equal_text(buffer_slice(&out), cases[i].lines))
            fail_msg("'%s' becomes '%.*s'", cases[i].text, SLICE_ARG(buffer_slice(&out)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buffer_append_wrapped),
        cmocka_unit_test(test_slice_to_u64),
        cmocka_unit_test(test_slice_parts),
        cmocka_unit_test(test_slice_compare_is_bytewise),
        cmocka_unit_test(test_slice_to_text),
        cmocka_unit_test(test_buffer_grows),
        cmocka_unit_test(test_buffer_append_json_escapes),
        cmocka_unit_test(test_hex),
        cmocka_unit_test(test_utf8_mend),
        cmocka_unit_test(test_error_keeps_the_first),
        cmocka_unit_test(test_error_is_utf8_where_it_is_cut),
        cmocka_unit_test(test_error_full_disk_is_507),
        cmocka_unit_test(test_error_codes_are_those_of_the_specification),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

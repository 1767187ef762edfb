/* test_dsse.c - envelopes: what is signed, how it is written; base64. */
#include "registry/core/dsse.h"

#include <string.h>

#include "tests/support/unit.h"

static void is_text(struct buffer *got, const char *wanted)
{
    buffer_append(got, "", 1);
    assert_string_equal(got->at, wanted);
    buffer_drop(got);
}

/* The example of the specification. */
static void test_signed_bytes(void **state)
{
    struct buffer bytes = BUFFER_NONE;

    (void)state;
    dsse_signed_bytes(SLICE("http://example.com/HelloWorld"), SLICE("hello world"), &bytes);
    is_text(&bytes, "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    dsse_signed_bytes(SLICE("a b"), SLICE("1 c"), &bytes);
    is_text(&bytes, "DSSEv1 3 a b 3 1 c"); /* and not what another pair gives */
    dsse_signed_bytes(SLICE(""), SLICE(""), &bytes);
    is_text(&bytes, "DSSEv1 0  0 ");
}

static void test_envelope(void **state)
{
    struct dsse_signature signature = {.key = BUFFER_NONE};
    struct buffer text = BUFFER_NONE;

    (void)state;
    buffer_append_text(&signature.bytes, "sig?");
    buffer_append_text(&signature.key_id, "a-b_c");
    dsse_write(SLICE("t/x"), SLICE("{\"a\":1}"), &signature, &text);
    is_text(&text, "{\"payload\":\"eyJhIjoxfQ==\",\"payloadType\":\"t/x\","
                   "\"signatures\":[{\"keyid\":\"a-b_c\",\"sig\":\"c2lnPw==\"}]}");
    dsse_signature_drop(&signature);
}

static void test_base64(void **state)
{
    static const struct {
        const char *plain, *text;
    } cases[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"\xff\xef\xfe", "/+/+"},
                 {"\xfb\xf0", "+/A="}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE, plain = BUFFER_NONE;
        base64_encode(slice_of(cases[i].plain), &text);
        assert_true(slice_equal_text(buffer_slice(&text), cases[i].text) || cases[i].text[0] == 0);
        assert_true(base64_decode(slice_of(cases[i].text), &plain));
        assert_int_equal(plain.size, strlen(cases[i].plain));
        assert_memory_equal(plain.size == 0 ? "" : plain.at, cases[i].plain, plain.size);
    }
}

static void test_base64_as_others_write_it(void **state)
{
    static const char *const right[] = {"_-_-", "-_A", "-_A=", "Zg", "Zm8"};
    static const char *const wrong[] = {
        "Z", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zg==Zg==", "Z=g="};

    (void)state;
    for (size_t i = 0; i < LENGTH(right); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        if (!base64_decode(slice_of(right[i]), &out))
            fail_msg("%s", right[i]);
    }
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        if (base64_decode(slice_of(wrong[i]), &out))
            fail_msg("%s", wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_bytes),
        cmocka_unit_test(test_envelope),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64_as_others_write_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

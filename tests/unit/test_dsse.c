/* test_dsse.c - envelopes: what is signed, how it is written. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_bytes),
        cmocka_unit_test(test_envelope),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

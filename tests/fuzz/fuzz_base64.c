/* fuzz_base64.c - any text as base64: of the two forms that are written there is one spelling; what
 * is read of any comes out the same again. */
#include <stdint.h>

#include "registry/core/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(enum base64 form, struct slice text)
{
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE, again = BUFFER_NONE, back = BUFFER_NONE;

    if (!base64_decode(form, text, &bytes)) {
        assert(bytes.size == 0);
        return;
    }
    base64_encode(form == BASE64_URL ? BASE64_URL : BASE64, bytes.at, bytes.size, &again);
    assert(form == BASE64_ANY || slice_equal(buffer_slice(&again), text));
    bool read = base64_decode(form, buffer_slice(&again), &back);
    assert(read && slice_equal(buffer_slice(&back), buffer_slice(&bytes)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice text = {(const char *)data, size};

    for (enum base64 form = BASE64; form <= BASE64_ANY; form++)
        check(form, text);
    return 0;
}

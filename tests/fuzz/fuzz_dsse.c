/* fuzz_dsse.c - any text as base64: what is read comes out the same, in the one spelling we write.
 */
#include <stdint.h>
#include <string.h>

#include "registry/core/base64.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice text = {(const char *)data, size};
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE, again = BUFFER_NONE, back = BUFFER_NONE;

    if (!base64_decode(BASE64_ANY, text, &bytes))
        return 0;
    base64_encode(BASE64, bytes.at, bytes.size, &again);
    assert(base64_decode(BASE64_ANY, buffer_slice(&again), &back));
    assert(back.size == bytes.size &&
           (back.size == 0 || memcmp(back.at, bytes.at, back.size) == 0));
    return 0;
}

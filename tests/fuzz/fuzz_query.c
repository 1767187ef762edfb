/* fuzz_query.c - any bytes as a query and a path: decoded text fits where it must, and encoding it
 * again and decoding gives it back. */
#include <stdlib.h>

#include "registry/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct slice text)
{
    OWNED(buffer_drop) struct buffer encoded = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer decoded = BUFFER_NONE;

    percent_encode(&encoded, text);
    buffer_reserve(&decoded, encoded.size + 1);
    assert(percent_decode(buffer_slice(&encoded), decoded.at, &decoded.size, true, false));
    assert(slice_equal(buffer_slice(&decoded), text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct parameter parameters[HEAD_PARAMETERS_MAX];
    OWNED(memory_drop) char *storage = malloc(size == 0 ? 1 : size);
    size_t count, used;

    assert(storage != NULL);
    if (query_parse(text, storage, parameters, &count)) {
        assert(count <= HEAD_PARAMETERS_MAX);
        for (size_t i = 0; i < count; i++) {
            assert(parameters[i].value.at + parameters[i].value.size <= storage + size);
            round_trip(parameters[i].name);
            round_trip(parameters[i].value);
        }
    }
    if (percent_decode(text, storage, &used, false, true))
        assert(used <= size);
    return 0;
}

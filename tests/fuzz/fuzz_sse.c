/* fuzz_sse.c - any bytes as a stream of events: the same whether they come whole or in pieces, and
 * nothing with a line end in its name or id. */
#include <string.h>

#include "registry/cli/sse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void keep(void *arg, struct slice name, struct slice text)
{
    struct buffer *out = arg;

    assert(name.size == 0 || memchr(name.at, '\n', name.size) == NULL);
    buffer_print(out, "[%zu:", name.size);
    buffer_append_slice(out, name);
    buffer_append(out, "|", 1);
    buffer_append_slice(out, text);
    buffer_append(out, "]", 1);
}

static void feed(const uint8_t *data, size_t size, size_t step, struct buffer *out)
{
    OWNED(sse_drop) struct sse sse = {.take = keep, .arg = out};

    for (size_t at = 0; at < size; at += step)
        sse_feed(&sse,
                 (struct slice){(const char *)data + at, step < size - at ? step : size - at});
    assert(sse.last.size == 0 || memchr(sse.last.at, '\n', sse.last.size) == NULL);
    buffer_append(out, "#", 1);
    buffer_append_slice(out, buffer_slice(&sse.last));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer pieces = BUFFER_NONE;

    feed(data, size, size + 1, &whole);
    feed(data, size, size % 7 + 1, &pieces);
    assert(slice_equal(buffer_slice(&whole), buffer_slice(&pieces)));
    return 0;
}

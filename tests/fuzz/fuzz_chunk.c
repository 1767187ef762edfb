/* fuzz_chunk.c - any bytes as a chunked body: however they are cut, the same bytes come out, and
 * decoding in place gives them too. */
#include <stdlib.h>
#include <string.h>

#include "registry/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum chunk_outcome decode(struct slice in, size_t step, size_t room, struct buffer *out,
                                 size_t *consumed)
{
    struct chunk_decoder decoder = {0};
    enum chunk_outcome outcome = CHUNK_MORE;

    *consumed = 0;
    while (outcome == CHUNK_MORE && *consumed < in.size) {
        struct slice rest = slice_from(in, *consumed);
        size_t used, made;
        if (rest.size > step)
            rest.size = step;
        buffer_reserve(out, room);
        outcome = chunk_decode(&decoder, rest, &used, out->at + out->size, room, &made);
        assert(used <= rest.size && made <= room && made <= used);
        assert(used > 0 || made > 0 || outcome == CHUNK_MALFORMED);
        out->size += made;
        *consumed += used;
    }
    return outcome;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = {(const char *)data, size};
    struct chunk_decoder decoder = {0};
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer cut = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer place = BUFFER_NONE;
    size_t used, used_cut, used_place, made;

    enum chunk_outcome outcome = decode(in, size, size + 1, &whole, &used);
    assert(decode(in, 1 + size % 5, 1 + size % 3, &cut, &used_cut) == outcome);
    assert(outcome == CHUNK_MALFORMED || used == used_cut);
    assert(slice_equal(buffer_slice(&whole), buffer_slice(&cut)));
    buffer_append(&place, data, size);
    if (size > 0) {
        assert(chunk_decode(&decoder, buffer_slice(&place), &used_place, place.at, size, &made) ==
               outcome);
        assert(slice_equal(buffer_slice(&whole), (struct slice){place.at, made}));
    }
    return 0;
}

/* packet.c - see packet.h.
 * Touches  memory only (pure).
 * Never    knows what the data mean. */
#include "registry/git/packet.h"

#include <string.h>

static bool length_read(struct slice text, size_t *out)
{
    *out = 0;
    for (size_t i = 0; i < PACKET_HEAD; i++) {
        int digit = hex_value(text.at[i]);
        if (digit < 0)
            return false;
        *out = *out * 16 + (size_t)digit;
    }
    return true;
}

enum packet_outcome packet_next(struct slice *text, struct slice *data)
{
    size_t length;

    if (text->size < PACKET_HEAD)
        return PACKET_SHORT;
    if (!length_read(*text, &length) || length > PACKET_MAX || (length > 0 && length < PACKET_HEAD))
        return PACKET_BAD;
    if (length == 0) {
        *text = slice_from(*text, PACKET_HEAD);
        return PACKET_FLUSH;
    }
    if (length > text->size)
        return PACKET_SHORT;
    *data = (struct slice){text->at + PACKET_HEAD, length - PACKET_HEAD};
    if (slice_ends(*data, "\n"))
        data->size--;
    *text = slice_from(*text, length);
    return PACKET_DATA;
}

void packet_append(struct buffer *out, struct slice data)
{
    assert(data.size <= PACKET_MAX - PACKET_HEAD);
    buffer_print(out, "%04x", (unsigned)(data.size + PACKET_HEAD));
    buffer_append_slice(out, data);
}

void packet_append_flush(struct buffer *out)
{
    buffer_append_text(out, "0000");
}

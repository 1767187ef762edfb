/* base64url.c - base64url without padding (RFC 4648 section 5, RFC 7515 section 2).
 * Touches  memory only.
 * Never    accepts two spellings of the same bytes. */
#include "auth/jwt.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

void base64url_encode(const void *bytes, size_t size, struct buffer *out)
{
    const uint8_t *in = bytes;
    uint32_t bits = 0;
    unsigned held = 0;

    buffer_reserve(out, (size * 4 + 2) / 3);
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            out->at[out->size++] = ALPHABET[bits >> (held - 6) & 63];
    }
    if (held > 0)
        out->at[out->size++] = ALPHABET[bits << (6 - held) & 63];
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '-')
        return 62;
    return c == '_' ? 63 : -1;
}

/* Bits of the last digit that belong to no byte must be zero, and no digit may be left over. */
bool base64url_decode(struct slice text, struct buffer *out)
{
    uint32_t bits = 0;
    unsigned held = 0;

    buffer_reserve(out, text.size / 4 * 3 + 3);
    for (size_t i = 0; i < text.size; i++) {
        int value = digit_value(text.at[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out->at[out->size++] = (char)(bits >> held & 0xff);
        }
    }
    return held < 6 && (bits & ((1U << held) - 1)) == 0;
}

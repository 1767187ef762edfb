/* base64.c - base64 of RFC 4648: written, and read strictly.
 * Touches  memory only (pure).
 * Never    asks who may see the bytes: where they are secret, their memory is the caller's. */
#include "registry/core/base64.h"

#define LETTERS_AND_DIGITS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

void base64_encode(enum base64 form, const void *bytes, size_t size, struct buffer *out)
{
    const char *alphabet = form == BASE64_URL ? LETTERS_AND_DIGITS "-_" : LETTERS_AND_DIGITS "+/";
    const uint8_t *in = bytes;
    uint32_t bits = 0;
    unsigned held = 0;

    assert(form != BASE64_ANY);
    buffer_reserve(out, (size + 2) / 3 * 4);
    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | in[i];
        for (held += 8; held >= 6; held -= 6)
            out->at[out->size++] = alphabet[bits >> (held - 6) & 63];
    }
    if (held > 0)
        out->at[out->size++] = alphabet[bits << (6 - held) & 63];
    for (; form == BASE64 && size % 3 != 0; size++)
        out->at[out->size++] = '=';
}

/* --- reading --- */

static int digit_value(enum base64 form, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (form != BASE64_URL && (c == '+' || c == '/'))
        return c == '+' ? 62 : 63;
    if (form != BASE64 && (c == '-' || c == '_'))
        return c == '-' ? 62 : 63;
    return -1;
}

/* Digits and padding are whole groups of four, or there is no padding. */
static bool padding_cut(enum base64 form, struct slice *text)
{
    if (form != BASE64_URL && text->size % 4 == 0 && slice_ends(*text, "="))
        text->size -= slice_ends(*text, "==") ? 2 : 1;
    else if (form == BASE64)
        return text->size % 4 == 0;
    return true;
}

bool base64_decode_into(enum base64 form, struct slice text, void *out, size_t room, size_t *size)
{
    char *at = out;
    size_t put = 0;
    uint32_t bits = 0;
    unsigned held = 0;

    if (!padding_cut(form, &text))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        int value = digit_value(form, text.at[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8)
            continue;
        if (put == room)
            return false;
        held -= 8;
        at[put++] = (char)(bits >> held & 0xff);
    }
    *size = put;
    return held < 6 && (bits & ((1U << held) - 1)) == 0;
}

bool base64_decode(enum base64 form, struct slice text, struct buffer *out)
{
    size_t room = text.size / 4 * 3 + 3, size;

    buffer_reserve(out, room);
    if (!base64_decode_into(form, text, out->at + out->size, room, &size))
        return false;
    out->size += size;
    return true;
}

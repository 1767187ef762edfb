/* dsse.c - envelopes of DSSE v1.0, and base64 (RFC 4648 section 4).
 * Touches  memory only.
 * Never    a key. */
#include "registry/core/dsse.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void dsse_signature_drop(struct dsse_signature *signature)
{
    buffer_drop(&signature->bytes);
    buffer_drop(&signature->key_id);
    buffer_drop(&signature->key);
}

/* "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload */
void dsse_signed_bytes(struct slice type, struct slice payload, struct buffer *out)
{
    buffer_print(out, "DSSEv1 %zu %.*s %zu ", type.size, SLICE_ARG(type), payload.size);
    buffer_append_slice(out, payload);
}

void dsse_write(struct slice type, struct slice payload, const struct dsse_signature *signature,
                struct buffer *out)
{
    buffer_append_text(out, "{\"payload\":\"");
    base64_encode(payload, out);
    buffer_append_text(out, "\",\"payloadType\":");
    buffer_append_json(out, type);
    buffer_append_text(out, ",\"signatures\":[{\"keyid\":");
    buffer_append_json(out, buffer_slice(&signature->key_id));
    buffer_append_text(out, ",\"sig\":\"");
    base64_encode(buffer_slice(&signature->bytes), out);
    buffer_append_text(out, "\"}]}");
}

/* --- base64 --- */

void base64_encode(struct slice bytes, struct buffer *out)
{
    const uint8_t *in = (const uint8_t *)bytes.at;

    buffer_reserve(out, (bytes.size + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t bits = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                        (left > 2 ? (uint32_t)in[i + 2] : 0);
        out->at[out->size++] = ALPHABET[bits >> 18];
        out->at[out->size++] = ALPHABET[bits >> 12 & 63];
        out->at[out->size++] = left > 1 ? ALPHABET[bits >> 6 & 63] : '=';
        out->at[out->size++] = left > 2 ? ALPHABET[bits & 63] : '=';
    }
}

static int digit_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

/* Bits of the last digit that belong to no byte must be zero, and no digit may be left over. */
bool base64_decode(struct slice text, struct buffer *out)
{
    uint32_t bits = 0;
    unsigned held = 0;

    if (text.size % 4 == 0 && slice_ends(text, "="))
        text.size -= slice_ends(text, "==") ? 2 : 1;
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

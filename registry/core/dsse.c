/* dsse.c - envelopes of DSSE v1.0.
 * Touches  memory only.
 * Never    a key. */
#include "registry/core/dsse.h"

#include "registry/core/base64.h"

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
    base64_encode(BASE64, payload.at, payload.size, out);
    buffer_append_text(out, "\",\"payloadType\":");
    buffer_append_json(out, type);
    buffer_append_text(out, ",\"signatures\":[{\"keyid\":");
    buffer_append_json(out, buffer_slice(&signature->key_id));
    buffer_append_text(out, ",\"sig\":\"");
    base64_encode(BASE64, signature->bytes.at, signature->bytes.size, out);
    buffer_append_text(out, "\"}]}");
}

/* dsse.h - signed envelopes (DSSE v1.0): the bytes that are signed, the envelope's text.
 * Touches  memory only (pure).
 * Never    signs, verifies: auth does.
 *
 * What is signed names the type of the payload and begins with "DSSEv1 ", which neither a token nor
 * anything else we sign does: a signature of one never passes as one of the other. */
#ifndef SLIPWAY_CORE_DSSE_H
#define SLIPWAY_CORE_DSSE_H

#include "registry/core/bytes.h"

#define DSSE_TYPE "application/vnd.dsse.envelope.v1+json" /* of an envelope */
#define DSSE_PAYLOAD_STATEMENT "application/vnd.in-toto+json"

struct dsse_signature {
    struct buffer bytes;  /* ECDSA over P-256 and SHA-256, ASN.1 */
    struct buffer key_id; /* RFC 7638 thumbprint */
    struct buffer key;    /* the public key: a JWK, also as "pem" */
};
void dsse_signature_drop(struct dsse_signature *signature);

/* The pre-authentication encoding: appended. */
void dsse_signed_bytes(struct slice type, struct slice payload, struct buffer *out);
/* The envelope as JSON, appended; type and key_id are printable ASCII. */
void dsse_write(struct slice type, struct slice payload, const struct dsse_signature *signature,
                struct buffer *out);

#endif

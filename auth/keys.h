/* keys.h - our signing keys: files of a folder, by age; rotation with overlap.
 * Touches  PEM files below one folder (mode 0600), or one given file.
 * Never    signs: jwt.h does.
 *
 *   PUBLISHED --lead time--> SIGNING --a newer one signs--> VERIFYING --longest life--> REMOVED
 *
 * (1) A key signs only after it was published for the lead time; the first key of all at once.
 * (2) A key is kept for the longest life of what it signed.
 * (3) A key file is complete and synced before its name appears. Spec: TOK-45, TOK-49. */
#ifndef SLIPWAY_AUTH_KEYS_H
#define SLIPWAY_AUTH_KEYS_H

#include "auth/jwt.h"

struct key_ring;

struct key_ring_options {
    const char *folder;
    const char *file;    /* "" or one PEM file: then no rotation */
    uint64_t lead_s;     /* from published to signing */
    uint64_t keep_s;     /* longest life of a token, with leeway */
    uint64_t rotation_s; /* age at which a signing key gets a successor; 0: never */
};
int key_ring_open(struct key_ring **out, const struct key_ring_options *options,
                  struct error *err) MUST_CHECK;
void key_ring_close(struct key_ring *ring); /* accepts NULL */
/* Makes what is due happen: a successor, a change of signer, removal. *changed when the public set
 * did. Safe beside the others. */
int key_ring_advance(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err);
/* A fresh key is published now. CONFLICT  the one before does not sign yet, or there is a file */
int key_ring_rotate(struct key_ring *ring, int64_t now_s, struct error *err) MUST_CHECK;
/* Any thread: sign with the current key; verify by all that are published. */
void key_ring_sign(const struct key_ring *ring, struct slice payload, struct buffer *out);
int key_ring_verify(const struct key_ring *ring, struct slice token, struct jwt_checks checks,
                    struct jwt_claims *out, struct error *err) MUST_CHECK;
bool key_ring_knows(const struct key_ring *ring, struct slice token);
struct dsse_signature;
void key_ring_seal(const struct key_ring *ring, struct slice bytes, struct dsse_signature *out);
void key_ring_set(const struct key_ring *ring, struct buffer *json); /* {"keys":[...]} */

#endif

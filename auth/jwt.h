/* jwt.h - compact JWS: reads and verifies, writes and signs; JWK sets.
 * Touches  memory; OpenSSL, jansson.
 * Never    files, storage, the clock (now is given), what a claim allows.
 *
 * The algorithm belongs to the key. Order of work: size, shape, header, key, signature, and only
 * then the payload. Spec: TOK-37 to TOK-49; RFC 7515, 7517, 7518, 7519, 7638, 8037, 8725. */
#ifndef SLIPWAY_AUTH_JWT_H
#define SLIPWAY_AUTH_JWT_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum jwt_algorithm {
    JWT_ES256,
    JWT_ES384,
    JWT_EDDSA,
    JWT_RS256,
    JWT_PS256,
    JWT_HS256,
};

enum { JWT_KID_MAX = 128, JWT_SIZE_MAX = 16 * 1024, JWT_ACCESS_MAX = 1000, JWT_LEEWAY_S = 60 };

/* A key of a set. An RSA key may be used for RS256 and PS256 unless its JWK says which. */
struct jwt_key;
struct jwt_keys { /* a set; owned keys */
    struct jwt_key **items;
    size_t count;
};
void jwt_keys_drop(struct jwt_keys *keys);

/* A JWK set of public keys, and secrets (oct) for HS256 of 32 bytes at least.
 * INVALID  names the key and what is wrong with it */
int jwt_keys_parse(struct slice json, struct jwt_keys *out, struct error *err) MUST_CHECK;
/* A P-256 private key: PEM (PKCS 8 or SEC 1) in and out. */
struct jwt_key *jwt_key_new(void);
int jwt_key_read_pem(struct slice pem, struct jwt_key **out, struct error *err) MUST_CHECK;
void jwt_key_write_pem(const struct jwt_key *key, struct buffer *out);
void jwt_key_drop(struct jwt_key **key);
/* RFC 7638 thumbprint, or the JWK's own kid. Owned by the key. Spec: TOK-45. */
const char *jwt_key_id(const struct jwt_key *key);
/* Appends the public JWK: kid, use, alg and the members of the key. */
void jwt_key_write_jwk(const struct jwt_key *key, struct buffer *out);

struct jwt_access {
    struct slice type, name; /* borrowed from the claims */
    unsigned actions;        /* enum scope_action */
};
/* Freed with jwt_claims_drop. */
struct jwt_claims {
    void *document; /* what the slices borrow from */
    struct slice issuer, subject, id;
    int64_t expires_at, not_before, issued_at; /* seconds since 1970; 0: absent */
    bool expired;                              /* by more than the leeway; all else is in order */
    int64_t account, token; /* ours: ids in the private claim "slipway"; 0: absent */
    struct jwt_access *access;
    size_t access_count;
};
void jwt_claims_drop(struct jwt_claims *claims);

struct jwt_checks {
    const struct jwt_keys *keys;
    struct slice audience;
    const char *const *issuers; /* any of them */
    size_t issuer_count;
    int64_t now_s;
};
/* UNAUTHORIZED  the message names the check that failed, for the log. An expired token is not a
 * failure here: claims->expired says so, and everything else was checked. */
int jwt_verify(struct slice token, const struct jwt_checks *checks, struct jwt_claims *out,
               struct error *err) MUST_CHECK;
/* The set has a key of this id (or would accept this token's key): a reason to reload it or not. */
bool jwt_key_known(struct slice token, const struct jwt_keys *keys);

/* Signs payload (JSON text) with a private key: ES256, header typ, alg, kid. */
void jwt_sign(const struct jwt_key *key, struct slice payload, struct buffer *out);

#endif

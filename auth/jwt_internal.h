/* jwt_internal.h - shared by jwt.c (tokens), jwk.c (JWK and sets) and jwt_key.c (keys).
 * Touches  memory.
 * Never    included elsewhere, save by their tests. */
#ifndef SLIPWAY_AUTH_JWT_INTERNAL_H
#define SLIPWAY_AUTH_JWT_INTERNAL_H

#include <openssl/types.h>

#include "auth/jwt.h"

struct json_t;

enum {
    JWT_JSON_DEPTH_MAX = 8,   /* TOK-42 */
    JWT_SECRET_MIN = 32,      /* bytes, TOK-38 */
    JWT_RSA_BITS_MIN = 2048,  /* TOK-38 */
    JWT_RSA_BITS_MAX = 8192,  /* what is larger costs too much for each token */
    JWT_THUMBPRINT_SIZE = 43, /* SHA-256 in base64url */
    JWT_COORDINATE_MAX = 48,
    JWT_PEM_MAX = 16 * 1024,
};

enum jwk_kind { JWK_P256, JWK_P384, JWK_ED25519, JWK_RSA, JWK_OCT };

/* The members that make a key, decoded. EC: x, y of full length. Ed25519: x. RSA: n, e without
 * leading zeros. oct: k. */
struct jwk {
    enum jwk_kind kind;
    struct buffer first, second;
};
void jwk_drop(struct jwk *jwk); /* wipes */
/* 1; 0: of a kind we do not know; -1.
 * INVALID  a member is missing or malformed */
int jwk_read(const struct json_t *object, struct jwk *out, struct error *err) MUST_CHECK;
/* What RFC 7638 hashes. stripped: coordinates without leading zeros, as the reference registry
 * writes them (TOK-45). Not for oct. */
void jwk_members(const struct jwk *jwk, bool stripped, struct buffer *out);
void jwk_thumbprint(struct slice members, char out[JWT_THUMBPRINT_SIZE + 1]);

/* Immutable once made. */
struct jwt_key {
    unsigned algorithms;   /* bits: 1 << enum jwt_algorithm */
    EVP_PKEY *pkey;        /* NULL: a secret */
    struct buffer secret;  /* for HS256 */
    struct buffer members; /* RFC 7638's JSON; empty for a secret */
    struct buffer header;  /* what tokens begin with, encoded; empty: no private key */
    char id[JWT_KID_MAX + 1];
    /* further names a token may call it by; "" for a secret */
    char thumbprint[JWT_THUMBPRINT_SIZE + 1], stripped[JWT_THUMBPRINT_SIZE + 1];
};
/* INVALID  not a point of its curve, too short, too long */
int jwt_key_make(const struct jwk *jwk, struct jwt_key **out, struct error *err) MUST_CHECK;
/* The algorithm must be one of the key's. */
bool jwt_key_verify(const struct jwt_key *key, enum jwt_algorithm algorithm, struct slice text,
                    struct slice signature);
bool jwt_algorithm_parse(struct slice name, enum jwt_algorithm *out);

/* Signs with a private key; out gets its id and public part, too. seal.c */
struct dsse_signature;
void jwt_key_seal(const struct jwt_key *key, struct slice bytes, struct dsse_signature *out);

/* A JSON object: no deeper than JWT_JSON_DEPTH_MAX, no member twice, no NUL. NULL when it is not
 * one. */
struct json_t *jwt_json_read(struct slice text);
/* Of a string; SLICE_NONE for NULL and other kinds. */
struct slice jwt_json_text(const struct json_t *value);

#endif

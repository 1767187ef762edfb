/* jose.h - keys of every kind a token may be signed with, made by the test; signs what we only
 * verify. */
#ifndef SLIPWAY_TESTS_SUPPORT_JOSE_H
#define SLIPWAY_TESTS_SUPPORT_JOSE_H

#include <assert.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "auth/jwt_internal.h"
#include "registry/core/base64.h"

static const char JOSE_SECRET[] = "a secret of the tests, of more than 32 bytes";

/* pkey NULL: JOSE_SECRET. */
static inline EVP_PKEY *jose_new(enum jwt_algorithm algorithm)
{
    switch (algorithm) {
    case JWT_ES256:
        return EVP_EC_gen("P-256");
    case JWT_ES384:
        return EVP_EC_gen("P-384");
    case JWT_EDDSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    case JWT_RS256:
    case JWT_PS256:
        return EVP_RSA_gen(2048);
    case JWT_HS256:
        return NULL;
    }
    return NULL;
}

static inline void jose_member(EVP_PKEY *pkey, const char *name, const char *number, size_t size,
                               struct buffer *out)
{
    BIGNUM *value = NULL;
    uint8_t bytes[1024];

    int got = EVP_PKEY_get_bn_param(pkey, number, &value);
    assert(got == 1);
    (void)got;
    size = size == 0 ? (size_t)BN_num_bytes(value) : size;
    BN_bn2binpad(value, bytes, (int)size);
    BN_free(value);
    buffer_print(out, ",\"%s\":\"", name);
    base64_encode(BASE64_URL, bytes, size, out);
    buffer_append_text(out, "\"");
}

/* The public JWK without what closes it, so that more members can follow. */
static inline void jose_jwk(enum jwt_algorithm algorithm, EVP_PKEY *pkey, struct buffer *out)
{
    uint8_t raw[32];
    size_t size = sizeof(raw);

    if (algorithm == JWT_ES256 || algorithm == JWT_ES384) {
        size = algorithm == JWT_ES256 ? 32 : 48;
        buffer_print(out, "{\"kty\":\"EC\",\"crv\":\"P-%zu\"", size * 8);
        jose_member(pkey, "x", OSSL_PKEY_PARAM_EC_PUB_X, size, out);
        jose_member(pkey, "y", OSSL_PKEY_PARAM_EC_PUB_Y, size, out);
    } else if (algorithm == JWT_EDDSA) {
        EVP_PKEY_get_raw_public_key(pkey, raw, &size);
        buffer_append_text(out, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"");
        base64_encode(BASE64_URL, raw, size, out);
        buffer_append_text(out, "\"");
    } else if (algorithm == JWT_HS256) {
        buffer_append_text(out, "{\"kty\":\"oct\",\"k\":\"");
        base64_encode(BASE64_URL, JOSE_SECRET, sizeof(JOSE_SECRET) - 1, out);
        buffer_append_text(out, "\"");
    } else {
        buffer_append_text(out, "{\"kty\":\"RSA\"");
        jose_member(pkey, "n", OSSL_PKEY_PARAM_RSA_N, 0, out);
        jose_member(pkey, "e", OSSL_PKEY_PARAM_RSA_E, 0, out);
    }
}

static inline void jose_hmac(const void *secret, size_t secret_size, struct slice text,
                             struct buffer *out)
{
    uint8_t code[32];
    unsigned size = sizeof(code);

    HMAC(EVP_sha256(), secret, (int)secret_size, (const uint8_t *)text.at, text.size, code, &size);
    base64_encode(BASE64_URL, code, size, out);
}

/* The raw signature; for ECDSA in DER. salt: of PS256, in bytes. */
static inline void jose_signature(enum jwt_algorithm algorithm, EVP_PKEY *pkey, int salt,
                                  struct slice text, struct buffer *out)
{
    const EVP_MD *hash = algorithm == JWT_EDDSA   ? NULL
                         : algorithm == JWT_ES384 ? EVP_sha384()
                                                  : EVP_sha256();
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how = NULL;
    size_t size = 512;

    buffer_reserve(out, size);
    int done = EVP_DigestSignInit(context, &how, hash, NULL, pkey);
    if (algorithm == JWT_PS256) {
        EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(how, salt);
    }
    done &= EVP_DigestSign(context, (uint8_t *)out->at + out->size, &size, (const uint8_t *)text.at,
                           text.size);
    assert(done == 1);
    (void)done;
    out->size += size;
    EVP_MD_CTX_free(context);
}

static inline void jose_raw(struct slice der, size_t half, struct buffer *out)
{
    const uint8_t *at = (const uint8_t *)der.at;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &at, (long)der.size);
    uint8_t raw[2 * JWT_COORDINATE_MAX];

    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, (int)half);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + half, (int)half);
    ECDSA_SIG_free(signature);
    buffer_append(out, raw, 2 * half);
}

/* A compact JWS of these texts as they are. */
static inline void jose_sign(enum jwt_algorithm algorithm, EVP_PKEY *pkey, struct slice header,
                             struct slice payload, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer der = BUFFER_NONE, raw = BUFFER_NONE;

    base64_encode(BASE64_URL, header.at, header.size, out);
    buffer_append_text(out, ".");
    base64_encode(BASE64_URL, payload.at, payload.size, out);
    struct slice text = {memory_text(buffer_slice(out)), out->size};
    buffer_append_text(out, ".");
    if (algorithm == JWT_HS256) {
        jose_hmac(JOSE_SECRET, sizeof(JOSE_SECRET) - 1, text, out);
    } else {
        jose_signature(algorithm, pkey, 32, text, &der);
        if (algorithm == JWT_ES256 || algorithm == JWT_ES384)
            jose_raw(buffer_slice(&der), algorithm == JWT_ES256 ? 32 : 48, &raw);
        else
            buffer_append_slice(&raw, buffer_slice(&der));
        base64_encode(BASE64_URL, raw.at, raw.size, out);
    }
    OWNED(memory_drop) char *copy = (char *)(uintptr_t)text.at;
    (void)copy;
}

#endif

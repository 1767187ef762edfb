/* jwt_key.c - keys of tokens: made from their numbers or from PEM; they check signatures and sign.
 * Touches  memory; OpenSSL.
 * Never    lets a token choose: which algorithms a key serves is the key's (TOK-38, RFC 8725). */
#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "auth/jwt_internal.h"
#include "registry/core/base64.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- the library's objects as locals --- */

static void drop_pkey(EVP_PKEY **pkey)
{
    EVP_PKEY_free(*pkey);
}

static void drop_context(EVP_PKEY_CTX **context)
{
    EVP_PKEY_CTX_free(*context);
}

static void drop_digest_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

static void drop_builder(OSSL_PARAM_BLD **builder)
{
    OSSL_PARAM_BLD_free(*builder);
}

static void drop_params(OSSL_PARAM **params)
{
    OSSL_PARAM_free(*params);
}

static void drop_number(BIGNUM **number)
{
    BN_free(*number);
}

static void drop_ecdsa(ECDSA_SIG **signature)
{
    ECDSA_SIG_free(*signature);
}

static void drop_bio(BIO **bio)
{
    BIO_free(*bio);
}

/* What goes wrong with a stranger's token must not stay in the thread's queue of errors, where
 * TLS would find it. */
static void errors_forget(const int *mark)
{
    (void)mark;
    ERR_pop_to_mark();
}
#define FORGETS_ERRORS OWNED(errors_forget) const int mark __attribute__((unused)) = ERR_set_mark()

static const uint8_t *bytes_of(struct slice s)
{
    return (const uint8_t *)s.at;
}

/* --- algorithms --- */

static const char *const algorithms[] = {
    [JWT_ES256] = "ES256", [JWT_ES384] = "ES384", [JWT_EDDSA] = "EdDSA",
    [JWT_RS256] = "RS256", [JWT_PS256] = "PS256", [JWT_HS256] = "HS256",
};

bool jwt_algorithm_parse(struct slice name, enum jwt_algorithm *out)
{
    for (size_t i = 0; i < LENGTH(algorithms); i++) {
        if (slice_equal_text(name, algorithms[i])) {
            *out = (enum jwt_algorithm)i;
            return true;
        }
    }
    return false;
}

static unsigned algorithms_of(enum jwk_kind kind)
{
    static const unsigned bits[] = {
        [JWK_P256] = 1U << JWT_ES256,    [JWK_P384] = 1U << JWT_ES384,
        [JWK_ED25519] = 1U << JWT_EDDSA, [JWK_RSA] = 1U << JWT_RS256 | 1U << JWT_PS256,
        [JWK_OCT] = 1U << JWT_HS256,
    };

    return bits[kind];
}

/* --- from numbers --- */

static EVP_PKEY *pkey_from(const char *type, OSSL_PARAM *params)
{
    OWNED(drop_context) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    OWNED(drop_pkey) EVP_PKEY *pkey = NULL;

    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &pkey, EVP_PKEY_PUBLIC_KEY, params) != 1)
        return NULL;
    return TAKE(pkey);
}

static EVP_PKEY *make_ec(const struct jwk *jwk)
{
    OWNED(buffer_drop) struct buffer point = BUFFER_NONE;
    char group[sizeof("P-256")];

    memcpy(group, jwk->kind == JWK_P256 ? "P-256" : "P-384", sizeof(group));
    buffer_append(&point, "\x04", 1); /* uncompressed */
    buffer_append_slice(&point, buffer_slice(&jwk->first));
    buffer_append_slice(&point, buffer_slice(&jwk->second));
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point.at, point.size),
        OSSL_PARAM_construct_end(),
    };
    OWNED(drop_pkey) EVP_PKEY *pkey = pkey_from("EC", params);
    OWNED(drop_context)
    EVP_PKEY_CTX *context = pkey == NULL ? NULL : EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
    if (context == NULL || EVP_PKEY_public_check(context) != 1)
        return NULL; /* not on the curve */
    return TAKE(pkey);
}

static EVP_PKEY *make_rsa(const struct jwk *jwk)
{
    OWNED(drop_number)
    BIGNUM *n = BN_bin2bn(bytes_of(buffer_slice(&jwk->first)), (int)jwk->first.size, NULL);
    OWNED(drop_number)
    BIGNUM *e = BN_bin2bn(bytes_of(buffer_slice(&jwk->second)), (int)jwk->second.size, NULL);
    OWNED(drop_builder) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OWNED(drop_params) OSSL_PARAM *params = NULL;

    if (n == NULL || e == NULL || builder == NULL || !BN_is_odd(n) || !BN_is_odd(e) ||
        BN_is_one(e) || BN_num_bits(e) > 64 || BN_num_bits(n) < JWT_RSA_BITS_MIN ||
        BN_num_bits(n) > JWT_RSA_BITS_MAX)
        return NULL;
    if (OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e) != 1)
        return NULL;
    params = OSSL_PARAM_BLD_to_param(builder);
    return params == NULL ? NULL : pkey_from("RSA", params);
}

static EVP_PKEY *make_ed25519(const struct jwk *jwk)
{
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes_of(buffer_slice(&jwk->first)),
                                       jwk->first.size);
}

static int make_pkey(const struct jwk *jwk, EVP_PKEY **out, struct error *err)
{
    const char *fault = "";

    switch (jwk->kind) {
    case JWK_P256:
    case JWK_P384:
        *out = make_ec(jwk);
        fault = "x and y are no point of the curve";
        break;
    case JWK_ED25519:
        *out = make_ed25519(jwk);
        fault = "x is not of 32 bytes";
        break;
    case JWK_RSA:
        *out = make_rsa(jwk);
        fault = "n and e are not an RSA key of 2048 to 8192 bits";
        break;
    case JWK_OCT:
        return jwk->first.size >= JWT_SECRET_MIN
                   ? 0
                   : error_set(err, ERROR_INVALID, "k is shorter than %d bytes", JWT_SECRET_MIN);
    }
    return *out != NULL ? 0 : error_set(err, ERROR_INVALID, "%s", fault);
}

int jwt_key_make(const struct jwk *jwk, struct jwt_key **out, struct error *err)
{
    OWNED(jwt_key_drop) struct jwt_key *key = memory_new(sizeof(*key));
    OWNED(buffer_drop) struct buffer stripped = BUFFER_NONE;
    FORGETS_ERRORS;

    if (make_pkey(jwk, &key->pkey, err) < 0)
        return -1;
    key->algorithms = algorithms_of(jwk->kind);
    if (jwk->kind == JWK_OCT) {
        buffer_append_slice(&key->secret, buffer_slice(&jwk->first));
    } else {
        jwk_members(jwk, false, &key->members);
        jwk_members(jwk, true, &stripped);
        jwk_thumbprint(buffer_slice(&key->members), key->thumbprint);
        jwk_thumbprint(buffer_slice(&stripped), key->stripped);
        memcpy(key->id, key->thumbprint, sizeof(key->thumbprint));
    }
    *out = TAKE(key);
    return 0;
}

void jwt_key_drop(struct jwt_key **key)
{
    if (*key == NULL)
        return;
    EVP_PKEY_free((*key)->pkey);
    if ((*key)->secret.at != NULL)
        OPENSSL_cleanse((*key)->secret.at, (*key)->secret.capacity);
    buffer_drop(&(*key)->secret);
    buffer_drop(&(*key)->members);
    buffer_drop(&(*key)->header);
    free(*key);
    *key = NULL;
}

const char *jwt_key_id(const struct jwt_key *key)
{
    return key->id;
}

void jwt_key_write_jwk(const struct jwt_key *key, struct buffer *out)
{
    assert(key->members.size > 0);
    buffer_append(out, key->members.at, key->members.size - 1);
    buffer_append_text(out, ",\"kid\":");
    buffer_append_json(out, slice_of(key->id));
    buffer_append_text(out, ",\"use\":\"sig\"");
    for (size_t i = 0; i < LENGTH(algorithms); i++)
        if (key->algorithms == 1U << i) /* an RSA key that serves two has none */
            buffer_print(out, ",\"alg\":\"%s\"", algorithms[i]);
    buffer_append_text(out, "}");
}

/* --- our own: P-256 with its private part --- */

static void append_number(EVP_PKEY *pkey, const char *name, struct buffer *out)
{
    OWNED(drop_number) BIGNUM *number = NULL;
    uint8_t bytes[32];

    bool known = EVP_PKEY_get_bn_param(pkey, name, &number) == 1 &&
                 BN_bn2binpad(number, bytes, sizeof(bytes)) == sizeof(bytes);
    assert(known);
    (void)known;
    buffer_append(out, bytes, sizeof(bytes));
}

/* pkey: consumed. */
static struct jwt_key *signing_key(EVP_PKEY *pkey)
{
    OWNED(jwk_drop) struct jwk jwk = {.kind = JWK_P256};
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct jwt_key *key = NULL;
    struct error err = {0};

    append_number(pkey, OSSL_PKEY_PARAM_EC_PUB_X, &jwk.first);
    append_number(pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &jwk.second);
    int made = jwt_key_make(&jwk, &key, &err);
    assert(made == 0);
    (void)made;
    EVP_PKEY_free(key->pkey);
    key->pkey = pkey;
    buffer_print(&header, "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"%s\"}", key->id);
    base64_encode(BASE64_URL, header.at, header.size, &key->header);
    return key;
}

struct jwt_key *jwt_key_new(void)
{
    EVP_PKEY *pkey = EVP_EC_gen("P-256");

    if (pkey == NULL)
        abort(); /* no memory, or no random bytes */
    return signing_key(pkey);
}

/* An encrypted key is refused; nobody is asked. */
static int no_passphrase(char *out, int size, int writing, void *context)
{
    (void)out, (void)size, (void)writing, (void)context;
    return -1;
}

static bool is_p256_private(EVP_PKEY *pkey)
{
    char group[32] = "";
    OWNED(drop_context) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);

    return context != NULL && EVP_PKEY_is_a(pkey, "EC") &&
           EVP_PKEY_get_group_name(pkey, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0 && EVP_PKEY_check(context) == 1;
}

int jwt_key_read_pem(struct slice pem, struct jwt_key **out, struct error *err)
{
    FORGETS_ERRORS;

    if (pem.size > JWT_PEM_MAX)
        return error_set(err, ERROR_INVALID, "larger than %d bytes", JWT_PEM_MAX);
    OWNED(drop_bio) BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.size);
    OWNED(drop_pkey)
    EVP_PKEY *pkey = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (pkey == NULL)
        return error_set(err, ERROR_INVALID, "not an unencrypted private key in PEM");
    if (!is_p256_private(pkey))
        return error_set(err, ERROR_INVALID, "not a private key of the curve P-256");
    *out = signing_key(TAKE(pkey));
    return 0;
}

void jwt_key_write_pem(const struct jwt_key *key, struct buffer *out)
{
    OWNED(drop_bio) BIO *bio = BIO_new(BIO_s_secmem());
    char *text = NULL;

    assert(key->header.size > 0);
    bool written = bio != NULL &&
                   PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1;
    assert(written);
    (void)written;
    long size = BIO_get_mem_data(bio, &text);
    buffer_append(out, text, (size_t)size);
    OPENSSL_cleanse(text, (size_t)size);
}

/* --- signatures --- */

/* r||s of fixed length, as JWS has it, to the DER that OpenSSL takes; NULL when the length is
 * wrong. OPENSSL_free. */
static unsigned char *ecdsa_to_der(struct slice raw, size_t half, size_t *size)
{
    OWNED(drop_ecdsa) ECDSA_SIG *signature = ECDSA_SIG_new();
    unsigned char *der = NULL;

    if (signature == NULL || raw.size != 2 * half)
        return NULL;
    BIGNUM *r = BN_bin2bn(bytes_of(raw), (int)half, NULL);
    BIGNUM *s = BN_bin2bn(bytes_of(raw) + half, (int)half, NULL);
    if (r == NULL || s == NULL || ECDSA_SIG_set0(signature, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return NULL;
    }
    int written = i2d_ECDSA_SIG(signature, &der);
    *size = written > 0 ? (size_t)written : 0;
    return written > 0 ? der : NULL;
}

static bool digest_verify(const struct jwt_key *key, const EVP_MD *hash, bool pss,
                          struct slice text, const uint8_t *signature, size_t size)
{
    OWNED(drop_digest_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *how;

    if (context == NULL || EVP_DigestVerifyInit(context, &how, hash, NULL, key->pkey) != 1)
        return false;
    if (pss && (EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING) != 1 ||
                EVP_PKEY_CTX_set_rsa_mgf1_md(how, hash) != 1 ||
                EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST) != 1))
        return false;
    return EVP_DigestVerify(context, signature, size, bytes_of(text), text.size) == 1;
}

static bool ecdsa_verify(const struct jwt_key *key, const EVP_MD *hash, size_t half,
                         struct slice text, struct slice signature)
{
    size_t size = 0;
    unsigned char *der = ecdsa_to_der(signature, half, &size);
    bool right = der != NULL && digest_verify(key, hash, false, text, der, size);

    OPENSSL_free(der);
    return right;
}

static bool hmac_verify(const struct jwt_key *key, struct slice text, struct slice signature)
{
    uint8_t code[EVP_MAX_MD_SIZE];
    unsigned size = 0;

    return HMAC(EVP_sha256(), key->secret.at, (int)key->secret.size, bytes_of(text), text.size,
                code, &size) != NULL &&
           signature.size == size && CRYPTO_memcmp(code, signature.at, size) == 0;
}

bool jwt_key_verify(const struct jwt_key *key, enum jwt_algorithm algorithm, struct slice text,
                    struct slice signature)
{
    FORGETS_ERRORS;

    if ((key->algorithms & 1U << algorithm) == 0)
        return false;
    switch (algorithm) {
    case JWT_ES256:
        return ecdsa_verify(key, EVP_sha256(), 32, text, signature);
    case JWT_ES384:
        return ecdsa_verify(key, EVP_sha384(), 48, text, signature);
    case JWT_EDDSA:
        return digest_verify(key, NULL, false, text, bytes_of(signature), signature.size);
    case JWT_RS256:
    case JWT_PS256:
        return digest_verify(key, EVP_sha256(), algorithm == JWT_PS256, text, bytes_of(signature),
                             signature.size);
    case JWT_HS256:
        return hmac_verify(key, text, signature);
    }
    return false;
}

/* r||s of an ECDSA signature in DER. */
static void ecdsa_from_der(const uint8_t *der, size_t size, uint8_t out[64])
{
    OWNED(drop_ecdsa) ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)size);

    bool fits = signature != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, 32) == 32 &&
                BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + 32, 32) == 32;
    assert(fits);
    (void)fits;
}

void jwt_sign(const struct jwt_key *key, struct slice payload, struct buffer *out)
{
    OWNED(drop_digest_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t der[80], raw[64];
    size_t size = sizeof(der), start = out->size;

    assert(key->header.size > 0);
    buffer_append_slice(out, buffer_slice(&key->header));
    buffer_append_text(out, ".");
    base64_encode(BASE64_URL, payload.at, payload.size, out);
    if (context == NULL || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pkey) != 1 ||
        EVP_DigestSign(context, der, &size, (const uint8_t *)out->at + start, out->size - start) !=
            1)
        abort(); /* no memory, or no random bytes */
    ecdsa_from_der(der, size, raw);
    buffer_append_text(out, ".");
    base64_encode(BASE64_URL, raw, sizeof(raw), out);
}

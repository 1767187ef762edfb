/* seal.c - signatures over documents that outlive any token: provenance of builds.
 * Touches  memory; OpenSSL.
 * Never    a token: these keys are a ring of their own, so none that ever signed here is among
 *          those that tokens are verified by. Spec: s2i 15.10 */
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "auth/auth_internal.h"
#include "auth/jwt_internal.h"

static void drop_digest_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

static void drop_bio(BIO **bio)
{
    BIO_free(*bio);
}

/* The JWK with one member more: the same key as SubjectPublicKeyInfo in PEM. */
static void write_key(const struct jwt_key *key, struct buffer *out)
{
    OWNED(drop_bio) BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;

    if (bio == NULL || PEM_write_bio_PUBKEY(bio, key->pkey) != 1)
        abort(); /* no memory */
    long size = BIO_get_mem_data(bio, &text);
    jwt_key_write_jwk(key, out);
    out->size--;
    buffer_append_text(out, ",\"pem\":");
    buffer_append_json(out, (struct slice){text, (size_t)size});
    buffer_append_text(out, "}");
}

void jwt_key_seal(const struct jwt_key *key, struct slice bytes, struct dsse_signature *out)
{
    OWNED(drop_digest_context) EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t der[80];
    size_t size = sizeof(der);

    assert(key->header.size > 0); /* private, of P-256 */
    if (context == NULL || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pkey) != 1 ||
        EVP_DigestSign(context, der, &size, (const uint8_t *)bytes.at, bytes.size) != 1)
        abort(); /* no memory, or no random bytes */
    buffer_append(&out->bytes, der, size);
    buffer_append_text(&out->key_id, key->id);
    write_key(key, &out->key);
}

int auth_sign(const struct auth *auth, struct slice bytes, struct dsse_signature *out,
              struct error *err)
{
    if (auth->seals == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "there is no key for provenance");
    key_ring_seal(auth->seals, bytes, out);
    return 0;
}

static bool is_right(const struct jwt_key *key, struct slice bytes, struct slice signature)
{
    OWNED(drop_digest_context) EVP_MD_CTX *context = EVP_MD_CTX_new();

    ERR_set_mark();
    bool right = context != NULL &&
                 EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
                 EVP_DigestVerify(context, (const uint8_t *)signature.at, signature.size,
                                  (const uint8_t *)bytes.at, bytes.size) == 1;
    ERR_pop_to_mark();
    return right;
}

bool auth_signature_right(struct slice key, struct slice key_id, struct slice bytes,
                          struct slice signature)
{
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    struct error ignored = {0};

    buffer_append_text(&set, "{\"keys\":[");
    buffer_append_slice(&set, key);
    buffer_append_text(&set, "]}");
    if (jwt_keys_parse(buffer_slice(&set), &keys, &ignored) < 0 || keys.count != 1)
        return false;
    /* the id is of this very key, whatever the JWK calls itself: RFC 7638 */
    return keys.items[0]->algorithms == 1U << JWT_ES256 &&
           slice_equal_text(key_id, keys.items[0]->thumbprint) &&
           is_right(keys.items[0], bytes, signature);
}

/* seal.c - signatures over documents that outlive any token: provenance of builds; their keys.
 * Touches  a folder of keys, by way of keys.h; OpenSSL.
 * Never    a token: these keys are a ring of their own, so none that ever signed here is among
 *          those that tokens are verified by. Spec: s2i 15.10 */
#include <pthread.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "auth/auth_internal.h"
#include "auth/key_folder.h"

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

/* --- the keys --- */

struct seals {
    char *folder;
    uint64_t rotation_s;
    pthread_mutex_t lock;  /* of what follows */
    struct key_ring *ring; /* NULL: nobody needed it yet; then it stays */
};

static void drop_seals(struct seals **seals)
{
    seals_close(*seals);
}

int seals_open(struct seals **out, const char *folder, uint64_t rotation_s, struct error *err)
{
    *out = NULL;
    if (folder == NULL || folder[0] == 0)
        return 0;
    OWNED(drop_seals) struct seals *seals = memory_new(sizeof(*seals));
    pthread_mutex_init(&seals->lock, NULL);
    seals->folder = memory_text(slice_of(folder));
    seals->rotation_s = rotation_s;
    if (key_folder_make(folder, err) < 0 || key_folder_check(folder, NULL, err) < 0)
        return -1;
    *out = TAKE(seals);
    return 0;
}

void seals_close(struct seals *seals)
{
    if (seals == NULL)
        return;
    key_ring_close(seals->ring);
    pthread_mutex_destroy(&seals->lock);
    free(seals->folder);
    free(seals);
}

/* Who fails leaves it to the next one to try again. The lock is held. */
static int ring_open(struct seals *seals, struct error *err)
{
    const struct key_ring_options keys = {.folder = seals->folder, .rotation_s = seals->rotation_s};

    return seals->ring != NULL ? 0 : key_ring_open(&seals->ring, &keys, err);
}

static int ring_of(struct seals *seals, struct key_ring **out, struct error *err)
{
    pthread_mutex_lock(&seals->lock);
    int status = ring_open(seals, err);
    *out = seals->ring;
    pthread_mutex_unlock(&seals->lock);
    return status;
}

int seals_advance(struct seals *seals, int64_t now_s, struct error *err)
{
    bool changed;

    pthread_mutex_lock(&seals->lock);
    struct key_ring *ring = seals->ring;
    int status = ring == NULL ? key_folder_check(seals->folder, NULL, err) : 0;
    pthread_mutex_unlock(&seals->lock);
    return ring == NULL ? status : key_ring_advance(ring, now_s, &changed, err);
}

/* The first key of all is a fresh one by itself. */
int seals_rotate(struct seals *seals, int64_t now_s, struct error *err)
{
    size_t there = 1;

    pthread_mutex_lock(&seals->lock);
    int status = seals->ring == NULL ? key_folder_check(seals->folder, &there, err) : 0;
    if (status == 0)
        status = ring_open(seals, err);
    if (status == 0 && there > 0)
        status = key_ring_rotate(seals->ring, now_s, err);
    pthread_mutex_unlock(&seals->lock);
    return status;
}

/* --- signatures --- */

int auth_sign(const struct auth *auth, struct slice bytes, struct dsse_signature *out,
              struct error *err)
{
    struct key_ring *ring;

    assert(thread_role_current != ROLE_LOOP);
    if (auth->seals == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "there is no key for provenance");
    if (ring_of(auth->seals, &ring, err) < 0)
        return -1;
    key_ring_seal(ring, bytes, out);
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

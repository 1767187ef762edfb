/* test_seal.c - signatures of provenance: right, changed, of another key; and never a token. Their
 * keys: made and read when they are needed, and what is wrong with them told before. Spec: s2i
 * 15.10 */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <openssl/bn.h>
#include <openssl/ec.h>

#include "auth/key_folder.h"
#include "registry/core/base64.h"
#include "tests/support/auth.h"

#define BYTES SLICE("DSSEv1 1 t 5 hello")

static int set_up(void **state)
{
    static char folder[FOLDER_MAX + 16];

    auth_set_up(state);
    snprintf(folder, sizeof(folder), "%s/seals", world.fixture->root);
    world.options.seal_folder = folder;
    world.options.key_rotation_s = 3600;
    world_reopen();
    return 0;
}

#define SEAL_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, auth_tear_down)

static struct dsse_signature sealed(struct slice bytes)
{
    struct dsse_signature signature = {.key = BUFFER_NONE};

    DONE(auth_sign(world.auth, bytes, &signature, &world.err));
    return signature;
}

static bool is_right(const struct dsse_signature *by, const struct dsse_signature *key,
                     struct slice bytes)
{
    return auth_signature_right(buffer_slice(&key->key), buffer_slice(&key->key_id), bytes,
                                buffer_slice(&by->bytes));
}

static void test_seal_is_right_and_what_was_changed_is_not(void **state)
{
    OWNED(dsse_signature_drop) struct dsse_signature one = sealed(BYTES), other = sealed(BYTES);

    (void)state;
    assert_true(slice_equal(buffer_slice(&one.key), buffer_slice(&other.key)));
    assert_true(is_right(&one, &other, BYTES));
    assert_false(is_right(&one, &one, SLICE("DSSEv1 1 t 5 hellp")));
    for (size_t i = 0; i < one.bytes.size; i++) {
        one.bytes.at[i] ^= 1;
        assert_false(is_right(&one, &one, BYTES));
        one.bytes.at[i] ^= 1;
    }
    one.key_id.at[0] ^= 1; /* a key is known by its own thumbprint only */
    assert_false(is_right(&one, &one, BYTES));
    assert_false(auth_signature_right(SLICE("{}"), SLICE("x"), BYTES, buffer_slice(&one.bytes)));
    assert_false(auth_signature_right(SLICE("{\"kty\":\"oct\",\"k\":\"AAAA\"}"), SLICE("x"), BYTES,
                                      buffer_slice(&one.bytes)));
}

/* After a rotation another key signs at once; what the first one signed is still right by it. */
static void test_seal_outlives_its_key(void **state)
{
    OWNED(dsse_signature_drop) struct dsse_signature before = sealed(BYTES);

    (void)state;
    const struct timespec a_second = {1, 0};
    nanosleep(&a_second, NULL); /* names of keys count in seconds */
    DONE(auth_key_rotate(world.auth, AUTH_KEYS_PROVENANCE, &world.err));
    OWNED(dsse_signature_drop) struct dsse_signature after = sealed(BYTES);
    assert_false(slice_equal(buffer_slice(&before.key_id), buffer_slice(&after.key_id)));
    assert_true(is_right(&before, &before, BYTES) && is_right(&after, &after, BYTES));
    assert_false(is_right(&before, &after, BYTES) || is_right(&after, &before, BYTES));
    DONE(auth_reload(world.auth, true, &world.err));
    OWNED(key_names_drop) struct key_names names = {NULL, 0};
    DONE(key_folder_list(world.options.seal_folder, &names, &world.err));
    assert_int_equal(names.count, 1); /* the private key is gone */
    world_reopen();
    OWNED(dsse_signature_drop) struct dsse_signature again = sealed(BYTES);
    assert_true(slice_equal(buffer_slice(&again.key_id), buffer_slice(&after.key_id)));
}

/* r||s as tokens have it, of the ASN.1 that seals have. */
static void raw_signature(const struct dsse_signature *signature, struct buffer *out)
{
    const uint8_t *der = (const uint8_t *)signature->bytes.at;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &der, (long)signature->bytes.size);
    uint8_t raw[64];

    assert_non_null(pair);
    BN_bn2binpad(ECDSA_SIG_get0_r(pair), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(pair), raw + 32, 32);
    ECDSA_SIG_free(pair);
    base64_encode(BASE64_URL, raw, sizeof(raw), out);
}

static bool is_token(const struct key_ring *ring, struct slice text)
{
    static const char *const issuers[] = {"registry.test"};
    const struct jwt_checks checks = {
        .audience = SLICE("registry.test"), .issuers = issuers, .issuer_count = 1, .now_s = 1000};
    struct jwt_claims claims = {.document = NULL};

    bool right = key_ring_verify(ring, text, checks, &claims, &world.err) == 0;
    jwt_claims_drop(&claims);
    world.err = (struct error){0};
    return right;
}

#define CLAIMS                                                                                     \
    "{\"iss\":\"registry.test\",\"aud\":\"registry.test\",\"sub\":\"ana\",\"exp\":2000,"           \
    "\"nbf\":900,\"iat\":900,\"jti\":\"1\",\"access\":[]}"

/* The keys are not the same; and were they, what is signed is not. */
static void test_seal_is_no_token(void **state)
{
    const struct key_ring_options options = {.folder = world.options.seal_folder};
    const struct key_ring *tokens = world.auth->keys;
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE, bytes = BUFFER_NONE, forged = BUFFER_NONE;
    struct key_ring *seals;

    (void)state;
    DONE(key_ring_open(&seals, &options, &world.err)); /* the world's own reads the same key */
    key_ring_sign(seals, SLICE(CLAIMS), &token);
    assert_true(is_token(seals, buffer_slice(&token)));
    assert_false(is_token(tokens, buffer_slice(&token)));
    /* somebody brings the registry to seal the very text that a token signs */
    struct slice text = buffer_slice(&token);
    const char *dot = memrchr(text.at, '.', text.size);
    const struct slice signed_part = {text.at, (size_t)(dot - text.at)};
    dsse_signed_bytes(SLICE(DSSE_PAYLOAD_STATEMENT), signed_part, &bytes);
    OWNED(dsse_signature_drop) struct dsse_signature signature = sealed(buffer_slice(&bytes));
    buffer_append_slice(&forged, signed_part);
    buffer_append_text(&forged, ".");
    raw_signature(&signature, &forged);
    assert_false(is_token(seals, buffer_slice(&forged)));
    forged.size = 0;
    buffer_append_slice(&forged, buffer_slice(&bytes));
    buffer_append_text(&forged, ".");
    raw_signature(&signature, &forged);
    assert_false(is_token(seals, buffer_slice(&forged)));
    key_ring_close(seals);
}

/* Without accounts there are no tokens; builds there are. */
static void test_seal_in_mode_none(void **state)
{
    (void)state;
    world.options.mode = AUTH_MODE_NONE;
    world_reopen();
    OWNED(dsse_signature_drop) struct dsse_signature signature = sealed(BYTES);
    assert_true(is_right(&signature, &signature, BYTES));
    DONE(auth_reload(world.auth, false, &world.err));
    world.options.seal_folder = "";
    world_reopen();
    REFUSED(auth_sign(world.auth, BYTES, &signature, &world.err), ERROR_UNAVAILABLE);
    REFUSED(auth_key_rotate(world.auth, AUTH_KEYS_PROVENANCE, &world.err), ERROR_CONFLICT);
}

/* --- keys when they are needed --- */

static size_t key_count(void)
{
    OWNED(key_names_drop) struct key_names names = {NULL, 0};

    DONE(key_folder_list(world.options.seal_folder, &names, &world.err));
    return names.count;
}

enum { SIGNERS = 8 };

static void *sign_once(void *arg)
{
    struct dsse_signature *out = arg;
    struct error err = {0};

    return auth_sign(world.auth, BYTES, out, &err) == 0 ? out : NULL;
}

/* Many at once: one of them makes the key, and all sign with it. */
static void test_seal_key_is_made_when_it_is_needed(void **state)
{
    struct dsse_signature signatures[SIGNERS] = {{.key = BUFFER_NONE}};
    pthread_t threads[SIGNERS];
    void *done;

    (void)state;
    DONE(auth_reload(world.auth, true, &world.err));
    assert_int_equal(key_count(), 0);
    for (size_t i = 0; i < SIGNERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_once, &signatures[i]), 0);
    for (size_t i = 0; i < SIGNERS; i++) {
        assert_int_equal(pthread_join(threads[i], &done), 0);
        assert_ptr_equal(done, &signatures[i]);
    }
    assert_int_equal(key_count(), 1);
    for (size_t i = 0; i < SIGNERS; i++)
        assert_true(is_right(&signatures[i], &signatures[0], BYTES));
    for (size_t i = 0; i < SIGNERS; i++)
        dsse_signature_drop(&signatures[i]);
}

/* The first one is as fresh as can be; one that was there is followed by another. */
static void test_seal_rotation_needs_keys(void **state)
{
    (void)state;
    DONE(auth_key_rotate(world.auth, AUTH_KEYS_PROVENANCE, &world.err));
    assert_int_equal(key_count(), 1);
    world_reopen();
    DONE(auth_key_rotate(world.auth, AUTH_KEYS_PROVENANCE, &world.err));
    assert_int_equal(key_count(), 2);
}

#define NAME "20240101T000000Z-1234567890123456789012345678901234567890123.pem"
#define PEM "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"

static void key_write(const char *name, const char *text, mode_t mode)
{
    char path[FOLDER_MAX + 128];

    snprintf(path, sizeof(path), "%s/%s", world.options.seal_folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void key_remove(const char *name)
{
    char path[FOLDER_MAX + 128];

    snprintf(path, sizeof(path), "%s/%s", world.options.seal_folder, name);
    assert_int_equal(unlink(path), 0);
}

static void test_seal_keys_are_looked_at_before(void **state)
{
    static const struct {
        const char *name, *text;
        mode_t mode;
        const char *message;
    } cases[] = {
        {NAME, PEM, 0640, "can be reached by others"},
        {NAME, "", 0600, "is not a private key in PEM"},
        {NAME, "-----BEGIN PRIVATE KEY-----\nAAAA\n", 0600, "is not a private key in PEM"},
        {NAME, "AAAA\n-----END PRIVATE KEY-----\n", 0600, "is not a private key in PEM"},
        {"mine.pem", PEM, 0600, "is none of the key folder's"},
    };
    struct dsse_signature signature = {.key = BUFFER_NONE};
    struct auth *started = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        key_write(cases[i].name, cases[i].text, cases[i].mode);
        REFUSED(auth_open(&started, &world.options, &world.err), ERROR_UNAVAILABLE);
        assert_non_null(strstr(world.err.message, cases[i].message));
        REFUSED(auth_reload(world.auth, false, &world.err), ERROR_UNAVAILABLE);
        assert_non_null(strstr(world.err.message, cases[i].message));
        key_remove(cases[i].name);
    }
    /* what only OpenSSL can see is told to whoever wants a signature, until it is mended */
    key_write(NAME, PEM, 0600);
    world_reopen();
    REFUSED(auth_sign(world.auth, BYTES, &signature, &world.err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(world.err.message, NAME));
    REFUSED(auth_key_rotate(world.auth, AUTH_KEYS_PROVENANCE, &world.err), ERROR_UNAVAILABLE);
    assert_int_equal(key_count(), 1);
    key_remove(NAME);
    DONE(auth_sign(world.auth, BYTES, &signature, &world.err));
    dsse_signature_drop(&signature);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEAL_TEST(test_seal_is_right_and_what_was_changed_is_not),
        SEAL_TEST(test_seal_outlives_its_key),
        SEAL_TEST(test_seal_is_no_token),
        SEAL_TEST(test_seal_in_mode_none),
        SEAL_TEST(test_seal_key_is_made_when_it_is_needed),
        SEAL_TEST(test_seal_rotation_needs_keys),
        SEAL_TEST(test_seal_keys_are_looked_at_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

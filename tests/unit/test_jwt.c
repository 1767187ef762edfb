/* test_jwt.c - tokens: which are taken, what is read from them, and every way to be refused. */
#include "auth/jwt.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "auth/scope.h"
#include "registry/core/base64.h"
#include "tests/support/jose.h"
#include "tests/support/unit.h"

static const char *const algorithm_names[] = {
    [JWT_ES256] = "ES256", [JWT_ES384] = "ES384", [JWT_EDDSA] = "EdDSA",
    [JWT_RS256] = "RS256", [JWT_PS256] = "PS256", [JWT_HS256] = "HS256",
};

enum { NOW = 1700000000, ALGORITHMS = JWT_HS256 + 1 };

/* One key of each algorithm; its kid is the algorithm's name. */
static struct {
    EVP_PKEY *pkeys[ALGORITHMS];
    struct jwt_keys set;
} rig;

static const char *const issuers[] = {"other", "issuer"};

#define CLAIMS "\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":1700000900"

static int setup(void **state)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    buffer_append_text(&set, "{\"keys\":[");
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        rig.pkeys[i] = jose_new(i);
        buffer_append_text(&set, i > 0 ? "," : "");
        jose_jwk(i, rig.pkeys[i], &set);
        buffer_print(&set, ",\"kid\":\"%s\",\"alg\":\"%s\"}", algorithm_names[i],
                     algorithm_names[i]);
    }
    buffer_append_text(&set, "]}");
    return jwt_keys_parse(buffer_slice(&set), &rig.set, &err);
}

static int teardown(void **state)
{
    (void)state;
    jwt_keys_drop(&rig.set);
    for (size_t i = 0; i < ALGORITHMS; i++)
        EVP_PKEY_free(rig.pkeys[i]);
    return 0;
}

static int verify_by(struct slice token, const struct jwt_keys *keys, int64_t now_s,
                     struct jwt_claims *out, struct error *err)
{
    struct jwt_checks checks = {.keys = keys,
                                .audience = SLICE("service"),
                                .issuers = issuers,
                                .issuer_count = LENGTH(issuers),
                                .now_s = now_s};

    *err = (struct error){0};
    /* at its exact size, so that the sanitizer sees a read past its end */
    char *exact = memory_new(token.size + (token.size == 0));
    memcpy(exact, token.at, token.size);
    int status = jwt_verify((struct slice){exact, token.size}, &checks, out, err);
    free(exact);
    assert_int_equal(ERR_peek_error(), 0);
    if (status == 0)
        return 0;
    assert_int_equal(err->code, ERROR_UNAUTHORIZED);
    assert_true(strncmp(err->message, "token: ", 7) == 0);
    assert_null(out->document);
    assert_null(out->access);
    return -1;
}

static int verify(struct slice token, struct jwt_claims *out, struct error *err)
{
    return verify_by(token, &rig.set, NOW, out, err);
}

static void refused_by(struct slice token, const struct jwt_keys *keys, const char *words)
{
    struct jwt_claims claims;
    struct error err;

    if (verify_by(token, keys, NOW, &claims, &err) == 0)
        fail_msg("taken: %.*s", SLICE_ARG(token));
    if (strstr(err.message, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\" of %.*s", words, err.message,
                 (int)(token.size < 300 ? token.size : 300), token.at);
}

static void refused(struct slice token, const char *words)
{
    refused_by(token, &rig.set, words);
}

static void sign(enum jwt_algorithm algorithm, const char *header, const char *payload,
                 struct buffer *out)
{
    out->size = 0;
    jose_sign(algorithm, rig.pkeys[algorithm], slice_of(header), slice_of(payload), out);
}

static void header_of(enum jwt_algorithm key, enum jwt_algorithm named, char out[80])
{
    snprintf(out, 80, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}", algorithm_names[named],
             algorithm_names[key]);
}

/* --- algorithms: TOK-38 --- */

static void test_every_algorithm_verifies(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char header[80];

    (void)state;
    for (unsigned i = 0; i < ALGORITHMS; i++) {
        struct jwt_claims claims;
        struct error err;
        header_of(i, i, header);
        sign(i, header, "{" CLAIMS ",\"sub\":\"ann\",\"jti\":\"7\"}", &token);
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        assert_true(slice_equal_text(claims.issuer, "issuer"));
        assert_true(slice_equal_text(claims.subject, "ann"));
        assert_true(slice_equal_text(claims.id, "7"));
        assert_int_equal(claims.expires_at, NOW + 900);
        assert_false(claims.expired);
        jwt_claims_drop(&claims);
        assert_true(jwt_key_known(buffer_slice(&token), &rig.set));
    }
}

/* Each key's own good signature, under the name of each other algorithm. */
static void test_algorithm_is_the_keys(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char header[80];

    (void)state;
    for (unsigned key = 0; key < ALGORITHMS; key++) {
        for (unsigned named = 0; named < ALGORITHMS; named++) {
            header_of(key, named, header);
            sign(key, header, "{" CLAIMS "}", &token);
            if (key != named)
                refused(buffer_slice(&token), "alg is not the key's");
        }
    }
}

/* Every spelling of a public key, taken as the secret of HS256. */
static void test_public_key_is_no_secret(void **state)
{
    char header[80];

    (void)state;
    for (unsigned key = 0; key < JWT_HS256; key++) {
        OWNED(buffer_drop) struct buffer jwk = BUFFER_NONE;
        unsigned char *der = NULL;
        BIO *pem = BIO_new(BIO_s_mem());
        char *pem_at;
        jose_jwk(key, rig.pkeys[key], &jwk);
        buffer_append_text(&jwk, "}");
        int der_size = i2d_PUBKEY(rig.pkeys[key], &der);
        PEM_write_bio_PUBKEY(pem, rig.pkeys[key]);
        long pem_size = BIO_get_mem_data(pem, &pem_at);
        const struct slice secrets[] = {
            buffer_slice(&jwk),
            buffer_slice(&rig.set.items[key]->members),
            {(const char *)der, (size_t)der_size},
            {pem_at, (size_t)pem_size},
        };
        for (size_t i = 0; i < LENGTH(secrets); i++) {
            OWNED(buffer_drop) struct buffer token = BUFFER_NONE, code = BUFFER_NONE;
            header_of(key, JWT_HS256, header);
            base64_encode(BASE64_URL, header, strlen(header), &token);
            buffer_append_text(&token, ".");
            base64_encode(BASE64_URL, "{" CLAIMS "}", strlen("{" CLAIMS "}"), &token);
            jose_hmac(secrets[i].at, secrets[i].size, buffer_slice(&token), &code);
            buffer_append_text(&token, ".");
            buffer_append_slice(&token, buffer_slice(&code));
            refused(buffer_slice(&token), "alg is not the key's");
        }
        OPENSSL_free(der);
        BIO_free(pem);
    }
}

/* An RSA key without alg serves both; its thumbprint is its name. */
static void test_rsa_key_serves_two(void **state)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE, token = BUFFER_NONE;
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
    struct jwt_claims claims;
    struct error err = {0};
    char header[200];

    (void)state;
    buffer_append_text(&set, "{\"keys\":[");
    jose_jwk(JWT_RS256, rig.pkeys[JWT_RS256], &set);
    buffer_append_text(&set, "}]}");
    assert_int_equal(jwt_keys_parse(buffer_slice(&set), &keys, &err), 0);
    for (unsigned i = JWT_RS256; i <= JWT_PS256; i++) {
        snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"%s\"}", algorithm_names[i],
                 keys.items[0]->thumbprint);
        token.size = 0;
        jose_sign(i, rig.pkeys[JWT_RS256], slice_of(header), SLICE("{" CLAIMS "}"), &token);
        assert_int_equal(verify_by(buffer_slice(&token), &keys, NOW, &claims, &err), 0);
        jwt_claims_drop(&claims);
    }
}

/* --- signatures --- */

static struct slice text_of_token(const struct buffer *token)
{
    struct slice text = buffer_slice(token);
    const char *dot = memrchr(text.at, '.', text.size);

    return (struct slice){text.at, (size_t)(dot - text.at)};
}

/* The token with another signature. */
static void resign(struct buffer *token, const void *signature, size_t size)
{
    token->size = text_of_token(token).size + 1;
    base64_encode(BASE64_URL, signature, size, token);
}

static void test_signature_forms(void **state)
{
    OWNED(buffer_drop)
    struct buffer token = BUFFER_NONE, der = BUFFER_NONE, raw = BUFFER_NONE, salted = BUFFER_NONE;
    static const char zeros[96];
    char header[80];

    (void)state;
    for (unsigned i = JWT_ES256; i <= JWT_ES384; i++) {
        size_t half = i == JWT_ES256 ? 32 : 48;
        header_of(i, i, header);
        sign(i, header, "{" CLAIMS "}", &token);
        der.size = raw.size = 0;
        jose_signature(i, rig.pkeys[i], 0, text_of_token(&token), &der);
        jose_raw(buffer_slice(&der), half, &raw);
        resign(&token, der.at, der.size);
        refused(buffer_slice(&token), "signature is wrong");
        resign(&token, zeros, 2 * half);
        refused(buffer_slice(&token), "signature is wrong");
        resign(&token, raw.at, raw.size - 1);
        refused(buffer_slice(&token), "signature is wrong");
        buffer_append(&raw, "", 1);
        resign(&token, raw.at, raw.size);
        refused(buffer_slice(&token), "signature is wrong");
        struct jwt_claims claims;
        struct error err;
        resign(&token, raw.at, raw.size - 1); /* and the good one is good */
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        jwt_claims_drop(&claims);
    }
    header_of(JWT_PS256, JWT_PS256, header);
    sign(JWT_PS256, header, "{" CLAIMS "}", &token);
    static const int salts[] = {0, 20, 31, 33, 64};
    for (size_t i = 0; i < LENGTH(salts); i++) {
        salted.size = 0;
        jose_signature(JWT_PS256, rig.pkeys[JWT_PS256], salts[i], text_of_token(&token), &salted);
        resign(&token, salted.at, salted.size);
        refused(buffer_slice(&token), "signature is wrong");
    }
}

/* Every bit of every byte of the token, and every length that is too short. */
static void test_nothing_may_change(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    static const enum jwt_algorithm chosen[] = {JWT_ES256, JWT_EDDSA, JWT_HS256};
    char header[80];

    (void)state;
    for (size_t i = 0; i < LENGTH(chosen); i++) {
        header_of(chosen[i], chosen[i], header);
        sign(chosen[i], header, "{" CLAIMS "}", &token);
        for (size_t bit = 0; bit < 8 * token.size; bit++) {
            token.at[bit / 8] = (char)(token.at[bit / 8] ^ 1 << bit % 8);
            refused(buffer_slice(&token), "");
            token.at[bit / 8] = (char)(token.at[bit / 8] ^ 1 << bit % 8);
        }
        for (size_t size = 0; size < token.size; size++)
            refused((struct slice){token.at, size}, "");
        struct jwt_claims claims;
        struct error err;
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        jwt_claims_drop(&claims);
    }
}

/* The parts of two good tokens, put together. */
static void test_parts_do_not_mix(void **state)
{
    OWNED(buffer_drop) struct buffer a = BUFFER_NONE, b = BUFFER_NONE, mixed = BUFFER_NONE;
    struct slice header, rest;

    (void)state;
    sign(JWT_ES256, "{\"alg\":\"ES256\",\"kid\":\"ES256\"}", "{" CLAIMS "}", &a);
    sign(JWT_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"EdDSA\"}", "{" CLAIMS "}", &b);
    slice_split(buffer_slice(&a), '.', &header, &rest);
    buffer_append_slice(&mixed, header);
    slice_split(buffer_slice(&b), '.', &header, &rest);
    buffer_append_text(&mixed, ".");
    buffer_append_slice(&mixed, rest);
    refused(buffer_slice(&mixed), "signature is wrong");
}

/* --- shape and header: TOK-37, TOK-44, TOK-48 --- */

static void test_shape(void **state)
{
    OWNED(buffer_drop) struct buffer good = BUFFER_NONE, token = BUFFER_NONE;
    static const struct {
        const char *before, *after, *words;
    } cases[] = {
        {"", "=", "not base64url"},   {"", "==", "not base64url"}, {"", ".", "three parts"},
        {"", ".x", "three parts"},    {".", "", "three parts"},    {" ", "", "header"},
        {"", " ", "not base64url"},   {"", "\n", "not base64url"}, {"", "A", "signature"},
        {"", "AAAA", "signature is"}, {"=", "", "header"},
    };

    (void)state;
    sign(JWT_EDDSA, "{\"alg\":\"EdDSA\",\"kid\":\"EdDSA\"}", "{" CLAIMS "}", &good);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        token.size = 0;
        buffer_append_text(&token, cases[i].before);
        buffer_append_slice(&token, buffer_slice(&good));
        buffer_append_text(&token, cases[i].after);
        refused(buffer_slice(&token), cases[i].words);
    }
    static const char *const none[] = {"", ".", "..", "...", "a", "a.b", "e30.e30", "{}.{}.x"};
    for (size_t i = 0; i < LENGTH(none); i++)
        refused(slice_of(none[i]), "");
    refused(SLICE("e30.e30."), "alg is not supported");
}

static void test_header(void **state)
{
    static const struct {
        const char *header, *words; /* NULL: taken */
    } cases[] = {
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\"}", NULL},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"typ\":\"jwt\",\"cty\":\"x\",\"new\":[1]}", NULL},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"jku\":\"http://127.0.0.1/\",\"x5u\":\"http://"
         "127.0.0.1/\",\"x5c\":[\"MII\"]}",
         NULL},
        {"[]", "header is not a JSON object"},
        {"", "header is not"},
        {"{", "header is not"},
        {"\"x\"", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\"}{}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"alg\":\"HS256\"}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"a\":{\"b\":1,\"b\":1}}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"a\":\"\\u0000\"}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"a\":\"\xff\"}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"a\":[[[[[[[1]]]]]]]}", NULL},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"a\":[[[[[[[[1]]]]]]]]}", "header is not"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"crit\":[]}", "critical"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", "critical"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"crit\":null}", "critical"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"typ\":\"JWE\"}", "typ"},
        {"{\"alg\":\"HS256\",\"kid\":\"HS256\",\"typ\":7}", "typ"},
        {"{\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":\"none\",\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":\"None\",\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":\"hs256\",\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":\"HS512\",\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":null,\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":[\"HS256\"],\"kid\":\"HS256\"}", "alg is not supported"},
        {"{\"alg\":\"HS256\"}", "key is not known"},
        {"{\"alg\":\"HS256\",\"kid\":\"\"}", "key is not known"},
        {"{\"alg\":\"HS256\",\"kid\":null}", "key is not known"},
        {"{\"alg\":\"HS256\",\"kid\":7}", "key is not known"},
        {"{\"alg\":\"HS256\",\"kid\":\"hs256\"}", "key is not known"},
        {"{\"alg\":\"HS256\",\"kid\":\"../../dev/null\"}", "key is not known"},
        {"{\"alg\":\"HS256\",\"x5c\":[\"MII\"]}", "key is not known"},
        {"{\"alg\":\"HS256\",\"jwk\":{\"kty\":\"oct\",\"k\":\"MDEy\"}}", "key is not known"},
        {"{\"alg\":\"HS256\",\"jwk\":\"HS256\"}", "key is not known"},
    };
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct jwt_claims claims;
        struct error err;
        sign(JWT_HS256, cases[i].header, "{" CLAIMS "}", &token);
        if (cases[i].words != NULL) {
            refused(buffer_slice(&token), cases[i].words);
            continue;
        }
        if (verify(buffer_slice(&token), &claims, &err) < 0)
            fail_msg("%s: %s", cases[i].header, err.message);
        jwt_claims_drop(&claims);
    }
    sign(JWT_ES256, "{\"alg\":\"none\",\"kid\":\"ES256\"}", "{" CLAIMS "}", &token);
    resign(&token, "", 0);
    refused(buffer_slice(&token), "alg is not supported");
}

/* A key that comes with its token is looked up, not believed. */
static void test_embedded_key(void **state)
{
    EVP_PKEY *strange = jose_new(JWT_ES256), *ours = rig.pkeys[JWT_ES256];
    const struct {
        EVP_PKEY *shown, *signer;
        const char *more, *words;
    } cases[] = {
        {ours, ours, "", NULL},
        {ours, strange, "", "signature is wrong"},
        {strange, strange, "", "key is not known"},
        {strange, strange, ",\"kid\":\"ES256\"", "signature is wrong"},
        {strange, strange, ",\"kid\":\"unknown\"", "key is not known"},
        {ours, ours, ",\"kid\":\"unknown\"", "key is not known"},
        {strange, ours, ",\"kid\":\"ES256\"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer header = BUFFER_NONE, token = BUFFER_NONE;
        struct jwt_claims claims;
        struct error err;
        buffer_append_text(&header, "{\"alg\":\"ES256\",\"jwk\":");
        jose_jwk(JWT_ES256, cases[i].shown, &header);
        buffer_print(&header, "}%s}", cases[i].more);
        jose_sign(JWT_ES256, cases[i].signer, buffer_slice(&header), SLICE("{" CLAIMS "}"), &token);
        if (cases[i].words != NULL) {
            refused(buffer_slice(&token), cases[i].words);
            continue;
        }
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        jwt_claims_drop(&claims);
    }
    EVP_PKEY_free(strange);
}

static void test_key_known(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;

    (void)state;
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"new\"}", "{}", &token);
    assert_false(jwt_key_known(buffer_slice(&token), &rig.set));
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"EdDSA\"}", "{}", &token);
    assert_true(jwt_key_known(buffer_slice(&token), &rig.set));
    assert_false(jwt_key_known(SLICE("x"), &rig.set));
    assert_false(jwt_key_known(SLICE("e30.e30."), &rig.set));
}

/* --- claims --- */

static void test_claims(void **state)
{
    static const struct {
        const char *payload, *words; /* NULL: taken */
    } cases[] = {
        {"{" CLAIMS "}", NULL},
        {"{\"iss\":\"other\",\"aud\":[\"x\",7,\"service\"],\"exp\":1700000900,\"new\":{}}", NULL},
        {"", "payload is not a JSON object"},
        {"[]", "payload is not"},
        {"{" CLAIMS "} x", "payload is not"},
        {"{" CLAIMS ",\"exp\":1700000900}", "payload is not"},
        {"{" CLAIMS ",\"sub\":\"a\\u0000b\"}", "payload is not"},
        {"{" CLAIMS ",\"a\":[[[[[[[[1]]]]]]]]}", "payload is not"},
        {"{\"aud\":\"service\",\"exp\":1700000900}", "iss is not trusted"},
        {"{\"iss\":\"stranger\",\"aud\":\"service\",\"exp\":1700000900}", "iss is not trusted"},
        {"{\"iss\":[\"issuer\"],\"aud\":\"service\",\"exp\":1700000900}", "iss is not trusted"},
        {"{\"iss\":\"issue\",\"aud\":\"service\",\"exp\":1700000900}", "iss is not trusted"},
        {"{\"iss\":\"issuer\",\"exp\":1700000900}", "aud"},
        {"{\"iss\":\"issuer\",\"aud\":\"servic\",\"exp\":1700000900}", "aud"},
        {"{\"iss\":\"issuer\",\"aud\":[],\"exp\":1700000900}", "aud"},
        {"{\"iss\":\"issuer\",\"aud\":[[\"service\"]],\"exp\":1700000900}", "aud"},
        {"{\"iss\":\"issuer\",\"aud\":{\"service\":1},\"exp\":1700000900}", "aud"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\"}", "exp is missing"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":null}", "exp is not a time"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":\"1700000900\"}", "exp is not a time"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":-1}", "exp is not a time"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":1e300}", "exp is not a time"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":1700000900000}", "exp is not a time"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":9223372036854775807}", "exp is not"},
        {"{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":9223372036854775808}", "payload is not"},
        {"{" CLAIMS ",\"nbf\":\"now\"}", "nbf is not a time"},
        {"{" CLAIMS ",\"iat\":true}", "iat is not a time"},
        {"{" CLAIMS ",\"sub\":7}", "sub is not a string"},
        {"{" CLAIMS ",\"jti\":{}}", "jti is not a string"},
        {"{" CLAIMS ",\"access\":{}}", "access is not an array"},
        {"{" CLAIMS ",\"access\":\"*\"}", "access is not an array"},
        {"{" CLAIMS ",\"slipway\":7}", "slipway"},
        {"{" CLAIMS ",\"slipway\":{\"account\":\"7\"}}", "slipway"},
        {"{" CLAIMS ",\"slipway\":{\"account\":-1}}", "slipway"},
        {"{" CLAIMS ",\"slipway\":{\"account\":1,\"token\":1.5}}", "slipway"},
    };
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct jwt_claims claims;
        struct error err;
        sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", cases[i].payload, &token);
        if (cases[i].words != NULL) {
            refused(buffer_slice(&token), cases[i].words);
            continue;
        }
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        assert_true(slice_equal_text(claims.subject, ""));
        assert_int_equal(claims.access_count + (size_t)claims.account + (size_t)claims.token, 0);
        jwt_claims_drop(&claims);
    }
}

/* TOK-39: sixty seconds, both ways, to the second; fractions count. */
static void test_times(void **state)
{
    static const struct {
        const char *times;
        int64_t now;
        bool taken, expired;
    } cases[] = {
        {"\"exp\":1000", 1059, true, false},
        {"\"exp\":1000", 1060, true, true},
        {"\"exp\":1000.5", 1060, true, false},
        {"\"exp\":1000.5", 1061, true, true},
        {"\"exp\":1e3", 1059, true, false},
        {"\"exp\":1e3", 1060, true, true},
        {"\"exp\":0", 0, true, false},
        {"\"exp\":253402300799", 1000, true, false},
        {"\"exp\":9000,\"nbf\":1000", 940, true, false},
        {"\"exp\":9000,\"nbf\":1000", 939, false, false},
        {"\"exp\":9000,\"nbf\":1000.5", 941, true, false},
        {"\"exp\":9000,\"nbf\":1000.5", 940, false, false},
        {"\"exp\":900,\"nbf\":1000,\"iat\":2000.25", 990, true, true},
    };
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    char payload[200];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct jwt_claims claims;
        struct error err;
        snprintf(payload, sizeof(payload), "{\"iss\":\"issuer\",\"aud\":\"service\",%s}",
                 cases[i].times);
        sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", payload, &token);
        int status = verify_by(buffer_slice(&token), &rig.set, cases[i].now, &claims, &err);
        if ((status == 0) != cases[i].taken || claims.expired != cases[i].expired)
            fail_msg("%s at %d", cases[i].times, (int)cases[i].now);
        if (status < 0)
            assert_non_null(strstr(err.message, "not valid yet"));
        jwt_claims_drop(&claims);
    }
}

/* An expired token of a stranger is refused like any other: `expired` is said of good ones only. */
static void test_expired_is_checked_in_full(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;

    (void)state;
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}",
         "{\"iss\":\"issuer\",\"aud\":\"another\",\"exp\":1000}", &token);
    refused(buffer_slice(&token), "aud");
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}",
         "{\"iss\":\"issuer\",\"aud\":\"service\",\"exp\":1000,\"access\":7}", &token);
    refused(buffer_slice(&token), "access");
}

static void test_access_is_read(void **state)
{
    static const char payload[] =
        "{" CLAIMS ",\"slipway\":{\"account\":9007199254740993,\"token\":12},\"access\":["
        "{\"type\":\"repository\",\"name\":\"team/app\",\"actions\":[\"push\",\"pull\",\"pull\"]},"
        "{\"type\":\"repository\",\"class\":\"plugin\",\"name\":\"p\",\"actions\":[\"*\"],"
        "\"parameters\":{\"a\":[1]}},"
        "{\"type\":\"repository\",\"name\":\"team/*\",\"actions\":[\"pull\"]},"
        "{\"type\":\"repository\",\"name\":\"../x\",\"actions\":[\"pull\"]},"
        "{\"type\":\"repository\",\"name\":\"\",\"actions\":[\"pull\"]},"
        "{\"type\":\"repository\",\"actions\":[\"pull\"]},"
        "{\"type\":\"repository\",\"name\":7,\"actions\":[\"pull\"]},"
        "{\"type\":\"repo\",\"name\":\"a\",\"actions\":[\"pull\"]},"
        "{\"name\":\"a\",\"actions\":[\"pull\"]},"
        "7,null,[],\"repository:a:pull\",{},"
        "{\"type\":\"registry\",\"name\":\"other\",\"actions\":[\"*\"]},"
        "{\"type\":\"registry\",\"name\":\"catalog\",\"actions\":[\"*\"]},"
        "{\"type\":\"repository\",\"name\":\"denied\",\"actions\":[]},"
        "{\"type\":\"repository\",\"name\":\"odd\",\"actions\":[\"fly\",7,[\"pull\"],\"delete\"]},"
        "{\"type\":\"repository\",\"name\":\"text\",\"actions\":\"pull\"}]}";
    static const struct {
        const char *type, *name;
        unsigned actions;
    } wanted[] = {
        {"repository", "team/app", SCOPE_PULL | SCOPE_PUSH},
        {"repository", "p", SCOPE_ALL},
        {"registry", "catalog", SCOPE_ALL},
        {"repository", "denied", 0},
        {"repository", "odd", SCOPE_DELETE},
        {"repository", "text", 0},
    };
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct jwt_claims claims;
    struct error err;

    (void)state;
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", payload, &token);
    assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
    assert_true(claims.account == 9007199254740993 && claims.token == 12);
    assert_int_equal(claims.access_count, LENGTH(wanted));
    for (size_t i = 0; i < LENGTH(wanted); i++) {
        assert_true(slice_equal_text(claims.access[i].type, wanted[i].type));
        assert_true(slice_equal_text(claims.access[i].name, wanted[i].name));
        assert_int_equal(claims.access[i].actions, wanted[i].actions);
    }
    jwt_claims_drop(&claims);
    sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", "{" CLAIMS ",\"access\":null}",
         &token);
    assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
    assert_int_equal(claims.access_count, 0);
    jwt_claims_drop(&claims);
}

/* --- limits: TOK-42 --- */

static void test_limit_of_size(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE, payload = BUFFER_NONE;
    struct jwt_claims claims;
    struct error err;

    (void)state;
    for (size_t fill = 12000; token.size <= JWT_SIZE_MAX; fill++) {
        payload.size = 0;
        buffer_print(&payload, "{" CLAIMS ",\"fill\":\"%0*d\"}", (int)fill, 0);
        buffer_append(&payload, "", 1);
        sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", payload.at, &token);
        if (token.size > JWT_SIZE_MAX)
            refused(buffer_slice(&token), "16 KiB");
        else if (token.size > JWT_SIZE_MAX - 3) {
            assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
            jwt_claims_drop(&claims);
        }
    }
}

static void test_limit_of_entries(void **state)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE, payload = BUFFER_NONE;
    struct jwt_claims claims;
    struct error err;

    (void)state;
    for (size_t count = JWT_ACCESS_MAX; count <= JWT_ACCESS_MAX + 1; count++) {
        payload.size = 0;
        buffer_append_text(&payload, "{" CLAIMS ",\"access\":[0");
        for (size_t i = 1; i < count; i++)
            buffer_append_text(&payload, ",0");
        buffer_append(&payload, "]}", 3);
        sign(JWT_HS256, "{\"alg\":\"HS256\",\"kid\":\"HS256\"}", payload.at, &token);
        if (count > JWT_ACCESS_MAX) {
            refused(buffer_slice(&token), "more than 1000");
            continue;
        }
        assert_int_equal(verify(buffer_slice(&token), &claims, &err), 0);
        jwt_claims_drop(&claims);
    }
}

/* --- our own --- */

static void test_sign_is_verified(void **state)
{
    OWNED(jwt_key_drop) struct jwt_key *key = jwt_key_new();
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE, token = BUFFER_NONE;
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
    struct jwt_claims claims;
    struct error err = {0};

    (void)state;
    buffer_append_text(&set, "{\"keys\":[");
    jwt_key_write_jwk(key, &set);
    buffer_append_text(&set, "]}");
    assert_int_equal(jwt_keys_parse(buffer_slice(&set), &keys, &err), 0);
    for (int i = 0; i < 200; i++) { /* also r and s that begin with zeros */
        token.size = 0;
        buffer_append_text(&token, "Bearer ");
        jwt_sign(key, SLICE("{" CLAIMS ",\"slipway\":{\"account\":3}}"), &token);
        struct slice bare = slice_from(buffer_slice(&token), 7);
        assert_int_equal(verify_by(bare, &keys, NOW, &claims, &err), 0);
        assert_true(claims.account == 3 && claims.token == 0);
        jwt_claims_drop(&claims);
    }
    refused(slice_from(buffer_slice(&token), 7), "key is not known");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_algorithm_verifies),
        cmocka_unit_test(test_algorithm_is_the_keys),
        cmocka_unit_test(test_public_key_is_no_secret),
        cmocka_unit_test(test_rsa_key_serves_two),
        cmocka_unit_test(test_signature_forms),
        cmocka_unit_test(test_nothing_may_change),
        cmocka_unit_test(test_parts_do_not_mix),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_embedded_key),
        cmocka_unit_test(test_key_known),
        cmocka_unit_test(test_claims),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_expired_is_checked_in_full),
        cmocka_unit_test(test_access_is_read),
        cmocka_unit_test(test_limit_of_size),
        cmocka_unit_test(test_limit_of_entries),
        cmocka_unit_test(test_sign_is_verified),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

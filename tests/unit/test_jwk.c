/* test_jwk.c - keys of tokens: the vectors of the RFCs, sets, our own in PEM. */
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "auth/jwt_internal.h"
#include "registry/core/base64.h"
#include "tests/support/jose.h"
#include "tests/support/unit.h"

/* --- vectors --- */

#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"

static const struct {
    const char *from, *jwk, *thumbprint;
    enum jwt_algorithm algorithm;
    const char *text, *signature; /* NULL: thumbprint only */
} vectors[] = {
    {"RFC 7515 A.1",
     "{\"kty\":\"oct\",\"kid\":\"a1\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
     "1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}",
     NULL, JWT_HS256, "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE,
     "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
    {"RFC 7515 A.2",
     "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-"
     "Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7"
     "OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3q"
     "Co5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyu"
     "XpoQ\",\"e\":\"AQAB\"}",
     NULL, JWT_RS256, "eyJhbGciOiJSUzI1NiJ9." JOE,
     "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5"
     "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
     "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
     "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
    {"RFC 7515 A.3",
     "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
     "\"y\":"
     "\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
     "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U", JWT_ES256, "eyJhbGciOiJFUzI1NiJ9." JOE,
     "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
    {"RFC 7638",
     "{\"kty\":\"RSA\",\"n\":"
     "\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK"
     "7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4Q"
     "yQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrd"
     "kt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw\","
     "\"e\":\"AQAB\"}",
     "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", JWT_RS256, NULL, NULL},
    {"RFC 8037 A.3, A.4",
     "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
     "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", JWT_EDDSA,
     "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
     "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static void parse_one(const char *jwk, struct jwt_keys *out)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    struct error err = {0};

    buffer_print(&set, "{\"keys\":[%s]}", jwk);
    int status = jwt_keys_parse(buffer_slice(&set), out, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(status, 0);
    assert_int_equal(out->count, 1);
}

static void test_vectors_verify(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(vectors); i++) {
        OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};
        OWNED(buffer_drop) struct buffer signature = BUFFER_NONE;
        parse_one(vectors[i].jwk, &keys);
        if (vectors[i].thumbprint != NULL)
            assert_string_equal(jwt_key_id(keys.items[0]), vectors[i].thumbprint);
        if (vectors[i].text == NULL)
            continue;
        struct slice text = slice_of(vectors[i].text);
        assert_true(base64_decode(BASE64_URL, slice_of(vectors[i].signature), &signature));
        assert_true(
            jwt_key_verify(keys.items[0], vectors[i].algorithm, text, buffer_slice(&signature)));
        assert_false(jwt_key_verify(keys.items[0], vectors[i].algorithm, slice_from(text, 1),
                                    buffer_slice(&signature)));
        for (size_t bit = 0; bit < 8 * signature.size; bit += 7) {
            signature.at[bit / 8] = (char)(signature.at[bit / 8] ^ 1 << bit % 8);
            assert_false(jwt_key_verify(keys.items[0], vectors[i].algorithm, text,
                                        buffer_slice(&signature)));
            signature.at[bit / 8] = (char)(signature.at[bit / 8] ^ 1 << bit % 8);
        }
        for (unsigned other = JWT_ES256; other <= JWT_HS256; other++)
            if (other != vectors[i].algorithm)
                assert_false(jwt_key_verify(keys.items[0], other, text, buffer_slice(&signature)));
    }
    assert_int_equal(ERR_peek_error(), 0);
}

/* A point of P-256 whose x begins with a zero byte; what it is called was worked out elsewhere. */
#define LEADING_ZERO_X "AFVDiUrz0A7X10Cr29dclrBod7eH219w7qeLkKjXwAo"
#define STRIPPED_X "VUOJSvPQDtfXQKvb11yWsGh3t4fbX3Dup4uQqNfACg"
#define LEADING_ZERO_Y "u0yFo9jqKe-q-iRAaRLdhNWxTcMr9lbvbGvVil2UP5I"
#define LEADING_ZERO_THUMBPRINT "7Yxe6c_3bAa6kiaK1G-BZmi9EeNsUmlcbdnrtLeuK4E"
#define STRIPPED_THUMBPRINT "cqdWPhcnF9DHfVHOTKaBvs582HJ6LmX0fEgRXTtiGFU"

/* TOK-45 */
static void test_key_has_its_other_names(void **state)
{
    OWNED(jwt_keys_drop) struct jwt_keys full = {NULL, 0}, stripped = {NULL, 0};

    (void)state;
    parse_one("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" LEADING_ZERO_X
              "\",\"y\":\"" LEADING_ZERO_Y "\"}",
              &full);
    parse_one("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" STRIPPED_X "\",\"y\":\"" LEADING_ZERO_Y
              "\"}",
              &stripped);
    assert_string_equal(full.items[0]->thumbprint, LEADING_ZERO_THUMBPRINT);
    assert_string_equal(full.items[0]->stripped, STRIPPED_THUMBPRINT);
    assert_string_equal(stripped.items[0]->thumbprint, LEADING_ZERO_THUMBPRINT);
}

/* --- sets --- */

#define X256 "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define Y256 "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define EC256 "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\",\"y\":\"" Y256 "\""
#define OCT32 "\"kty\":\"oct\",\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE\""

static void test_set_names_what_is_wrong(void **state)
{
    static const struct {
        const char *set, *words;
    } cases[] = {
        {"", "not a JWK set"},
        {"[]", "not a JWK set"},
        {"{}", "not a JWK set"},
        {"{\"keys\":{}}", "not a JWK set"},
        {"{\"keys\":[]", "not a JWK set"},
        {"{\"keys\":[]} x", "not a JWK set"},
        {"{\"keys\":[],\"keys\":[]}", "not a JWK set"},
        {"{\"keys\":[{" EC256 ",\"kty\":\"EC\"}]}", "not a JWK set"},
        {"{\"keys\":[{" EC256 ",\"kid\":\"a\\u0000b\"}]}", "not a JWK set"},
        {"{\"keys\":[{" EC256 "},7]}", "key 2 (): not an object"},
        {"{\"keys\":[{" EC256 "},{\"kid\":\"b\",\"kty\":\"EC\",\"crv\":\"P-256\"}]}",
         "key 2 (b): x is missing"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\"}]}", "y is missing"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "=\",\"y\":\"" Y256 "\"}]}",
         "x is not base64url"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"" X256 "\",\"y\":\"" X256 "\"}]}",
         "no point of the curve"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}",
         "no point of the curve"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA" X256 "\",\"y\":\"" Y256
         "\"}]}",
         "x is not of 32 bytes"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"" X256 "\",\"y\":\"" Y256 "\"}]}",
         "no point of the curve"},
        {"{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}]}", "not of 32 bytes"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" X256 "\",\"e\":\"AQAB\"}]}", "2048 to 8192"},
        {"{\"keys\":[{\"kty\":\"RSA\",\"n\":\"" X256 "\"}]}", "e is missing"},
        {"{\"keys\":[{" EC256 ",\"alg\":\"ES384\"}]}", "alg does not fit"},
        {"{\"keys\":[{" EC256 ",\"alg\":\"HS256\"}]}", "alg does not fit"},
        {"{\"keys\":[{" EC256 ",\"kid\":\"\"}]}", "kid is not a string"},
        {"{\"keys\":[{" EC256 ",\"kid\":7}]}", "kid is not a string"},
        {"{\"keys\":[{" EC256 ",\"d\":\"AAAA\"}]}", "private part"},
        {"{\"keys\":[{" OCT32 "}]}", "a secret needs a kid"},
        {"{\"keys\":[{\"kid\":\"s\",\"kty\":\"oct\"}]}", "k is missing"},
        {"{\"keys\":[{\"kid\":\"s\",\"kty\":\"oct\","
         "\"k\":\"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MA\"}]}",
         "k is shorter than 32 bytes"},
        {"{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\"},{\"kty\":\"new\"}]}", "none of the keys"},
        {"{\"keys\":[{" EC256 ",\"use\":\"enc\"}]}", "none of the keys"},
        {"{\"keys\":[{" EC256 ",\"key_ops\":[\"deriveKey\"]}]}", "none of the keys"},
        {"{\"keys\":[{" EC256 ",\"alg\":\"ECDH-ES\"}]}", "none of the keys"},
        {"{\"keys\":[{" EC256 ",\"alg\":\"none\"}]}", "none of the keys"},
        {"{\"keys\":[{" EC256 ",\"x5c\":[[[[[[[\"\"]]]]]]]}]}", "not a JWK set"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct jwt_keys keys = {NULL, 7};
        struct error err = {0};
        if (jwt_keys_parse(slice_of(cases[i].set), &keys, &err) == 0)
            fail_msg("taken: %s", cases[i].set);
        assert_int_equal(err.code, ERROR_INVALID);
        if (strstr(err.message, cases[i].words) == NULL)
            fail_msg("%s: %s", cases[i].set, err.message);
        assert_null(keys.items);
        assert_int_equal(keys.count, 0);
    }
    assert_int_equal(ERR_peek_error(), 0);
}

static void test_set_takes_what_it_knows(void **state)
{
    static const char set[] =
        "{\"more\":1,\"keys\":[{\"kty\":\"EC\",\"crv\":\"secp256k1\"},{" EC256
        ",\"use\":\"sig\",\"key_ops\":[\"sign\",\"verify\"],\"x5c\":[\"MII\"],\"alg\":\"ES256\","
        "\"kid\":\"k 1\"},{\"kid\":\"s\"," OCT32 "},{" EC256 "}]}";
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0}, none = {NULL, 7};
    struct error err = {0};

    (void)state;
    assert_int_equal(jwt_keys_parse(slice_of(set), &keys, &err), 0);
    assert_int_equal(keys.count, 3);
    assert_string_equal(jwt_key_id(keys.items[0]), "k 1");
    assert_string_equal(jwt_key_id(keys.items[1]), "s");
    assert_string_equal(jwt_key_id(keys.items[2]), keys.items[0]->thumbprint);
    assert_int_equal(jwt_keys_parse(SLICE("{\"keys\":[]}"), &none, &err), 0);
    assert_int_equal(none.count, 0);
}

/* What we publish is read back as the same key. */
static void test_key_writes_its_public_part(void **state)
{
    OWNED(jwt_key_drop) struct jwt_key *key = jwt_key_new();
    OWNED(buffer_drop) struct buffer jwk = BUFFER_NONE;
    OWNED(jwt_keys_drop) struct jwt_keys keys = {NULL, 0};

    (void)state;
    jwt_key_write_jwk(key, &jwk);
    buffer_append(&jwk, "", 1);
    assert_null(strstr(jwk.at, "\"d\""));
    assert_non_null(strstr(jwk.at, "\"use\":\"sig\",\"alg\":\"ES256\"}"));
    parse_one(jwk.at, &keys);
    assert_string_equal(jwt_key_id(keys.items[0]), jwt_key_id(key));
    assert_string_equal(keys.items[0]->thumbprint, jwt_key_id(key));
}

/* --- PEM --- */

static void test_pem_goes_round(void **state)
{
    OWNED(jwt_key_drop) struct jwt_key *key = jwt_key_new(), *again = NULL;
    OWNED(buffer_drop)
    struct buffer pem = BUFFER_NONE, token = BUFFER_NONE, signature = BUFFER_NONE;
    struct error err = {0};

    (void)state;
    jwt_key_write_pem(key, &pem);
    assert_true(slice_starts(buffer_slice(&pem), "-----BEGIN PRIVATE KEY-----\n"));
    assert_int_equal(jwt_key_read_pem(buffer_slice(&pem), &again, &err), 0);
    assert_string_equal(jwt_key_id(again), jwt_key_id(key));
    jwt_sign(again, SLICE("{}"), &token);
    struct slice text = buffer_slice(&token);
    const char *dot = memrchr(text.at, '.', text.size);
    text.size = (size_t)(dot - text.at);
    assert_true(
        base64_decode(BASE64_URL, slice_from(buffer_slice(&token), text.size + 1), &signature));
    assert_int_equal(signature.size, 64);
    assert_true(jwt_key_verify(key, JWT_ES256, text, buffer_slice(&signature)));
}

static struct slice pem_of(EVP_PKEY *pkey, const char *form, BIO **out)
{
    char *at;

    *out = BIO_new(BIO_s_mem());
    if (strcmp(form, "public") == 0)
        PEM_write_bio_PUBKEY(*out, pkey);
    else if (strcmp(form, "sec1") == 0)
        PEM_write_bio_PrivateKey_traditional(*out, pkey, NULL, NULL, 0, NULL, NULL);
    else if (strcmp(form, "encrypted") == 0)
        PEM_write_bio_PKCS8PrivateKey(*out, pkey, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
    else
        PEM_write_bio_PKCS8PrivateKey(*out, pkey, NULL, NULL, 0, NULL, NULL);
    long size = BIO_get_mem_data(*out, &at);
    return (struct slice){at, (size_t)size};
}

static void test_pem_of_other_kinds(void **state)
{
    static const struct {
        enum jwt_algorithm algorithm;
        const char *form, *words; /* NULL: taken */
    } cases[] = {
        {JWT_ES256, "pkcs8", NULL},
        {JWT_ES256, "sec1", NULL},
        {JWT_ES256, "public", "not an unencrypted private key"},
        {JWT_ES256, "encrypted", "not an unencrypted private key"},
        {JWT_ES384, "pkcs8", "P-256"},
        {JWT_EDDSA, "pkcs8", "P-256"},
        {JWT_RS256, "pkcs8", "P-256"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(jwt_key_drop) struct jwt_key *key = NULL;
        EVP_PKEY *pkey = jose_new(cases[i].algorithm);
        struct error err = {0};
        BIO *bio;
        int status = jwt_key_read_pem(pem_of(pkey, cases[i].form, &bio), &key, &err);
        assert_int_equal(status, cases[i].words == NULL ? 0 : -1);
        if (cases[i].words != NULL) {
            assert_int_equal(err.code, ERROR_INVALID);
            assert_non_null(strstr(err.message, cases[i].words));
        }
        BIO_free(bio);
        EVP_PKEY_free(pkey);
    }
    struct jwt_key *key = NULL;
    struct error err = {0};
    assert_int_equal(jwt_key_read_pem(SLICE(""), &key, &err), -1);
    assert_int_equal(jwt_key_read_pem(SLICE_NONE, &key, &err), -1);
    assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors_verify),
        cmocka_unit_test(test_key_has_its_other_names),
        cmocka_unit_test(test_set_names_what_is_wrong),
        cmocka_unit_test(test_set_takes_what_it_knows),
        cmocka_unit_test(test_key_writes_its_public_part),
        cmocka_unit_test(test_pem_goes_round),
        cmocka_unit_test(test_pem_of_other_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* fuzz_jwt.c - any bytes as a token, as the parts of a token that is signed well, and as a key set.
 *
 * The first byte says which: 't' a whole token; 's' header, newline, payload, signed with the
 * secret of the set, so that what follows the signature is reached; 'k' a JWK set. */
#include <string.h>

#include <openssl/err.h>

#include "auth/jwt_internal.h"
#include "auth/scope.h"
#include "registry/core/oci.h"
#include "tests/support/jose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW = 1700000000 };

/* Public keys of RFC 7515 and 8037, and the secret. */
static const char set[] =
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"e\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV"
    "76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},{\"kty\":\"OKP\","
    "\"crv\":\"Ed25519\",\"kid\":\"d\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"},{"
    "\"kty\":\"oct\",\"kid\":\"s\",\"k\":\"YSBzZWNyZXQgb2YgdGhlIHRlc3RzLCBvZiBtb3JlIHRoYW4gMzIgYnl0"
    "ZXM\"}]}";

static const struct jwt_keys *keys(void)
{
    static struct jwt_keys parsed;
    struct error err = {0};

    if (parsed.count == 0) {
        int status = jwt_keys_parse(slice_of(set), &parsed, &err);
        assert(status == 0 && parsed.count == 3);
        (void)status;
    }
    return &parsed;
}

static bool verify(struct slice token, struct jwt_claims *claims)
{
    static const char *const issuers[] = {"i"};
    struct jwt_checks checks = {.keys = keys(),
                                .audience = SLICE("a"),
                                .issuers = issuers,
                                .issuer_count = 1,
                                .now_s = NOW};
    struct error err = {0};
    int status = jwt_verify(token, &checks, claims, &err);

    assert(ERR_peek_error() == 0);
    assert(status == 0 || (err.code == ERROR_UNAUTHORIZED && err.message[0] != 0));
    assert(status == 0 || (claims->document == NULL && claims->access == NULL));
    return status == 0;
}

/* What was taken keeps its promises. */
static void check_claims(const struct jwt_claims *claims)
{
    assert(slice_equal_text(claims->issuer, "i"));
    assert(claims->subject.at != NULL && claims->id.at != NULL);
    assert(claims->expired == (NOW >= claims->expires_at + JWT_LEEWAY_S));
    assert(NOW >= claims->not_before - JWT_LEEWAY_S);
    assert(claims->account >= 0 && claims->token >= 0);
    assert(claims->access_count <= JWT_ACCESS_MAX);
    for (size_t i = 0; i < claims->access_count; i++)
        assert(oci_name_valid(claims->access[i].name));
}

/* One bit of it flipped, and it is refused. */
static void check_flips(struct buffer *token, size_t seed)
{
    struct jwt_claims claims;

    for (size_t n = 0; n < 4; n++) {
        size_t bit = (seed * 2654435761U + n * 40503U) % (8 * token->size);
        token->at[bit / 8] = (char)(token->at[bit / 8] ^ 1 << bit % 8);
        bool taken = verify(buffer_slice(token), &claims);
        assert(!taken);
        (void)taken;
        token->at[bit / 8] = (char)(token->at[bit / 8] ^ 1 << bit % 8);
    }
}

static void run_signed(struct slice text)
{
    OWNED(buffer_drop) struct buffer token = BUFFER_NONE;
    struct slice header, payload;
    struct jwt_claims claims;

    slice_split(text, '\n', &header, &payload);
    jose_sign(JWT_HS256, NULL, header, payload, &token);
    if (!verify(buffer_slice(&token), &claims))
        return;
    check_claims(&claims);
    assert(jwt_key_known(buffer_slice(&token), keys()));
    check_flips(&token, claims.access_count + (size_t)claims.expires_at);
    jwt_claims_drop(&claims);
}

static void run_token(struct slice token)
{
    struct jwt_claims claims;

    jwt_key_known(token, keys());
    if (verify(token, &claims)) /* of the secret, if it found one */
        check_claims(&claims);
    jwt_claims_drop(&claims);
}

/* What is taken is written, read again, and is the same key. */
static void run_set(struct slice text)
{
    OWNED(jwt_keys_drop) struct jwt_keys parsed = {NULL, 0};
    struct error err = {0};

    if (jwt_keys_parse(text, &parsed, &err) < 0) {
        assert(err.code == ERROR_INVALID && err.message[0] != 0);
        assert(parsed.items == NULL && parsed.count == 0);
    }
    for (size_t i = 0; i < parsed.count; i++) {
        OWNED(buffer_drop) struct buffer written = BUFFER_NONE;
        OWNED(jwt_keys_drop) struct jwt_keys again = {NULL, 0};
        assert(parsed.items[i]->id[0] != 0 && parsed.items[i]->algorithms != 0);
        if (parsed.items[i]->pkey == NULL)
            continue;
        buffer_append_text(&written, "{\"keys\":[");
        jwt_key_write_jwk(parsed.items[i], &written);
        buffer_append_text(&written, "]}");
        int status = jwt_keys_parse(buffer_slice(&written), &again, &err);
        assert(status == 0 && again.count == 1);
        (void)status;
        assert(strcmp(again.items[0]->thumbprint, parsed.items[i]->thumbprint) == 0);
        assert(strcmp(again.items[0]->id, parsed.items[i]->id) == 0);
        assert(again.items[0]->algorithms == parsed.items[i]->algorithms);
    }
    assert(ERR_peek_error() == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_from((struct slice){(const char *)data, size}, 1);

    if (size == 0)
        return 0;
    if (data[0] == 's')
        run_signed(text);
    else if (data[0] == 'k')
        run_set(text);
    else
        run_token(text);
    return 0;
}

/* jwk.c - JWK and JWK sets: from JSON to keys (RFC 7517, 7518 section 6, 8037), thumbprints
 * (RFC 7638).
 * Touches  memory; jansson.
 * Never    believes a key because a token carries it. */
#include <string.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "auth/jwt_internal.h"
#include "registry/core/base64.h"
#include "registry/core/digest.h"
#include "registry/core/json.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- JSON --- */

/* How deep brackets nest outside of strings; right for valid JSON, which is all that matters. */
static size_t depth_of(struct slice text)
{
    size_t depth = 0, deepest = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            deepest = ++depth > deepest ? depth : deepest;
        else if (!quoted && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return deepest;
}

struct slice jwt_json_text(const struct json_t *value)
{
    if (!json_is_string(value))
        return SLICE_NONE;
    return (struct slice){json_string_value(value), json_string_length(value)};
}

struct json_t *jwt_json_read(struct slice text)
{
    OWNED(json_drop) json_t *root = NULL;

    if (depth_of(text) > JWT_JSON_DEPTH_MAX)
        return NULL;
    root = json_loadb(text.at, text.size, JSON_REJECT_DUPLICATES, NULL);
    return json_is_object(root) ? TAKE(root) : NULL;
}

/* --- one JWK --- */

void jwk_drop(struct jwk *jwk)
{
    if (jwk->first.at != NULL)
        OPENSSL_cleanse(jwk->first.at, jwk->first.capacity);
    buffer_drop(&jwk->first);
    buffer_drop(&jwk->second);
}

static int read_bytes(const json_t *object, const char *name, struct buffer *out, struct error *err)
{
    struct slice text = jwt_json_text(json_object_get(object, name));

    if (text.size == 0)
        return error_set(err, ERROR_INVALID, "%s is missing", name);
    if (!base64_decode(BASE64_URL, text, out))
        return error_set(err, ERROR_INVALID, "%s is not base64url", name);
    return 0;
}

static size_t coordinate_size(enum jwk_kind kind)
{
    return kind == JWK_P384 ? 48 : 32;
}

/* A coordinate, to which its leading zeros are given back (TOK-45). */
static int read_coordinate(const json_t *object, const char *name, size_t size, struct buffer *out,
                           struct error *err)
{
    static const char zeros[JWT_COORDINATE_MAX];
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;

    if (read_bytes(object, name, &bytes, err) < 0)
        return -1;
    if (bytes.size > size)
        return error_set(err, ERROR_INVALID, "%s is not of %zu bytes", name, size);
    buffer_append(out, zeros, size - bytes.size);
    buffer_append_slice(out, buffer_slice(&bytes));
    return 0;
}

static struct slice skip_zeros(struct slice number)
{
    while (number.size > 1 && number.at[0] == 0)
        number = slice_from(number, 1);
    return number;
}

static int read_number(const json_t *object, const char *name, struct buffer *out,
                       struct error *err)
{
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;

    if (read_bytes(object, name, &bytes, err) < 0)
        return -1;
    buffer_append_slice(out, skip_zeros(buffer_slice(&bytes)));
    return 0;
}

static bool read_kind(const json_t *object, enum jwk_kind *out)
{
    static const struct {
        const char *type, *curve; /* curve NULL: has none */
    } kinds[] = {
        [JWK_P256] = {"EC", "P-256"},       [JWK_P384] = {"EC", "P-384"},
        [JWK_ED25519] = {"OKP", "Ed25519"}, [JWK_RSA] = {"RSA", NULL},
        [JWK_OCT] = {"oct", NULL},
    };
    struct slice type = jwt_json_text(json_object_get(object, "kty"));
    struct slice curve = jwt_json_text(json_object_get(object, "crv"));

    for (size_t i = 0; i < LENGTH(kinds); i++) {
        if (!slice_equal_text(type, kinds[i].type))
            continue;
        *out = (enum jwk_kind)i;
        if (kinds[i].curve == NULL || slice_equal_text(curve, kinds[i].curve))
            return true;
    }
    return false;
}

int jwk_read(const struct json_t *object, struct jwk *out, struct error *err)
{
    int read = -1;

    *out = (struct jwk){0};
    if (!read_kind(object, &out->kind))
        return 0;
    size_t size = coordinate_size(out->kind);
    switch (out->kind) {
    case JWK_P256:
    case JWK_P384:
        read = read_coordinate(object, "x", size, &out->first, err) < 0
                   ? -1
                   : read_coordinate(object, "y", size, &out->second, err);
        break;
    case JWK_ED25519:
        read = read_bytes(object, "x", &out->first, err);
        break;
    case JWK_RSA:
        read = read_number(object, "n", &out->first, err) < 0
                   ? -1
                   : read_number(object, "e", &out->second, err);
        break;
    case JWK_OCT:
        read = read_bytes(object, "k", &out->first, err);
        break;
    }
    if (read == 0)
        return 1;
    jwk_drop(out);
    return -1;
}

static void member_print(struct buffer *out, const char *before, const struct buffer *bytes,
                         bool stripped)
{
    struct slice s = buffer_slice(bytes);

    if (stripped)
        s = skip_zeros(s);
    buffer_append_text(out, before);
    base64_encode(BASE64_URL, s.at, s.size, out);
}

void jwk_members(const struct jwk *jwk, bool stripped, struct buffer *out)
{
    switch (jwk->kind) {
    case JWK_P256:
    case JWK_P384:
        buffer_print(out, "{\"crv\":\"%s\",\"kty\":\"EC\"",
                     jwk->kind == JWK_P256 ? "P-256" : "P-384");
        member_print(out, ",\"x\":\"", &jwk->first, stripped);
        member_print(out, "\",\"y\":\"", &jwk->second, stripped);
        break;
    case JWK_ED25519:
        member_print(out, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"", &jwk->first, false);
        break;
    case JWK_RSA:
        member_print(out, "{\"e\":\"", &jwk->second, false);
        member_print(out, "\",\"kty\":\"RSA\",\"n\":\"", &jwk->first, false);
        break;
    case JWK_OCT:
        assert(!"a secret has no public members");
    }
    buffer_append_text(out, "\"}");
}

void jwk_thumbprint(struct slice members, char out[JWT_THUMBPRINT_SIZE + 1])
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct digest digest;

    digest_of(DIGEST_SHA256, members, &digest);
    base64_encode(BASE64_URL, digest.bytes, digest.size, &text);
    assert(text.size == JWT_THUMBPRINT_SIZE);
    memcpy(out, text.at, JWT_THUMBPRINT_SIZE);
    out[JWT_THUMBPRINT_SIZE] = 0;
}

/* --- sets --- */

/* RFC 7517: `use` and `key_ops`, where present, must let it check signatures. */
static bool is_for_signatures(const json_t *object)
{
    const json_t *use = json_object_get(object, "use");
    const json_t *operations = json_object_get(object, "key_ops");

    if (use != NULL && !slice_equal_text(jwt_json_text(use), "sig"))
        return false;
    if (operations == NULL)
        return true;
    for (size_t i = 0; i < json_array_size(operations); i++)
        if (slice_equal_text(jwt_json_text(json_array_get(operations, i)), "verify"))
            return true;
    return false;
}

/* The JWK's `alg` narrows what its kind allows. 1; 0: an algorithm we do not know; -1. */
static int narrow_algorithm(const json_t *object, struct jwt_key *key, struct error *err)
{
    const json_t *name = json_object_get(object, "alg");
    enum jwt_algorithm algorithm;

    if (name == NULL)
        return 1;
    if (!jwt_algorithm_parse(jwt_json_text(name), &algorithm))
        return 0;
    if ((key->algorithms & 1U << algorithm) == 0)
        return error_set(err, ERROR_INVALID, "alg does not fit kty and crv");
    key->algorithms = 1U << algorithm;
    return 1;
}

static int read_id(const json_t *object, struct jwt_key *key, struct error *err)
{
    const json_t *id = json_object_get(object, "kid");

    if (id == NULL && key->pkey == NULL)
        return error_set(err, ERROR_INVALID, "a secret needs a kid");
    if (id == NULL)
        return 0;
    if (jwt_json_text(id).size == 0 || !slice_to_text(jwt_json_text(id), key->id, sizeof(key->id)))
        return error_set(err, ERROR_INVALID, "kid is not a string of up to %d bytes", JWT_KID_MAX);
    return 0;
}

/* 1 and a key; 0: a key for other purposes or of a kind we do not know (RFC 7517 section 5). */
static int read_key(const json_t *object, struct jwt_key **out, struct error *err)
{
    OWNED(jwk_drop) struct jwk jwk = {0};
    OWNED(jwt_key_drop) struct jwt_key *key = NULL;

    if (!json_is_object(object))
        return error_set(err, ERROR_INVALID, "not an object");
    if (!is_for_signatures(object))
        return 0;
    int known = jwk_read(object, &jwk, err);
    if (known <= 0)
        return known;
    if (jwk.kind != JWK_OCT && json_object_get(object, "d") != NULL)
        return error_set(err, ERROR_INVALID, "has its private part; public keys belong here");
    if (jwt_key_make(&jwk, &key, err) < 0)
        return -1;
    known = narrow_algorithm(object, key, err);
    if (known <= 0)
        return known;
    if (read_id(object, key, err) < 0)
        return -1;
    *out = TAKE(key);
    return 1;
}

static int read_set(const json_t *array, struct jwt_keys *out, struct error *err)
{
    size_t count = json_array_size(array);

    out->items = memory_new((count + 1) * sizeof(void *));
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(array, i);
        struct slice id = jwt_json_text(json_object_get(object, "kid"));
        struct error why = {0};
        int known = read_key(object, &out->items[out->count], &why);
        if (known < 0)
            return error_set(err, ERROR_INVALID, "key %zu (%.*s): %s", i + 1,
                             (int)(id.size < 64 ? id.size : 64), id.at != NULL ? id.at : "",
                             why.message);
        out->count += (size_t)known;
    }
    if (count > 0 && out->count == 0)
        return error_set(err, ERROR_INVALID, "none of the keys can check signatures here");
    return 0;
}

int jwt_keys_parse(struct slice json, struct jwt_keys *out, struct error *err)
{
    OWNED(json_drop) json_t *root = jwt_json_read(json);
    const json_t *array = json_object_get(root, "keys");

    *out = (struct jwt_keys){NULL, 0};
    if (!json_is_array(array))
        return error_set(err, ERROR_INVALID, "not a JWK set: an object with an array \"keys\"");
    if (read_set(array, out, err) == 0)
        return 0;
    jwt_keys_drop(out);
    return -1;
}

void jwt_keys_drop(struct jwt_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        jwt_key_drop(&keys->items[i]);
    memory_drop(&keys->items);
    *keys = (struct jwt_keys){NULL, 0};
}

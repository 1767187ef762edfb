/* jwt.c - tokens: a compact JWS becomes claims, or is refused.
 * Touches  memory; jansson.
 * Never    reads the payload before its signature was found right; trusts a key, an address or a
 *          certificate that comes with a token. */
#include "auth/jwt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "auth/jwt_internal.h"
#include "auth/scope.h"
#include "registry/core/base64.h"
#include "registry/core/json.h"
#include "registry/core/oci.h"

static const int64_t TIME_MAX = 253402300799; /* the end of the year 9999 */

static int refuse(struct error *err, const char *why)
{
    return error_set(err, ERROR_UNAUTHORIZED, "token: %s", why);
}

/* --- shape and header --- */

/* The three parts as they stand, and what was signed. */
struct compact {
    struct slice header, payload, signature, text;
};

static int split(struct slice token, struct compact *out, struct error *err)
{
    struct slice rest, further;

    if (token.size > JWT_SIZE_MAX)
        return refuse(err, "larger than 16 KiB");
    if (!slice_split(token, '.', &out->header, &rest) ||
        !slice_split(rest, '.', &out->payload, &rest) ||
        slice_split(rest, '.', &out->signature, &further))
        return refuse(err, "not of three parts");
    out->text = (struct slice){token.at, out->header.size + 1 + out->payload.size};
    return 0;
}

static int read_part(struct slice part, const char *fault, json_t **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (base64_decode(BASE64_URL, part, &text))
        *out = jwt_json_read(buffer_slice(&text));
    return *out != NULL ? 0 : refuse(err, fault);
}

/* TOK-37 */
static int read_header(const json_t *header, enum jwt_algorithm *algorithm, struct error *err)
{
    const json_t *type = json_object_get(header, "typ");

    if (json_object_get(header, "crit") != NULL)
        return refuse(err, "has critical extensions");
    if (type != NULL && !slice_equal_ignore_case(jwt_json_text(type), "JWT"))
        return refuse(err, "typ is not JWT");
    if (!jwt_algorithm_parse(jwt_json_text(json_object_get(header, "alg")), algorithm))
        return refuse(err, "alg is not supported");
    return 0;
}

/* --- which key --- */

static bool is_called(const struct jwt_key *key, struct slice id)
{
    return slice_equal_text(id, key->id) || slice_equal_text(id, key->thumbprint) ||
           slice_equal_text(id, key->stripped);
}

/* The thumbprint of a key that came with the token (TOK-48): a name, no more. */
static bool embedded_thumbprint(const json_t *object, char out[JWT_THUMBPRINT_SIZE + 1])
{
    OWNED(jwk_drop) struct jwk jwk = {0};
    OWNED(buffer_drop) struct buffer members = BUFFER_NONE;
    struct error ignored = {0};

    if (!json_is_object(object) || jwk_read(object, &jwk, &ignored) <= 0 || jwk.kind == JWK_OCT)
        return false;
    jwk_members(&jwk, false, &members);
    jwk_thumbprint(buffer_slice(&members), out);
    return true;
}

/* Keys of one name may differ in kind: the first that serves the algorithm; else *other says that
 * there is one of the name. TOK-44. */
static const struct jwt_key *find_key(const struct jwt_keys *keys, const json_t *header,
                                      unsigned algorithms, bool *other)
{
    const json_t *id = json_object_get(header, "kid");
    char thumbprint[JWT_THUMBPRINT_SIZE + 1] = "";
    struct slice name = jwt_json_text(id);

    *other = false;
    if (id == NULL && embedded_thumbprint(json_object_get(header, "jwk"), thumbprint))
        name = slice_of(thumbprint);
    if (name.size == 0)
        return NULL;
    for (size_t i = 0; i < keys->count; i++) {
        const struct jwt_key *key = keys->items[i];
        bool named = id != NULL ? is_called(key, name) : slice_equal_text(name, key->thumbprint);
        if (named && (key->algorithms & algorithms) != 0)
            return key;
        *other |= named;
    }
    return NULL;
}

bool jwt_key_known(struct slice token, const struct jwt_keys *keys)
{
    OWNED(json_drop) json_t *header = NULL;
    struct error ignored = {0};
    struct compact parts;
    bool other;

    return split(token, &parts, &ignored) == 0 &&
           read_part(parts.header, "", &header, &ignored) == 0 &&
           find_key(keys, header, ~0U, &other) != NULL;
}

static int check_signature(const struct compact *parts, const struct jwt_keys *keys,
                           struct error *err)
{
    OWNED(json_drop) json_t *header = NULL;
    OWNED(buffer_drop) struct buffer signature = BUFFER_NONE;
    enum jwt_algorithm algorithm;
    bool other;

    if (read_part(parts->header, "the header is not a JSON object in base64url", &header, err) < 0)
        return -1;
    if (read_header(header, &algorithm, err) < 0)
        return -1;
    const struct jwt_key *key = find_key(keys, header, 1U << algorithm, &other);
    if (key == NULL)
        return refuse(err, other ? "alg is not the key's" : "the key is not known");
    if (!base64_decode(BASE64_URL, parts->signature, &signature))
        return refuse(err, "the signature is not base64url");
    if (!jwt_key_verify(key, algorithm, parts->text, buffer_slice(&signature)))
        return refuse(err, "the signature is wrong");
    return 0;
}

/* --- claims --- */

/* A time in seconds, rounded up, which is exact against a clock of whole seconds; 0 when absent. */
static int read_time(const json_t *claims, const char *name, int64_t *out, struct error *err)
{
    const json_t *value = json_object_get(claims, name);
    double seconds = json_number_value(value);

    *out = 0;
    if (value == NULL)
        return 0;
    if (!json_is_number(value) || !(seconds >= 0 && seconds <= (double)TIME_MAX))
        return error_set(err, ERROR_UNAUTHORIZED, "token: %s is not a time", name);
    *out = json_is_integer(value) ? json_integer_value(value) : (int64_t)ceil(seconds);
    return 0;
}

/* Absent is empty. */
static int read_text(const json_t *claims, const char *name, struct slice *out, struct error *err)
{
    const json_t *value = json_object_get(claims, name);

    *out = value == NULL ? SLICE("") : jwt_json_text(value);
    if (out->at == NULL)
        return error_set(err, ERROR_UNAUTHORIZED, "token: %s is not a string", name);
    return 0;
}

static int check_audience(const json_t *claims, struct slice wanted, struct error *err)
{
    const json_t *audience = json_object_get(claims, "aud");

    if (json_is_string(audience) && slice_equal(jwt_json_text(audience), wanted))
        return 0;
    for (size_t i = 0; i < json_array_size(audience); i++) {
        const json_t *one = json_array_get(audience, i);
        if (json_is_string(one) && slice_equal(jwt_json_text(one), wanted))
            return 0;
    }
    return refuse(err, "aud is another service");
}

static int check_issuer(const json_t *claims, const struct jwt_checks *checks,
                        struct jwt_claims *out, struct error *err)
{
    out->issuer = jwt_json_text(json_object_get(claims, "iss"));
    for (size_t i = 0; i < checks->issuer_count; i++)
        if (out->issuer.at != NULL && slice_equal_text(out->issuer, checks->issuers[i]))
            return 0;
    return refuse(err, "iss is not trusted");
}

/* TOK-39 */
static int check_times(const json_t *claims, int64_t now_s, struct jwt_claims *out,
                       struct error *err)
{
    if (json_object_get(claims, "exp") == NULL)
        return refuse(err, "exp is missing");
    if (read_time(claims, "exp", &out->expires_at, err) < 0 ||
        read_time(claims, "nbf", &out->not_before, err) < 0 ||
        read_time(claims, "iat", &out->issued_at, err) < 0)
        return -1;
    if (now_s < out->not_before - JWT_LEEWAY_S)
        return refuse(err, "not valid yet");
    out->expired = now_s >= out->expires_at + JWT_LEEWAY_S;
    return 0;
}

/* Our own {"account": id, "token": id}. */
static int read_private(const json_t *claims, struct jwt_claims *out, struct error *err)
{
    const json_t *own = json_object_get(claims, "slipway");
    const json_t *account = json_object_get(own, "account");
    const json_t *token = json_object_get(own, "token");

    if (own == NULL)
        return 0;
    if (!json_is_object(own) || (account != NULL && !json_is_integer(account)) ||
        (token != NULL && !json_is_integer(token)))
        return refuse(err, "the claim slipway is malformed");
    out->account = json_integer_value(account);
    out->token = json_integer_value(token);
    if (out->account < 0 || out->token < 0)
        return refuse(err, "the claim slipway is malformed");
    return 0;
}

/* False: an entry of which nothing can follow (TOK-40, TOK-72). */
static bool read_entry(const json_t *entry, struct jwt_access *out)
{
    const json_t *actions = json_object_get(entry, "actions");

    out->type = jwt_json_text(json_object_get(entry, "type"));
    out->name = jwt_json_text(json_object_get(entry, "name"));
    bool known =
        slice_equal_text(out->type, "repository")
            ? oci_name_valid(out->name)
            : slice_equal_text(out->type, "registry") && slice_equal_text(out->name, "catalog");
    if (!known)
        return false;
    for (size_t i = 0; i < json_array_size(actions); i++)
        out->actions |= scope_action_parse(jwt_json_text(json_array_get(actions, i)));
    return true;
}

static int read_access(const json_t *claims, struct jwt_claims *out, struct error *err)
{
    const json_t *access = json_object_get(claims, "access");
    size_t count = json_array_size(access);

    if (access == NULL || json_is_null(access))
        return 0;
    if (!json_is_array(access))
        return refuse(err, "access is not an array");
    if (count > JWT_ACCESS_MAX)
        return refuse(err, "access has more than 1000 entries");
    out->access = memory_new((count + 1) * sizeof(*out->access));
    for (size_t i = 0; i < count; i++) {
        struct jwt_access one = {0};
        if (read_entry(json_array_get(access, i), &one))
            out->access[out->access_count++] = one;
    }
    return 0;
}

static int read_claims(const json_t *claims, const struct jwt_checks *checks,
                       struct jwt_claims *out, struct error *err)
{
    if (check_issuer(claims, checks, out, err) < 0 ||
        check_audience(claims, checks->audience, err) < 0 ||
        check_times(claims, checks->now_s, out, err) < 0)
        return -1;
    if (read_text(claims, "sub", &out->subject, err) < 0 ||
        read_text(claims, "jti", &out->id, err) < 0)
        return -1;
    if (read_private(claims, out, err) < 0)
        return -1;
    return read_access(claims, out, err);
}

int jwt_verify(struct slice token, const struct jwt_checks *checks, struct jwt_claims *out,
               struct error *err)
{
    OWNED(json_drop) json_t *claims = NULL;
    struct compact parts;

    *out = (struct jwt_claims){0};
    if (split(token, &parts, err) < 0 || check_signature(&parts, checks->keys, err) < 0)
        return -1;
    if (read_part(parts.payload, "the payload is not a JSON object in base64url", &claims, err) < 0)
        return -1;
    if (read_claims(claims, checks, out, err) < 0) {
        jwt_claims_drop(out);
        return -1;
    }
    out->document = TAKE(claims);
    return 0;
}

void jwt_claims_drop(struct jwt_claims *claims)
{
    json_decref(claims->document);
    free(claims->access);
    *claims = (struct jwt_claims){0};
}

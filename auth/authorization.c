/* authorization.c - the Authorization header, and cookies (pure).
 * Touches  memory only.
 * Never    judges what it holds. */
#include "auth/authorization.h"

#include <string.h>

#include "auth/secret.h"
#include "registry/core/base64.h"

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool all_of(struct slice s, const char *others)
{
    for (size_t i = 0; i < s.size; i++)
        if (!is_alnum(s.at[i]) && (s.at[i] == 0 || strchr(others, s.at[i]) == NULL))
            return false;
    return s.size > 0;
}

/* --- Basic --- */

/* RFC 7617 section 2: neither name nor password holds control characters. */
static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.at[i] < 0x20 || s.at[i] == 0x7f)
            return true;
    return false;
}

/* Spec: TOK-58, TOK-60. */
static enum authorization_kind basic_parse(struct slice text, struct authorization *out)
{
    struct slice pair = {out->basic, 0};

    if (!base64_decode_into(BASE64, text, out->basic, BASIC_MAX, &pair.size) || has_control(pair) ||
        !slice_split(pair, ':', &out->name, &out->password)) {
        out->name = out->password = SLICE_NONE;
        authorization_wipe(out);
        return AUTHORIZATION_MALFORMED;
    }
    return pair.size == 1 ? AUTHORIZATION_NONE : AUTHORIZATION_BASIC;
}

/* --- the header --- */

/* RFC 6750 section 2.1: b64token, with its padding at the end. */
static bool bearer_valid(struct slice token)
{
    struct slice body = token;

    if (token.size > BEARER_MAX)
        return false;
    while (body.size > 0 && body.at[body.size - 1] == '=')
        body.size--;
    return all_of(body, "-._~+/");
}

/* Spec: TOK-71. RFC 9110 section 11.4: the scheme, spaces, one token. */
void authorization_parse(struct slice header, struct authorization *out)
{
    struct slice scheme, rest;

    out->kind = AUTHORIZATION_NONE;
    out->name = out->password = out->token = SLICE_NONE;
    if (header.at == NULL)
        return;
    (void)slice_split(header, ' ', &scheme, &rest);
    while (slice_starts(rest, " "))
        rest = slice_from(rest, 1);
    if (!all_of(scheme, "!#$%&'*+-.^_`|~")) {
        out->kind = AUTHORIZATION_MALFORMED;
    } else if (slice_equal_ignore_case(scheme, "basic")) {
        out->kind = basic_parse(rest, out);
    } else if (slice_equal_ignore_case(scheme, "bearer")) {
        out->kind = bearer_valid(rest) ? AUTHORIZATION_BEARER : AUTHORIZATION_MALFORMED;
        out->token = out->kind == AUTHORIZATION_BEARER ? rest : SLICE_NONE;
    } else {
        out->kind = AUTHORIZATION_OTHER;
    }
}

void authorization_wipe(struct authorization *authorization)
{
    secret_wipe(authorization->basic, sizeof(authorization->basic));
    authorization->name = authorization->password = SLICE_NONE;
}

/* --- cookies --- */

/* RFC 6265 section 4.1.1, without the quotes it allows around a value: ours never have them. */
static bool cookie_value_valid(struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        char c = value.at[i];
        if (c <= ' ' || c > '~' || c == '"' || c == ',' || c == '\\')
            return false;
    }
    return true;
}

struct slice cookie_find(struct slice header, const char *name)
{
    struct slice rest = header, pair, key, value, found = SLICE_NONE;

    while (rest.at != NULL) {
        struct slice all = rest;
        (void)slice_split(all, ';', &pair, &rest);
        if (!slice_split(slice_trim(pair), '=', &key, &value) || !slice_equal_text(key, name))
            continue;
        if (found.at != NULL || !cookie_value_valid(value))
            return SLICE_NONE;
        found = value;
    }
    return found;
}

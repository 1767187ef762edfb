/* authorization.h - the Authorization header, and cookies (pure).
 * Touches  memory only.
 * Never    judges what it holds.
 *
 * Spec: TOK-58, TOK-60, TOK-71; RFC 7617, RFC 6750. */
#ifndef SLIPWAY_AUTH_AUTHORIZATION_H
#define SLIPWAY_AUTH_AUTHORIZATION_H

#include "registry/core/bytes.h"

enum authorization_kind {
    AUTHORIZATION_NONE, /* absent, or Basic with an empty name and password (TOK-58) */
    AUTHORIZATION_BASIC,
    AUTHORIZATION_BEARER,
    AUTHORIZATION_OTHER,     /* another scheme */
    AUTHORIZATION_MALFORMED, /* Basic that is no base64, without a colon, with NUL; Bearer without
                                token */
};

/* Bytes of name and password together; of a Bearer token. */
enum { BASIC_MAX = 1024, BEARER_MAX = 16 * 1024 };
struct authorization {
    enum authorization_kind kind;
    struct slice name, password; /* point into basic */
    struct slice token;          /* points into the header */
    char basic[BASIC_MAX];       /* wiped by authorization_wipe */
};
void authorization_parse(struct slice header, struct authorization *out);
void authorization_wipe(struct authorization *authorization);

/* The value of a cookie; SLICE_NONE when it is not there, there twice, quoted or malformed. */
struct slice cookie_find(struct slice header, const char *name);

#endif

/* auth.h - who may do what: credentials and a wanted scope become a grant or a challenge.
 * Touches  nothing yet: the only mode is open, where everybody may do everything.
 * Never    HTTP, storage's inside. */
#ifndef SLIPWAY_AUTH_H
#define SLIPWAY_AUTH_H

#include <stdbool.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

struct auth;

enum auth_mode { AUTH_MODE_NONE };

int auth_open(struct auth **out, enum auth_mode mode, struct error *err) MUST_CHECK;
void auth_close(struct auth *auth); /* accepts NULL */

struct auth_request {
    struct slice authorization; /* the header, or SLICE_NONE */
    struct slice repository;    /* or SLICE_NONE */
    int action;                 /* enum action of the route */
};

struct auth_grant {
    bool may_push; /* on the repository: positive answers to this caller are leases */
};

/* From memory only, any thread: 1 granted, 0 not known here (ask auth_authorise), -1 refused. */
int auth_peek(const struct auth *auth, const struct auth_request *request, struct auth_grant *grant,
              struct error *err);
/* May block. UNAUTHORIZED, DENIED */
int auth_authorise(const struct auth *auth, const struct auth_request *request,
                   struct auth_grant *grant, struct error *err) MUST_CHECK;

#endif

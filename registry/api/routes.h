/* routes.h - what the tables of the management API share.
 * Touches  nothing.
 * Never    included from elsewhere.
 *
 * A row whose last variable has an ending stands before the one without. What grants one may deal
 * with, and which repositories one may make, follows from patterns and names in the request: those
 * handlers ask auth themselves. Handlers that hash a password run on login threads. */
#ifndef SLIPWAY_API_ROUTES_H
#define SLIPWAY_API_ROUTES_H

#include "registry/api/api.h"
#include "registry/api/api_internal.h"

#define BASE "/api/v1/"

enum { METHODS_READ = METHOD_GET | METHOD_HEAD };

/* JSON_BODY_MAX. routes.c */
uint64_t api_body_limit(const struct services *services);

/* What a row reads. */
#define WITH_BODY .body = BODY_COLLECT, .body_limit = api_body_limit

#endif

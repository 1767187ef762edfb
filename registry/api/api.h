/* api.h - the management API: all that main needs to serve it.
 * Touches  storage by way of storage/accounts.h; auth.
 * Never    sockets; who may do what where the table alone can say it (http/ asks auth). */
#ifndef SLIPWAY_API_API_H
#define SLIPWAY_API_API_H

#include "registry/http/route.h"

/* Everything under /api/v1; immutable. registry/api/openapi.json describes each row. */
extern const struct route_table api_routes, api_repos_routes, api_care_routes, api_builds_routes;

/* An event as this API tells it: the write of events_options. */
struct news;
void api_event_write(struct buffer *out, const char *id, const struct news *news, bool people);

#endif

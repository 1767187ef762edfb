/* v2.h - the distribution API: all that main needs to serve it.
 * Touches  storage, by way of storage/storage.h.
 * Never    sockets; who may do what (the table says what to ask, http/ asks it). */
#ifndef SLIPWAY_V2_V2_H
#define SLIPWAY_V2_V2_H

#include "registry/http/route.h"

/* Every endpoint of the specification, and those of tokens; immutable. */
extern const struct route_table v2_routes;

#endif

/* probes.h - /livez, /readyz, /startupz: what an orchestrator or load balancer asks.
 * Touches  storage's own check.
 * Never    asks for credentials; tells more than the reason. */
#ifndef SLIPWAY_PROBES_H
#define SLIPWAY_PROBES_H

#include <stdatomic.h>
#include <stdbool.h>

#include "registry/http/route.h"

/* Any thread. Zero-initialised is a server that serves. */
struct probes {
    _Atomic bool draining; /* still serving, but nobody new should come */
};

extern const struct route_table probe_routes;

#endif

/* services.h - what a handler works with: built by the serve command, borrowed by everybody,
 * immutable.
 * Touches  nothing.
 * Never    owns what it points to. */
#ifndef SLIPWAY_SERVICES_H
#define SLIPWAY_SERVICES_H

#include <stdatomic.h>

struct auth;
struct builds;
struct config;
struct events;
struct git;
struct jobs;
struct probes;
struct schedule;
struct storage;

struct services {
    struct storage *storage;
    const struct config *config;
    struct auth *auth;
    struct jobs *jobs;
    struct schedule *schedule; /* of the collector */
    struct builds *builds;     /* NULL: a server that does not build */
    struct git *git;           /* NULL: a server that keeps no sources */
    struct events *events;     /* what happens, live */
    struct probes *probes;     /* NULL: always ready */
    atomic_uint *long_reads;   /* questions under way that read a whole repository */
    atomic_uint *hook_bytes;   /* of deliveries that are still coming */
};

#endif

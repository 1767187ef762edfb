/* sse.h - server-sent events as they come: bytes in, events out.
 * Touches  memory.
 * Never    keeps more than a line and the data of one event, of EVENT_MAX bytes; connections. */
#ifndef SLIPWAY_CLI_SSE_H
#define SLIPWAY_CLI_SSE_H

#include "registry/core/bytes.h"

enum { SSE_EVENT_MAX = 1 << 20 }; /* what is longer is passed over */

/* Zero-initialised it stands before a stream. take gets each event that has data or a name; all is
 * borrowed for the call. last is the id that a client comes again with, and outlives connections.
 */
struct sse {
    void (*take)(void *arg, struct slice name, struct slice data);
    void *arg;
    struct buffer line, name, data, last;
    bool cut;      /* the line at hand is too long */
    bool too_long; /* the event at hand is */
};
void sse_feed(struct sse *sse, struct slice bytes);
/* The connection broke: what was begun comes again. */
void sse_restart(struct sse *sse);
void sse_drop(struct sse *sse);

#endif

/* zone.h - time zones: what clocks on the wall show, from the files every system has (TZif).
 * Touches  one file below /usr/share/zoneinfo, or /etc/localtime.
 * Never    the zone of the process: that is one for all threads. Leap seconds.
 *
 * Spec: RFC 8536, versions 2 and up. Seconds since 1970; offsets are seconds east of UTC. */
#ifndef SLIPWAY_CORE_ZONE_H
#define SLIPWAY_CORE_ZONE_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { ZONE_NAME_MAX = 64 };

struct zone;

/* "Europe/Berlin"; "UTC"; "": the machine's. INVALID  no such zone on this machine */
int zone_open(struct zone **out, struct slice name, struct error *err) MUST_CHECK;
/* From the bytes of a file (pure); NULL when they are malformed. */
struct zone *zone_parse(struct slice file);
void zone_drop(struct zone **zone); /* for OWNED; accepts NULL */

/* NULL is UTC. */
int32_t zone_offset(const struct zone *zone, int64_t at);
/* The moment at which clocks show `local` (seconds since 1970-01-01T00:00 on the wall): the first
 * one when they show it twice; when they leap over it, the moment they do. */
int64_t zone_moment(const struct zone *zone, int64_t local);

#endif

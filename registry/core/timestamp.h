/* timestamp.h - points in time as text: RFC 3339, printed in UTC.
 * Touches  nothing (pure).
 * Never    locale, the machine's time zone.
 *
 * Values are microseconds since 1970. */
#ifndef SLIPWAY_CORE_TIMESTAMP_H
#define SLIPWAY_CORE_TIMESTAMP_H

#include "registry/core/bytes.h"

enum { TIMESTAMP_MAX = 40 }; /* bytes with the end */

/* "2026-03-01T08:15:30Z", with as many digits of the second as are not zero. Years 0 to 9999; what
 * is outside is shown as the nearest of these. Returns out. */
const char *timestamp_print(int64_t us, char out[TIMESTAMP_MAX]);
/* Any offset; digits after the microsecond are dropped; second 60 counts as the next 00. False when
 * malformed, no day of the calendar, or before 1970. */
bool timestamp_parse(struct slice text, int64_t *us);

#endif

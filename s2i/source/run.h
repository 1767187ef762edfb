/* run.h - confined children that are waited for, heard, and ended when it takes too long.
 * Touches  child processes.
 * Never    waits longer than it was told, or when it was told to stop. */
#ifndef SLIPWAY_SOURCE_RUN_H
#define SLIPWAY_SOURCE_RUN_H

#include "s2i/confine.h"

struct patience {
    int64_t until_ms; /* of the monotonic clock */
    int cancel;       /* readable: stop; -1 */
};
int64_t source_now_ms(void);
/* Runs it to its end; what it says on standard error (errors) or else on standard output is
 * appended, at most `most` bytes, the rest is dropped. *status as of waitpid.
 * INVALID  the time was over.  UNAVAILABLE  told to stop, or it cannot be started */
int source_run(struct confinement *with, bool errors, size_t most, const struct patience *patience,
               struct buffer *said, int *status, struct error *err) MUST_CHECK;

#endif

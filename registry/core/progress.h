/* progress.h - how long work tells where it is, and is asked to stop.
 * Touches  nothing by itself.
 * Never    blocks for long: work calls it often.
 *
 * Passed as const struct progress *; NULL: nobody listens. */
#ifndef SLIPWAY_CORE_PROGRESS_H
#define SLIPWAY_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    void (*phase)(void *arg, const char *name); /* a constant: "review" */
    /* counter: a constant in snake_case: "blobs_checked" */
    void (*add)(void *arg, const char *counter, uint64_t amount);
    bool (*cancelled)(void *arg);
    void *arg;
};

static inline void progress_phase(const struct progress *progress, const char *name)
{
    if (progress != 0 && progress->phase != 0)
        progress->phase(progress->arg, name);
}

static inline void progress_add(const struct progress *progress, const char *counter,
                                uint64_t amount)
{
    if (progress != 0 && progress->add != 0)
        progress->add(progress->arg, counter, amount);
}

static inline bool progress_cancelled(const struct progress *progress)
{
    return progress != 0 && progress->cancelled != 0 && progress->cancelled(progress->arg);
}

#endif

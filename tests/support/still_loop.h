/* still_loop.h - the time of the loops of libh2o, by which connections are given up, stands still
 * while a test wants it, and goes on by what the test says. A loop that waits sees it as soon as
 * the time it waits for would have come. Define nothing else of its names.
 * Touches  gettimeofday() of this program: what else asks it gets the same time. */
#ifndef SLIPWAY_TESTS_SUPPORT_STILL_LOOP_H
#define SLIPWAY_TESTS_SUPPORT_STILL_LOOP_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/time.h>
#include <time.h>

static _Atomic int64_t loop_ahead_us; /* of the clock on the wall */
static _Atomic int64_t loop_still_us; /* 0: it runs */

static inline int64_t loop_wall_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* In the place of the library's. */
int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    int64_t us = atomic_load(&loop_still_us);

    (void)zone;
    if (us == 0)
        us = loop_wall_us() + atomic_load(&loop_ahead_us);
    *out =
        (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    return 0;
}

static inline void loop_stop(void)
{
    atomic_store(&loop_still_us, loop_wall_us() + atomic_load(&loop_ahead_us));
}

static inline void loop_move(int64_t ms)
{
    atomic_fetch_add(&loop_still_us, ms * 1000);
}

/* From where it stood. */
static inline void loop_go_on(void)
{
    int64_t still = atomic_load(&loop_still_us);

    if (still == 0)
        return;
    atomic_store(&loop_ahead_us, still - loop_wall_us());
    atomic_store(&loop_still_us, 0);
}

#endif

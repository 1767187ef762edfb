/* still_clock.h - a monotonic clock that stands still for the thread of a test, and goes on by what
 * the test says: whatever the machine does meanwhile takes no time. Define nothing else of its
 * names.
 * Touches  clock_gettime() of this program; other threads, and the time of day, are not changed. */
#ifndef SLIPWAY_TESTS_SUPPORT_STILL_CLOCK_H
#define SLIPWAY_TESTS_SUPPORT_STILL_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Thread_local bool clock_is_still;
static _Thread_local struct timespec clock_still_at;

/* In the place of the library's. */
int clock_gettime(clockid_t id, struct timespec *out)
{
    if (id != CLOCK_MONOTONIC || !clock_is_still)
        return (int)syscall(SYS_clock_gettime, id, out);
    *out = clock_still_at;
    return 0;
}

static inline void clock_stop(void)
{
    clock_is_still = false;
    clock_gettime(CLOCK_MONOTONIC, &clock_still_at);
    clock_is_still = true;
}

static inline void clock_move(uint64_t ms)
{
    uint64_t ns = (uint64_t)clock_still_at.tv_nsec + ms % 1000 * 1000000;

    clock_still_at.tv_sec += (time_t)(ms / 1000 + ns / 1000000000);
    clock_still_at.tv_nsec = (long)(ns % 1000000000);
}

static inline void clock_go_on(void)
{
    clock_is_still = false;
}

#endif

/* clock.h - what time it is: of day, and of the machine since it started.
 * Touches  the kernel's clocks.
 * Never    mixes them: what lasts is measured by the monotonic one, which nobody sets. */
#ifndef SLIPWAY_CORE_CLOCK_H
#define SLIPWAY_CORE_CLOCK_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

enum { US_PER_S = 1000000, NS_PER_MS = 1000000, NS_PER_S = 1000000000 };

static inline int64_t clock_us_(clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    return (int64_t)now.tv_sec * US_PER_S + now.tv_nsec / 1000;
}
/* Microseconds since 1970. */
static inline int64_t clock_now_us(void)
{
    return clock_us_(CLOCK_REALTIME);
}
static inline uint64_t clock_monotonic_us(void)
{
    return (uint64_t)clock_us_(CLOCK_MONOTONIC);
}
static inline uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}
/* A condition that is waited for until a time of the monotonic clock. */
static inline void clock_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}
static inline struct timespec clock_monotonic_after(uint64_t ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t ns = (uint64_t)at.tv_nsec + ms % 1000 * NS_PER_MS;
    at.tv_sec += (time_t)(ms / 1000 + ns / NS_PER_S);
    at.tv_nsec = (long)(ns % NS_PER_S);
    return at;
}

#endif

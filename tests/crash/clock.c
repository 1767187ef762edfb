/* clock.c - the time of day as the test wants it: leases and windows end without waiting.
 * Touches  the control file by reading.
 * Never    the monotonic clock: time-outs and intervals stay what they are. */
#include "tests/crash/interpose.h"

#include <dlfcn.h>
#include <stddef.h>
#include <time.h>

typedef int get_time(clockid_t id, struct timespec *out);

static int64_t ahead_us(void)
{
    return control == NULL ? 0 : __atomic_load_n(&control->ahead_us, __ATOMIC_ACQUIRE);
}

int clock_gettime(clockid_t id, struct timespec *out)
{
    static get_time *next;
    int64_t us = id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE ? ahead_us() : 0;

    if (next == NULL)
        next = (get_time *)dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(id, out);
    us += out->tv_nsec / 1000;
    out->tv_sec += (time_t)(us / 1000000);
    out->tv_nsec = (long)(us % 1000000 * 1000 + out->tv_nsec % 1000);
    return result;
}

time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* quota.c - how many pulls a caller may make in a window.
 * Touches  memory, bounded: 2 MiB once that many callers came.
 * Never    the disk. */
#include "auth/quota.h"

#include <pthread.h>
#include <stdlib.h>

#include "auth/slots.h"

enum { CALLERS = 64 * 1024 };

/* used 0: none is running. */
struct window {
    uint64_t begun_ms;
    uint64_t used;
};

struct quota {
    pthread_mutex_t lock; /* of what follows */
    uint64_t now_ms;      /* the latest that was given: threads read their clocks before the lock */
    struct slots *windows; /* struct window by caller */
};

struct quota *quota_open(void)
{
    struct quota *quota = memory_new(sizeof(*quota));

    pthread_mutex_init(&quota->lock, NULL);
    quota->windows = slots_open(CALLERS, sizeof(struct window));
    return quota;
}

void quota_close(struct quota *quota)
{
    if (quota == NULL)
        return;
    slots_close(quota->windows);
    pthread_mutex_destroy(&quota->lock);
    free(quota);
}

/* Spec: TOK-66. */
static struct window window_use(struct quota *quota, struct slice caller, uint64_t limit,
                                uint64_t window_ms, bool count, bool *admitted)
{
    uint64_t now_ms = quota->now_ms;
    struct window *kept = count ? slots_take(quota->windows, caller, SLICE_NONE, now_ms)
                                : slots_find(quota->windows, caller, SLICE_NONE, now_ms);
    struct window window = {now_ms, 0};

    if (kept != NULL && kept->used > 0 && now_ms - kept->begun_ms < window_ms)
        window = *kept;
    *admitted = window.used < limit;
    if (kept == NULL || !count)
        return window;
    window.used += *admitted;
    *kept = window;
    return window;
}

bool quota_use(struct quota *quota, struct slice caller, uint64_t limit, uint64_t window_ms,
               bool count, uint64_t now_ms, uint64_t *remaining, uint64_t *wait_ms)
{
    bool admitted;

    pthread_mutex_lock(&quota->lock);
    quota->now_ms = now_ms > quota->now_ms ? now_ms : quota->now_ms;
    struct window window = window_use(quota, caller, limit, window_ms, count, &admitted);
    *wait_ms = window.used == 0 ? 0 : window_ms - (quota->now_ms - window.begun_ms);
    pthread_mutex_unlock(&quota->lock);
    *remaining = window.used < limit ? limit - window.used : 0;
    return admitted;
}

/* usage.c - what the store and one repository hold.
 * Touches  the database through meta_quota.h; a remembered total.
 * Never    counts everything again while the last count is young: it reads every row. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>

#include "registry/core/clock.h"
#include "storage/meta_quota.h"
#include "storage/storage_internal.h"

enum {
    KEEP_MS = 10000,
    KEEP_FACTOR = 20 /* and this many times as long as the count took */
};

struct usage_cache {
    pthread_mutex_t lock; /* held while it counts: who comes meanwhile wants the same */
    struct usage total;
    uint64_t until_ms; /* monotonic */
};

struct usage_cache *usage_cache_open(void)
{
    struct usage_cache *cache = memory_new(sizeof(*cache));

    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

void usage_cache_close(struct usage_cache *cache)
{
    if (cache == NULL)
        return;
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

static int count(struct storage *store, struct usage *out, struct error *err) ON(worker_thread)
{
    struct statvfs system;

    if (meta_usage_total(store->meta, out, err) < 0)
        return -1;
    if (statvfs(store->options.root, &system) == 0) {
        out->disk_size = (uint64_t)system.f_blocks * system.f_frsize;
        out->disk_free = (uint64_t)system.f_bavail * system.f_frsize;
    }
    return 0;
}

int usage_total(struct storage *store, struct usage *out, struct error *err)
{
    struct usage_cache *cache = store->usage;
    int status = 0;

    pthread_mutex_lock(&cache->lock);
    uint64_t begun_ms = clock_monotonic_ms();
    if (begun_ms >= cache->until_ms) {
        status = count(store, &cache->total, err);
        uint64_t ended_ms = clock_monotonic_ms(), keep_ms = (ended_ms - begun_ms) * KEEP_FACTOR;
        if (status == 0)
            cache->until_ms = ended_ms + (keep_ms > KEEP_MS ? keep_ms : KEEP_MS);
    }
    if (status == 0)
        *out = cache->total;
    pthread_mutex_unlock(&cache->lock);
    return status;
}

int usage_of_repository(struct storage *store, struct slice repository,
                        struct repository_usage *out, struct error *err)
{
    return meta_usage_of_repository(store->meta, repository, out, err);
}

/* trash.c - G4: removes the bytes of what is in trash and due, unless somebody holds them.
 * Touches  blob bytes whose locator is in trash, the table trash.
 * Never    bytes whose trash row is not durable.
 *
 * (1) Bytes go only after their trash row is durable, and the row only after the bytes.
 * (2) While a hold stands nothing is removed: a hold is taken, and bytes are removed, under one
 *     lock, a batch at a time. */
#include <pthread.h>
#include <stdlib.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "storage/collect.h"
#include "storage/meta.h"
#include "storage/storage_internal.h"

enum {
    BATCH = 2048,   /* files: removing them syncs each of 256 folders once at most */
    DONE_MAX = 256, /* rows: a commit of the background is short */
    HOLDS_MAX = 64,
};

struct hold {
    uint64_t id; /* 0: free */
    uint64_t until_ms;
};

/* All members under the lock. */
struct trash {
    pthread_mutex_t lock;
    uint64_t last_id;
    struct hold holds[HOLDS_MAX];
};

struct trash *trash_open(void)
{
    struct trash *trash = memory_new(sizeof(*trash));

    pthread_mutex_init(&trash->lock, NULL);
    return trash;
}

void trash_close(struct trash *trash)
{
    if (trash == NULL)
        return;
    pthread_mutex_destroy(&trash->lock);
    free(trash);
}

/* --- holds; all under the lock --- */

static bool stands(const struct hold *hold)
{
    return hold->id != 0 && hold->until_ms > clock_monotonic_ms();
}

static bool any_stands(const struct trash *trash)
{
    for (size_t i = 0; i < HOLDS_MAX; i++)
        if (stands(&trash->holds[i]))
            return true;
    return false;
}

static uint64_t hold_end(uint64_t for_ms)
{
    uint64_t now = clock_monotonic_ms();

    return for_ms > UINT64_MAX - now ? UINT64_MAX : now + for_ms;
}

static struct hold *hold_find(struct trash *trash, uint64_t id)
{
    for (size_t i = 0; i < HOLDS_MAX; i++)
        if (trash->holds[i].id == id && stands(&trash->holds[i]))
            return &trash->holds[i];
    return NULL;
}

uint64_t storage_bytes_hold(struct storage *store, uint64_t for_ms)
{
    struct trash *trash = store->trash;
    uint64_t id = 0;

    pthread_mutex_lock(&trash->lock);
    for (size_t i = 0; i < HOLDS_MAX && id == 0; i++)
        if (!stands(&trash->holds[i])) {
            id = ++trash->last_id;
            trash->holds[i] = (struct hold){id, hold_end(for_ms)};
        }
    pthread_mutex_unlock(&trash->lock);
    return id;
}

bool storage_bytes_renew(struct storage *store, uint64_t hold, uint64_t for_ms)
{
    struct trash *trash = store->trash;

    pthread_mutex_lock(&trash->lock);
    struct hold *found = hold == 0 ? NULL : hold_find(trash, hold);
    if (found != NULL)
        found->until_ms = hold_end(for_ms);
    pthread_mutex_unlock(&trash->lock);
    return found != NULL;
}

void storage_bytes_release(struct storage *store, uint64_t hold)
{
    struct trash *trash = store->trash;

    pthread_mutex_lock(&trash->lock);
    struct hold *found = hold == 0 ? NULL : hold_find(trash, hold);
    if (found != NULL)
        found->id = 0;
    pthread_mutex_unlock(&trash->lock);
}

bool trash_held(struct storage *store)
{
    pthread_mutex_lock(&store->trash->lock);
    bool held = any_stands(store->trash);
    pthread_mutex_unlock(&store->trash->lock);
    return held;
}

/* --- removal; under the lock --- */

static int remove_some(struct storage *store, const char (*locators)[LOCATOR_SIZE + 1],
                       size_t count, struct collect_report *report, struct error *err)
    ON(worker_thread)
{
    uint64_t bytes = 0;

    int result = store->blobs.driver->remove(store->blobs.self, locators, count, &bytes, err);
    report->trash_bytes += bytes;
    for (size_t at = 0; at < count && result == 0; at += DONE_MAX) {
        size_t some = count - at < DONE_MAX ? count - at : DONE_MAX;
        result = meta_trash_done(store->meta, locators + at, some, err);
        report->trash_removed += result == 0 ? some : 0;
    }
    return result;
}

/* A batch whose removal failed is tried one by one, and what cannot be removed waits: one file does
 * not keep all others. */
static int remove_each(struct storage *store, const char (*locators)[LOCATOR_SIZE + 1],
                       size_t count, struct collect_report *report, struct error *err)
    ON(worker_thread)
{
    for (size_t i = 0; i < count; i++) {
        struct error why = {0};
        if (remove_some(store, &locators[i], 1, report, &why) == 0)
            continue;
        log_event(LOG_WARNING, "sweep.failed", F_TEXT("what", "remove blob data"),
                  F_TEXT("message", why.message), F_TEXT("cause", why.cause));
        if (meta_trash_postpone(store->meta, locators[i], err) < 0)
            return -1;
    }
    return 0;
}

static int batch_remove(struct storage *store, struct collect_report *report, size_t *count,
                        struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) char(*found)[LOCATOR_SIZE + 1] = memory_new(BATCH * sizeof(*found));
    const char(*due)[LOCATOR_SIZE + 1] = (const char(*)[LOCATOR_SIZE + 1]) found;
    struct error why = {0};

    if (meta_trash_due(store->meta, found, BATCH, count, err) < 0)
        return -1;
    if (*count == 0 || remove_some(store, due, *count, report, &why) == 0)
        return 0;
    return remove_each(store, due, *count, report, err);
}

int trash_empty_some(struct storage *store, struct collect_report *report, bool *more,
                     struct error *err)
{
    size_t count = 0;
    int result = 0;

    pthread_mutex_lock(&store->trash->lock);
    if (!any_stands(store->trash))
        result = batch_remove(store, report, &count, err);
    pthread_mutex_unlock(&store->trash->lock);
    *more = result == 0 && count == BATCH;
    return result;
}

int trash_measure(struct storage *store, const struct progress *progress,
                  struct collect_report *report, struct error *err)
{
    const struct blob_store *blobs = &store->blobs;
    char found[BATCH][LOCATOR_SIZE + 1];
    struct meta_trash_cursor cursor = {.not_before = INT64_MIN};
    size_t count = BATCH;

    while (count == BATCH && !trash_held(store) && !progress_cancelled(progress)) {
        if (meta_trash_after(store->meta, &cursor, found, BATCH, &count, err) < 0)
            return -1;
        for (size_t i = 0; i < count; i++) {
            uint64_t bytes = 0;
            if (blobs->driver->size(blobs->self, found[i], &bytes, err) < 0)
                return -1;
            report->trash_bytes += bytes;
        }
        report->trash_removed += count;
    }
    return 0;
}

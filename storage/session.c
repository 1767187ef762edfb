/* session.c - the upload sessions a process has in memory.
 * Touches  memory; bytes under a session's locator and its row, when it settles a session.
 * Never    answers a client.
 *
 * (1) A descriptor is closed only when all it wrote is synced, or the session has ended: a write
 *     error is never lost between two requests.
 * (2) A checkpoint stands where a claim began or ended, so no rewind goes below it.
 * (3) A session found missing in memory is put there before its row is read, and taken out only
 *     after its row was changed: no two sessions ever write to one locator. */
#include "storage/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "storage/quota.h"

enum { CHECKPOINT_BATCH = 16 };

struct upload_table *upload_table_open(struct storage *store)
{
    struct upload_table *table = memory_new(sizeof(*table));

    table->store = store;
    pthread_mutex_init(&table->lock, NULL);
    clock_condition_init(&table->changed);
    return table;
}

static struct session **bucket_of(struct upload_table *table, const char *id, size_t size)
{
    return &table->buckets[bytes_hash(0, id, size) % SESSION_BUCKETS];
}

struct session *session_find(struct upload_table *table, struct slice repository, struct slice id)
{
    struct session *session = *bucket_of(table, id.at, id.size);

    while (session != NULL && !(slice_equal_text(id, session->id) &&
                                slice_equal_text(repository, session->repository)))
        session = session->next;
    return session;
}

struct session *session_insert(struct upload_table *table, struct slice repository, struct slice id)
{
    struct session *session = memory_new(sizeof(*session));
    struct session **bucket = bucket_of(table, id.at, id.size);

    session->table = table;
    session->references = 1;
    bool fits = slice_to_text(id, session->id, sizeof(session->id)) &&
                slice_to_text(repository, session->repository, sizeof(session->repository));
    assert(fits);
    (void)fits;
    session->next = *bucket;
    *bucket = session;
    return session;
}

void session_wake(struct session *session)
{
    if (session->waiting > 0)
        pthread_cond_broadcast(&session->table->changed);
}

void session_end(struct session *session, enum session_state state)
{
    struct upload_table *table = session->table;

    if (session->state != SESSION_LIVE)
        return;
    struct session **link = bucket_of(table, session->id, strlen(session->id));
    while (*link != session)
        link = &(*link)->next;
    *link = session->next;
    session->state = state;
    session->references--; /* never the last: who ends it holds one */
    if (session->owner == NULL)
        table->idle--;
    session_wake(session);
}

bool session_wait(struct session *session, uint64_t deadline_ms)
{
    struct timespec deadline = {
        .tv_sec = (time_t)(deadline_ms / 1000),
        .tv_nsec = (long)(deadline_ms % 1000) * 1000000,
    };

    session->waiting++;
    int status = pthread_cond_timedwait(&session->table->changed, &session->table->lock, &deadline);
    session->waiting--;
    return status != ETIMEDOUT;
}

void session_release(struct session *session)
{
    struct upload_table *table = session->table;
    const struct blob_store *blobs = &table->store->blobs;
    struct error ignored = {0};
    uint64_t bytes = 0;

    pthread_mutex_lock(&table->lock);
    unsigned left = --session->references;
    pthread_mutex_unlock(&table->lock);
    if (left > 0)
        return;
    bool wrote = session->writer != NULL;
    blobs->driver->writer_close(session->writer);
    /* Its locator is in trash; the sweep may have looked before our last append made the file. */
    bool trash = session->state == SESSION_TRASHED || session->state == SESSION_LOST;
    if (wrote && trash &&
        blobs->driver->remove(blobs->self, &session->locator, 1, &bytes, &ignored) < 0)
        error_clear(&ignored);
    quota_hold_drop(&session->hold);
    free(session);
}

void session_lose(struct session *session)
{
    struct storage *store = session->table->store;
    struct error ignored = {0};

    /* Should the row outlive this, it still tells the truth: the file ends at the last good sync,
     * and pages the kernel could not write are dropped. */
    if (store->blobs.driver->writer_rewind(session->writer, session->synced, &ignored) < 0)
        error_clear(&ignored);
    int cancelled = meta_upload_cancel(store->meta, slice_of(session->repository),
                                       slice_of(session->id), &ignored);
    pthread_mutex_lock(&session->table->lock);
    session_end(session, cancelled == 0 ? SESSION_LOST : SESSION_LEFT);
    session->busy = false;
    pthread_mutex_unlock(&session->table->lock);
}

/* Where a checkpoint may stand now, session (2). Lock held. */
static uint64_t checkpoint_offset(const struct session *session)
{
    return session->owner == NULL ? session->offset : session->start;
}

static bool checkpoint_due(const struct session *session, uint64_t idle_ms, uint64_t now_ms)
{
    if (session->loading || session->syncing || session->closing || session->failed)
        return false;
    if (session->owner == NULL && now_ms - session->idle_since_ms >= idle_ms)
        return true;
    return checkpoint_offset(session) - session->synced >= SESSION_CHECKPOINT_SIZE;
}

/* The session that is due for longest, with a reference; NULL when none is. Lock held. */
static struct session *checkpoint_next(struct upload_table *table, uint64_t idle_ms)
{
    uint64_t now_ms = clock_monotonic_ms();
    struct session *oldest = NULL;

    for (size_t i = 0; i < SESSION_BUCKETS; i++)
        for (struct session *session = table->buckets[i]; session; session = session->next)
            if (checkpoint_due(session, idle_ms, now_ms) &&
                (oldest == NULL || session->idle_since_ms < oldest->idle_since_ms))
                oldest = session;
    if (oldest != NULL)
        oldest->references++;
    return oldest;
}

static int checkpoint_record(const struct session *session, uint64_t offset,
                             const struct hasher *hasher, struct error *err)
{
    struct meta_upload row = {
        .algorithm = session->algorithm, .received = offset, .synced = offset};

    memcpy(row.id, session->id, sizeof(row.id));
    memcpy(row.locator, session->locator, sizeof(row.locator));
    row.hash_size = hasher_save(hasher, row.hash_state);
    return meta_upload_checkpoint(session->table->store->meta, &row, err);
}

/* After the sync failed. Lock held; a busy owner learns it when its call ends. */
static void checkpoint_failed(struct session *session) ON(worker_thread)
{
    session->failed = true;
    if (session->busy)
        return;
    session->busy = true;
    pthread_mutex_unlock(&session->table->lock);
    session_lose(session);
    pthread_mutex_lock(&session->table->lock);
}

/* Syncs and records a session, beside its owner's appends; one that rests leaves memory. Lock held
 * on entry and on return. False when it could not be recorded: try later. */
static bool checkpoint(struct session *session, uint64_t idle_ms) ON(worker_thread)
{
    struct upload_table *table = session->table;
    const struct blob_driver *driver = table->store->blobs.driver;
    struct hasher hasher = session->owner == NULL ? session->hasher : session->start_hasher;
    uint64_t offset = checkpoint_offset(session);
    struct error err = {0};
    bool synced = true, recorded = true;

    if (offset > session->synced) {
        session->syncing = true;
        pthread_mutex_unlock(&table->lock);
        synced = driver->writer_sync(session->writer, &err) == 0;
        recorded = synced && checkpoint_record(session, offset, &hasher, &err) == 0;
        pthread_mutex_lock(&table->lock);
        session->syncing = false;
        if (recorded)
            session->synced = offset;
        session_wake(session);
    }
    if (!synced)
        checkpoint_failed(session);
    else if (err.code == ERROR_BLOB_UPLOAD_UNKNOWN)
        session_end(session, SESSION_GONE);
    else if (session->owner == NULL && session->offset == session->synced &&
             clock_monotonic_ms() - session->idle_since_ms >= idle_ms)
        session_end(session, SESSION_LEFT);
    return recorded || session->state != SESSION_LIVE;
}

/* One session that is due. False when there was none, or it could not be recorded. */
static bool checkpoint_one(struct upload_table *table, uint64_t idle_ms) ON(worker_thread)
{
    pthread_mutex_lock(&table->lock);
    struct session *session = checkpoint_next(table, idle_ms);
    bool done = session != NULL && checkpoint(session, idle_ms);
    pthread_mutex_unlock(&table->lock);
    if (session != NULL)
        session_release(session);
    return done;
}

bool upload_table_checkpoint(struct upload_table *table, uint64_t idle_ms)
{
    for (int i = 0; i < CHECKPOINT_BATCH; i++)
        if (!checkpoint_one(table, idle_ms))
            return false;
    return true;
}

void session_trim(struct upload_table *table)
{
    pthread_mutex_lock(&table->lock);
    bool crowded = table->idle > SESSION_IDLE_MAX;
    pthread_mutex_unlock(&table->lock);
    if (crowded)
        checkpoint_one(table, 0);
}

/* A session that would expire soon, with a reference; one that rests was written to seconds ago.
 * Lock held. */
static struct session *expiring_next(struct upload_table *table, int64_t before)
{
    for (size_t i = 0; i < SESSION_BUCKETS; i++) {
        for (struct session *session = table->buckets[i]; session; session = session->next) {
            if (!session->loading && session->expires_at < before) {
                session->references++;
                return session;
            }
        }
    }
    return NULL;
}

void upload_table_touch(struct upload_table *table)
{
    struct meta *meta = table->store->meta;
    int64_t now = clock_now_us();
    int status = 0;

    while (status == 0) {
        struct error err = {0};
        pthread_mutex_lock(&table->lock);
        struct session *session = expiring_next(table, now + meta->upload_ttl_us / 2);
        pthread_mutex_unlock(&table->lock);
        if (session == NULL)
            return;
        status = meta_upload_touch(meta, session->id, &err);
        pthread_mutex_lock(&table->lock);
        if (status == 0)
            session->expires_at = now + meta->upload_ttl_us;
        else if (err.code == ERROR_BLOB_UPLOAD_UNKNOWN)
            session_end(session, SESSION_GONE);
        pthread_mutex_unlock(&table->lock);
        session_release(session);
    }
}

void upload_table_forget(struct upload_table *table, const char *locator)
{
    struct session *found = NULL;

    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < SESSION_BUCKETS && found == NULL; i++)
        for (struct session *session = table->buckets[i]; session; session = session->next)
            if (!session->loading && strcmp(session->locator, locator) == 0)
                found = session;
    if (found != NULL) {
        found->references++;
        session_end(found, SESSION_TRASHED);
    }
    pthread_mutex_unlock(&table->lock);
    if (found != NULL)
        session_release(found);
}

void upload_table_close(struct upload_table *table)
{
    if (table == NULL)
        return;
    while (checkpoint_one(table, 0))
        continue;
    for (size_t i = 0; i < SESSION_BUCKETS; i++) {
        while (table->buckets[i] != NULL) {
            struct session *session = table->buckets[i];
            pthread_mutex_lock(&table->lock);
            session->references++;
            session_end(session, SESSION_LEFT);
            pthread_mutex_unlock(&table->lock);
            session_release(session);
        }
    }
    pthread_cond_destroy(&table->changed);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

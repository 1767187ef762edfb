/* sweep.c - the background thread: settles resting uploads, expires idle ones (G5), has trash
 * emptied (G4), ends what is kept for a time only, and after another boot finds files that no row
 * names.
 * Touches  upload sessions in memory, uploads, trash, deleted_tags, pins, tokens, sessions, audit,
 *          tag_history, pull_counts.
 * Never    makes a request wait: short transactions of the lowest priority, one at a time.
 *
 * (1) A file is an orphan only if it was seen before no row was found: a row comes before its file.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "storage/accounts.h"
#include "storage/meta_collect.h"
#include "storage/storage_internal.h"

enum {
    TICK_MS = 1000, /* how often sessions are looked at */
    INTERVAL_DEFAULT_MS = 60000,
    SESSION_IDLE_MS = 5000, /* longer idle: synced, recorded, descriptor closed */
    EXPIRE_MAX = 256,       /* steps a round: a session each, and 500 finished ones */
    TRASH_BATCHES_MAX = 64, /* a round */
    SHELF_BATCH = 64,
    RECORDS_INTERVAL_MS = 86400000, /* how often records are looked through */
};

struct sweep {
    struct storage *store; /* immutable */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending; /* under the lock */
    /* of the thread alone */
    uint64_t records_at_ms;
    int64_t records_cursor;
};

static void report(const char *what, const struct error *err)
{
    log_event(LOG_WARNING, "sweep.failed", F_TEXT("what", what), F_TEXT("message", err->message),
              F_TEXT("cause", err->cause));
}

static bool ending(struct sweep *sweep)
{
    pthread_mutex_lock(&sweep->lock);
    bool ends = sweep->ending;
    pthread_mutex_unlock(&sweep->lock);
    return ends;
}

int sweep_upload(struct storage *store, int64_t now, bool *ended, bool *more, struct error *err)
{
    char locator[LOCATOR_SIZE + 1];

    *ended = false;
    if (meta_upload_expire(store->meta, now, locator, more, err) < 0)
        return -1;
    *ended = locator[0] != 0;
    if (*ended)
        upload_table_forget(store->uploads, locator);
    return 0;
}

/* G5. True when more is due than one round does. */
static bool sweep_uploads(struct sweep *sweep) ON(worker_thread)
{
    struct collect_report done = {.uploads = 0};
    int64_t now = clock_now_us();
    bool more = true;

    upload_table_touch(sweep->store->uploads);
    for (int i = 0; i < EXPIRE_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        bool ended = false;
        if (sweep_upload(sweep->store, now, &ended, &more, &err) < 0) {
            report("expire uploads", &err);
            more = false;
        }
        done.uploads += ended ? 1 : 0;
    }
    collect_count(sweep->store->collect, &done);
    return more;
}

/* G4. True when more is due than one round does. */
static bool sweep_trash(struct sweep *sweep) ON(worker_thread)
{
    struct collect_report done = {.trash_removed = 0};
    bool more = true;

    for (int i = 0; i < TRASH_BATCHES_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        if (trash_empty_some(sweep->store, &done, &more, &err) < 0)
            report("empty the trash", &err);
    }
    collect_count(sweep->store->collect, &done);
    return more;
}

/* --- what is kept for a time only --- */

/* The moment so many seconds ago; INT64_MIN when it is kept for ever. */
static int64_t ago(uint64_t seconds)
{
    const uint64_t forever = (uint64_t)INT64_MAX / 4 / 1000000;

    if (seconds == 0 || seconds > forever)
        return INT64_MIN;
    return clock_now_us() - (int64_t)seconds * 1000000;
}

/* Tokens and sessions. True when more is due than one round does. */
static bool sweep_tokens(struct sweep *sweep) ON(worker_thread)
{
    const struct storage_options *options = &sweep->store->options;
    bool more = true;

    for (int i = 0; i < EXPIRE_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        if (token_expire(sweep->store, ago(options->session_idle_s), ago(options->session_max_s),
                         &more, &err) < 0) {
            report("expire tokens and sessions", &err);
            return false;
        }
    }
    return more;
}

/* The same for the audit. */
static bool sweep_audit(struct sweep *sweep) ON(worker_thread)
{
    int64_t before = ago(sweep->store->options.audit_retention_s);
    bool more = true;

    for (int i = 0; i < EXPIRE_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        if (audit_expire(sweep->store, before, &more, &err) < 0) {
            report("expire the audit", &err);
            return false;
        }
    }
    return more;
}

/* The same for what the collector gets to review by the clock: deleted tags and pins, and what a
 * setting lets end. */
static bool sweep_holds(struct sweep *sweep) ON(worker_thread)
{
    struct meta *meta = sweep->store->meta;
    bool more = true;

    for (int i = 0; i < EXPIRE_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        bool ended = false, untagged = false;
        if (meta_holds_expire(meta, &ended, &err) < 0 ||
            meta_untagged_queue(meta, &untagged, &err) < 0) {
            report("expire deleted tags and pins", &err);
            return false;
        }
        more = ended || untagged;
    }
    return more;
}

/* The same for pull counts and tags' history, once a day. */
static bool sweep_records(struct sweep *sweep) ON(worker_thread)
{
    uint64_t now = clock_monotonic_ms();
    bool more = now >= sweep->records_at_ms;

    for (int i = 0; i < EXPIRE_MAX && more && !ending(sweep); i++) {
        struct error err = {0};
        if (meta_records_expire(sweep->store->meta, &sweep->records_cursor, &more, &err) < 0) {
            report("forget old records", &err);
            return false;
        }
        if (!more)
            sweep->records_at_ms = now + RECORDS_INTERVAL_MS;
    }
    return more;
}

/* --- orphans --- */

struct shelf {
    char (*locators)[LOCATOR_SIZE + 1];
    size_t count;
    size_t capacity;
};

static void shelf_drop(struct shelf *shelf)
{
    free(shelf->locators);
}

static void shelf_add(void *arg, const char *locator)
{
    struct shelf *shelf = arg;

    if (shelf->count == shelf->capacity) {
        shelf->capacity = shelf->capacity == 0 ? SHELF_BATCH : 2 * shelf->capacity;
        shelf->locators =
            memory_resize(shelf->locators, shelf->capacity * sizeof(*shelf->locators));
    }
    memcpy(shelf->locators[shelf->count++], locator, LOCATOR_SIZE + 1);
}

/* (1) */
static int sweep_shelf(struct sweep *sweep, unsigned number, size_t *orphans, struct error *err)
    ON(worker_thread)
{
    struct storage *store = sweep->store;
    OWNED(shelf_drop) struct shelf shelf = {.locators = NULL};

    if (store->blobs.driver->list(store->blobs.self, number, shelf_add, &shelf, err) < 0)
        return -1;
    for (size_t at = 0; at < shelf.count && !ending(sweep); at += SHELF_BATCH) {
        size_t count = shelf.count - at < SHELF_BATCH ? shelf.count - at : SHELF_BATCH;
        size_t found;
        if (meta_trash_orphans(store->meta, shelf.locators + at, count, &found, err) < 0)
            return -1;
        *orphans += found;
    }
    return 0;
}

/* Every shelf once; an end in the middle begins anew at the next start. True when it is done. */
static bool sweep_orphans(struct sweep *sweep) ON(worker_thread)
{
    struct error err = {0};
    size_t orphans = 0;
    int result = 0;

    for (unsigned number = 0; number < LOCATOR_SHELVES && result == 0; number++) {
        if (ending(sweep))
            return false;
        result = sweep_shelf(sweep, number, &orphans, &err);
    }
    if (orphans > 0)
        log_event(LOG_INFO, "sweep.orphans", F_U64("found", orphans));
    if (result == 0 && !ending(sweep))
        result = meta_state_put(sweep->store->meta, STATE_ORPHANS, "", &err);
    if (result < 0)
        report("look for files without a row", &err);
    return result == 0;
}

static bool orphans_due(struct sweep *sweep) ON(worker_thread)
{
    char state[sizeof(STATE_ORPHANS_DUE)] = "";
    struct error err = {0};
    bool found = false;

    if (meta_state_get(sweep->store->meta, STATE_ORPHANS, state, sizeof(state), &found, &err) < 0) {
        report("look for files without a row", &err);
        return true;
    }
    return found && strcmp(state, STATE_ORPHANS_DUE) == 0;
}

static void rest(struct sweep *sweep, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);

    pthread_mutex_lock(&sweep->lock);
    if (!sweep->ending)
        pthread_cond_timedwait(&sweep->wake, &sweep->lock, &until);
    pthread_mutex_unlock(&sweep->lock);
}

static void *run(void *arg)
{
    struct sweep *sweep = arg;
    uint64_t interval_ms = sweep->store->options.sweep_interval_ms;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "sweep");
    if (interval_ms == 0)
        interval_ms = INTERVAL_DEFAULT_MS;
    uint64_t tick_ms = interval_ms < TICK_MS ? interval_ms : TICK_MS;
    uint64_t rested_ms = interval_ms; /* what an earlier life left is looked at first */
    bool orphans = orphans_due(sweep);
    while (!ending(sweep)) {
        while (upload_table_checkpoint(sweep->store->uploads, SESSION_IDLE_MS) && !ending(sweep))
            continue;
        if (rested_ms >= interval_ms) {
            bool more = sweep_uploads(sweep);
            orphans = orphans && !sweep_orphans(sweep);
            more |= sweep_trash(sweep);
            more |= sweep_holds(sweep);
            more |= sweep_records(sweep);
            more |= sweep_tokens(sweep);
            more |= sweep_audit(sweep);
            rested_ms = more ? interval_ms : 0; /* at the next tick */
        }
        rest(sweep, tick_ms);
        rested_ms += tick_ms;
    }
    return NULL;
}

struct sweep *sweep_open(struct storage *store)
{
    struct sweep *sweep = memory_new(sizeof(*sweep));

    sweep->store = store;
    pthread_mutex_init(&sweep->lock, NULL);
    clock_condition_init(&sweep->wake);
    if (pthread_create(&sweep->thread, NULL, run, sweep) != 0)
        abort();
    return sweep;
}

void sweep_close(struct sweep *sweep)
{
    if (sweep == NULL)
        return;
    pthread_mutex_lock(&sweep->lock);
    sweep->ending = true;
    pthread_cond_signal(&sweep->wake);
    pthread_mutex_unlock(&sweep->lock);
    pthread_join(sweep->thread, NULL);
    pthread_cond_destroy(&sweep->wake);
    pthread_mutex_destroy(&sweep->lock);
    free(sweep);
}

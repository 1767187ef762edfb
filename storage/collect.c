/* collect.c - the collector: its threads, runs, and what may pause it.
 * Touches  what meta_collect.h's transactions touch; memory, which forgets what went.
 * Never    visits what lost no reference.
 *
 * Threads submit batches to the database's writer at the lowest priority and rest until the next
 * task is due. A run does the same on its caller's thread, then empties the trash; meanwhile the
 * threads rest, so its report is all that went. */
#include "storage/collect.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "storage/meta_collect.h"
#include "storage/storage_internal.h"

enum {
    THREADS_DEFAULT = 2,
    THREADS_MAX = 16,
    INTERVAL_DEFAULT_MS = 60000,
    REST_MS = 1000, /* the shortest rest: what comes due meanwhile shares transactions */
    ROOM_MAX_US = 10000,
    FAILED_MS = 5000, /* rest after a failure */
};

static const char STATE_PAUSED[] = "gc.paused"; /* in server_state: "1" or "" */

struct collect {
    struct storage *store; /* immutable */
    uint64_t rate;         /* reviews a second of each thread; 0: no limit; immutable */
    uint64_t interval_ms;  /* the longest rest; immutable */
    pthread_t threads[THREADS_MAX];
    int thread_count; /* of whoever opens and closes */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* under the lock */
    bool ending;
    bool paused;
    unsigned runs;
    struct collect_report totals;
};

/* --- reports --- */

static void report_add(struct collect_report *sum, const struct collect_report *part)
{
    sum->reviewed += part->reviewed;
    sum->kept += part->kept;
    sum->postponed += part->postponed;
    sum->repositories += part->repositories;
    sum->manifests += part->manifests;
    sum->links += part->links;
    sum->blobs += part->blobs;
    sum->bytes += part->bytes;
    sum->uploads += part->uploads;
    sum->trash_removed += part->trash_removed;
    sum->trash_bytes += part->trash_bytes;
}

void collect_count(struct collect *collect, const struct collect_report *report)
{
    pthread_mutex_lock(&collect->lock);
    report_add(&collect->totals, report);
    pthread_mutex_unlock(&collect->lock);
}

static void tell(const struct progress *progress, const struct collect_report *part)
{
    progress_add(progress, "reviewed", part->reviewed);
    progress_add(progress, "kept", part->kept);
    progress_add(progress, "postponed", part->postponed);
    progress_add(progress, "repositories", part->repositories);
    progress_add(progress, "manifests", part->manifests);
    progress_add(progress, "links", part->links);
    progress_add(progress, "blobs", part->blobs);
    progress_add(progress, "bytes", part->bytes);
    progress_add(progress, "uploads", part->uploads);
    progress_add(progress, "trash_removed", part->trash_removed);
    progress_add(progress, "trash_bytes", part->trash_bytes);
}

/* --- one batch --- */

/* collect (4): after COMMIT, on the writer thread, so before the next review begins. Tags need no
 * word: a manifest that goes had none, and memory was told when it lost its last. */
static void forget(void *cache, const struct meta_forget *gone, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct slice repository = slice_of(gone[i].repository);
        const struct cache_key key = gone[i].kind == META_QUEUE_LINK
                                         ? cache_key_blob(repository, &gone[i].digest)
                                         : cache_key_manifest(repository, &gone[i].digest);
        cache_invalidate(cache, &key);
    }
}

static void report_failure(const char *what, const struct error *err)
{
    log_event(LOG_WARNING, "collect.failed", F_TEXT("what", what), F_TEXT("message", err->message),
              F_TEXT("cause", err->cause));
}

/* Everything of the batch is undone. When one review failed by itself, that task waits and the
 * others go on. */
static int step_failed(struct meta_batch *batch, struct error *err)
{
    const struct meta_task task = batch->failed;

    if (err->code != ERROR_INTERNAL || task.kind == 0)
        return -1;
    report_failure("review", err);
    log_event(LOG_WARNING, "collect.postponed", F_U64("kind", task.kind),
              F_I64("repository", task.repository), F_I64("ref", task.ref));
    error_clear(err);
    return meta_collect_postpone(batch->meta, &task, err);
}

/* After a batch the writer is left alone for as long as it took, so that who pushes meets a batch
 * half of the time at most. */
static void make_room(uint64_t begun_us)
{
    uint64_t took_us = clock_monotonic_us() - begun_us;
    const struct timespec pause = {0, (long)(took_us < ROOM_MAX_US ? took_us : ROOM_MAX_US) * 1000};

    nanosleep(&pause, NULL);
}

/* *next_due: 0 when there may be more due now, INT64_MAX when nothing waits. */
static int step(struct collect *collect, uint64_t limit, struct collect_report *report,
                int64_t *next_due, struct error *err) ON(worker_thread)
{
    struct storage *store = collect->store;
    struct meta_batch batch = {
        .meta = store->meta, .limit = limit, .after = forget, .arg = store->cache};

    uint64_t begun_us = clock_monotonic_us();

    *report = (struct collect_report){.reviewed = 0};
    *next_due = 0;
    if (meta_collect(&batch, err) < 0)
        return step_failed(&batch, err);
    *report = batch.report;
    *next_due = batch.next_due;
    collect_count(collect, report);
    if (report->reviewed > 0)
        make_room(begun_us);
    return 0;
}

/* --- threads --- */

/* Waits until the thread may work; false: it is to end. */
static bool may_work(struct collect *collect)
{
    pthread_mutex_lock(&collect->lock);
    while (!collect->ending && (collect->paused || collect->runs > 0))
        pthread_cond_wait(&collect->wake, &collect->lock);
    bool ending = collect->ending;
    pthread_mutex_unlock(&collect->lock);
    return !ending;
}

/* However often it is woken, so that a rate holds; an end or a pause is seen at once. */
static void rest(struct collect *collect, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&collect->lock);
    while (!collect->ending && waited == 0)
        waited = pthread_cond_timedwait(&collect->wake, &collect->lock, &until);
    pthread_mutex_unlock(&collect->lock);
}

/* Until the next task is due, about a second at least, and at most the interval. */
static uint64_t rest_ms(const struct collect *collect, int64_t next_due)
{
    int64_t now = clock_now_us();
    uint64_t ms = next_due > now ? (uint64_t)(next_due - now) / 1000 + 1 : 0;

    if (ms < REST_MS)
        ms = REST_MS;
    return ms < collect->interval_ms ? ms : collect->interval_ms;
}

static uint64_t batch_limit(const struct collect *collect)
{
    uint64_t tenth = collect->rate / 10 + 1; /* of a second's */

    return collect->rate == 0 || tenth > META_BATCH_MAX ? META_BATCH_MAX : tenth;
}

/* One line for all that went since the last rest. */
static void tell_log(struct collect_report *since)
{
    if (since->repositories + since->manifests + since->links + since->blobs > 0)
        log_event(LOG_INFO, "collect.removed", F_U64("repositories", since->repositories),
                  F_U64("manifests", since->manifests), F_U64("links", since->links),
                  F_U64("blobs", since->blobs), F_U64("bytes", since->bytes));
    *since = (struct collect_report){.reviewed = 0};
}

/* since: what the thread removed since its last rest. */
static void work(struct collect *collect, struct collect_report *since) ON(worker_thread)
{
    struct collect_report done = {.reviewed = 0};
    struct error err = {0};
    int64_t next_due = 0;

    int result = step(collect, batch_limit(collect), &done, &next_due, &err);
    report_add(since, &done);
    if (result < 0) {
        report_failure("review", &err);
        rest(collect, FAILED_MS);
    } else if (next_due > clock_now_us()) {
        tell_log(since);
        rest(collect, rest_ms(collect, next_due));
    } else if (collect->rate > 0) {
        rest(collect, done.reviewed * 1000 / collect->rate + 1);
    }
}

static void *run(void *arg)
{
    struct collect *collect = arg;
    struct collect_report since = {.reviewed = 0};

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "collect");
    while (may_work(collect))
        work(collect, &since);
    return NULL;
}

int collect_open(struct storage *store, struct collect **out, struct error *err)
{
    const struct storage_options *options = &store->options;
    char state[2] = "";
    bool found = false;

    if (meta_state_get(store->meta, STATE_PAUSED, state, sizeof(state), &found, err) < 0)
        return -1;
    struct collect *collect = memory_new(sizeof(*collect));
    collect->store = store;
    collect->rate = options->collect_rate;
    collect->interval_ms =
        options->sweep_interval_ms == 0 ? INTERVAL_DEFAULT_MS : options->sweep_interval_ms;
    collect->paused = state[0] != 0;
    pthread_mutex_init(&collect->lock, NULL);
    clock_condition_init(&collect->wake);
    *out = collect;
    return 0;
}

void collect_start(struct collect *collect)
{
    int wanted = collect->store->options.collectors;

    if (wanted <= 0)
        wanted = THREADS_DEFAULT;
    if (wanted > THREADS_MAX)
        wanted = THREADS_MAX;
    while (collect->thread_count < wanted)
        if (pthread_create(&collect->threads[collect->thread_count++], NULL, run, collect) != 0)
            abort();
}

void collect_stop(struct collect *collect)
{
    pthread_mutex_lock(&collect->lock);
    collect->ending = true;
    pthread_cond_broadcast(&collect->wake);
    pthread_mutex_unlock(&collect->lock);
    while (collect->thread_count > 0)
        pthread_join(collect->threads[--collect->thread_count], NULL);
}

void collect_close(struct collect *collect)
{
    if (collect == NULL)
        return;
    collect_stop(collect);
    pthread_cond_destroy(&collect->wake);
    pthread_mutex_destroy(&collect->lock);
    free(collect);
}

/* --- a run --- */

struct collection {
    struct collect *collect;
    const struct progress *progress;
    struct collect_report *out;
};

static void collected(struct collection *run, const struct collect_report *part)
{
    report_add(run->out, part);
    tell(run->progress, part);
}

/* What ended by the clock makes more to review. */
static int run_expire(struct collection *run, struct error *err) ON(worker_thread)
{
    struct storage *store = run->collect->store;
    int64_t now = clock_now_us();
    bool more = true, ended = false;

    progress_phase(run->progress, "expire");
    upload_table_touch(store->uploads);
    while (more && !progress_cancelled(run->progress)) {
        if (sweep_upload(store, now, &ended, &more, err) < 0)
            return -1;
        const struct collect_report part = {.uploads = ended ? 1 : 0};
        collect_count(run->collect, &part);
        collected(run, &part);
    }
    for (more = true; more && !progress_cancelled(run->progress);)
        if (meta_holds_expire(store->meta, &more, err) < 0)
            return -1;
    for (more = true; more && !progress_cancelled(run->progress);)
        if (meta_untagged_queue(store->meta, &more, err) < 0)
            return -1;
    return 0;
}

static int run_review(struct collection *run, struct error *err) ON(worker_thread)
{
    int64_t next_due = 0;

    progress_phase(run->progress, "review");
    while (next_due <= clock_now_us() && !progress_cancelled(run->progress)) {
        struct collect_report part;
        if (step(run->collect, META_BATCH_MAX, &part, &next_due, err) < 0)
            return -1;
        collected(run, &part);
    }
    return 0;
}

static int run_sweep(struct collection *run, struct error *err) ON(worker_thread)
{
    bool more = true;

    progress_phase(run->progress, "sweep");
    while (more && !progress_cancelled(run->progress)) {
        struct collect_report part = {.trash_removed = 0};
        int result = trash_empty_some(run->collect->store, &part, &more, err);
        collect_count(run->collect, &part);
        collected(run, &part);
        if (result < 0)
            return -1;
    }
    return 0;
}

static int run_all(struct collection *run, struct error *err) ON(worker_thread)
{
    const struct blob_store *blobs = &run->collect->store->blobs;

    if (blobs->driver->space(blobs->self, &run->out->free_before, err) < 0 ||
        run_expire(run, err) < 0 || run_review(run, err) < 0 || run_sweep(run, err) < 0)
        return -1;
    return blobs->driver->space(blobs->self, &run->out->free_after, err);
}

/* The threads rest while any run goes on. */
static void runs_change(struct collect *collect, int by)
{
    pthread_mutex_lock(&collect->lock);
    collect->runs = (unsigned)((int)collect->runs + by);
    pthread_cond_broadcast(&collect->wake);
    pthread_mutex_unlock(&collect->lock);
}

static int preview(struct collect *collect, const struct progress *progress,
                   struct collect_report *out, struct error *err) ON(worker_thread)
{
    struct storage *store = collect->store;
    const struct blob_store *blobs = &store->blobs;

    progress_phase(progress, "review");
    if (blobs->driver->space(blobs->self, &out->free_before, err) < 0 ||
        meta_collect_preview(store->meta, progress, out, err) < 0)
        return -1;
    progress_phase(progress, "sweep");
    if (trash_measure(store, progress, out, err) < 0)
        return -1;
    tell(progress, out);
    out->free_after = out->free_before;
    return 0;
}

int storage_collect(struct storage *store, bool dry_run, const struct progress *progress,
                    struct collect_report *out, struct error *err)
{
    struct collection run = {store->collect, progress, out};

    *out = (struct collect_report){.reviewed = 0};
    if (dry_run)
        return preview(store->collect, progress, out, err);
    runs_change(store->collect, 1);
    int result = run_all(&run, err);
    runs_change(store->collect, -1);
    return result;
}

/* --- state --- */

int storage_collect_state(struct storage *store, struct collect_state *out, struct error *err)
{
    struct collect *collect = store->collect;
    struct meta_queue_counts counts;

    if (meta_collect_count(store->meta, &counts, err) < 0)
        return -1;
    *out = (struct collect_state){
        .candidates = counts.tasks,
        .due = counts.due,
        .oldest_due_at = counts.oldest_due_at,
        .leases = counts.tasks - counts.due,
        .trash = counts.trash,
        .trash_due = counts.trash_due,
        .oldest_trash_at = counts.oldest_trash_at,
        .held = trash_held(store),
    };
    pthread_mutex_lock(&collect->lock);
    out->paused = collect->paused;
    out->totals = collect->totals;
    pthread_mutex_unlock(&collect->lock);
    return 0;
}

int storage_collect_pause(struct storage *store, bool paused, struct error *err)
{
    struct collect *collect = store->collect;

    if (meta_state_put(store->meta, STATE_PAUSED, paused ? "1" : "", err) < 0)
        return -1;
    pthread_mutex_lock(&collect->lock);
    collect->paused = paused;
    pthread_cond_broadcast(&collect->wake);
    pthread_mutex_unlock(&collect->lock);
    return 0;
}

/* scrub.c - the thread that reads every blob again, slowly, all the time.
 * Touches  blobs (verified_at, damaged), server_state; bytes by way of check_blobs.c.
 * Never    moves or removes bytes: it marks what is damaged, a push heals it, the check moves it.
 *
 * A pass goes through the blobs by their ids and reads those that nobody has verified since it
 * began; the next one begins when the interval has passed. Where it stands is kept in server_state,
 * in the same transaction as the times of what it verified: it may be lost, and then some blobs are
 * read twice. It waits for the disk behind everybody else, and never reads faster than its rate. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "storage/check_internal.h"

enum {
    REST_MAX_MS = 60000,    /* the wall clock may be set */
    FAILED_MS = 10000,      /* rest after a failure */
    NOTE_US = 5 * US_PER_S, /* how often what was verified is written */
    WINDOW_US = US_PER_S,   /* of bytes a second */
    NICE = 10,
    IOPRIO_WHO_PROCESS = 1,
    IOPRIO_CLASS_IDLE = 3,
    IOPRIO_CLASS_SHIFT = 13
};

static const char STATE_SCRUB[] = "scrub"; /* "cursor started_at finished_at" */

struct scrub {
    struct storage *store; /* immutable */
    struct check_options options;
    struct progress progress;
    pthread_t thread;

    /* the thread's own */
    struct check check;
    struct check_report report;
    struct meta_verified verified[CHECK_ROWS];
    size_t verified_count;
    uint64_t noted_us;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool ending;
    bool wanted;    /* a pass from the first blob */
    int64_t cursor; /* of the pass: ids up to here have been passed */
    int64_t started_at, finished_at;
    uint64_t blobs, found;
    uint64_t pass_blobs, pass_bytes; /* when the pass began */
    uint64_t bytes;                  /* as of the last step, for the window */
    uint64_t window_us, window_bytes, bytes_per_second;
};

/* --- what the reading asks and tells --- */

/* The window moves on. Under the lock. */
static void measure(struct scrub *scrub, uint64_t now)
{
    uint64_t passed = now - scrub->window_us;

    scrub->bytes = scrub->report.bytes;
    if (passed < WINDOW_US)
        return;
    scrub->bytes_per_second = (scrub->bytes - scrub->window_bytes) * US_PER_S / passed;
    scrub->window_us = now;
    scrub->window_bytes = scrub->bytes;
}

/* Asked before each step of a blob. */
static bool is_ending(void *arg)
{
    struct scrub *scrub = arg;

    pthread_mutex_lock(&scrub->lock);
    measure(scrub, clock_monotonic_us());
    bool ending = scrub->ending;
    pthread_mutex_unlock(&scrub->lock);
    return ending;
}

static void found(void *arg, const struct check_finding *finding)
{
    struct scrub *scrub = arg;

    if (finding->kind == CHECK_BLOB_AWAITED)
        return;
    pthread_mutex_lock(&scrub->lock);
    scrub->found++;
    pthread_mutex_unlock(&scrub->lock);
    log_event(LOG_ERROR, "scrub.found", F_TEXT("kind", check_kind_name(finding->kind)),
              F_TEXT("digest", finding->digest), F_TEXT("repository", finding->repository),
              F_TEXT("locator", finding->object), F_TEXT("message", finding->sentence));
}

static void failed(const struct error *err)
{
    log_event(LOG_WARNING, "scrub.failed", F_TEXT("message", err->message),
              F_TEXT("cause", err->cause));
}

/* --- where it stands --- */

static bool is_running(const struct scrub *scrub)
{
    return scrub->started_at > scrub->finished_at;
}

/* False when the text is none of ours. */
static bool state_parse(const char *text, int64_t out[3])
{
    struct slice rest = slice_of(text), word;
    uint64_t value;

    for (int i = 0; i < 3; i++) {
        slice_split(rest, ' ', &word, &rest);
        if (!slice_to_u64(word, &value))
            return false;
        out[i] = (int64_t)value;
    }
    return rest.at == NULL;
}

static int state_read(struct scrub *scrub, struct error *err) ON(worker_thread)
{
    char text[80];
    int64_t state[3];
    bool there = false;

    if (meta_state_get(scrub->store->meta, STATE_SCRUB, text, sizeof(text), &there, err) < 0)
        return -1;
    if (there && state_parse(text, state)) {
        scrub->cursor = state[0];
        scrub->started_at = state[1];
        scrub->finished_at = state[2];
    }
    return 0;
}

/* With what was verified meanwhile. */
static int note(struct scrub *scrub, struct error *err) ON(worker_thread)
{
    char text[80];

    pthread_mutex_lock(&scrub->lock);
    snprintf(text, sizeof(text), "%" PRId64 " %" PRId64 " %" PRId64, scrub->cursor,
             scrub->started_at, scrub->finished_at);
    pthread_mutex_unlock(&scrub->lock);
    int result = meta_verified(scrub->store->meta, scrub->verified, scrub->verified_count,
                               STATE_SCRUB, text, err);
    scrub->verified_count = 0;
    scrub->noted_us = clock_monotonic_us();
    return result;
}

/* --- a pass --- */

static int pass_blob(struct scrub *scrub, const struct check_row *row, struct error *err)
    ON(worker_thread)
{
    int64_t known = row->verified_at > row->time ? row->verified_at : row->time;
    bool right = false;

    if (known < scrub->started_at) {
        if (check_blob(&scrub->check, row, &right, err) < 0)
            return -1;
        if (check_stopped(&scrub->check))
            return 0; /* it was not read to its end */
        if (right)
            scrub->verified[scrub->verified_count++] =
                (struct meta_verified){row->id, clock_now_us()};
    }
    pthread_mutex_lock(&scrub->lock);
    scrub->blobs += known < scrub->started_at;
    scrub->cursor = row->id;
    pthread_mutex_unlock(&scrub->lock);
    return 0;
}

static bool pass_goes_on(struct scrub *scrub)
{
    pthread_mutex_lock(&scrub->lock);
    bool goes_on = !scrub->ending && !scrub->wanted;
    pthread_mutex_unlock(&scrub->lock);
    return goes_on;
}

/* At most CHECK_ROWS, so that what was verified has room. *end: the last blob was passed. */
static int pass_page(struct scrub *scrub, bool *end, struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) struct check_row *rows = memory_new(CHECK_ROWS * sizeof(*rows));
    size_t count = 0, done = 0;

    if (meta_check_blobs(scrub->store->meta, scrub->cursor, rows, &count, err) < 0)
        return -1;
    for (; done < count && pass_goes_on(scrub); done++) {
        if (pass_blob(scrub, &rows[done], err) < 0)
            return -1;
        if (clock_monotonic_us() - scrub->noted_us > NOTE_US && note(scrub, err) < 0)
            return -1;
    }
    *end = done == count && count < CHECK_ROWS;
    return note(scrub, err);
}

static int pass_begin(struct scrub *scrub, struct error *err) ON(worker_thread)
{
    pthread_mutex_lock(&scrub->lock);
    scrub->wanted = false;
    scrub->cursor = 0;
    scrub->started_at = clock_now_us();
    if (scrub->finished_at >= scrub->started_at) /* the clock was set back */
        scrub->finished_at = scrub->started_at - 1;
    scrub->pass_blobs = scrub->blobs;
    scrub->pass_bytes = scrub->report.bytes;
    pthread_mutex_unlock(&scrub->lock);
    return note(scrub, err);
}

static int pass_end(struct scrub *scrub, struct error *err) ON(worker_thread)
{
    pthread_mutex_lock(&scrub->lock);
    scrub->finished_at = clock_now_us();
    if (scrub->finished_at <= scrub->started_at) /* the clock was set back */
        scrub->finished_at = scrub->started_at;
    scrub->cursor = 0;
    pthread_mutex_unlock(&scrub->lock);
    log_event(LOG_INFO, "scrub.finished", F_U64("blobs", scrub->blobs - scrub->pass_blobs),
              F_U64("bytes", scrub->report.bytes - scrub->pass_bytes));
    return note(scrub, err);
}

/* Forever fits. */
static int64_t interval_us(const struct scrub *scrub)
{
    const uint64_t forever = (uint64_t)INT64_MAX / 4 / 1000;
    uint64_t ms = scrub->store->options.scrub_interval_ms;

    return (int64_t)(ms < forever ? ms : forever) * 1000;
}

static int64_t next_at(const struct scrub *scrub)
{
    return scrub->started_at == 0 ? 0 : scrub->started_at + interval_us(scrub);
}

/* Bounded work. *rest_ms: how long there is nothing to do. */
static int step(struct scrub *scrub, uint64_t *rest_ms, struct error *err) ON(worker_thread)
{
    int64_t now = clock_now_us();
    bool end = false;

    pthread_mutex_lock(&scrub->lock);
    bool begins = scrub->wanted || (!is_running(scrub) && now >= next_at(scrub));
    bool runs = is_running(scrub);
    int64_t wait_us = next_at(scrub) - now;
    pthread_mutex_unlock(&scrub->lock);
    *rest_ms = 0;
    if (begins)
        return pass_begin(scrub, err);
    if (!runs) {
        *rest_ms = wait_us / 1000 < REST_MAX_MS ? (uint64_t)wait_us / 1000 + 1 : REST_MAX_MS;
        return 0;
    }
    if (pass_page(scrub, &end, err) < 0)
        return -1;
    return end ? pass_end(scrub, err) : 0;
}

/* --- the thread --- */

static void rest(struct scrub *scrub, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&scrub->lock);
    while (!scrub->ending && !scrub->wanted && waited == 0)
        waited = pthread_cond_timedwait(&scrub->wake, &scrub->lock, &until);
    pthread_mutex_unlock(&scrub->lock);
}

/* Behind everybody else where the kernel knows such a thing; no matter where it does not. */
static void give_way(void)
{
    pthread_setname_np(pthread_self(), "scrub");
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT);
}

static void *run(void *arg)
{
    struct scrub *scrub = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    give_way();
    while (!is_ending(scrub)) {
        struct error err = {0};
        uint64_t rest_ms = 0;
        if (step(scrub, &rest_ms, &err) < 0) {
            failed(&err);
            rest_ms = FAILED_MS;
        }
        if (rest_ms > 0)
            rest(scrub, rest_ms);
    }
    return NULL;
}

struct scrub *scrub_open(struct storage *store)
{
    struct error err = {0};

    if (store->options.scrub_rate == 0)
        return NULL;
    struct scrub *scrub = memory_new(sizeof(*scrub));
    scrub->store = store;
    scrub->options = (struct check_options){.deep = true, .rate = store->options.scrub_rate};
    scrub->progress = (struct progress){.cancelled = is_ending, .arg = scrub};
    scrub->check = (struct check){
        .store = store,
        .options = &scrub->options,
        .progress = &scrub->progress,
        .tell = found,
        .arg = scrub,
        .report = &scrub->report,
        .pace = {.rate = scrub->options.rate, .stopped = check_stopped, .arg = &scrub->check},
        .marks = true};
    pthread_mutex_init(&scrub->lock, NULL);
    clock_condition_init(&scrub->wake);
    if (state_read(scrub, &err) < 0)
        failed(&err); /* then the pass begins anew */
    if (pthread_create(&scrub->thread, NULL, run, scrub) != 0)
        abort();
    return scrub;
}

void scrub_close(struct scrub *scrub)
{
    if (scrub == NULL)
        return;
    pthread_mutex_lock(&scrub->lock);
    scrub->ending = true;
    pthread_cond_signal(&scrub->wake);
    pthread_mutex_unlock(&scrub->lock);
    pthread_join(scrub->thread, NULL);
    pthread_cond_destroy(&scrub->wake);
    pthread_mutex_destroy(&scrub->lock);
    free(scrub);
}

/* --- asked from outside --- */

int storage_scrub_status(struct storage *store, struct scrub_status *out, struct error *err)
{
    struct scrub *scrub = store->scrub;

    *out = (struct scrub_status){.rate = store->options.scrub_rate};
    if (meta_scrub_counts(store->meta, &out->damaged, &out->total, err) < 0)
        return -1;
    if (scrub == NULL)
        return 0;
    pthread_mutex_lock(&scrub->lock);
    out->running = is_running(scrub) || scrub->wanted;
    out->position = (uint64_t)scrub->cursor;
    out->started_at = scrub->started_at;
    out->finished_at = scrub->finished_at;
    out->next_at = next_at(scrub);
    out->bytes_per_second = out->running ? scrub->bytes_per_second : 0;
    out->blobs = scrub->blobs;
    out->bytes = scrub->bytes;
    out->found = scrub->found;
    pthread_mutex_unlock(&scrub->lock);
    return 0;
}

int storage_scrub_run(struct storage *store, struct error *err)
{
    struct scrub *scrub = store->scrub;

    if (scrub == NULL)
        return error_set(err, ERROR_CONFLICT, "the scrub is off: scrub.rate is 0");
    pthread_mutex_lock(&scrub->lock);
    scrub->wanted = true;
    pthread_cond_signal(&scrub->wake);
    pthread_mutex_unlock(&scrub->lock);
    return 0;
}

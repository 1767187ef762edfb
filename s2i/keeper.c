/* keeper.c - what is done for builds now and then: old rows, logs and archives go, what waited too
 * long ends, builders that moved start builds, ends that nobody told are noticed.
 * Touches  rows of builds, pins of theirs, files below <root>/builds; threads of its own.
 * Never    removes a build that has not ended, or what it needs.
 *
 * (1) A row goes first, its files after it: what a crash leaves is a file without a row, which the
 *     sweep of the next start finds. Spec: s2i 13.47, 16.14 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "registry/core/start.h"
#include "s2i/queue.h"

enum {
    TICK_MS = 2000,
    PRUNE_TICKS = 30, /* when a build ended since, and once an hour at least */
    PRUNE_ANYWAY_TICKS = 30 * 60,
    SWEEP_TICKS = 30 * 60 * 6,
    PRUNE_BATCH = 100,
    EXPIRE_BATCH = 1000,
    THREADS = 2, /* triggers have their own: a rebase may read many layers */
};

struct keeper {
    struct builds *builds;
    pthread_t threads[THREADS];
    unsigned thread_count;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool closing, ended;
};

/* --- files --- */

/* Whether the row of the build is there; *record is it then. What cannot be asked counts as there.
 */
static bool has_row(const struct builds *builds, int64_t id, struct build_record *record)
    ON(worker_thread)
{
    struct error err = {0};

    return build_find(builds->storage, id, record, &err) == 0 || err.code != ERROR_NOT_FOUND;
}

/* The number a name begins with, *rest behind it; 0: none. */
static int64_t id_of(const char *name, const char **rest)
{
    uint64_t id = 0;
    size_t digits = strspn(name, "0123456789");

    *rest = name + digits;
    return slice_to_u64((struct slice){name, digits}, &id) ? (int64_t)id : 0;
}

static void sweep_archive(struct builds *builds, const char *name) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    const char *rest;
    int64_t id = id_of(name, &rest);

    if (id == 0)
        return;
    bool known = has_row(builds, id, &record);
    if (known && (rest[0] == 0 || !build_state_ended(record.state)))
        return;
    buffer_print(&path, "%s/%s", builds->archives, name);
    unlink(path.at);
}

static void sweep_log(struct builds *builds, const char *name) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    const char *rest;
    int64_t id = id_of(name, &rest);

    if (id != 0 && !has_row(builds, id, &record))
        build_log_remove(builds->logs, id);
}

static void sweep(struct builds *builds, const char *path,
                  void (*one)(struct builds *builds, const char *name))
{
    OWNED(folder_drop) DIR *folder = opendir(path);
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL)
        one(builds, entry->d_name);
}

void keeper_sweep_archives(struct builds *builds)
{
    sweep(builds, builds->archives, sweep_archive);
}

void keeper_sweep_logs(struct builds *builds)
{
    sweep(builds, builds->log_folder, sweep_log);
}

/* --- rows --- */

static int64_t age_limit(const struct config *config)
{
    uint64_t now_ms = (uint64_t)clock_now_us() / 1000;

    return config->builds_keep_for >= now_ms ? 0
                                             : (int64_t)(now_ms - config->builds_keep_for) * 1000;
}

/* (1). How many went; -1 failed. */
static ssize_t prune_some(struct builds *builds) ON(worker_thread)
{
    const struct config *config = builds->config;
    OWNED(memory_drop) int64_t *ids = NULL;
    struct error err = {0};
    size_t count = 0;

    if (build_prune(builds->storage, config->builds_keep_complete, config->builds_keep_failed,
                    age_limit(config), PRUNE_BATCH, &ids, &count, &err) < 0) {
        log_event(LOG_WARNING, "build.unpruned", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        build_log_remove(builds->logs, ids[i]);
        builds_archive_remove(builds, ids[i]);
    }
    return (ssize_t)count;
}

void keeper_prune(struct builds *builds)
{
    while (prune_some(builds) > 0)
        ;
    builds_archives_trim(builds);
}

void keeper_expire(struct builds *builds)
{
    OWNED(memory_drop) int64_t *ids = NULL;
    struct error err = {0};
    size_t count = 0;

    if (build_expire(builds->storage, EXPIRE_BATCH, &ids, &count, &err) < 0)
        log_event(LOG_WARNING, "build.unexpired", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
    for (size_t i = 0; i < count; i++)
        queue_ended(builds->queue, ids[i]);
}

/* --- the threads --- */

static bool closing(void *arg)
{
    struct keeper *keeper = arg;

    pthread_mutex_lock(&keeper->lock);
    bool yes = keeper->closing;
    pthread_mutex_unlock(&keeper->lock);
    return yes;
}

/* False when keeper_close wants the end. */
static bool rest(struct keeper *keeper, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&keeper->lock);
    while (!keeper->closing && waited == 0)
        waited = pthread_cond_timedwait(&keeper->wake, &keeper->lock, &until);
    pthread_mutex_unlock(&keeper->lock);
    return !closing(keeper);
}

static bool take_ended(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    bool ended = keeper->ended;
    keeper->ended = false;
    pthread_mutex_unlock(&keeper->lock);
    return ended;
}

static void tick(struct keeper *keeper, uint64_t at) ON(worker_thread)
{
    struct builds *builds = keeper->builds;

    queue_watch(builds->queue);
    keeper_expire(builds);
    waiters_look(builds->waiters);
    if (at % SWEEP_TICKS == 0) {
        keeper_sweep_archives(builds);
        keeper_sweep_logs(builds);
        sources_sweep(builds);
        images_sweep_pins(builds);
    }
    if (at % PRUNE_ANYWAY_TICKS == 0 || (at % PRUNE_TICKS == 0 && take_ended(keeper)))
        keeper_prune(builds);
}

static void *work(void *arg)
{
    struct keeper *keeper = arg;
    uint64_t at = 0;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "builds");
    do
        tick(keeper, at++);
    while (rest(keeper, TICK_MS));
    return NULL;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void *watch(void *arg)
{
    struct keeper *keeper = arg;
    struct builds *builds = keeper->builds;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-triggers");
    do
        trigger_images(builds, closing, keeper);
    while (rest(keeper, larger(TICK_MS, builds->config->builds_trigger_interval)));
    return NULL;
}

struct keeper *keeper_open(struct builds *builds)
{
    struct keeper *keeper = memory_new(sizeof(*keeper));

    keeper->builds = builds;
    pthread_mutex_init(&keeper->lock, NULL);
    clock_condition_init(&keeper->wake);
    return keeper;
}

static int thread_add(struct keeper *keeper, void *(*run)(void *), struct error *err)
{
    if (thread_start(&keeper->threads[keeper->thread_count], run, keeper, err) < 0)
        return -1;
    keeper->thread_count++;
    return 0;
}

int keeper_start(struct keeper *keeper, struct error *err)
{
    if (thread_add(keeper, work, err) < 0)
        return -1;
    return keeper->builds->link == NULL ? 0 : thread_add(keeper, watch, err);
}

void keeper_ended(struct keeper *keeper)
{
    pthread_mutex_lock(&keeper->lock);
    keeper->ended = true;
    pthread_mutex_unlock(&keeper->lock);
}

void keeper_close(struct keeper *keeper)
{
    if (keeper == NULL)
        return;
    pthread_mutex_lock(&keeper->lock);
    keeper->closing = true;
    pthread_cond_broadcast(&keeper->wake);
    pthread_mutex_unlock(&keeper->lock);
    for (unsigned i = 0; i < keeper->thread_count; i++)
        pthread_join(keeper->threads[i], NULL);
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->lock);
    free(keeper);
}

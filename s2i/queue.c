/* queue.c - threads that claim rows and run them as builds.
 * Touches  rows of builds, their logs, threads of its own.
 * Never    decides which row is next (build_claim); knows what a build does.
 *
 *   claimed --> RUNNING, in the list --run() returned--> row ended --> out of the list, told
 *
 * (1) Whoever makes a row that can run, or ends one, says so after its commit: `look`. One thread
 *     at a time looks; it says so again when it found something. So none is overlooked, and a crowd
 *     of threads does not ask the database the same.
 * (2) A build is in the list from before its claim can be seen (a claim in progress counts) until
 *     after its end is in its row: who cancels finds it in one of the two.
 * (3) An end that cannot be recorded (the disk is full) is tried again until it is, or the queue
 *     closes: then the row is one that was interrupted. */
#include "s2i/queue.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"

enum {
    ROOM_MS = 100,   /* how often builders are asked whether they have room */
    AGAIN_MS = 3000, /* after a failure of the database */
    CANCEL_TRIES = 8,
};

struct queue {
    struct queue_options with;
    pthread_t *threads;
    unsigned thread_count;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work, changed;
    bool closing;
    bool look;     /* (1) */
    bool looking;  /* a thread is at it */
    bool claiming; /* (2) */
    struct running *list;
    unsigned running, plans;
};

/* --- what runs --- */

struct running *running_new(struct builds *builds, struct build_record *record)
{
    struct running *running = memory_new(sizeof(*running));

    running->task.builds = builds;
    running->task.record = *record;
    *record = (struct build_record){.id = 0};
    running->task.archive = -1;
    running->task.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return running;
}

void running_drop(struct running **running)
{
    if (*running == NULL)
        return;
    struct build_task *task = &(*running)->task;
    fd_drop(&task->wake);
    fd_drop(&task->archive);
    s2i_options_drop(&task->options);
    build_record_drop(&task->record);
    free(*running);
    *running = NULL;
}

/* Under lock. The first who wants it stays. */
static void stop(struct running *running, bool closing, struct slice by, struct slice why)
{
    const uint64_t one = 1;

    if (running->stopped)
        return;
    running->stopped = true;
    running->closing = closing;
    snprintf(running->by, sizeof(running->by), "%.*s", SLICE_ARG(by));
    snprintf(running->why, sizeof(running->why), "%.*s", SLICE_ARG(why));
    if (write(running->task.wake, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN || errno == EBADF); /* it is awake, or there is nothing to wake */
}

bool build_task_stopped(const struct build_task *task, char reason[64], char by[256])
{
    const struct running *running = (const struct running *)(const void *)task;
    struct queue *queue = task->builds->queue;

    pthread_mutex_lock(&queue->lock);
    bool stopped = running->stopped;
    snprintf(reason, 64, "%s", stopped && !running->closing ? "CancelledBuild" : "");
    snprintf(by, 256, "%s%s%.50s", running->by, running->why[0] == 0 ? "" : ": ", running->why);
    pthread_mutex_unlock(&queue->lock);
    return stopped;
}

/* Under lock. */
static struct running *find_running(struct queue *queue, int64_t id)
{
    for (struct running *at = queue->list; at != NULL; at = at->next)
        if (at->task.record.id == id)
            return at;
    return NULL;
}

/* Under lock. */
static unsigned *counter_of(struct queue *queue, const struct running *running)
{
    return running->task.record.id == 0 ? &queue->plans : &queue->running;
}

/* Under lock. */
static void list_add(struct queue *queue, struct running *running)
{
    running->next = queue->list;
    queue->list = running;
    ++*counter_of(queue, running);
}

int queue_enter(struct queue *queue, struct running *running, unsigned plans_max, struct error *err)
{
    int status = 0;

    pthread_mutex_lock(&queue->lock);
    if (queue->closing)
        status = error_set(err, ERROR_UNAVAILABLE, "the server ends");
    else if (queue->plans >= plans_max)
        status = error_set(err, ERROR_TOOMANYREQUESTS, "%u plans are being made", plans_max);
    else
        list_add(queue, running);
    pthread_mutex_unlock(&queue->lock);
    return status;
}

void queue_leave(struct queue *queue, struct running *running)
{
    struct running **at = &queue->list;

    pthread_mutex_lock(&queue->lock);
    while (*at != running)
        at = &(*at)->next;
    *at = running->next;
    --*counter_of(queue, running);
    queue->look = true; /* (1): the next of its repository */
    pthread_cond_signal(&queue->work);
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void queue_look(struct queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->look = true;
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
}

void queue_ended(struct queue *queue, int64_t id)
{
    queue->with.ended(queue->with.builds, id);
}

/* --- one build --- */

static void fail(struct build_outcome *out, const struct error *err)
{
    *out = (struct build_outcome){.state = BUILD_ERROR, .exit_code = -1};
    snprintf(out->reason, sizeof(out->reason), "GenericS2IBuildFailed");
    snprintf(out->message, sizeof(out->message), "%s", err->message);
}

static int begin_log(struct queue *queue, struct build_task *task, struct error *err)
    ON(worker_thread)
{
    OWNED(s2i_list_wipe) struct s2i_list masks = {0};

    if (masks_read(task, &masks, err) < 0)
        return -1;
    OWNED(memory_drop) struct slice *secrets = memory_new((masks.count + 1) * sizeof(*secrets));
    for (size_t i = 0; i < masks.count; i++)
        secrets[i] = slice_of(masks.items[i]);
    return build_log_begin(task->builds->logs, task->record.id, queue->with.log_max, secrets,
                           masks.count, &task->log, err);
}

static void perform(struct queue *queue, struct build_task *task, struct build_outcome *out)
    ON(worker_thread)
{
    struct error err = {0};

    if (task->wake < 0)
        error_set(&err, ERROR_UNAVAILABLE, "no descriptor for the build");
    else if (build_spec_read(task->record.spec, &task->options, &task->hold_tags, &err) == 0 &&
             begin_log(queue, task, &err) == 0) {
        queue->with.run(task, out);
        return;
    }
    fail(out, &err);
}

/* What the server's end cut off stays in its row as it is. */
static bool cut_off(const struct running *running, const struct build_outcome *out)
{
    return running->closing && out->state == BUILD_ERROR && out->reason[0] == 0;
}

static int record_end(struct queue *queue, const struct running *running,
                      const struct build_outcome *out, int64_t log_size, struct error *err)
    ON(worker_thread)
{
    const struct build_task *task = &running->task;
    char digest[DIGEST_TEXT_MAX] = "";

    if (digest_is_set(&out->result))
        digest_text(&out->result, digest);
    const struct build_end end = {
        .id = task->record.id,
        .epoch = task->record.epoch,
        .state = out->state,
        .reason = slice_of(out->reason),
        .message = slice_of(out->message),
        .stages = buffer_slice(&out->stages),
        .facts = buffer_slice(&out->facts),
        .result_digest = slice_of(digest),
        .ended_by = slice_of(out->state == BUILD_CANCELLED ? running->by : ""),
        .exit_code = out->exit_code,
        .layer_size = out->layer_size,
        .log_size = log_size,
    };
    if (build_finish(queue->with.builds->storage, &end, err) == 0)
        return 0;
    if (err->code == ERROR_CONFLICT || err->code == ERROR_NOT_FOUND) {
        error_clear(err); /* its repository was deleted, with what it would say */
        return 0;
    }
    return -1;
}

/* False when the queue closes. */
static bool pause_ms(struct queue *queue, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&queue->lock);
    while (!queue->closing && waited == 0)
        waited = pthread_cond_timedwait(&queue->changed, &queue->lock, &until);
    bool open = !queue->closing;
    pthread_mutex_unlock(&queue->lock);
    return open;
}

/* (3). True when its row says that it has ended. */
static bool conclude(struct queue *queue, const struct running *running,
                     const struct build_outcome *out, int64_t log_size) ON(worker_thread)
{
    struct error err = {0};

    if (cut_off(running, out))
        return false;
    while (record_end(queue, running, out, log_size, &err) < 0) {
        log_event(LOG_ERROR, "build.unrecorded", F_I64("id", running->task.record.id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
        error_clear(&err);
        if (!pause_ms(queue, AGAIN_MS))
            return false;
    }
    return true;
}

static int64_t end_log(struct build_task *task)
{
    struct error err = {0};
    int64_t size = 0;

    if (task->log == NULL)
        return 0;
    size = (int64_t)build_log_size(task->log);
    if (build_log_end(TAKE(task->log), &err) < 0)
        log_event(LOG_WARNING, "build.log", F_I64("id", task->record.id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
    return size;
}

/* The image is here: its source is needed no more. */
static void archive_end(const struct build_task *task, const struct build_outcome *out)
{
    OWNED(memory_drop) char *path = NULL;

    if (task->record.source != BUILD_FROM_ARCHIVE || out->state != BUILD_COMPLETE)
        return;
    path = build_archive_path(task->builds, task->record.id);
    unlink(path);
}

static void log_end(const struct build_task *task, const struct build_outcome *out)
{
    log_event(out->state == BUILD_ERROR ? LOG_WARNING : LOG_INFO, "build.ended",
              F_I64("id", task->record.id), F_TEXT("repository", task->record.repository),
              F_TEXT("state", build_state_name(out->state)), F_TEXT("reason", out->reason));
}

static void run_one(struct queue *queue, struct running *running) ON(worker_thread)
{
    OWNED(build_outcome_drop)
    struct build_outcome out = {.state = BUILD_ERROR, .exit_code = -1};
    struct build_task *task = &running->task;
    const int64_t id = task->record.id;

    log_event(LOG_INFO, "build.started", F_I64("id", id),
              F_TEXT("repository", task->record.repository), F_TEXT("actor", task->record.actor));
    perform(queue, task, &out);
    int64_t log_size = end_log(task);
    bool ended = conclude(queue, running, &out, log_size);
    if (ended) {
        log_end(task, &out);
        archive_end(task, &out);
    }
    queue_leave(queue, running); /* (2) */
    if (ended)
        queue_ended(queue, id);
    if (ended && out.state == BUILD_COMPLETE)
        attest_publish(queue->with.builds, &out.attestations);
}

/* --- threads --- */

/* Under lock. True with the right to look; false: the queue closes. */
static bool wait_for_work(struct queue *queue)
{
    while (!queue->closing && (!queue->look || queue->looking))
        pthread_cond_wait(&queue->work, &queue->lock);
    if (queue->closing)
        return false;
    queue->looking = true;
    while (!queue->closing && queue->running >= queue->with.room(queue->with.builds)) {
        const struct timespec until = clock_monotonic_after(ROOM_MS);
        pthread_cond_timedwait(&queue->changed, &queue->lock, &until);
    }
    return !queue->closing;
}

/* (1) and (2). NULL: there is none. */
static struct running *claim(struct queue *queue) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct running *running = NULL;
    struct error err = {0};
    bool found = false;

    int status = build_claim(queue->with.builds->storage, queue->with.each, &record, &found, &err);
    if (status < 0)
        log_event(LOG_ERROR, "build.unclaimed", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
    if (found)
        running = running_new(queue->with.builds, &record);
    pthread_mutex_lock(&queue->lock);
    if (found)
        list_add(queue, running);
    if (found && queue->closing)
        stop(running, true, SLICE_NONE, SLICE_NONE);
    queue->claiming = queue->looking = false;
    queue->look = queue->look || found || status < 0;
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
    if (status < 0)
        pause_ms(queue, AGAIN_MS);
    return running;
}

static void *work(void *arg)
{
    struct queue *queue = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build");
    pthread_mutex_lock(&queue->lock);
    while (wait_for_work(queue)) {
        queue->look = false;
        queue->claiming = true;
        pthread_mutex_unlock(&queue->lock);
        OWNED(running_drop) struct running *running = claim(queue);
        if (running != NULL)
            run_one(queue, running);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

/* --- stopping --- */

/* (2). False when it does not run. */
static bool stop_running(struct queue *queue, int64_t id, struct slice by, struct slice why)
{
    struct running *running;

    pthread_mutex_lock(&queue->lock);
    while ((running = find_running(queue, id)) == NULL && queue->claiming)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (running != NULL)
        stop(running, false, by, why);
    pthread_mutex_unlock(&queue->lock);
    return running != NULL;
}

/* Spec: s2i 13.44. Between the two looks it may begin, or end: then the next one knows. */
int queue_cancel(struct queue *queue, int64_t id, struct slice actor, struct slice why,
                 const struct audit_event *event, struct error *err)
{
    struct builds *builds = queue->with.builds;
    bool running = true;

    for (int i = 0; i < CANCEL_TRIES; i++) {
        if (build_cancel(builds->storage, id, actor, why, i == 0 ? event : NULL, &running, err) < 0)
            return -1;
        if (!running)
            queue_ended(queue, id);
        if (!running || stop_running(queue, id, actor, why))
            return 0;
    }
    return error_set(err, ERROR_UNAVAILABLE, "build %lld is about to end", (long long)id);
}

struct seen_running {
    int64_t id, epoch;
};

static size_t list_copy(struct queue *queue, struct seen_running **out)
{
    size_t count = 0;

    pthread_mutex_lock(&queue->lock);
    *out = memory_new((queue->running + 1) * sizeof(**out));
    for (const struct running *at = queue->list; at != NULL; at = at->next)
        if (at->task.record.id != 0)
            (*out)[count++] = (struct seen_running){at->task.record.id, at->task.record.epoch};
    pthread_mutex_unlock(&queue->lock);
    return count;
}

void queue_watch(struct queue *queue)
{
    OWNED(memory_drop) struct seen_running *list = NULL;
    size_t count = list_copy(queue, &list);

    for (size_t i = 0; i < count; i++) {
        OWNED(build_record_drop) struct build_record record = {.id = 0};
        struct error err = {0};
        int found = build_find(queue->with.builds->storage, list[i].id, &record, &err);
        if (found < 0 ? err.code == ERROR_NOT_FOUND
                      : build_state_ended(record.state) || record.epoch != list[i].epoch)
            stop_running(queue, list[i].id, SLICE("the server"),
                         SLICE("its repository was deleted"));
    }
}

/* --- open and close --- */

int queue_open(struct queue **out, const struct queue_options *options, struct error *err)
{
    struct queue *queue = memory_new(sizeof(*queue));

    queue->with = *options;
    queue->look = true; /* what an earlier process left */
    pthread_mutex_init(&queue->lock, NULL);
    clock_condition_init(&queue->work);
    clock_condition_init(&queue->changed);
    queue->threads = memory_new((options->threads + 1) * sizeof(*queue->threads));
    *out = queue;
    options->builds->queue = queue; /* before a thread looks for it */
    while (queue->thread_count < options->threads) {
        if (pthread_create(&queue->threads[queue->thread_count], NULL, work, queue) != 0)
            return error_set(err, ERROR_UNAVAILABLE, "no threads for builds");
        queue->thread_count++;
    }
    return 0;
}

void queue_stop(struct queue *queue)
{
    if (queue == NULL)
        return;
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    for (struct running *at = queue->list; at != NULL; at = at->next)
        stop(at, true, SLICE_NONE, SLICE_NONE);
    pthread_cond_broadcast(&queue->work);
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    for (unsigned i = 0; i < queue->thread_count; i++)
        pthread_join(queue->threads[i], NULL);
    queue->thread_count = 0;
    pthread_mutex_lock(&queue->lock);
    while (queue->list != NULL) /* plans */
        pthread_cond_wait(&queue->changed, &queue->lock);
    pthread_mutex_unlock(&queue->lock);
}

void queue_close(struct queue *queue)
{
    if (queue == NULL)
        return;
    pthread_cond_destroy(&queue->work);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    free(queue->threads);
    free(queue);
}

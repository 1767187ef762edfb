/* running.c - what runs: builds, and plans that have no row; how it is found, and stopped.
 * Touches  the queue's list, under its lock; rows of builds (cancelled ones).
 * Never    ends a build that runs: it is asked to stop, and its thread ends it.
 *
 * Numbers in brackets: queue_internal.h. */
#include "s2i/queue_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "registry/core/fd.h"

enum { CANCEL_TRIES = 8 };

/* --- the list --- */

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

void running_stop(struct running *running, bool closing, struct slice by, struct slice why)
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

void running_add(struct queue *queue, struct running *running)
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
        running_add(queue, running);
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

/* --- stopping --- */

/* (2). False when it does not run. */
static bool stop_running(struct queue *queue, int64_t id, struct slice by, struct slice why)
{
    struct running *running;

    pthread_mutex_lock(&queue->lock);
    while ((running = find_running(queue, id)) == NULL && queue->claiming)
        pthread_cond_wait(&queue->changed, &queue->lock);
    if (running != NULL)
        running_stop(running, false, by, why);
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

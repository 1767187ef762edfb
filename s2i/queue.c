/* queue.c - threads that claim rows and run them as builds.
 * Touches  rows of builds, threads of its own.
 * Never    decides which row is next (build_claim); knows what a build does.
 *
 * Numbers in brackets: queue_internal.h. */
#include "s2i/queue_internal.h"

#include <stdlib.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/core/start.h"

enum { ROOM_MS = 100 }; /* how often builders are asked whether they have room */

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

bool queue_pause(struct queue *queue, uint64_t ms)
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
        running_add(queue, running);
    if (found && queue->closing)
        running_stop(running, true, SLICE_NONE, SLICE_NONE);
    queue->claiming = queue->looking = false;
    queue->look = queue->look || found || status < 0;
    pthread_cond_broadcast(&queue->changed);
    pthread_cond_signal(&queue->work);
    pthread_mutex_unlock(&queue->lock);
    if (status < 0)
        queue_pause(queue, QUEUE_AGAIN_MS);
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
            queue_perform(queue, running);
        pthread_mutex_lock(&queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
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
        if (thread_start(&queue->threads[queue->thread_count], work, queue, err) < 0)
            return -1;
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
        running_stop(at, true, SLICE_NONE, SLICE_NONE);
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

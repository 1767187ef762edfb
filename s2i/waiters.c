/* waiters.c - who wants to know that a build has ended.
 * Touches  memory, rows of builds (reads), a thread of its own.
 * Never    ends a build.
 *
 * (1) Each is told once: it leaves the list under the lock, then is called. */
#include "s2i/queue.h"

#include <stdlib.h>

#include "registry/core/clock.h"
#include "registry/core/start.h"
#include "storage/builds.h"

enum { AGAIN_MS = 1000 };

struct waiter {
    struct waiter *next;
    int64_t id;
    void (*ended)(void *arg, const struct build_record *record);
    void *arg;
};

struct waiters {
    struct storage *storage;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t wake;
    struct waiter *list;
    int64_t *ids; /* to look at */
    size_t count, capacity;
    bool closing;
};

/* Under lock. */
static void look_at(struct waiters *waiters, int64_t id)
{
    for (size_t i = 0; i < waiters->count; i++)
        if (waiters->ids[i] == id)
            return;
    if (waiters->count == waiters->capacity) {
        waiters->capacity = waiters->capacity == 0 ? 16 : waiters->capacity * 2;
        waiters->ids = memory_resize(waiters->ids, waiters->capacity * sizeof(*waiters->ids));
    }
    waiters->ids[waiters->count++] = id;
    pthread_cond_signal(&waiters->wake);
}

/* Under lock. Those of the build (0: all) leave the list. */
static struct waiter *detach(struct waiters *waiters, int64_t id)
{
    struct waiter *found = NULL, **at = &waiters->list;

    while (*at != NULL) {
        struct waiter *waiter = *at;
        if (id != 0 && waiter->id != id) {
            at = &waiter->next;
            continue;
        }
        *at = waiter->next;
        waiter->next = found;
        found = waiter;
    }
    return found;
}

/* Consumes the list. */
static void call(struct waiter *list, const struct build_record *record)
{
    while (list != NULL) {
        struct waiter *next = list->next;
        list->ended(list->arg, record);
        free(list);
        list = next;
    }
}

/* A build whose row is gone ended long ago. */
static void record_gone(struct build_record *record, int64_t id)
{
    char **const texts[] = {
        &record->repository, &record->trigger, &record->actor,     &record->url,
        &record->ref,        &record->commit,  &record->builder,   &record->builder_digest,
        &record->spec,       &record->tags,    &record->stages,    &record->facts,
        &record->reason,     &record->message, &record->input_key, &record->result_digest,
        &record->ended_by,   &record->left_by,
    };

    *record = (struct build_record){.id = id, .state = BUILD_ERROR, .exit_code = -1};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = memory_text(SLICE(""));
}

/* False: ask again later. */
static bool look(struct waiters *waiters, int64_t id) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct error err = {0};

    if (build_find(waiters->storage, id, &record, &err) < 0) {
        if (err.code != ERROR_NOT_FOUND)
            return false;
        record_gone(&record, id);
    }
    if (!build_state_ended(record.state))
        return true;
    pthread_mutex_lock(&waiters->lock);
    struct waiter *list = detach(waiters, id); /* (1) */
    pthread_mutex_unlock(&waiters->lock);
    call(list, &record);
    return true;
}

/* Under lock. */
static void rest(struct waiters *waiters)
{
    const struct timespec until = clock_monotonic_after(AGAIN_MS);
    int waited = 0;

    while (!waiters->closing && waited == 0)
        waited = pthread_cond_timedwait(&waiters->wake, &waiters->lock, &until);
}

static void *work(void *arg)
{
    struct waiters *waiters = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-end");
    pthread_mutex_lock(&waiters->lock);
    while (!waiters->closing) {
        if (waiters->count == 0) {
            pthread_cond_wait(&waiters->wake, &waiters->lock);
            continue;
        }
        int64_t id = waiters->ids[--waiters->count];
        pthread_mutex_unlock(&waiters->lock);
        bool done = look(waiters, id);
        pthread_mutex_lock(&waiters->lock);
        if (!done) {
            look_at(waiters, id);
            rest(waiters);
        }
    }
    pthread_mutex_unlock(&waiters->lock);
    return NULL;
}

void waiters_tell(struct waiters *waiters, int64_t id)
{
    pthread_mutex_lock(&waiters->lock);
    look_at(waiters, id);
    pthread_mutex_unlock(&waiters->lock);
}

void waiters_look(struct waiters *waiters)
{
    pthread_mutex_lock(&waiters->lock);
    for (const struct waiter *at = waiters->list; at != NULL; at = at->next)
        look_at(waiters, at->id);
    pthread_mutex_unlock(&waiters->lock);
}

int waiters_add(struct waiters *waiters, int64_t id,
                void (*ended)(void *arg, const struct build_record *record), void *arg,
                struct error *err)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct waiter *waiter;

    if (build_find(waiters->storage, id, &record, err) < 0)
        return -1;
    waiter = memory_new(sizeof(*waiter));
    *waiter = (struct waiter){NULL, id, ended, arg};
    pthread_mutex_lock(&waiters->lock);
    waiter->next = waiters->list;
    waiters->list = waiter;
    look_at(waiters, id); /* it may have ended since, or before */
    pthread_mutex_unlock(&waiters->lock);
    return 0;
}

static void waiters_free(struct waiters *waiters)
{
    pthread_cond_destroy(&waiters->wake);
    pthread_mutex_destroy(&waiters->lock);
    free(waiters->ids);
    free(waiters);
}

int waiters_open(struct waiters **out, struct storage *storage, struct error *err)
{
    struct waiters *waiters = memory_new(sizeof(*waiters));

    waiters->storage = storage;
    pthread_mutex_init(&waiters->lock, NULL);
    clock_condition_init(&waiters->wake);
    if (thread_start(&waiters->thread, work, waiters, err) < 0) {
        waiters_free(waiters);
        return -1;
    }
    *out = waiters;
    return 0;
}

static void call_as_it_stands(struct waiters *waiters, int64_t id) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct error err = {0};

    if (build_find(waiters->storage, id, &record, &err) < 0)
        record_gone(&record, id);
    call(detach(waiters, id), &record);
}

void waiters_close(struct waiters *waiters)
{
    if (waiters == NULL)
        return;
    pthread_mutex_lock(&waiters->lock);
    waiters->closing = true;
    pthread_cond_signal(&waiters->wake);
    pthread_mutex_unlock(&waiters->lock);
    pthread_join(waiters->thread, NULL);
    while (waiters->list != NULL)
        call_as_it_stands(waiters, waiters->list->id);
    waiters_free(waiters);
}

/* db_queue.c - works waiting for the one thread that writes: foreground before background. */
#include "storage/db_queue.h"

#include <errno.h>

#include "registry/core/clock.h"

void db_queue_open(struct db_queue *queue)
{
    *queue = (struct db_queue){.lock = PTHREAD_MUTEX_INITIALIZER};
    clock_condition_init(&queue->changed);
}

void db_queue_drop(struct db_queue *queue)
{
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
}

void db_members_add(struct db_members *members, struct db_member *member)
{
    member->next = NULL;
    if (members->last == NULL)
        members->first = member;
    else
        members->last->next = member;
    members->last = member;
}

struct db_member *db_members_shift(struct db_members *members)
{
    struct db_member *member = members->first;

    if (member == NULL)
        return NULL;
    members->first = member->next;
    if (members->first == NULL)
        members->last = NULL;
    return member;
}

int db_queue_run(struct db_queue *queue, const struct db_work *work, struct error *err)
{
    struct db_member member = {.work = work, .err = err, .result = -1};

    sem_init(&member.answered, 0, 0);
    pthread_mutex_lock(&queue->lock);
    bool closed = queue->closed;
    if (!closed) {
        db_members_add(&queue->waiting[work->priority], &member);
        pthread_cond_signal(&queue->changed);
    }
    pthread_mutex_unlock(&queue->lock);
    if (closed)
        error_set(err, ERROR_UNAVAILABLE, "the registry is shutting down");
    while (!closed && sem_wait(&member.answered) < 0)
        assert(errno == EINTR);
    sem_destroy(&member.answered);
    return member.result;
}

static void move(struct db_members *from, size_t max, struct db_members *to)
{
    for (size_t i = 0; i < max && from->first != NULL; i++)
        db_members_add(to, db_members_shift(from));
}

static bool light_waits(const struct db_queue *queue)
{
    return queue->waiting[DB_FOREGROUND].first != NULL ||
           queue->waiting[DB_BACKGROUND].first != NULL;
}

bool db_queue_take(struct db_queue *queue, size_t max, struct db_members *out)
{
    struct db_members *waiting = queue->waiting;

    pthread_mutex_lock(&queue->lock);
    while (!light_waits(queue) && waiting[DB_HEAVY].first == NULL && !queue->poked &&
           !queue->closed)
        pthread_cond_wait(&queue->changed, &queue->lock);
    bool light = light_waits(queue), heavy = waiting[DB_HEAVY].first != NULL;
    bool go_on = queue->poked || light || heavy;
    queue->poked = false;
    *out = (struct db_members){NULL, NULL};
    if (heavy && (queue->heavy_turn || !light)) {
        move(&waiting[DB_HEAVY], 1, out);
        queue->heavy_turn = false;
    } else {
        move(&waiting[DB_FOREGROUND], max, out);
        move(&waiting[DB_BACKGROUND], max, out);
        queue->heavy_turn = true;
    }
    pthread_mutex_unlock(&queue->lock);
    return go_on;
}

void db_queue_take_all(struct db_queue *queue, struct db_members *out)
{
    *out = (struct db_members){NULL, NULL};
    pthread_mutex_lock(&queue->lock);
    for (int i = 0; i < DB_PRIORITIES; i++)
        move(&queue->waiting[i], SIZE_MAX, out);
    pthread_mutex_unlock(&queue->lock);
}

static void put_back(struct db_members *waiting, struct db_members *members)
{
    if (members->first == NULL)
        return;
    members->last->next = waiting->first;
    if (waiting->last == NULL)
        waiting->last = members->last;
    waiting->first = members->first;
}

void db_queue_return(struct db_queue *queue, struct db_members *members)
{
    struct db_members kinds[DB_PRIORITIES] = {{NULL, NULL}};
    struct db_member *member;

    while ((member = db_members_shift(members)) != NULL)
        db_members_add(&kinds[member->work->priority], member);
    pthread_mutex_lock(&queue->lock);
    for (int i = 0; i < DB_PRIORITIES; i++)
        put_back(&queue->waiting[i], &kinds[i]);
    pthread_mutex_unlock(&queue->lock);
}

void db_member_answer(struct db_member *member, int result)
{
    db_bulletin_drop(&member->bulletin);
    member->result = result;
    sem_post(&member->answered);
}

void db_queue_poke(struct db_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->poked = true;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

void db_queue_close(struct db_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

bool db_queue_pause(struct db_queue *queue, int timeout_ms)
{
    const struct timespec until = clock_monotonic_after((uint64_t)timeout_ms);

    pthread_mutex_lock(&queue->lock);
    for (int waited = 0; !queue->closed && waited == 0;)
        waited = pthread_cond_timedwait(&queue->changed, &queue->lock, &until);
    bool closed = queue->closed;
    pthread_mutex_unlock(&queue->lock);
    return closed;
}

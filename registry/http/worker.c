/* worker.c - pools of threads that may block: lanes take turns, within one first come first served.
 * Touches  threads.
 * Never    sockets. */
#include "registry/http/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "registry/core/bytes.h"
#include "registry/http/thread.h"

struct lane {
    struct lane *next; /* of those with jobs */
    struct worker_job *first, **last;
    size_t waiting;
};

struct worker_pool {
    char name[16]; /* of its threads */
    pthread_mutex_t lock;
    pthread_cond_t ready;
    struct lane *first, **last; /* lanes with jobs; under lock, as all below */
    struct lane lanes[WORKER_LANES];
    size_t waiting; /* jobs */
    int idle;       /* threads in pthread_cond_wait */
    bool closing;
    int threads; /* immutable, as nice */
    int nice;
    pthread_t ids[];
};

static void lane_append(struct worker_pool *pool, struct lane *lane)
{
    lane->next = NULL;
    *pool->last = lane;
    pool->last = &lane->next;
}

/* Lock held. */
static struct worker_job *next_job(struct worker_pool *pool)
{
    struct lane *lane = pool->first;

    if (lane == NULL)
        return NULL;
    pool->first = lane->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    struct worker_job *job = lane->first;
    lane->first = job->next;
    lane->waiting--;
    pool->waiting--;
    if (lane->first != NULL)
        lane_append(pool, lane);
    return job;
}

/* The next job, or NULL when the pool closes and nothing is left. */
static struct worker_job *take(struct worker_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->first == NULL && !pool->closing) {
        pool->idle++;
        pthread_cond_wait(&pool->ready, &pool->lock);
        pool->idle--;
    }
    struct worker_job *job = next_job(pool);
    pthread_mutex_unlock(&pool->lock);
    return job;
}

static void *work(void *argument)
{
    struct worker_pool *pool = argument;
    struct worker_job *job;

    thread_role_current = ROLE_WORKER;
    pthread_setname_np(pthread_self(), pool->name);
    if (pool->nice != 0)
        thread_stand_back(pool->nice);
    else
        thread_prompt();
    while ((job = take(pool)) != NULL)
        job->run(job);
    return NULL;
}

struct worker_pool *worker_pool_open(const char *name, int threads, int nice)
{
    struct worker_pool *pool = memory_new(sizeof(*pool) + (size_t)threads * sizeof(pool->ids[0]));
    sigset_t all, before;

    snprintf(pool->name, sizeof(pool->name), "%s", name);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->ready, NULL);
    pool->last = &pool->first;
    pool->threads = threads;
    pool->nice = nice;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to main */
    for (int i = 0; i < threads; i++) {
        if (pthread_create(&pool->ids[i], NULL, work, pool) != 0)
            abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool;
}

void worker_pool_close(struct worker_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->ready);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->threads; i++)
        pthread_join(pool->ids[i], NULL);
    pthread_cond_destroy(&pool->ready);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

static void append(struct worker_pool *pool, struct worker_job *job)
{
    struct lane *lane = &pool->lanes[job->lane];

    if (lane->first == NULL) {
        lane->last = &lane->first;
        lane_append(pool, lane);
    }
    job->next = NULL;
    *lane->last = job;
    lane->last = &job->next;
    lane->waiting++;
    pool->waiting++;
}

bool worker_pool_offer(struct worker_pool *pool, struct worker_job *job, size_t most)
{
    pthread_mutex_lock(&pool->lock);
    bool room = pool->waiting < most && pool->lanes[job->lane].waiting < most / 4;
    if (room)
        append(pool, job);
    bool wake = room && pool->idle > 0;
    pthread_mutex_unlock(&pool->lock);
    if (wake)
        pthread_cond_signal(&pool->ready);
    return room;
}

void worker_pool_submit(struct worker_pool *pool, struct worker_job *job)
{
    bool taken = worker_pool_offer(pool, job, SIZE_MAX);
    assert(taken);
}

bool worker_pool_go_on(struct worker_pool *pool, struct worker_job *job)
{
    pthread_mutex_lock(&pool->lock);
    bool alone = pool->first == NULL;
    if (!alone)
        append(pool, job); /* nobody needs waking: this thread comes back for the first of them */
    pthread_mutex_unlock(&pool->lock);
    return alone;
}

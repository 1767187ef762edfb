/* worker.h - pools of threads that may block.
 * Touches  threads.
 * Never    sockets. */
#ifndef SLIPWAY_HTTP_WORKER_H
#define SLIPWAY_HTTP_WORKER_H

#include <stdbool.h>
#include <stddef.h>

#include "registry/core/attributes.h"

struct worker_pool;

enum { WORKER_LANES = 256 };

/* A job is part of its owner's struct; run() gets it on a worker thread and may free it. */
struct worker_job {
    struct worker_job *next;
    unsigned lane; /* below WORKER_LANES; lanes take turns, so that a crowd in one delays its own */
    void (*run)(struct worker_job *job);
};

/* nice: how far the threads stand back when cores are short; 0 for not at all. */
struct worker_pool *worker_pool_open(const char *name, int threads, int nice);
/* Waits for queued jobs. Accepts NULL. */
void worker_pool_close(struct worker_pool *pool);
void worker_pool_submit(struct worker_pool *pool, struct worker_job *job);
/* The same, but false when `most` jobs wait already, or a quarter of that in the job's lane. */
bool worker_pool_offer(struct worker_pool *pool, struct worker_job *job, size_t most) MUST_CHECK;
/* For a running job that has more to do. True: nobody waits, go on. False: it was queued behind
 * those who wait, and run() will be called again. */
bool worker_pool_go_on(struct worker_pool *pool, struct worker_job *job);

#endif

/* worker.h - pools of threads that may block.
 * Touches  threads.
 * Never    sockets. */
#ifndef SLIPWAY_HTTP_WORKER_H
#define SLIPWAY_HTTP_WORKER_H

#include "registry/core/attributes.h"

struct worker_pool;

/* A job is part of its owner's struct; run() gets it on a worker thread and may free it. */
struct worker_job {
    struct worker_job *next;
    void (*run)(struct worker_job *job);
};

struct worker_pool *worker_pool_open(const char *name, int threads);
/* Waits for queued jobs. Accepts NULL. */
void worker_pool_close(struct worker_pool *pool);
void worker_pool_submit(struct worker_pool *pool, struct worker_job *job);

#endif

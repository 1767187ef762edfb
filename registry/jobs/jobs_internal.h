/* jobs_internal.h - one job, as the runner (jobs.c) and job_run_alone (job.c) hold it.
 * Touches  nothing by itself.
 * Never    included outside of registry/jobs/ and its tests. */
#ifndef SLIPWAY_JOBS_INTERNAL_H
#define SLIPWAY_JOBS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "registry/jobs/jobs.h"

enum { JOB_COUNTERS_MAX = 64 };

struct job_counter {
    const char *name; /* a constant */
    uint64_t value;
};

enum job_stop { JOB_GOES_ON, JOB_STOP_ASKED, JOB_STOP_ENDING }; /* by whom */

struct job {
    struct storage *storage;
    const struct config *config;
    const struct job_kind *kind;
    int64_t id;
    char *actor;
    int64_t actor_id;
    json_t *spec;
    json_t *result; /* the job's own until it ended */
    struct progress progress;
    _Atomic enum job_stop stop;
    _Atomic bool stopped;          /* it was told: what it did is not all */
    const struct job_alone *alone; /* NULL: in the runner */

    pthread_mutex_t lock; /* of what follows */
    const char *phase;
    struct job_counter counters[JOB_COUNTERS_MAX];
    size_t counter_count;
    uint64_t told_at; /* ms: alone->tell */
};

/* Consumes spec. */
struct job *job_new(struct storage *storage, const struct config *config,
                    const struct job_kind *kind, json_t *spec, const struct job_asker *asker);
void job_drop(struct job **job); /* for OWNED */

/* Its row: job_row_add with the event of who asks. */
int job_record(struct job *job, const struct job_asker *asker, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Runs it to its end. */
enum job_state job_perform(struct job *job, struct error *err) ON(worker_thread);
/* The row of its end. failed: why. */
int job_conclude(struct job *job, enum job_state state, const char *failed,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* What it counted so far, as JSON text, free(); its phase, a constant. */
char *job_progress_text(struct job *job, const char **phase);

#endif

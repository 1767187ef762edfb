/* jobs.h - long work beside requests: collection runs, retention, checks, backups, imports.
 * Touches  the table of jobs, threads of its own.
 * Never    knows what a job does: kinds are handed in.
 *
 * (1) One job of a kind runs at a time; another one of the kind is refused, and told which runs.
 * (2) What a job did is recorded when it ends, however it ends: one that the end of the process cut
 *     off is interrupted, and a kind that resumes begins anew, as another job, at the next start.
 * (3) A kind that names folders of this machine is started over the admin socket only. */
#ifndef SLIPWAY_JOBS_JOBS_H
#define SLIPWAY_JOBS_JOBS_H

#include <jansson.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"
#include "storage/job.h"

struct config;
struct job;
struct jobs;

struct job_kind {
    const char *name; /* "gc" */
    /* On a thread that may block. Reads job_spec, fills job_result, looks at
     * progress_cancelled(job_progress(job)) often: then it ends with 0 and what it did. */
    int (*run)(struct job *job, struct error *err);
    /* Refuses a spec before a job is made of it; NULL: any object. INVALID */
    int (*check)(const json_t *spec, struct error *err);
    bool local;   /* (3) */
    bool resumes; /* (2): run again with the same spec */
};

/* --- inside a job --- */

struct storage *job_storage(const struct job *job);
const struct config *job_config(const struct job *job);
const json_t *job_spec(const struct job *job); /* borrowed, an object */
json_t *job_result(struct job *job);           /* borrowed, an object to fill */
const struct progress *job_progress(struct job *job);

/* --- the runner --- */

struct jobs_options {
    struct storage *storage;
    const struct config *config;
    const struct job_kind *const *kinds; /* ends in NULL */
};
int jobs_open(struct jobs **out, const struct jobs_options *options, struct error *err) MUST_CHECK;
/* Cancels what runs, waits for it. Before storage is closed. Accepts NULL. */
void jobs_close(struct jobs *jobs);

/* Who asks, for the row and the audit. */
struct job_asker {
    struct slice actor; /* as the audit calls him; "": the server itself, which is not audited */
    int64_t actor_id;   /* 0: none */
    struct slice remote, request_id;
    bool local; /* came over the admin socket: (3) */
};
/* Consumes spec (NULL: {}).
 * CONFLICT (1).  DENIED (3).  INVALID  no such kind; a spec its kind refuses */
int jobs_start(struct jobs *jobs, struct slice kind, json_t *spec, const struct job_asker *asker,
               int64_t *id, struct error *err) MUST_CHECK ON(worker_thread);
/* Asks it to stop; it ends soon after. NOT_FOUND.  CONFLICT  it has ended. */
int jobs_cancel(struct jobs *jobs, int64_t id, struct error *err) MUST_CHECK ON(worker_thread);

/* As in their rows; phase and progress of a running job are of now, its result is {}. NOT_FOUND */
int jobs_find(struct jobs *jobs, int64_t id, struct job_record *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Newest first, older than before_id (0: from the newest); kind SLICE_NONE: all. */
int jobs_list(struct jobs *jobs, struct slice kind, int64_t before_id, size_t limit,
              struct job_page *out, struct error *err) MUST_CHECK ON(worker_thread);

/* --- without a server --- */

/* Runs one job on the calling thread, for commands that opened the root themselves, and records it
 * like any other. tell (may be NULL) gets its progress now and then, on whatever thread works.
 * *result is the caller's, an object, also when the job was cancelled (0); spec is borrowed. */
struct job_alone {
    struct storage *storage;
    const struct config *config;
    const struct job_kind *kind;
    const json_t *spec;
    void (*tell)(void *arg, const char *phase, const json_t *progress);
    bool (*cancelled)(void *arg);
    void *arg;
};
int job_run_alone(const struct job_alone *with, json_t **result, struct error *err) MUST_CHECK
    ON(worker_thread);

#endif

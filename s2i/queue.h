/* queue.h - shared by the files that make rows into running builds: queue.c, running.c and
 * perform.c (threads that claim and run), waiters.c (who wants to know of an end), masks.c (what no
 * log shows), and by builds.c, submit.c, plan.c, keeper.c, trigger.c above them.
 * Touches  nothing by itself.
 * Never    included from outside s2i/ and its tests. */
#ifndef SLIPWAY_S2I_QUEUE_H
#define SLIPWAY_S2I_QUEUE_H

#include "s2i/s2i_internal.h"

/* --- queue.c, running.c --- */

/* What a test may hand in: who runs a build, how many could run now. */
struct queue_options {
    struct builds *builds; /* storage, logs and archives of it are used */
    unsigned threads;      /* builds at a time */
    uint64_t each;         /* of them in one repository; 0: no limit */
    uint64_t log_max;      /* bytes of one log */
    void (*run)(struct build_task *task, struct build_outcome *out);
    unsigned (*room)(struct builds *builds); /* slots that builders have; looked at often */
    /* A build ended; on the thread that ended it. */
    void (*ended)(struct builds *builds, int64_t id);
};
int queue_open(struct queue **out, const struct queue_options *options,
               struct error *err) MUST_CHECK;
/* Stops what runs, and waits for all threads: rows that were cut off stay RUNNING. Accepts NULL. */
void queue_stop(struct queue *queue);
void queue_close(struct queue *queue); /* after queue_stop; accepts NULL */
/* There may be something to run. */
void queue_look(struct queue *queue);
/* A build ended that did not run: whoever wants to know is told. */
void queue_ended(struct queue *queue, int64_t id);
/* As builds_cancel. */
int queue_cancel(struct queue *queue, int64_t id, struct slice actor, struct slice why,
                 const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);
/* Builds that run while their rows say something else (their repository was deleted) stop. */
void queue_watch(struct queue *queue) ON(worker_thread);

/* What runs: a build, or a plan that has no row. */
struct running {
    struct build_task task; /* first: build_task_stopped finds the rest by it */
    struct running *next;   /* under the queue's lock, as what follows */
    bool stopped;
    bool closing; /* by the end of the server, not by somebody */
    char by[200], why[200];
};
/* Of a record, which is taken over. */
struct running *running_new(struct builds *builds, struct build_record *record);
void running_drop(struct running **running); /* for OWNED */
/* For plans: it can be stopped from now on. TOOMANYREQUESTS  so many are there. UNAVAILABLE  the
 * queue closes */
int queue_enter(struct queue *queue, struct running *running, unsigned plans_max,
                struct error *err) MUST_CHECK;
void queue_leave(struct queue *queue, struct running *running);

/* --- submit.c --- */

/* UNAVAILABLE  builds are off, or no builder is able; with the reason. Spec: 16.4 */
int builds_able(struct builds *builds, struct error *err) MUST_CHECK;
/* A build like one that has ended. CONFLICT  it has not, or its source is gone */
int builds_again(struct builds *builds, const struct build_record *record, struct slice trigger,
                 const struct actor *actor, struct slice actor_name,
                 const struct audit_event *event, int64_t *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The same, built whatever was built before, and no tag moves. */
int builds_apart(struct builds *builds, const struct build_record *record, struct slice trigger,
                 const struct actor *actor, struct slice actor_name,
                 const struct audit_event *event, int64_t *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- waiters.c --- */

struct waiters;
int waiters_open(struct waiters **out, struct storage *storage, struct error *err) MUST_CHECK;
/* Whoever still waits is told how the build stands, on the calling thread. Accepts NULL. */
void waiters_close(struct waiters *waiters) ON(worker_thread);
/* As builds_when_ended. */
int waiters_add(struct waiters *waiters, int64_t id,
                void (*ended)(void *arg, const struct build_record *record), void *arg,
                struct error *err) MUST_CHECK ON(worker_thread);
/* It ended: they are told. */
void waiters_tell(struct waiters *waiters, int64_t id);
/* All that are waited for are looked at: some end without a word (a deleted repository). */
void waiters_look(struct waiters *waiters);

/* --- masks.c --- */

/* Texts that stand in no log: values of secret_env, injected files, credentials of the source, the
 * password of the proxy. Spec: 5.4, 5.8, 16.12 */
int masks_read(const struct build_task *task, struct s2i_list *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- keeper.c --- */

/* What is done now and then: rows, logs, archives that are old; triggers. Close accepts NULL. */
struct keeper;
struct keeper *keeper_open(struct builds *builds);
int keeper_start(struct keeper *keeper, /* its threads, once all else is open */
                 struct error *err) MUST_CHECK;
void keeper_close(struct keeper *keeper);
void keeper_ended(struct keeper *keeper); /* a build did: there may be one to prune */
/* The pieces of it, for tests. Files below the folder whose build is gone go; an archive also when
 * it was never whole. */
void keeper_sweep_archives(struct builds *builds) ON(worker_thread);
void keeper_sweep_logs(struct builds *builds) ON(worker_thread);
void keeper_prune(struct builds *builds) ON(worker_thread);
void keeper_expire(struct builds *builds) ON(worker_thread); /* 13.49 */

/* --- sources.c --- */

/* What was set aside longer ago than gc.undo goes. */
void sources_sweep(struct builds *builds);
/* At start, before anybody may ask: those whose repository was not deleted after all go back. */
int sources_settle(struct builds *builds, struct error *err) MUST_CHECK ON(worker_thread);

/* --- trigger.c --- */

/* Builds again, or rebases, what stands on a builder that has a new digest. stopped ends it between
 * two images; NULL: never. Spec: 13.51 */
void trigger_images(struct builds *builds, bool (*stopped)(void *arg), void *arg) ON(worker_thread);

#endif

/* jobs.c - the runner: a thread for each job that runs, one that keeps their rows near the truth.
 * Touches  threads, the table of jobs.
 * Never    knows what a job does.
 *
 * A slot for each kind:
 *
 *   FREE --start--> TAKEN --row made--> RUNNING --run() returned--> FREE, its thread still to join
 *
 * (1) A slot is free before the row says so: who sees the end of a job may start the next one.
 * (2) Whoever took a slot joins the thread that it last had before it begins another.
 * (3) An end that cannot be recorded (the disk is full) is tried again until it is. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/jobs/jobs_internal.h"

enum { KEEP_MS = 1000, JOB_NICE = 10 };

/* (3) */
struct unrecorded {
    struct job *job; /* NULL: none */
    enum job_state state;
    struct error failed;
};

struct slot {
    const struct job_kind *kind;
    struct jobs *jobs;
    bool taken;      /* under the lock */
    struct job *job; /* under the lock; NULL: none runs */
    bool has_thread; /* of who took the slot, and jobs_close: (2) */
    pthread_t thread;
    struct job *given;      /* to the thread */
    struct unrecorded last; /* under the lock */
};

struct jobs {
    struct storage *storage;
    const struct config *config;
    struct slot *slots; /* as many as kinds */
    size_t count;
    pthread_t keeper;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending; /* under the lock */
};

/* --- slots --- */

static struct slot *slot_named(struct jobs *jobs, struct slice kind)
{
    for (size_t i = 0; i < jobs->count; i++)
        if (slice_equal_text(kind, jobs->slots[i].kind->name))
            return &jobs->slots[i];
    return NULL;
}

/* jobs (1) */
static int slot_take(struct slot *slot, struct error *err)
{
    struct jobs *jobs = slot->jobs;
    const char *kind = slot->kind->name;
    int status = 0;

    pthread_mutex_lock(&jobs->lock);
    if (slot->job != NULL)
        status = error_set(err, ERROR_CONFLICT, "job %lld is running: one %s at a time",
                           (long long)slot->job->id, kind);
    else if (slot->taken)
        status = error_set(err, ERROR_CONFLICT, "another %s is about to run", kind);
    else
        slot->taken = true;
    pthread_mutex_unlock(&jobs->lock);
    return status;
}

static void slot_release(struct slot *slot)
{
    pthread_mutex_lock(&slot->jobs->lock);
    slot->job = NULL;
    slot->taken = false;
    pthread_mutex_unlock(&slot->jobs->lock);
}

/* The job of that id while it runs; under the lock. */
static struct job *running(struct jobs *jobs, int64_t id)
{
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->slots[i].job != NULL && jobs->slots[i].job->id == id)
            return jobs->slots[i].job;
    return NULL;
}

/* --- a job's thread --- */

static void log_end(const struct job *job, enum job_state state, const struct error *failed)
{
    log_event(state == JOB_FAILED ? LOG_WARNING : LOG_INFO, "job.ended", F_I64("id", job->id),
              F_TEXT("kind", job->kind->name), F_TEXT("state", job_state_name(state)),
              F_TEXT("reason", failed->message), F_TEXT("cause", failed->cause));
}

/* A kind that resumes and was stopped by the end of the server stays as it stands: the next start
 * finds it like one that was killed. */
static int conclude(struct job *job, enum job_state state, const char *failed, struct error *err)
    ON(worker_thread)
{
    const char *phase;
    OWNED(memory_drop) char *progress = NULL;

    if (state != JOB_INTERRUPTED || !job->kind->resumes)
        return job_conclude(job, state, failed, err);
    progress = job_progress_text(job, &phase);
    return job_row_progress(job->storage, job->id, slice_of(phase), slice_of(progress), err);
}

/* Of two that could not be recorded the later one is remembered. */
static void remember(struct slot *slot, const struct unrecorded *end)
{
    pthread_mutex_lock(&slot->jobs->lock);
    struct job *forgotten = slot->last.job;
    slot->last = *end;
    pthread_cond_broadcast(&slot->jobs->wake);
    pthread_mutex_unlock(&slot->jobs->lock);
    job_drop(&forgotten);
}

/* Consumes end->job. */
static void record_end(struct slot *slot, struct unrecorded *end) ON(worker_thread)
{
    struct error err = {0};

    if (conclude(end->job, end->state, end->failed.message, &err) < 0) {
        log_event(LOG_ERROR, "job.unrecorded", F_I64("id", end->job->id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
        remember(slot, end);
        return;
    }
    log_end(end->job, end->state, &end->failed);
    job_drop(&end->job);
}

static void *run(void *arg)
{
    struct slot *slot = arg;
    struct unrecorded end = {.job = slot->given};

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "job");
    setpriority(PRIO_PROCESS, 0, JOB_NICE); /* of this thread: requests come first */
    end.state = job_perform(end.job, &end.failed);
    slot_release(slot); /* (1) */
    record_end(slot, &end);
    return NULL;
}

/* (2) */
static void join_last(struct slot *slot)
{
    if (slot->has_thread)
        pthread_join(slot->thread, NULL);
    slot->has_thread = false;
}

static int no_thread(struct slot *slot, struct job *job, struct error *err) ON(worker_thread)
{
    static const char reason[] = "no more threads can be started";
    struct error ignored = {0}; /* the row stays as one that was interrupted */

    slot_release(slot);
    if (job_conclude(job, JOB_FAILED, reason, &ignored) < 0)
        error_clear(&ignored);
    return error_set(err, ERROR_UNAVAILABLE, "%s", reason);
}

/* In a slot that was taken. */
static int begin(struct slot *slot, json_t *spec, const struct job_asker *asker, int64_t *id,
                 struct error *err) ON(worker_thread)
{
    struct jobs *jobs = slot->jobs;
    OWNED(job_drop)
    struct job *job = job_new(jobs->storage, jobs->config, slot->kind, spec, asker);

    join_last(slot);
    if (job_record(job, asker, err) < 0) {
        slot_release(slot);
        return -1;
    }
    *id = job->id;
    log_event(LOG_INFO, "job.started", F_I64("id", job->id), F_TEXT("kind", slot->kind->name),
              F_TEXT("actor", job->actor));
    pthread_mutex_lock(&jobs->lock);
    slot->given = slot->job = job;
    slot->has_thread = pthread_create(&slot->thread, NULL, run, slot) == 0;
    pthread_cond_broadcast(&jobs->wake);
    pthread_mutex_unlock(&jobs->lock);
    if (!slot->has_thread)
        return no_thread(slot, job, err);
    job = NULL; /* the thread's */
    return 0;
}

int jobs_start(struct jobs *jobs, struct slice kind, json_t *spec, const struct job_asker *asker,
               int64_t *id, struct error *err)
{
    struct slot *slot = slot_named(jobs, kind);
    json_t *owned = spec == NULL ? json_object() : spec;
    int status = 0;

    if (slot == NULL)
        status = error_set_field(err, "kind", "there is no such kind of job");
    else if (slot->kind->local && !asker->local)
        status = error_set(err, ERROR_DENIED,
                           "%s reads folders of the server: only its admin socket starts it",
                           slot->kind->name);
    else if (!json_is_object(owned))
        status = error_set_field(err, "spec", "spec must be an object");
    else if (slot->kind->check != NULL)
        status = slot->kind->check(owned, err);
    if (status < 0 || slot_take(slot, err) < 0) {
        json_decref(owned);
        return -1;
    }
    return begin(slot, owned, asker, id, err);
}

int jobs_cancel(struct jobs *jobs, int64_t id, struct error *err)
{
    OWNED(job_record_drop) struct job_record record = {.kind = NULL};

    pthread_mutex_lock(&jobs->lock);
    struct job *job = running(jobs, id);
    enum job_stop goes_on = JOB_GOES_ON;
    if (job != NULL)
        atomic_compare_exchange_strong(&job->stop, &goes_on, JOB_STOP_ASKED);
    pthread_mutex_unlock(&jobs->lock);
    if (job != NULL)
        return 0;
    if (job_row_find(jobs->storage, id, &record, err) < 0)
        return -1;
    return error_set(err, ERROR_CONFLICT, "job %lld has ended", (long long)id);
}

/* --- reading --- */

/* What memory knows better than the row. False: it does not run. */
static bool refresh(struct jobs *jobs, struct job_record *record)
{
    const char *phase = "";
    char *progress = NULL;

    pthread_mutex_lock(&jobs->lock);
    struct job *job = running(jobs, record->id);
    if (job != NULL)
        progress = job_progress_text(job, &phase);
    pthread_mutex_unlock(&jobs->lock);
    if (progress == NULL)
        return false;
    free(record->phase);
    free(record->progress);
    record->phase = memory_text(slice_of(phase));
    record->progress = progress;
    return true;
}

int jobs_find(struct jobs *jobs, int64_t id, struct job_record *out, struct error *err)
{
    if (job_row_find(jobs->storage, id, out, err) < 0)
        return -1;
    if (out->state == JOB_RUNNING)
        refresh(jobs, out);
    return 0;
}

int jobs_list(struct jobs *jobs, struct slice kind, int64_t before_id, size_t limit,
              struct job_page *out, struct error *err)
{
    if (job_row_list(jobs->storage, kind, before_id, limit, out, err) < 0)
        return -1;
    for (size_t i = 0; i < out->count; i++)
        if (out->items[i].state == JOB_RUNNING)
            refresh(jobs, &out->items[i]);
    return 0;
}

/* --- the thread that keeps rows near the truth --- */

static void keep(struct slot *slot) ON(worker_thread)
{
    struct jobs *jobs = slot->jobs;
    OWNED(memory_drop) char *progress = NULL;
    struct error err = {0};
    const char *phase = "";
    int64_t id = 0;

    pthread_mutex_lock(&jobs->lock);
    if (slot->job != NULL) {
        id = slot->job->id;
        progress = job_progress_text(slot->job, &phase);
    }
    pthread_mutex_unlock(&jobs->lock);
    if (id != 0 &&
        job_row_progress(jobs->storage, id, slice_of(phase), slice_of(progress), &err) < 0)
        log_event(LOG_WARNING, "job.unrecorded", F_I64("id", id), F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
}

/* (3) */
static void record_again(struct slot *slot) ON(worker_thread)
{
    pthread_mutex_lock(&slot->jobs->lock);
    struct unrecorded end = slot->last;
    slot->last = (struct unrecorded){.job = NULL};
    pthread_mutex_unlock(&slot->jobs->lock);
    if (end.job != NULL)
        record_end(slot, &end);
}

static bool has_work(const struct jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++)
        if (jobs->slots[i].job != NULL || jobs->slots[i].last.job != NULL)
            return true;
    return false;
}

/* False when jobs_close wants the end. */
static bool rest(struct jobs *jobs)
{
    const struct timespec until = clock_monotonic_after(KEEP_MS);
    int waited = 0;

    pthread_mutex_lock(&jobs->lock);
    while (!jobs->ending && !has_work(jobs))
        pthread_cond_wait(&jobs->wake, &jobs->lock);
    while (!jobs->ending && waited == 0)
        waited = pthread_cond_timedwait(&jobs->wake, &jobs->lock, &until);
    bool goes_on = !jobs->ending;
    pthread_mutex_unlock(&jobs->lock);
    return goes_on;
}

static void *keep_all(void *arg)
{
    struct jobs *jobs = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "jobs");
    while (rest(jobs))
        for (size_t i = 0; i < jobs->count; i++) {
            keep(&jobs->slots[i]);
            record_again(&jobs->slots[i]);
        }
    return NULL;
}

/* --- open and close --- */

/* jobs (2): as another job, for whoever asked for the first. */
static int resume(struct jobs *jobs, const struct job_record *record, struct error *err)
    ON(worker_thread)
{
    struct slot *slot = slot_named(jobs, slice_of(record->kind));
    const struct job_asker asker = {.actor = slice_of(record->actor), .local = true};
    json_t *spec = json_loads(record->spec, 0, NULL);
    struct error taken = {0};
    int64_t id;

    log_event(LOG_WARNING, "job.interrupted", F_I64("id", record->id), F_TEXT("kind", record->kind),
              F_TEXT("phase", record->phase));
    if (slot != NULL && slot->kind->resumes && json_is_object(spec) && slot_take(slot, &taken) == 0)
        return begin(slot, spec, &asker, &id, err);
    json_decref(spec);
    return 0;
}

static int resume_all(struct jobs *jobs, struct error *err) ON(worker_thread)
{
    OWNED(job_page_drop) struct job_page left = {.items = NULL};

    if (job_rows_interrupt(jobs->storage, SLICE_NONE, &left, err) < 0)
        return -1;
    for (size_t i = 0; i < left.count; i++)
        if (resume(jobs, &left.items[i], err) < 0)
            return -1;
    return 0;
}

int jobs_open(struct jobs **out, const struct jobs_options *options, struct error *err)
{
    enum thread_role_kind role = become_worker_thread();
    struct jobs *jobs = memory_new(sizeof(*jobs));

    jobs->storage = options->storage;
    jobs->config = options->config;
    while (options->kinds[jobs->count] != NULL)
        jobs->count++;
    jobs->slots = memory_new((jobs->count + 1) * sizeof(*jobs->slots));
    for (size_t i = 0; i < jobs->count; i++)
        jobs->slots[i] = (struct slot){.kind = options->kinds[i], .jobs = jobs};
    pthread_mutex_init(&jobs->lock, NULL);
    clock_condition_init(&jobs->wake);
    if (pthread_create(&jobs->keeper, NULL, keep_all, jobs) != 0)
        abort();
    int status = resume_all(jobs, err);
    if (status == 0)
        *out = jobs;
    else
        jobs_close(jobs);
    thread_role_current = role;
    return status;
}

static void stop_all(struct jobs *jobs)
{
    pthread_mutex_lock(&jobs->lock);
    jobs->ending = true;
    for (size_t i = 0; i < jobs->count; i++) {
        enum job_stop goes_on = JOB_GOES_ON;
        if (jobs->slots[i].job != NULL)
            atomic_compare_exchange_strong(&jobs->slots[i].job->stop, &goes_on, JOB_STOP_ENDING);
    }
    pthread_cond_broadcast(&jobs->wake);
    pthread_mutex_unlock(&jobs->lock);
}

void jobs_close(struct jobs *jobs)
{
    if (jobs == NULL)
        return;
    enum thread_role_kind role = become_worker_thread();
    stop_all(jobs);
    for (size_t i = 0; i < jobs->count; i++)
        join_last(&jobs->slots[i]);
    pthread_join(jobs->keeper, NULL);
    for (size_t i = 0; i < jobs->count; i++) {
        record_again(&jobs->slots[i]);
        job_drop(&jobs->slots[i].last.job);
    }
    pthread_cond_destroy(&jobs->wake);
    pthread_mutex_destroy(&jobs->lock);
    free(jobs->slots);
    free(jobs);
    thread_role_current = role;
}

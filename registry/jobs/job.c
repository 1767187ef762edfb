/* job.c - one job: what it sees, what it counts, its row; and running one without a server.
 * Touches  its row.
 * Never    knows what it does. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/jobs/jobs_internal.h"

enum { TELL_MS = 100 };

/* --- inside a job --- */

struct storage *job_storage(const struct job *job)
{
    return job->storage;
}

const struct config *job_config(const struct job *job)
{
    return job->config;
}

const json_t *job_spec(const struct job *job)
{
    return job->spec;
}

json_t *job_result(struct job *job)
{
    return job->result;
}

const struct progress *job_progress(struct job *job)
{
    return &job->progress;
}

/* --- progress: any thread of the job's --- */

static json_t *counters_of(const struct job *job)
{
    json_t *counters = json_object();

    for (size_t i = 0; i < job->counter_count; i++)
        json_object_set_new(counters, job->counters[i].name,
                            json_integer((json_int_t)job->counters[i].value));
    return counters;
}

/* Under the lock. */
static void tell(struct job *job)
{
    const struct job_alone *alone = job->alone;
    uint64_t now = clock_monotonic_ms();

    if (alone == NULL || alone->tell == NULL || now < job->told_at + TELL_MS)
        return;
    job->told_at = now;
    json_t *counters = counters_of(job);
    alone->tell(alone->arg, job->phase, counters);
    json_decref(counters);
}

static void set_phase(void *arg, const char *name)
{
    struct job *job = arg;

    pthread_mutex_lock(&job->lock);
    job->phase = name;
    tell(job);
    pthread_mutex_unlock(&job->lock);
}

static struct job_counter *counter_named(struct job *job, const char *name)
{
    for (size_t i = 0; i < job->counter_count; i++)
        if (strcmp(job->counters[i].name, name) == 0)
            return &job->counters[i];
    assert(job->counter_count < JOB_COUNTERS_MAX);
    job->counters[job->counter_count] = (struct job_counter){name, 0};
    return &job->counters[job->counter_count++];
}

static void add(void *arg, const char *counter, uint64_t amount)
{
    struct job *job = arg;

    pthread_mutex_lock(&job->lock);
    counter_named(job, counter)->value += amount;
    tell(job);
    pthread_mutex_unlock(&job->lock);
}

/* Work that counts nothing for a while still asks: a chance to tell what came in a rush before. */
static void ask_alone(struct job *job)
{
    const struct job_alone *alone = job->alone;

    pthread_mutex_lock(&job->lock);
    tell(job);
    pthread_mutex_unlock(&job->lock);
    if (alone->cancelled != NULL && alone->cancelled(alone->arg))
        atomic_store(&job->stop, JOB_STOP_ASKED);
}

static bool cancelled(void *arg)
{
    struct job *job = arg;

    if (job->alone != NULL)
        ask_alone(job);
    if (atomic_load(&job->stop) == JOB_GOES_ON)
        return false;
    atomic_store(&job->stopped, true);
    return true;
}

char *job_progress_text(struct job *job, const char **phase)
{
    pthread_mutex_lock(&job->lock);
    json_t *counters = counters_of(job);
    *phase = job->phase;
    pthread_mutex_unlock(&job->lock);
    char *text = json_dumps(counters, JSON_COMPACT);
    json_decref(counters);
    return text;
}

/* --- its life --- */

struct job *job_new(struct storage *storage, const struct config *config,
                    const struct job_kind *kind, json_t *spec, const struct job_asker *asker)
{
    struct job *job = memory_new(sizeof(*job));

    job->storage = storage;
    job->config = config;
    job->kind = kind;
    job->actor = memory_text(asker->actor.at == NULL ? SLICE("") : asker->actor);
    job->actor_id = asker->actor_id;
    job->spec = spec;
    job->result = json_object();
    job->phase = "";
    job->progress =
        (struct progress){.phase = set_phase, .add = add, .cancelled = cancelled, .arg = job};
    pthread_mutex_init(&job->lock, NULL);
    return job;
}

void job_drop(struct job **owned)
{
    struct job *job = *owned;

    if (job == NULL)
        return;
    pthread_mutex_destroy(&job->lock);
    json_decref(job->spec);
    json_decref(job->result);
    free(job->actor);
    free(job);
}

/* --- its row --- */

static void detail_of(const struct job *job, struct buffer *out)
{
    buffer_append_text(out, "{\"kind\":");
    buffer_append_json(out, slice_of(job->kind->name));
    buffer_append_text(out, "}");
}

int job_record(struct job *job, const struct job_asker *asker, struct error *err)
{
    OWNED(memory_drop) char *spec = json_dumps(job->spec, JSON_COMPACT);
    OWNED(buffer_drop) struct buffer detail = BUFFER_NONE;

    detail_of(job, &detail);
    const struct audit_event event = {.actor = slice_of(job->actor),
                                      .actor_id = job->actor_id,
                                      .action = SLICE("job.start"),
                                      .outcome = SLICE("done"),
                                      .remote = asker->remote,
                                      .request_id = asker->request_id,
                                      .detail = buffer_slice(&detail)};
    const struct job_row_new row = {.kind = slice_of(job->kind->name),
                                    .actor = slice_of(job->actor),
                                    .spec = slice_of(spec),
                                    .event = job->actor[0] == 0 ? NULL : &event};
    return job_row_add(job->storage, &row, &job->id, err);
}

enum job_state job_perform(struct job *job, struct error *err)
{
    if (job->kind->run(job, err) < 0)
        return JOB_FAILED;
    if (!atomic_load(&job->stopped))
        return JOB_DONE;
    return atomic_load(&job->stop) == JOB_STOP_ENDING ? JOB_INTERRUPTED : JOB_CANCELLED;
}

int job_conclude(struct job *job, enum job_state state, const char *failed, struct error *err)
{
    static const char *const outcomes[] = {[JOB_DONE] = "done",
                                           [JOB_FAILED] = "failed",
                                           [JOB_CANCELLED] = "cancelled",
                                           [JOB_INTERRUPTED] = "interrupted"};
    const char *phase = "";
    OWNED(memory_drop) char *progress = job_progress_text(job, &phase);
    OWNED(memory_drop) char *result = json_dumps(job->result, JSON_COMPACT);
    OWNED(buffer_drop) struct buffer detail = BUFFER_NONE;

    detail_of(job, &detail);
    const struct audit_event event = {.actor = slice_of(job->actor),
                                      .actor_id = job->actor_id,
                                      .action = SLICE("job.end"),
                                      .outcome = slice_of(outcomes[state]),
                                      .detail = buffer_slice(&detail)};
    const struct job_row_end end = {.id = job->id,
                                    .state = state,
                                    .phase = slice_of(phase),
                                    .error = state == JOB_FAILED ? slice_of(failed) : SLICE(""),
                                    .progress = slice_of(progress),
                                    .result = slice_of(result),
                                    .event = job->actor[0] == 0 ? NULL : &event};
    return job_row_finish(job->storage, &end, err);
}

/* --- without a server --- */

/* A process that was killed may have left one of the kind behind. */
static int tidy(struct storage *storage, const char *kind, struct error *err) ON(worker_thread)
{
    OWNED(job_page_drop) struct job_page left = {.items = NULL};

    return job_rows_interrupt(storage, slice_of(kind), &left, err);
}

int job_run_alone(const struct job_alone *with, json_t **result, struct error *err)
{
    const struct job_asker asker = {.actor = SLICE("local"), .local = true};
    json_t *spec = with->spec == NULL ? json_object() : json_deep_copy(with->spec);
    OWNED(job_drop)
    struct job *job = job_new(with->storage, with->config, with->kind, spec, &asker);
    struct error failed = {0};

    job->alone = with;
    if (with->kind->check != NULL && with->kind->check(job->spec, err) < 0)
        return -1;
    if (tidy(with->storage, with->kind->name, err) < 0 || job_record(job, &asker, err) < 0)
        return -1;
    enum job_state state = job_perform(job, &failed);
    if (job_conclude(job, state, failed.message, err) < 0)
        return -1;
    if (state == JOB_FAILED) {
        *err = failed;
        return -1;
    }
    *result = json_incref(job->result);
    return 0;
}

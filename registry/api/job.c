/* job.c - jobs: long work that was asked for, how far it is, how it ended; runs of the collector
 * are those of one kind.
 * Touches  the runner, by way of registry/jobs/jobs.h.
 * Never    knows what a kind does, or what its spec may hold. */
#include <jansson.h>

#include "registry/api/api_internal.h"
#include "registry/jobs/jobs.h"

static const char JOBS_BASE[] = "/api/v1/jobs", RUNS_BASE[] = "/api/v1/gc/runs";
static const char GC[] = "gc";

enum { KIND_MAX = 40 };

/* --- one job --- */

void api_job_write(struct buffer *out, const char *name, const struct job_record *job)
{
    bool ended = job->state > JOB_RUNNING;

    write_open(out, name, '{');
    write_i64(out, "id", job->id);
    write_text(out, "kind", slice_of(job->kind));
    write_text(out, "state", slice_of(job_state_name(job->state)));
    write_text_or_null(out, "actor", job->actor[0] == 0 ? NULL : job->actor);
    write_text(out, "phase", slice_of(job->phase));
    write_raw(out, "spec", slice_of(job->spec));
    write_raw(out, "progress", slice_of(job->progress));
    if (ended)
        write_raw(out, "result", slice_of(job->result));
    else
        write_null(out, "result");
    write_text_or_null(out, "error", job->error[0] == 0 ? NULL : job->error);
    write_time(out, "created_at", job->created_at);
    write_time(out, "started_at", job->started_at);
    write_time(out, "finished_at", job->finished_at);
    write_close(out, '}');
}

/* The one in the path, if it is of that kind (NULL: any). */
static int answer_job(const struct request *request, struct reply *reply, const char *kind,
                      struct error *err) ON(worker_thread)
{
    OWNED(job_record_drop) struct job_record job = {.kind = NULL};
    struct buffer body = BUFFER_NONE;
    int64_t id;

    if (answer_id(request, &id, err) < 0 || jobs_find(request->services->jobs, id, &job, err) < 0)
        return -1;
    if (kind != NULL && !slice_equal_text(slice_of(job.kind), kind))
        return error_set(err, ERROR_NOT_FOUND, "that job is not of the kind %s", kind);
    api_job_write(&body, NULL, &job);
    answer_json(reply, &body);
    return 0;
}

int api_job_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_job(request, reply, NULL, err);
}

int api_gc_run_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_job(request, reply, GC, err);
}

/* --- lists --- */

static int answer_jobs(const struct request *request, struct reply *reply, struct slice kind,
                       struct error *err) ON(worker_thread)
{
    OWNED(job_page_drop) struct job_page page = {.items = NULL};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    if (list_query_by_id(request, &query, err) < 0 ||
        jobs_list(request->services->jobs, kind, query.after_id, query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        api_job_write(&body, NULL, &page.items[i]);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0, -1);
    return 0;
}

int api_jobs_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_jobs(request, reply, request_parameter(request, "kind"), err);
}

int api_gc_runs_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_jobs(request, reply, slice_of(GC), err);
}

/* --- starting --- */

int api_job_start(const struct request *request, struct reply *reply, const char *base,
                  struct slice kind, void *spec, struct error *err)
{
    const struct identity *caller = request->caller;
    OWNED(job_record_drop) struct job_record job = {.kind = NULL};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;
    const struct job_asker asker = {.actor = slice_of(caller->name),
                                    .actor_id = caller->account,
                                    .remote = slice_of(request->remote),
                                    .request_id = slice_of(request->id),
                                    .local = caller->kind == IDENTITY_LOCAL};
    int64_t id;

    if (jobs_start(request->services->jobs, kind, spec, &asker, &id, err) < 0 ||
        jobs_find(request->services->jobs, id, &job, err) < 0)
        return -1;
    buffer_print(&location, "%s/%lld", base, (long long)id);
    api_job_write(&body, NULL, &job);
    answer_created(reply, buffer_slice(&location), 0, &body);
    reply->status = 202;
    return 0;
}

enum { POST_KIND, POST_SPEC, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_KIND] = {"kind", JSON_TEXT, .required = true, .least = 1, .most = KIND_MAX},
    [POST_SPEC] = {.name = "spec", .kind = JSON_GROUP},
};

int api_jobs_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[POST_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0)
        return -1;
    json_t *spec = values[POST_SPEC].given ? json_deep_copy(values[POST_SPEC].object) : NULL;
    return api_job_start(request, reply, JOBS_BASE, values[POST_KIND].text, spec, err);
}

static const struct json_member run_members[] = {{.name = "dry_run", .kind = JSON_FLAG}};

int api_gc_runs_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value dry_run;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(run_members), &dry_run, err) < 0)
        return -1;
    json_t *spec = json_object();
    json_object_set_new(spec, "dry_run", json_boolean(dry_run.flag));
    return api_job_start(request, reply, RUNS_BASE, slice_of(GC), spec, err);
}

/* --- stopping --- */

int api_job_cancel(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(event_drop) struct event event = {0};
    int64_t id;

    assert_worker_thread();
    if (answer_id(request, &id, err) < 0 || jobs_cancel(request->services->jobs, id, err) < 0)
        return -1;
    event_new_id(&event, request, "job.cancel", "job", id);
    audit_note(request->services->storage, event_done(&event));
    return answer_job(request, reply, NULL, err);
}

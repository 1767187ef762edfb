/* event.c - what happens, live: the registry's events and those of one job, as server-sent events.
 * Touches  the hub, by way of registry/events/events.h; the runner of jobs.
 * Never    holds a worker while a stream goes on: the loop sends what the pipe brings.
 *
 * Spec: s2i 13.48. */
#include "registry/api/api.h"
#include "registry/api/api_internal.h"
#include "registry/core/json.h"
#include "registry/events/events.h"
#include "registry/jobs/jobs.h"
#include "storage/builds.h"

/* --- one, as JSON --- */

static void text_or_null(struct buffer *out, const char *name, struct slice text)
{
    if (text.size == 0)
        write_null(out, name);
    else
        write_text(out, name, text);
}

static void actor_write(struct buffer *out, const struct news *news, bool people)
{
    text_or_null(out, "actor", people ? news->actor : SLICE_NONE);
}

static void content_write(struct buffer *out, const struct news *news, bool people)
{
    static const char *const objects[] = {
        [NEWS_TAG] = "tag", [NEWS_MANIFEST] = "manifest", [NEWS_REPOSITORY] = "repository"};
    bool collected = news->cause == NEWS_COLLECTED;

    write_text(out, "what", slice_of(objects[news->object]));
    write_text(out, "repository", news->repository);
    text_or_null(out, "tag", news->tag);
    api_digest_write(out, "digest", &news->digest);
    if (news->kind == NEWS_PUSH) {
        api_digest_write(out, "from", &news->from);
        text_or_null(out, "media_type", news->media_type);
        write_i64(out, "size", (int64_t)news->size);
    }
    write_text(out, "cause",
               slice_of(collected ? "collection" : api_cause_name((enum tag_cause)news->cause)));
    actor_write(out, news, people);
}

/* The name of the last of its stages. */
static void stage_write(struct buffer *out, struct slice stages)
{
    OWNED(json_drop) json_t *list = json_loadb(stages.at, stages.size, 0, NULL);
    size_t count = json_array_size(list);
    const json_t *last = count == 0 ? NULL : json_array_get(list, count - 1);

    write_text_or_null(out, "stage", json_string_value(json_object_get(last, "name")));
}

static void build_write(struct buffer *out, const struct news *news, bool people)
{
    write_i64(out, "build", news->id);
    write_text(out, "repository", news->repository);
    write_text(out, "state", slice_of(build_state_name((enum build_state)news->state)));
    text_or_null(out, "reason", news->reason);
    text_or_null(out, "message", news->message);
    stage_write(out, news->detail);
    write_raw(out, "stages", news->detail.size == 0 ? SLICE("[]") : news->detail);
    write_text(out, "trigger", news->name);
    text_or_null(out, "ref", news->ref);
    text_or_null(out, "commit", news->commit);
    write_raw(out, "tags", news->tags.size == 0 ? SLICE("[]") : news->tags);
    text_or_null(out, "result_digest", news->result);
    actor_write(out, news, people);
}

static void job_write(struct buffer *out, const struct news *news, bool people)
{
    write_i64(out, "job", news->id);
    write_text(out, "kind", news->name);
    write_text(out, "state", slice_of(job_state_name((enum job_state)news->state)));
    write_text(out, "phase", news->phase);
    write_raw(out, "progress", news->detail.size == 0 ? SLICE("{}") : news->detail);
    text_or_null(out, "error", news->message);
    actor_write(out, news, people);
}

/* One line: what was JSON already may have line ends between its words, and in texts none. */
static void line_append(struct buffer *out, struct buffer *json)
{
    for (size_t i = 0; i < json->size; i++)
        if (json->at[i] == '\n' || json->at[i] == '\r')
            json->at[i] = ' ';
    buffer_append_slice(out, buffer_slice(json));
}

/* id NULL: of no event, but as it is now. */
void api_event_write(struct buffer *out, const char *id, const struct news *news, bool people)
{
    static void (*const writers[])(struct buffer *, const struct news *,
                                   bool) = {content_write, content_write, build_write, job_write};
    OWNED(buffer_drop) struct buffer json = BUFFER_NONE;

    write_open(&json, NULL, '{');
    write_text_or_null(&json, "id", id);
    write_time(&json, "at", news->at);
    writers[news->kind](&json, news, people);
    write_close(&json, '}');
    line_append(out, &json);
}

/* --- what is asked for --- */

static const char *const kinds[NEWS_KINDS] = {"push", "delete", "build", "job"};
static const unsigned ALL_KINDS = (1u << NEWS_KINDS) - 1, JOBS = 1u << NEWS_JOB;

static int kind_add(struct slice word, unsigned *out, struct error *err)
{
    for (unsigned i = 0; i < NEWS_KINDS; i++)
        if (slice_equal_text(word, kinds[i])) {
            *out |= 1u << i;
            return 0;
        }
    return error_set_field(err, "kind", "kind is one of push, delete, build and job");
}

/* "push,delete" */
static int kinds_read(const struct request *request, unsigned *out, struct error *err)
{
    struct slice rest = request_parameter(request, "kind"), word;
    bool more = rest.at != NULL;

    *out = more ? 0 : ALL_KINDS;
    while (more) {
        more = slice_split(rest, ',', &word, &rest);
        if (kind_add(word, out, err) < 0)
            return -1;
    }
    return 0;
}

static int repository_read(const struct request *request, struct slice *out, struct error *err)
{
    *out = request_parameter(request, "repository");
    if (out->at == NULL || (out->size > 0 && out->size < PATTERN_MAX))
        return 0;
    return error_set_field(err, "repository", "that is no name, or pattern of names");
}

/* What a browser sends when it comes again is newer than what its page was made with. An empty one
 * says nothing. */
static struct slice last_read(const struct request *request)
{
    struct slice header = request_header(request, "last-event-id");
    struct slice parameter = request_parameter(request, "last_event_id");

    if (header.size > 0)
        return header;
    return parameter.size > 0 ? parameter : SLICE_NONE;
}

static int wish_read(const struct request *request, struct events_wish *out, struct error *err)
{
    const struct services *services = request->services;
    bool recent = false;

    *out = (struct events_wish){.who = request->caller, .last = last_read(request)};
    if (kinds_read(request, &out->kinds, err) < 0 ||
        repository_read(request, &out->repository, err) < 0 ||
        answer_flag(request, "once", &out->once, err) < 0 ||
        answer_flag(request, "recent", &recent, err) < 0)
        return -1;
    out->place = recent ? events_oldest(services->events) : events_now(services->events);
    if (out->kinds == JOBS && !auth_allows(request->caller, ACTION_API_SYSTEM))
        return error_set(err, ERROR_DENIED, "you may not see jobs");
    return 0;
}

/* --- streams --- */

static void head_write(struct reply *reply)
{
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE("text/event-stream"));
    reply_header_slice(reply, "X-Accel-Buffering", SLICE("no"));
}

static int answer_live(const struct request *request, struct reply *reply,
                       const struct events_wish *wish, struct error *err) ON(worker_thread)
{
    int fd = -1;

    if (request->method == METHOD_HEAD) {
        head_write(reply);
        return 0;
    }
    if (events_follow(request->services->events, wish, &fd, err) < 0)
        return -1;
    head_write(reply);
    reply_live(reply, fd, NULL, NULL);
    reply_live_follower(reply);
    return 0;
}

int api_events_get(struct request *request, struct reply *reply, struct error *err)
{
    struct events_wish wish;

    assert_worker_thread();
    if (wish_read(request, &wish, err) < 0)
        return -1;
    return answer_live(request, reply, &wish, err);
}

/* As it is now, as an event without an id. */
static void job_print(struct buffer *out, const struct job_record *job)
{
    const struct news news = news_of_job(job);

    buffer_append_text(out, "event: job\ndata: ");
    api_event_write(out, NULL, &news, true);
    buffer_append_text(out, job->state > JOB_RUNNING ? "\n\nevent: end\ndata:\n\n" : "\n\n");
}

/* Its place in the stream is taken before it is looked at: nothing lies between. */
int api_job_events_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(job_record_drop) struct job_record job = {.kind = NULL};
    OWNED(buffer_drop) struct buffer now = BUFFER_NONE;
    struct events_wish wish = {
        .who = request->caller, .kinds = JOBS, .place = events_now(request->services->events)};

    assert_worker_thread();
    if (answer_id(request, &wish.job, err) < 0 ||
        jobs_find(request->services->jobs, wish.job, &job, err) < 0)
        return -1;
    job_print(&now, &job);
    wish.first = buffer_slice(&now);
    if (job.state <= JOB_RUNNING)
        return answer_live(request, reply, &wish, err);
    head_write(reply);
    reply_text(reply, &now);
    return 0;
}

/* build.c - builds: what they are and how they ended; cancelled, and begun again.
 * Touches  storage: rows of builds; the queue, by way of s2i/s2i.h; the ends of logs.
 * Never    shows the value of a secret.
 *
 * Who may pull what a build makes, or push there, sees it; names of accounts, the options and who
 * is told are for who pushes. Spec: s2i 12.1, 12.3, 13.40 to 13.44, 13.46. */
#include "registry/api/build.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/core/log.h"
#include "s2i/log.h"

enum { LOG_TAIL = 1024 }; /* bytes */

int api_builds_needed(const struct request *request, struct error *err)
{
    if (request->services->builds != NULL)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE, "this server does not build images");
}

/* Spec: s2i 16.3, 16.4. */
int api_builds_health(struct request *request, struct reply *reply, struct error *err)
{
    struct builds_health health = {.problem = "this server does not build images", .weakness = ""};
    struct buffer body = BUFFER_NONE;

    (void)err;
    assert_worker_thread();
    if (request->services->builds != NULL)
        builds_health(request->services->builds, &health);
    write_open(&body, NULL, '{');
    write_flag(&body, "enabled", health.enabled);
    write_flag(&body, "able", health.able);
    write_text_or_null(&body, "problem", health.problem[0] == 0 ? NULL : health.problem);
    write_text_or_null(&body, "weakness", health.weakness[0] == 0 ? NULL : health.weakness);
    write_text_or_null(&body, "level", health.level[0] == 0 ? NULL : health.level);
    write_i64(&body, "builders", (int64_t)health.builders);
    write_i64(&body, "slots", (int64_t)health.slots);
    write_i64(&body, "running", (int64_t)health.running);
    write_i64(&body, "waiting", (int64_t)health.waiting);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

/* --- one build --- */

/* The same for who may not see it. */
static int missing(int64_t id, struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no build %lld that you may see",
                     (long long)id);
}

int api_build_at(const struct request *request, struct build_record *out, unsigned *rights,
                 struct error *err)
{
    const struct services *services = request->services;
    int64_t id;

    if (answer_id(request, &id, err) < 0)
        return -1;
    if (build_find(services->storage, id, out, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
        return missing(id, err);
    }
    *rights = auth_rights(services->auth, request->caller, slice_of(out->repository));
    return (*rights & (RIGHT_PULL | RIGHT_PUSH)) != 0 ? 0 : missing(id, err);
}

int api_build_push_needed(unsigned rights, struct error *err)
{
    if ((rights & RIGHT_PUSH) != 0)
        return 0;
    return error_set(err, ERROR_DENIED, "this needs the right to push into its repository");
}

int api_build_options_read(const char *text, struct s2i_options *out, struct error *err)
{
    OWNED(json_drop) json_t *document = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(document))
        return error_set(err, ERROR_INTERNAL, "stored options are not JSON");
    return s2i_options_read(out, document, S2I_FROM_CONFIG, err);
}

void api_build_options_write(struct buffer *out, const char *name,
                             const struct s2i_options *options)
{
    OWNED(json_drop) json_t *document = s2i_options_write(options, false);
    OWNED(memory_drop) char *text = json_dumps(document, JSON_COMPACT);

    write_raw(out, name, slice_of(text));
}

/* record->spec holds more than the options: how the queue is to go about it. */
static void options_of_build(struct buffer *out, const struct build_record *build)
{
    OWNED(json_drop) json_t *spec = json_loads(build->spec, 0, NULL);
    OWNED(s2i_options_drop) struct s2i_options options = {0};
    struct error ignored = {0};

    if (s2i_options_read(&options, json_object_get(spec, "options"), S2I_FROM_CONFIG, &ignored) < 0)
        write_null(out, "options");
    else
        api_build_options_write(out, "options", &options);
}

static void text_or_null(struct buffer *out, const char *name, const char *value)
{
    write_text_or_null(out, name, value[0] == 0 ? NULL : value);
}

static void number_or_null(struct buffer *out, const char *name, int64_t value, bool is)
{
    if (is)
        write_i64(out, name, value);
    else
        write_null(out, name);
}

static void people_write(struct buffer *out, const struct build_record *build, bool shown)
{
    text_or_null(out, "actor", shown ? build->actor : "");
    text_or_null(out, "ended_by", shown ? build->ended_by : "");
    text_or_null(out, "left_by", shown ? build->left_by : "");
}

static void source_write(struct buffer *out, const struct build_record *build)
{
    write_text(out, "source", slice_of(build_source_name(build->source)));
    text_or_null(out, "url", build->url);
    text_or_null(out, "ref", build->ref);
    text_or_null(out, "commit", build->commit);
    text_or_null(out, "builder", build->builder);
    text_or_null(out, "builder_digest", build->builder_digest);
}

/* What every answer has of it; the brace is left open. */
static void build_write_open(struct buffer *out, const struct build_record *build, unsigned rights,
                             bool auditor)
{
    bool ended = build_state_ended(build->state);

    write_open(out, NULL, '{');
    write_i64(out, "id", build->id);
    write_text(out, "repository", slice_of(build->repository));
    write_text(out, "state", slice_of(build_state_name(build->state)));
    text_or_null(out, "reason", build->reason);
    text_or_null(out, "message", build->message);
    write_text(out, "trigger", slice_of(build->trigger));
    people_write(out, build, auditor || (rights & RIGHT_PUSH) != 0);
    source_write(out, build);
    write_raw(out, "tags", slice_of(build->tags));
    write_raw(out, "stages", slice_of(build->stages));
    write_raw(out, "facts", slice_of(build->facts));
    number_or_null(out, "exit_code", build->exit_code, ended && build->exit_code >= 0);
    text_or_null(out, "result_digest", build->result_digest);
    number_or_null(out, "layer_size", build->layer_size, build->result_digest[0] != 0);
    write_i64(out, "log_size", build->log_size);
    number_or_null(out, "retry_of", build->retry_of, build->retry_of != 0);
    write_time(out, "created_at", build->created_at);
    write_time(out, "started_at", build->started_at);
    write_time(out, "finished_at", build->finished_at);
}

/* Why it failed is mostly said there: 6.5. */
static void log_tail_write(const struct request *request, struct buffer *out,
                           const struct build_record *build)
{
    OWNED(buffer_drop) struct buffer tail = BUFFER_NONE;

    if (build->state == BUILD_FAILED || build->state == BUILD_ERROR)
        build_log_tail(builds_logs(request->services->builds), build->id, LOG_TAIL, &tail);
    if (tail.size > 0)
        write_text(out, "log_tail", buffer_slice(&tail));
    else
        write_null(out, "log_tail");
}

/* "waiting": how many are before it (13.43). */
static int one_write(const struct request *request, const struct build_record *build,
                     unsigned rights, struct buffer *out, struct error *err) ON(worker_thread)
{
    uint64_t ahead = 0;

    if (build->state == BUILD_PENDING &&
        build_ahead(request->services->storage, build->id, &ahead, err) < 0)
        return -1;
    build_write_open(out, build, rights, request->caller->role == ACCOUNT_ROLE_AUDITOR);
    number_or_null(out, "ahead", (int64_t)ahead, build->state == BUILD_PENDING);
    log_tail_write(request, out, build);
    if ((rights & RIGHT_PUSH) != 0) {
        options_of_build(out, build);
        if (api_build_told_write(request, out, build->id, err) < 0)
            return -1;
    }
    write_close(out, '}');
    return 0;
}

static int answer(const struct request *request, struct reply *reply,
                  const struct build_record *build, unsigned rights, struct error *err)
    ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;

    if (one_write(request, build, rights, &body, err) < 0)
        return -1;
    answer_json(reply, &body);
    return 0;
}

int api_build_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_record_drop) struct build_record build = {.id = 0};
    unsigned rights = 0;

    assert_worker_thread();
    if (api_build_at(request, &build, &rights, err) < 0)
        return -1;
    return answer(request, reply, &build, rights, err);
}

int api_build_answer(const struct request *request, struct reply *reply, int64_t id,
                     struct error *err)
{
    const struct services *services = request->services;
    OWNED(build_record_drop) struct build_record build = {.id = 0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;

    if (build_find(services->storage, id, &build, err) < 0)
        return -1;
    buffer_print(&location, "/api/v1/builds/%" PRId64, id);
    unsigned rights = auth_rights(services->auth, request->caller, slice_of(build.repository));
    if (answer(request, reply, &build, rights, err) < 0)
        return -1;
    reply_header_slice(reply, "Location", buffer_slice(&location));
    reply->status = 201;
    return 0;
}

/* --- waiting for its end --- */

/* Who waits, and the pipe that his reply comes from. */
struct waiter {
    int fd;
    struct auth *auth;
    const struct identity *who; /* held */
};

static void waiter_free(struct waiter *waiter)
{
    identity_drop(&waiter->who);
    close(waiter->fd);
    free(waiter);
}

/* A pipe takes this much at once, so that nobody here waits for a reader. */
enum { PIPE_SIZE = 1 << 20 };

/* A build takes its time: what he may see is asked anew. None: nothing of it, as if it were not
 * there. */
static unsigned rights_now(struct waiter *waiter, const struct build_record *record,
                           struct error *err) ON(worker_thread)
{
    unsigned rights = 0;

    if (auth_renew(waiter->auth, &waiter->who, err) == 0)
        rights = auth_rights(waiter->auth, waiter->who, slice_of(record->repository));
    if ((rights & (RIGHT_PULL | RIGHT_PUSH)) != 0)
        return rights;
    if (err->code == ERROR_NONE)
        (void)missing(record->id, err);
    return 0;
}

static void end_write(struct waiter *waiter, const struct build_record *record, struct buffer *body)
    ON(worker_thread)
{
    struct error err = {0};
    unsigned rights = rights_now(waiter, record, &err);

    if (rights != 0)
        build_write_open(body, record, rights, waiter->who->role == ACCOUNT_ROLE_AUDITOR);
    else {
        write_open(body, NULL, '{');
        write_open(body, "error", '{');
        write_text(body, "reason", slice_of(error_code_problem(err.code)));
        write_text(body, "message", slice_of(err.message));
        write_close(body, '}');
    }
    write_close(body, '}');
    buffer_append_text(body, "\n");
}

static void ended(void *arg, const struct build_record *record)
{
    struct waiter *waiter = arg;
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    end_write(waiter, record, &body);
    if (write(waiter->fd, body.at, body.size) < 0)
        log_event(LOG_DEBUG, "build.waiter_gone", F_I64("build", record->id));
    waiter_free(waiter);
}

int api_build_answer_end(const struct request *request, struct reply *reply, int64_t id,
                         struct error *err)
{
    const struct services *services = request->services;
    struct waiter *waiter;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "nobody can wait now");
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_SIZE);
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    waiter = memory_new(sizeof(*waiter));
    *waiter = (struct waiter){ends[1], services->auth, identity_hold(request->caller)};
    if (builds_when_ended(services->builds, id, ended, waiter, err) < 0) {
        close(ends[0]);
        waiter_free(waiter);
        return -1;
    }
    reply->status = 201;
    reply_header(reply, "Location", "/api/v1/builds/%" PRId64, id);
    reply_header_slice(reply, "Content-Type", SLICE("application/json"));
    reply_live(reply, ends[0], NULL, NULL);
    reply_live_follower(reply);
    return 0;
}

/* --- lists --- */

static int filter_read(const struct request *request, struct build_filter *out, struct error *err)
{
    struct slice state = request_parameter(request, "state");
    enum build_state wanted;

    *out = (struct build_filter){
        .repository = request->name,
        .ref = request_parameter(request, "ref"),
        .commit = request_parameter(request, "commit"),
        .trigger = request_parameter(request, "trigger"),
        .state = -1,
    };
    if (state.at == NULL)
        return 0;
    if (!build_state_parse(state, &wanted))
        return error_set_field(err, "state",
                               "state must be New, Pending, Running, Complete, Failed, Error or "
                               "Cancelled");
    out->state = (int)wanted;
    return 0;
}

static int list(const struct request *request, struct reply *reply, struct build_filter *filter,
                struct error *err) ON(worker_thread)
{
    const struct services *services = request->services;
    OWNED(build_page_drop) struct build_page page = {.items = NULL};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    if (list_query_by_id(request, &query, err) < 0)
        return -1;
    filter->before_id = query.after_id;
    filter->limit = query.limit;
    if (build_list(services->storage, filter, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++) {
        unsigned rights =
            auth_rights(services->auth, request->caller, slice_of(page.items[i].repository));
        build_write_open(&body, &page.items[i], rights,
                         request->caller->role == ACCOUNT_ROLE_AUDITOR);
        write_close(&body, '}');
    }
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0, -1);
    return 0;
}

int api_builds_get(struct request *request, struct reply *reply, struct error *err)
{
    struct repository_filter visible;
    struct build_filter filter;

    assert_worker_thread();
    if (filter_read(request, &filter, err) < 0)
        return -1;
    auth_list_filter(request->services->auth, request->caller, &visible);
    filter.visible = &visible;
    return list(request, reply, &filter, err);
}

int api_repo_builds_get(struct request *request, struct reply *reply, struct error *err)
{
    struct build_filter filter;

    assert_worker_thread();
    if (filter_read(request, &filter, err) < 0)
        return -1;
    return list(request, reply, &filter, err);
}

/* --- its end, and another try --- */

int api_build_cancel(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    OWNED(build_record_drop) struct build_record build = {.id = 0}, after = {.id = 0};
    OWNED(event_drop) struct event event = {0};
    unsigned rights = 0;

    assert_worker_thread();
    if (api_build_at(request, &build, &rights, err) < 0 || api_build_push_needed(rights, err) < 0 ||
        api_builds_needed(request, err) < 0)
        return -1;
    event_new_id(&event, request, "build.cancel", "build", build.id);
    write_text(&event.detail, "repository", slice_of(build.repository));
    if (builds_cancel(services->builds, build.id, slice_of(request->caller->name), SLICE_NONE,
                      event_done(&event), err) < 0 ||
        build_find(services->storage, build.id, &after, err) < 0)
        return -1;
    return answer(request, reply, &after, rights, err);
}

/* Both count: :retry moves the tags again, :verify does not. */
typedef int again(struct builds *builds, int64_t id, const struct actor *actor,
                  struct slice actor_name, const struct audit_event *event, int64_t *out,
                  struct error *err);

static int begin_again(const struct request *request, struct reply *reply, const char *action,
                       again *how, struct error *err) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record build = {.id = 0};
    OWNED(event_drop) struct event event = {0};
    struct actor actor = auth_actor(request->caller);
    unsigned rights = 0;
    int64_t id;

    if (api_build_at(request, &build, &rights, err) < 0 || api_build_push_needed(rights, err) < 0 ||
        api_builds_needed(request, err) < 0)
        return -1;
    event_new_id(&event, request, action, "build", build.id);
    write_text(&event.detail, "repository", slice_of(build.repository));
    if (how(request->services->builds, build.id, &actor, slice_of(request->caller->name),
            event_done(&event), &id, err) < 0)
        return -1;
    return api_build_answer(request, reply, id, err);
}

int api_build_retry(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return begin_again(request, reply, "build.retry", builds_retry, err);
}

int api_build_verify(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return begin_again(request, reply, "build.verify", builds_verify, err);
}

/* ?with=: another build into the same repository. */
static int other_at(const struct request *request, const struct build_record *build,
                    struct build_record *out, struct error *err) ON(worker_thread)
{
    struct slice text = request_parameter(request, "with");
    uint64_t id = 0;

    if (!slice_to_u64(text, &id) || id == 0)
        return error_set_field(err, "with", "with must be the id of another build");
    if (build_find(request->services->storage, (int64_t)id, out, err) == 0 &&
        slice_equal(slice_of(out->repository), slice_of(build->repository)))
        return 0;
    if (err->code != ERROR_NONE && err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return error_set_field(err, "with", "with must be a build into the same repository");
}

int api_build_differences_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_record_drop) struct build_record build = {.id = 0}, other = {.id = 0};
    OWNED(api_long_read_end) atomic_uint *reads = NULL;
    OWNED(s2i_list_drop) struct s2i_list differences = {0};
    struct buffer body = BUFFER_NONE;
    unsigned rights = 0;

    assert_worker_thread();
    if (api_build_at(request, &build, &rights, err) < 0 ||
        other_at(request, &build, &other, err) < 0 || api_builds_needed(request, err) < 0 ||
        api_long_read_begin(request, &reads, err) < 0 ||
        builds_differences(request->services->builds, &build, &other, &differences, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    write_flag(&body, "same", differences.count == 0);
    write_open(&body, "differences", '[');
    for (size_t i = 0; i < differences.count; i++)
        write_text(&body, NULL, slice_of(differences.items[i]));
    write_close(&body, ']');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

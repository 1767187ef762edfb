/* exchange.c - one request on the loop: from the parsed head to the worker and back.
 * Touches  exchanges; hands jobs to workers.
 * Never    reads or writes a socket, runs a handler (save a route's peek). */
#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/http/http_internal.h"

enum {
    DECODED_KEPT_MAX = 4096,
    LOGIN_RETRY_S = 5,
};

/* --- memory --- */

static void exchange_arrived(struct message *message);

static struct exchange *exchange_take(struct loop *loop) ON(loop_thread)
{
    struct exchange *exchange = loop->free_exchanges;

    if (exchange != NULL) {
        loop->free_exchanges = exchange->next_free;
        loop->free_exchange_count--;
        return exchange;
    }
    exchange = memory_new(sizeof(*exchange));
    exchange->loop = loop;
    exchange->job.run = dispatch_run;
    exchange->message.arrived = exchange_arrived;
    exchange->input = -1;
    exchange->stream.job.run = dispatch_stream;
    exchange->stream.last = &exchange->stream.first;
    pthread_mutex_init(&exchange->stream.lock, NULL);
    reply_init(&exchange->reply);
    return exchange;
}

struct exchange *exchange_new(struct conn *conn)
{
    struct exchange *exchange = exchange_take(conn->loop);

    exchange->conn = conn;
    exchange->job.lane = exchange->stream.job.lane = conn->lane;
    conn->exchange = exchange;
    conn->loop->exchange_count++;
    return exchange;
}

/* Everything that the next request must not see. */
static void exchange_clear(struct exchange *exchange) ON(loop_thread)
{
    struct stream *stream = &exchange->stream;

    assert(stream->first == NULL && stream->chunks == 0 && !stream->running);
    assert(exchange->live == NULL && exchange->input < 0);
    identity_drop(&exchange->request.caller);
    identity_drop(&exchange->known);
    identity_drop(&exchange->refused);
    exchange->request = (struct request){0};
    exchange->err.code = ERROR_NONE;
    exchange->err.status = 0;
    exchange->err.retry_after_s = 0;
    exchange->err.field = NULL;
    exchange->err.message[0] = exchange->err.cause[0] = 0;
    exchange->conn = NULL;
    exchange->at_work = exchange->authorised = exchange->keep = exchange->api = false;
    exchange->left = exchange->slow = exchange->management = exchange->no_store = false;
    exchange->authorization = SLICE_NONE;
    exchange->fault = NULL;
    exchange->prefix_size = 0;
    exchange->old = exchange->goodbye = exchange->logged = exchange->ended = false;
    exchange->read_failed = false;
    exchange->opened = exchange->asked = exchange->broken_status = 0;
    exchange->whole = SLICE_NONE;
    buffer_drop(&exchange->body.collected);
    exchange->body = (struct body){0};
    stream->ended = stream->failed = stream->open = false;
    stream->handle = NULL;
    exchange->out = (struct sending){0};
    exchange->bytes_out = exchange->started_us = 0;
    memory_drop(&exchange->head_bytes);
    if (exchange->decoded_capacity > DECODED_KEPT_MAX) {
        memory_drop(&exchange->decoded);
        exchange->decoded_capacity = 0;
    }
}

void exchange_free(struct exchange *exchange)
{
    struct loop *loop = exchange->loop;

    access_log(exchange);
    exchange_release(exchange);
    exchange->conn = NULL;
    exchange->dying = exchange->stream.chunks > 0; /* a piece's message is still on its way */
    if (exchange->dying)
        return;
    reply_reset(&exchange->reply);
    admit_body_ended(exchange);
    admit_reply_ended(exchange);
    exchange_clear(exchange);
    loop->exchange_count--;
    if (loop->free_exchange_count >= FREE_LIST_MAX) {
        reply_drop(&exchange->reply);
        pthread_mutex_destroy(&exchange->stream.lock);
        free(exchange->decoded);
        free(exchange);
        return;
    }
    exchange->next_free = loop->free_exchanges;
    loop->free_exchanges = exchange;
    loop->free_exchange_count++;
}

/* --- the body's file is closed where closing may wait --- */

struct release_job {
    struct worker_job job; /* first */
    void (*release)(void *, bool);
    void *released;
    bool argument;
};

static void release_run(struct worker_job *job)
{
    struct release_job *release = (struct release_job *)job;

    assert_worker_thread();
    release->release(release->released, release->argument);
    free(release);
}

void exchange_release(struct exchange *exchange)
{
    struct reply *reply = &exchange->reply;

    live_drop(exchange);
    if (reply->release == NULL)
        return;
    if (!reply_has_file(reply) && !reply->live) {
        reply_release(reply, false);
        return;
    }
    struct release_job *job = memory_new(sizeof(*job));
    *job = (struct release_job){.job = {.run = release_run, .lane = exchange->job.lane},
                                .release = reply->release,
                                .released = reply->released,
                                .argument = reply->live ? !exchange->ended : exchange->read_failed};
    reply->release = NULL;
    worker_pool_submit(exchange->loop->server->wait_pool, &job->job);
}

/* --- the request --- */

static void request_fill(struct exchange *exchange, const struct head *head) ON(loop_thread)
{
    struct request *request = &exchange->request;

    request->method = method_parse(head->method);
    request->method_text = head->method;
    request->target = head->target;
    request->headers = exchange->headers;
    request->header_count = head->header_count;
    request->parameters = exchange->parameters;
    request->content_length = head->content_length;
    request->chunked = head->chunked;
    request->services = exchange->loop->server->options.services;
    exchange->api =
        slice_starts(head->path, "/v2") && (head->path.size == 3 || head->path.at[3] == '/');
    exchange->management =
        slice_starts(head->path, "/api") && (head->path.size == 4 || head->path.at[4] == '/');
    exchange->no_store = exchange->management;
    exchange->authorization = head->authorization;
    exchange->old = head->old;
    exchange->body.chunked = head->chunked;
    exchange->body.left = head->content_length;
    exchange->body.done = !head->chunked && head->content_length == 0;
    exchange->body.awaits_continue = head->expects_continue;
    if (!head->persistent)
        exchange->conn->last = exchange->goodbye = true;
    access_start(exchange);
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.at[i];
        if (c < 0x20 || c == 0x7f)
            return true;
    }
    return false;
}

/* Decodes path and query once (HTTP-10, HTTP-11). */
static int target_decode(struct exchange *exchange, const struct head *head) ON(loop_thread)
{
    struct request *request = &exchange->request;
    size_t needed = head->path.size + head->query.size;
    size_t size;

    if (needed > exchange->decoded_capacity) {
        exchange->decoded = memory_resize(exchange->decoded, needed);
        exchange->decoded_capacity = needed;
    }
    char *path = exchange->decoded, *query = path + head->path.size;
    if (!percent_decode(head->path, path, &size, false, true)) {
        if (percent_decode(head->path, path, &size, false, false))
            return error_set(&exchange->err, ERROR_ROUTE_UNKNOWN,
                             "an encoded slash does not separate segments");
        return error_set(&exchange->err, ERROR_BAD_REQUEST, "the path is badly escaped");
    }
    request->path = (struct slice){path, size};
    if (has_control(request->path))
        return error_set(&exchange->err, ERROR_BAD_REQUEST, "the path has control characters");
    if (query_parse(head->query, query, exchange->parameters, &request->parameter_count))
        return 0;
    if (request->parameter_count < HEAD_PARAMETERS_MAX)
        return error_set(&exchange->err, ERROR_BAD_REQUEST, "the query is badly escaped");
    error_set(&exchange->err, ERROR_BAD_REQUEST, "the query has more than %d parameters",
              HEAD_PARAMETERS_MAX);
    return error_set_status(&exchange->err, 414);
}

static void allow_header(struct reply *reply, int allowed)
{
    static const struct {
        enum method method;
        const char *text;
    } methods[] = {{METHOD_GET, "GET"}, {METHOD_HEAD, "HEAD"},   {METHOD_POST, "POST"},
                   {METHOD_PUT, "PUT"}, {METHOD_PATCH, "PATCH"}, {METHOD_DELETE, "DELETE"}};
    char text[64] = "";
    size_t used = 0;

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if ((allowed & (int)methods[i].method) == 0)
            continue;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used > 0 ? ", " : "",
                                 methods[i].text);
    }
    reply_header_slice(reply, "Allow", (struct slice){text, used});
}

/* Probes and the admin socket are not counted. Spec: LIM-06. */
static int rate_judge(struct exchange *exchange) ON(loop_thread)
{
    struct limiter *limiter = exchange->loop->server->limiter;
    const struct request *request = &exchange->request;
    struct slice network = {(const char *)request->network, sizeof(request->network)};

    if (limiter == NULL || exchange->conn->standing == PEER_ADMIN ||
        (request->route != NULL && request->route->action == ACTION_NONE) ||
        limiter_admit(limiter, network, h2o_now(exchange->loop->evloop)))
        return 0;
    return error_set(&exchange->err, ERROR_TOOMANYREQUESTS, "too many requests");
}

static int name_judge(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    bool reads = (request->method & (METHOD_GET | METHOD_HEAD)) != 0;

    if (request->name.at == NULL || oci_name_valid(request->name))
        return 0;
    error_set(&exchange->err, ERROR_NAME_INVALID,
              "the repository name is malformed: a-z, 0-9, and . _ - / between");
    return error_set_status(&exchange->err, reads ? 404 : 400); /* ROUTE-03 */
}

/* The route, the request rate and the name's grammar, in this order (ROUTE-02). */
static int route_judge(struct exchange *exchange) ON(loop_thread)
{
    struct request *request = &exchange->request;
    int allowed;
    enum route_outcome outcome =
        route_find(exchange->loop->server->options.routes, request, &allowed);

    if (outcome != ROUTE_UNKNOWN) {
        exchange->management |= action_is_api(request->route->action);
        exchange->no_store |= exchange->management || request->route->action == ACTION_TOKEN;
        if (request->route->action == ACTION_HOOK)
            request->authorization = exchange->authorization;
    }
    if (rate_judge(exchange) < 0 || admin_judge_request(exchange) < 0)
        return -1;
    if (outcome == ROUTE_UNKNOWN)
        return error_set(&exchange->err, ERROR_ROUTE_UNKNOWN, "no such resource");
    if (outcome == ROUTE_METHOD) { /* HTTP-13 */
        allow_header(&exchange->reply, allowed);
        return error_set(&exchange->err, ERROR_UNSUPPORTED, "the method is not allowed here");
    }
    return name_judge(exchange);
}

static uint64_t collect_limit(const struct exchange *exchange)
{
    const struct route *route = exchange->request.route;
    return route->body_limit == NULL ? 0 : route->body_limit(exchange->request.services);
}

static int collect_check(struct exchange *exchange)
{
    uint64_t limit = collect_limit(exchange);

    if (exchange->request.content_length <= limit)
        return 0;
    error_set(&exchange->err, ERROR_SIZE_INVALID, "body exceeds the limit of %llu bytes",
              (unsigned long long)limit);
    return error_set_status(&exchange->err, 413);
}

static int collect_admit(struct exchange *exchange) ON(loop_thread)
{
    return collect_check(exchange) < 0 ? -1 : admit_body(exchange, collect_limit(exchange));
}

/* Which step comes first depends on the body, and on whether all of it is here. */
static int exchange_start(struct exchange *exchange) ON(loop_thread)
{
    struct conn *conn = exchange->conn;

    if (exchange->slow && !exchange->authorised) {
        exchange_submit(exchange, STEP_AUTHORISE);
        return 0;
    }
    switch (exchange->request.route->body) {
    case BODY_IGNORE:
        exchange_submit(exchange, STEP_HANDLE);
        return 0;
    case BODY_COLLECT:
        if (exchange->authorised && collect_check(exchange) < 0)
            return -1;
        if (body_whole(conn, &exchange->request.body))
            exchange_submit(exchange, STEP_HANDLE);
        else if (!exchange->authorised)
            exchange_submit(exchange, STEP_AUTHORISE);
        else if (collect_admit(exchange) == 0)
            body_start(conn);
        else
            return -1;
        return 0;
    case BODY_STREAM:
        if (body_whole(conn, &exchange->whole))
            exchange_submit(exchange, STEP_WHOLE);
        else if (admit_body(exchange, 0) == 0)
            exchange_submit(exchange, STEP_OPEN);
        else
            return -1;
        return 0;
    case BODY_PIPE:
        if (admit_body(exchange, 0) < 0)
            return -1;
        exchange_submit(exchange, STEP_PIPE);
        return 0;
    }
    return 0;
}

/* The caller is known, or for a worker to find out. */
static void go_on(struct exchange *exchange) ON(loop_thread)
{
    const struct route *route = exchange->request.route;

    if (exchange->authorised && route->peek != NULL) {
        if (route->peek(&exchange->request, &exchange->reply)) {
            send_start(exchange->conn);
            return;
        }
        reply_reset(&exchange->reply);
    }
    if (exchange_start(exchange) < 0)
        exchange_answer_error(exchange);
}

void exchange_begin(struct conn *conn, const struct head *head)
{
    struct exchange *exchange = conn->exchange;

    request_fill(exchange, head);
    if (client_fill(exchange, head) < 0 || target_decode(exchange, head) < 0 ||
        route_judge(exchange) < 0) {
        exchange_answer_error(exchange);
        return;
    }
    if (caller_peek(exchange) < 0)
        exchange_answer_error(exchange);
    else
        go_on(exchange);
}

/* --- to a worker and back --- */

/* Where passwords are hashed, so that a storm of log-ins leaves the waiting workers alone. */
static bool for_login_pool(const struct exchange *exchange, enum step step)
{
    const struct route *route = exchange->request.route;

    if (step == STEP_AUTHORISE)
        return exchange->slow;
    return step == STEP_HANDLE && route->login &&
           (route->hashless == NULL || !route->hashless(&exchange->request));
}

void exchange_submit(struct exchange *exchange, enum step step)
{
    struct server *server = exchange->loop->server;

    exchange->step = step;
    exchange->at_work = true;
    if (exchange->conn != NULL && step != STEP_WARM) {
        exchange->conn->state = CONN_WAIT;
        conn_timer(exchange->conn, NULL);
    }
    if (!for_login_pool(exchange, step)) {
        worker_pool_submit(server->wait_pool, &exchange->job);
    } else if (!worker_pool_offer(server->login_pool, &exchange->job, LOGINS_WAITING)) {
        exchange->at_work = false;
        error_set(&exchange->err, ERROR_UNAVAILABLE, "too many log-ins at a time");
        exchange->err.retry_after_s = LOGIN_RETRY_S;
        exchange_answer_error(exchange);
    }
}

void exchange_answer_error(struct exchange *exchange)
{
    if (exchange->request.id[0] == 0)
        client_id(exchange);
    if (exchange->request.remote[0] == 0)
        memcpy(exchange->request.remote, exchange->conn->remote, sizeof(exchange->request.remote));
    caller_refuse(exchange);
    send_start(exchange->conn);
}

void exchange_detach(struct exchange *exchange)
{
    exchange->conn = NULL;
    exchange->left = exchange->prefix_size == 0;
    if (exchange->at_work)
        return;
    if (exchange->stream.open)
        body_abandon(exchange);
    else
        exchange_free(exchange);
}

/* Nobody waits for the answer any more. */
static void arrived_alone(struct exchange *exchange) ON(loop_thread)
{
    if (exchange->step == STEP_OPEN && exchange->opened == 1) {
        exchange->stream.open = true;
        body_abandon(exchange);
        return;
    }
    exchange_free(exchange);
}

static void arrived_finished(struct exchange *exchange) ON(loop_thread)
{
    int status = exchange->broken_status;

    admit_body_ended(exchange);
    if (status == 0) {
        send_start(exchange->conn);
        return;
    }
    exchange_release(exchange);
    reply_reset(&exchange->reply);
    conn_refuse(exchange->conn, status, ERROR_BAD_REQUEST,
                status == 408 ? "the body stalled; what came is kept"
                              : "the body's framing is malformed; what came before is kept");
}

/* Whether the refusal that just came back is not the last word. */
static bool ask_later(struct exchange *exchange) ON(loop_thread)
{
    bool opening = exchange->step == STEP_OPEN || exchange->step == STEP_WHOLE;

    if (!opening || exchange->opened != STREAM_LATER || exchange->asked == LATER_MAX)
        return false;
    exchange->asked++;
    conn_timer(exchange->conn, &exchange->loop->timeouts.retry);
    return true;
}

void exchange_ask_again(struct exchange *exchange)
{
    reply_reset(&exchange->reply);
    error_clear(&exchange->err);
    exchange_submit(exchange, exchange->step);
}

static void exchange_arrived(struct message *message)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, message, message);
    struct conn *conn = exchange->conn;

    assert_loop_thread();
    exchange->at_work = false;
    if (conn == NULL) {
        arrived_alone(exchange);
        return;
    }
    caller_remember(exchange);
    if (ask_later(exchange))
        return;
    switch (exchange->step) {
    case STEP_AUTHORISE:
        if (exchange->reply.status == 0)
            go_on(exchange);
        else
            send_start(conn);
        break;
    case STEP_OPEN:
        if (exchange->opened == 1) {
            exchange->stream.open = true;
            body_start(conn);
            break;
        }
        admit_body_ended(exchange);
        send_start(conn);
        break;
    case STEP_HANDLE:
        send_start(conn);
        break;
    case STEP_WHOLE:
    case STEP_FINISH:
        arrived_finished(exchange);
        break;
    case STEP_PIPE:
        if (exchange->opened == 1) {
            live_begin(conn);
            break;
        }
        admit_body_ended(exchange);
        send_start(conn);
        break;
    case STEP_WARM:
        send_some(conn);
        break;
    }
}

/* dispatch.c - the worker's side of a request: authorise, call the handler, render its failure.
 * Touches  an exchange that the loop gave away.
 * Never    connections, sockets. */
#include <errno.h>
#include <string.h>

#include "registry/core/log.h"
#include "registry/http/http_internal.h"

/* --- rendering --- */

static void failure_log(const struct exchange *exchange) ON(worker_thread)
{
    const struct request *request = &exchange->request;
    const struct error *err = &exchange->err;

    if (err->status < 500 && err->cause[0] == 0)
        return;
    log_event(err->status >= 500 ? LOG_ERROR : LOG_DEBUG, "http.failed",
              F_TEXT("request_id", request->id), F_TEXT("route", request->route->endpoint),
              F_SLICE("repository", request->name), F_U64("status", (uint64_t)err->status),
              F_TEXT("code", error_code_name(err->code)), F_TEXT("message", err->message),
              F_TEXT("cause", err->cause));
}

/* A reply always leaves with a status: a handler that failed has its error rendered. */
static void render(struct exchange *exchange, int outcome) ON(worker_thread)
{
    if (outcome < 0) {
        if (exchange->err.code == ERROR_NONE)
            error_set(&exchange->err, ERROR_INTERNAL, "internal error");
        failure_log(exchange);
        caller_refuse(exchange);
    }
    assert(exchange->reply.status != 0);
}

/* --- steps --- */

static void step_handle(struct exchange *exchange) ON(worker_thread)
{
    int outcome = caller_authorise(exchange);

    if (outcome == 0)
        outcome =
            exchange->request.route->handle(&exchange->request, &exchange->reply, &exchange->err);
    render(exchange, outcome);
}

/* 1: the stream is open. Otherwise the reply is ready. */
static int step_open(struct exchange *exchange) ON(worker_thread)
{
    int opened = caller_authorise(exchange);

    if (opened == 0)
        opened = exchange->request.route->stream->open(&exchange->request, &exchange->reply,
                                                       &exchange->stream.handle, &exchange->err);
    exchange->opened = opened;
    if (opened != 1)
        render(exchange, opened);
    return opened;
}

/* 1: the reply is live, and input takes the body. Otherwise the reply is ready. */
static void step_pipe(struct exchange *exchange) ON(worker_thread)
{
    int opened = caller_authorise(exchange);

    if (opened == 0)
        opened = exchange->request.route->open_pipe(&exchange->request, &exchange->reply,
                                                    &exchange->input, &exchange->err);
    exchange->opened = opened;
    if (opened != 1)
        render(exchange, opened);
    else
        assert(exchange->reply.live && exchange->reply.status != 0 && exchange->input >= 0);
}

static void finish(struct exchange *exchange, enum body_outcome outcome) ON(worker_thread)
{
    void *handle = exchange->stream.handle;

    exchange->stream.handle = NULL;
    int result = exchange->request.route->stream->finish(handle, outcome, &exchange->request,
                                                         &exchange->reply, &exchange->err);
    if (outcome != BODY_BROKEN)
        render(exchange, result);
    else if (result < 0)
        failure_log(exchange);
}

static void step_whole(struct exchange *exchange) ON(worker_thread)
{
    enum body_outcome outcome = BODY_COMPLETE;

    if (step_open(exchange) != 1)
        return;
    if (exchange->whole.size > 0 &&
        exchange->request.route->stream->write(exchange->stream.handle, exchange->whole,
                                               &exchange->err) < 0)
        outcome = BODY_REFUSED;
    finish(exchange, outcome);
}

static void step_finish(struct exchange *exchange) ON(worker_thread)
{
    enum body_outcome outcome = exchange->stream.outcome;

    if (outcome == BODY_COMPLETE && exchange->stream.failed)
        outcome = BODY_REFUSED;
    finish(exchange, outcome);
}

/* Reads a piece of the reply's file into the page cache, so that the loop need not wait for it. */
static void step_warm(struct exchange *exchange) ON(worker_thread)
{
    const struct sending *out = &exchange->out;
    const struct reply_part *part = &exchange->reply.parts[(out->piece - 2) / 2];
    uint64_t at = part->file_offset + out->offset;
    uint64_t end = out->warm_until;
    OWNED(memory_drop) char *buffer = memory_new(CHUNK_SIZE);

    while (at < end) {
        size_t wanted = end - at < CHUNK_SIZE ? (size_t)(end - at) : CHUNK_SIZE;
        ssize_t got = pread(exchange->reply.fd, buffer, wanted, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) { /* BLOB-09 */
            exchange->read_failed = true;
            return;
        }
        at += (uint64_t)got;
    }
}

void dispatch_run(struct worker_job *job)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, job, job);

    assert_worker_thread();
    switch (exchange->step) {
    case STEP_AUTHORISE:
        if (caller_authorise(exchange) < 0)
            render(exchange, -1);
        break;
    case STEP_HANDLE:
        step_handle(exchange);
        break;
    case STEP_OPEN:
        step_open(exchange);
        break;
    case STEP_WHOLE:
        step_whole(exchange);
        break;
    case STEP_FINISH:
        step_finish(exchange);
        break;
    case STEP_PIPE:
        step_pipe(exchange);
        break;
    case STEP_WARM:
        step_warm(exchange);
        break;
    }
    loop_answer(exchange->loop, &exchange->message);
}

/* --- streams --- */

static struct chunk *chunk_take(struct stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    struct chunk *chunk = stream->first;
    stream->first = chunk->next;
    if (stream->first == NULL)
        stream->last = &stream->first;
    pthread_mutex_unlock(&stream->lock);
    return chunk;
}

/* Writes the next piece and gives it back. True when another one waits. */
static bool stream_write(struct exchange *exchange) ON(worker_thread)
{
    struct stream *stream = &exchange->stream;
    struct server *server = exchange->loop->server;
    struct loop *loop = exchange->loop;
    struct chunk *chunk = chunk_take(stream);
    bool failed = stream->failed; /* only workers set it, one at a time (3) */

    if (!failed)
        failed = exchange->request.route->stream->write(
                     stream->handle, (struct slice){chunk->bytes, chunk->size}, &exchange->err) < 0;
    pthread_mutex_lock(&stream->lock);
    stream->failed = failed;
    bool more = stream->first != NULL;
    bool last = !more && stream->ended;
    stream->running = more;
    pthread_mutex_unlock(&stream->lock);
    /* While the piece is out the exchange lives, and it is out until its message has arrived; the
     * finish is asked for after that message was sent. */
    loop_answer(loop, &chunk->message);
    if (last)
        worker_pool_submit(server->wait_pool, &exchange->job);
    return more;
}

/* Stays with the stream as long as no other one waits: streams take turns, piece by piece, and no
 * worker is bound to one; but a lone upload does not wander between threads. */
void dispatch_stream(struct worker_job *job)
{
    struct exchange *exchange = H2O_STRUCT_FROM_MEMBER(struct exchange, stream.job, job);
    struct worker_pool *pool = exchange->loop->server->hash_pool;

    assert_worker_thread();
    while (stream_write(exchange) && worker_pool_go_on(pool, job))
        ;
}

/* body.c - bodies on the loop: read, decoded, collected, streamed to workers, thrown away.
 * Touches  the connection's descriptor, an exchange's stream.
 * Never    files, what the bytes mean.
 *
 * A stream hands pieces to the hash workers through a queue of at most CHUNKS_MAX; when all are
 * given out nothing is read and no time runs: the client is not to blame. A partly filled piece
 * leaves as soon as a worker would be idle, so that a slow client's bytes reach the disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "registry/http/http_internal.h"

static const char CONTINUE_TEXT[] = "HTTP/1.1 100 Continue\r\n\r\n";

enum { CHUNK_ROOM_MIN = 4096 }; /* a piece with less room left counts as full */

/* --- reading and decoding --- */

static enum body_progress read_ended(ssize_t got)
{
    return got == -EAGAIN ? BODY_DRY : BODY_LEFT;
}

static enum body_progress read_sized(struct conn *conn, char *out, size_t room, size_t *got)
    ON(loop_thread)
{
    struct body *body = &conn->exchange->body;
    struct input *input = &conn->input;
    size_t wanted = room < body->left ? room : (size_t)body->left;
    size_t here = input->size - input->start;

    if (here > 0) {
        if (wanted > here)
            wanted = here;
        memcpy(out, input->at + input->start, wanted);
        input->start += wanted;
    } else {
        ssize_t size = conn_read(conn, out, wanted);
        if (size <= 0)
            return read_ended(size);
        wanted = (size_t)size;
    }
    *got = wanted;
    body->left -= wanted;
    body->done = body->left == 0;
    return body->done ? BODY_DONE : BODY_MOVED;
}

static enum body_progress read_chunked(struct conn *conn, char *out, size_t room, size_t *got)
    ON(loop_thread)
{
    struct body *body = &conn->exchange->body;
    struct input *input = &conn->input;
    bool buffered = input->start < input->size;
    struct slice raw = {input->at + input->start, input->size - input->start};
    size_t used;

    if (!buffered) { /* never more than room: then all of it can be decoded now */
        size_t wanted = room < SCRATCH_SIZE ? room : SCRATCH_SIZE;
        ssize_t size = conn_read(conn, conn->loop->scratch, wanted);
        if (size <= 0)
            return read_ended(size);
        raw = (struct slice){conn->loop->scratch, (size_t)size};
    }
    enum chunk_outcome outcome = chunk_decode(&body->decoder, raw, &used, out, room, got);
    if (outcome == CHUNK_MALFORMED)
        return BODY_MALFORMED;
    if (buffered)
        input->start += used;
    else
        conn_unread(conn, raw.at + used, raw.size - used);
    body->done = outcome == CHUNK_END;
    return body->done ? BODY_DONE : BODY_MOVED;
}

enum body_progress body_read(struct conn *conn, char *out, size_t room, size_t *got)
{
    struct body *body = &conn->exchange->body;

    *got = 0;
    if (body->done)
        return BODY_DONE;
    enum body_progress progress =
        body->chunked ? read_chunked(conn, out, room, got) : read_sized(conn, out, room, got);
    body->received += *got;
    if (progress == BODY_MOVED || progress == BODY_DONE)
        body->awaits_continue = false;
    return progress;
}

bool body_whole(struct conn *conn, struct slice *whole)
{
    struct body *body = &conn->exchange->body;
    struct input *input = &conn->input;
    struct slice here = {input->at + input->start, input->size - input->start};

    *whole = SLICE("");
    if (body->done)
        return true;
    if (!body->chunked) {
        if (here.size < body->left)
            return false;
        *whole = (struct slice){here.at, (size_t)body->left};
        input->start += whole->size;
    } else {
        struct chunk_decoder decoder = body->decoder;
        size_t used, made;
        if (here.size == 0)
            return false;
        buffer_reserve(&body->collected, here.size);
        if (chunk_decode(&decoder, here, &used, body->collected.at, here.size, &made) != CHUNK_END)
            return false;
        *whole = (struct slice){body->collected.at, made};
        input->start += used;
    }
    body->received = whole->size;
    body->left = 0;
    body->awaits_continue = false;
    return body->done = true;
}

/* --- throwing away --- */

bool body_skim(struct conn *conn)
{
    struct body *body = &conn->exchange->body;
    enum body_progress progress = BODY_MOVED;
    size_t got;

    while (!body->done && progress == BODY_MOVED && body->discarded < SCRATCH_SIZE) {
        progress = body_read(conn, conn->loop->scratch, SCRATCH_SIZE - body->discarded, &got);
        body->discarded += got;
    }
    if (body->done)
        return true;
    if (progress == BODY_LEFT || progress == BODY_MALFORMED || body->awaits_continue)
        return false;
    return body->chunked ? conn->exchange->reply.status < 400 : body->left <= DISCARD_MAX;
}

/* All that is here; too much, which only chunks can be, counts as malformed. */
static enum body_progress discard(struct conn *conn) ON(loop_thread)
{
    struct body *body = &conn->exchange->body;
    enum body_progress progress = BODY_MOVED;
    size_t got;

    while (progress == BODY_MOVED) {
        progress = body_read(conn, conn->loop->scratch, SCRATCH_SIZE, &got);
        body->discarded += got;
        if (body->discarded > DISCARD_MAX + SCRATCH_SIZE)
            progress = BODY_MALFORMED;
    }
    return progress;
}

void body_hold(struct conn *conn)
{
    conn->state = CONN_HOLD;
    conn_timer(conn, &conn->loop->timeouts.hold);
    body_hold_readable(conn);
}

void body_hold_readable(struct conn *conn)
{
    enum body_progress progress = discard(conn);

    if (progress == BODY_DRY)
        conn_poll_read(conn); /* the timer goes on: a byte now and then holds nothing up */
    else
        send_held(conn, progress == BODY_DONE);
}

void body_discard_readable(struct conn *conn)
{
    enum body_progress progress = discard(conn);

    if (progress == BODY_DONE) {
        conn_next(conn);
    } else if (progress == BODY_DRY) {
        conn_timer(conn, &conn->loop->timeouts.body);
        conn_poll_read(conn);
    } else if (progress == BODY_LEFT) {
        conn_close(conn);
    } else {
        conn_linger(conn);
    }
}

/* --- streaming --- */

static struct chunk *chunk_new(struct exchange *exchange) ON(loop_thread);
static void chunk_arrived(struct message *message);

static struct chunk *chunk_new(struct exchange *exchange)
{
    struct loop *loop = exchange->loop;
    struct body *body = &exchange->body;
    bool small = !body->chunked && body->left < CHUNK_SIZE / 2;
    size_t capacity = small ? (size_t)body->left : CHUNK_SIZE;
    struct chunk *chunk = small ? NULL : loop->free_chunks;

    if (chunk != NULL) {
        loop->free_chunks = chunk->next;
        loop->free_chunk_count--;
    } else {
        chunk = malloc(sizeof(*chunk) + capacity); /* not zeroed: it is filled next */
        if (chunk == NULL)
            abort();
    }
    memset(chunk, 0, sizeof(*chunk));
    chunk->message.arrived = chunk_arrived;
    chunk->exchange = exchange;
    chunk->capacity = capacity;
    exchange->stream.chunks++;
    return chunk;
}

void chunk_free(struct loop *loop, struct chunk *chunk)
{
    if (chunk->capacity != CHUNK_SIZE || loop->free_chunk_count >= FREE_CHUNKS_MAX) {
        free(chunk);
        return;
    }
    chunk->next = loop->free_chunks;
    loop->free_chunks = chunk;
    loop->free_chunk_count++;
}

static void filling_drop(struct exchange *exchange) ON(loop_thread)
{
    if (exchange->stream.filling == NULL)
        return;
    chunk_free(exchange->loop, TAKE(exchange->stream.filling));
    exchange->stream.chunks--;
}

/* Hands the piece being filled to the workers. */
static void filling_push(struct exchange *exchange) ON(loop_thread)
{
    struct stream *stream = &exchange->stream;
    struct chunk *chunk = TAKE(stream->filling);

    pthread_mutex_lock(&stream->lock);
    chunk->next = NULL;
    *stream->last = chunk;
    stream->last = &chunk->next;
    bool start = !stream->running;
    stream->running = true;
    pthread_mutex_unlock(&stream->lock);
    if (start)
        worker_pool_submit(exchange->loop->server->hash_pool, &stream->job);
}

static bool worker_idle(struct stream *stream)
{
    pthread_mutex_lock(&stream->lock);
    bool idle = !stream->running;
    pthread_mutex_unlock(&stream->lock);
    return idle;
}

/* No more bytes come: finish() runs once the queue is empty. */
static void stream_end(struct exchange *exchange, enum body_outcome outcome) ON(loop_thread)
{
    struct stream *stream = &exchange->stream;

    if (stream->filling != NULL && stream->filling->size > 0 && outcome != BODY_REFUSED)
        filling_push(exchange);
    else
        filling_drop(exchange);
    stream->open = false;
    exchange->at_work = true;
    exchange->step = STEP_FINISH;
    pthread_mutex_lock(&stream->lock);
    stream->outcome = outcome;
    stream->ended = true;
    bool idle = !stream->running;
    pthread_mutex_unlock(&stream->lock);
    if (idle)
        worker_pool_submit(exchange->loop->server->wait_pool, &exchange->job);
}

void body_abandon(struct exchange *exchange)
{
    stream_end(exchange, BODY_BROKEN);
}

/* The stream is over while the client is still there. */
static void stream_wait(struct conn *conn, enum body_outcome outcome) ON(loop_thread)
{
    conn->state = CONN_WAIT;
    conn_timer(conn, NULL);
    stream_end(conn->exchange, outcome);
}

static void chunk_arrived(struct message *message)
{
    struct chunk *chunk = H2O_STRUCT_FROM_MEMBER(struct chunk, message, message);
    struct exchange *exchange = chunk->exchange;
    struct stream *stream = &exchange->stream;
    struct conn *conn = exchange->conn;

    assert_loop_thread();
    stream->chunks--;
    chunk_free(exchange->loop, chunk);
    if (exchange->dying && stream->chunks == 0)
        exchange_free(exchange);
    if (conn == NULL || !stream->open)
        return;
    pthread_mutex_lock(&stream->lock);
    bool failed = stream->failed;
    pthread_mutex_unlock(&stream->lock);
    if (failed)
        stream_wait(conn, BODY_REFUSED);
    else if (conn->state == CONN_BODY)
        body_readable(conn);
}

/* The body ends badly; status is what to tell the client, 0 when it is gone. */
static void body_break(struct conn *conn, int status) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;

    if (exchange->reply.live) {
        live_break(conn);
        return;
    }
    if (status == 0) {
        conn_close(conn);
        return;
    }
    conn->last = true;
    exchange->body.done = true; /* nothing more is decoded */
    if (exchange->stream.open) {
        exchange->broken_status = status;
        stream_wait(conn, BODY_BROKEN);
    } else {
        conn_refuse(conn, status, ERROR_BAD_REQUEST,
                    status == 408 ? "the body stalled" : "the body's framing is malformed");
    }
}

void body_timed_out(struct conn *conn)
{
    body_break(conn, 408);
}

/* After DRY, LEFT or MALFORMED, or when others shall have a turn. */
static void pause_reading(struct conn *conn, enum body_progress progress, bool moved)
    ON(loop_thread)
{
    if (progress == BODY_LEFT) {
        body_break(conn, 0);
        return;
    }
    if (progress == BODY_MALFORMED) {
        body_break(conn, 400);
        return;
    }
    if (moved || !h2o_timeout_is_linked(&conn->timer))
        conn_timer(conn, &conn->loop->timeouts.body);
    conn_poll_read(conn);
    if (conn->input.start < conn->input.size)
        conn_go_on_soon(conn);
}

static bool filling_full(const struct exchange *exchange)
{
    const struct chunk *filling = exchange->stream.filling;
    size_t room = filling->capacity - filling->size;

    return exchange->body.chunked ? room < CHUNK_ROOM_MIN : room == 0;
}

static void stream_readable(struct conn *conn) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;
    struct stream *stream = &exchange->stream;
    enum body_progress progress = BODY_MOVED;
    size_t moved = 0, got;

    while (progress == BODY_MOVED && moved < TURN_SIZE) {
        if (stream->filling == NULL) {
            if (stream->chunks == CHUNKS_MAX) { /* chunk_arrived goes on */
                conn_timer(conn, NULL);
                if (h2o_socket_is_reading(conn->socket))
                    h2o_socket_read_stop(conn->socket);
                return;
            }
            stream->filling = chunk_new(exchange);
        }
        struct chunk *filling = stream->filling;
        progress = body_read(conn, filling->bytes + filling->size,
                             filling->capacity - filling->size, &got);
        filling->size += got;
        moved += got;
        if (progress == BODY_MOVED && filling_full(exchange))
            filling_push(exchange);
    }
    if (progress == BODY_DONE) {
        stream_wait(conn, BODY_COMPLETE);
        return;
    }
    if (stream->filling != NULL && worker_idle(stream)) {
        if (stream->filling->size > 0)
            filling_push(exchange);
        else
            filling_drop(exchange); /* an idle client holds no memory */
    }
    pause_reading(conn, progress, moved > 0);
}

/* --- collecting --- */

static uint64_t collect_limit(const struct exchange *exchange)
{
    const struct route *route = exchange->request.route;
    return route->body_limit == NULL ? 0 : route->body_limit(exchange->request.services);
}

/* What to read next: never much more than may come. */
static size_t collect_room(const struct exchange *exchange, uint64_t most)
{
    uint64_t room = most - exchange->body.collected.size;

    if (!exchange->body.chunked && room > exchange->body.left)
        room = exchange->body.left;
    return room < SCRATCH_SIZE ? (size_t)room : SCRATCH_SIZE;
}

static void collect_readable(struct conn *conn) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;
    struct buffer *collected = &exchange->body.collected;
    enum body_progress progress = BODY_MOVED;
    uint64_t limit = collect_limit(exchange);
    size_t moved = 0, got;

    while (progress == BODY_MOVED && moved < TURN_SIZE) {
        size_t room = collect_room(exchange, limit + CHUNK_ROOM_MIN);
        buffer_reserve(collected, room);
        progress = body_read(conn, collected->at + collected->size, room, &got);
        collected->size += got;
        moved += got;
        if (collected->size > limit) {
            exchange->err = (struct error){0};
            error_set(&exchange->err, ERROR_SIZE_INVALID, "body exceeds the limit of %llu bytes",
                      (unsigned long long)limit);
            error_set_status(&exchange->err, 413);
            exchange_answer_error(exchange);
            return;
        }
    }
    if (progress == BODY_DONE) {
        exchange->request.body = buffer_slice(collected);
        conn->state = CONN_WAIT;
        conn_timer(conn, NULL);
        exchange_submit(exchange, STEP_HANDLE);
        return;
    }
    pause_reading(conn, progress, moved > 0);
}

/* --- both --- */

void body_readable(struct conn *conn)
{
    if (conn->exchange->stream.open)
        stream_readable(conn);
    else
        collect_readable(conn);
}

void body_continue(struct conn *conn)
{
    struct iovec rest = {(char *)(uintptr_t)CONTINUE_TEXT + conn->continue_at,
                         sizeof(CONTINUE_TEXT) - 1 - conn->continue_at};
    ssize_t put = conn_write(conn, &rest, 1, false);

    if (put == -EAGAIN)
        put = 0;
    if (put < 0) {
        body_break(conn, 0);
        return;
    }
    conn->continue_at += (size_t)put;
    if ((size_t)put < rest.iov_len) {
        conn_poll_write(conn);
        return;
    }
    conn->exchange->body.awaits_continue = false;
    if (conn->exchange->input >= 0) {
        conn_timer(conn, NULL);
        send_start(conn);
        return;
    }
    conn->state = CONN_BODY;
    body_readable(conn);
}

bool body_invited(struct conn *conn)
{
    conn_timer(conn, &conn->loop->timeouts.body);
    if (!conn->exchange->body.awaits_continue || conn->input.start < conn->input.size)
        return false;
    conn->continue_at = 0;
    conn->state = CONN_CONTINUE; /* HTTP-04 */
    body_continue(conn);
    return true;
}

void body_start(struct conn *conn)
{
    if (body_invited(conn))
        return;
    conn->state = CONN_BODY;
    body_readable(conn);
}

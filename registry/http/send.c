/* send.c - replies: the head, bytes by writev, files by sendfile or through TLS.
 * Touches  the connection's descriptor, the reply's file. A live reply's head only (live.c).
 * Never    waits for a disk: a piece not in the page cache is read in by a worker first.
 *
 * A refusal lets a small body come first: clients that write the body on one thread and hear the
 * answer on another may tell of the write that was cut short, not of the answer (HTTP-05).
 *
 * A connection that the peer keeps draining gives way after TURN_SIZE bytes, or one download would
 * starve all others. */
#include <errno.h>
#include <string.h>
#include <sys/sendfile.h>
#include <time.h>

#include "registry/http/http_internal.h"

enum {
    PIECES_MAX = 16,           /* of one writev */
    PIECE_PREFIX = 0,          /* status line and our own header lines */
    PIECE_HEAD = 1,            /* the handler's, and the empty line */
    PIECE_BODY = 2,            /* bytes of the first part; its file follows */
    PIECE_COST = 32 * 1024,    /* what a piece counts of a turn beside its bytes: system calls */
    WARM_SIZE = 4 * TURN_SIZE, /* what a worker reads in at once */
};

/* --- the head --- */

static void put(struct exchange *exchange, const char *bytes, size_t size)
{
    assert(exchange->prefix_size + size <= sizeof(exchange->prefix));
    memcpy(exchange->prefix + exchange->prefix_size, bytes, size);
    exchange->prefix_size += size;
}

static void put_text(struct exchange *exchange, const char *text)
{
    put(exchange, text, strlen(text));
}

static void put_u64(struct exchange *exchange, uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    size_t size = u64_digits(value, digits);

    put(exchange, digits, size);
}

static bool status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

static void prefix_write(struct exchange *exchange) ON(loop_thread)
{
    const struct reply *reply = &exchange->reply;
    size_t date_size;
    const char *date = loop_date(exchange->loop, &date_size);

    exchange->prefix_size = 0;
    put_text(exchange, "HTTP/1.1 ");
    put_u64(exchange, (uint64_t)reply->status);
    put_text(exchange, " ");
    put_text(exchange, reply_status_text(reply->status));
    put_text(exchange, "\r\n");
    put(exchange, date, date_size);
    if (reply->live && !exchange->old) {
        put_text(exchange, "Transfer-Encoding: chunked\r\n");
    } else if (!reply->live && status_has_body(reply->status)) {
        put_text(exchange, "Content-Length: ");
        put_u64(exchange, reply->length);
        put_text(exchange, "\r\n");
    }
    if (!exchange->keep)
        put_text(exchange, "Connection: close\r\n");
    else if (exchange->old)
        put_text(exchange, "Connection: keep-alive\r\n");
    if (exchange->api)
        put_text(exchange, "Docker-Distribution-API-Version: registry/2.0\r\n");
    if (exchange->no_store && !reply_has_header(reply, "Cache-Control"))
        put_text(exchange, "Cache-Control: no-store\r\n");
    put_text(exchange, "X-Content-Type-Options: nosniff\r\nX-Request-Id: ");
    put_text(exchange, exchange->request.id);
    put_text(exchange, "\r\n");
}

/* --- pieces --- */

/* Skips what was sent and what is empty; false at the end. */
static bool piece_next(struct exchange *exchange, size_t *piece, uint64_t *offset,
                       struct slice *bytes, uint64_t *file_size)
{
    const struct reply *reply = &exchange->reply;

    for (; *piece < exchange->out.piece_count; (*piece)++, *offset = 0) {
        *bytes = SLICE_NONE;
        *file_size = 0;
        if (*piece == PIECE_PREFIX) {
            *bytes = (struct slice){exchange->prefix, exchange->prefix_size};
        } else if (*piece == PIECE_HEAD) {
            *bytes = buffer_slice(&reply->head);
        } else {
            const struct reply_part *part = &reply->parts[(*piece - PIECE_BODY) / 2];
            if ((*piece - PIECE_BODY) % 2 == 0)
                *bytes = part->bytes;
            else
                *file_size = part->file_size;
        }
        if (*offset < bytes->size + *file_size)
            return true;
    }
    return false;
}

/* Moves on by what was just sent. */
static void sent(struct exchange *exchange, size_t size) ON(loop_thread)
{
    struct sending *out = &exchange->out;
    struct slice bytes;
    uint64_t file_size;

    exchange->bytes_out += size;
    while (size > 0 && piece_next(exchange, &out->piece, &out->offset, &bytes, &file_size)) {
        uint64_t rest = bytes.size + file_size - out->offset;
        uint64_t step = size < rest ? size : rest;
        out->offset += step;
        size -= (size_t)step;
    }
    assert(size == 0);
}

/* --- bytes --- */

static ssize_t send_bytes(struct conn *conn) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;
    struct iovec pieces[PIECES_MAX];
    size_t piece = exchange->out.piece;
    uint64_t offset = exchange->out.offset, file_size = 0;
    struct slice bytes;
    int count = 0;
    bool more;

    while ((more = piece_next(exchange, &piece, &offset, &bytes, &file_size)) && file_size == 0 &&
           count < PIECES_MAX) {
        pieces[count].iov_base = (char *)(uintptr_t)bytes.at + offset;
        pieces[count++].iov_len = bytes.size - (size_t)offset;
        piece++;
        offset = 0;
    }
    return conn_write(conn, pieces, count, more);
}

/* --- files --- */

/* What the file's side of sending can say besides a count or a negative errno. */
enum { FILE_BROKEN = -100000, FILE_COLD };

/* Whether the byte at offset can be read without waiting. */
static bool byte_cached(int fd, uint64_t offset)
{
    char byte;
    struct iovec one = {&byte, 1};

    return preadv2(fd, &one, 1, (off_t)offset, RWF_NOWAIT) >= 0 || errno != EAGAIN;
}

/* Asks at both ends: read-ahead fills whole stretches. */
static bool piece_cached(struct exchange *exchange, uint64_t at, size_t size) ON(loop_thread)
{
    if (at + size <= exchange->out.warm_until)
        return true;
    return byte_cached(exchange->reply.fd, at) && byte_cached(exchange->reply.fd, at + size - 1);
}

static ssize_t send_file_plain(struct conn *conn, uint64_t at, size_t size) ON(loop_thread)
{
    off_t offset = (off_t)at;

    if (!piece_cached(conn->exchange, at, size))
        return FILE_COLD;
    ssize_t put_size = sendfile(conn->fd, conn->exchange->reply.fd, &offset, size);
    if (put_size == 0 || (put_size < 0 && errno == EIO))
        return FILE_BROKEN;
    return put_size < 0 ? -errno : put_size;
}

static ssize_t send_file_tls(struct conn *conn, uint64_t at, size_t size) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;
    struct sending *out = &exchange->out;
    struct iovec into = {conn->loop->scratch, size < SCRATCH_SIZE ? size : SCRATCH_SIZE};
    bool may_wait = out->tls_retry > 0 || at < out->warm_until; /* it was here a moment ago */

    if (out->tls_retry > 0)
        into.iov_len = out->tls_retry;
    ssize_t got = preadv2(exchange->reply.fd, &into, 1, (off_t)at, may_wait ? 0 : RWF_NOWAIT);
    if (got < 0 && errno == EOPNOTSUPP)
        got = preadv2(exchange->reply.fd, &into, 1, (off_t)at, 0);
    if (got < 0 && errno == EAGAIN)
        return FILE_COLD;
    if (got <= 0 || (size_t)got < out->tls_retry)
        return FILE_BROKEN;
    ssize_t put_size = tls_write(conn->tls, conn->loop->scratch, (size_t)got);
    out->tls_retry = put_size == -EAGAIN ? (size_t)got : 0;
    return put_size;
}

static ssize_t send_file(struct conn *conn, const struct reply_part *part) ON(loop_thread)
{
    struct sending *out = &conn->exchange->out;
    uint64_t at = part->file_offset + out->offset;
    uint64_t rest = part->file_size - out->offset;
    size_t size = rest < TURN_SIZE ? (size_t)rest : TURN_SIZE;
    ssize_t put_size =
        conn->tls != NULL ? send_file_tls(conn, at, size) : send_file_plain(conn, at, size);

    if (put_size == FILE_COLD) {
        uint64_t warm = rest < WARM_SIZE ? rest : WARM_SIZE;
        out->warm_until = at + warm;
    }
    return put_size;
}

/* --- the whole --- */

void send_done(struct conn *conn)
{
    struct exchange *exchange = conn->exchange;

    exchange->ended = true;
    if (exchange->reply.live)
        exchange_release(exchange);
    access_log(exchange);
    if (!exchange->keep) {
        if (exchange->goodbye && exchange->body.done && conn->input.start == conn->input.size)
            conn_close(conn);
        else
            conn_linger(conn);
    } else if (exchange->body.done) {
        conn_next(conn);
    } else {
        conn->state = CONN_DISCARD;
        conn_timer(conn, &conn->loop->timeouts.body);
        body_discard_readable(conn);
    }
}

/* (4) */
static void send_broken(struct conn *conn, bool read_failed) ON(loop_thread)
{
    conn->exchange->read_failed |= read_failed;
    conn->broken = true;
    conn_close(conn);
}

static void send_wait(struct conn *conn, bool moved) ON(loop_thread)
{
    struct sending *out = &conn->exchange->out;

    if (moved)
        conn_write_timer(conn);
    conn_poll_write(conn);
    if (!out->waited)
        admit_reply(conn);
    out->waited = true;
}

void send_some(struct conn *conn)
{
    struct exchange *exchange = conn->exchange;
    struct sending *out = &exchange->out;
    struct slice bytes;
    uint64_t file_size;
    size_t moved = 0;

    if (exchange->read_failed) {
        send_broken(conn, true);
        return;
    }
    while (piece_next(exchange, &out->piece, &out->offset, &bytes, &file_size)) {
        if (moved >= TURN_SIZE) {
            send_wait(conn, true);
            return;
        }
        ssize_t put_size =
            file_size == 0 ? send_bytes(conn)
                           : send_file(conn, &exchange->reply.parts[(out->piece - PIECE_BODY) / 2]);
        if (put_size > 0) {
            sent(exchange, (size_t)put_size);
            moved += (size_t)put_size + PIECE_COST;
        } else if (put_size == -EAGAIN) {
            /* no timer runs when a worker has just read a piece in */
            send_wait(conn, moved > 0 || !h2o_timeout_is_linked(&conn->timer));
            return;
        } else if (put_size == FILE_COLD) {
            conn_timer(conn, NULL);
            exchange_submit(exchange, STEP_WARM);
            return;
        } else {
            send_broken(conn, put_size == FILE_BROKEN);
            return;
        }
    }
    if (exchange->reply.live && exchange->request.method != METHOD_HEAD)
        live_start(conn);
    else
        send_done(conn);
}

/* Whole: what is unread of the body can be read through. */
static void send_now(struct conn *conn, bool whole) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;
    struct reply *reply = &exchange->reply;

    exchange->keep = whole && !conn->last && !conn->loop->draining;
    if (reply->live && exchange->old)
        exchange->keep = false; /* the end is the body's end */
    prefix_write(exchange);
    buffer_append(&reply->head, "\r\n", 2);
    exchange->out.piece_count = PIECE_BODY;
    if (exchange->request.method != METHOD_HEAD && status_has_body(reply->status))
        exchange->out.piece_count += 2 * reply->part_count;
    conn->state = CONN_SEND;
    send_some(conn);
}

void send_held(struct conn *conn, bool whole)
{
    conn_timer(conn, NULL); /* it is not the write timer */
    send_now(conn, whole);
}

/* Only refusals: they are small, so what is held is nothing to count. */
static bool may_be_held(const struct exchange *exchange)
{
    return exchange->reply.status >= 400 && !exchange->body.done && !exchange->body.chunked;
}

void send_start(struct conn *conn)
{
    if (conn->exchange->input >= 0) { /* the body is read beside the reply */
        send_now(conn, true);
        return;
    }
    bool whole = body_skim(conn);

    if (whole && may_be_held(conn->exchange))
        body_hold(conn);
    else
        send_now(conn, whole);
}

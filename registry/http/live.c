/* live.c - replies that go on while their producer has something to say, and bodies that are
 * written into a pipe meanwhile.
 * Touches  the connection's descriptor, the reply's source, the pipe the body goes into.
 * Never    waits, runs anything of the producer's; files.
 *
 *   client --body_read--> rest --write--> input
 *   source --read--> rest --conn_write--> client
 *
 * (1) A direction is read only when nothing of it waits to be taken: each holds one piece
 *     (PIECE_SIZE) at most, and an idle one holds nothing.
 * (2) A client that goes is noticed at once, whatever is unread or unsent: the watch, an epoll of
 *     its own inside the loop's, asks for hang-ups, which libh2o's polling does not.
 * (3) Source and input are closed before release is called.
 * (4) No time runs while the producer is silent or does not read. It runs for a client that does
 *     not take what is there (write idle time) or does not send what it announced (body idle): at
 *     least ARRIVES_MIN bytes of it in that time, for a byte now and then holds a place as well. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/http/http_internal.h"

enum {
    PIECE_SIZE = SCRATCH_SIZE / 2,
    FRAME_HEAD = 16, /* room for a chunk's size before it */
    FRAME_TAIL = 2,  /* CR LF */
    WATCHED_MAX = 64,
    ARRIVES_MIN = 4096,
    PROBE_IDLE_S = 60, /* a host that vanished answers no probes: gone two minutes later */
    PROBE_EVERY_S = 20,
    PROBES = 3,
};

/* --- clients that go --- */

/* One-shot: a client that is not gone by our judgement must not wake us again and again. */
static int watch_add(struct conn *conn) ON(loop_thread)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = conn};

    return epoll_ctl(conn->loop->watch, EPOLL_CTL_ADD, conn->fd, &event);
}

static void on_watch(h2o_socket_t *socket, const char *err)
{
    struct loop *loop = socket->data;
    struct epoll_event events[WATCHED_MAX];

    (void)err;
    assert_loop_thread();
    int count = epoll_wait(loop->watch, events, WATCHED_MAX, 0);
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr; /* closed ones are freed after the turn */
        if (conn->state == CONN_LIVE)
            live_break(conn);
    }
}

void live_watch_open(struct loop *loop)
{
    loop->watch = epoll_create1(EPOLL_CLOEXEC);
    if (loop->watch < 0)
        abort();
    loop->watch_socket =
        h2o_evloop_socket_create(loop->evloop, loop->watch, H2O_SOCKET_FLAG_DONT_READ);
    loop->watch_socket->data = loop;
    h2o_socket_read_start(loop->watch_socket, on_watch);
}

void live_watch_close(struct loop *loop)
{
    h2o_socket_close(TAKE(loop->watch_socket));
}

/* For clients whose host vanishes while nothing is sent. A unix socket has no use for it. */
static void probes_set(int fd)
{
    static const int on = 1, idle = PROBE_IDLE_S, every = PROBE_EVERY_S, count = PROBES;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* --- one direction --- */

static void flow_open(struct flow *flow, struct live *live, int *fd) ON(loop_thread)
{
    flow->fd = fd_take(fd);
    flow->socket =
        h2o_evloop_socket_create(live->conn->loop->evloop, flow->fd, H2O_SOCKET_FLAG_DONT_READ);
    flow->socket->data = live;
}

static void flow_close(struct flow *flow) ON(loop_thread)
{
    buffer_drop(&flow->rest);
    flow->start = 0;
    if (flow->socket != NULL)
        h2o_socket_close(TAKE(flow->socket));
}

static bool flow_waits(const struct flow *flow)
{
    return flow->start < flow->rest.size;
}

/* What was not taken of new bytes waits. */
static void flow_keep(struct flow *flow, const char *bytes, size_t size, size_t taken)
{
    if (taken < size)
        buffer_append(&flow->rest, bytes + taken, size - taken);
}

static void flow_taken(struct flow *flow, size_t size)
{
    flow->start += size;
    if (flow_waits(flow))
        return;
    buffer_drop(&flow->rest);
    flow->start = 0;
}

static void stop_reading(h2o_socket_t *socket) ON(loop_thread)
{
    if (socket != NULL && h2o_socket_is_reading(socket))
        h2o_socket_read_stop(socket);
}

static void on_flow(h2o_socket_t *socket, const char *err)
{
    struct live *live = socket->data;

    (void)err; /* reading or writing tells */
    assert_loop_thread();
    live_go_on(live->conn);
}

/* --- from the source to the client --- */

/* Bytes that the client took, 0 for none now, -1: the reply was broken off. */
static ssize_t client_take(struct live *live, const char *bytes, size_t size) ON(loop_thread)
{
    struct conn *conn = live->conn;
    struct iovec piece = {(char *)(uintptr_t)bytes, size};
    ssize_t put = conn_write(conn, &piece, 1, false);

    if (put == -EAGAIN)
        put = 0;
    if (put < 0) {
        live_break(conn);
        return -1;
    }
    conn->exchange->bytes_out += (uint64_t)put;
    if ((size_t)put == size) {
        conn_timer(conn, NULL); /* (4) */
        return put;
    }
    if (put > 0 || !h2o_timeout_is_linked(&conn->timer))
        conn_write_timer(conn);
    conn_poll_write(conn);
    stop_reading(live->reply.socket);
    return put;
}

/* False when the client has to take bytes first, or the reply was broken off. */
static bool rest_send(struct live *live) ON(loop_thread)
{
    struct flow *reply = &live->reply;

    if (!flow_waits(reply))
        return true;
    ssize_t put = client_take(live, reply->rest.at + reply->start, reply->rest.size - reply->start);
    if (put < 0)
        return false;
    flow_taken(reply, (size_t)put);
    return !flow_waits(reply);
}

/* Makes a chunk of what stands FRAME_HEAD bytes into frame, where there is room around it. */
static struct slice chunk_frame(char *frame, size_t size)
{
    char head[FRAME_HEAD + 1];
    int head_size = snprintf(head, sizeof(head), "%zx\r\n", size);
    char *start = frame + FRAME_HEAD - head_size;

    memcpy(start, head, (size_t)head_size);
    frame[FRAME_HEAD + size] = '\r';
    frame[FRAME_HEAD + size + 1] = '\n';
    return (struct slice){start, (size_t)head_size + size + FRAME_TAIL};
}

static bool is_whole(const struct reply *reply)
{
    return reply->whole == NULL || reply->whole(reply->released);
}

/* Reads a piece from the source and sends it. False when there is none now, when the client does
 * not take all of it, or when the reply was broken off. */
static bool piece_send(struct live *live, size_t *moved) ON(loop_thread)
{
    struct conn *conn = live->conn;
    char *frame = conn->loop->scratch;
    struct slice bytes = {frame + FRAME_HEAD, 0};
    ssize_t got;

    do
        got = read(live->reply.fd, frame + FRAME_HEAD, PIECE_SIZE);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == EAGAIN) {
        if (!h2o_socket_is_reading(live->reply.socket))
            h2o_socket_read_start(live->reply.socket, on_flow);
        return false;
    }
    if (got < 0) {
        live_break(conn);
        return false;
    }
    *moved += (size_t)got;
    live->ended = got == 0;
    if (live->ended && !is_whole(&conn->exchange->reply)) {
        live_break(conn);
        return false;
    }
    bytes.size = (size_t)got;
    if (live->ended)
        bytes = conn->exchange->old ? SLICE("") : SLICE("0\r\n\r\n");
    else if (!conn->exchange->old)
        bytes = chunk_frame(frame, (size_t)got);
    ssize_t put = bytes.size == 0 ? 0 : client_take(live, bytes.at, bytes.size);
    if (put < 0)
        return false;
    flow_keep(&live->reply, bytes.at, bytes.size, (size_t)put);
    return !flow_waits(&live->reply);
}

/* The client has all of it. What it still sends of its body nobody wants. */
static void finish(struct conn *conn) ON(loop_thread)
{
    struct exchange *exchange = conn->exchange;

    live_drop(exchange);
    admit_body_ended(exchange);
    stop_reading(conn->socket);
    send_done(conn);
}

static void reply_move(struct conn *conn) ON(loop_thread)
{
    struct live *live = conn->exchange->live;
    size_t moved = 0;

    while (moved < TURN_SIZE) {
        if (!rest_send(live))
            return;
        if (live->ended) {
            finish(conn);
            return;
        }
        if (!piece_send(live, &moved))
            return;
    }
    conn_go_on_soon(conn);
}

/* --- from the client into the pipe --- */

/* How many bytes were taken: all when nobody reads any more. */
static size_t input_take(struct live *live, const char *bytes, size_t size) ON(loop_thread)
{
    struct flow *body = &live->body;
    ssize_t put;

    if (body->socket == NULL)
        return size;
    do
        put = write(body->fd, bytes, size);
    while (put < 0 && errno == EINTR);
    if (put < 0 && errno != EAGAIN) {
        flow_close(body);
        return size;
    }
    if (put < 0)
        put = 0;
    if ((size_t)put < size) {
        h2o_timeout_unlink(&live->timer); /* (4) */
        stop_reading(live->conn->socket);
        if (!h2o_socket_is_writing(body->socket))
            h2o_socket_notify_write(body->socket, on_flow);
    }
    return (size_t)put;
}

/* False when the pipe has to take bytes first. */
static bool rest_write(struct live *live) ON(loop_thread)
{
    struct flow *body = &live->body;

    if (!flow_waits(body))
        return true;
    size_t size = body->rest.size - body->start;
    size_t taken = input_take(live, body->rest.at + body->start, size);
    if (body->socket == NULL) /* it was closed, and the rest went with it */
        return true;
    flow_taken(body, taken);
    return taken == size;
}

static void body_wait(struct live *live) ON(loop_thread)
{
    struct conn *conn = live->conn;

    if (live->arrived >= ARRIVES_MIN || !h2o_timeout_is_linked(&live->timer)) {
        live->arrived = 0;
        h2o_timeout_unlink(&live->timer);
        h2o_timeout_link(conn->loop->evloop, &conn->loop->timeouts.pipe, &live->timer);
    }
    conn_poll_read(conn);
}

/* All of it was read and written. */
static void body_end(struct live *live) ON(loop_thread)
{
    live->piped = false;
    flow_close(&live->body);
    h2o_timeout_unlink(&live->timer);
    stop_reading(live->conn->socket);
    admit_body_ended(live->conn->exchange);
}

static void body_move(struct conn *conn) ON(loop_thread)
{
    struct live *live = conn->exchange->live;
    char *piece = conn->loop->scratch + SCRATCH_SIZE / 2; /* decoded from the first half */
    size_t moved = 0, got;

    while (moved < TURN_SIZE) {
        if (!rest_write(live))
            return;
        if (conn->exchange->body.done) {
            body_end(live);
            return;
        }
        enum body_progress progress = body_read(conn, piece, PIECE_SIZE, &got);
        flow_keep(&live->body, piece, got, got == 0 ? 0 : input_take(live, piece, got));
        moved += got;
        live->arrived += got;
        if (progress == BODY_LEFT || progress == BODY_MALFORMED) {
            live_break(conn);
            return;
        }
        if (progress == BODY_DRY) {
            body_wait(live);
            return;
        }
    }
    conn_go_on_soon(conn);
}

static void on_body_timeout(h2o_timeout_entry_t *entry)
{
    assert_loop_thread();
    live_break(H2O_STRUCT_FROM_MEMBER(struct live, timer, entry)->conn);
}

/* --- life --- */

void live_begin(struct conn *conn)
{
    if (body_invited(conn))
        return;
    conn_timer(conn, NULL);
    send_start(conn);
}

void live_start(struct conn *conn)
{
    struct exchange *exchange = conn->exchange;
    struct live *live = memory_new(sizeof(*live));

    exchange->live = live;
    live->conn = conn;
    live->timer.cb = on_body_timeout;
    flow_open(&live->reply, live, &exchange->reply.fd);
    live->piped = exchange->input >= 0;
    if (live->piped)
        flow_open(&live->body, live, &exchange->input);
    conn->state = CONN_LIVE;
    conn_timer(conn, NULL);
    probes_set(conn->fd);
    if (watch_add(conn) < 0 || (conn->loop->draining && exchange->reply.follower))
        live_break(conn);
    else
        live_go_on(conn);
}

void live_go_on(struct conn *conn)
{
    reply_move(conn);
    if (conn->state != CONN_LIVE)
        return;
    if (conn->exchange->live->piped)
        body_move(conn);
    else
        stop_reading(conn->socket);
}

void live_break(struct conn *conn)
{
    conn->broken = true;
    conn_close(conn);
}

void live_drop(struct exchange *exchange)
{
    struct live *live = TAKE(exchange->live);

    fd_drop(&exchange->input);
    if (exchange->reply.live)
        fd_drop(&exchange->reply.fd);
    if (live == NULL)
        return;
    /* by name: a child between fork and exec may hold the connection a moment longer than we do */
    epoll_ctl(exchange->loop->watch, EPOLL_CTL_DEL, live->conn->fd, NULL);
    h2o_timeout_unlink(&live->timer);
    flow_close(&live->reply);
    flow_close(&live->body);
    free(live);
}

/* conn.c - connections: reading heads, time-outs, closing.
 * Touches  sockets, the loop's lists.
 * Never    bodies, replies, what a request means.
 *
 * The states are drawn in http_internal.h. libh2o only polls for us: we read and write the
 * descriptor ourselves, so an idle connection owns no buffer. */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "registry/http/http_internal.h"

static void readable(struct conn *conn) ON(loop_thread);

static struct conn *conn_of_timer(h2o_timeout_entry_t *entry)
{
    return H2O_STRUCT_FROM_MEMBER(struct conn, timer, entry);
}

/* --- input --- */

static char *input_new(struct loop *loop) ON(loop_thread)
{
    char *at = loop->free_inputs;

    if (at == NULL)
        return memory_new(INPUT_SIZE);
    memcpy(&loop->free_inputs, at, sizeof(char *));
    loop->free_input_count--;
    return at;
}

static void input_free(struct loop *loop, char *at, size_t capacity) ON(loop_thread)
{
    if (at == NULL)
        return;
    if (capacity != INPUT_SIZE || loop->free_input_count >= FREE_LIST_MAX) {
        free(at);
        return;
    }
    memcpy(at, &loop->free_inputs, sizeof(char *));
    loop->free_inputs = at;
    loop->free_input_count++;
}

void conn_input_trim(struct conn *conn)
{
    struct input *input = &conn->input;

    if (input->at != NULL && input->start == input->size) {
        input_free(conn->loop, input->at, input->capacity);
        *input = (struct input){0};
    }
}

void conn_unread(struct conn *conn, const void *bytes, size_t size)
{
    struct input *input = &conn->input;
    struct exchange *exchange = conn->exchange;

    assert(input->start == input->size);
    if (size == 0)
        return;
    if (exchange != NULL && exchange->head_bytes == NULL)
        exchange->head_bytes = TAKE(input->at); /* (1) */
    free(input->at);
    *input = (struct input){.at = memory_new(size), .size = size, .capacity = size};
    memcpy(input->at, bytes, size);
}

/* Makes room behind a partial head; false when the head has the longest size allowed. */
static bool input_make_room(struct conn *conn) ON(loop_thread)
{
    struct input *input = &conn->input;
    size_t limit = conn->loop->server->options.header_size_max;

    if (input->size - input->start >= limit)
        return false;
    if (input->start > 0) {
        memmove(input->at, input->at + input->start, input->size - input->start);
        input->size -= input->start;
        input->start = 0;
    }
    if (input->size == input->capacity) {
        input->capacity = input->capacity < INPUT_SIZE ? INPUT_SIZE : input->capacity * 2;
        input->at = memory_resize(input->at, input->capacity);
    }
    return true;
}

/* --- the descriptor --- */

ssize_t conn_read(struct conn *conn, void *out, size_t size)
{
    ssize_t got;

    if (conn->tls != NULL)
        return tls_read(conn->tls, out, size);
    do
        got = recv(conn->fd, out, size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* One TLS record from many pieces. */
static ssize_t write_tls(struct conn *conn, const struct iovec *pieces, int count) ON(loop_thread)
{
    enum { RECORD_SIZE = 16 * 1024 };
    char *scratch = conn->loop->scratch;
    size_t used = 0;

    if (count == 1)
        return tls_write(conn->tls, pieces[0].iov_base, pieces[0].iov_len);
    for (int i = 0; i < count && used < RECORD_SIZE; i++) {
        size_t piece = pieces[i].iov_len;
        if (piece > RECORD_SIZE - used)
            piece = RECORD_SIZE - used;
        memcpy(scratch + used, pieces[i].iov_base, piece);
        used += piece;
    }
    return tls_write(conn->tls, scratch, used);
}

ssize_t conn_write(struct conn *conn, struct iovec *pieces, int count, bool more)
{
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = (size_t)count};
    ssize_t put;

    if (conn->tls != NULL)
        return write_tls(conn, pieces, count);
    do
        put = sendmsg(conn->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static void on_readable(h2o_socket_t *socket, const char *err)
{
    (void)err; /* reading tells */
    assert_loop_thread();
    readable(socket->data);
}

void conn_poll_read(struct conn *conn)
{
    if (!h2o_socket_is_reading(conn->socket))
        h2o_socket_read_start(conn->socket, on_readable);
    if (conn->tls != NULL && tls_pending(conn->tls))
        conn_go_on_soon(conn);
}

static void handshake(struct conn *conn) ON(loop_thread);
static void on_writable(h2o_socket_t *socket, const char *err)
{
    struct conn *conn = socket->data;

    (void)err;
    assert_loop_thread();
    conn->writing = false;
    if (conn->state == CONN_SEND)
        send_some(conn);
    else if (conn->state == CONN_CONTINUE)
        body_continue(conn);
    else if (conn->state == CONN_LIVE)
        live_go_on(conn);
    else if (conn->state == CONN_HANDSHAKE)
        handshake(conn);
}

void conn_poll_write(struct conn *conn)
{
    if (conn->writing)
        return;
    conn->writing = true;
    h2o_socket_notify_write(conn->socket, on_writable);
}

/* --- time --- */

void conn_timer(struct conn *conn, h2o_timeout_t *timeout)
{
    h2o_timeout_unlink(&conn->timer);
    if (timeout != NULL)
        h2o_timeout_link(conn->loop->evloop, timeout, &conn->timer);
}

void conn_go_on_soon(struct conn *conn)
{
    if (!h2o_linklist_is_linked(&conn->soon))
        h2o_linklist_insert(&conn->loop->soon, &conn->soon);
}

static void go_on(struct conn *conn) ON(loop_thread)
{
    if (conn->state == CONN_REQUEST && conn->input.size - conn->input.start > conn->head_seen)
        conn_process(conn);
    else
        readable(conn);
}

void conns_go_on(struct loop *loop)
{
    h2o_linklist_t now;

    h2o_linklist_init_anchor(&now);
    h2o_linklist_insert_list(&now, &loop->soon);
    while (!h2o_linklist_is_empty(&now)) {
        struct conn *conn = H2O_STRUCT_FROM_MEMBER(struct conn, soon, now.next);
        h2o_linklist_unlink(&conn->soon);
        go_on(conn);
    }
}

static int unsent(const struct conn *conn)
{
    int bytes;
    return ioctl(conn->fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

static bool peer_took_bytes(const struct conn *conn)
{
    return unsent(conn) < conn->unsent;
}

void conn_write_timer(struct conn *conn)
{
    assert_loop_thread();
    conn->unsent = unsent(conn);
    conn_timer(conn, &conn->loop->timeouts.write);
}

static void on_timeout(h2o_timeout_entry_t *entry)
{
    struct conn *conn = conn_of_timer(entry);

    assert_loop_thread();
    switch (conn->state) {
    case CONN_REQUEST:
        if (conn->head_started)
            conn_refuse(conn, 408, ERROR_BAD_REQUEST, "the request head took too long");
        else
            conn_close(conn);
        break;
    case CONN_CONTINUE:
    case CONN_BODY:
        body_timed_out(conn);
        break;
    case CONN_SEND:
    case CONN_LIVE:
        if (peer_took_bytes(conn)) {
            conn_write_timer(conn);
            break;
        }
        conn->broken = true;
        conn_close(conn);
        break;
    case CONN_WAIT:
        exchange_ask_again(conn->exchange);
        break;
    case CONN_HOLD:
        send_held(conn, true);
        break;
    case CONN_HANDSHAKE:
    case CONN_DISCARD:
    case CONN_LINGER:
    case CONN_CLOSED:
        conn_close(conn);
        break;
    }
}

/* --- life --- */

struct conn *conn_open(struct loop *loop, int fd, bool tls)
{
    struct conn *conn = memory_new(sizeof(*conn));

    conn->loop = loop;
    conn->fd = fd;
    conn->timer.cb = on_timeout;
    conn->socket = h2o_evloop_socket_create(
        loop->evloop, fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION | H2O_SOCKET_FLAG_DONT_READ);
    conn->socket->data = conn;
    conn->next = loop->conns;
    if (conn->next != NULL)
        conn->next->previous = conn;
    loop->conns = conn;
    conn->state = CONN_REQUEST;
    if (tls) {
        conn->tls = tls_open(loop->server->tls, fd);
        conn->state = CONN_HANDSHAKE;
    }
    conn_timer(conn, tls ? &loop->timeouts.head : &loop->timeouts.idle);
    conn_poll_read(conn);
    return conn;
}

void conn_close(struct conn *conn)
{
    struct loop *loop = conn->loop;

    if (conn->state == CONN_CLOSED)
        return;
    tls_close(conn->tls, !conn->broken && conn->state != CONN_HANDSHAKE);
    conn->tls = NULL;
    conn->state = CONN_CLOSED;
    h2o_timeout_unlink(&conn->timer);
    if (h2o_linklist_is_linked(&conn->soon))
        h2o_linklist_unlink(&conn->soon);
    if (conn->exchange != NULL) {
        if (conn->exchange->head_bytes == NULL) { /* (1): a worker may still read the head */
            conn->exchange->head_bytes = conn->input.at;
            conn->input.at = NULL;
        }
        exchange_detach(TAKE(conn->exchange));
    }
    identity_drop(&conn->identity);
    free(conn->input.at);
    conn->input = (struct input){0};
    h2o_socket_close(conn->socket);
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        loop->conns = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
    conn->next = loop->closed;
    loop->closed = conn;
    loop_connection_ended(loop);
}

void conns_free_closed(struct loop *loop)
{
    while (loop->closed != NULL) {
        struct conn *conn = loop->closed;
        loop->closed = conn->next;
        free(conn);
    }
}

void conn_linger(struct conn *conn)
{
    if (conn->exchange != NULL)
        exchange_free(TAKE(conn->exchange));
    conn->input.start = conn->input.size;
    conn_input_trim(conn);
    if (conn->tls != NULL)
        tls_goodbye(conn->tls);
    shutdown(conn->fd, SHUT_WR);
    conn->state = CONN_LINGER;
    conn_timer(conn, &conn->loop->timeouts.linger);
    conn_poll_read(conn);
}

static void linger_readable(struct conn *conn) ON(loop_thread)
{
    for (int turns = 0; turns < TURN_SIZE / SCRATCH_SIZE; turns++) {
        ssize_t got = recv(conn->fd, conn->loop->scratch, SCRATCH_SIZE, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0 || (conn->lingered += (uint64_t)got) > LINGER_MAX) {
            conn_close(conn);
            return;
        }
    }
}

void conn_refuse(struct conn *conn, int status, enum error_code code, const char *text)
{
    struct exchange *exchange = conn->exchange;

    if (exchange == NULL) {
        exchange = exchange_new(conn);
        exchange->api = true;
    }
    conn->last = true;
    exchange->body.done = true; /* nothing more is decoded */
    error_clear(&exchange->err);
    error_set(&exchange->err, code, "%s", text);
    error_set_status(&exchange->err, status);
    exchange_answer_error(exchange);
}

/* --- heads --- */

/* False when more bytes are needed, or the connection has come to its end. */
static bool head_take(struct conn *conn) ON(loop_thread)
{
    struct input *input = &conn->input;
    struct exchange *exchange = exchange_new(conn);
    size_t size = input->size - input->start;
    struct head head;
    enum head_outcome outcome =
        head_parse(input->at + input->start, size, conn->head_seen, &head, exchange->headers);

    if (outcome == HEAD_COMPLETE && head.size <= conn->loop->server->options.header_size_max) {
        input->start += head.size;
        conn->head_seen = 0;
        conn->head_started = false;
        exchange_begin(conn, &head);
        return true;
    }
    if (outcome == HEAD_MALFORMED) {
        exchange->api = true;
        conn_refuse(conn, 400, ERROR_BAD_REQUEST, head.complaint);
        return false;
    }
    if (outcome == HEAD_PARTIAL && input_make_room(conn)) {
        exchange_free(TAKE(conn->exchange));
        conn->head_seen = size;
        if (!conn->head_started)
            conn_timer(conn, &conn->loop->timeouts.head);
        conn->head_started = true;
        return false;
    }
    exchange->api = true;
    if (memchr(input->at + input->start, '\n', size) == NULL)
        conn_refuse(conn, 414, ERROR_BAD_REQUEST, "the request target is too long");
    else
        conn_refuse(conn, 431, ERROR_BAD_REQUEST, "the request head is too large");
    return false;
}

void conn_process(struct conn *conn)
{
    if (conn->processing)
        return;
    conn->processing = true;
    for (int turn = 0; conn->state == CONN_REQUEST && conn->input.start < conn->input.size;
         turn++) {
        if (turn == PIPELINE_TURN) {
            conn_go_on_soon(conn);
            break;
        }
        if (!head_take(conn))
            break;
    }
    conn->processing = false;
    if (conn->state == CONN_REQUEST) {
        conn_input_trim(conn);
        conn_poll_read(conn);
    }
}

void conn_next(struct conn *conn)
{
    exchange_free(TAKE(conn->exchange));
    if (conn->loop->draining) {
        conn_close(conn);
        return;
    }
    conn->state = CONN_REQUEST;
    conn_timer(conn, &conn->loop->timeouts.idle);
    conn_process(conn);
}

static void request_readable(struct conn *conn) ON(loop_thread)
{
    struct input *input = &conn->input;

    if (input->at == NULL)
        *input = (struct input){.at = input_new(conn->loop), .capacity = INPUT_SIZE};
    if (input->size == input->capacity) {
        conn_process(conn); /* full of requests that wait for their turn */
        return;
    }
    ssize_t got = conn_read(conn, input->at + input->size, input->capacity - input->size);
    if (got == -EAGAIN) {
        conn_input_trim(conn);
        return;
    }
    if (got <= 0) {
        conn_close(conn);
        return;
    }
    input->size += (size_t)got;
    conn_process(conn);
}

static void handshake(struct conn *conn)
{
    int outcome = tls_handshake(conn->tls);

    if (outcome == -EAGAIN) {
        conn_poll_write(conn);
    } else if (outcome < 0) {
        conn_close(conn);
    } else if (outcome > 0) {
        conn->state = CONN_REQUEST;
        conn_timer(conn, &conn->loop->timeouts.idle);
        request_readable(conn);
    }
}

static void readable(struct conn *conn)
{
    switch (conn->state) {
    case CONN_HANDSHAKE:
        handshake(conn);
        break;
    case CONN_REQUEST:
        request_readable(conn);
        break;
    case CONN_BODY:
        body_readable(conn);
        break;
    case CONN_HOLD:
        body_hold_readable(conn);
        break;
    case CONN_DISCARD:
        body_discard_readable(conn);
        break;
    case CONN_LINGER:
        linger_readable(conn);
        break;
    case CONN_LIVE:
        live_go_on(conn);
        break;
    case CONN_WAIT:
    case CONN_CONTINUE:
    case CONN_SEND:
        h2o_socket_read_stop(conn->socket); /* only now: most requests never get here */
        break;
    case CONN_CLOSED:
        break;
    }
}

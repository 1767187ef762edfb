/* http_internal.h - what the files of the protocol share: loops, connections, exchanges.
 * Touches  nothing.
 * Never    included outside registry/http/.
 *
 * A connection belongs to one loop thread for all its life. An exchange is one request and its
 * reply; while a worker has it (exchange->at_work) the loop touches only what is marked so, and
 * gets it back by a message. When the client leaves meanwhile, exchange->conn becomes NULL and the
 * message's arrival frees the exchange.
 *
 *   HANDSHAKE -> REQUEST -> WAIT <-> BODY -> WAIT -> SEND -> REQUEST ...
 *                   |                                  |---> DISCARD (rest of the body) -> REQUEST
 *                   '--(answered from memory)--> SEND  '---> LINGER -> CLOSED
 *
 * A refusal whose small body is still on its way makes a stop at HOLD before SEND. A live reply
 * goes SEND -> LIVE once its head has left, and on from there as from SEND; its body, when it is
 * piped, moves meanwhile.
 *
 * (1) Bytes that belong to a request are never moved while its exchange lives.
 * (2) At most one request of a connection is in work; answers leave in the order of requests.
 * (3) At most one worker has an exchange, and a stream's bytes are written in order.
 * (4) A body that could not be sent whole ends in a broken connection, never in a short answer.
 * (5) A closed connection is freed at the end of the loop's turn, not before. */
#ifndef SLIPWAY_HTTP_INTERNAL_H
#define SLIPWAY_HTTP_INTERNAL_H

#include <h2o.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "auth/auth.h"
#include "registry/core/attributes.h"
#include "registry/http/forward.h"
#include "registry/http/limit.h"
#include "registry/http/parse.h"
#include "registry/http/route.h"
#include "registry/http/server.h"
#include "registry/http/worker.h"

enum {
    INPUT_SIZE = 16 * 1024,        /* first memory for a request's bytes */
    SCRATCH_SIZE = 64 * 1024,      /* per loop: raw chunked bytes, TLS records, discarded bytes */
    CHUNK_SIZE = 256 * 1024,       /* a piece of a streamed body */
    CHUNKS_MAX = 4,                /* of one stream, filled or filling */
    TURN_SIZE = 1024 * 1024,       /* bytes one connection may move before others have a turn */
    DISCARD_MAX = 256 * 1024,      /* unread body read through to keep a connection */
    HOLD_MS = 1000,                /* a refusal waits for such a body: at most, in all */
    LINGER_MAX = 64 * 1024 * 1024, /* bytes thrown away so that a client can read its refusal */
    LINGER_MS = 5000,              /* and the time for it */
    PIPELINE_TURN = 16,            /* requests of one connection before others have a turn */
    FREE_LIST_MAX = 64,            /* kept for reuse per loop: exchanges, inputs */
    FREE_CHUNKS_MAX = 16,
    RETRY_MS = 100, /* after running out of descriptors; after STREAM_LATER */
    LATER_MAX = 20, /* times a stream's open is asked again */
    WAIT_THREADS = 32,
    HASH_NICE = 5,
    LOGIN_THREADS = 2,
    LOGIN_NICE = 10,       /* password hashes are long: they stand back behind uploads */
    LOGINS_WAITING = 1024, /* above: 503 */
    MANY_CORES = 8,        /* from here on two loops */
};

/* --- loops --- */

/* Work that comes back to a loop. */
struct message {
    h2o_multithread_message_t link; /* first */
    void (*arrived)(struct message *message);
};

/* A bound address: one descriptor per loop. Immutable after server_open. */
struct bound {
    char text[160];
    char *unlink_path; /* of a unix socket */
    bool tls, local, admin;
    int *fds; /* loop_count; taken by the loops */
};

struct listener {
    struct loop *loop;
    h2o_socket_t *socket; /* NULL when closed */
    bool tls, local;      /* local: a unix socket */
    bool admin;
    bool paused; /* no descriptors: waits for a close or the timer */
};

struct loop {
    struct server *server;
    pthread_t thread;
    h2o_evloop_t *evloop;
    h2o_multithread_queue_t *queue;
    h2o_multithread_receiver_t receiver;
    struct message drain, stop;
    struct {
        h2o_timeout_t head, idle, body, write, linger, retry, hold;
        h2o_timeout_t pipe; /* as body, of struct live */
    } timeouts;
    h2o_timeout_entry_t accept_retry;
    struct listener *listeners; /* server->listener_count */
    struct conn *conns;         /* all that are open */
    struct conn *closed;        /* (5) */
    h2o_linklist_t soon;        /* connections that go on in the next turn, once each */
    int watch;                  /* epoll: connections whose client may go (live.c) */
    h2o_socket_t *watch_socket; /* of watch */
    size_t exchange_count;      /* in use, with or without a connection */
    struct exchange *free_exchanges;
    char *free_inputs; /* INPUT_SIZE each, linked by their first bytes */
    struct chunk *free_chunks;
    size_t free_exchange_count, free_input_count, free_chunk_count;
    uint64_t id_state[2];
    uint64_t date_second;
    char date[40]; /* "Date: ...\r\n" */
    size_t date_size;
    bool draining, stopping;
    int spare_descriptor;
    char *scratch; /* SCRATCH_SIZE */
};

struct server {
    struct server_options options;
    struct tls_context *tls;
    struct worker_pool *hash_pool, *wait_pool, *login_pool;
    struct limiter *limiter; /* NULL: no limit */
    struct proxies *proxies;
    gid_t admin_group;
    bool has_admin_group;
    uint64_t connections_max;
    atomic_uint_fast64_t connections;
    atomic_uint_fast64_t places;                    /* of bodies under way: uploads_max at most */
    atomic_uint_fast64_t lane_places[WORKER_LANES]; /* the same by address */
    atomic_uint_fast64_t unsent; /* bytes of replies in memory that wait for their clients */
    size_t loop_count;
    struct loop *loops;
    struct bound *bound; /* listener_count */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* one of the next three, or the last connection ended while draining */
    size_t loops_started;   /* under lock, as the next two */
    size_t loops_done;      /* nothing is left to do for them */
    bool workers_ended;
    atomic_bool draining;
};

void loop_answer(struct loop *loop, struct message *message); /* any thread */
const char *loop_date(struct loop *loop, size_t *size);
void loop_connection_ended(struct loop *loop) ON(loop_thread);

/* --- listeners (listen.c) --- */

int bound_open(struct bound *bound, const struct server *server,
               const struct server_listener *listener, struct error *err) MUST_CHECK;
void bound_close(struct bound *bound, size_t loop_count);
void listeners_open(struct loop *loop) ON(loop_thread);
void listeners_close(struct loop *loop) ON(loop_thread);
/* A descriptor may be free again. */
void listeners_resume(struct loop *loop) ON(loop_thread);

/* --- connections (conn.c) --- */

enum conn_state {
    CONN_HANDSHAKE, /* TLS */
    CONN_REQUEST,   /* waits for a head or has part of one */
    CONN_WAIT,      /* a worker has the request; nothing is read */
    CONN_CONTINUE,  /* 100 Continue is being written */
    CONN_BODY,      /* a body is being read for a handler */
    CONN_HOLD,      /* a refusal is ready; the rest of a small body is read through before it */
    CONN_SEND,      /* the reply is being written */
    CONN_LIVE,      /* a reply goes on until its source ends; its body may be on its way */
    CONN_DISCARD,   /* the rest of a body is read through */
    CONN_LINGER,    /* our side is shut; what comes is thrown away */
    CONN_CLOSED,
};

/* Who connected to us. */
enum peer_standing {
    PEER_CLIENT,
    PEER_ADMIN,    /* by the admin socket */
    PEER_STRANGER, /* by the admin socket, but not allowed there */
};

struct input { /* at[start..size) was read and not consumed; at == NULL when there is nothing */
    char *at;
    size_t start, size, capacity;
};

struct conn {
    struct conn *next, *previous; /* in loop->conns; next also in loop->closed */
    struct loop *loop;
    h2o_socket_t *socket;
    struct tls *tls; /* NULL: plain */
    struct exchange *exchange;
    struct input input;
    h2o_timeout_entry_t timer; /* one of the idle times; what it means depends on state */
    h2o_linklist_t soon;       /* in loop->soon: go on in the next turn */
    uint64_t lingered;         /* bytes */
    int unsent;                /* bytes the peer had still to take when the write timer was set */
    int fd;
    enum conn_state state;
    bool processing;    /* conn_process is on the stack */
    bool head_started;  /* the head timer runs */
    bool last;          /* no further request after this one */
    bool writing;       /* h2o_socket_notify_write is armed */
    bool broken;        /* no polite goodbye: the peer must see that bytes are missing */
    size_t head_seen;   /* bytes of the head an earlier look found incomplete */
    size_t continue_at; /* bytes of 100 Continue written */
    uint8_t network[8]; /* what the request rate is counted by: IPv4 address, IPv6 /64 */
    unsigned lane;      /* its hash */
    char remote[64];    /* address in text */
    enum peer_standing standing;
    bool trusted; /* a proxy whose headers count; then these are the proxy's, not the client's: */
    struct address peer;
    const struct identity *identity; /* held: granted here last, or NULL */
};

/* Takes the descriptor. The peer's address is not known yet. */
struct conn *conn_open(struct loop *loop, int fd, bool tls) ON(loop_thread);
void conn_close(struct conn *conn) ON(loop_thread);
/* Ends our side and reads on for a while, so that the answer is not destroyed by a reset. */
void conn_linger(struct conn *conn) ON(loop_thread);
/* Answers for HTTP itself; the connection ends with it. */
void conn_refuse(struct conn *conn, int status, enum error_code code, const char *text)
    ON(loop_thread);
/* The request in work is done with and may be followed by the next. */
void conn_next(struct conn *conn) ON(loop_thread);
void conn_process(struct conn *conn) ON(loop_thread);
/* Bytes read, 0 at the end, -EAGAIN, or another negative errno. */
ssize_t conn_read(struct conn *conn, void *out, size_t size) ON(loop_thread);
/* Gives back bytes that were read too far. */
void conn_unread(struct conn *conn, const void *bytes, size_t size) ON(loop_thread);
/* Bytes written or a negative errno; more: others follow at once. */
ssize_t conn_write(struct conn *conn, struct iovec *pieces, int count, bool more) ON(loop_thread);
void conn_poll_read(struct conn *conn) ON(loop_thread);
void conn_poll_write(struct conn *conn) ON(loop_thread);
void conn_go_on_soon(struct conn *conn) ON(loop_thread);
void conn_timer(struct conn *conn, h2o_timeout_t *timeout) ON(loop_thread); /* NULL: off */
/* Sets the write timer. A big send buffer takes no byte for minutes while a slow peer empties it:
 * the timer ends the connection only when the peer took nothing either (HTTP-21). */
void conn_write_timer(struct conn *conn) ON(loop_thread);
/* Once a turn, for those that asked before. A timer of 0 ms would not do: libh2o runs what is
 * linked anew while it runs the list, and the others would never have their turn. */
void conns_go_on(struct loop *loop) ON(loop_thread);
void conns_free_closed(struct loop *loop) ON(loop_thread);
void conn_input_trim(struct conn *conn) ON(loop_thread);

/* --- bodies (body.c) --- */

struct chunk { /* a piece of a streamed body on its way to a worker and back */
    struct message message;
    struct chunk *next;
    struct exchange *exchange;
    size_t size, capacity;
    char bytes[];
};

struct body {
    bool chunked, done;
    bool awaits_continue; /* the client holds the body back */
    uint64_t left;        /* bytes, when not chunked */
    uint64_t received;    /* decoded bytes */
    uint64_t discarded;   /* decoded bytes nobody wanted */
    struct chunk_decoder decoder;
    struct buffer collected;
};

/* The stream's queue between loop and hash workers. */
struct stream {
    pthread_mutex_t lock;
    struct chunk *first, **last; /* under lock; filled, in order */
    bool running;                /* under lock: a worker has it or is about to */
    bool ended;                  /* under lock */
    bool failed;                 /* under lock: write said no */
    enum body_outcome outcome;   /* set before ended */
    struct chunk *filling;       /* loop */
    int chunks;                  /* loop: given out, CHUNKS_MAX at most */
    bool open;                   /* loop: handle is valid and finish was not asked for */
    void *handle;
    struct worker_job job;
};

enum step {
    STEP_AUTHORISE,
    STEP_HANDLE,
    STEP_OPEN,
    STEP_WHOLE,
    STEP_FINISH,
    STEP_PIPE,
    STEP_WARM,
};

/* Where in the reply the sender stands: pieces are prefix, head, then bytes and file of each part.
 */
struct sending {
    size_t piece;
    uint64_t offset;     /* within the piece */
    size_t piece_count;  /* 2 when there is no body */
    uint64_t warm_until; /* file offset that a worker read in just now */
    size_t tls_retry;    /* bytes offered to TLS that it wants to see again */
    bool waited;         /* for the socket, at least once */
};

struct exchange {
    struct request request;
    struct reply reply;
    struct error err;
    struct conn *conn; /* loop; NULL when the client left */
    struct loop *loop;
    struct exchange *next_free;
    struct worker_job job;
    struct message message;
    enum step step;
    int opened;      /* what stream->open or open_pipe returned */
    int input;       /* of a piped body until live has it; -1 */
    int asked;       /* times it said STREAM_LATER */
    uint64_t places; /* counted in server->places, and here: */
    atomic_uint_fast64_t *lane_places;
    uint64_t unsent; /* counted in server->unsent */
    bool at_work;
    bool dying;      /* done with, but a piece of its stream is not back yet */
    bool authorised; /* auth said yes already */
    bool slow;       /* to know the caller a password must be hashed */
    bool management; /* the management API: problem+json */
    bool no_store;   /* Cache-Control, unless the handler says something else */
    bool keep;       /* the connection goes on after this reply */
    bool api;        /* below /v2 (HTTP-15) */
    bool old;        /* HTTP/1.0 */
    bool goodbye;    /* the end is the client's wish and nothing is unread: no lingering */
    bool left;       /* the client was gone before the answer */
    bool ended;      /* the reply was sent to its end */
    bool logged, read_failed;
    struct slice authorization;     /* the header */
    const struct identity *known;   /* held: what conn->identity was when a worker had to ask */
    const struct identity *refused; /* held: who may not do this, for the log */
    const char *fault;              /* of the refused token, or NULL */
    int broken_status;  /* 408 or 400 to answer after a broken stream was put away; 0: none */
    struct slice whole; /* STEP_WHOLE: all of the body */
    struct body body;
    struct stream stream;
    struct sending out;
    struct live *live; /* CONN_LIVE */
    uint64_t started_us, bytes_out;
    char *head_bytes; /* (1): the head's memory once the connection's input went on without it */
    char *decoded;    /* path and query */
    size_t decoded_capacity;
    size_t prefix_size;
    char prefix[448];
    struct header headers[HEAD_HEADERS_MAX];
    struct parameter parameters[HEAD_PARAMETERS_MAX];
};

/* --- who may hold memory (admit.c) --- */

/* Before a body that is not here yet is received; limit: of its route. 503 when all places are
 * taken and nobody gives way. */
int admit_body(struct exchange *exchange, uint64_t limit) MUST_CHECK ON(loop_thread);
void admit_body_ended(struct exchange *exchange) ON(loop_thread);
/* The client did not take the reply at once. Others may be cut off. */
void admit_reply(struct conn *conn) ON(loop_thread);
void admit_reply_ended(struct exchange *exchange) ON(loop_thread);

enum body_progress { BODY_MOVED, BODY_DRY, BODY_DONE, BODY_LEFT, BODY_MALFORMED };

/* Reads and decodes at most room bytes. */
enum body_progress body_read(struct conn *conn, char *out, size_t room, size_t *got)
    ON(loop_thread);
/* The whole body when all of it is here already. */
bool body_whole(struct conn *conn, struct slice *whole) ON(loop_thread);
/* Starts collecting or streaming; sends 100 Continue when the client waits for it. */
void body_start(struct conn *conn) ON(loop_thread);
/* Starts the body's time; true when the client waits for 100 Continue, which is on its way then. */
bool body_invited(struct conn *conn) ON(loop_thread);
void body_continue(struct conn *conn) ON(loop_thread); /* the socket takes bytes again */
void body_readable(struct conn *conn) ON(loop_thread);
void body_timed_out(struct conn *conn) ON(loop_thread);
/* The client left while a stream was open. */
void body_abandon(struct exchange *exchange) ON(loop_thread);
/* Throws away what is here; true when the rest is small enough to be read through later. */
bool body_skim(struct conn *conn) ON(loop_thread);
void body_discard_readable(struct conn *conn) ON(loop_thread);
/* Reads the rest through, for HOLD_MS at most, then sends. */
void body_hold(struct conn *conn) ON(loop_thread);
void body_hold_readable(struct conn *conn) ON(loop_thread);
void chunk_free(struct loop *loop, struct chunk *chunk) ON(loop_thread);

/* --- one request (exchange.c) --- */

struct exchange *exchange_new(struct conn *conn) ON(loop_thread);
void exchange_free(struct exchange *exchange) ON(loop_thread);
void exchange_begin(struct conn *conn, const struct head *head) ON(loop_thread);
void exchange_submit(struct exchange *exchange, enum step step) ON(loop_thread);
/* The pause after STREAM_LATER is over. */
void exchange_ask_again(struct exchange *exchange) ON(loop_thread);
void exchange_answer_error(struct exchange *exchange) ON(loop_thread);
/* The client left: frees now or when the worker is done. */
void exchange_detach(struct exchange *exchange) ON(loop_thread);
/* Releases what the reply's body borrowed: files on a worker. */
void exchange_release(struct exchange *exchange) ON(loop_thread);

/* --- where from (client.c) --- */

void client_of_conn(struct conn *conn, const struct sockaddr *peer) ON(loop_thread);
/* Address, host, scheme and id of a request; -1: a trusted proxy contradicts itself. */
int client_fill(struct exchange *exchange, const struct head *head) MUST_CHECK ON(loop_thread);
void client_id(struct exchange *exchange) ON(loop_thread);
/* False when there is no such group. May block. */
bool admin_group_find(gid_t *out) MUST_CHECK;
enum peer_standing admin_judge_peer(const struct server *server, int fd);
/* Once the route is known, or is known to be none. */
int admin_judge_request(struct exchange *exchange) MUST_CHECK ON(loop_thread);

/* --- who asks (caller.c) --- */

/* AUTH_REFUSED: exchange->err is set. */
enum auth_peeked caller_peek(struct exchange *exchange) MUST_CHECK ON(loop_thread);
/* The connection remembers who was granted something last. */
void caller_remember(struct exchange *exchange) ON(loop_thread);
int caller_authorise(struct exchange *exchange) MUST_CHECK ON(worker_thread);
/* Renders exchange->err, with a challenge for 401. Whoever has the exchange. */
void caller_refuse(struct exchange *exchange);

/* --- the access log (access.c) --- */

void access_start(struct exchange *exchange);
void access_log(struct exchange *exchange) ON(loop_thread); /* at most once */

/* --- replies (send.c) --- */

void send_start(struct conn *conn) ON(loop_thread);
/* The reply has left; what was not read of the request decides how it goes on. */
void send_done(struct conn *conn) ON(loop_thread);
/* After CONN_HOLD; whole: what is unread of the body can be read through. */
void send_held(struct conn *conn, bool whole) ON(loop_thread);
void send_some(struct conn *conn) ON(loop_thread);

/* --- replies that go on (live.c) --- */

/* Both directions of one; libh2o polls for them, as for connections. */
struct live {
    struct conn *conn;
    struct flow {
        h2o_socket_t *socket; /* NULL: closed, or never there */
        int fd;
        struct buffer rest; /* read on one side, not taken by the other yet: */
        size_t start;       /* from here on */
    } reply, body;
    h2o_timeout_entry_t timer; /* in timeouts.pipe: the client has to send */
    size_t arrived;            /* bytes of the body since the timer was set */
    bool piped;                /* the body is read here, be it only to throw it away */
    bool ended;                /* the source did */
};

/* Before and after the loop's life. */
void live_watch_open(struct loop *loop) ON(loop_thread);
void live_watch_close(struct loop *loop) ON(loop_thread);
/* open_pipe said yes: the client is told to go on where it waits for that, then the head is sent.
 */
void live_begin(struct conn *conn) ON(loop_thread);
/* The head was sent. */
void live_start(struct conn *conn) ON(loop_thread);
/* Either end of the connection is ready, or its turn has come. */
void live_go_on(struct conn *conn) ON(loop_thread);
/* Breaks the reply off; its client is as good as gone. */
void live_break(struct conn *conn) ON(loop_thread);
/* Closes what the exchange holds of both directions. */
void live_drop(struct exchange *exchange) ON(loop_thread);

/* --- the worker's side (dispatch.c) --- */

void dispatch_run(struct worker_job *job);
void dispatch_stream(struct worker_job *job);

/* --- TLS (tls.c) --- */

struct tls;
struct tls_context;

int tls_context_open(struct tls_context **out, const struct server_options *options,
                     struct error *err) MUST_CHECK;
void tls_context_close(struct tls_context *context);
/* Any thread but a loop. What fails leaves the old in place. */
int tls_context_reload(struct tls_context *context, const struct server_options *options,
                       struct error *err) MUST_CHECK;
int64_t tls_context_expires(struct tls_context *context); /* seconds since 1970 */
struct tls *tls_open(struct tls_context *context, int fd);
void tls_close(struct tls *tls, bool polite);
/* 1 done, 0 wants to read, -EAGAIN wants to write, other negatives: failed. */
int tls_handshake(struct tls *tls);
/* As conn_read and conn_write. */
ssize_t tls_read(struct tls *tls, void *out, size_t size);
ssize_t tls_write(struct tls *tls, const void *bytes, size_t size);
void tls_goodbye(struct tls *tls);
/* Bytes wait inside that no poll will tell of. */
bool tls_pending(const struct tls *tls);

#endif

/* server.c - loop threads and the server's life: start, drain, close.
 * Touches  threads, the loops' queues.
 * Never    what a request means.
 *
 * Loops, sockets and timers of libh2o are made on their own thread: some of its prototypes are
 * thread-local. Whatever main wants of a loop travels as a message. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/http/http_internal.h"
#include "registry/http/thread.h"

/* --- what loops share with others --- */

void loop_answer(struct loop *loop, struct message *message)
{
    h2o_multithread_send_message(&loop->receiver, &message->link);
}

static void on_messages(h2o_multithread_receiver_t *receiver, h2o_linklist_t *messages)
{
    (void)receiver;
    assert_loop_thread();
    while (!h2o_linklist_is_empty(messages)) {
        struct message *message = H2O_STRUCT_FROM_MEMBER(struct message, link.link, messages->next);
        h2o_linklist_unlink(&message->link.link);
        message->arrived(message);
    }
}

const char *loop_date(struct loop *loop, size_t *size)
{
    uint64_t second = h2o_now(loop->evloop) / 1000;

    if (second != loop->date_second) {
        time_t now = (time_t)second;
        struct tm utc;
        gmtime_r(&now, &utc);
        /* the names of days and months are those of the "C" locale, which main never leaves */
        loop->date_size =
            strftime(loop->date, sizeof(loop->date), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &utc);
        loop->date_second = second;
    }
    *size = loop->date_size;
    return loop->date;
}

void loop_connection_ended(struct loop *loop)
{
    struct server *server = loop->server;

    if (loop->listeners != NULL && h2o_timeout_is_linked(&loop->accept_retry))
        listeners_resume(loop);
    /* the server's flag, not the loop's: main may wait before the loop has heard of the drain */
    if (atomic_fetch_sub(&server->connections, 1) == 1 && atomic_load(&server->draining)) {
        pthread_mutex_lock(&server->lock);
        pthread_cond_broadcast(&server->changed);
        pthread_mutex_unlock(&server->lock);
    }
}

/* --- a loop's life --- */

static void conns_close_idle(struct loop *loop) ON(loop_thread)
{
    for (struct conn *conn = loop->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        bool follows = conn->state == CONN_LIVE && conn->exchange->reply.follower;
        bool idle = conn->state == CONN_HANDSHAKE || conn->state == CONN_LINGER ||
                    (conn->state == CONN_REQUEST && conn->input.start == conn->input.size);
        if (follows)
            live_break(conn);
        else if (idle)
            conn_close(conn);
        else
            conn->last = true;
    }
}

static void on_drain(struct message *message)
{
    struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, drain, message);

    assert_loop_thread();
    loop->draining = true;
    listeners_close(loop);
    conns_close_idle(loop);
}

static void on_stop(struct message *message)
{
    struct loop *loop = H2O_STRUCT_FROM_MEMBER(struct loop, stop, message);

    assert_loop_thread();
    loop->draining = loop->stopping = true;
    listeners_close(loop);
    while (loop->conns != NULL) {
        loop->conns->broken = loop->conns->state == CONN_SEND || loop->conns->state == CONN_LIVE;
        conn_close(loop->conns);
    }
}

static void loop_init(struct loop *loop) ON(loop_thread)
{
    const struct server_options *options = &loop->server->options;

    loop->evloop = h2o_evloop_create();
    loop->queue = h2o_multithread_create_queue(loop->evloop);
    h2o_multithread_register_receiver(loop->queue, &loop->receiver, on_messages);
    h2o_linklist_init_anchor(&loop->soon);
    h2o_timeout_init(loop->evloop, &loop->timeouts.head, options->header_timeout_ms);
    h2o_timeout_init(loop->evloop, &loop->timeouts.idle, options->idle_timeout_ms);
    h2o_timeout_init(loop->evloop, &loop->timeouts.body, options->body_idle_timeout_ms);
    h2o_timeout_init(loop->evloop, &loop->timeouts.write, options->write_idle_timeout_ms);
    h2o_timeout_init(loop->evloop, &loop->timeouts.linger, LINGER_MS);
    h2o_timeout_init(loop->evloop, &loop->timeouts.retry, RETRY_MS);
    h2o_timeout_init(loop->evloop, &loop->timeouts.hold, HOLD_MS);
    h2o_timeout_init(loop->evloop, &loop->timeouts.pipe, options->body_idle_timeout_ms);
    loop->drain.arrived = on_drain;
    loop->stop.arrived = on_stop;
    loop->scratch = memory_new(SCRATCH_SIZE);
    random_bytes(loop->id_state, sizeof(loop->id_state));
    live_watch_open(loop);
    listeners_open(loop);
}

static void free_lists_drop(struct loop *loop) ON(loop_thread)
{
    while (loop->free_exchanges != NULL) {
        struct exchange *exchange = loop->free_exchanges;
        loop->free_exchanges = exchange->next_free;
        reply_drop(&exchange->reply);
        pthread_mutex_destroy(&exchange->stream.lock);
        free(exchange->decoded);
        free(exchange);
    }
    while (loop->free_inputs != NULL) {
        char *input = loop->free_inputs;
        memcpy(&loop->free_inputs, input, sizeof(char *));
        free(input);
    }
    while (loop->free_chunks != NULL) {
        struct chunk *chunk = loop->free_chunks;
        loop->free_chunks = chunk->next;
        free(chunk);
    }
}

static void loop_drop(struct loop *loop) ON(loop_thread)
{
    h2o_timeout_t *timeouts[] = {
        &loop->timeouts.head,   &loop->timeouts.idle,  &loop->timeouts.body, &loop->timeouts.write,
        &loop->timeouts.linger, &loop->timeouts.retry, &loop->timeouts.hold, &loop->timeouts.pipe};

    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++)
        h2o_timeout_dispose(loop->evloop, timeouts[i]);
    h2o_multithread_unregister_receiver(loop->queue, &loop->receiver);
    h2o_multithread_destroy_queue(loop->queue);
    live_watch_close(loop);
    h2o_evloop_run(loop->evloop, 0); /* frees closed sockets */
    h2o_evloop_destroy(loop->evloop);
    free_lists_drop(loop);
    free(loop->listeners);
    free(loop->scratch);
    if (loop->spare_descriptor >= 0)
        close(loop->spare_descriptor);
}

/* Who answered last may still be on its way out of libh2o, which writes to the queue's pipe after
 * it let the message go: the queue stays until all workers have ended. */
static void await_workers(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    server->loops_done++;
    pthread_cond_broadcast(&server->changed);
    while (!server->workers_ended)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

static void *loop_run(void *argument)
{
    struct loop *loop = argument;
    struct server *server = loop->server;

    thread_role_current = ROLE_LOOP;
    assert_loop_thread();
    pthread_setname_np(pthread_self(), "http-loop");
    thread_prompt();
    loop_init(loop);
    pthread_mutex_lock(&server->lock);
    server->loops_started++;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
    while (!loop->stopping || loop->conns != NULL || loop->exchange_count > 0) {
        h2o_evloop_run(loop->evloop, h2o_linklist_is_empty(&loop->soon) ? INT32_MAX : 0);
        conns_go_on(loop);
        conns_free_closed(loop);
    }
    await_workers(server);
    loop_drop(loop);
    return NULL;
}

/* --- the server's life --- */

static size_t cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : (size_t)count;
}

/* Half of the descriptors: each connection may have a file open as well. */
static uint64_t connections_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return 65536;
    return limit.rlim_cur < 256 ? 64 : (limit.rlim_cur - 128) / 2;
}

static void loops_start(struct server *server)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals belong to main */
    for (size_t i = 0; i < server->loop_count; i++) {
        server->loops[i].server = server;
        if (pthread_create(&server->loops[i].thread, NULL, loop_run, &server->loops[i]) != 0)
            abort();
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_mutex_lock(&server->lock);
    while (server->loops_started < server->loop_count)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
}

static void server_free(struct server *server)
{
    for (size_t i = 0; server->bound != NULL && i < server->options.listener_count; i++)
        bound_close(&server->bound[i], server->loop_count);
    free(server->bound);
    free(server->loops);
    tls_context_close(server->tls);
    limiter_close(server->limiter);
    proxies_close(server->proxies);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    free(server);
}

static int server_bind(struct server *server, struct error *err)
{
    const struct server_options *options = &server->options;
    bool tls = false;

    server->bound = memory_new(options->listener_count * sizeof(*server->bound));
    for (size_t i = 0; i < options->listener_count; i++) {
        if (bound_open(&server->bound[i], server, &options->listeners[i], err) < 0)
            return -1;
        tls |= options->listeners[i].tls;
    }
    return tls ? tls_context_open(&server->tls, options, err) : 0;
}

int server_open(struct server **out, const struct server_options *options, struct error *err)
{
    struct server *server = memory_new(sizeof(*server));
    size_t loops =
        options->loop_threads > 0 ? (size_t)options->loop_threads : (cores() >= MANY_CORES ? 2 : 1);

    server->options = *options;
    server->loop_count = loops;
    server->loops = memory_new(loops * sizeof(*server->loops));
    server->connections_max =
        options->connections_max > 0 ? options->connections_max : connections_limit();
    pthread_mutex_init(&server->lock, NULL);
    clock_condition_init(&server->changed);
    server->has_admin_group = admin_group_find(&server->admin_group);
    if (proxies_open(&server->proxies, options->trusted_proxies, options->trusted_proxy_count,
                     err) < 0 ||
        server_bind(server, err) < 0) {
        server_free(server);
        return -1;
    }
    if (options->requests_per_second > 0)
        server->limiter = limiter_open(options->requests_per_second);
    /* uploads stand back behind the loop and short answers where cores are few */
    server->hash_pool = worker_pool_open(
        "http-hash", options->hash_threads > 0 ? options->hash_threads : (int)cores(), HASH_NICE);
    server->wait_pool = worker_pool_open(
        "http-wait", options->wait_threads > 0 ? options->wait_threads : WAIT_THREADS, 0);
    server->login_pool = worker_pool_open(
        "http-login", options->login_threads > 0 ? options->login_threads : LOGIN_THREADS,
        LOGIN_NICE);
    loops_start(server);
    *out = server;
    return 0;
}

const char *server_address(const struct server *server, size_t listener)
{
    return server->bound[listener].text;
}

int server_reload_tls(struct server *server, struct error *err)
{
    return server->tls == NULL ? 0 : tls_context_reload(server->tls, &server->options, err);
}

int64_t server_tls_expires(struct server *server)
{
    return server->tls == NULL ? 0 : tls_context_expires(server->tls);
}

void server_drain(struct server *server, uint64_t timeout_ms)
{
    const struct timespec deadline = clock_monotonic_after(timeout_ms);

    if (!atomic_exchange(&server->draining, true)) {
        for (size_t i = 0; i < server->loop_count; i++)
            loop_answer(&server->loops[i], &server->loops[i].drain);
    }
    pthread_mutex_lock(&server->lock);
    while (atomic_load(&server->connections) > 0 &&
           pthread_cond_timedwait(&server->changed, &server->lock, &deadline) != ETIMEDOUT)
        ;
    pthread_mutex_unlock(&server->lock);
}

/* Loops submit no more work; files of broken replies are closed by what the pools still hold. */
static void workers_end(struct server *server)
{
    pthread_mutex_lock(&server->lock);
    while (server->loops_done < server->loop_count)
        pthread_cond_wait(&server->changed, &server->lock);
    pthread_mutex_unlock(&server->lock);
    worker_pool_close(server->hash_pool);
    worker_pool_close(server->login_pool);
    worker_pool_close(server->wait_pool);
    pthread_mutex_lock(&server->lock);
    server->workers_ended = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void server_close(struct server *server)
{
    if (server == NULL)
        return;
    for (size_t i = 0; i < server->loop_count; i++)
        loop_answer(&server->loops[i], &server->loops[i].stop);
    workers_end(server);
    for (size_t i = 0; i < server->loop_count; i++)
        pthread_join(server->loops[i].thread, NULL);
    server_free(server);
}

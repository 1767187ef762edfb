/* test_live.c - replies that go on, and bodies that are written into a pipe: the test holds the
 * producer's end, the reader's end and the client's.
 *
 *   /live    a reply from a pipe              /follow   the same, a follower
 *   /push    the body into a pipe, the reply from another
 *   /echo    the body into the pipe that the reply is read from
 *   /half    a reply from a pipe whose end is none
 *   /refuse  says no by the head alone        /answer   answers by the head alone
 *   /fail    makes a live reply and then fails */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/http/server.h"
#include "tests/support/folder.h"
#include "tests/support/still_loop.h"
#include "tests/support/unit.h"

enum { PATIENCE_MS = 60000, ANSWER_MAX = 16384, MIB = 1024 * 1024 };

/* --- what the handlers hand out --- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct {
    int producer;       /* writes what the reply sends */
    int earlier;        /* the same, of the reply before */
    int consumer;       /* reads the body */
    int begun;          /* live replies that were made */
    int ended, gone;    /* releases, and those that told of a client that went */
    bool source_closed; /* as the release saw it: (3) */
} scene = {.producer = -1, .earlier = -1, .consumer = -1};

static void scene_clear(void)
{
    fd_drop(&scene.producer);
    fd_drop(&scene.earlier);
    fd_drop(&scene.consumer);
    scene.begun = scene.ended = scene.gone = 0;
    scene.source_closed = false;
}

static void released(void *what, bool gone)
{
    struct pollfd producer = {.events = POLLOUT};

    assert_worker_thread();
    assert_ptr_equal(what, &scene);
    pthread_mutex_lock(&lock);
    producer.fd = scene.producer;
    scene.source_closed =
        producer.fd < 0 || (poll(&producer, 1, 0) == 1 && (producer.revents & POLLERR) != 0);
    scene.ended++;
    scene.gone += gone;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void await(const int *counter, int least)
{
    const struct timespec until = clock_monotonic_after(PATIENCE_MS);

    pthread_mutex_lock(&lock);
    while (*counter < least) {
        if (pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            fail_msg("waited in vain");
    }
    pthread_mutex_unlock(&lock);
}

static int told(const int *counter)
{
    pthread_mutex_lock(&lock);
    int value = *counter;
    pthread_mutex_unlock(&lock);
    return value;
}

/* The reply ended once, and the release was told whether its client went. */
static void expect_released(int gone)
{
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.ended), 1);
    assert_int_equal(told(&scene.gone), gone);
    assert_true(scene.source_closed);
}

static void pipe_new(int *reader, int *writer)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        abort();
    *reader = ends[0];
    *writer = ends[1];
}

/* --- routes --- */

static bool is_whole(void *what)
{
    assert_ptr_equal(what, &scene);
    return false;
}

static int live(struct request *request, struct reply *reply, struct error *err)
{
    int source;

    (void)err;
    pthread_mutex_lock(&lock);
    fd_drop(&scene.earlier);
    scene.earlier = fd_take(&scene.producer);
    pipe_new(&source, &scene.producer);
    reply->status = 200;
    reply_live(reply, source, released, &scene);
    if (slice_equal_text(request->path, "/follow"))
        reply_live_follower(reply);
    if (slice_equal_text(request->path, "/half"))
        reply_live_whole(reply, is_whole);
    scene.begun++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return 0;
}

static int failing(struct request *request, struct reply *reply, struct error *err)
{
    (void)live(request, reply, err);
    return error_set(err, ERROR_NOT_FOUND, "not after all");
}

static int push(struct request *request, struct reply *reply, int *input, struct error *err)
{
    (void)live(request, reply, err);
    pthread_mutex_lock(&lock);
    fd_drop(&scene.consumer);
    pipe_new(&scene.consumer, input);
    pthread_mutex_unlock(&lock);
    return 1;
}

static int echo(struct request *request, struct reply *reply, int *input, struct error *err)
{
    int source;

    (void)request;
    (void)err;
    pipe_new(&source, input);
    reply->status = 200;
    reply_live(reply, source, NULL, NULL);
    return 1;
}

static int refuse(struct request *request, struct reply *reply, int *input, struct error *err)
{
    (void)request;
    (void)reply;
    (void)input;
    return error_set(err, ERROR_NOT_FOUND, "no such thing");
}

static int answer_now(struct request *request, struct reply *reply, int *input, struct error *err)
{
    (void)request;
    (void)input;
    (void)err;
    reply->status = 200;
    reply_bytes(reply, SLICE("enough"), NULL, NULL);
    return 0;
}

static int plain(struct request *request, struct reply *reply, struct error *err)
{
    (void)request;
    (void)err;
    reply->status = 200;
    reply_bytes(reply, SLICE("plain"), NULL, NULL);
    return 0;
}

static const struct route routes[] = {
    {.pattern = "/live", .methods = METHOD_GET | METHOD_HEAD, .handle = live},
    {.pattern = "/follow", .methods = METHOD_GET, .handle = live},
    {.pattern = "/half", .methods = METHOD_GET, .handle = live},
    {.pattern = "/fail", .methods = METHOD_GET, .handle = failing},
    {.pattern = "/plain", .methods = METHOD_GET, .handle = plain},
    {.pattern = "/push", .methods = METHOD_POST, .body = BODY_PIPE, .open_pipe = push},
    {.pattern = "/echo", .methods = METHOD_POST, .body = BODY_PIPE, .open_pipe = echo},
    {.pattern = "/refuse", .methods = METHOD_POST, .body = BODY_PIPE, .open_pipe = refuse},
    {.pattern = "/answer", .methods = METHOD_POST, .body = BODY_PIPE, .open_pipe = answer_now},
};
static const struct route_table table = {routes, LENGTH(routes)};

/* --- a certificate --- */

static char folder[FOLDER_MAX], certificate[FOLDER_MAX + 16], key[FOLDER_MAX + 16];

static int certificate_new(void **state)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    X509 *x509 = X509_new();

    (void)state;
    folder_new(folder);
    snprintf(certificate, sizeof(certificate), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_set_pubkey(x509, pair);
    X509_sign(x509, pair, EVP_sha256());
    FILE *file = fopen(certificate, "we");
    PEM_write_X509(file, x509);
    fclose(file);
    file = fopen(key, "we");
    PEM_write_PrivateKey(file, pair, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    X509_free(x509);
    EVP_PKEY_free(pair);
    return 0;
}

static int certificate_drop(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

/* --- a server, a client --- */

struct times {
    uint64_t body_idle_ms, write_idle_ms, uploads;
};

static struct server *serve_with(bool tls, struct times times)
{
    static const struct server_listener listeners[] = {{.address = "127.0.0.1:0"},
                                                       {.address = "127.0.0.1:0", .tls = true}};
    const struct server_options options = {
        .listeners = &listeners[tls],
        .listener_count = 1,
        .tls_certificate = certificate,
        .tls_key = key,
        .loop_threads = 1,
        .wait_threads = 2,
        .login_threads = 1,
        .header_size_max = 32768,
        .header_timeout_ms = 30000,
        .idle_timeout_ms = 60000,
        .body_idle_timeout_ms = times.body_idle_ms,
        .write_idle_timeout_ms = times.write_idle_ms,
        .uploads_max = times.uploads,
        .connections_max = 100,
        .routes = &table,
    };
    struct server *server;
    struct error err = {0};

    scene_clear();
    if (server_open(&server, &options, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    return server;
}

static struct server *serve(bool tls)
{
    return serve_with(tls, (struct times){60000, 60000, 100});
}

static void end(struct server *server)
{
    loop_go_on();
    server_drain(server, PATIENCE_MS);
    server_close(server);
    scene_clear();
}

struct client {
    int fd;
    SSL_CTX *context;
    SSL *ssl; /* NULL: plain */
};

static struct client dial_from(const char *from, const struct server *server, bool tls)
{
    const char *address = server_address(server, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_addr = {htonl(INADDR_LOOPBACK)},
                             .sin_port =
                                 htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10))};
    const struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {inet_addr(from)}};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    struct client client = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};

    assert_int_equal(bind(client.fd, (const struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(connect(client.fd, (struct sockaddr *)&to, sizeof(to)), 0);
    setsockopt(client.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (tls) {
        client.context = SSL_CTX_new(TLS_client_method());
        client.ssl = SSL_new(client.context);
        SSL_set_fd(client.ssl, client.fd);
        assert_int_equal(SSL_connect(client.ssl), 1);
    }
    return client;
}

static struct client dial(const struct server *server, bool tls)
{
    return dial_from("127.0.0.1", server, tls);
}

static void hang_up(struct client *client)
{
    if (client->ssl != NULL)
        SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    close(client->fd);
    *client = (struct client){.fd = -1};
}

/* One that times out is interrupted when the process was stopped for a while. */
static ssize_t client_read(struct client *client, void *out, size_t size)
{
    size_t put = 0;
    ssize_t got;

    do {
        errno = 0;
        if (client->ssl == NULL)
            got = read(client->fd, out, size);
        else
            got = SSL_read_ex(client->ssl, out, size, &put) == 1 ? (ssize_t)put : -1;
    } while (got < 0 && errno == EINTR);
    return got;
}

/* False when the server does not take all. */
static bool client_write(struct client *client, const void *bytes, size_t size)
{
    size_t put = 0;

    if (client->ssl != NULL)
        return SSL_write_ex(client->ssl, bytes, size, &put) == 1 && put == size;
    while (put < size) {
        ssize_t more = send(client->fd, (const char *)bytes + put, size - put, MSG_NOSIGNAL);
        if (more < 0)
            return false;
        put += (size_t)more;
    }
    return true;
}

static void say(struct client *client, const char *text)
{
    assert_true(client_write(client, text, strlen(text)));
}

/* Reads until `last` ends what came. */
static void hear(struct client *client, const char *last, char answer[ANSWER_MAX])
{
    size_t used = 0, size = strlen(last);

    while (used < size || memcmp(answer + used - size, last, size) != 0) {
        ssize_t got = client_read(client, answer + used, 1);
        used += got == 1;
        answer[used] = 0;
        if (got <= 0 || used == ANSWER_MAX - 1)
            fail_msg("no %s in: %s", last, answer);
    }
}

static void expect_heard(struct client *client, const char *last)
{
    char answer[ANSWER_MAX];

    hear(client, last, answer);
    assert_string_equal(answer, last);
}

static void expect_end(struct client *client)
{
    char byte;
    assert_true(client_read(client, &byte, 1) <= 0);
}

/* Says the head of a request, and hears that of its reply. */
static void ask(struct client *client, const char *text, char answer[ANSWER_MAX])
{
    say(client, text);
    hear(client, "\r\n\r\n", answer);
}

static void produce(const char *text)
{
    assert_int_equal(write(scene.producer, text, strlen(text)), strlen(text));
}

static void consume(const char *text)
{
    char got[256] = "";
    size_t used = 0;

    while (used < strlen(text)) {
        ssize_t more = read(scene.consumer, got + used, strlen(text) - used);
        assert_true(more > 0);
        used += (size_t)more;
    }
    assert_string_equal(got, text);
}

static void end_reply(void)
{
    pthread_mutex_lock(&lock);
    fd_drop(&scene.producer);
    pthread_mutex_unlock(&lock);
}

/* --- replies --- */

static const char GET_LIVE[] = "GET /live HTTP/1.1\r\nHost: a\r\n\r\n";
static const char GET_PLAIN[] = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";

static void live_as_it_comes(bool tls)
{
    struct server *server = serve(tls);
    struct client client = dial(server, tls);
    char answer[ANSWER_MAX];

    ask(&client, GET_LIVE, answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_null(strstr(answer, "Content-Length"));
    assert_null(strstr(answer, "Connection:"));
    produce("one");
    expect_heard(&client, "3\r\none\r\n");
    say(&client, GET_PLAIN); /* waits for its turn, and is not a client that goes */
    produce("and twenty");
    expect_heard(&client, "a\r\nand twenty\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hear(&client, "\r\n\r\nplain", answer);
    ask(&client, GET_LIVE, answer);
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    hang_up(&client);
    end(server);
}

static void test_a_live_reply_is_sent_as_it_comes(void **state)
{
    (void)state;
    live_as_it_comes(false);
    live_as_it_comes(true);
}

static void test_an_old_client_reads_until_the_connection_ends(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", answer);
    assert_null(strstr(answer, "Transfer-Encoding"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    produce("all of it");
    expect_heard(&client, "all of it");
    end_reply();
    expect_end(&client);
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hang_up(&client);
    end(server);
}

/* The last chunk is missing: no client takes it for whole. */
static void test_a_producer_that_failed_breaks_the_reply_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    produce("begun");
    expect_heard(&client, "5\r\nbegun\r\n");
    end_reply();
    expect_end(&client);
    expect_released(1);
    hang_up(&client);
    end(server);
}

static void test_head_has_no_body(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "HEAD /live HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    assert_non_null(strstr(answer, "\r\nTransfer-Encoding: chunked\r\n"));
    expect_released(0);
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

static void test_a_handler_that_fails_after_all_lets_go(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /fail HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 404 "));
    expect_released(1);
    hang_up(&client);
    end(server);
}

/* --- clients that go --- */

static void leave_by_close(struct client *client)
{
    hang_up(client);
}

static void leave_by_half(struct client *client)
{
    shutdown(client->fd, SHUT_WR);
}

static void leave_by_reset(struct client *client)
{
    static const struct linger at_once = {.l_onoff = 1};

    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    hang_up(client);
}

static void leave_with_bytes_unread(struct client *client)
{
    say(client, GET_PLAIN);
    shutdown(client->fd, SHUT_WR);
}

static void (*const leavings[])(struct client *) = {leave_by_close, leave_by_half, leave_by_reset,
                                                    leave_with_bytes_unread};

/* Nothing is being sent, nothing else is heard of the client. Spec: s2i 13.25. */
static void test_a_client_that_goes_is_noticed_at_once(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < 2 * LENGTH(leavings); i++) {
        bool tls = i >= LENGTH(leavings);
        struct server *server = serve(tls);
        struct client client = dial(server, tls);
        ask(&client, GET_LIVE, answer);
        leavings[i % LENGTH(leavings)](&client);
        expect_released(1);
        assert_int_equal(write(scene.producer, "x", 1), -1);
        assert_int_equal(errno, EPIPE);
        if (client.fd >= 0)
            hang_up(&client);
        end(server);
    }
}

static const char POST_PUSH[] = "POST /push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                                "\r\n";

/* The server's end of the connection: it lives in this process. */
static int other_end(const struct client *client)
{
    struct sockaddr_in here, there;
    socklen_t size = sizeof(here);

    assert_int_equal(getsockname(client->fd, (struct sockaddr *)&here, &size), 0);
    for (int fd = 3; fd < 1024; fd++) {
        size = sizeof(there);
        if (getpeername(fd, (struct sockaddr *)&there, &size) == 0 && size == sizeof(there) &&
            there.sin_family == AF_INET && there.sin_port == here.sin_port)
            return fd;
    }
    fail_msg("the server does not know this client");
    return -1;
}

/* Sends until the server reads no more: the pipe is full. What waits to be read is little, so that
 * the kernel has room for the end of the connection behind it. */
static void say_until_full(struct client *client)
{
    static const char bytes[4096];
    int fd = other_end(client), waits = 0;

    for (int quiet = 0; quiet < 100;) {
        assert_int_equal(ioctl(fd, FIONREAD, &waits), 0);
        quiet = waits > 0 ? quiet + 1 : 0;
        if (waits == 0)
            assert_true(client_write(client, bytes, sizeof(bytes)));
        usleep(1000);
    }
}

/* Also while the pipe is full and bytes of the client wait to be read. */
static void test_a_client_that_goes_in_its_body_is_noticed(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (int full = 0; full < 2; full++) {
        struct server *server = serve(false);
        struct client client = dial(server, false);
        ask(&client, POST_PUSH, answer);
        say(&client, "40000\r\n");
        if (full)
            say_until_full(&client);
        hang_up(&client);
        expect_released(1);
        end(server);
    }
}

/* --- bodies --- */

struct flood {
    struct client client;
    size_t size;
    bool chunked;
};

static uint32_t pattern(size_t at)
{
    return (uint32_t)(at * 2654435761u);
}

/* The body in pieces that are no multiple of anything. */
static void *flood(void *argument)
{
    enum { PIECE = 9973 * 4 };
    struct flood *work = argument;
    static _Thread_local uint32_t bytes[PIECE / 4];

    for (size_t at = 0; at < work->size;) {
        size_t size = work->size - at < PIECE ? work->size - at : PIECE;
        char head[32];
        for (size_t i = 0; i < (size + 3) / 4; i++)
            bytes[i] = pattern(at / 4 + i);
        snprintf(head, sizeof(head), "%zx\r\n", size);
        if ((work->chunked && !client_write(&work->client, head, strlen(head))) ||
            !client_write(&work->client, bytes, size) ||
            (work->chunked && !client_write(&work->client, "\r\n", 2)))
            break;
        at += size;
    }
    if (work->chunked)
        client_write(&work->client, "0\r\n\r\n", 5);
    return NULL;
}

/* Reads the chunks of a reply; true when they are the flood. */
static bool flood_heard(struct client *client, size_t wanted)
{
    static uint32_t words[16384];
    char *bytes = (char *)words, line[32];
    size_t total = 0, filled = 0;

    for (;;) {
        size_t used = 0;
        do
            if (client_read(client, line + used, 1) != 1)
                return false;
        while (line[used++] != '\n' && used < sizeof(line) - 1);
        line[used] = 0;
        size_t left = strtoul(line, NULL, 16);
        if (left == 0)
            break;
        while (left > 0) {
            size_t room = sizeof(words) - filled;
            ssize_t got = client_read(client, bytes + filled, left < room ? left : room);
            if (got <= 0)
                return false;
            left -= (size_t)got;
            filled += (size_t)got;
            if (filled < sizeof(words))
                continue;
            for (size_t i = 0; i < LENGTH(words); i++)
                if (words[i] != pattern(total / 4 + i))
                    return false;
            total += filled;
            filled = 0;
        }
        if (client_read(client, line, 1) != 1 || client_read(client, line, 1) != 1)
            return false;
    }
    expect_heard(client, "\r\n");
    for (size_t i = 0; i < filled / 4; i++)
        if (words[i] != pattern(total / 4 + i))
            return false;
    return total + filled == wanted;
}

static void echoed(bool tls, bool chunked, size_t size)
{
    struct server *server = serve(tls);
    struct client client = dial(server, tls);
    struct flood work = {client, size, chunked};
    char head[256], answer[ANSWER_MAX];
    pthread_t thread;

    snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: a\r\n%s: ",
             chunked ? "Transfer-Encoding" : "Content-Length");
    snprintf(head + strlen(head), 64, chunked ? "chunked\r\n\r\n" : "%zu\r\n\r\n", size);
    ask(&client, head, answer);
    if (tls) { /* one SSL is for one thread at a time */
        flood(&work);
        assert_true(flood_heard(&client, size));
    } else {
        pthread_create(&thread, NULL, flood, &work);
        assert_true(flood_heard(&client, size));
        pthread_join(thread, NULL);
    }
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

/* Body and reply move at the same time: none of this fits into any buffer on the way. */
static void test_a_body_is_echoed_while_it_comes(void **state)
{
    (void)state;
    echoed(false, false, 32 * MIB + 4);
    echoed(false, true, 32 * MIB);
    echoed(true, false, 64 * 1024 + 8);
    echoed(true, true, 64 * 1024);
    echoed(false, false, 0);
}

static void test_expect_continue_is_honoured(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client,
        "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        answer);
    assert_string_equal(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    hear(&client, "\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    produce("first");
    expect_heard(&client, "5\r\nfirst\r\n");
    say(&client, "hello");
    consume("hello");
    assert_int_equal(read(scene.consumer, answer, 1), 0); /* closed at the body's end */
    produce("last");
    expect_heard(&client, "4\r\nlast\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    hang_up(&client);
    end(server);
}

/* A refusal by the head alone spares the client its body. */
static void test_a_pipe_may_be_refused(void **state)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {{"/refuse", 404}, {"/answer", 200}};
    char text[256], answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct server *server = serve(false);
        struct client client = dial(server, false);
        snprintf(text, sizeof(text),
                 "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n",
                 cases[i].path);
        ask(&client, text, answer);
        assert_int_equal(strtol(answer + 9, NULL, 10), cases[i].status);
        hang_up(&client);
        end(server);
    }
}

/* Nobody reads the body: the client cannot send without bounds, and no time runs against it. */
static void test_a_full_pipe_holds_the_client_back(void **state)
{
    static const char bytes[65536];
    struct server *server = serve_with(false, (struct times){100, 60000, 100});
    struct client client = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    size_t sent = 0, heard = 0;

    (void)state;
    loop_stop(); /* until the pipe is full */
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 134217728\r\n\r\n", answer);
    for (int quiet = 0; quiet < 30 || sent < sizeof(bytes); usleep(10000)) {
        ssize_t put = send(client.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        quiet = put > 0 ? 0 : quiet + 1;
        sent += put > 0 ? (size_t)put : 0;
        if (quiet > 20) /* in all three times the body's idle time */
            loop_move(30);
    }
    assert_in_range(sent, 65536, 32 * MIB);
    assert_int_equal(told(&scene.ended), 0);
    while (heard < sent) {
        ssize_t more = read(scene.consumer, got, sizeof(got));
        assert_true(more > 0);
        heard += (size_t)more;
    }
    loop_go_on();
    expect_released(1); /* and now it stalls */
    hang_up(&client);
    end(server);
}

/* Bytes that come now and then are no progress; the body that goes on is not disturbed. */
static void test_a_body_that_drips_is_given_up(void **state)
{
    static const char much[5000];
    struct server *server = serve_with(false, (struct times){500, 60000, 100});
    struct client client = dial(server, false), other = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    loop_stop();
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", answer);
    for (int i = 0; i < 7; i++, loop_move(100)) {
        assert_int_equal(send(client.fd, much, sizeof(much), MSG_NOSIGNAL), sizeof(much));
        for (size_t got = 0; got < sizeof(much);) {
            ssize_t more = read(scene.consumer, answer, sizeof(much) - got);
            assert_true(more > 0);
            got += (size_t)more;
        }
        say(&other, GET_PLAIN); /* a loop that is still at it takes the next at the same time */
        hear(&other, "\r\n\r\nplain", answer);
    }
    assert_int_equal(told(&scene.ended), 0);
    for (int i = 0; i < PATIENCE_MS / 50 && told(&scene.ended) == 0; i++, usleep(50000)) {
        (void)send(client.fd, "x", 1, MSG_NOSIGNAL);
        loop_move(50);
    }
    assert_int_equal(told(&scene.ended), 1); /* while it drips, not when it stops */
    expect_released(1);
    hang_up(&client);
    hang_up(&other);
    end(server);
}

static void test_a_body_that_is_malformed_breaks_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, POST_PUSH, answer);
    say(&client, "2\r\nhixx");
    expect_end(&client);
    expect_released(1);
    consume("hi");
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    hang_up(&client);
    end(server);
}

/* What was sent has left the kernel's buffers: a busy machine may leave megabytes there. */
static void wait_until_taken(const struct client *client)
{
    int fd = other_end(client), left = 1;

    for (int ms = 0; ms < PATIENCE_MS && left > 0; ms++) {
        int sending = 0;
        assert_int_equal(ioctl(client->fd, TIOCOUTQ, &sending), 0);
        assert_int_equal(ioctl(fd, FIONREAD, &left), 0);
        left += sending;
        usleep(1000);
    }
    assert_int_equal(left, 0);
}

/* The reply goes on; the rest of the body is thrown away, and the connection serves on. */
static void test_a_reader_that_closes_early_ends_the_body_alone(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    struct flood work = {client, 4 * MIB, true};
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, POST_PUSH, answer);
    fd_drop(&scene.consumer);
    flood(&work);
    wait_until_taken(&client);
    produce("refused");
    expect_heard(&client, "7\r\nrefused\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

static void test_a_reply_may_end_before_its_body(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", answer);
    say(&client, "hello");
    consume("hello");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    say(&client, "world");
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

/* A body under way has a place; a reply that goes on without one has none. */
static void test_a_place_is_free_at_the_end_of_the_body(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 60000, 1});
    struct client first = dial(server, false), second = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    loop_stop(); /* who stands still for longer gives way */
    ask(&first, POST_PUSH, answer);
    ask(&second, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    hang_up(&second);
    say(&first, "0\r\n\r\n");
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    second = dial(server, false);
    ask(&second, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    hang_up(&second);
    hang_up(&first);
    expect_released(1);
    end(server);
}

/* One address with many bodies does not lock others out. */
static void test_a_piped_body_gives_way_to_another_address(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 60000, 2});
    struct client first = dial(server, false), second = dial(server, false);
    struct client other = dial_from("127.0.0.2", server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&first, POST_PUSH, answer);
    ask(&second, POST_PUSH, answer);
    ask(&other, POST_PUSH, answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 1);
    expect_end(&first); /* it stood still for longest */
    hang_up(&first);
    hang_up(&second);
    hang_up(&other);
    end(server);
}

/* --- back-pressure of the reply --- */

/* Writes until nothing is taken any more for a while, or the reader is gone. */
static size_t produce_until_full(void)
{
    static const char bytes[65536];
    size_t total = 0;
    ssize_t put;

    fcntl(scene.producer, F_SETFL, O_NONBLOCK);
    for (int quiet = 0; quiet < 10;) {
        put = write(scene.producer, bytes, sizeof(bytes));
        if (put < 0 && errno == EPIPE)
            break;
        total += put > 0 ? (size_t)put : 0;
        quiet = put > 0 ? 0 : quiet + 1;
        if (put <= 0)
            usleep(10000);
    }
    return total;
}

static void test_a_slow_client_holds_the_producer_back(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    size_t heard = 0;
    ssize_t more;

    (void)state;
    ask(&client, "GET /live HTTP/1.0\r\n\r\n", answer);
    size_t total = produce_until_full();
    assert_in_range(total, 65536, 32 * MIB);
    end_reply();
    while ((more = client_read(&client, got, sizeof(got))) > 0)
        heard += (size_t)more;
    assert_int_equal(heard, total);
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hang_up(&client);
    end(server);
}

static void test_a_client_that_takes_nothing_is_given_up(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 100, 100});
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, GET_LIVE, answer);
    usleep(150000); /* silence of the producer is not the client's */
    assert_int_equal(told(&scene.ended), 0);
    produce_until_full();
    expect_released(1);
    hang_up(&client);
    end(server);
}

static void *produce_much(void *argument)
{
    static const char bytes[8 * MIB];

    (void)argument;
    return fd_write(scene.producer, (struct slice){bytes, sizeof(bytes)}) == 0 ? &scene : NULL;
}

/* A client that was slow and has caught up is not waited for. */
static void test_time_runs_only_while_the_client_has_to_take(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 100, 100});
    struct client client = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    pthread_t thread;
    void *written;

    (void)state;
    loop_stop(); /* while it has to */
    ask(&client, "GET /live HTTP/1.0\r\n\r\n", answer);
    pthread_create(&thread, NULL, produce_much, NULL);
    usleep(30000);
    for (size_t heard = 0; heard < 8 * MIB;) {
        ssize_t more = client_read(&client, got, sizeof(got));
        assert_true(more > 0);
        heard += (size_t)more;
    }
    pthread_join(thread, &written);
    assert_non_null(written);
    loop_go_on();
    usleep(350000); /* more than three times the write idle time */
    assert_int_equal(told(&scene.ended), 0);
    produce("x");
    expect_heard(&client, "x");
    end_reply();
    hang_up(&client);
    end(server);
}

/* --- shutdown --- */

static void *drain(void *server)
{
    server_drain(server, PATIENCE_MS);
    return NULL;
}

/* A follower comes again elsewhere; what has work to end may end it. */
static void test_draining_waits_for_live_replies_but_not_for_followers(void **state)
{
    struct server *server = serve(false);
    struct client follower = dial(server, false), pusher = dial(server, false);
    char answer[ANSWER_MAX];
    pthread_t thread;

    (void)state;
    ask(&follower, "GET /follow HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    ask(&pusher, POST_PUSH, answer);
    pthread_create(&thread, NULL, drain, server);
    expect_end(&follower); /* without the last chunk: it is not the end */
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 1);
    produce("done");
    expect_heard(&pusher, "4\r\ndone\r\n");
    say(&pusher, "0\r\n\r\n");
    end_reply();
    expect_heard(&pusher, "0\r\n\r\n");
    expect_end(&pusher);
    pthread_join(thread, NULL);
    await(&scene.ended, 2);
    assert_int_equal(told(&scene.gone), 1);
    hang_up(&follower);
    hang_up(&pusher);
    server_close(server);
    scene_clear();
}

static void test_closing_breaks_live_replies_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false), other = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, GET_LIVE, answer);
    ask(&other, POST_PUSH, answer);
    server_drain(server, 10);
    server_close(server);
    expect_end(&client);
    assert_int_equal(told(&scene.ended), 2);
    assert_int_equal(told(&scene.gone), 2);
    hang_up(&client);
    hang_up(&other);
    scene_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_live_reply_is_sent_as_it_comes),
        cmocka_unit_test(test_an_old_client_reads_until_the_connection_ends),
        cmocka_unit_test(test_a_producer_that_failed_breaks_the_reply_off),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_a_handler_that_fails_after_all_lets_go),
        cmocka_unit_test(test_a_client_that_goes_is_noticed_at_once),
        cmocka_unit_test(test_a_client_that_goes_in_its_body_is_noticed),
        cmocka_unit_test(test_a_body_is_echoed_while_it_comes),
        cmocka_unit_test(test_expect_continue_is_honoured),
        cmocka_unit_test(test_a_pipe_may_be_refused),
        cmocka_unit_test(test_a_full_pipe_holds_the_client_back),
        cmocka_unit_test(test_a_body_that_drips_is_given_up),
        cmocka_unit_test(test_a_body_that_is_malformed_breaks_off),
        cmocka_unit_test(test_a_reader_that_closes_early_ends_the_body_alone),
        cmocka_unit_test(test_a_reply_may_end_before_its_body),
        cmocka_unit_test(test_a_place_is_free_at_the_end_of_the_body),
        cmocka_unit_test(test_a_piped_body_gives_way_to_another_address),
        cmocka_unit_test(test_a_slow_client_holds_the_producer_back),
        cmocka_unit_test(test_a_client_that_takes_nothing_is_given_up),
        cmocka_unit_test(test_time_runs_only_while_the_client_has_to_take),
        cmocka_unit_test(test_draining_waits_for_live_replies_but_not_for_followers),
        cmocka_unit_test(test_closing_breaks_live_replies_off),
    };

    signal(SIGPIPE, SIG_IGN); /* as main does */
    return cmocka_run_group_tests(tests, certificate_new, certificate_drop);
}

/* live.h - for tests of replies that go on, and of bodies that are written into a pipe: a server, a
 * client, and both ends of the pipes are the test's. Define nothing else of the names of
 * still_loop.h.
 *
 *   /live    a reply from a pipe              /follow   the same, a follower
 *   /push    the body into a pipe, the reply from another
 *   /echo    the body into the pipe that the reply is read from
 *   /half    a reply from a pipe whose end is none
 *   /refuse  says no by the head alone        /answer   answers by the head alone
 *   /fail    makes a live reply and then fails */
#ifndef SLIPWAY_TESTS_SUPPORT_LIVE_H
#define SLIPWAY_TESTS_SUPPORT_LIVE_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ec.h>
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

static inline void scene_clear(void)
{
    fd_drop(&scene.producer);
    fd_drop(&scene.earlier);
    fd_drop(&scene.consumer);
    scene.begun = scene.ended = scene.gone = 0;
    scene.source_closed = false;
}

static inline void released(void *what, bool gone)
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

static inline void await(const int *counter, int least)
{
    const struct timespec until = clock_monotonic_after(PATIENCE_MS);

    pthread_mutex_lock(&lock);
    while (*counter < least) {
        if (pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT)
            fail_msg("waited in vain");
    }
    pthread_mutex_unlock(&lock);
}

static inline int told(const int *counter)
{
    pthread_mutex_lock(&lock);
    int value = *counter;
    pthread_mutex_unlock(&lock);
    return value;
}

/* The reply ended once, and the release was told whether its client went. */
static inline void expect_released(int gone)
{
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.ended), 1);
    assert_int_equal(told(&scene.gone), gone);
    assert_true(scene.source_closed);
}

static inline void pipe_new(int *reader, int *writer)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        abort();
    *reader = ends[0];
    *writer = ends[1];
}

/* --- routes --- */

static inline bool is_whole(void *what)
{
    assert_ptr_equal(what, &scene);
    return false;
}

static inline int live(struct request *request, struct reply *reply, struct error *err)
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

static inline int failing(struct request *request, struct reply *reply, struct error *err)
{
    (void)live(request, reply, err);
    return error_set(err, ERROR_NOT_FOUND, "not after all");
}

static inline int push(struct request *request, struct reply *reply, int *input, struct error *err)
{
    (void)live(request, reply, err);
    pthread_mutex_lock(&lock);
    fd_drop(&scene.consumer);
    pipe_new(&scene.consumer, input);
    pthread_mutex_unlock(&lock);
    return 1;
}

static inline int echo(struct request *request, struct reply *reply, int *input, struct error *err)
{
    int source;

    (void)request;
    (void)err;
    pipe_new(&source, input);
    reply->status = 200;
    reply_live(reply, source, NULL, NULL);
    return 1;
}

static inline int refuse(struct request *request, struct reply *reply, int *input,
                         struct error *err)
{
    (void)request;
    (void)reply;
    (void)input;
    return error_set(err, ERROR_NOT_FOUND, "no such thing");
}

static inline int answer_now(struct request *request, struct reply *reply, int *input,
                             struct error *err)
{
    (void)request;
    (void)input;
    (void)err;
    reply->status = 200;
    reply_bytes(reply, SLICE("enough"), NULL, NULL);
    return 0;
}

static inline int plain(struct request *request, struct reply *reply, struct error *err)
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

static inline int certificate_new(void **state)
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

static inline int certificate_drop(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

/* --- a server, a client --- */

struct times {
    uint64_t body_idle_ms, write_idle_ms, uploads;
};

static inline struct server *serve_with(bool tls, struct times times)
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

static inline struct server *serve(bool tls)
{
    return serve_with(tls, (struct times){60000, 60000, 100});
}

static inline void end(struct server *server)
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

static inline struct client dial_from(const char *from, const struct server *server, bool tls)
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

static inline struct client dial(const struct server *server, bool tls)
{
    return dial_from("127.0.0.1", server, tls);
}

static inline void hang_up(struct client *client)
{
    if (client->ssl != NULL)
        SSL_free(client->ssl);
    SSL_CTX_free(client->context);
    close(client->fd);
    *client = (struct client){.fd = -1};
}

/* One that times out is interrupted when the process was stopped for a while. */
static inline ssize_t client_read(struct client *client, void *out, size_t size)
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
static inline bool client_write(struct client *client, const void *bytes, size_t size)
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

static inline void say(struct client *client, const char *text)
{
    assert_true(client_write(client, text, strlen(text)));
}

/* Reads until `last` ends what came. */
static inline void hear(struct client *client, const char *last, char answer[ANSWER_MAX])
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

static inline void expect_heard(struct client *client, const char *last)
{
    char answer[ANSWER_MAX];

    hear(client, last, answer);
    assert_string_equal(answer, last);
}

static inline void expect_end(struct client *client)
{
    char byte;
    assert_true(client_read(client, &byte, 1) <= 0);
}

/* Says the head of a request, and hears that of its reply. */
static inline void ask(struct client *client, const char *text, char answer[ANSWER_MAX])
{
    say(client, text);
    hear(client, "\r\n\r\n", answer);
}

static inline void produce(const char *text)
{
    assert_int_equal(write(scene.producer, text, strlen(text)), strlen(text));
}

static inline void consume(const char *text)
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

static inline void end_reply(void)
{
    pthread_mutex_lock(&lock);
    fd_drop(&scene.producer);
    pthread_mutex_unlock(&lock);
}

static const char GET_LIVE[] = "GET /live HTTP/1.1\r\nHost: a\r\n\r\n";
static const char GET_PLAIN[] = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n";

static const char POST_PUSH[] = "POST /push HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
                                "\r\n";

#endif

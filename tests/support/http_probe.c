/* http_probe.c - a server whose handlers show what the HTTP layer does; for the raw-socket tests.
 * Touches  the folder given: a file per streamed body, one file to download.
 * Never    storage.
 *
 *   http_probe FOLDER LISTENER... [key=value ...]
 *
 * Prints each listener's address on a line of its own, then serves until its standard input ends,
 * drains, and exits 0. Listeners are as in server.h; "tls:" before one makes it a TLS listener with
 * FOLDER/cert.pem and FOLDER/key.pem. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/auth.h"
#include "registry/core/digest.h"
#include "registry/core/log.h"
#include "registry/http/server.h"

static const char *folder;
static char memory[1024];
static uint64_t collect_limit = 100000;

/* --- answers --- */

static bool memory_peek(struct request *request, struct reply *reply)
{
    (void)request;
    reply->status = 200;
    reply_header(reply, "Content-Type", "application/octet-stream");
    reply_bytes(reply, (struct slice){memory, sizeof(memory)}, NULL, NULL);
    return true;
}

static int memory_handle(struct request *request, struct reply *reply, struct error *err)
{
    (void)err;
    memory_peek(request, reply);
    return 0;
}

/* Tells what arrived: method, path, name, reference, parameters, body. */
static int echo_handle(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer text = BUFFER_NONE;

    (void)err;
    reply->status = 200;
    buffer_print(&text, "method=%.*s path=%.*s name=%.*s reference=%.*s body=%zu\n",
                 SLICE_ARG(request->method_text), SLICE_ARG(request->path),
                 SLICE_ARG(request->name), SLICE_ARG(request->reference), request->body.size);
    for (size_t i = 0; i < request->parameter_count; i++)
        buffer_print(&text, "%.*s=%.*s\n", SLICE_ARG(request->parameters[i].name),
                     SLICE_ARG(request->parameters[i].value));
    buffer_append_slice(&text, request->body);
    reply_text(reply, &text);
    return 0;
}

static int fail_handle(struct request *request, struct reply *reply, struct error *err)
{
    (void)request;
    reply_header(reply, "X-Kept", "yes");
    return error_set_errno(err, ERROR_INTERNAL, 5, "nothing works");
}

static void file_release(void *released, bool read_failed)
{
    assert_worker_thread();
    fprintf(stderr, "released %s\n", read_failed ? "failed" : "well");
    close((int)(intptr_t)released);
}

static int file_handle(struct request *request, struct reply *reply, struct error *err)
{
    struct range ranges[RANGES_MAX];
    struct stat status;
    char path[512];
    size_t count;

    snprintf(path, sizeof(path), "%s/file", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(err, ERROR_BLOB_UNKNOWN, "no file");
    uint64_t size = (uint64_t)status.st_size;
    uint64_t claimed;
    if (slice_to_u64(request_parameter(request, "size"), &claimed))
        size = claimed;                    /* a file that is shorter than it says */
    void *released = (void *)(intptr_t)fd; /* NOLINT */
    if (range_parse(request_header(request, "range"), size, ranges, &count) != RANGE_PARTIAL) {
        reply->status = 200;
        reply_file(reply, fd, 0, size, file_release, released);
        return 0;
    }
    reply->status = 206;
    reply_file(reply, fd, ranges[0].first, ranges[0].last - ranges[0].first + 1, file_release,
               released);
    for (size_t i = 1; i < count; i++)
        reply_part_add(reply, SLICE("--"), ranges[i].first, ranges[i].last - ranges[i].first + 1);
    return 0;
}

static uint64_t limit(const struct services *services)
{
    (void)services;
    return collect_limit;
}

/* --- streams --- */

struct sink {
    int fd;
    uint64_t size, refuse_at;
    unsigned slow_us;
    struct hasher hasher;
};

static int sink_open(struct request *request, struct reply *reply, void **stream, struct error *err)
{
    char path[512];
    uint64_t number;

    if (request_parameter(request, "deny").at != NULL)
        return error_set(err, ERROR_DENIED, "denied");
    if (request_parameter(request, "short").at != NULL) {
        reply->status = 201;
        return 0;
    }
    snprintf(path, sizeof(path), "%s/up-%.*s", folder, SLICE_ARG(request->reference));
    struct sink *sink = memory_new(sizeof(*sink));
    sink->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    sink->refuse_at =
        slice_to_u64(request_parameter(request, "refuse"), &number) ? number : UINT64_MAX;
    sink->slow_us =
        slice_to_u64(request_parameter(request, "slow_us"), &number) ? (unsigned)number : 0;
    hasher_start(&sink->hasher, DIGEST_SHA256);
    *stream = sink;
    return 1;
}

static int sink_write(void *stream, struct slice bytes, struct error *err)
{
    struct sink *sink = stream;

    if (sink->slow_us > 0)
        usleep(sink->slow_us);
    if (sink->size + bytes.size > sink->refuse_at)
        return error_set_errno(err, ERROR_INTERNAL, 28, "no room");
    if (write(sink->fd, bytes.at, bytes.size) != (ssize_t)bytes.size)
        return error_set(err, ERROR_INTERNAL, "short write");
    hasher_update(&sink->hasher, bytes.at, bytes.size);
    sink->size += bytes.size;
    return 0;
}

static int sink_finish(void *stream, enum body_outcome outcome, struct request *request,
                       struct reply *reply, struct error *err)
{
    OWNED(memory_drop) struct sink *sink = stream;
    struct digest digest;
    char text[DIGEST_TEXT_MAX];

    (void)request;
    (void)err;
    close(sink->fd);
    fprintf(stderr, "finished %d %llu\n", (int)outcome, (unsigned long long)sink->size);
    if (outcome == BODY_REFUSED)
        return -1;
    hasher_digest(&sink->hasher, &digest);
    reply->status = 201;
    reply_header(reply, "Docker-Content-Digest", "%s", digest_text(&digest, text));
    reply_header(reply, "X-Size", "%llu", (unsigned long long)sink->size);
    return 0;
}

static const struct body_stream sink = {sink_open, sink_write, sink_finish};

static const struct route routes[] = {
    {.pattern = "/memory",
     .endpoint = "memory",
     .methods = METHOD_GET | METHOD_HEAD,
     .peek = memory_peek,
     .handle = memory_handle},
    {.pattern = "/worker",
     .endpoint = "worker",
     .methods = METHOD_GET | METHOD_HEAD,
     .handle = memory_handle},
    {.pattern = "/fail", .endpoint = "fail", .methods = METHOD_GET, .handle = fail_handle},
    {.pattern = "/file",
     .endpoint = "file",
     .methods = METHOD_GET | METHOD_HEAD,
     .handle = file_handle},
    {.pattern = "/v2/",
     .endpoint = "end-1",
     .methods = METHOD_GET | METHOD_HEAD | METHOD_DELETE | METHOD_POST,
     .action = ACTION_BASE,
     .handle = echo_handle},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "collect",
     .methods = METHOD_PUT | METHOD_POST,
     .action = ACTION_PUSH,
     .body = BODY_COLLECT,
     .body_limit = limit,
     .handle = echo_handle},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "read",
     .methods = METHOD_GET | METHOD_HEAD | METHOD_DELETE,
     .action = ACTION_PULL,
     .handle = echo_handle},
    {.pattern = "/v2/<name>/blobs/uploads/<id>",
     .endpoint = "stream",
     .methods = METHOD_PATCH | METHOD_PUT | METHOD_POST,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &sink},
};

/* --- options --- */

static void option_set(struct server_options *options, const char *text)
{
    const struct {
        const char *key;
        uint64_t *value;
    } keys[] = {{"header_size_max", &options->header_size_max},
                {"header_timeout_ms", &options->header_timeout_ms},
                {"idle_timeout_ms", &options->idle_timeout_ms},
                {"body_idle_timeout_ms", &options->body_idle_timeout_ms},
                {"write_idle_timeout_ms", &options->write_idle_timeout_ms},
                {"connections_max", &options->connections_max},
                {"uploads_max", &options->uploads_max},
                {"requests_per_second", &options->requests_per_second},
                {"collect_limit", &collect_limit}};
    struct slice key, value;
    uint64_t number;

    slice_split(slice_of(text), '=', &key, &value);
    if (!slice_to_u64(value, &number))
        exit(2);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (slice_equal_text(key, keys[i].key))
            *keys[i].value = number;
    }
    if (slice_equal_text(key, "loop_threads"))
        options->loop_threads = (int)number;
    if (slice_equal_text(key, "access_log"))
        options->access_log = number != 0;
}

int main(int argc, char **argv)
{
    struct route_table table = {routes, sizeof(routes) / sizeof(routes[0])};
    struct server_listener listeners[8];
    struct server_options options = {.listeners = listeners,
                                     .header_size_max = 32768,
                                     .header_timeout_ms = 10000,
                                     .idle_timeout_ms = 60000,
                                     .body_idle_timeout_ms = 60000,
                                     .write_idle_timeout_ms = 60000,
                                     .uploads_max = 1000,
                                     .routes = &table};
    struct server *server;
    struct auth *auth;
    struct error err = {0};
    char certificate[512], key[512], byte;

    folder = argc > 1 ? argv[1] : ".";
    signal(SIGPIPE, SIG_IGN);
    for (int i = 2; i < argc; i++) {
        bool tls = slice_starts(slice_of(argv[i]), "tls:");
        if (strchr(argv[i], '=') != NULL)
            option_set(&options, argv[i]);
        else if (options.listener_count < 8)
            listeners[options.listener_count++] =
                (struct server_listener){.address = argv[i] + (tls ? 4 : 0), .tls = tls};
    }
    snprintf(certificate, sizeof(certificate), "%s/cert.pem", folder);
    snprintf(key, sizeof(key), "%s/key.pem", folder);
    options.tls_certificate = certificate;
    options.tls_key = key;
    memset(memory, 'm', sizeof(memory));
    if (auth_open(&auth, &(struct auth_options){.mode = AUTH_MODE_NONE}, &err) < 0)
        return 1;
    options.auth = auth;
    if (server_open(&server, &options, &err) < 0) {
        fprintf(stderr, "%s (%s)\n", err.message, err.cause);
        return 1;
    }
    for (size_t i = 0; i < options.listener_count; i++)
        printf("%s\n", server_address(server, i));
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    server_drain(server, 5000);
    server_close(server);
    auth_close(auth);
    return 0;
}

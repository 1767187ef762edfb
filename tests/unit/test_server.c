/* test_server.c - a server on sockets before an auth of the test's own, which tells in its
 * challenges what it was told and takes as long to look as the test wants.
 *
 *   Authorization   answer
 *   Known NAME      granted; asks a worker unless the connection was granted it before
 *   Slow NAME       the same, but asks a login thread, which waits for the gate
 *   SlowBad         refused by a login thread
 *   Bad             refused at once: invalid_token */
#include "registry/http/server.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "auth/auth.h"
#include "registry/core/log.h"
#include "tests/support/folder.h"
#include "tests/support/still_loop.h"
#include "tests/support/unit.h"

/* --- the auth of this test --- */

struct fake {
    struct identity identity; /* first */
    atomic_int holders;
    char name[32];
};

static atomic_int identities; /* that live */
static atomic_int asked;      /* of workers */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate_open = true; /* under lock */

static void gate_set(bool open)
{
    pthread_mutex_lock(&lock);
    gate_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void gate_pass(void)
{
    pthread_mutex_lock(&lock);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static bool on_login_thread(void)
{
    char name[16] = "";

    pthread_getname_np(pthread_self(), name, sizeof(name));
    return strcmp(name, "http-login") == 0;
}

static const struct identity *identity_new(struct slice name, enum credential credential)
{
    struct fake *fake = memory_new(sizeof(*fake));

    fake->identity =
        (struct identity){.kind = IDENTITY_ACCOUNT, .credential = credential, .name = fake->name};
    if (!slice_to_text(name, fake->name, sizeof(fake->name)))
        abort();
    atomic_store(&fake->holders, 1);
    atomic_fetch_add(&identities, 1);
    return &fake->identity;
}

const struct identity *identity_hold(const struct identity *identity)
{
    if (identity != NULL)
        atomic_fetch_add(&((struct fake *)(uintptr_t)identity)->holders, 1);
    return identity;
}

void identity_drop(const struct identity **identity)
{
    struct fake *fake = (struct fake *)(uintptr_t)*identity;

    *identity = NULL;
    if (fake == NULL || atomic_fetch_sub(&fake->holders, 1) != 1)
        return;
    atomic_fetch_sub(&identities, 1);
    free(fake);
}

enum auth_peeked auth_peek(struct auth *auth, const struct auth_request *request,
                           struct auth_answer *answer, struct error *err)
{
    struct slice scheme, name;

    (void)auth;
    *answer = (struct auth_answer){.identity = NULL};
    if (request->local) {
        answer->identity = identity_new(SLICE("local"), CREDENTIAL_SOCKET);
        return AUTH_GRANTED;
    }
    bool named = slice_split(request->authorization, ' ', &scheme, &name);
    if (named && request->known != NULL && slice_equal_text(name, request->known->name)) {
        answer->identity = identity_hold(request->known);
        return AUTH_GRANTED;
    }
    if (slice_starts(scheme, "Slow"))
        return AUTH_ASK_SLOWLY;
    if (named)
        return AUTH_ASK;
    if (slice_equal_text(request->authorization, "Bad"))
        answer->fault = "invalid_token";
    error_set(err, ERROR_UNAUTHORIZED, "who are you?");
    return AUTH_REFUSED;
}

int auth_authorise(struct auth *auth, const struct auth_request *request,
                   struct auth_answer *answer, struct error *err)
{
    struct slice scheme, name;

    (void)auth;
    atomic_fetch_add(&asked, 1);
    slice_split(request->authorization, ' ', &scheme, &name);
    if (on_login_thread() != slice_starts(scheme, "Slow"))
        abort();
    if (slice_starts(scheme, "Slow"))
        gate_pass();
    if (slice_equal_text(scheme, "SlowBad")) {
        answer->fault = "invalid_token";
        return error_set(err, ERROR_UNAUTHORIZED, "not you");
    }
    answer->identity = identity_new(name, slice_equal_text(scheme, "Known") ? CREDENTIAL_JWT
                                                                            : CREDENTIAL_PASSWORD);
    return 0;
}

void auth_challenge(const struct auth *auth, const struct auth_request *request,
                    const struct auth_answer *answer, struct buffer *header, struct buffer *detail)
{
    (void)auth;
    buffer_print(header, "Bearer fault=%s,host=%.*s,remote=%.*s,tls=%d,upload=%.*s,from=%.*s",
                 answer->fault == NULL ? "" : answer->fault, SLICE_ARG(request->host),
                 SLICE_ARG(request->remote), request->tls, SLICE_ARG(request->upload),
                 SLICE_ARG(request->mount_from));
    buffer_print(header, ",head=%d,cookie=%.*s,site=%.*s,origin=%.*s,changes=%d,json=%d",
                 request->head, SLICE_ARG(request->cookie), SLICE_ARG(request->fetch_site),
                 SLICE_ARG(request->origin), request->changes, request->json);
    buffer_append_text(detail, "[{\"Name\":");
    buffer_append_json(detail, request->repository);
    buffer_append_text(detail, "}]");
}

/* --- the group of this test --- */

enum { GROUP = 54321, NOBODY = 65534, PATIENCE_MS = 60000 };
static bool group_exists;

/* The server's calls end here. */
int getgrnam_r(const char *name, struct group *out, char *text, size_t size, struct group **found)
{
    (void)text;
    (void)size;
    assert_string_equal(name, "slipway-admin");
    *out = (struct group){.gr_gid = GROUP};
    *found = group_exists ? out : NULL;
    return 0;
}

/* --- routes --- */

static int tell(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer text = BUFFER_NONE;

    (void)err;
    reply->status = 200;
    buffer_print(&text, "caller=%s remote=%s host=%.*s tls=%d local=%d login=%d body=%zu id=%s\n",
                 request->caller == NULL ? "-" : request->caller->name, request->remote,
                 SLICE_ARG(request->host), request->tls, request->local, on_login_thread(),
                 request->body.size, request->id);
    reply_text(reply, &text);
    return 0;
}

/* As for a mount whose source the token does not name. Spec: TOK-51. */
static int refuse(struct request *request, struct reply *reply, struct error *err)
{
    (void)request;
    (void)reply;
    return error_set(err, ERROR_UNAUTHORIZED, "the token is too narrow");
}

static int invalid(struct request *request, struct reply *reply, struct error *err)
{
    (void)request;
    reply_header(reply, "Cache-Control", "private");
    return error_set_field(err, "name", "name is taken");
}

static uint64_t limit(const struct services *services)
{
    (void)services;
    return 1000000;
}

static int sink_open(struct request *request, struct reply *reply, void **stream, struct error *err)
{
    (void)reply;
    (void)err;
    *stream = request;
    return 1;
}

static int sink_write(void *stream, struct slice bytes, struct error *err)
{
    (void)stream;
    (void)bytes;
    (void)err;
    return 0;
}

static int sink_finish(void *stream, enum body_outcome outcome, struct request *request,
                       struct reply *reply, struct error *err)
{
    (void)stream;
    (void)outcome;
    return tell(request, reply, err);
}

static bool starts_lightly(const struct request *request)
{
    return slice_starts(request->body, "light");
}

static const struct body_stream sink = {sink_open, sink_write, sink_finish};

static const struct route routes[] = {
    {.pattern = "/v2/", .methods = METHOD_GET, .action = ACTION_BASE, .handle = tell},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .methods = METHOD_GET | METHOD_HEAD,
     .action = ACTION_PULL,
     .handle = tell},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .methods = METHOD_PUT,
     .action = ACTION_PUSH,
     .body = BODY_COLLECT,
     .body_limit = limit,
     .handle = tell},
    {.pattern = "/v2/<name>/tags/list",
     .methods = METHOD_GET | METHOD_HEAD,
     .action = ACTION_PULL,
     .handle = refuse},
    {.pattern = "/v2/<name>/blobs/uploads/",
     .methods = METHOD_POST,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &sink},
    {.pattern = "/v2/<name>/blobs/uploads/<id>",
     .methods = METHOD_PATCH,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &sink},
    {.pattern = "/token", .methods = METHOD_GET, .action = ACTION_TOKEN, .handle = tell},
    {.pattern = "/api/v1/me",
     .methods = METHOD_GET,
     .action = ACTION_API_SIGNED_IN,
     .handle = tell},
    {.pattern = "/api/v1/things",
     .methods = METHOD_POST,
     .action = ACTION_API_SIGNED_IN,
     .body = BODY_COLLECT,
     .body_limit = limit,
     .handle = invalid},
    {.pattern = "/api/v1/password",
     .methods = METHOD_PUT,
     .action = ACTION_API_SIGNED_IN,
     .login = true,
     .hashless = starts_lightly,
     .body = BODY_COLLECT,
     .body_limit = limit,
     .handle = tell},
    {.pattern = "/livez", .methods = METHOD_GET, .handle = tell},
};
static const struct route_table table = {routes, LENGTH(routes)};

/* --- a server --- */

static uint64_t rate; /* requests per second; 0: no limit */

static struct server *serve(const struct server_listener *listeners, const char *const *proxies,
                            size_t proxy_count, bool access_log)
{
    const struct server_options options = {
        .listeners = listeners,
        .listener_count = 1,
        .loop_threads = 1,
        .wait_threads = 1,
        .login_threads = 1,
        .header_size_max = 32768,
        .header_timeout_ms = 30000,
        .idle_timeout_ms = 60000,
        .body_idle_timeout_ms = 60000,
        .write_idle_timeout_ms = 60000,
        .uploads_max = 1000,
        .connections_max = 2000,
        .requests_per_second = rate,
        .access_log = access_log,
        .trusted_proxies = proxies,
        .trusted_proxy_count = proxy_count,
        .routes = &table,
    };
    struct server *server;
    struct error err = {0};

    if (server_open(&server, &options, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    return server;
}

static struct server *serve_tcp(const char *const *proxies, size_t proxy_count)
{
    static const struct server_listener listener = {.address = "127.0.0.1:0"};

    return serve(&listener, proxies, proxy_count, false);
}

/* Nothing of what was granted outlives the server. */
static void end(struct server *server)
{
    loop_go_on();
    server_drain(server, PATIENCE_MS);
    server_close(server);
    assert_int_equal(atomic_load(&identities), 0);
}

/* --- a client --- */

enum { ANSWER_MAX = 8192, HEAD_MAX = 2048 };

static int dial(const struct server *server)
{
    struct sockaddr_in tcp = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const char *address = server_address(server, 0);
    bool is_local = strncmp(address, "unix:", 5) == 0;
    int fd = socket(is_local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (is_local)
        snprintf(local.sun_path, sizeof(local.sun_path), "%s", address + 5);
    else
        tcp.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    if (connect(fd, is_local ? (struct sockaddr *)&local : (struct sockaddr *)&tcp,
                is_local ? sizeof(local) : sizeof(tcp)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void say(int fd, const char *text)
{
    size_t size = strlen(text);
    assert_int_equal(send(fd, text, size, MSG_NOSIGNAL), size);
}

/* Reads to the end. */
static void hear(int fd, char answer[ANSWER_MAX])
{
    size_t used = 0;
    ssize_t got;

    while (used < ANSWER_MAX - 1 && (got = read(fd, answer + used, ANSWER_MAX - 1 - used)) > 0)
        used += (size_t)got;
    answer[used] = 0;
}

/* "GET /path" and header lines, each ended by CR LF. */
static void ask(const struct server *server, const char *line, const char *headers,
                const char *body, char answer[ANSWER_MAX])
{
    char text[HEAD_MAX];
    int fd = dial(server);

    assert_true(fd >= 0);
    snprintf(text, sizeof(text),
             "%s HTTP/1.1\r\nHost: slipway.test\r\nConnection: close\r\n%s\r\n%s", line, headers,
             body);
    say(fd, text);
    hear(fd, answer);
    close(fd);
}

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? (int)strtol(answer + 9, NULL, 10) : 0;
}

static void expect(const char *answer, int status, const char *part)
{
    if (status_of(answer) != status || strstr(answer, part) == NULL)
        fail_msg("expected %d and %s in:\n%s", status, part, answer);
}

static int count_of(const char *answer, const char *part)
{
    int count = 0;

    for (const char *at = answer; (at = strstr(at, part)) != NULL; at++)
        count++;
    return count;
}

/* --- refusals --- */

/* Spec: TOK-03, TOK-06, TOK-07, CACHE-01. */
static void test_a_refusal_has_one_challenge_and_a_detail(void **state)
{
    static const char *const credentials[] = {"", "Authorization: Bad\r\n",
                                              "Authorization: SlowBad x\r\n"};
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(credentials); i++) {
        ask(server, "GET /v2/a/b/manifests/t", credentials[i], "", answer);
        expect(answer, 401, "\"code\":\"UNAUTHORIZED\"");
        expect(answer, 401, "\"detail\":[{\"Name\":\"a/b\"}]}]}");
        expect(answer, 401, "\r\nCache-Control: no-cache\r\n");
        assert_int_equal(count_of(answer, "\r\nWWW-Authenticate: "), 1);
        expect(answer, 401, i == 0 ? "fault=," : "fault=invalid_token,");
        expect(answer, 401, "host=slipway.test,remote=127.0.0.1,tls=0,");
    }
    /* a handler that finds a token too narrow; a password is not narrow (AUTHZ-01) */
    ask(server, "GET /v2/a/tags/list", "Authorization: Known me\r\n", "", answer);
    expect(answer, 401, "fault=insufficient_scope,");
    assert_int_equal(count_of(answer, "\r\nWWW-Authenticate: "), 1);
    ask(server, "GET /v2/a/tags/list", "Authorization: Slow me\r\n", "", answer);
    expect(answer, 401, "fault=,");
    end(server);
}

/* Spec: TOK-55, UPL-33, AUTHZ-02. */
static void test_auth_is_told_what_deciding_needs(void **state)
{
    static const struct {
        const char *line, *headers, *told;
    } cases[] = {
        {"POST /v2/a/blobs/uploads/?mount=sha256:0&from=b/c", "", "upload=,from=b/c,head=0"},
        {"POST /v2/a/blobs/uploads/?mount=sha256:0&from=b%2fc", "", "upload=,from=b/c,head=0"},
        {"POST /v2/a/blobs/uploads/?mount=sha256:0&from=../c", "", "upload=,from=,head=0"},
        {"POST /v2/a/blobs/uploads/?mount=sha256:0", "", "upload=,from=,head=0"},
        {"POST /v2/a/blobs/uploads/?from=b", "", "upload=,from=,head=0"},
        {"PATCH /v2/a/blobs/uploads/xyz?mount=m&from=b", "", "upload=xyz,from=,head=0"},
        {"PUT /v2/a/manifests/t", "", "upload=,from=,head=0"},
        {"GET /v2/a/manifests/t", "", "upload=,from=,head=0"},
        {"HEAD /v2/a/manifests/t", "", "upload=,from=,head=1"},
        {"HEAD /v2/a/tags/list", "", "upload=,from=,head=0"},
        /* what only the management API looks at */
        {"GET /v2/", "Cookie: s=1\r\nOrigin: https://x\r\n", "cookie=,site=,origin=,changes=0"},
        {"GET /api/v1/me", "Cookie: s=1\r\nSec-Fetch-Site: same-origin\r\nOrigin: https://x\r\n",
         "cookie=s=1,site=same-origin,origin=https://x,changes=0,json=1"},
        {"POST /api/v1/things", "", "changes=1,json=1"},
        {"POST /api/v1/things", "Content-Length: 2\r\n", "changes=1,json=0"},
        {"POST /api/v1/things", "Content-Length: 2\r\nContent-Type: text/plain\r\n",
         "changes=1,json=0"},
        {"POST /api/v1/things",
         "Content-Length: 2\r\nContent-Type: Application/JSON; charset=utf-8\r\n",
         "changes=1,json=1"},
        {"POST /api/v1/things", "Transfer-Encoding: chunked\r\n", "changes=1,json=0"},
    };
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        ask(server, cases[i].line, cases[i].headers, "", answer);
        expect(answer, 401, cases[i].told);
    }
    end(server);
}

static void test_the_management_api_answers_problems(void **state)
{
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];

    (void)state;
    ask(server, "GET /api/v1/me", "", "", answer);
    expect(answer, 401, "\r\nContent-Type: application/problem+json\r\n");
    expect(answer, 401,
           "{\"type\":\"about:blank\",\"title\":\"Unauthorized\",\"status\":401,"
           "\"code\":\"unauthenticated\",\"detail\":\"who are you?\","
           "\"request_id\":\"");
    expect(answer, 401, "\r\nCache-Control: no-store\r\n");
    expect(answer, 401, "\r\nX-Content-Type-Options: nosniff\r\n");
    assert_int_equal(count_of(answer, "\r\nWWW-Authenticate: "), 1);
    assert_int_equal(count_of(answer, "Cache-Control"), 1);
    ask(server, "GET /api/v1/nothing", "", "", answer);
    expect(answer, 404, "\"code\":\"not_found\"");
    ask(server, "GET /api", "", "", answer);
    expect(answer, 404, "application/problem+json");
    ask(server, "DELETE /api/v1/me", "", "", answer);
    expect(answer, 405, "\"code\":\"method_not_allowed\"");
    expect(answer, 405, "\r\nAllow: GET\r\n");
    ask(server, "POST /api/v1/things", "Authorization: Known me\r\n", "", answer);
    expect(answer, 422,
           "\"code\":\"invalid\",\"detail\":\"name is taken\","
           "\"fields\":{\"name\":\"name is taken\"},\"request_id\":\"");
    expect(answer, 422, "\r\nCache-Control: private\r\n"); /* the handler's stands */
    assert_int_equal(count_of(answer, "Cache-Control"), 1);
    ask(server, "GET /apiary", "", "", answer);
    expect(answer, 404, "{\"errors\":[{\"code\":\"UNSUPPORTED\"");
    end(server);
}

static void test_a_host_that_is_none_is_not_told(void **state)
{
    static const char *const heads[] = {
        "GET /v2/ HTTP/1.0\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost:\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost: a!b\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost: a,b\r\n\r\n",
        "GET /v2/ HTTP/1.0\r\nHost: a:b:c\r\n\r\n",
    };
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(heads); i++) {
        int fd = dial(server);
        say(fd, heads[i]);
        hear(fd, answer);
        close(fd);
        expect(answer, 401, "host=,remote=127.0.0.1");
    }
    int fd = dial(server); /* of two, the target's */
    say(fd, "GET http://target.test:81/v2/ HTTP/1.0\r\nHost: header.test\r\n\r\n");
    hear(fd, answer);
    close(fd);
    expect(answer, 401, "host=target.test:81,remote");
    end(server);
}

/* Spec: TOK-71. */
static void test_credentials_given_twice_are_refused(void **state)
{
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];

    (void)state;
    ask(server, "GET /v2/", "Authorization: Known me\r\nauthorization: Known me\r\n", "", answer);
    expect(answer, 400, "Authorization is given twice");
    ask(server, "GET /v2/", "Authorization: Known me\r\nAuthorization:\r\n", "", answer);
    expect(answer, 400, "Authorization is given twice");
    ask(server, "GET /v2/", "Authorization:\r\nAuthorization: Known me\r\n", "", answer);
    expect(answer, 400, "Authorization is given twice");
    ask(server, "GET /api/v1/me", "Cookie: s=1\r\nCookie: s=2\r\n", "", answer);
    expect(answer, 400, "Cookie is given twice");
    ask(server, "GET /v2/", "Authorization: Known me\r\nCookie: a\r\nCookie: b\r\n", "", answer);
    expect(answer, 200, "caller=me"); /* cookies mean nothing there */
    end(server);
}

/* --- identities and pools --- */

static void test_a_connection_remembers_who_was_granted(void **state)
{
    static const char again[] = "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Known me\r\n\r\n";
    static const char other[] = "GET /v2/ HTTP/1.1\r\nHost: a\r\nAuthorization: Known you\r\n"
                                "Connection: close\r\n\r\n";
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];
    int fd = dial(server);

    (void)state;
    atomic_store(&asked, 0);
    say(fd, again);
    say(fd, again);
    say(fd, again);
    say(fd, other);
    hear(fd, answer);
    close(fd);
    assert_int_equal(count_of(answer, "caller=me"), 3);
    assert_int_equal(count_of(answer, "caller=you"), 1);
    assert_int_equal(atomic_load(&asked), 2);
    end(server);
}

/* With one waiting worker and one login thread that is held up, others are served. */
static void test_a_storm_of_log_ins_leaves_the_workers_alone(void **state)
{
    enum { STORM = 12, BODY = 300000 };
    static const char *const heads[] = {
        "GET /v2/ HTTP/1.1\r\n",
        "PUT /v2/a/manifests/t HTTP/1.1\r\nContent-Length: 300000\r\n",
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nContent-Length: 300000\r\n",
        "PUT /api/v1/password HTTP/1.1\r\nContent-Length: 2\r\n",
    };
    OWNED(memory_drop) char *body = memory_new(BODY + 1);
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];
    int fds[STORM];

    (void)state;
    memset(body, 'b', BODY);
    gate_set(false);
    for (int i = 0; i < STORM; i++) {
        fds[i] = dial(server);
        say(fds[i], heads[i % 4]);
        say(fds[i], "Host: a\r\nConnection: close\r\nAuthorization: Slow me\r\n\r\n");
    }
    for (int i = 0; i < 20; i++) {
        ask(server, "GET /v2/", "Authorization: Known you\r\n", "", answer);
        expect(answer, 200, "caller=you");
        ask(server, "PUT /v2/a/manifests/t", "Authorization: Known you\r\nContent-Length: 2\r\n",
            "{}", answer);
        expect(answer, 200, "login=0 body=2");
    }
    gate_set(true);
    ask(server, "PUT /api/v1/password", "Authorization: Known you\r\nContent-Length: 5\r\n",
        "light", answer);
    expect(answer, 200, "login=0 body=5");
    for (int i = 0; i < STORM; i++) {
        if (i % 4 == 1 || i % 4 == 2)
            say(fds[i], body);
        else if (i % 4 == 3)
            say(fds[i], "{}");
        hear(fds[i], answer);
        close(fds[i]);
        expect(answer, 200, "caller=me"); /* what hashes by itself does so there as well */
        expect(answer, 200, i % 4 == 3 ? "login=1 body=2" : "login=0");
    }
    end(server);
}

/* There is a bound, and a smaller one for each address, so that one leaves room for others. */
static void test_waiting_log_ins_are_bounded(void **state)
{
    enum { TAKEN = 256 + 1 /* waiting, and the one in work */, REFUSED = 10 };
    static const char *const proxies[] = {"127.0.0.1"};
    static const char slow[] = "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                               "Authorization: Slow me\r\nX-Forwarded-For: 203.0.113.1\r\n\r\n";
    static const char other[] = "GET /v2/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                                "Authorization: Slow you\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
    struct server *server = serve_tcp(proxies, 1);
    static struct pollfd polls[TAKEN + REFUSED];
    char answer[ANSWER_MAX];
    int answers[6] = {0};

    (void)state;
    gate_set(false);
    atomic_store(&asked, 0);
    for (size_t i = 0; i < LENGTH(polls); i++) {
        polls[i] = (struct pollfd){.fd = dial(server), .events = POLLIN};
        say(polls[i].fd, slow);
        for (int ms = 0; i == 0 && ms < PATIENCE_MS && atomic_load(&asked) == 0; ms++)
            usleep(1000);
    }
    for (int ms = 0; ms < PATIENCE_MS && poll(polls, LENGTH(polls), 0) < REFUSED; ms++)
        usleep(1000); /* until all have been read */
    int fd = dial(server);
    say(fd, other);
    usleep(50000);
    gate_set(true);
    hear(fd, answer);
    close(fd);
    expect(answer, 200, "caller=you remote=198.51.100.7");
    for (size_t i = 0; i < LENGTH(polls); i++) {
        hear(polls[i].fd, answer);
        close(polls[i].fd);
        answers[status_of(answer) / 100]++;
        if (status_of(answer) != 200)
            expect(answer, 503, "\r\nRetry-After: 5\r\n");
    }
    assert_int_equal(answers[2], TAKEN);
    assert_int_equal(answers[5], REFUSED);
    end(server);
}

/* Spec: TOK-52, HTTP-05. */
static void test_a_refused_upload_can_be_read(void **state)
{
    enum { SIZE = 8 << 20 };
    struct server *server = serve_tcp(NULL, 0);
    OWNED(memory_drop) char *body = memory_new(SIZE);
    char answer[ANSWER_MAX];
    int fd = dial(server);

    (void)state;
    loop_stop(); /* nobody waits for the body for ever */
    say(fd, "PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: a\r\nContent-Length: 8388608\r\n"
            "Authorization: SlowBad x\r\n\r\n");
    for (size_t sent = 0; sent < SIZE;) {
        ssize_t put = send(fd, body + sent, SIZE - sent, MSG_NOSIGNAL);
        assert_true(put > 0);
        sent += (size_t)put;
    }
    hear(fd, answer);
    close(fd);
    expect(answer, 401, "fault=invalid_token");
    end(server);
}

static const char LATE_MANIFEST[] = "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: a\r\n"
                                    "Content-Length: 5\r\nAuthorization: Bad\r\n\r\n";

/* Spec: HTTP-05. */
static void test_a_refusal_lets_its_body_come_first(void **state)
{
    struct server *server = serve_tcp(NULL, 0);
    int fd = dial(server);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    char answer[ANSWER_MAX];

    (void)state;
    loop_stop(); /* nor for this one */
    say(fd, LATE_MANIFEST);
    assert_int_equal(poll(&polled, 1, 200), 0);
    say(fd, "hello");
    say(fd, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    hear(fd, answer);
    close(fd);
    expect(answer, 401, "fault=invalid_token");
    expect(answer, 401, "HTTP/1.1 200 ");
    end(server);
}

/* The answer before tells that the next request was read. */
static void test_draining_lets_a_refusal_that_waits_leave(void **state)
{
    struct server *server = serve_tcp(NULL, 0);
    char answer[ANSWER_MAX];
    int fd = dial(server);
    char text[HEAD_MAX];

    (void)state;
    snprintf(text, sizeof(text), "GET /livez HTTP/1.1\r\nHost: a\r\n\r\n%s", LATE_MANIFEST);
    say(fd, text);
    assert_int_equal(recv(fd, text, 1, MSG_PEEK), 1);
    end(server);
    hear(fd, answer);
    close(fd);
    expect(answer, 200, "HTTP/1.1 401 ");
    assert_int_equal(count_of(answer, "Connection: close"), 1);
}

/* --- proxies --- */

static const char FORWARDED[] = "Authorization: Known me\r\nX-Forwarded-For: 203.0.113.9\r\n"
                                "X-Forwarded-Proto: https\r\nX-Forwarded-Host: public.test\r\n"
                                "X-Request-Id: abc-123\r\n";

static void test_forwarded_headers_count_from_trusted_proxies_alone(void **state)
{
    static const char *const trusted[] = {"192.0.2.0/24", "127.0.0.0/8"};
    static const char *const others[] = {"192.0.2.0/24", "unix"};
    struct server *server = serve_tcp(trusted, 2);
    char answer[ANSWER_MAX];

    (void)state;
    ask(server, "GET /v2/", FORWARDED, "", answer);
    expect(answer, 200, "caller=me remote=203.0.113.9 host=public.test tls=1 local=0");
    expect(answer, 200, "\r\nX-Request-Id: abc-123\r\n");
    expect(answer, 200, " id=abc-123\n");
    ask(server, "GET /v2/", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n", "",
        answer);
    expect(answer, 401, "host=slipway.test,remote=203.0.113.9,tls=1,");
    ask(server, "GET /v2/", "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "", answer);
    expect(answer, 400, "X-Forwarded-Proto is given twice");
    end(server);
    server = serve_tcp(others, 2);
    ask(server, "GET /v2/", FORWARDED, "", answer);
    expect(answer, 200, "caller=me remote=127.0.0.1 host=slipway.test tls=0 local=0");
    assert_null(strstr(answer, "abc-123"));
    ask(server, "GET /v2/", "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "", answer);
    expect(answer, 401, "tls=0");
    end(server);
}

static void test_a_proxy_may_speak_by_a_unix_socket(void **state)
{
    static const char *const proxies[] = {"unix"};
    char folder[FOLDER_MAX], address[FOLDER_MAX + 16], answer[ANSWER_MAX];
    const struct server_listener listener = {.address = address};

    (void)state;
    folder_new(folder);
    snprintf(address, sizeof(address), "unix:%s/front", folder);
    struct server *server = serve(&listener, proxies, 1, false);
    ask(server, "GET /v2/", FORWARDED, "", answer);
    expect(answer, 200, "caller=me remote=203.0.113.9 host=public.test tls=1 local=0");
    end(server);
    server = serve(&listener, NULL, 0, false);
    ask(server, "GET /v2/", FORWARDED, "", answer);
    expect(answer, 200, "caller=me remote=local host=slipway.test tls=0 local=0");
    end(server);
    folder_remove(folder);
}

/* Spec: LIM-06. */
static void test_rates_are_those_of_the_client_behind_the_proxy(void **state)
{
    enum { BURST = 2 };
    static const char *const proxies[] = {"127.0.0.1"};
    char answer[ANSWER_MAX], headers[128];

    (void)state;
    loop_stop();
    rate = 1;
    struct server *server = serve_tcp(proxies, 1);
    rate = 0;
    for (int client = 1; client <= 5; client++) {
        snprintf(headers, sizeof(headers), "X-Forwarded-For: 203.0.113.%d\r\n", client);
        for (int i = 0; i < BURST; i++) {
            ask(server, "GET /v2/", headers, "", answer);
            expect(answer, 401, "who are you?");
        }
    }
    for (int i = 0; i < 50 && status_of(answer) == 401; i++)
        ask(server, "GET /v2/", headers, "", answer);
    expect(answer, 429, "\r\nRetry-After: 1\r\n");
    end(server);
}

static void test_a_proxy_that_cannot_be_read_stops_the_start(void **state)
{
    static const struct server_listener listener = {.address = "127.0.0.1:0"};
    static const char *const proxies[] = {"10.0.0.0/8", "proxy.test"};
    const struct server_options options = {.listeners = &listener,
                                           .listener_count = 1,
                                           .trusted_proxies = proxies,
                                           .trusted_proxy_count = 2,
                                           .routes = &table};
    struct server *server;
    struct error err = {0};

    (void)state;
    assert_int_equal(server_open(&server, &options, &err), -1);
    assert_non_null(strstr(err.message, "proxy.test"));
}

/* --- the admin socket --- */

struct rig {
    char folder[FOLDER_MAX], path[FOLDER_MAX + 32], address[FOLDER_MAX + 40];
    struct server *server;
};

static void rig_open(struct rig *rig, bool with_group)
{
    folder_new(rig->folder);
    assert_int_equal(chmod(rig->folder, 0711), 0);
    snprintf(rig->path, sizeof(rig->path), "%s/admin.sock", rig->folder);
    snprintf(rig->address, sizeof(rig->address), "unix:%s", rig->path);
    group_exists = with_group;
    struct server_listener listener = {.address = rig->address, .admin = true};
    rig->server = serve(&listener, (const char *const[]){"unix"}, 1, false);
}

static void rig_close(struct rig *rig)
{
    end(rig->server);
    folder_remove(rig->folder);
    group_exists = false;
}

/* As another user, who is in the group or is not; -1: could not connect. */
static int ask_as(const struct server *server, const char *path, gid_t gid, gid_t supplementary)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        char text[HEAD_MAX], answer[ANSWER_MAX];
        if (setgroups(1, &supplementary) < 0 || setgid(gid) < 0 || setuid(NOBODY) < 0)
            _exit(99);
        int fd = dial(server);
        if (fd < 0)
            _exit(98);
        int size = snprintf(text, sizeof(text),
                            "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", path);
        if (write(fd, text, (size_t)size) != size)
            _exit(97);
        hear(fd, answer);
        _exit(status_of(answer) / 100 * 10 + status_of(answer) % 10);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    status = WEXITSTATUS(status);
    return status >= 97 ? -(status - 97) : status / 10 * 100 + status % 10;
}

static void test_the_admin_socket_serves_the_management_api_to_its_owner(void **state)
{
    struct rig rig;
    char answer[ANSWER_MAX];

    (void)state;
    rig_open(&rig, false);
    ask(rig.server, "GET /api/v1/me", "X-Forwarded-For: 203.0.113.9\r\n", "", answer);
    expect(answer, 200, "caller=local remote=local host=slipway.test tls=0 local=1");
    ask(rig.server, "GET /v2/", "Authorization: Known me\r\n", "", answer);
    expect(answer, 404, "management API");
    ask(rig.server, "GET /token", "", "", answer);
    expect(answer, 404, "management API");
    ask(rig.server, "GET /livez", "", "", answer);
    expect(answer, 200, "caller=- remote=local host=slipway.test tls=0 local=0");
    ask(rig.server, "GET /api/v1/nothing", "", "", answer);
    expect(answer, 404, "\"code\":\"not_found\"");
    rig_close(&rig);
}

static void test_the_admin_socket_is_for_root_and_its_group(void **state)
{
    struct stat file;
    struct rig rig;
    mode_t before = umask(0);

    (void)state;
    if (geteuid() != 0)
        skip();
    rig_open(&rig, false);
    assert_int_equal(stat(rig.path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0600); /* whatever the umask */
    assert_int_equal(ask_as(rig.server, "/api/v1/me", GROUP, GROUP), -1);
    assert_int_equal(chmod(rig.path, 0666), 0); /* somebody meant well */
    assert_int_equal(ask_as(rig.server, "/api/v1/me", GROUP, GROUP), 403);
    rig_close(&rig);
    rig_open(&rig, true);
    umask(before);
    assert_int_equal(stat(rig.path, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0660);
    assert_int_equal(file.st_gid, GROUP);
    assert_int_equal(ask_as(rig.server, "/api/v1/me", NOBODY, NOBODY), -1);
    assert_int_equal(ask_as(rig.server, "/api/v1/me", GROUP, NOBODY), 200);
    assert_int_equal(ask_as(rig.server, "/api/v1/me", NOBODY, GROUP), 200);
    assert_int_equal(chmod(rig.path, 0666), 0);
    assert_int_equal(ask_as(rig.server, "/api/v1/me", NOBODY, NOBODY), 403);
    assert_int_equal(ask_as(rig.server, "/livez", NOBODY, NOBODY), 403);
    assert_int_equal(ask_as(rig.server, "/v2/", NOBODY, NOBODY), 403);
    rig_close(&rig);
}

static void test_an_admin_listener_is_a_unix_socket(void **state)
{
    static const struct server_listener listener = {.address = "127.0.0.1:0", .admin = true};
    const struct server_options options = {
        .listeners = &listener, .listener_count = 1, .routes = &table};
    struct server *server;
    struct error err = {0};

    (void)state;
    assert_int_equal(server_open(&server, &options, &err), -1);
    assert_non_null(strstr(err.message, "127.0.0.1:0"));
}

/* --- the access log --- */

/* Spec: TOK-68. */
static void test_the_access_log_names_the_user_and_no_secret(void **state)
{
    static const struct server_listener listener = {.address = "127.0.0.1:0"};
    char folder[FOLDER_MAX], path[FOLDER_MAX + 16], answer[ANSWER_MAX], text[16384] = "";

    (void)state;
    folder_new(folder);
    snprintf(path, sizeof(path), "%s/log", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    log_open(fd, LOG_INFO, LOG_FORMAT_LOGFMT);
    struct server *server = serve(&listener, NULL, 0, true);
    ask(server, "GET /v2/?n=5", "Authorization: Known me\r\n", "", answer);
    ask(server, "GET /token?account=me&password=hidden1", "Authorization: Known you\r\n", "",
        answer);
    ask(server, "POST /token?password=hidden2", "", "", answer);
    ask(server, "GET /tokens?password=hidden3", "", "", answer);
    ask(server, "GET /token?password=%zzhidden4", "", "", answer);
    ask(server, "GET /api/v1/me", "Cookie: session=hidden5\r\n", "", answer);
    ask(server, "GET /v2/", "Authorization: hidden6\r\nAuthorization: hidden6\r\n", "", answer);
    end(server);
    log_close();
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    close(fd);
    folder_remove(folder);
    assert_int_equal(count_of(text, "http.request"), 7);
    assert_int_equal(count_of(text, "user=me"), 1);
    assert_int_equal(count_of(text, "user=you"), 1);
    assert_int_equal(count_of(text, "user="), 2);
    assert_non_null(strstr(text, "/v2/?n=5"));
    assert_non_null(strstr(text, "path=/token "));
    assert_null(strstr(text, "hidden"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_refusal_has_one_challenge_and_a_detail),
        cmocka_unit_test(test_auth_is_told_what_deciding_needs),
        cmocka_unit_test(test_the_management_api_answers_problems),
        cmocka_unit_test(test_a_host_that_is_none_is_not_told),
        cmocka_unit_test(test_credentials_given_twice_are_refused),
        cmocka_unit_test(test_a_connection_remembers_who_was_granted),
        cmocka_unit_test(test_a_storm_of_log_ins_leaves_the_workers_alone),
        cmocka_unit_test(test_waiting_log_ins_are_bounded),
        cmocka_unit_test(test_a_refused_upload_can_be_read),
        cmocka_unit_test(test_a_refusal_lets_its_body_come_first),
        cmocka_unit_test(test_draining_lets_a_refusal_that_waits_leave),
        cmocka_unit_test(test_forwarded_headers_count_from_trusted_proxies_alone),
        cmocka_unit_test(test_a_proxy_may_speak_by_a_unix_socket),
        cmocka_unit_test(test_rates_are_those_of_the_client_behind_the_proxy),
        cmocka_unit_test(test_a_proxy_that_cannot_be_read_stops_the_start),
        cmocka_unit_test(test_the_admin_socket_serves_the_management_api_to_its_owner),
        cmocka_unit_test(test_the_admin_socket_is_for_root_and_its_group),
        cmocka_unit_test(test_an_admin_listener_is_a_unix_socket),
        cmocka_unit_test(test_the_access_log_names_the_user_and_no_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

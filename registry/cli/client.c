/* client.c - a command's talk with a server, by libcurl. */
#include "registry/cli/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <curl/curl.h>

#include "registry/cli/prompt.h"
#include "registry/http/message.h"

enum { ANSWER_MAX = 64 << 20, TIMEOUT_S = 60, LONG_S = 24 * 3600, PAGE = 500 };

const struct cli_option cli_remote[] = {
    {"--url", "URL", "https://HOST of the server; without it the admin socket of this machine", 0},
    {"--token-file", "FILE", "a personal token to sign in with, for --url", 0},
    {"--user", "NAME", "signs in with a password instead, for --url", 0},
    {"--password-file", "FILE", "the password; - for standard input; without it asks", 0},
    {"--ca-file", "FILE", "certificates to trust beside the system's, PEM", 0},
    {"--timeout", "SECONDS", "how long an answer may take; without it 60", 0},
    {"--json", NULL, "prints what the server answers, as one JSON document", 0},
    {0},
};

struct client {
    const struct cli_call *call;
    CURL *curl;
    struct buffer base;   /* "https://host" */
    struct buffer where;  /* what people call it: the same, or the socket's path */
    struct buffer answer; /* of the request under way */
    bool too_long, quiet;
    long seconds; /* how long an answer may take */
    char reason[CURL_ERROR_SIZE];
    char password[PROMPT_SECRET_MAX + 1]; /* "": there is none */
};

void client_close(struct client **owned)
{
    struct client *client = *owned;

    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    buffer_drop(&client->base);
    buffer_drop(&client->where);
    if (client->answer.at != NULL)
        explicit_bzero(client->answer.at, client->answer.capacity); /* may hold a new token */
    buffer_drop(&client->answer);
    prompt_wipe(&client->password);
    free(client);
}

void client_quiet(struct client *client, bool quiet)
{
    client->quiet = quiet;
}

const char *client_password(const struct client *client)
{
    return client->password;
}

static size_t receive(char *bytes, size_t one, size_t count, void *argument)
{
    struct client *client = argument;

    if (client->answer.size + one * count > ANSWER_MAX) {
        client->too_long = true;
        return 0;
    }
    buffer_append(&client->answer, bytes, one * count);
    return one * count;
}

/* --- where to, and as whom --- */

/* Plain http shows what is sent to everybody on the way. */
static bool private_way(const char *url)
{
    static const char *const near[] = {"http://127.0.0.1", "http://[::1]", "http://localhost"};

    if (slice_starts(slice_of(url), "https://"))
        return true;
    for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
        size_t size = strlen(near[i]);
        if (strncmp(url, near[i], size) == 0 && strchr(":/", url[size]) != NULL)
            return true;
    }
    return false;
}

static int use_token(struct client *client)
{
    OWNED(prompt_wipe) char token[PROMPT_SECRET_MAX + 1];
    int status = prompt_password(client->call, "--token-file", "token", false, token);

    if (status != CLI_DONE)
        return status;
    curl_easy_setopt(client->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
    curl_easy_setopt(client->curl, CURLOPT_XOAUTH2_BEARER, token);
    return CLI_DONE;
}

static int use_password(struct client *client, const char *name)
{
    int status =
        prompt_password(client->call, "--password-file", "password", false, client->password);

    if (status != CLI_DONE)
        return status;
    curl_easy_setopt(client->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(client->curl, CURLOPT_USERNAME, name);
    curl_easy_setopt(client->curl, CURLOPT_PASSWORD, client->password);
    return CLI_DONE;
}

static int by_url(struct client *client, const char *url)
{
    const char *token = cli_value(client->call, "--token-file");
    const char *user = cli_value(client->call, "--user");
    const char *authority = cli_value(client->call, "--ca-file");

    if (!private_way(url))
        return cli_usage(client->call, "--url must be https:// (http:// for this machine only)");
    if ((token == NULL) == (user == NULL))
        return cli_usage(client->call, "--url needs --token-file or --user");
    buffer_append_text(&client->base, url);
    while (client->base.size > 0 && client->base.at[client->base.size - 1] == '/')
        client->base.size--;
    buffer_append_slice(&client->where, buffer_slice(&client->base));
    if (authority != NULL)
        curl_easy_setopt(client->curl, CURLOPT_CAINFO, authority);
    return token != NULL ? use_token(client) : use_password(client, user);
}

static int by_socket(struct client *client)
{
    OWNED(config_drop) struct config config = {0};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (cli_value(client->call, "--token-file") != NULL ||
        cli_value(client->call, "--user") != NULL)
        return cli_usage(client->call, "--token-file and --user go with --url");
    if (!cli_config_load(client->call, &config))
        return CLI_FAILED;
    if (!config_admin_address(&config, &path))
        return cli_fail(client->call, CLI_UNREACHABLE,
                        "server.admin_socket is off: give --url instead");
    buffer_append(&path, "", 1);
    curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, path.at + strlen("unix:"));
    curl_easy_setopt(client->curl, CURLOPT_NOPROXY, "*");
    buffer_append_text(&client->base, "http://localhost");
    buffer_append_text(&client->where, path.at + strlen("unix:"));
    return CLI_DONE;
}

static int timeout_of(const struct cli_call *call, long *out)
{
    const char *text = cli_value(call, "--timeout");
    uint64_t seconds = TIMEOUT_S;

    if (text != NULL &&
        (!slice_to_u64(slice_of(text), &seconds) || seconds == 0 || seconds > 86400))
        return cli_usage(call, "--timeout is a number of seconds");
    *out = (long)seconds;
    return CLI_DONE;
}

void client_wait_long(struct client *client)
{
    if (cli_value(client->call, "--timeout") == NULL)
        client->seconds = LONG_S;
}

int client_open(struct client **out, const struct cli_call *call)
{
    OWNED(client_close) struct client *client = memory_new(sizeof(*client));
    const char *url = cli_value(call, "--url");
    long seconds = 0;

    client->call = call;
    client->curl = curl_easy_init();
    if (client->curl == NULL)
        abort();
    int status = timeout_of(call, &seconds);
    if (status == CLI_DONE)
        status = url != NULL ? by_url(client, url) : by_socket(client);
    if (status != CLI_DONE)
        return status;
    buffer_append(&client->base, "", 1);
    curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, client->reason);
    curl_easy_setopt(client->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(client->curl, CURLOPT_NOSIGNAL, 1L);
    client->seconds = seconds;
    curl_easy_setopt(client->curl, CURLOPT_USERAGENT, "slipway/" SLIPWAY_VERSION);
    curl_easy_setopt(client->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(client->curl, CURLOPT_WRITEDATA, client);
    *out = TAKE(client);
    return CLI_DONE;
}

/* --- requests --- */

/* Of a connection that was not made the system knows more than curl says. */
static int unanswered(struct client *client, CURLcode outcome)
{
    const char *reason = client->reason[0] == 0 ? curl_easy_strerror(outcome) : client->reason;
    bool local = cli_value(client->call, "--url") == NULL;
    long number = 0;

    if (client->quiet)
        return CLI_UNREACHABLE;
    curl_easy_getinfo(client->curl, CURLINFO_OS_ERRNO, &number);
    if (outcome == CURLE_COULDNT_CONNECT && number != 0)
        reason = strerror((int)number);
    return cli_fail(client->call, CLI_UNREACHABLE, "no answer from %.*s: %s%s",
                    SLICE_ARG(buffer_slice(&client->where)), reason,
                    local && (number == ENOENT || number == ECONNREFUSED)
                        ? "; does a server run with these settings?"
                        : "");
}

/* What every request has; the body comes on top. The list is freed by the caller. */
static struct curl_slist *request_begin(struct client *client, const char *method, const char *path,
                                        const char *type)
{
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE, header = BUFFER_NONE;

    buffer_print(&url, "%s/api/v1%s", client->base.at, path);
    buffer_append(&url, "", 1);
    buffer_print(&header, "Content-Type: %s", type);
    buffer_append(&header, "", 1);
    struct curl_slist *headers = curl_slist_append(NULL, header.at);
    client->answer.size = 0;
    client->too_long = false;
    curl_easy_setopt(client->curl, CURLOPT_URL, url.at);
    if (strcmp(method, "GET") == 0)
        curl_easy_setopt(client->curl, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(client->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, headers);
    return headers;
}

static CURLcode perform(struct client *client, struct curl_slist *headers)
{
    CURLcode outcome = curl_easy_perform(client->curl);

    curl_easy_setopt(client->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    return outcome;
}

static int judge(struct client *client, CURLcode outcome, long *status)
{
    if (client->too_long)
        return cli_fail(client->call, CLI_FAILED, "the answer is too long");
    if (outcome != CURLE_OK)
        return unanswered(client, outcome);
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, status);
    return CLI_DONE;
}

static int exchange(struct client *client, const char *method, const char *path, struct slice body,
                    long *status)
{
    curl_easy_setopt(client->curl, CURLOPT_TIMEOUT, client->seconds);
    curl_easy_setopt(client->curl, CURLOPT_POSTFIELDS, body.at == NULL ? "" : body.at);
    curl_easy_setopt(client->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
    struct curl_slist *headers = request_begin(client, method, path, "application/json");
    return judge(client, perform(client, headers), status);
}

static enum cli_exit exit_of(long status)
{
    switch (status) {
    case 401:
    case 403:
        return CLI_FORBIDDEN;
    case 404:
        return CLI_NOT_FOUND;
    case 409:
    case 412:
        return CLI_CONFLICT;
    case 429:
    case 502:
    case 503:
    case 504:
        return CLI_UNREACHABLE;
    default:
        return CLI_FAILED;
    }
}

/* The server's own sentence (problem+json), and which member of the body is at fault. */
static int refused(struct client *client, long status, const json_t *problem)
{
    const char *detail = json_string_value(json_object_get(problem, "detail"));
    const char *id = json_string_value(json_object_get(problem, "request_id"));
    json_t *fields = json_object_get(problem, "fields");

    const char *field = json_object_iter_key(json_object_iter(fields));
    if (field != NULL && slice_starts(slice_of(detail), field))
        field = NULL; /* the sentence begins with it */
    return cli_fail(client->call, exit_of(status), "%s%s%s (status %ld%s%s)",
                    field == NULL ? "" : field, field == NULL ? "" : ": ",
                    detail == NULL ? "the server refused" : detail, status,
                    id == NULL ? "" : ", request ", id == NULL ? "" : id);
}

/* What was answered, read: a refusal is told. */
static int settle(struct client *client, long status, json_t **answer)
{
    OWNED(json_drop)
    json_t *got = client->answer.size == 0 ? json_null()
                                           : json_loadb(client->answer.at, client->answer.size,
                                                        JSON_REJECT_DUPLICATES, NULL);

    if (status < 200 || status > 299)
        return refused(client, status, got);
    if (got == NULL)
        return cli_fail(client->call, CLI_FAILED, "the server's answer is not JSON");
    if (answer != NULL)
        *answer = TAKE(got);
    return CLI_DONE;
}

int client_send(struct client *client, const char *method, const char *path, const json_t *body,
                json_t **answer)
{
    OWNED(memory_drop) char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    long status = 0;
    int outcome = exchange(client, method, path, slice_of(text), &status);

    if (text != NULL)
        explicit_bzero(text, strlen(text)); /* may hold a password */
    return outcome == CLI_DONE ? settle(client, status, answer) : outcome;
}

/* --- bodies and replies that go on --- */

static size_t file_read(char *out, size_t one, size_t count, void *argument)
{
    const int *fd = argument;
    ssize_t got;

    do
        got = read(*fd, out, one * count);
    while (got < 0 && errno == EINTR);
    return got < 0 ? CURL_READFUNC_ABORT : (size_t)got;
}

int client_upload(struct client *client, const char *path, const char *type, int fd, uint64_t size,
                  json_t **answer)
{
    CURL *curl = client->curl;
    long status = 0;

    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 0L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, client->seconds);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, NULL);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, file_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, &fd);
    int outcome =
        judge(client, perform(client, request_begin(client, "POST", path, type)), &status);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 0L);
    return outcome == CLI_DONE ? settle(client, status, answer) : outcome;
}

struct following {
    struct client *client;
    void (*take)(void *arg, struct slice bytes);
    void *arg;
};

static size_t follow_receive(char *bytes, size_t one, size_t count, void *argument)
{
    struct following *following = argument;
    long status = 0;

    curl_easy_getinfo(following->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return receive(bytes, one, count, following->client);
    following->take(following->arg, (struct slice){bytes, one * count});
    return one * count;
}

int client_follow(struct client *client, const char *path,
                  void (*take)(void *arg, struct slice bytes), void *arg, bool *broken)
{
    struct following following = {client, take, arg};
    CURL *curl = client->curl;
    long status = 0;

    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 0L);
    curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, follow_receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &following);
    CURLcode outcome = perform(client, request_begin(client, "GET", path, "application/json"));
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    *broken = outcome != CURLE_OK;
    if (*broken)
        return CLI_DONE;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return status == 200 ? CLI_DONE : settle(client, status, NULL);
}

int client_list(struct client *client, const char *path, json_t **answer)
{
    OWNED(json_drop) json_t *all = NULL;
    OWNED(buffer_drop) struct buffer next = BUFFER_NONE;
    const char *separator = strchr(path, '?') == NULL ? "?" : "&";

    buffer_print(&next, "%s%slimit=%d", path, separator, PAGE);
    while (next.size > 0) {
        OWNED(json_drop) json_t *page = NULL;
        buffer_append(&next, "", 1);
        int status = client_send(client, "GET", next.at, NULL, &page);
        if (status != CLI_DONE)
            return status;
        next.size = 0;
        const char *cursor = json_string_value(json_object_get(page, "next"));
        if (cursor != NULL) {
            buffer_print(&next, "%s%slimit=%d&cursor=", path, separator, PAGE);
            percent_encode(&next, slice_of(cursor));
        }
        if (all == NULL)
            all = TAKE(page);
        else
            json_array_extend(json_object_get(all, "items"), json_object_get(page, "items"));
    }
    json_object_set_new(all, "next", json_null());
    *answer = TAKE(all);
    return CLI_DONE;
}

int client_raw(struct client *client, const char *method, const char *path, struct slice body)
{
    long status = 0;
    int outcome = exchange(client, method, path, body, &status);

    if (outcome != CLI_DONE)
        return outcome;
    fwrite(client->answer.at, 1, client->answer.size, stdout);
    if (client->answer.size > 0 && client->answer.at[client->answer.size - 1] != '\n')
        putchar('\n');
    return status >= 200 && status < 300 ? CLI_DONE : (int)exit_of(status);
}

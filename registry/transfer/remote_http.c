/* remote_http.c - GET from another registry, by libcurl; see remote_http.h.
 * Touches  the network; the file of the password.
 * Never    lets libcurl follow a redirect or choose an authentication: both are decided here.
 *
 *   request > 401 > token of the realm > request > 307 > request elsewhere, without credentials
 *
 * (1) Authorization goes to the origin of the URL that was given, and to the realm it names.
 * (2) From https nothing leads to http.
 * (3) A body that broke off goes on where it was: a byte is received once. */
#include "registry/transfer/remote_http.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "registry/core/json.h"
#include "registry/transfer/challenge.h"
#include "registry/transfer/remote_url.h"
#include "registry/transfer/transfer_internal.h"

enum {
    ATTEMPTS = 6,
    PAUSE_FIRST_MS = 250,
    PAUSE_MAX_MS = 60000,
    PAUSE_STEP_MS = 50,
    REDIRECTS_MAX = 5,
    CONNECT_TIMEOUT_S = 30,
    STALL_TIMEOUT_S = 60,
    PASSWORD_MAX = 4096,
    TOKEN_ANSWER_MAX = 1 << 18,
    HEADER_MAX = 16384,
};

struct remote {
    CURL *curl;
    char *origin; /* "https://host:port" */
    bool secure;
    char *user;
    char *password;
    char *ca_file;
    bool basic;           /* it asked for Basic */
    struct buffer bearer; /* "Authorization: Bearer ..." of token_scope */
    char *token_scope;
    const struct progress *progress;
    char reason[CURL_ERROR_SIZE];
};

static void wipe(char **secret)
{
    if (*secret != NULL)
        explicit_bzero(*secret, strlen(*secret));
    free(*secret);
    *secret = NULL;
}

void remote_close(struct remote **owned)
{
    struct remote *remote = *owned;

    if (remote == NULL)
        return;
    curl_easy_cleanup(remote->curl);
    free(remote->origin);
    free(remote->user);
    wipe(&remote->password);
    free(remote->ca_file);
    buffer_wipe(&remote->bearer);
    free(remote->token_scope);
    free(remote);
}

void remote_answer_drop(struct remote_answer *answer)
{
    buffer_wipe(&answer->body); /* it may be a token */
    buffer_drop(&answer->authenticate);
    free(answer->content_type);
    free(answer->link);
    free(answer->digest);
    free(answer->location);
    *answer = (struct remote_answer){.status = 0};
}

/* --- opening --- */

static int read_password(struct remote *remote, const char *path, struct error *err)
{
    OWNED(buffer_wipe) struct buffer text = BUFFER_NONE;
    struct error why = {0};
    struct slice line, rest;

    if (file_read(path, PASSWORD_MAX, &text, NULL, &why) < 0)
        return error_set_field(err, "password_file", "the file of the password: %s", why.message);
    slice_split(buffer_slice(&text), '\n', &line, &rest);
    if (line.size > 0 && line.at[line.size - 1] == '\r')
        line.size--;
    if (line.size == 0 || memchr(line.at, 0, line.size) != NULL)
        return error_set_field(err, "password_file", "the file of the password holds none");
    remote->password = memory_text(line);
    return 0;
}

int remote_open(struct remote **out, const struct remote_options *options, struct error *err)
{
    OWNED(remote_close) struct remote *remote = memory_new(sizeof(*remote));

    remote->progress = options->progress;
    if (remote_url_read(options->url, options->plain_http, &remote->origin, err) < 0)
        return -1;
    remote->secure = slice_starts(slice_of(remote->origin), "https:");
    if ((options->user == NULL) != (options->password_file == NULL))
        return error_set_field(err, "user", "a user goes with the file of a password");
    if (options->user != NULL) {
        if (read_password(remote, options->password_file, err) < 0)
            return -1;
        remote->user = memory_text(slice_of(options->user));
    }
    if (options->ca_file != NULL)
        remote->ca_file = memory_text(slice_of(options->ca_file));
    remote->curl = curl_easy_init();
    if (remote->curl == NULL)
        abort();
    *out = TAKE(remote);
    return 0;
}

/* --- one request, one answer --- */

struct exchange {
    struct remote *remote;
    const struct remote_request *request;
    struct remote_answer *answer;
    uint64_t received; /* bytes given to request->receive, in all tries */
    uint64_t skip;     /* of this answer: they were received before */
    bool ours;         /* the answer is of the origin that was given */
    struct error err;  /* of request->receive, or a body that is too long */
};

static void keep_header(char **out, struct slice value)
{
    free(*out);
    *out = memory_text(value);
}

static size_t on_header(char *at, size_t one, size_t count, void *arg)
{
    struct exchange *exchange = arg;
    struct remote_answer *answer = exchange->answer;
    struct slice line = {at, one * count}, name, value;

    if (line.size > HEADER_MAX)
        return 0;
    if (slice_starts(line, "HTTP/")) { /* what an interim answer said is void */
        remote_answer_drop(answer);
        return line.size;
    }
    if (!slice_split(line, ':', &name, &value))
        return line.size;
    while (value.size > 0 && strchr("\r\n", value.at[value.size - 1]) != NULL)
        value.size--;
    value = slice_trim(value);
    if (slice_equal_ignore_case(name, "content-type"))
        keep_header(&answer->content_type, value);
    else if (slice_equal_ignore_case(name, "location"))
        keep_header(&answer->location, value);
    else if (slice_equal_ignore_case(name, "link"))
        keep_header(&answer->link, value);
    else if (slice_equal_ignore_case(name, "docker-content-digest"))
        keep_header(&answer->digest, value);
    else if (slice_equal_ignore_case(name, "www-authenticate") &&
             answer->authenticate.size + value.size < HEADER_MAX) {
        buffer_append_slice(&answer->authenticate, value);
        buffer_append_text(&answer->authenticate, ", ");
    }
    return line.size;
}

static long status_of(const struct remote *remote)
{
    long status = 0;

    curl_easy_getinfo(remote->curl, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* (3): 200 to a request for the rest begins at the start again. */
static int pass_on(struct exchange *exchange, struct slice bytes)
{
    uint64_t skipped = exchange->skip < bytes.size ? exchange->skip : bytes.size;

    exchange->skip -= skipped;
    bytes = slice_from(bytes, (size_t)skipped);
    if (bytes.size == 0)
        return 0;
    exchange->received += bytes.size;
    return exchange->request->receive(exchange->request->arg, bytes, &exchange->err);
}

static size_t on_body(char *at, size_t one, size_t count, void *arg)
{
    struct exchange *exchange = arg;
    struct slice bytes = {at, one * count};
    long status = status_of(exchange->remote);
    bool wanted = status == 200 || status == 206;
    size_t most = wanted ? exchange->request->body_max : HEADER_MAX;

    if (wanted && exchange->request->receive != NULL) {
        if (status == 206)
            exchange->skip = 0;
        return pass_on(exchange, bytes) < 0 ? 0 : bytes.size;
    }
    if (exchange->answer->body.size + bytes.size <= most) {
        buffer_append_slice(&exchange->answer->body, bytes);
    } else if (wanted) {
        error_set(&exchange->err, ERROR_SIZE_INVALID,
                  "the answer is larger than the limit of %zu bytes", most);
        return 0;
    }
    return bytes.size;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct remote *remote = arg;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return progress_cancelled(remote->progress) ? 1 : 0;
}

static void list_drop(struct curl_slist **list)
{
    curl_slist_free_all(*list);
}

static void add_header(struct curl_slist **list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(*list, text);

    if (longer == NULL)
        abort();
    *list = longer;
}

static void set_basic(struct remote *remote)
{
    curl_easy_setopt(remote->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_easy_setopt(remote->curl, CURLOPT_USERNAME, remote->user);
    curl_easy_setopt(remote->curl, CURLOPT_PASSWORD, remote->password);
}

enum credentials { NO_CREDENTIALS, BASIC, BEARER };

static void set_options(struct exchange *exchange, const char *url, enum credentials credentials,
                        struct curl_slist **headers)
{
    struct remote *remote = exchange->remote;
    const struct remote_request *request = exchange->request;
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;
    CURL *curl = remote->curl;

    curl_easy_reset(curl); /* keeps connections; forgets credentials */
    remote->reason[0] = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, remote->reason);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, remote->secure ? "https" : "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "slipway");
    curl_easy_setopt(curl, CURLOPT_NOBODY, request->head ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, remote);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    if (remote->ca_file != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, remote->ca_file);
    if (request->accept != NULL) {
        buffer_print(&line, "Accept: %s", request->accept);
        add_header(headers, line.at);
    }
    if (credentials == BASIC)
        set_basic(remote);
    else if (credentials == BEARER)
        add_header(headers, remote->bearer.at);
    if (exchange->received > 0) {
        line.size = 0;
        buffer_print(&line, "%llu-", (unsigned long long)exchange->received);
        curl_easy_setopt(curl, CURLOPT_RANGE, line.at);
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
}

static bool may_pass(CURLcode outcome)
{
    return outcome == CURLE_COULDNT_CONNECT || outcome == CURLE_COULDNT_RESOLVE_HOST ||
           outcome == CURLE_OPERATION_TIMEDOUT || outcome == CURLE_PARTIAL_FILE ||
           outcome == CURLE_GOT_NOTHING || outcome == CURLE_SEND_ERROR ||
           outcome == CURLE_RECV_ERROR || outcome == CURLE_HTTP2 || outcome == CURLE_HTTP2_STREAM;
}

/* 0: there is an answer. 1: none came, another try may help. */
static int perform(struct exchange *exchange, const char *url, enum credentials credentials,
                   struct error *err)
{
    struct remote *remote = exchange->remote;
    OWNED(list_drop) struct curl_slist *headers = NULL;

    exchange->skip = exchange->received;
    remote_answer_drop(exchange->answer);
    set_options(exchange, url, credentials, &headers);
    CURLcode outcome = curl_easy_perform(remote->curl);
    curl_easy_setopt(remote->curl, CURLOPT_HTTPHEADER, NULL);
    exchange->answer->status = status_of(remote);
    if (exchange->err.code != ERROR_NONE) {
        *err = exchange->err;
        return -1;
    }
    if (progress_cancelled(remote->progress))
        return error_set(err, ERROR_UNAVAILABLE, "stopped");
    if (outcome == CURLE_OK)
        return 0;
    error_set(err, ERROR_UNAVAILABLE, "no answer from the registry: %s",
              remote->reason[0] != 0 ? remote->reason : curl_easy_strerror(outcome));
    return may_pass(outcome) ? 1 : -1;
}

/* --- tokens --- */

static void append_parameter(struct remote *remote, struct buffer *url, const char *name,
                             const char *value)
{
    char *escaped = value == NULL ? NULL : curl_easy_escape(remote->curl, value, 0);

    if (escaped != NULL)
        buffer_print(url, "%c%s=%s", strchr(url->at, '?') == NULL ? '?' : '&', name, escaped);
    curl_free(escaped);
}

static int token_keep(struct remote *remote, const struct remote_answer *answer, const char *scope,
                      struct error *err)
{
    json_t *root = json_of_others(buffer_slice(&answer->body), 0);
    const char *token = json_string_value(json_object_get(root, "token"));

    if (token == NULL)
        token = json_string_value(json_object_get(root, "access_token"));
    bool sound = token != NULL && strpbrk(token, "\r\n") == NULL;
    buffer_wipe(&remote->bearer);
    if (sound)
        buffer_print(&remote->bearer, "Authorization: Bearer %s", token);
    json_decref(root);
    free(remote->token_scope);
    remote->token_scope = memory_text(slice_of(scope));
    return sound ? 0 : error_set(err, ERROR_DENIED, "the token service gave no token");
}

/* (1): the realm gets what the user gave, as every client gives it. */
static int token_get(struct remote *remote, const struct challenge *challenge,
                     const struct remote_request *asks, struct error *err)
{
    OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE;
    OWNED(memory_drop) char *realm = NULL;
    OWNED(memory_drop) char *origin = NULL;
    const struct remote_request request = {.body_max = TOKEN_ANSWER_MAX};
    struct exchange exchange = {.remote = remote, .request = &request, .answer = &answer};

    if (challenge->realm == NULL ||
        remote_url_resolve(remote->origin, challenge->realm, &realm, &origin, err) < 0)
        return error_set(err, ERROR_UNAVAILABLE, "the registry does not say where tokens are");
    buffer_append_text(&url, realm);
    buffer_append(&url, "", 1);
    url.size--;
    append_parameter(remote, &url, "service", challenge->service);
    append_parameter(remote, &url, "scope",
                     challenge->scope != NULL ? challenge->scope : asks->scope);
    if (remote->user != NULL)
        append_parameter(remote, &url, "account", remote->user);
    if (perform(&exchange, url.at, remote->user == NULL ? NO_CREDENTIALS : BASIC, err) != 0)
        return -1;
    if (answer.status != 200)
        return error_set(err, ERROR_DENIED, "the token service answers %ld", answer.status);
    return token_keep(remote, &answer, asks->scope, err);
}

/* After a 401: false when there is nothing more to show. */
static int authorise(struct remote *remote, const struct remote_request *request,
                     const struct remote_answer *answer, bool *again, struct error *err)
{
    OWNED(challenge_drop) struct challenge challenge = {.basic = false};

    challenge_parse(buffer_slice(&answer->authenticate), &challenge);
    *again = true;
    if (challenge.bearer)
        return token_get(remote, &challenge, request, err);
    *again = challenge.basic && remote->user != NULL && !remote->basic;
    remote->basic = remote->basic || *again;
    return 0;
}

/* --- the whole --- */

static enum credentials credentials_for(const struct remote *remote,
                                        const struct remote_request *request)
{
    if (remote->bearer.size > 0 && request->scope != NULL &&
        strcmp(remote->token_scope, request->scope) == 0)
        return BEARER;
    return remote->basic ? BASIC : NO_CREDENTIALS;
}

static bool redirects(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* As perform, through redirects. */
static int follow(struct exchange *exchange, struct error *err)
{
    struct remote *remote = exchange->remote;
    OWNED(memory_drop) char *url = NULL;
    OWNED(memory_drop) char *origin = NULL;

    if (remote_url_resolve(remote->origin, exchange->request->path, &url, &origin, err) < 0)
        return -1;
    for (int i = 0; i <= REDIRECTS_MAX; i++) {
        exchange->ours = strcmp(origin, remote->origin) == 0; /* (1) */
        int status = perform(
            exchange, url,
            exchange->ours ? credentials_for(remote, exchange->request) : NO_CREDENTIALS, err);
        if (status != 0 || !redirects(exchange->answer->status) ||
            exchange->answer->location == NULL)
            return status;
        OWNED(memory_drop) char *before = TAKE(url);
        free(TAKE(origin));
        if (remote_url_resolve(before, exchange->answer->location, &url, &origin, err) < 0)
            return -1;
    }
    return error_set(err, ERROR_UNAVAILABLE, "the registry redirects too often");
}

static bool passing(long status)
{
    return status == 429 || status == 500 || status == 502 || status == 503 || status == 504;
}

/* As long as the registry asks for, within reason. */
static int wait_for_it(struct remote *remote, int attempt, struct error *err)
{
    const struct timespec step = {.tv_nsec = PAUSE_STEP_MS * 1000000};
    uint64_t pause_ms = (uint64_t)PAUSE_FIRST_MS << attempt;
    curl_off_t asked_s = 0;

    if (curl_easy_getinfo(remote->curl, CURLINFO_RETRY_AFTER, &asked_s) == CURLE_OK && asked_s > 0)
        pause_ms = (uint64_t)asked_s * 1000;
    if (pause_ms > PAUSE_MAX_MS)
        pause_ms = PAUSE_MAX_MS;
    for (uint64_t waited = 0; waited < pause_ms; waited += PAUSE_STEP_MS) {
        if (progress_cancelled(remote->progress))
            return error_set(err, ERROR_UNAVAILABLE, "stopped");
        nanosleep(&step, NULL);
    }
    return 0;
}

static int try_often(struct exchange *exchange, struct error *err)
{
    bool asked = false, again = false;

    for (int attempt = 0;; attempt++) {
        struct error why = {0};
        int status = follow(exchange, &why);
        long code = exchange->answer->status;
        if (status == 0 && code == 401 && exchange->ours && !asked) {
            asked = true;
            if (authorise(exchange->remote, exchange->request, exchange->answer, &again, err) < 0)
                return -1;
            if (again) {
                attempt--;
                continue;
            }
        }
        if (status == 0 && code == 416 && exchange->received > 0)
            exchange->answer->status = 200; /* it broke off behind the last byte */
        if (status == 0 && !passing(code))
            return 0;
        if (status == 0)
            error_set(&why, ERROR_UNAVAILABLE, "the registry answers %ld", code);
        if (status < 0 || attempt + 1 == ATTEMPTS) {
            *err = why;
            return -1;
        }
        if (wait_for_it(exchange->remote, attempt, err) < 0)
            return -1;
    }
}

int remote_get(struct remote *remote, const struct remote_request *request,
               struct remote_answer *out, struct error *err)
{
    struct exchange exchange = {.remote = remote, .request = request, .answer = out};

    return try_often(&exchange, err);
}

/* http.c - small requests to hosts that strangers name: scripts by URL, callbacks; see source.h.
 * Touches  the network, within the rules.
 * Never    follows a redirect, asks for an address twice, or uses one that was not checked.
 *
 * Spec: s2i 2.7, 11.1, 16.10. */
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/source/resolve.h"
#include "s2i/source/url.h"

enum { REST_MAX = 2048, POLL_MS = 1000 };

struct call {
    CURLM *multi;
    CURL *curl;
    struct curl_slist *headers, *pins;
    struct resolved resolved;
    struct buffer *out;
    size_t most;
    bool too_large;
    char reason[CURL_ERROR_SIZE];
};

static void call_drop(struct call *call)
{
    if (call->multi != NULL)
        curl_multi_remove_handle(call->multi, call->curl);
    curl_easy_cleanup(call->curl);
    curl_multi_cleanup(call->multi);
    for (struct curl_slist *at = call->headers; at != NULL; at = at->next)
        explicit_bzero(at->data, strlen(at->data)); /* a token may be in it */
    curl_slist_free_all(call->headers);
    curl_slist_free_all(call->pins);
}

/* "scheme://host[:port]" as sources have it, and the rest as it is, but for what follows '#'. */
static int read_url(const char *text, struct source_url *url, struct buffer *rest,
                    struct error *err)
{
    const char *mark = strstr(text, "://");
    size_t start = mark == NULL ? strlen(text) : (size_t)(mark + 3 - text);
    size_t place = start + strcspn(text + start, "/?#"), end = place + strcspn(text + place, "#");
    OWNED(buffer_drop) struct buffer base = BUFFER_NONE;

    for (const char *at = text; *at != '\0'; at++)
        if (*at <= ' ' || *at > '~')
            return error_set_field(err, "url", "the URL has a character that no URL has");
    buffer_append(&base, text, place);
    buffer_append_text(&base, "/any");
    if (mark == NULL || end - place > REST_MAX ||
        source_url_read(buffer_slice(&base), url, err) < 0)
        return error_set_field(err, "url", "the URL cannot be read");
    if (url->user[0] != '\0' ||
        (strcmp(url->scheme, "https") != 0 && strcmp(url->scheme, "http") != 0))
        return error_set_field(err, "url", "the URL must be one of https or http, without a user");
    buffer_append_text(rest, text[place] == '/' ? "" : "/");
    buffer_append(rest, text + place, end - place);
    buffer_append(rest, "", 1);
    return 0;
}

static size_t receive(char *bytes, size_t one, size_t count, void *arg)
{
    struct call *call = arg;
    size_t size = one * count;

    if (size > call->most - call->out->size) {
        call->too_large = true;
        return 0;
    }
    buffer_append(call->out, bytes, size);
    return size;
}

/* The last look before a connection: pins are for names, a number in the URL comes by here too. */
static curl_socket_t open_checked(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    const struct call *call = arg;

    (void)purpose;
    if (!source_resolved_has(&call->resolved, &address->addr))
        return CURL_SOCKET_BAD;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static void add_header(struct call *call, const char *name, struct slice value)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    buffer_print(&line, "%s: %.*s", name, SLICE_ARG(value));
    buffer_append(&line, "", 1);
    call->headers = curl_slist_append(call->headers, line.at);
}

static void set_body(struct call *call, const struct source_request *request)
{
    CURL *curl = call->curl;

    if (request->body.at == NULL)
        return;
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.at);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
    add_header(call, "Content-Type", request->content_type);
    add_header(call, "Expect", SLICE(""));
    for (size_t i = 0; request->headers != NULL && i < request->headers->count; i++)
        call->headers = curl_slist_append(call->headers, request->headers->items[i]);
}

static void set_all(struct call *call, const struct source_request *request,
                    const struct patience *patience, const char *url)
{
    int64_t left_ms = patience->until_ms - source_now_ms();
    CURL *curl = call->curl;

    set_body(call, request);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_RESOLVE, call->pins);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_checked);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, call);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(left_ms > 1 ? left_ms : 1));
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "slipway");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->reason);
}

/* Until curl is done with it, which has its time: 0; 1: told to stop. */
static int drive(struct call *call, int cancel, CURLcode *code)
{
    struct curl_waitfd stop = {.fd = cancel, .events = CURL_WAIT_POLLIN};
    unsigned watched = cancel >= 0;
    const CURLMsg *message;
    int running = 1, left;

    while (curl_multi_perform(call->multi, &running) == CURLM_OK && running > 0) {
        if (curl_multi_poll(call->multi, &stop, watched, POLL_MS, NULL) != CURLM_OK)
            break;
        if (watched > 0 && stop.revents != 0)
            return 1;
    }
    message = curl_multi_info_read(call->multi, &left);
    *code = message == NULL ? CURLE_FAILED_INIT : message->data.result;
    return 0;
}

static int perform(struct call *call, const struct source_url *url, int cancel, int *status,
                   struct error *err)
{
    CURLcode code;
    long number = 0;

    if (drive(call, cancel, &code) > 0)
        return error_set(err, ERROR_UNAVAILABLE, "asking %.100s was stopped", url->host);
    if (call->too_large)
        return error_set(err, ERROR_INVALID, "the answer of %.100s is larger than %zu bytes",
                         url->host, call->most);
    if (code != CURLE_OK) {
        error_set(err, ERROR_UNAVAILABLE, "%.100s cannot be asked", url->host);
        return error_set_cause(err, "%s",
                               call->reason[0] == '\0' ? curl_easy_strerror(code) : call->reason);
    }
    curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &number);
    *status = (int)number;
    return 0;
}

int source_http(const struct source_request *request, const struct source_rules *rules,
                struct buffer *out, int *status, struct error *err)
{
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
    OWNED(buffer_drop) struct buffer rest = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer pin = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    OWNED(call_drop) struct call call = {.out = out, .most = out->size + request->size_max};
    const struct patience patience = {source_now_ms() + (int64_t)request->timeout_ms,
                                      request->cancel == NULL ? -1 : *request->cancel};

    if (read_url(request->url, &url, &rest, err) < 0 || source_url_permitted(&url, rules, err) < 0)
        return -1;
    if (source_resolve_host(url.host, url.port, rules->allowed_hosts, &patience, &call.resolved,
                            err) < 0) {
        if (call.resolved.unanswered)
            err->code = ERROR_UNAVAILABLE;
        return -1;
    }
    if (!url.is_number) {
        source_resolve_pin(url.host, url.port, &call.resolved, &pin);
        buffer_append(&pin, "", 1);
        call.pins = curl_slist_append(NULL, pin.at);
    }
    free(url.path);
    url.path = memory_text(slice_of(rest.at));
    source_url_print(&url, &whole);
    buffer_append(&whole, "", 1);
    call.curl = curl_easy_init();
    call.multi = call.curl == NULL ? NULL : curl_multi_init();
    if (call.multi == NULL || curl_multi_add_handle(call.multi, call.curl) != CURLM_OK)
        return error_set(err, ERROR_INTERNAL, "a request cannot be prepared");
    set_all(&call, request, &patience, whole.at);
    return perform(&call, &url, patience.cancel, status, err);
}

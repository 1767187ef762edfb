/* caller.c - who asks: what auth is told of a request, and how its refusals are rendered.
 * Touches  exchanges; on the loop the identity a connection remembers.
 * Never    decides what anybody may. */
#include "registry/core/oci.h"
#include "registry/http/http_internal.h"

/* --- what auth is told --- */

/* The source of a mount, when there is one: only POST knows the parameter. */
static struct slice mount_from(const struct request *request)
{
    if (request->method != METHOD_POST || request_parameter(request, "mount").at == NULL)
        return SLICE_NONE;
    struct slice from = request_parameter(request, "from");
    return oci_name_valid(from) ? from : SLICE_NONE;
}

/* Of a type that a browser sends for no page of others without asking us first. */
static bool body_is_ours(const struct request *request)
{
    static const char *const types[] = {"application/json", "application/x-tar", "application/gzip",
                                        "application/zip"};
    struct slice type, rest;

    if (request->content_length == 0 && !request->chunked)
        return true;
    slice_split(request_header(request, "content-type"), ';', &type, &rest);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (slice_equal_ignore_case(slice_trim(type), types[i]))
            return true;
    return false;
}

static void api_fill(const struct request *request, struct auth_request *out)
{
    out->cookie = request_header(request, "cookie");
    out->fetch_site = request_header(request, "sec-fetch-site");
    out->origin = request_header(request, "origin");
    out->changes = (request->method & (METHOD_GET | METHOD_HEAD)) == 0;
    out->json = body_is_ours(request);
}

/* Spec: AUTHZ-02. */
static bool probes_content(const struct request *request)
{
    struct slice pattern = slice_of(request->route->pattern);

    return request->method == METHOD_HEAD && (slice_ends(pattern, "/manifests/<reference>") ||
                                              slice_ends(pattern, "/blobs/<digest>"));
}

/* Of a distribution route only what deciding needs: this runs for every request. */
static void wanted_fill(const struct exchange *exchange, struct auth_request *out)
{
    const struct request *request = &exchange->request;
    const struct route *route = request->route;

    *out = (struct auth_request){
        .action = route->action,
        .authorization = exchange->authorization,
        .repository = request->name,
        .known = exchange->known,
        .remote = slice_of(request->remote),
        .network = request->network,
        .host = request->host,
        .tls = request->tls,
        .local = request->local,
        .request_id = slice_of(request->id),
    };
    if (action_is_api(route->action)) {
        api_fill(request, out);
    } else if (route->action == ACTION_PULL) {
        out->head = probes_content(request);
    } else if (route->action == ACTION_PUSH) {
        out->upload = slice_ends(slice_of(route->pattern), "/<id>") ? request->reference
                                                                    : SLICE_NONE; /* TOK-55 */
        out->mount_from = mount_from(request);
    }
}

/* --- asking --- */

static void granted(struct exchange *exchange, struct auth_answer *answer)
{
    exchange->request.may_push = answer->may_push;
    exchange->request.caller = TAKE(answer->identity);
    exchange->authorised = true;
}

static void refused(struct exchange *exchange, struct auth_answer *answer)
{
    exchange->refused = TAKE(answer->refused);
    exchange->fault = answer->fault;
}

void caller_remember(struct exchange *exchange)
{
    struct conn *conn = exchange->conn;

    if (exchange->request.caller == NULL || exchange->request.caller == conn->identity)
        return;
    identity_drop(&conn->identity);
    conn->identity = identity_hold(exchange->request.caller);
}

/* A browser sends one line of cookies (RFC 6265 section 5.4); of two, one would be a guess. */
static bool cookies_doubtful(const struct request *request)
{
    int lines = 0;

    for (size_t i = 0; i < request->header_count; i++)
        lines += slice_equal(request->headers[i].name, SLICE("cookie"));
    return lines > 1;
}

enum auth_peeked caller_peek(struct exchange *exchange)
{
    struct auth_request wanted;
    struct auth_answer answer = {0};

    if (exchange->request.route->action == ACTION_NONE) {
        exchange->authorised = true;
        return AUTH_GRANTED;
    }
    if (action_is_api(exchange->request.route->action) && cookies_doubtful(&exchange->request)) {
        error_set(&exchange->err, ERROR_BAD_REQUEST, "Cookie is given twice");
        return AUTH_REFUSED;
    }
    wanted_fill(exchange, &wanted);
    wanted.known = exchange->conn->identity;
    enum auth_peeked peeked =
        auth_peek(exchange->loop->server->options.auth, &wanted, &answer, &exchange->err);
    if (peeked == AUTH_GRANTED) {
        granted(exchange, &answer);
        caller_remember(exchange);
    } else if (peeked == AUTH_REFUSED) {
        refused(exchange, &answer);
    } else { /* the connection may be gone when a worker asks */
        exchange->known = identity_hold(exchange->conn->identity);
        exchange->slow = peeked == AUTH_ASK_SLOWLY;
    }
    return peeked;
}

int caller_authorise(struct exchange *exchange)
{
    struct auth_request wanted;
    struct auth_answer answer = {0};

    if (exchange->authorised)
        return 0;
    wanted_fill(exchange, &wanted);
    if (auth_authorise(exchange->loop->server->options.auth, &wanted, &answer, &exchange->err) <
        0) {
        refused(exchange, &answer);
        return -1;
    }
    granted(exchange, &answer);
    return 0;
}

/* --- refusing --- */

/* One challenge in one line (TOK-03). A handler that says 401 to a JWT wants a wider one (TOK-51).
 */
static void challenge(struct exchange *exchange, struct buffer *detail)
{
    const struct identity *caller = exchange->request.caller;
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    struct auth_answer answer = {.fault = exchange->fault};
    struct auth_request wanted;

    if (exchange->request.route == NULL || reply_has_header(&exchange->reply, "WWW-Authenticate"))
        return;
    if (exchange->authorised && caller != NULL && caller->credential == CREDENTIAL_JWT)
        answer.fault = "insufficient_scope";
    wanted_fill(exchange, &wanted);
    auth_challenge(exchange->loop->server->options.auth, &wanted, &answer, &header, detail);
    if (header.size > 0)
        reply_header_slice(&exchange->reply, "WWW-Authenticate", buffer_slice(&header));
    if (!exchange->no_store && !reply_has_header(&exchange->reply, "Cache-Control"))
        reply_header(&exchange->reply, "Cache-Control", "no-cache"); /* CACHE-01 */
}

static bool asks_for_token(const struct request *request)
{
    return request->route != NULL && request->route->action == ACTION_TOKEN;
}

static bool asked_by_git(const struct request *request)
{
    const struct route *route = request->route;

    return route != NULL && (route->action == ACTION_GIT_PULL || route->action == ACTION_GIT_PUSH);
}

void caller_refuse(struct exchange *exchange)
{
    OWNED(buffer_drop) struct buffer detail = BUFFER_NONE;

    if (exchange->err.status == 401)
        challenge(exchange, &detail);
    if (exchange->management)
        reply_problem(&exchange->reply, &exchange->err, exchange->request.id);
    else if (asked_by_git(&exchange->request))
        reply_error_text(&exchange->reply, &exchange->err);
    else if (asks_for_token(&exchange->request))
        reply_error_oauth(&exchange->reply, &exchange->err);
    else
        reply_error(&exchange->reply, &exchange->err, buffer_slice(&detail));
}

/* access.c - one event for each request that was answered.
 * Touches  the log.
 * Never    logs a header save User-Agent, a body, a query that may hold a secret (TOK-68). */

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/http/http_internal.h"

enum { CLIENT_LEFT = 499 }; /* in the log only: nobody was there to be answered */

static bool logs_access(const struct exchange *exchange)
{
    return exchange->loop->server->options.access_log && log_enabled(LOG_INFO);
}

void access_start(struct exchange *exchange)
{
    if (logs_access(exchange))
        exchange->started_us = clock_monotonic_us();
}

/* A query is logged where we know what may stand in it. Spec: TOK-68. */
static struct slice target_for_log(const struct request *request)
{
    struct slice path, query;

    if (request->route != NULL && request->route->action != ACTION_TOKEN)
        return request->target;
    slice_split(request->target, '?', &path, &query);
    return path;
}

void access_log(struct exchange *exchange)
{
    const struct request *request = &exchange->request;
    const struct identity *caller = /* "" is nobody in particular */
        request->caller != NULL ? request->caller : exchange->refused;

    if (exchange->logged || request->id[0] == 0 || !logs_access(exchange))
        return;
    exchange->logged = true;
    log_event(LOG_INFO, "http.request", F_TEXT("request_id", request->id),
              F_TEXT("remote", request->remote),
              F_TEXT("user", caller == NULL ? NULL : caller->name),
              F_SLICE("method", request->method_text),
              F_TEXT("route", request->route == NULL ? NULL : request->route->endpoint),
              F_SLICE("path", target_for_log(request)),
              F_U64("status", exchange->left ? CLIENT_LEFT : (uint64_t)exchange->reply.status),
              F_U64("bytes_in", exchange->body.received), F_U64("bytes_out", exchange->bytes_out),
              F_U64("duration_us",
                    exchange->started_us == 0 ? 0 : clock_monotonic_us() - exchange->started_us),
              F_SLICE("repository", request->name),
              F_SLICE("user_agent", request_header(request, "user-agent")));
}

/* probes.c - /livez, /readyz, /startupz: what an orchestrator or load balancer asks.
 * Touches  storage's own check.
 * Never    asks for credentials; tells more than the reason. */
#include "registry/probes.h"

#include "registry/services.h"
#include "storage/storage.h"

static void answer(struct reply *reply, int status, const char *text)
{
    struct buffer line = BUFFER_NONE;

    buffer_print(&line, "%s\n", text);
    reply->status = status;
    reply_header(reply, "Content-Type", "text/plain; charset=utf-8");
    reply_header(reply, "Cache-Control", "no-store");
    reply_text(reply, &line);
}

/* The loop that answers this lives. Recovery is over before the first connection is accepted, so
 * the same answer means started. */
static bool alive_peek(struct request *request, struct reply *reply)
{
    (void)request;
    answer(reply, 200, "ok");
    return true;
}

static int alive_get(struct request *request, struct reply *reply, struct error *err)
{
    (void)err;
    alive_peek(request, reply);
    return 0;
}

static int ready_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;

    (void)err;
    struct error why = {0};
    if (services->probes != NULL && atomic_load(&services->probes->draining))
        answer(reply, 503, "shutting down");
    else if (storage_ready(services->storage, &why) < 0)
        answer(reply, 503, why.message);
    else
        answer(reply, 200, "ready");
    return 0;
}

static const struct route routes[] = {
    {.pattern = "/livez",
     .endpoint = "livez",
     .methods = METHOD_GET | METHOD_HEAD,
     .action = ACTION_NONE,
     .peek = alive_peek,
     .handle = alive_get},
    {.pattern = "/startupz",
     .endpoint = "startupz",
     .methods = METHOD_GET | METHOD_HEAD,
     .action = ACTION_NONE,
     .peek = alive_peek,
     .handle = alive_get},
    {.pattern = "/readyz",
     .endpoint = "readyz",
     .methods = METHOD_GET | METHOD_HEAD,
     .action = ACTION_NONE,
     .handle = ready_get},
};

const struct route_table probe_routes = {routes, sizeof(routes) / sizeof(routes[0])};

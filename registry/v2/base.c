/* base.c - the table of endpoints, those of tokens included, and the two that need nothing: end-1
 * and the extensions.
 * Touches  nothing.
 * Never    storage. */
#include "registry/v2/v2.h"

#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"

/* Answers for both callers: from the loop and, should it ask, from a worker. Spec: PING-01. */
static bool base_peek(struct request *request, struct reply *reply)
{
    (void)request;
    reply->status = 200;
    render_json_head(reply);
    reply_bytes(reply, SLICE("{}"), NULL, NULL);
    return true;
}

static int base_get(struct request *request, struct reply *reply, struct error *err)
{
    (void)err;
    base_peek(request, reply);
    return 0;
}

/* No extension of ours lives below /v2/. Spec: CAT-04. */
static bool extensions_peek(struct request *request, struct reply *reply)
{
    (void)request;
    reply->status = 200;
    render_json_head(reply);
    reply_bytes(reply, SLICE("{\"extensions\":[]}"), NULL, NULL);
    return true;
}

static int extensions_get(struct request *request, struct reply *reply, struct error *err)
{
    (void)err;
    extensions_peek(request, reply);
    return 0;
}

enum { METHODS_READ = METHOD_GET | METHOD_HEAD };

#define UPLOADS "/v2/<name>/blobs/uploads"

/* Ordered so that the longer pattern stands before one that would take its last segment for a
 * digest. Spec: ROUTE-01, HTTP-14. */
static const struct route routes[] = {
    {.pattern = "/v2/",
     .endpoint = "end-1",
     .methods = METHODS_READ,
     .action = ACTION_BASE,
     .peek = base_peek,
     .handle = base_get},
    {.pattern = "/v2",
     .endpoint = "end-1",
     .methods = METHODS_READ,
     .action = ACTION_BASE,
     .peek = base_peek,
     .handle = base_get},
    {.pattern = "/v2/_catalog",
     .endpoint = "catalog",
     .methods = METHODS_READ,
     .action = ACTION_CATALOG,
     .handle = v2_catalog_get},
    {.pattern = "/v2/_oci/ext/discover",
     .endpoint = "extensions",
     .methods = METHODS_READ,
     .action = ACTION_BASE,
     .peek = extensions_peek,
     .handle = extensions_get},
    {.pattern = "/v2/<name>/tags/list",
     .endpoint = "end-8",
     .methods = METHODS_READ,
     .action = ACTION_PULL,
     .handle = v2_tags_get},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "end-3",
     .methods = METHODS_READ,
     .action = ACTION_PULL,
     .peek = v2_manifest_peek,
     .handle = v2_manifest_get},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "end-7",
     .methods = METHOD_PUT,
     .action = ACTION_PUSH,
     .body = BODY_COLLECT,
     .body_limit = v2_manifest_limit,
     .handle = v2_manifest_put},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "end-9",
     .methods = METHOD_DELETE,
     .action = ACTION_DELETE,
     .handle = v2_manifest_delete},
    {.pattern = UPLOADS "/",
     .endpoint = "end-4",
     .methods = METHOD_POST,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &v2_upload_post},
    {.pattern = UPLOADS,
     .endpoint = "end-4",
     .methods = METHOD_POST,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &v2_upload_post},
    {.pattern = UPLOADS "/<id>",
     .endpoint = "end-5",
     .methods = METHOD_PATCH,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &v2_upload_patch},
    {.pattern = UPLOADS "/<id>",
     .endpoint = "end-6",
     .methods = METHOD_PUT,
     .action = ACTION_PUSH,
     .body = BODY_STREAM,
     .stream = &v2_upload_put},
    {.pattern = UPLOADS "/<id>",
     .endpoint = "end-13",
     .methods = METHODS_READ,
     .action = ACTION_PUSH,
     .handle = v2_upload_get},
    {.pattern = UPLOADS "/<id>",
     .endpoint = "end-14",
     .methods = METHOD_DELETE,
     .action = ACTION_PUSH, /* not ACTION_DELETE: UPL-28 */
     .handle = v2_upload_delete},
    {.pattern = "/v2/<name>/blobs/<digest>",
     .endpoint = "end-2",
     .methods = METHODS_READ,
     .action = ACTION_PULL,
     .peek = v2_blob_peek,
     .handle = v2_blob_get},
    {.pattern = "/v2/<name>/blobs/<digest>",
     .endpoint = "end-10",
     .methods = METHOD_DELETE,
     .action = ACTION_DELETE,
     .handle = v2_blob_delete},
    {.pattern = "/v2/<name>/referrers/<digest>",
     .endpoint = "end-12",
     .methods = METHODS_READ,
     .action = ACTION_PULL,
     .handle = v2_referrers_get},
    {.pattern = "/token",
     .endpoint = "token",
     .methods = METHOD_GET, /* no HEAD: TOK-19 */
     .action = ACTION_TOKEN,
     .handle = v2_token_get},
    {.pattern = "/token",
     .endpoint = "token",
     .methods = METHOD_POST,
     .action = ACTION_TOKEN,
     .login = true,
     .hashless = v2_token_hashless,
     .body = BODY_COLLECT,
     .body_limit = v2_token_limit,
     .handle = v2_token_post},
    {.pattern = "/.well-known/jwks.json",
     .endpoint = "keys",
     .methods = METHODS_READ,
     .action = ACTION_NONE,
     .peek = v2_keys_peek,
     .handle = v2_keys_get},
};

const struct route_table v2_routes = {routes, sizeof(routes) / sizeof(routes[0])};

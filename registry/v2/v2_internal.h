/* v2_internal.h - the handlers of this folder, named once for the table in base.c.
 * Touches  nothing.
 * Never    included from elsewhere. */
#ifndef SLIPWAY_V2_INTERNAL_H
#define SLIPWAY_V2_INTERNAL_H

#include "registry/http/route.h"

/* What a path parameter or a query parameter asks for is parsed by the handler itself; <name> is
 * valid already. Each returns 0 with the reply filled, or -1 with err set. */

bool v2_blob_peek(struct request *request, struct reply *reply);
int v2_blob_get(struct request *request, struct reply *reply, struct error *err);
int v2_blob_delete(struct request *request, struct reply *reply, struct error *err);

extern const struct body_stream v2_upload_post;
extern const struct body_stream v2_upload_patch;
extern const struct body_stream v2_upload_put;
int v2_upload_get(struct request *request, struct reply *reply, struct error *err);
int v2_upload_delete(struct request *request, struct reply *reply, struct error *err);

bool v2_manifest_peek(struct request *request, struct reply *reply);
int v2_manifest_get(struct request *request, struct reply *reply, struct error *err);
uint64_t v2_manifest_limit(const struct services *services);
int v2_manifest_put(struct request *request, struct reply *reply, struct error *err);
int v2_manifest_delete(struct request *request, struct reply *reply, struct error *err);

int v2_tags_get(struct request *request, struct reply *reply, struct error *err);
int v2_catalog_get(struct request *request, struct reply *reply, struct error *err);
int v2_referrers_get(struct request *request, struct reply *reply, struct error *err);

int v2_token_get(struct request *request, struct reply *reply, struct error *err);
uint64_t v2_token_limit(const struct services *services);
bool v2_token_hashless(const struct request *request);
int v2_token_post(struct request *request, struct reply *reply, struct error *err);
bool v2_keys_peek(struct request *request, struct reply *reply);
int v2_keys_get(struct request *request, struct reply *reply, struct error *err);

#endif

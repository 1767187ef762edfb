/* render.h - what several endpoints write: headers of stored content and of sessions, JSON lists.
 * Touches  the reply it is given.
 * Never    storage; it decides nothing. */
#ifndef SLIPWAY_V2_RENDER_H
#define SLIPWAY_V2_RENDER_H

#include "registry/core/digest.h"
#include "registry/http/message.h"
#include "storage/storage.h"

/* "Content-Type: application/json". */
void render_json_head(struct reply *reply);

/* Headers of stored content: Docker-Content-Digest, ETag, Cache-Control and the fence against
 * browsers. `immutable`: it was asked for by digest; where rights are asked for, only the caller's
 * own cache may keep it. Spec: HDR-01, HDR-02, CACHE-01. */
void render_content_head(struct reply *reply, const struct request *request, struct slice digest,
                         bool immutable);
/* True when an If-None-Match of the request names the tag. Spec: CACHE-02. */
bool render_not_modified(const struct request *request, struct slice etag_unquoted);

/* Location, Range, Docker-Upload-UUID of a session. Spec: UPL-08, UPL-11, UPL-12, HTTP-16. */
void render_upload_head(struct reply *reply, struct slice repository, struct slice id,
                        uint64_t offset);
/* 201 of something that now stands under /v2/<repository>/<kind>/<digest>. Spec: UPL-19, MPUT-21.
 */
void render_created(struct reply *reply, struct slice repository, const char *kind,
                    const struct digest *digest);

/* Adds ["a","b"]. */
void render_names(struct buffer *out, const struct page *page);

/* 400 with one MANIFEST_BLOB_UNKNOWN for each digest. Spec: ERR-01, MPUT-14. */
void render_missing(struct reply *reply, const struct missing *missing);

/* Warning: 299 - "text". What is not printable ASCII becomes '?', the end of long texts is cut.
 * Spec: WARN-01. */
void render_warning(struct reply *reply, struct slice text);

#endif

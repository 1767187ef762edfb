/* referrers.c - end-12: what refers to a manifest, as an image index.
 * Touches  storage: reads referrers.
 * Never    changes anything; never answers 404 (REF-02).
 *
 * A page stays just under 4 MiB, because readers of JSON stop there and some clients follow no
 * Link (REF-06). */
#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/services.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"

enum { PAGE_SIZE_MAX = 4 * 1024 * 1024 - 1024 }; /* the rest is for what surrounds the list */

/* A query's '+' arrives as a blank, which no media type contains. SLICE_NONE without a filter.
 * out holds the bytes. Spec: HTTP-12, REF-05. */
static struct slice artifact_type(const struct request *request, struct buffer *out)
{
    buffer_append_slice(out, request_parameter(request, "artifactType"));
    if (out->size == 0)
        return SLICE_NONE;
    for (size_t i = 0; i < out->size; i++)
        if (out->at[i] == ' ')
            out->at[i] = '+';
    return buffer_slice(out);
}

static int cursor(const struct request *request, uint64_t *out, struct error *err)
{
    struct slice text = request_parameter(request, "cursor");

    *out = 0;
    if (text.at == NULL || slice_to_u64(text, out))
        return 0;
    error_set(err, ERROR_UNSUPPORTED, "cursor is none that was handed out");
    return error_set_status(err, 400);
}

/* Spec: REF-04. */
static void descriptor(struct buffer *out, const struct referrer *referrer)
{
    char text[DIGEST_TEXT_MAX];

    buffer_append_text(out, "{\"mediaType\":");
    buffer_append_json(out, slice_of(referrer->media_type));
    buffer_append_text(out, ",\"digest\":");
    buffer_append_json(out, slice_of(digest_text(&referrer->digest, text)));
    buffer_append_text(out, ",\"size\":");
    buffer_append_u64(out, referrer->size);
    if (referrer->artifact_type != NULL) {
        buffer_append_text(out, ",\"artifactType\":");
        buffer_append_json(out, slice_of(referrer->artifact_type));
    }
    if (referrer->annotations != NULL) {
        buffer_append_text(out, ",\"annotations\":");
        buffer_append_text(out, referrer->annotations);
    }
    buffer_append_text(out, "}");
}

/* Spec: REF-01. */
static void body_of(struct buffer *out, const struct referrers *list)
{
    buffer_append_text(out,
                       "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_INDEX "\",\"manifests\":[");
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            buffer_append_text(out, ",");
        descriptor(out, &list->items[i]);
    }
    buffer_append_text(out, "]}");
}

static void link_next(struct reply *reply, const struct request *request, struct slice type,
                      uint64_t next)
{
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;

    buffer_print(&out, "</v2/%.*s/referrers/", SLICE_ARG(request->name));
    buffer_append_slice(&out, request->reference);
    buffer_append_text(&out, "?");
    if (type.at != NULL) {
        buffer_append_text(&out, "artifactType=");
        percent_encode(&out, type);
        buffer_append_text(&out, "&");
    }
    buffer_append_text(&out, "cursor=");
    buffer_append_u64(&out, next);
    buffer_append_text(&out, ">; rel=\"next\"");
    reply_header_slice(reply, "Link", buffer_slice(&out));
}

/* Consumes body. Spec: REF-13. */
static void answer(struct reply *reply, const struct request *request, struct buffer *body)
{
    struct digest digest;
    char etag[DIGEST_TEXT_MAX];

    digest_of(DIGEST_SHA256, buffer_slice(body), &digest);
    digest_text(&digest, etag);
    reply_header(reply, "ETag", "\"%s\"", etag);
    reply_header_slice(reply, "Cache-Control", SLICE("no-cache"));
    if (render_not_modified(request, slice_of(etag))) {
        buffer_drop(body);
        reply->status = 304;
        return;
    }
    reply->status = 200;
    reply_header_slice(reply, "Content-Type", SLICE(OCI_TYPE_INDEX));
    reply_text(reply, body);
}

int v2_referrers_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(buffer_drop) struct buffer type_bytes = BUFFER_NONE;
    OWNED(referrers_drop) struct referrers list = {0};
    struct slice type = artifact_type(request, &type_bytes);
    struct buffer body = BUFFER_NONE;
    struct digest subject;
    uint64_t after;

    assert_worker_thread();
    if (digest_parse_any(request->reference, &subject, err) < 0 ||
        cursor(request, &after, err) < 0 ||
        storage_referrer_list(request->services->storage, request->name, &subject, type, after,
                              PAGE_SIZE_MAX, &list, err) < 0)
        return -1;
    if (type.at != NULL)
        reply_header_slice(reply, "OCI-Filters-Applied", SLICE("artifactType"));
    if (list.next != 0)
        link_next(reply, request, type, list.next);
    body_of(&body, &list);
    answer(reply, request, &body);
    return 0;
}

/* render.c - headers and JSON that several endpoints write.
 *
 * The headers of a pull are built from constant lines and slices, without format strings: they
 * are most of the work of an answer from memory. */
#include "registry/v2/render.h"

#include <string.h>

#include "auth/auth.h"

#define LINE_END "\r\n"

static void append(struct reply *reply, struct slice line)
{
    buffer_append_slice(&reply->head, line);
}

void render_json_head(struct reply *reply)
{
    append(reply, SLICE("Content-Type: application/json" LINE_END));
}

void render_content_head(struct reply *reply, const struct request *request, struct slice digest,
                         bool immutable)
{
    const struct identity *caller = request->caller;
    bool is_private = caller != NULL && caller->kind != IDENTITY_OPEN;

    append(reply, SLICE("Docker-Content-Digest: "));
    append(reply, digest);
    append(reply, SLICE(LINE_END "ETag: \""));
    append(reply, digest);
    if (!immutable)
        append(reply, SLICE("\"" LINE_END "Cache-Control: no-cache" LINE_END));
    else if (is_private)
        append(reply, SLICE("\"" LINE_END "Cache-Control: private, max-age=31536000" LINE_END));
    else
        append(reply, SLICE("\"" LINE_END "Cache-Control: max-age=31536000" LINE_END));
    append(reply, SLICE("Content-Security-Policy: sandbox; default-src 'none'" LINE_END));
}

bool render_not_modified(const struct request *request, struct slice etag_unquoted)
{
    for (size_t i = 0; i < request->header_count; i++)
        if (slice_equal_text(request->headers[i].name, "if-none-match") &&
            etag_matches(request->headers[i].value, etag_unquoted))
            return true;
    return false;
}

static void location(struct reply *reply, struct slice repository, const char *kind,
                     struct slice last)
{
    append(reply, SLICE("Location: /v2/"));
    append(reply, repository);
    append(reply, SLICE("/"));
    append(reply, slice_of(kind));
    append(reply, SLICE("/"));
    append(reply, last);
    append(reply, SLICE(LINE_END));
}

void render_upload_head(struct reply *reply, struct slice repository, struct slice id,
                        uint64_t offset)
{
    location(reply, repository, "blobs/uploads", id);
    append(reply, SLICE("Range: 0-"));
    buffer_append_u64(&reply->head, offset == 0 ? 0 : offset - 1);
    append(reply, SLICE(LINE_END "Docker-Upload-UUID: "));
    append(reply, id);
    append(reply, SLICE(LINE_END));
}

void render_created(struct reply *reply, struct slice repository, const char *kind,
                    const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];

    reply->status = 201;
    location(reply, repository, kind, slice_of(digest_text(digest, text)));
    reply_header_slice(reply, "Docker-Content-Digest", slice_of(text));
}

void render_names(struct buffer *out, const struct page *page)
{
    buffer_append_text(out, "[");
    for (size_t i = 0; i < page->count; i++) {
        if (i > 0)
            buffer_append_text(out, ",");
        buffer_append_json(out, slice_of(page->names[i]));
    }
    buffer_append_text(out, "]");
}

void render_missing(struct reply *reply, const struct missing *missing)
{
    struct buffer body = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];

    buffer_append_text(&body, "{\"errors\":[");
    for (size_t i = 0; i < missing->count; i++) {
        if (i > 0)
            buffer_append_text(&body, ",");
        buffer_append_text(&body,
                           "{\"code\":\"MANIFEST_BLOB_UNKNOWN\","
                           "\"message\":\"the manifest names content this repository lacks\","
                           "\"detail\":{\"digest\":");
        buffer_append_json(&body, slice_of(digest_text(&missing->digests[i], text)));
        buffer_append_text(&body, "}}");
    }
    buffer_append_text(&body, "]}");
    reply->status = 400;
    render_json_head(reply);
    reply_text(reply, &body);
}

enum { WARNING_MAX = 1024 };

static bool is_printable(char c)
{
    return c >= ' ' && c <= '~';
}

void render_warning(struct reply *reply, struct slice text)
{
    append(reply, SLICE("Warning: 299 - \""));
    for (size_t i = 0; i < text.size && i < WARNING_MAX; i++) {
        char c = is_printable(text.at[i]) ? text.at[i] : '?';
        if (c == '"' || c == '\\')
            append(reply, SLICE("\\"));
        buffer_append(&reply->head, &c, 1);
    }
    append(reply, SLICE("\"" LINE_END));
}

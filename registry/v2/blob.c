/* blob.c - end-2, end-10: blobs read, whole or in ranges, and deleted.
 * Touches  storage: blobs of the repository in the path.
 * Never    the bytes themselves: the reply carries the open file, the loop sends it.
 *
 * (1) An answer from memory and an answer from a worker are rendered by the same code.
 * (2) A file whose bytes could not be read to the end is reported, and answers 404 from then on
 *     (CONC-03). */
#include <inttypes.h>
#include <stdlib.h>

#include "registry/config.h"
#include "registry/services.h"
#include "registry/v2/multipart.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"

/* A blob being sent: what the reply releases. */
struct opened {
    struct storage *store;
    struct blob blob;
};

/* (2) */
static void opened_release(void *released, bool read_failed)
{
    struct opened *opened = released;

    assert_worker_thread();
    if (read_failed)
        storage_blob_damaged(opened->store, &opened->blob);
    storage_blob_close(&opened->blob);
    free(opened);
}

static void opened_drop(struct opened **opened)
{
    if (*opened == NULL)
        return;
    storage_blob_close(&(*opened)->blob);
    free(*opened);
}

/* Headers of 200, 206 and 304 alike. Spec: BLOB-01. */
static void head(struct request *request, struct reply *reply, struct slice digest)
{
    buffer_reserve(&reply->head, 512);
    render_content_head(reply, request, digest, true);
    buffer_append_text(&reply->head, "Accept-Ranges: bytes\r\n"
                                     "Content-Disposition: attachment\r\n");
}

static void content_type(struct reply *reply)
{
    buffer_append_text(&reply->head, "Content-Type: application/octet-stream\r\n");
}

/* An answer without bytes: HEAD, or GET of what the client has. Spec: BLOB-03, CACHE-02. */
static void answer_known(struct request *request, struct reply *reply, struct slice digest,
                         bool not_modified, uint64_t size)
{
    head(request, reply, digest);
    content_type(reply);
    reply->status = not_modified ? 304 : 200;
    reply->length = not_modified ? 0 : size;
}

/* What the Range header asks for; an empty blob has no ranges. Spec: BLOB-04, BLOB-07. */
static enum range_outcome wanted(const struct request *request, struct slice digest, uint64_t size,
                                 struct range *ranges, size_t *count)
{
    struct slice condition = request_header(request, "if-range");
    bool same = condition.at == NULL ||
                (condition.size == digest.size + 2 && condition.at[0] == '"' &&
                 condition.at[condition.size - 1] == '"' &&
                 slice_equal((struct slice){condition.at + 1, digest.size}, digest));

    if (!same || size == 0)
        return RANGE_NONE;
    return range_parse(request_header(request, "range"), size, ranges, count);
}

static void send_whole(struct reply *reply, struct opened *opened)
{
    reply->status = 200;
    content_type(reply);
    reply_file(reply, opened->blob.fd, 0, opened->blob.size, opened_release, opened);
}

/* One range is never a multipart body (BLOB-05). */
static void send_ranges(struct reply *reply, struct opened *opened, const struct range *ranges,
                        size_t count)
{
    char boundary[MULTIPART_BOUNDARY_SIZE + 1];
    uint64_t size = opened->blob.size;

    reply->status = 206;
    if (count == 1) {
        content_type(reply);
        reply_header(reply, "Content-Range", "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                     ranges->first, ranges->last, size);
        reply_file(reply, opened->blob.fd, ranges->first, ranges->last - ranges->first + 1,
                   opened_release, opened);
        return;
    }
    multipart_boundary(boundary);
    multipart_write(reply, boundary, ranges, count, size);
    reply->fd = opened->blob.fd;
    reply->release = opened_release;
    reply->released = opened;
}

/* GET of a blob the client does not have yet. */
static int send(struct request *request, struct reply *reply, const struct digest *digest,
                struct slice text, struct error *err) ON(worker_thread)
{
    struct storage *store = request->services->storage;
    OWNED(opened_drop) struct opened *opened = memory_new(sizeof(*opened));
    struct range ranges[RANGES_MAX];
    size_t count = 0;

    opened->store = store;
    opened->blob.fd = -1;
    if (storage_blob_open(store, request->name, digest, request->may_push, &opened->blob, err) < 0)
        return -1;
    switch (wanted(request, text, opened->blob.size, ranges, &count)) {
    case RANGE_UNSATISFIABLE:
        reply_header(reply, "Content-Range", "bytes */%" PRIu64, opened->blob.size);
        error_set(err, ERROR_SIZE_INVALID, "the range lies outside the blob of %" PRIu64 " bytes",
                  opened->blob.size);
        return error_set_status(err, 416);
    case RANGE_PARTIAL:
        head(request, reply, text);
        send_ranges(reply, TAKE(opened), ranges, count);
        return 0;
    case RANGE_NONE:
    case RANGE_TOO_MANY:
        break;
    }
    if (opened->blob.size == 0) { /* no file to send: the reply needs no worker to release it */
        answer_known(request, reply, text, false, 0);
        return 0;
    }
    head(request, reply, text);
    send_whole(reply, TAKE(opened));
    return 0;
}

bool v2_blob_peek(struct request *request, struct reply *reply)
{
    struct error ignored = {0};
    char text[DIGEST_TEXT_MAX];
    struct digest digest;
    uint64_t size;

    if (digest_parse(request->reference, &digest, &ignored) < 0)
        return false;

    struct slice etag = slice_of(digest_text(&digest, text));
    bool not_modified = render_not_modified(request, etag);
    if (request->method != METHOD_HEAD && !not_modified)
        return false;
    if (!storage_peek_blob(request->services->storage, request->name, &digest, request->may_push,
                           &size))
        return false;
    answer_known(request, reply, etag, not_modified, size);
    return true;
}

int v2_blob_get(struct request *request, struct reply *reply, struct error *err)
{
    char text[DIGEST_TEXT_MAX];
    struct digest digest;
    struct blob blob;

    assert_worker_thread();
    if (digest_parse(request->reference, &digest, err) < 0)
        return -1;

    struct slice etag = slice_of(digest_text(&digest, text));
    bool not_modified = render_not_modified(request, etag);
    if (request->method != METHOD_HEAD && !not_modified)
        return send(request, reply, &digest, etag, err);
    if (storage_blob_stat(request->services->storage, request->name, &digest, request->may_push,
                          &blob, err) < 0)
        return -1;
    answer_known(request, reply, etag, not_modified, blob.size);
    return 0;
}

/* Spec: end-10; DEL-03 to DEL-06. */
int v2_blob_delete(struct request *request, struct reply *reply, struct error *err)
{
    struct digest digest;

    assert_worker_thread();
    if (!request->services->config->delete_blobs) {
        reply_header_slice(reply, "Allow", SLICE("GET, HEAD"));
        return error_set(err, ERROR_UNSUPPORTED, "deleting blobs is switched off");
    }
    if (digest_parse(request->reference, &digest, err) < 0 ||
        storage_blob_delete(request->services->storage, request->name, &digest, err) < 0)
        return -1;
    reply->status = 202;
    return 0;
}

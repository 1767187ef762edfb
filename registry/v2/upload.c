/* upload.c - end-4, end-5, end-6, end-11, end-13, end-14: blobs sent in one piece or in many.
 * Touches  storage: upload sessions of the repository in the path.
 * Never    keeps a session's state: storage does, a request only claims it for its own length.
 *
 * (1) What is refused by the head alone leaves the session as it was.
 * (2) A body that disagrees with its Content-Range leaves the offset as it was (UPL-09).
 * (3) A body that breaks off leaves what arrived (UPL-14), save in a session the client was never
 *     told of, which goes (UPL-30). */
#include <inttypes.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "registry/config.h"
#include "registry/core/oci.h"
#include "registry/services.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"

/* --- starting: POST --- */

/* Spec: UPL-06. */
static int algorithm_wanted(const struct request *request, enum digest_algorithm *out,
                            struct error *err)
{
    struct slice name = request_parameter(request, "digest-algorithm");

    *out = name.at == NULL ? DIGEST_SHA256 : digest_algorithm_parse(name);
    if (*out == DIGEST_NONE)
        return error_set(err, ERROR_DIGEST_INVALID, "digest-algorithm is not sha256 or sha512");
    return 0;
}

/* Whoever opens a session may end it with a token that ends before it. Spec: TOK-55. */
static int session_create(const struct request *request, enum digest_algorithm algorithm, char *id,
                          struct error *err) ON(worker_thread)
{
    char owner[UPLOAD_OWNER_MAX + 1];
    struct actor actor = auth_actor(request->caller);

    auth_upload_owner(request->caller, owner);
    actor.owner = slice_of(owner);
    return storage_upload_start(request->services->storage, request->name, algorithm, &actor, id,
                                err);
}

/* A fresh session is the answer. Spec: UPL-01. */
static int session_start(struct request *request, struct reply *reply, struct error *err)
    ON(worker_thread)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    enum digest_algorithm algorithm;

    if (algorithm_wanted(request, &algorithm, err) < 0 ||
        session_create(request, algorithm, id, err) < 0)
        return -1;
    reply->status = 202;
    render_upload_head(reply, request->name, slice_of(id), 0);
    return 0;
}

/* Where a common layer is looked for, at most: a miss costs its sender an upload, no more. */
enum { SOURCES_MAX = 100 };

/* The first that has the blob and that this credential may pull: never across a border of rights.
 * Spec: UPL-34, TOK-73. */
static int mount_from_any(const struct request *request, const struct digest *digest, bool *mounted,
                          struct error *err) ON(worker_thread)
{
    const struct services *services = request->services;
    const struct actor actor = auth_actor(request->caller);
    OWNED(page_drop) struct page sources = {0};

    if (storage_blob_sources(services->storage, digest, SOURCES_MAX, &sources, err) < 0)
        return -1;
    for (size_t i = 0; i < sources.count && !*mounted; i++) {
        if (!auth_may(services->auth, request->caller, slice_of(sources.names[i]), RIGHT_PULL))
            continue;
        if (storage_blob_mount(services->storage, request->name, slice_of(sources.names[i]), digest,
                               &actor, mounted, err) < 0)
            return -1;
    }
    return 0;
}

/* A source that may not be read is as one that is not there. Spec: UPL-32, UPL-33. */
static int mount_from(const struct request *request, struct slice from, const struct digest *digest,
                      bool *mounted, struct error *err) ON(worker_thread)
{
    const struct services *services = request->services;
    const struct actor actor = auth_actor(request->caller);

    if (!oci_name_valid(from) || !auth_may(services->auth, request->caller, from, RIGHT_PULL))
        return 0;
    return storage_blob_mount(services->storage, request->name, from, digest, &actor, mounted, err);
}

/* Spec: UPL-31 to UPL-35. */
static int mount(struct request *request, struct reply *reply, struct error *err) ON(worker_thread)
{
    struct slice from = request_parameter(request, "from");
    struct digest digest;
    bool mounted = false;

    if (digest_parse(request_parameter(request, "mount"), &digest, err) < 0 ||
        (from.at == NULL ? mount_from_any(request, &digest, &mounted, err)
                         : mount_from(request, from, &digest, &mounted, err)) < 0)
        return -1;
    if (!mounted)
        return session_start(request, reply, err);
    render_created(reply, request->name, "blobs", &digest);
    return 0;
}

/* --- bodies --- */

/* One body on its way into a session; the session is claimed as long as it lives. */
struct incoming {
    struct storage *store;
    struct upload *upload; /* NULL once storage has consumed it */
    struct slice repository;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct digest claimed; /* PUT and POST: what it must hash to */
    uint64_t start;        /* the session's offset before the body */
    uint64_t received;     /* bytes of the body */
    uint64_t expected;     /* by its Content-Range; UINT64_MAX: there was none */
    bool too_long;
    bool hidden; /* the client does not know the session */
};

/* (3) */
static void incoming_drop(struct incoming **owned) ON(worker_thread)
{
    struct incoming *body = *owned;
    struct error gone = {0};

    if (body == NULL)
        return;
    storage_upload_release(body->upload);
    if (body->hidden &&
        storage_upload_cancel(body->store, body->repository, slice_of(body->id), &gone) < 0)
        error_clear(&gone); /* finish has taken it away already */
    free(body);
}

static struct incoming *incoming_new(const struct request *request)
{
    struct incoming *body = memory_new(sizeof(*body));

    body->store = request->services->storage;
    body->repository = request->name;
    body->expected = UINT64_MAX;
    return body;
}

/* Refuses a declared length that the limit forbids, before a byte is read. Spec: LIM-01. */
static int limit_check(const struct request *request, uint64_t offset, struct error *err)
{
    uint64_t limit = request->services->config->server_limits_blob;

    if (limit == 0 || request->chunked ||
        (offset <= limit && request->content_length <= limit - offset))
        return 0;
    error_set(err, ERROR_SIZE_INVALID, "blob exceeds the limit of %" PRIu64 " bytes", limit);
    return error_set_status(err, 413);
}

/* What quotas forbid is refused before it is sent. Spec: LIM-04. */
static int room_ask(const struct request *request, struct incoming *body, struct error *err)
    ON(worker_thread)
{
    if (request->chunked || request->content_length == 0)
        return 0;
    return storage_upload_expect(body->upload, request->content_length, err);
}

/* Spec: UPL-20. */
static int digest_wanted(const struct request *request, struct digest *out, struct error *err)
{
    struct slice text = request_parameter(request, "digest");

    if (text.at == NULL)
        return error_set(err, ERROR_DIGEST_INVALID, "the parameter digest is missing");
    return digest_parse(text, out, err);
}

/* POST with digest: a session nobody hears of. Spec: UPL-30. */
static int single_open(struct request *request, void **stream, struct error *err) ON(worker_thread)
{
    OWNED(incoming_drop) struct incoming *body = incoming_new(request);
    enum digest_algorithm ignored;

    if (digest_wanted(request, &body->claimed, err) < 0 ||
        algorithm_wanted(request, &ignored, err) < 0 || limit_check(request, 0, err) < 0 ||
        session_create(request, body->claimed.algorithm, body->id, err) < 0)
        return -1;
    body->hidden = true;
    if (storage_upload_claim(body->store, body->repository, slice_of(body->id), &body->upload,
                             err) < 0 ||
        room_ask(request, body, err) < 0)
        return -1;
    *stream = TAKE(body);
    return 1;
}

static int post_open(struct request *request, struct reply *reply, void **stream, struct error *err)
{
    assert_worker_thread();
    if (request_parameter(request, "mount").at != NULL)
        return mount(request, reply, err);
    if (request_parameter(request, "digest").at != NULL)
        return single_open(request, stream, err);
    return session_start(request, reply, err);
}

/* A chunk's Content-Range against the session and the body. Spec: UPL-08 to UPL-10, UPL-18. */
struct chunk {
    bool ranged;
    uint64_t first;
    uint64_t size;
};

static int chunk_parse(const struct request *request, struct chunk *out, struct error *err)
{
    struct slice header = request_header(request, "content-range");
    uint64_t last;

    out->ranged = header.at != NULL;
    if (!out->ranged)
        return 0;
    if (!content_range_parse(header, &out->first, &last))
        return error_set(err, ERROR_BLOB_UPLOAD_INVALID, "malformed Content-Range");
    out->size = last - out->first + 1;
    return 0;
}

static int chunk_check(const struct request *request, const struct chunk *chunk, uint64_t offset,
                       struct error *err)
{
    if (chunk->ranged && chunk->first != offset) {
        error_set(err, ERROR_BLOB_UPLOAD_INVALID,
                  "chunk starts at %" PRIu64 ", the session stands at %" PRIu64, chunk->first,
                  offset);
        return error_set_status(err, 416);
    }
    if (chunk->ranged && !request->chunked && chunk->size != request->content_length)
        return error_set(err, ERROR_SIZE_INVALID,
                         "Content-Range names %" PRIu64 " bytes, the body has %" PRIu64,
                         chunk->size, request->content_length);
    return limit_check(request, offset, err);
}

static int session_status(const struct request *request, struct upload_status *out,
                          struct error *err) ON(worker_thread)
{
    if (!oci_upload_id_valid(request->reference))
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "no such upload session");
    return storage_upload_status(request->services->storage, request->name, request->reference, out,
                                 err);
}

/* Tells where the session stands beside a refusal. */
static void head_beside_refusal(const struct request *request, struct reply *reply)
    ON(worker_thread)
{
    struct upload_status status;
    struct error gone = {0};

    if (session_status(request, &status, &gone) == 0 && !status.committed)
        render_upload_head(reply, request->name, request->reference, status.offset);
}

/* 416 of a claim: another writer is at work (UPL-15). 0, -1 or STREAM_LATER. */
static int claim(struct request *request, struct reply *reply, struct incoming *body,
                 struct error *err) ON(worker_thread)
{
    if (!oci_upload_id_valid(request->reference))
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "no such upload session");
    if (storage_upload_claim(body->store, body->repository, request->reference, &body->upload,
                             err) < 0) {
        if (err->status != 416)
            return -1;
        head_beside_refusal(request, reply);
        return STREAM_LATER;
    }
    body->start = storage_upload_offset(body->upload);
    return 0;
}

/* The common opening of PATCH and PUT. claimed: NULL for PATCH. (1) */
static int session_open(struct request *request, struct reply *reply, const struct digest *claimed,
                        void **stream, struct error *err) ON(worker_thread)
{
    OWNED(incoming_drop) struct incoming *body = incoming_new(request);
    struct chunk chunk;

    if (claimed != NULL)
        body->claimed = *claimed;
    if (chunk_parse(request, &chunk, err) < 0)
        return -1;
    int outcome = claim(request, reply, body, err);
    if (outcome < 0)
        return outcome;
    if (chunk_check(request, &chunk, body->start, err) < 0) {
        render_upload_head(reply, request->name, request->reference, body->start);
        return -1;
    }
    if (room_ask(request, body, err) < 0) {
        render_upload_head(reply, request->name, request->reference, body->start);
        return -1;
    }
    if (chunk.ranged)
        body->expected = chunk.size;
    *stream = TAKE(body);
    return 1;
}

static int patch_open(struct request *request, struct reply *reply, void **stream,
                      struct error *err)
{
    assert_worker_thread();
    return session_open(request, reply, NULL, stream, err);
}

/* The same PUT came before and its answer was lost. Spec: UPL-23. This answer is a lease as well,
 * so the blob is still here. */
static bool finished_before(const struct request *request, const struct digest *claimed)
    ON(worker_thread)
{
    struct upload_status status;
    struct error gone = {0};
    struct blob blob;

    return session_status(request, &status, &gone) == 0 && status.committed &&
           digest_equal(&status.digest, claimed) &&
           storage_blob_stat(request->services->storage, request->name, claimed, true, &blob,
                             &gone) == 0;
}

static int put_open(struct request *request, struct reply *reply, void **stream, struct error *err)
{
    struct digest claimed;

    assert_worker_thread();
    if (digest_wanted(request, &claimed, err) < 0)
        return -1;
    int outcome = session_open(request, reply, &claimed, stream, err);
    if (outcome < 0 && err->code == ERROR_BLOB_UPLOAD_UNKNOWN &&
        finished_before(request, &claimed)) {
        error_clear(err);
        render_created(reply, request->name, "blobs", &claimed);
        return 0;
    }
    return outcome;
}

static int body_write(void *stream, struct slice bytes, struct error *err)
{
    struct incoming *body = stream;

    assert_worker_thread();
    if (bytes.size > body->expected - body->received) {
        body->too_long = true;
        return error_set(err, ERROR_SIZE_INVALID, "the body is longer than its Content-Range");
    }
    if (storage_upload_append(body->upload, bytes, err) < 0)
        return -1;
    body->received += bytes.size;
    return 0;
}

/* Is the body whole, and as long as it said? (2) */
static int settle(struct incoming *body, enum body_outcome outcome, struct error *err)
    ON(worker_thread)
{
    bool complete = outcome == BODY_COMPLETE;
    bool too_short = complete && body->expected != UINT64_MAX && body->received < body->expected;

    if (complete && !too_short)
        return 0;
    if (outcome == BODY_BROKEN)
        return error_set(err, ERROR_BLOB_UPLOAD_INVALID, "the body broke off");
    if (too_short)
        error_set(err, ERROR_SIZE_INVALID, "the body is shorter than its Content-Range");
    if ((too_short || body->too_long) && storage_upload_rewind(body->upload, body->start, err) < 0)
        return error_set_cause(err, "the session could not be taken back to %" PRIu64, body->start);
    return -1;
}

static int patch_finish(void *stream, enum body_outcome outcome, struct request *request,
                        struct reply *reply, struct error *err)
{
    OWNED(incoming_drop) struct incoming *body = stream;

    assert_worker_thread();
    bool settled = settle(body, outcome, err) == 0;
    render_upload_head(reply, request->name, request->reference,
                       storage_upload_offset(body->upload));
    if (!settled)
        return -1;
    reply->status = 202;
    return 0;
}

/* PUT and POST with digest. Spec: UPL-19 to UPL-24. */
static int put_finish(void *stream, enum body_outcome outcome, struct request *request,
                      struct reply *reply, struct error *err)
{
    OWNED(incoming_drop) struct incoming *body = stream;
    struct descriptor stored;

    assert_worker_thread();
    if (settle(body, outcome, err) < 0) {
        if (!body->hidden)
            render_upload_head(reply, request->name, request->reference,
                               storage_upload_offset(body->upload));
        return -1;
    }
    if (storage_upload_finish(TAKE(body->upload), &body->claimed, &stored, err) < 0)
        return -1;
    body->hidden = false; /* nothing to take away any more */
    render_created(reply, request->name, "blobs", &body->claimed);
    return 0;
}

const struct body_stream v2_upload_post = {post_open, body_write, put_finish};
const struct body_stream v2_upload_patch = {patch_open, body_write, patch_finish};
const struct body_stream v2_upload_put = {put_open, body_write, put_finish};

/* --- status and cancel --- */

/* Spec: end-13; UPL-26. */
int v2_upload_get(struct request *request, struct reply *reply, struct error *err)
{
    struct upload_status status;

    assert_worker_thread();
    if (session_status(request, &status, err) < 0)
        return -1;
    if (status.committed)
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "the upload is finished");
    reply->status = 204;
    render_upload_head(reply, request->name, request->reference, status.offset);
    return 0;
}

/* Spec: end-14; UPL-27. */
int v2_upload_delete(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    if (!oci_upload_id_valid(request->reference))
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "no such upload session");
    if (storage_upload_cancel(request->services->storage, request->name, request->reference, err) <
        0)
        return -1;
    reply->status = 204;
    return 0;
}

/* manifest.c - end-3, end-7, end-9: manifests and tags, pulled, pushed and deleted.
 * Touches  storage: manifests and tags of the repository in the path.
 * Never    changes the bytes of a manifest; blobs.
 *
 * (1) An answer from memory and an answer from a worker are rendered by the same code. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/config.h"
#include "registry/core/document.h"
#include "registry/core/glob.h"
#include "registry/core/oci.h"
#include "registry/services.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"

static bool names_digest(struct slice reference)
{
    return memchr(reference.at, ':', reference.size) != NULL; /* NAME-12 */
}

/* What a GET or DELETE means by the path's last segment. Spec: ROUTE-04, ROUTE-05.
 * DIGEST_INVALID, MANIFEST_UNKNOWN */
static int reference_parse(struct slice text, struct manifest_reference *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (names_digest(text))
        return digest_parse(text, &out->digest, err);
    if (!oci_tag_valid(text))
        return error_set(err, ERROR_MANIFEST_UNKNOWN, "no tag can have that name");
    out->tag = text;
    return 0;
}

static void manifest_sent(void *released, bool read_failed)
{
    const struct manifest *manifest = released;

    (void)read_failed;
    storage_manifest_release(manifest);
}

/* Counts a GET, and tells how many are left; false: this is one too many. Spec: TOK-66, LIM-05. */
static bool pull_admit(const struct request *request, struct reply *reply, struct pull_quota *quota)
{
    *quota = (struct pull_quota){.limited = false};
    bool admitted =
        auth_pull_admit(request->services->auth, request->caller, slice_of(request->remote),
                        request->network, request->method == METHOD_GET, quota);
    if (!quota->limited)
        return true;
    reply_header(reply, "ratelimit-limit", "%" PRIu64 ";w=%" PRIu64, quota->limit, quota->window_s);
    reply_header(reply, "ratelimit-remaining", "%" PRIu64 ";w=%" PRIu64, quota->remaining,
                 quota->window_s);
    reply_header(reply, "docker-ratelimit-source", "%s", quota->source);
    return admitted || request->method != METHOD_GET;
}

static int pulled_too_much(const struct pull_quota *quota, struct error *err)
{
    error_set(err, ERROR_TOOMANYREQUESTS,
              "the limit of %" PRIu64 " pulls in %" PRIu64
              " seconds is reached; see auth.pull_rate in the documentation of this registry",
              quota->limit, quota->window_s);
    err->retry_after_s =
        quota->retry_after_s > UINT_MAX ? UINT_MAX : (unsigned)quota->retry_after_s;
    return -1;
}

/* Who pulls, for counters; retention.exclude_callers are programs whose pulls are no use. */
static enum pull_kind pull_kind(const struct request *request)
{
    const struct config_list *excluded = &request->services->config->retention_exclude_callers;
    const struct identity *caller = request->caller;

    if (caller == NULL || caller->kind == IDENTITY_ANONYMOUS)
        return PULL_ANONYMOUS;
    for (size_t i = 0; i < excluded->count; i++)
        if (glob_matches(slice_of(excluded->items[i]), slice_of(caller->name)))
            return PULL_EXCLUDED;
    return caller->kind == IDENTITY_ACCOUNT && caller->account_kind == ACCOUNT_ROBOT ? PULL_ROBOT
                                                                                     : PULL_USER;
}

/* Consumes manifest. Spec: MGET-01, MGET-02, HDR-01 to HDR-03, CACHE-02. */
static void answer(struct request *request, struct reply *reply,
                   const struct manifest_reference *reference, const struct manifest *manifest)
{
    char digest[DIGEST_TEXT_MAX];
    struct slice etag = slice_of(digest_text(&manifest->digest, digest));

    buffer_reserve(&reply->head, 512);
    reply_header_slice(reply, "Content-Type", manifest->media_type);
    render_content_head(reply, request, etag, reference->tag.at == NULL);
    if (render_not_modified(request, etag)) {
        reply->status = 304;
        storage_manifest_release(manifest);
        return;
    }
    reply->status = 200;
    if (request->method == METHOD_GET)
        storage_pull_count(request->services->storage, request->name, reference, manifest,
                           pull_kind(request));
    reply_bytes(reply, manifest->payload, manifest_sent, (void *)(uintptr_t)manifest);
}

bool v2_manifest_peek(struct request *request, struct reply *reply)
{
    struct manifest_reference reference;
    const struct manifest *manifest;
    struct pull_quota quota;
    struct error ignored = {0};

    if (reference_parse(request->reference, &reference, &ignored) < 0 ||
        !storage_peek_manifest(request->services->storage, request->name, &reference,
                               request->may_push, &manifest))
        return false;
    if (!pull_admit(request, reply, &quota)) {
        storage_manifest_release(manifest);
        return false; /* a worker says so */
    }
    answer(request, reply, &reference, manifest);
    return true;
}

/* Spec: end-3; Accept is not looked at (MGET-03). */
int v2_manifest_get(struct request *request, struct reply *reply, struct error *err)
{
    struct manifest_reference reference;
    const struct manifest *manifest;
    struct pull_quota quota;

    assert_worker_thread();
    if (reference_parse(request->reference, &reference, err) < 0 ||
        storage_manifest_get(request->services->storage, request->name, &reference,
                             request->may_push, &manifest, err) < 0)
        return -1;
    if (!pull_admit(request, reply, &quota)) {
        storage_manifest_release(manifest);
        return pulled_too_much(&quota, err);
    }
    answer(request, reply, &reference, manifest);
    return 0;
}

/* Spec: end-9; DEL-01, DEL-02, DEL-05. */
int v2_manifest_delete(struct request *request, struct reply *reply, struct error *err)
{
    const struct config *config = request->services->config;
    bool by_digest = names_digest(request->reference);
    const struct actor actor = auth_actor(request->caller);
    struct manifest_reference reference;

    assert_worker_thread();
    if (by_digest ? !config->delete_manifests : !config->delete_tags) {
        reply_header_slice(reply, "Allow", SLICE("GET, HEAD, PUT"));
        return error_set(err, ERROR_UNSUPPORTED, "deleting %s is switched off",
                         by_digest ? "manifests" : "tags");
    }
    if (reference_parse(request->reference, &reference, err) < 0 ||
        storage_manifest_delete(request->services->storage, request->name, &reference, &actor,
                                err) < 0)
        return -1;
    reply->status = 202;
    return 0;
}

/* --- end-7: PUT --- */

enum {
    TAGS_MAX = 100, /* MPUT-25 */
    TAG_LINES_MAX = 50,
};

/* One push while it is put together. Freed with push_drop. */
struct push {
    struct document document;
    struct manifest_link *links; /* blobs, then children */
    struct slice tags[TAGS_MAX]; /* borrowed from the request */
    struct missing missing;
    struct manifest_put put; /* borrows from all above */
};

static void push_drop(struct push *push)
{
    document_drop(&push->document);
    free(push->links);
    missing_drop(&push->missing);
}

uint64_t v2_manifest_limit(const struct services *services)
{
    return services->config->server_limits_manifest; /* MPUT-02 */
}

static bool tag_known(const struct push *push, struct slice tag)
{
    for (size_t i = 0; i < push->put.tag_count; i++)
        if (slice_equal(push->tags[i], tag))
            return true;
    return false;
}

static int tag_add(struct push *push, struct slice tag, struct error *err)
{
    if (!oci_tag_valid(tag))
        return error_set(err, ERROR_MANIFEST_INVALID, "malformed tag");
    if (!tag_known(push, tag))
        push->tags[push->put.tag_count++] = tag;
    return 0;
}

/* Spec: MPUT-25. */
static int tags_of_query(const struct request *request, struct push *push, struct error *err)
{
    size_t given = 0;

    for (size_t i = 0; i < request->parameter_count; i++) {
        const struct parameter *parameter = &request->parameters[i];
        if (!slice_equal_text(parameter->name, "tag"))
            continue;
        if (given++ == TAGS_MAX) {
            error_set(err, ERROR_UNSUPPORTED, "more than %d tags in one push", TAGS_MAX);
            return error_set_status(err, 414);
        }
        if (tag_add(push, parameter->value, err) < 0)
            return -1;
    }
    return 0;
}

/* The digest and the tags that the path and the query ask for. Spec: MPUT-20, ROUTE-04. */
static int push_name(const struct request *request, struct push *push, struct error *err)
{
    struct digest asked;

    push->put.tags = push->tags;
    if (!names_digest(request->reference)) {
        digest_of(DIGEST_SHA256, request->body, &push->put.digest);
        return tag_add(push, request->reference, err);
    }
    if (digest_parse(request->reference, &asked, err) < 0)
        return -1;
    digest_of(asked.algorithm, request->body, &push->put.digest);
    if (!digest_equal(&asked, &push->put.digest))
        return error_set(err, ERROR_DIGEST_INVALID, "the manifest does not match its digest");
    return tags_of_query(request, push, err);
}

static void links_fill(struct manifest_link *out, const struct document_link *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (struct manifest_link){
            .digest = from[i].digest,
            .size = from[i].size,
            .may_be_missing = from[i].nondistributable,
            .platform = slice_of(from[i].platform),
        };
}

/* What the body says of itself. Spec: MPUT-03 to MPUT-13. */
static int push_read(const struct request *request, struct push *push, struct error *err)
{
    const struct document *document = &push->document;
    size_t limit = (size_t)request->services->config->server_limits_descriptors;

    if (document_parse(request->body, request_header(request, "content-type"), limit,
                       &push->document, err) < 0)
        return -1;
    push->links =
        memory_new((document->blob_count + document->child_count + 1) * sizeof(*push->links));
    links_fill(push->links, document->blobs, document->blob_count);
    links_fill(push->links + document->blob_count, document->children, document->child_count);
    push->put.payload = request->body;
    push->put.media_type = slice_of(document->media_type);
    push->put.artifact_type = slice_of(document->artifact_type);
    push->put.annotations = slice_of(document->annotations);
    push->put.subject = document->subject;
    push->put.base_name = slice_of(document->base_name);
    push->put.base_digest = document->base_digest;
    push->put.blobs = push->links;
    push->put.blob_count = document->blob_count;
    push->put.children = push->links + document->blob_count;
    push->put.child_count = document->child_count;
    return 0;
}

/* If-Match: the tag must stand now at a digest the header names, and still at the commit. */
static int condition_match(const struct request *request, struct slice header, struct push *push,
                           struct error *err) ON(worker_thread)
{
    struct manifest_reference reference = {.tag = request->reference};
    const struct manifest *current;
    char text[DIGEST_TEXT_MAX];

    if (storage_manifest_get(request->services->storage, request->name, &reference, false, &current,
                             err) < 0) {
        if (err->code != ERROR_MANIFEST_UNKNOWN)
            return -1;
        error_clear(err);
        return error_set(err, ERROR_PRECONDITION, "the tag does not exist");
    }
    push->put.if_digest = current->digest;
    storage_manifest_release(current);
    if (!etag_matches(header, slice_of(digest_text(&push->put.if_digest, text))))
        return error_set(err, ERROR_PRECONDITION, "the tag has another digest");
    return 0;
}

/* Only a push by tag has conditions. Spec: CACHE-03. */
static int push_conditions(const struct request *request, struct push *push, struct error *err)
    ON(worker_thread)
{
    struct slice match = request_header(request, "if-match");

    if (names_digest(request->reference))
        return 0;
    push->put.if_absent = slice_equal_text(request_header(request, "if-none-match"), "*");
    return match.at == NULL ? 0 : condition_match(request, match, push, err);
}

/* A line for each tag, or one list when they are many: there are clients that refuse a head of more
 * than a hundred lines. Spec: MPUT-25. */
static void tags_answer(struct reply *reply, const struct push *push)
{
    OWNED(buffer_drop) struct buffer list = BUFFER_NONE;
    bool lines = push->put.tag_count <= TAG_LINES_MAX;

    for (size_t i = 0; i < push->put.tag_count; i++) {
        if (lines)
            reply_header_slice(reply, "OCI-Tag", push->tags[i]);
        else
            buffer_print(&list, "%s%.*s", i == 0 ? "" : ", ", SLICE_ARG(push->tags[i]));
    }
    if (!lines)
        reply_header_slice(reply, "OCI-Tag", buffer_slice(&list));
}

/* Spec: MPUT-21, MPUT-22. */
static void push_answer(const struct request *request, struct reply *reply, const struct push *push)
{
    char text[DIGEST_TEXT_MAX];

    render_created(reply, request->name, "manifests", &push->put.digest);
    if (digest_is_set(&push->put.subject))
        reply_header_slice(reply, "OCI-Subject", slice_of(digest_text(&push->put.subject, text)));
    if (names_digest(request->reference))
        tags_answer(reply, push);
    if (push->missing.count > 0)
        render_warning(reply, SLICE("accepted although the repository lacks content it names"));
}

int v2_manifest_put(struct request *request, struct reply *reply, struct error *err)
{
    const struct actor actor = auth_actor(request->caller);
    OWNED(push_drop) struct push push = {.put.actor = &actor};

    assert_worker_thread();
    if (push_name(request, &push, err) < 0 || push_read(request, &push, err) < 0 ||
        push_conditions(request, &push, err) < 0)
        return -1;
    if (storage_manifest_put(request->services->storage, request->name, &push.put, &push.missing,
                             err) == 0) {
        push_answer(request, reply, &push);
        return 0;
    }
    if (err->code != ERROR_MANIFEST_BLOB_UNKNOWN || push.missing.count == 0)
        return -1;
    render_missing(reply, &push.missing); /* one entry a digest: more than an error can carry */
    return 0;
}

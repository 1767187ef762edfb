/* remote_source.c - manifests and blobs of another registry, fetched when they are not here.
 * Touches  the other registry by way of remote_http.h; storage, as a push does.
 * Never    believes a digest: bytes are hashed as they come; takes more bytes than a manifest
 * names.
 *
 * (1) What is here is not fetched again. */
#include <stdlib.h>

#include "registry/core/oci.h"
#include "registry/transfer/remote.h"

int pull_unexpected(const struct remote_answer *answer, struct error *err)
{
    if (answer->status == 404)
        return error_set(err, ERROR_MANIFEST_UNKNOWN, "the registry does not have it");
    if (answer->status == 401 || answer->status == 403)
        return error_set(err, ERROR_DENIED, "the registry does not allow it (%ld)", answer->status);
    return error_set(err, ERROR_UNAVAILABLE, "the registry answers %ld", answer->status);
}

void pull_path(struct buffer *path, struct slice repository, const char *what,
               const char *reference)
{
    buffer_print(path, "/v2/%.*s/%s/%s", SLICE_ARG(repository), what, reference);
}

/* --- manifests --- */

/* (1) */
static bool manifest_of_ours(const struct pull *pull, struct slice repository, struct image *image)
    ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = image->digest};
    const struct manifest *manifest = NULL;
    struct error ignored = {0};

    if (storage_manifest_get(pull->transfer->storage, repository, &reference, false, &manifest,
                             &ignored) < 0)
        return false;
    buffer_append_slice(&image->payload, manifest->payload);
    image->media_type = memory_text(manifest->media_type);
    storage_manifest_release(manifest);
    return true;
}

static int remote_manifest(struct source *source, struct slice repository, struct image *image,
                           size_t limit, struct error *err)
{
    struct pull *pull = (struct pull *)source;
    OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    char digest[DIGEST_TEXT_MAX];

    assert_worker_thread();
    if (image->digest.algorithm == DIGEST_OTHER)
        return error_set(err, ERROR_UNSUPPORTED, "unsupported digest algorithm");
    if (manifest_of_ours(pull, repository, image))
        return 0;
    pull_path(&path, repository, "manifests", digest_text(&image->digest, digest));
    const struct remote_request request = {
        .path = path.at, .scope = pull->scope, .accept = PULL_ACCEPT, .body_max = limit};
    if (remote_get(pull->http, &request, &answer, err) < 0)
        return -1;
    if (answer.status != 200)
        return pull_unexpected(&answer, err);
    image->payload = answer.body;
    answer.body = BUFFER_NONE;
    image->media_type = TAKE(answer.content_type);
    return 0;
}

/* --- blobs --- */

struct download {
    struct upload *upload;
    uint64_t left; /* of the size that the manifest says; a body may be endless */
};

static int download_receive(void *arg, struct slice bytes, struct error *err)
{
    struct download *download = arg;

    assert_worker_thread();
    if (bytes.size > download->left)
        return error_set(err, ERROR_SIZE_INVALID, "the registry sends more bytes than it should");
    download->left -= bytes.size;
    return storage_upload_append(download->upload, bytes, err);
}

/* A session that did not become a blob is of no use to anybody. */
static void give_up(struct pull *pull, struct slice repository, const char *id,
                    struct upload *upload) ON(worker_thread)
{
    struct error ignored = {0};

    storage_upload_release(upload);
    if (storage_upload_cancel(pull->transfer->storage, repository, slice_of(id), &ignored) < 0)
        error_clear(&ignored);
}

static int download(struct pull *pull, struct slice repository, const struct digest *digest,
                    struct download *into, struct error *err)
{
    OWNED(remote_answer_drop) struct remote_answer answer = {.status = 0};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    char text[DIGEST_TEXT_MAX];

    pull_path(&path, repository, "blobs", digest_text(digest, text));
    const struct remote_request request = {
        .path = path.at, .scope = pull->scope, .receive = download_receive, .arg = into};
    if (remote_get(pull->http, &request, &answer, err) < 0)
        return -1;
    return answer.status == 200 || answer.status == 206 ? 0 : pull_unexpected(&answer, err);
}

/* *size: as the manifest says, then as it is. */
static int blob_fetch(struct pull *pull, struct slice repository, const struct digest *digest,
                      uint64_t *size, struct error *err) ON(worker_thread)
{
    struct storage *storage = pull->transfer->storage;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct download into = {.left = *size};
    struct descriptor stored;

    if (storage_upload_start(storage, repository, digest->algorithm, &pull->transfer->actor, id,
                             err) < 0 ||
        storage_upload_claim(storage, repository, slice_of(id), &into.upload, err) < 0)
        return -1;
    if (download(pull, repository, digest, &into, err) < 0) {
        give_up(pull, repository, id, into.upload);
        return -1;
    }
    if (storage_upload_finish(into.upload, digest, &stored, err) < 0)
        return -1;
    *size = stored.size;
    return 0;
}

/* Of another repository of ours that has it, and whose bytes are sound. */
static bool blob_mount(struct pull *pull, struct slice repository, const struct digest *digest)
    ON(worker_thread)
{
    struct storage *storage = pull->transfer->storage;
    OWNED(page_drop) struct page sources = {.names = NULL};
    OWNED(storage_blob_close) struct blob blob = {.fd = -1};
    struct error ignored = {0};
    bool mounted = false;

    if (storage_blob_sources(storage, digest, 1, &sources, &ignored) < 0 || sources.count == 0 ||
        storage_blob_open(storage, slice_of(sources.names[0]), digest, true, &blob, &ignored) < 0)
        return false;
    if (pull->transfer->dry_run)
        return true;
    return storage_blob_mount(storage, repository, slice_of(sources.names[0]), digest,
                              &pull->transfer->actor, &mounted, &ignored) == 0 &&
           mounted;
}

/* False: not here, and told why. */
static bool blob_bring(struct pull *pull, struct slice repository, const struct wanted *wanted)
    ON(worker_thread)
{
    struct transfer *transfer = pull->transfer;
    OWNED(storage_blob_close) struct blob blob = {.fd = -1};
    struct error err = {0};
    uint64_t size = wanted->size;

    if (storage_blob_open(transfer->storage, repository, &wanted->digest, !transfer->dry_run, &blob,
                          &err) == 0) {
        transfer_count(transfer, "blobs_present", 1);
        return true;
    }
    error_clear(&err);
    if (blob_mount(pull, repository, &wanted->digest)) {
        transfer_count(transfer, "blobs_mounted", 1);
        return true;
    }
    if (!transfer->dry_run && blob_fetch(pull, repository, &wanted->digest, &size, &err) < 0) {
        bool excused = wanted->dispensable && err.code == ERROR_MANIFEST_UNKNOWN;
        if (!excused && !transfer_stopped(transfer))
            transfer_problem_digest(transfer, repository, &wanted->digest, err.message);
        return false;
    }
    transfer_count(transfer, transfer->dry_run ? "blobs_to_bring" : "blobs_copied", 1);
    transfer_count(transfer, "bytes", size);
    return true;
}

static int remote_blobs(struct source *source, struct transfer *transfer, struct slice repository,
                        struct wanted *wanted, size_t count, struct error *err)
{
    struct pull *pull = (struct pull *)source;

    (void)err; /* each blob's own */
    assert_worker_thread();
    for (size_t i = 0; i < count; i++)
        wanted[i].lost = transfer_stopped(transfer) || wanted[i].digest.algorithm == DIGEST_OTHER ||
                         !blob_bring(pull, repository, &wanted[i]);
    return 0;
}

void pull_source(struct pull *pull)
{
    pull->source = (struct source){remote_manifest, remote_blobs};
}

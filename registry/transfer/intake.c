/* intake.c - images of any source come in: what they name first, then they, then tags.
 * Touches  storage by way of storage.h and adopt.h.
 * Never    knows what kind of source it is.
 *
 *   manifests > chunks: images with their blobs at once; then indexes, each after its children
 *
 * (1) A manifest is put only as a push would be: the same parser, the same limits.
 * (2) What one image lacks stops that image, and what needs it; nothing else.
 * (3) Memory holds one chunk of manifests, and digests. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "registry/transfer/transfer_internal.h"

enum { CHUNK = 32 };

void image_drop(struct image *image)
{
    buffer_drop(&image->payload);
    free(image->media_type);
    document_drop(&image->document);
}

void intake_drop(struct intake *intake)
{
    digest_set_drop(&intake->done);
    digest_set_drop(&intake->failed);
    digest_set_drop(&intake->lost);
    digest_list_drop(&intake->came);
}

/* --- reading --- */

/* (1). False: told as a problem. */
static bool image_read(struct intake *intake, struct image *image)
{
    struct transfer *transfer = intake->transfer;
    size_t limit = transfer->config->server_limits_manifest;
    struct error err = {0};
    struct digest found;

    if (intake->source->manifest(intake->source, intake->repository, image, limit, &err) == 0) {
        digest_of(image->digest.algorithm, buffer_slice(&image->payload), &found);
        if (!digest_equal(&found, &image->digest))
            error_set(&err, ERROR_DIGEST_INVALID, "the manifest does not match its digest");
        else if (document_parse(buffer_slice(&image->payload), slice_of(image->media_type),
                                transfer->config->server_limits_descriptors, &image->document,
                                &err) == 0)
            return true;
    }
    transfer_problem_digest(transfer, intake->repository, &image->digest, err.message);
    digest_set_add(&intake->failed, &image->digest);
    return false;
}

/* --- blobs --- */

bool child_is_manifest(const struct document_link *child)
{
    static const char *const types[] = {OCI_TYPE_MANIFEST, OCI_TYPE_INDEX, DOCKER_TYPE_MANIFEST,
                                        DOCKER_TYPE_LIST};

    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (slice_equal_ignore_case(slice_of(child->media_type), types[i]))
            return true;
    return false;
}

/* What is wanted of one chunk, each digest once and none that is known to be lost. */
struct wish {
    struct wanted *items;
    size_t count;
    struct digest_set seen;
};

static void wish_drop(struct wish *wish)
{
    free(wish->items);
    digest_set_drop(&wish->seen);
}

static void wish_add(struct wish *wish, const struct intake *intake,
                     const struct document_link *link)
{
    if (!digest_set_has(&intake->lost, &link->digest) && digest_set_add(&wish->seen, &link->digest))
        wish->items[wish->count++] = (struct wanted){
            .digest = link->digest, .size = link->size, .dispensable = link->nondistributable};
}

static void wish_fill(struct wish *wish, const struct intake *intake, const struct image *images,
                      size_t count)
{
    size_t most = 1;

    for (size_t i = 0; i < count; i++)
        most += images[i].document.blob_count + images[i].document.child_count;
    wish->items = memory_new(most * sizeof(*wish->items));
    for (size_t i = 0; i < count; i++) {
        const struct document *document = &images[i].document;
        for (size_t k = 0; k < document->blob_count; k++)
            wish_add(wish, intake, &document->blobs[k]);
        for (size_t k = 0; k < document->child_count; k++)
            if (!child_is_manifest(&document->children[k]))
                wish_add(wish, intake, &document->children[k]);
    }
}

static int bring_blobs(struct intake *intake, const struct image *images, size_t count,
                       struct error *err)
{
    OWNED(wish_drop) struct wish wish = {.items = NULL};

    wish_fill(&wish, intake, images, count);
    if (wish.count == 0)
        return 0;
    if (intake->source->blobs(intake->source, intake->transfer, intake->repository, wish.items,
                              wish.count, err) < 0)
        return -1;
    for (size_t i = 0; i < wish.count; i++)
        if (wish.items[i].lost)
            digest_set_add(&intake->lost, &wish.items[i].digest);
    return 0;
}

/* --- putting --- */

static void fill_links(struct manifest_link *out, const struct document_link *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (struct manifest_link){.digest = from[i].digest,
                                        .size = from[i].size,
                                        .may_be_missing = from[i].nondistributable,
                                        .platform = slice_of(from[i].platform)};
}

static void tell_missing(struct intake *intake, const struct image *image,
                         const struct digest *first, size_t count)
{
    char text[DIGEST_TEXT_MAX], place[DIGEST_TEXT_MAX];

    digest_text(first, text);
    digest_text(&image->digest, place);
    if (count > 1)
        transfer_problem(intake->transfer, intake->repository, place,
                         "it names %s, which could not be brought, and %zu more", text, count - 1);
    else
        transfer_problem(intake->transfer, intake->repository, place,
                         "it names %s, which could not be brought", text);
}

static bool child_missing(const struct intake *intake, const struct document_link *child)
{
    return child_is_manifest(child) ? !digest_set_has(&intake->done, &child->digest)
                                    : digest_set_has(&intake->lost, &child->digest);
}

/* What the put would lack, for a dry run. */
static size_t would_miss(const struct intake *intake, const struct image *image,
                         struct digest *first)
{
    const struct document *document = &image->document;
    size_t count = 0;

    for (size_t i = 0; i < document->blob_count; i++)
        if (!document->blobs[i].nondistributable &&
            digest_set_has(&intake->lost, &document->blobs[i].digest) && count++ == 0)
            *first = document->blobs[i].digest;
    for (size_t i = 0; i < document->child_count; i++)
        if (child_missing(intake, &document->children[i]) && count++ == 0)
            *first = document->children[i].digest;
    return intake->transfer->config->manifests_accept_missing ? 0 : count;
}

static int put_stored(struct intake *intake, const struct image *image, bool *put,
                      struct error *err) ON(worker_thread)
{
    const struct document *document = &image->document;
    OWNED(missing_drop) struct missing missing = {.digests = NULL};
    OWNED(memory_drop)
    struct manifest_link *links =
        memory_new((document->blob_count + document->child_count + 1) * sizeof(*links));
    const struct manifest_put with = {
        .payload = buffer_slice(&image->payload),
        .digest = image->digest,
        .media_type = slice_of(document->media_type),
        .artifact_type = slice_of(document->artifact_type),
        .annotations = slice_of(document->annotations),
        .subject = document->subject,
        .base_name = slice_of(document->base_name),
        .base_digest = document->base_digest,
        .blobs = links,
        .blob_count = document->blob_count,
        .children = links + document->blob_count,
        .child_count = document->child_count,
        .actor = &intake->transfer->actor,
        .created_at = image->created_at,
    };

    fill_links(links, document->blobs, document->blob_count);
    fill_links(links + document->blob_count, document->children, document->child_count);
    *put = storage_manifest_put(intake->transfer->storage, intake->repository, &with, &missing,
                                err) == 0;
    if (*put || err->code != ERROR_MANIFEST_BLOB_UNKNOWN || missing.count == 0)
        return *put ? 0 : -1;
    error_clear(err);
    tell_missing(intake, image, &missing.digests[0], missing.count);
    return 0;
}

static bool is_here(const struct intake *intake, const struct digest *digest) ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = *digest};
    const struct manifest *manifest = NULL;
    struct error ignored = {0};

    if (storage_manifest_get(intake->transfer->storage, intake->repository, &reference,
                             !intake->transfer->dry_run, &manifest, &ignored) < 0)
        return false;
    storage_manifest_release(manifest);
    return true;
}

static int put_new(struct intake *intake, const struct image *image, bool *put, struct error *err)
    ON(worker_thread)
{
    struct digest first;
    size_t missing;

    if (!intake->transfer->dry_run)
        return put_stored(intake, image, put, err);
    missing = would_miss(intake, image, &first);
    *put = missing == 0;
    if (missing > 0)
        tell_missing(intake, image, &first, missing);
    return 0;
}

static int put_image(struct intake *intake, const struct image *image, struct error *err)
    ON(worker_thread)
{
    bool put = false;

    if (is_here(intake, &image->digest)) {
        transfer_count(intake->transfer, "manifests_present", 1);
        put = true;
    } else {
        if (put_new(intake, image, &put, err) < 0)
            return -1;
        transfer_count(intake->transfer, "manifests", put ? 1 : 0);
    }
    digest_set_add(put ? &intake->done : &intake->failed, &image->digest);
    if (put)
        digest_list_add(&intake->came, &image->digest);
    return 0;
}

/* --- the walk --- */

static int walk(struct intake *intake, const struct digest *digests, size_t count, int depth,
                struct error *err) ON(worker_thread);

static bool settled(const struct intake *intake, const struct digest *digest)
{
    return digest_set_has(&intake->done, digest) || digest_set_has(&intake->failed, digest);
}

/* An index after its children. */
static int walk_index(struct intake *intake, const struct digest *digest, int depth,
                      struct error *err) ON(worker_thread)
{
    OWNED(image_drop) struct image image = {.digest = *digest};
    OWNED(digest_list_drop) struct digest_list children = {.items = NULL};

    if (settled(intake, digest) || !image_read(intake, &image))
        return 0;
    if (depth == TRANSFER_DEPTH_MAX) {
        transfer_problem_digest(intake->transfer, intake->repository, digest,
                                "indexes are nested too deeply");
        digest_set_add(&intake->failed, digest);
        return 0;
    }
    for (size_t i = 0; i < image.document.child_count; i++)
        if (child_is_manifest(&image.document.children[i]))
            digest_list_add(&children, &image.document.children[i].digest);
    if (walk(intake, children.items, children.count, depth + 1, err) < 0 ||
        bring_blobs(intake, &image, 1, err) < 0)
        return -1;
    return transfer_stopped(intake->transfer) ? 0 : put_image(intake, &image, err);
}

static void images_drop(struct image (*images)[CHUNK])
{
    for (size_t i = 0; i < CHUNK; i++)
        image_drop(&(*images)[i]);
}

/* (3). Images come in; indexes are left for later. */
static int walk_chunk(struct intake *intake, const struct digest *digests, size_t count,
                      struct digest_list *indexes, struct error *err) ON(worker_thread)
{
    OWNED(images_drop) struct image images[CHUNK] = {{.media_type = NULL}};
    size_t filled = 0;

    for (size_t i = 0; i < count; i++) {
        struct image *image = &images[filled];
        *image = (struct image){.digest = digests[i]};
        if (settled(intake, &digests[i]) || !image_read(intake, image) ||
            image->document.kind == DOCUMENT_INDEX) {
            if (image->document.kind == DOCUMENT_INDEX)
                digest_list_add(indexes, &digests[i]);
            image_drop(image);
            *image = (struct image){.media_type = NULL};
            continue;
        }
        filled++;
    }
    if (bring_blobs(intake, images, filled, err) < 0)
        return -1;
    for (size_t i = 0; i < filled && !transfer_stopped(intake->transfer); i++)
        if (!settled(intake, &images[i].digest) && put_image(intake, &images[i], err) < 0)
            return -1;
    return 0;
}

static int walk(struct intake *intake, const struct digest *digests, size_t count, int depth,
                struct error *err)
{
    OWNED(digest_list_drop) struct digest_list indexes = {.items = NULL};

    for (size_t at = 0; at < count && !transfer_stopped(intake->transfer); at += CHUNK)
        if (walk_chunk(intake, digests + at, count - at < CHUNK ? count - at : CHUNK, &indexes,
                       err) < 0)
            return -1;
    for (size_t i = 0; i < indexes.count && !transfer_stopped(intake->transfer); i++)
        if (walk_index(intake, &indexes.items[i], depth, err) < 0)
            return -1;
    return 0;
}

int intake_manifests(struct intake *intake, const struct digest *digests, size_t count,
                     struct error *err)
{
    return walk(intake, digests, count, 0, err);
}

/* --- tags --- */

static void tell_tag(struct intake *intake, const struct adopt_tag *tag)
{
    OWNED(memory_drop) char *name = memory_text(tag->name);

    switch (tag->outcome) {
    case ADOPT_TAG_PRESENT:
        transfer_count(intake->transfer, "tags_present", 1);
        break;
    case ADOPT_TAG_SET:
        transfer_count(intake->transfer, "tags", 1);
        break;
    case ADOPT_TAG_KEPT:
        transfer_problem(intake->transfer, intake->repository, name,
                         "the tag was changed here since: it stays, unless tags are overwritten");
        break;
    case ADOPT_TAG_FAILED:
        transfer_problem(intake->transfer, intake->repository, name, "%s", tag->why.message);
        break;
    }
}

/* Only what came in, or is here already, can be tagged; the manifest's problem was told. */
static size_t keep_possible(struct intake *intake, struct adopt_tag *tags, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        const struct digest *digest = &tags[i].past[tags[i].past_count - 1].digest;
        if (digest_set_has(&intake->done, digest)) {
            tags[kept++] = tags[i];
            continue;
        }
        OWNED(memory_drop) char *name = memory_text(tags[i].name);
        transfer_problem(intake->transfer, intake->repository, name,
                         "the tag was not set: its image could not be brought");
    }
    return kept;
}

int intake_tags(struct intake *intake, struct adopt_tag *tags, size_t count, struct error *err)
{
    if (transfer_stopped(intake->transfer))
        return 0;
    count = keep_possible(intake, tags, count);
    if (intake->transfer->dry_run) {
        transfer_count(intake->transfer, "tags", count);
        return 0;
    }
    if (storage_adopt_tags(intake->transfer->storage, intake->repository, tags, count,
                           intake->transfer->overwrite, &intake->transfer->actor, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++)
        tell_tag(intake, &tags[i]);
    return 0;
}

/* export.c - images of this registry as an OCI image layout that other programs read.
 * Touches  the folder it is given; storage, to read.
 * Never    changes a file of the layout that is there already, but index.json.
 *
 * (1) A file gets its name when it is complete; index.json comes last, after a sync of all others.
 * (2) What is there already is not written again: an export that was cut off goes on. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/transfer/transfer_internal.h"

enum { FOLDER_MODE = 0755, FILE_MODE = 0644, PIECE_SIZE = 1 << 18, PAGE_BYTES = 1 << 20 };

struct export
{
    struct files files; /* for its paths */
    struct transfer *transfer;
    struct layout layout;
    bool referrers;
    bool long_names; /* images of several repositories: their names tell which */
    struct slice repository;
    struct digest_set seen; /* manifests of this repository */
};

static void export_drop(struct export *with)
{
    layout_drop(&with->layout);
    digest_set_drop(&with->seen);
}

/* --- files --- */

static int folder_make(const char *path, struct error *err)
{
    if (mkdir(path, FOLDER_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be made", path);
    return 0;
}

static bool is_empty(const char *path)
{
    OWNED(folder_drop) DIR *folder = opendir(path);

    return folder != NULL && folder_next(folder) == NULL;
}

static int unwritten(struct error *err)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the folder cannot be written");
}

/* A file beside its name, which it gets when it is complete. Dropped: it goes. */
struct part {
    char *path;
    int fd;
};
#define PART_NONE ((struct part){NULL, -1})

static void part_drop(struct part *part)
{
    fd_drop(&part->fd);
    if (part->path != NULL)
        unlink(part->path);
    free(part->path);
}

/* What an export that was cut off left goes. */
static void part_name(struct part *part, const char *path)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    buffer_print(&text, "%s.part", path);
    part->path = TAKE(text.at);
    unlink(part->path);
}

static int part_open(struct part *part, const char *path, struct error *err)
{
    part_name(part, path);
    part->fd = open(part->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);
    if (part->fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be made", part->path);
    return 0;
}

static int part_keep(struct part *part, const char *path, struct error *err)
{
    if (rename(part->path, path) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be made", path);
    free(TAKE(part->path));
    return 0;
}

static int file_write(const char *path, struct slice bytes, bool sync, struct error *err)
{
    OWNED(part_drop) struct part part = PART_NONE;

    if (part_open(&part, path, err) < 0)
        return -1;
    if (fd_write(part.fd, bytes) < 0)
        return unwritten(err);
    if (sync && fsync(part.fd) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be synced", path);
    return part_keep(&part, path, err);
}

/* (2) */
static bool is_there(const char *path, uint64_t size)
{
    struct stat file;

    return stat(path, &file) == 0 && S_ISREG(file.st_mode) && (uint64_t)file.st_size == size;
}

/* The path of a digest, whose folders are made. */
static int place_of(const struct export *with, const struct digest *digest, struct buffer *out,
                    struct error *err)
{
    char *slash;

    layout_path(&with->files, digest, out);
    slash = strrchr(out->at, '/');
    *slash = 0;
    int status = folder_make(out->at, err);
    *slash = '/';
    return status;
}

/* --- blobs --- */

static int copy(struct transfer *transfer, const struct blob *blob, int to, struct error *err)
{
    OWNED(memory_drop) char *piece = memory_new(PIECE_SIZE);
    struct hasher hasher;
    struct digest found;
    ssize_t got = 1;

    hasher_start(&hasher, blob->digest.algorithm);
    while (got != 0) {
        got = read(blob->fd, piece, PIECE_SIZE);
        if (got < 0 && errno != EINTR)
            return error_set_errno(err, ERROR_BLOB_UNKNOWN, errno, "the blob cannot be read");
        if (transfer_stopped(transfer))
            return error_set(err, ERROR_BLOB_UNKNOWN, "stopped");
        if (got < 0)
            continue;
        hasher_update(&hasher, piece, (size_t)got);
        if (fd_write(to, (struct slice){piece, (size_t)got}) < 0)
            return unwritten(err);
    }
    hasher_digest(&hasher, &found);
    if (digest_equal(&found, &blob->digest))
        return 0;
    return error_set(err, ERROR_BLOB_UNKNOWN, "its bytes are damaged");
}

static int blob_link(const struct blob *blob, const char *path, struct error *err)
{
    OWNED(part_drop) struct part part = PART_NONE;
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;

    part_name(&part, path);
    buffer_print(&name, "/proc/self/fd/%d", blob->fd);
    if (linkat(AT_FDCWD, name.at, AT_FDCWD, part.path, AT_SYMLINK_FOLLOW) < 0)
        return error_set_errno(err, ERROR_UNSUPPORTED, errno, "%s cannot be linked", path);
    return part_keep(&part, path, err);
}

static int blob_write(struct transfer *transfer, const struct blob *blob, const char *path,
                      const char **counter, struct error *err)
{
    OWNED(part_drop) struct part part = PART_NONE;
    enum adopt_mode mode = transfer->mode;

    *counter = "blobs_linked";
    if (mode == ADOPT_LINK)
        return blob_link(blob, path, err);
    if (part_open(&part, path, err) < 0)
        return -1;
    *counter = "blobs_cloned";
    if (mode == ADOPT_COPY || ioctl(part.fd, FICLONE, blob->fd) < 0) {
        if (mode == ADOPT_REFLINK)
            return error_set_errno(err, ERROR_UNSUPPORTED, errno, "%s cannot be a clone", path);
        *counter = "blobs_copied";
        if (copy(transfer, blob, part.fd, err) < 0)
            return -1;
    }
    return part_keep(&part, path, err);
}

static int blob_export(struct export *with, const struct document_link *link, struct error *err)
    ON(worker_thread)
{
    struct transfer *transfer = with->transfer;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(storage_blob_close) struct blob blob = {.fd = -1};
    struct error why = {0};
    const char *counter = "";

    if (link->digest.algorithm == DIGEST_OTHER ||
        storage_blob_open(transfer->storage, with->repository, &link->digest, false, &blob, &why) <
            0) {
        if (!link->nondistributable)
            transfer_problem_digest(transfer, with->repository, &link->digest, why.message);
        return 0;
    }
    if (place_of(with, &link->digest, &path, err) < 0)
        return -1;
    if (is_there(path.at, blob.size)) {
        transfer_count(transfer, "blobs_present", 1);
        return 0;
    }
    if (blob_write(transfer, &blob, path.at, &counter, &why) == 0) {
        transfer_count(transfer, counter, 1);
        transfer_count(transfer, "bytes", blob.size);
        return 0;
    }
    if (why.code != ERROR_BLOB_UNKNOWN) {
        *err = why;
        return -1;
    }
    transfer_problem_digest(transfer, with->repository, &link->digest, why.message);
    return 0;
}

/* --- manifests --- */

static int manifest_export(struct export *with, const struct manifest_reference *reference,
                           struct slice name, int depth, struct error *err) ON(worker_thread);

static int referrers_export(struct export *with, const struct digest *subject, int depth,
                            struct error *err) ON(worker_thread)
{
    uint64_t cursor = 0;

    do {
        OWNED(referrers_drop) struct referrers page = {.items = NULL};
        if (storage_referrer_list(with->transfer->storage, with->repository, subject, SLICE_NONE,
                                  cursor, PAGE_BYTES, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.count; i++) {
            const struct manifest_reference reference = {.digest = page.items[i].digest};
            if (manifest_export(with, &reference, SLICE(""), depth + 1, err) < 0)
                return -1;
        }
        cursor = page.next;
    } while (cursor != 0);
    return 0;
}

/* What a manifest names, and who refers to it. */
static int content_export(struct export *with, const struct manifest *manifest,
                          const struct document *document, int depth, struct error *err)
    ON(worker_thread)
{
    for (size_t i = 0; i < document->blob_count && !transfer_stopped(with->transfer); i++)
        if (blob_export(with, &document->blobs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < document->child_count && !transfer_stopped(with->transfer); i++) {
        const struct document_link *child = &document->children[i];
        const struct manifest_reference reference = {.digest = child->digest};
        if (child_is_manifest(child)
                ? manifest_export(with, &reference, SLICE_NONE, depth + 1, err) < 0
                : blob_export(with, child, err) < 0)
            return -1;
    }
    return with->referrers ? referrers_export(with, &manifest->digest, depth, err) : 0;
}

static int manifest_write(struct export *with, const struct manifest *manifest, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    if (place_of(with, &manifest->digest, &path, err) < 0)
        return -1;
    if (!is_there(path.at, manifest->payload.size) &&
        file_write(path.at, manifest->payload, false, err) < 0)
        return -1;
    transfer_count(with->transfer, "manifests", 1);
    return 0;
}

/* In index.json: by its name, or without one (referrers). */
static void list(struct export *with, const struct manifest *manifest,
                 const struct document *document, struct slice name)
{
    OWNED(memory_drop) char *type = memory_text(manifest->media_type);
    OWNED(memory_drop) char *text = name.size == 0 ? NULL : memory_text(name);
    const struct layout_entry entry = {.digest = manifest->digest,
                                       .size = manifest->payload.size,
                                       .media_type = type,
                                       .artifact_type = document->kind == DOCUMENT_IMAGE &&
                                                                digest_is_set(&document->subject)
                                                            ? document->artifact_type
                                                            : NULL,
                                       .name = text};

    if (text != NULL || !layout_names(&with->layout, &manifest->digest))
        layout_add(&with->layout, &entry);
}

static void manifest_release(const struct manifest **manifest)
{
    if (*manifest != NULL)
        storage_manifest_release(*manifest);
}

/* name: of its entry in index.json; "" for one without a name, SLICE_NONE for no entry. */
static int manifest_export(struct export *with, const struct manifest_reference *reference,
                           struct slice name, int depth, struct error *err)
{
    struct transfer *transfer = with->transfer;
    OWNED(manifest_release) const struct manifest *manifest = NULL;
    OWNED(document_drop) struct document document = {0};
    OWNED(memory_drop) char *place = memory_text(reference->tag);
    char digest[DIGEST_TEXT_MAX] = "";
    struct error why = {0};

    if (reference->tag.at == NULL)
        digest_text(&reference->digest, digest);
    if (storage_manifest_get(transfer->storage, with->repository, reference, false, &manifest,
                             &why) < 0 ||
        document_parse(manifest->payload, manifest->media_type, SIZE_MAX, &document, &why) < 0) {
        transfer_problem(transfer, with->repository, digest[0] == 0 ? place : digest, "%s",
                         why.message);
        return 0;
    }
    if (depth <= TRANSFER_DEPTH_MAX && digest_set_add(&with->seen, &manifest->digest) &&
        (content_export(with, manifest, &document, depth, err) < 0 ||
         manifest_write(with, manifest, err) < 0))
        return -1;
    if (name.at != NULL && !transfer_stopped(transfer))
        list(with, manifest, &document, name);
    return 0;
}

/* --- images --- */

static int tag_export(struct export *with, struct slice tag, struct error *err) ON(worker_thread)
{
    const struct manifest_reference reference = {.tag = tag};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;

    if (with->long_names)
        buffer_print(&name, "%.*s:", SLICE_ARG(with->repository));
    buffer_append_slice(&name, tag);
    return manifest_export(with, &reference, buffer_slice(&name), 0, err);
}

static int tags_export(struct export *with, struct error *err) ON(worker_thread)
{
    OWNED(memory_drop) char *last = NULL;
    bool more = true;

    while (more && !transfer_stopped(with->transfer)) {
        OWNED(page_drop) struct page page = {.names = NULL};
        if (storage_tag_list(with->transfer->storage, with->repository, slice_of(last), 100, &page,
                             err) < 0)
            return -1;
        for (size_t i = 0; i < page.count && !transfer_stopped(with->transfer); i++)
            if (tag_export(with, slice_of(page.names[i]), err) < 0)
                return -1;
        more = page.more && page.count > 0;
        free(last);
        last = more ? memory_text(slice_of(page.names[page.count - 1])) : NULL;
    }
    return 0;
}

static int image_export(struct export *with, const struct image_name *image, struct error *err)
    ON(worker_thread)
{
    struct error why = {0};
    const struct manifest_reference reference = {.digest = image->digest};

    if (!slice_equal(with->repository, image->repository)) {
        digest_set_drop(&with->seen);
        with->repository = image->repository;
    }
    if (digest_is_set(&image->digest))
        return manifest_export(with, &reference, SLICE(""), 0, err);
    if (image->tag.size > 0)
        return tag_export(with, image->tag, err);
    if (tags_export(with, &why) == 0)
        return 0;
    if (why.code != ERROR_NAME_UNKNOWN) {
        *err = why;
        return -1;
    }
    transfer_problem(with->transfer, image->repository, "", "%s", why.message);
    return 0;
}

/* --- the layout --- */

/* An empty folder, none, or a layout that grows. */
static int layout_begin(struct export *with, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    const char *root = with->files.root;

    if (folder_make(root, err) < 0)
        return -1;
    if (!is_empty(root))
        return layout_read(root, &with->layout, err);
    buffer_print(&path, "%s/blobs", root);
    if (folder_make(path.at, err) < 0)
        return -1;
    path.size = 0;
    buffer_print(&path, "%s/" LAYOUT_INDEX, root);
    OWNED(buffer_drop) struct buffer index = BUFFER_NONE;
    layout_print(&with->layout, &index);
    if (file_write(path.at, buffer_slice(&index), false, err) < 0)
        return -1;
    path.size = 0;
    buffer_print(&path, "%s/" LAYOUT_FILE, root);
    return file_write(path.at, SLICE(LAYOUT_TEXT), false, err);
}

/* (1) */
static int layout_end(struct export *with, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer index = BUFFER_NONE;
    OWNED(fd_drop)
    int folder = open(with->files.root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    layout_print(&with->layout, &index);
    buffer_print(&path, "%s/" LAYOUT_INDEX, with->files.root);
    if (folder < 0 || syncfs(folder) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the folder cannot be synced");
    if (file_write(path.at, buffer_slice(&index), true, err) < 0)
        return -1;
    if (fsync(folder) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the folder cannot be synced");
    return 0;
}

int export_oci_layout(struct transfer *transfer, const char *root, const struct image_name *images,
                      size_t count, bool referrers, struct error *err)
{
    OWNED(export_drop)
    struct export with = {
        .files = {.path = layout_path, .root = root}, .transfer = transfer, .referrers = referrers};

    progress_phase(transfer->progress, "export");
    if (layout_begin(&with, err) < 0)
        return -1;
    for (size_t i = 1; i < count; i++)
        with.long_names |= !slice_equal(images[i].repository, images[0].repository);
    for (size_t i = 0; i < count && !transfer_stopped(transfer); i++)
        if (image_export(&with, &images[i], err) < 0)
            return -1;
    return layout_end(&with, err);
}

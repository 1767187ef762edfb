/* files.c - images whose blobs lie as files below a folder, each under its digest.
 * Touches  these files, to read; storage by way of adopt.h.
 * Never    writes to them, follows what a manifest says to a path: digests alone make paths. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/transfer/transfer_internal.h"

const char *digest_hex(const struct digest *digest, char text[DIGEST_TEXT_MAX],
                       struct slice *algorithm)
{
    struct slice hex;

    digest_text(digest, text);
    slice_split(slice_of(text), ':', algorithm, &hex);
    return hex.at;
}

static int read_all(int fd, size_t limit, struct buffer *out, struct error *err)
{
    if (fd_read(fd, limit, out) == 0)
        return 0;
    if (errno == EFBIG)
        return error_set(err, ERROR_SIZE_INVALID, "it is larger than the limit of %zu bytes",
                         limit);
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the file cannot be read");
}

int64_t file_time(const struct stat *file)
{
    int64_t s = file->st_mtim.tv_sec;

    return s <= 0 ? 0 : s * 1000000 + file->st_mtim.tv_nsec / 1000;
}

int file_read(const char *path, size_t limit, struct buffer *out, int64_t *written_at,
              struct error *err)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat file;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERROR_MANIFEST_UNKNOWN, "there is no file of it");
    if (fd < 0 || fstat(fd, &file) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the file cannot be opened");
    if (!S_ISREG(file.st_mode))
        return error_set(err, ERROR_UNAVAILABLE, "it is not a file");
    if (written_at != NULL)
        *written_at = file_time(&file);
    return read_all(fd, limit, out, err);
}

int files_manifest(struct source *source, struct slice repository, struct image *image,
                   size_t limit, struct error *err)
{
    const struct files *files = (const struct files *)source;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    (void)repository;
    if (image->digest.algorithm == DIGEST_OTHER)
        return error_set(err, ERROR_UNSUPPORTED, "unsupported digest algorithm");
    files->path(files, &image->digest, &path);
    return file_read(path.at, limit, &image->payload, &image->created_at, err);
}

/* --- blobs --- */

struct shipment {
    struct adopt_blob *blobs;
    struct wanted **wanted; /* of each blob */
    char **paths;
    size_t count;
};

static void shipment_drop(struct shipment *shipment)
{
    for (size_t i = 0; i < shipment->count; i++)
        free(shipment->paths[i]);
    free(shipment->paths);
    free(shipment->wanted);
    free(shipment->blobs);
}

static void shipment_fill(struct shipment *shipment, const struct files *files,
                          const struct transfer *transfer, struct wanted *wanted, size_t count)
{
    shipment->blobs = memory_new((count + 1) * sizeof(*shipment->blobs));
    shipment->paths = memory_new((count + 1) * sizeof(*shipment->paths));
    shipment->wanted = memory_new((count + 1) * sizeof(struct wanted *));
    for (size_t i = 0; i < count; i++) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        wanted[i].lost = wanted[i].digest.algorithm == DIGEST_OTHER;
        if (wanted[i].lost)
            continue;
        size_t at = shipment->count++;
        files->path(files, &wanted[i].digest, &path);
        shipment->wanted[at] = &wanted[i];
        shipment->paths[at] = TAKE(path.at);
        /* a wrong size is harmless where bytes are hashed */
        shipment->blobs[at] = (struct adopt_blob){.digest = wanted[i].digest,
                                                  .path = shipment->paths[at],
                                                  .size = wanted[i].size,
                                                  .size_known = transfer->trusting};
    }
}

/* What an import would do. */
static int try_out(struct shipment *shipment, const struct transfer *transfer,
                   struct slice repository, struct error *err) ON(worker_thread)
{
    struct stat file;

    if (storage_adopt_look(transfer->storage, repository, shipment->blobs, shipment->count, err) <
        0)
        return -1;
    for (size_t i = 0; i < shipment->count; i++) {
        struct adopt_blob *blob = &shipment->blobs[i];
        if (blob->outcome != ADOPT_FAILED)
            continue;
        if (stat(blob->path, &file) < 0 || !S_ISREG(file.st_mode)) {
            error_set(&blob->why, ERROR_BLOB_UNKNOWN, "there is no file of it");
        } else if ((uint64_t)file.st_size != shipment->wanted[i]->size) {
            error_set(&blob->why, ERROR_SIZE_INVALID, "the file has another size");
        } else {
            blob->outcome = ADOPT_COPIED;
            blob->size = (uint64_t)file.st_size;
        }
    }
    return 0;
}

static void tell_blob(struct transfer *transfer, struct slice repository,
                      const struct adopt_blob *blob, struct wanted *wanted)
{
    static const char *const counters[] = {
        [ADOPT_PRESENT] = "blobs_present", [ADOPT_MOUNTED] = "blobs_mounted",
        [ADOPT_LINKED] = "blobs_linked",   [ADOPT_CLONED] = "blobs_cloned",
        [ADOPT_COPIED] = "blobs_copied",
    };

    wanted->lost = blob->outcome == ADOPT_FAILED;
    if (wanted->lost) {
        if (!(wanted->dispensable && blob->why.code == ERROR_BLOB_UNKNOWN) &&
            !transfer_stopped(transfer))
            transfer_problem_digest(transfer, repository, &blob->digest, blob->why.message);
        return;
    }
    transfer_count(transfer,
                   transfer->dry_run && blob->outcome == ADOPT_COPIED ? "blobs_to_bring"
                                                                      : counters[blob->outcome],
                   1);
    if (blob->outcome >= ADOPT_LINKED)
        transfer_count(transfer, "bytes", blob->size);
}

static int files_blobs(struct source *source, struct transfer *transfer, struct slice repository,
                       struct wanted *wanted, size_t count, struct error *err)
{
    OWNED(shipment_drop) struct shipment shipment = {.blobs = NULL};
    const struct adopt_options options = {.mode = transfer->mode,
                                          .trusting = transfer->trusting,
                                          .actor = &transfer->actor,
                                          .progress = transfer->progress};

    assert_worker_thread();
    shipment_fill(&shipment, (const struct files *)source, transfer, wanted, count);
    int status = transfer->dry_run
                     ? try_out(&shipment, transfer, repository, err)
                     : storage_adopt_blobs(transfer->storage, repository, shipment.blobs,
                                           shipment.count, &options, err);
    if (status < 0)
        return -1;
    for (size_t i = 0; i < shipment.count; i++)
        tell_blob(transfer, repository, &shipment.blobs[i], shipment.wanted[i]);
    return 0;
}

void files_open(struct files *files)
{
    files->source = (struct source){files_manifest, files_blobs};
}

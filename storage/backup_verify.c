/* backup_verify.c - reads all that a snapshot names.
 * Touches  nothing: it reads the folder of the backup.
 * Never    stops at the first blob that is damaged. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "storage/backup_internal.h"

struct verifying {
    const struct backup_options *options;
    const struct progress *progress;
    struct backup_folder folder;
    struct copier copier; /* reads only */
    char name[BACKUP_NAME_MAX];
    struct summary summary;
    uint64_t damaged;
};

static void verifying_drop(struct verifying *verifying)
{
    copier_drop(&verifying->copier);
    summary_drop(&verifying->summary);
    backup_folder_close(&verifying->folder);
}

static int keep_going(void *arg, struct error *err)
{
    const struct verifying *verifying = arg;

    if (progress_cancelled(verifying->progress))
        return error_set(err, ERROR_UNAVAILABLE, "it was cancelled");
    return 0;
}

/* What the disk says counts, not what memory has of it. */
static void forget_cached(int fd)
{
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int backup_file_check(const struct backup_folder *folder, struct copier *copier, const char *name,
                      const struct summary_file *wanted, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct summary_file found = {.size = 0};

    buffer_print(&path, "%s/%s", name, wanted->name);
    OWNED(fd_drop)
    int fd = openat(folder->snapshots, path.at, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "%s cannot be read", path.at);
    forget_cached(fd);
    if (copier_stream(copier, fd, -1, &found, err) < 0)
        return -1;
    if (found.size != wanted->size || !digest_equal(&found.digest, &wanted->digest))
        return error_set(err, ERROR_INTERNAL, "%s is damaged", path.at);
    return 0;
}

static int check_blob(void *arg, const struct meta_backup_blob *blob, struct error *err)
{
    struct verifying *verifying = arg;
    const char *damage = NULL;
    OWNED(fd_drop) int fd = blob_file_open(verifying->folder.fd, blob, &damage);

    if (fd >= 0)
        forget_cached(fd);
    if (keep_going(verifying, err) < 0 ||
        (fd >= 0 && copier_read(&verifying->copier, blob, fd, &damage, err) < 0))
        return -1;
    progress_add(verifying->progress, "blobs_done", 1);
    if (damage != NULL) {
        verifying->damaged++;
        backup_tell(&verifying->options->told, verifying->progress, blob, damage);
    }
    return 0;
}

static int check(struct verifying *verifying, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(meta_drop) struct meta *meta = NULL;

    progress_phase(verifying->progress, "metadata");
    for (size_t i = 0; i < verifying->summary.file_count; i++)
        if (backup_file_check(&verifying->folder, &verifying->copier, verifying->name,
                              &verifying->summary.files[i], err) < 0)
            return -1;
    backup_path(&verifying->folder, verifying->name, BACKUP_META, &path);
    if (meta_open_sealed(&meta, path.at, err) < 0 ||
        meta_backup_examine(meta, verifying->progress, err) < 0)
        return -1;
    progress_phase(verifying->progress, "blobs");
    return meta_backup_blobs(meta, check_blob, verifying, err);
}

int backup_verify(const char *snapshot, const struct backup_options *options,
                  const struct progress *progress, struct backup_report *out, struct error *err)
{
    OWNED(verifying_drop)
    struct verifying verifying = {.options = options, .progress = progress};

    if (backup_folder_open(&verifying.folder, options->directory, BACKUP_READ, err) < 0 ||
        backup_find(&verifying.folder, snapshot, verifying.name, &verifying.summary, err) < 0)
        return -1;
    verifying.copier = (struct copier){.to = -1,
                                       .rate = options->rate,
                                       .tick = keep_going,
                                       .tick_arg = &verifying,
                                       .progress = progress};
    if (check(&verifying, err) < 0)
        return -1;
    *out = (struct backup_report){
        .repositories = verifying.summary.repositories,
        .manifests = verifying.summary.manifests,
        .blobs = verifying.summary.blobs,
        .bytes = verifying.summary.bytes,
        .damaged = verifying.damaged,
    };
    memcpy(out->name, verifying.name, sizeof(out->name));
    return 0;
}

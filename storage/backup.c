/* backup.c - makes a snapshot of a registry that may be serving.
 * Touches  the folder of the backup; reads the root; marks blobs whose bytes are damaged.
 * Never    a snapshot that has its name.
 *
 *   hold bytes > copy metadata, keys > bytes of what it names > sync > summary > name it: (1), (3)
 */
#include "storage/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "storage/backup_internal.h"
#include "storage/collect.h"
#include "storage/storage_internal.h"

enum {
    FOLDER_MODE = 0700,
    FILE_MODE = 0600,
    HOLD_MS = 10 * 60000, /* renewed each minute; so long a machine may sleep */
    RENEW_US = 60 * US_PER_S,
    NAME_TRIES = 1000,
};

/* A snapshot being made. */
struct making {
    struct storage *store;
    const struct backup_options *options;
    const struct progress *progress;
    struct backup_folder folder;
    struct copier copier;
    uint64_t hold, renewed_us;
    char name[BACKUP_NAME_MAX]; /* its name to be, and until then */
    char unnamed[BACKUP_NAME_MAX + sizeof(BACKUP_NEW)];
    int fd; /* of its folder */
    struct summary summary;
};

static void making_drop(struct making *making)
{
    if (making->hold != 0)
        storage_bytes_release(making->store, making->hold);
    copier_drop(&making->copier);
    summary_drop(&making->summary);
    fd_drop(&making->fd);
    backup_folder_close(&making->folder);
}

/* As copier.tick. (3) */
static int keep_going(void *arg, struct error *err)
{
    struct making *making = arg;
    uint64_t now = clock_monotonic_us();

    if (progress_cancelled(making->progress))
        return error_set(err, ERROR_UNAVAILABLE, "it was cancelled");
    if (now < making->renewed_us + RENEW_US)
        return 0;
    making->renewed_us = now;
    if (!storage_bytes_renew(making->store, making->hold, HOLD_MS))
        return error_set(err, ERROR_UNAVAILABLE,
                         "the backup stood still for so long that bytes may have been deleted");
    return 0;
}

static int hold(struct making *making, struct error *err)
{
    making->hold = storage_bytes_hold(making->store, HOLD_MS);
    making->renewed_us = clock_monotonic_us();
    if (making->hold == 0)
        return error_set(err, ERROR_UNAVAILABLE, "too many others hold deletion back");
    return 0;
}

/* --- the snapshot's folder --- */

static void name_print(int64_t us, char out[BACKUP_NAME_MAX])
{
    time_t seconds = (time_t)(us / US_PER_S);
    struct tm at;

    gmtime_r(&seconds, &at);
    size_t size = strftime(out, BACKUP_NAME_MAX, "%Y%m%dT%H%M%S", &at);
    snprintf(out + size, BACKUP_NAME_MAX - size, ".%03dZ", (int)(us / 1000 % 1000));
}

static bool name_taken(const struct making *making)
{
    struct stat status;

    return fstatat(making->folder.snapshots, making->name, &status, AT_SYMLINK_NOFOLLOW) == 0;
}

static int snapshot_folder(struct making *making, struct error *err)
{
    making->summary.created_at = clock_now_us();
    name_print(making->summary.created_at, making->name);
    for (int tried = 0; name_taken(making) && tried < NAME_TRIES; tried++)
        name_print(making->summary.created_at += 1000, making->name);
    snprintf(making->unnamed, sizeof(making->unnamed), BACKUP_NEW "%s", making->name);
    making->fd = folder_below(making->folder.snapshots, making->unnamed, FOLDER_MODE,
                              &making->folder.owner, err);
    return making->fd < 0 ? -1 : 0;
}

/* What was written there is hashed, synced and named in the summary. */
static int note_file(struct making *making, int fd, const char *name, struct error *err)
{
    struct summary_file file = {.size = 0};

    owner_give(&making->folder.owner, fd);
    snprintf(file.name, sizeof(file.name), "%s", name);
    if (copier_stream(&making->copier, fd, -1, &file, err) < 0 || fd_sync(fd, err) < 0)
        return -1;
    summary_add(&making->summary, &file);
    return 0;
}

static int copy_meta(struct making *making, struct meta **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    progress_phase(making->progress, "metadata");
    backup_path(&making->folder, making->unnamed, BACKUP_META, &path);
    if (meta_snapshot(making->store->meta, path.at, making->progress, err) < 0)
        return -1;
    OWNED(fd_drop) int fd = openat(making->fd, BACKUP_META, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a copy of the metadata is gone");
    if (note_file(making, fd, BACKUP_META, err) < 0 || meta_open_sealed(out, path.at, err) < 0)
        return -1;
    return meta_backup_count(*out, &making->summary, err);
}

/* --- keys --- */

static int copy_key(struct making *making, int from_folder, int to_folder, const char *name,
                    struct error *err)
{
    struct summary_file ignored;
    OWNED(buffer_drop) struct buffer full = BUFFER_NONE;
    OWNED(fd_drop)
    int from = openat(from_folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;

    if (from < 0 && errno == ENOENT)
        return 0; /* it was rotated away */
    if (from < 0 || fstat(from, &status) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "key file %s cannot be read", name);
    if (!S_ISREG(status.st_mode))
        return 0;
    OWNED(fd_drop)
    int to = openat(to_folder, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (to < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "key file %s cannot be made", name);
    buffer_print(&full, "%s/%s", BACKUP_KEYS, name);
    if (copier_stream(&making->copier, from, to, &ignored, err) < 0)
        return -1;
    return note_file(making, to, full.at, err);
}

static int copy_keys(struct making *making, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    const struct dirent *entry;

    buffer_print(&path, "%s/%s", making->store->options.root, BACKUP_KEYS);
    OWNED(folder_drop) DIR *entries = opendir(path.at);
    if (entries == NULL && errno == ENOENT)
        return 0;
    if (entries == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be read");
    OWNED(fd_drop)
    int keys = folder_below(making->fd, BACKUP_KEYS, FOLDER_MODE, &making->folder.owner, err);
    if (keys < 0)
        return -1;
    while ((entry = folder_next(entries)) != NULL)
        if (summary_key_valid(entry->d_name) &&
            copy_key(making, dirfd(entries), keys, entry->d_name, err) < 0)
            return -1;
    return fd_sync(keys, err);
}

/* --- bytes --- */

static void tell(struct making *making, const struct meta_backup_blob *blob, const char *what)
{
    making->summary.damaged++;
    backup_tell(&making->options->told, making->progress, blob, what);
}

/* (4): the server learns it as well, so that a push heals it. */
static void found_damaged(struct making *making, const struct meta_backup_blob *blob,
                          const char *what) ON(worker_thread)
{
    struct blob broken = {.digest = blob->digest, .size = blob->size, .fd = -1};

    memcpy(broken.locator, blob->locator, sizeof(broken.locator));
    storage_blob_damaged(making->store, &broken);
    tell(making, blob, what);
}

static int copy_bytes(struct making *making, const struct meta_backup_blob *blob,
                      const char **damage, struct error *err)
{
    const struct blob_store *blobs = &making->store->blobs;
    OWNED(fd_drop) int fd = -1;

    *damage = NULL;
    if (blobs->driver->open(blobs->self, blob->locator, blob->size, &fd, err) < 0) {
        if (err->code != ERROR_BLOB_UNKNOWN)
            return -1;
        error_clear(err);
        *damage = "missing or of another size";
        return 0;
    }
    return copier_take(&making->copier, blob, fd, damage, err);
}

static int copy_blob(void *arg, const struct meta_backup_blob *blob, struct error *err)
{
    struct making *making = arg;
    const char *damage = NULL;

    assert_worker_thread();
    if (keep_going(making, err) < 0)
        return -1;
    progress_add(making->progress, "blobs_done", 1);
    if (copier_has(&making->copier, blob))
        return 0;
    if (blob->damaged) {
        tell(making, blob, "known to be damaged");
        return 0;
    }
    if (copy_bytes(making, blob, &damage, err) < 0)
        return -1;
    if (damage != NULL)
        found_damaged(making, blob, damage);
    return 0;
}

/* --- the end --- */

static int write_summary(struct making *making, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop)
    int fd = openat(making->fd, BACKUP_SUMMARY,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);

    making->summary.copied_bytes = making->copier.copied_bytes;
    summary_print(&making->summary, &text);
    if (fd < 0 || fd_write(fd, buffer_slice(&text)) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the summary cannot be written");
    owner_give(&making->folder.owner, fd);
    return fd_sync(fd, err) < 0 ? -1 : fd_sync(making->fd, err);
}

static int make(struct making *making, struct error *err) ON(worker_thread)
{
    OWNED(meta_drop) struct meta *snapshot = NULL;

    if (backup_tidy(&making->folder, err) < 0 || hold(making, err) < 0 ||
        snapshot_folder(making, err) < 0 || copy_meta(making, &snapshot, err) < 0 ||
        copy_keys(making, err) < 0)
        return -1;
    progress_phase(making->progress, "blobs");
    if (meta_backup_blobs(snapshot, copy_blob, making, err) < 0)
        return -1;
    progress_phase(making->progress, "sync");
    if (copier_finish(&making->copier, err) < 0 || write_summary(making, err) < 0)
        return -1;
    return backup_rename(&making->folder, making->unnamed, making->name, err);
}

static void report(const struct making *making, struct backup_report *out)
{
    *out = (struct backup_report){
        .repositories = making->summary.repositories,
        .manifests = making->summary.manifests,
        .blobs = making->summary.blobs,
        .bytes = making->summary.bytes,
        .copied = making->copier.copied,
        .copied_bytes = making->copier.copied_bytes,
        .damaged = making->summary.damaged,
    };
    memcpy(out->name, making->name, sizeof(out->name));
}

int storage_backup(struct storage *store, const struct backup_options *options,
                   const struct progress *progress, struct backup_report *out, struct error *err)
{
    OWNED(making_drop)
    struct making making = {.store = store, .options = options, .progress = progress, .fd = -1};

    if (backup_folder_open(&making.folder, options->directory, BACKUP_MAKE, err) < 0)
        return -1;
    making.copier = (struct copier){
        .to = making.folder.fd,
        .folder_mode = FOLDER_MODE,
        .file_mode = FILE_MODE,
        .link = options->link,
        .rate = options->rate,
        .owner = making.folder.owner,
        .tick = keep_going,
        .tick_arg = &making,
        .progress = progress,
    };
    if (make(&making, err) < 0) {
        struct error ignored = {0}; /* the next command tidies as well */
        if (backup_tidy(&making.folder, &ignored) < 0)
            error_clear(&ignored);
        return -1;
    }
    report(&making, out);
    return 0;
}

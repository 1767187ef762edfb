/* restore.c - a snapshot becomes a root.
 * Touches  an empty root, or one that a restore before this was cut off in; reads the backup.
 * Never    a root that holds anything else.
 *
 *   EMPTY --mark--> RESTORING: bytes, keys, metadata; everything synced --unmark--> a root
 *
 * The mark names the snapshot: only a restore of the same one goes on. (5) */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "storage/backup_internal.h"
#include "storage/storage_internal.h"

enum { BLOB_FOLDER_MODE = 0750, BLOB_FILE_MODE = 0640, FOLDER_MODE = 0700, FILE_MODE = 0600 };
enum { MARK_MAX = BACKUP_NAME_MAX + DIGEST_TEXT_MAX };

static const char MARK_NEW[] = BACKUP_RESTORING ".new";
static const char META_NEW[] = BACKUP_META ".new";

struct restoring {
    const struct restore_options *options;
    const struct progress *progress;
    struct backup_folder folder;
    char name[BACKUP_NAME_MAX];
    struct summary summary;
    int root, lock;
    struct copier copier;
    struct meta_backup_blob *changes; /* rows whose `damaged` turned out otherwise */
    size_t change_count, change_capacity;
    uint64_t damaged;
};

static void restoring_drop(struct restoring *restoring)
{
    free(restoring->changes);
    copier_drop(&restoring->copier);
    fd_drop(&restoring->lock);
    fd_drop(&restoring->root);
    summary_drop(&restoring->summary);
    backup_folder_close(&restoring->folder);
}

static int keep_going(void *arg, struct error *err)
{
    const struct restoring *restoring = arg;

    if (progress_cancelled(restoring->progress))
        return error_set(err, ERROR_UNAVAILABLE, "it was cancelled; called again, it goes on");
    return 0;
}

/* --- the root --- */

/* Of this snapshot and no other. */
static void mark_print(const struct restoring *restoring, char out[MARK_MAX])
{
    char digest[DIGEST_TEXT_MAX];

    snprintf(out, MARK_MAX, "%s %s\n", restoring->name,
             digest_text(&restoring->summary.files[0].digest, digest));
}

/* 1 ours, 0 none, -1 another's */
static int mark_read(const struct restoring *restoring, int root, struct error *err)
{
    char found[MARK_MAX + 1] = "", wanted[MARK_MAX];
    OWNED(fd_drop) int fd = openat(root, BACKUP_RESTORING, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t got = fd < 0 ? -1 : read(fd, found, sizeof(found) - 1);
    if (got < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read",
                               restoring->options->root);
    mark_print(restoring, wanted);
    if (strcmp(found, wanted) == 0)
        return 1;
    found[strcspn(found, " \n")] = 0;
    return error_set(err, ERROR_CONFLICT,
                     "%s is being restored from another snapshot, %.*s: empty it first",
                     restoring->options->root, BACKUP_NAME_MAX, found);
}

/* But for what a file system has, a lock, and a mark that has no name yet. */
static bool is_empty(const char *path)
{
    static const char *const passed[] = {"lost+found", "lock", MARK_NEW};
    OWNED(folder_drop) DIR *entries = opendir(path);
    const struct dirent *entry;

    while ((entry = folder_next(entries)) != NULL) {
        size_t i = 0;
        while (i < sizeof(passed) / sizeof(passed[0]) && strcmp(entry->d_name, passed[i]) != 0)
            i++;
        if (i == sizeof(passed) / sizeof(passed[0]))
            return false;
    }
    return entries != NULL;
}

/* Absent, empty, or ours. Makes nothing. */
static int root_check(const struct restoring *restoring, struct error *err)
{
    const char *path = restoring->options->root;
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be opened", path);
    int marked = mark_read(restoring, fd, err);
    if (marked != 0)
        return marked < 0 ? -1 : 0;
    if (is_empty(path))
        return 0;
    return error_set(err, ERROR_CONFLICT, "%s is not empty: a restore needs an empty root", path);
}

static int mark_write(struct restoring *restoring, struct error *err)
{
    char text[MARK_MAX];
    int marked = mark_read(restoring, restoring->root, err);

    if (marked != 0)
        return marked < 0 ? -1 : 0;
    mark_print(restoring, text);
    OWNED(fd_drop)
    int fd = openat(restoring->root, MARK_NEW,
                    O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0 || fd_write(fd, slice_of(text)) < 0 || fsync(fd) < 0 ||
        renameat(restoring->root, MARK_NEW, restoring->root, BACKUP_RESTORING) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be written to",
                               restoring->options->root);
    return fd_sync(restoring->root, err);
}

static int root_take(struct restoring *restoring, struct error *err)
{
    const char *path = restoring->options->root;

    if (root_make(path, err) < 0 || root_lock(path, &restoring->lock, err) < 0 ||
        root_check(restoring, err) < 0) /* again, now that nobody else can */
        return -1;
    restoring->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (restoring->root < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be opened", path);
    restoring->copier.to = restoring->root;
    restoring->copier.owner = owner_of(restoring->root);
    owner_give(&restoring->copier.owner, restoring->lock);
    return mark_write(restoring, err);
}

/* --- bytes --- */

/* A row that was damaged may have its bytes here from an earlier backup. */
static void judge(struct restoring *restoring, const struct meta_backup_blob *blob,
                  const char *damage)
{
    if (damage != NULL) {
        restoring->damaged++;
        backup_tell(&restoring->options->from.told, restoring->progress, blob, damage);
    }
    if (blob->damaged == (damage != NULL))
        return;
    restoring->changes = meta_grow(restoring->changes, restoring->change_count,
                                   &restoring->change_capacity, sizeof(*restoring->changes));
    restoring->changes[restoring->change_count] = *blob;
    restoring->changes[restoring->change_count++].damaged = damage != NULL;
}

static int restore_blob(void *arg, const struct meta_backup_blob *blob, struct error *err)
{
    struct restoring *restoring = arg;
    const char *damage = NULL;

    if (keep_going(restoring, err) < 0)
        return -1;
    progress_add(restoring->progress, "blobs_done", 1);
    if (!restoring->options->dry_run && copier_has(&restoring->copier, blob)) {
        judge(restoring, blob, NULL);
        return 0;
    }
    OWNED(fd_drop) int fd = blob_file_open(restoring->folder.fd, blob, &damage);
    if (fd >= 0 && !restoring->options->dry_run &&
        copier_take(&restoring->copier, blob, fd, &damage, err) < 0)
        return -1;
    judge(restoring, blob, damage);
    return 0;
}

/* --- keys, metadata --- */

/* As in the summary, whole and synced before it has its name. */
static int restore_file(struct restoring *restoring, const struct summary_file *wanted, int folder,
                        const char *temporary, const char *name, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct summary_file found = {.size = 0};

    buffer_print(&path, "%s/%s", restoring->name, wanted->name);
    OWNED(fd_drop)
    int from = openat(restoring->folder.snapshots, path.at,
                      O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read", path.at);
    OWNED(fd_drop)
    int to =
        openat(folder, temporary, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (to < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be made", name);
    owner_give(&restoring->copier.owner, to);
    if (copier_stream(&restoring->copier, from, to, &found, err) < 0)
        return -1;
    if (found.size != wanted->size || !digest_equal(&found.digest, &wanted->digest))
        return error_set(err, ERROR_UNAVAILABLE, "%s of the backup is damaged", path.at);
    if (fd_sync(to, err) < 0)
        return -1;
    if (renameat(folder, temporary, folder, name) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be named", name);
    return fd_sync(folder, err);
}

static int restore_keys(struct restoring *restoring, struct error *err)
{
    const struct summary *summary = &restoring->summary;
    const struct owner *owner = &restoring->copier.owner;
    OWNED(fd_drop) int keys = -1;

    if (summary->file_count == 1)
        return 0;
    keys = folder_below(restoring->root, BACKUP_KEYS, FOLDER_MODE, owner, err);
    for (size_t i = 1; keys >= 0 && i < summary->file_count; i++) {
        const char *name = summary->files[i].name + strlen(BACKUP_KEYS "/");
        if (restore_file(restoring, &summary->files[i], keys, ".restoring.new", name, err) < 0)
            return -1;
    }
    return keys < 0 ? -1 : 0;
}

/* What an earlier try wrote beside the database would be taken for this one's. */
static int forget_meta(struct restoring *restoring, struct error *err)
{
    static const char *const names[] = {BACKUP_META, BACKUP_META "-wal", BACKUP_META "-shm"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (unlinkat(restoring->root, names[i], 0) < 0 && errno != ENOENT)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be removed", names[i]);
    return fd_sync(restoring->root, err);
}

static int restore_meta(struct restoring *restoring, struct error *err)
{
    const struct restore_options *options = restoring->options;
    const struct storage_options with = {
        .root = options->root, .gc_grace_ms = options->grace_ms, .readers = 1};
    OWNED(meta_drop) struct meta *meta = NULL;

    progress_phase(restoring->progress, "metadata");
    if (forget_meta(restoring, err) < 0 ||
        restore_file(restoring, &restoring->summary.files[0], restoring->root, META_NEW,
                     BACKUP_META, err) < 0 ||
        meta_open(&meta, &with, (struct meta_after){NULL, NULL}, NULL, err) < 0)
        return -1;
    return meta_backup_restored(meta, restoring->changes, restoring->change_count, err);
}

/* --- the whole --- */

static int bytes(struct restoring *restoring, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(meta_drop) struct meta *snapshot = NULL;

    progress_phase(restoring->progress, "blobs");
    backup_path(&restoring->folder, restoring->name, BACKUP_META, &path);
    if (meta_open_sealed(&snapshot, path.at, err) < 0)
        return -1;
    return meta_backup_blobs(snapshot, restore_blob, restoring, err);
}

static int unmark(struct restoring *restoring, struct error *err)
{
    if (unlinkat(restoring->root, BACKUP_RESTORING, 0) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be written to",
                               restoring->options->root);
    return fd_sync(restoring->root, err);
}

static int restore(struct restoring *restoring, struct error *err)
{
    if (root_take(restoring, err) < 0 || bytes(restoring, err) < 0 ||
        copier_finish(&restoring->copier, err) < 0 || restore_keys(restoring, err) < 0 ||
        restore_meta(restoring, err) < 0)
        return -1;
    return unmark(restoring, err);
}

static void report(const struct restoring *restoring, struct backup_report *out)
{
    *out = (struct backup_report){
        .repositories = restoring->summary.repositories,
        .manifests = restoring->summary.manifests,
        .blobs = restoring->summary.blobs,
        .bytes = restoring->summary.bytes,
        .copied = restoring->copier.copied,
        .copied_bytes = restoring->copier.copied_bytes,
        .damaged = restoring->damaged,
    };
    memcpy(out->name, restoring->name, sizeof(out->name));
}

int backup_restore(const struct restore_options *options, const struct progress *progress,
                   struct backup_report *out, struct error *err)
{
    OWNED(restoring_drop)
    struct restoring restoring = {.options = options, .progress = progress, .root = -1, .lock = -1};

    if (backup_folder_open(&restoring.folder, options->from.directory, BACKUP_READ, err) < 0 ||
        backup_find(&restoring.folder, options->snapshot, restoring.name, &restoring.summary, err) <
            0 ||
        root_check(&restoring, err) < 0)
        return -1;
    restoring.copier = (struct copier){
        .to = -1,
        .folder_mode = BLOB_FOLDER_MODE,
        .file_mode = BLOB_FILE_MODE,
        .link = options->from.link,
        .same_owner = true,
        .rate = options->from.rate,
        .tick = keep_going,
        .tick_arg = &restoring,
        .progress = progress,
    };
    if ((options->dry_run ? bytes(&restoring, err) : restore(&restoring, err)) < 0)
        return -1;
    report(&restoring, out);
    return 0;
}

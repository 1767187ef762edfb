/* backup_folder.c - the folder of a backup: what it is known by, its locks, the names of snapshots.
 * Touches  the folder; not the blobs in it.
 * Never    makes a backup of a folder that holds something else. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "storage/backup_internal.h"
#include "storage/storage_internal.h"

enum { FOLDER_MODE = 0700, FILE_MODE = 0600, SUMMARY_SIZE_MAX = 1 << 20 };

static const char FORMAT[] = "format";
static const char FORMAT_NEW[] = "format.new";
static const char FORMAT_TEXT[] = "slipway-backup 1\n";
static const char SNAPSHOTS[] = "snapshots";

int fd_sync(int fd, struct error *err)
{
    if (fsync(fd) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a backup cannot be synced");
    return 0;
}

/* --- owners --- */

struct owner owner_of(int folder)
{
    struct stat status;

    if (geteuid() != 0 || fstat(folder, &status) < 0 || status.st_uid == 0)
        return (struct owner){.given = false};
    return (struct owner){true, status.st_uid, status.st_gid};
}

void owner_give(const struct owner *owner, int fd)
{
    if (owner->given)
        (void)!fchown(fd, owner->user, owner->group); /* else it stays root's, and readable to it */
}

/* --- folders --- */

/* Its name may be one whose maker was killed before it was synced. */
int folder_below(int at, const char *name, mode_t mode, const struct owner *owner,
                 struct error *err)
{
    bool made = mkdirat(at, name, mode) == 0;

    if (!made && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be made", name);
    OWNED(fd_drop) int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be opened", name);
    if (made)
        owner_give(owner, fd);
    if (fd_sync(at, err) < 0)
        return -1;
    return fd_take(&fd);
}

int tree_remove(int at, const char *name, struct error *err)
{
    if (folder_erase(at, name) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be removed", name);
    return 0;
}

/* --- whether it is ours --- */

/* What a file system has by itself, and what we were cut off in. */
static bool is_empty(int fd)
{
    OWNED(folder_drop) DIR *entries = folder_open(fd, ".");
    const struct dirent *entry;

    while ((entry = folder_next(entries)) != NULL)
        if (strcmp(entry->d_name, "lost+found") != 0 && strcmp(entry->d_name, FORMAT_NEW) != 0)
            return false;
    return entries != NULL;
}

static int format_write(const struct backup_folder *folder, struct error *err)
{
    OWNED(fd_drop)
    int fd = openat(folder->fd, FORMAT_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    FILE_MODE);

    if (fd < 0 || fd_write(fd, slice_of(FORMAT_TEXT)) < 0 || fsync(fd) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be written to",
                               folder->path);
    owner_give(&folder->owner, fd);
    if (renameat(folder->fd, FORMAT_NEW, folder->fd, FORMAT) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be written to",
                               folder->path);
    return fd_sync(folder->fd, err);
}

/* 1 ours, 0 without a format, -1 another one */
static int format_read(const struct backup_folder *folder, struct error *err)
{
    char text[sizeof(FORMAT_TEXT) + 1] = "";
    OWNED(fd_drop)
    int fd = openat(folder->fd, FORMAT, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return 0;
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (got < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read", folder->path);
    if (strcmp(text, FORMAT_TEXT) != 0)
        return error_set(err, ERROR_UNAVAILABLE, "%s is a backup that this program cannot read",
                         folder->path);
    return 1;
}

static int format_check(const struct backup_folder *folder, bool make, struct error *err)
{
    int found = format_read(folder, err);

    if (found != 0)
        return found < 0 ? -1 : 0;
    if (!make)
        return error_set(err, ERROR_NOT_FOUND, "%s is no backup of slipway's", folder->path);
    if (!is_empty(folder->fd))
        return error_set(err, ERROR_UNAVAILABLE, "%s is no backup of slipway's, and not empty",
                         folder->path);
    return format_write(folder, err);
}

/* --- opening --- */

/* A folder that cannot be written to can be read without the lock: nobody changes it. */
static int lock_take(const struct backup_folder *folder, const char *name, int how, int *out,
                     struct error *err)
{
    OWNED(fd_drop)
    int fd = openat(folder->fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);

    if (fd >= 0)
        owner_give(&folder->owner, fd);
    if (fd < 0 || flock(fd, how | LOCK_NB) < 0) {
        if (fd >= 0 && errno == EWOULDBLOCK)
            return error_set(err, ERROR_CONFLICT, "another command works on %s", folder->path);
        if (how == LOCK_SH)
            return 0;
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be locked", folder->path);
    }
    *out = fd_take(&fd);
    return 0;
}

static int locks_take(struct backup_folder *folder, enum backup_use use, struct error *err)
{
    if ((use == BACKUP_MAKE || use == BACKUP_CHANGE) &&
        lock_take(folder, "lock", LOCK_EX, &folder->lock, err) < 0)
        return -1;
    if ((use == BACKUP_READ || use == BACKUP_CHANGE) &&
        lock_take(folder, "reading", use == BACKUP_READ ? LOCK_SH : LOCK_EX, &folder->reading,
                  err) < 0)
        return -1;
    return 0;
}

static int snapshots_open(struct backup_folder *folder, bool make, struct error *err)
{
    if (make)
        folder->snapshots = folder_below(folder->fd, SNAPSHOTS, FOLDER_MODE, &folder->owner, err);
    else
        folder->snapshots =
            openat(folder->fd, SNAPSHOTS, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder->snapshots >= 0)
        return 0;
    return error_set_errno(err, ERROR_NOT_FOUND, errno, "%s has no snapshot", folder->path);
}

static int open_for(struct backup_folder *folder, enum backup_use use, struct error *err)
{
    bool make = use == BACKUP_MAKE;

    if (make && folder_make(folder->path, err) < 0)
        return -1;
    folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->fd < 0)
        return error_set_errno(err, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE, errno,
                               "folder %s cannot be opened", folder->path);
    folder->owner = owner_of(folder->fd);
    if (format_check(folder, make, err) < 0 || locks_take(folder, use, err) < 0)
        return -1;
    return snapshots_open(folder, make, err);
}

int backup_folder_open(struct backup_folder *out, const char *path, enum backup_use use,
                       struct error *err)
{
    OWNED(backup_folder_close)
    struct backup_folder folder = {.fd = -1, .snapshots = -1, .lock = -1, .reading = -1};

    folder.path = memory_text(slice_of(path));
    if (open_for(&folder, use, err) < 0)
        return -1;
    *out = folder;
    folder = (struct backup_folder){.path = NULL};
    return 0;
}

void backup_folder_close(struct backup_folder *folder)
{
    if (folder->path == NULL)
        return;
    fd_drop(&folder->reading);
    fd_drop(&folder->lock);
    fd_drop(&folder->snapshots);
    fd_drop(&folder->fd);
    free(folder->path);
    *folder = (struct backup_folder){.path = NULL};
}

/* --- snapshots --- */

static bool starts(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* "20261121T142615.123Z" */
static bool name_valid(const char *name)
{
    return strlen(name) < BACKUP_NAME_MAX && strspn(name, "0123456789TZ.") == strlen(name) &&
           name[0] != '.' && name[0] != 0;
}

static int name_compare(const void *a, const void *b)
{
    const char *left = *(char *const *)a, *right = *(char *const *)b;

    return strcmp(left + (left[0] == '.' ? strlen(BACKUP_NEW) : 0),
                  right + (right[0] == '.' ? strlen(BACKUP_NEW) : 0));
}

int backup_names(const struct backup_folder *folder, bool unfinished, struct page *out,
                 struct error *err)
{
    OWNED(folder_drop) DIR *entries = folder_open(folder->snapshots, ".");
    const struct dirent *entry;
    size_t capacity = 0;

    *out = (struct page){0};
    if (entries == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read", folder->path);
    while ((entry = folder_next(entries)) != NULL)
        if (name_valid(entry->d_name) || (unfinished && starts(entry->d_name, BACKUP_NEW)))
            meta_page_add(out, &capacity, slice_of(entry->d_name));
    if (out->count > 0)
        qsort(out->names, out->count, sizeof(*out->names), name_compare);
    return 0;
}

int backup_find(const struct backup_folder *folder, const char *asked, char *name,
                struct summary *summary, struct error *err)
{
    OWNED(page_drop) struct page names = {0};
    size_t at = 0;

    if (backup_names(folder, false, &names, err) < 0)
        return -1;
    if (asked == NULL && names.count > 0)
        at = names.count - 1;
    while (asked != NULL && at < names.count && strcmp(names.names[at], asked) != 0)
        at++;
    if (at == names.count)
        return error_set(err, ERROR_NOT_FOUND, "%s has no %s%s", folder->path,
                         asked == NULL ? "snapshot" : "snapshot ", asked == NULL ? "" : asked);
    snprintf(name, BACKUP_NAME_MAX, "%s", names.names[at]);
    return backup_summary_read(folder, name, summary, err);
}

static int summary_text(const struct backup_folder *folder, const char *name, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    ssize_t got = 1;

    buffer_print(&path, "%s/%s", name, BACKUP_SUMMARY);
    OWNED(fd_drop)
    int fd = openat(folder->snapshots, path.at, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (got > 0 && out->size < SUMMARY_SIZE_MAX) {
        buffer_reserve(out, 4096);
        got = read(fd, out->at + out->size, 4096);
        out->size += got > 0 ? (size_t)got : 0;
    }
    return got < 0 ? -1 : 0;
}

int backup_summary_read(const struct backup_folder *folder, const char *name,
                        struct summary *summary, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    *summary = (struct summary){0};
    if (summary_text(folder, name, &text) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "the summary of snapshot %s cannot be read", name);
    if (summary_parse(buffer_slice(&text), summary))
        return 0;
    summary_drop(summary);
    return error_set(err, ERROR_UNAVAILABLE, "the summary of snapshot %s is damaged", name);
}

void backup_path(const struct backup_folder *folder, const char *name, const char *file,
                 struct buffer *out)
{
    buffer_print(out, "%s/%s/%s/%s", folder->path, SNAPSHOTS, name, file);
}

int backup_rename(const struct backup_folder *folder, const char *from, const char *to,
                  struct error *err)
{
    if (renameat(folder->snapshots, from, folder->snapshots, to) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "snapshot %s cannot be named", to);
    return fd_sync(folder->snapshots, err);
}

int backup_tidy(const struct backup_folder *folder, struct error *err)
{
    OWNED(folder_drop) DIR *entries = folder_open(folder->snapshots, ".");
    const struct dirent *entry;

    while ((entry = folder_next(entries)) != NULL)
        if ((starts(entry->d_name, BACKUP_NEW) || starts(entry->d_name, BACKUP_GONE)) &&
            tree_remove(folder->snapshots, entry->d_name, err) < 0)
            return -1;
    return 0;
}

void backup_list_drop(struct backup_list *list)
{
    free(list->items);
    *list = (struct backup_list){NULL, 0};
}

static void describe(const struct backup_folder *folder, const char *name,
                     struct backup_snapshot *out)
{
    OWNED(summary_drop) struct summary summary = {0};
    struct error ignored = {0}; /* the list shows it as not complete */
    bool unfinished = starts(name, BACKUP_NEW);

    *out = (struct backup_snapshot){.complete = !unfinished};
    snprintf(out->name, sizeof(out->name), "%s", unfinished ? name + strlen(BACKUP_NEW) : name);
    if (unfinished || backup_summary_read(folder, name, &summary, &ignored) < 0) {
        out->complete = false;
        return;
    }
    out->created_at = summary.created_at;
    out->repositories = summary.repositories;
    out->manifests = summary.manifests;
    out->blobs = summary.blobs;
    out->bytes = summary.bytes;
    out->copied_bytes = summary.copied_bytes;
    out->damaged = summary.damaged;
}

int backup_list(const char *directory, struct backup_list *out, struct error *err)
{
    OWNED(backup_folder_close) struct backup_folder folder = {.path = NULL};
    OWNED(page_drop) struct page names = {0};

    *out = (struct backup_list){NULL, 0};
    if (backup_folder_open(&folder, directory, BACKUP_LOOK, err) < 0 ||
        backup_names(&folder, true, &names, err) < 0)
        return -1;
    out->items = memory_new((names.count + 1) * sizeof(*out->items));
    for (size_t i = 0; i < names.count; i++)
        describe(&folder, names.names[i], &out->items[out->count++]);
    return 0;
}

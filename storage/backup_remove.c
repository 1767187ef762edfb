/* backup_remove.c - snapshots that are not wanted any more, and the bytes that only they named.
 * Touches  the folder of the backup.
 * Never    a file that a snapshot names; anything while the metadata of one that stays is damaged.
 *
 * (1) A snapshot loses its name before any of its bytes go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "storage/backup_internal.h"

/* The snapshots that stay. */
struct metas {
    struct staying {
        struct meta *meta;
    } * items;
    size_t count;
};

static void metas_drop(struct metas *metas)
{
    for (size_t i = 0; i < metas->count; i++)
        meta_close(metas->items[i].meta);
    free(metas->items);
}

struct removing {
    struct backup_folder folder;
    const struct progress *progress;
    struct metas stay;
    struct backup_removed *out;
};

static void removing_drop(struct removing *removing)
{
    metas_drop(&removing->stay);
    backup_folder_close(&removing->folder);
}

/* --- names --- */

static bool is_unwanted(const struct page *names, size_t at, const char *snapshot, size_t keep)
{
    return (snapshot != NULL && strcmp(names->names[at], snapshot) == 0) ||
           (keep > 0 && at + keep < names->count);
}

static int forget_name(struct removing *removing, const char *name, struct error *err)
{
    OWNED(buffer_drop) struct buffer gone = BUFFER_NONE;

    buffer_print(&gone, BACKUP_GONE "%s", name);
    removing->out->snapshots++;
    return backup_rename(&removing->folder, name, gone.at, err);
}

static int keep_open(struct removing *removing, const char *name, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(summary_drop) struct summary summary = {0};
    struct metas *stay = &removing->stay;
    OWNED(copier_drop) struct copier reader = {.to = -1};

    if (backup_summary_read(&removing->folder, name, &summary, err) < 0 ||
        backup_file_check(&removing->folder, &reader, name, &summary.files[0], err) < 0)
        return -1;
    backup_path(&removing->folder, name, BACKUP_META, &path);
    stay->items = memory_resize(stay->items, (stay->count + 1) * sizeof(*stay->items));
    if (meta_open_sealed(&stay->items[stay->count].meta, path.at, err) < 0)
        return -1;
    stay->count++;
    return 0;
}

/* Those that stay are opened before anything goes. */
static int choose(struct removing *removing, const char *snapshot, size_t keep, struct error *err)
{
    OWNED(page_drop) struct page names = {0};
    bool found = snapshot == NULL;

    if (backup_names(&removing->folder, false, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++) {
        found |= snapshot != NULL && strcmp(names.names[i], snapshot) == 0;
        if (!is_unwanted(&names, i, snapshot, keep) && keep_open(removing, names.names[i], err) < 0)
            return -1;
    }
    if (!found)
        return error_set(err, ERROR_NOT_FOUND, "%s has no snapshot %s", removing->folder.path,
                         snapshot);
    for (size_t i = 0; i < names.count; i++)
        if (is_unwanted(&names, i, snapshot, keep) &&
            forget_name(removing, names.names[i], err) < 0)
            return -1;
    return backup_tidy(&removing->folder, err);
}

/* --- bytes --- */

static int is_named(const struct removing *removing, const char *locator, bool *named,
                    struct error *err)
{
    *named = false;
    for (size_t i = 0; i < removing->stay.count && !*named; i++)
        if (meta_backup_names(removing->stay.items[i].meta, locator, named, err) < 0)
            return -1;
    return 0;
}

/* 4f1c..., or .4f1c... that somebody was cut off in; what is neither is not ours. */
static int judge(struct removing *removing, int shelf, const char *name, struct error *err)
{
    bool unfinished = name[0] == '.' && locator_valid(name + 1), named = false;
    struct stat status;

    if (!unfinished && !locator_valid(name))
        return 0;
    if (progress_cancelled(removing->progress))
        return error_set(err, ERROR_UNAVAILABLE, "it was cancelled");
    if (!unfinished && is_named(removing, name, &named, err) < 0)
        return -1;
    if (named)
        return 0;
    if (fstatat(shelf, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || unlinkat(shelf, name, 0) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "file %s cannot be removed", name);
    if (unfinished)
        return 0;
    removing->out->blobs++;
    removing->out->bytes += (uint64_t)status.st_size;
    progress_add(removing->progress, "blobs_removed", 1);
    return 0;
}

static int sweep_shelf(struct removing *removing, unsigned number, struct error *err)
{
    const struct dirent *entry;
    char name[16];

    snprintf(name, sizeof(name), "blobs/%02x", number & 0xff);
    OWNED(folder_drop) DIR *entries = folder_open(removing->folder.fd, name);
    if (entries == NULL && errno == ENOENT)
        return 0;
    if (entries == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read", name);
    while ((entry = folder_next(entries)) != NULL)
        if (judge(removing, dirfd(entries), entry->d_name, err) < 0)
            return -1;
    if (errno != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be read", name);
    return 0;
}

int backup_remove(const char *directory, const char *snapshot, size_t keep,
                  const struct progress *progress, struct backup_removed *out, struct error *err)
{
    OWNED(removing_drop) struct removing removing = {.progress = progress, .out = out};

    *out = (struct backup_removed){0};
    if (backup_folder_open(&removing.folder, directory, BACKUP_CHANGE, err) < 0 ||
        choose(&removing, snapshot, keep, err) < 0)
        return -1;
    progress_phase(progress, "blobs");
    for (unsigned shelf = 0; shelf < LOCATOR_SHELVES; shelf++)
        if (sweep_shelf(&removing, shelf, err) < 0)
            return -1;
    return 0;
}

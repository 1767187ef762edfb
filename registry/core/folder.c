/* folder.c - see folder.h.
 *
 * A folder costs a descriptor while it is walked. Of one that is nested deeper than LEVELS_MAX, the
 * lowest are moved up to the one that goes, and go with the rest of it: however deep, no more are
 * open, and no path grows too long. */
#include "registry/core/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/bytes.h"
#include "registry/core/fd.h"

enum { LEVELS_MAX = 64 };

struct erasing {
    int top; /* what is too deep goes here */
    dev_t device;
    unsigned long long moved;
    int failure; /* the first, as errno; else 0 */
};

char *folder_path(const char *folder, const char *name)
{
    return memory_print("%s/%s", folder, name);
}

void folder_drop(DIR **folder)
{
    if (*folder != NULL)
        closedir(*folder);
    *folder = NULL;
}

DIR *folder_open(int at, const char *name)
{
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder == NULL && fd >= 0)
        close(fd);
    return folder;
}

/* DT_UNKNOWN only of what is gone. */
static unsigned char type_of(DIR *folder, const char *name)
{
    struct stat about;

    return fstatat(dirfd(folder), name, &about, AT_SYMLINK_NOFOLLOW) < 0 ? DT_UNKNOWN
                                                                         : IFTODT(about.st_mode);
}

const struct dirent *folder_next(DIR *folder)
{
    struct dirent *entry;

    errno = 0;
    if (folder == NULL)
        return NULL;
    do
        entry = readdir(folder);
    while (entry != NULL && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    if (entry != NULL && entry->d_type == DT_UNKNOWN)
        entry->d_type = type_of(folder, entry->d_name);
    return entry;
}

static void failed(struct erasing *erasing, int number)
{
    if (erasing->failure == 0)
        erasing->failure = number;
}

/* Under a name that nothing there has; an empty folder of that name may go. */
static void move_up(struct erasing *erasing, int at, const char *name)
{
    char fresh[32];
    int moved;

    do {
        snprintf(fresh, sizeof(fresh), "deep-%llu", erasing->moved++);
        moved = renameat(at, name, erasing->top, fresh);
    } while (moved < 0 && (errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR));
    if (moved < 0)
        failed(erasing, errno);
}

static void erase_below(struct erasing *erasing, DIR *folder, unsigned level);

static void erase_folder(struct erasing *erasing, int at, const char *name, unsigned level)
{
    OWNED(folder_drop) DIR *folder = folder_open(at, name);
    struct stat about;

    /* an empty one need not be readable; a mount is busy */
    if (folder != NULL && fstat(dirfd(folder), &about) == 0 && about.st_dev == erasing->device)
        erase_below(erasing, folder, level);
    if (unlinkat(at, name, AT_REMOVEDIR) < 0)
        failed(erasing, errno);
}

static void erase_below(struct erasing *erasing, DIR *folder, unsigned level)
{
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL) {
        if (unlinkat(dirfd(folder), entry->d_name, 0) == 0 || errno == ENOENT)
            continue;
        if (errno != EISDIR)
            failed(erasing, errno);
        else if (level < LEVELS_MAX)
            erase_folder(erasing, dirfd(folder), entry->d_name, level + 1);
        else
            move_up(erasing, dirfd(folder), entry->d_name);
    }
    if (errno != 0)
        failed(erasing, errno);
}

/* All that is in it; again as long as something was moved up. */
static int erase_all(DIR *folder)
{
    struct erasing erasing = {.top = dirfd(folder)};
    unsigned long long moved;
    struct stat about;

    if (fstat(erasing.top, &about) < 0)
        return -1;
    erasing.device = about.st_dev;
    do {
        moved = erasing.moved;
        rewinddir(folder);
        erase_below(&erasing, folder, 0);
    } while (erasing.moved != moved && erasing.failure == 0);
    errno = erasing.failure;
    return erasing.failure == 0 ? 0 : -1;
}

int folder_erase(int at, const char *name)
{
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR)
        return -1;
    OWNED(folder_drop) DIR *folder = folder_open(at, name);
    if (folder == NULL || erase_all(folder) < 0)
        return -1;
    return unlinkat(at, name, AT_REMOVEDIR);
}

int folder_empty(const char *path)
{
    OWNED(folder_drop) DIR *folder = opendir(path);

    return folder == NULL ? -1 : erase_all(folder);
}

int folder_sync(const char *path)
{
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return folder < 0 ? -1 : fsync(folder);
}

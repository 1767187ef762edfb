/* fs_look.c - what is in the folder blobs, and taking it out of there: for the check.
 * Touches  the folder blobs; the folder quarantine beside it.
 * Never    removes or writes to a file's bytes. */
#include "registry/core/folder.h"
#include "storage/fs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { QUARANTINE_MODE = 0700, NAMES_TRIED = 1000 };

/* --- lists --- */

static int list_failed(struct error *err)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be listed");
}

/* *out is NULL when there is none, or something else in its place. */
static int list_open(const char *path, DIR **out, struct error *err)
{
    *out = opendir(path);
    return *out == NULL && errno != ENOENT && errno != ENOTDIR ? list_failed(err) : 0;
}

static bool belongs(const char *name, unsigned shelf)
{
    return locator_valid(name) && fs_shelf(name) == shelf;
}

static void shelf_path(const struct fs *fs, unsigned shelf, struct buffer *out)
{
    buffer_print(out, "%s/%02x", fs->blobs, shelf);
}

int fs_list(void *self, unsigned shelf, void (*found)(void *arg, const char *locator), void *arg,
            struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(folder_drop) DIR *folder = NULL;
    const struct dirent *entry;

    assert_worker_thread();
    shelf_path(self, shelf, &path);
    if (list_open(path.at, &folder, err) < 0)
        return -1;
    while ((entry = folder_next(folder)) != NULL)
        if (belongs(entry->d_name, shelf))
            found(arg, entry->d_name);
    return errno != 0 ? list_failed(err) : 0;
}

/* The folder of a shelf; "lost+found" is the file system's own. */
static bool is_shelf(const struct fs *fs, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct stat entry;
    uint8_t number;

    if (strcmp(name, "lost+found") == 0)
        return true;
    if (!hex_decode(slice_of(name), &number, 1))
        return false;
    buffer_print(&path, "%s/%s", fs->blobs, name);
    return stat(path.at, &entry) < 0 || S_ISDIR(entry.st_mode);
}

static bool is_strange(const struct fs *fs, unsigned shelf, const char *name)
{
    return shelf == LOCATOR_SHELVES ? !is_shelf(fs, name) : !belongs(name, shelf);
}

int fs_list_strange(void *self, unsigned shelf, void (*found)(void *arg, const char *name),
                    void *arg, struct error *err)
{
    const struct fs *fs = self;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    OWNED(folder_drop) DIR *folder = NULL;
    const struct dirent *entry;

    assert_worker_thread();
    if (shelf == LOCATOR_SHELVES)
        buffer_print(&path, "%s", fs->blobs); /* with its end */
    else
        shelf_path(fs, shelf, &path);
    if (list_open(path.at, &folder, err) < 0)
        return -1;
    while ((entry = folder_next(folder)) != NULL) {
        OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
        if (!is_strange(fs, shelf, entry->d_name))
            continue;
        if (shelf == LOCATOR_SHELVES)
            buffer_print(&name, "%s", entry->d_name);
        else
            buffer_print(&name, "%02x/%s", shelf, entry->d_name);
        found(arg, name.at);
    }
    return errno != 0 ? list_failed(err) : 0;
}

/* --- one object --- */

int fs_look(void *self, const char *locator, struct blob_object *out, struct error *err)
{
    struct error ignored = {0};
    struct stat file;
    char text[DIGEST_TEXT_MAX];

    assert_worker_thread();
    *out = (struct blob_object){.found = false};
    OWNED(memory_drop) char *path = fs_file_path(self, locator);
    if (lstat(path, &file) < 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? 0
                   : error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be examined");
    out->found = S_ISREG(file.st_mode);
    out->size = (uint64_t)file.st_size;
    ssize_t size = getxattr(path, FS_DIGEST_ATTRIBUTE, text, sizeof(text));
    out->marked =
        size > 0 && digest_parse((struct slice){text, (size_t)size}, &out->mark, &ignored) == 0;
    return 0;
}

/* fs (3) */
int fs_mark(void *self, const char *locator, const struct digest *digest, struct error *err)
{
    char text[DIGEST_TEXT_MAX];
    struct stat file;

    assert_worker_thread();
    OWNED(memory_drop) char *path = fs_file_path(self, locator);
    digest_text(digest, text);
    if (lstat(path, &file) == 0 && file.st_nlink > 1)
        return error_set(err, ERROR_UNAVAILABLE, "blob data has a second name and is not marked");
    if (setxattr(path, FS_DIGEST_ATTRIBUTE, text, strlen(text), 0) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be marked");
    return 0;
}

/* --- quarantine --- */

/* One flat folder: what stood on a shelf has the shelf's digits in its name. */
static void quarantine_path(const struct fs *fs, const char *name, unsigned attempt,
                            struct buffer *out)
{
    OWNED(memory_drop) char *flat = memory_text(slice_of(name));

    for (char *at = flat; *at != 0; at++)
        *at = *at == '/' ? '_' : *at;
    buffer_print(out, "%s/%s", fs->quarantine, flat);
    if (attempt > 0)
        buffer_print(out, ".%u", attempt);
}

/* 0, or the errno. A name that is taken gets a number. */
static int move_to_quarantine(const struct fs *fs, const char *from, const char *name)
{
    for (unsigned attempt = 0; attempt < NAMES_TRIED; attempt++) {
        OWNED(buffer_drop) struct buffer to = BUFFER_NONE;
        struct stat taken;
        quarantine_path(fs, name, attempt, &to);
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to.at, RENAME_NOREPLACE) == 0)
            return 0;
        if (errno == EEXIST)
            continue;
        if (errno != EINVAL && errno != ENOSYS)
            return errno;
        /* A file system without that flag; nobody else puts files there. */
        if (lstat(to.at, &taken) == 0)
            continue;
        return rename(from, to.at) == 0 ? 0 : errno;
    }
    return EEXIST;
}

static int folder_make(const struct fs *fs, struct error *err)
{
    OWNED(memory_drop) char *root = memory_text(slice_of(fs->quarantine));

    if (mkdir(fs->quarantine, QUARANTINE_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder quarantine cannot be made");
    *strrchr(root, '/') = 0;
    return fs_folder_sync(root, err);
}

/* Both folders are synced: no power cut brings the old name back. */
int fs_quarantine(void *self, const char *name, bool *moved, struct error *err)
{
    const struct fs *fs = self;
    OWNED(memory_drop) char *from = NULL;

    assert_worker_thread();
    *moved = false;
    if (locator_valid(name)) {
        from = fs_file_path(fs, name);
    } else {
        struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s/%s", fs->blobs, name);
        from = path.at;
    }
    if (folder_make(fs, err) < 0)
        return -1;
    int failed = move_to_quarantine(fs, from, name);
    if (failed == ENOENT)
        return 0;
    if (failed != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, failed,
                               "blob data cannot be moved into quarantine");
    *strrchr(from, '/') = 0;
    if (fs_folder_sync(fs->quarantine, err) < 0 || fs_folder_sync(from, err) < 0)
        return -1;
    *moved = true;
    return 0;
}

/* tree.c - files of containers, opened below a root that no path can leave.
 * Touches  the tree of the descriptor it is given.
 * Never    follows a link out of it, opens what is no file for reading. Spec: s2i 16.13 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/builder_internal.h"

enum { FOLDER_MODE = 0755, DEPTH_MAX = 2048 };

int tree_open(int root, const char *path, int flags, mode_t mode)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .mode = mode,
                           .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    long fd;

    do
        fd = syscall(SYS_openat2, root, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return (int)fd;
}

/* A fifo does not hold us up. */
static int open_file(int root, const char *path)
{
    struct stat about;
    int fd = tree_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);

    if (fd < 0 || (fstat(fd, &about) == 0 && S_ISREG(about.st_mode)))
        return fd;
    close(fd);
    errno = EINVAL;
    return -1;
}

bool tree_has(int root, const char *path)
{
    struct stat about;
    OWNED(fd_drop) int fd = tree_open(root, path, O_PATH, 0);

    return fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
}

int tree_read(int root, const char *path, size_t limit, struct buffer *out)
{
    OWNED(fd_drop) int fd = open_file(root, path);

    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
    return fd_read(fd, limit, out) < 0 ? -1 : 1;
}

bool tree_path_clean(const char *path, char *out, size_t capacity)
{
    size_t used = 0;

    for (const char *at = path; *at != 0;) {
        size_t size = strcspn(at, "/");
        if (size == 2 && at[0] == '.' && at[1] == '.')
            return false;
        if (size > 0 && !(size == 1 && at[0] == '.')) {
            if (used + size + 2 > capacity)
                return false;
            if (used > 0)
                out[used++] = '/';
            memcpy(out + used, at, size);
            used += size;
        }
        at += size + (at[size] == '/');
    }
    if (capacity == 0)
        return false;
    out[used] = 0;
    return true;
}

/* One component below `parent`, whose path from the root is `path`. */
static int make_folder(int root, int parent, const char *path, const struct tree_owner *owner)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;

    if (mkdirat(parent, name, FOLDER_MODE) < 0 && errno != EEXIST)
        return -1;
    int fd = tree_open(root, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return -1;
    if (fchmod(fd, FOLDER_MODE) == 0 && fchown(fd, owner->uid, owner->gid) == 0)
        return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

int tree_folder(int root, const char *path, const struct tree_owner *owner)
{
    char clean[PATH_MAX];
    OWNED(fd_drop) int at = tree_open(root, "/", O_RDONLY | O_DIRECTORY, 0);

    if (!tree_path_clean(path, clean, sizeof(clean))) {
        errno = EINVAL;
        return -1;
    }
    for (char *end = clean; at >= 0 && *end != 0;) {
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        int next = tree_open(root, clean, O_RDONLY | O_DIRECTORY, 0);
        if (next < 0 && errno == ENOENT)
            next = make_folder(root, at, clean, owner);
        close(at);
        at = next;
        *end = kept;
        end += kept != 0;
    }
    return fd_take(&at);
}

int tree_write(int folder, const char *name, struct slice content, mode_t mode,
               const struct tree_owner *owner)
{
    if (unlinkat(folder, name, 0) < 0 && errno != ENOENT)
        return -1;
    OWNED(fd_drop)
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write(fd, content) < 0)
        return -1;
    if (fchown(fd, owner->uid, owner->gid) < 0)
        return -1;
    return fchmod(fd, mode);
}

static uint64_t bytes_below(int folder, const char *name, unsigned depth)
{
    OWNED(folder_drop) DIR *open = depth < DEPTH_MAX ? folder_open(folder, name) : NULL;
    uint64_t bytes = 0;
    struct stat about;

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        if (fstatat(dirfd(open), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        bytes += (uint64_t)about.st_blocks * 512 / about.st_nlink;
        if (S_ISDIR(about.st_mode))
            bytes += bytes_below(dirfd(open), entry->d_name, depth + 1);
    }
    return bytes;
}

uint64_t tree_bytes(int folder)
{
    return bytes_below(folder, ".", 0);
}

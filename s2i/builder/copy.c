/* copy.c - files of one image's tree into another's: artifacts for a runtime image, files that go
 * beside a source.
 * Touches  the tree it writes to; reads the other one.
 * Never    copies what is no file, folder or link; follows a link out of either root; goes on for a
 *          build that is over.
 *
 * Folders and executables get 0755, others 0644 (9.4); links are copied as text (4.9). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/steps.h"

enum { DEPTH_MAX = 256, LINK_MAX = 4096, PIECE = 256 * 1024 };

/* Of what was there; no later than the source. */
static void times_of(const struct copying *copying, const struct stat *about,
                     struct timespec out[2])
{
    out[0] = out[1] = about->st_mtim;
    if (out[1].tv_sec >= copying->latest)
        out[0] = out[1] = (struct timespec){.tv_sec = copying->latest};
}

static int copy_bytes(struct copying *copying, int in, int out)
{
    OWNED(memory_drop) char *piece = memory_new(PIECE);

    for (;;) {
        ssize_t got = read(in, piece, PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return (int)got;
        if (fd_write(out, (struct slice){piece, (size_t)got}) < 0 ||
            work_go_on(copying->work, copying->err) < 0)
            return -1;
    }
}

/* As `target`, in place of what had the name. */
static int copy_file(struct copying *copying, int in, const struct stat *about, int to,
                     const char *target)
{
    struct timespec times[2];

    if (unlinkat(to, target, 0) < 0 && errno != ENOENT)
        return -1;
    OWNED(fd_drop)
    int out = openat(to, target, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0 || copy_bytes(copying, in, out) < 0 ||
        fchown(out, copying->owner.uid, copying->owner.gid) < 0 ||
        fchmod(out, (about->st_mode & 0111) != 0 ? 0755 : 0644) < 0)
        return -1;
    times_of(copying, about, times);
    return futimens(out, times);
}

static int copy_link(struct copying *copying, int from, const char *name, const struct stat *about,
                     int to)
{
    char text[LINK_MAX + 1];
    struct timespec times[2];
    ssize_t size = readlinkat(from, name, text, LINK_MAX);

    if (size < 0 || (unlinkat(to, name, 0) < 0 && errno != ENOENT))
        return -1;
    text[size] = 0;
    times_of(copying, about, times);
    if (symlinkat(text, to, name) < 0 ||
        fchownat(to, name, copying->owner.uid, copying->owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

static int copy_any(struct copying *copying, int from, const char *name, int to, unsigned depth);

static int copy_below(struct copying *copying, int from, int to, unsigned depth)
{
    OWNED(folder_drop) DIR *open = folder_open(from, ".");
    const struct dirent *entry;

    if (open == NULL)
        return -1;
    while ((entry = folder_next(open)) != NULL)
        if (copy_any(copying, from, entry->d_name, to, depth) < 0)
            return -1;
    return errno == 0 ? 0 : -1;
}

static int copy_folder(struct copying *copying, int from, const char *name,
                       const struct stat *about, int to, unsigned depth)
{
    OWNED(fd_drop) int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct timespec times[2];

    if (depth == DEPTH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (in < 0 || (mkdirat(to, name, 0755) < 0 && errno != EEXIST))
        return -1;
    OWNED(fd_drop) int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0 || fchown(out, copying->owner.uid, copying->owner.gid) < 0 ||
        fchmod(out, 0755) < 0 || copy_below(copying, in, out, depth + 1) < 0)
        return -1;
    times_of(copying, about, times);
    return futimens(out, times);
}

static int copy_named(struct copying *copying, int from, const char *name, const struct stat *about,
                      int to)
{
    OWNED(fd_drop) int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return in < 0 ? -1 : copy_file(copying, in, about, to, name);
}

static int copy_any(struct copying *copying, int from, const char *name, int to, unsigned depth)
{
    struct stat about;

    if (work_go_on(copying->work, copying->err) < 0 ||
        fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (++copying->files > copying->files_max && copying->files_max > 0) {
        errno = EMFILE;
        return -1;
    }
    if (S_ISDIR(about.st_mode))
        return copy_folder(copying, from, name, &about, to, depth);
    if (S_ISREG(about.st_mode))
        return copy_named(copying, from, name, &about, to);
    return S_ISLNK(about.st_mode) ? copy_link(copying, from, name, &about, to) : 0;
}

/* Behind a link, when the caller wants that: a link alone would lead nowhere. */
static int copy_one(struct copying *copying, int from_root, const char *source, int to)
{
    char above[PATH_MAX], *slash;
    struct stat about;

    if (snprintf(above, sizeof(above), "%s", source) >= (int)sizeof(above) ||
        (slash = strrchr(above, '/')) == NULL) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (copying->follow) {
        OWNED(fd_drop) int in = tree_open(from_root, source, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (in < 0 || fstat(in, &about) < 0)
            return -1;
        copying->files++;
        errno = EINVAL;
        return S_ISREG(about.st_mode) ? copy_file(copying, in, &about, to, slash + 1) : -1;
    }
    *slash = 0;
    OWNED(fd_drop)
    int from = tree_open(from_root, above[0] == 0 ? "/" : above, O_RDONLY | O_DIRECTORY, 0);
    return from < 0 ? -1 : copy_any(copying, from, slash + 1, to, 0);
}

int copy_path(struct copying *copying, int from_root, const char *source, int to_root,
              const char *destination)
{
    OWNED(fd_drop) int to = tree_folder(to_root, destination, &copying->owner);
    OWNED(fd_drop) int folder = tree_open(from_root, source, O_RDONLY | O_DIRECTORY, 0);

    if (to < 0)
        return -1;
    return folder >= 0 ? copy_below(copying, folder, to, 0)
                       : copy_one(copying, from_root, source, to);
}

/* watched.c - files that others renew. */
#include "auth/watched.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"

enum { SETTLED_S = 2, PIECE_SIZE = 64 * 1024 };

static int unreadable(struct error *err, int number, const char *what)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, number, "%s cannot be read", what);
}

/* --- stamps --- */

static struct watched_stamp stamp_of(const struct stat *about)
{
    return (struct watched_stamp){.device = about->st_dev,
                                  .inode = about->st_ino,
                                  .size = about->st_size,
                                  .modified = about->st_mtim,
                                  .changed = about->st_ctim};
}

static bool has_settled(const struct stat *about)
{
    return time(NULL) - about->st_ctim.tv_sec > SETTLED_S;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool stamp_equal(const struct watched_stamp *a, const struct watched_stamp *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size &&
           same_time(a->modified, b->modified) && same_time(a->changed, b->changed);
}

/* --- reading --- */

static int read_all(int fd, const char *what, struct buffer *out, struct error *err)
{
    for (;;) {
        buffer_reserve(out, PIECE_SIZE);
        ssize_t got = read(fd, out->at + out->size, out->capacity - out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return unreadable(err, errno, what);
        if (got == 0)
            return 0;
        out->size += (size_t)got;
        if (out->size > WATCHED_SIZE_MAX)
            return error_set(err, ERROR_UNAVAILABLE, "%s is larger than 1 MiB", what);
    }
}

int watched_read(const char *path, const char *what, const struct watched_stamp *old,
                 struct watched_stamp *now, struct buffer *out, struct error *err)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat about;

    if (fd < 0 || fstat(fd, &about) < 0)
        return unreadable(err, errno, what);
    if (!S_ISREG(about.st_mode))
        return error_set(err, ERROR_UNAVAILABLE, "%s is not a regular file", what);
    *now = stamp_of(&about);
    if (old != NULL && stamp_equal(now, old))
        return 0;
    if (!has_settled(&about))
        *now = (struct watched_stamp){0};
    return read_all(fd, what, out, err) < 0 ? -1 : 1;
}

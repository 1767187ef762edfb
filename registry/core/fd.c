/* fd.c - see fd.h. */
#include "registry/core/fd.h"

#include <errno.h>
#include <unistd.h>

enum { PIECE_SIZE = 16384 };

void fd_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int fd_take(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

int fd_write(int fd, struct slice bytes)
{
    while (bytes.size > 0) {
        ssize_t put = write(fd, bytes.at, bytes.size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return -1;
        bytes = slice_from(bytes, (size_t)put);
    }
    return 0;
}

int fd_read(int fd, size_t limit, struct buffer *out)
{
    for (;;) {
        buffer_reserve(out, PIECE_SIZE);
        ssize_t got = read(fd, out->at + out->size, PIECE_SIZE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -1 : 0;
        out->size += (size_t)got;
        if (out->size > limit) {
            errno = EFBIG;
            return -1;
        }
    }
}

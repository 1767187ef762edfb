/* feed.c - pieces into a pipe, without waiting for who reads them.
 * Touches  the pipe; the thread's epoll.
 * Never    keeps a reader's turn: whoever serves says how many steps one has. */
#include "registry/core/feed.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"

int feed_open(struct feed *feed, int size, int *reader)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    feed->fd = ends[1];
    *reader = ends[0];
    fcntl(feed->fd, F_SETFL, O_NONBLOCK); /* this end alone */
    if (size > 0)
        fcntl(feed->fd, F_SETPIPE_SZ, size); /* else it is larger, and no harm is done */
    return 0;
}

int feed_watch(struct feed *feed, int epoll, void *ptr)
{
    struct epoll_event event = {.events = 0, .data.ptr = ptr};

    feed->sent_ms = clock_monotonic_ms();
    return epoll_ctl(epoll, EPOLL_CTL_ADD, feed->fd, &event);
}

enum feed_progress feed_write(struct feed *feed)
{
    struct buffer *piece = &feed->piece;
    ssize_t put;

    do
        put = write(feed->fd, piece->at + feed->start, piece->size - feed->start);
    while (put < 0 && errno == EINTR);
    if (put < 0)
        return errno == EAGAIN ? FEED_WAITS : FEED_OVER;
    feed->sent_ms = clock_monotonic_ms();
    feed->start += (size_t)put;
    if (feed->start == piece->size) {
        buffer_drop(piece);
        feed->start = 0;
    }
    return FEED_MOVED;
}

/* A writable pipe gives the next turn, also to who has had enough of them for now. */
void feed_rest(struct feed *feed, int epoll, void *ptr, enum feed_progress progress)
{
    bool wanted = progress == FEED_MOVED || feed->piece.size > 0;
    struct epoll_event event = {.events = wanted ? EPOLLOUT : 0, .data.ptr = ptr};

    if (feed->writable_wanted != wanted)
        epoll_ctl(epoll, EPOLL_CTL_MOD, feed->fd, &event);
    feed->writable_wanted = wanted;
}

void feed_close(struct feed *feed, int epoll)
{
    /* by name: a child between fork and exec may hold the pipe a moment longer than we do */
    if (feed->fd >= 0 && epoll >= 0)
        epoll_ctl(epoll, EPOLL_CTL_DEL, feed->fd, NULL);
    fd_drop(&feed->fd);
    buffer_drop(&feed->piece);
    feed->start = 0;
}

/* feed.h - what one reader gets through a pipe, piece by piece, from a thread that serves many.
 * Touches  the pipe; the thread's epoll.
 * Never    waits for the reader; knows what the pieces are. */
#ifndef SLIPWAY_CORE_FEED_H
#define SLIPWAY_CORE_FEED_H

#include "registry/core/bytes.h"

/* The thread's own. A piece is appended to; it is gone when all of it is written. */
struct feed {
    int fd;               /* the pipe's end; -1: closed */
    struct buffer piece;  /* from start on not written */
    size_t start;         /* the feed's own, as is what follows */
    uint64_t sent_ms;     /* monotonic; when it was watched or something was sent last */
    bool writable_wanted; /* its turn comes when the reader has read */
};
#define FEED_NONE ((struct feed){.fd = -1})

enum feed_progress {
    FEED_MOVED,
    FEED_WAITS, /* for the reader, or for something to write */
    FEED_OVER,  /* the reader is gone, or there is nothing more to come */
};

/* A pipe, whose other end is the caller's. size: of the pipe in bytes, where the system allows it;
 * 0: as it comes. -1 with errno. */
int feed_open(struct feed *feed, int size, int *reader) MUST_CHECK;
/* From now on the epoll tells, by event.data.ptr, when the reader went: EPOLLERR. -1 with errno. */
int feed_watch(struct feed *feed, int epoll, void *ptr) MUST_CHECK;
/* As much of the piece as the pipe takes at once; there is one. */
enum feed_progress feed_write(struct feed *feed) MUST_CHECK;
/* After a turn that ended by FEED_MOVED or FEED_WAITS: the epoll tells when the pipe takes more, if
 * there is more to write now. */
void feed_rest(struct feed *feed, int epoll, void *ptr, enum feed_progress progress);
/* The reader sees the end. epoll: -1 when it was not watched. Accepts one that is closed. */
void feed_close(struct feed *feed, int epoll);

#endif

/* log_internal.h - shared by logs.c (all of them), log.c (writing), log_index.c (entries, mending),
 * log_follow.c (following) and log_piece.c (what followers get).
 * Touches  nothing.
 * Never    included from elsewhere.
 *
 * The index is a row of entries of LOG_ENTRY_SIZE bytes, one a line, in the order of offsets, and
 * a last one with LOG_ENDED once the log has ended. */
#ifndef SLIPWAY_S2I_LOG_INTERNAL_H
#define SLIPWAY_S2I_LOG_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "registry/core/feed.h"
#include "s2i/log.h"

enum { LOG_ENTRY_SIZE = 16, LOG_ENDED = 3 /* beside enum log_stream */ };

struct log_entry {
    uint64_t offset; /* of the line's first byte; LOG_ENDED: the size of the log */
    int64_t time_us;
    unsigned stream;
};
void log_entry_write(const struct log_entry *entry, char out[LOG_ENTRY_SIZE]);
void log_entry_append(const struct log_entry *entry, struct buffer *out);
/* Entries from number `at` on, at most so many; how many there were. */
size_t log_entries_read(int index_fd, uint64_t at, struct log_entry *out, size_t most);
uint64_t log_entry_count(int index_fd);
/* The first entry at or behind offset. */
uint64_t log_entry_find(int index_fd, uint64_t offset);
/* log (1): the two files agree again, in whole lines, and both stand at their ends. -1 with errno.
 */
int log_mend(int fd, int index_fd, uint64_t *size, uint64_t *count) MUST_CHECK;

/* What followers see of a log that is being written. Under logs->lock; freed with its last holder.
 */
struct log_growth {
    struct log_growth *next;      /* in logs->growing */
    struct log_growth *next_news; /* in logs->news */
    int64_t id;
    uint64_t size; /* bytes that are in the file, and in the index */
    int holders;
    bool ended, news;
};

struct build_logs {
    int folder_fd;
    pthread_mutex_t lock;
    struct log_growth *growing;
    struct log_growth *news;
    struct follower *arrived; /* for the thread to take */
    bool stopping;
    int news_fd; /* eventfd: one of the above changed */
    int epoll;
    pthread_t thread;
    uint64_t comment_ms;        /* how long a follower of events hears nothing */
    struct follower *followers; /* the thread's own, as the next */
    size_t events;              /* followers that get comments */
};

/* "<id>.log" or "<id>.index"; -1 with errno. */
int log_file_open(const struct build_logs *logs, int64_t id, const char *suffix, int flags);
struct log_growth *log_growth_hold(struct build_logs *logs, int64_t id); /* NULL: not written now */
void log_growth_let_go(struct build_logs *logs, struct log_growth *growth);
struct log_growth *log_growth_new(struct build_logs *logs, int64_t id, uint64_t size);
void log_growth_tell(struct build_logs *logs, struct log_growth *growth, uint64_t size, bool ended);
void log_growth_end(struct build_logs *logs, struct log_growth *growth, uint64_t size);

/* --- followers --- */

struct follower {
    struct follower *next, **link; /* in logs->followers; next also in logs->arrived */
    struct log_growth *growth;     /* held; NULL: the log does not grow */
    struct feed feed;
    int log_fd, index_fd;
    enum log_form form;
    bool follow, placed, ended;
    uint64_t offset;
    uint64_t entry;          /* of the index: the line at offset, when form needs one */
    struct log_entry latest; /* what a line without an entry is taken for */
};
/* Where its first line begins, and what the index says of it. */
void log_place(struct follower *follower);
/* How far may be read, and whether that is all there will ever be. */
uint64_t log_readable(struct build_logs *logs, const struct follower *follower, bool *last);
/* False when there is nothing to read. */
bool log_piece_fill(struct follower *follower, uint64_t size);
/* (2) of log_follow.c */
bool log_has_ended(const struct follower *follower);

void log_wake(struct build_logs *logs); /* the thread */
int log_followers_open(struct build_logs *logs, struct error *err) MUST_CHECK;
void log_followers_close(struct build_logs *logs);

#endif

/* log_internal.h - shared by log.c (writing) and log_follow.c (following).
 * Touches  nothing.
 * Never    included from elsewhere.
 *
 * The index is a row of entries of LOG_ENTRY_SIZE bytes, one a line, in the order of offsets, and
 * a last one with LOG_ENDED once the log has ended. */
#ifndef SLIPWAY_S2I_LOG_INTERNAL_H
#define SLIPWAY_S2I_LOG_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "s2i/log.h"

enum { LOG_ENTRY_SIZE = 16, LOG_ENDED = 3 /* beside enum log_stream */ };

struct log_entry {
    uint64_t offset; /* of the line's first byte; LOG_ENDED: the size of the log */
    int64_t time_us;
    unsigned stream;
};
void log_entry_write(const struct log_entry *entry, char out[LOG_ENTRY_SIZE]);
/* Entries from number `at` on, at most so many; how many there were. */
size_t log_entries_read(int index_fd, uint64_t at, struct log_entry *out, size_t most);
uint64_t log_entry_count(int index_fd);
/* The first entry at or behind offset. */
uint64_t log_entry_find(int index_fd, uint64_t offset);

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

void log_wake(struct build_logs *logs); /* the thread */
int log_followers_open(struct build_logs *logs, struct error *err) MUST_CHECK;
void log_followers_close(struct build_logs *logs);

#endif

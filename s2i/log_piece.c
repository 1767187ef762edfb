/* log_piece.c - what a follower of a log gets next: its bytes, or its lines in a form.
 * Touches  the two files of a log.
 * Never    writes to the follower: log_follow.c does.
 *
 * Its invariants (1) and (2) are log_follow.c's. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/log_internal.h"

enum {
    PIECE_SIZE = LOG_LINE_MAX + 1, /* the longest line fits */
    AHEAD = 256,                   /* entries of the index */
};

/* (1) */
static bool at_line_start(const struct follower *follower)
{
    char before;

    return follower->offset == 0 ||
           pread(follower->log_fd, &before, 1, (off_t)(follower->offset - 1)) != 1 ||
           before == '\n';
}

void log_place(struct follower *follower)
{
    struct stat status;

    if (fstat(follower->log_fd, &status) == 0)
        follower->latest.time_us = (int64_t)status.st_mtim.tv_sec * US_PER_S;
    follower->latest.stream = LOG_OUT;
    follower->placed = at_line_start(follower);
    if (follower->form == LOG_TIMED)
        follower->entry = log_entry_find(follower->index_fd, follower->offset);
}

uint64_t log_readable(struct build_logs *logs, const struct follower *follower, bool *last)
{
    struct stat status;

    *last = true;
    if (follower->growth == NULL)
        return fstat(follower->log_fd, &status) < 0 ? 0 : (uint64_t)status.st_size;
    pthread_mutex_lock(&logs->lock);
    uint64_t size = follower->growth->size;
    *last = follower->growth->ended || !follower->follow;
    pthread_mutex_unlock(&logs->lock);
    return size;
}

static void time_print(struct buffer *out, const struct log_entry *entry)
{
    static const char streams[] = "SOE";
    time_t second = (time_t)(entry->time_us / US_PER_S);
    struct tm utc;
    char text[32];

    gmtime_r(&second, &utc);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_print(out, "%s.%03dZ %c ", text, (int)(entry->time_us % US_PER_S / 1000),
                 streams[entry->stream]);
}

/* Entries read ahead, for one piece. */
struct ahead {
    struct log_entry entries[AHEAD];
    size_t count, at;
};

/* What the index says of the line at offset, or of the one before it. */
static const struct log_entry *entry_of(struct follower *follower, struct ahead *ahead)
{
    for (;;) {
        if (ahead->at == ahead->count) {
            ahead->count =
                log_entries_read(follower->index_fd, follower->entry, ahead->entries, AHEAD);
            ahead->at = 0;
            if (ahead->count == 0)
                return &follower->latest;
        }
        const struct log_entry *entry = &ahead->entries[ahead->at];
        if (entry->stream == LOG_ENDED || entry->offset > follower->offset)
            return &follower->latest;
        follower->latest = *entry;
        follower->entry++;
        ahead->at++;
    }
}

static void line_print(struct follower *follower, struct slice line, struct ahead *ahead)
{
    struct buffer *out = &follower->feed.piece;

    if (follower->form == LOG_SSE) {
        buffer_print(out, "id: %" PRIu64 "\ndata: ", follower->offset + line.size + 1);
        buffer_append_slice(out, line);
        buffer_append(out, "\n\n", 2);
        return;
    }
    time_print(out, entry_of(follower, ahead));
    buffer_append_slice(out, line);
    buffer_append(out, "\n", 1);
}

/* (1) Part of a line at the end is not there yet. */
static void lines_fill(struct follower *follower, struct slice bytes)
{
    struct ahead ahead;
    struct slice line, rest;

    ahead.count = ahead.at = 0;
    while (slice_split(bytes, '\n', &line, &rest)) {
        if (follower->placed)
            line_print(follower, line, &ahead);
        follower->placed = true;
        follower->offset += line.size + 1;
        bytes = rest;
    }
}

bool log_piece_fill(struct follower *follower, uint64_t size)
{
    OWNED(memory_drop) char *bytes = NULL;
    uint64_t left = size > follower->offset ? size - follower->offset : 0;
    size_t wanted = left < PIECE_SIZE ? (size_t)left : PIECE_SIZE;

    if (wanted == 0)
        return false;
    bytes = memory_resize(NULL, wanted);
    ssize_t got = pread(follower->log_fd, bytes, wanted, (off_t)follower->offset);
    if (got <= 0)
        return false;
    struct slice read = {bytes, (size_t)got};
    uint64_t before = follower->offset;
    if (follower->form == LOG_TEXT) {
        buffer_append_slice(&follower->feed.piece, read);
        follower->offset += read.size;
    } else {
        lines_fill(follower, read);
    }
    return follower->offset > before;
}

/* (2) */
bool log_has_ended(const struct follower *follower)
{
    uint64_t count = log_entry_count(follower->index_fd);
    struct log_entry last;

    return count > 0 && log_entries_read(follower->index_fd, count - 1, &last, 1) == 1 &&
           last.stream == LOG_ENDED;
}

/* log.c - the log of a build that is being written: lines on their way to the file and its index.
 * Touches  the two files of a log.
 * Never    waits for a reader; keeps a line in parts.
 *
 * (1) Lines are in the file before their entries are in the index, and both before a follower hears
 *     of them. After a crash the index may be behind or ahead; begin makes them agree.
 * (2) A log that has ended is on the disk. */
#include "s2i/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "s2i/log_filter.h"
#include "s2i/log_internal.h"

enum {
    STREAMS = 3,
    LAST_WORDS = 64 * 1024, /* for our own lines when a script has used up the limit */
    LINES_MIN = 4096,       /* that a log may have, however small its limit is */
};

struct build_log {
    struct build_logs *logs;
    struct log_growth *growth;
    int fd, index_fd;
    uint64_t size, size_max; /* bytes; size counts what is in lines below, too */
    uint64_t count;          /* lines, the same */
    bool cut;                /* the limit was reached, and told */
    int failure;             /* errno of the first write that failed */
    struct log_masks *masks;
    struct log_filter filters[STREAMS];
    enum log_stream stream; /* of the filter at work */
    int64_t now_us;
    struct buffer lines, entries; /* on their way to the files */
};

/* --- lines --- */

static void entry_append(struct build_log *log, enum log_stream stream)
{
    const struct log_entry entry = {log->size, log->now_us, stream};

    log_entry_append(&entry, &log->entries);
    log->count++;
}

static void line_append(struct build_log *log, enum log_stream stream, struct slice line)
{
    entry_append(log, stream);
    buffer_append_slice(&log->lines, line);
    buffer_append(&log->lines, "\n", 1);
    log->size += line.size + 1;
}

/* Scripts have up to the limit; our own words, which tell the outcome, some more. The index is not
 * to grow beyond it either: short lines are limited by their number. */
static bool has_room(const struct build_log *log, struct slice line)
{
    uint64_t lines_max = log->size_max / LOG_ENTRY_SIZE;

    if (log->stream == LOG_STEP)
        return log->size + line.size < log->size_max + LAST_WORDS;
    return log->size + line.size < log->size_max &&
           log->count < (lines_max < LINES_MIN ? LINES_MIN : lines_max);
}

static void on_line(void *arg, struct slice line)
{
    struct build_log *log = arg;
    OWNED(buffer_drop) struct buffer words = BUFFER_NONE;

    if (log->stream != LOG_STEP && log->cut)
        return;
    if (has_room(log, line)) {
        line_append(log, log->stream, line);
        return;
    }
    if (log->cut)
        return;
    log->cut = true;
    buffer_print(&words,
                 "the log has reached its limit of %" PRIu64 " bytes: what follows is not kept",
                 log->size_max);
    line_append(log, LOG_STEP, buffer_slice(&words));
}

/* (1) What fails once is not tried again: a gap would tell lies. */
static void lines_put(struct build_log *log)
{
    if (log->lines.size == 0)
        return;
    if (log->failure == 0 && (fd_write(log->fd, buffer_slice(&log->lines)) < 0 ||
                              fd_write(log->index_fd, buffer_slice(&log->entries)) < 0)) {
        log->failure = errno;
        if (ftruncate(log->fd, (off_t)(log->size - log->lines.size)) < 0)
            log->failure = errno;
    }
    if (log->failure == 0)
        log_growth_tell(log->logs, log->growth, log->size, false);
    else
        log->size -= log->lines.size;
    log->lines.size = log->entries.size = 0;
    if (log->lines.capacity > LOG_LINE_MAX * 2)
        buffer_drop(&log->lines);
}

void build_log_write(struct build_log *log, enum log_stream stream, struct slice bytes)
{
    if (log->cut && stream != LOG_STEP)
        return;
    log->stream = stream;
    log->now_us = clock_now_us();
    log_filter_write(&log->filters[stream], bytes);
    lines_put(log);
}

void build_log_print(struct build_log *log, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    log->stream = LOG_STEP;
    log->now_us = clock_now_us();
    log_filter_write(&log->filters[LOG_STEP], buffer_slice(&text));
    log_filter_flush(&log->filters[LOG_STEP]); /* ours are whole */
    lines_put(log);
}

uint64_t build_log_size(const struct build_log *log)
{
    return log->size;
}

/* --- life --- */

static void log_drop(struct build_log **owned)
{
    struct build_log *log = TAKE(*owned);

    if (log == NULL)
        return;
    for (int i = 0; i < STREAMS; i++)
        log_filter_drop(&log->filters[i]);
    log_masks_free(log->masks);
    fd_drop(&log->fd);
    fd_drop(&log->index_fd);
    buffer_drop(&log->lines);
    buffer_drop(&log->entries);
    free(log);
}

static int cannot_begin(int64_t id, struct error *err)
{
    return error_set_errno(err, ERROR_INTERNAL, errno,
                           "the log of build %" PRId64 " cannot be begun", id);
}

static int file_show(const struct build_logs *logs, int64_t id)
{
    char hidden[40], shown[40];

    snprintf(hidden, sizeof(hidden), "%" PRId64 ".new", id);
    snprintf(shown, sizeof(shown), "%" PRId64 ".log", id);
    return renameat(logs->folder_fd, hidden, logs->folder_fd, shown);
}

/* A log that begins has its name only when it is known to grow, and has an index: who comes before
 * that finds none, not one that has ended. */
int build_log_begin(struct build_logs *logs, int64_t id, uint64_t size_max,
                    const struct slice *secrets, size_t secret_count, struct build_log **out,
                    struct error *err)
{
    OWNED(log_drop) struct build_log *log = memory_new(sizeof(*log));

    *log = (struct build_log){.logs = logs, .size_max = size_max, .fd = -1, .index_fd = -1};
    log->fd = log_file_open(logs, id, "log", O_RDWR);
    bool begins = log->fd < 0 && errno == ENOENT;
    if (begins)
        log->fd = log_file_open(logs, id, "new", O_RDWR | O_CREAT | O_TRUNC);
    log->index_fd = log_file_open(logs, id, "index", O_RDWR | O_CREAT);
    if (log->fd < 0 || log->index_fd < 0 ||
        log_mend(log->fd, log->index_fd, &log->size, &log->count) < 0)
        return cannot_begin(id, err);
    log->masks = log_masks_new(secrets, secret_count);
    for (int i = 0; i < STREAMS; i++)
        log->filters[i] = (struct log_filter){.masks = log->masks, .line = on_line, .arg = log};
    log->growth = log_growth_new(logs, id, log->size);
    if (begins && file_show(logs, id) < 0) {
        cannot_begin(id, err);
        log_growth_end(logs, TAKE(log->growth), log->size);
        return -1;
    }
    *out = TAKE(log);
    return 0;
}

static void entry_put_ended(struct build_log *log)
{
    const struct log_entry ended = {log->size, log->now_us, LOG_ENDED};
    char bytes[LOG_ENTRY_SIZE];

    log_entry_write(&ended, bytes);
    if (log->failure == 0 && fd_write(log->index_fd, (struct slice){bytes, sizeof(bytes)}) < 0)
        log->failure = errno;
}

/* (2) */
static int files_sync(struct build_log *log)
{
    if (log->failure == 0 &&
        (fdatasync(log->fd) < 0 || fdatasync(log->index_fd) < 0 || fsync(log->logs->folder_fd) < 0))
        log->failure = errno;
    return log->failure == 0 ? 0 : -1;
}

int build_log_end(struct build_log *owned, struct error *err)
{
    OWNED(log_drop) struct build_log *log = owned;

    log->now_us = clock_now_us();
    for (int i = 0; i < STREAMS; i++) {
        log->stream = (enum log_stream)i;
        log_filter_flush(&log->filters[i]);
    }
    lines_put(log);
    int64_t id = log->growth->id;
    entry_put_ended(log);
    log_growth_end(log->logs, TAKE(log->growth), log->size); /* nobody need wait for the disk */
    if (files_sync(log) < 0)
        return error_set_errno(err, ERROR_INTERNAL, log->failure,
                               "the log of build %" PRId64 " is not complete", id);
    return 0;
}

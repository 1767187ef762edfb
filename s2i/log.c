/* log.c - logs of builds: files that grow, their indexes, and what an earlier process left of them.
 * Touches  <root>/builds/logs.
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
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "s2i/log_filter.h"
#include "s2i/log_internal.h"

enum {
    STREAMS = 3,
    LAST_WORDS = 64 * 1024,         /* for our own lines when a script has used up the limit */
    REPAIR_SIZE = LOG_LINE_MAX + 1, /* the longest line fits */
    LINES_MIN = 4096,               /* that a log may have, however small its limit is */
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

/* --- the index --- */

static void u64_write(uint64_t value, char out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)(value >> (8 * i));
}

static uint64_t u64_read(const char in[8])
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | (unsigned char)in[i];
    return value;
}

void log_entry_write(const struct log_entry *entry, char out[LOG_ENTRY_SIZE])
{
    u64_write(entry->offset, out);
    u64_write((uint64_t)entry->time_us << 2 | entry->stream, out + 8);
}

size_t log_entries_read(int index_fd, uint64_t at, struct log_entry *out, size_t most)
{
    char bytes[64 * LOG_ENTRY_SIZE];
    size_t count = 0, wanted;
    ssize_t got;

    do {
        wanted = most - count < 64 ? most - count : 64;
        got =
            pread(index_fd, bytes, wanted * LOG_ENTRY_SIZE, (off_t)((at + count) * LOG_ENTRY_SIZE));
        for (ssize_t i = 0; i + LOG_ENTRY_SIZE <= got; i += LOG_ENTRY_SIZE) {
            uint64_t second = u64_read(bytes + i + 8);
            out[count++] =
                (struct log_entry){u64_read(bytes + i), (int64_t)(second >> 2), second & 3};
        }
    } while (count < most && got == (ssize_t)(wanted * LOG_ENTRY_SIZE));
    return count;
}

uint64_t log_entry_count(int index_fd)
{
    struct stat status;

    return fstat(index_fd, &status) < 0 ? 0 : (uint64_t)status.st_size / LOG_ENTRY_SIZE;
}

uint64_t log_entry_find(int index_fd, uint64_t offset)
{
    uint64_t low = 0, high = log_entry_count(index_fd);
    struct log_entry entry;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (log_entries_read(index_fd, middle, &entry, 1) == 1 && entry.offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- what others see of a log --- */

struct log_growth *log_growth_hold(struct build_logs *logs, int64_t id)
{
    pthread_mutex_lock(&logs->lock);
    struct log_growth *growth = logs->growing;
    while (growth != NULL && growth->id != id)
        growth = growth->next;
    if (growth != NULL)
        growth->holders++;
    pthread_mutex_unlock(&logs->lock);
    return growth;
}

void log_growth_let_go(struct build_logs *logs, struct log_growth *growth)
{
    pthread_mutex_lock(&logs->lock);
    bool last = --growth->holders == 0;
    pthread_mutex_unlock(&logs->lock);
    if (last)
        free(growth);
}

/* News hold it as well: the thread lets go. */
static void growth_tell(struct build_logs *logs, struct log_growth *growth, uint64_t size,
                        bool ended)
{
    pthread_mutex_lock(&logs->lock);
    growth->size = size;
    growth->ended |= ended;
    bool first = !growth->news;
    if (first) {
        growth->news = true;
        growth->holders++;
        growth->next_news = logs->news;
        logs->news = growth;
    }
    pthread_mutex_unlock(&logs->lock);
    if (first)
        log_wake(logs);
}

static struct log_growth *growth_new(struct build_logs *logs, int64_t id, uint64_t size)
{
    struct log_growth *growth = memory_new(sizeof(*growth));

    *growth = (struct log_growth){.id = id, .size = size, .holders = 1};
    pthread_mutex_lock(&logs->lock);
    growth->next = logs->growing;
    logs->growing = growth;
    pthread_mutex_unlock(&logs->lock);
    return growth;
}

static void growth_end(struct build_logs *logs, struct log_growth *growth, uint64_t size)
{
    pthread_mutex_lock(&logs->lock);
    struct log_growth **link = &logs->growing;
    while (*link != growth)
        link = &(*link)->next;
    *link = growth->next;
    pthread_mutex_unlock(&logs->lock);
    growth_tell(logs, growth, size, true);
    log_growth_let_go(logs, growth);
}

/* --- lines --- */

static void entry_append(struct build_log *log, enum log_stream stream)
{
    const struct log_entry entry = {log->size, log->now_us, stream};
    char bytes[LOG_ENTRY_SIZE];

    log_entry_write(&entry, bytes);
    buffer_append(&log->entries, bytes, sizeof(bytes));
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
        growth_tell(log->logs, log->growth, log->size, false);
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

void build_log_tail(const struct build_log *log, size_t bytes, struct buffer *out)
{
    uint64_t from =
        log->size > bytes ? log->size - bytes - 1 : 0; /* and the end of a line before */
    size_t wanted = (size_t)(log->size - from);
    OWNED(memory_drop) char *tail = memory_new(wanted + 1);

    ssize_t got = pread(log->fd, tail, wanted, (off_t)from);
    if (got <= 0)
        return;
    struct slice text = {tail, (size_t)got};
    if (from > 0) {
        const char *end = memchr(text.at, '\n', text.size - 1);
        text = slice_from(text, end == NULL ? 1 : (size_t)(end - text.at) + 1);
        while (text.size > 0 && utf8_size(text) == 0) /* of a long line the rest */
            text = slice_from(text, 1);
    }
    buffer_append_slice(out, text);
}

/* --- what an earlier process left --- */

/* An entry of a line that is there, and behind the line before: blocks that were never written are
 * zeros. */
static bool entry_holds(const struct build_log *log, uint64_t at, uint64_t log_size,
                        struct log_entry *out)
{
    struct log_entry two[2];
    size_t wanted = at == 0 ? 1 : 2;

    if (log_entries_read(log->index_fd, at + 1 - wanted, two, wanted) != wanted)
        return false;
    *out = two[wanted - 1];
    return out->stream != LOG_ENDED && out->offset < log_size &&
           (at == 0 ? out->offset == 0 : out->offset > two[0].offset);
}

/* The entry that says "ended", entries of lines that did not reach the disk, and half an entry go.
 */
static int index_cut(struct build_log *log, uint64_t log_size)
{
    uint64_t count = log_entry_count(log->index_fd);
    struct log_entry last;

    while (count > 0 && !entry_holds(log, count - 1, log_size, &last))
        count--;
    log->size = log->count = 0;
    log->now_us = clock_now_us();
    if (count > 0) { /* the last line counts once more: it may be a part */
        log->size = last.offset;
        log->now_us = last.time_us;
        log->stream = last.stream;
        log->count = --count;
    }
    return ftruncate(log->index_fd, (off_t)(count * LOG_ENTRY_SIZE)) < 0 ||
                   lseek(log->index_fd, 0, SEEK_END) < 0
               ? -1
               : 0;
}

/* Whole lines of a piece, which begins at log->size, get the entries they lack. Zeros are blocks
 * that were never written: nothing behind them counts. */
static void piece_index(struct build_log *log, struct slice piece)
{
    struct slice line;

    while (slice_split(piece, '\n', &line, &piece) && memchr(line.at, 0, line.size) == NULL) {
        entry_append(log, log->stream);
        log->stream = LOG_OUT;
        log->size += line.size + 1;
    }
}

static int lines_index(struct build_log *log)
{
    OWNED(memory_drop) char *piece = memory_new(REPAIR_SIZE);
    int put = 0;
    bool more = true;

    while (more && put == 0) {
        uint64_t before = log->size;
        ssize_t got = pread(log->fd, piece, REPAIR_SIZE, (off_t)before);
        if (got < 0)
            return -1;
        piece_index(log, (struct slice){piece, (size_t)got});
        more = log->size > before;
        put = fd_write(log->index_fd, buffer_slice(&log->entries));
        log->entries.size = 0;
    }
    return put;
}

/* (1) */
static int repair(struct build_log *log)
{
    struct stat status;

    if (fstat(log->fd, &status) < 0)
        return -1;
    log->stream = LOG_OUT;
    if (index_cut(log, (uint64_t)status.st_size) < 0 || lines_index(log) < 0)
        return -1;
    return ftruncate(log->fd, (off_t)log->size) < 0 || lseek(log->fd, 0, SEEK_END) < 0 ? -1 : 0;
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

int log_file_open(const struct build_logs *logs, int64_t id, const char *suffix, int flags)
{
    char name[40];

    snprintf(name, sizeof(name), "%" PRId64 ".%s", id, suffix);
    return openat(logs->folder_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
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
    if (log->fd < 0 || log->index_fd < 0 || repair(log) < 0)
        return cannot_begin(id, err);
    log->masks = log_masks_new(secrets, secret_count);
    for (int i = 0; i < STREAMS; i++)
        log->filters[i] = (struct log_filter){.masks = log->masks, .line = on_line, .arg = log};
    log->growth = growth_new(logs, id, log->size);
    if (begins && file_show(logs, id) < 0) {
        cannot_begin(id, err);
        growth_end(logs, TAKE(log->growth), log->size);
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
    growth_end(log->logs, TAKE(log->growth), log->size); /* nobody need wait for the disk */
    if (files_sync(log) < 0)
        return error_set_errno(err, ERROR_INTERNAL, log->failure,
                               "the log of build %" PRId64 " is not complete", id);
    return 0;
}

/* --- files of logs --- */

int build_log_file(struct build_logs *logs, int64_t id, int *fd, struct error *err)
{
    *fd = log_file_open(logs, id, "log", O_RDONLY);
    if (*fd >= 0)
        return 0;
    if (errno == ENOENT)
        return error_set(err, ERROR_NOT_FOUND, "build %" PRId64 " has no log", id);
    return error_set_errno(err, ERROR_INTERNAL, errno,
                           "the log of build %" PRId64 " cannot be read", id);
}

int build_log_stat(struct build_logs *logs, int64_t id, uint64_t *size, bool *live,
                   struct error *err)
{
    struct log_growth *growth = log_growth_hold(logs, id);
    OWNED(fd_drop) int fd = -1;
    struct stat status;

    *live = growth != NULL;
    if (growth != NULL) {
        pthread_mutex_lock(&logs->lock);
        *size = growth->size;
        pthread_mutex_unlock(&logs->lock);
        log_growth_let_go(logs, growth);
        return 0;
    }
    if (build_log_file(logs, id, &fd, err) < 0)
        return -1;
    if (fstat(fd, &status) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno,
                               "the log of build %" PRId64 " cannot be read", id);
    *size = (uint64_t)status.st_size;
    return 0;
}

void build_log_remove(struct build_logs *logs, int64_t id)
{
    static const char *const suffixes[] = {"log", "index", "new"};
    char name[40];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        snprintf(name, sizeof(name), "%" PRId64 ".%s", id, suffixes[i]);
        unlinkat(logs->folder_fd, name, 0);
    }
}

/* --- all of them --- */

int build_logs_open(struct build_logs **out, const char *folder, struct error *err)
{
    struct build_logs *logs = memory_new(sizeof(*logs));

    *logs = (struct build_logs){.news_fd = -1, .epoll = -1};
    pthread_mutex_init(&logs->lock, NULL);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        error_set_errno(err, ERROR_INTERNAL, errno, "the folder of logs cannot be made");
    logs->folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (logs->folder_fd >= 0 && log_followers_open(logs, err) == 0) {
        *out = logs;
        return 0;
    }
    int failed = error_set_errno(err, ERROR_INTERNAL, errno, "the folder of logs cannot be used");
    fd_drop(&logs->folder_fd);
    pthread_mutex_destroy(&logs->lock);
    free(logs);
    return failed;
}

void build_logs_close(struct build_logs *logs)
{
    if (logs == NULL)
        return;
    assert(logs->growing == NULL);
    log_followers_close(logs);
    fd_drop(&logs->folder_fd);
    pthread_mutex_destroy(&logs->lock);
    free(logs);
}

/* log.c - events with typed fields, one a line, written by a thread of their own.
 * Touches  the descriptor given to log_open; standard error before and after.
 * Never    blocks the caller on I/O; secrets and bodies.
 *
 * (1) A caller formats its line without any lock and copies it into `pending` under `lock`; the
 *     lock is never held across a write while the thread runs.
 * (2) `pending` holds QUEUE_MAX bytes at most. What does not fit is dropped, counted, and the count
 *     is written as soon as there is room.
 * (3) One event is one line: every byte outside printable ASCII is escaped, in json kept only where
 *     it is valid UTF-8, so that no value can end its line or look like another field. */
#include "registry/core/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    QUEUE_MAX = 1 << 20,  /* bytes waiting to be written */
    VALUE_MAX = 1024,     /* bytes of one field; what is longer is cut and ends in "..." */
    PAUSE_NS = 5000000,   /* between two writes: a busy server pays 200 wake-ups a second */
    SHUT_OUT_MS = 100000, /* how long a descriptor that would block is waited for */
};

static struct {
    pthread_mutex_t lock; /* guards all but level, format and journal */
    pthread_cond_t wake;
    pthread_t thread;
    bool running;
    bool closing;
    bool idle; /* the thread waits for wake */
    int fd;
    struct buffer pending;
    uint64_t dropped; /* lines, since the last report */
    _Atomic int level;
    _Atomic int format;
    _Atomic bool journal; /* the journal stamps the time itself and reads "<priority>" */
} logger = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .wake = PTHREAD_COND_INITIALIZER,
    .fd = STDERR_FILENO,
    .level = LOG_INFO,
    .format = LOG_FORMAT_LOGFMT,
};

static const struct {
    const char *name, *padded;
    char priority; /* syslog's */
} levels[] = {
    [LOG_DEBUG] = {"debug", "DEBUG", '7'},
    [LOG_INFO] = {"info", "INFO ", '6'},
    [LOG_WARNING] = {"warning", "WARN ", '4'},
    [LOG_ERROR] = {"error", "ERROR", '3'},
};

/* --- one line --- */

static void append_time(struct buffer *line)
{
    struct timespec now;
    struct tm utc;
    char text[32];

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    buffer_append(line, text, size);
    buffer_print(line, ".%03ldZ", now.tv_nsec / 1000000);
}

static bool is_plain(unsigned char c)
{
    return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

/* The value of text and logfmt: bare when every byte is plain, else quoted and escaped. */
static void append_quoted(struct buffer *line, struct slice value)
{
    size_t plain = 0;

    while (plain < value.size && is_plain((unsigned char)value.at[plain]))
        plain++;
    if (plain == value.size && plain > 0) {
        buffer_append_slice(line, value);
        return;
    }
    buffer_append(line, "\"", 1);
    for (size_t i = 0; i < value.size; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (c == '"' || c == '\\')
            buffer_print(line, "\\%c", c);
        else if (c < ' ' || c >= 0x7f)
            buffer_print(line, "\\x%02x", c);
        else
            buffer_append(line, value.at + i, 1);
    }
    buffer_append(line, "\"", 1);
}

/* JSON text must be UTF-8: bytes that are not become U+FFFD. */
static void append_json(struct buffer *line, struct slice value)
{
    OWNED(buffer_drop) struct buffer clean = BUFFER_NONE;

    while (value.size > 0) {
        size_t size = utf8_size(value);
        buffer_append(&clean, size == 0 ? "\xef\xbf\xbd" : value.at, size == 0 ? 3 : size);
        value = slice_from(value, size == 0 ? 1 : size);
    }
    buffer_append_json(line, buffer_slice(&clean));
}

static void append_value(struct buffer *line, struct slice value, enum log_format format)
{
    OWNED(buffer_drop) struct buffer cut = BUFFER_NONE;

    if (value.size > VALUE_MAX) {
        buffer_append(&cut, value.at, VALUE_MAX - 3);
        buffer_append_text(&cut, "...");
        value = buffer_slice(&cut);
    }
    if (format == LOG_FORMAT_JSON)
        append_json(line, value);
    else
        append_quoted(line, value);
}

static void append_name(struct buffer *line, const char *name, enum log_format format)
{
    buffer_append_text(line, format == LOG_FORMAT_JSON ? ",\"" : " ");
    buffer_append_text(line, name);
    buffer_append_text(line, format == LOG_FORMAT_JSON ? "\":" : "=");
}

static void append_field(struct buffer *line, const struct log_field *field, enum log_format format)
{
    struct slice text = field->kind == LOG_FIELD_TEXT    ? slice_of(field->value.text)
                        : field->kind == LOG_FIELD_SLICE ? field->value.slice
                                                         : SLICE_NONE;
    bool is_number = field->kind == LOG_FIELD_U64 || field->kind == LOG_FIELD_I64;

    if (!is_number && text.size == 0)
        return;
    append_name(line, field->name, format);
    if (field->kind == LOG_FIELD_U64)
        buffer_append_u64(line, field->value.u64);
    else if (field->kind == LOG_FIELD_I64)
        buffer_print(line, "%lld", (long long)field->value.i64);
    else
        append_value(line, text, format);
}

/* Time, level, event: the journal knows the first two. */
static void append_head(struct buffer *line, enum log_level level, const char *event,
                        enum log_format format)
{
    bool journal = atomic_load_explicit(&logger.journal, memory_order_relaxed);

    if (journal)
        buffer_print(line, "<%c>", levels[level].priority);
    if (format == LOG_FORMAT_JSON) {
        buffer_append_text(line, "{\"time\":\"");
        append_time(line);
        buffer_print(line, "\",\"level\":\"%s\"", levels[level].name);
        append_name(line, "msg", format);
        append_json(line, slice_of(event));
        return;
    }
    if (format == LOG_FORMAT_TEXT) {
        append_time(line);
        buffer_print(line, " %s %s", levels[level].padded, event);
        return;
    }
    if (!journal) {
        buffer_append_text(line, "time=");
        append_time(line);
        buffer_append_text(line, " ");
    }
    buffer_print(line, "level=%s msg=%s", levels[level].name, event);
}

static void append_line(struct buffer *line, enum log_level level, const char *event,
                        const struct log_field *fields)
{
    enum log_format format =
        (enum log_format)atomic_load_explicit(&logger.format, memory_order_relaxed);

    append_head(line, level, event, format);
    for (; fields->kind != LOG_FIELD_END; fields++)
        append_field(line, fields, format);
    buffer_append_text(line, format == LOG_FORMAT_JSON ? "}\n" : "\n");
}

/* --- the queue --- */

/* Writes everything; false when the descriptor takes no more. */
static bool write_all(int fd, struct slice bytes)
{
    while (bytes.size > 0) {
        ssize_t wrote = write(fd, bytes.at, bytes.size);
        if (wrote >= 0) {
            bytes = slice_from(bytes, (size_t)wrote);
            continue;
        }
        struct pollfd ready = {.fd = fd, .events = POLLOUT};
        if (errno != EINTR && (errno != EAGAIN || poll(&ready, 1, SHUT_OUT_MS) <= 0))
            return false;
    }
    return true;
}

static void append_dropped(struct buffer *batch, uint64_t lines)
{
    if (lines > 0)
        append_line(batch, LOG_WARNING, "log.dropped",
                    (const struct log_field[]){F_U64("lines", lines), {.kind = LOG_FIELD_END}});
}

/* Swaps what is pending with the empty batch. False when the log closes and all is written. */
static bool take_batch(struct buffer *batch, uint64_t *dropped)
{
    pthread_mutex_lock(&logger.lock);
    while (logger.pending.size == 0 && logger.dropped == 0 && !logger.closing) {
        logger.idle = true;
        pthread_cond_wait(&logger.wake, &logger.lock);
    }
    logger.idle = false;
    struct buffer full = logger.pending;
    logger.pending = *batch;
    *batch = full;
    *dropped = logger.dropped;
    logger.dropped = 0;
    bool more = batch->size > 0 || *dropped > 0;
    pthread_mutex_unlock(&logger.lock);
    return more;
}

static void *write_batches(void *unused)
{
    OWNED(buffer_drop) struct buffer batch = BUFFER_NONE;
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    uint64_t dropped;

    buffer_reserve(&batch, QUEUE_MAX);
    while (take_batch(&batch, &dropped)) {
        append_dropped(&batch, dropped);
        write_all(logger.fd, buffer_slice(&batch));
        batch.size = 0;
        nanosleep(&pause, NULL);
    }
    return unused;
}

static void enqueue(struct slice line)
{
    pthread_mutex_lock(&logger.lock);
    if (!logger.running)
        write_all(STDERR_FILENO, line);
    else if (logger.pending.size + line.size > QUEUE_MAX)
        logger.dropped++;
    else
        buffer_append_slice(&logger.pending, line);
    if (logger.idle) {
        logger.idle = false;
        pthread_cond_signal(&logger.wake);
    }
    pthread_mutex_unlock(&logger.lock);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    if (!log_enabled(level))
        return;
    buffer_reserve(&line, 512);
    append_line(&line, level, event, fields);
    enqueue(buffer_slice(&line));
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

/* systemd names the journal's socket in JOURNAL_STREAM=device:inode. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat status;
    char text[48];

    if (stream == NULL || fstat(fd, &status) < 0)
        return false;
    snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    return strcmp(stream, text) == 0;
}

void log_open(int fd, enum log_level level, enum log_format format)
{
    bool journal = format == LOG_FORMAT_AUTO && is_journal(fd);

    if (format == LOG_FORMAT_AUTO)
        format = isatty(fd) ? LOG_FORMAT_TEXT : LOG_FORMAT_LOGFMT;
    atomic_store(&logger.level, (int)level);
    atomic_store(&logger.format, (int)format);
    atomic_store(&logger.journal, journal);
    pthread_mutex_lock(&logger.lock);
    logger.fd = fd;
    logger.closing = false;
    buffer_reserve(&logger.pending, QUEUE_MAX);
    logger.running = pthread_create(&logger.thread, NULL, write_batches, NULL) == 0;
    pthread_mutex_unlock(&logger.lock);
}

void log_close(void)
{
    pthread_mutex_lock(&logger.lock);
    bool running = logger.running;
    logger.running = false;
    logger.closing = true;
    pthread_cond_signal(&logger.wake);
    pthread_mutex_unlock(&logger.lock);
    if (running)
        pthread_join(logger.thread, NULL);
    buffer_drop(&logger.pending);
}

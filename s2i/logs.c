/* logs.c - all logs of builds: opened and closed, their files, and which of them grow.
 * Touches  <root>/builds/logs.
 * Never    writes a line: log.c does; follows one: log_follow.c does. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/log_internal.h"

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
void log_growth_tell(struct build_logs *logs, struct log_growth *growth, uint64_t size, bool ended)
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

struct log_growth *log_growth_new(struct build_logs *logs, int64_t id, uint64_t size)
{
    struct log_growth *growth = memory_new(sizeof(*growth));

    *growth = (struct log_growth){.id = id, .size = size, .holders = 1};
    pthread_mutex_lock(&logs->lock);
    growth->next = logs->growing;
    logs->growing = growth;
    pthread_mutex_unlock(&logs->lock);
    return growth;
}

void log_growth_end(struct build_logs *logs, struct log_growth *growth, uint64_t size)
{
    pthread_mutex_lock(&logs->lock);
    struct log_growth **link = &logs->growing;
    while (*link != growth)
        link = &(*link)->next;
    *link = growth->next;
    pthread_mutex_unlock(&logs->lock);
    log_growth_tell(logs, growth, size, true);
    log_growth_let_go(logs, growth);
}

/* --- files of logs --- */

int log_file_open(const struct build_logs *logs, int64_t id, const char *suffix, int flags)
{
    char name[40];

    snprintf(name, sizeof(name), "%" PRId64 ".%s", id, suffix);
    return openat(logs->folder_fd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
}

int build_log_file(struct build_logs *logs, int64_t id, int *fd, struct error *err)
{
    *fd = log_file_open(logs, id, "log", O_RDONLY);
    if (*fd >= 0)
        return 0;
    if (errno == ENOENT)
        return error_set(err, ERROR_NOT_FOUND, "build %" PRId64 " has no log: it has not begun",
                         id);
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

/* Without the line it begins in; of a long line the rest. */
static struct slice whole_lines(struct slice text)
{
    const char *end = text.size == 0 ? NULL : memchr(text.at, '\n', text.size - 1);

    text = slice_from(text, end == NULL ? 1 : (size_t)(end - text.at) + 1);
    while (text.size > 0 && utf8_size(text) == 0)
        text = slice_from(text, 1);
    return text;
}

void build_log_tail(struct build_logs *logs, int64_t id, size_t bytes, struct buffer *out)
{
    OWNED(fd_drop) int fd = log_file_open(logs, id, "log", O_RDONLY);
    OWNED(memory_drop) char *tail = NULL;
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return;
    uint64_t size = (uint64_t)status.st_size;
    uint64_t from = size > bytes ? size - bytes - 1 : 0; /* and the end of a line before */
    tail = memory_new((size_t)(size - from) + 1);
    ssize_t got = pread(fd, tail, (size_t)(size - from), (off_t)from);
    struct slice text = {tail, got < 0 ? 0 : (size_t)got};
    buffer_append_slice(out, from > 0 ? whole_lines(text) : text);
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

static int folder_open(const char *folder, int *fd, struct error *err)
{
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_INTERNAL, errno, "the folder of logs cannot be made");
    *fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "the folder of logs cannot be used");
    return 0;
}

int build_logs_open(struct build_logs **out, const char *folder, struct error *err)
{
    struct build_logs *logs = memory_new(sizeof(*logs));

    *logs = (struct build_logs){.folder_fd = -1, .news_fd = -1, .epoll = -1};
    pthread_mutex_init(&logs->lock, NULL);
    if (folder_open(folder, &logs->folder_fd, err) == 0 && log_followers_open(logs, err) == 0) {
        *out = logs;
        return 0;
    }
    fd_drop(&logs->folder_fd);
    pthread_mutex_destroy(&logs->lock);
    free(logs);
    return -1;
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

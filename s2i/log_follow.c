/* log_follow.c - one thread that writes logs into the pipes of those who follow them.
 * Touches  files of logs, pipes.
 * Never    waits for a reader.
 *
 * A follower whose pipe is full waits for its reader; one that has all there is waits for news;
 * both cost nothing meanwhile. Its place in the log is all it has, and a piece that its
 * reader has not taken.
 *
 * (1) Followers of lines, LOG_TIMED and LOG_SSE, get whole lines; from an offset within a line, the
 *     lines behind it.
 * (2) LOG_SSE tells the end by an event "end", so that a client does not come again; a log that
 *     only stopped, because a process died, has no such end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/start.h"
#include "s2i/log_internal.h"

enum {
    TURNS = 8, /* pieces of one follower before others have a turn */
    EVENTS_MAX = 64,
    COMMENT_MS = 15 * 1000,
    LOOKS = 10, /* in that time: how exactly it is meant */
};

static void follower_free(struct build_logs *logs, struct follower *follower)
{
    if (follower->link != NULL) {
        *follower->link = follower->next;
        if (follower->next != NULL)
            follower->next->link = follower->link;
        logs->events -= follower->form == LOG_SSE;
    }
    if (follower->growth != NULL)
        log_growth_let_go(logs, follower->growth);
    feed_close(&follower->feed, logs->epoll);
    fd_drop(&follower->log_fd);
    fd_drop(&follower->index_fd);
    free(follower);
}

/* --- writing --- */

/* One step; FEED_WAITS: for the reader or, with nothing to write, for news. */
static enum feed_progress step(struct build_logs *logs, struct follower *follower)
{
    bool last;

    if (follower->feed.piece.size > 0)
        return feed_write(&follower->feed);
    if (follower->ended)
        return FEED_OVER;
    uint64_t size = log_readable(logs, follower, &last);
    if (log_piece_fill(follower, size))
        return FEED_MOVED;
    if (!last)
        return FEED_WAITS;
    follower->ended = true;
    if (follower->form == LOG_SSE && log_has_ended(follower))
        buffer_append_text(&follower->feed.piece, "event: end\ndata:\n\n");
    return FEED_MOVED;
}

/* Goes on until it has to wait, or is gone. */
static void go_on(struct build_logs *logs, struct follower *follower)
{
    enum feed_progress progress = FEED_MOVED;

    for (int turn = 0; progress == FEED_MOVED && turn < TURNS * 2; turn++)
        progress = step(logs, follower);
    if (progress == FEED_OVER)
        follower_free(logs, follower);
    else
        feed_rest(&follower->feed, logs->epoll, follower, progress);
}

/* --- the thread --- */

static void link_in(struct build_logs *logs, struct follower *follower)
{
    follower->next = logs->followers;
    follower->link = &logs->followers;
    if (follower->next != NULL)
        follower->next->link = &follower->next;
    logs->followers = follower;
    logs->events += follower->form == LOG_SSE;
}

static void arrivals_take(struct build_logs *logs)
{
    pthread_mutex_lock(&logs->lock);
    struct follower *arrived = TAKE(logs->arrived);
    pthread_mutex_unlock(&logs->lock);
    while (arrived != NULL) {
        struct follower *follower = arrived;
        arrived = follower->next;
        link_in(logs, follower);
        if (feed_watch(&follower->feed, logs->epoll, follower) < 0)
            follower_free(logs, follower);
        else
            go_on(logs, follower);
    }
}

/* Those that wait for their readers hear of it when these have read. */
static void tell(struct build_logs *logs, const struct log_growth *growth)
{
    for (struct follower *follower = logs->followers, *next; follower != NULL; follower = next) {
        next = follower->next;
        if (follower->growth == growth && !follower->feed.writable_wanted)
            go_on(logs, follower);
    }
}

static struct log_growth *news_next(struct build_logs *logs)
{
    pthread_mutex_lock(&logs->lock);
    struct log_growth *growth = logs->news;
    if (growth != NULL) {
        logs->news = growth->next_news;
        growth->news = false;
    }
    pthread_mutex_unlock(&logs->lock);
    return growth;
}

/* Not forever: a busy log has news again at once. */
static void news_take(struct build_logs *logs)
{
    struct log_growth *growth = NULL;
    uint64_t count;

    if (read(logs->news_fd, &count, sizeof(count)) < 0)
        return;
    arrivals_take(logs);
    for (int turn = 0; turn < TURNS && (growth = news_next(logs)) != NULL; turn++) {
        tell(logs, growth);
        log_growth_let_go(logs, growth);
    }
    if (growth != NULL)
        log_wake(logs);
}

/* What is silent for long looks dead to what stands between us and the browser. */
static void comments_make(struct build_logs *logs)
{
    uint64_t now = clock_monotonic_ms();

    for (struct follower *follower = logs->followers, *next; follower != NULL; follower = next) {
        next = follower->next;
        struct feed *feed = &follower->feed;
        if (follower->form != LOG_SSE || feed->piece.size > 0 ||
            now - feed->sent_ms < logs->comment_ms)
            continue;
        buffer_append_text(&feed->piece, ":\n\n");
        go_on(logs, follower);
    }
}

/* A follower has one event at a time: none is gone when its turn comes. */
static void readers_serve(struct build_logs *logs, const struct epoll_event *events, int count)
{
    for (int i = 0; i < count; i++) {
        struct follower *follower = events[i].data.ptr;
        if (follower == NULL) /* the news */
            continue;
        if ((events[i].events & EPOLLERR) != 0)
            follower_free(logs, follower);
        else
            go_on(logs, follower);
    }
}

static bool stopping(struct build_logs *logs)
{
    pthread_mutex_lock(&logs->lock);
    bool stops = logs->stopping;
    pthread_mutex_unlock(&logs->lock);
    return stops;
}

static void *run(void *argument)
{
    struct build_logs *logs = argument;
    struct epoll_event events[EVENTS_MAX];
    struct log_growth *growth;

    pthread_setname_np(pthread_self(), "build-logs");
    while (!stopping(logs)) {
        int look_ms = logs->events > 0 ? (int)(logs->comment_ms / LOOKS) : -1;
        int count = epoll_wait(logs->epoll, events, EVENTS_MAX, look_ms);
        readers_serve(logs, events, count);
        news_take(logs);
        if (logs->events > 0)
            comments_make(logs);
    }
    arrivals_take(logs);
    while ((growth = news_next(logs)) != NULL)
        log_growth_let_go(logs, growth);
    for (struct follower *follower = logs->followers, *next; follower != NULL; follower = next) {
        next = follower->next;
        follower_free(logs, follower);
    }
    return NULL;
}

void log_wake(struct build_logs *logs)
{
    static const uint64_t one = 1;

    if (write(logs->news_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* it is readable already */
}

static void descriptors_close(struct build_logs *logs)
{
    fd_drop(&logs->epoll);
    fd_drop(&logs->news_fd);
}

int log_followers_open(struct build_logs *logs, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN};

    logs->comment_ms = COMMENT_MS;
    logs->epoll = epoll_create1(EPOLL_CLOEXEC);
    logs->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (logs->epoll < 0 || logs->news_fd < 0 ||
        epoll_ctl(logs->epoll, EPOLL_CTL_ADD, logs->news_fd, &event) < 0) {
        error_set_errno(err, ERROR_INTERNAL, errno, "logs cannot be followed");
        descriptors_close(logs);
        return -1;
    }
    if (thread_start(&logs->thread, run, logs, err) == 0)
        return 0;
    descriptors_close(logs);
    return -1;
}

void log_followers_close(struct build_logs *logs)
{
    pthread_mutex_lock(&logs->lock);
    logs->stopping = true;
    pthread_mutex_unlock(&logs->lock);
    log_wake(logs);
    pthread_join(logs->thread, NULL);
    descriptors_close(logs);
}

/* --- a new follower --- */

static void follower_drop(struct follower **owned)
{
    struct follower *follower = TAKE(*owned);

    if (follower == NULL)
        return;
    feed_close(&follower->feed, -1);
    fd_drop(&follower->log_fd);
    fd_drop(&follower->index_fd);
    free(follower);
}

int build_log_follow(struct build_logs *logs, const struct log_follow *wish, int *fd,
                     struct error *err)
{
    OWNED(follower_drop) struct follower *follower = memory_new(sizeof(*follower));

    *follower = (struct follower){.feed = FEED_NONE,
                                  .index_fd = -1,
                                  .form = wish->form,
                                  .follow = wish->follow,
                                  .offset = wish->offset};
    if (build_log_file(logs, wish->id, &follower->log_fd, err) < 0)
        return -1;
    follower->index_fd = log_file_open(logs, wish->id, "index", O_RDONLY);
    if (follower->index_fd < 0 || feed_open(&follower->feed, 0, fd) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno,
                               "the log of build %" PRId64 " cannot be followed", wish->id);
    log_place(follower);
    follower->growth = log_growth_hold(logs, wish->id);
    pthread_mutex_lock(&logs->lock);
    follower->next = logs->arrived;
    logs->arrived = TAKE(follower);
    pthread_mutex_unlock(&logs->lock);
    log_wake(logs);
    return 0;
}

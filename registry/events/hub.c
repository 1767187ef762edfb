/* hub.c - one thread that writes events into the pipes of those who follow them.
 * Touches  pipes; auth, by way of show.c.
 * Never    waits for a reader.
 *
 * A follower whose pipe is full waits for its reader, and its place in the ring is all it has
 * meanwhile; one that has everything waits for news. While events come without end they are
 * gathered for GATHER_MS at a time: each follower is woken so often and not for each of them. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/start.h"
#include "registry/events/events_internal.h"

enum {
    PIPE_SIZE = 4096,  /* one page: events(4) */
    PIECE_SIZE = 4096, /* gathered before it is written */
    TURNS = 64,        /* steps of one follower before others have a turn */
    READY_MAX = 64,
    COMMENT_MS = 15 * 1000,
    GATHER_MS = 50,
    LOOK_MS = 1000, /* how soon an ended session ends its stream */
    RETRY_MS = 2000,
};

/* --- life of the hub --- */

struct events *events_open(void)
{
    struct events *events = memory_new(sizeof(*events));

    ring_open(&events->ring);
    snprintf(events->start, sizeof(events->start), "%016" PRIx64, (uint64_t)clock_now_us());
    events->epoll = events->news_fd = -1;
    events->comment_ms = COMMENT_MS;
    events->gather_ms = GATHER_MS;
    pthread_mutex_init(&events->lock, NULL);
    return events;
}

static void descriptors_close(struct events *events)
{
    fd_drop(&events->epoll);
    fd_drop(&events->news_fd);
}

void events_close(struct events *events)
{
    if (events == NULL)
        return;
    descriptors_close(events);
    ring_close(&events->ring);
    pthread_mutex_destroy(&events->lock);
    free(events);
}

static void wake(struct events *events)
{
    static const uint64_t one = 1;

    if (write(events->news_fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* it is readable already */
}

/* events (1) */
void events_told(void *arg, struct news *news, uint64_t lost)
{
    struct events *events = arg;

    (void)lost; /* one gap, however many */
    ring_add(&events->ring, news);
    if (atomic_load(&events->watched) && !atomic_exchange(&events->told, true))
        wake(events);
}

uint64_t events_now(struct events *events)
{
    return ring_last(&events->ring);
}

uint64_t events_oldest(struct events *events)
{
    return ring_first(&events->ring) - 1;
}

/* --- one follower --- */

static void follower_free(struct events *events, struct follower *follower)
{
    if (follower->owner != NULL)
        seat_give_back(events, follower->owner);
    identity_drop(&follower->who);
    feed_close(&follower->feed, -1);
    free(follower->repository);
    free(follower);
}

/* His stream ends; he stands in the list until the next sweep. */
static void follower_end(struct events *events, struct follower *follower)
{
    feed_close(&follower->feed, events->epoll);
    follower->gone = events->any_gone = true;
}

static void sweep(struct events *events)
{
    struct follower **link = &events->followers;

    while (events->any_gone && *link != NULL) {
        struct follower *follower = *link;
        if (follower->gone) {
            *link = follower->next;
            follower_free(events, follower);
        } else {
            link = &follower->next;
        }
    }
    events->any_gone = false;
}

/* Looks at the next event. False: there is none. */
static bool next_show(struct events *events, struct follower *follower) ON(worker_thread)
{
    OWNED(ring_entry_drop) struct ring_entry *entry = NULL;

    if (follower->place >= follower->end) {
        follower->over = true;
        return false;
    }
    switch (ring_after(&events->ring, &follower->place, &entry)) {
    case RING_NOTHING:
        return false;
    case RING_MISSED:
        gap_show(events, follower);
        return true;
    case RING_EVENT:
        break;
    }
    event_show(events, follower, entry);
    return true;
}

/* One step; FEED_WAITS: for the reader or, with nothing to write, for news. */
static enum feed_progress step(struct events *events, struct follower *follower) ON(worker_thread)
{
    bool more = true;

    const struct buffer *piece = &follower->feed.piece;

    if (piece->size > 0)
        return feed_write(&follower->feed);
    for (int i = 0; i < TURNS && more && !follower->over && piece->size < PIECE_SIZE; i++)
        more = next_show(events, follower);
    if (piece->size > 0)
        return feed_write(&follower->feed);
    if (follower->over)
        return FEED_OVER;
    return more ? FEED_MOVED : FEED_WAITS;
}

/* events (3): before anything is shown. What waits to be written was shown in time. */
static bool stands(struct events *events, struct follower *follower) ON(worker_thread)
{
    struct error why = {0};

    return auth_renew(events->options.auth, &follower->who, &why) == 0;
}

/* Goes on until it has to wait, or is gone. */
static void go_on(struct events *events, struct follower *follower) ON(worker_thread)
{
    enum feed_progress progress = stands(events, follower) ? FEED_MOVED : FEED_OVER;

    for (int turn = 0; progress == FEED_MOVED && turn < TURNS; turn++)
        progress = step(events, follower);
    if (progress == FEED_OVER)
        follower_end(events, follower);
    else
        feed_rest(&follower->feed, events->epoll, follower, progress);
}

/* --- the thread --- */

static void link_in(struct events *events, struct follower *follower) ON(worker_thread)
{
    follower->next = events->followers;
    events->followers = follower;
    if (feed_watch(&follower->feed, events->epoll, follower) < 0)
        follower_end(events, follower);
    else
        go_on(events, follower);
}

static void arrivals_take(struct events *events) ON(worker_thread)
{
    pthread_mutex_lock(&events->lock);
    struct follower *follower = TAKE(events->arrived);
    pthread_mutex_unlock(&events->lock);
    while (follower != NULL) {
        struct follower *next = follower->next;
        link_in(events, follower);
        follower = next;
    }
}

/* Those that wait for their readers hear of it when these have read. */
static void tell_all(struct events *events) ON(worker_thread)
{
    atomic_store(&events->told, false); /* before looking: who tells from now on wakes again */
    events->served_ms = clock_monotonic_ms();
    for (struct follower *follower = events->followers; follower != NULL; follower = follower->next)
        if (!follower->gone && !follower->feed.writable_wanted)
            go_on(events, follower);
}

static void readers_serve(struct events *events, const struct epoll_event *ready, int count)
    ON(worker_thread)
{
    for (int i = 0; i < count; i++) {
        struct follower *follower = ready[i].data.ptr;
        if (follower == NULL) /* the wake-up */
            continue;
        if ((ready[i].events & EPOLLERR) != 0)
            follower_end(events, follower);
        else
            go_on(events, follower);
    }
}

/* What is silent for long looks dead to what stands between us and the browser; and who may no
 * longer follow is not to wait for the next event to hear of it. */
static void look_after(struct events *events) ON(worker_thread)
{
    uint64_t now = clock_monotonic_ms();

    for (struct follower *follower = events->followers; follower != NULL;
         follower = follower->next) {
        if (follower->gone)
            continue;
        const struct feed *feed = &follower->feed;
        if (feed->piece.size == 0 && now - feed->sent_ms >= events->comment_ms)
            comment_show(events, follower);
        if (!feed->writable_wanted)
            go_on(events, follower);
        else if (!stands(events, follower))
            follower_end(events, follower);
    }
}

static bool stopping(struct events *events)
{
    pthread_mutex_lock(&events->lock);
    bool stops = events->stopping;
    pthread_mutex_unlock(&events->lock);
    return stops;
}

/* How long there is nothing to do; -1: until somebody comes. */
static int wait_ms(struct events *events)
{
    uint64_t due = events->served_ms + events->gather_ms, now = clock_monotonic_ms();
    uint64_t look_ms = events->comment_ms < LOOK_MS ? events->comment_ms : LOOK_MS;

    if (atomic_load(&events->told))
        return now < due ? (int)(due - now) : 0;
    return events->followers == NULL ? -1 : (int)look_ms;
}

/* What is due of it. */
static void serve(struct events *events, uint64_t *looked_ms) ON(worker_thread)
{
    uint64_t woken, now = clock_monotonic_ms();
    uint64_t look_ms = events->comment_ms < LOOK_MS ? events->comment_ms : LOOK_MS;

    if (read(events->news_fd, &woken, sizeof(woken)) > 0)
        arrivals_take(events);
    if (atomic_load(&events->told) && now >= events->served_ms + events->gather_ms)
        tell_all(events);
    if (now - *looked_ms < look_ms)
        return;
    *looked_ms = now;
    look_after(events);
}

static void *run(void *arg)
{
    struct events *events = arg;
    struct epoll_event ready[READY_MAX];
    uint64_t looked_ms = clock_monotonic_ms();

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "events");
    while (!stopping(events)) {
        int count = epoll_wait(events->epoll, ready, READY_MAX, wait_ms(events));
        readers_serve(events, ready, count);
        serve(events, &looked_ms);
        sweep(events);
    }
    arrivals_take(events);
    for (struct follower *follower = events->followers; follower != NULL; follower = follower->next)
        if (!follower->gone)
            follower_end(events, follower);
    sweep(events);
    return NULL;
}

int events_start(struct events *events, const struct events_options *options, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN};

    events->options = *options;
    events->epoll = epoll_create1(EPOLL_CLOEXEC);
    events->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (events->epoll < 0 || events->news_fd < 0 ||
        epoll_ctl(events->epoll, EPOLL_CTL_ADD, events->news_fd, &event) < 0) {
        error_set_errno(err, ERROR_INTERNAL, errno, "events cannot be followed");
        descriptors_close(events);
        return -1;
    }
    if (thread_start(&events->thread, run, events, err) < 0) {
        descriptors_close(events);
        return -1;
    }
    events->started = true;
    return 0;
}

void events_stop(struct events *events)
{
    if (events == NULL || !events->started)
        return;
    pthread_mutex_lock(&events->lock);
    events->stopping = true;
    pthread_mutex_unlock(&events->lock);
    wake(events);
    pthread_join(events->thread, NULL);
    events->started = false;
    buffer_drop(&events->visibility.name);
}

/* --- a new follower --- */

static struct follower *follower_new(const struct events_wish *wish)
{
    struct follower *follower = memory_new(sizeof(*follower));

    *follower = (struct follower){.feed = FEED_NONE,
                                  .who = identity_hold(wish->who),
                                  .kinds = wish->kinds,
                                  .job = wish->job,
                                  .place = wish->place,
                                  .end = UINT64_MAX};
    if (wish->repository.at != NULL)
        follower->repository = memory_text(wish->repository);
    return follower;
}

/* The first thing he gets: where he stands, so that he can come again though nothing happened. */
static int greet(struct events *events, struct follower *follower, const struct events_wish *wish,
                 struct error *err)
{
    bool missed = false;

    if (wish->once)
        follower->end = events_now(events);
    if (wish->last.at != NULL &&
        event_id_read(events, wish->last, &follower->place, &missed, err) < 0)
        return -1;
    buffer_print(&follower->feed.piece, "retry: %d\n", RETRY_MS);
    comment_show(events, follower);
    if (missed)
        gap_show(events, follower);
    buffer_append_slice(&follower->feed.piece, wish->first);
    return 0;
}

int events_follow(struct events *events, const struct events_wish *wish, int *fd, struct error *err)
{
    struct follower *follower = follower_new(wish);

    if (greet(events, follower, wish, err) < 0 ||
        seat_take(events, wish->who, &follower->owner, err) < 0) {
        follower_free(events, follower);
        return -1;
    }
    if (feed_open(&follower->feed, PIPE_SIZE, fd) < 0) {
        error_set_errno(err, ERROR_INTERNAL, errno, "events cannot be followed now");
        follower_free(events, follower);
        return -1;
    }
    pthread_mutex_lock(&events->lock);
    follower->next = events->arrived;
    events->arrived = follower;
    pthread_mutex_unlock(&events->lock);
    wake(events);
    return 0;
}

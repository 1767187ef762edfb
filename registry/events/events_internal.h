/* events_internal.h - the hub and those who follow it.
 * Touches  nothing by itself.
 * Never    included outside of registry/events/ and its tests. */
#ifndef SLIPWAY_EVENTS_INTERNAL_H
#define SLIPWAY_EVENTS_INTERNAL_H

#include "registry/core/feed.h"
#include "registry/events/events.h"
#include "registry/events/ring.h"

enum { START_SIZE = 16 }; /* digits of a start */

/* Who follows, counted by account; under the hub's lock. */
struct owner {
    struct owner *next;
    enum identity_kind kind;
    int64_t account;
    char *name;
    uint64_t followers;
};

/* The thread's own once it has arrived. */
struct follower {
    struct follower *next; /* in hub->followers, or hub->arrived */
    struct owner *owner;
    const struct identity *who; /* held */
    struct feed feed;
    unsigned kinds;
    char *repository; /* a glob; NULL: all */
    int64_t job;
    uint64_t place; /* number of what was looked at last */
    uint64_t end;   /* the place where it is over; UINT64_MAX: nowhere */
    bool over;      /* ends when the piece is written */
    bool gone;      /* has ended */
};

/* What is known of the repository that was asked about last; the thread's own. */
struct visibility {
    struct buffer name;
    uint64_t generation;
    bool known, public;
};

struct events {
    struct ring ring;
    struct events_options options; /* immutable once started, as is all to the next blank line */
    char start[START_SIZE + 1];
    int epoll, news_fd;
    uint64_t comment_ms, gather_ms;
    bool started;
    pthread_t thread;

    atomic_bool told;    /* something nobody was shown yet, and the thread knows it */
    atomic_bool watched; /* somebody follows */

    struct follower *followers; /* the thread's own, as is what follows */
    bool any_gone;
    struct visibility visibility;
    uint64_t served_ms;

    pthread_mutex_t lock; /* of what follows */
    struct follower *arrived;
    struct owner *owners;
    uint64_t count;
    bool stopping;
};

/* --- seats: seat.c --- */

/* TOOMANYREQUESTS */
int seat_take(struct events *events, const struct identity *who, struct owner **out,
              struct error *err) MUST_CHECK;
void seat_give_back(struct events *events, struct owner *owner);

/* --- what one gets: show.c --- */

void event_id_print(const struct events *events, uint64_t number, char out[START_SIZE + 24]);
/* Where he stood who saw this id last. *missed: it was of another start, or is none that was given
 * yet. INVALID  it is no id */
int event_id_read(struct events *events, struct slice id, uint64_t *place, bool *missed,
                  struct error *err) MUST_CHECK;
/* Appends the event to his piece when he is to see it; the end, too, where it is the last. */
void event_show(struct events *events, struct follower *follower, const struct ring_entry *entry)
    ON(worker_thread);
void gap_show(const struct events *events, struct follower *follower);
void comment_show(const struct events *events, struct follower *follower);

#endif

/* events.h - what happens in the registry, live: one stream that many follow, each sees his part.
 * Touches  memory, a thread, the pipes of those who follow; auth, for who sees what.
 * Never    the disk; makes whoever changes something wait; knows how an event is written.
 *
 * (1) Telling the hub takes a lock for an instant and at most one wake-up. What is kept for those
 *     who come again is bounded, in number and in bytes: the oldest goes.
 * (2) Ids grow by one and begin anew with each start of the server; as text they name the start
 *     too. Who asks for what is kept no longer, or was of another start, is told so ("gap").
 * (3) What a follower gets is judged by his rights at the time it is sent. When what he showed ends
 *     (a session, a token, an account), so does his stream.
 * (4) A reader that does not read costs a pipe of one page and one piece, however much happens.
 *
 * Spec: s2i 13.48. */
#ifndef SLIPWAY_EVENTS_EVENTS_H
#define SLIPWAY_EVENTS_EVENTS_H

#include "auth/auth.h"
#include "storage/news.h"

struct events;

/* Only keeps what it is told, until it is started. */
struct events *events_open(void);
/* After whoever tells it has ended. Accepts NULL. */
void events_close(struct events *events);
/* As the told of storage_options. Any thread; consumes news. */
void events_told(void *events, struct news *news, uint64_t lost);

struct events_options {
    struct auth *auth;                      /* borrowed until events_stop */
    struct storage *storage;                /* the same */
    uint64_t followers_max, followers_each; /* at a time: of all, of one account */
    /* The JSON of one, an object with "id" as its first member; people: whether names of accounts
     * are for him. */
    void (*write)(struct buffer *out, const char *id, const struct news *news, bool people);
};
int events_start(struct events *events, const struct events_options *options,
                 struct error *err) MUST_CHECK;
/* Ends all streams. Accepts NULL, and a hub that was not started. */
void events_stop(struct events *events);

/* The place in the stream where nothing has happened yet; the one of the oldest that is kept. */
uint64_t events_now(struct events *events);
uint64_t events_oldest(struct events *events);

struct events_wish {
    const struct identity *who; /* held by the stream */
    unsigned kinds;             /* bits 1 << enum news_kind */
    struct slice repository;    /* a glob, "*" matches slashes too; SLICE_NONE: all */
    int64_t job;                /* 0, or: only of this job, until it ends */
    struct slice last;          /* the id he saw last; SLICE_NONE: from `place` on */
    uint64_t place;
    bool once;          /* what has happened until now, then it ends */
    struct slice first; /* sent first, as it is; SLICE_NONE */
};
/* Server-sent events into a pipe; *fd is its other end, and closing it ends the stream.
 *   Each event has a name ("push", "delete", "build", "job"), an id and one line of data.
 *   "gap": some were missed.  "end": the job has ended, nothing follows.
 * INVALID  last is no id of ours.  TOOMANYREQUESTS  too many follow already */
int events_follow(struct events *events, const struct events_wish *wish, int *fd,
                  struct error *err) MUST_CHECK ON(worker_thread);

#endif

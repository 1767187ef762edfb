/* queue_internal.h - shared by queue.c (threads that claim rows), running.c (what runs, and how it
 * is stopped) and perform.c (one build, to its end in its row).
 * Touches  nothing by itself.
 * Never    included by others.
 *
 *   claimed --> RUNNING, in the list --run() returned--> row ended --> out of the list, told
 *
 * (1) Whoever makes a row that can run, or ends one, says so after its commit: `look`. One thread
 *     at a time looks; it says so again when it found something. So none is overlooked, and a crowd
 *     of threads does not ask the database the same.
 * (2) A build is in the list from before its claim can be seen (a claim in progress counts) until
 *     after its end is in its row: who cancels finds it in one of the two.
 * (3) An end that cannot be recorded (the disk is full) is tried again until it is, or the queue
 *     closes: then the row is one that was interrupted. */
#ifndef SLIPWAY_S2I_QUEUE_INTERNAL_H
#define SLIPWAY_S2I_QUEUE_INTERNAL_H

#include "s2i/queue.h"

enum { QUEUE_AGAIN_MS = 3000 }; /* after a failure of the database */

struct queue {
    struct queue_options with;
    pthread_t *threads;
    unsigned thread_count;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t work, changed;
    bool closing;
    bool look;     /* (1) */
    bool looking;  /* a thread is at it */
    bool claiming; /* (2) */
    struct running *list;
    unsigned running, plans;
};

/* False when the queue closes. */
bool queue_pause(struct queue *queue, uint64_t ms);

/* --- running.c; both under lock --- */

void running_add(struct queue *queue, struct running *running);
/* The first who wants it stays. closing: by the end of the server. */
void running_stop(struct running *running, bool closing, struct slice by, struct slice why);

/* --- perform.c --- */

/* Runs the build to its end, which is in its row and told then, save when the server ends. */
void queue_perform(struct queue *queue, struct running *running) ON(worker_thread);

#endif

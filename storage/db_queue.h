/* db_queue.h - works waiting for the one thread that writes: foreground before background.
 * Touches  memory; the threads that wait in it.
 * Never    the database. */
#ifndef SLIPWAY_STORAGE_DB_QUEUE_H
#define SLIPWAY_STORAGE_DB_QUEUE_H

#include <pthread.h>
#include <semaphore.h>

#include "storage/db.h"

/* One db_write under way; lives on the stack of its caller, who sleeps until it is answered. */
struct db_member {
    const struct db_work *work;
    struct error *err; /* the caller's */
    int result;
    struct db_bulletin bulletin; /* db (5) */
    sem_t answered;
    struct db_member *next;
};

struct db_members {
    struct db_member *first;
    struct db_member *last;
};

struct db_queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct db_members waiting[DB_PRIORITIES]; /* guarded by lock, as what follows */
    bool heavy_turn;
    bool poked;
    bool closed;
};

void db_queue_open(struct db_queue *queue);
void db_queue_drop(struct db_queue *queue);
/* Any thread: queues and waits.  UNAVAILABLE  the queue is closed */
int db_queue_run(struct db_queue *queue, const struct db_work *work, struct error *err);
/* The writer: waits for works or a poke, then gives one heavy work, or up to max of each other
 * kind, foreground first. False when the queue is closed and empty. */
bool db_queue_take(struct db_queue *queue, size_t max, struct db_members *out);
/* All that waits; waits for nothing. */
void db_queue_take_all(struct db_queue *queue, struct db_members *out);
/* What was taken and not begun: to the front again, in its order. */
void db_queue_return(struct db_queue *queue, struct db_members *members);
/* Sets the result and wakes the caller; the member is gone afterwards. */
void db_member_answer(struct db_member *member, int result);
void db_members_add(struct db_members *members, struct db_member *member);
struct db_member *db_members_shift(struct db_members *members); /* NULL when empty */
/* Makes db_queue_take return though there may be no work. */
void db_queue_poke(struct db_queue *queue);
/* No more works are accepted; what waits is still given out. */
void db_queue_close(struct db_queue *queue);
/* timeout_ms, whatever is queued meanwhile; true, and at once, when the queue was closed. */
bool db_queue_pause(struct db_queue *queue, int timeout_ms);

#endif

/* ring.h - the last events, each with its number; who reads them keeps his own place.
 * Touches  memory.
 * Never    included outside of registry/events/ and its tests. */
#ifndef SLIPWAY_EVENTS_RING_H
#define SLIPWAY_EVENTS_RING_H

#include <pthread.h>
#include <stdatomic.h>

#include "storage/news.h"

enum { RING_EVENTS = 4096, RING_BYTES = 4 << 20 };

/* Immutable but for who holds it. */
struct ring_entry {
    _Atomic uint32_t holders;
    uint64_t number;   /* from 1 */
    size_t cost;       /* bytes of memory */
    struct news *news; /* NULL: some were lost before they came here */
};
void ring_entry_drop(struct ring_entry **event); /* for OWNED; gives back one hold */

struct ring {
    pthread_mutex_t lock; /* of what follows; held for an instant */
    uint64_t first, next; /* numbers of the oldest that is kept, and of the next to come */
    size_t bytes;
    struct ring_entry *items[RING_EVENTS]; /* at number % RING_EVENTS */
};
void ring_open(struct ring *ring);
void ring_close(struct ring *ring);
/* Consumes news; NULL: some were lost. */
void ring_add(struct ring *ring, struct news *news);
uint64_t ring_last(struct ring *ring);  /* the number of the newest; 0: there was none yet */
uint64_t ring_first(struct ring *ring); /* of the oldest that is kept, or the next to come */

enum ring_found { RING_NOTHING, RING_EVENT, RING_MISSED };
/* What comes after *place, which moves on. RING_EVENT: *out is held. RING_MISSED: what came next is
 * gone, and *place stands before the oldest that is kept. */
enum ring_found ring_after(struct ring *ring, uint64_t *place, struct ring_entry **out);

#endif

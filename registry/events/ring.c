/* ring.c - the last events. */
#include "registry/events/ring.h"

#include <stdlib.h>

#include "registry/core/attributes.h"

void ring_open(struct ring *ring)
{
    pthread_mutex_init(&ring->lock, NULL);
    ring->first = ring->next = 1;
    ring->bytes = 0;
}

static struct ring_entry **slot_of(struct ring *ring, uint64_t number)
{
    return &ring->items[number % RING_EVENTS];
}

/* Under the lock. */
static struct ring_entry *oldest_take(struct ring *ring)
{
    struct ring_entry *entry = TAKE(*slot_of(ring, ring->first));

    ring->first++;
    ring->bytes -= entry->cost;
    return entry;
}

void ring_close(struct ring *ring)
{
    while (ring->first < ring->next) {
        struct ring_entry *entry = oldest_take(ring);
        ring_entry_drop(&entry);
    }
    pthread_mutex_destroy(&ring->lock);
}

void ring_entry_drop(struct ring_entry **owned)
{
    struct ring_entry *entry = TAKE(*owned);

    if (entry == NULL || atomic_fetch_sub_explicit(&entry->holders, 1, memory_order_acq_rel) != 1)
        return;
    news_drop(entry->news);
    free(entry);
}

static struct ring_entry *entry_new(struct news *news)
{
    struct ring_entry *entry = memory_new(sizeof(*entry));

    atomic_init(&entry->holders, 1);
    entry->news = news;
    entry->cost = sizeof(*entry) + (news == NULL ? 0 : news_size(news));
    return entry;
}

/* The oldest go until there is room; the new one always has it. */
void ring_add(struct ring *ring, struct news *news)
{
    struct ring_entry *entry = entry_new(news);
    bool full = true;

    pthread_mutex_lock(&ring->lock);
    while (full) {
        full = ring->next - ring->first == RING_EVENTS ||
               (ring->first < ring->next && ring->bytes + entry->cost > RING_BYTES);
        struct ring_entry *gone = full ? oldest_take(ring) : NULL;
        ring_entry_drop(&gone);
    }
    entry->number = ring->next;
    *slot_of(ring, ring->next++) = entry;
    ring->bytes += entry->cost;
    pthread_mutex_unlock(&ring->lock);
}

uint64_t ring_last(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    uint64_t last = ring->next - 1;
    pthread_mutex_unlock(&ring->lock);
    return last;
}

uint64_t ring_first(struct ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    uint64_t first = ring->first;
    pthread_mutex_unlock(&ring->lock);
    return first;
}

enum ring_found ring_after(struct ring *ring, uint64_t *place, struct ring_entry **out)
{
    enum ring_found found = RING_NOTHING;

    pthread_mutex_lock(&ring->lock);
    if (*place + 1 < ring->first) {
        *place = ring->first - 1;
        found = RING_MISSED;
    } else if (*place + 1 < ring->next) {
        *out = *slot_of(ring, ++*place);
        atomic_fetch_add_explicit(&(*out)->holders, 1, memory_order_relaxed);
        found = RING_EVENT;
    }
    pthread_mutex_unlock(&ring->lock);
    return found;
}

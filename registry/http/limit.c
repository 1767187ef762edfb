/* limit.c - a bucket per address in a table of fixed size.
 * Touches  memory only.
 * Never    allocates per address, waits.
 *
 * Each address owns the time at which its bucket will be empty again; a request moves that time on
 * by 1/rate and is one too many when it lies more than the burst ahead. A full set gives up the
 * entry that is emptiest: an attacker with many addresses can only make others' counts forgotten,
 * never block them. Spec: LIM-06. */
#include "registry/http/limit.h"

#include <pthread.h>
#include <stdlib.h>

enum {
    SETS = 2048,
    WAYS = 4,
    BURST_MS = 2000, /* what an idle address may send at once, in time of its rate */
};

struct bucket {
    uint64_t key;
    uint64_t empty_at_us;
};

struct limiter {
    pthread_mutex_t lock;
    uint64_t cost_us;                  /* immutable */
    uint64_t seed;                     /* immutable */
    struct bucket buckets[SETS][WAYS]; /* under lock */
};

struct limiter *limiter_open(uint64_t requests_per_second)
{
    struct limiter *limiter = memory_new(sizeof(*limiter));

    pthread_mutex_init(&limiter->lock, NULL);
    limiter->cost_us = 1000000 / requests_per_second;
    random_bytes(&limiter->seed, sizeof(limiter->seed));
    return limiter;
}

void limiter_close(struct limiter *limiter)
{
    if (limiter == NULL)
        return;
    pthread_mutex_destroy(&limiter->lock);
    free(limiter);
}

static struct bucket *bucket_of(struct limiter *limiter, uint64_t key)
{
    struct bucket *set = limiter->buckets[key % SETS], *emptiest = set;

    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].empty_at_us < emptiest->empty_at_us)
            emptiest = &set[i];
    }
    *emptiest = (struct bucket){.key = key};
    return emptiest;
}

bool limiter_admit(struct limiter *limiter, struct slice address, uint64_t now_ms)
{
    uint64_t key = bytes_hash(limiter->seed, address.at, address.size);
    uint64_t now = now_ms * 1000;

    pthread_mutex_lock(&limiter->lock);
    struct bucket *bucket = bucket_of(limiter, key);
    if (bucket->empty_at_us < now)
        bucket->empty_at_us = now;
    bool admitted =
        bucket->empty_at_us + limiter->cost_us <= now + BURST_MS * 1000 + limiter->cost_us;
    if (admitted)
        bucket->empty_at_us += limiter->cost_us;
    pthread_mutex_unlock(&limiter->lock);
    return admitted;
}

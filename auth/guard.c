/* guard.c - budgets for guessing, by account and by address.
 * Touches  memory, bounded: three tables of fixed size, 2.5 MiB when full.
 * Never    locks anybody out for good; tells whether an account exists.
 *
 * A budget is a bucket that holds `count` failures and drains at count/per_ms, but not while it is
 * paused. A failure that finds room is free. One that finds none begins a pause of 1 s, 2 s, 4 s,
 * ... 60 s; an empty bucket begins anew at 1 s. So whoever goes on guessing ends at one attempt a
 * minute, and after per_ms of rest everything is as at first.
 *
 * An attempt is judged by its address and its account, or in place of the account by the pair of
 * both where the pair is known: signed in within KNOWN_MS (guard (2)). Pairs are made by successes
 * only, so strangers cannot crowd them out. A success forgives what it was judged by, and of the
 * address's failures its own attempt: a success by a known pair leaves the account's budget alone,
 * for else a robot that signs in every second would renew the budget of everybody who guesses its
 * password. */
#include "auth/guard.h"

#include <pthread.h>
#include <stdlib.h>

#include "auth/slots.h"

enum {
    ACCOUNTS = 16 * 1024,
    ADDRESSES = 16 * 1024,
    PAIRS = 32 * 1024,
    PAUSE_MIN_MS = 1000,
    PAUSE_MAX_MS = 60 * 1000,
    DOUBLINGS = 6, /* 64 s: above the longest pause */
};

static const uint64_t KNOWN_MS = 7ull * 24 * 3600 * 1000;
static const uint64_t RATE_MAX = 1000 * 1000 * 1000; /* count * per_ms stays within 64 bits */

struct rate {
    uint64_t count, per_ms;
};

struct budget {
    uint64_t debt;       /* per_ms for each failure that did not drain yet */
    uint64_t free_at_ms; /* the end of its pause; or when it was drained last */
    uint32_t doublings;
    uint32_t paused; /* the last attempt began a pause */
};

struct pair {
    struct budget budget;
    uint64_t signed_in_ms; /* 0: never */
};

struct guard {
    struct rate account, address; /* immutable */
    pthread_mutex_t lock;         /* of what follows */
    uint64_t now_ms; /* the latest that was given: threads read their clocks before the lock */
    struct slots *accounts, *addresses, *pairs;
};

static struct rate rate_of(uint64_t count, uint64_t per_ms)
{
    return (struct rate){count < RATE_MAX ? count : RATE_MAX,
                         per_ms < RATE_MAX ? per_ms : RATE_MAX};
}

struct guard *guard_open(const struct guard_options *options)
{
    struct guard *guard = memory_new(sizeof(*guard));

    guard->account = rate_of(options->account_count, options->account_per_ms);
    guard->address = rate_of(options->address_count, options->address_per_ms);
    pthread_mutex_init(&guard->lock, NULL);
    guard->accounts = slots_open(ACCOUNTS, sizeof(struct budget));
    guard->addresses = slots_open(ADDRESSES, sizeof(struct budget));
    guard->pairs = slots_open(PAIRS, sizeof(struct pair));
    return guard;
}

void guard_close(struct guard *guard)
{
    if (guard == NULL)
        return;
    slots_close(guard->accounts);
    slots_close(guard->addresses);
    slots_close(guard->pairs);
    pthread_mutex_destroy(&guard->lock);
    free(guard);
}

/* --- one budget; NULL is without limit --- */

/* Drains it; milliseconds until it may be tried. */
static uint64_t budget_wait(struct budget *budget, struct rate rate, uint64_t now_ms)
{
    if (budget == NULL)
        return 0;
    if (now_ms < budget->free_at_ms)
        return budget->free_at_ms - now_ms;
    uint64_t rested = now_ms - budget->free_at_ms;
    uint64_t drained = (rested < rate.per_ms ? rested : rate.per_ms) * rate.count;
    budget->debt -= drained < budget->debt ? drained : budget->debt;
    budget->free_at_ms = now_ms;
    if (budget->debt == 0)
        budget->doublings = 0;
    return 0;
}

static void budget_take(struct budget *budget, struct rate rate, uint64_t now_ms)
{
    if (budget == NULL)
        return;
    budget->paused = budget->debt + rate.per_ms > rate.count * rate.per_ms;
    if (!budget->paused) {
        budget->debt += rate.per_ms;
        return;
    }
    uint64_t pause_ms = (uint64_t)PAUSE_MIN_MS << budget->doublings;
    budget->free_at_ms = now_ms + (pause_ms < PAUSE_MAX_MS ? pause_ms : PAUSE_MAX_MS);
    budget->doublings += budget->doublings < DOUBLINGS;
}

/* As if one attempt fewer had been made. */
static void budget_give_back(struct budget *budget, struct rate rate, uint64_t now_ms)
{
    if (budget == NULL)
        return;
    if (!budget->paused) {
        budget->debt -= rate.per_ms < budget->debt ? rate.per_ms : budget->debt;
        return;
    }
    budget->paused = false;
    budget->doublings -= budget->doublings > 0;
    if (budget->free_at_ms > now_ms)
        budget->free_at_ms = now_ms;
}

/* --- who is judged by what; under the lock --- */

struct judged {
    struct budget *who, *address;
    struct pair *pair; /* known: who is its budget */
    uint64_t now_ms;
};

/* Time that does not step back. */
static uint64_t time_at(struct guard *guard, uint64_t now_ms)
{
    return guard->now_ms = now_ms > guard->now_ms ? now_ms : guard->now_ms;
}

static struct pair *pair_known(struct guard *guard, struct slice name, struct slice network,
                               uint64_t now_ms)
{
    struct pair *pair = slots_find(guard->pairs, network, name, now_ms);

    return pair == NULL || now_ms - pair->signed_in_ms > KNOWN_MS ? NULL : pair;
}

static struct judged judged_by(struct guard *guard, struct slice name, struct slice network,
                               uint64_t now_ms)
{
    struct judged by = {.now_ms = time_at(guard, now_ms)};

    if (guard->address.count > 0)
        by.address = slots_take(guard->addresses, network, SLICE_NONE, by.now_ms);
    if (name.at == NULL || guard->account.count == 0)
        return by;
    by.pair = pair_known(guard, name, network, by.now_ms);
    by.who = by.pair != NULL ? &by.pair->budget
                             : slots_take(guard->accounts, name, SLICE_NONE, by.now_ms);
    return by;
}

static struct slice network_slice(const uint8_t network[GUARD_NETWORK_SIZE])
{
    return (struct slice){(const char *)network, GUARD_NETWORK_SIZE};
}

/* Spec: TOK-20. */
uint64_t guard_begin(struct guard *guard, struct slice name,
                     const uint8_t network[GUARD_NETWORK_SIZE], uint64_t now_ms)
{
    pthread_mutex_lock(&guard->lock);
    struct judged by = judged_by(guard, name, network_slice(network), now_ms);
    uint64_t who_ms = budget_wait(by.who, guard->account, by.now_ms);
    uint64_t address_ms = budget_wait(by.address, guard->address, by.now_ms);
    uint64_t wait_ms = who_ms > address_ms ? who_ms : address_ms;

    if (wait_ms == 0) {
        budget_take(by.who, guard->account, by.now_ms);
        budget_take(by.address, guard->address, by.now_ms);
    }
    pthread_mutex_unlock(&guard->lock);
    return wait_ms;
}

static bool budget_paused(const struct budget *budget, uint64_t now_ms)
{
    return budget != NULL && now_ms < budget->free_at_ms;
}

/* What was never counted gets no place for a question. */
bool guard_paused(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms)
{
    struct slice where = network_slice(network);

    pthread_mutex_lock(&guard->lock);
    now_ms = time_at(guard, now_ms);
    const struct pair *pair = pair_known(guard, name, where, now_ms);
    const struct budget *who =
        pair != NULL ? &pair->budget : slots_find(guard->accounts, name, SLICE_NONE, now_ms);
    const struct budget *address = slots_find(guard->addresses, where, SLICE_NONE, now_ms);
    bool paused = budget_paused(who, now_ms) || budget_paused(address, now_ms);
    pthread_mutex_unlock(&guard->lock);
    return paused;
}

void guard_passed(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms)
{
    pthread_mutex_lock(&guard->lock);
    struct judged by = judged_by(guard, name, network_slice(network), now_ms);

    budget_give_back(by.address, guard->address, by.now_ms);
    if (by.who != NULL) {
        *by.who = (struct budget){0};
        if (by.pair == NULL)
            by.pair = slots_take(guard->pairs, network_slice(network), name, by.now_ms);
        *by.pair = (struct pair){.signed_in_ms = by.now_ms};
    }
    pthread_mutex_unlock(&guard->lock);
}

void guard_cancel(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms)
{
    pthread_mutex_lock(&guard->lock);
    struct judged by = judged_by(guard, name, network_slice(network), now_ms);

    budget_give_back(by.who, guard->account, by.now_ms);
    budget_give_back(by.address, guard->address, by.now_ms);
    pthread_mutex_unlock(&guard->lock);
}

/* guard.h - budgets for guessing, by account and by address, shared by every way to give a secret.
 * Touches  memory, bounded.
 * Never    locks anybody out for good; tells whether an account exists.
 *
 * (1) `count` failures within `per_ms` are free; each one after that doubles a pause, 1 s to 60 s,
 * in which the same account (or address) is refused without a look at the password. (2) An address
 * that signed in as the account lately is judged by a budget of its own, so guessing from elsewhere
 * does not shut the owner out; its address counts all the same. (3) Names are counted whether they
 * exist or not. (4) When memory is full an entry that rested long goes. (5) Attempts that were
 * refused do not make a pause longer.
 *
 * Spec: TOK-20. Any thread. */
#ifndef SLIPWAY_AUTH_GUARD_H
#define SLIPWAY_AUTH_GUARD_H

#include "registry/core/bytes.h"

struct guard;
struct guard_options {
    uint64_t account_count, account_per_ms; /* 0: no limit */
    uint64_t address_count, address_per_ms;
};
struct guard *guard_open(const struct guard_options *options);
void guard_close(struct guard *guard); /* accepts NULL */

enum { GUARD_NETWORK_SIZE = 8 };
/* 0: may try; else milliseconds to wait. name SLICE_NONE: a secret without an account. now_ms: of a
 * monotonic clock. An attempt under way counts as failed until guard_passed, so that many at once
 * do not share one budget. */
uint64_t guard_begin(struct guard *guard, struct slice name,
                     const uint8_t network[GUARD_NETWORK_SIZE], uint64_t now_ms);
/* Whether guard_begin would tell to wait. Counts nothing. */
bool guard_paused(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms);
void guard_passed(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms);
/* Not tried after all (the request broke off, storage failed): takes the count back. */
void guard_cancel(struct guard *guard, struct slice name, const uint8_t network[GUARD_NETWORK_SIZE],
                  uint64_t now_ms);

#endif

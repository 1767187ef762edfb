/* slots.h - a table of fixed size in memory, for counts of callers that strangers can invent.
 * Touches  memory, all of it taken at the start (and touched by the kernel as it fills).
 * Never    grows; fails; locks: its owner does.
 *
 * A value stands in one of a few places that the key's hash names. The hash is keyed by a random
 * seed, so nobody can aim at another's place; when all of them are taken, the value goes that was
 * not looked at for the longest time. Keys are kept as 64 bits of their SHA-256. */
#ifndef SLIPWAY_AUTH_SLOTS_H
#define SLIPWAY_AUTH_SLOTS_H

#include "registry/core/bytes.h"

struct slots;

/* count: a power of two, at least 8. value_size: a multiple of 8. */
struct slots *slots_open(size_t count, size_t value_size);
void slots_close(struct slots *slots); /* accepts NULL */
/* The key is both slices, one after the other: let one of them be of fixed size. NULL: not there.
 * Looking counts as use. */
void *slots_find(struct slots *slots, struct slice first, struct slice second, uint64_t now_ms);
/* The same; what is not there is made, all zero. */
void *slots_take(struct slots *slots, struct slice first, struct slice second, uint64_t now_ms);

#endif

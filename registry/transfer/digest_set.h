/* digest_set.h - a set of digests, and a list that keeps their order.
 * Touches  memory.
 * Never    forgets one. */
#ifndef SLIPWAY_TRANSFER_DIGEST_SET_H
#define SLIPWAY_TRANSFER_DIGEST_SET_H

#include "registry/core/digest.h"

/* Zero-initialised is empty. */
struct digest_set {
    struct digest_slot *slots;
    size_t count, capacity;
    uint64_t seed;
};

/* Of sha256 and sha512; others are in no set, and adding one does nothing. */
bool digest_set_has(const struct digest_set *set, const struct digest *digest);
/* False: it was there. */
bool digest_set_add(struct digest_set *set, const struct digest *digest);
void digest_set_drop(struct digest_set *set);

struct digest_list {
    struct digest *items;
    size_t count, capacity;
};
void digest_list_add(struct digest_list *list, const struct digest *digest);
void digest_list_drop(struct digest_list *list);

#endif

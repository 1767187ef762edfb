/* names.h - lists of texts: what is in a folder, what a registry lists.
 * Touches  memory.
 * Never    files. */
#ifndef SLIPWAY_TRANSFER_NAMES_H
#define SLIPWAY_TRANSFER_NAMES_H

#include "registry/core/bytes.h"

/* Zero-initialised is empty. Freed with names_drop. */
struct names {
    char **items;
    size_t count, capacity;
};
void names_drop(struct names *names);
void names_add(struct names *names, const char *name); /* a copy */
void names_sort(struct names *names);                  /* bytewise */
bool names_has(const struct names *sorted, const char *name);

#endif

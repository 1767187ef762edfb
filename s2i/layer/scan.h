/* scan.h - secrets that must not stand in a layer.
 * Touches  memory only (pure).
 * Never    keeps a copy of a file; says a secret.
 *
 * Only texts of more than 7 bytes are looked for. Spec: s2i 10.22 */
#ifndef SLIPWAY_S2I_LAYER_SCAN_H
#define SLIPWAY_S2I_LAYER_SCAN_H

#include "s2i/layer/layer.h"

struct scan;
/* NULL when there is nothing to look for; every function takes that for "nothing found". */
struct scan *scan_open(const struct s2i_list *secrets); /* borrowed */
void scan_drop(struct scan **scan);
/* Of one file: what was seen before is forgotten. */
void scan_begin(struct scan *scan);
/* Whether a secret ends within these bytes, which follow those of the last call. */
bool scan_bytes(struct scan *scan, struct slice bytes);
/* The same for the entry's path, its link and its attributes. */
bool scan_names(struct scan *scan, const struct tar_entry *entry);
/* INVALID, SecretInLayer in the cause. Returns -1. */
int scan_refuse(struct slice path, struct error *err);

#endif

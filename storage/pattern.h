/* pattern.h - patterns of grants as sets of repositories (pure); more stands in accounts.h.
 * Touches  the caller's memory.
 * Never    the database. */
#ifndef SLIPWAY_STORAGE_PATTERN_H
#define SLIPWAY_STORAGE_PATTERN_H

#include "storage/accounts.h"

/* Sorts the patterns and drops those that lie within others; returns how many are left. What they
 * cover is then disjoint, and in bytewise order of the names. */
size_t pattern_fold(struct slice *patterns, size_t count);

/* What a pattern covers as a range of names: from <= name < to. Buffers are appended to. */
void pattern_range(struct slice pattern, struct buffer *from, struct buffer *to);

/* Every pattern that covers the repository: "*", "a/" star, "a/b/" star, ..., the name itself.
 * Returns how many; out takes PATTERNS_COVERING_MAX, texts are appended to `texts`, which must
 * stay as long as they are used. */
enum { PATTERNS_COVERING_MAX = 130 }; /* a name of 255 bytes has 128 parts */
size_t pattern_covering(struct slice repository, struct buffer *texts, struct slice *out);

#endif

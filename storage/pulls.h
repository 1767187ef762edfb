/* pulls.h - pull counters: gathered in memory, written now and then by a thread of its own.
 * Touches  memory; the tables pull_counts and manifests (pulled_at), in the background.
 * Never    makes the caller wait for the database.
 *
 * What was counted since the last flush is lost with the process, or with the power. */
#ifndef SLIPWAY_STORAGE_PULLS_H
#define SLIPWAY_STORAGE_PULLS_H

#include "storage/meta.h"

struct pulls;

struct pulls *pulls_open(struct meta *meta, uint64_t flush_ms);
/* Writes what is left. Accepts NULL. */
void pulls_close(struct pulls *pulls);
/* One pull of `manifest` under a tag, or under its digest when the tag is SLICE_NONE. Any thread.
 * A full table drops the count rather than wait. */
void pulls_count(struct pulls *pulls, struct slice repository, struct slice tag,
                 const struct digest *manifest, enum pull_kind kind);
/* Writes now; for tests and shutdown. */
int pulls_flush(struct pulls *pulls, struct error *err) MUST_CHECK;

#endif

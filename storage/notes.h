/* notes.h - events that a stranger can cause, gathered in memory and written to the audit by a
 * thread of its own, within seconds.
 * Touches  memory, bounded; the table audit, in the background.
 * Never    makes the caller wait for the database.
 *
 * (1) Equal events of one minute are one row with repeats; what differs only in its request is
 *     equal.
 * (2) Of one minute at most NOTES_MAX different events are kept; how many more there were is told
 *     by a row of its own, "audit.dropped".
 * (3) A clean end writes what is left. */
#ifndef SLIPWAY_STORAGE_NOTES_H
#define SLIPWAY_STORAGE_NOTES_H

#include "storage/meta_accounts.h"

enum { NOTES_MAX = 512 };

struct notes;

struct notes *notes_open(struct meta *meta, uint64_t flush_ms);
/* (3). Accepts NULL. */
void notes_close(struct notes *notes);
/* Any thread. Long texts are cut. */
void notes_add(struct notes *notes, const struct audit_event *event);
/* Writes now; for tests and the end. What cannot be written is kept. */
int notes_flush(struct notes *notes, struct error *err) MUST_CHECK;

#endif

/* collect.h - the collector: what nothing refers to any more goes, while the server serves.
 * Touches  gc_queue and what its tasks name, trash; bytes only through the sweep.
 * Never    visits what lost no reference: its cost follows the garbage.
 *
 * Threads of its own review tasks all the time, some at a time, at the lowest priority. A run does
 * the same at once, until nothing is due, and reports.
 *
 * (1) Lock, then look: whether something is referenced is asked by a statement of its own in the
 *     transaction that removes it. Foreign keys are the second net.
 * (2) Rows first: bytes go by the sweep, once their trash row is durable and gc.late is over.
 * (3) What a client was promised lately (gc.grace) or may take back (gc.undo) stays.
 * (4) Memory forgets what went before the next review begins. */
#ifndef SLIPWAY_STORAGE_COLLECT_H
#define SLIPWAY_STORAGE_COLLECT_H

#include "registry/core/error.h"
#include "registry/core/progress.h"

struct storage;

struct collect_report {
    uint64_t reviewed;  /* tasks */
    uint64_t kept;      /* referenced */
    uint64_t postponed; /* leased, or within their undo window */
    uint64_t repositories, manifests, links, blobs;
    uint64_t bytes; /* of these blobs: logical bytes freed */
    uint64_t uploads;
    uint64_t trash_removed, trash_bytes; /* files that went, and what they held */
    uint64_t free_before, free_after;    /* the file system's own word */
};

/* One run: reviews what is due until nothing is, expires uploads, empties the trash that is due.
 * dry_run: changes nothing; counts what a run would remove now, what that would set free included,
 * as far as nobody pushes or deletes meanwhile.
 * A cancelled run ends early with what it did in out. UNAVAILABLE */
int storage_collect(struct storage *store, bool dry_run, const struct progress *progress,
                    struct collect_report *out, struct error *err) MUST_CHECK ON(worker_thread);

struct collect_state {
    uint64_t candidates, due; /* tasks that wait, and those whose time has come */
    int64_t oldest_due_at;    /* us; 0: none */
    uint64_t leases;          /* tasks that wait: for a lease, an undo window, a pin to end */
    uint64_t trash, trash_due;
    int64_t oldest_trash_at; /* us: when its time came; 0: none is due */
    bool paused;             /* storage_collect_pause */
    bool held;               /* storage_bytes_hold */
    /* since the start of the process */
    struct collect_report totals;
};
int storage_collect_state(struct storage *store, struct collect_state *out,
                          struct error *err) MUST_CHECK ON(worker_thread);

/* The threads rest until it is taken back; remembered across restarts. Runs still run. */
int storage_collect_pause(struct storage *store, bool paused, struct error *err) MUST_CHECK
    ON(worker_thread);

/* While any hold stands no blob's bytes are removed (rows still go): for backups. A hold ends by
 * itself after for_ms unless it is renewed. 0: none is free (64). Any thread that may wait for a
 * batch of files that is being removed: when it returns none is. */
uint64_t storage_bytes_hold(struct storage *store, uint64_t for_ms);
bool storage_bytes_renew(struct storage *store, uint64_t hold, uint64_t for_ms); /* false: ended */
void storage_bytes_release(struct storage *store, uint64_t hold);

#endif

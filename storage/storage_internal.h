/* storage_internal.h - what the files of storage/ share.
 * Touches  nothing by itself.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_INTERNAL_H
#define SLIPWAY_STORAGE_INTERNAL_H

#include <stdatomic.h>

#include "storage/cache.h"
#include "storage/driver.h"
#include "storage/storage.h"

struct collect;
struct collect_report;
struct meta;
struct notes;
struct pulls;
struct quota_table;
struct scrub;
struct sweep;
struct trash;
struct upload_table;
struct usage_cache;

/* Built by storage_open; the members but the generation are set once and never change, so no lock.
 * What each points to names its own lock. */
struct storage {
    struct storage_options options; /* texts are copies */
    int lock_fd;                    /* <root>/lock, exclusively locked */
    struct blob_store blobs;
    struct meta *meta;
    struct cache *cache;
    struct pulls *pulls;
    struct notes *notes;
    struct quota_table *quotas;
    struct usage_cache *usage;
    _Atomic uint64_t generation; /* accounts.h (2) */
    struct upload_table *uploads;
    struct trash *trash;
    struct collect *collect;
    struct sweep *sweep; /* NULL when storage rests */
    struct scrub *scrub; /* NULL when it is off, or storage rests */
};

/* storage.c. A folder that only we may enter is made, if there is none, and its name synced;
 * root_make makes those above it too. */
int folder_make(const char *path, struct error *err) MUST_CHECK;
int root_make(const char *root, struct error *err) MUST_CHECK;
/* One process owns a root while *fd is open. UNAVAILABLE  another one does */
int root_lock(const char *root, int *fd, struct error *err) MUST_CHECK;

/* accounts.c: the generation grows. As the run of a meta_after. */
void accounts_changed(void *store);

/* storage.c: as meta_blob_damage; memory forgets it. */
int storage_blob_damage(struct storage *store, const struct digest *digest, const char *locator,
                        struct error *err) MUST_CHECK ON(worker_thread);

/* session.c: the upload sessions in memory. Close before the database, when every claim was given
 * back: what they received is synced and recorded. Accepts NULL. */
struct upload_table *upload_table_open(struct storage *store);
void upload_table_close(struct upload_table *table) ON(worker_thread);
/* Syncs and records sessions that received much, or rest for idle_ms: those leave memory and their
 * descriptors are closed. For the sweep: bounded work, then true when there may be more. */
bool upload_table_checkpoint(struct upload_table *table, uint64_t idle_ms) ON(worker_thread);
/* Extends the life of sessions somebody writes to, or has just written to. */
void upload_table_touch(struct upload_table *table) ON(worker_thread);
/* Its row is in trash (expired): the session ends for its writer as well. */
void upload_table_forget(struct upload_table *table, const char *locator) ON(worker_thread);

/* upload.c: after the machine was started anew, every session stands at its last synced offset or
 * is gone. Before anything else touches a session. */
int upload_recover(struct storage *store, struct error *err) MUST_CHECK ON(worker_thread);

/* The boot that wrote bytes which may not be synced. */
#define STATE_BOOT "boot_id"

/* Remembered in the database when the machine was started anew: files may lie there that no row
 * names. The sweep looks for them and then forgets it. */
#define STATE_ORPHANS "orphans"
#define STATE_ORPHANS_DUE "due"

/* usage.c: the total as it was counted last. Close accepts NULL. */
struct usage_cache *usage_cache_open(void);
void usage_cache_close(struct usage_cache *cache);

/* trash.c: G4 and who holds it back. Close accepts NULL. */
struct trash *trash_open(void);
void trash_close(struct trash *trash);
/* Removes a batch of what is due, unless it is held; adds to the report. *more: there may be more
 * now. What cannot be removed waits, and is logged. */
int trash_empty_some(struct storage *store, struct collect_report *report, bool *more,
                     struct error *err) MUST_CHECK ON(worker_thread);
bool trash_held(struct storage *store);
/* What emptying it now would remove: adds to the report. */
struct progress;
int trash_measure(struct storage *store, const struct progress *progress,
                  struct collect_report *report, struct error *err) MUST_CHECK ON(worker_thread);

/* collect.c: the collector. Open reads what the server remembers, start its threads; stop ends them
 * and waits: from then on only runs collect. Close accepts NULL. */
int collect_open(struct storage *store, struct collect **out, struct error *err) MUST_CHECK
    ON(worker_thread);
void collect_start(struct collect *collect);
void collect_stop(struct collect *collect);
void collect_close(struct collect *collect);
/* What the sweep removed counts in the totals. */
void collect_count(struct collect *collect, const struct collect_report *report);

/* scrub.c: the thread that reads blobs again. NULL when its rate is 0. Close ends it and waits. */
struct scrub *scrub_open(struct storage *store) ON(worker_thread);
void scrub_close(struct scrub *scrub);

/* sweep.c: the background thread. Close ends it and waits; accepts NULL. */
struct sweep *sweep_open(struct storage *store);
void sweep_close(struct sweep *sweep);
/* G5: one session that was idle for too long at `now` ends; its part of what a run does. *ended:
 * one did. now: taken before upload_table_touch, or what a standstill in between makes old would
 * go. */
int sweep_upload(struct storage *store, int64_t now, bool *ended, bool *more,
                 struct error *err) MUST_CHECK ON(worker_thread);

#endif

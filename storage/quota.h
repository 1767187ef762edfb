/* quota.h - how many bytes repositories and accounts may hold: limits, what is used, what uploads
 * under way have reserved.
 * Touches  the tables of quotas; reservations are memory.
 * Never    lets a limit be passed: the transaction that makes a link has the last word.
 *
 * A quota is for a pattern of repositories (each distinct blob they link counts once, what waits
 * for undo included) or for an account (the blobs it linked first, in each repository).
 *
 * (1) used + reserved <= limit, whatever runs at the same time, unless a limit is lowered.
 * (2) What was received while its reservation stood is not refused at its end. A session that
 *     rests so long that it leaves memory gives its reservation back and asks anew.
 * (3) Manifests do not count: they are bounded in size, and rows. */
#ifndef SLIPWAY_STORAGE_QUOTA_H
#define SLIPWAY_STORAGE_QUOTA_H

#include "storage/accounts.h"

struct storage;

enum quota_kind { QUOTA_REPOSITORIES = 1, QUOTA_ACCOUNT = 2 };
enum { QUOTAS_MAX = 10000 };

struct quota {
    int64_t id, created_at, version;
    enum quota_kind kind;
    char *subject; /* a pattern as grants have them, or the name of an account */
    uint64_t bytes, used, reserved;
};
struct quota_page {
    struct quota *items;
    size_t count;
    bool more;
};
void quota_drop(struct quota *quota);
void quota_page_drop(struct quota_page *page);

/* NOT_FOUND */
int quota_find(struct storage *store, int64_t id, struct quota *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Ordered by id, after it. */
int quota_list(struct storage *store, int64_t after_id, size_t limit, struct quota_page *out,
               struct error *err) MUST_CHECK ON(worker_thread);
/* Those that a push of this account (0: none) into this repository falls under. */
int quota_covering(struct storage *store, struct slice repository, int64_t account,
                   struct quota_page *out, struct error *err) MUST_CHECK ON(worker_thread);
/* Counts what is there already, in one transaction that holds the writer: some seconds for
 * millions of blobs. A limit below what is used is allowed: then nothing more comes in.
 * CONFLICT  there is one for this subject, or too many.  NOT_FOUND  no such account */
int quota_create(struct storage *store, enum quota_kind kind, struct slice subject, uint64_t bytes,
                 const struct audit_event *event, struct quota *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* NOT_FOUND, PRECONDITION */
int quota_update(struct storage *store, int64_t id, uint64_t bytes, int64_t if_version,
                 const struct audit_event *event, struct quota *out, struct error *err) MUST_CHECK
    ON(worker_thread);
int quota_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);

/* --- what all of it holds --- */

struct usage {
    uint64_t blobs, bytes; /* distinct, stored */
    uint64_t linked_bytes; /* as if nothing were shared */
    uint64_t repositories, manifests, tags;
    uint64_t disk_size, disk_free; /* the file system's own word */
    int64_t at;                    /* us: when it was counted */
};
/* Counted at most every ten seconds: it reads all rows. */
int usage_total(struct storage *store, struct usage *out, struct error *err) MUST_CHECK
    ON(worker_thread);
struct repository_usage {
    uint64_t blobs, bytes, manifests, tags; /* bytes: of its distinct blobs */
    uint64_t set_aside_bytes;               /* of these, what waits for undo */
    uint64_t own_bytes;                     /* what no other repository links */
};
/* NOT_FOUND. Its cost follows the repository. */
int usage_of_repository(struct storage *store, struct slice repository,
                        struct repository_usage *out, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- reservations, for storage/ --- */

struct quota_numbers {
    uint64_t limit, used, reserved;
};
/* QUOTA  with the numbers, when `more` does not fit. */
int quota_fits(const struct quota_numbers *numbers, struct slice subject, uint64_t more,
               struct error *err);

struct quota_table;
struct quota_hold;
struct meta;
struct quota_table *quota_table_open(struct meta *meta);
void quota_table_close(struct quota_table *table); /* accepts NULL */
/* Any thread; 0 for a NULL table. */
uint64_t quota_reserved(struct quota_table *table, int64_t quota);

/* Makes `bytes` the reservation of the upload; *hold is NULL before the first. Never less than it
 * was. QUOTA */
int quota_reserve(struct quota_table *table, struct slice repository, int64_t account,
                  uint64_t bytes, struct quota_hold **hold, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Around the transaction that turns it into used bytes; the end gives the reservation back. */
void quota_settle_begin(struct quota_hold *hold);
void quota_settle_end(struct quota_hold *hold);
void quota_hold_drop(struct quota_hold **hold); /* accepts NULL */

#endif

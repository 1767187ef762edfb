/* meta.h - what the database knows, one function a transaction; every SQL statement stands in
 * meta*.c.
 * Touches  the database only.
 * Never    blob bytes, the cache (callers hand in what to do after COMMIT), HTTP, JSON.
 *
 * Times are microseconds since 1970, of this host's clock. The protocol (P1 to P7, G4, G5):
 *
 * (1) Every locator is in exactly one of uploads, blobs, trash; it moves by the delete of one row
 *     and the insert of another in one transaction. Locators are never used again.
 * (2) Bytes may be removed only when their locator is in trash, and that row is durable.
 * (3) A row in blobs has its bytes, all of them and synced, unless it is marked damaged.
 * (4) What is set aside (deleted_at) is seen by no read; pushing the same content clears it.
 * (5) A positive answer to a caller who may push leaves touched_at younger than grace/2.
 * (6) Whatever loses a reference, and whatever is new, has a row in gc_queue. */
#ifndef SLIPWAY_STORAGE_META_H
#define SLIPWAY_STORAGE_META_H

#include "registry/core/clock.h"
#include "registry/core/digest.h"
#include "registry/core/oci.h"
#include "storage/db.h"
#include "storage/driver.h"
#include "storage/storage.h"

/* Immutable after meta_open. */
struct quota_table;
struct meta {
    struct db *db;
    struct quota_table *quotas; /* what uploads have reserved; storage's, NULL: nothing */
    int64_t grace_us;           /* the lease */
    int64_t undo_us;            /* 0: deletions are at once */
    int64_t late_us;            /* from trash to unlinked, where somebody may still read */
    int64_t upload_ttl_us;      /* idle life of a session */
    int64_t untagged_us;        /* manifests nothing refers to go at this age; 0: they stay */
    bool accept_missing;
    bool protect_referenced;
};

/* What to do after COMMIT, on the writer thread, before the caller is answered. */
struct meta_after {
    void (*run)(void *arg);
    void *arg;
};

/* Opens <root>/meta.db and brings its schema up to date in one transaction. `recovered` as in
 * db_options: everything remembered from reads must be forgotten; so `told` (NULL: nobody listens),
 * which gets the arg of recovered.
 * UNAVAILABLE  cannot be opened, or written by a newer version of the program */
int meta_open(struct meta **out, const struct storage_options *options, struct meta_after recovered,
              void (*told)(void *arg, struct db_bulletin *bulletin), struct error *err) MUST_CHECK;
/* Accepts NULL. */
void meta_close(struct meta *meta);
/* As db_snapshot. */
int meta_snapshot(struct meta *meta, const char *path, const struct progress *progress,
                  struct error *err) MUST_CHECK;
/* The database answers a read. */
int meta_ready(struct meta *meta, struct error *err) MUST_CHECK;

/* --- upload sessions: meta_upload.c --- */

struct meta_upload {
    char id[OCI_UPLOAD_ID_SIZE + 1];
    char locator[LOCATOR_SIZE + 1];
    enum digest_algorithm algorithm;
    uint64_t received; /* offset last told to the client, as of the last checkpoint */
    uint64_t synced;   /* bytes before it survive a power cut; hash_state stands here */
    size_t hash_size;  /* 0: none was saved; then synced is 0 too */
    uint8_t hash_state[HASHER_SAVED_MAX];
    int64_t expires_at;
    int64_t account; /* who opened it; 0: none */
};

/* P1; creates the repository when there is none. id and locator are the caller's, fresh. May be
 * lost by a power cut: then the session is gone, and a file without a row may be left, at most of
 * a second's bytes, for the scrub of orphans. */
int meta_upload_start(struct meta *meta, struct slice repository, const char *id,
                      const char *locator, enum digest_algorithm algorithm,
                      const struct actor *actor, struct error *err) MUST_CHECK;
/* BLOB_UPLOAD_UNKNOWN */
struct upload_owner;
int meta_upload_owner(struct meta *meta, struct slice repository, struct slice id,
                      struct upload_owner *out, struct error *err) MUST_CHECK;
/* BLOB_UPLOAD_UNKNOWN  no such session in this repository, also when it is finished or expired */
int meta_upload_find(struct meta *meta, struct slice repository, struct slice id,
                     struct meta_upload *out, struct error *err) MUST_CHECK;
/* Stores received, synced and the hash state of `upload`, and extends its life. May be lost by a
 * power cut: the row then stands at an earlier checkpoint, which the file backs as well.
 * BLOB_UPLOAD_UNKNOWN */
int meta_upload_checkpoint(struct meta *meta, const struct meta_upload *upload,
                           struct error *err) MUST_CHECK;
/* Extends expires_at only. BLOB_UPLOAD_UNKNOWN */
int meta_upload_touch(struct meta *meta, const char *id, struct error *err) MUST_CHECK;
/* P3, with everything of the session synced: the row is claimed and becomes the blob `digest` of
 * the repository, with a lease. When the blob is here already, the session's locator goes to trash
 * (or takes the place of a damaged one's). Remembers the id as finished for an hour (UPL-23).
 * References that waited for this digest become real. durable.
 * BLOB_UPLOAD_UNKNOWN  the row is gone: cancelled, expired or finished by someone else */
int meta_upload_finish(struct meta *meta, struct slice repository, struct slice id,
                       const struct descriptor *blob, const struct meta_after *after,
                       struct error *err) MUST_CHECK;
/* *found with the digest when the id was finished in this repository within the last hour. */
int meta_upload_finished(struct meta *meta, struct slice repository, struct slice id, bool *found,
                         struct digest *digest, struct error *err) MUST_CHECK;
/* The session's locator goes to trash, due at once. Durable. BLOB_UPLOAD_UNKNOWN */
int meta_upload_cancel(struct meta *meta, struct slice repository, struct slice id,
                       struct error *err) MUST_CHECK;
/* The same for the recovery at start, which knows only the id. Absent is success. */
int meta_upload_discard(struct meta *meta, const char *id, struct error *err) MUST_CHECK;
/* G5: one session that had expired at `now` goes to trash, durably; locator (LOCATOR_SIZE + 1
 * bytes) is its, or "" when there is none. Also forgets finished ids older than an hour, some at a
 * time. *more: it found something, so there may be more. Background. */
int meta_upload_expire(struct meta *meta, int64_t now, char *locator, bool *more,
                       struct error *err) MUST_CHECK;
/* One of that owner; *found is false when there is none. */
int meta_upload_of(struct meta *meta, struct slice owner, bool *found,
                   char id[OCI_UPLOAD_ID_SIZE + 1], struct buffer *repository,
                   struct error *err) MUST_CHECK;
/* The session whose id follows `after` ("" to begin); *found is false at the end. */
int meta_upload_next(struct meta *meta, const char *after, bool *found, struct meta_upload *out,
                     struct error *err) MUST_CHECK;

/* --- trash: meta_trash.c --- */

/* Up to `capacity` locators whose time has come, oldest first. */
int meta_trash_due(struct meta *meta, char (*locators)[LOCATOR_SIZE + 1], size_t capacity,
                   size_t *count, struct error *err) MUST_CHECK;
/* The same in pages, from behind the cursor, which moves on. */
struct meta_trash_cursor {
    int64_t not_before; /* INT64_MIN: from the start */
    char locator[LOCATOR_SIZE + 1];
};
int meta_trash_after(struct meta *meta, struct meta_trash_cursor *cursor,
                     char (*locators)[LOCATOR_SIZE + 1], size_t capacity, size_t *count,
                     struct error *err) MUST_CHECK;
/* The bytes are gone and that is synced. Background; may be lost: removing again is harmless. */
int meta_trash_done(struct meta *meta, const char (*locators)[LOCATOR_SIZE + 1], size_t count,
                    struct error *err) MUST_CHECK;
/* Its removal failed: tried again later, later each time. Background. */
int meta_trash_postpone(struct meta *meta, const char *locator, struct error *err) MUST_CHECK;
/* Of locators whose bytes were seen in the store: those without any row go to trash, durably. They
 * are moved to the front of the array; *orphans is how many they are. Background. */
int meta_trash_orphans(struct meta *meta, char (*locators)[LOCATOR_SIZE + 1], size_t count,
                       size_t *orphans, struct error *err) MUST_CHECK;

/* --- blobs: meta_blob.c --- */

struct meta_blob {
    uint64_t size;
    char locator[LOCATOR_SIZE + 1];
    /* Until then memory may answer callers who may push (5): touched_at + grace/2. Pull-only
     * callers may be answered for as long as the cache entry stands. */
    int64_t lease_until;
};

/* P4. For may_push a lease older than grace/2 is renewed, through the writer, before it returns.
 * BLOB_UNKNOWN  not in this repository, set aside, or damaged.  UNAVAILABLE  no lease */
int meta_blob_find(struct meta *meta, struct slice repository, const struct digest *digest,
                   bool may_push, struct meta_blob *out, struct error *err) MUST_CHECK;
/* Marks the blob damaged while it still has this locator, for all repositories: `after` has to
 * forget the digest everywhere. A later push swaps the bytes. Absent is success. */
int meta_blob_damage(struct meta *meta, const struct digest *digest, const char *locator,
                     const struct meta_after *after, struct error *err) MUST_CHECK;
/* Sets the link aside, or removes it when undo is 0 and no manifest uses it. Spec: DEL-03, DEL-06.
 * BLOB_UNKNOWN.  UNSUPPORTED  a manifest uses it and protect_referenced is set */
int meta_blob_delete(struct meta *meta, struct slice repository, const struct digest *digest,
                     const struct meta_after *after, struct error *err) MUST_CHECK;
/* P5. Creates the target repository only on success. */
int meta_blob_mount(struct meta *meta, struct slice repository, struct slice from,
                    const struct digest *digest, const struct actor *actor, bool *mounted,
                    const struct meta_after *after, struct error *err) MUST_CHECK;

/* --- manifests and tags: meta_manifest.c (find, delete), meta_push.c (put) --- */

/* *out is a new reference, released by the caller; *lease_until as in struct meta_blob.
 * MANIFEST_UNKNOWN  also when the repository does not exist.  UNAVAILABLE  no lease */
int meta_manifest_find(struct meta *meta, struct slice repository,
                       const struct manifest_reference *reference, bool may_push,
                       const struct manifest **out, int64_t *lease_until,
                       struct error *err) MUST_CHECK;
/* P6. *retyped, set before `after` runs: the manifest was here under another media type (MPUT-28),
 * so what memory has under any tag may be wrong. missing is filled on MANIFEST_BLOB_UNKNOWN. */
int meta_manifest_put(struct meta *meta, struct slice repository, const struct manifest_put *put,
                      struct missing *missing, bool *retyped, const struct meta_after *after,
                      struct error *err) MUST_CHECK;
/* P7. MANIFEST_UNKNOWN */
int meta_manifest_delete(struct meta *meta, struct slice repository,
                         const struct manifest_reference *reference, const struct actor *actor,
                         const struct meta_after *after, struct error *err) MUST_CHECK;

/* --- lists: meta_list.c, repositories in meta_repository.c; as the functions of storage.h --- */

int meta_blob_sources(struct meta *meta, const struct digest *digest, size_t limit,
                      struct page *out, struct error *err) MUST_CHECK;
int meta_tag_list(struct meta *meta, struct slice repository, struct slice last, size_t limit,
                  struct page *out, struct error *err) MUST_CHECK;
struct repository_filter;
int meta_repository_list(struct meta *meta, struct slice last,
                         const struct repository_filter *filter, size_t limit, struct page *out,
                         struct error *err) MUST_CHECK;
int meta_referrer_list(struct meta *meta, struct slice repository, const struct digest *subject,
                       struct slice artifact_type, uint64_t cursor, uint64_t size_max,
                       struct referrers *out, struct error *err) MUST_CHECK;

/* --- pull counters: meta_pulls.c --- */

struct meta_pull {
    struct slice repository;
    struct slice reference;        /* a tag or the text of a digest */
    const struct digest *manifest; /* what it was at the last pull */
    int64_t day;                   /* since 1970 */
    int64_t pulled_at;             /* of the last pull */
    uint64_t pulls;
    enum pull_kind kind;
};

/* Adds them to the tables; those whose repository is gone are passed over. Background; may be
 * lost. */
int meta_pulls_add(struct meta *meta, const struct meta_pull *pulls, size_t count,
                   struct error *err) MUST_CHECK;

/* --- small things the server remembers: meta.c --- */

/* Text by name; *found is false and out "" when there is none. */
int meta_state_get(struct meta *meta, const char *name, char *out, size_t capacity, bool *found,
                   struct error *err) MUST_CHECK;
int meta_state_put(struct meta *meta, const char *name, const char *value,
                   struct error *err) MUST_CHECK;

struct meta_counts {
    uint64_t uploads; /* open sessions */
    uint64_t trash;   /* locators waiting for removal */
};
int meta_count(struct meta *meta, struct meta_counts *out, struct error *err) MUST_CHECK;

#endif

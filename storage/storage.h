/* storage.h - bytes and metadata: all that other folders may include of storage/.
 * Touches  the root folder: blobs, database, lock.
 * Never    HTTP, JSON; it does not look inside a manifest.
 *
 * Every function blocks unless its name starts with storage_peek; those answer from memory, on any
 * thread. What returned 0 after changing something is durable: synced before the call returned.
 * Repository names and tags are validated by the caller; digests are parsed values.
 *
 * `may_push` marks a caller who could push to the repository: a positive answer to such a caller
 * is a lease (P4): the object stays for at least half of gc.grace. */
#ifndef SLIPWAY_STORAGE_STORAGE_H
#define SLIPWAY_STORAGE_STORAGE_H

#include "registry/core/digest.h"
#include "registry/core/error.h"

struct news; /* news.h */
struct storage;
struct repository_filter; /* accounts.h */
struct actor;             /* accounts.h; NULL: the server itself */

/* Why a tag moved, in its history. */
enum tag_cause {
    TAG_PUSHED,
    TAG_SET,
    TAG_DELETED,
    TAG_MANIFEST_DELETED, /* and its tags with it */
    TAG_RETIRED,          /* by a rule of retention */
    TAG_RESTORED,
    TAG_IMPORTED,
    TAG_REBASED /* its image got a newer base without being built */
};
/* Bits: what may not happen to a tag. */
enum tag_protection {
    TAG_IMMUTABLE = 1, /* it does not move to another manifest */
    TAG_PROTECTED = 2  /* it does not go, and its manifest neither */
};

struct storage_options {
    const char *root;
    uint64_t upload_ttl_ms;     /* idle sessions older are swept (UPL-29) */
    uint64_t gc_grace_ms;       /* the lease */
    uint64_t gc_undo_ms;        /* how long a deletion can be taken back; 0: at once */
    uint64_t gc_late_ms;        /* from trash to unlinked */
    uint64_t cache_size_bytes;  /* memory for manifests and blob presence */
    uint64_t min_free_bytes;    /* readiness: below this the root counts as full */
    uint64_t blob_size_max;     /* bytes; above: 413 SIZE_INVALID; 0 = no limit */
    uint64_t sweep_interval_ms; /* how often expired uploads and due trash are looked for */
    uint64_t pull_flush_ms;     /* how often pull counters are written */
    uint64_t session_idle_s;    /* browsers' sessions unused for longer are swept; 0: kept */
    uint64_t session_max_s;     /* and those that are older; 0: kept */
    uint64_t audit_retention_s; /* older rows of the audit are swept; 0: kept */
    int readers;                /* database connections that read; 0: 8 */
    const char *boot_id_path;   /* changes with every boot; NULL: the kernel's */
    bool accept_missing;        /* MPUT-17: manifests may name what is not here */
    bool protect_referenced;    /* DEL-06: a blob a manifest uses answers 405 */
    bool resting;               /* nothing is swept or collected by itself: commands */
    int collectors;             /* threads of the collector; 0: 2 */
    uint64_t collect_rate;      /* reviews a second of each thread; 0: no limit */
    uint64_t untagged_ms;       /* manifests nothing refers to go at this age; 0: they stay */
    uint64_t scrub_rate;        /* bytes a second read by the scrub; 0: it does not run */
    uint64_t scrub_interval_ms; /* each blob is read again after so long */
    /* Who is told what commits changed, in their order; on the thread that writes, so that it must
     * be brief. Consumes news; NULL: so many more changed than are told. NULL: nobody listens. */
    void (*told)(void *arg, struct news *news, uint64_t lost);
    void *told_arg;
};

/* Locks the root, opens or creates the database, migrates, recovers sessions.
 * UNAVAILABLE  another process owns the root, the schema is newer than the program, ... */
int storage_open(struct storage **out, const struct storage_options *options,
                 struct error *err) MUST_CHECK;
/* Flushes counters, ends background threads, unlocks. Accepts NULL. */
void storage_close(struct storage *store);
/* For /readyz: database answers, root is writable, space is left. -1 with the reason. */
int storage_ready(struct storage *store, struct error *err) MUST_CHECK;

/* --- blobs: end-2, end-10, end-11 --- */

struct blob {
    struct digest digest; /* as asked for */
    uint64_t size;        /* bytes */
    int fd;               /* -1 after storage_blob_stat */
    char locator[33]; /* which bytes fd reads: a damaged blob that is pushed again gets others */
};

/* BLOB_UNKNOWN  not in this repository, or its bytes are known damaged. Spec: BLOB-02, BLOB-03. */
int storage_blob_stat(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The same, and opens the bytes for reading; the size was checked against the file's. Close with
 * storage_blob_close. */
int storage_blob_open(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err) MUST_CHECK
    ON(worker_thread);
void storage_blob_close(struct blob *blob);
/* Reading from fd failed or ended early: from now on the blob answers 404 until it is pushed again,
 * unless that has happened meanwhile. Spec: CONC-03. */
void storage_blob_damaged(struct storage *store, const struct blob *blob) ON(worker_thread);
/* From memory: true with the size when the repository has the blob and, for may_push, its lease is
 * long enough. False says nothing. */
bool storage_peek_blob(struct storage *store, struct slice repository, const struct digest *digest,
                       bool may_push, uint64_t *size);
/* Spec: DEL-03, DEL-04, DEL-06.  BLOB_UNKNOWN, UNSUPPORTED (protect_referenced) */
int storage_blob_delete(struct storage *store, struct slice repository, const struct digest *digest,
                        struct error *err) MUST_CHECK ON(worker_thread);
/* Links the source's blob into the repository (P5). *mounted = false when the source does not have
 * it. Spec: UPL-31, UPL-32, UPL-36. */
int storage_blob_mount(struct storage *store, struct slice repository, struct slice from,
                       const struct digest *digest, const struct actor *actor, bool *mounted,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* Repositories that have the blob, at most `limit`, for who mounts without naming one (UPL-34): the
 * caller judges which of them count (TOK-73). */
struct page;
int storage_blob_sources(struct storage *store, const struct digest *digest, size_t limit,
                         struct page *out, struct error *err) MUST_CHECK ON(worker_thread);

/* --- upload sessions: end-4, end-5, end-6, end-13, end-14 --- */

struct upload; /* a session claimed for writing: one at a time per session (UPL-15) */

struct upload_status {
    uint64_t offset; /* bytes received */
    bool committed;  /* finished lately with `digest` (UPL-23) */
    struct digest digest;
};

/* P1. id gets OCI_UPLOAD_ID_SIZE + 1 bytes. Creates the repository when there is none (UPL-02).
 * actor's owner: for upload_owner_find (TOK-55), at most UPLOAD_OWNER_MAX bytes. */
int storage_upload_start(struct storage *store, struct slice repository,
                         enum digest_algorithm algorithm, const struct actor *actor, char *id,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* BLOB_UPLOAD_UNKNOWN  no such session in this repository */
int storage_upload_status(struct storage *store, struct slice repository, struct slice id,
                          struct upload_status *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Claims the session for writing. When another writer holds it: takes it over if that writer stands
 * still for a while, else fails at once with BLOB_UPLOAD_INVALID and status 416: ask again.
 * The loser's next append or finish fails. BLOB_UPLOAD_UNKNOWN as above (committed ones too). */
int storage_upload_claim(struct storage *store, struct slice repository, struct slice id,
                         struct upload **out, struct error *err) MUST_CHECK ON(worker_thread);
uint64_t storage_upload_offset(const struct upload *upload);
/* So many more bytes will come: what quotas forbid is known before they are sent. QUOTA */
int storage_upload_expect(struct upload *upload, uint64_t more, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Writes and hashes. QUOTA.  SIZE_INVALID (413) above blob_size_max; STORAGE_FULL;
 * BLOB_UPLOAD_INVALID when the claim was taken over. On failure what was received before the call
 * is kept. */
int storage_upload_append(struct upload *upload, struct slice bytes, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Back to an earlier offset of this claim (UPL-09): bytes after it are forgotten. */
int storage_upload_rewind(struct upload *upload, uint64_t offset, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Gives the claim back; the session stays open with what it received: that much survives the death
 * of the process. Consumes upload; accepts NULL. */
void storage_upload_release(struct upload *upload) ON(worker_thread);
/* P2 end and P3: the received bytes become a blob of the repository. Consumes upload, whatever the
 * outcome. out is written only on success.
 * DIGEST_INVALID  the bytes hash to something else: the session is gone (UPL-20) */
int storage_upload_finish(struct upload *upload, const struct digest *claimed,
                          struct descriptor *out, struct error *err) MUST_CHECK ON(worker_thread);
/* Spec: UPL-27. Ends a writer as well. BLOB_UPLOAD_UNKNOWN */
int storage_upload_cancel(struct storage *store, struct slice repository, struct slice id,
                          struct error *err) MUST_CHECK ON(worker_thread);
/* Ends all sessions of that owner: at the start, of a process that is gone. */
int storage_uploads_end(struct storage *store, struct slice owner, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- manifests and tags: end-3, end-7, end-8, end-9 --- */

/* Immutable and shared; holds a reference count. */
struct manifest {
    struct digest digest; /* under the algorithm it was asked or tagged by (HDR-02) */
    struct slice media_type;
    struct slice payload;
};

void storage_manifest_release(const struct manifest *manifest);

/* By tag or by digest: exactly one is given (tag.at != NULL, or digest_is_set).
 * MANIFEST_UNKNOWN  also when the repository does not exist (ROUTE-06) */
struct manifest_reference {
    struct slice tag;
    struct digest digest;
};

int storage_manifest_get(struct storage *store, struct slice repository,
                         const struct manifest_reference *reference, bool may_push,
                         const struct manifest **out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* From memory; release what it gives. False says nothing. */
bool storage_peek_manifest(struct storage *store, struct slice repository,
                           const struct manifest_reference *reference, bool may_push,
                           const struct manifest **out);
/* Who pulls: a number that is stored. Pulls of PULL_EXCLUDED are counted, but are no use of the
 * manifest: when it was pulled last does not move. */
enum pull_kind { PULL_ANONYMOUS, PULL_USER, PULL_ROBOT, PULL_EXCLUDED };
/* Counts one pull (GET, not HEAD) in memory; written every pull_flush_ms. Any thread. */
void storage_pull_count(struct storage *store, struct slice repository,
                        const struct manifest_reference *reference, const struct manifest *pulled,
                        enum pull_kind kind);

/* What a manifest names, as the caller read it from the document. */
struct manifest_link {
    struct digest digest;
    uint64_t size;         /* as the descriptor says */
    bool may_be_missing;   /* MPUT-15: nondistributable */
    struct slice platform; /* index children: "os/arch[/variant]", or SLICE_NONE */
};

struct manifest_put {
    struct slice payload;
    struct digest digest; /* of the payload, in the path's algorithm; sha256 when put by tag */
    struct slice media_type;
    struct slice artifact_type;        /* REF-04's value, or SLICE_NONE */
    struct slice annotations;          /* JSON object text, or SLICE_NONE */
    struct digest subject;             /* or not set */
    struct slice base_name;            /* of an image: what it stands on, as it says; with a tag */
    struct digest base_digest;         /* or not set: then there is no base */
    const struct manifest_link *blobs; /* config and layers */
    size_t blob_count;
    const struct manifest_link *children; /* manifest or blob (MPUT-16) */
    size_t child_count;
    const struct slice *tags;
    size_t tag_count;
    const struct actor *actor; /* NULL: the server itself */
    bool if_absent;            /* CACHE-03: If-None-Match: *, first tag must not exist */
    struct digest if_digest;   /* CACHE-03: If-Match, first tag must have it; or not set */
    int64_t created_at;        /* when it was pushed elsewhere; 0, or to come: now */
    enum tag_cause cause;      /* for the history of its tags; 0: TAG_PUSHED */
};

/* Digests a manifest names that the repository lacks. Freed with missing_drop. */
struct missing {
    struct digest *digests;
    size_t count;
};
void missing_drop(struct missing *missing);

/* P6, one transaction. MANIFEST_BLOB_UNKNOWN with `missing` filled; PRECONDITION. Creates the
 * repository when there is none. With accept_missing it succeeds and `missing` may be filled too
 * (WARN-01). */
int storage_manifest_put(struct storage *store, struct slice repository,
                         const struct manifest_put *put, struct missing *missing,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* P7: by digest all its tags go too (DEL-02); by tag only the tag (DEL-01). MANIFEST_UNKNOWN */
int storage_manifest_delete(struct storage *store, struct slice repository,
                            const struct manifest_reference *reference, const struct actor *actor,
                            struct error *err) MUST_CHECK ON(worker_thread);

/* --- lists: pages in bytewise order, strictly after `last` --- */

/* Freed with page_drop. */
struct page {
    char **names;
    size_t count;
    bool more; /* at least one more follows */
};
void page_drop(struct page *page);

/* NAME_UNKNOWN  no such repository. limit may be 0. Spec: TAG-02 to TAG-10. */
int storage_tag_list(struct storage *store, struct slice repository, struct slice last,
                     size_t limit, struct page *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* Repositories that have or had a manifest, of those the filter shows (NULL: all). The cost follows
 * what is shown and how many patterns there are. Spec: CAT-01 to CAT-03. */
int storage_repository_list(struct storage *store, struct slice last,
                            const struct repository_filter *filter, size_t limit, struct page *out,
                            struct error *err) MUST_CHECK ON(worker_thread);

/* --- referrers: end-12 --- */

struct referrer {
    struct digest digest;
    uint64_t size;
    char *media_type;
    char *artifact_type; /* NULL when there is none (REF-04) */
    char *annotations;   /* JSON object text, NULL when there are none */
};

/* Freed with referrers_drop. */
struct referrers {
    struct referrer *items;
    size_t count;
    uint64_t next; /* cursor of the following page; 0 when this is the last */
};
void referrers_drop(struct referrers *referrers);

/* What a referrer counts beside its media type, artifact type and annotations: digest, size and
 * the punctuation of its descriptor. */
enum { STORAGE_REFERRER_OVERHEAD = 256 };
/* Oldest push first, after the cursor (0: from the start), until the next one would take the page
 * above size_max bytes; one that is larger by itself makes a page of its own. An unknown repository
 * or subject is an empty list. Spec: REF-01 to REF-07. */
int storage_referrer_list(struct storage *store, struct slice repository,
                          const struct digest *subject, struct slice artifact_type, uint64_t cursor,
                          uint64_t size_max, struct referrers *out, struct error *err) MUST_CHECK
    ON(worker_thread);

#endif

/* meta_internal.h - shared by the files meta*.c and manifest.c: pieces of transactions.
 * Touches  nothing by itself.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_META_INTERNAL_H
#define SLIPWAY_STORAGE_META_INTERNAL_H

#include "storage/accounts.h"
#include "storage/meta.h"

/* A digest as the database holds it. */
struct meta_key {
    uint8_t bytes[DIGEST_KEY_MAX];
    size_t size;
};

struct meta_key meta_key(const struct digest *digest);
struct slice meta_key_slice(const struct meta_key *key); /* borrows */
/* INTERNAL  the column holds no digest */
int meta_digest(const struct db_query *query, int column, struct digest *out, struct error *err);

/* Brings the schema to the newest version this program has. meta_schema.c */
int meta_migrate(struct db *db, struct error *err) MUST_CHECK;
/* A sealed database has a schema that this program can bring up to date. UNAVAILABLE */
int meta_schema_known(struct db *db, struct error *err) MUST_CHECK;

/* Forms of db_write. durable: false as db_work.may_be_lost says. */
int meta_write(struct meta *meta, db_run *run, void *arg, struct error *err) MUST_CHECK;
int meta_write_after(struct meta *meta, db_run *run, void *arg, void (*after_commit)(void *arg),
                     struct error *err) MUST_CHECK;
int meta_write_loosely(struct meta *meta, db_run *run, void *arg, enum db_priority priority,
                       struct error *err) MUST_CHECK;

/* First member of what a run gets that may change what others remember: when it sets `changed`,
 * `after` runs after COMMIT. */
struct meta_told {
    const struct meta_after *after;
    bool changed;
};
void meta_tell(void *told); /* as after_commit */
int meta_write_told(struct meta *meta, db_run *run, struct meta_told *told,
                    struct error *err) MUST_CHECK;

/* 0 is NULL. */
void meta_bind_time(struct db_query *query, int64_t time);
struct slice meta_or_empty(struct slice text);                     /* SLICE_NONE is "" */
char *meta_text(const struct db_query *query, int column);         /* a copy; free() */
char *meta_text_or_null(const struct db_query *query, int column); /* NULL stays NULL */
/* A row more than asked for tells that there are more. */
int64_t meta_one_more(size_t limit);
/* For LIKE ... ESCAPE '!': names with `search` in them; all for SLICE_NONE. */
void meta_search(struct buffer *out, struct slice search);
/* The first column of the only row. */
int meta_number(struct db_query *query, int64_t *out, struct error *err);
/* The same of a count. */
int meta_total(struct db_query *query, uint64_t *out, struct error *err);
/* Runs a statement whose parameters are numbers, all of them in order; META_CHANGED also tells how
 * many rows it changed. meta.c */
int meta_change(struct db_tx *tx, const char *sql, const int64_t *values, size_t count,
                int64_t *changed, struct error *err) MUST_CHECK;
#define META_CHANGED(tx, sql, changed, err, ...)                                                   \
    meta_change((tx), (sql), (const int64_t[]){__VA_ARGS__},                                       \
                sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (changed), (err))
#define META_CHANGE(tx, sql, err, ...) META_CHANGED(tx, sql, NULL, err, __VA_ARGS__)
/* PRECONDITION  the row has another version. wanted 0: any. */
int meta_version_check(int64_t version, int64_t wanted, struct error *err);

void meta_page_add(struct page *page, size_t *capacity, struct slice name);
/* An array that has room for one more item. */
void *meta_grow(void *items, size_t count, size_t *capacity, size_t item_size);
/* Within the last minute: no need to write it again. */
bool meta_touched_lately(int64_t at);

/* By name, or by id when that is SLICE_NONE; what *out held is freed. NOT_FOUND. meta_account.c */
struct account;
int meta_account_read(struct db_tx *tx, struct slice name, int64_t id, struct account *out,
                      struct error *err);

/* As account_create, without its event. CONFLICT  the name is taken. meta_account.c */
int meta_account_make(struct db_tx *tx, struct account *account, struct error *err);
/* What the account may do below the pattern, whatever it may now. meta_grant.c */
int meta_grant_set(struct db_tx *tx, int64_t account, struct slice pattern, unsigned rights,
                   struct error *err);

/* Written in the transaction of what it tells of. NULL: nothing. meta_audit.c */
struct audit_event;
int meta_audit_add(struct db_tx *tx, const struct audit_event *event, struct error *err);

/* id 0: there is none. */
int meta_repository_find(struct db_tx *tx, struct slice name, int64_t *id, struct error *err);
int meta_repository_create(struct db_tx *tx, struct slice name, int64_t *id, struct error *err);

enum meta_queue_kind {
    META_QUEUE_MANIFEST = 1,
    META_QUEUE_LINK = 2,
    META_QUEUE_BLOB = 3,
    META_QUEUE_REPOSITORY = 4
};
/* The collector looks at it when due; a row that is there is moved, never skipped: a collector that
 * holds it would otherwise drop the newer wish. */
int meta_queue(struct db_tx *tx, enum meta_queue_kind kind, int64_t repository, int64_t ref,
               int64_t due, struct error *err);
/* The same of a manifest that was pushed or had a tag: should it have hung on something that went,
 * it stands for itself from now on. */
int meta_queue_own(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                   struct error *err);
/* A tag left the manifest, which is looked at when due; its age for gc.untagged counts from now. */
int meta_queue_left(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                    struct error *err);
/* Queues all that a manifest names, before it stops naming it. */
int meta_queue_held(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                    struct error *err);
/* A tag moved; NULL for no manifest. */
struct meta_move {
    int64_t repository;
    struct slice tag;
    const struct digest *old, *new;
    const struct actor *actor; /* NULL: the server itself */
    enum tag_cause cause;
};
int meta_history(struct db_tx *tx, const struct meta_move *move, struct error *err);
/* The same of a move at another time. */
int meta_history_at(struct db_tx *tx, const struct meta_move *move, int64_t at, struct error *err);
/* The manifest a tag stands for; id 0: there is no such tag. meta_tag.c */
int meta_tag_find(struct db_tx *tx, int64_t repository, struct slice tag, int64_t *id,
                  struct digest *digest, struct error *err);
/* The tag stands for this manifest from now on: asked, done, and told. Nothing when it does so
 * already. PROTECTED. meta_tag.c */
struct meta_point {
    const struct meta *meta;
    int64_t repository;
    struct slice tag;
    int64_t manifest;
    const struct digest *digest; /* the manifest's */
    const struct actor *actor;   /* NULL: the server itself */
    enum tag_cause cause;
    int64_t now;
    bool takes_back; /* a move of its own: nothing is asked */
};
int meta_tag_point(struct db_tx *tx, const struct meta_point *point, struct error *err);
/* The tag, which stands for this manifest, goes: set aside, done and told; nothing is asked.
 * meta_untag.c */
int meta_tag_end(struct db_tx *tx, const struct meta_point *point, struct error *err);
/* P6 as a part of another transaction. *retyped as in meta_manifest_put. meta_push.c */
int meta_manifest_put_in(struct db_tx *tx, const struct meta *meta, struct slice repository,
                         const struct manifest_put *put, bool *retyped,
                         struct error *err) MUST_CHECK;
/* What protects the tags of one repository: rules that cover it, read once. meta_protect.c */
struct meta_rule {
    char *tags; /* a glob */
    unsigned bits;
};
struct meta_rules {
    struct meta_rule *items;
    size_t count;
    unsigned bits; /* of any of them */
};
void meta_rules_drop(struct meta_rules *rules);
int meta_rules_read(struct db_tx *tx, int64_t repository, struct meta_rules *out,
                    struct error *err);
unsigned meta_rules_bits(const struct meta_rules *rules, struct slice tag);
/* PROTECTED when this tag, or a rule that covers it, forbids it: TAG_IMMUTABLE a move to another
 * manifest, TAG_PROTECTED an end. In the transaction that does it, so nothing comes between. */
int meta_guard_tag(struct db_tx *tx, int64_t repository, struct slice tag,
                   enum tag_protection against, struct error *err);
/* The same for a manifest that is to go: pins that have not ended and protected tags, of it and of
 * the indexes it is part of. */
int meta_guard_manifest(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                        struct error *err);
/* The same for one that is to be served under another media type; immutable tags object as well. */
int meta_guard_type(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                    struct error *err);
/* P7 of a manifest that is here, with all its tags. PROTECTED. meta_manifest.c */
struct meta_removal {
    const struct meta *meta;
    int64_t repository, manifest;
    const struct digest *digest;
    const struct actor *actor; /* NULL: the server itself */
    enum tag_cause cause;      /* of the end of its tags */
};
int meta_manifest_remove(struct db_tx *tx, const struct meta_removal *removal, struct error *err);
/* For a blob: those of the manifests that use it. For a repository: any. */
int meta_guard_blob(struct db_tx *tx, int64_t repository, int64_t blob, int64_t now,
                    struct error *err);
int meta_guard_repository(struct db_tx *tx, int64_t repository, int64_t now, struct error *err);
int meta_trash(struct db_tx *tx, struct slice locator, int64_t not_before, struct error *err);
/* 1 when a row of blobs, uploads or trash names it, 0 when none does, -1 failed. */
int meta_trash_knows(struct db_tx *tx, struct slice locator, struct error *err);
/* account: who links it, 0 nobody; the first stays. reserved as in meta_quota_count. QUOTA. Links
 * the blob with a lease, queues the link, and makes references real that waited for it. */
int meta_link(struct db_tx *tx, const struct meta *meta, int64_t repository, int64_t blob,
              const struct digest *digest, int64_t account, struct quota_table *reserved,
              struct error *err);

/* The link goes, and what it counted for quotas with it; the caller queues the blob. Absent is
 * success. The one way a link goes. meta_usage.c */
int meta_unlink(struct db_tx *tx, int64_t repository, int64_t blob, struct error *err);
/* Counts a link that is new for every quota it falls under. reserved (NULL: nothing): what uploads
 * under way have reserved of a quota.  QUOTA  with the numbers. meta_usage.c */
struct quota_table;
int meta_quota_count(struct db_tx *tx, int64_t repository, int64_t blob, int64_t account,
                     struct quota_table *reserved, struct error *err);

/* P3 of one session, without remembering its id; reserved as in meta_quota_count. meta_upload.c
 * BLOB_UPLOAD_UNKNOWN  the row is gone.  QUOTA */
int meta_upload_take(struct db_tx *tx, const struct meta *meta, int64_t repository, struct slice id,
                     const struct descriptor *blob, struct quota_table *reserved,
                     struct error *err);

/* How the lease of one row is read and renewed. */
struct meta_lease {
    const char *sql_read;  /* touched_at of the row with these keys, if anybody may see it */
    const char *sql_renew; /* $1 the time, then the keys */
    int64_t keys[2];
    size_t key_count;
};
/* P4: at most one write a row and half a lease, decided under the writer. 1 with touched_at as it
 * stands now, 0 when the row is gone, -1 failed. */
int meta_lease_renew(struct db_tx *tx, const struct meta *meta, const struct meta_lease *lease,
                     int64_t *touched_at, struct error *err);

#endif

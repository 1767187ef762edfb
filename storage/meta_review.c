/* meta_review.c - G1 and G2: whether what a task of the collector names may go.
 * Touches  nothing: it reads.
 * Never    outside of the transaction that would remove it, but for a dry run.
 *
 * What holds, whatever the clock says: a manifest its tags, parents and subject; a link the
 * manifests that use it; a blob its links. What is set aside holds until it is gone for good. What
 * holds for a time: leases, pins, deletions that can be taken back. An index that names its own
 * subject is held by it and holds it: both stay until one is deleted. */
#include "storage/meta_collect.h"

static int verdict(struct meta_review *review, enum meta_verdict verdict)
{
    review->verdict = verdict;
    return 0;
}

static int later(struct meta_review *review, int64_t until)
{
    review->until = until;
    return verdict(review, META_LATER);
}

/* Forever is not passed. */
static int64_t after(int64_t at, int64_t duration)
{
    int64_t sum;

    return __builtin_add_overflow(at, duration, &sum) ? INT64_MAX : sum;
}

static bool is_removed(const struct meta_review *review, enum meta_queue_kind kind,
                       int64_t repository, int64_t ref)
{
    const struct meta_removed *removed = review->removed;

    return removed != NULL && removed->contains(removed->arg, kind, repository, ref);
}

/* Whether a row of the statement, bound to the task's object, names something of `kind` that has
 * not gone: column 0 is the reference, 1 its repository. */
static int is_held(struct db_tx *tx, const char *sql, const struct meta_review *review,
                   enum meta_queue_kind kind, bool *held, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);
    int row;

    *held = false;
    if (review->task.kind != META_QUEUE_BLOB) /* blobs belong to no repository */
        db_bind_i64(&query, review->task.repository);
    db_bind_i64(&query, review->task.ref);
    while (!*held && (row = db_step(&query, err)) != 0) {
        if (row < 0)
            return -1;
        *held = !is_removed(review, kind, db_column_i64(&query, 1), db_column_i64(&query, 0));
    }
    return 0;
}

/* --- manifests --- */

static const char SQL_MANIFEST[] = "SELECT digest, subject, touched_at, coalesce(deleted_at, 0)"
                                   "  FROM manifests"
                                   " WHERE repo_id = $1 AND id = $2";
static const char SQL_TAGGED[] = "SELECT 1"
                                 "  FROM tags"
                                 " WHERE repo_id = $1 AND manifest_id = $2"
                                 " LIMIT 1";
static const char SQL_PINNED_UNTIL[] = "SELECT coalesce(max(until), 0)"
                                       "  FROM pins"
                                       " WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_TAG_UNTIL[] = "SELECT coalesce(max(until), 0)"
                                    "  FROM deleted_tags"
                                    " WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_REBASED_UNTIL[] = "SELECT coalesce(max(until), 0)"
                                        "  FROM rebase_moves"
                                        " WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_PARENTS[] = "SELECT parent_id, repo_id"
                                  "  FROM manifest_refs"
                                  " WHERE repo_id = $1 AND child_id = $2";
static const char SQL_SUBJECT[] = "SELECT id"
                                  "  FROM manifests"
                                  " WHERE repo_id = $1 AND digest = $2";

struct manifest_row {
    struct digest subject;
    int64_t touched_at, deleted_at;
};

static int manifest_find(struct db_tx *tx, struct meta_review *review, struct manifest_row *out,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST);

    db_bind_i64(&query, review->task.repository);
    db_bind_i64(&query, review->task.ref);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    out->touched_at = db_column_i64(&query, 2);
    out->deleted_at = db_column_i64(&query, 3);
    if (meta_digest(&query, 0, &review->digest, err) < 0 ||
        (!db_column_is_null(&query, 1) && meta_digest(&query, 1, &out->subject, err) < 0))
        return -1;
    return 1;
}

static int manifest_number(struct db_tx *tx, const char *sql, const struct meta_review *review,
                           int64_t *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    *out = 0;
    db_bind_i64(&query, review->task.repository);
    db_bind_i64(&query, review->task.ref);
    int row = db_step(&query, err);
    if (row == 1)
        *out = db_column_i64(&query, 0);
    return row < 0 ? -1 : 0;
}

static int has_subject(struct db_tx *tx, const struct meta_review *review,
                       const struct digest *subject, bool *held, struct error *err)
{
    const struct meta_key key = meta_key(subject);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SUBJECT);

    db_bind_i64(&query, review->task.repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    *held = row == 1 && !is_removed(review, META_QUEUE_MANIFEST, review->task.repository,
                                    db_column_i64(&query, 0));
    return row < 0 ? -1 : 0;
}

/* Tags, which hold also what is set aside, then pins, deleted tags and rebases that can be taken
 * back: *until is when they end. */
static int manifest_named(struct db_tx *tx, const struct meta_review *review, bool *tagged,
                          int64_t *until, struct error *err)
{
    int64_t tag = 0, deleted_tag = 0, rebase = 0;

    if (manifest_number(tx, SQL_TAGGED, review, &tag, err) < 0 ||
        manifest_number(tx, SQL_PINNED_UNTIL, review, until, err) < 0 ||
        manifest_number(tx, SQL_TAG_UNTIL, review, &deleted_tag, err) < 0 ||
        manifest_number(tx, SQL_REBASED_UNTIL, review, &rebase, err) < 0)
        return -1;
    *tagged = tag != 0;
    if (deleted_tag > *until)
        *until = deleted_tag;
    if (rebase > *until)
        *until = rebase;
    return 0;
}

/* Nobody deleted it, and no name leads to it. */
static int manifest_review_untagged(struct db_tx *tx, struct meta_review *review,
                                    const struct manifest_row *row, struct error *err)
{
    const struct meta *meta = review->meta;
    bool held = false;

    if (is_held(tx, SQL_PARENTS, review, META_QUEUE_MANIFEST, &held, err) < 0)
        return -1;
    if (!held && digest_is_set(&row->subject) &&
        has_subject(tx, review, &row->subject, &held, err) < 0)
        return -1;
    if (held || (!review->task.follows && meta->untagged_us == 0))
        return verdict(review, META_HELD);
    int64_t until = after(row->touched_at, meta->grace_us);
    if (!review->task.follows && meta->untagged_us > meta->grace_us)
        until = after(row->touched_at, meta->untagged_us);
    return until > review->now ? later(review, until) : verdict(review, META_REMOVE);
}

static int manifest_review(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    struct manifest_row row = {.touched_at = 0};
    bool tagged = false;
    int64_t until = 0;

    int found = manifest_find(tx, review, &row, err);
    if (found <= 0)
        return found < 0 ? -1 : verdict(review, META_GONE);
    if (manifest_named(tx, review, &tagged, &until, err) < 0)
        return -1;
    if (tagged)
        return verdict(review, META_HELD);
    if (until > review->now)
        return later(review, until);
    if (row.deleted_at == 0)
        return manifest_review_untagged(tx, review, &row, err);
    until = after(row.deleted_at, review->meta->undo_us);
    return until > review->now ? later(review, until) : verdict(review, META_REMOVE);
}

/* --- links --- */

static const char SQL_LINK[] = "SELECT l.touched_at, coalesce(l.deleted_at, 0), b.digest"
                               "  FROM repository_blobs l"
                               "  JOIN blobs b ON b.id = l.blob_id"
                               " WHERE l.repo_id = $1 AND l.blob_id = $2";
static const char SQL_USERS[] = "SELECT manifest_id, repo_id"
                                "  FROM manifest_blobs"
                                " WHERE repo_id = $1 AND blob_id = $2";

/* 1 with when it may go at the earliest. */
static int link_find(struct db_tx *tx, struct meta_review *review, int64_t *until,
                     struct error *err)
{
    const struct meta *meta = review->meta;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK);

    db_bind_i64(&query, review->task.repository);
    db_bind_i64(&query, review->task.ref);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    int64_t deleted_at = db_column_i64(&query, 1);
    *until = deleted_at != 0 ? after(deleted_at, meta->undo_us)
                             : after(db_column_i64(&query, 0), meta->grace_us);
    return meta_digest(&query, 2, &review->digest, err) < 0 ? -1 : 1;
}

/* One that was set aside by hand and that a manifest still uses stays as it is: the key of the
 * manifest's rows. */
static int link_review(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    int64_t until = 0;
    bool held = false;

    int found = link_find(tx, review, &until, err);
    if (found <= 0)
        return found < 0 ? -1 : verdict(review, META_GONE);
    if (is_held(tx, SQL_USERS, review, META_QUEUE_MANIFEST, &held, err) < 0)
        return -1;
    if (held)
        return verdict(review, META_HELD);
    return until > review->now ? later(review, until) : verdict(review, META_REMOVE);
}

/* --- blobs --- */

static const char SQL_BLOB[] = "SELECT digest, size, locator"
                               "  FROM blobs"
                               " WHERE id = $1";
static const char SQL_LINKS[] = "SELECT blob_id, repo_id"
                                "  FROM repository_blobs"
                                " WHERE blob_id = $1";

static int blob_find(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB);

    db_bind_i64(&query, review->task.ref);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    review->size = (uint64_t)db_column_i64(&query, 1);
    if (!slice_to_text(db_column_slice(&query, 2), review->locator, sizeof(review->locator)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return meta_digest(&query, 0, &review->digest, err) < 0 ? -1 : 1;
}

static int blob_review(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    bool held = false;

    int found = blob_find(tx, review, err);
    if (found <= 0)
        return found < 0 ? -1 : verdict(review, META_GONE);
    if (is_held(tx, SQL_LINKS, review, META_QUEUE_LINK, &held, err) < 0)
        return -1;
    return verdict(review, held ? META_HELD : META_REMOVE);
}

/* --- repositories --- */

static const char SQL_REPOSITORY[] = "SELECT coalesce(deleted_at, 0)"
                                     "  FROM repositories"
                                     " WHERE id = $1";

/* One that was brought back is gone for the collector. */
static int repository_review(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REPOSITORY);

    db_bind_i64(&query, review->task.ref);
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    int64_t deleted_at = row == 1 ? db_column_i64(&query, 0) : 0;
    if (deleted_at == 0)
        return verdict(review, META_GONE);
    int64_t until = after(deleted_at, review->meta->undo_us);
    return until > review->now ? later(review, until) : verdict(review, META_REMOVE);
}

int meta_review(struct db_tx *tx, struct meta_review *review, struct error *err)
{
    switch (review->task.kind) {
    case META_QUEUE_MANIFEST:
        return manifest_review(tx, review, err);
    case META_QUEUE_LINK:
        return link_review(tx, review, err);
    case META_QUEUE_BLOB:
        return blob_review(tx, review, err);
    case META_QUEUE_REPOSITORY:
        return repository_review(tx, review, err);
    }
    return verdict(review, META_GONE);
}

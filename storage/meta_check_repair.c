/* meta_check_repair.c - makes rows right that follow from others.
 * Touches  gc_queue, manifests (sizes), manifest_refs, manifest_blobs, missing_refs, tags,
 *          deleted_tags, tag_history, trash, uploads.
 * Never    invents content: what only a push can bring stays as it is.
 *
 * Each statement says what was found wrong, so nothing happens when it is right by now. */
#include "storage/meta_check.h"

#include "storage/meta_news.h"
#include "storage/meta_quota.h"

struct repair {
    const struct meta *meta;
    const struct check_fault *fault;
    const struct meta_after *after;
};

typedef int repair_run(struct db_tx *tx, struct repair *repair, struct error *err);

/* A statement with numbers, then a digest when there is one. */
static int change(struct db_tx *tx, const char *sql, const int64_t *numbers, size_t count,
                  const struct digest *digest, struct error *err)
{
    struct meta_key key = {.size = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    for (size_t i = 0; i < count; i++)
        db_bind_i64(&query, numbers[i]);
    if (digest != NULL) {
        key = meta_key(digest);
        db_bind_bytes(&query, meta_key_slice(&key));
    }
    return db_finish(&query, err);
}

#define CHANGE(tx, sql, digest, err, ...)                                                          \
    change((tx), (sql), (const int64_t[]){__VA_ARGS__},                                            \
           sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (digest), (err))

/* --- reviews that are due --- */

static int requeue(struct db_tx *tx, const struct repair *repair, enum meta_queue_kind kind,
                   int64_t repository, int64_t ref, struct error *err)
{
    return meta_queue(tx, kind, repository, ref, clock_now_us() + repair->meta->grace_us, err);
}

static int requeue_blob(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return requeue(tx, repair, META_QUEUE_BLOB, 0, repair->fault->id, err);
}

static int requeue_link(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return requeue(tx, repair, META_QUEUE_LINK, repair->fault->repository, repair->fault->id, err);
}

static int requeue_manifest(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return requeue(tx, repair, META_QUEUE_MANIFEST, repair->fault->repository, repair->fault->id,
                   err);
}

static int requeue_repository(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return requeue(tx, repair, META_QUEUE_REPOSITORY, repair->fault->repository,
                   repair->fault->repository, err);
}

/* --- locators in two tables --- */

static const char SQL_UPLOAD_DROP[] = "DELETE FROM uploads"
                                      "      WHERE locator = $1";
static const char SQL_TRASH_DROP[] = "DELETE FROM trash"
                                     "      WHERE locator = $1";

/* The blob's claim is the strongest; a session may always be gone (CONC-02). */
static int settle_locator(struct db_tx *tx, struct repair *repair, struct error *err)
{
    OWNED(db_query_end)
    struct db_query query =
        db_query(tx, repair->fault->other == 1 ? SQL_UPLOAD_DROP : SQL_TRASH_DROP);

    db_bind_text(&query, slice_of(repair->fault->finding.object));
    return db_finish(&query, err);
}

/* --- sizes --- */

static const char SQL_SIZE_SET[] = "UPDATE manifests"
                                   "   SET size = $1"
                                   " WHERE id = $2";
static const char SQL_TOTAL_SET[] = "UPDATE manifests"
                                    "   SET total_size = $1"
                                    " WHERE id = $2";

static int set_size(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return CHANGE(tx, SQL_SIZE_SET, NULL, err, repair->fault->number, repair->fault->id);
}

static int set_total(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return CHANGE(tx, SQL_TOTAL_SET, NULL, err, repair->fault->number, repair->fault->id);
}

/* --- what a manifest names --- */

static const char SQL_CHILD_RELINK[] =
    "UPDATE manifest_refs"
    "   SET child_id = (SELECT m.id"
    "                     FROM manifests m"
    "                    WHERE m.repo_id = manifest_refs.repo_id"
    "                      AND m.digest = manifest_refs.digest AND m.deleted_at IS NULL)"
    " WHERE repo_id = $1 AND parent_id = $2 AND coalesce(child_id, 0) = $3 AND digest = $4";
static const char SQL_HOLD_BLOB[] =
    "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
    "     SELECT l.repo_id, m.id, l.blob_id"
    "       FROM blobs b"
    "       JOIN repository_blobs l ON l.repo_id = $1 AND l.blob_id = b.id"
    "       JOIN manifests m ON m.repo_id = $1 AND m.id = $2"
    "      WHERE b.digest = $3"
    " ON CONFLICT DO NOTHING";
static const char SQL_WAIT_FORGET[] = "DELETE FROM missing_refs"
                                      "      WHERE repo_id = $1 AND manifest_id = $2"
                                      "        AND digest = $3"
                                      "        AND EXISTS(SELECT 1"
                                      "                     FROM blobs b"
                                      "                     JOIN manifest_blobs u"
                                      "                       ON u.blob_id = b.id"
                                      "                    WHERE b.digest = $3 AND u.repo_id = $1"
                                      "                      AND u.manifest_id = $2)";
static const char SQL_WAIT[] =
    "INSERT INTO missing_refs(repo_id, manifest_id, digest)"
    "     SELECT $1, $2, $3"
    "      WHERE EXISTS(SELECT 1 FROM manifests m WHERE m.repo_id = $1 AND m.id = $2)"
    "        AND NOT EXISTS(SELECT 1"
    "                         FROM blobs b"
    "                         JOIN manifest_blobs u ON u.blob_id = b.id"
    "                        WHERE b.digest = $3 AND u.repo_id = $1 AND u.manifest_id = $2)"
    " ON CONFLICT DO NOTHING";
static const char SQL_CHILD_HOLD[] =
    "INSERT INTO manifest_refs(repo_id, parent_id, digest, child_id, platform)"
    "     SELECT $1, $2, $3,"
    "            (SELECT m.id"
    "               FROM manifests m"
    "              WHERE m.repo_id = $1 AND m.digest = $3 AND m.deleted_at IS NULL), $4"
    "      WHERE EXISTS(SELECT 1 FROM manifests p WHERE p.repo_id = $1 AND p.id = $2)"
    " ON CONFLICT DO NOTHING";

static int relink_child(struct db_tx *tx, struct repair *repair, struct error *err)
{
    const struct check_fault *fault = repair->fault;

    return CHANGE(tx, SQL_CHILD_RELINK, &fault->digest, err, fault->repository, fault->id,
                  fault->other);
}

static int hold_child(struct db_tx *tx, const struct check_fault *fault, struct error *err)
{
    const struct meta_key key = meta_key(&fault->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHILD_HOLD);

    db_bind_i64(&query, fault->repository);
    db_bind_i64(&query, fault->id);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, fault->platform[0] == 0 ? SLICE_NONE : slice_of(fault->platform));
    return db_finish(&query, err);
}

/* number: it is a child of an index, which waits in manifest_refs; a blob waits in missing_refs. */
static int hold_named(struct db_tx *tx, struct repair *repair, struct error *err)
{
    const struct check_fault *fault = repair->fault;

    if (CHANGE(tx, SQL_HOLD_BLOB, &fault->digest, err, fault->repository, fault->id) < 0)
        return -1;
    if (fault->number != 0)
        return hold_child(tx, fault, err);
    if (CHANGE(tx, SQL_WAIT_FORGET, &fault->digest, err, fault->repository, fault->id) < 0)
        return -1;
    return CHANGE(tx, SQL_WAIT, &fault->digest, err, fault->repository, fault->id);
}

/* --- tags --- */

static const char SQL_DANGLING_ASIDE[] =
    "INSERT INTO deleted_tags(repo_id, name, manifest_id, until)"
    "     SELECT t.repo_id, t.name, t.manifest_id, $1"
    "       FROM tags t"
    "       JOIN manifests m ON m.repo_id = t.repo_id AND m.id = t.manifest_id"
    "      WHERE t.repo_id = $2 AND t.manifest_id = $3 AND t.name = $4"
    " ON CONFLICT (repo_id, name, manifest_id)"
    "   DO UPDATE SET until = excluded.until";
static const char SQL_DANGLING_DELETE[] =
    "DELETE FROM tags"
    "      WHERE repo_id = $1 AND manifest_id = $2 AND name = $3"
    "        AND NOT EXISTS(SELECT 1"
    "                         FROM manifests m"
    "                        WHERE m.repo_id = $1 AND m.id = $2 AND m.deleted_at IS NULL)";

static int dangling_aside(struct db_tx *tx, const struct repair *repair, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DANGLING_ASIDE);

    db_bind_i64(&query, clock_now_us() + repair->meta->undo_us);
    db_bind_i64(&query, repair->fault->repository);
    db_bind_i64(&query, repair->fault->id);
    db_bind_text(&query, slice_of(repair->fault->finding.tag));
    return db_finish(&query, err);
}

static int dangling_delete(struct db_tx *tx, const struct check_fault *fault, bool *gone,
                           struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DANGLING_DELETE);

    db_bind_i64(&query, fault->repository);
    db_bind_i64(&query, fault->id);
    db_bind_text(&query, slice_of(fault->finding.tag));
    if (db_finish(&query, err) < 0)
        return -1;
    *gone = db_changes(&query) > 0;
    return 0;
}

/* With its manifest it can come back: then it is set aside. Its history tells of it either way. */
static int drop_tag(struct db_tx *tx, struct repair *repair, struct error *err)
{
    const struct check_fault *fault = repair->fault;
    const struct meta_move move = {
        .repository = fault->repository,
        .tag = slice_of(fault->finding.tag),
        .old = digest_is_set(&fault->digest) ? &fault->digest : NULL,
        .cause = TAG_MANIFEST_DELETED,
    };
    bool gone = false;

    if (repair->meta->undo_us > 0 && fault->number == 3 && dangling_aside(tx, repair, err) < 0)
        return -1;
    if (dangling_delete(tx, fault, &gone, err) < 0)
        return -1;
    if (gone && fault->number == 3 && requeue_manifest(tx, repair, err) < 0)
        return -1;
    if (!gone)
        return 0;
    const struct meta_departure departure = {move.repository, move.tag, move.old, NULL,
                                             (int)move.cause};
    return meta_history(tx, &move, err) < 0 ? -1 : meta_news_departure(tx, &departure, err);
}

/* --- all of them --- */

static int recount_quota(struct db_tx *tx, struct repair *repair, struct error *err)
{
    return meta_quota_recount(tx, repair->fault->id, err);
}

static repair_run *const repairs[CHECK_KINDS] = {
    [CHECK_LOCATOR_TWICE] = settle_locator,
    [CHECK_BLOB_LEAKED] = requeue_blob,
    [CHECK_LINK_LEAKED] = requeue_link,
    [CHECK_MANIFEST_SIZE] = set_size,
    [CHECK_MANIFEST_TOTAL] = set_total,
    [CHECK_MANIFEST_REFERENCE] = hold_named,
    [CHECK_CHILD_WRONG] = relink_child,
    [CHECK_CHILD_UNLINKED] = relink_child,
    [CHECK_MANIFEST_FORGOTTEN] = requeue_manifest,
    [CHECK_REPOSITORY_FORGOTTEN] = requeue_repository,
    [CHECK_TAG_DANGLING] = drop_tag,
    [CHECK_QUOTA] = recount_quota,
};

static int run(struct db_tx *tx, void *arg, struct error *err)
{
    struct repair *repair = arg;

    return repairs[repair->fault->finding.kind](tx, repair, err);
}

static void repaired(void *arg)
{
    const struct repair *repair = arg;

    if (repair->after != NULL)
        repair->after->run(repair->after->arg);
}

int meta_check_repair(struct meta *meta, const struct check_fault *fault,
                      const struct meta_after *after, bool *done, struct error *err)
{
    struct repair repair = {.meta = meta, .fault = fault, .after = after};

    *done = false;
    if (repairs[fault->finding.kind] == NULL)
        return 0;
    if (meta_write_after(meta, run, &repair, repaired, err) < 0)
        return -1;
    *done = true;
    return 0;
}

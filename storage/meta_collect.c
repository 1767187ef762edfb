/* meta_collect.c - G0 and G3: takes tasks that are due, and removes what the review allows.
 * Touches  gc_queue, manifests and what hangs on them, repository_blobs, blobs, trash.
 * Never    bytes: a locator goes to trash in the transaction that deletes its blob's row, meta (1).
 *
 * A batch is one transaction of some reviews, each with its look and its removal. A task is taken
 * within the transaction that ends it, so nobody holds one over a commit: SQLite's one writer needs
 * no lock; elsewhere G0 and G1 lock (FOR UPDATE SKIP LOCKED). Tasks are taken one at a time, since
 * a removal may change the next one. */
#include "storage/meta_collect.h"
#include "storage/meta_news.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_US = 2000,  /* a transaction; foreground writes wait for it */
    REFS_MAX = 256,   /* references of a manifest that one review takes */
    POSTPONE_MAX = 12 /* doublings of a second: an hour and a bit */
};

/* --- G0 --- */

static const char SQL_TASK[] = "SELECT kind, repo_id, ref_id, attempts, follows"
                               "  FROM gc_queue"
                               " WHERE due <= $1"
                               " ORDER BY due"
                               " LIMIT 1";
static const char SQL_NEXT_DUE[] = "SELECT due"
                                   "  FROM gc_queue"
                                   " ORDER BY due"
                                   " LIMIT 1";
static const char SQL_TASK_DROP[] = "DELETE FROM gc_queue"
                                    "      WHERE kind = $1 AND repo_id = $2 AND ref_id = $3";
static const char SQL_TASK_MOVE[] = "UPDATE gc_queue"
                                    "   SET due = $1, attempts = $2"
                                    " WHERE kind = $3 AND repo_id = $4 AND ref_id = $5";

static int task_take(struct db_tx *tx, int64_t now, struct meta_task *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TASK);

    db_bind_i64(&query, now);
    int row = db_step(&query, err);
    if (row == 1)
        *out = (struct meta_task){
            .kind = (enum meta_queue_kind)db_column_i64(&query, 0),
            .repository = db_column_i64(&query, 1),
            .ref = db_column_i64(&query, 2),
            .attempts = db_column_i64(&query, 3),
            .follows = db_column_i64(&query, 4) != 0,
        };
    return row;
}

static int task_drop(struct db_tx *tx, const struct meta_task *task, struct error *err)
{
    return META_CHANGE(tx, SQL_TASK_DROP, err, task->kind, task->repository, task->ref);
}

static int task_move(struct db_tx *tx, const struct meta_task *task, int64_t due, int64_t attempts,
                     struct error *err)
{
    return META_CHANGE(tx, SQL_TASK_MOVE, err, due, attempts, task->kind, task->repository,
                       task->ref);
}

/* --- manifests that go for good --- */

/* In blob order, as every other transaction that touches several links. */
static const char SQL_BLOBS_QUEUE[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                      "     SELECT 2, repo_id, blob_id, $1"
                                      "       FROM manifest_blobs"
                                      "      WHERE repo_id = $2 AND manifest_id = $3"
                                      "      ORDER BY blob_id"
                                      "      LIMIT $4"
                                      " ON CONFLICT (kind, repo_id, ref_id)"
                                      "   DO UPDATE SET due = excluded.due, attempts = 0";
static const char SQL_BLOBS_FORGET[] =
    "DELETE FROM manifest_blobs"
    "      WHERE repo_id = $1 AND manifest_id = $2"
    "        AND blob_id IN (SELECT blob_id"
    "                          FROM manifest_blobs"
    "                         WHERE repo_id = $1 AND manifest_id = $2"
    "                         ORDER BY blob_id"
    "                         LIMIT $3)";
/* child_id is asked so that the index of children does not fit: it would go through all of the
 * repository. */
static const char SQL_CHILDREN_QUEUE[] =
    "INSERT INTO gc_queue(kind, repo_id, ref_id, due, follows)"
    "     SELECT 1, repo_id, child_id, $1, 1"
    "       FROM manifest_refs"
    "      WHERE repo_id = $2 AND parent_id = $3 AND coalesce(child_id, 0) > 0"
    "        AND digest IN (SELECT digest"
    "                         FROM manifest_refs"
    "                        WHERE repo_id = $2 AND parent_id = $3"
    "                        ORDER BY digest"
    "                        LIMIT $4)"
    " ON CONFLICT (kind, repo_id, ref_id)"
    "   DO UPDATE SET due = excluded.due, attempts = 0, follows = 1";
static const char SQL_CHILDREN_FORGET[] =
    "DELETE FROM manifest_refs"
    "      WHERE repo_id = $1 AND parent_id = $2"
    "        AND digest IN (SELECT digest"
    "                         FROM manifest_refs"
    "                        WHERE repo_id = $1 AND parent_id = $2"
    "                        ORDER BY digest"
    "                        LIMIT $3)";
static const char SQL_REFERRERS_QUEUE[] =
    "INSERT INTO gc_queue(kind, repo_id, ref_id, due, follows)"
    "     SELECT 1, repo_id, id, $1, 1"
    "       FROM manifests"
    "      WHERE repo_id = $2 AND subject = $3 AND deleted_at IS NULL"
    " ON CONFLICT (kind, repo_id, ref_id)"
    "   DO UPDATE SET due = excluded.due, attempts = 0, follows = 1";
static const char SQL_CHILD_RELEASE[] = "UPDATE manifest_refs"
                                        "   SET child_id = NULL"
                                        " WHERE repo_id = $1 AND child_id = $2";
static const char SQL_PINS_DELETE[] = "DELETE FROM pins"
                                      "      WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_MANIFEST_SET_ASIDE[] = "UPDATE manifests"
                                             "   SET deleted_at = $1"
                                             " WHERE id = $2";
static const char SQL_MANIFEST_DELETE[] = "DELETE FROM manifests"
                                          "      WHERE id = $1";

static int referrers_queue(struct db_tx *tx, int64_t repository, const struct digest *digest,
                           int64_t now, struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REFERRERS_QUEUE);

    db_bind_i64(&query, now);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    return db_finish(&query, err);
}

/* Queued before they are forgotten: nothing loses its reference unseen, meta (6). */
static int refs_forget(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t limit,
                       bool *all, struct error *err)
{
    int64_t now = clock_now_us(), blobs = 0, children = 0;

    if (META_CHANGE(tx, SQL_BLOBS_QUEUE, err, now, repository, manifest, limit) < 0 ||
        META_CHANGED(tx, SQL_BLOBS_FORGET, &blobs, err, repository, manifest, limit) < 0 ||
        META_CHANGE(tx, SQL_CHILDREN_QUEUE, err, now, repository, manifest, limit) < 0 ||
        META_CHANGED(tx, SQL_CHILDREN_FORGET, &children, err, repository, manifest, limit) < 0)
        return -1;
    *all = blobs < limit && children < limit;
    return 0;
}

int meta_manifest_erase(struct db_tx *tx, int64_t repository, int64_t manifest,
                        const struct digest *digest, int64_t limit, bool *done, struct error *err)
{
    const int64_t long_ago = 1;

    if (refs_forget(tx, repository, manifest, limit, done, err) < 0 ||
        META_CHANGE(tx, SQL_CHILD_RELEASE, err, repository, manifest) < 0)
        return -1;
    if (!*done) /* what is half gone nobody sees or brings back; a push makes it whole */
        return META_CHANGE(tx, SQL_MANIFEST_SET_ASIDE, err, long_ago, manifest);
    if (referrers_queue(tx, repository, digest, clock_now_us(), err) < 0 ||
        META_CHANGE(tx, SQL_PINS_DELETE, err, repository, manifest) < 0)
        return -1;
    return META_CHANGE(tx, SQL_MANIFEST_DELETE, err, manifest);
}

/* --- G3 --- */

static const char SQL_BLOB_DELETE[] = "DELETE FROM blobs"
                                      "      WHERE id = $1";
static const char SQL_NAME[] = "SELECT name"
                               "  FROM repositories"
                               " WHERE id = $1";

static int forget(struct db_tx *tx, struct meta_batch *batch, const struct meta_review *review,
                  struct error *err)
{
    struct meta_forget *out = &batch->forget[batch->forget_count];
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NAME);

    db_bind_i64(&query, review->task.repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    *out = (struct meta_forget){review->task.kind, review->digest, meta_text(&query, 0)};
    batch->forget_count++;
    return 0;
}

static int manifest_remove(struct db_tx *tx, struct meta_batch *batch,
                           const struct meta_review *review, bool *done, struct error *err)
{
    if (meta_news_collected(tx, review->task.ref, &review->digest, err) < 0 ||
        meta_manifest_erase(tx, review->task.repository, review->task.ref, &review->digest,
                            REFS_MAX, done, err) < 0)
        return -1;
    batch->report.manifests += *done ? 1 : 0;
    return forget(tx, batch, review, err);
}

static int link_remove(struct db_tx *tx, struct meta_batch *batch, const struct meta_review *review,
                       struct error *err)
{
    if (meta_unlink(tx, review->task.repository, review->task.ref, err) < 0 ||
        meta_queue(tx, META_QUEUE_BLOB, 0, review->task.ref, clock_now_us(), err) < 0)
        return -1;
    batch->report.links++;
    return forget(tx, batch, review, err);
}

static int blob_remove(struct db_tx *tx, struct meta_batch *batch, const struct meta_review *review,
                       struct error *err)
{
    if (meta_trash(tx, slice_of(review->locator), clock_now_us() + batch->meta->late_us, err) < 0 ||
        META_CHANGE(tx, SQL_BLOB_DELETE, err, review->task.ref) < 0)
        return -1;
    batch->report.blobs++;
    batch->report.bytes += review->size;
    return 0;
}

/* *done: false when there is more of it for another review. */
static int remove_reviewed(struct db_tx *tx, struct meta_batch *batch,
                           const struct meta_review *review, bool *done, struct error *err)
{
    *done = true;
    switch (review->task.kind) {
    case META_QUEUE_MANIFEST:
        return manifest_remove(tx, batch, review, done, err);
    case META_QUEUE_LINK:
        return link_remove(tx, batch, review, err);
    case META_QUEUE_BLOB:
        return blob_remove(tx, batch, review, err);
    case META_QUEUE_REPOSITORY:
        return meta_repository_remove(tx, batch->meta, review->task.ref, &batch->report, done, err);
    }
    return 0;
}

/* --- a batch --- */

static int conclude(struct db_tx *tx, struct meta_batch *batch, const struct meta_review *review,
                    struct error *err)
{
    const struct meta_task *task = &review->task;
    bool done = true;

    batch->report.reviewed++;
    if (review->verdict == META_LATER) {
        batch->report.postponed++;
        return task_move(tx, task, review->until, 0, err);
    }
    if (review->verdict == META_HELD)
        batch->report.kept++;
    if (review->verdict == META_REMOVE && remove_reviewed(tx, batch, review, &done, err) < 0)
        return -1;
    return done ? task_drop(tx, task, err) : task_move(tx, task, review->now, 0, err);
}

/* 1 when a task was reviewed, 0 when none is due. */
static int review_next(struct db_tx *tx, struct meta_batch *batch, struct error *err)
{
    struct meta_review review = {.meta = batch->meta, .now = clock_now_us()};

    int found = task_take(tx, review.now, &review.task, err);
    if (found <= 0)
        return found;
    batch->failed = review.task; /* unless it succeeds */
    if (meta_review(tx, &review, err) < 0 || conclude(tx, batch, &review, err) < 0)
        return -1;
    batch->failed = (struct meta_task){.ref = 0};
    return 1;
}

static void batch_clear(struct meta_batch *batch)
{
    for (size_t i = 0; i < batch->forget_count; i++)
        free(batch->forget[i].repository);
    batch->forget_count = 0;
    batch->report = (struct collect_report){.reviewed = 0};
    batch->failed = (struct meta_task){.ref = 0};
}

static int next_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct meta_batch *batch = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NEXT_DUE);

    int row = db_step(&query, err);
    batch->next_due = row == 1 ? db_column_i64(&query, 0) : INT64_MAX;
    return row < 0 ? -1 : 0;
}

static int batch_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct meta_batch *batch = arg;
    uint64_t end = clock_monotonic_us() + BATCH_US;
    int found = 1;

    batch_clear(batch);
    while (found == 1 && batch->report.reviewed < batch->limit && clock_monotonic_us() < end)
        found = review_next(tx, batch, err);
    return found < 0 ? -1 : next_due(tx, batch, err);
}

static void batch_after(void *arg)
{
    const struct meta_batch *batch = arg;

    if (batch->after != NULL)
        batch->after(batch->arg, batch->forget, batch->forget_count);
}

/* Whether anything is due is found out without the writer. */
int meta_collect(struct meta_batch *batch, struct error *err)
{
    const struct db_work work = {
        .run = batch_run, .after_commit = batch_after, .arg = batch, .priority = DB_BACKGROUND};

    assert(batch->limit > 0 && batch->limit <= META_BATCH_MAX);
    batch_clear(batch);
    if (db_read(batch->meta->db, next_due, batch, err) < 0)
        return -1;
    if (batch->next_due > clock_now_us())
        return 0;
    int result = db_write(batch->meta->db, &work, err);
    const struct collect_report report = batch->report;
    const struct meta_task failed = batch->failed;
    batch_clear(batch);
    if (result == 0)
        batch->report = report;
    else
        batch->failed = failed;
    return result;
}

static int postpone(struct db_tx *tx, void *arg, struct error *err)
{
    const struct meta_task *task = arg;
    int64_t doublings = task->attempts < POSTPONE_MAX ? task->attempts : POSTPONE_MAX;

    return task_move(tx, task, clock_now_us() + ((int64_t)US_PER_S << doublings),
                     task->attempts + 1, err);
}

int meta_collect_postpone(struct meta *meta, const struct meta_task *task, struct error *err)
{
    struct meta_task with = *task;
    const struct db_work work = {.run = postpone, .arg = &with, .priority = DB_BACKGROUND};

    return db_write(meta->db, &work, err);
}

/* --- counts --- */

static const char SQL_QUEUE_COUNT[] = "SELECT (SELECT count(*) FROM gc_queue),"
                                      "       (SELECT count(*) FROM gc_queue WHERE due <= $1),"
                                      "       (SELECT coalesce(min(due), 0) FROM gc_queue"
                                      "         WHERE due <= $1),"
                                      "       (SELECT count(*) FROM trash),"
                                      "       (SELECT count(*) FROM trash WHERE not_before <= $1),"
                                      "       (SELECT coalesce(min(not_before), 0) FROM trash"
                                      "         WHERE not_before <= $1)";

static int count(struct db_tx *tx, void *arg, struct error *err)
{
    struct meta_queue_counts *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUEUE_COUNT);

    db_bind_i64(&query, clock_now_us());
    if (db_step(&query, err) != 1)
        return -1;
    *out = (struct meta_queue_counts){
        .tasks = (uint64_t)db_column_i64(&query, 0),
        .due = (uint64_t)db_column_i64(&query, 1),
        .oldest_due_at = db_column_i64(&query, 2),
        .trash = (uint64_t)db_column_i64(&query, 3),
        .trash_due = (uint64_t)db_column_i64(&query, 4),
        .oldest_trash_at = db_column_i64(&query, 5),
    };
    return 0;
}

int meta_collect_count(struct meta *meta, struct meta_queue_counts *out, struct error *err)
{
    return db_read(meta->db, count, out, err);
}

/* meta_manifest.c - manifests and tags: finding with a lease, deletion.
 * Touches  manifests, manifest_refs, tags, deleted_tags, tag_history, gc_queue.
 * Never    looks inside a payload. */
#include "storage/cache.h"
#include "storage/meta_collect.h"
#include "storage/meta_news.h"

static int unknown(struct error *err)
{
    return error_set(err, ERROR_MANIFEST_UNKNOWN, "manifest unknown to this repository");
}

/* --- finding, P4 for manifests --- */

#define MANIFEST_COLUMNS "m.digest, m.media_type, m.touched_at, m.id, m.payload"

static const char SQL_MANIFEST_BY_TAG[] =
    "SELECT " MANIFEST_COLUMNS "  FROM repositories r"
    "  JOIN tags t ON t.repo_id = r.id"
    "  JOIN manifests m ON m.id = t.manifest_id"
    " WHERE r.name = $1 AND t.name = $2 AND m.deleted_at IS NULL";
static const char SQL_MANIFEST_BY_DIGEST[] =
    "SELECT " MANIFEST_COLUMNS "  FROM repositories r"
    "  JOIN manifests m ON m.repo_id = r.id"
    " WHERE r.name = $1 AND m.digest = $2 AND m.deleted_at IS NULL";
static const char SQL_MANIFEST_TOUCHED[] = "SELECT touched_at"
                                           "  FROM manifests"
                                           " WHERE id = $1 AND deleted_at IS NULL";
static const char SQL_MANIFEST_TOUCH[] = "UPDATE manifests"
                                         "   SET touched_at = $1"
                                         " WHERE id = $2";

struct find {
    const struct meta *meta;
    struct slice repository;
    const struct manifest_reference *reference;
    const struct manifest *manifest;
    int64_t id;
    int64_t touched_at;
};

static int find_row(const struct db_query *query, struct find *find, struct error *err)
{
    struct digest digest;

    if (meta_digest(query, 0, &digest, err) < 0)
        return -1;
    find->touched_at = db_column_i64(query, 2);
    find->id = db_column_i64(query, 3);
    find->manifest = manifest_new(&digest, db_column_slice(query, 1), db_column_slice(query, 4));
    return 0;
}

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    bool by_tag = find->reference->tag.at != NULL;
    const struct meta_key key = meta_key(&find->reference->digest);
    OWNED(db_query_end)
    struct db_query query = db_query(tx, by_tag ? SQL_MANIFEST_BY_TAG : SQL_MANIFEST_BY_DIGEST);

    db_bind_text(&query, find->repository);
    if (by_tag)
        db_bind_text(&query, find->reference->tag);
    else
        db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    return find_row(&query, find, err);
}

static int renew(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    const struct meta_lease lease = {SQL_MANIFEST_TOUCHED, SQL_MANIFEST_TOUCH, {find->id}, 1};

    int row = meta_lease_renew(tx, find->meta, &lease, &find->touched_at, err);
    return row == 0 ? unknown(err) : row < 0 ? -1 : 0;
}

int meta_manifest_find(struct meta *meta, struct slice repository,
                       const struct manifest_reference *reference, bool may_push,
                       const struct manifest **out, int64_t *lease_until, struct error *err)
{
    struct find with = {.meta = meta, .repository = repository, .reference = reference};

    if (db_read(meta->db, find, &with, err) < 0)
        return -1;
    if (may_push && with.touched_at <= clock_now_us() - meta->grace_us / 2 &&
        meta_write(meta, renew, &with, err) < 0) {
        storage_manifest_release(with.manifest);
        return -1;
    }
    *lease_until = with.touched_at + meta->grace_us / 2;
    *out = with.manifest;
    return 0;
}

/* --- P7 --- */

struct removal {
    const struct meta *meta;
    struct slice repository;
    const struct manifest_reference *reference;
    const struct actor *actor;
    const struct meta_after *after;
    int64_t repository_id;
    int64_t id;
    struct digest digest;
    enum tag_cause cause; /* of the end of a manifest's tags */
    int64_t now;
};

static const char SQL_TAG_TARGET[] =
    "SELECT m.id, m.digest"
    "  FROM tags t"
    "  JOIN manifests m ON m.id = t.manifest_id"
    " WHERE t.repo_id = $1 AND t.name = $2 AND m.deleted_at IS NULL";
static const char SQL_MANIFEST_TARGET[] =
    "SELECT id, digest"
    "  FROM manifests"
    " WHERE repo_id = $1 AND digest = $2 AND deleted_at IS NULL";

/* What the reference stands for now: id and digest. */
static int target(struct db_tx *tx, struct removal *removal, struct error *err)
{
    bool by_tag = removal->reference->tag.at != NULL;
    const struct meta_key key = meta_key(&removal->reference->digest);
    OWNED(db_query_end)
    struct db_query query = db_query(tx, by_tag ? SQL_TAG_TARGET : SQL_MANIFEST_TARGET);

    db_bind_i64(&query, removal->repository_id);
    if (by_tag)
        db_bind_text(&query, removal->reference->tag);
    else
        db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    removal->id = db_column_i64(&query, 0);
    return meta_digest(&query, 1, &removal->digest, err);
}

/* Only the tag goes (DEL-01). */
static int remove_tag(struct db_tx *tx, const struct removal *removal, struct error *err)
{
    const struct meta_point point = {.meta = removal->meta,
                                     .repository = removal->repository_id,
                                     .tag = removal->reference->tag,
                                     .manifest = removal->id,
                                     .digest = &removal->digest,
                                     .actor = removal->actor,
                                     .cause = TAG_DELETED,
                                     .now = removal->now};

    if (meta_guard_tag(tx, point.repository, point.tag, TAG_PROTECTED, err) < 0)
        return -1;
    return meta_tag_end(tx, &point, err);
}

static const char SQL_TAGS_SET_ASIDE[] =
    "INSERT INTO deleted_tags(repo_id, name, manifest_id, until, deleted_at, protection)"
    "     SELECT repo_id, name, manifest_id, $1, $2, protection"
    "       FROM tags"
    "      WHERE repo_id = $3 AND manifest_id = $4"
    " ON CONFLICT (repo_id, name, manifest_id)"
    "   DO UPDATE SET until = excluded.until, deleted_at = excluded.deleted_at,"
    "                 protection = excluded.protection";
static const char SQL_TAGS_HISTORY[] =
    "INSERT INTO tag_history(repo_id, name, old_digest, new_digest, at, actor, cause)"
    "     SELECT t.repo_id, t.name, m.digest, NULL, $1, $2, $3"
    "       FROM tags t"
    "       JOIN manifests m ON m.id = t.manifest_id"
    "      WHERE t.repo_id = $4 AND t.manifest_id = $5";
static const char SQL_TAGS_DELETE[] = "DELETE FROM tags"
                                      "      WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_MANIFEST_SET_ASIDE[] = "UPDATE manifests"
                                             "   SET deleted_at = $1"
                                             " WHERE id = $2";

/* In blob order, as every other transaction that touches several links. */
static const char SQL_BLOBS_QUEUE[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                      "     SELECT 2, repo_id, blob_id, $1"
                                      "       FROM manifest_blobs"
                                      "      WHERE repo_id = $2 AND manifest_id = $3"
                                      "      ORDER BY blob_id"
                                      " ON CONFLICT (kind, repo_id, ref_id)"
                                      "   DO UPDATE SET due = excluded.due, attempts = 0";
static const char SQL_CHILDREN_QUEUE[] =
    "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
    "     SELECT 1, repo_id, child_id, $1"
    "       FROM manifest_refs"
    "      WHERE repo_id = $2 AND parent_id = $3 AND coalesce(child_id, 0) > 0"
    " ON CONFLICT (kind, repo_id, ref_id)"
    "   DO UPDATE SET due = excluded.due, attempts = 0";
int meta_queue_held(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t due,
                    struct error *err)
{
    if (META_CHANGE(tx, SQL_BLOBS_QUEUE, err, due, repository, manifest) < 0)
        return -1;
    return META_CHANGE(tx, SQL_CHILDREN_QUEUE, err, due, repository, manifest);
}

static int tags_history(struct db_tx *tx, const struct removal *removal, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAGS_HISTORY);

    db_bind_i64(&query, removal->now);
    db_bind_text(&query, removal->actor == NULL ? SLICE_NONE : removal->actor->name);
    db_bind_i64(&query, removal->cause);
    db_bind_i64(&query, removal->repository_id);
    db_bind_i64(&query, removal->id);
    return db_finish(&query, err);
}

static int remove_tags(struct db_tx *tx, const struct removal *removal, struct error *err)
{
    int64_t until = removal->now + removal->meta->undo_us;

    if (removal->meta->undo_us > 0 && META_CHANGE(tx, SQL_TAGS_SET_ASIDE, err, until, removal->now,
                                                  removal->repository_id, removal->id) < 0)
        return -1;
    if (tags_history(tx, removal, err) < 0)
        return -1;
    return META_CHANGE(tx, SQL_TAGS_DELETE, err, removal->repository_id, removal->id);
}

/* All its tags go too (DEL-02); an index that names it keeps the name (DEL-06). What is set aside
 * holds what it names until the collector removes it. */
static int remove_manifest(struct db_tx *tx, const struct removal *removal, struct error *err)
{
    bool done = true;

    const struct meta_departure departure = {removal->repository_id, SLICE_NONE, &removal->digest,
                                             removal->actor, (int)removal->cause};

    if (meta_guard_manifest(tx, removal->repository_id, removal->id, removal->now, err) < 0 ||
        meta_news_tags_departure(tx, removal->id, &departure, err) < 0 ||
        remove_tags(tx, removal, err) < 0 || meta_news_departure(tx, &departure, err) < 0)
        return -1;
    if (removal->meta->undo_us == 0)
        return meta_manifest_erase(tx, removal->repository_id, removal->id, &removal->digest,
                                   INT64_MAX, &done, err);
    if (META_CHANGE(tx, SQL_MANIFEST_SET_ASIDE, err, removal->now, removal->id) < 0)
        return -1;
    return meta_queue(tx, META_QUEUE_MANIFEST, removal->repository_id, removal->id,
                      removal->now + removal->meta->undo_us, err);
}

int meta_manifest_remove(struct db_tx *tx, const struct meta_removal *wanted, struct error *err)
{
    const struct removal removal = {.meta = wanted->meta,
                                    .actor = wanted->actor,
                                    .repository_id = wanted->repository,
                                    .id = wanted->manifest,
                                    .digest = *wanted->digest,
                                    .cause = wanted->cause,
                                    .now = clock_now_us()};

    return remove_manifest(tx, &removal, err);
}

static int removal_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct removal *removal = arg;

    removal->now = clock_now_us();
    if (meta_repository_find(tx, removal->repository, &removal->repository_id, err) < 0 ||
        target(tx, removal, err) < 0)
        return -1;
    if (removal->reference->tag.at != NULL)
        return remove_tag(tx, removal, err);
    return remove_manifest(tx, removal, err);
}

static void removal_after(void *arg)
{
    const struct removal *removal = arg;

    if (removal->after != NULL)
        removal->after->run(removal->after->arg);
}

int meta_manifest_delete(struct meta *meta, struct slice repository,
                         const struct manifest_reference *reference, const struct actor *actor,
                         const struct meta_after *after, struct error *err)
{
    struct removal removal = {.meta = meta,
                              .repository = repository,
                              .reference = reference,
                              .actor = actor,
                              .cause = TAG_MANIFEST_DELETED,
                              .after = after};

    return meta_write_after(meta, removal_run, &removal, removal_after, err);
}

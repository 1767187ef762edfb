/* meta_blob.c - blobs of a repository: finding with a lease, damage, deletion, mount.
 * Touches  blobs, repository_blobs, gc_queue; reads manifest_blobs, manifests.
 * Never    bytes. */
#include "storage/meta_internal.h"

#include <string.h>

static int unknown(struct error *err)
{
    return error_set(err, ERROR_BLOB_UNKNOWN, "blob unknown to this repository");
}

/* --- P4 --- */

static const char SQL_BLOB_FIND[] =
    "SELECT b.size, b.locator, l.touched_at, l.repo_id, l.blob_id"
    "  FROM repositories r"
    "  JOIN blobs b ON b.digest = $1"
    "  JOIN repository_blobs l ON l.repo_id = r.id AND l.blob_id = b.id"
    " WHERE r.name = $2 AND l.deleted_at IS NULL AND b.damaged = 0";
static const char SQL_LINK_TOUCHED[] =
    "SELECT l.touched_at"
    "  FROM repository_blobs l"
    "  JOIN blobs b ON b.id = l.blob_id"
    " WHERE l.repo_id = $1 AND l.blob_id = $2 AND l.deleted_at IS NULL AND b.damaged = 0";
static const char SQL_LINK_TOUCH[] = "UPDATE repository_blobs"
                                     "   SET touched_at = $1"
                                     " WHERE repo_id = $2 AND blob_id = $3";

struct find {
    const struct meta *meta;
    struct slice repository;
    const struct digest *digest;
    struct meta_blob *out;
    int64_t repository_id;
    int64_t blob_id;
    int64_t touched_at;
};

static int blob_row(const struct db_query *query, struct meta_blob *out, struct error *err)
{
    out->size = (uint64_t)db_column_i64(query, 0);
    if (!slice_to_text(db_column_slice(query, 1), out->locator, sizeof(out->locator)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return 0;
}

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    const struct meta_key key = meta_key(find->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_FIND);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, find->repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    find->touched_at = db_column_i64(&query, 2);
    find->repository_id = db_column_i64(&query, 3);
    find->blob_id = db_column_i64(&query, 4);
    return blob_row(&query, find->out, err);
}

static int renew(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    const struct meta_lease lease = {
        SQL_LINK_TOUCHED, SQL_LINK_TOUCH, {find->repository_id, find->blob_id}, 2};

    int row = meta_lease_renew(tx, find->meta, &lease, &find->touched_at, err);
    return row == 0 ? unknown(err) : row < 0 ? -1 : 0;
}

int meta_blob_find(struct meta *meta, struct slice repository, const struct digest *digest,
                   bool may_push, struct meta_blob *out, struct error *err)
{
    struct find with = {.meta = meta, .repository = repository, .digest = digest, .out = out};

    if (db_read(meta->db, find, &with, err) < 0)
        return -1;
    if (may_push && with.touched_at <= clock_now_us() - meta->grace_us / 2 &&
        meta_write(meta, renew, &with, err) < 0)
        return -1;
    out->lease_until = with.touched_at + meta->grace_us / 2;
    return 0;
}

/* --- damage --- */

static const char SQL_BLOB_DAMAGE[] = "UPDATE blobs"
                                      "   SET damaged = 1"
                                      " WHERE digest = $1 AND locator = $2";

/* A change of one blob, and what follows its commit. */
struct change {
    const struct meta *meta;
    struct slice repository;
    const struct digest *digest;
    const char *locator;
    struct slice from;
    const struct actor *actor;
    const struct meta_after *after;
    bool done;
};

static void change_after(void *arg)
{
    const struct change *change = arg;

    if (change->after != NULL)
        change->after->run(change->after->arg);
}

static int damage(struct db_tx *tx, void *arg, struct error *err)
{
    const struct change *change = arg;
    const struct meta_key key = meta_key(change->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_DAMAGE);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, slice_of(change->locator));
    return db_finish(&query, err);
}

int meta_blob_damage(struct meta *meta, const struct digest *digest, const char *locator,
                     const struct meta_after *after, struct error *err)
{
    struct change change = {.digest = digest, .locator = locator, .after = after};

    return meta_write_after(meta, damage, &change, change_after, err);
}

/* --- deletion --- */

static const char SQL_LINK_FIND[] =
    "SELECT l.repo_id, l.blob_id"
    "  FROM repositories r"
    "  JOIN blobs b ON b.digest = $1"
    "  JOIN repository_blobs l ON l.repo_id = r.id AND l.blob_id = b.id"
    " WHERE r.name = $2 AND l.deleted_at IS NULL";
/* 2: by a manifest that is visible, 1: only by manifests set aside, 0: not at all. */
static const char SQL_LINK_USED[] =
    "SELECT CASE WHEN EXISTS(SELECT 1"
    "                          FROM manifest_blobs u"
    "                          JOIN manifests m ON m.id = u.manifest_id"
    "                         WHERE u.repo_id = $1 AND u.blob_id = $2 AND m.deleted_at IS NULL)"
    "            THEN 2"
    "            WHEN EXISTS(SELECT 1 FROM manifest_blobs WHERE repo_id = $1 AND blob_id = $2)"
    "            THEN 1"
    "            ELSE 0"
    "        END";
static const char SQL_LINK_SET_ASIDE[] = "UPDATE repository_blobs"
                                         "   SET deleted_at = $1"
                                         " WHERE repo_id = $2 AND blob_id = $3";

static int link_find(struct db_tx *tx, const struct change *change, int64_t *repository,
                     int64_t *blob, struct error *err)
{
    const struct meta_key key = meta_key(change->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_FIND);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, change->repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *repository = db_column_i64(&query, 0);
    *blob = db_column_i64(&query, 1);
    return 0;
}

static int link_used(struct db_tx *tx, int64_t repository, int64_t blob, int64_t *used,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_USED);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, blob);
    if (db_step(&query, err) != 1)
        return -1;
    *used = db_column_i64(&query, 0);
    return 0;
}

static int link_set_aside(struct db_tx *tx, const struct meta *meta, int64_t repository,
                          int64_t blob, struct error *err)
{
    int64_t now = clock_now_us();
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_SET_ASIDE);

    db_bind_i64(&query, now);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, blob);
    if (db_finish(&query, err) < 0)
        return -1;
    return meta_queue(tx, META_QUEUE_LINK, repository, blob, now + meta->undo_us, err);
}

static int link_delete(struct db_tx *tx, int64_t repository, int64_t blob, struct error *err)
{
    if (meta_unlink(tx, repository, blob, err) < 0)
        return -1;
    return meta_queue(tx, META_QUEUE_BLOB, 0, blob, clock_now_us(), err);
}

/* A blob that a manifest uses is set aside even without an undo window: its row carries the key
 * that the manifest's rows point to, until the collector has dealt with both. */
static int delete (struct db_tx *tx, void *arg, struct error *err)
{
    const struct change *change = arg;
    int64_t repository = 0, blob = 0, used = 0;

    if (link_find(tx, change, &repository, &blob, err) < 0 ||
        link_used(tx, repository, blob, &used, err) < 0 ||
        meta_guard_blob(tx, repository, blob, clock_now_us(), err) < 0)
        return -1;
    if (used == 2 && change->meta->protect_referenced)
        return error_set(err, ERROR_UNSUPPORTED, "blob is used by a manifest of this repository");
    if (used == 0 && change->meta->undo_us == 0)
        return link_delete(tx, repository, blob, err);
    return link_set_aside(tx, change->meta, repository, blob, err);
}

int meta_blob_delete(struct meta *meta, struct slice repository, const struct digest *digest,
                     const struct meta_after *after, struct error *err)
{
    struct change change = {
        .meta = meta, .repository = repository, .digest = digest, .after = after};

    return meta_write_after(meta, delete, &change, change_after, err);
}

/* --- P5 --- */

static const char SQL_SOURCE_FIND[] =
    "SELECT l.blob_id"
    "  FROM repositories r"
    "  JOIN blobs b ON b.digest = $1"
    "  JOIN repository_blobs l ON l.repo_id = r.id AND l.blob_id = b.id"
    " WHERE r.name = $2 AND l.deleted_at IS NULL AND b.damaged = 0";
static int source_find(struct db_tx *tx, const struct change *change, int64_t *blob,
                       struct error *err)
{
    const struct meta_key key = meta_key(change->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SOURCE_FIND);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, change->from);
    int row = db_step(&query, err);
    *blob = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

static int mountable(struct db_tx *tx, void *arg, struct error *err)
{
    struct change *change = arg;
    int64_t blob = 0;

    int result = source_find(tx, change, &blob, err);
    change->done = blob != 0;
    return result;
}

static int mount(struct db_tx *tx, void *arg, struct error *err)
{
    struct change *change = arg;
    int64_t repository = 0, blob = 0;

    if (source_find(tx, change, &blob, err) < 0)
        return -1;
    change->done = blob != 0;
    if (!change->done)
        return 0;
    if (meta_repository_create(tx, change->repository, &repository, err) < 0)
        return -1;
    return meta_link(tx, change->meta, repository, blob, change->digest,
                     change->actor == NULL ? 0 : change->actor->account, change->meta->quotas, err);
}

/* Most clients ask to mount what is not there: that is found out without the writer. */
int meta_blob_mount(struct meta *meta, struct slice repository, struct slice from,
                    const struct digest *digest, const struct actor *actor, bool *mounted,
                    const struct meta_after *after, struct error *err)
{
    struct change change = {.meta = meta,
                            .repository = repository,
                            .digest = digest,
                            .from = from,
                            .actor = actor,
                            .after = after};

    *mounted = false;
    if (db_read(meta->db, mountable, &change, err) < 0)
        return -1;
    if (change.done && meta_write_after(meta, mount, &change, change_after, err) < 0)
        return -1;
    *mounted = change.done;
    return 0;
}

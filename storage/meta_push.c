/* meta_push.c - P6: a manifest, what it names and the tags it gets, in one transaction.
 * Touches  manifests, manifest_blobs, manifest_refs, missing_refs, manifest_bases, tags,
 *          tag_history, gc_queue, repositories.
 * Never    looks inside a payload: the caller has read what it names.
 *
 * Lock, then look: what a manifest names is looked up in the order of its digests, blobs before
 * children, each by a statement of its own, before anything is written. Where writers run beside
 * each other those statements lock the rows (FOR KEY SHARE); SQLite's one writer needs none. */
#include "storage/meta_news.h"

#include <stdlib.h>
#include <string.h>

enum { HEAVY_LINKS = 256 }; /* a push that names more takes the writer for a while */

/* What a link stands for in this repository; 0: nothing. */
struct resolved {
    const struct manifest_link *link;
    int64_t blob;
    int64_t child;
    int64_t size; /* with all that it names */
};

struct resolution {
    struct resolved *items; /* in the order of digests */
    size_t count;
};

struct push {
    const struct meta *meta;
    struct slice name;
    const struct manifest_put *put;
    struct missing *missing;
    const struct meta_after *after;
    bool *retyped;
    struct resolution blobs;
    struct resolution children;
    /* set by each run */
    int64_t now;
    int64_t repository;
    int64_t id;
    int64_t total_size;
    bool arrives; /* it was not here, or set aside */
};

static int link_compare(const void *a, const void *b)
{
    const struct digest *left = &((const struct resolved *)a)->link->digest;
    const struct digest *right = &((const struct resolved *)b)->link->digest;

    if (left->algorithm != right->algorithm)
        return left->algorithm < right->algorithm ? -1 : 1;
    return slice_compare((struct slice){(const char *)left->bytes, left->size},
                         (struct slice){(const char *)right->bytes, right->size});
}

/* Sorted; a digest that is named twice is kept once. */
static void resolution_begin(struct resolution *resolution, const struct manifest_link *links,
                             size_t count)
{
    resolution->items = memory_new(count * sizeof(*resolution->items));
    for (size_t i = 0; i < count; i++)
        resolution->items[i].link = &links[i];
    if (count > 1)
        qsort(resolution->items, count, sizeof(*resolution->items), link_compare);
    for (size_t i = 0; i < count; i++)
        if (resolution->count == 0 ||
            link_compare(&resolution->items[resolution->count - 1], &resolution->items[i]) != 0)
            resolution->items[resolution->count++] = resolution->items[i];
}

static void push_drop(struct push *push)
{
    free(push->blobs.items);
    free(push->children.items);
}

/* --- look --- */

static const char SQL_BLOB_LINK[] =
    "SELECT b.id, b.size"
    "  FROM blobs b"
    "  JOIN repository_blobs l ON l.blob_id = b.id"
    " WHERE b.digest = $1 AND b.damaged = 0 AND l.repo_id = $2 AND l.deleted_at IS NULL";
static const char SQL_CHILD_FIND[] = "SELECT id, total_size"
                                     "  FROM manifests"
                                     " WHERE digest = $1 AND repo_id = $2 AND deleted_at IS NULL";

/* An id and a size by digest; 0 when there is none. */
static int look(struct db_tx *tx, const char *sql, int64_t repository, const struct digest *digest,
                int64_t *id, int64_t *size, struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, repository);
    int row = db_step(&query, err);
    *id = row == 1 ? db_column_i64(&query, 0) : 0;
    *size = row == 1 ? db_column_i64(&query, 1) : 0;
    return row < 0 ? -1 : 0;
}

static void missing_add(struct missing *missing, const struct digest *digest)
{
    missing->digests =
        memory_resize(missing->digests, (missing->count + 1) * sizeof(*missing->digests));
    missing->digests[missing->count++] = *digest;
}

/* A child may be a manifest or a blob (MPUT-16); a layer can only be a blob. */
static int resolve(struct db_tx *tx, struct push *push, struct resolved *item, bool is_child,
                   struct error *err)
{
    const struct manifest_link *link = item->link;

    item->child = 0;
    item->blob = 0;
    if (is_child && look(tx, SQL_CHILD_FIND, push->repository, &link->digest, &item->child,
                         &item->size, err) < 0)
        return -1;
    if (item->child == 0 &&
        look(tx, SQL_BLOB_LINK, push->repository, &link->digest, &item->blob, &item->size, err) < 0)
        return -1;
    if (item->child != 0 || item->blob != 0)
        return 0;
    item->size = (int64_t)link->size;
    if (!link->may_be_missing)
        missing_add(push->missing, &link->digest);
    return 0;
}

static int64_t add_size(int64_t a, int64_t b)
{
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

static int resolve_all(struct db_tx *tx, struct push *push, struct error *err)
{
    push->missing->count = 0;
    push->total_size = (int64_t)push->put->payload.size;
    for (size_t i = 0; i < push->blobs.count; i++) {
        if (resolve(tx, push, &push->blobs.items[i], false, err) < 0)
            return -1;
        push->total_size = add_size(push->total_size, push->blobs.items[i].size);
    }
    for (size_t i = 0; i < push->children.count; i++) {
        if (resolve(tx, push, &push->children.items[i], true, err) < 0)
            return -1;
        push->total_size = add_size(push->total_size, push->children.items[i].size);
    }
    if (push->missing->count > 0 && !push->meta->accept_missing)
        return error_set(err, ERROR_MANIFEST_BLOB_UNKNOWN,
                         "the manifest names content that is not in this repository");
    return 0;
}

/* --- tags --- */

/* CACHE-03 */
static int check_precondition(struct db_tx *tx, const struct push *push, struct error *err)
{
    const struct manifest_put *put = push->put;
    bool expects = digest_is_set(&put->if_digest);
    struct digest now;
    int64_t id = 0;

    if (put->tag_count == 0 || (!put->if_absent && !expects))
        return 0;
    if (meta_tag_find(tx, push->repository, put->tags[0], &id, &now, err) < 0)
        return -1;
    if (put->if_absent && id != 0)
        return error_set(err, ERROR_PRECONDITION, "the tag exists");
    if (expects && (id == 0 || !digest_equal(&now, &put->if_digest)))
        return error_set(err, ERROR_PRECONDITION, "the tag is not what If-Match says");
    return 0;
}

static int tag_put(struct db_tx *tx, const struct push *push, struct slice tag, struct error *err)
{
    const struct meta_point point = {.meta = push->meta,
                                     .repository = push->repository,
                                     .tag = tag,
                                     .manifest = push->id,
                                     .digest = &push->put->digest,
                                     .actor = push->put->actor,
                                     .cause = push->put->cause,
                                     .now = push->now};

    return meta_tag_point(tx, &point, err);
}

static int tell_untagged(struct db_tx *tx, const struct push *push, struct error *err)
{
    const struct meta_arrival arrival = {
        .manifest = push->id, .actor = push->put->actor, .cause = TAG_PUSHED};

    return meta_news_arrival(tx, &arrival, err);
}

/* --- the manifest --- */

static const char SQL_MANIFEST_KNOWN[] = "SELECT id, media_type, deleted_at"
                                         "  FROM manifests"
                                         " WHERE repo_id = $1 AND digest = $2";
static const char SQL_MANIFEST_PUT[] =
    "INSERT INTO manifests(repo_id, digest, media_type, artifact_type, subject, annotations, size,"
    "                      total_size, created_at, touched_at, payload)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    " ON CONFLICT (repo_id, digest)"
    "   DO UPDATE SET media_type = excluded.media_type, artifact_type = excluded.artifact_type,"
    "                 subject = excluded.subject, annotations = excluded.annotations,"
    "                 total_size = excluded.total_size, touched_at = excluded.touched_at,"
    "                 size = excluded.size, payload = excluded.payload,"
    "                 created_at = CASE WHEN manifests.deleted_at IS NULL"
    "                                   THEN manifests.created_at ELSE excluded.created_at END,"
    "                 deleted_at = NULL"
    "  RETURNING id";
static const char SQL_FIRST_MANIFEST[] = "UPDATE repositories"
                                         "   SET first_manifest_at = $1"
                                         " WHERE id = $2 AND first_manifest_at IS NULL";

static int manifest_known(struct db_tx *tx, struct push *push, struct error *err)
{
    const struct meta_key key = meta_key(&push->put->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST_KNOWN);

    db_bind_i64(&query, push->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    push->arrives = row == 0 || (row == 1 && !db_column_is_null(&query, 2));
    *push->retyped = row == 1 && !slice_equal(db_column_slice(&query, 1), push->put->media_type);
    push->id = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

static int manifest_write(struct db_tx *tx, struct push *push, struct error *err)
{
    const struct manifest_put *put = push->put;
    const struct meta_key key = meta_key(&put->digest);
    struct meta_key subject = {.size = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFEST_PUT);

    if (digest_is_set(&put->subject))
        subject = meta_key(&put->subject);
    db_bind_i64(&query, push->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_text(&query, put->media_type);
    db_bind_text(&query, put->artifact_type);
    db_bind_bytes(&query, subject.size == 0 ? SLICE_NONE : meta_key_slice(&subject));
    db_bind_text(&query, put->annotations);
    db_bind_i64(&query, (int64_t)put->payload.size);
    db_bind_i64(&query, push->total_size);
    db_bind_i64(&query,
                put->created_at > 0 && put->created_at < push->now ? put->created_at : push->now);
    db_bind_i64(&query, push->now);
    db_bind_bytes(&query, put->payload);
    if (db_step(&query, err) != 1)
        return -1;
    push->id = db_column_i64(&query, 0);
    return db_finish(&query, err);
}

static int first_manifest(struct db_tx *tx, const struct push *push, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FIRST_MANIFEST);

    db_bind_i64(&query, push->now);
    db_bind_i64(&query, push->repository);
    return db_finish(&query, err);
}

/* --- what it names --- */

static const char SQL_BLOB_REF_ADD[] = "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                                       "     VALUES ($1, $2, $3)"
                                       " ON CONFLICT DO NOTHING";
static const char SQL_CHILD_REF_PUT[] =
    "INSERT INTO manifest_refs(repo_id, parent_id, digest, child_id, platform)"
    "     VALUES ($1, $2, $3, $4, $5)"
    " ON CONFLICT (repo_id, parent_id, digest)"
    "   DO UPDATE SET child_id = excluded.child_id, platform = excluded.platform";
static const char SQL_MISSING_ADD[] = "INSERT INTO missing_refs(repo_id, digest, manifest_id)"
                                      "     VALUES ($1, $2, $3)"
                                      " ON CONFLICT DO NOTHING";
static const char SQL_BLOB_REFS_CLEAR[] = "DELETE FROM manifest_blobs"
                                          "      WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_CHILD_REFS_CLEAR[] = "DELETE FROM manifest_refs"
                                           "      WHERE repo_id = $1 AND parent_id = $2";
static const char SQL_MISSING_CLEAR[] = "DELETE FROM missing_refs"
                                        "      WHERE repo_id = $1 AND manifest_id = $2";
static const char SQL_PARENTS_ARRIVED[] = "UPDATE manifest_refs"
                                          "   SET child_id = $1"
                                          " WHERE repo_id = $2 AND digest = $3"
                                          "   AND child_id IS NULL";

static const char SQL_BASE_ADD[] =
    "INSERT INTO manifest_bases(repo_id, manifest_id, base_name, base_digest)"
    "     VALUES ($1, $2, $3, $4)"
    " ON CONFLICT DO NOTHING";

static int blob_ref_add(struct db_tx *tx, const struct push *push, int64_t blob, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_REF_ADD);

    db_bind_i64(&query, push->repository);
    db_bind_i64(&query, push->id);
    db_bind_i64(&query, blob);
    return db_finish(&query, err);
}

static int missing_ref_add(struct db_tx *tx, const struct push *push, const struct digest *digest,
                           struct error *err)
{
    const struct meta_key key = meta_key(digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MISSING_ADD);

    db_bind_i64(&query, push->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, push->id);
    return db_finish(&query, err);
}

/* Each child has a row, so that its platform is known; one that is a blob has a blob row too. */
static int child_ref_put(struct db_tx *tx, const struct push *push, const struct resolved *item,
                         struct error *err)
{
    const struct meta_key key = meta_key(&item->link->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHILD_REF_PUT);

    db_bind_i64(&query, push->repository);
    db_bind_i64(&query, push->id);
    db_bind_bytes(&query, meta_key_slice(&key));
    if (item->child == 0)
        db_bind_null(&query);
    else
        db_bind_i64(&query, item->child);
    db_bind_text(&query, item->link->platform);
    if (db_finish(&query, err) < 0)
        return -1;
    return item->blob == 0 ? 0 : blob_ref_add(tx, push, item->blob, err);
}

static int refs_clear(struct db_tx *tx, const char *sql, const struct push *push, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, push->repository);
    db_bind_i64(&query, push->id);
    return db_finish(&query, err);
}

/* Under another media type the same bytes may name other things. */
static int refs_forget(struct db_tx *tx, const struct push *push, struct error *err)
{
    if (!push->arrives && meta_guard_type(tx, push->repository, push->id, push->now, err) < 0)
        return -1;
    if (meta_queue_held(tx, push->repository, push->id, push->now + push->meta->grace_us, err) <
            0 ||
        refs_clear(tx, SQL_BLOB_REFS_CLEAR, push, err) < 0 ||
        refs_clear(tx, SQL_CHILD_REFS_CLEAR, push, err) < 0)
        return -1;
    return refs_clear(tx, SQL_MISSING_CLEAR, push, err);
}

static int refs_write(struct db_tx *tx, const struct push *push, struct error *err)
{
    for (size_t i = 0; i < push->blobs.count; i++) {
        const struct resolved *item = &push->blobs.items[i];
        if ((item->blob != 0 ? blob_ref_add(tx, push, item->blob, err)
                             : missing_ref_add(tx, push, &item->link->digest, err)) < 0)
            return -1;
    }
    for (size_t i = 0; i < push->children.count; i++)
        if (child_ref_put(tx, push, &push->children.items[i], err) < 0)
            return -1;
    return 0;
}

/* What it says it stands on: the same bytes say the same. */
static int base_write(struct db_tx *tx, const struct push *push, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BASE_ADD);
    char text[DIGEST_TEXT_MAX];

    db_bind_i64(&query, push->repository);
    db_bind_i64(&query, push->id);
    db_bind_text(&query, meta_or_empty(push->put->base_name));
    db_bind_text(&query, slice_of(digest_text(&push->put->base_digest, text)));
    return db_finish(&query, err);
}

/* Indexes that came before this child get their reference. */
static int parents_arrived(struct db_tx *tx, const struct push *push, struct error *err)
{
    const struct meta_key key = meta_key(&push->put->digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PARENTS_ARRIVED);

    db_bind_i64(&query, push->id);
    db_bind_i64(&query, push->repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    return db_finish(&query, err);
}

/* --- P6 --- */

static int store(struct db_tx *tx, struct push *push, struct error *err)
{
    if (manifest_known(tx, push, err) < 0 || (*push->retyped && refs_forget(tx, push, err) < 0) ||
        manifest_write(tx, push, err) < 0 || refs_write(tx, push, err) < 0)
        return -1;
    if (digest_is_set(&push->put->base_digest) && base_write(tx, push, err) < 0)
        return -1;
    if (push->arrives && (parents_arrived(tx, push, err) < 0 || first_manifest(tx, push, err) < 0))
        return -1;
    for (size_t i = 0; i < push->put->tag_count; i++)
        if (tag_put(tx, push, push->put->tags[i], err) < 0)
            return -1;
    if (push->put->tag_count == 0 && tell_untagged(tx, push, err) < 0)
        return -1;
    return meta_queue_own(tx, push->repository, push->id, push->now + push->meta->grace_us, err);
}

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    struct push *push = arg;

    push->now = clock_now_us();
    if (meta_repository_create(tx, push->name, &push->repository, err) < 0 ||
        check_precondition(tx, push, err) < 0 || resolve_all(tx, push, err) < 0)
        return -1;
    return store(tx, push, err);
}

static void put_after(void *arg)
{
    const struct push *push = arg;

    if (push->after != NULL)
        push->after->run(push->after->arg);
}

int meta_manifest_put_in(struct db_tx *tx, const struct meta *meta, struct slice repository,
                         const struct manifest_put *with, bool *retyped, struct error *err)
{
    OWNED(missing_drop) struct missing missing = {.digests = NULL};
    OWNED(push_drop)
    struct push push = {
        .meta = meta, .name = repository, .put = with, .missing = &missing, .retyped = retyped};

    resolution_begin(&push.blobs, with->blobs, with->blob_count);
    resolution_begin(&push.children, with->children, with->child_count);
    return put(tx, &push, err);
}

int meta_manifest_put(struct meta *meta, struct slice repository, const struct manifest_put *with,
                      struct missing *missing, bool *retyped, const struct meta_after *after,
                      struct error *err)
{
    OWNED(push_drop)
    struct push push = {.meta = meta,
                        .name = repository,
                        .put = with,
                        .missing = missing,
                        .after = after,
                        .retyped = retyped};

    resolution_begin(&push.blobs, with->blobs, with->blob_count);
    resolution_begin(&push.children, with->children, with->child_count);
    bool heavy = with->blob_count + with->child_count > HEAVY_LINKS;
    const struct db_work work = {.run = put,
                                 .arg = &push,
                                 .after_commit = put_after,
                                 .priority = heavy ? DB_HEAVY : DB_FOREGROUND};
    return db_write(meta->db, &work, err);
}

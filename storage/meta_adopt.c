/* meta_adopt.c - rows of files that are taken in many at a time: P1 and P3 for a batch.
 * Touches  uploads, blobs, repository_blobs, gc_queue, trash, repositories.
 * Never    bytes.
 *
 * A session of this file stands at more bytes than any file holds, so that nobody goes on with it:
 * a start after a power cut discards it, and does not cut a file that has a second name. */
#include "storage/meta_adopt.h"
#include "storage/meta_internal.h"

static const char SQL_ADOPT_LOOK[] =
    "SELECT b.size, b.locator, l.touched_at"
    "  FROM blobs b"
    "  LEFT JOIN repositories r ON r.name = $1"
    "  LEFT JOIN repository_blobs l ON l.repo_id = r.id AND l.blob_id = b.id"
    "                              AND l.deleted_at IS NULL"
    " WHERE b.digest = $2 AND b.damaged = 0";
static const char SQL_ADOPT_START[] =
    "INSERT INTO uploads(id, repo_id, locator, algorithm, synced, started_at, expires_at,"
    "                    account_id)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
static const char SQL_ADOPT_TOUCH[] = "UPDATE uploads"
                                      "   SET expires_at = $1"
                                      " WHERE id = $2";
static const char SQL_ADOPT_SOURCE[] = "SELECT id"
                                       "  FROM blobs"
                                       " WHERE digest = $1 AND damaged = 0";

struct batch {
    const struct meta *meta;
    struct slice name;
    struct meta_adopt *items;
    size_t count;
    const struct actor *actor;
    int64_t now;
    int64_t repository;
};

static int look_at(struct db_tx *tx, const struct batch *batch, struct meta_adopt *item,
                   struct error *err)
{
    const struct meta_key key = meta_key(&item->blob.digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADOPT_LOOK);

    item->state = META_ADOPT_ABSENT;
    item->linked = false;
    db_bind_text(&query, batch->name);
    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    item->blob.size = (uint64_t)db_column_i64(&query, 0);
    if (!slice_to_text(db_column_slice(&query, 1), item->locator, sizeof(item->locator)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    item->linked = !db_column_is_null(&query, 2);
    bool leased = db_column_i64(&query, 2) > batch->now - batch->meta->grace_us / 2;
    item->state = item->linked && leased ? META_ADOPT_HERE : META_ADOPT_ELSEWHERE;
    return 0;
}

static int look(struct db_tx *tx, void *arg, struct error *err)
{
    struct batch *batch = arg;

    batch->now = clock_now_us();
    for (size_t i = 0; i < batch->count; i++)
        if (look_at(tx, batch, &batch->items[i], err) < 0)
            return -1;
    return 0;
}

int meta_adopt_look(struct meta *meta, struct slice repository, struct meta_adopt *items,
                    size_t count, struct error *err)
{
    struct batch batch = {.meta = meta, .name = repository, .items = items, .count = count};

    return db_read(meta->db, look, &batch, err);
}

/* --- P1 --- */

static int64_t account_of(const struct batch *batch)
{
    return batch->actor == NULL ? 0 : batch->actor->account;
}

static int start_one(struct db_tx *tx, const struct batch *batch, const struct meta_adopt *item,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADOPT_START);

    db_bind_text(&query, slice_of(item->id));
    db_bind_i64(&query, batch->repository);
    db_bind_text(&query, slice_of(item->locator));
    db_bind_i64(&query, item->blob.digest.algorithm);
    db_bind_i64(&query, INT64_MAX);
    db_bind_i64(&query, batch->now);
    db_bind_i64(&query, batch->now + batch->meta->upload_ttl_us);
    meta_bind_time(&query, account_of(batch));
    return db_finish(&query, err);
}

static int start(struct db_tx *tx, void *arg, struct error *err)
{
    struct batch *batch = arg;

    batch->now = clock_now_us();
    if (meta_repository_create(tx, batch->name, &batch->repository, err) < 0)
        return -1;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].id[0] != 0 && start_one(tx, batch, &batch->items[i], err) < 0)
            return -1;
    return 0;
}

/* Nothing here changes an item. */
static struct meta_adopt *unchanged(const struct meta_adopt *items)
{
    return (struct meta_adopt *)(uintptr_t)items;
}

int meta_adopt_start(struct meta *meta, struct slice repository, const struct meta_adopt *items,
                     size_t count, const struct actor *actor, struct error *err)
{
    struct batch batch = {.meta = meta,
                          .name = repository,
                          .items = unchanged(items),
                          .count = count,
                          .actor = actor};

    return meta_write_loosely(meta, start, &batch, DB_FOREGROUND, err);
}

/* --- P2 --- */

static int touch_one(struct db_tx *tx, const struct batch *batch, const struct meta_adopt *item,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADOPT_TOUCH);

    db_bind_i64(&query, clock_now_us() + batch->meta->upload_ttl_us);
    db_bind_text(&query, slice_of(item->id));
    return db_finish(&query, err);
}

static int touch(struct db_tx *tx, void *arg, struct error *err)
{
    const struct batch *batch = arg;

    for (size_t i = 0; i < batch->count; i++)
        if (batch->items[i].id[0] != 0 && touch_one(tx, batch, &batch->items[i], err) < 0)
            return -1;
    return 0;
}

int meta_adopt_touch(struct meta *meta, const struct meta_adopt *items, size_t count,
                     struct error *err)
{
    struct batch batch = {.meta = meta, .items = unchanged(items), .count = count};

    return meta_write_loosely(meta, touch, &batch, DB_FOREGROUND, err);
}

/* --- P3, P5 --- */

static int link_one(struct db_tx *tx, const struct batch *batch, struct meta_adopt *item,
                    struct error *err)
{
    const struct meta_key key = meta_key(&item->blob.digest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADOPT_SOURCE);

    db_bind_bytes(&query, meta_key_slice(&key));
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    item->state = row == 1 ? META_ADOPT_ELSEWHERE : META_ADOPT_ABSENT;
    if (row == 0)
        return 0;
    int64_t blob = db_column_i64(&query, 0);
    if (db_finish(&query, err) < 0)
        return -1;
    return meta_link(tx, batch->meta, batch->repository, blob, &item->blob.digest,
                     account_of(batch), batch->meta->quotas, err);
}

static int finish_one(struct db_tx *tx, const struct batch *batch, struct meta_adopt *item,
                      struct error *err)
{
    if (item->id[0] != 0)
        return meta_upload_take(tx, batch->meta, batch->repository, slice_of(item->id), &item->blob,
                                batch->meta->quotas, err);
    return item->state == META_ADOPT_HERE ? 0 : link_one(tx, batch, item, err);
}

static int finish(struct db_tx *tx, void *arg, struct error *err)
{
    struct batch *batch = arg;

    if (meta_repository_create(tx, batch->name, &batch->repository, err) < 0)
        return -1;
    for (size_t i = 0; i < batch->count; i++)
        if (finish_one(tx, batch, &batch->items[i], err) < 0)
            return -1;
    return 0;
}

int meta_adopt_finish(struct meta *meta, struct slice repository, struct meta_adopt *items,
                      size_t count, const struct actor *actor, struct error *err)
{
    struct batch batch = {
        .meta = meta, .name = repository, .items = items, .count = count, .actor = actor};
    const struct db_work work = {.run = finish, .arg = &batch, .priority = DB_HEAVY};

    return db_write(meta->db, &work, err);
}

/* meta_build_move.c - tags of a push, which move before its ref and go back when that did not.
 * Touches  build_moves, build_move_tags; tags, tag_history, gc_queue, manifests (touched_at).
 * Never    looks at a ref: whoever ends a move says whether it moved.
 *
 * (1) Tags and the rows that tell where they stood are one transaction; so are their way back and
 *     the end of those rows. */
#include <stdlib.h>

#include "storage/cache.h"
#include "storage/meta_builds.h"
#include "storage/meta_content.h"

static const char SQL_MOVE_ADD[] = "INSERT INTO build_moves(build_id, repo_id, ref, ref_id, image)"
                                   "     VALUES ($1, $2, $3, $4, $5)"
                                   " ON CONFLICT DO NOTHING";
static const char SQL_MOVE_TAG_ADD[] = "INSERT INTO build_move_tags(build_id, name, digest)"
                                       "     VALUES ($1, $2, $3)"
                                       " ON CONFLICT DO NOTHING";
static const char SQL_IMAGE_TOUCH[] = "UPDATE manifests"
                                      "   SET touched_at = $1"
                                      " WHERE id = $2";
static const char SQL_MOVE_FIND[] = "SELECT m.repo_id, m.image, r.name"
                                    "  FROM build_moves m"
                                    "  JOIN repositories r ON r.id = m.repo_id"
                                    " WHERE m.build_id = $1";
static const char SQL_MOVE_TAGS[] = "SELECT name, digest"
                                    "  FROM build_move_tags"
                                    " WHERE build_id = $1";
static const char SQL_MOVE_END[] = "DELETE FROM build_moves"
                                   "      WHERE build_id = $1";
static const char SQL_MOVES[] = "SELECT m.build_id, r.name, m.ref, m.ref_id"
                                "  FROM build_moves m"
                                "  JOIN repositories r ON r.id = m.repo_id"
                                " WHERE m.build_id > $1"
                                " ORDER BY m.build_id"
                                " LIMIT $2";

/* --- there --- */

struct begin {
    struct meta_told told;
    const struct meta *meta;
    const struct build_move *move;
};

static int row_add(struct db_tx *tx, const struct build_move *move, int64_t repository,
                   struct error *err)
{
    const struct meta_key key = meta_key(&move->image);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_ADD);

    db_bind_i64(&query, move->build);
    db_bind_i64(&query, repository);
    db_bind_text(&query, move->ref);
    db_bind_text(&query, move->ref_id);
    db_bind_bytes(&query, meta_key_slice(&key));
    if (db_finish(&query, err) < 0)
        return -1;
    if (db_changes(&query) == 0)
        return error_set(err, ERROR_CONFLICT, "the tags of build %lld have moved already",
                         (long long)move->build);
    return 0;
}

static int tag_row_add(struct db_tx *tx, int64_t build, const struct meta_point *point,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_TAG_ADD);
    struct digest before;
    struct meta_key key = {.size = 0};
    int64_t id = 0;

    if (meta_tag_find(tx, point->repository, point->tag, &id, &before, err) < 0)
        return -1;
    if (id != 0)
        key = meta_key(&before);
    db_bind_i64(&query, build);
    db_bind_text(&query, point->tag);
    db_bind_bytes(&query, id == 0 ? SLICE_NONE : meta_key_slice(&key));
    return db_finish(&query, err);
}

static int begin(struct db_tx *tx, void *arg, struct error *err)
{
    struct begin *with = arg;
    const struct build_move *move = with->move;
    struct meta_point point = {.meta = with->meta,
                               .digest = &move->image,
                               .actor = move->actor,
                               .cause = TAG_PUSHED,
                               .now = clock_now_us()};

    with->told.changed = false;
    if (meta_repository_at(tx, move->repository, &point.repository, err) < 0 ||
        meta_manifest_at(tx, point.repository, &move->image, &point.manifest, err) < 0 ||
        META_CHANGE(tx, SQL_IMAGE_TOUCH, err, point.now, point.manifest) < 0 ||
        row_add(tx, move, point.repository, err) < 0)
        return -1;
    for (size_t i = 0; i < move->tag_count; i++) {
        point.tag = move->tags[i];
        if (tag_row_add(tx, move->build, &point, err) < 0 || meta_tag_point(tx, &point, err) < 0)
            return -1;
    }
    with->told.changed = true;
    return 0;
}

void meta_build_tags_forget(struct cache *cache, struct slice repository, const struct slice *names,
                            size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct cache_key key = cache_key_tag(repository, names[i]);
        cache_invalidate(cache, &key);
    }
}

struct forget {
    struct cache *cache;
    const struct build_move *move;
};

static void forget_tags(void *arg)
{
    const struct forget *forget = arg;
    const struct build_move *move = forget->move;

    meta_build_tags_forget(forget->cache, move->repository, move->tags, move->tag_count);
}

int build_move_begin(struct storage *store, const struct build_move *move, struct error *err)
{
    struct forget forget = {store->cache, move};
    const struct meta_after after = {forget_tags, &forget};
    struct begin with = {{&after, false}, store->meta, move};

    return meta_write_told(store->meta, begin, &with.told, err);
}

/* --- of a build that nobody pushed: with its end --- */

int meta_build_tags(struct db_tx *tx, const struct meta *meta, const struct build_tagging *tags,
                    struct error *err)
{
    struct meta_point point = {.meta = meta,
                               .digest = &tags->image,
                               .actor = tags->actor,
                               .cause = TAG_PUSHED,
                               .now = clock_now_us()};

    if (meta_repository_at(tx, tags->repository, &point.repository, err) < 0 ||
        meta_manifest_at(tx, point.repository, &tags->image, &point.manifest, err) < 0) {
        if (err->code == ERROR_NOT_FOUND)
            err->code = ERROR_PROTECTED;
        return -1;
    }
    if (META_CHANGE(tx, SQL_IMAGE_TOUCH, err, point.now, point.manifest) < 0)
        return -1;
    for (size_t i = 0; i < tags->count; i++) {
        point.tag = tags->names[i];
        if (meta_tag_point(tx, &point, err) < 0)
            return -1;
    }
    return 0;
}

static int tags_check(struct db_tx *tx, void *arg, struct error *err)
{
    const struct build_tagging *tags = arg;
    int64_t repository, id = 0;
    struct digest now;

    if (meta_repository_at(tx, tags->repository, &repository, err) < 0)
        return err->code == ERROR_NOT_FOUND ? (error_clear(err), 0) : -1;
    for (size_t i = 0; i < tags->count; i++)
        if (meta_tag_find(tx, repository, tags->names[i], &id, &now, err) < 0 ||
            (id != 0 && !digest_equal(&now, &tags->image) &&
             meta_guard_tag(tx, repository, tags->names[i], TAG_IMMUTABLE, err) < 0))
            return -1;
    return 0;
}

int build_tags_check(struct storage *store, const struct build_tagging *tags, struct error *err)
{
    struct build_tagging with = *tags;

    return db_read(store->meta->db, tags_check, &with, err);
}

/* --- and back --- */

struct end {
    struct meta_told told;
    struct storage *store;
    int64_t build;
    bool moved;
    const struct actor *actor;
    /* set by each run */
    int64_t repository;
    struct digest image;
    struct buffer name;
};

/* 1, 0: nothing is kept, -1. */
static int row_find(struct db_tx *tx, struct end *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_FIND);

    db_bind_i64(&query, with->build);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    with->repository = db_column_i64(&query, 0);
    with->name.size = 0;
    buffer_append_slice(&with->name, db_column_slice(&query, 2));
    return meta_digest(&query, 1, &with->image, err) < 0 ? -1 : 1;
}

/* Its manifest, 0 when it is not here any more. */
static int manifest_of(struct db_tx *tx, int64_t repository, const struct digest *digest,
                       int64_t *id, struct error *err)
{
    *id = 0;
    if (meta_manifest_at(tx, repository, digest, id, err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

/* Unless it moved on meanwhile: then it is somebody else's. before NULL: there was no such tag. */
static int tag_back(struct db_tx *tx, struct end *with, struct slice tag,
                    const struct digest *before, struct error *err)
{
    struct meta_point point = {.meta = with->store->meta,
                               .repository = with->repository,
                               .tag = tag,
                               .digest = &with->image,
                               .actor = with->actor,
                               .cause = TAG_DELETED,
                               .now = clock_now_us(),
                               .takes_back = true};
    struct digest now;
    int64_t target = 0;

    if (meta_tag_find(tx, with->repository, tag, &point.manifest, &now, err) < 0)
        return -1;
    if (point.manifest == 0 || !digest_equal(&now, &with->image))
        return 0;
    if (before != NULL && manifest_of(tx, with->repository, before, &target, err) < 0)
        return -1;
    with->told.changed = true;
    if (target == 0)
        return meta_tag_end(tx, &point, err);
    point.manifest = target;
    point.digest = before;
    point.cause = TAG_RESTORED;
    return meta_tag_point(tx, &point, err);
}

static int tags_back(struct db_tx *tx, struct end *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_TAGS);
    int row;

    db_bind_i64(&query, with->build);
    while ((row = db_step(&query, err)) == 1) {
        bool stood = !db_column_is_null(&query, 1);
        struct digest before;
        if (stood && meta_digest(&query, 1, &before, err) < 0)
            return -1;
        if (tag_back(tx, with, db_column_slice(&query, 0), stood ? &before : NULL, err) < 0)
            return -1;
    }
    return row;
}

static int end(struct db_tx *tx, void *arg, struct error *err)
{
    struct end *with = arg;

    with->told.changed = false;
    int row = row_find(tx, with, err);
    if (row <= 0)
        return row;
    if (!with->moved && tags_back(tx, with, err) < 0)
        return -1;
    return META_CHANGE(tx, SQL_MOVE_END, err, with->build);
}

static void forget_repository(void *arg)
{
    const struct end *with = arg;

    cache_invalidate_repository(with->store->cache, buffer_slice(&with->name));
}

int build_move_end(struct storage *store, int64_t build, bool moved, const struct actor *actor,
                   struct error *err)
{
    struct end with = {.store = store, .build = build, .moved = moved, .actor = actor};
    const struct meta_after after = {forget_repository, &with};

    with.told.after = &after;
    int outcome = meta_write_told(store->meta, end, &with.told, err);
    buffer_drop(&with.name);
    return outcome;
}

/* --- what is kept --- */

struct list {
    int64_t after;
    size_t limit;
    struct build_moves *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVES);
    size_t capacity = 0;
    int row;

    build_moves_drop(with->out);
    db_bind_i64(&query, with->after);
    db_bind_i64(&query, (int64_t)with->limit);
    while ((row = db_step(&query, err)) == 1) {
        struct build_moves *out = with->out;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] =
            (struct build_moved){db_column_i64(&query, 0), meta_text(&query, 1),
                                 meta_text(&query, 2), meta_text(&query, 3)};
    }
    return row;
}

int build_move_list(struct storage *store, int64_t after, size_t limit, struct build_moves *out,
                    struct error *err)
{
    struct list with = {after, limit, out};

    *out = (struct build_moves){.items = NULL};
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    build_moves_drop(out);
    return -1;
}

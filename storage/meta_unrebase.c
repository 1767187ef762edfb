/* meta_unrebase.c - rebases that were done: what they moved, and back.
 * Touches  tags, tag_history, gc_queue, manifests, rebase_moves, audit.
 * Never    moves a tag that somebody moved since. rebases (2). */
#include <stdio.h>
#include <stdlib.h>

#include "storage/meta_rebase.h"

void rebase_record_drop(struct rebase_record *record)
{
    for (size_t i = 0; i < record->count; i++) {
        free(record->moves[i].repository);
        free(record->moves[i].tag);
    }
    free(record->moves);
    free(record->base);
    free(record->actor);
    *record = (struct rebase_record){.id = 0};
}

/* --- looking --- */

static const char SQL_REBASE[] = "SELECT base, actor, created_at, until"
                                 "  FROM rebases"
                                 " WHERE id = $1";
static const char SQL_MOVES[] =
    "SELECT r.name, v.tag, m.digest, v.new_digest, coalesce(v.undone_at, 0), v.repo_id,"
    "       v.manifest_id"
    "  FROM rebase_moves v"
    "  JOIN repositories r ON r.id = v.repo_id"
    "  JOIN manifests m ON m.id = v.manifest_id"
    " WHERE v.rebase_id = $1 AND r.deleted_at IS NULL"
    " ORDER BY v.repo_id, v.tag";
static const char SQL_REBASES[] = "SELECT id"
                                  "  FROM rebases"
                                  " WHERE id < $1 AND until > $2"
                                  " ORDER BY id DESC"
                                  " LIMIT $3";

static int record_read(struct db_tx *tx, int64_t id, struct rebase_record *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REBASE);

    rebase_record_drop(out);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "there is no such rebase");
    *out = (struct rebase_record){.id = id,
                                  .base = meta_text(&query, 0),
                                  .actor = meta_text(&query, 1),
                                  .created_at = db_column_i64(&query, 2),
                                  .until = db_column_i64(&query, 3)};
    return 0;
}

static int moves_read(struct db_tx *tx, struct rebase_record *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVES);
    size_t capacity = 0;
    int row;

    db_bind_i64(&query, out->id);
    while ((row = db_step(&query, err)) == 1) {
        struct rebase_move move = {.undone_at = db_column_i64(&query, 4),
                                   .repository_id = db_column_i64(&query, 5),
                                   .manifest_id = db_column_i64(&query, 6)};
        if (meta_digest(&query, 2, &move.before, err) < 0 ||
            meta_digest(&query, 3, &move.after, err) < 0)
            return -1;
        out->moves = meta_grow(out->moves, out->count, &capacity, sizeof(*out->moves));
        move.repository = meta_text(&query, 0);
        move.tag = meta_text(&query, 1);
        out->moves[out->count++] = move;
    }
    return row;
}

struct find {
    int64_t id;
    struct rebase_record *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;

    if (record_read(tx, with->id, with->out, err) < 0)
        return -1;
    return moves_read(tx, with->out, err);
}

int rebase_find(struct storage *store, int64_t id, struct rebase_record *out, struct error *err)
{
    struct find with = {id, out};

    *out = (struct rebase_record){.id = 0};
    if (db_read(store->meta->db, find, &with, err) == 0)
        return 0;
    rebase_record_drop(out);
    return -1;
}

struct list {
    int64_t before;
    size_t limit;
    struct rebase_ids *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    struct rebase_ids *out = with->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REBASES);
    size_t capacity = 0;
    int row;

    free(out->items);
    *out = (struct rebase_ids){.items = NULL};
    db_bind_i64(&query, with->before == 0 ? INT64_MAX : with->before);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, meta_one_more(with->limit));
    while ((row = db_step(&query, err)) == 1) {
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = db_column_i64(&query, 0);
    }
    return row;
}

int rebase_list(struct storage *store, int64_t before_id, size_t limit, struct rebase_ids *out,
                struct error *err)
{
    struct list with = {before_id, limit, out};

    *out = (struct rebase_ids){.items = NULL};
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    free(out->items);
    *out = (struct rebase_ids){.items = NULL};
    return -1;
}

/* --- back --- */

static const char SQL_MOVE_UNDONE[] = "UPDATE rebase_moves"
                                      "   SET undone_at = $1"
                                      " WHERE rebase_id = $2 AND repo_id = $3 AND tag = $4";
static const char SQL_ASIDE[] = "SELECT 1"
                                "  FROM manifests"
                                " WHERE id = $1 AND deleted_at IS NOT NULL";

struct undo {
    struct meta_told told;
    const struct meta *meta;
    int64_t id;
    const struct rebase_undo *undo;
    struct rebase_record *out;
    int64_t now;
};

static bool is_wanted(const struct rebase_undo *undo, const struct rebase_move *move)
{
    for (size_t i = 0; i < undo->repository_count; i++)
        if (slice_equal_text(undo->repositories[i], move->repository))
            return true;
    return false;
}

/* Moves of repositories that are not meant are left out of the record. */
static void keep_wanted(struct rebase_record *record, const struct rebase_undo *undo)
{
    struct rebase_move *all = record->moves;
    size_t count = record->count;

    record->moves = memory_new((count + 1) * sizeof(*record->moves));
    record->count = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(undo, &all[i])) {
            record->moves[record->count++] = all[i];
            continue;
        }
        free(all[i].repository);
        free(all[i].tag);
    }
    free(all);
}

/* Somebody deleted what the tag stood for: it comes back with it, if it can. */
static int revive(struct db_tx *tx, const struct undo *with, struct rebase_move *move,
                  struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ASIDE);

    db_bind_i64(&query, move->manifest_id);
    int row = db_step(&query, err);
    if (row <= 0 || with->undo->dry_run)
        return row < 0 ? -1 : 0;
    if (meta_manifest_revive(tx, with->meta, move->repository_id, move->manifest_id, with->now,
                             err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND && err->code != ERROR_CONFLICT)
        return -1;
    move->outcome = REBASE_MOVE_LOST;
    snprintf(move->why, sizeof(move->why), "%s", err->message);
    error_clear(err);
    return 0;
}

static int undone(struct db_tx *tx, const struct undo *with, const struct rebase_move *move,
                  struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_UNDONE);

    db_bind_i64(&query, with->now);
    db_bind_i64(&query, with->id);
    db_bind_i64(&query, move->repository_id);
    db_bind_text(&query, slice_of(move->tag));
    return db_finish(&query, err);
}

static int move_back(struct db_tx *tx, struct undo *with, struct rebase_move *move,
                     struct error *err)
{
    const struct meta_rebase_look look = {move->repository_id, slice_of(move->tag), &move->after};
    const struct meta_point point = {.meta = with->meta,
                                     .repository = move->repository_id,
                                     .tag = slice_of(move->tag),
                                     .manifest = move->manifest_id,
                                     .digest = &move->before,
                                     .actor = with->undo->actor,
                                     .cause = TAG_RESTORED,
                                     .now = with->now};
    int64_t stands = 0;

    if (move->undone_at != 0)
        return 0;
    if (meta_rebase_look(tx, &look, &stands, &move->outcome, move->why, err) < 0 ||
        (stands != 0 && revive(tx, with, move, err) < 0))
        return -1;
    if (move->outcome != REBASE_MOVE_DONE)
        return 0;
    move->undone_at = with->now;
    if (with->undo->dry_run)
        return 0;
    with->told.changed = true;
    return meta_tag_point(tx, &point, err) < 0 ? -1 : undone(tx, with, move, err);
}

static int undo(struct db_tx *tx, void *arg, struct error *err)
{
    struct undo *with = arg;
    struct rebase_record *out = with->out;

    with->now = clock_now_us();
    with->told.changed = false;
    if (record_read(tx, with->id, out, err) < 0 || moves_read(tx, out, err) < 0)
        return -1;
    if (out->until <= with->now)
        return error_set(err, ERROR_CONFLICT, "it was too long ago to be taken back");
    keep_wanted(out, with->undo);
    for (size_t i = 0; i < out->count; i++)
        if (move_back(tx, with, &out->moves[i], err) < 0)
            return -1;
    return with->told.changed ? meta_audit_add(tx, with->undo->event, err) : 0;
}

int meta_rebase_undo(struct meta *meta, int64_t id, const struct rebase_undo *how,
                     struct rebase_record *out, const struct meta_after *after, struct error *err)
{
    struct undo with = {.told = {after, false}, .meta = meta, .id = id, .undo = how, .out = out};
    const struct db_work work = {
        .run = undo, .arg = &with, .after_commit = meta_tell, .priority = DB_HEAVY};

    *out = (struct rebase_record){.id = 0};
    int outcome =
        how->dry_run ? db_read(meta->db, undo, &with, err) : db_write(meta->db, &work, err);
    if (outcome < 0)
        rebase_record_drop(out);
    return outcome;
}

/* meta_history.c - what tags stood for, and who moved them: rows of tag_history.
 * Touches  tag_history.
 * Never    forgets: the collector forgets what is old. */
#include "storage/meta_content.h"

#include <stdlib.h>

static const char SQL_HISTORY_ADD[] =
    "INSERT INTO tag_history(repo_id, name, old_digest, new_digest, at, actor, cause)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7)";

int meta_history(struct db_tx *tx, const struct meta_move *move, struct error *err)
{
    return meta_history_at(tx, move, clock_now_us(), err);
}

int meta_history_at(struct db_tx *tx, const struct meta_move *move, int64_t at, struct error *err)
{
    const struct digest *old = move->old, *new = move->new;
    struct meta_key keys[2] = {{.size = 0}, {.size = 0}};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_HISTORY_ADD);

    db_bind_i64(&query, move->repository);
    db_bind_text(&query, move->tag);
    if (old != NULL)
        keys[0] = meta_key(old);
    if (new != NULL)
        keys[1] = meta_key(new);
    db_bind_bytes(&query, old == NULL ? SLICE_NONE : meta_key_slice(&keys[0]));
    db_bind_bytes(&query, new == NULL ? SLICE_NONE : meta_key_slice(&keys[1]));
    db_bind_i64(&query, at);
    db_bind_text(&query, move->actor == NULL ? SLICE_NONE : move->actor->name);
    db_bind_i64(&query, move->cause);
    return db_finish(&query, err);
}

/* --- pages, newest first --- */

void content_history_drop(struct content_history *history)
{
    for (size_t i = 0; i < history->count; i++) {
        free(history->items[i].tag);
        free(history->items[i].actor);
    }
    free(history->items);
    *history = (struct content_history){.items = NULL};
}

#define HISTORY_SELECT                                                                             \
    "SELECT id, at, name, actor, old_digest, new_digest, cause"                                    \
    "  FROM tag_history"                                                                           \
    " WHERE repo_id = $1 AND id < $2"

static const char SQL_HISTORY[] = HISTORY_SELECT " ORDER BY id DESC"
                                                 " LIMIT $3";
static const char SQL_HISTORY_OF_TAG[] = HISTORY_SELECT "   AND name = $3"
                                                        " ORDER BY id DESC"
                                                        " LIMIT $4";

struct list {
    struct slice repository, tag;
    int64_t before;
    size_t limit;
    struct content_history *out;
};

static int move_row(const struct db_query *query, struct content_move *out, struct error *err)
{
    *out = (struct content_move){.id = db_column_i64(query, 0),
                                 .at = db_column_i64(query, 1),
                                 .cause = (enum tag_cause)db_column_i64(query, 6)};
    if ((!db_column_is_null(query, 4) && meta_digest(query, 4, &out->from, err) < 0) ||
        (!db_column_is_null(query, 5) && meta_digest(query, 5, &out->to, err) < 0))
        return -1;
    out->tag = meta_text(query, 2);
    out->actor = meta_text_or_null(query, 3);
    return 0;
}

static int list_fill(struct db_query *query, const struct list *with, struct error *err)
{
    struct content_history *out = with->out;
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        struct content_move move;
        if (out->count == with->limit) {
            out->more = true;
            return 0;
        }
        if (move_row(query, &move, err) < 0)
            return -1;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = move;
    }
    return row;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    bool of_tag = with->tag.at != NULL;
    int64_t repository = 0;

    content_history_drop(with->out);
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, of_tag ? SQL_HISTORY_OF_TAG : SQL_HISTORY);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, with->before == 0 ? INT64_MAX : with->before);
    if (of_tag)
        db_bind_text(&query, with->tag);
    db_bind_i64(&query, meta_one_more(with->limit));
    return list_fill(&query, with, err);
}

int meta_history_list(struct meta *meta, struct slice repository, struct slice tag, int64_t before,
                      size_t limit, struct content_history *out, struct error *err)
{
    struct list with = {repository, tag, before, limit, out};

    *out = (struct content_history){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    content_history_drop(out);
    return -1;
}

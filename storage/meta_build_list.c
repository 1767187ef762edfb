/* meta_build_list.c - reading rows of builds, and taking the old ones away.
 * Touches  builds.
 * Never    a build that has not ended. */
#include "storage/meta_builds.h"
#include "storage/pattern.h"

#include <stdlib.h>

struct build_record meta_build_row(const struct db_query *query)
{
    return (struct build_record){
        .id = db_column_i64(query, 0),
        .account = db_column_i64(query, 1), /* NULL is 0 */
        .created_at = db_column_i64(query, 2),
        .started_at = db_column_i64(query, 3),
        .finished_at = db_column_i64(query, 4),
        .epoch = db_column_i64(query, 5),
        .retry_of = db_column_i64(query, 6),
        .state = (enum build_state)db_column_i64(query, 7),
        .policy = (enum build_policy)db_column_i64(query, 8),
        .source = (enum build_source)db_column_i64(query, 9),
        .exit_code = db_column_is_null(query, 10) ? -1 : (int)db_column_i64(query, 10),
        .layer_size = db_column_i64(query, 11),
        .log_size = db_column_i64(query, 12),
        .repository = meta_text(query, 13),
        .trigger = meta_text(query, 14),
        .actor = meta_text(query, 15),
        .url = meta_text(query, 16),
        .ref = meta_text(query, 17),
        .commit = meta_text(query, 18),
        .builder = meta_text(query, 19),
        .builder_digest = meta_text(query, 20),
        .spec = meta_text(query, 21),
        .tags = meta_text(query, 22),
        .stages = meta_text(query, 23),
        .facts = meta_text(query, 24),
        .reason = meta_text(query, 25),
        .message = meta_text(query, 26),
        .input_key = meta_text(query, 27),
        .result_digest = meta_text(query, 28),
        .ended_by = meta_text(query, 29),
        .left_by = meta_text(query, 30),
    };
}

/* --- one --- */

static const char SQL_BUILD_FIND[] = "SELECT " BUILD_COLUMNS "  FROM builds b"
                                     " WHERE b.id = $1";
static const char SQL_BUILD_BY_KEY[] =
    "SELECT " BUILD_COLUMNS "  FROM builds b"
    " WHERE b.state = 3 AND b.repository = $1 AND b.input_key = $2"
    " ORDER BY b.id DESC"
    " LIMIT 1";
static const char SQL_BUILD_AHEAD[] = "SELECT count(*)"
                                      "  FROM builds"
                                      " WHERE state = 1 AND id < $1";

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no such build");
}

int meta_build_read(struct db_tx *tx, int64_t id, struct build_record *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_FIND);

    build_record_drop(out);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row == 0)
        return unknown(err);
    if (row == 1)
        *out = meta_build_row(&query);
    return row < 0 ? -1 : 0;
}

struct find {
    int64_t id;
    struct slice repository, key;
    struct build_record *out;
    bool found;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;

    return meta_build_read(tx, with->id, with->out, err);
}

int build_find(struct storage *store, int64_t id, struct build_record *out, struct error *err)
{
    struct find with = {.id = id, .out = out};

    *out = (struct build_record){.id = 0};
    return db_read(store->meta->db, find, &with, err);
}

static int by_key(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_BY_KEY);

    db_bind_text(&query, with->repository);
    db_bind_text(&query, with->key);
    int row = db_step(&query, err);
    with->found = row == 1;
    if (row == 1)
        *with->out = meta_build_row(&query);
    return row < 0 ? -1 : 0;
}

int build_by_key(struct storage *store, struct slice repository, struct slice input_key,
                 struct build_record *out, bool *found, struct error *err)
{
    struct find with = {.repository = repository, .key = input_key, .out = out};

    *out = (struct build_record){.id = 0};
    int result = db_read(store->meta->db, by_key, &with, err);
    *found = with.found;
    return result;
}

struct ahead {
    int64_t id;
    uint64_t count;
};

static int ahead(struct db_tx *tx, void *arg, struct error *err)
{
    struct ahead *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_AHEAD);

    db_bind_i64(&query, with->id);
    return meta_total(&query, &with->count, err);
}

int build_ahead(struct storage *store, int64_t id, uint64_t *out, struct error *err)
{
    struct ahead with = {id, 0};

    if (db_read(store->meta->db, ahead, &with, err) < 0)
        return -1;
    *out = with.count;
    return 0;
}

static const char SQL_BUILD_COUNTS[] = "SELECT (SELECT count(*) FROM builds WHERE state <= 1),"
                                       "       (SELECT count(*) FROM builds WHERE state = 2)";

static int counts(struct db_tx *tx, void *arg, struct error *err)
{
    struct build_counts *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BUILD_COUNTS);

    if (db_step(&query, err) != 1)
        return -1;
    out->waiting = (uint64_t)db_column_i64(&query, 0);
    out->running = (uint64_t)db_column_i64(&query, 1);
    return 0;
}

int build_count(struct storage *store, struct build_counts *out, struct error *err)
{
    return db_read(store->meta->db, counts, out, err);
}

/* --- pages --- */

#define LIST_SELECT                                                                                \
    "SELECT " BUILD_COLUMNS ", coalesce(r.public, 0)"                                              \
    "  FROM builds b"                                                                              \
    "  LEFT JOIN repositories r ON r.name = b.repository"
static const char SQL_LIST[] = LIST_SELECT " WHERE b.id < $1"
                                           " ORDER BY b.id DESC";
static const char SQL_LIST_OF_REPOSITORY[] = LIST_SELECT " WHERE b.repository = $1 AND b.id < $2"
                                                         " ORDER BY b.id DESC";
static const char SQL_LIST_OF_STATE[] = LIST_SELECT " WHERE b.state = $1 AND b.id < $2"
                                                    " ORDER BY b.id DESC";

static bool fits(struct slice wanted, const struct db_query *row, int column)
{
    return wanted.at == NULL || slice_equal(wanted, db_column_slice(row, column));
}

static bool visible(const struct repository_filter *filter, const struct db_query *row)
{
    if (filter == NULL || filter->all || (filter->public && db_column_i64(row, BUILD_COLUMN_COUNT)))
        return true;
    for (size_t i = 0; i < filter->pattern_count; i++)
        if (pattern_covers(filter->patterns[i], db_column_slice(row, 13)))
            return true;
    return false;
}

static bool wanted(const struct build_filter *filter, const struct db_query *row)
{
    return (filter->state < 0 || db_column_i64(row, 7) == filter->state) &&
           fits(filter->ref, row, 17) && fits(filter->commit, row, 18) &&
           fits(filter->trigger, row, 14) && visible(filter->visible, row);
}

static struct db_query list_query(struct db_tx *tx, const struct build_filter *filter)
{
    bool of_repository = filter->repository.at != NULL, of_state = filter->state >= 0;
    struct db_query query = db_query(tx, of_repository ? SQL_LIST_OF_REPOSITORY
                                         : of_state    ? SQL_LIST_OF_STATE
                                                       : SQL_LIST);

    if (of_repository)
        db_bind_text(&query, filter->repository);
    else if (of_state)
        db_bind_i64(&query, filter->state);
    db_bind_i64(&query, filter->before_id == 0 ? INT64_MAX : filter->before_id);
    return query;
}

struct list {
    const struct build_filter *filter;
    struct build_page *out;
};

/* Rows are few (13.47), so what no index knows is asked of each. */
static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    struct build_page *out = with->out;
    OWNED(db_query_end) struct db_query query = list_query(tx, with->filter);
    size_t capacity = 0;
    int row;

    build_page_drop(out);
    while ((row = db_step(&query, err)) == 1 && !out->more) {
        if (!wanted(with->filter, &query))
            continue;
        out->more = out->count == with->filter->limit;
        if (out->more)
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = meta_build_row(&query);
    }
    return row < 0 ? -1 : 0;
}

int build_list(struct storage *store, const struct build_filter *filter, struct build_page *out,
               struct error *err)
{
    struct list with = {filter, out};

    *out = (struct build_page){.items = NULL};
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    build_page_drop(out);
    return -1;
}

/* --- what is kept --- */

static const char SQL_KEPT[] = "SELECT repository, id, state"
                               "  FROM builds"
                               " WHERE repository < $1"
                               " ORDER BY repository DESC, id DESC";
static const char SQL_OLD[] = "SELECT id"
                              "  FROM builds"
                              " WHERE finished_at IS NOT NULL AND finished_at < $1"
                              " ORDER BY finished_at"
                              " LIMIT $2";
static const char SQL_BUILD_DELETE[] = "DELETE FROM builds"
                                       "      WHERE id = $1 AND state >= 3";

struct prune {
    uint64_t keep_good, keep_bad;
    int64_t before;
    size_t limit;
    struct meta_ids ids;
};

/* Every repository, newest build first, by the index alone. Behind the last name there is one of
 * those that are set aside ('~' and digits). */
static int find_surplus(struct db_tx *tx, struct prune *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_KEPT);
    OWNED(buffer_drop) struct buffer at = BUFFER_NONE;
    uint64_t good = 0, bad = 0;
    int row = 0;

    db_bind_text(&query, SLICE("~~"));
    while (with->ids.count < with->limit && (row = db_step(&query, err)) == 1) {
        if (!slice_equal(buffer_slice(&at), db_column_slice(&query, 0))) {
            at.size = 0;
            buffer_append_slice(&at, db_column_slice(&query, 0));
            good = bad = 0;
        }
        enum build_state state = (enum build_state)db_column_i64(&query, 2);
        if ((state == BUILD_COMPLETE && good++ >= with->keep_good) ||
            (state > BUILD_COMPLETE && bad++ >= with->keep_bad))
            meta_ids_add(&with->ids, db_column_i64(&query, 1));
    }
    return row < 0 ? -1 : 0;
}

static int find_old(struct db_tx *tx, void *arg, struct error *err)
{
    struct prune *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_OLD);

    db_bind_i64(&query, with->before);
    db_bind_i64(&query, (int64_t)with->limit);
    if (meta_ids_fill(&with->ids, &query, err) < 0)
        return -1;
    return with->ids.count > 0 ? 0 : find_surplus(tx, with, err);
}

static int delete_rows(struct db_tx *tx, void *arg, struct error *err)
{
    const struct prune *with = arg;

    for (size_t i = 0; i < with->ids.count; i++)
        if (META_CHANGE(tx, SQL_BUILD_DELETE, err, with->ids.items[i]) < 0)
            return -1;
    return 0;
}

/* What is found in a read may go later: whatever ended stays as it is. */
int build_prune(struct storage *store, uint64_t keep_good, uint64_t keep_bad, int64_t before,
                size_t limit, int64_t **out, size_t *count, struct error *err)
{
    struct prune with = {keep_good, keep_bad, before, limit, {NULL, 0, 0}};

    if (db_read(store->meta->db, find_old, &with, err) < 0 ||
        (with.ids.count > 0 &&
         meta_write_loosely(store->meta, delete_rows, &with, DB_BACKGROUND, err) < 0)) {
        free(with.ids.items);
        return -1;
    }
    *out = with.ids.items;
    *count = with.ids.count;
    return 0;
}

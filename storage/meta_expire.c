/* meta_expire.c - rows that end by the clock: deletions that can be taken back no longer, pins, and
 * records of what happened; and what gc.untagged, once it is set, lets end.
 * Touches  deleted_tags, pins, gc_queue, pull_counts, tag_history, server_state.
 * Never    a manifest: it is queued for review.
 *
 * How long records are kept: see the enum. Rules of retention look back 400 days at most, so pulls
 * are kept for as long; of each tag its newest moves stay whatever their age. */
#include "storage/meta_collect.h"

enum {
    ROWS_MAX = 200, /* a transaction */
    PULLS_DAYS = 400,
    HISTORY_DAYS = 365,
    HISTORY_NEWEST = 100, /* of each tag */
};

static const int64_t DAY_US = 86400ll * US_PER_S;

/* --- deleted tags and pins --- */

static const char SQL_DUE[] =
    "SELECT CASE WHEN EXISTS(SELECT 1 FROM deleted_tags WHERE until <= $1)"
    "              OR EXISTS(SELECT 1 FROM pins WHERE until <= $1)"
    "            THEN 1"
    "            ELSE 0"
    "        END";
/* Due at once; what the task already knew stays. */
static const char SQL_TAGS_QUEUE[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                     "     SELECT 1, repo_id, manifest_id, $1"
                                     "       FROM deleted_tags"
                                     "      WHERE until <= $1"
                                     "      ORDER BY until, repo_id, name, manifest_id"
                                     "      LIMIT $2"
                                     " ON CONFLICT (kind, repo_id, ref_id)"
                                     "   DO UPDATE SET due = excluded.due";
static const char SQL_TAGS_FORGET[] = "DELETE FROM deleted_tags"
                                      "      WHERE (repo_id, name, manifest_id)"
                                      "         IN (SELECT repo_id, name, manifest_id"
                                      "               FROM deleted_tags"
                                      "              WHERE until <= $1"
                                      "              ORDER BY until, repo_id, name, manifest_id"
                                      "              LIMIT $2)";
static const char SQL_PINS_QUEUE[] = "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                                     "     SELECT 1, repo_id, manifest_id, $1"
                                     "       FROM pins"
                                     "      WHERE until <= $1"
                                     "      ORDER BY until, repo_id, name"
                                     "      LIMIT $2"
                                     " ON CONFLICT (kind, repo_id, ref_id)"
                                     "   DO UPDATE SET due = excluded.due";
static const char SQL_PINS_FORGET[] = "DELETE FROM pins"
                                      "      WHERE (repo_id, name)"
                                      "         IN (SELECT repo_id, name"
                                      "               FROM pins"
                                      "              WHERE until <= $1"
                                      "              ORDER BY until, repo_id, name"
                                      "              LIMIT $2)";

struct expire {
    int64_t now; /* of pulls: the first day that is kept */
    bool more;
};

static int due(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DUE);
    int64_t found = 0;

    db_bind_i64(&query, with->now);
    int result = meta_number(&query, &found, err);
    with->more = found != 0;
    return result;
}

static int rows(struct db_tx *tx, const char *sql, int64_t now, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, now);
    db_bind_i64(&query, ROWS_MAX);
    return db_finish(&query, err);
}

/* Queued first: nothing loses what held it unseen, meta (6). */
static int holds(struct db_tx *tx, void *arg, struct error *err)
{
    const struct expire *with = arg;

    if (rows(tx, SQL_TAGS_QUEUE, with->now, err) < 0 ||
        rows(tx, SQL_TAGS_FORGET, with->now, err) < 0 ||
        rows(tx, SQL_PINS_QUEUE, with->now, err) < 0)
        return -1;
    return rows(tx, SQL_PINS_FORGET, with->now, err);
}

int meta_holds_expire(struct meta *meta, bool *more, struct error *err)
{
    struct expire with = {.now = clock_now_us()};
    const struct db_work work = {.run = holds, .arg = &with, .priority = DB_BACKGROUND};

    *more = false;
    if (db_read(meta->db, due, &with, err) < 0)
        return -1;
    if (with.more && db_write(meta->db, &work, err) < 0)
        return -1;
    *more = with.more;
    return 0;
}

/* --- manifests of before gc.untagged was set --- */

/* They were reviewed long ago and stayed, so no task names them. One walk over all manifests queues
 * those without a tag; how far it came is remembered, also that it is over, until the setting is
 * taken back. */
static const char SQL_WALK[] = "SELECT CAST(value AS BIGINT)"
                               "  FROM server_state"
                               " WHERE name = 'gc.untagged'";
static const char SQL_WALK_PUT[] = "INSERT INTO server_state(name, value)"
                                   "     VALUES ('gc.untagged', CAST($1 AS TEXT))"
                                   " ON CONFLICT (name)"
                                   "   DO UPDATE SET value = excluded.value";
static const char SQL_WALK_DELETE[] = "DELETE FROM server_state"
                                      "      WHERE name = 'gc.untagged'";
static const char SQL_WALK_NEXT[] = "SELECT id"
                                    "  FROM manifests"
                                    " WHERE id > $1"
                                    " ORDER BY id"
                                    " LIMIT 1 OFFSET $2";
static const char SQL_UNTAGGED_QUEUE[] =
    "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
    "     SELECT 1, m.repo_id, m.id, $1"
    "       FROM manifests m"
    "      WHERE m.id > $2 AND m.id <= $3 AND m.deleted_at IS NULL"
    "        AND NOT EXISTS(SELECT 1"
    "                         FROM tags t"
    "                        WHERE t.repo_id = m.repo_id AND t.manifest_id = m.id)"
    " ON CONFLICT DO NOTHING";

static const int64_t WALK_OVER = -1;

struct walk {
    const struct meta *meta;
    int64_t at; /* behind this manifest; WALK_OVER */
    bool known; /* there is a row */
};

static int walk_find(struct db_tx *tx, void *arg, struct error *err)
{
    struct walk *walk = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_WALK);

    int row = db_step(&query, err);
    walk->known = row == 1;
    walk->at = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

static bool walk_due(const struct walk *walk)
{
    return walk->meta->untagged_us == 0 ? walk->known : walk->at != WALK_OVER;
}

static int walk_queue(struct db_tx *tx, int64_t from, int64_t to, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UNTAGGED_QUEUE);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, from);
    db_bind_i64(&query, to);
    return db_finish(&query, err);
}

/* The last manifest of the next page; of the last page INT64_MAX. */
static int walk_page(struct db_tx *tx, int64_t from, int64_t *to, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_WALK_NEXT);

    db_bind_i64(&query, from);
    db_bind_i64(&query, ROWS_MAX - 1);
    int row = db_step(&query, err);
    *to = row == 1 ? db_column_i64(&query, 0) : INT64_MAX;
    return row < 0 ? -1 : 0;
}

static int walk_put(struct db_tx *tx, int64_t at, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_WALK_PUT);

    db_bind_i64(&query, at);
    return db_finish(&query, err);
}

static int walk_forget(struct db_tx *tx, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_WALK_DELETE);

    return db_finish(&query, err);
}

static int walk(struct db_tx *tx, void *arg, struct error *err)
{
    struct walk *walk = arg;
    int64_t to = 0;

    if (walk_find(tx, walk, err) < 0)
        return -1;
    if (walk->meta->untagged_us == 0)
        return walk_forget(tx, err);
    if (!walk_due(walk))
        return 0;
    if (walk_page(tx, walk->at, &to, err) < 0 || walk_queue(tx, walk->at, to, err) < 0)
        return -1;
    return walk_put(tx, to == INT64_MAX ? WALK_OVER : to, err);
}

int meta_untagged_queue(struct meta *meta, bool *more, struct error *err)
{
    struct walk with = {.meta = meta};
    const struct db_work work = {.run = walk, .arg = &with, .priority = DB_BACKGROUND};

    *more = false;
    if (db_read(meta->db, walk_find, &with, err) < 0)
        return -1;
    if (!walk_due(&with))
        return 0;
    *more = true;
    return db_write(meta->db, &work, err);
}

/* --- records --- */

static const char SQL_PULLS_DUE[] = "SELECT 1"
                                    "  FROM pull_counts"
                                    " WHERE day < $1"
                                    " LIMIT 1";
static const char SQL_PULLS_FORGET[] =
    "DELETE FROM pull_counts"
    "      WHERE (repo_id, reference, day, kind) IN (SELECT repo_id, reference, day, kind"
    "                                                  FROM pull_counts"
    "                                                 WHERE day < $1"
    "                                                 LIMIT $2)";
static const char SQL_HISTORY_OLD[] = "SELECT id, at, repo_id, name"
                                      "  FROM tag_history"
                                      " WHERE id > $1"
                                      " ORDER BY id"
                                      " LIMIT $2";
/* A row when the tag has enough newer ones. */
static const char SQL_HISTORY_NEWER[] = "SELECT 1"
                                        "  FROM tag_history"
                                        " WHERE repo_id = $1 AND name = $2 AND id > $3"
                                        " ORDER BY id"
                                        " LIMIT 1 OFFSET $4";
static const char SQL_HISTORY_FORGET[] = "DELETE FROM tag_history"
                                         "      WHERE id = $1";

static int64_t days_ago(int64_t days)
{
    return clock_now_us() / DAY_US - days;
}

static int pulls_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PULLS_DUE);

    db_bind_i64(&query, with->now);
    int row = db_step(&query, err);
    with->more = row == 1;
    return row < 0 ? -1 : 0;
}

static int pulls_forget(struct db_tx *tx, void *arg, struct error *err)
{
    const struct expire *with = arg;

    return rows(tx, SQL_PULLS_FORGET, with->now, err);
}

/* A walk over rows whose time is over, in the order of their ids, which grow with time. */
struct history {
    int64_t cursor;         /* behind it */
    int64_t next;           /* where the walk goes on; 0: it is over */
    int64_t gone[ROWS_MAX]; /* what it found to forget */
    size_t count;
};

static int history_newer(struct db_tx *tx, int64_t id, int64_t repository, struct slice name,
                         bool *enough, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_HISTORY_NEWER);

    db_bind_i64(&query, repository);
    db_bind_text(&query, name);
    db_bind_i64(&query, id);
    db_bind_i64(&query, HISTORY_NEWEST - 1);
    int row = db_step(&query, err);
    *enough = row == 1;
    return row < 0 ? -1 : 0;
}

static int history_find(struct db_tx *tx, void *arg, struct error *err)
{
    struct history *with = arg;
    int64_t before = clock_now_us() - HISTORY_DAYS * DAY_US;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_HISTORY_OLD);
    int row;

    with->count = 0;
    with->next = 0;
    db_bind_i64(&query, with->cursor);
    db_bind_i64(&query, ROWS_MAX);
    for (int seen = 1; (row = db_step(&query, err)) == 1; seen++) {
        int64_t id = db_column_i64(&query, 0);
        bool enough = false;
        if (db_column_i64(&query, 1) >= before)
            return 0;
        if (history_newer(tx, id, db_column_i64(&query, 2), db_column_slice(&query, 3), &enough,
                          err) < 0)
            return -1;
        if (enough)
            with->gone[with->count++] = id;
        with->next = seen == ROWS_MAX ? id : 0;
    }
    return row;
}

static int history_forget(struct db_tx *tx, void *arg, struct error *err)
{
    const struct history *with = arg;

    for (size_t i = 0; i < with->count; i++) {
        OWNED(db_query_end) struct db_query query = db_query(tx, SQL_HISTORY_FORGET);
        db_bind_i64(&query, with->gone[i]);
        if (db_finish(&query, err) < 0)
            return -1;
    }
    return 0;
}

int meta_records_expire(struct meta *meta, int64_t *cursor, bool *more, struct error *err)
{
    struct expire pulls = {.now = days_ago(PULLS_DAYS)};
    struct history moves = {.cursor = *cursor};

    *more = false;
    if (db_read(meta->db, pulls_due, &pulls, err) < 0 ||
        (pulls.more && meta_write_loosely(meta, pulls_forget, &pulls, DB_BACKGROUND, err) < 0) ||
        db_read(meta->db, history_find, &moves, err) < 0 ||
        (moves.count > 0 &&
         meta_write_loosely(meta, history_forget, &moves, DB_BACKGROUND, err) < 0))
        return -1;
    *cursor = moves.next;
    *more = pulls.more || moves.next != 0;
    return 0;
}

/* meta_trash.c - rows of bytes that nobody can reach any more.
 * Touches  trash; reads blobs and uploads.
 * Never    removes bytes: the sweep does, once the row is durable. */
#include "storage/meta_internal.h"

#include <string.h>

static const char SQL_TRASH_ADD[] = "INSERT INTO trash(locator, not_before)"
                                    "     VALUES ($1, $2)";

int meta_trash(struct db_tx *tx, struct slice locator, int64_t not_before, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TRASH_ADD);

    db_bind_text(&query, locator);
    db_bind_i64(&query, not_before);
    return db_finish(&query, err);
}

static const char SQL_TRASH_DUE[] = "SELECT locator, not_before"
                                    "  FROM trash"
                                    " WHERE not_before <= $1 AND (not_before, locator) > ($2, $3)"
                                    " ORDER BY not_before, locator"
                                    " LIMIT $4";
static const char SQL_TRASH_DONE[] = "DELETE FROM trash"
                                     "      WHERE locator = $1";

struct trash {
    char (*locators)[LOCATOR_SIZE + 1];
    size_t capacity;
    size_t count;
    struct meta_trash_cursor *cursor;
    int64_t last; /* when the last one found was due */
    const char (*done)[LOCATOR_SIZE + 1];
};

static int trash_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct trash *trash = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TRASH_DUE);
    int row;

    trash->count = 0;
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, trash->cursor->not_before);
    db_bind_text(&query, slice_of(trash->cursor->locator));
    db_bind_i64(&query, (int64_t)trash->capacity);
    while ((row = db_step(&query, err)) == 1) {
        struct slice locator = db_column_slice(&query, 0);
        if (trash->count == trash->capacity ||
            !slice_to_text(locator, trash->locators[trash->count], LOCATOR_SIZE + 1))
            return error_set(err, ERROR_INTERNAL, "internal error");
        trash->count++;
        trash->last = db_column_i64(&query, 1);
    }
    return row;
}

int meta_trash_after(struct meta *meta, struct meta_trash_cursor *cursor,
                     char (*locators)[LOCATOR_SIZE + 1], size_t capacity, size_t *count,
                     struct error *err)
{
    struct trash trash = {.locators = locators, .capacity = capacity, .cursor = cursor};

    *count = 0;
    if (db_read(meta->db, trash_due, &trash, err) < 0)
        return -1;
    *count = trash.count;
    if (trash.count > 0) {
        cursor->not_before = trash.last;
        memcpy(cursor->locator, locators[trash.count - 1], LOCATOR_SIZE + 1);
    }
    return 0;
}

int meta_trash_due(struct meta *meta, char (*locators)[LOCATOR_SIZE + 1], size_t capacity,
                   size_t *count, struct error *err)
{
    struct meta_trash_cursor cursor = {.not_before = INT64_MIN};

    return meta_trash_after(meta, &cursor, locators, capacity, count, err);
}

static int trash_done(struct db_tx *tx, void *arg, struct error *err)
{
    const struct trash *trash = arg;

    for (size_t i = 0; i < trash->count; i++) {
        OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TRASH_DONE);
        db_bind_text(&query, slice_of(trash->done[i]));
        if (db_finish(&query, err) < 0)
            return -1;
    }
    return 0;
}

int meta_trash_done(struct meta *meta, const char (*locators)[LOCATOR_SIZE + 1], size_t count,
                    struct error *err)
{
    struct trash trash = {.done = locators, .count = count};

    return meta_write_loosely(meta, trash_done, &trash, DB_BACKGROUND, err);
}

/* A minute more after each attempt. */
static const char SQL_TRASH_POSTPONE[] = "UPDATE trash"
                                         "   SET not_before = $1 + 60000000 * (attempts + 1),"
                                         "       attempts = attempts + 1"
                                         " WHERE locator = $2";

static int trash_postpone(struct db_tx *tx, void *arg, struct error *err)
{
    const char *locator = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TRASH_POSTPONE);

    db_bind_i64(&query, clock_now_us());
    db_bind_text(&query, slice_of(locator));
    return db_finish(&query, err);
}

int meta_trash_postpone(struct meta *meta, const char *locator, struct error *err)
{
    char name[LOCATOR_SIZE + 1] = "";

    if (!slice_to_text(slice_of(locator), name, sizeof(name)))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return meta_write_loosely(meta, trash_postpone, name, DB_BACKGROUND, err);
}

/* --- orphans --- */

static const char SQL_KNOWN[] = "SELECT 1"
                                "  FROM blobs"
                                " WHERE locator = $1"
                                " UNION ALL"
                                " SELECT 1"
                                "  FROM uploads"
                                " WHERE locator = $1"
                                " UNION ALL"
                                " SELECT 1"
                                "  FROM trash"
                                " WHERE locator = $1";

int meta_trash_knows(struct db_tx *tx, struct slice locator, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_KNOWN);

    db_bind_text(&query, locator);
    return db_step(&query, err);
}

struct orphans {
    char (*locators)[LOCATOR_SIZE + 1]; /* those without a row are moved to the front */
    size_t count;
    size_t orphans;
};

static int orphans_find(struct db_tx *tx, void *arg, struct error *err)
{
    struct orphans *with = arg;

    with->orphans = 0;
    for (size_t i = 0; i < with->count; i++) {
        int known = meta_trash_knows(tx, slice_of(with->locators[i]), err);
        if (known < 0)
            return -1;
        if (known == 0 && i != with->orphans)
            memcpy(with->locators[with->orphans], with->locators[i], LOCATOR_SIZE + 1);
        with->orphans += known == 0 ? 1 : 0;
    }
    return 0;
}

static int orphans_add(struct db_tx *tx, void *arg, struct error *err)
{
    const struct orphans *with = arg;

    for (size_t i = 0; i < with->orphans; i++)
        if (meta_trash(tx, slice_of(with->locators[i]), clock_now_us(), err) < 0)
            return -1;
    return 0;
}

/* Between the two nobody can claim a locator: names are never used twice. */
int meta_trash_orphans(struct meta *meta, char (*locators)[LOCATOR_SIZE + 1], size_t count,
                       size_t *orphans, struct error *err)
{
    struct orphans with = {.locators = locators, .count = count};
    const struct db_work work = {.run = orphans_add, .arg = &with, .priority = DB_BACKGROUND};

    *orphans = 0;
    if (db_read(meta->db, orphans_find, &with, err) < 0)
        return -1;
    if (with.orphans > 0 && db_write(meta->db, &work, err) < 0)
        return -1;
    *orphans = with.orphans;
    return 0;
}

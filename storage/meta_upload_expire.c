/* meta_upload_expire.c - upload sessions that end without their client: by recovery, or by time.
 * Touches  uploads, finished_uploads, trash.
 * Never    bytes.
 *
 * As in meta_upload.c, a session's row goes first. */
#include "storage/meta_internal.h"

#include <string.h>

static const char SQL_UPLOAD_DISCARD[] = "DELETE FROM uploads"
                                         "      WHERE id = $1"
                                         "  RETURNING locator";
static const char SQL_UPLOAD_EXPIRE[] = "DELETE FROM uploads"
                                        "      WHERE id = (SELECT id"
                                        "                    FROM uploads"
                                        "                   WHERE expires_at < $1"
                                        "                   ORDER BY expires_at"
                                        "                   LIMIT 1)"
                                        "  RETURNING locator";
static const char SQL_FINISHED_FORGET[] = "DELETE FROM finished_uploads"
                                          "      WHERE id IN (SELECT id"
                                          "                     FROM finished_uploads"
                                          "                    WHERE forget_at <= $1"
                                          "                    ORDER BY forget_at"
                                          "                    LIMIT 500)";
static const char SQL_EXPIRE_DUE[] =
    "SELECT CASE WHEN EXISTS(SELECT 1 FROM uploads WHERE expires_at < $1)"
    "              OR EXISTS(SELECT 1 FROM finished_uploads WHERE forget_at <= $1)"
    "            THEN 1"
    "            ELSE 0"
    "        END";

/* Runs a statement that returns at most one locator; "" when it returned none. */
static int take_locator(struct db_query *query, char *locator, struct error *err)
{
    int row = db_step(query, err);

    locator[0] = 0;
    if (row <= 0)
        return row;
    if (!slice_to_text(db_column_slice(query, 0), locator, LOCATOR_SIZE + 1))
        return error_set(err, ERROR_INTERNAL, "internal error");
    return db_finish(query, err);
}

static int discard(struct db_tx *tx, void *arg, struct error *err)
{
    const char *const *id = arg;
    char locator[LOCATOR_SIZE + 1];
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_DISCARD);

    db_bind_text(&query, slice_of(*id));
    if (take_locator(&query, locator, err) < 0)
        return -1;
    return locator[0] == 0 ? 0 : meta_trash(tx, slice_of(locator), clock_now_us(), err);
}

int meta_upload_discard(struct meta *meta, const char *id, struct error *err)
{
    return meta_write(meta, discard, &id, err);
}

struct expire {
    int64_t now;
    char locator[LOCATOR_SIZE + 1];
    bool due;
};

static int expire_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *expire = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_EXPIRE_DUE);

    db_bind_i64(&query, expire->now);
    if (db_step(&query, err) != 1)
        return -1;
    expire->due = db_column_i64(&query, 0) != 0;
    return 0;
}

static int finished_forget(struct db_tx *tx, int64_t now, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FINISHED_FORGET);

    db_bind_i64(&query, now);
    return db_finish(&query, err);
}

static int expire(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *expire = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOAD_EXPIRE);

    db_bind_i64(&query, expire->now);
    if (take_locator(&query, expire->locator, err) < 0)
        return -1;
    if (expire->locator[0] != 0 &&
        meta_trash(tx, slice_of(expire->locator), clock_now_us(), err) < 0)
        return -1;
    return finished_forget(tx, expire->now, err);
}

int meta_upload_expire(struct meta *meta, int64_t now, char *locator, bool *more, struct error *err)
{
    struct expire with = {.now = now, .locator = ""};
    const struct db_work work = {.run = expire, .arg = &with, .priority = DB_BACKGROUND};

    locator[0] = 0;
    *more = false;
    if (db_read(meta->db, expire_due, &with, err) < 0)
        return -1;
    if (!with.due)
        return 0;
    if (db_write(meta->db, &work, err) < 0)
        return -1;
    memcpy(locator, with.locator, sizeof(with.locator));
    *more = true;
    return 0;
}

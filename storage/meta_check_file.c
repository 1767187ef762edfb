/* meta_check_file.c - rows that have files, for the check and the scrub.
 * Touches  blobs (damaged, verified_at), server_state.
 * Never    files. */
#include "storage/meta_check.h"

#include <string.h>

#include "registry/core/glob.h"
#include "storage/meta_internal.h"

#define BLOB_COLUMNS "id, locator, digest, size, created_at, verified_at, damaged"

static const char SQL_CHECK_BLOBS[] = "SELECT " BLOB_COLUMNS "  FROM blobs"
                                      " WHERE id > $1"
                                      " ORDER BY id"
                                      " LIMIT $2";
static const char SQL_CHECK_BLOB[] = "SELECT " BLOB_COLUMNS "  FROM blobs"
                                     " WHERE id = $1";
static const char SQL_CHECK_UPLOADS[] = "SELECT id, locator, received"
                                        "  FROM uploads"
                                        " WHERE id > $1"
                                        " ORDER BY id"
                                        " LIMIT $2";
static const char SQL_CHECK_UPLOAD[] = "SELECT 1"
                                       "  FROM uploads"
                                       " WHERE id = $1";
static const char SQL_CHECK_TRASH[] = "SELECT locator, not_before"
                                      "  FROM trash"
                                      " WHERE locator > $1"
                                      " ORDER BY locator"
                                      " LIMIT $2";

struct rows {
    int64_t after_id;
    struct slice after;
    struct check_row *rows;
    size_t count;
};

static int corrupt(struct error *err)
{
    return error_set(err, ERROR_INTERNAL, "internal error");
}

/* What is no locator becomes one that no file has: the row is told as one without its file, and the
 * walk goes on. */
static void read_locator(const struct db_query *query, int column, struct check_row *row)
{
    if (slice_to_text(db_column_slice(query, column), row->locator, sizeof(row->locator)) &&
        locator_valid(row->locator))
        return;
    row->nowhere = true;
    memset(row->locator, '0', LOCATOR_SIZE);
    row->locator[LOCATOR_SIZE] = 0;
}

static int read_blob(const struct db_query *query, struct check_row *row, struct error *err)
{
    *row = (struct check_row){.id = db_column_i64(query, 0),
                              .size = (uint64_t)db_column_i64(query, 3),
                              .time = db_column_i64(query, 4),
                              .verified_at = db_column_i64(query, 5),
                              .damaged = db_column_i64(query, 6) != 0};
    read_locator(query, 1, row);
    return meta_digest(query, 2, &row->digest, err);
}

static int blobs_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHECK_BLOBS);
    int row;

    with->count = 0;
    db_bind_i64(&query, with->after_id);
    db_bind_i64(&query, CHECK_ROWS);
    while ((row = db_step(&query, err)) == 1)
        if (read_blob(&query, &with->rows[with->count++], err) < 0)
            return -1;
    return row;
}

int meta_check_blobs(struct meta *meta, int64_t after, struct check_row *rows, size_t *count,
                     struct error *err)
{
    struct rows with = {.after_id = after, .rows = rows};

    int result = db_read(meta->db, blobs_run, &with, err);
    *count = with.count;
    return result;
}

static int uploads_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHECK_UPLOADS);
    int row;

    with->count = 0;
    db_bind_text(&query, with->after);
    db_bind_i64(&query, CHECK_ROWS);
    while ((row = db_step(&query, err)) == 1) {
        struct check_row *out = &with->rows[with->count++];
        *out = (struct check_row){.size = (uint64_t)db_column_i64(&query, 2)};
        if (!slice_to_text(db_column_slice(&query, 0), out->upload, sizeof(out->upload)))
            return corrupt(err);
        read_locator(&query, 1, out);
    }
    return row;
}

int meta_check_uploads(struct meta *meta, const char *after, struct check_row *rows, size_t *count,
                       struct error *err)
{
    struct rows with = {.after = slice_of(after), .rows = rows};

    int result = db_read(meta->db, uploads_run, &with, err);
    *count = with.count;
    return result;
}

static int trash_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHECK_TRASH);
    int row;

    with->count = 0;
    db_bind_text(&query, with->after);
    db_bind_i64(&query, CHECK_ROWS);
    while ((row = db_step(&query, err)) == 1) {
        struct check_row *out = &with->rows[with->count++];
        *out = (struct check_row){.time = db_column_i64(&query, 1)};
        read_locator(&query, 0, out);
    }
    return row;
}

int meta_check_trash(struct meta *meta, const char *after, struct check_row *rows, size_t *count,
                     struct error *err)
{
    struct rows with = {.after = slice_of(after), .rows = rows};

    int result = db_read(meta->db, trash_run, &with, err);
    *count = with.count;
    return result;
}

/* --- second looks --- */

static int blob_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHECK_BLOB);

    with->count = 0;
    db_bind_i64(&query, with->after_id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    with->count = 1;
    return read_blob(&query, with->rows, err);
}

int meta_check_blob_again(struct meta *meta, int64_t id, struct check_row *out, bool *found,
                          struct error *err)
{
    struct rows with = {.after_id = id, .rows = out};

    int result = db_read(meta->db, blob_run, &with, err);
    *found = with.count > 0;
    return result;
}

static int upload_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_CHECK_UPLOAD);

    db_bind_text(&query, with->after);
    int row = db_step(&query, err);
    with->count = row == 1;
    return row < 0 ? -1 : 0;
}

int meta_check_upload_again(struct meta *meta, const char *id, bool *found, struct error *err)
{
    struct rows with = {.after = slice_of(id)};

    int result = db_read(meta->db, upload_run, &with, err);
    *found = with.count > 0;
    return result;
}

static int locator_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct rows *with = arg;
    int known = meta_trash_knows(tx, with->after, err);

    with->count = known == 1;
    return known < 0 ? -1 : 0;
}

int meta_check_locator(struct meta *meta, const char *locator, bool *known, struct error *err)
{
    struct rows with = {.after = slice_of(locator)};

    int result = db_read(meta->db, locator_run, &with, err);
    *known = with.count > 0;
    return result;
}

/* --- which repository has a blob --- */

static const char SQL_BLOB_REPOSITORIES[] = "SELECT r.name"
                                            "  FROM repository_blobs l"
                                            "  JOIN repositories r ON r.id = l.repo_id"
                                            " WHERE l.blob_id = $1"
                                            " ORDER BY l.repo_id";

struct owner {
    int64_t id;
    struct slice glob;
    char *out;
};

static int owner_run(struct db_tx *tx, void *arg, struct error *err)
{
    const struct owner *owner = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_REPOSITORIES);
    int row;

    owner->out[0] = 0;
    db_bind_i64(&query, owner->id);
    while ((row = db_step(&query, err)) == 1) {
        struct slice name = db_column_slice(&query, 0);
        if (owner->glob.at != NULL && !glob_matches(owner->glob, name))
            continue;
        check_text(owner->out, CHECK_TEXT_MAX, name);
        return 0;
    }
    return row;
}

int meta_check_blob_repository(struct meta *meta, int64_t id, struct slice glob,
                               char out[CHECK_TEXT_MAX], struct error *err)
{
    struct owner owner = {id, glob, out};

    return db_read(meta->db, owner_run, &owner, err);
}

/* --- found right --- */

static const char SQL_BLOB_UNFLAG[] = "UPDATE blobs"
                                      "   SET damaged = 0, verified_at = $1"
                                      " WHERE id = $2 AND locator = $3";
static const char SQL_BLOB_VERIFIED[] = "UPDATE blobs"
                                        "   SET verified_at = $1"
                                        " WHERE id = $2";
static const char SQL_SCRUB_STATE[] = "INSERT INTO server_state(name, value)"
                                      "     VALUES ($1, $2)"
                                      " ON CONFLICT (name)"
                                      "   DO UPDATE SET value = excluded.value";
static const char SQL_SCRUB_COUNTS[] = "SELECT (SELECT count(*) FROM blobs WHERE damaged = 1),"
                                       "       (SELECT coalesce(max(id), 0) FROM blobs)";

static int unflag_run(struct db_tx *tx, void *arg, struct error *err)
{
    const struct check_row *row = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_UNFLAG);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, row->id);
    db_bind_text(&query, slice_of(row->locator));
    return db_finish(&query, err);
}

int meta_check_blob_unflag(struct meta *meta, int64_t id, const char *locator, struct error *err)
{
    struct check_row row = {.id = id};

    memcpy(row.locator, locator, sizeof(row.locator));
    return meta_write(meta, unflag_run, &row, err);
}

struct verified {
    const struct meta_verified *blobs;
    size_t count;
    const char *name, *state;
};

static int state_put(struct db_tx *tx, const struct verified *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SCRUB_STATE);

    db_bind_text(&query, slice_of(with->name));
    db_bind_text(&query, slice_of(with->state));
    return db_finish(&query, err);
}

static int verified_run(struct db_tx *tx, void *arg, struct error *err)
{
    const struct verified *with = arg;

    for (size_t i = 0; i < with->count; i++) {
        OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOB_VERIFIED);
        db_bind_i64(&query, with->blobs[i].at);
        db_bind_i64(&query, with->blobs[i].id);
        if (db_finish(&query, err) < 0)
            return -1;
    }
    return with->name == NULL ? 0 : state_put(tx, with, err);
}

int meta_verified(struct meta *meta, const struct meta_verified *blobs, size_t count,
                  const char *state_name, const char *state, struct error *err)
{
    struct verified with = {blobs, count, state_name, state};

    return meta_write_loosely(meta, verified_run, &with, DB_BACKGROUND, err);
}

struct counts {
    uint64_t damaged, last;
};

static int counts_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct counts *counts = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SCRUB_COUNTS);

    if (db_step(&query, err) != 1)
        return -1;
    counts->damaged = (uint64_t)db_column_i64(&query, 0);
    counts->last = (uint64_t)db_column_i64(&query, 1);
    return 0;
}

int meta_scrub_counts(struct meta *meta, uint64_t *damaged, uint64_t *last, struct error *err)
{
    struct counts counts = {0, 0};

    if (db_read(meta->db, counts_run, &counts, err) < 0)
        return -1;
    *damaged = counts.damaged;
    *last = counts.last;
    return 0;
}

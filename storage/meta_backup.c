/* meta_backup.c - what a snapshot of the metadata names, whether it is whole, and what makes a
 *                 database to serve from of one.
 * Touches  of a restored database: blobs, repository_blobs, manifests, uploads, trash, gc_queue,
 *          server_state; of a sealed one it only reads, what every schema has.
 * Never    bytes of blobs. */
#include <stdlib.h>
#include <string.h>

#include "storage/backup_internal.h"
#include "storage/meta_internal.h"
#include "storage/storage_internal.h"

enum { PAGE_ROWS = 256, PAGE_MANIFESTS = 16 };

void meta_drop(struct meta **meta)
{
    meta_close(*meta);
}

int meta_open_sealed(struct meta **out, const char *path, struct error *err)
{
    const struct db_options with = {.path = path, .readers = 1, .sealed = true};
    struct meta *meta = memory_new(sizeof(*meta));

    if (db_open(&meta->db, &db_driver_sqlite, &with, err) < 0 ||
        meta_schema_known(meta->db, err) < 0) {
        meta_close(meta);
        return -1;
    }
    *out = meta;
    return 0;
}

/* --- blobs --- */

static const char SQL_BLOBS[] = "SELECT id, digest, size, locator, damaged"
                                "  FROM blobs"
                                " WHERE id > $1"
                                " ORDER BY id"
                                " LIMIT $2";
static const char SQL_COUNT[] = "SELECT (SELECT count(*) FROM repositories),"
                                "       (SELECT count(*) FROM manifests),"
                                "       (SELECT count(*) FROM blobs),"
                                "       (SELECT coalesce(sum(size), 0) FROM blobs)";
static const char SQL_NAMED[] = "SELECT 1"
                                "  FROM blobs"
                                " WHERE locator = $1";

struct blobs {
    int64_t after;
    struct meta_backup_blob rows[PAGE_ROWS];
    size_t count;
};

static int blob_read(const struct db_query *query, struct meta_backup_blob *out, struct error *err)
{
    out->id = db_column_i64(query, 0);
    out->size = (uint64_t)db_column_i64(query, 2);
    out->damaged = db_column_i64(query, 4) != 0;
    if (meta_digest(query, 1, &out->digest, err) < 0)
        return -1;
    if (!slice_to_text(db_column_slice(query, 3), out->locator, sizeof(out->locator)) ||
        !locator_valid(out->locator))
        return error_set(err, ERROR_INTERNAL, "the metadata is damaged: blob %lld has no locator",
                         (long long)out->id);
    return 0;
}

static int blobs_page(struct db_tx *tx, void *arg, struct error *err)
{
    struct blobs *page = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_BLOBS);
    int row;

    page->count = 0;
    db_bind_i64(&query, page->after);
    db_bind_i64(&query, PAGE_ROWS);
    while ((row = db_step(&query, err)) == 1)
        if (blob_read(&query, &page->rows[page->count++], err) < 0)
            return -1;
    return row;
}

int meta_backup_blobs(struct meta *meta,
                      int (*each)(void *arg, const struct meta_backup_blob *blob,
                                  struct error *err),
                      void *arg, struct error *err)
{
    OWNED(memory_drop) struct blobs *page = memory_new(sizeof(*page));

    do {
        if (db_read(meta->db, blobs_page, page, err) < 0)
            return -1;
        for (size_t i = 0; i < page->count; i++)
            if (each(arg, &page->rows[i], err) < 0)
                return -1;
        if (page->count > 0)
            page->after = page->rows[page->count - 1].id;
    } while (page->count == PAGE_ROWS);
    return 0;
}

static int count(struct db_tx *tx, void *arg, struct error *err)
{
    struct summary *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COUNT);

    if (db_step(&query, err) != 1)
        return -1;
    out->repositories = (uint64_t)db_column_i64(&query, 0);
    out->manifests = (uint64_t)db_column_i64(&query, 1);
    out->blobs = (uint64_t)db_column_i64(&query, 2);
    out->bytes = (uint64_t)db_column_i64(&query, 3);
    return 0;
}

int meta_backup_count(struct meta *meta, struct summary *out, struct error *err)
{
    return db_read(meta->db, count, out, err);
}

struct named {
    const char *locator;
    bool found;
};

static int named(struct db_tx *tx, void *arg, struct error *err)
{
    struct named *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NAMED);

    db_bind_text(&query, slice_of(with->locator));
    int row = db_step(&query, err);
    with->found = row == 1;
    return row < 0 ? -1 : 0;
}

int meta_backup_names(struct meta *meta, const char *locator, bool *found, struct error *err)
{
    struct named with = {.locator = locator};

    int result = db_read(meta->db, named, &with, err);
    *found = with.found;
    return result;
}

/* --- whether it is whole --- */

static const char SQL_MANIFESTS[] = "SELECT id, digest, payload"
                                    "  FROM manifests"
                                    " WHERE id > $1"
                                    " ORDER BY id"
                                    " LIMIT $2";

struct payloads {
    int64_t after;
    size_t count;
};

static int payload_check(const struct db_query *query, struct error *err)
{
    struct digest claimed, actual;
    char text[DIGEST_TEXT_MAX];

    if (meta_digest(query, 1, &claimed, err) < 0)
        return -1;
    digest_of((enum digest_algorithm)claimed.algorithm, db_column_slice(query, 2), &actual);
    if (digest_equal(&claimed, &actual))
        return 0;
    return error_set(err, ERROR_INTERNAL, "the metadata is damaged: manifest %s has other bytes",
                     digest_text(&claimed, text));
}

static int payloads_page(struct db_tx *tx, void *arg, struct error *err)
{
    struct payloads *page = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MANIFESTS);
    int64_t last = page->after;
    int row;

    page->count = 0;
    db_bind_i64(&query, page->after);
    db_bind_i64(&query, PAGE_MANIFESTS);
    while ((row = db_step(&query, err)) == 1) {
        if (payload_check(&query, err) < 0)
            return -1;
        last = db_column_i64(&query, 0);
        page->count++;
    }
    page->after = last;
    return row;
}

/* The first is told. */
static void fault(void *arg, struct slice table, struct slice parent, struct slice sentence)
{
    struct error *err = arg;

    if (parent.at != NULL)
        error_set(err, ERROR_INTERNAL,
                  "the metadata is damaged: %.*s names rows of %.*s that are not there",
                  SLICE_ARG(table), SLICE_ARG(parent));
    else
        error_set(err, ERROR_INTERNAL, "the metadata is damaged: %.*s", SLICE_ARG(sentence));
}

static int examine(struct db_tx *tx, void *arg, struct error *err)
{
    struct error found = {0};

    (void)arg;
    if (db_verify(tx, true, fault, &found, err) < 0)
        return -1;
    if (found.code == ERROR_NONE)
        return 0;
    *err = found;
    return -1;
}

int meta_backup_examine(struct meta *meta, const struct progress *progress, struct error *err)
{
    struct payloads page = {0, 0};

    if (db_read(meta->db, examine, NULL, err) < 0)
        return -1;
    do {
        if (progress_cancelled(progress))
            return error_set(err, ERROR_UNAVAILABLE, "it was cancelled");
        if (db_read(meta->db, payloads_page, &page, err) < 0)
            return -1;
        progress_add(progress, "manifests_checked", page.count);
    } while (page.count == PAGE_MANIFESTS);
    return 0;
}

/* --- a database to serve from --- */

/* Nobody may lose at once what he was promised after the snapshot, or waited for before it: every
 * lease begins anew, and reviews come no sooner than it ends. Uploads and trash have no bytes here.
 * The boot that wrote the bytes is forgotten: the start looks for files that no row names. */
static const char *const sql_restored[] = {
    "DELETE FROM uploads",
    "DELETE FROM trash",
    "UPDATE repository_blobs"
    "   SET touched_at = $1",
    "UPDATE manifests"
    "   SET touched_at = $1",
    "UPDATE gc_queue"
    "   SET due = max(due, $1 + $2)",
    "DELETE FROM server_state"
    "      WHERE name = '" STATE_BOOT "'",
};
static const char SQL_DAMAGED[] = "UPDATE blobs"
                                  "   SET damaged = $1"
                                  " WHERE id = $2";

struct restored {
    const struct meta *meta;
    const struct meta_backup_blob *changes;
    size_t count;
};

static int damaged_set(struct db_tx *tx, const struct meta_backup_blob *blob, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_DAMAGED);

    db_bind_i64(&query, blob->damaged);
    db_bind_i64(&query, blob->id);
    return db_finish(&query, err);
}

static int restored(struct db_tx *tx, void *arg, struct error *err)
{
    const struct restored *with = arg;
    const int64_t now = clock_now_us();

    for (size_t i = 0; i < sizeof(sql_restored) / sizeof(sql_restored[0]); i++) {
        const char *sql = sql_restored[i];
        OWNED(db_query_end) struct db_query query = db_query(tx, sql);
        if (strstr(sql, "$1") != NULL)
            db_bind_i64(&query, now);
        if (strstr(sql, "$2") != NULL)
            db_bind_i64(&query, with->meta->grace_us);
        if (db_finish(&query, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < with->count; i++)
        if (damaged_set(tx, &with->changes[i], err) < 0)
            return -1;
    return 0;
}

int meta_backup_restored(struct meta *meta, const struct meta_backup_blob *changes, size_t count_,
                         struct error *err)
{
    struct restored with = {meta, changes, count_};
    const struct db_work work = {.run = restored, .arg = &with, .priority = DB_HEAVY};

    return db_write(meta->db, &work, err);
}

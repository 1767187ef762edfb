/* meta_collect_repository.c - the end of a repository that was deleted, some rows at a time.
 * Touches  every table with rows of a repository, trash, gc_queue; the repository's own row last.
 * Never    a repository that can be brought back: the review has decided.
 *
 * Its name has moved, so no client reaches it; a push that had found it before is one transaction
 * with its own look and fails or is over. Should rows come nevertheless, they are met: the row goes
 * only in a step that found every table empty. */
#include "storage/meta_collect.h"

enum {
    ROWS_MAX = 200,     /* a step */
    MANIFESTS_MAX = 16, /* the same of rows that may be large */
};

/* The statements take $1 the repository, $2 how many rows. */
struct table {
    const char *sql;
    int64_t limit;
};

static const char SQL_UPLOADS_TRASH[] = "INSERT INTO trash(locator, not_before)"
                                        "     SELECT locator, $1"
                                        "       FROM uploads"
                                        "      WHERE repo_id = $2"
                                        "      ORDER BY id"
                                        "      LIMIT $3";
static const char SQL_UPLOADS_DELETE[] = "DELETE FROM uploads"
                                         "      WHERE id IN (SELECT id"
                                         "                     FROM uploads"
                                         "                    WHERE repo_id = $1"
                                         "                    ORDER BY id"
                                         "                    LIMIT $2)";
static const char SQL_FINISHED_DELETE[] = "DELETE FROM finished_uploads"
                                          "      WHERE id IN (SELECT id"
                                          "                     FROM finished_uploads"
                                          "                    WHERE repo_id = $1"
                                          "                    LIMIT $2)";
static const char SQL_TAGS_DELETE[] = "DELETE FROM tags"
                                      "      WHERE repo_id = $1"
                                      "        AND name IN (SELECT name"
                                      "                       FROM tags"
                                      "                      WHERE repo_id = $1"
                                      "                      LIMIT $2)";
static const char SQL_DELETED_TAGS_DELETE[] = "DELETE FROM deleted_tags"
                                              "      WHERE repo_id = $1"
                                              "        AND name IN (SELECT name"
                                              "                       FROM deleted_tags"
                                              "                      WHERE repo_id = $1"
                                              "                      LIMIT $2)";
static const char SQL_PINS_DELETE[] = "DELETE FROM pins"
                                      "      WHERE repo_id = $1"
                                      "        AND name IN (SELECT name"
                                      "                       FROM pins"
                                      "                      WHERE repo_id = $1"
                                      "                      LIMIT $2)";
static const char SQL_HISTORY_DELETE[] = "DELETE FROM tag_history"
                                         "      WHERE id IN (SELECT id"
                                         "                     FROM tag_history"
                                         "                    WHERE repo_id = $1"
                                         "                    LIMIT $2)";
static const char SQL_PULLS_DELETE[] =
    "DELETE FROM pull_counts"
    "      WHERE (repo_id, reference, day, kind) IN (SELECT repo_id, reference, day, kind"
    "                                                  FROM pull_counts"
    "                                                 WHERE repo_id = $1"
    "                                                 LIMIT $2)";
static const char SQL_CHILDREN_DELETE[] =
    "DELETE FROM manifest_refs"
    "      WHERE (repo_id, parent_id, digest) IN (SELECT repo_id, parent_id, digest"
    "                                               FROM manifest_refs"
    "                                              WHERE repo_id = $1"
    "                                              LIMIT $2)";
static const char SQL_BLOB_REFS_DELETE[] =
    "DELETE FROM manifest_blobs"
    "      WHERE (repo_id, manifest_id, blob_id) IN (SELECT repo_id, manifest_id, blob_id"
    "                                                  FROM manifest_blobs"
    "                                                 WHERE repo_id = $1"
    "                                                 LIMIT $2)";
static const char SQL_MISSING_DELETE[] =
    "DELETE FROM missing_refs"
    "      WHERE (repo_id, digest, manifest_id) IN (SELECT repo_id, digest, manifest_id"
    "                                                 FROM missing_refs"
    "                                                WHERE repo_id = $1"
    "                                                LIMIT $2)";
static const char SQL_MANIFESTS_DELETE[] = "DELETE FROM manifests"
                                           "      WHERE id IN (SELECT id"
                                           "                     FROM manifests"
                                           "                    WHERE repo_id = $1"
                                           "                    LIMIT $2)";
static const char SQL_TASKS_DELETE[] = "DELETE FROM gc_queue"
                                       "      WHERE (kind, repo_id, ref_id)"
                                       "         IN (SELECT kind, repo_id, ref_id"
                                       "               FROM gc_queue"
                                       "              WHERE kind IN (1, 2) AND repo_id = $1"
                                       "              LIMIT $2)";
static const char SQL_BUILDS_DELETE[] = "DELETE FROM builds"
                                        "      WHERE id IN (SELECT id"
                                        "                     FROM builds"
                                        "                    WHERE repository = '~' || $1"
                                        "                    LIMIT $2)";
/* With its secrets and deliveries. */
static const char SQL_BUILD_CONFIG_DELETE[] = "DELETE FROM build_configs"
                                              "      WHERE id IN (SELECT id"
                                              "                     FROM build_configs"
                                              "                    WHERE repository = '~' || $1"
                                              "                    LIMIT $2)";
static const char SQL_LINK_NEXT[] = "SELECT blob_id"
                                    "  FROM repository_blobs"
                                    " WHERE repo_id = $1"
                                    " ORDER BY blob_id"
                                    " LIMIT 1";
/* From the first step on it cannot be brought back, whatever gc.undo says later. */
static const char SQL_REPOSITORY_BEGIN[] = "UPDATE repositories"
                                           "   SET deleted_at = 1"
                                           " WHERE id = $1 AND deleted_at > 1";
static const char SQL_REPOSITORY_DELETE[] = "DELETE FROM repositories"
                                            "      WHERE id = $1";

/* What points to something comes before it. */
static const struct table TABLES[] = {
    {SQL_FINISHED_DELETE, ROWS_MAX},     {SQL_TAGS_DELETE, ROWS_MAX},
    {SQL_DELETED_TAGS_DELETE, ROWS_MAX}, {SQL_PINS_DELETE, ROWS_MAX},
    {SQL_HISTORY_DELETE, ROWS_MAX},      {SQL_PULLS_DELETE, ROWS_MAX},
    {SQL_CHILDREN_DELETE, ROWS_MAX},     {SQL_BLOB_REFS_DELETE, ROWS_MAX},
    {SQL_MISSING_DELETE, ROWS_MAX},      {SQL_MANIFESTS_DELETE, MANIFESTS_MAX},
    {SQL_TASKS_DELETE, ROWS_MAX},        {SQL_BUILDS_DELETE, ROWS_MAX},
    {SQL_BUILD_CONFIG_DELETE, 1},
};

static int rows_delete(struct db_tx *tx, const char *sql, int64_t repository, int64_t limit,
                       int64_t *deleted, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, limit);
    if (db_finish(&query, err) < 0)
        return -1;
    *deleted = db_changes(&query);
    return 0;
}

/* Whoever writes to one finds no session, and may be about to make its file: late enough. */
static int uploads_delete(struct db_tx *tx, const struct meta *meta, int64_t repository,
                          int64_t *deleted, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_UPLOADS_TRASH);

    db_bind_i64(&query, clock_now_us() + meta->late_us);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, ROWS_MAX);
    if (db_finish(&query, err) < 0)
        return -1;
    return rows_delete(tx, SQL_UPLOADS_DELETE, repository, ROWS_MAX, deleted, err);
}

/* The blob of a link; 0: there is none. */
static int link_next(struct db_tx *tx, int64_t repository, int64_t *blob, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_NEXT);

    db_bind_i64(&query, repository);
    int row = db_step(&query, err);
    *blob = row == 1 ? db_column_i64(&query, 0) : 0;
    return row < 0 ? -1 : 0;
}

static int links_delete(struct db_tx *tx, int64_t repository, int64_t *deleted, struct error *err)
{
    int64_t blob = 0;

    for (*deleted = 0; *deleted < ROWS_MAX; ++*deleted) {
        if (link_next(tx, repository, &blob, err) < 0)
            return -1;
        if (blob == 0)
            return 0;
        if (meta_unlink(tx, repository, blob, err) < 0 ||
            meta_queue(tx, META_QUEUE_BLOB, 0, blob, clock_now_us(), err) < 0)
            return -1;
    }
    return 0;
}

static int repository_change(struct db_tx *tx, const char *sql, int64_t repository,
                             struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, repository);
    return db_finish(&query, err);
}

int meta_repository_remove(struct db_tx *tx, const struct meta *meta, int64_t repository,
                           struct collect_report *report, bool *done, struct error *err)
{
    int64_t deleted = 0;

    *done = false;
    if (repository_change(tx, SQL_REPOSITORY_BEGIN, repository, err) < 0 ||
        uploads_delete(tx, meta, repository, &deleted, err) < 0)
        return -1;
    report->uploads += (uint64_t)deleted;
    for (size_t i = 0; i < sizeof(TABLES) / sizeof(TABLES[0]) && deleted == 0; i++) {
        if (rows_delete(tx, TABLES[i].sql, repository, TABLES[i].limit, &deleted, err) < 0)
            return -1;
        if (TABLES[i].sql == SQL_MANIFESTS_DELETE)
            report->manifests += (uint64_t)deleted;
    }
    if (deleted > 0)
        return 0;
    if (links_delete(tx, repository, &deleted, err) < 0)
        return -1;
    report->links += (uint64_t)deleted;
    if (deleted > 0)
        return 0;
    *done = true;
    report->repositories++;
    return repository_change(tx, SQL_REPOSITORY_DELETE, repository, err);
}

/* meta_quota_count.c - counts a quota anew from the links: when it is made, and for the check.
 * Touches  quota_blobs, quota_usage.
 * Never    what a push counts: meta_usage.c. */
#include "storage/meta_check.h"
#include "storage/meta_internal.h"
#include "storage/meta_quota.h"
#include "storage/pattern.h"

#define BELOW_PATTERN                                                                              \
    "       FROM repositories r"                                                                   \
    "       JOIN repository_blobs l ON l.repo_id = r.id"                                           \
    "      WHERE (r.deleted_name IS NULL AND r.name >= $2 AND r.name < $3)"                        \
    "         OR (r.deleted_name IS NOT NULL AND r.deleted_name >= $2 AND r.deleted_name < $3)"

static const char SQL_FORGET_BLOBS[] = "DELETE FROM quota_blobs"
                                       "      WHERE quota_id = $1";
static const char SQL_FORGET_USAGE[] = "DELETE FROM quota_usage"
                                       "      WHERE quota_id = $1";
static const char SQL_COUNT_LINKS[] =
    "INSERT INTO quota_blobs(quota_id, blob_id, links)"
    "     SELECT $1, l.blob_id, count(*)" BELOW_PATTERN "      GROUP BY l.blob_id";
static const char SQL_COUNT_PATTERN[] = "INSERT INTO quota_usage(quota_id, part, bytes)"
                                        "     SELECT $1, 0, coalesce(sum(b.size), 0)"
                                        "       FROM quota_blobs q"
                                        "       JOIN blobs b ON b.id = q.blob_id"
                                        "      WHERE q.quota_id = $1";
static const char SQL_COUNT_ACCOUNT[] = "INSERT INTO quota_usage(quota_id, part, bytes)"
                                        "     SELECT $1, 0, coalesce(sum(b.size), 0)"
                                        "       FROM repository_blobs l"
                                        "       JOIN blobs b ON b.id = l.blob_id"
                                        "      WHERE l.account_id = $2";
static const char SQL_QUOTA[] = "SELECT kind, subject, coalesce(account_id, 0)"
                                "  FROM quotas"
                                " WHERE id = $1";

struct place {
    bool account;
    int64_t account_id;
    struct buffer from, to; /* of a pattern, its names */
};

static void place_drop(struct place *place)
{
    buffer_drop(&place->from);
    buffer_drop(&place->to);
}

/* 0 when there is no such quota. */
static int place_read(struct db_tx *tx, int64_t quota, struct place *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA);

    db_bind_i64(&query, quota);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    out->account = db_column_i64(&query, 0) == QUOTA_ACCOUNT;
    out->account_id = db_column_i64(&query, 2);
    if (!out->account)
        pattern_range(db_column_slice(&query, 1), &out->from, &out->to);
    return 1;
}

/* $1 the quota, then what the place needs. */
static void bind_place(struct db_query *query, int64_t quota, const struct place *place)
{
    db_bind_i64(query, quota);
    if (place->account) {
        db_bind_i64(query, place->account_id);
    } else {
        db_bind_text(query, meta_or_empty(buffer_slice(&place->from)));
        db_bind_text(query, buffer_slice(&place->to));
    }
}

static int run_for(struct db_tx *tx, const char *sql, int64_t quota, const struct place *place,
                   struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    if (place == NULL)
        db_bind_i64(&query, quota);
    else
        bind_place(&query, quota, place);
    return db_finish(&query, err);
}

int meta_quota_recount(struct db_tx *tx, int64_t quota, struct error *err)
{
    OWNED(place_drop) struct place place = {.from = BUFFER_NONE, .to = BUFFER_NONE};

    int found = place_read(tx, quota, &place, err);
    if (found <= 0)
        return found;
    if (run_for(tx, SQL_FORGET_BLOBS, quota, NULL, err) < 0 ||
        run_for(tx, SQL_FORGET_USAGE, quota, NULL, err) < 0)
        return -1;
    if (place.account)
        return run_for(tx, SQL_COUNT_ACCOUNT, quota, &place, err);
    if (run_for(tx, SQL_COUNT_LINKS, quota, &place, err) < 0)
        return -1;
    return run_for(tx, SQL_COUNT_PATTERN, quota, NULL, err);
}

/* --- the check --- */

static const char SQL_NEXT[] = "SELECT id, subject"
                               "  FROM quotas"
                               " WHERE id > $1"
                               " ORDER BY id"
                               " LIMIT 1";
/* $1 is bound for the others' sake. */
static const char SQL_TRUTH_PATTERN[] =
    "SELECT coalesce(sum(size), 0), coalesce(sum(links), 0), count(*)"
    "  FROM (SELECT b.size AS size, count(*) AS links"
    "          FROM (SELECT l.blob_id AS blob_id, $1 AS quota_id" BELOW_PATTERN ") AS found"
    "          JOIN blobs b ON b.id = found.blob_id"
    "         GROUP BY b.id, b.size) AS counted";
static const char SQL_TRUTH_ACCOUNT[] = "SELECT coalesce(sum(b.size), 0), 0 * $1, 0"
                                        "  FROM repository_blobs l"
                                        "  JOIN blobs b ON b.id = l.blob_id"
                                        " WHERE l.account_id = $2";
static const char SQL_COUNTED[] =
    "SELECT (SELECT coalesce(sum(bytes), 0) FROM quota_usage WHERE quota_id = $1),"
    "       (SELECT coalesce(sum(links), 0) FROM quota_blobs WHERE quota_id = $1),"
    "       (SELECT count(*) FROM quota_blobs WHERE quota_id = $1)";

struct counts {
    int64_t bytes, links, blobs;
};

static int counts_read(struct db_query *query, struct counts *out, struct error *err)
{
    if (db_step(query, err) != 1)
        return -1;
    *out =
        (struct counts){db_column_i64(query, 0), db_column_i64(query, 1), db_column_i64(query, 2)};
    return 0;
}

static int compare(struct db_tx *tx, int64_t quota, struct counts *truth, struct counts *counted,
                   struct error *err)
{
    OWNED(place_drop) struct place place = {.from = BUFFER_NONE, .to = BUFFER_NONE};

    int found = place_read(tx, quota, &place, err);
    if (found <= 0)
        return found;
    OWNED(db_query_end)
    struct db_query anew = db_query(tx, place.account ? SQL_TRUTH_ACCOUNT : SQL_TRUTH_PATTERN);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COUNTED);
    bind_place(&anew, quota, &place);
    db_bind_i64(&query, quota);
    return counts_read(&anew, truth, err) < 0 ? -1 : counts_read(&query, counted, err);
}

struct page_run {
    struct check_page *page;
    int64_t after;
};

/* One quota, with all that it counts, is one snapshot. */
static int quota_page(struct db_tx *tx, void *arg, struct error *err)
{
    const struct page_run *run = arg;
    struct check_page *page = run->page;
    struct counts truth = {0}, counted = {0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NEXT);

    page->count = 0;
    db_bind_i64(&query, run->after);
    int row = db_step(&query, err);
    page->rows = row == 1 ? 1 : 0;
    page->done = row != 1;
    if (row <= 0)
        return row;
    page->after[0] = db_column_i64(&query, 0);
    if (compare(tx, page->after[0], &truth, &counted, err) < 0)
        return -1;
    if (truth.bytes == counted.bytes && truth.links == counted.links &&
        truth.blobs == counted.blobs)
        return 0;
    struct check_fault *fault = check_fault_add(
        page, CHECK_QUOTA, "the quota counts %lld bytes in %lld links, there are %lld in %lld",
        (long long)counted.bytes, (long long)counted.links, (long long)truth.bytes,
        (long long)truth.links);
    fault->id = page->after[0];
    check_text(fault->finding.object, sizeof(fault->finding.object), db_column_slice(&query, 1));
    return 0;
}

int meta_check_quotas(struct meta *meta, struct check_page *page, struct error *err)
{
    struct page_run run = {page, page->after[0]};

    return db_read(meta->db, quota_page, &run, err);
}

/* meta_usage.c - what links count for quotas, in the transaction that makes or removes them.
 * Touches  repository_blobs (removes), quota_blobs, quota_usage; reads quotas, repositories, blobs.
 * Never    keeps a number anywhere else: what is used is the sum of the parts.
 *
 * (1) A quota of a pattern counts each blob once that any repository below it links, set aside or
 *     not, also in repositories that wait for their end. A quota of an account counts each link
 *     the account made first.
 * (2) Parts go by the blob, so pushes of different blobs seldom meet in one row. */
#include "storage/meta_internal.h"
#include "storage/meta_quota.h"
#include "storage/pattern.h"

enum { USAGE_PARTS = 16 };

static const char SQL_PLACE[] = "SELECT coalesce(deleted_name, name)"
                                "  FROM repositories"
                                " WHERE id = $1 AND EXISTS(SELECT 1 FROM quotas WHERE id > 0)";
static const char SQL_QUOTA_OF_PATTERN[] = "SELECT id, bytes"
                                           "  FROM quotas"
                                           " WHERE kind = 1 AND subject = $1";
static const char SQL_QUOTA_OF_ACCOUNT[] = "SELECT id, bytes, subject"
                                           "  FROM quotas"
                                           " WHERE account_id = $1";
static const char SQL_BLOB_SIZE[] = "SELECT size"
                                    "  FROM blobs"
                                    " WHERE id = $1";
static const char SQL_LINKS_MORE[] = "INSERT INTO quota_blobs(quota_id, blob_id, links)"
                                     "     VALUES ($1, $2, 1)"
                                     " ON CONFLICT (quota_id, blob_id)"
                                     "   DO UPDATE SET links = quota_blobs.links + 1"
                                     "  RETURNING links";
static const char SQL_LINKS_LESS[] = "UPDATE quota_blobs"
                                     "   SET links = links - 1"
                                     " WHERE quota_id = $1 AND blob_id = $2"
                                     " RETURNING links";
static const char SQL_LINKS_GONE[] = "DELETE FROM quota_blobs"
                                     "      WHERE quota_id = $1 AND blob_id = $2";
static const char SQL_USAGE_ADD[] = "INSERT INTO quota_usage(quota_id, part, bytes)"
                                    "     VALUES ($1, $2, $3)"
                                    " ON CONFLICT (quota_id, part)"
                                    "   DO UPDATE SET bytes = quota_usage.bytes + excluded.bytes";
static const char SQL_USED[] = "SELECT coalesce(sum(bytes), 0)"
                               "  FROM quota_usage"
                               " WHERE quota_id = $1";
static const char SQL_LINK_OWNER[] = "SELECT coalesce(account_id, 0)"
                                     "  FROM repository_blobs"
                                     " WHERE repo_id = $1 AND blob_id = $2";
static const char SQL_LINK_DELETE[] = "DELETE FROM repository_blobs"
                                      "      WHERE repo_id = $1 AND blob_id = $2";

/* One link that comes (delta 1) or goes (-1). */
struct count {
    int64_t blob, size, delta;
    struct quota_table *reserved;
};

struct limit {
    int64_t id, bytes;
    struct slice subject; /* for the sentence */
};

/* A number by one or two keys; `otherwise` when there is no row. */
static int number_at(struct db_tx *tx, const char *sql, int64_t first, int64_t second,
                     int64_t otherwise, int64_t *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, first);
    if (second != 0)
        db_bind_i64(&query, second);
    int row = db_step(&query, err);
    *out = row == 1 ? db_column_i64(&query, 0) : otherwise;
    return row < 0 ? -1 : 0;
}

int meta_quota_used(struct db_tx *tx, int64_t quota, int64_t *out, struct error *err)
{
    return number_at(tx, SQL_USED, quota, 0, 0, out, err);
}

static int usage_add(struct db_tx *tx, int64_t quota, const struct count *count, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_USAGE_ADD);

    db_bind_i64(&query, quota);
    db_bind_i64(&query, count->blob % USAGE_PARTS);
    db_bind_i64(&query, count->size * count->delta);
    return db_finish(&query, err);
}

/* After usage_add. */
static int limit_check(struct db_tx *tx, const struct limit *limit, const struct count *count,
                       struct error *err)
{
    int64_t used = 0;

    if (meta_quota_used(tx, limit->id, &used, err) < 0)
        return -1;
    const struct quota_numbers numbers = {
        .limit = (uint64_t)limit->bytes,
        .used = (uint64_t)(used - count->size),
        .reserved = quota_reserved(count->reserved, limit->id),
    };
    return quota_fits(&numbers, limit->subject, (uint64_t)count->size, err);
}

static int count_bytes(struct db_tx *tx, const struct limit *limit, const struct count *count,
                       struct error *err)
{
    if (usage_add(tx, limit->id, count, err) < 0)
        return -1;
    return count->delta > 0 ? limit_check(tx, limit, count, err) : 0;
}

static int links_gone(struct db_tx *tx, int64_t quota, int64_t blob, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINKS_GONE);

    db_bind_i64(&query, quota);
    db_bind_i64(&query, blob);
    return db_finish(&query, err);
}

/* (1): only the first link of a blob below the pattern counts, and the last. */
static int count_pattern(struct db_tx *tx, const struct limit *limit, const struct count *count,
                         struct error *err)
{
    bool more = count->delta > 0;
    int64_t links = 0;

    if (number_at(tx, more ? SQL_LINKS_MORE : SQL_LINKS_LESS, limit->id, count->blob, -1, &links,
                  err) < 0)
        return -1;
    if (links != (more ? 1 : 0))
        return 0;
    if (!more && links_gone(tx, limit->id, count->blob, err) < 0)
        return -1;
    return count_bytes(tx, limit, count, err);
}

static int pattern_quota(struct db_tx *tx, struct slice pattern, struct limit *out,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_OF_PATTERN);

    db_bind_text(&query, pattern);
    int row = db_step(&query, err);
    *out = row == 1 ? (struct limit){db_column_i64(&query, 0), db_column_i64(&query, 1), pattern}
                    : (struct limit){.id = 0};
    return row < 0 ? -1 : 0;
}

static int count_patterns(struct db_tx *tx, struct slice repository, const struct count *count,
                          struct error *err)
{
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;
    struct slice patterns[PATTERNS_COVERING_MAX];
    size_t covering = pattern_covering(repository, &texts, patterns);

    for (size_t i = 0; i < covering; i++) {
        struct limit limit;
        if (pattern_quota(tx, patterns[i], &limit, err) < 0 ||
            (limit.id != 0 && count_pattern(tx, &limit, count, err) < 0))
            return -1;
    }
    return 0;
}

static int count_account(struct db_tx *tx, int64_t account, const struct count *count,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_OF_ACCOUNT);

    db_bind_i64(&query, account);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    const struct limit limit = {db_column_i64(&query, 0), db_column_i64(&query, 1),
                                db_column_slice(&query, 2)};
    return count_bytes(tx, &limit, count, err);
}

static int count_link(struct db_tx *tx, int64_t repository, int64_t account, struct count *count,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PLACE);

    db_bind_i64(&query, repository);
    int row = db_step(&query, err);
    if (row <= 0)
        return row; /* there are no quotas */
    if (number_at(tx, SQL_BLOB_SIZE, count->blob, 0, 0, &count->size, err) < 0 ||
        count_patterns(tx, db_column_slice(&query, 0), count, err) < 0)
        return -1;
    return account == 0 ? 0 : count_account(tx, account, count, err);
}

int meta_quota_count(struct db_tx *tx, int64_t repository, int64_t blob, int64_t account,
                     struct quota_table *reserved, struct error *err)
{
    struct count count = {.blob = blob, .delta = 1, .reserved = reserved};

    return count_link(tx, repository, account, &count, err);
}

int meta_unlink(struct db_tx *tx, int64_t repository, int64_t blob, struct error *err)
{
    struct count count = {.blob = blob, .delta = -1};
    int64_t account = 0;

    if (number_at(tx, SQL_LINK_OWNER, repository, blob, -1, &account, err) < 0)
        return -1;
    if (account < 0)
        return 0;
    if (count_link(tx, repository, account, &count, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_LINK_DELETE);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, blob);
    return db_finish(&query, err);
}

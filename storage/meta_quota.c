/* meta_quota.c - rows of quotas, and what the whole store and one repository hold.
 * Touches  quotas, quota_blobs, quota_usage, audit; reads links, blobs, repositories, manifests.
 * Never    refuses a push: meta_usage.c does, where the link is made. */
#include "storage/meta_quota.h"

#include "storage/meta_internal.h"
#include "storage/pattern.h"

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "quota unknown");
}

/* --- finding --- */

#define QUOTA_SELECT                                                                               \
    "SELECT q.id, q.created_at, q.version, q.kind, q.subject, q.bytes,"                            \
    "       (SELECT coalesce(sum(u.bytes), 0) FROM quota_usage u WHERE u.quota_id = q.id)"         \
    "  FROM quotas q"

static const char SQL_QUOTA_FIND[] = QUOTA_SELECT " WHERE q.id = $1";
static const char SQL_QUOTA_LIST[] = QUOTA_SELECT " WHERE q.id > $1"
                                                  " ORDER BY q.id"
                                                  " LIMIT $2";
static const char SQL_QUOTA_OF_PATTERN[] = QUOTA_SELECT " WHERE q.kind = 1 AND q.subject = $1";
static const char SQL_QUOTA_OF_ACCOUNT[] = QUOTA_SELECT " WHERE q.account_id = $1";
static const char SQL_QUOTAS_EXIST[] = "SELECT EXISTS(SELECT 1 FROM quotas WHERE id > 0)";

static struct quota quota_row(const struct db_query *query)
{
    return (struct quota){
        .id = db_column_i64(query, 0),
        .created_at = db_column_i64(query, 1),
        .version = db_column_i64(query, 2),
        .kind = (enum quota_kind)db_column_i64(query, 3),
        .subject = meta_text(query, 4),
        .bytes = (uint64_t)db_column_i64(query, 5),
        .used = (uint64_t)db_column_i64(query, 6),
    };
}

static int quota_read(struct db_tx *tx, int64_t id, struct quota *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_FIND);

    quota_drop(out);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *out = quota_row(&query);
    return 0;
}

struct look {
    int64_t id;
    struct quota *out;
    size_t limit;
    struct slice repository;
    int64_t account;
    struct quota_page *page;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct look *look = arg;

    return quota_read(tx, look->id, look->out, err);
}

int meta_quota_find(struct meta *meta, int64_t id, struct quota *out, struct error *err)
{
    struct look with = {.id = id, .out = out};

    *out = (struct quota){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* The rows of one statement, added to the page. */
static int page_add(struct db_query *query, struct quota_page *page, size_t limit,
                    struct error *err)
{
    size_t capacity = page->count;
    int row;

    while ((row = db_step(query, err)) == 1) {
        page->more = page->count == limit;
        if (page->more)
            return 0;
        page->items = meta_grow(page->items, page->count, &capacity, sizeof(*page->items));
        page->items[page->count++] = quota_row(query);
    }
    return row;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct look *look = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_LIST);

    quota_page_drop(look->page);
    db_bind_i64(&query, look->id);
    db_bind_i64(&query, meta_one_more(look->limit));
    return page_add(&query, look->page, look->limit, err);
}

static int page_read(struct meta *meta, db_run *run, struct look *with, struct error *err)
{
    *with->page = (struct quota_page){.items = NULL};
    if (db_read(meta->db, run, with, err) == 0)
        return 0;
    quota_page_drop(with->page);
    return -1;
}

int meta_quota_list(struct meta *meta, int64_t after_id, size_t limit, struct quota_page *out,
                    struct error *err)
{
    struct look with = {.id = after_id, .limit = limit, .page = out};

    return page_read(meta, list, &with, err);
}

static int covering_pattern(struct db_tx *tx, struct slice pattern, struct quota_page *page,
                            struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_OF_PATTERN);

    db_bind_text(&query, pattern);
    return page_add(&query, page, SIZE_MAX, err);
}

static int covering_account(struct db_tx *tx, int64_t account, struct quota_page *page,
                            struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_OF_ACCOUNT);

    db_bind_i64(&query, account);
    return page_add(&query, page, SIZE_MAX, err);
}

static int covering(struct db_tx *tx, void *arg, struct error *err)
{
    const struct look *look = arg;
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;
    struct slice patterns[PATTERNS_COVERING_MAX];
    int64_t exist = 0;

    quota_page_drop(look->page);
    OWNED(db_query_end) struct db_query any = db_query(tx, SQL_QUOTAS_EXIST);
    if (meta_number(&any, &exist, err) < 0)
        return -1;
    if (exist == 0)
        return 0;
    size_t count = pattern_covering(look->repository, &texts, patterns);
    for (size_t i = 0; i < count; i++)
        if (covering_pattern(tx, patterns[i], look->page, err) < 0)
            return -1;
    return look->account == 0 ? 0 : covering_account(tx, look->account, look->page, err);
}

int meta_quota_covering(struct meta *meta, struct slice repository, int64_t account,
                        struct quota_page *out, struct error *err)
{
    struct look with = {.repository = repository, .account = account, .page = out};

    return page_read(meta, covering, &with, err);
}

/* --- changing --- */

static const char SQL_QUOTA_TAKEN[] = "SELECT count(*)"
                                      "  FROM quotas"
                                      " WHERE kind = $1 AND subject = $2";
static const char SQL_QUOTA_COUNT[] = "SELECT count(*)"
                                      "  FROM quotas";
static const char SQL_QUOTA_ADD[] =
    "INSERT INTO quotas(kind, subject, account_id, bytes, created_at)"
    "     VALUES ($1, $2, $3, $4, $5)"
    "  RETURNING id";
static const char SQL_QUOTA_UPDATE[] = "UPDATE quotas"
                                       "   SET bytes = $1, version = version + 1"
                                       " WHERE id = $2";
static const char SQL_QUOTA_DELETE[] = "DELETE FROM quotas"
                                       "      WHERE id = $1";

struct change {
    enum quota_kind kind;
    struct slice subject;
    int64_t id, bytes, if_version;
    const struct audit_event *event;
    struct quota *out;
};

static int room_check(struct db_tx *tx, const struct change *change, struct error *err)
{
    OWNED(db_query_end) struct db_query taken = db_query(tx, SQL_QUOTA_TAKEN);
    OWNED(db_query_end) struct db_query all = db_query(tx, SQL_QUOTA_COUNT);
    int64_t count = 0;

    db_bind_i64(&taken, change->kind);
    db_bind_text(&taken, change->subject);
    if (meta_number(&taken, &count, err) < 0)
        return -1;
    if (count > 0)
        return error_set(err, ERROR_CONFLICT, "there is a quota for it already");
    if (meta_number(&all, &count, err) < 0)
        return -1;
    return count < QUOTAS_MAX
               ? 0
               : error_set(err, ERROR_CONFLICT, "there are %d quotas already", QUOTAS_MAX);
}

static int quota_add(struct db_tx *tx, const struct change *change, int64_t account, int64_t *id,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_ADD);

    db_bind_i64(&query, change->kind);
    db_bind_text(&query, change->subject);
    meta_bind_time(&query, account);
    db_bind_i64(&query, change->bytes);
    db_bind_i64(&query, clock_now_us());
    return meta_number(&query, id, err);
}

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    const struct change *change = arg;
    OWNED(account_drop) struct account account = {.id = 0};
    bool of_account = change->kind == QUOTA_ACCOUNT;
    int64_t id = 0;

    if (of_account && meta_account_read(tx, change->subject, 0, &account, err) < 0)
        return -1;
    if (room_check(tx, change, err) < 0 || quota_add(tx, change, account.id, &id, err) < 0)
        return -1;
    if (meta_quota_recount(tx, id, err) < 0 || quota_read(tx, id, change->out, err) < 0)
        return -1;
    return meta_audit_add(tx, change->event, err);
}

static int change_write(struct meta *meta, db_run *run, struct change *change, struct error *err)
{
    const struct db_work work = {.run = run, .arg = change, .priority = DB_HEAVY};

    return db_write(meta->db, &work, err);
}

int meta_quota_create(struct meta *meta, enum quota_kind kind, struct slice subject, uint64_t bytes,
                      const struct audit_event *event, struct quota *out, struct error *err)
{
    struct change with = {
        .kind = kind, .subject = subject, .bytes = (int64_t)bytes, .event = event, .out = out};

    *out = (struct quota){.id = 0};
    if (change_write(meta, create, &with, err) == 0)
        return 0;
    quota_drop(out);
    return -1;
}

static int version_check(struct db_tx *tx, const struct change *change, struct quota *quota,
                         struct error *err)
{
    if (quota_read(tx, change->id, quota, err) < 0)
        return -1;
    return meta_version_check(quota->version, change->if_version, err);
}

static int update(struct db_tx *tx, void *arg, struct error *err)
{
    const struct change *change = arg;

    if (version_check(tx, change, change->out, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_UPDATE);
    db_bind_i64(&query, change->bytes);
    db_bind_i64(&query, change->id);
    if (db_finish(&query, err) < 0 || quota_read(tx, change->id, change->out, err) < 0)
        return -1;
    return meta_audit_add(tx, change->event, err);
}

int meta_quota_update(struct meta *meta, int64_t id, uint64_t bytes, int64_t if_version,
                      const struct audit_event *event, struct quota *out, struct error *err)
{
    struct change with = {
        .id = id, .bytes = (int64_t)bytes, .if_version = if_version, .event = event, .out = out};

    *out = (struct quota){.id = 0};
    if (meta_write(meta, update, &with, err) == 0)
        return 0;
    quota_drop(out);
    return -1;
}

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    const struct change *change = arg;
    OWNED(quota_drop) struct quota quota = {.id = 0};

    if (version_check(tx, change, &quota, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_QUOTA_DELETE);
    db_bind_i64(&query, change->id);
    if (db_finish(&query, err) < 0)
        return -1;
    return meta_audit_add(tx, change->event, err);
}

int meta_quota_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, struct error *err)
{
    struct change with = {.id = id, .if_version = if_version, .event = event};

    return change_write(meta, erase, &with, err);
}

/* --- what is held --- */

static const char SQL_USAGE_TOTAL[] =
    "SELECT (SELECT count(*) FROM blobs), (SELECT coalesce(sum(size), 0) FROM blobs),"
    "       (SELECT coalesce(sum(b.size), 0)"
    "          FROM repository_blobs l"
    "          JOIN blobs b ON b.id = l.blob_id),"
    "       (SELECT count(*) FROM repositories WHERE deleted_at IS NULL),"
    "       (SELECT count(*) FROM manifests), (SELECT count(*) FROM tags)";
static const char SQL_USAGE_OF[] =
    "SELECT count(*), coalesce(sum(b.size), 0),"
    "       coalesce(sum(CASE WHEN l.deleted_at IS NULL THEN 0 ELSE b.size END), 0),"
    "       coalesce(sum(CASE WHEN EXISTS(SELECT 1"
    "                                       FROM repository_blobs o"
    "                                      WHERE o.blob_id = l.blob_id"
    "                                        AND o.repo_id <> l.repo_id)"
    "                         THEN 0"
    "                         ELSE b.size"
    "                     END), 0),"
    "       (SELECT count(*) FROM manifests WHERE repo_id = $1 AND deleted_at IS NULL),"
    "       (SELECT count(*) FROM tags WHERE repo_id = $1)"
    "  FROM repository_blobs l"
    "  JOIN blobs b ON b.id = l.blob_id"
    " WHERE l.repo_id = $1";

static int total(struct db_tx *tx, void *arg, struct error *err)
{
    struct usage *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_USAGE_TOTAL);

    if (db_step(&query, err) != 1)
        return -1;
    *out = (struct usage){
        .blobs = (uint64_t)db_column_i64(&query, 0),
        .bytes = (uint64_t)db_column_i64(&query, 1),
        .linked_bytes = (uint64_t)db_column_i64(&query, 2),
        .repositories = (uint64_t)db_column_i64(&query, 3),
        .manifests = (uint64_t)db_column_i64(&query, 4),
        .tags = (uint64_t)db_column_i64(&query, 5),
        .at = clock_now_us(),
    };
    return 0;
}

int meta_usage_total(struct meta *meta, struct usage *out, struct error *err)
{
    return db_read(meta->db, total, out, err);
}

struct of {
    struct slice repository;
    struct repository_usage *out;
};

static int of_repository(struct db_tx *tx, void *arg, struct error *err)
{
    const struct of *with = arg;
    int64_t id = 0;

    if (meta_repository_find(tx, with->repository, &id, err) < 0)
        return -1;
    if (id == 0)
        return error_set(err, ERROR_NOT_FOUND, "repository unknown");
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_USAGE_OF);
    db_bind_i64(&query, id);
    if (db_step(&query, err) != 1)
        return -1;
    *with->out = (struct repository_usage){
        .blobs = (uint64_t)db_column_i64(&query, 0),
        .bytes = (uint64_t)db_column_i64(&query, 1),
        .set_aside_bytes = (uint64_t)db_column_i64(&query, 2),
        .own_bytes = (uint64_t)db_column_i64(&query, 3),
        .manifests = (uint64_t)db_column_i64(&query, 4),
        .tags = (uint64_t)db_column_i64(&query, 5),
    };
    return 0;
}

int meta_usage_of_repository(struct meta *meta, struct slice repository,
                             struct repository_usage *out, struct error *err)
{
    struct of with = {repository, out};

    return db_read(meta->db, of_repository, &with, err);
}

/* meta_policy.c - rows of rules of retention.
 * Touches  policies, audit.
 * Never    reads a rule. */
#include "storage/meta_internal.h"
#include "storage/meta_retention.h"
#include "storage/pattern.h"

#include <stdlib.h>

void policy_drop(struct policy *policy)
{
    free(policy->pattern);
    free(policy->rules);
    *policy = (struct policy){.id = 0};
}

void policies_drop(struct policies *policies)
{
    for (size_t i = 0; i < policies->count; i++)
        policy_drop(&policies->items[i]);
    free(policies->items);
    *policies = (struct policies){.items = NULL};
}

/* --- finding --- */

#define POLICY_SELECT                                                                              \
    "SELECT id, created_at, updated_at, version, pattern, mode, rules"                             \
    "  FROM policies"

static const char SQL_POLICY_FIND[] = POLICY_SELECT " WHERE id = $1";
static const char SQL_POLICY_OF_PATTERN[] = POLICY_SELECT " WHERE pattern = $1";
static const char SQL_POLICIES[] = POLICY_SELECT " WHERE id > $1"
                                                 " ORDER BY id"
                                                 " LIMIT $2";

static struct policy policy_row(const struct db_query *query)
{
    return (struct policy){
        .id = db_column_i64(query, 0),
        .created_at = db_column_i64(query, 1),
        .updated_at = db_column_i64(query, 2),
        .version = db_column_i64(query, 3),
        .pattern = meta_text(query, 4),
        .mode = (enum policy_mode)db_column_i64(query, 5),
        .rules = meta_text(query, 6),
    };
}

/* By pattern, or by id when that is SLICE_NONE. 1 found, 0 not, -1 failed. out is empty before. */
static int policy_read(struct db_tx *tx, int64_t id, struct slice pattern, struct policy *out,
                       struct error *err)
{
    OWNED(db_query_end)
    struct db_query query =
        db_query(tx, pattern.at == NULL ? SQL_POLICY_FIND : SQL_POLICY_OF_PATTERN);

    if (pattern.at == NULL)
        db_bind_i64(&query, id);
    else
        db_bind_text(&query, pattern);
    int row = db_step(&query, err);
    if (row == 1)
        *out = policy_row(&query);
    return row;
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "there is no such policy");
}

struct find {
    int64_t id;
    struct slice pattern;
    struct policy *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;

    policy_drop(find->out);
    int row = policy_read(tx, find->id, find->pattern, find->out, err);
    return row == 0 ? unknown(err) : row < 0 ? -1 : 0;
}

int meta_policy_find(struct meta *meta, int64_t id, struct slice pattern, struct policy *out,
                     struct error *err)
{
    struct find with = {id, pattern, out};

    *out = (struct policy){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- lists --- */

struct list {
    int64_t after_id;
    struct slice repository;
    size_t limit;
    struct policies *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct policies *out = list->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_POLICIES);
    size_t capacity = 0;
    int row;

    policies_drop(out);
    db_bind_i64(&query, list->after_id);
    db_bind_i64(&query, meta_one_more(list->limit));
    while ((row = db_step(&query, err)) == 1 && !out->more) {
        out->more = out->count == list->limit;
        if (out->more)
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = policy_row(&query);
    }
    return row < 0 ? -1 : 0;
}

int meta_policy_list(struct meta *meta, int64_t after_id, size_t limit, struct policies *out,
                     struct error *err)
{
    struct list with = {.after_id = after_id, .limit = limit, .out = out};

    *out = (struct policies){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    policies_drop(out);
    return -1;
}

/* Every pattern that covers a name is a prefix of the next: the last is the most specific. */
static int covering(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct policies *out = list->out;
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;
    struct slice patterns[PATTERNS_COVERING_MAX];
    size_t count = pattern_covering(list->repository, &texts, patterns);
    size_t capacity = 0;

    policies_drop(out);
    while (count-- > 0) {
        struct policy policy = {.id = 0};
        int row = policy_read(tx, 0, patterns[count], &policy, err);
        if (row < 0)
            return -1;
        if (row == 0)
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = policy;
    }
    return 0;
}

int meta_policy_covering(struct meta *meta, struct slice repository, struct policies *out,
                         struct error *err)
{
    struct list with = {.repository = repository, .out = out};

    *out = (struct policies){.items = NULL};
    if (db_read(meta->db, covering, &with, err) == 0)
        return 0;
    policies_drop(out);
    return -1;
}

/* --- changing --- */

static const char SQL_POLICY_ADD[] =
    "INSERT INTO policies(pattern, mode, rules, created_at, updated_at)"
    "     VALUES ($1, $2, $3, $4, $4)";
static const char SQL_POLICY_UPDATE[] =
    "UPDATE policies"
    "   SET mode = $1, rules = $2, updated_at = $3, version = version + 1"
    " WHERE id = $4";
static const char SQL_POLICY_DELETE[] = "DELETE FROM policies"
                                        "      WHERE id = $1";
static const char SQL_POLICY_COUNT[] = "SELECT count(*)"
                                       "  FROM policies";

struct put {
    const struct policy_put *put;
    const struct audit_event *event;
    struct policy *out;
    bool created;
};

static int room_check(struct db_tx *tx, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_POLICY_COUNT);
    int64_t count = 0;

    if (meta_number(&query, &count, err) < 0)
        return -1;
    if (count < POLICIES_MAX)
        return 0;
    return error_set(err, ERROR_CONFLICT, "there are %d policies already", POLICIES_MAX);
}

static int policy_add(struct db_tx *tx, const struct policy_put *put, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_POLICY_ADD);

    if (room_check(tx, err) < 0)
        return -1;
    db_bind_text(&query, put->pattern);
    db_bind_i64(&query, put->mode);
    db_bind_text(&query, put->rules);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

static int policy_update(struct db_tx *tx, int64_t id, const struct policy_put *put,
                         struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_POLICY_UPDATE);

    db_bind_i64(&query, put->mode);
    db_bind_text(&query, put->rules);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    struct put *with = arg;
    OWNED(policy_drop) struct policy old = {.id = 0};

    policy_drop(with->out);
    int row = policy_read(tx, 0, with->put->pattern, &old, err);
    if (row < 0 || meta_version_check(old.version, with->put->if_version, err) < 0)
        return -1;
    if (row == 1 && with->put->must_be_new)
        return error_set(err, ERROR_CONFLICT, "there is a policy for %.*s already",
                         SLICE_ARG(with->put->pattern));
    with->created = row == 0;
    int result =
        with->created ? policy_add(tx, with->put, err) : policy_update(tx, old.id, with->put, err);
    if (result < 0 || policy_read(tx, 0, with->put->pattern, with->out, err) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int meta_policy_put(struct meta *meta, const struct policy_put *wanted,
                    const struct audit_event *event, struct policy *out, bool *created,
                    struct error *err)
{
    struct put with = {wanted, event, out, false};

    *out = (struct policy){.id = 0};
    if (meta_write(meta, put, &with, err) < 0) {
        policy_drop(out);
        return -1;
    }
    *created = with.created;
    return 0;
}

struct erase {
    int64_t id, if_version;
    const struct audit_event *event;
};

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    const struct erase *with = arg;
    OWNED(policy_drop) struct policy policy = {.id = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_POLICY_DELETE);

    int row = policy_read(tx, with->id, SLICE_NONE, &policy, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    db_bind_i64(&query, with->id);
    if (meta_version_check(policy.version, with->if_version, err) < 0 || db_finish(&query, err) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int meta_policy_delete(struct meta *meta, int64_t id, int64_t if_version,
                       const struct audit_event *event, struct error *err)
{
    struct erase with = {id, if_version, event};

    return meta_write(meta, erase, &with, err);
}

/* meta_grant.c - rows of grants: what an account may do below a pattern.
 * Touches  grants, audit; reads accounts.
 * Never    decides with them. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"
#include "storage/pattern.h"

#include <stdlib.h>

void grant_drop(struct grant *grant)
{
    free(grant->account);
    free(grant->pattern);
    *grant = (struct grant){.id = 0};
}

void grant_page_drop(struct grant_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        grant_drop(&page->items[i]);
    free(page->items);
    *page = (struct grant_page){.items = NULL};
}

void account_rights_drop(struct account_rights *rights)
{
    account_drop(&rights->account);
    for (size_t i = 0; i < rights->grant_count; i++)
        grant_drop(&rights->grants[i]);
    free(rights->grants);
    *rights = (struct account_rights){.grants = NULL};
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "grant unknown");
}

/* --- finding --- */

#define GRANT_SELECT                                                                               \
    "SELECT g.id, g.account_id, g.created_at, g.version, a.kind, a.name, g.pattern, g.actions"     \
    "  FROM grants g"                                                                              \
    "  JOIN accounts a ON a.id = g.account_id"

static const char SQL_GRANT_FIND[] = GRANT_SELECT " WHERE g.id = $1";
static const char SQL_GRANTS_OF[] = GRANT_SELECT " WHERE g.account_id = $1"
                                                 " ORDER BY g.pattern";

static struct grant grant_row(const struct db_query *query)
{
    return (struct grant){
        .id = db_column_i64(query, 0),
        .account_id = db_column_i64(query, 1),
        .created_at = db_column_i64(query, 2),
        .version = db_column_i64(query, 3),
        .kind = (enum account_kind)db_column_i64(query, 4),
        .account = meta_text(query, 5),
        .pattern = meta_text(query, 6),
        .rights = (unsigned)db_column_i64(query, 7),
    };
}

static int grant_read(struct db_tx *tx, int64_t id, struct grant *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_FIND);

    grant_drop(out);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *out = grant_row(&query);
    return 0;
}

struct find {
    int64_t id;
    struct grant *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;

    return grant_read(tx, find->id, find->out, err);
}

int meta_grant_find(struct meta *meta, int64_t id, struct grant *out, struct error *err)
{
    struct find with = {id, out};

    *out = (struct grant){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- all of one account --- */

struct load {
    int64_t account;
    struct account_rights *out;
};

static int load(struct db_tx *tx, void *arg, struct error *err)
{
    const struct load *load = arg;
    struct account_rights *out = load->out;
    size_t capacity = 0;
    int row;

    account_rights_drop(out);
    if (meta_account_read(tx, SLICE_NONE, load->account, &out->account, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANTS_OF);
    db_bind_i64(&query, load->account);
    while ((row = db_step(&query, err)) == 1) {
        out->grants = meta_grow(out->grants, out->grant_count, &capacity, sizeof(*out->grants));
        out->grants[out->grant_count++] = grant_row(&query);
    }
    return row;
}

int meta_rights_load(struct meta *meta, int64_t account, struct account_rights *out,
                     struct error *err)
{
    struct load with = {account, out};

    *out = (struct account_rights){.grants = NULL};
    if (db_read(meta->db, load, &with, err) == 0)
        return 0;
    account_rights_drop(out);
    return -1;
}

/* --- changing --- */

static const char SQL_GRANT_OF_PATTERN[] = "SELECT id, version"
                                           "  FROM grants"
                                           " WHERE account_id = $1 AND pattern = $2";
static const char SQL_GRANT_ADD[] = "INSERT INTO grants(account_id, pattern, actions, created_at)"
                                    "     VALUES ($1, $2, $3, $4)"
                                    "  RETURNING id";
static const char SQL_GRANT_UPDATE[] = "UPDATE grants"
                                       "   SET actions = $1, version = version + 1"
                                       " WHERE id = $2";
static const char SQL_GRANT_DELETE[] = "DELETE FROM grants"
                                       "      WHERE id = $1";
static const char SQL_GRANT_COUNT[] = "SELECT count(*)"
                                      "  FROM grants"
                                      " WHERE account_id = $1";

struct put {
    struct meta_told told;
    struct slice account, pattern;
    unsigned rights;
    int64_t if_version;
    const struct audit_event *event;
    struct grant *out;
    bool created;
};

/* id 0: there is none. */
static int pair_find(struct db_tx *tx, int64_t account, struct slice pattern, int64_t *id,
                     int64_t *version, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_OF_PATTERN);

    db_bind_i64(&query, account);
    db_bind_text(&query, pattern);
    int row = db_step(&query, err);
    *id = row == 1 ? db_column_i64(&query, 0) : 0;
    *version = row == 1 ? db_column_i64(&query, 1) : 0;
    return row < 0 ? -1 : 0;
}

/* Whoever manages a prefix grants to whom he likes: what that costs the other one has a limit. */
static int room_check(struct db_tx *tx, int64_t account, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_COUNT);
    int64_t count = 0;

    db_bind_i64(&query, account);
    if (meta_number(&query, &count, err) < 0)
        return -1;
    if (count < GRANTS_MAX)
        return 0;
    return error_set(err, ERROR_CONFLICT, "the account has %d grants already", GRANTS_MAX);
}

static int grant_add(struct db_tx *tx, int64_t account, struct slice pattern, unsigned rights,
                     int64_t *id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_ADD);

    if (room_check(tx, account, err) < 0)
        return -1;
    db_bind_i64(&query, account);
    db_bind_text(&query, pattern);
    db_bind_i64(&query, rights);
    db_bind_i64(&query, clock_now_us());
    return meta_number(&query, id, err);
}

static int grant_update(struct db_tx *tx, int64_t id, unsigned rights, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_UPDATE);

    db_bind_i64(&query, rights);
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

int meta_grant_set(struct db_tx *tx, int64_t account, struct slice pattern, unsigned rights,
                   struct error *err)
{
    int64_t id = 0, version = 0;

    if (pair_find(tx, account, pattern, &id, &version, err) < 0)
        return -1;
    return id == 0 ? grant_add(tx, account, pattern, rights, &id, err)
                   : grant_update(tx, id, rights, err);
}

static int put(struct db_tx *tx, void *arg, struct error *err)
{
    struct put *with = arg;
    OWNED(account_drop) struct account account = {.id = 0};
    int64_t id = 0, version = 0;

    if (meta_account_read(tx, with->account, 0, &account, err) < 0 ||
        pair_find(tx, account.id, with->pattern, &id, &version, err) < 0 ||
        meta_version_check(version, with->if_version, err) < 0)
        return -1;
    with->created = id == 0;
    int result = with->created ? grant_add(tx, account.id, with->pattern, with->rights, &id, err)
                               : grant_update(tx, id, with->rights, err);
    if (result < 0 || grant_read(tx, id, with->out, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_grant_put(struct meta *meta, struct slice account, struct slice pattern, unsigned rights,
                   int64_t if_version, const struct audit_event *event, struct grant *out,
                   bool *created, const struct meta_after *after, struct error *err)
{
    struct put with = {{after, false}, account, pattern, rights, if_version, event, out, false};

    *out = (struct grant){.id = 0};
    if (meta_write_told(meta, put, &with.told, err) < 0) {
        grant_drop(out);
        return -1;
    }
    *created = with.created;
    return 0;
}

struct erase {
    struct meta_told told;
    int64_t id, if_version;
    const struct audit_event *event;
};

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    struct erase *with = arg;
    OWNED(grant_drop) struct grant grant = {.id = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_DELETE);

    db_bind_i64(&query, with->id);
    if (grant_read(tx, with->id, &grant, err) < 0 ||
        meta_version_check(grant.version, with->if_version, err) < 0 || db_finish(&query, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_grant_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    struct erase with = {{after, false}, id, if_version, event};

    return meta_write_told(meta, erase, &with.told, err);
}

/* --- lists: which rows, then a page of them --- */

static const char SQL_GRANT_IDS[] = "SELECT id, pattern"
                                    "  FROM grants"
                                    " WHERE id > $1"
                                    " ORDER BY id";
static const char SQL_GRANT_IDS_OF_ACCOUNT[] = "SELECT g.id, g.pattern"
                                               "  FROM accounts a"
                                               "  JOIN grants g ON g.account_id = a.id"
                                               " WHERE a.name = $1";
static const char SQL_GRANT_IDS_OF_PATTERN[] = "SELECT id, pattern"
                                               "  FROM grants"
                                               " WHERE pattern = $1";
static const char SQL_GRANT_IDS_WITHIN[] = "SELECT id, pattern"
                                           "  FROM grants"
                                           " WHERE pattern >= $1 AND pattern < $2";

struct list {
    const struct grant_query *query;
    struct grant_page *out;
    int64_t *ids; /* of all that match */
    size_t count, capacity;
};

static bool matches(const struct grant_query *query, struct slice pattern)
{
    return (query->covers.at == NULL || pattern_covers(pattern, query->covers)) &&
           (query->within.at == NULL || pattern_within(pattern, query->within));
}

static int ids_add(struct list *list, struct db_query *query, struct error *err)
{
    int row;

    while ((row = db_step(query, err)) == 1) {
        if (!matches(list->query, db_column_slice(query, 1)))
            continue;
        list->ids = meta_grow(list->ids, list->count, &list->capacity, sizeof(*list->ids));
        list->ids[list->count++] = db_column_i64(query, 0);
    }
    return row;
}

static int ids_of(struct db_tx *tx, struct list *list, const char *sql, struct slice value,
                  struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_text(&query, value);
    return ids_add(list, &query, err);
}

static int ids_covering(struct db_tx *tx, struct list *list, struct error *err)
{
    OWNED(buffer_drop) struct buffer texts = BUFFER_NONE;
    struct slice patterns[PATTERNS_COVERING_MAX];
    size_t count = pattern_covering(list->query->covers, &texts, patterns);

    for (size_t i = 0; i < count; i++)
        if (ids_of(tx, list, SQL_GRANT_IDS_OF_PATTERN, patterns[i], err) < 0)
            return -1;
    return 0;
}

static int ids_within(struct db_tx *tx, struct list *list, struct error *err)
{
    OWNED(buffer_drop) struct buffer from = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer to = BUFFER_NONE;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_IDS_WITHIN);

    pattern_range(list->query->within, &from, &to);
    db_bind_text(&query, meta_or_empty(buffer_slice(&from)));
    db_bind_text(&query, buffer_slice(&to));
    return ids_add(list, &query, err);
}

static int ids_all(struct db_tx *tx, struct list *list, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GRANT_IDS);

    db_bind_i64(&query, 0);
    return ids_add(list, &query, err);
}

static int ids_gather(struct db_tx *tx, struct list *list, struct error *err)
{
    if (list->query->account.at != NULL)
        return ids_of(tx, list, SQL_GRANT_IDS_OF_ACCOUNT, list->query->account, err);
    if (list->query->covers.at != NULL)
        return ids_covering(tx, list, err);
    return list->query->within.at != NULL ? ids_within(tx, list, err) : ids_all(tx, list, err);
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *list = arg;
    struct grant_page *out = list->out;
    size_t capacity = 0, at = 0;

    grant_page_drop(out);
    list->count = 0;
    if (ids_gather(tx, list, err) < 0)
        return -1;
    if (list->count > 0)
        qsort(list->ids, list->count, sizeof(*list->ids), compare);
    while (at < list->count && list->ids[at] <= list->query->after_id)
        at++;
    for (; at < list->count && out->count < list->query->limit; at++) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count] = (struct grant){.id = 0};
        if (grant_read(tx, list->ids[at], &out->items[out->count++], err) < 0)
            return -1;
    }
    out->more = at < list->count;
    out->total = list->count;
    return 0;
}

int meta_grant_list(struct meta *meta, const struct grant_query *query, struct grant_page *out,
                    struct error *err)
{
    struct list with = {.query = query, .out = out};

    *out = (struct grant_page){.items = NULL};
    int result = db_read(meta->db, list, &with, err);
    free(with.ids);
    if (result < 0)
        grant_page_drop(out);
    return result;
}

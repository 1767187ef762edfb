/* meta_account.c - rows of accounts, people and machines: found, made, listed, last seen.
 * Touches  accounts, audit.
 * Never    a secret; decides who may do what. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"

#include <stdlib.h>

void account_drop(struct account *account)
{
    free(account->name);
    free(account->description);
    free(account->password_hash);
    *account = (struct account){.id = 0};
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "account unknown");
}

/* --- finding --- */

#define ACCOUNT_COLUMNS                                                                            \
    "id, name, kind, role, description, password_hash, password_at, external, disabled, "          \
    "created_at, expires_at, last_login_at, version"

static const char SQL_ACCOUNT_FIND[] = "SELECT " ACCOUNT_COLUMNS "  FROM accounts"
                                       " WHERE name = $1";
static const char SQL_ACCOUNT_FIND_ID[] = "SELECT " ACCOUNT_COLUMNS "  FROM accounts"
                                          " WHERE id = $1";

static struct account account_row(const struct db_query *query)
{
    return (struct account){
        .id = db_column_i64(query, 0),
        .name = meta_text(query, 1),
        .kind = (enum account_kind)db_column_i64(query, 2),
        .role = (enum account_role)db_column_i64(query, 3),
        .description = meta_text(query, 4),
        .password_hash = meta_text_or_null(query, 5),
        .password_at = db_column_i64(query, 6),
        .external = db_column_i64(query, 7) != 0,
        .disabled = db_column_i64(query, 8) != 0,
        .created_at = db_column_i64(query, 9),
        .expires_at = db_column_i64(query, 10),
        .last_login_at = db_column_i64(query, 11),
        .version = db_column_i64(query, 12),
    };
}

int meta_account_read(struct db_tx *tx, struct slice name, int64_t id, struct account *out,
                      struct error *err)
{
    OWNED(db_query_end)
    struct db_query query = db_query(tx, name.at != NULL ? SQL_ACCOUNT_FIND : SQL_ACCOUNT_FIND_ID);

    account_drop(out);
    if (name.at != NULL)
        db_bind_text(&query, name);
    else
        db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *out = account_row(&query);
    return 0;
}

struct find {
    struct slice name;
    int64_t id;
    struct account *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;

    return meta_account_read(tx, find->name, find->id, find->out, err);
}

int meta_account_find(struct meta *meta, struct slice name, int64_t id, struct account *out,
                      struct error *err)
{
    struct find with = {name, id, out};

    *out = (struct account){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- administrators --- */

static const char SQL_ADMIN_FIND[] = "SELECT count(*)"
                                     "  FROM (SELECT 1"
                                     "          FROM accounts"
                                     "         WHERE role = 1"
                                     "         LIMIT 1) a";
static int admin_find(struct db_tx *tx, void *arg, struct error *err)
{
    bool *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADMIN_FIND);
    int64_t count = 0;

    if (meta_number(&query, &count, err) < 0)
        return -1;
    *out = count > 0;
    return 0;
}

int meta_account_admin_exists(struct meta *meta, bool *out, struct error *err)
{
    return db_read(meta->db, admin_find, out, err);
}

/* --- creating --- */

static const char SQL_ACCOUNT_ADD[] =
    "INSERT INTO accounts(name, kind, role, description, password_hash, password_at, external,"
    "                     disabled, created_at, expires_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    " ON CONFLICT (name)"
    "   DO NOTHING"
    "  RETURNING id";

struct create {
    struct meta_told told;
    struct account *account;
    bool first_admin;
    const struct audit_event *event;
};

/* *id is 0 when the name is taken. */
static int account_add(struct db_tx *tx, const struct account *account, int64_t *id,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_ADD);

    db_bind_text(&query, slice_of(account->name));
    db_bind_i64(&query, account->kind);
    db_bind_i64(&query, account->role);
    db_bind_text(&query, meta_or_empty(slice_of(account->description)));
    db_bind_text(&query, slice_of(account->password_hash));
    meta_bind_time(&query, account->password_at);
    db_bind_i64(&query, account->external);
    db_bind_i64(&query, account->disabled);
    db_bind_i64(&query, account->created_at);
    meta_bind_time(&query, account->expires_at);
    int row = db_step(&query, err);
    *id = row == 1 ? db_column_i64(&query, 0) : 0;
    return row == 1 ? db_finish(&query, err) : row;
}

int meta_account_make(struct db_tx *tx, struct account *account, struct error *err)
{
    account->created_at = clock_now_us();
    account->password_at = account->password_hash == NULL ? 0 : account->created_at;
    account->version = 1;
    if (account_add(tx, account, &account->id, err) < 0)
        return -1;
    return account->id == 0 ? error_set(err, ERROR_CONFLICT, "the name is taken") : 0;
}

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    struct create *with = arg;
    bool taken = false;

    if (with->first_admin && admin_find(tx, &taken, err) < 0)
        return -1;
    if (taken)
        return error_set(err, ERROR_CONFLICT, "there is an administrator already");
    if (meta_account_make(tx, with->account, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_account_create(struct meta *meta, struct account *account, bool first_admin,
                        const struct audit_event *event, const struct meta_after *after,
                        struct error *err)
{
    struct create with = {{after, false}, account, first_admin, event};

    return meta_write_told(meta, create, &with.told, err);
}

/* --- users of the password file --- */

static const char SQL_ACCOUNT_EXTERNAL[] = "UPDATE accounts"
                                           "   SET external = 1, version = version + 1"
                                           " WHERE id = $1";

struct ensure {
    struct meta_told told;
    struct slice name;
    struct account *out;
};

static int external_allowed(const struct account *account, struct error *err)
{
    if (account->kind == ACCOUNT_USER && account->password_hash == NULL)
        return 0;
    return error_set(err, ERROR_CONFLICT, "the name belongs to another account");
}

static int external_audit(struct db_tx *tx, const struct ensure *with, const char *action,
                          int64_t id, struct error *err)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;

    buffer_print(&target, "user/%.*s", SLICE_ARG(with->name));
    const struct audit_event event = {.actor = with->name,
                                      .actor_id = id,
                                      .action = slice_of(action),
                                      .target = buffer_slice(&target),
                                      .outcome = SLICE("done"),
                                      .detail = SLICE("{\"external\":true}")};
    return meta_audit_add(tx, &event, err);
}

/* The row that has the name becomes one of the password file. */
static int external_adopt(struct db_tx *tx, const struct ensure *with, struct error *err)
{
    struct account *account = with->out;

    if (meta_account_read(tx, with->name, 0, account, err) < 0 ||
        external_allowed(account, err) < 0)
        return -1;
    if (account->external)
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_EXTERNAL);
    db_bind_i64(&query, account->id);
    if (db_finish(&query, err) < 0)
        return -1;
    account->external = true;
    account->version++;
    return external_audit(tx, with, "user.update", account->id, err);
}

static int ensure(struct db_tx *tx, void *arg, struct error *err)
{
    struct ensure *with = arg;
    OWNED(memory_drop) char *name = memory_text(with->name);
    const struct account fresh = {
        .name = name, .kind = ACCOUNT_USER, .external = true, .created_at = clock_now_us()};
    int64_t id = 0;

    with->told.changed = true;
    if (account_add(tx, &fresh, &id, err) < 0)
        return -1;
    if (id == 0)
        return external_adopt(tx, with, err);
    if (external_audit(tx, with, "user.create", id, err) < 0)
        return -1;
    return meta_account_read(tx, SLICE_NONE, id, with->out, err);
}

int meta_account_ensure_external(struct meta *meta, struct slice name, struct account *out,
                                 const struct meta_after *after, struct error *err)
{
    struct ensure with = {{after, false}, name, out};

    if (meta_account_find(meta, name, 0, out, err) == 0 && out->external)
        return external_allowed(out, err);
    if (err->code != ERROR_NONE && err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return meta_write_told(meta, ensure, &with.told, err);
}

/* --- the last log-in --- */

static const char SQL_ACCOUNT_TOUCH[] = "UPDATE accounts"
                                        "   SET last_login_at = $1"
                                        " WHERE id = $2";

static int touch(struct db_tx *tx, void *arg, struct error *err)
{
    const int64_t *id = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_TOUCH);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, *id);
    return db_finish(&query, err);
}

int meta_account_touch(struct meta *meta, int64_t id, struct error *err)
{
    OWNED(account_drop) struct account account = {.id = 0};

    if (meta_account_find(meta, SLICE_NONE, id, &account, err) < 0)
        return -1;
    if (meta_touched_lately(account.last_login_at))
        return 0;
    return meta_write_loosely(meta, touch, &id, DB_FOREGROUND, err);
}

/* --- lists --- */

static const char SQL_ACCOUNT_LIST[] = "SELECT " ACCOUNT_COLUMNS "  FROM accounts"
                                       " WHERE kind = $1 AND name > $2 AND name LIKE $3 ESCAPE '!'"
                                       " ORDER BY name"
                                       " LIMIT $4";
static const char SQL_ACCOUNT_COUNT[] = "SELECT count(*)"
                                        "  FROM accounts"
                                        " WHERE kind = $1 AND name LIKE $2 ESCAPE '!'";

struct list {
    enum account_kind kind;
    struct slice after;
    struct slice pattern;
    size_t limit;
    struct account_page *out;
};

void account_page_drop(struct account_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        account_drop(&page->items[i]);
    free(page->items);
    *page = (struct account_page){.items = NULL};
}

static int list_count(struct db_tx *tx, const struct list *list, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_COUNT);

    db_bind_i64(&query, list->kind);
    db_bind_text(&query, list->pattern);
    return meta_total(&query, &list->out->total, err);
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct account_page *out = list->out;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_LIST);
    size_t capacity = 0;
    int row;

    account_page_drop(out);
    db_bind_i64(&query, list->kind);
    db_bind_text(&query, meta_or_empty(list->after));
    db_bind_text(&query, list->pattern);
    db_bind_i64(&query, meta_one_more(list->limit));
    while ((row = db_step(&query, err)) == 1 && out->count < list->limit) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = account_row(&query);
    }
    out->more = row == 1;
    return row < 0 ? -1 : list_count(tx, list, err);
}

int meta_account_list(struct meta *meta, enum account_kind kind, struct slice after,
                      struct slice search, size_t limit, struct account_page *out,
                      struct error *err)
{
    OWNED(buffer_drop) struct buffer pattern = BUFFER_NONE;

    meta_search(&pattern, search);
    struct list with = {kind, after, buffer_slice(&pattern), limit, out};
    *out = (struct account_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    account_page_drop(out);
    return -1;
}

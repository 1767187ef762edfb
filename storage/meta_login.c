/* meta_login.c - rows of browsers' sessions.
 * Touches  sessions, audit; reads accounts.
 * Never    a cookie: only its hash; judges how old a session may be. */
#include "storage/meta_token.h"

#include <stdlib.h>

void login_session_drop(struct login_session *session)
{
    free(session->account);
    free(session->remote);
    free(session->agent);
    *session = (struct login_session){.id = 0};
}

void login_page_drop(struct login_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        login_session_drop(&page->items[i]);
    free(page->items);
    *page = (struct login_page){.items = NULL};
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "session unknown");
}

/* --- creating --- */

static const char SQL_SESSION_COUNT[] = "SELECT count(*)"
                                        "  FROM sessions"
                                        " WHERE account_id = $1";
static const char SQL_SESSION_OLDEST[] = "DELETE FROM sessions"
                                         "      WHERE id = (SELECT id"
                                         "                    FROM sessions"
                                         "                   WHERE account_id = $1"
                                         "                   ORDER BY id"
                                         "                   LIMIT 1)";
static const char SQL_SESSION_ADD[] =
    "INSERT INTO sessions(account_id, secret_hash, created_at, used_at, password_at, remote, agent)"
    "     VALUES ($1, $2, $3, $3, $3, $4, $5)"
    "  RETURNING id";

struct create {
    struct meta_told told;
    int64_t account;
    const uint8_t *secret_hash;
    struct slice remote, agent;
    const struct audit_event *event;
    int64_t id;
};

/* The oldest goes when there are enough. */
static int make_room(struct db_tx *tx, struct create *with, struct error *err)
{
    OWNED(db_query_end) struct db_query count = db_query(tx, SQL_SESSION_COUNT);
    OWNED(db_query_end) struct db_query oldest = db_query(tx, SQL_SESSION_OLDEST);
    int64_t sessions = 0;

    db_bind_i64(&count, with->account);
    db_bind_i64(&oldest, with->account);
    if (meta_number(&count, &sessions, err) < 0)
        return -1;
    with->told.changed = sessions >= SESSIONS_MAX;
    return with->told.changed ? db_finish(&oldest, err) : 0;
}

static int session_add(struct db_tx *tx, struct create *with, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SESSION_ADD);

    db_bind_i64(&query, with->account);
    db_bind_bytes(&query, meta_hash(with->secret_hash));
    db_bind_i64(&query, clock_now_us());
    db_bind_text(&query, meta_or_empty(with->remote));
    db_bind_text(&query, meta_or_empty(with->agent));
    return meta_number(&query, &with->id, err);
}

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    struct create *with = arg;
    OWNED(account_drop) struct account account = {.id = 0};

    if (meta_account_read(tx, SLICE_NONE, with->account, &account, err) < 0 ||
        make_room(tx, with, err) < 0 || session_add(tx, with, err) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int meta_login_create(struct meta *meta, int64_t account, const uint8_t *secret_hash,
                      struct slice remote, struct slice agent, const struct audit_event *event,
                      int64_t *id, const struct meta_after *after, struct error *err)
{
    struct create with = {{after, false}, account, secret_hash, remote, agent, event, 0};

    if (meta_write_told(meta, create, &with.told, err) < 0)
        return -1;
    *id = with.id;
    return 0;
}

/* --- finding --- */

#define SESSION_SELECT                                                                             \
    "SELECT s.id, s.account_id, s.created_at, s.used_at, s.password_at, a.name, s.remote, s.agent" \
    "  FROM sessions s"                                                                            \
    "  JOIN accounts a ON a.id = s.account_id"

static const char SQL_SESSION_FIND[] = SESSION_SELECT " WHERE s.secret_hash = $1";
static const char SQL_SESSION_FIND_ID[] = SESSION_SELECT " WHERE s.id = $1";

static struct login_session session_row(const struct db_query *query)
{
    return (struct login_session){
        .id = db_column_i64(query, 0),
        .account_id = db_column_i64(query, 1),
        .created_at = db_column_i64(query, 2),
        .used_at = db_column_i64(query, 3),
        .password_at = db_column_i64(query, 4),
        .account = meta_text(query, 5),
        .remote = meta_text(query, 6),
        .agent = meta_text(query, 7),
    };
}

struct find {
    const uint8_t *secret_hash; /* NULL: by id */
    int64_t id;
    struct login_session *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;
    bool by_hash = find->secret_hash != NULL;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, by_hash ? SQL_SESSION_FIND : SQL_SESSION_FIND_ID);

    if (by_hash)
        db_bind_bytes(&query, meta_hash(find->secret_hash));
    else
        db_bind_i64(&query, find->id);
    login_session_drop(find->out);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *find->out = session_row(&query);
    return 0;
}

int meta_login_find(struct meta *meta, const uint8_t *secret_hash, int64_t id,
                    struct login_session *out, struct error *err)
{
    struct find with = {secret_hash, id, out};

    *out = (struct login_session){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- the last use --- */

static const char SQL_SESSION_TOUCH[] = "UPDATE sessions"
                                        "   SET used_at = $1"
                                        " WHERE id = $2";

static int touch(struct db_tx *tx, void *arg, struct error *err)
{
    const int64_t *id = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SESSION_TOUCH);

    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, *id);
    return db_finish(&query, err);
}

int meta_login_touch(struct meta *meta, int64_t id, struct error *err)
{
    OWNED(login_session_drop) struct login_session session = {.id = 0};
    struct find with = {NULL, id, &session};

    if (db_read(meta->db, find, &with, err) < 0)
        return -1;
    if (meta_touched_lately(session.used_at))
        return 0;
    return meta_write_loosely(meta, touch, &id, DB_FOREGROUND, err);
}

/* --- deleting --- */

static const char SQL_SESSION_DELETE[] = "DELETE FROM sessions"
                                         "      WHERE id = $1 AND ($2 = 0 OR account_id = $2)";

struct erase {
    struct meta_told told;
    int64_t id, account;
    const struct audit_event *event;
};

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    struct erase *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SESSION_DELETE);

    db_bind_i64(&query, with->id);
    db_bind_i64(&query, with->account);
    if (db_finish(&query, err) < 0)
        return -1;
    if (db_changes(&query) == 0)
        return unknown(err);
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_login_delete(struct meta *meta, int64_t id, int64_t account,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    struct erase with = {{after, false}, id, account, event};

    return meta_write_told(meta, erase, &with.told, err);
}

/* --- lists --- */

static const char SQL_SESSION_LIST[] = SESSION_SELECT " WHERE s.id > $1"
                                                      " ORDER BY s.id"
                                                      " LIMIT $2";
static const char SQL_SESSION_LIST_OF[] = SESSION_SELECT " WHERE s.id > $1 AND s.account_id = $2"
                                                         " ORDER BY s.id"
                                                         " LIMIT $3";
static const char SQL_SESSION_TOTAL[] = "SELECT count(*)"
                                        "  FROM sessions"
                                        " WHERE $1 = 0 OR account_id = $1";

struct list {
    int64_t account, after_id;
    size_t limit;
    struct login_page *out;
};

static int list_count(struct db_tx *tx, const struct list *list, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SESSION_TOTAL);

    db_bind_i64(&query, list->account);
    return meta_total(&query, &list->out->total, err);
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct login_page *out = list->out;
    OWNED(db_query_end)
    struct db_query query =
        db_query(tx, list->account == 0 ? SQL_SESSION_LIST : SQL_SESSION_LIST_OF);
    size_t capacity = 0;
    int row;

    login_page_drop(out);
    db_bind_i64(&query, list->after_id);
    if (list->account != 0)
        db_bind_i64(&query, list->account);
    db_bind_i64(&query, meta_one_more(list->limit));
    while ((row = db_step(&query, err)) == 1 && out->count < list->limit) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = session_row(&query);
    }
    out->more = row == 1;
    return row < 0 ? -1 : list_count(tx, list, err);
}

int meta_login_list(struct meta *meta, int64_t account, int64_t after_id, size_t limit,
                    struct login_page *out, struct error *err)
{
    struct list with = {account, after_id, limit, out};

    *out = (struct login_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    login_page_drop(out);
    return -1;
}

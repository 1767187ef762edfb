/* meta_token.c - rows of personal tokens, and what they share with refresh tokens.
 * Touches  tokens, audit; reads accounts.
 * Never    a secret: only its hash.
 *
 * (1) An account has at most TOKENS_MAX live tokens of a kind, twice as many while rotated ones
 *     overlap with their successors. */
#include "storage/meta_token.h"

#include <stdlib.h>

void token_drop(struct token *token)
{
    free(token->account);
    free(token->hint);
    free(token->label);
    free(token->scopes);
    free(token->service);
    free(token->last_used_from);
    *token = (struct token){.id = 0};
}

void token_page_drop(struct token_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        token_drop(&page->items[i]);
    free(page->items);
    *page = (struct token_page){.items = NULL};
}

static int unknown(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND, "token unknown");
}

/* --- finding --- */

#define TOKEN_SELECT                                                                               \
    "SELECT t.id, t.account_id, t.kind, a.name, t.hint, t.label, t.scopes, t.service,"             \
    "       t.created_at, t.expires_at, t.rotated_at, t.last_used_at, t.last_used_from,"           \
    "       t.disabled, t.version"                                                                 \
    "  FROM tokens t"                                                                              \
    "  JOIN accounts a ON a.id = t.account_id"

static const char SQL_TOKEN_FIND[] = TOKEN_SELECT " WHERE t.secret_hash = $1";
static const char SQL_TOKEN_FIND_ID[] = TOKEN_SELECT " WHERE t.id = $1";

static struct token token_row(const struct db_query *query)
{
    return (struct token){
        .id = db_column_i64(query, 0),
        .account_id = db_column_i64(query, 1),
        .kind = (enum token_kind)db_column_i64(query, 2),
        .account = meta_text(query, 3),
        .hint = meta_text(query, 4),
        .label = meta_text(query, 5),
        .scopes = meta_text(query, 6),
        .service = meta_text(query, 7),
        .created_at = db_column_i64(query, 8),
        .expires_at = db_column_i64(query, 9),
        .rotated_at = db_column_i64(query, 10),
        .last_used_at = db_column_i64(query, 11),
        .last_used_from = meta_text_or_null(query, 12),
        .disabled = db_column_i64(query, 13) != 0,
        .version = db_column_i64(query, 14),
    };
}

int meta_token_read(struct db_tx *tx, const uint8_t *secret_hash, int64_t id, struct token *out,
                    struct error *err)
{
    OWNED(db_query_end)
    struct db_query query = db_query(tx, secret_hash != NULL ? SQL_TOKEN_FIND : SQL_TOKEN_FIND_ID);

    token_drop(out);
    if (secret_hash != NULL)
        db_bind_bytes(&query, meta_hash(secret_hash));
    else
        db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : unknown(err);
    *out = token_row(&query);
    return 0;
}

struct find {
    const uint8_t *secret_hash;
    int64_t id;
    struct token *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;

    return meta_token_read(tx, find->secret_hash, find->id, find->out, err);
}

int meta_token_find(struct meta *meta, const uint8_t *secret_hash, int64_t id, struct token *out,
                    struct error *err)
{
    struct find with = {secret_hash, id, out};

    *out = (struct token){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- creating --- */

static const char SQL_TOKEN_LIVE[] = "SELECT count(*)"
                                     "  FROM tokens"
                                     " WHERE account_id = $1 AND kind = $2"
                                     "   AND (expires_at IS NULL OR expires_at > $3)";
static const char SQL_TOKEN_ADD[] =
    "INSERT INTO tokens(account_id, kind, secret_hash, hint, label, scopes, family, service,"
    "                   created_at, expires_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
    "  RETURNING id";
/* Those that have a successor first. */
static const char SQL_TOKEN_OLDEST[] =
    "DELETE FROM tokens"
    "      WHERE id = (SELECT id"
    "                    FROM tokens"
    "                   WHERE account_id = $1 AND kind = 2"
    "                   ORDER BY CASE"
    "                                WHEN rotated_at IS NULL THEN 1"
    "                                ELSE 0"
    "                            END, id"
    "                   LIMIT 1)";

static int live_count(struct db_tx *tx, int64_t account, enum token_kind kind, int64_t *count,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_LIVE);

    db_bind_i64(&query, account);
    db_bind_i64(&query, kind);
    db_bind_i64(&query, clock_now_us());
    return meta_number(&query, count, err);
}

static int oldest_end(struct db_tx *tx, int64_t account, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_OLDEST);

    db_bind_i64(&query, account);
    return db_finish(&query, err);
}

int meta_token_room(struct db_tx *tx, int64_t account, enum token_kind kind, struct error *err)
{
    int64_t live = 0;

    if (live_count(tx, account, kind, &live, err) < 0)
        return -1;
    if (live < TOKENS_MAX)
        return 0;
    if (kind != TOKEN_REFRESH)
        return error_set(err, ERROR_CONFLICT, "the account has %d tokens already", TOKENS_MAX);
    return oldest_end(tx, account, err);
}

int meta_token_add(struct db_tx *tx, const struct token_new *token, int64_t *id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_ADD);
    struct slice family = {(const char *)token->family, TOKEN_FAMILY_SIZE};

    db_bind_i64(&query, token->account_id);
    db_bind_i64(&query, token->kind);
    db_bind_bytes(&query, meta_hash(token->secret_hash));
    db_bind_text(&query, meta_or_empty(token->hint));
    db_bind_text(&query, meta_or_empty(token->label));
    db_bind_text(&query, meta_or_empty(token->scopes));
    db_bind_bytes(&query, token->family == NULL ? SLICE_NONE : family);
    db_bind_text(&query, meta_or_empty(token->service));
    db_bind_i64(&query, clock_now_us());
    meta_bind_time(&query, token->expires_at);
    return meta_number(&query, id, err);
}

struct create {
    const struct token_new *token;
    const struct audit_event *event;
    struct token *out;
};

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    struct create *with = arg;
    const struct token_new *token = with->token;
    OWNED(account_drop) struct account account = {.id = 0};
    int64_t id = 0;

    if (meta_account_read(tx, SLICE_NONE, token->account_id, &account, err) < 0 ||
        meta_token_room(tx, account.id, token->kind, err) < 0 ||
        meta_token_add(tx, token, &id, err) < 0 ||
        meta_token_read(tx, NULL, id, with->out, err) < 0)
        return -1;
    return meta_audit_add(tx, with->event, err);
}

int meta_token_create(struct meta *meta, const struct token_new *token,
                      const struct audit_event *event, struct token *out, struct error *err)
{
    struct create with = {token, event, out};

    *out = (struct token){.id = 0};
    if (meta_write(meta, create, &with, err) == 0)
        return 0;
    token_drop(out);
    return -1;
}

/* --- changing --- */

static const char SQL_TOKEN_DELETE[] = "DELETE FROM tokens"
                                       "      WHERE id = $1";
static const char SQL_TOKEN_DISABLE[] = "UPDATE tokens"
                                        "   SET disabled = $1, version = version + 1"
                                        " WHERE id = $2";
static const char SQL_TOKEN_ROTATED[] = "UPDATE tokens"
                                        "   SET rotated_at = $1, expires_at = $2,"
                                        "       version = version + 1"
                                        " WHERE id = $3";

struct change {
    struct meta_told told;
    int64_t id, if_version;
    const struct audit_event *event;
    bool disabled;
    const struct token_new *successor;
    int64_t old_expires_at;
    struct token *out;
};

static int change_find(struct db_tx *tx, const struct change *with, struct token *out,
                       struct error *err)
{
    if (meta_token_read(tx, NULL, with->id, out, err) < 0)
        return -1;
    return meta_version_check(out->version, with->if_version, err);
}

static int change_end(struct db_tx *tx, struct change *with, struct error *err)
{
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    struct change *with = arg;
    OWNED(token_drop) struct token token = {.id = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_DELETE);

    db_bind_i64(&query, with->id);
    if (change_find(tx, with, &token, err) < 0 || db_finish(&query, err) < 0)
        return -1;
    return change_end(tx, with, err);
}

int meta_token_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    struct change with = {{after, false}, id, if_version, event, .out = NULL};

    return meta_write_told(meta, erase, &with.told, err);
}

static int disable(struct db_tx *tx, void *arg, struct error *err)
{
    struct change *with = arg;
    OWNED(token_drop) struct token token = {.id = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_DISABLE);

    db_bind_i64(&query, with->disabled);
    db_bind_i64(&query, with->id);
    if (change_find(tx, with, &token, err) < 0 || db_finish(&query, err) < 0)
        return -1;
    return change_end(tx, with, err);
}

int meta_token_disable(struct meta *meta, int64_t id, bool disabled, int64_t if_version,
                       const struct audit_event *event, const struct meta_after *after,
                       struct error *err)
{
    struct change with = {{after, false}, id, if_version, event, .disabled = disabled};

    return meta_write_told(meta, disable, &with.told, err);
}

/* --- rotating --- */

static bool has_ended(const struct token *token)
{
    return token->disabled || token->rotated_at != 0 ||
           (token->expires_at != 0 && token->expires_at <= clock_now_us());
}

/* (1) */
static int rotate_check(struct db_tx *tx, const struct token *old, struct error *err)
{
    int64_t live = 0;

    if (old->kind != TOKEN_PERSONAL)
        return unknown(err);
    if (has_ended(old))
        return error_set(err, ERROR_CONFLICT, "the token has ended or has a successor already");
    if (live_count(tx, old->account_id, old->kind, &live, err) < 0)
        return -1;
    if (live >= 2 * TOKENS_MAX)
        return error_set(err, ERROR_CONFLICT, "too many rotated tokens have not ended yet");
    return 0;
}

int meta_token_rotated(struct db_tx *tx, int64_t id, int64_t at, int64_t expires_at,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_ROTATED);

    db_bind_i64(&query, at);
    meta_bind_time(&query, expires_at);
    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int64_t sooner(int64_t a, int64_t b)
{
    if (a == 0 || b == 0)
        return a == 0 ? b : a;
    return a < b ? a : b;
}

static int rotate(struct db_tx *tx, void *arg, struct error *err)
{
    struct change *with = arg;
    OWNED(token_drop) struct token old = {.id = 0};
    struct token_new successor = *with->successor;
    int64_t id = 0;

    if (change_find(tx, with, &old, err) < 0 || rotate_check(tx, &old, err) < 0)
        return -1;
    successor.account_id = old.account_id;
    successor.kind = old.kind;
    successor.family = NULL;
    successor.label = slice_of(old.label);
    successor.scopes = slice_of(old.scopes);
    successor.service = slice_of(old.service);
    if (meta_token_rotated(tx, old.id, clock_now_us(), sooner(old.expires_at, with->old_expires_at),
                           err) < 0 ||
        meta_token_add(tx, &successor, &id, err) < 0 ||
        meta_token_read(tx, NULL, id, with->out, err) < 0)
        return -1;
    return change_end(tx, with, err);
}

int meta_token_rotate(struct meta *meta, int64_t id, const struct token_new *successor,
                      int64_t old_expires_at, int64_t if_version, const struct audit_event *event,
                      struct token *out, const struct meta_after *after, struct error *err)
{
    struct change with = {{after, false}, id,        if_version,     event,
                          false,          successor, old_expires_at, out};

    *out = (struct token){.id = 0};
    if (meta_write_told(meta, rotate, &with.told, err) == 0)
        return 0;
    token_drop(out);
    return -1;
}

/* --- lists --- */

static const char SQL_TOKEN_LIST[] = TOKEN_SELECT " WHERE t.kind = $1 AND t.id > $2"
                                                  " ORDER BY t.id"
                                                  " LIMIT $3";
static const char SQL_TOKEN_LIST_OF[] =
    TOKEN_SELECT " WHERE t.kind = $1 AND t.id > $2 AND t.account_id = $3"
                 " ORDER BY t.id"
                 " LIMIT $4";
static const char SQL_TOKEN_COUNT[] = "SELECT count(*)"
                                      "  FROM tokens"
                                      " WHERE kind = $1 AND ($2 = 0 OR account_id = $2)";

struct list {
    int64_t account;
    enum token_kind kind;
    int64_t after_id;
    size_t limit;
    struct token_page *out;
};

static int list_count(struct db_tx *tx, const struct list *list, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_COUNT);

    db_bind_i64(&query, list->kind);
    db_bind_i64(&query, list->account);
    return meta_total(&query, &list->out->total, err);
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *list = arg;
    struct token_page *out = list->out;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, list->account == 0 ? SQL_TOKEN_LIST : SQL_TOKEN_LIST_OF);
    size_t capacity = 0;
    int row;

    token_page_drop(out);
    db_bind_i64(&query, list->kind);
    db_bind_i64(&query, list->after_id);
    if (list->account != 0)
        db_bind_i64(&query, list->account);
    db_bind_i64(&query, meta_one_more(list->limit));
    while ((row = db_step(&query, err)) == 1 && out->count < list->limit) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = token_row(&query);
    }
    out->more = row == 1;
    return row < 0 ? -1 : list_count(tx, list, err);
}

int meta_token_list(struct meta *meta, int64_t account, enum token_kind kind, int64_t after_id,
                    size_t limit, struct token_page *out, struct error *err)
{
    struct list with = {account, kind, after_id, limit, out};

    *out = (struct token_page){.items = NULL};
    if (db_read(meta->db, list, &with, err) == 0)
        return 0;
    token_page_drop(out);
    return -1;
}

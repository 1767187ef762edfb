/* meta_refresh.c - refresh tokens that give out successors, the last use of tokens, and what
 * expires.
 * Touches  tokens, sessions, audit.
 * Never    a secret.
 *
 *   LIVE --a successor is given out--> ROTATED --used within the time--> ROTATED, one more
 *                                      ROTATED --used later: two have it--> the family is GONE
 *
 * Spec: TOK-27 to TOK-29. */
#include "storage/meta_token.h"

#include <string.h>

static const char SQL_FAMILY_FIND[] = "SELECT family"
                                      "  FROM tokens"
                                      " WHERE id = $1";
static const char SQL_FAMILY_END[] = "DELETE FROM tokens"
                                     "      WHERE family = $1";

struct use {
    struct meta_told told;
    int64_t id;
    const struct token_new *successor;
    int64_t reuse_after_us;
    const struct audit_event *event;
    bool reused;
};

static int family_find(struct db_tx *tx, int64_t id, uint8_t family[TOKEN_FAMILY_SIZE],
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FAMILY_FIND);

    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    struct slice found = row == 1 ? db_column_slice(&query, 0) : SLICE_NONE;
    if (row < 0)
        return -1;
    if (found.size != TOKEN_FAMILY_SIZE)
        return error_set(err, ERROR_NOT_FOUND, "token unknown"); /* not one for refreshing */
    memcpy(family, found.at, TOKEN_FAMILY_SIZE);
    return 0;
}

static int family_end(struct db_tx *tx, const uint8_t family[TOKEN_FAMILY_SIZE], struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_FAMILY_END);

    db_bind_bytes(&query, (struct slice){(const char *)family, TOKEN_FAMILY_SIZE});
    return db_finish(&query, err);
}

static bool is_over(const struct token *token)
{
    return token->disabled || (token->expires_at != 0 && token->expires_at <= clock_now_us());
}

static bool used_again(const struct token *token, int64_t reuse_after_us)
{
    return token->rotated_at != 0 && clock_now_us() - token->rotated_at > reuse_after_us;
}

static int successor_add(struct db_tx *tx, struct use *with, const struct token *old,
                         const uint8_t *family, struct error *err)
{
    struct token_new successor = *with->successor;
    int64_t id = 0;

    successor.account_id = old->account_id;
    successor.kind = TOKEN_REFRESH;
    successor.family = family;
    successor.label = slice_of(old->label);
    successor.scopes = slice_of(old->scopes);
    successor.service = slice_of(old->service);
    if (meta_token_room(tx, old->account_id, TOKEN_REFRESH, err) < 0 ||
        meta_token_add(tx, &successor, &id, err) < 0)
        return -1;
    if (old->rotated_at != 0)
        return 0; /* the time runs from the first successor */
    return meta_token_rotated(tx, old->id, clock_now_us(), old->expires_at, err);
}

static int use(struct db_tx *tx, void *arg, struct error *err)
{
    struct use *with = arg;
    OWNED(token_drop) struct token token = {.id = 0};
    uint8_t family[TOKEN_FAMILY_SIZE];

    with->reused = false;
    if (meta_token_read(tx, NULL, with->id, &token, err) < 0 ||
        family_find(tx, with->id, family, err) < 0)
        return -1;
    if (is_over(&token))
        return error_set(err, ERROR_NOT_FOUND, "token has ended");
    if (!used_again(&token, with->reuse_after_us))
        return with->successor == NULL ? 0 : successor_add(tx, with, &token, family, err);
    with->reused = true;
    with->told.changed = true;
    return family_end(tx, family, err) < 0 ? -1 : meta_audit_add(tx, with->event, err);
}

int meta_refresh_use(struct meta *meta, int64_t id, const struct token_new *successor,
                     int64_t reuse_after_us, bool *reused, const struct audit_event *event,
                     const struct meta_after *after, struct error *err)
{
    struct use with = {{after, false}, id, successor, reuse_after_us, event, false};

    *reused = false;
    if (successor == NULL) { /* mostly there is nothing to write */
        OWNED(token_drop) struct token token = {.id = 0};
        if (meta_token_find(meta, NULL, id, &token, err) < 0)
            return -1;
        if (!is_over(&token) && !used_again(&token, reuse_after_us))
            return 0;
    }
    if (meta_write_told(meta, use, &with.told, err) < 0)
        return -1;
    *reused = with.reused;
    return 0;
}

/* --- the last use --- */

static const char SQL_TOKEN_TOUCH[] = "UPDATE tokens"
                                      "   SET last_used_at = $1, last_used_from = $2"
                                      " WHERE id = $3";

struct touch {
    int64_t id;
    struct slice remote;
};

static int touch(struct db_tx *tx, void *arg, struct error *err)
{
    const struct touch *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TOKEN_TOUCH);

    db_bind_i64(&query, clock_now_us());
    db_bind_text(&query, with->remote);
    db_bind_i64(&query, with->id);
    return db_finish(&query, err);
}

int meta_token_touch(struct meta *meta, int64_t id, struct slice remote, struct error *err)
{
    OWNED(token_drop) struct token token = {.id = 0};
    struct touch with = {id, remote};

    if (meta_token_find(meta, NULL, id, &token, err) < 0)
        return -1;
    if (meta_touched_lately(token.last_used_at))
        return 0;
    return meta_write_loosely(meta, touch, &with, DB_FOREGROUND, err);
}

/* --- expiry --- */

static const char SQL_EXPIRE_DUE[] =
    "SELECT CASE WHEN EXISTS(SELECT 1 FROM tokens WHERE expires_at <= $1)"
    "              OR EXISTS(SELECT 1 FROM sessions WHERE used_at < $2)"
    "              OR EXISTS(SELECT 1 FROM sessions WHERE created_at < $3)"
    "            THEN 1"
    "            ELSE 0"
    "        END";
static const char SQL_TOKENS_EXPIRE[] = "DELETE FROM tokens"
                                        "      WHERE id IN (SELECT id"
                                        "                     FROM tokens"
                                        "                    WHERE expires_at <= $1"
                                        "                    ORDER BY expires_at"
                                        "                    LIMIT 200)";
static const char SQL_SESSIONS_UNUSED[] = "DELETE FROM sessions"
                                          "      WHERE id IN (SELECT id"
                                          "                     FROM sessions"
                                          "                    WHERE used_at < $1"
                                          "                    ORDER BY used_at"
                                          "                    LIMIT 200)";
static const char SQL_SESSIONS_OLD[] = "DELETE FROM sessions"
                                       "      WHERE id IN (SELECT id"
                                       "                     FROM sessions"
                                       "                    WHERE created_at < $1"
                                       "                    ORDER BY created_at"
                                       "                    LIMIT 200)";

struct expire {
    struct meta_told told;
    int64_t now, used_before, created_before;
    int64_t due;
};

static int expire_due(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_EXPIRE_DUE);

    db_bind_i64(&query, with->now);
    db_bind_i64(&query, with->used_before);
    db_bind_i64(&query, with->created_before);
    return meta_number(&query, &with->due, err);
}

static int expire_some(struct db_tx *tx, const char *sql, int64_t before, bool *some,
                       struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    db_bind_i64(&query, before);
    if (db_finish(&query, err) < 0)
        return -1;
    *some = *some || db_changes(&query) > 0;
    return 0;
}

/* A session in use whose last touches were lost or late may be among them: it ends at once. */
static int expire(struct db_tx *tx, void *arg, struct error *err)
{
    struct expire *with = arg;
    bool ignored = false;

    with->told.changed = false;
    if (expire_some(tx, SQL_TOKENS_EXPIRE, with->now, &ignored, err) < 0 ||
        expire_some(tx, SQL_SESSIONS_UNUSED, with->used_before, &with->told.changed, err) < 0)
        return -1;
    return expire_some(tx, SQL_SESSIONS_OLD, with->created_before, &with->told.changed, err);
}

int meta_token_expire(struct meta *meta, int64_t used_before, int64_t created_before, bool *more,
                      const struct meta_after *after, struct error *err)
{
    struct expire with = {{after, false}, clock_now_us(), used_before, created_before, 0};
    const struct db_work work = {
        .run = expire, .after_commit = meta_tell, .arg = &with.told, .priority = DB_BACKGROUND};

    *more = false;
    if (db_read(meta->db, expire_due, &with, err) < 0)
        return -1;
    if (with.due == 0)
        return 0;
    if (db_write(meta->db, &work, err) < 0)
        return -1;
    *more = true;
    return 0;
}

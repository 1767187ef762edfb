/* meta_account_change.c - rows of accounts change and go.
 * Touches  accounts; sessions and tokens of one that loses them; audit.
 * Never    decides who may do what.
 *
 * (1) An administrator who stands, enabled and without an end, stays so while there is no other one
 *     who does: decided in the transaction that would change it. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"

/* --- administrators --- */

static const char SQL_ADMIN_STANDS[] = "SELECT count(*)"
                                       "  FROM (SELECT 1"
                                       "          FROM accounts"
                                       "         WHERE role = 1 AND disabled = 0"
                                       "           AND expires_at IS NULL"
                                       "         LIMIT 1) a";

static bool is_admin(const struct account *account)
{
    return account->role == ACCOUNT_ROLE_ADMIN && !account->disabled;
}

/* (1), after the change: one who could act loses that, now or at some time. */
static int admin_must_stand(struct db_tx *tx, const struct account *before,
                            const struct account *after, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADMIN_STANDS);
    int64_t standing = 0;

    if (!is_admin(before) || (after != NULL && is_admin(after) &&
                              (after->expires_at == 0 || after->expires_at == before->expires_at)))
        return 0;
    if (meta_number(&query, &standing, err) < 0)
        return -1;
    return standing > 0 ? 0
                        : error_set(err, ERROR_CONFLICT, "this is the last enabled administrator");
}

/* --- changing --- */

static const char SQL_ACCOUNT_UPDATE[] =
    "UPDATE accounts"
    "   SET role = $1, description = $2, password_hash = $3, password_at = $4, external = $5,"
    "       disabled = $6, expires_at = $7, version = version + 1"
    " WHERE id = $8";
static const char SQL_SESSIONS_END[] = "DELETE FROM sessions"
                                       "      WHERE account_id = $1 AND id <> $2";
static const char SQL_REFRESH_END[] = "DELETE FROM tokens"
                                      "      WHERE account_id = $1 AND kind = 2";
static const char SQL_ACCOUNT_DELETE[] = "DELETE FROM accounts"
                                         "      WHERE id = $1";

struct update {
    struct meta_told told;
    enum account_kind kind;
    struct slice name;
    const struct account_change *change; /* NULL: it goes */
    int64_t if_version;
    const struct audit_event *event;
};

static int update_find(struct db_tx *tx, const struct update *with, struct account *out,
                       struct error *err)
{
    if (meta_account_read(tx, with->name, 0, out, err) < 0)
        return -1;
    if (out->kind != with->kind)
        return error_set(err, ERROR_NOT_FOUND, "account unknown");
    return meta_version_check(out->version, with->if_version, err);
}

/* The row as it shall be; texts are borrowed. */
static struct account changed(const struct account *before, const struct account_change *change)
{
    struct account after = *before;

    if (change->role != NULL)
        after.role = *change->role;
    if (change->disabled != NULL)
        after.disabled = *change->disabled;
    if (change->expires_at != NULL)
        after.expires_at = *change->expires_at;
    if (change->password_hash != NULL) {
        after.password_at = change->password_hash->at == NULL ? 0 : clock_now_us();
        after.external = after.external && change->password_hash->at == NULL;
    }
    return after;
}

static int account_put(struct db_tx *tx, const struct account *account,
                       const struct account_change *change, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_UPDATE);

    db_bind_i64(&query, account->role);
    db_bind_text(&query, change->description != NULL ? meta_or_empty(*change->description)
                                                     : slice_of(account->description));
    db_bind_text(&query, change->password_hash != NULL ? *change->password_hash
                                                       : slice_of(account->password_hash));
    meta_bind_time(&query, account->password_at);
    db_bind_i64(&query, account->external);
    db_bind_i64(&query, account->disabled);
    meta_bind_time(&query, account->expires_at);
    db_bind_i64(&query, account->id);
    return db_finish(&query, err);
}

/* Sessions but `keep`, and refresh tokens. Spec: TOK-28. */
static int logins_end(struct db_tx *tx, int64_t account, int64_t keep, struct error *err)
{
    OWNED(db_query_end) struct db_query sessions = db_query(tx, SQL_SESSIONS_END);
    OWNED(db_query_end) struct db_query tokens = db_query(tx, SQL_REFRESH_END);

    db_bind_i64(&sessions, account);
    db_bind_i64(&sessions, keep);
    db_bind_i64(&tokens, account);
    if (db_finish(&sessions, err) < 0)
        return -1;
    return db_finish(&tokens, err);
}

static int update(struct db_tx *tx, void *arg, struct error *err)
{
    struct update *with = arg;
    const struct account_change *change = with->change;
    OWNED(account_drop) struct account before = {.id = 0};

    if (update_find(tx, with, &before, err) < 0)
        return -1;
    const struct account after = changed(&before, change);
    if (account_put(tx, &after, change, err) < 0)
        return -1;
    if (after.disabled && logins_end(tx, after.id, 0, err) < 0)
        return -1;
    if (change->password_hash != NULL && logins_end(tx, after.id, change->keep_session, err) < 0)
        return -1;
    if (admin_must_stand(tx, &before, &after, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_account_update(struct meta *meta, enum account_kind kind, struct slice name,
                        const struct account_change *change, const struct audit_event *event,
                        const struct meta_after *after, struct error *err)
{
    struct update with = {{after, false}, kind, name, change, change->if_version, event};

    return meta_write_told(meta, update, &with.told, err);
}

static int account_remove(struct db_tx *tx, int64_t id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ACCOUNT_DELETE);

    db_bind_i64(&query, id);
    return db_finish(&query, err);
}

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    struct update *with = arg;
    OWNED(account_drop) struct account before = {.id = 0};

    if (update_find(tx, with, &before, err) < 0 || account_remove(tx, before.id, err) < 0 ||
        admin_must_stand(tx, &before, NULL, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, with->event, err);
}

int meta_account_delete(struct meta *meta, enum account_kind kind, struct slice name,
                        int64_t if_version, const struct audit_event *event,
                        const struct meta_after *after, struct error *err)
{
    struct update with = {{after, false}, kind, name, NULL, if_version, event};

    return meta_write_told(meta, erase, &with.told, err);
}

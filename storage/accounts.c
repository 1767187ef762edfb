/* accounts.c - what auth/ and the management API ask of storage: transactions of meta_accounts.h,
 * and the generation that grows with them.
 * Touches  the database through meta_accounts.h, the generation.
 * Never    SQL; decides who may do what. */
#include "storage/accounts.h"

#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"
#include "storage/storage_internal.h"

/* --- the generation: accounts.h (2) --- */

uint64_t accounts_generation(const struct storage *store)
{
    return atomic_load(&store->generation);
}

void accounts_changed(void *store)
{
    atomic_fetch_add(&((struct storage *)store)->generation, 1);
}

/* On the writer thread, after COMMIT and before the caller is answered. */
static struct meta_after grows(struct storage *store)
{
    return (struct meta_after){accounts_changed, store};
}

/* --- accounts --- */

int account_find(struct storage *store, struct slice name, struct account *out, struct error *err)
{
    return meta_account_find(store->meta, meta_or_empty(name), 0, out, err);
}

int account_find_id(struct storage *store, int64_t id, struct account *out, struct error *err)
{
    return meta_account_find(store->meta, SLICE_NONE, id, out, err);
}

int account_create(struct storage *store, struct account *account, bool first_admin,
                   const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_account_create(store->meta, account, first_admin, event, &after, err);
}

int robot_create(struct storage *store, const struct robot_new *robot, struct token *out,
                 struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_robot_create(store->meta, robot, out, &after, err);
}

int account_update(struct storage *store, enum account_kind kind, struct slice name,
                   const struct account_change *change, const struct audit_event *event,
                   struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_account_update(store->meta, kind, name, change, event, &after, err);
}

int account_delete(struct storage *store, enum account_kind kind, struct slice name,
                   int64_t if_version, const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_account_delete(store->meta, kind, name, if_version, event, &after, err);
}

int account_ensure_external(struct storage *store, struct slice name, struct account *out,
                            struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_account_ensure_external(store->meta, name, out, &after, err);
}

int account_touch(struct storage *store, int64_t id, struct error *err)
{
    return meta_account_touch(store->meta, id, err);
}

int account_admin_exists(struct storage *store, bool *exists, struct error *err)
{
    return meta_account_admin_exists(store->meta, exists, err);
}

int account_list(struct storage *store, enum account_kind kind, struct slice after,
                 struct slice search, size_t limit, struct account_page *out, struct error *err)
{
    return meta_account_list(store->meta, kind, after, search, limit, out, err);
}

/* --- grants --- */

int grant_list(struct storage *store, const struct grant_query *query, struct grant_page *out,
               struct error *err)
{
    return meta_grant_list(store->meta, query, out, err);
}

int grant_find(struct storage *store, int64_t id, struct grant *out, struct error *err)
{
    return meta_grant_find(store->meta, id, out, err);
}

int grant_put(struct storage *store, struct slice account, struct slice pattern, unsigned rights,
              int64_t if_version, const struct audit_event *event, struct grant *out, bool *created,
              struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_grant_put(store->meta, account, pattern, rights, if_version, event, out, created,
                          &after, err);
}

int grant_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_grant_delete(store->meta, id, if_version, event, &after, err);
}

int account_rights_load(struct storage *store, int64_t account, struct account_rights *out,
                        struct error *err)
{
    return meta_rights_load(store->meta, account, out, err);
}

/* --- tokens --- */

int token_create(struct storage *store, const struct token_new *token,
                 const struct audit_event *event, struct token *out, struct error *err)
{
    return meta_token_create(store->meta, token, event, out, err);
}

int token_find(struct storage *store, const uint8_t *secret_hash, struct token *out,
               struct error *err)
{
    return meta_token_find(store->meta, secret_hash, 0, out, err);
}

int token_find_id(struct storage *store, int64_t id, struct token *out, struct error *err)
{
    return meta_token_find(store->meta, NULL, id, out, err);
}

int token_list(struct storage *store, int64_t account, enum token_kind kind, int64_t after_id,
               size_t limit, struct token_page *out, struct error *err)
{
    return meta_token_list(store->meta, account, kind, after_id, limit, out, err);
}

int token_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_token_delete(store->meta, id, if_version, event, &after, err);
}

int token_set_disabled(struct storage *store, int64_t id, bool disabled, int64_t if_version,
                       const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_token_disable(store->meta, id, disabled, if_version, event, &after, err);
}

int token_rotate(struct storage *store, int64_t id, const struct token_new *successor,
                 int64_t old_expires_at, int64_t if_version, const struct audit_event *event,
                 struct token *out, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_token_rotate(store->meta, id, successor, old_expires_at, if_version, event, out,
                             &after, err);
}

int token_refresh_rotate(struct storage *store, int64_t id, const struct token_new *successor,
                         int64_t reuse_after_us, bool *reused, const struct audit_event *event,
                         struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_refresh_use(store->meta, id, successor, reuse_after_us, reused, event, &after, err);
}

int token_refresh_use(struct storage *store, int64_t id, int64_t reuse_after_us, bool *reused,
                      const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_refresh_use(store->meta, id, NULL, reuse_after_us, reused, event, &after, err);
}

int token_touch(struct storage *store, int64_t id, struct slice remote, struct error *err)
{
    return meta_token_touch(store->meta, id, remote, err);
}

int token_expire(struct storage *store, int64_t sessions_used_before,
                 int64_t sessions_created_before, bool *more, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_token_expire(store->meta, sessions_used_before, sessions_created_before, more,
                             &after, err);
}

/* --- sessions of browsers --- */

int login_session_create(struct storage *store, int64_t account, const uint8_t *secret_hash,
                         struct slice remote, struct slice agent, const struct audit_event *event,
                         int64_t *id, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_login_create(store->meta, account, secret_hash, remote, agent, event, id, &after,
                             err);
}

int login_session_find(struct storage *store, const uint8_t *secret_hash, struct login_session *out,
                       struct error *err)
{
    return meta_login_find(store->meta, secret_hash, 0, out, err);
}

int login_session_find_id(struct storage *store, int64_t id, struct login_session *out,
                          struct error *err)
{
    return meta_login_find(store->meta, NULL, id, out, err);
}

int login_session_touch(struct storage *store, int64_t id, struct error *err)
{
    return meta_login_touch(store->meta, id, err);
}

int login_session_list(struct storage *store, int64_t account, int64_t after_id, size_t limit,
                       struct login_page *out, struct error *err)
{
    return meta_login_list(store->meta, account, after_id, limit, out, err);
}

int login_session_delete(struct storage *store, int64_t id, int64_t account,
                         const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_login_delete(store->meta, id, account, event, &after, err);
}

/* --- repositories --- */

int repository_find(struct storage *store, struct slice name, struct repository *out,
                    struct error *err)
{
    return meta_settings_find(store->meta, name, out, err);
}

int repository_is_public(struct storage *store, struct slice name, bool *public, struct error *err)
{
    return meta_settings_public(store->meta, name, public, err);
}

int repository_create(struct storage *store, struct slice name, bool public,
                      struct slice description, const struct audit_event *event, struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_settings_create(store->meta, name, public, description, event, &after, err);
}

int repository_update(struct storage *store, struct slice name,
                      const struct repository_change *change, const struct audit_event *event,
                      struct error *err)
{
    const struct meta_after after = grows(store);

    return meta_settings_update(store->meta, name, change, event, &after, err);
}

int repository_settings_list(struct storage *store, struct slice after, struct slice search,
                             const struct repository_filter *filter, size_t limit,
                             struct repository_page *out, struct error *err)
{
    return meta_settings_list(store->meta, after, search, filter, limit, out, err);
}

/* --- the audit; audit_note stands in notes.c --- */

int audit_put(struct storage *store, const struct audit_event *events, size_t count,
              struct error *err)
{
    return meta_audit_put(store->meta, events, count, err);
}

int audit_list(struct storage *store, const struct audit_query *query, struct audit_page *out,
               struct error *err)
{
    return meta_audit_list(store->meta, query, out, err);
}

int audit_expire(struct storage *store, int64_t before, bool *more, struct error *err)
{
    return meta_audit_expire(store->meta, before, more, err);
}

/* --- upload sessions --- */

int upload_owner_find(struct storage *store, struct slice repository, struct slice id,
                      struct upload_owner *out, struct error *err)
{
    return meta_upload_owner(store->meta, repository, id, out, err);
}

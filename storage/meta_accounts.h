/* meta_accounts.h - what the database knows of accounts, what they hold and may, and of what was
 * done: one function a transaction, as in meta.h; contracts and errors as in accounts.h.
 * Touches  the database only.
 * Never    decides who may do what, knows the generation: `after` runs when a commit may have
 *          changed what somebody may do. */
#ifndef SLIPWAY_STORAGE_META_ACCOUNTS_H
#define SLIPWAY_STORAGE_META_ACCOUNTS_H

#include "storage/accounts.h"
#include "storage/meta.h"

/* --- accounts: meta_account.c, meta_account_change.c --- */

/* By name, or by id when the name is SLICE_NONE. */
int meta_account_find(struct meta *meta, struct slice name, int64_t id, struct account *out,
                      struct error *err) MUST_CHECK;
int meta_account_create(struct meta *meta, struct account *account, bool first_admin,
                        const struct audit_event *event, const struct meta_after *after,
                        struct error *err) MUST_CHECK;
/* meta_robot.c */
int meta_robot_create(struct meta *meta, const struct robot_new *robot, struct token *out,
                      const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_account_update(struct meta *meta, enum account_kind kind, struct slice name,
                        const struct account_change *change, const struct audit_event *event,
                        const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_account_delete(struct meta *meta, enum account_kind kind, struct slice name,
                        int64_t if_version, const struct audit_event *event,
                        const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_account_ensure_external(struct meta *meta, struct slice name, struct account *out,
                                 const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_account_touch(struct meta *meta, int64_t id, struct error *err) MUST_CHECK;
int meta_account_admin_exists(struct meta *meta, bool *exists, struct error *err) MUST_CHECK;
int meta_account_list(struct meta *meta, enum account_kind kind, struct slice after,
                      struct slice search, size_t limit, struct account_page *out,
                      struct error *err) MUST_CHECK;

/* --- grants: meta_grant.c --- */

int meta_grant_list(struct meta *meta, const struct grant_query *query, struct grant_page *out,
                    struct error *err) MUST_CHECK;
int meta_grant_find(struct meta *meta, int64_t id, struct grant *out, struct error *err) MUST_CHECK;
int meta_grant_put(struct meta *meta, struct slice account, struct slice pattern, unsigned rights,
                   int64_t if_version, const struct audit_event *event, struct grant *out,
                   bool *created, const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_grant_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err) MUST_CHECK;
int meta_rights_load(struct meta *meta, int64_t account, struct account_rights *out,
                     struct error *err) MUST_CHECK;

/* --- tokens: meta_token.c, meta_refresh.c --- */

int meta_token_create(struct meta *meta, const struct token_new *token,
                      const struct audit_event *event, struct token *out,
                      struct error *err) MUST_CHECK;
/* By the hash of its secret, or by id when that is NULL. */
int meta_token_find(struct meta *meta, const uint8_t *secret_hash, int64_t id, struct token *out,
                    struct error *err) MUST_CHECK;
int meta_token_list(struct meta *meta, int64_t account, enum token_kind kind, int64_t after_id,
                    size_t limit, struct token_page *out, struct error *err) MUST_CHECK;
int meta_token_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err) MUST_CHECK;
int meta_token_disable(struct meta *meta, int64_t id, bool disabled, int64_t if_version,
                       const struct audit_event *event, const struct meta_after *after,
                       struct error *err) MUST_CHECK;
int meta_token_rotate(struct meta *meta, int64_t id, const struct token_new *successor,
                      int64_t old_expires_at, int64_t if_version, const struct audit_event *event,
                      struct token *out, const struct meta_after *after,
                      struct error *err) MUST_CHECK;
/* successor NULL: only the question whether it was used again. */
int meta_refresh_use(struct meta *meta, int64_t id, const struct token_new *successor,
                     int64_t reuse_after_us, bool *reused, const struct audit_event *event,
                     const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_token_touch(struct meta *meta, int64_t id, struct slice remote,
                     struct error *err) MUST_CHECK;
/* Tokens whose time has come, and sessions used or created before; some at a time. Background. */
int meta_token_expire(struct meta *meta, int64_t used_before, int64_t created_before, bool *more,
                      const struct meta_after *after, struct error *err) MUST_CHECK;

/* --- sessions of browsers: meta_login.c --- */

int meta_login_create(struct meta *meta, int64_t account, const uint8_t *secret_hash,
                      struct slice remote, struct slice agent, const struct audit_event *event,
                      int64_t *id, const struct meta_after *after, struct error *err) MUST_CHECK;
/* secret_hash NULL: by id. */
int meta_login_find(struct meta *meta, const uint8_t *secret_hash, int64_t id,
                    struct login_session *out, struct error *err) MUST_CHECK;
int meta_login_touch(struct meta *meta, int64_t id, struct error *err) MUST_CHECK;
int meta_login_list(struct meta *meta, int64_t account, int64_t after_id, size_t limit,
                    struct login_page *out, struct error *err) MUST_CHECK;
int meta_login_delete(struct meta *meta, int64_t id, int64_t account,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err) MUST_CHECK;

/* --- repositories: meta_settings.c, their lists: meta_repository.c --- */

int meta_settings_find(struct meta *meta, struct slice name, struct repository *out,
                       struct error *err) MUST_CHECK;
int meta_settings_public(struct meta *meta, struct slice name, bool *public,
                         struct error *err) MUST_CHECK;
int meta_settings_create(struct meta *meta, struct slice name, bool public,
                         struct slice description, const struct audit_event *event,
                         const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_settings_update(struct meta *meta, struct slice name,
                         const struct repository_change *change, const struct audit_event *event,
                         const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_settings_list(struct meta *meta, struct slice after, struct slice search,
                       const struct repository_filter *filter, size_t limit,
                       struct repository_page *out, struct error *err) MUST_CHECK;

/* --- the audit: meta_audit.c --- */

int meta_audit_list(struct meta *meta, const struct audit_query *query, struct audit_page *out,
                    struct error *err) MUST_CHECK;
int meta_audit_expire(struct meta *meta, int64_t before, bool *more, struct error *err) MUST_CHECK;

/* One transaction, durable. */
int meta_audit_put(struct meta *meta, const struct audit_event *events, size_t count,
                   struct error *err) MUST_CHECK;

/* An event that happened `repeats` times since it was written last. */
struct meta_note {
    struct audit_event event;
    int64_t at;
    uint64_t repeats;
    int64_t row; /* 0: it has none yet; set by meta_audit_notes */
};
/* New rows, and more repeats of those that have one. Durable, background. */
int meta_audit_notes(struct meta *meta, struct meta_note *notes, size_t count,
                     struct error *err) MUST_CHECK;

#endif

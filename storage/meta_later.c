#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"
int meta_grant_list(struct meta *meta, const struct grant_query *query, struct grant_page *out,
                    struct error *err)
{
    (void)meta;
    (void)query;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_grant_find(struct meta *meta, int64_t id, struct grant *out, struct error *err)
{
    (void)meta;
    (void)id;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_grant_put(struct meta *meta, struct slice account, struct slice pattern, unsigned rights,
                   int64_t if_version, const struct audit_event *event, struct grant *out,
                   bool *created, const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)account;
    (void)pattern;
    (void)rights;
    (void)if_version;
    (void)event;
    (void)out;
    (void)created;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_grant_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    (void)meta;
    (void)id;
    (void)if_version;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_rights_load(struct meta *meta, int64_t account, struct account_rights *out,
                     struct error *err)
{
    (void)meta;
    (void)account;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_create(struct meta *meta, const struct token_new *token,
                      const struct audit_event *event, struct token *out,
                      const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)token;
    (void)event;
    (void)out;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_find(struct meta *meta, const uint8_t *secret_hash, int64_t id, struct token *out,
                    struct error *err)
{
    (void)meta;
    (void)secret_hash;
    (void)id;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_list(struct meta *meta, int64_t account, enum token_kind kind, int64_t after_id,
                    size_t limit, struct token_page *out, struct error *err)
{
    (void)meta;
    (void)account;
    (void)kind;
    (void)after_id;
    (void)limit;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    (void)meta;
    (void)id;
    (void)if_version;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_disable(struct meta *meta, int64_t id, bool disabled, int64_t if_version,
                       const struct audit_event *event, const struct meta_after *after,
                       struct error *err)
{
    (void)meta;
    (void)id;
    (void)disabled;
    (void)if_version;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_rotate(struct meta *meta, int64_t id, const struct token_new *successor,
                      int64_t old_expires_at, int64_t if_version, const struct audit_event *event,
                      struct token *out, const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)id;
    (void)successor;
    (void)old_expires_at;
    (void)if_version;
    (void)event;
    (void)out;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_refresh_use(struct meta *meta, int64_t id, const struct token_new *successor,
                     int64_t reuse_after_us, bool *reused, const struct audit_event *event,
                     const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)id;
    (void)successor;
    (void)reuse_after_us;
    (void)reused;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_touch(struct meta *meta, int64_t id, struct slice remote, struct error *err)
{
    (void)meta;
    (void)id;
    (void)remote;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_token_expire(struct meta *meta, int64_t used_before, int64_t created_before, bool *more,
                      const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)used_before;
    (void)created_before;
    (void)more;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_login_create(struct meta *meta, int64_t account, const uint8_t *secret_hash,
                      struct slice remote, struct slice agent, const struct audit_event *event,
                      int64_t *id, const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)account;
    (void)secret_hash;
    (void)remote;
    (void)agent;
    (void)event;
    (void)id;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_login_find(struct meta *meta, const uint8_t *secret_hash, struct login_session *out,
                    struct error *err)
{
    (void)meta;
    (void)secret_hash;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_login_touch(struct meta *meta, int64_t id, struct error *err)
{
    (void)meta;
    (void)id;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_login_list(struct meta *meta, int64_t account, int64_t after_id, size_t limit,
                    struct login_page *out, struct error *err)
{
    (void)meta;
    (void)account;
    (void)after_id;
    (void)limit;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_login_delete(struct meta *meta, int64_t id, int64_t account,
                      const struct audit_event *event, const struct meta_after *after,
                      struct error *err)
{
    (void)meta;
    (void)id;
    (void)account;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_settings_find(struct meta *meta, struct slice name, struct repository *out,
                       struct error *err)
{
    (void)meta;
    (void)name;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_settings_public(struct meta *meta, struct slice name, bool *public, struct error *err)
{
    (void)meta;
    (void)name;
    (void)public;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_settings_create(struct meta *meta, struct slice name, bool public,
                         struct slice description, const struct audit_event *event,
                         const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)name;
    (void)public;
    (void)description;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_settings_update(struct meta *meta, struct slice name,
                         const struct repository_change *change, const struct audit_event *event,
                         const struct meta_after *after, struct error *err)
{
    (void)meta;
    (void)name;
    (void)change;
    (void)event;
    (void)after;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
int meta_settings_list(struct meta *meta, struct slice after, struct slice search,
                       const struct repository_filter *filter, size_t limit,
                       struct repository_page *out, struct error *err)
{
    (void)meta;
    (void)after;
    (void)search;
    (void)filter;
    (void)limit;
    (void)out;
    return error_set(err, ERROR_UNAVAILABLE, "not yet");
}
void audit_note(struct storage *store, const struct audit_event *event)
{
    (void)store;
    (void)event;
}
#include <stdlib.h>
void grant_drop(struct grant *x)
{
    (void)x;
}
void grant_page_drop(struct grant_page *x)
{
    (void)x;
}
void token_drop(struct token *x)
{
    (void)x;
}
void token_page_drop(struct token_page *x)
{
    (void)x;
}
void login_session_drop(struct login_session *x)
{
    (void)x;
}
void login_page_drop(struct login_page *x)
{
    (void)x;
}
void repository_drop(struct repository *x)
{
    (void)x;
}
void repository_page_drop(struct repository_page *x)
{
    (void)x;
}
void account_rights_drop(struct account_rights *x)
{
    (void)x;
}

/* api_internal.h - the handlers of this folder, named once for the table in routes.c, and what one
 * noun lends to another.
 * Touches  nothing.
 * Never    included from elsewhere.
 *
 * Handlers check what a path or a body asks for; that the route's action is allowed, http/ has
 * asked auth already. Each returns 0 with the reply filled, or -1 with err set. */
#ifndef SLIPWAY_API_INTERNAL_H
#define SLIPWAY_API_INTERNAL_H

#include "auth/auth.h"
#include "registry/api/answer.h"
#include "registry/api/json.h"
#include "registry/http/route.h"
#include "registry/services.h"
#include "storage/accounts.h"
#include "storage/content.h"

enum { DESCRIPTION_MAX = 1000, WORD_MAX = 64, LABEL_MAX = 100, PATTERN_MAX = 257 };
enum { SCOPES_TEXT_MAX = 4000, PASSWORD_TEXT_MAX = 512 };

/* A time of the body that must lie ahead; null is 0, absent the given default. INVALID */
int api_expiry(const struct json_value *value, const char *field, int64_t otherwise, int64_t *out,
               struct error *err) MUST_CHECK;

/* --- accounts: users and robots --- */

const char *api_kind_name(enum account_kind kind);
const char *api_role_name(enum account_role role);
/* INVALID  no role of ours */
int api_role_read(struct slice text, enum account_role *out, struct error *err) MUST_CHECK;
void api_account_write(struct buffer *out, const struct account *account);
/* The account in the path, of the route's kind. NOT_FOUND */
int api_account_at(const struct request *request, struct account *out, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The caller's own. NOT_FOUND  it has none: the admin socket, the open mode. */
int api_account_own(const struct request *request, struct account *out,
                    struct error *err) MUST_CHECK ON(worker_thread);
/* INVALID  no name of an account */
int api_account_name_check(struct slice name, const char *field, struct error *err) MUST_CHECK;
/* The hash to store. INVALID  no good password */
int api_password_hash(const struct request *request, struct slice name, struct slice password,
                      const char *field, char out[AUTH_PASSWORD_HASH_MAX],
                      struct error *err) MUST_CHECK ON(worker_thread);
/* Changes it and answers with what it became. */
int api_account_change(const struct request *request, struct reply *reply,
                       const struct account *account, struct account_change *change,
                       struct event *event, struct error *err) MUST_CHECK ON(worker_thread);

int api_accounts_get(struct request *request, struct reply *reply, struct error *err);
int api_account_get(struct request *request, struct reply *reply, struct error *err);
int api_account_delete(struct request *request, struct reply *reply, struct error *err);
int api_account_disable(struct request *request, struct reply *reply, struct error *err);
int api_account_enable(struct request *request, struct reply *reply, struct error *err);
int api_users_post(struct request *request, struct reply *reply, struct error *err);
int api_user_patch(struct request *request, struct reply *reply, struct error *err);
int api_robots_post(struct request *request, struct reply *reply, struct error *err);
int api_robot_patch(struct request *request, struct reply *reply, struct error *err);
int api_robot_rotate(struct request *request, struct reply *reply, struct error *err);

/* --- the caller --- */

int api_session_post(struct request *request, struct reply *reply, struct error *err);
int api_session_get(struct request *request, struct reply *reply, struct error *err);
int api_session_delete(struct request *request, struct reply *reply, struct error *err);
int api_setup_get(struct request *request, struct reply *reply, struct error *err);
int api_setup_post(struct request *request, struct reply *reply, struct error *err);
int api_me_get(struct request *request, struct reply *reply, struct error *err);
int api_me_patch(struct request *request, struct reply *reply, struct error *err);
int api_me_password_put(struct request *request, struct reply *reply, struct error *err);

/* --- tokens --- */

/* secret: shown this once; NULL: never again. */
void api_token_write(struct buffer *out, const struct token *token, const char *secret);
/* What storage makes a token of, and its event; *secret is for the answer. out borrows from secret
 * and the other arguments. DENIED */
struct token_order {
    const struct account *account; /* its id may not be known yet */
    struct slice label, scopes;
    int64_t expires_at;
};
int api_token_new(const struct request *request, const struct token_order *order,
                  struct token_new *out, struct auth_secret *secret, struct event *event,
                  struct error *err) MUST_CHECK;
/* Reads the body of :rotate and answers with the successor. */
int api_token_succeed(const struct request *request, struct reply *reply, const struct token *token,
                      struct error *err) MUST_CHECK ON(worker_thread);
void api_secret_wipe(struct auth_secret *secret); /* for OWNED */
int64_t api_token_expiry_default(void);

int api_tokens_get(struct request *request, struct reply *reply, struct error *err);
int api_token_get(struct request *request, struct reply *reply, struct error *err);
int api_token_delete(struct request *request, struct reply *reply, struct error *err);
int api_token_rotate(struct request *request, struct reply *reply, struct error *err);
int api_token_disable(struct request *request, struct reply *reply, struct error *err);
int api_token_enable(struct request *request, struct reply *reply, struct error *err);
int api_account_tokens_get(struct request *request, struct reply *reply, struct error *err);
int api_robot_tokens_post(struct request *request, struct reply *reply, struct error *err);
int api_me_tokens_get(struct request *request, struct reply *reply, struct error *err);
int api_me_tokens_post(struct request *request, struct reply *reply, struct error *err);

/* --- sessions of browsers --- */

int api_sessions_get(struct request *request, struct reply *reply, struct error *err);
int api_sessions_id_delete(struct request *request, struct reply *reply, struct error *err);
int api_account_sessions_get(struct request *request, struct reply *reply, struct error *err);
int api_account_sessions_delete(struct request *request, struct reply *reply, struct error *err);
int api_me_sessions_get(struct request *request, struct reply *reply, struct error *err);
int api_me_session_delete(struct request *request, struct reply *reply, struct error *err);

/* --- grants --- */

enum { ACTIONS_MAX = 8, GRANTS_OF_ROBOT_MAX = 100 };
/* What may be done, from the members level and actions, of which one is given. `kind`: users have
 * levels only. INVALID */
int api_rights_read(const struct json_value *level, const struct json_value *actions,
                    const char *field, enum account_kind kind, unsigned *out,
                    struct error *err) MUST_CHECK;
void api_rights_write(struct buffer *out, const char *name, unsigned rights);
void api_grant_event(struct event *event, const struct request *request, enum account_kind kind,
                     struct slice account, struct slice pattern, unsigned rights);

int api_grants_get(struct request *request, struct reply *reply, struct error *err);
int api_grants_post(struct request *request, struct reply *reply, struct error *err);
int api_grant_get(struct request *request, struct reply *reply, struct error *err);
int api_grant_patch(struct request *request, struct reply *reply, struct error *err);
int api_grant_delete(struct request *request, struct reply *reply, struct error *err);

/* --- questions that take long --- */

/* *out is given back with api_long_read_end, whatever the outcome. TOOMANYREQUESTS */
int api_long_read_begin(const struct request *request, atomic_uint **out,
                        struct error *err) MUST_CHECK;
void api_long_read_end(atomic_uint **reads); /* for OWNED */

/* --- quotas, usage --- */

int api_quotas_get(struct request *request, struct reply *reply, struct error *err);
int api_quotas_post(struct request *request, struct reply *reply, struct error *err);
int api_quota_get(struct request *request, struct reply *reply, struct error *err);
int api_quota_patch(struct request *request, struct reply *reply, struct error *err);
int api_quota_delete(struct request *request, struct reply *reply, struct error *err);
int api_usage_get(struct request *request, struct reply *reply, struct error *err);
int api_usage_repos_get(struct request *request, struct reply *reply, struct error *err);
int api_repo_usage_get(struct request *request, struct reply *reply, struct error *err);

/* --- repositories, audit, system --- */

int api_repos_get(struct request *request, struct reply *reply, struct error *err);
int api_repos_post(struct request *request, struct reply *reply, struct error *err);
int api_repo_get(struct request *request, struct reply *reply, struct error *err);
int api_repo_patch(struct request *request, struct reply *reply, struct error *err);
int api_repo_delete(struct request *request, struct reply *reply, struct error *err);
int api_repo_restore(struct request *request, struct reply *reply, struct error *err);
int api_deleted_repos_get(struct request *request, struct reply *reply, struct error *err);
int api_audit_get(struct request *request, struct reply *reply, struct error *err);
int api_scrub_get(struct request *request, struct reply *reply, struct error *err);
int api_scrub_run(struct request *request, struct reply *reply, struct error *err);
int api_provenance_get(struct request *request, struct reply *reply, struct error *err);
int api_keys_get(struct request *request, struct reply *reply, struct error *err);
int api_keys_rotate(struct request *request, struct reply *reply, struct error *err);
int api_description_get(struct request *request, struct reply *reply, struct error *err);

/* --- jobs, collection --- */

/* Starts it for the caller and answers 202 with the job. Consumes spec (a json_t; NULL: {}). As
 * jobs_start. */
int api_job_start(const struct request *request, struct reply *reply, const char *base,
                  struct slice kind, void *spec, struct error *err) MUST_CHECK ON(worker_thread);

struct job_record;
void api_job_write(struct buffer *out, const char *name, const struct job_record *job);

int api_gc_get(struct request *request, struct reply *reply, struct error *err);
int api_gc_put(struct request *request, struct reply *reply, struct error *err);
int api_jobs_get(struct request *request, struct reply *reply, struct error *err);
int api_jobs_post(struct request *request, struct reply *reply, struct error *err);
int api_job_get(struct request *request, struct reply *reply, struct error *err);
int api_job_cancel(struct request *request, struct reply *reply, struct error *err);
int api_gc_runs_get(struct request *request, struct reply *reply, struct error *err);
int api_gc_runs_post(struct request *request, struct reply *reply, struct error *err);
int api_gc_run_get(struct request *request, struct reply *reply, struct error *err);

/* --- events --- */

int api_events_get(struct request *request, struct reply *reply, struct error *err);
int api_job_events_get(struct request *request, struct reply *reply, struct error *err);

/* --- rules of retention --- */

int api_policies_get(struct request *request, struct reply *reply, struct error *err);
int api_policies_post(struct request *request, struct reply *reply, struct error *err);
int api_policy_get(struct request *request, struct reply *reply, struct error *err);
int api_policy_put(struct request *request, struct reply *reply, struct error *err);
int api_policy_patch(struct request *request, struct reply *reply, struct error *err);
int api_policy_delete(struct request *request, struct reply *reply, struct error *err);
int api_repo_policy_get(struct request *request, struct reply *reply, struct error *err);
int api_repo_policy_put(struct request *request, struct reply *reply, struct error *err);
int api_repo_policy_delete(struct request *request, struct reply *reply, struct error *err);
int api_repo_policy_preview(struct request *request, struct reply *reply, struct error *err);

/* --- builds --- */

int api_builds_get(struct request *request, struct reply *reply, struct error *err);
int api_repo_builds_get(struct request *request, struct reply *reply, struct error *err);
int api_build_get(struct request *request, struct reply *reply, struct error *err);
int api_build_cancel(struct request *request, struct reply *reply, struct error *err);
int api_build_retry(struct request *request, struct reply *reply, struct error *err);
int api_build_verify(struct request *request, struct reply *reply, struct error *err);
int api_build_differences_get(struct request *request, struct reply *reply, struct error *err);
int api_tags_rebase(struct request *request, struct reply *reply, struct error *err);
int api_rebases_get(struct request *request, struct reply *reply, struct error *err);
int api_rebases_post(struct request *request, struct reply *reply, struct error *err);
int api_rebase_get(struct request *request, struct reply *reply, struct error *err);
int api_rebase_undo(struct request *request, struct reply *reply, struct error *err);
int api_build_log_get(struct request *request, struct reply *reply, struct error *err);
int api_builds_health(struct request *request, struct reply *reply, struct error *err);
extern const struct body_stream api_build_post;

int api_build_configs_get(struct request *request, struct reply *reply, struct error *err);
int api_build_config_get(struct request *request, struct reply *reply, struct error *err);
int api_build_config_put(struct request *request, struct reply *reply, struct error *err);
int api_build_config_patch(struct request *request, struct reply *reply, struct error *err);
int api_build_config_delete(struct request *request, struct reply *reply, struct error *err);
int api_build_secrets_get(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_hook_put(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_source_put(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_callback_put(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_callback_delete(struct request *request, struct reply *reply,
                                     struct error *err);
int api_build_secret_status_put(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_status_delete(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_file_put(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_hook_delete(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_source_delete(struct request *request, struct reply *reply, struct error *err);
int api_build_secret_file_delete(struct request *request, struct reply *reply, struct error *err);
int api_build_deliveries_get(struct request *request, struct reply *reply, struct error *err);
int api_build_deliveries_test(struct request *request, struct reply *reply, struct error *err);
extern const struct body_stream api_hook_post;

/* --- what repositories hold --- */

const char *api_cause_name(enum tag_cause cause);
/* Names of accounts are for who works on the repository, not for everybody who may pull it. */
bool api_sees_actors(const struct request *request) ON(worker_thread);
void api_digest_write(struct buffer *out, const char *name, const struct digest *digest);
/* INVALID */
int api_digest_read(struct slice text, const char *field, struct digest *out,
                    struct error *err) MUST_CHECK;
/* Who changes it, for storage; borrows all three. */
struct content_change api_change(const struct request *request, struct actor *actor,
                                 const struct audit_event *event);

int api_tags_get(struct request *request, struct reply *reply, struct error *err);
int api_tags_delete(struct request *request, struct reply *reply, struct error *err);
int api_tag_get(struct request *request, struct reply *reply, struct error *err);
int api_tag_put(struct request *request, struct reply *reply, struct error *err);
int api_tag_patch(struct request *request, struct reply *reply, struct error *err);
int api_tag_delete(struct request *request, struct reply *reply, struct error *err);
int api_tag_restore(struct request *request, struct reply *reply, struct error *err);
int api_deleted_tags_get(struct request *request, struct reply *reply, struct error *err);
int api_history_get(struct request *request, struct reply *reply, struct error *err);
int api_manifests_get(struct request *request, struct reply *reply, struct error *err);
int api_manifest_get(struct request *request, struct reply *reply, struct error *err);
int api_manifest_delete(struct request *request, struct reply *reply, struct error *err);
int api_manifest_restore(struct request *request, struct reply *reply, struct error *err);
int api_referrers_get(struct request *request, struct reply *reply, struct error *err);
int api_pins_get(struct request *request, struct reply *reply, struct error *err);
int api_pin_get(struct request *request, struct reply *reply, struct error *err);
int api_pin_put(struct request *request, struct reply *reply, struct error *err);
int api_pin_delete(struct request *request, struct reply *reply, struct error *err);
int api_rules_get(struct request *request, struct reply *reply, struct error *err);
int api_rules_post(struct request *request, struct reply *reply, struct error *err);
int api_rule_get(struct request *request, struct reply *reply, struct error *err);
int api_rule_patch(struct request *request, struct reply *reply, struct error *err);
int api_rule_delete(struct request *request, struct reply *reply, struct error *err);

#endif

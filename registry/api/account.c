/* account.c - what users and robots have in common: lists, one account, disabling, deleting.
 * Touches  storage: accounts; counts what goes with one.
 * Never    sees a password. */
#include <stdio.h>

#include "registry/api/api_internal.h"
#include "registry/core/clock.h"

int api_expiry(const struct json_value *value, const char *field, int64_t otherwise, int64_t *out,
               struct error *err)
{
    *out = !value->given ? otherwise : value->null ? 0 : value->number;
    if (value->given && !value->null && *out <= clock_now_us())
        return error_set_field(err, field, "%s must lie ahead", field);
    return 0;
}

/* --- words --- */

static const char *const role_names[] = {
    [ACCOUNT_ROLE_USER] = "user",
    [ACCOUNT_ROLE_ADMIN] = "admin",
    [ACCOUNT_ROLE_OPERATOR] = "operator",
    [ACCOUNT_ROLE_AUDITOR] = "auditor",
};

const char *api_role_name(enum account_role role)
{
    return role_names[role];
}

int api_role_read(struct slice text, enum account_role *out, struct error *err)
{
    for (size_t i = 0; i < sizeof(role_names) / sizeof(role_names[0]); i++) {
        if (!slice_equal_text(text, role_names[i]))
            continue;
        *out = (enum account_role)i;
        return 0;
    }
    return error_set_field(err, "role", "role must be user, admin, operator or auditor");
}

const char *api_kind_name(enum account_kind kind)
{
    return kind == ACCOUNT_ROBOT ? "robot" : "user";
}

/* By the route. */
static enum account_kind kind_of(const struct request *request)
{
    return slice_starts(slice_of(request->route->pattern), "/api/v1/robots") ? ACCOUNT_ROBOT
                                                                             : ACCOUNT_USER;
}

/* --- one account --- */

void api_account_write(struct buffer *out, const struct account *account)
{
    write_open(out, NULL, '{');
    write_text(out, "name", slice_of(account->name));
    write_text(out, "kind", slice_of(api_kind_name(account->kind)));
    write_text(out, "role", slice_of(api_role_name(account->role)));
    write_text(out, "description", slice_of(account->description));
    write_flag(out, "disabled", account->disabled);
    write_flag(out, "external", account->external);
    write_flag(out, "has_password", account->password_hash != NULL || account->external);
    write_time(out, "password_changed_at", account->password_at);
    write_time(out, "created_at", account->created_at);
    write_time(out, "expires_at", account->expires_at);
    write_time(out, "last_login_at", account->last_login_at);
    write_i64(out, "version", account->version);
    write_close(out, '}');
}

int api_account_name_check(struct slice name, const char *field, struct error *err)
{
    if (auth_account_name_valid(name))
        return 0;
    return error_set_field(err, field,
                           "%s must be 1 to %d lower-case letters and digits, with single . _ or "
                           "hyphens between them, and not local",
                           field, WORD_MAX);
}

int api_password_hash(const struct request *request, struct slice name, struct slice password,
                      const char *field, char out[AUTH_PASSWORD_HASH_MAX], struct error *err)
{
    if (auth_password_hash(request->services->auth, name, password, out, err) == 0)
        return 0;
    if (err->code == ERROR_INVALID)
        err->field = field;
    return -1;
}

int api_account_at(const struct request *request, struct account *out, struct error *err)
{
    *out = (struct account){0};
    if (!auth_account_name_valid(request->reference))
        return answer_missing(err);
    if (account_find(request->services->storage, request->reference, out, err) < 0)
        return -1;
    return out->kind == kind_of(request) ? 0 : answer_missing(err);
}

int api_account_own(const struct request *request, struct account *out, struct error *err)
{
    *out = (struct account){0};
    if (request->caller->account == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no account behind this request");
    return account_find_id(request->services->storage, request->caller->account, out, err);
}

int api_account_change(const struct request *request, struct reply *reply,
                       const struct account *account, struct account_change *change,
                       struct event *event, struct error *err)
{
    OWNED(account_drop) struct account now = {0};
    struct storage *store = request->services->storage;
    struct slice name = slice_of(account->name);
    struct buffer body = BUFFER_NONE;

    if (answer_condition(request, account->version, &change->if_version, err) < 0 ||
        account_update(store, account->kind, name, change, event_done(event), err) < 0 ||
        account_find(store, name, &now, err) < 0)
        return -1;
    api_account_write(&body, &now);
    answer_item(request, reply, now.version, &body);
    return 0;
}

int api_account_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (api_account_at(request, &account, err) < 0)
        return -1;
    api_account_write(&body, &account);
    answer_item(request, reply, account.version, &body);
    return 0;
}

/* --- lists --- */

int api_accounts_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_page_drop) struct account_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (list_query_by_name(request, &query, err) < 0 ||
        account_list(request->services->storage, kind_of(request), query.after, query.search,
                     query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        api_account_write(&body, &page.items[i]);
    list_answer(request, reply, &body,
                page.more && page.count > 0 ? slice_of(page.items[page.count - 1].name)
                                            : SLICE_NONE,
                (int64_t)page.total);
    return 0;
}

/* --- disabling --- */

static int set_disabled(struct request *request, struct reply *reply, bool disabled,
                        struct error *err) ON(worker_thread)
{
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    struct account_change change = {.disabled = &disabled};
    char action[32];

    if (api_account_at(request, &account, err) < 0)
        return -1;
    snprintf(action, sizeof(action), "%s.%s", api_kind_name(account.kind),
             disabled ? "disable" : "enable");
    event_new(&event, request, action, api_kind_name(account.kind), request->reference);
    return api_account_change(request, reply, &account, &change, &event, err);
}

int api_account_disable(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return set_disabled(request, reply, true, err);
}

int api_account_enable(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return set_disabled(request, reply, false, err);
}

/* --- deleting --- */

/* What goes with the account. */
static int tell_deletion(const struct request *request, struct reply *reply,
                         const struct account *account, struct error *err) ON(worker_thread)
{
    struct storage *store = request->services->storage;
    const struct grant_query query = {.account = slice_of(account->name), .limit = 1};
    OWNED(token_page_drop) struct token_page tokens = {0};
    OWNED(login_page_drop) struct login_page sessions = {0};
    OWNED(grant_page_drop) struct grant_page grants = {0};
    struct buffer body = BUFFER_NONE;

    if (token_list(store, account->id, TOKEN_PERSONAL, 0, 1, &tokens, err) < 0 ||
        login_session_list(store, account->id, 0, 1, &sessions, err) < 0 ||
        grant_list(store, &query, &grants, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    write_flag(&body, "dry_run", true);
    write_open(&body, "deletes", '{');
    write_i64(&body, "accounts", 1);
    write_i64(&body, "tokens", (int64_t)tokens.total);
    write_i64(&body, "sessions", (int64_t)sessions.total);
    write_i64(&body, "grants", (int64_t)grants.total);
    write_close(&body, '}');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_account_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || api_account_at(request, &account, err) < 0 ||
        answer_condition(request, account.version, &if_version, err) < 0)
        return -1;
    if (dry_run)
        return tell_deletion(request, reply, &account, err);
    if (account.kind == ACCOUNT_USER &&
        auth_require_fresh(request->services->auth, request->caller, err) < 0)
        return -1;
    event_new(&event, request, account.kind == ACCOUNT_USER ? "user.delete" : "robot.delete",
              api_kind_name(account.kind), request->reference);
    if (account_delete(request->services->storage, account.kind, request->reference, if_version,
                       event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

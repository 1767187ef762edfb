/* me.c - the caller's own account: description, password.
 * Touches  storage: accounts. auth: checks and hashes passwords, on a login thread.
 * Never    another account. */
#include "registry/api/api_internal.h"

int api_me_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (api_account_own(request, &account, err) < 0)
        return -1;
    api_account_write(&body, &account);
    answer_item(request, reply, account.version, &body);
    return 0;
}

enum { PATCH_DESCRIPTION, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
};

int api_me_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    struct account_change change = {.keep_session = request->caller->session};
    struct json_value values[PATCH_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        api_account_own(request, &account, err) < 0)
        return -1;
    const char *kind = api_kind_name(account.kind);
    event_new(&event, request, account.kind == ACCOUNT_ROBOT ? "robot.update" : "user.update", kind,
              slice_of(account.name));
    if (values[PATCH_DESCRIPTION].given) {
        change.description = &values[PATCH_DESCRIPTION].text;
        event_changed(&event, "description", slice_of(account.description), *change.description);
    }
    return api_account_change(request, reply, &account, &change, &event, err);
}

/* --- password --- */

enum { PASSWORD_CURRENT, PASSWORD_NEW, PASSWORD_COUNT };
static const struct json_member password_members[] = {
    [PASSWORD_CURRENT] = {"current", JSON_SECRET, .required = true, .most = PASSWORD_TEXT_MAX},
    [PASSWORD_NEW] = {"new", JSON_SECRET, .required = true, .most = PASSWORD_TEXT_MAX},
};

/* Counts against the guessing budgets like any log-in. That it is wrong is no 401: the caller is
 * signed in. */
static int check_current(const struct request *request, const struct account *account,
                         struct slice password, struct error *err) ON(worker_thread)
{
    OWNED(identity_drop) const struct identity *identity = NULL;
    const struct auth_login login = {
        .name = slice_of(account->name),
        .password = password,
        .remote = slice_of(request->remote),
        .network = request->network,
        .request_id = slice_of(request->id),
        .password_only = true,
    };

    if (auth_login(request->services->auth, &login, &identity, err) == 0)
        return identity->account == account->id ? 0 : answer_missing(err);
    if (err->code != ERROR_UNAUTHORIZED)
        return -1;
    error_clear(err);
    return error_set_field(err, "current", "current is not the password");
}

int api_me_password_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    struct account_change change = {.keep_session = request->caller->session};
    struct json_value values[PASSWORD_COUNT];
    char hash[AUTH_PASSWORD_HASH_MAX];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(password_members), values, err) < 0 ||
        api_account_own(request, &account, err) < 0 ||
        answer_condition(request, account.version, &change.if_version, err) < 0)
        return -1;
    struct slice name = slice_of(account.name);
    if (account.external || account.kind == ACCOUNT_ROBOT)
        return error_set(err, ERROR_CONFLICT, "the account has no password of its own here");
    if (check_current(request, &account, values[PASSWORD_CURRENT].text, err) < 0 ||
        api_password_hash(request, name, values[PASSWORD_NEW].text, "new", hash, err) < 0)
        return -1;
    struct slice hash_text = slice_of(hash);
    change.password_hash = &hash_text;
    event_new(&event, request, "user.password", "user", name);
    if (account_update(request->services->storage, account.kind, name, &change, event_done(&event),
                       err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

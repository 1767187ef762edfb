/* user.c - people: making them, changing them.
 * Touches  storage: accounts. auth: hashes passwords, on a login thread.
 * Never    shows a password or its hash. */
#include "registry/api/api_internal.h"

/* --- making --- */

enum { POST_NAME, POST_PASSWORD, POST_ROLE, POST_DESCRIPTION, POST_EXPIRES, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_NAME] = {"name", JSON_TEXT, .required = true, .most = WORD_MAX},
    [POST_PASSWORD] = {"password", JSON_SECRET, .most = PASSWORD_TEXT_MAX},
    [POST_ROLE] = {"role", JSON_TEXT, .most = WORD_MAX},
    [POST_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
    [POST_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
};

static int post_read(const struct request *request, const struct json_value *values,
                     struct account *out, struct error *err) ON(worker_thread)
{
    struct slice name = values[POST_NAME].text;
    char hash[AUTH_PASSWORD_HASH_MAX];

    out->kind = ACCOUNT_USER;
    if (api_account_name_check(name, "name", err) < 0)
        return -1;
    if (values[POST_ROLE].given && api_role_read(values[POST_ROLE].text, &out->role, err) < 0)
        return -1;
    if (api_expiry(&values[POST_EXPIRES], "expires_at", 0, &out->expires_at, err) < 0)
        return -1;
    if (out->role == ACCOUNT_ROLE_ADMIN &&
        auth_require_fresh(request->services->auth, request->caller, err) < 0)
        return -1;
    out->name = memory_text(name);
    out->description = memory_text(values[POST_DESCRIPTION].text);
    if (!values[POST_PASSWORD].given)
        return 0;
    if (api_password_hash(request, name, values[POST_PASSWORD].text, "password", hash, err) < 0)
        return -1;
    out->password_hash = memory_text(slice_of(hash));
    return 0;
}

int api_users_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct json_value values[POST_COUNT];
    struct buffer text = BUFFER_NONE;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0 ||
        post_read(request, values, &account, err) < 0)
        return -1;
    event_new(&event, request, "user.create", "user", values[POST_NAME].text);
    write_text(&event.detail, "role", slice_of(api_role_name(account.role)));
    if (account_create(request->services->storage, &account, false, event_done(&event), err) < 0)
        return -1;
    api_account_write(&text, &account);
    buffer_print(&location, "/api/v1/users/%s", account.name);
    answer_created(reply, buffer_slice(&location), account.version, &text);
    return 0;
}

/* --- changing --- */

enum { PATCH_ROLE, PATCH_PASSWORD, PATCH_DESCRIPTION, PATCH_DISABLED, PATCH_EXPIRES, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_ROLE] = {"role", JSON_TEXT, .most = WORD_MAX},
    [PATCH_PASSWORD] = {"password", JSON_SECRET, .most = PASSWORD_TEXT_MAX},
    [PATCH_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
    [PATCH_DISABLED] = {"disabled", JSON_FLAG, .required = false},
    [PATCH_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
};

/* What gives somebody more, or lets the caller in as somebody else, wants the password again. */
static int require_fresh(const struct request *request, const struct account *account,
                         const struct json_value *values, enum account_role role, struct error *err)
{
    bool raises = role == ACCOUNT_ROLE_ADMIN && account->role != ACCOUNT_ROLE_ADMIN;

    if (!raises && !values[PATCH_PASSWORD].given)
        return 0;
    return auth_require_fresh(request->services->auth, request->caller, err);
}

static int new_password(const struct request *request, const struct account *account,
                        struct slice password, char hash[AUTH_PASSWORD_HASH_MAX], struct error *err)
    ON(worker_thread)
{
    if (account->external)
        return error_set(err, ERROR_CONFLICT, "the password of %s stands in the password file",
                         account->name);
    return api_password_hash(request, slice_of(account->name), password, "password", hash, err);
}

static void tell_changes(struct event *event, const struct account *account,
                         const struct json_value *values, const struct account_change *change)
{
    if (change->role != NULL)
        event_changed(event, "role", slice_of(api_role_name(account->role)),
                      slice_of(api_role_name(*change->role)));
    if (change->description != NULL)
        event_changed(event, "description", slice_of(account->description), *change->description);
    if (change->disabled != NULL && *change->disabled != account->disabled)
        write_flag(&event->detail, "disabled", *change->disabled);
    if (change->expires_at != NULL && *change->expires_at != account->expires_at)
        write_time(&event->detail, "expires_at", *change->expires_at);
    if (values[PATCH_PASSWORD].given)
        write_flag(&event->detail, "password", true);
}

int api_user_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    struct account_change change = {.keep_session = request->caller->session};
    char hash[AUTH_PASSWORD_HASH_MAX] = "";
    enum account_role role;
    int64_t expires_at;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        api_account_at(request, &account, err) < 0)
        return -1;
    role = account.role;
    if (values[PATCH_ROLE].given && api_role_read(values[PATCH_ROLE].text, &role, err) < 0)
        return -1;
    if (api_expiry(&values[PATCH_EXPIRES], "expires_at", 0, &expires_at, err) < 0 ||
        require_fresh(request, &account, values, role, err) < 0)
        return -1;
    if (values[PATCH_PASSWORD].given &&
        new_password(request, &account, values[PATCH_PASSWORD].text, hash, err) < 0)
        return -1;
    struct slice hash_text = slice_of(hash);
    change.role = values[PATCH_ROLE].given ? &role : NULL;
    change.description = values[PATCH_DESCRIPTION].given ? &values[PATCH_DESCRIPTION].text : NULL;
    change.disabled = values[PATCH_DISABLED].given ? &values[PATCH_DISABLED].flag : NULL;
    change.expires_at = values[PATCH_EXPIRES].given ? &expires_at : NULL;
    change.password_hash = values[PATCH_PASSWORD].given ? &hash_text : NULL;
    event_new(&event, request, "user.update", "user", request->reference);
    tell_changes(&event, &account, values, &change);
    return api_account_change(request, reply, &account, &change, &event, err);
}

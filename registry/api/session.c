/* session.c - signing in with a browser and out again, who one is, the first administrator.
 * Touches  auth: log-ins, sessions, setup. The cookie of the answer.
 * Never    keeps a password; tells why a log-in was refused.
 *
 * That the body must be application/json keeps forms of other pages from signing somebody in. */
#include <string.h>

#include "registry/api/api_internal.h"

static void login_fill(const struct request *request, struct auth_login *out)
{
    *out = (struct auth_login){
        .remote = slice_of(request->remote),
        .network = request->network,
        .request_id = slice_of(request->id),
        .password_only = true,
    };
}

/* --- signing in and out --- */

enum { LOGIN_USERNAME, LOGIN_PASSWORD, LOGIN_COUNT };
static const struct json_member login_members[] = {
    [LOGIN_USERNAME] = {"username", JSON_TEXT, .required = true, .most = PASSWORD_TEXT_MAX},
    [LOGIN_PASSWORD] = {"password", JSON_SECRET, .required = true, .most = PASSWORD_TEXT_MAX},
};

static int end_session(const struct request *request, struct error *err) ON(worker_thread)
{
    const struct identity *caller = request->caller;
    OWNED(event_drop) struct event event = {0};

    if (caller->session == 0)
        return 0;
    event_new_id(&event, request, "session.delete", "session", caller->session);
    if (login_session_delete(request->services->storage, caller->session, caller->account,
                             event_done(&event), err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

static int sign_in(const struct request *request, const struct json_value *values,
                   const struct identity **out, struct error *err) ON(worker_thread)
{
    struct auth_login login;

    login_fill(request, &login);
    login.name = values[LOGIN_USERNAME].text;
    login.password = values[LOGIN_PASSWORD].text;
    if (auth_login(request->services->auth, &login, out, err) < 0)
        return -1;
    if ((*out)->account_kind != ACCOUNT_USER)
        return error_set(err, ERROR_UNAUTHORIZED, "the name or the password is wrong");
    return 0;
}

/* A browser that signs in again gets another session, and the one it had ends. */
int api_session_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(identity_drop) const struct identity *identity = NULL;
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE;
    struct json_value values[LOGIN_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(login_members), values, err) < 0 ||
        sign_in(request, values, &identity, err) < 0 ||
        auth_session_open(request->services->auth, identity, slice_of(request->remote),
                          request_header(request, "user-agent"), slice_of(request->id),
                          request->tls, &cookie, err) < 0 ||
        end_session(request, err) < 0)
        return -1;
    reply_header_slice(reply, "Set-Cookie", buffer_slice(&cookie));
    answer_done(reply);
    return 0;
}

int api_session_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(buffer_drop) struct buffer cookie = BUFFER_NONE;

    assert_worker_thread();
    if (end_session(request, err) < 0)
        return -1;
    auth_session_cookie_clear(request->tls, &cookie);
    if (cookie.size > 0)
        reply_header_slice(reply, "Set-Cookie", buffer_slice(&cookie));
    answer_done(reply);
    return 0;
}

/* --- who one is --- */

static const char *kind_of(const struct identity *caller)
{
    switch (caller->kind) {
    case IDENTITY_ANONYMOUS:
        return "anonymous";
    case IDENTITY_ACCOUNT:
        return api_kind_name(caller->account_kind);
    case IDENTITY_FOREIGN:
        return "foreign";
    case IDENTITY_LOCAL:
        return "local";
    case IDENTITY_OPEN:
        return "open";
    }
    return "anonymous";
}

/* What the caller's role lets him do beside repositories. */
static void write_can(struct buffer *out, enum account_role role)
{
    bool admin = role == ACCOUNT_ROLE_ADMIN;

    write_open(out, "can", '[');
    if (admin)
        write_text(out, NULL, SLICE("accounts"));
    if (admin || role == ACCOUNT_ROLE_AUDITOR)
        write_text(out, NULL, SLICE("audit"));
    if (admin || role == ACCOUNT_ROLE_OPERATOR)
        write_text(out, NULL, SLICE("system"));
    write_close(out, ']');
}

int api_session_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct identity *caller = request->caller;
    struct buffer body = BUFFER_NONE;

    (void)err;
    write_open(&body, NULL, '{');
    write_text(&body, "name", slice_of(caller->name));
    write_text(&body, "kind", slice_of(kind_of(caller)));
    write_text(&body, "role", slice_of(api_role_name(caller->role)));
    write_can(&body, caller->role);
    if (caller->session == 0)
        write_null(&body, "session");
    else
        write_i64(&body, "session", caller->session);
    write_time(&body, "password_at", caller->password_at);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

/* --- the first administrator --- */

int api_setup_get(struct request *request, struct reply *reply, struct error *err)
{
    char token[AUTH_SECRET_MAX] = "";
    struct buffer body = BUFFER_NONE;

    (void)err;
    auth_setup_token(request->services->auth, token);
    write_open(&body, NULL, '{');
    write_flag(&body, "needed", token[0] != 0);
    write_close(&body, '}');
    explicit_bzero(token, sizeof(token));
    answer_json(reply, &body);
    return 0;
}

enum { SETUP_TOKEN, SETUP_USERNAME, SETUP_PASSWORD, SETUP_COUNT };
static const struct json_member setup_members[] = {
    [SETUP_TOKEN] = {"token", JSON_SECRET, .required = true, .most = AUTH_SECRET_MAX},
    [SETUP_USERNAME] = {"username", JSON_TEXT, .required = true, .most = WORD_MAX},
    [SETUP_PASSWORD] = {"password", JSON_SECRET, .required = true, .most = PASSWORD_TEXT_MAX},
};

int api_setup_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct json_value values[SETUP_COUNT];
    struct buffer text = BUFFER_NONE;
    struct auth_login from;

    assert_worker_thread();
    login_fill(request, &from);
    if (json_read(&body, request, JSON_MEMBERS(setup_members), values, err) < 0)
        return -1;
    struct slice name = values[SETUP_USERNAME].text;
    if (api_account_name_check(name, "username", err) < 0 ||
        auth_setup(request->services->auth, values[SETUP_TOKEN].text, name,
                   values[SETUP_PASSWORD].text, &from, err) < 0 ||
        account_find(request->services->storage, name, &account, err) < 0)
        return -1;
    api_account_write(&text, &account);
    buffer_print(&location, "/api/v1/users/%s", account.name);
    answer_created(reply, buffer_slice(&location), account.version, &text);
    return 0;
}

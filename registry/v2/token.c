/* token.c - the token endpoint, where clients change credentials for a token, and the key set that
 * verifies it.
 * Touches  auth: log-ins, tokens, refresh tokens, the published keys.
 * Never    decides what is granted, keeps a credential, tells a log of a form. That nothing here is
 *          cached (TOK-19) is http's care, for answers and refusals alike.
 *
 * In mode none there is nothing to sign in to: all three answer as paths that do not exist, so that
 * a client told to log in learns at once that this registry wants none (TOK-25).
 *
 * Spec: token-auth sections 2 to 4, TOK-10 to TOK-29. */
#include <inttypes.h>

#include "auth/auth.h"
#include "registry/core/timestamp.h"
#include "registry/services.h"
#include "registry/v2/render.h"
#include "registry/v2/v2_internal.h"

enum { FORM_SIZE_MAX = 16384, KEYS_MAX_AGE_S = 300 };

/* --- what is asked --- */

/* Parameters of a query or fields of a form. */
struct fields {
    const struct parameter *items;
    size_t count;
};

/* What is wished for; freed with wanted_drop. */
struct wanted {
    struct token_wish wish;
    struct buffer scope;
};

static void wanted_drop(struct wanted *wanted)
{
    buffer_drop(&wanted->scope);
}

/* The value of what may be given once; SLICE_NONE: it was not. Of two, which one counts is a guess
 * that two readers make differently. */
static int single(const struct fields *fields, const char *name, struct slice *out,
                  struct error *err)
{
    *out = SLICE_NONE;
    for (size_t i = 0; i < fields->count; i++) {
        if (!slice_equal_text(fields->items[i].name, name))
            continue;
        if (out->at != NULL)
            return error_set(err, ERROR_BAD_REQUEST, "%s is given more than once", name);
        *out = fields->items[i].value;
    }
    return 0;
}

/* Several scopes in one and one in several mean the same. Spec: TOK-11. */
static void join_scopes(const struct fields *fields, struct buffer *out)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (!slice_equal_text(fields->items[i].name, "scope"))
            continue;
        if (out->size > 0)
            buffer_append_text(out, " ");
        buffer_append_slice(out, fields->items[i].value);
    }
}

/* offline, offline_value: how this way of asking asks for a refresh token. Spec: TOK-14, TOK-22. */
static int wanted_read(const struct fields *fields, const char *offline, const char *offline_value,
                       struct wanted *out, struct error *err)
{
    struct slice value;

    if (single(fields, "service", &value, err) < 0 || /* TOK-10: ours, whatever it says */
        single(fields, "client_id", &out->wish.client, err) < 0 ||
        single(fields, offline, &value, err) < 0)
        return -1;
    out->wish.offline = slice_equal_text(value, offline_value);
    join_scopes(fields, &out->scope);
    out->wish.scope = buffer_slice(&out->scope);
    return 0;
}

/* --- what is answered --- */

static void member(struct buffer *out, const char *name, struct slice value)
{
    buffer_append_text(out, out->size == 0 ? "{" : ",");
    buffer_append_json(out, slice_of(name));
    buffer_append_text(out, ":");
    buffer_append_json(out, value);
}

/* Some clients read token, some access_token. Spec: TOK-21, TOK-24. */
static void answer(struct reply *reply, struct token_given *given, bool oauth)
{
    struct buffer body = BUFFER_NONE;
    char issued[TIMESTAMP_MAX];

    member(&body, "token", buffer_slice(&given->token));
    member(&body, "access_token", buffer_slice(&given->token));
    if (oauth) {
        member(&body, "token_type", SLICE("Bearer"));
        member(&body, "scope", buffer_slice(&given->scope));
    }
    if (given->refresh.size > 0)
        member(&body, "refresh_token", buffer_slice(&given->refresh));
    member(&body, "issued_at", slice_of(timestamp_print(given->issued_at * 1000000, issued)));
    buffer_print(&body, ",\"expires_in\":%" PRIu64 "}", given->expires_in);
    reply->status = 200;
    render_json_head(reply);
    reply_text(reply, &body);
}

static int not_here(struct error *err)
{
    return error_set(err, ERROR_ROUTE_UNKNOWN, "no such resource: this registry asks for no token");
}

static bool is_open(const struct request *request)
{
    return request->caller != NULL && request->caller->kind == IDENTITY_OPEN;
}

/* --- GET --- */

/* Spec: TOK-10 to TOK-19. The credentials were judged before. */
int v2_token_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct fields query = {request->parameters, request->parameter_count};
    OWNED(wanted_drop) struct wanted wanted = {.wish.offline = false};
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};
    struct slice account;

    assert_worker_thread();
    if (is_open(request))
        return not_here(err);
    if (wanted_read(&query, "offline_token", "true", &wanted, err) < 0 ||
        single(&query, "account", &account, err) < 0)
        return -1;
    if (!auth_account_fits(request->caller, request_header(request, "authorization"), account))
        return error_set(err, ERROR_UNAUTHORIZED, "account is not who the credentials belong to");
    if (auth_token_issue(request->services->auth, request->caller, &wanted.wish, &given, err) < 0)
        return -1;
    answer(reply, &given, false);
    return 0;
}

/* --- POST --- */

uint64_t v2_token_limit(const struct services *services)
{
    (void)services;
    return FORM_SIZE_MAX;
}

static struct auth_login login_of(const struct request *request, struct slice name,
                                  struct slice password)
{
    return (struct auth_login){.name = name,
                               .password = password,
                               .remote = slice_of(request->remote),
                               .network = request->network,
                               .request_id = slice_of(request->id)};
}

static int password_read(const struct request *request, const struct fields *form,
                         struct auth_login *out, struct error *err)
{
    struct slice name, password;

    if (single(form, "username", &name, err) < 0 || single(form, "password", &password, err) < 0)
        return -1;
    if (name.at == NULL || password.at == NULL)
        return error_set(err, ERROR_BAD_REQUEST, "username and password are needed");
    *out = login_of(request, name, password);
    return 0;
}

/* Spec: TOK-16, TOK-24. */
static int grant_password(const struct request *request, const struct fields *form,
                          const struct token_wish *wish, struct token_given *given,
                          struct error *err) ON(worker_thread)
{
    OWNED(identity_drop) const struct identity *identity = NULL;
    struct auth *auth = request->services->auth;
    struct auth_login login;

    if (password_read(request, form, &login, err) < 0 ||
        auth_login(auth, &login, &identity, err) < 0)
        return -1;
    return auth_token_issue(auth, identity, wish, given, err);
}

/* Spec: TOK-27 to TOK-29. */
static int grant_refresh(const struct request *request, const struct fields *form,
                         const struct token_wish *wish, struct token_given *given,
                         struct error *err) ON(worker_thread)
{
    struct slice secret;

    if (single(form, "refresh_token", &secret, err) < 0)
        return -1;
    if (secret.at == NULL)
        return error_set(err, ERROR_BAD_REQUEST, "refresh_token is needed");
    struct auth_login login = login_of(request, SLICE_NONE, secret);
    return auth_token_refresh(request->services->auth, &login, wish, given, err);
}

static int grant(const struct request *request, const struct fields *form,
                 const struct token_wish *wish, struct token_given *given, struct error *err)
    ON(worker_thread)
{
    struct slice type;

    if (single(form, "grant_type", &type, err) < 0)
        return -1;
    if (type.at == NULL)
        return error_set(err, ERROR_BAD_REQUEST, "grant_type is needed");
    if (slice_equal_text(type, "password"))
        return grant_password(request, form, wish, given, err);
    if (slice_equal_text(type, "refresh_token"))
        return grant_refresh(request, form, wish, given, err);
    error_set(err, ERROR_UNSUPPORTED, "grant_type is neither password nor refresh_token");
    return error_set_status(err, 400); /* reply_error_oauth knows it by that */
}

/* Clients renew their tokens this way while others log in. What is malformed hashes nothing
 * either. */
bool v2_token_hashless(const struct request *request)
{
    OWNED(form_drop) struct form form = {.count = 0};
    struct error ignored = {0};
    struct auth_login login;
    struct slice type;

    if (form_parse(request, &form, &ignored) < 0)
        return true;
    const struct fields fields = {form.fields, form.count};
    return single(&fields, "grant_type", &type, &ignored) < 0 ||
           !slice_equal_text(type, "password") ||
           password_read(request, &fields, &login, &ignored) < 0 || !auth_login_hashes(&login);
}

int v2_token_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(form_drop) struct form form = {.count = 0};
    OWNED(wanted_drop) struct wanted wanted = {.wish.offline = false};
    OWNED(token_given_drop) struct token_given given = {.issued_at = 0};

    assert_worker_thread();
    if (is_open(request))
        return not_here(err);
    if (form_parse(request, &form, err) < 0)
        return -1;
    const struct fields fields = {form.fields, form.count};
    if (wanted_read(&fields, "access_type", "offline", &wanted, err) < 0 ||
        grant(request, &fields, &wanted.wish, &given, err) < 0)
        return -1;
    answer(reply, &given, true);
    return 0;
}

/* --- the published keys --- */

/* From the loop; false in mode none. Spec: TOK-49. */
bool v2_keys_peek(struct request *request, struct reply *reply)
{
    OWNED(buffer_drop) struct buffer set = BUFFER_NONE;
    char etag[17];

    auth_key_set(request->services->auth, &set, etag);
    if (set.size == 0)
        return false;
    reply_header(reply, "ETag", "\"%s\"", etag);
    reply_header(reply, "Cache-Control", "public, max-age=%d", KEYS_MAX_AGE_S);
    reply->status = render_not_modified(request, slice_of(etag)) ? 304 : 200;
    if (reply->status == 304)
        return true;
    render_json_head(reply);
    reply_text(reply, &set);
    return true;
}

int v2_keys_get(struct request *request, struct reply *reply, struct error *err)
{
    return v2_keys_peek(request, reply) ? 0 : not_here(err);
}

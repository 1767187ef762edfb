/* token.c - personal tokens: of oneself, of robots, of everybody.
 * Touches  storage: tokens. auth: makes secrets, compares scopes.
 * Never    shows a secret twice, makes a token that may more than who asks for it.
 *
 * Which tokens a route reaches follows from its path: /me its caller's own, /robots/<account> that
 * robot's, /tokens everybody's (administrators). What is out of reach is not there: 404. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/core/clock.h"

#define DAY_US (INT64_C(86400) * 1000000)

enum { EXPIRY_DAYS = 90, OVERLAP_MAX_S = 30 * 86400 };

int64_t api_token_expiry_default(void)
{
    return clock_now_us() + EXPIRY_DAYS * DAY_US;
}

void api_secret_wipe(struct auth_secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}

void api_token_write(struct buffer *out, const struct token *token, const char *secret)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", token->id);
    write_text(out, "account", slice_of(token->account));
    write_text(out, "label", slice_of(token->label));
    write_text(out, "hint", slice_of(token->hint));
    write_text(out, "scopes", slice_of(token->scopes));
    write_flag(out, "disabled", token->disabled);
    write_time(out, "created_at", token->created_at);
    write_time(out, "expires_at", token->expires_at);
    write_time(out, "rotated_at", token->rotated_at);
    write_time(out, "last_used_at", token->last_used_at);
    write_text_or_null(out, "last_used_from", token->last_used_from);
    write_i64(out, "version", token->version);
    if (secret != NULL)
        write_text(out, "secret", slice_of(secret));
    write_close(out, '}');
}

/* --- which ones --- */

static bool is_own_route(const struct request *request)
{
    return slice_starts(slice_of(request->route->pattern), "/api/v1/me/");
}

/* The personal token in the path, if the route reaches it. */
static int token_at(const struct request *request, struct token *out, struct error *err)
    ON(worker_thread)
{
    int64_t id;

    *out = (struct token){0};
    if (answer_id(request, &id, err) < 0 ||
        token_find_id(request->services->storage, id, out, err) < 0)
        return -1;
    if (out->kind != TOKEN_PERSONAL)
        return answer_missing(err);
    if (is_own_route(request) && out->account_id != request->caller->account)
        return answer_missing(err);
    return 0;
}

static int answer_list(const struct request *request, struct reply *reply, int64_t account,
                       struct error *err) ON(worker_thread)
{
    OWNED(token_page_drop) struct token_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    if (list_query_by_id(request, &query, err) < 0 ||
        token_list(request->services->storage, account, TOKEN_PERSONAL, query.after_id, query.limit,
                   &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        api_token_write(&body, &page.items[i], NULL);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0,
                   (int64_t)page.total);
    return 0;
}

int api_tokens_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_list(request, reply, 0, err);
}

int api_account_tokens_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_at(request, &account, err) < 0)
        return -1;
    return answer_list(request, reply, account.id, err);
}

int api_me_tokens_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_own(request, &account, err) < 0)
        return -1;
    return answer_list(request, reply, account.id, err);
}

int api_token_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(token_drop) struct token token = {0};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (token_at(request, &token, err) < 0)
        return -1;
    api_token_write(&body, &token, NULL);
    answer_item(request, reply, token.version, &body);
    return 0;
}

/* --- making --- */

static int check_scopes(const struct request *request, struct slice scopes, struct error *err)
{
    if (auth_token_scopes_within(request->caller, scopes))
        return 0;
    return error_set(err, ERROR_DENIED, "a token must not do more than the one who makes it");
}

int api_token_new(const struct request *request, const struct token_order *order,
                  struct token_new *out, struct auth_secret *secret, struct event *event,
                  struct error *err)
{
    const struct account *account = order->account;

    if (check_scopes(request, order->scopes, err) < 0)
        return -1;
    auth_secret_new(secret);
    *out = (struct token_new){
        .account_id = account->id,
        .kind = TOKEN_PERSONAL,
        .secret_hash = secret->hash,
        .hint = slice_of(secret->hint),
        .label = order->label,
        .scopes = order->scopes,
        .expires_at = order->expires_at,
    };
    event_new(event, request, "token.create", api_kind_name(account->kind),
              slice_of(account->name));
    write_text(&event->detail, "label", out->label);
    write_text(&event->detail, "hint", out->hint);
    write_text(&event->detail, "scopes", out->scopes);
    write_time(&event->detail, "expires_at", out->expires_at);
    return 0;
}

static void answer_made(const struct request *request, struct reply *reply,
                        const struct token *token, const struct auth_secret *secret)
{
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;

    api_token_write(&body, token, secret->text);
    buffer_append_text(&location, is_own_route(request) ? "/api/v1/me/tokens/" : "/api/v1/tokens/");
    buffer_append_u64(&location, (uint64_t)token->id);
    answer_created(reply, buffer_slice(&location), token->version, &body);
}

enum { POST_LABEL, POST_SCOPES, POST_EXPIRES, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_LABEL] = {"label", JSON_TEXT, .required = true, .least = 1, .most = LABEL_MAX},
    [POST_SCOPES] = {"scopes", JSON_TEXT, .most = SCOPES_TEXT_MAX},
    [POST_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
};

static int make_by_body(const struct request *request, struct reply *reply,
                        const struct account *account, struct error *err) ON(worker_thread)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(buffer_drop) struct buffer scopes = BUFFER_NONE;
    OWNED(event_drop) struct event event = {0};
    OWNED(token_drop) struct token token = {0};
    OWNED(api_secret_wipe) struct auth_secret secret = {{0}, {0}, {0}};
    struct token_order order = {.account = account};
    struct json_value values[POST_COUNT];
    struct token_new wanted;

    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0 ||
        api_expiry(&values[POST_EXPIRES], "expires_at", api_token_expiry_default(),
                   &order.expires_at, err) < 0)
        return -1;
    if (values[POST_SCOPES].text.size > 0 &&
        auth_token_scopes_check(values[POST_SCOPES].text, &scopes, err) < 0) {
        err->field = "scopes";
        return -1;
    }
    order.label = values[POST_LABEL].text;
    order.scopes = buffer_slice(&scopes);
    if (api_token_new(request, &order, &wanted, &secret, &event, err) < 0 ||
        token_create(request->services->storage, &wanted, event_done(&event), &token, err) < 0)
        return -1;
    answer_made(request, reply, &token, &secret);
    return 0;
}

/* A robot's secret that was stolen must not make itself brothers. */
int api_me_tokens_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_own(request, &account, err) < 0)
        return -1;
    if (account.kind == ACCOUNT_ROBOT)
        return error_set(err, ERROR_DENIED, "tokens of robots are made by administrators");
    return make_by_body(request, reply, &account, err);
}

int api_robot_tokens_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};

    assert_worker_thread();
    if (api_account_at(request, &account, err) < 0)
        return -1;
    return make_by_body(request, reply, &account, err);
}

/* --- rotating --- */

enum { ROTATE_OVERLAP, ROTATE_EXPIRES, ROTATE_COUNT };
static const struct json_member rotate_members[] = {
    [ROTATE_OVERLAP] = {"overlap_s", JSON_NUMBER, .most = OVERLAP_MAX_S},
    [ROTATE_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
};

/* As long as the one before. */
static int64_t same_life(const struct token *token)
{
    return token->expires_at == 0 ? 0 : clock_now_us() + token->expires_at - token->created_at;
}

/* Whose token it is; a secret of somebody else would let the caller act in his name. */
static int may_rotate(const struct request *request, const struct token *token, struct error *err)
    ON(worker_thread)
{
    OWNED(account_drop) struct account account = {0};

    if (account_find_id(request->services->storage, token->account_id, &account, err) < 0)
        return -1;
    if (account.kind == ACCOUNT_USER && account.id != request->caller->account)
        return error_set(err, ERROR_DENIED,
                         "a token of another user can be disabled or deleted, not rotated");
    if (token->disabled)
        return error_set(err, ERROR_CONFLICT, "the token is disabled");
    return check_scopes(request, slice_of(token->scopes), err);
}

int api_token_succeed(const struct request *request, struct reply *reply, const struct token *token,
                      struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(token_drop) struct token made = {0};
    OWNED(event_drop) struct event event = {0};
    OWNED(api_secret_wipe) struct auth_secret secret = {{0}, {0}, {0}};
    struct json_value values[ROTATE_COUNT];
    struct token_new wanted = {.account_id = token->account_id, .kind = TOKEN_PERSONAL};
    int64_t if_version;

    if (json_read(&body, request, JSON_MEMBERS(rotate_members), values, err) < 0 ||
        api_expiry(&values[ROTATE_EXPIRES], "expires_at", same_life(token), &wanted.expires_at,
                   err) < 0 ||
        may_rotate(request, token, err) < 0 ||
        answer_condition(request, token->version, &if_version, err) < 0)
        return -1;
    auth_secret_new(&secret);
    wanted.secret_hash = secret.hash;
    wanted.hint = slice_of(secret.hint);
    wanted.label = slice_of(token->label);
    wanted.scopes = slice_of(token->scopes);
    event_new_id(&event, request, "token.rotate", "token", token->id);
    write_text(&event.detail, "account", slice_of(token->account));
    write_i64(&event.detail, "overlap_s", values[ROTATE_OVERLAP].number);
    event_changed(&event, "hint", slice_of(token->hint), wanted.hint);
    if (token_rotate(request->services->storage, token->id, &wanted,
                     clock_now_us() + values[ROTATE_OVERLAP].number * 1000000, if_version,
                     event_done(&event), &made, err) < 0)
        return -1;
    answer_made(request, reply, &made, &secret);
    return 0;
}

int api_token_rotate(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(token_drop) struct token token = {0};

    assert_worker_thread();
    if (token_at(request, &token, err) < 0)
        return -1;
    return api_token_succeed(request, reply, &token, err);
}

/* --- disabling and deleting --- */

static int set_disabled(struct request *request, struct reply *reply, bool disabled,
                        struct error *err) ON(worker_thread)
{
    OWNED(token_drop) struct token token = {0};
    OWNED(token_drop) struct token now = {0};
    OWNED(event_drop) struct event event = {0};
    struct buffer body = BUFFER_NONE;
    int64_t if_version;

    if (token_at(request, &token, err) < 0 ||
        answer_condition(request, token.version, &if_version, err) < 0)
        return -1;
    event_new_id(&event, request, disabled ? "token.disable" : "token.enable", "token", token.id);
    write_text(&event.detail, "account", slice_of(token.account));
    if (token_set_disabled(request->services->storage, token.id, disabled, if_version,
                           event_done(&event), err) < 0 ||
        token_find_id(request->services->storage, token.id, &now, err) < 0)
        return -1;
    api_token_write(&body, &now, NULL);
    answer_item(request, reply, now.version, &body);
    return 0;
}

int api_token_disable(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return set_disabled(request, reply, true, err);
}

int api_token_enable(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return set_disabled(request, reply, false, err);
}

int api_token_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(token_drop) struct token token = {0};
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || token_at(request, &token, err) < 0 ||
        answer_condition(request, token.version, &if_version, err) < 0)
        return -1;
    if (dry_run) {
        answer_would_delete(reply, "tokens", 1);
        return 0;
    }
    event_new_id(&event, request, "token.delete", "token", token.id);
    write_text(&event.detail, "account", slice_of(token.account));
    write_text(&event.detail, "label", slice_of(token.label));
    if (token_delete(request->services->storage, token.id, if_version, event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

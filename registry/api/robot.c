/* robot.c - machines: making them with grants and a first token, changing them, a fresh secret.
 * Touches  storage: accounts, grants, tokens.
 * Never    gives a robot a password. */
#include <stdlib.h>

#include "registry/api/api_internal.h"
#include "registry/core/clock.h"

#define FIRST_LABEL SLICE("first")

/* --- making --- */

enum { POST_NAME, POST_DESCRIPTION, POST_EXPIRES, POST_TOKEN_EXPIRES, POST_GRANTS, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_NAME] = {"name", JSON_TEXT, .required = true, .most = WORD_MAX},
    [POST_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
    [POST_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
    [POST_TOKEN_EXPIRES] = {"token_expires_at", JSON_TIME, .nullable = true},
    [POST_GRANTS] = {"grants", JSON_LIST, .most = GRANTS_OF_ROBOT_MAX},
};

enum { GRANT_PATTERN, GRANT_LEVEL, GRANT_ACTIONS, GRANT_COUNT };
static const struct json_member grant_members[] = {
    [GRANT_PATTERN] = {"pattern", JSON_TEXT, .required = true, .least = 1, .most = PATTERN_MAX},
    [GRANT_LEVEL] = {"level", JSON_TEXT, .most = WORD_MAX},
    [GRANT_ACTIONS] = {"actions", JSON_LIST, .least = 1, .most = ACTIONS_MAX},
};

struct wishes {
    struct robot_grant items[GRANTS_OF_ROBOT_MAX];
    struct event events[GRANTS_OF_ROBOT_MAX];
    size_t count;
};

static void wishes_drop(struct wishes **wishes)
{
    for (size_t i = 0; i < (*wishes)->count; i++)
        event_drop(&(*wishes)->events[i]);
    free(*wishes);
}

/* All of them are checked before anything is made. */
static int wishes_read(const struct request *request, struct json_list list, struct wishes *out,
                       struct error *err) ON(worker_thread)
{
    struct json_value values[GRANT_COUNT];
    unsigned all = 0;
    const void *item;

    for (out->count = 0; json_next(&list, &item); out->count++) {
        struct robot_grant *wish = &out->items[out->count];
        if (json_read_item(item, "grants", JSON_MEMBERS(grant_members), values, err) < 0 ||
            api_rights_read(&values[GRANT_LEVEL], &values[GRANT_ACTIONS], "grants", ACCOUNT_ROBOT,
                            &wish->rights, err) < 0)
            return -1;
        wish->pattern = values[GRANT_PATTERN].text;
        all |= wish->rights;
        if (!pattern_valid(wish->pattern))
            return error_set_field(err, "grants",
                                   "pattern must be *, a repository, or a prefix that ends in /*");
        if (!auth_may_pattern(request->services->auth, request->caller, wish->pattern, RIGHT_ADMIN))
            return error_set(err, ERROR_DENIED, "granting on this pattern is not allowed");
    }
    return (all & RIGHT_ADMIN) == 0
               ? 0
               : auth_require_fresh(request->services->auth, request->caller, err);
}

/* The events of the grants, as of those that are given later. */
static void wishes_tell(const struct request *request, struct slice name, struct wishes *wishes)
{
    for (size_t i = 0; i < wishes->count; i++) {
        struct robot_grant *wish = &wishes->items[i];
        api_grant_event(&wishes->events[i], request, ACCOUNT_ROBOT, name, wish->pattern,
                        wish->rights);
        wish->event = event_done(&wishes->events[i]);
    }
}

static int make(const struct request *request, struct account *account, struct wishes *wishes,
                int64_t token_expires_at, struct token *token, struct auth_secret *secret,
                struct error *err) ON(worker_thread)
{
    const struct token_order first = {account, FIRST_LABEL, SLICE(""), token_expires_at};
    OWNED(event_drop) struct event event = {0};
    OWNED(event_drop) struct event token_event = {0};
    struct token_new wanted;

    if (api_token_new(request, &first, &wanted, secret, &token_event, err) < 0)
        return -1;
    wishes_tell(request, slice_of(account->name), wishes);
    event_new(&event, request, "robot.create", "robot", slice_of(account->name));
    write_time(&event.detail, "expires_at", account->expires_at);
    const struct robot_new robot = {
        .account = account,
        .event = event_done(&event),
        .grants = wishes->items,
        .grant_count = wishes->count,
        .token = &wanted,
        .token_event = event_done(&token_event),
    };
    return robot_create(request->services->storage, &robot, token, err);
}

static void answer_robot(struct reply *reply, const struct account *account,
                         const struct token *token, const struct auth_secret *secret)
{
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer part = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;

    buffer_print(&location, "/api/v1/robots/%s", account->name);
    api_account_write(&body, account);
    body.size--; /* the brace: one member more */
    api_token_write(&part, token, secret->text);
    write_raw(&body, "token", buffer_slice(&part));
    write_close(&body, '}');
    answer_created(reply, buffer_slice(&location), account->version, &body);
}

int api_robots_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {.kind = ACCOUNT_ROBOT};
    OWNED(token_drop) struct token token = {0};
    OWNED(api_secret_wipe) struct auth_secret secret = {{0}, {0}, {0}};
    OWNED(wishes_drop) struct wishes *wishes = memory_new(sizeof(*wishes));
    struct json_value values[POST_COUNT];
    int64_t token_expires_at;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0 ||
        api_account_name_check(values[POST_NAME].text, "name", err) < 0 ||
        api_expiry(&values[POST_EXPIRES], "expires_at", 0, &account.expires_at, err) < 0 ||
        api_expiry(&values[POST_TOKEN_EXPIRES], "token_expires_at", api_token_expiry_default(),
                   &token_expires_at, err) < 0 ||
        wishes_read(request, values[POST_GRANTS].list, wishes, err) < 0)
        return -1;
    account.name = memory_text(values[POST_NAME].text);
    account.description = memory_text(values[POST_DESCRIPTION].text);
    if (make(request, &account, wishes, token_expires_at, &token, &secret, err) < 0)
        return -1;
    answer_robot(reply, &account, &token, &secret);
    return 0;
}

/* --- changing --- */

enum { PATCH_DESCRIPTION, PATCH_DISABLED, PATCH_EXPIRES, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
    [PATCH_DISABLED] = {"disabled", JSON_FLAG, .required = false},
    [PATCH_EXPIRES] = {"expires_at", JSON_TIME, .nullable = true},
};

int api_robot_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    struct account_change change = {.role = NULL};
    int64_t expires_at;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        api_account_at(request, &account, err) < 0 ||
        api_expiry(&values[PATCH_EXPIRES], "expires_at", 0, &expires_at, err) < 0)
        return -1;
    event_new(&event, request, "robot.update", "robot", request->reference);
    if (values[PATCH_DESCRIPTION].given) {
        change.description = &values[PATCH_DESCRIPTION].text;
        event_changed(&event, "description", slice_of(account.description), *change.description);
    }
    if (values[PATCH_DISABLED].given) {
        change.disabled = &values[PATCH_DISABLED].flag;
        write_flag(&event.detail, "disabled", *change.disabled);
    }
    if (values[PATCH_EXPIRES].given) {
        change.expires_at = &expires_at;
        write_time(&event.detail, "expires_at", expires_at);
    }
    return api_account_change(request, reply, &account, &change, &event, err);
}

/* --- a fresh secret --- */

/* The one token that is in use; with more, the caller must say which one he means. */
static int only_token(const struct request *request, const struct account *account,
                      struct token *out, struct error *err) ON(worker_thread)
{
    OWNED(token_page_drop) struct token_page page = {0};
    int64_t now = clock_now_us(), id = 0;
    size_t live = 0;

    if (token_list(request->services->storage, account->id, TOKEN_PERSONAL, 0, TOKENS_MAX, &page,
                   err) < 0)
        return -1;
    for (size_t i = 0; i < page.count; i++) {
        const struct token *token = &page.items[i];
        bool ended = token->expires_at != 0 && token->expires_at <= now;
        if (token->disabled || token->rotated_at != 0 || ended)
            continue;
        id = token->id;
        live++;
    }
    if (live != 1 || page.more)
        return error_set(err, ERROR_CONFLICT, "%s has %zu tokens in use: rotate one of them by id",
                         account->name, live);
    return token_find_id(request->services->storage, id, out, err);
}

int api_robot_rotate(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(account_drop) struct account account = {0};
    OWNED(token_drop) struct token token = {0};

    assert_worker_thread();
    if (api_account_at(request, &account, err) < 0 ||
        only_token(request, &account, &token, err) < 0)
        return -1;
    return api_token_succeed(request, reply, &token, err);
}

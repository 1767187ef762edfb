/* grant.c - who may do what with which repositories.
 * Touches  storage: grants.
 * Never    lets somebody give what he does not have.
 *
 * Administrators deal with all grants; who has RIGHT_ADMIN on everything a pattern covers deals
 * with the grants of such patterns and does not see the others; auditors see all. */
#include <string.h>

#include "registry/api/api_internal.h"

enum { SCAN_SIZE = 500, SCANS_MAX = 20 }; /* grants looked at for one page of what one may see */

/* --- words --- */

static const struct {
    const char *name;
    unsigned rights;
} levels[] = {
    {"read", LEVEL_READ},
    {"write", LEVEL_WRITE},
    {"maintain", LEVEL_MAINTAIN},
    {"admin", LEVEL_ADMIN},
};
static const struct {
    const char *name;
    unsigned right;
} actions_known[] = {
    {"pull", RIGHT_PULL},
    {"push", RIGHT_PUSH},
    {"delete", RIGHT_DELETE},
    {"admin", RIGHT_ADMIN},
};
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static const char *level_name(unsigned rights)
{
    for (size_t i = 0; i < LENGTH(levels); i++)
        if (levels[i].rights == rights)
            return levels[i].name;
    return NULL;
}

void api_rights_write(struct buffer *out, const char *name, unsigned rights)
{
    write_open(out, name, '[');
    for (size_t i = 0; i < LENGTH(actions_known); i++)
        if ((rights & actions_known[i].right) != 0)
            write_text(out, NULL, slice_of(actions_known[i].name));
    write_close(out, ']');
}

static void grant_write(struct buffer *out, const struct grant *grant)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", grant->id);
    write_text(out, "account", slice_of(grant->account));
    write_text(out, "kind", slice_of(api_kind_name(grant->kind)));
    write_text(out, "pattern", slice_of(grant->pattern));
    write_text_or_null(out, "level", level_name(grant->rights));
    api_rights_write(out, "actions", grant->rights);
    write_time(out, "created_at", grant->created_at);
    write_i64(out, "version", grant->version);
    write_close(out, '}');
}

static int level_read(struct slice text, const char *field, unsigned *out, struct error *err)
{
    for (size_t i = 0; i < LENGTH(levels); i++) {
        if (!slice_equal_text(text, levels[i].name))
            continue;
        *out = levels[i].rights;
        return 0;
    }
    return error_set_field(err, field, "level must be read, write, maintain or admin");
}

static int actions_read(struct json_list list, const char *field, unsigned *out, struct error *err)
{
    const void *item;
    struct slice word;

    *out = 0;
    while (json_next(&list, &item)) {
        size_t i = 0;
        if (json_read_word(item, field, &word, err) < 0)
            return -1;
        while (i < LENGTH(actions_known) && !slice_equal_text(word, actions_known[i].name))
            i++;
        if (i == LENGTH(actions_known))
            return error_set_field(
                err, field,
                "actions are pull, push, delete and admin; levels are read, write, "
                "maintain and admin");
        *out |= actions_known[i].right;
    }
    return 0;
}

int api_rights_read(const struct json_value *level, const struct json_value *actions,
                    const char *field, enum account_kind kind, unsigned *out, struct error *err)
{
    if (level->given == actions->given)
        return error_set_field(err, field == NULL ? "level" : field,
                               "one of level and actions must be given");
    if (level->given)
        return level_read(level->text, field == NULL ? "level" : field, out, err);
    if (actions_read(actions->list, field == NULL ? "actions" : field, out, err) < 0)
        return -1;
    if (kind == ACCOUNT_USER && level_name(*out) == NULL)
        return error_set_field(err, field == NULL ? "actions" : field,
                               "a user's actions must be those of a level");
    return 0;
}

/* --- who may --- */

static bool may_manage(const struct request *request, struct slice pattern) ON(worker_thread)
{
    return auth_may_pattern(request->services->auth, request->caller, pattern, RIGHT_ADMIN);
}

static bool sees_all(const struct request *request) ON(worker_thread)
{
    return request->caller->role == ACCOUNT_ROLE_AUDITOR || may_manage(request, SLICE("*"));
}

/* The grant in the path, if the caller may see it; to change it he must manage its pattern. */
static int grant_at(const struct request *request, bool changes, struct grant *out,
                    struct error *err) ON(worker_thread)
{
    int64_t id;

    *out = (struct grant){0};
    if (answer_id(request, &id, err) < 0 ||
        grant_find(request->services->storage, id, out, err) < 0)
        return -1;
    if (may_manage(request, slice_of(out->pattern)))
        return 0;
    if (!sees_all(request))
        return answer_missing(err);
    return changes ? error_set(err, ERROR_DENIED, "changing this grant is not allowed") : 0;
}

/* --- lists --- */

static int query_read(const struct request *request, struct list_query *list,
                      struct grant_query *out, struct error *err)
{
    if (list_query_by_id(request, list, err) < 0)
        return -1;
    *out = (struct grant_query){
        .account = request_parameter(request, "account"),
        .covers = request_parameter(request, "repository"),
        .within = request_parameter(request, "within"),
        .after_id = list->after_id,
        .limit = list->limit,
    };
    if (out->within.at != NULL && !pattern_valid(out->within))
        return error_set_field(err, "within", "within is not a pattern");
    return 0;
}

static int answer_all(const struct request *request, struct reply *reply,
                      const struct grant_query *query, struct error *err) ON(worker_thread)
{
    OWNED(grant_page_drop) struct grant_page page = {0};
    struct buffer body = BUFFER_NONE;

    if (grant_list(request->services->storage, query, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        grant_write(&body, &page.items[i]);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0,
                   (int64_t)page.total);
    return 0;
}

/* Adds what the caller manages of one page; query->after_id becomes the last grant looked at. True
 * when the page of the answer is full. */
static bool add_managed(const struct request *request, const struct grant_page *page, size_t limit,
                        struct grant_query *query, size_t *shown, struct buffer *body)
    ON(worker_thread)
{
    for (size_t i = 0; i < page->count; i++) {
        if (*shown == limit)
            return true;
        query->after_id = page->items[i].id;
        if (!may_manage(request, slice_of(page->items[i].pattern)))
            continue;
        grant_write(body, &page->items[i]);
        (*shown)++;
    }
    return false;
}

/* Looks through at most SCANS_MAX pages: one that shows few, or none, may have a next. */
static int answer_managed(const struct request *request, struct reply *reply,
                          struct grant_query *query, struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    size_t limit = query->limit, shown = 0;
    bool full = false, more = true;

    query->limit = SCAN_SIZE;
    list_open(&body);
    for (int scan = 0; scan < SCANS_MAX && more && !full; scan++) {
        OWNED(grant_page_drop) struct grant_page page = {0};
        if (grant_list(request->services->storage, query, &page, err) < 0)
            return -1;
        full = add_managed(request, &page, limit, query, &shown, &body);
        more = full || (page.more && page.count > 0);
    }
    list_answer_id(request, reply, &body, more ? query->after_id : 0, -1);
    return 0;
}

int api_grants_get(struct request *request, struct reply *reply, struct error *err)
{
    struct list_query list;
    struct grant_query query;

    assert_worker_thread();
    if (query_read(request, &list, &query, err) < 0)
        return -1;
    return sees_all(request) ? answer_all(request, reply, &query, err)
                             : answer_managed(request, reply, &query, err);
}

int api_grant_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(grant_drop) struct grant grant = {0};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (grant_at(request, false, &grant, err) < 0)
        return -1;
    grant_write(&body, &grant);
    answer_item(request, reply, grant.version, &body);
    return 0;
}

/* --- changing --- */

void api_grant_event(struct event *event, const struct request *request, enum account_kind kind,
                     struct slice account, struct slice pattern, unsigned rights)
{
    event_new(event, request, "grant.put", api_kind_name(kind), account);
    write_text(&event->detail, "pattern", pattern);
    api_rights_write(&event->detail, "actions", rights);
}

static int put(const struct request *request, enum account_kind kind, struct slice account,
               struct slice pattern, unsigned rights, int64_t if_version, struct grant *out,
               bool *created, struct error *err) ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};

    if (!may_manage(request, pattern))
        return error_set(err, ERROR_DENIED, "granting on this pattern is not allowed");
    if ((rights & RIGHT_ADMIN) != 0 &&
        auth_require_fresh(request->services->auth, request->caller, err) < 0)
        return -1;
    api_grant_event(&event, request, kind, account, pattern, rights);
    return grant_put(request->services->storage, account, pattern, rights, if_version,
                     event_done(&event), out, created, err);
}

enum { POST_ACCOUNT, POST_PATTERN, POST_LEVEL, POST_ACTIONS, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_ACCOUNT] = {"account", JSON_TEXT, .required = true, .least = 1, .most = WORD_MAX},
    [POST_PATTERN] = {"pattern", JSON_TEXT, .required = true, .least = 1, .most = PATTERN_MAX},
    [POST_LEVEL] = {"level", JSON_TEXT, .most = WORD_MAX},
    [POST_ACTIONS] = {"actions", JSON_LIST, .least = 1, .most = ACTIONS_MAX},
};

/* The account is looked up after the pattern was found to be the caller's: to others it is not
 * told who exists. */
static int find_account(const struct request *request, const struct json_value *values,
                        struct account *out, struct error *err) ON(worker_thread)
{
    struct slice name = values[POST_ACCOUNT].text;

    if (!pattern_valid(values[POST_PATTERN].text))
        return error_set_field(err, "pattern",
                               "pattern must be *, a repository, or a prefix that ends in /*");
    if (!may_manage(request, values[POST_PATTERN].text))
        return error_set(err, ERROR_DENIED, "granting on this pattern is not allowed");
    if (auth_account_name_valid(name) &&
        account_find(request->services->storage, name, out, err) == 0)
        return 0;
    if (err->code != ERROR_NONE && err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return error_set_field(err, "account", "there is no such account");
}

int api_grants_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(account_drop) struct account account = {0};
    OWNED(grant_drop) struct grant grant = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct json_value values[POST_COUNT];
    struct buffer text = BUFFER_NONE;
    unsigned rights;
    bool created;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0 ||
        find_account(request, values, &account, err) < 0 ||
        api_rights_read(&values[POST_LEVEL], &values[POST_ACTIONS], NULL, account.kind, &rights,
                        err) < 0 ||
        put(request, account.kind, values[POST_ACCOUNT].text, values[POST_PATTERN].text, rights, 0,
            &grant, &created, err) < 0)
        return -1;
    grant_write(&text, &grant);
    if (!created) {
        answer_item(request, reply, grant.version, &text);
        return 0;
    }
    buffer_append_text(&location, "/api/v1/grants/");
    buffer_append_u64(&location, (uint64_t)grant.id);
    answer_created(reply, buffer_slice(&location), grant.version, &text);
    return 0;
}

enum { PATCH_LEVEL, PATCH_ACTIONS, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_LEVEL] = {"level", JSON_TEXT, .most = WORD_MAX},
    [PATCH_ACTIONS] = {"actions", JSON_LIST, .least = 1, .most = ACTIONS_MAX},
};

int api_grant_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(grant_drop) struct grant grant = {0};
    OWNED(grant_drop) struct grant now = {0};
    struct json_value values[PATCH_COUNT];
    struct buffer text = BUFFER_NONE;
    int64_t if_version;
    unsigned rights;
    bool created;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        grant_at(request, true, &grant, err) < 0 ||
        answer_condition(request, grant.version, &if_version, err) < 0 ||
        api_rights_read(&values[PATCH_LEVEL], &values[PATCH_ACTIONS], NULL, grant.kind, &rights,
                        err) < 0 ||
        put(request, grant.kind, slice_of(grant.account), slice_of(grant.pattern), rights,
            grant.version, &now, &created, err) < 0)
        return -1;
    grant_write(&text, &now);
    answer_item(request, reply, now.version, &text);
    return 0;
}

int api_grant_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(grant_drop) struct grant grant = {0};
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || grant_at(request, true, &grant, err) < 0 ||
        answer_condition(request, grant.version, &if_version, err) < 0)
        return -1;
    if (dry_run) {
        answer_would_delete(reply, "grants", 1);
        return 0;
    }
    event_new(&event, request, "grant.delete", api_kind_name(grant.kind), slice_of(grant.account));
    write_text(&event.detail, "pattern", slice_of(grant.pattern));
    api_rights_write(&event.detail, "actions", grant.rights);
    if (grant_delete(request->services->storage, grant.id, if_version, event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

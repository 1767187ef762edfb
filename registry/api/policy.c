/* policy.c - rules of retention: those of patterns, a repository's own, and what they would do.
 * Touches  storage: policies; retention reads what is in repositories.
 * Never    removes an image: jobs of the kind policy do.
 *
 * A preview holds in memory what the repository has, so only some run at a time.
 *
 * Rules are ECR's lifecycle JSON and more, see registry/retention/policy.h; answers show them as
 * they were understood. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "registry/api/api_internal.h"
#include "registry/retention/retention.h"

static const char *const modes[] = {
    [POLICY_OFF] = "off", [POLICY_REPORT] = "report", [POLICY_ENFORCE] = "enforce"};

static void policy_write(struct buffer *out, const char *name, const struct policy *policy)
{
    write_open(out, name, '{');
    write_i64(out, "id", policy->id);
    write_text(out, "pattern", slice_of(policy->pattern));
    write_text(out, "mode", slice_of(modes[policy->mode]));
    write_raw(out, "rules", slice_of(policy->rules));
    write_time(out, "created_at", policy->created_at);
    write_time(out, "updated_at", policy->updated_at);
    write_i64(out, "version", policy->version);
    write_close(out, '}');
}

static void answer_policy(const struct request *request, struct reply *reply,
                          const struct policy *policy, bool created)
{
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;

    policy_write(&body, NULL, policy);
    if (!created) {
        answer_item(request, reply, policy->version, &body);
        return;
    }
    buffer_append_text(&location, "/api/v1/policies/");
    buffer_append_u64(&location, (uint64_t)policy->id);
    answer_created(reply, buffer_slice(&location), policy->version, &body);
}

/* --- what a body says --- */

static int mode_read(struct slice text, enum policy_mode *out, struct error *err)
{
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
        if (slice_equal_text(text, modes[i])) {
            *out = (enum policy_mode)i;
            return 0;
        }
    return error_set_field(err, "mode", "mode must be off, report or enforce");
}

/* The member as it was understood. */
static int rules_read(const struct json_value *value, struct buffer *out, struct error *err)
{
    OWNED(memory_drop) char *text = json_dumps(value->list.array, JSON_COMPACT);

    if (text == NULL)
        return error_set_field(err, "rules", "rules cannot be read");
    return retention_check(slice_of(text), out, err);
}

/* --- changing --- */

static int put(const struct request *request, const struct policy *old, const char *action,
               const struct policy_put *put, struct policy *out, bool *created, struct error *err)
    ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};

    event_new(&event, request, action, "policy", put->pattern);
    if (old->pattern == NULL)
        write_text(&event.detail, "mode", slice_of(modes[put->mode]));
    else
        event_changed(&event, "mode", slice_of(modes[old->mode]), slice_of(modes[put->mode]));
    if (old->pattern == NULL || !slice_equal_text(put->rules, old->rules))
        write_raw(&event.detail, "rules", put->rules);
    return policy_put(request->services->storage, put, event_done(&event), out, created, err);
}

static int policy_at(const struct request *request, struct policy *out, struct error *err)
    ON(worker_thread)
{
    int64_t id;

    return answer_id(request, &id, err) < 0 ? -1
                                            : policy_find(request->services->storage, id, out, err);
}

static int erase(const struct request *request, struct reply *reply, const struct policy *policy,
                 struct error *err) ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;
    bool dry_run;

    if (answer_dry_run(request, &dry_run, err) < 0 ||
        answer_condition(request, policy->version, &if_version, err) < 0)
        return -1;
    if (dry_run) {
        answer_would_delete(reply, "policies", 1);
        return 0;
    }
    event_new(&event, request, "policy.delete", "policy", slice_of(policy->pattern));
    write_text(&event.detail, "mode", slice_of(modes[policy->mode]));
    write_raw(&event.detail, "rules", slice_of(policy->rules));
    if (policy_delete(request->services->storage, policy->id, if_version, event_done(&event), err) <
        0)
        return -1;
    answer_done(reply);
    return 0;
}

/* --- of patterns --- */

/* ?pattern=: the one with it, if there is one. */
static int list(const struct request *request, struct slice pattern, const struct list_query *query,
                struct policies *out, struct error *err) ON(worker_thread)
{
    struct storage *store = request->services->storage;

    if (pattern.at == NULL)
        return policy_list(store, query->after_id, query->limit, out, err);
    out->items = memory_new(sizeof(*out->items));
    if (policy_find_pattern(store, pattern, out->items, err) == 0) {
        out->count = 1;
        return 0;
    }
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

int api_policies_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(policies_drop) struct policies page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (list_query_by_id(request, &query, err) < 0 ||
        list(request, request_parameter(request, "pattern"), &query, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        policy_write(&body, NULL, &page.items[i]);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0, -1);
    return 0;
}

int api_policy_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(policy_drop) struct policy policy = {0};

    assert_worker_thread();
    if (policy_at(request, &policy, err) < 0)
        return -1;
    answer_policy(request, reply, &policy, false);
    return 0;
}

enum { POST_PATTERN, POST_MODE, POST_RULES, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_PATTERN] = {"pattern", JSON_TEXT, .required = true, .least = 1, .most = PATTERN_MAX},
    [POST_MODE] = {"mode", JSON_TEXT, .required = true, .most = WORD_MAX},
    [POST_RULES] = {"rules", JSON_LIST, .required = true, .most = INT64_MAX},
};

int api_policies_post(struct request *request, struct reply *reply, struct error *err)
{
    static const struct policy none = {.id = 0};
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(buffer_drop) struct buffer rules = BUFFER_NONE;
    OWNED(policy_drop) struct policy policy = {0};
    struct json_value values[POST_COUNT];
    struct policy_put order = {.must_be_new = true};
    bool created;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0)
        return -1;
    order.pattern = values[POST_PATTERN].text;
    if (!pattern_valid(order.pattern))
        return error_set_field(err, "pattern",
                               "pattern must be *, a repository, or a prefix that ends in /*");
    if (mode_read(values[POST_MODE].text, &order.mode, err) < 0 ||
        rules_read(&values[POST_RULES], &rules, err) < 0)
        return -1;
    order.rules = buffer_slice(&rules);
    if (put(request, &none, "policy.create", &order, &policy, &created, err) < 0)
        return -1;
    answer_policy(request, reply, &policy, true);
    return 0;
}

enum { CHANGE_MODE, CHANGE_RULES, CHANGE_COUNT };
static const struct json_member patch_members[] = {
    [CHANGE_MODE] = {"mode", JSON_TEXT, .most = WORD_MAX},
    [CHANGE_RULES] = {"rules", JSON_LIST, .most = INT64_MAX},
};
static const struct json_member put_members[] = {
    [CHANGE_MODE] = {"mode", JSON_TEXT, .required = true, .most = WORD_MAX},
    [CHANGE_RULES] = {"rules", JSON_LIST, .required = true, .most = INT64_MAX},
};

/* What is not given stays. old->pattern NULL: there is none yet, and all is given. */
static int change(const struct request *request, struct reply *reply, const struct policy *old,
                  struct slice pattern, const struct json_value *values, struct error *err)
    ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer rules = BUFFER_NONE;
    OWNED(policy_drop) struct policy now = {0};
    struct policy_put order = {.pattern = pattern, .mode = old->mode};
    bool created;

    if (answer_condition(request, old->version, &order.if_version, err) < 0 ||
        (values[CHANGE_MODE].given && mode_read(values[CHANGE_MODE].text, &order.mode, err) < 0) ||
        (values[CHANGE_RULES].given && rules_read(&values[CHANGE_RULES], &rules, err) < 0))
        return -1;
    order.rules = values[CHANGE_RULES].given ? buffer_slice(&rules) : slice_of(old->rules);
    order.must_be_new = old->pattern == NULL;
    if (old->pattern != NULL)
        order.if_version = old->version; /* what stays is what was read */
    if (put(request, old, old->pattern == NULL ? "policy.create" : "policy.update", &order, &now,
            &created, err) < 0)
        return -1;
    answer_policy(request, reply, &now, created);
    return 0;
}

static int change_at(const struct request *request, struct reply *reply,
                     const struct json_member *members, struct error *err) ON(worker_thread)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(policy_drop) struct policy policy = {0};
    struct json_value values[CHANGE_COUNT];

    if (json_read(&body, request, members, CHANGE_COUNT, values, err) < 0 ||
        policy_at(request, &policy, err) < 0)
        return -1;
    return change(request, reply, &policy, slice_of(policy.pattern), values, err);
}

int api_policy_put(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return change_at(request, reply, put_members, err);
}

int api_policy_patch(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return change_at(request, reply, patch_members, err);
}

int api_policy_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(policy_drop) struct policy policy = {0};

    assert_worker_thread();
    return policy_at(request, &policy, err) < 0 ? -1 : erase(request, reply, &policy, err);
}

/* --- of one repository --- */

/* The policy whose pattern is its name; pattern NULL: it has none. NOT_FOUND  no such repository */
static int own_policy(const struct request *request, struct policy *out, struct error *err)
    ON(worker_thread)
{
    struct storage *store = request->services->storage;
    OWNED(repository_drop) struct repository repository = {0};

    if (repository_find(store, request->name, &repository, err) < 0)
        return -1;
    if (policy_find_pattern(store, request->name, out, err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

int api_repo_policy_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(policy_drop) struct policy own = {0};
    OWNED(policies_drop) struct policies effective = {0};
    struct buffer body = BUFFER_NONE;
    size_t deciding;

    assert_worker_thread();
    if (own_policy(request, &own, err) < 0 ||
        retention_effective(request->services->storage, request->name, &effective, &deciding, err) <
            0)
        return -1;
    write_open(&body, NULL, '{');
    if (own.pattern == NULL)
        write_null(&body, "own");
    else
        policy_write(&body, "own", &own);
    write_text_or_null(&body, "deciding",
                       deciding == SIZE_MAX ? NULL : effective.items[deciding].pattern);
    write_open(&body, "policies", '[');
    for (size_t i = 0; i < effective.count; i++)
        policy_write(&body, NULL, &effective.items[i]);
    write_close(&body, ']');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

int api_repo_policy_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(policy_drop) struct policy policy = {0};
    struct json_value values[CHANGE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(put_members), values, err) < 0 ||
        own_policy(request, &policy, err) < 0)
        return -1;
    return change(request, reply, &policy, request->name, values, err);
}

int api_repo_policy_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(policy_drop) struct policy policy = {0};

    assert_worker_thread();
    if (own_policy(request, &policy, err) < 0)
        return -1;
    return policy.pattern == NULL ? answer_missing(err) : erase(request, reply, &policy, err);
}

/* --- what would happen --- */

static void item_write(struct buffer *out, const struct retention *retention, size_t place)
{
    OWNED(buffer_drop) struct buffer reason = BUFFER_NONE;
    const struct retention_item item = retention_at(retention, place);
    char digest[DIGEST_TEXT_MAX];

    retention_reason(retention, place, &reason);
    write_open(out, NULL, '{');
    write_text(out, "digest", slice_of(digest_text(&item.image->digest, digest)));
    write_text(out, "media_type", slice_of(item.image->media_type));
    write_open(out, "tags", '[');
    for (size_t i = 0; i < item.image->tag_count; i++)
        write_text(out, NULL, slice_of(item.image->tags[i].name));
    write_close(out, ']');
    write_i64(out, "size", (int64_t)item.image->total_size);
    write_time(out, "pushed_at", item.image->pushed_at);
    write_time(out, "pulled_at", item.image->pulled_at);
    write_text(out, "verdict",
               item.expires   ? SLICE("expires")
               : item.follows ? SLICE("follows")
                              : SLICE("stays"));
    write_text_or_null(out, "policy", item.policy == NULL ? NULL : item.policy->pattern);
    if (item.priority == 0)
        write_null(out, "priority");
    else
        write_i64(out, "priority", item.priority);
    write_text(out, "reason", buffer_slice(&reason));
    write_close(out, '}');
}

static void sums_write(struct buffer *out, const struct retention *retention)
{
    const struct retention_sums *sums = retention_sums(retention);
    const struct policy *deciding = retention_deciding(retention);

    write_text_or_null(out, "deciding", deciding == NULL ? NULL : deciding->pattern);
    write_text_or_null(out, "mode", deciding == NULL ? NULL : modes[deciding->mode]);
    write_i64(out, "manifests", (int64_t)sums->manifests);
    write_i64(out, "expires", (int64_t)sums->expires);
    write_i64(out, "tags", (int64_t)sums->tags);
    write_i64(out, "follows", (int64_t)sums->follows);
    write_i64(out, "blobs", (int64_t)sums->blobs);
    write_i64(out, "bytes", (int64_t)sums->bytes);
}

/* Newest first; going: only what does not stay. */
static void answer_preview(const struct request *request, struct reply *reply,
                           const struct retention *retention, const struct list_query *query,
                           bool going)
{
    struct buffer body = BUFFER_NONE;
    size_t shown = 0;
    int64_t last = 0, next = 0;

    write_open(&body, NULL, '{');
    sums_write(&body, retention);
    write_open(&body, "items", '[');
    for (size_t i = retention_count(retention); i-- > 0 && next == 0;) {
        const struct retention_item item = retention_at(retention, i);
        if ((query->after_id != 0 && item.image->id >= query->after_id) ||
            (going && !item.expires && !item.follows))
            continue;
        if (shown++ == query->limit) {
            next = last;
            continue;
        }
        item_write(&body, retention, i);
        last = item.image->id;
    }
    list_answer_id(request, reply, &body, next, -1);
}

static const struct json_member preview_members[] = {
    {"rules", JSON_LIST, .most = INT64_MAX},
};

int api_repo_policy_preview(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(buffer_drop) struct buffer rules = BUFFER_NONE;
    OWNED(api_long_read_end) atomic_uint *reads = NULL;
    OWNED(retention_drop) struct retention *retention = NULL;
    struct json_value value;
    struct list_query query;
    bool going;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(preview_members), &value, err) < 0 ||
        list_query_by_id(request, &query, err) < 0 ||
        answer_flag(request, "going", &going, err) < 0 ||
        (value.given && rules_read(&value, &rules, err) < 0) ||
        api_long_read_begin(request, &reads, err) < 0 ||
        retention_open(&retention, request->services->storage, request->name,
                       value.given ? buffer_slice(&rules) : SLICE_NONE, err) < 0)
        return -1;
    answer_preview(request, reply, retention, &query, going);
    return 0;
}

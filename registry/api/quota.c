/* quota.c - quotas: limits in bytes of repositories and accounts; what the store holds.
 * Touches  storage: rows of quotas, sums.
 * Never    refuses a push: storage does. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "storage/quota.h"

static const char *kind_name(enum quota_kind kind)
{
    return kind == QUOTA_ACCOUNT ? "account" : "repositories";
}

static void quota_write(struct buffer *out, const struct quota *quota)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", quota->id);
    write_text(out, "kind", slice_of(kind_name(quota->kind)));
    write_text(out, "subject", slice_of(quota->subject));
    write_i64(out, "bytes", (int64_t)quota->bytes);
    write_i64(out, "used", (int64_t)quota->used);
    write_i64(out, "reserved", (int64_t)quota->reserved);
    write_time(out, "created_at", quota->created_at);
    write_i64(out, "version", quota->version);
    write_close(out, '}');
}

static void quota_event(struct event *event, const struct request *request, const char *action,
                        enum quota_kind kind, struct slice subject)
{
    event_new(event, request, action, kind == QUOTA_ACCOUNT ? "account" : "repository", subject);
}

/* --- lists --- */

int api_quotas_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(quota_page_drop) struct quota_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct list_query query;

    assert_worker_thread();
    if (list_query_by_id(request, &query, err) < 0 ||
        quota_list(request->services->storage, query.after_id, query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        quota_write(&body, &page.items[i]);
    list_answer_id(request, reply, &body,
                   page.more && page.count > 0 ? page.items[page.count - 1].id : 0, -1);
    return 0;
}

static int quota_at(const struct request *request, struct quota *out, struct error *err)
    ON(worker_thread)
{
    int64_t id;

    return answer_id(request, &id, err) < 0 ? -1
                                            : quota_find(request->services->storage, id, out, err);
}

int api_quota_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(quota_drop) struct quota quota = {0};
    struct buffer body = BUFFER_NONE;

    assert_worker_thread();
    if (quota_at(request, &quota, err) < 0)
        return -1;
    quota_write(&body, &quota);
    answer_json(reply, &body); /* used moves without the version: no ETag that promises otherwise */
    return 0;
}

/* --- changing --- */

enum { POST_KIND, POST_SUBJECT, POST_BYTES, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_KIND] = {"kind", JSON_TEXT, .required = true, .most = WORD_MAX},
    [POST_SUBJECT] = {"subject", JSON_TEXT, .required = true, .least = 1, .most = PATTERN_MAX},
    [POST_BYTES] = {"bytes", JSON_NUMBER, .required = true, .least = 0, .most = INT64_MAX},
};

static int kind_read(struct slice text, struct slice subject, enum quota_kind *out,
                     struct error *err)
{
    *out = slice_equal_text(text, "account") ? QUOTA_ACCOUNT : QUOTA_REPOSITORIES;
    if (*out == QUOTA_ACCOUNT)
        return api_account_name_check(subject, "subject", err);
    if (!slice_equal_text(text, "repositories"))
        return error_set_field(err, "kind", "kind must be repositories or account");
    if (!pattern_valid(subject))
        return error_set_field(err, "subject",
                               "subject must be *, a repository, or a prefix that ends in /*");
    return 0;
}

/* Who lacks the account is told so by the member at fault. */
static int create(const struct request *request, enum quota_kind kind,
                  const struct json_value *values, struct quota *out, struct error *err)
    ON(worker_thread)
{
    OWNED(event_drop) struct event event = {0};

    quota_event(&event, request, "quota.create", kind, values[POST_SUBJECT].text);
    write_i64(&event.detail, "bytes", values[POST_BYTES].number);
    if (quota_create(request->services->storage, kind, values[POST_SUBJECT].text,
                     (uint64_t)values[POST_BYTES].number, event_done(&event), out, err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return error_set_field(err, "subject", "there is no such account");
}

int api_quotas_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(quota_drop) struct quota quota = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct json_value values[POST_COUNT];
    struct buffer text = BUFFER_NONE;
    enum quota_kind kind;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0 ||
        kind_read(values[POST_KIND].text, values[POST_SUBJECT].text, &kind, err) < 0 ||
        create(request, kind, values, &quota, err) < 0)
        return -1;
    quota_write(&text, &quota);
    buffer_append_text(&location, "/api/v1/quotas/");
    buffer_append_u64(&location, (uint64_t)quota.id);
    answer_created(reply, buffer_slice(&location), quota.version, &text);
    return 0;
}

enum { PATCH_BYTES, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_BYTES] = {"bytes", JSON_NUMBER, .required = true, .least = 0, .most = INT64_MAX},
};

int api_quota_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(quota_drop) struct quota quota = {0};
    OWNED(quota_drop) struct quota now = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    struct buffer text = BUFFER_NONE;
    int64_t if_version;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        quota_at(request, &quota, err) < 0 ||
        answer_condition(request, quota.version, &if_version, err) < 0)
        return -1;
    quota_event(&event, request, "quota.update", quota.kind, slice_of(quota.subject));
    write_i64(&event.detail, "old", (int64_t)quota.bytes);
    write_i64(&event.detail, "bytes", values[PATCH_BYTES].number);
    if (quota_update(request->services->storage, quota.id, (uint64_t)values[PATCH_BYTES].number,
                     if_version, event_done(&event), &now, err) < 0)
        return -1;
    quota_write(&text, &now);
    answer_json(reply, &text);
    return 0;
}

int api_quota_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(quota_drop) struct quota quota = {0};
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || quota_at(request, &quota, err) < 0 ||
        answer_condition(request, quota.version, &if_version, err) < 0)
        return -1;
    if (dry_run) {
        answer_would_delete(reply, "quotas", 1);
        return 0;
    }
    quota_event(&event, request, "quota.delete", quota.kind, slice_of(quota.subject));
    write_i64(&event.detail, "bytes", (int64_t)quota.bytes);
    if (quota_delete(request->services->storage, quota.id, if_version, event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

/* --- what is held --- */

int api_usage_get(struct request *request, struct reply *reply, struct error *err)
{
    struct buffer body = BUFFER_NONE;
    struct usage usage;

    assert_worker_thread();
    if (usage_total(request->services->storage, &usage, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    write_i64(&body, "repositories", (int64_t)usage.repositories);
    write_i64(&body, "manifests", (int64_t)usage.manifests);
    write_i64(&body, "tags", (int64_t)usage.tags);
    write_i64(&body, "blobs", (int64_t)usage.blobs);
    write_i64(&body, "bytes", (int64_t)usage.bytes);
    write_i64(&body, "linked_bytes", (int64_t)usage.linked_bytes);
    write_i64(&body, "disk_size", (int64_t)usage.disk_size);
    write_i64(&body, "disk_free", (int64_t)usage.disk_free);
    write_time(&body, "counted_at", usage.at);
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

static void usage_write(struct buffer *out, const struct repository_usage *usage)
{
    write_i64(out, "manifests", (int64_t)usage->manifests);
    write_i64(out, "tags", (int64_t)usage->tags);
    write_i64(out, "blobs", (int64_t)usage->blobs);
    write_i64(out, "bytes", (int64_t)usage->bytes);
    write_i64(out, "own_bytes", (int64_t)usage->own_bytes);
    write_i64(out, "set_aside_bytes", (int64_t)usage->set_aside_bytes);
}

int api_repo_usage_get(struct request *request, struct reply *reply, struct error *err)
{
    struct storage *store = request->services->storage;
    OWNED(quota_page_drop) struct quota_page quotas = {0};
    OWNED(api_long_read_end) atomic_uint *reads = NULL;
    struct buffer body = BUFFER_NONE;
    struct repository_usage usage;

    assert_worker_thread();
    if (api_long_read_begin(request, &reads, err) < 0 ||
        usage_of_repository(store, request->name, &usage, err) < 0 ||
        quota_covering(store, request->name, request->caller->account, &quotas, err) < 0)
        return -1;
    write_open(&body, NULL, '{');
    usage_write(&body, &usage);
    write_open(&body, "quotas", '[');
    for (size_t i = 0; i < quotas.count; i++)
        quota_write(&body, &quotas.items[i]);
    write_close(&body, ']');
    write_close(&body, '}');
    answer_json(reply, &body);
    return 0;
}

/* One that has gone since the page was read is left out. */
static int usage_item(struct storage *store, struct slice name, struct buffer *out,
                      struct error *err) ON(worker_thread);
static int usage_item(struct storage *store, struct slice name, struct buffer *out,
                      struct error *err)
{
    struct repository_usage usage;
    struct error failed = {0};

    if (usage_of_repository(store, name, &usage, &failed) < 0) {
        if (failed.code == ERROR_NOT_FOUND)
            return 0;
        *err = failed;
        return -1;
    }
    write_open(out, NULL, '{');
    write_text(out, "name", name);
    usage_write(out, &usage);
    write_close(out, '}');
    return 0;
}

/* Of what the caller may pull. */
int api_usage_repos_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    OWNED(repository_page_drop) struct repository_page page = {0};
    OWNED(api_long_read_end) atomic_uint *reads = NULL;
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    struct repository_filter filter;
    struct list_query query;

    assert_worker_thread();
    auth_list_filter(services->auth, request->caller, &filter);
    if (list_query_by_name(request, &query, err) < 0 ||
        api_long_read_begin(request, &reads, err) < 0 ||
        repository_settings_list(services->storage, query.after, query.search, &filter, query.limit,
                                 &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        if (usage_item(services->storage, slice_of(page.items[i].name), &body, err) < 0)
            return -1;
    list_answer(
        request, reply, &body,
        page.more && page.count > 0 ? slice_of(page.items[page.count - 1].name) : SLICE_NONE, -1);
    return 0;
}

/* repo.c - repositories: lists, settings, making an empty one.
 * Touches  storage: settings of repositories.
 * Never    content.
 *
 * Answers say what the caller can do with each; what he cannot pull is not there. */
#include <string.h>

#include "registry/api/api_internal.h"
#include "registry/config.h"
#include "registry/core/oci.h"

static void repository_write(const struct request *request, struct buffer *out,
                             const struct repository *repository) ON(worker_thread)
{
    write_open(out, NULL, '{');
    write_text(out, "name", slice_of(repository->name));
    write_text(out, "visibility", repository->public ? SLICE("public") : SLICE("private"));
    write_text(out, "description", slice_of(repository->description));
    write_i64(out, "tags", (int64_t)repository->tags);
    write_time(out, "created_at", repository->created_at);
    api_rights_write(
        out, "can",
        auth_rights(request->services->auth, request->caller, slice_of(repository->name)));
    write_i64(out, "version", repository->version);
    write_close(out, '}');
}

static int visibility_read(struct slice text, bool *public, struct error *err)
{
    *public = slice_equal_text(text, "public");
    if (!*public && !slice_equal_text(text, "private"))
        return error_set_field(err, "visibility", "visibility must be public or private");
    return 0;
}

static int answer_repository(const struct request *request, struct reply *reply, struct slice name,
                             bool created, struct error *err) ON(worker_thread)
{
    OWNED(repository_drop) struct repository repository = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct buffer body = BUFFER_NONE;

    if (repository_find(request->services->storage, name, &repository, err) < 0)
        return -1;
    repository_write(request, &body, &repository);
    if (!created) {
        answer_item(request, reply, repository.version, &body);
        return 0;
    }
    buffer_print(&location, "/api/v1/repos/%s", repository.name);
    answer_created(reply, buffer_slice(&location), repository.version, &body);
    return 0;
}

int api_repo_get(struct request *request, struct reply *reply, struct error *err)
{
    assert_worker_thread();
    return answer_repository(request, reply, request->name, false, err);
}

/* Strangers see the list of public ones only where they may pull them. */
int api_repos_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    OWNED(repository_page_drop) struct repository_page page = {0};
    struct buffer body = BUFFER_NONE;
    struct repository_filter filter;
    struct list_query query;

    assert_worker_thread();
    if (slice_equal_text(request_parameter(request, "deleted"), "true"))
        return api_deleted_repos_get(request, reply, err);
    if (request->caller->kind == IDENTITY_ANONYMOUS &&
        strcmp(services->config->auth_anonymous, "pull") != 0)
        return error_set(err, ERROR_UNAUTHORIZED, "sign in first");
    auth_list_filter(services->auth, request->caller, &filter);
    if (list_query_by_name(request, &query, err) < 0 ||
        repository_settings_list(services->storage, query.after, query.search, &filter, query.limit,
                                 &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        repository_write(request, &body, &page.items[i]);
    list_answer(
        request, reply, &body,
        page.more && page.count > 0 ? slice_of(page.items[page.count - 1].name) : SLICE_NONE, -1);
    return 0;
}

/* --- making --- */

enum { POST_NAME, POST_VISIBILITY, POST_DESCRIPTION, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_NAME] = {"name", JSON_TEXT, .required = true, .most = OCI_NAME_MAX},
    [POST_VISIBILITY] = {"visibility", JSON_TEXT, .most = WORD_MAX},
    [POST_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
};

/* As a push would make it; settings are for who manages it. */
static int may_make(const struct request *request, const struct json_value *values, bool public,
                    struct error *err) ON(worker_thread)
{
    bool settings = public || values[POST_DESCRIPTION].text.size > 0;

    if (auth_may(request->services->auth, request->caller, values[POST_NAME].text,
                 settings ? RIGHT_PUSH | RIGHT_ADMIN : RIGHT_PUSH))
        return 0;
    return error_set(err, ERROR_DENIED, "making this repository is not allowed");
}

int api_repos_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[POST_COUNT];
    bool public = false;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0)
        return -1;
    struct slice name = values[POST_NAME].text, description = values[POST_DESCRIPTION].text;
    if (!oci_name_valid(name))
        return error_set_field(err, "name", "name is not the name of a repository");
    if (values[POST_VISIBILITY].given &&
        visibility_read(values[POST_VISIBILITY].text, &public, err) < 0)
        return -1;
    if (may_make(request, values, public, err) < 0)
        return -1;
    event_new(&event, request, "repository.create", "repository", name);
    write_text(&event.detail, "visibility", public ? SLICE("public") : SLICE("private"));
    if (repository_create(request->services->storage, name, public,
                          description.at == NULL ? SLICE("") : description, event_done(&event),
                          err) < 0)
        return -1;
    return answer_repository(request, reply, name, true, err);
}

/* --- settings --- */

enum { PATCH_VISIBILITY, PATCH_DESCRIPTION, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_VISIBILITY] = {"visibility", JSON_TEXT, .most = WORD_MAX},
    [PATCH_DESCRIPTION] = {"description", JSON_TEXT, .most = DESCRIPTION_MAX},
};

int api_repo_patch(struct request *request, struct reply *reply, struct error *err)
{
    struct storage *store = request->services->storage;
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(repository_drop) struct repository repository = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    struct repository_change change = {.if_version = 0};
    bool public = false;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        repository_find(store, request->name, &repository, err) < 0 ||
        answer_condition(request, repository.version, &change.if_version, err) < 0)
        return -1;
    event_new(&event, request, "repository.update", "repository", request->name);
    if (values[PATCH_VISIBILITY].given) {
        if (visibility_read(values[PATCH_VISIBILITY].text, &public, err) < 0)
            return -1;
        change.public = &public;
        event_changed(&event, "visibility", repository.public ? SLICE("public") : SLICE("private"),
                      public ? SLICE("public") : SLICE("private"));
    }
    if (values[PATCH_DESCRIPTION].given) {
        change.description = &values[PATCH_DESCRIPTION].text;
        event_changed(&event, "description", slice_of(repository.description), *change.description);
    }
    if (repository_update(store, request->name, &change, event_done(&event), err) < 0)
        return -1;
    return answer_repository(request, reply, request->name, false, err);
}

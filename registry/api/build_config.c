/* build_config.c - how a repository is built: its stored configuration.
 * Touches  storage: configurations of builds.
 * Never    shows the value of a secret variable: NAME=*** stands for it, and keeps it when it is
 *          sent back.
 *
 * Spec: s2i 11, 13.46 */
#include <string.h>

#include "registry/api/build.h"
#include "registry/config.h"

/* What a repository without a configuration answers, as one that is not there. */
static int config_missing(struct error *err)
{
    return error_set(err, ERROR_NOT_FOUND,
                     "there is no build configuration: make one with slipway build config set");
}

int api_build_config_at(const struct request *request, struct build_config *out, struct error *err)
{
    if (build_config_find(request->services->storage, request->name, out, err) == 0)
        return 0;
    if (err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return config_missing(err);
}

/* --- answers --- */

static int config_write(struct buffer *out, const struct build_config *config, struct error *err)
{
    OWNED(s2i_options_drop) struct s2i_options options = {0};

    if (api_build_options_read(config->spec, &options, err) < 0)
        return -1;
    write_open(out, NULL, '{');
    write_text(out, "repository", slice_of(config->repository));
    write_flag(out, "paused", config->paused);
    api_build_options_write(out, "options", &options);
    write_text(out, "hook", slice_of(config->hook));
    write_time(out, "created_at", config->created_at);
    write_time(out, "updated_at", config->updated_at);
    write_i64(out, "version", config->version);
    write_close(out, '}');
    return 0;
}

static int answer_config(const struct request *request, struct reply *reply,
                         const struct build_config *config, bool created, struct error *err)
{
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE, body = BUFFER_NONE;

    if (config_write(&body, config, err) < 0)
        return -1;
    if (!created) {
        answer_item(request, reply, config->version, &body);
        return 0;
    }
    buffer_print(&location, "/api/v1/repos/%s/-/build-config", config->repository);
    answer_created(reply, buffer_slice(&location), config->version, &body);
    return 0;
}

int api_build_config_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_config_drop) struct build_config config = {.id = 0};

    assert_worker_thread();
    if (api_build_config_at(request, &config, err) < 0)
        return -1;
    return answer_config(request, reply, &config, false, err);
}

/* Of repositories that the caller may push to: others' configurations are not his business. */
int api_build_configs_get(struct request *request, struct reply *reply, struct error *err)
{
    const struct services *services = request->services;
    OWNED(build_config_page_drop) struct build_config_page page = {.items = NULL};
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    struct repository_filter visible;
    struct list_query query;

    assert_worker_thread();
    auth_list_filter(services->auth, request->caller, &visible);
    if (list_query_by_name(request, &query, err) < 0 ||
        build_config_list(services->storage, query.after, &visible, query.limit, &page, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < page.count; i++)
        if (auth_may(services->auth, request->caller, slice_of(page.items[i].repository),
                     RIGHT_PUSH) &&
            config_write(&body, &page.items[i], err) < 0)
            return -1;
    list_answer(request, reply, &body,
                page.more && page.count > 0 ? slice_of(page.items[page.count - 1].repository)
                                            : SLICE_NONE,
                -1);
    return 0;
}

/* --- changes --- */

enum { CHANGE_PAUSED, CHANGE_OPTIONS, CHANGE_COUNT };
static const struct json_member patch_members[] = {
    [CHANGE_PAUSED] = {.name = "paused", .kind = JSON_FLAG},
    [CHANGE_OPTIONS] = {.name = "options", .kind = JSON_GROUP},
};
static const struct json_member put_members[] = {
    [CHANGE_PAUSED] = {.name = "paused", .kind = JSON_FLAG},
    [CHANGE_OPTIONS] = {.name = "options", .kind = JSON_GROUP, .required = true},
};

/* Unless they are replaced, the old options stay; of secret variables NAME=*** does. */
static int options_change(const struct request *request, const struct build_config *old,
                          const json_t *given, bool replace, struct s2i_options *out,
                          struct error *err)
{
    OWNED(s2i_options_drop) struct s2i_options before = {0};
    const struct s2i_hosts hosts =
        s2i_hosts_of(request->services->config->server_public_url, request->host);

    if (old->spec != NULL && api_build_options_read(old->spec, &before, err) < 0)
        return -1;
    if (!replace) {
        *out = before;
        before = (struct s2i_options){.url = NULL};
    } else if (json_object_get(given, "secret_env") != NULL) {
        out->secret_env = before.secret_env;
        before.secret_env = (struct s2i_list){.items = NULL};
    }
    return given == NULL ? 0 : s2i_options_hear(out, given, S2I_FROM_CONFIG, &hosts, err);
}

/* If-None-Match: * makes it, If-Match changes what was read; without either what is there counts.
 */
static int condition(const struct request *request, const struct build_config *old, int64_t *out,
                     struct error *err)
{
    bool exists = old->spec != NULL;

    if (slice_equal_text(request_header(request, "if-none-match"), "*") && exists)
        return error_set(err, ERROR_PRECONDITION, "there is a build configuration already");
    if (!exists && request_header(request, "if-match").at != NULL)
        return error_set(err, ERROR_PRECONDITION, "there is no build configuration yet");
    if (exists && answer_condition(request, old->version, out, err) < 0)
        return -1;
    *out = exists ? old->version : -1;
    return 0;
}

static void wiped(char **text)
{
    if (*text != NULL)
        explicit_bzero(*text, strlen(*text));
    memory_drop(text);
}

static int put(const struct request *request, struct reply *reply, const struct build_config *old,
               const struct json_value *values, bool replace, struct error *err) ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {0};
    OWNED(json_drop) json_t *document = NULL;
    OWNED(wiped) char *spec = NULL;
    OWNED(event_drop) struct event event = {0};
    OWNED(build_config_drop) struct build_config now = {.id = 0};
    bool created,
        paused = values[CHANGE_PAUSED].given ? values[CHANGE_PAUSED].flag : !replace && old->paused;
    int64_t if_version = 0;

    if (condition(request, old, &if_version, err) < 0 ||
        options_change(request, old, values[CHANGE_OPTIONS].object, replace, &options, err) < 0)
        return -1;
    document = s2i_options_write(&options, true);
    spec = json_dumps(document, JSON_COMPACT);
    event_new(&event, request, old->spec == NULL ? "build_config.create" : "build_config.update",
              "repository", request->name);
    write_flag(&event.detail, "paused", paused);
    api_build_options_write(&event.detail, "options", &options);
    const struct build_config_change change = {.repository = request->name,
                                               .spec = slice_of(spec),
                                               .reach = auth_actor(request->caller).reach,
                                               .paused = paused,
                                               .if_version = if_version,
                                               .event = event_done(&event)};
    if (build_config_put(request->services->storage, &change, &now, &created, err) < 0)
        return -1;
    return answer_config(request, reply, &now, created, err);
}

int api_build_config_put(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(build_config_drop) struct build_config old = {.id = 0};
    struct json_value values[CHANGE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(put_members), values, err) < 0)
        return -1;
    if (build_config_find(request->services->storage, request->name, &old, err) < 0) {
        if (err->code != ERROR_NOT_FOUND)
            return -1;
        error_clear(err);
    }
    return put(request, reply, &old, values, true, err);
}

int api_build_config_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(build_config_drop) struct build_config old = {.id = 0};
    struct json_value values[CHANGE_COUNT];

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        api_build_config_at(request, &old, err) < 0)
        return -1;
    return put(request, reply, &old, values, false, err);
}

int api_build_config_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(build_config_drop) struct build_config old = {.id = 0};
    OWNED(event_drop) struct event event = {0};
    int64_t if_version;

    assert_worker_thread();
    if (api_build_config_at(request, &old, err) < 0 ||
        answer_condition(request, old.version, &if_version, err) < 0)
        return -1;
    event_new(&event, request, "build_config.delete", "repository", request->name);
    if (build_config_delete(request->services->storage, request->name, if_version,
                            event_done(&event), err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

/* test_api_routes.c - the table of the management API, and that its description tells of each row
 * and of nothing else. */
#include <jansson.h>
#include <string.h>

#include "registry/api/api.h"
#include "registry/api/api_internal.h"
#include "tests/support/unit.h"

static const struct {
    int method;
    const char *name;
} methods[] = {
    {METHOD_GET, "get"},     {METHOD_POST, "post"},     {METHOD_PUT, "put"},
    {METHOD_PATCH, "patch"}, {METHOD_DELETE, "delete"},
};

/* All tables of the API, as the server has them. */
static struct route rows[256];
static struct route_table served = {rows, 0};

static int gather(void **state)
{
    static const struct route_table *const tables[] = {&api_routes, &api_builds_routes,
                                                       &api_repos_routes, &api_care_routes};

    (void)state;
    for (size_t i = 0; i < LENGTH(tables); i++) {
        assert_true(served.count + tables[i]->count <= LENGTH(rows));
        memcpy(&rows[served.count], tables[i]->routes, tables[i]->count * sizeof(*rows));
        served.count += tables[i]->count;
    }
    return 0;
}

static void test_api_routes_find_their_rows(void **state)
{
    static const struct {
        enum method method;
        const char *path, *endpoint, *name, *reference;
    } cases[] = {
        {METHOD_POST, "/api/v1/session", "api.session", NULL, NULL},
        {METHOD_GET, "/api/v1/users/ana", "api.user", NULL, "ana"},
        {METHOD_POST, "/api/v1/users/ana:disable", "api.user.disable", NULL, "ana"},
        {METHOD_GET, "/api/v1/users/ana/tokens", "api.user.tokens", NULL, "ana"},
        {METHOD_POST, "/api/v1/robots/ci:rotate", "api.robot.rotate", NULL, "ci"},
        {METHOD_GET, "/api/v1/me/tokens/7", "api.me.token", NULL, "7"},
        {METHOD_POST, "/api/v1/me/tokens/7:rotate", "api.me.token.rotate", NULL, "7"},
        {METHOD_GET, "/api/v1/repos/a", "api.repo", "a", NULL},
        {METHOD_PATCH, "/api/v1/repos/team/app/x", "api.repo", "team/app/x", NULL},
        {METHOD_GET, "/api/v1/repos/users/ana", "api.repo", "users/ana", NULL},
        {METHOD_POST, "/api/v1/repos/a/b:restore", "api.repo.restore", "a/b", NULL},
        {METHOD_GET, "/api/v1/repos/a/tags/-/tags", "api.repo.tags", "a/tags", NULL},
        {METHOD_POST, "/api/v1/repos/a/-/tags:delete", "api.repo.tags.delete", "a", NULL},
        {METHOD_PUT, "/api/v1/repos/a/b/-/tags/v1", "api.repo.tag", "a/b", "v1"},
        {METHOD_POST, "/api/v1/repos/a/-/tags/v1:restore", "api.repo.tag.restore", "a", "v1"},
        {METHOD_DELETE, "/api/v1/repos/a/-/manifests/sha256:1", "api.repo.manifest", "a",
         "sha256:1"},
        {METHOD_POST, "/api/v1/repos/a/-/manifests/sha256:1:restore", "api.repo.manifest.restore",
         "a", "sha256:1"},
        {METHOD_GET, "/api/v1/repos/a/-/manifests/x/referrers", "api.repo.referrers", "a", "x"},
        {METHOD_POST, "/api/v1/system/keys:rotate", "api.system.keys", NULL, NULL},
        {METHOD_GET, "/api/v1/repos/a/b/-/builds", "api.repo.builds", "a/b", NULL},
        {METHOD_POST, "/api/v1/repos/a/-/builds", "api.repo.builds", "a", NULL},
        {METHOD_GET, "/api/v1/builds", "api.builds", NULL, NULL},
        {METHOD_GET, "/api/v1/builds/7", "api.build", NULL, "7"},
        {METHOD_GET, "/api/v1/builds/7/log", "api.build.log", NULL, "7"},
        {METHOD_POST, "/api/v1/builds/7:cancel", "api.build.cancel", NULL, "7"},
        {METHOD_POST, "/api/v1/builds/7:retry", "api.build.retry", NULL, "7"},
        {METHOD_PUT, "/api/v1/repos/a/b/-/build-config", "api.repo.build-config", "a/b", NULL},
        {METHOD_GET, "/api/v1/repos/a/-/build-config/secrets", "api.repo.build-config.secrets", "a",
         NULL},
        {METHOD_PUT, "/api/v1/repos/a/-/build-config/secrets/hook/x",
         "api.repo.build-config.secret", "a", "x"},
        {METHOD_DELETE, "/api/v1/repos/a/-/build-config/secrets/file/x",
         "api.repo.build-config.secret", "a", "x"},
        {METHOD_POST, "/api/v1/repos/a/-/build-config/deliveries:test",
         "api.repo.build-config.test", "a", NULL},
        {METHOD_POST, "/api/v1/hooks/0f/github", "api.hook.github", NULL, "0f"},
        {METHOD_POST, "/api/v1/hooks/0f/generic", "api.hook.generic", NULL, "0f"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request = {.method = cases[i].method, .path = slice_of(cases[i].path)};
        int allowed;
        assert_int_equal(route_find(&served, &request, &allowed), ROUTE_FOUND);
        assert_string_equal(request.route->endpoint, cases[i].endpoint);
        assert_true(slice_equal(request.name, slice_of(cases[i].name)));
        assert_true(slice_equal(request.reference, slice_of(cases[i].reference)));
    }
}

/* What is hashed is hashed on login threads; what has a body has a limit. */
static void test_api_routes_are_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < served.count; i++) {
        const struct route *route = &served.routes[i];
        bool hashes = route->handle == api_session_post || route->handle == api_setup_post ||
                      route->handle == api_me_password_put || route->handle == api_users_post ||
                      route->handle == api_user_patch;
        assert_int_equal(route->body == BODY_STREAM, route->stream != NULL);
        assert_int_equal(route->body == BODY_STREAM, route->handle == NULL);
        assert_true(action_is_api(route->action) || route->action == ACTION_HOOK);
        assert_int_equal(route->body == BODY_COLLECT, route->body_limit != NULL);
        assert_int_equal(route->login, hashes);
        if (route->body == BODY_COLLECT)
            assert_int_equal(route->body_limit(NULL), JSON_BODY_MAX);
    }
}

/* What strangers reach is named one by one; webhooks are what is signed by their sender. */
static void test_api_routes_open_to_strangers(void **state)
{
    static int (*const open[])(struct request *, struct reply *, struct error *) = {
        api_session_post, api_session_delete,  api_setup_get, api_setup_post,
        api_repos_get,    api_description_get, api_keys_get,
    };

    (void)state;
    for (size_t i = 0; i < served.count; i++) {
        const struct route *route = &served.routes[i];
        bool listed = false;
        for (size_t n = 0; n < LENGTH(open); n++)
            listed |= route->handle == open[n];
        assert_int_equal(route->action == ACTION_API_PUBLIC, listed);
        assert_int_equal(route->action == ACTION_HOOK, route->stream == &api_hook_post);
    }
}

/* --- the description --- */

static json_t *description(void)
{
    struct request request = {.method = METHOD_GET};
    struct reply reply;
    struct error err = {0};

    reply_init(&reply);
    assert_int_equal(api_description_get(&request, &reply, &err), 0);
    struct slice text = reply.parts[0].bytes;
    json_t *root = json_loadb(text.at, text.size, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(root);
    reply_drop(&reply);
    return root;
}

/* "/api/v1/users/<account>" as the description writes it: "/users/{account}". */
static const char *described(const char *pattern, char *out, size_t size)
{
    size_t used = 0;

    for (const char *at = pattern + strlen("/api/v1"); *at != 0 && used + 1 < size; at++)
        out[used++] = (char)(*at == '<' ? '{' : *at == '>' ? '}' : *at);
    out[used] = 0;
    return out;
}

static void test_api_routes_are_described(void **state)
{
    json_t *root = description();
    const json_t *paths = json_object_get(root, "paths");
    size_t described_count = 0, row_count = 0;
    char path[200];

    (void)state;
    for (size_t i = 0; i < served.count; i++) {
        const struct route *route = &served.routes[i];
        const json_t *item = json_object_get(paths, described(route->pattern, path, sizeof(path)));
        for (size_t m = 0; m < LENGTH(methods); m++) {
            if ((route->methods & methods[m].method) == 0)
                continue;
            const json_t *operation = json_object_get(item, methods[m].name);
            row_count++;
            if (operation == NULL)
                fail_msg("not described: %s %s", methods[m].name, path);
            if ((json_object_get(operation, "requestBody") != NULL) != (route->body != BODY_IGNORE))
                fail_msg("its body: %s %s", methods[m].name, path);
        }
    }
    const char *name;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)paths, name, item) {
        described_count += json_object_size(item);
    }
    assert_int_equal(described_count, row_count);
    json_decref(root);
}

/* The same bytes each time have one tag, and are not sent to who has them. */
static void test_api_description_is_tagged(void **state)
{
    struct header header = {SLICE("if-none-match"), SLICE_NONE};
    struct request request = {.method = METHOD_GET};
    struct reply reply;
    struct error err = {0};

    (void)state;
    reply_init(&reply);
    assert_int_equal(api_description_get(&request, &reply, &err), 0);
    assert_int_equal(reply.status, 200);
    const char *tag = memmem(reply.head.at, reply.head.size, "ETag: ", 6);
    assert_non_null(tag);
    char kept[100];
    const char *end = memchr(tag, '\r', reply.head.size - (size_t)(tag - reply.head.at));
    assert_true(
        slice_to_text((struct slice){tag + 6, (size_t)(end - tag - 6)}, kept, sizeof(kept)));
    reply_drop(&reply);

    header.value = slice_of(kept);
    request.headers = &header;
    request.header_count = 1;
    assert_int_equal(api_description_get(&request, &reply, &err), 0);
    assert_int_equal(reply.status, 304);
    assert_int_equal(reply.length, 0);
    reply_drop(&reply);
}

static int be_worker(void **state)
{
    thread_role_current = ROLE_WORKER;
    return gather(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_api_routes_find_their_rows),
        cmocka_unit_test(test_api_routes_are_complete),
        cmocka_unit_test(test_api_routes_open_to_strangers),
        cmocka_unit_test(test_api_routes_are_described),
        cmocka_unit_test(test_api_description_is_tagged),
    };

    return cmocka_run_group_tests(tests, be_worker, NULL);
}

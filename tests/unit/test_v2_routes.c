/* test_v2_routes.c - which endpoint of the distribution API a request reaches. */
#include <string.h>

#include "registry/v2/v2.h"
#include "registry/v2/v2_internal.h"
#include "tests/support/unit.h"

#define ID "00000000-0000-4000-8000-000000000000"

static enum route_outcome find(struct request *request, enum method method, const char *path,
                               int *allowed)
{
    memset(request, 0, sizeof(*request));
    request->method = method;
    request->path = slice_of(path);
    return route_find(&v2_routes, request, allowed);
}

/* Spec: ROUTE-01, NAME-14, HTTP-14. */
static void test_routes_match_from_the_right_end(void **state)
{
    static const struct {
        enum method method;
        const char *path, *endpoint, *name, *reference;
    } cases[] = {
        {METHOD_GET, "/v2/", "end-1", NULL, NULL},
        {METHOD_HEAD, "/v2", "end-1", NULL, NULL},
        {METHOD_GET, "/v2/_catalog", "catalog", NULL, NULL},
        {METHOD_GET, "/v2/_oci/ext/discover", "extensions", NULL, NULL},
        {METHOD_GET, "/v2/a/tags/list", "end-8", "a", NULL},
        {METHOD_GET, "/v2/tags/list/tags/list", "end-8", "tags/list", NULL},
        {METHOD_GET, "/v2/tags/list/x/manifests/y", "end-3", "tags/list/x", "y"},
        {METHOD_HEAD, "/v2/a/manifests/manifests/t", "end-3", "a/manifests", "t"},
        {METHOD_PUT, "/v2/a/b/manifests/sha256:1", "end-7", "a/b", "sha256:1"},
        {METHOD_DELETE, "/v2/v2/v2/manifests/t", "end-9", "v2/v2", "t"},
        {METHOD_POST, "/v2/a/blobs/uploads/", "end-4", "a", NULL},
        {METHOD_POST, "/v2/a/blobs/uploads", "end-4", "a", NULL},
        {METHOD_POST, "/v2/blobs/blobs/uploads/", "end-4", "blobs", NULL},
        {METHOD_POST, "/v2/a/blobs/uploads/blobs/uploads/", "end-4", "a/blobs/uploads", NULL},
        {METHOD_PATCH, "/v2/a/blobs/uploads/" ID, "end-5", "a", ID},
        {METHOD_PUT, "/v2/a/blobs/uploads/" ID, "end-6", "a", ID},
        {METHOD_GET, "/v2/a/blobs/uploads/" ID, "end-13", "a", ID},
        {METHOD_HEAD, "/v2/a/blobs/uploads/" ID, "end-13", "a", ID},
        {METHOD_DELETE, "/v2/a/blobs/uploads/" ID, "end-14", "a", ID},
        {METHOD_GET, "/v2/a/blobs/sha256:1", "end-2", "a", "sha256:1"},
        {METHOD_GET, "/v2/blobs/blobs/sha256:1", "end-2", "blobs", "sha256:1"},
        {METHOD_GET, "/v2/a/blobs/uploads/blobs/sha256:1", "end-2", "a/blobs/uploads", "sha256:1"},
        {METHOD_DELETE, "/v2/a/blobs/sha256:1", "end-10", "a", "sha256:1"},
        {METHOD_GET, "/v2/a/referrers/sha256:1", "end-12", "a", "sha256:1"},
        {METHOD_GET, "/v2/referrers/referrers/sha256:1", "end-12", "referrers", "sha256:1"},
        {METHOD_GET, "/token", "token", NULL, NULL},
        {METHOD_POST, "/token", "token", NULL, NULL},
        {METHOD_HEAD, "/.well-known/jwks.json", "keys", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request;
        int allowed = 0;
        assert_int_equal(find(&request, cases[i].method, cases[i].path, &allowed), ROUTE_FOUND);
        assert_string_equal(request.route->endpoint, cases[i].endpoint);
        assert_true(slice_equal(request.name, slice_of(cases[i].name)));
        assert_true(slice_equal(request.reference, slice_of(cases[i].reference)));
    }
}

/* Spec: HTTP-13. */
static void test_routes_tell_what_a_path_allows(void **state)
{
    static const struct {
        enum method method;
        const char *path;
        int allowed;
    } cases[] = {
        {METHOD_POST, "/v2/", METHOD_GET | METHOD_HEAD},
        {METHOD_DELETE, "/v2/a/tags/list", METHOD_GET | METHOD_HEAD},
        {METHOD_PATCH, "/v2/a/manifests/t", METHOD_GET | METHOD_HEAD | METHOD_PUT | METHOD_DELETE},
        {METHOD_PUT, "/v2/a/blobs/sha256:1", METHOD_GET | METHOD_HEAD | METHOD_DELETE},
        {METHOD_GET, "/v2/a/blobs/uploads/", METHOD_POST},
        {METHOD_POST, "/v2/a/blobs/uploads/" ID,
         METHOD_GET | METHOD_HEAD | METHOD_PATCH | METHOD_PUT | METHOD_DELETE},
        {METHOD_OTHER, "/v2/_catalog", METHOD_GET | METHOD_HEAD},
        {METHOD_HEAD, "/token", METHOD_GET | METHOD_POST},
        {METHOD_PUT, "/token", METHOD_GET | METHOD_POST},
        {METHOD_POST, "/.well-known/jwks.json", METHOD_GET | METHOD_HEAD},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request;
        int allowed = 0;
        assert_int_equal(find(&request, cases[i].method, cases[i].path, &allowed), ROUTE_METHOD);
        assert_int_equal(allowed, cases[i].allowed);
    }
}

/* Spec: HTTP-11, ROUTE-01. */
static void test_routes_know_no_other_paths(void **state)
{
    static const char *const cases[] = {
        "/",
        "/v1/",
        "/v2/a",
        "/v2/tags/list",
        "/v2/manifests/t",
        "/v2//",
        "/v2/_catalog/",
        "/v2/a/tags/",
        "/v2/a/tags/list/x",
        "/v2/a/manifests/",
        "/v2/_oci",
        "/v2/a/blobs/",
        "/v2/a/referrers/",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request;
        int allowed = 0;
        assert_int_equal(find(&request, METHOD_GET, cases[i], &allowed), ROUTE_UNKNOWN);
    }
}

/* Who may do it. Spec: UPL-28 and the list's section on permissions. */
static void test_routes_ask_for_the_right_they_need(void **state)
{
    static const struct {
        const char *endpoint;
        int action;
    } cases[] = {
        {"end-1", ACTION_BASE},  {"catalog", ACTION_CATALOG}, {"extensions", ACTION_BASE},
        {"end-2", ACTION_PULL},  {"end-3", ACTION_PULL},      {"end-4", ACTION_PUSH},
        {"end-5", ACTION_PUSH},  {"end-6", ACTION_PUSH},      {"end-7", ACTION_PUSH},
        {"end-8", ACTION_PULL},  {"end-9", ACTION_DELETE},    {"end-10", ACTION_DELETE},
        {"end-12", ACTION_PULL}, {"end-13", ACTION_PUSH},     {"end-14", ACTION_PUSH},
        {"token", ACTION_TOKEN}, {"keys", ACTION_NONE},
    };

    (void)state;
    for (size_t i = 0; i < v2_routes.count; i++) {
        const struct route *route = &v2_routes.routes[i];
        size_t found = 0;
        while (found < LENGTH(cases) && strcmp(cases[found].endpoint, route->endpoint) != 0)
            found++;
        assert_true(found < LENGTH(cases));
        assert_int_equal(route->action, cases[found].action);
    }
}

/* A row without its handler would be a crash. */
static void test_routes_are_complete(void **state)
{
    (void)state;
    for (size_t i = 0; i < v2_routes.count; i++) {
        const struct route *route = &v2_routes.routes[i];
        assert_int_equal(route->body == BODY_STREAM, route->stream != NULL);
        assert_int_equal(route->body == BODY_STREAM, route->handle == NULL);
        assert_int_equal(route->body == BODY_COLLECT, route->body_limit != NULL);
        assert_int_equal(route->login, route->handle == v2_token_post);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes_match_from_the_right_end),
        cmocka_unit_test(test_routes_tell_what_a_path_allows),
        cmocka_unit_test(test_routes_know_no_other_paths),
        cmocka_unit_test(test_routes_ask_for_the_right_they_need),
        cmocka_unit_test(test_routes_are_complete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

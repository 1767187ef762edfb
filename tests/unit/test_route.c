/* test_route.c - paths find their rows from the right end. */
#include "registry/http/route.h"

#include "tests/support/unit.h"

static const struct route routes[] = {
    {.pattern = "/v2/", .endpoint = "base", .methods = METHOD_GET},
    {.pattern = "/v2", .endpoint = "base", .methods = METHOD_GET},
    {.pattern = "/v2/_catalog", .endpoint = "catalog", .methods = METHOD_GET},
    {.pattern = "/v2/<name>/tags/list", .endpoint = "tags", .methods = METHOD_GET},
    {.pattern = "/v2/<name>/manifests/<reference>",
     .endpoint = "read",
     .methods = METHOD_GET | METHOD_HEAD},
    {.pattern = "/v2/<name>/manifests/<reference>", .endpoint = "put", .methods = METHOD_PUT},
    {.pattern = "/v2/<name>/blobs/uploads/", .endpoint = "start", .methods = METHOD_POST},
    {.pattern = "/v2/<name>/blobs/uploads", .endpoint = "start", .methods = METHOD_POST},
    {.pattern = "/v2/<name>/blobs/uploads/<id>", .endpoint = "patch", .methods = METHOD_PATCH},
    {.pattern = "/v2/<name>/blobs/<digest>", .endpoint = "blob", .methods = METHOD_GET},
    {.pattern = "/api/users/<account>:disable", .endpoint = "disable", .methods = METHOD_POST},
    {.pattern = "/api/users/<account>", .endpoint = "user", .methods = METHOD_GET},
    {.pattern = "/api/users/<account>/tokens", .endpoint = "tokens", .methods = METHOD_GET},
    {.pattern = "/api/repos/<name>:restore", .endpoint = "restore", .methods = METHOD_POST},
    {.pattern = "/api/repos/<name>", .endpoint = "repo", .methods = METHOD_GET},
};
static const struct route_table table = {routes, LENGTH(routes)};

/* Spec: ROUTE-01, NAME-14, HTTP-11, HTTP-14. */
static void test_route_find_matches_from_the_right(void **state)
{
    static const struct {
        enum method method;
        const char *path, *endpoint, *name, *reference;
    } cases[] = {
        {METHOD_GET, "/v2/", "base", NULL, NULL},
        {METHOD_GET, "/v2", "base", NULL, NULL},
        {METHOD_GET, "/v2/_catalog", "catalog", NULL, NULL},
        {METHOD_GET, "/v2/a/tags/list", "tags", "a", NULL},
        {METHOD_GET, "/v2/tags/list/x/tags/list", "tags", "tags/list/x", NULL},
        {METHOD_GET, "/v2/a/b/manifests/v1", "read", "a/b", "v1"},
        {METHOD_HEAD, "/v2/a/manifests/manifests/v1", "read", "a/manifests", "v1"},
        {METHOD_PUT, "/v2/v2/v2/manifests/v1", "put", "v2/v2", "v1"},
        {METHOD_POST, "/v2/blobs/blobs/uploads/", "start", "blobs", NULL},
        {METHOD_POST, "/v2/a/blobs/uploads/blobs/uploads", "start", "a/blobs/uploads", NULL},
        {METHOD_PATCH, "/v2/a/blobs/uploads/7", "patch", "a", "7"},
        {METHOD_GET, "/v2/a/blobs/uploads/blobs/d", "blob", "a/blobs/uploads", "d"},
        {METHOD_GET, "/v2/A_/blobs/d", "blob", "A_", "d"}, /* the grammar is not ours */
        {METHOD_GET, "/api/users/ana", "user", NULL, "ana"},
        {METHOD_POST, "/api/users/ana:disable", "disable", NULL, "ana"},
        {METHOD_POST, "/api/users/a:disable:disable", "disable", NULL, "a:disable"},
        {METHOD_GET, "/api/users/ana:enable", "user", NULL, "ana:enable"},
        {METHOD_GET, "/api/users/:disable", "user", NULL, ":disable"}, /* nothing before it */
        {METHOD_GET, "/api/users/ana:disable/tokens", "tokens", NULL, "ana:disable"},
        {METHOD_GET, "/api/repos/a", "repo", "a", NULL},
        {METHOD_GET, "/api/repos/a/b/c", "repo", "a/b/c", NULL},
        {METHOD_POST, "/api/repos/a/b:restore", "restore", "a/b", NULL},
        {METHOD_GET, "/api/repos/:restore", "repo", ":restore", NULL}, /* no name before it */
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request = {.method = cases[i].method, .path = slice_of(cases[i].path)};
        int allowed;
        assert_int_equal(route_find(&table, &request, &allowed), ROUTE_FOUND);
        assert_string_equal(request.route->endpoint, cases[i].endpoint);
        assert_true((request.name.at == NULL) == (cases[i].name == NULL));
        assert_true(slice_equal_text(request.name, cases[i].name));
        assert_true((request.reference.at == NULL) == (cases[i].reference == NULL));
        assert_true(slice_equal_text(request.reference, cases[i].reference));
    }
}

static void test_route_find_knows_nothing_else(void **state)
{
    static const char *const cases[] = {
        "",
        "/",
        "/v2/x",
        "//v2/",
        "/v2//",
        "/v2//manifests/x",
        "/v2/manifests/x",
        "/v2/a/manifests/",
        "/v2/a/manifests",
        "/v2/a/manifests/x/",
        "/v1/a/manifests/x",
        "/v2a/manifests/x",
        "v2/a/manifests/x",
        "/v2/a/tags/list/",
        "/v2/a/tags/List",
        "/v2/blobs/uploads/",
        "/api/users/",
        "/api/users/ana/x",
        "/api/users//tokens",
        "/api/repos",
        "/api/repos/",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct request request = {.method = METHOD_GET, .path = slice_of(cases[i])};
        int allowed;
        if (route_find(&table, &request, &allowed) != ROUTE_UNKNOWN)
            fail_msg("found: %s", cases[i]);
        assert_null(request.route);
    }
}

/* Spec: HTTP-13. Rows of one pattern are one resource. */
static void test_route_find_tells_the_allowed_methods(void **state)
{
    struct request request = {.method = METHOD_DELETE, .path = SLICE("/v2/a/manifests/x")};
    int allowed;

    (void)state;
    assert_int_equal(route_find(&table, &request, &allowed), ROUTE_METHOD);
    assert_int_equal(allowed, METHOD_GET | METHOD_HEAD | METHOD_PUT);
    assert_non_null(request.route);

    request = (struct request){.method = METHOD_OTHER, .path = SLICE("/v2/")};
    assert_int_equal(route_find(&table, &request, &allowed), ROUTE_METHOD);
    assert_int_equal(allowed, METHOD_GET);

    request = (struct request){.method = METHOD_GET, .path = SLICE("/api/users/ana:disable")};
    assert_int_equal(route_find(&table, &request, &allowed), ROUTE_METHOD);
    assert_int_equal(allowed, METHOD_POST);
}

static const struct route rooted[] = {
    {.pattern = "/v2/", .endpoint = "base", .methods = METHOD_GET},
    {.pattern = "/token", .endpoint = "token", .methods = METHOD_GET},
    {.pattern = "/git/<name>.git/info/refs?service=read",
     .endpoint = "read",
     .methods = METHOD_GET},
    {.pattern = "/git/<name>.git/info/refs", .endpoint = "other", .methods = METHOD_GET},
    {.pattern = "/<name>.git/info/refs?service=read", .endpoint = "read", .methods = METHOD_GET},
    {.pattern = "/<name>.git/info/refs", .endpoint = "other", .methods = METHOD_GET},
};
static const struct route_table rooted_table = {rooted, LENGTH(rooted)};

/* Rows that want a parameter, and names at the root of all paths. Spec: s2i 13.20. */
static void test_route_find_below_the_root(void **state)
{
    static const struct {
        const char *path, *service, *endpoint, *name;
    } cases[] = {
        {"/git/a/b.git/info/refs", "read", "read", "a/b"},
        {"/git/a/b.git/info/refs", "write", "other", "a/b"},
        {"/git/a/b.git/info/refs", NULL, "other", "a/b"},
        {"/a/b.git/info/refs", "read", "read", "a/b"},
        {"/a.git/info/refs", NULL, "other", "a"},
        {"/git/v2/b.git/info/refs", "read", "read", "v2/b"},
        {"/v2x/b.git/info/refs", "read", "read", "v2x/b"},
        {"/git.git/info/refs", "read", "read", "git"},
        {"/v2/b.git/info/refs", "read", NULL, NULL},
        {"/token/b.git/info/refs", "read", NULL, NULL},
        {"/ui/b.git/info/refs", "read", NULL, NULL},
        {"/git/info/refs", "read", NULL, NULL},
        {"/.git/info/refs", "read", NULL, NULL},
        {"/git/.git/info/refs", "read", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct parameter service = {SLICE("service"), slice_of(cases[i].service)};
        struct request request = {.method = METHOD_GET,
                                  .path = slice_of(cases[i].path),
                                  .parameters = &service,
                                  .parameter_count = cases[i].service != NULL};
        int allowed;
        enum route_outcome outcome = route_find(&rooted_table, &request, &allowed);
        assert_int_equal(outcome, cases[i].endpoint == NULL ? ROUTE_UNKNOWN : ROUTE_FOUND);
        if (outcome != ROUTE_FOUND)
            continue;
        assert_string_equal(request.route->endpoint, cases[i].endpoint);
        assert_true(slice_equal_text(request.name, cases[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_route_find_matches_from_the_right),
        cmocka_unit_test(test_route_find_knows_nothing_else),
        cmocka_unit_test(test_route_find_tells_the_allowed_methods),
        cmocka_unit_test(test_route_find_below_the_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

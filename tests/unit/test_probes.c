/* test_probes.c - what the probes answer, over a storage that stands in. */
#include "registry/probes.h"

#include <string.h>

#include "registry/services.h"
#include "storage/storage.h"
#include "tests/support/unit.h"

static bool storage_is_full;

int storage_ready(struct storage *store, struct error *err)
{
    (void)store;
    return storage_is_full ? error_set(err, ERROR_STORAGE_FULL, "less than 5 bytes are left") : 0;
}

static const struct {
    const char *path;
    bool draining, full;
    int status;
    const char *body;
} cases[] = {
    {"/livez", false, false, 200, "ok\n"},
    {"/livez", true, true, 200, "ok\n"},
    {"/startupz", false, true, 200, "ok\n"},
    {"/readyz", false, false, 200, "ready\n"},
    {"/readyz", true, false, 503, "shutting down\n"},
    {"/readyz", false, true, 503, "less than 5 bytes are left\n"},
};

static void test_probes_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct probes probes = {.draining = cases[i].draining};
        const struct services services = {.probes = &probes};
        struct request request = {
            .method = METHOD_GET, .path = slice_of(cases[i].path), .services = &services};
        struct reply reply;
        struct error err = {0};
        int allowed = 0;
        storage_is_full = cases[i].full;
        reply_init(&reply);
        assert_int_equal(route_find(&probe_routes, &request, &allowed), ROUTE_FOUND);
        assert_int_equal(request.route->action, ACTION_NONE);
        assert_int_equal(request.route->handle(&request, &reply, &err), 0);
        assert_int_equal(reply.status, cases[i].status);
        assert_int_equal(reply.part_count, 1);
        assert_true(slice_equal_text(reply.parts[0].bytes, cases[i].body));
        reply_drop(&reply);
    }
}

/* Not ready is said by a worker, since storage is asked; alive is said by the loop itself. */
static void test_probes_alive_comes_from_the_loop(void **state)
{
    (void)state;
    for (size_t i = 0; i < probe_routes.count; i++) {
        const struct route *route = &probe_routes.routes[i];
        assert_int_equal(route->peek != NULL, strcmp(route->pattern, "/readyz") != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probes_answer),
        cmocka_unit_test(test_probes_alive_comes_from_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

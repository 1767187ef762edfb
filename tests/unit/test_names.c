/* test_names.c - names of images with a host of ours before them are those without.
 * Touches  memory only.
 * Never    a server. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/options.h"
#include "tests/support/unit.h"

#define PUBLIC "https://Registry.example:8443"
#define CALLED SLICE("127.0.0.1:5000")

/* Spec: s2i 2.10 */
static void test_names(void **state)
{
    static const struct {
        const char *name, *own;
    } cases[] = {
        {"builders/python:3", "builders/python:3"},
        {"registry.example:8443/builders/python:3", "builders/python:3"},
        {"REGISTRY.example:8443/app@sha256:0", "app@sha256:0"},
        {"127.0.0.1:5000/app", "app"},
        {"127.0.0.1:5000/127.0.0.1:5000/app", "127.0.0.1:5000/app"}, /* once */
        {"registry.example/app", "registry.example/app"},            /* another port */
        {"registry.example:8443", "registry.example:8443"},
        {"registry.example:8443/", "registry.example:8443/"},
        {"registry.example:84433/app", "registry.example:84433/app"},
        {"127.0.0.1:500/app", "127.0.0.1:500/app"},
        {"other.example:8443/app", "other.example:8443/app"},
        {"registry.example:8444/app", "registry.example:8444/app"},
        {"/app", "/app"},
        {"", ""},
    };
    const struct s2i_hosts hosts = s2i_hosts_of(PUBLIC, CALLED);

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        if (!slice_equal_text(s2i_name_own(slice_of(cases[i].name), &hosts), cases[i].own))
            fail_msg("%s", cases[i].name);
}

/* "team/app" is a repository of ours, whatever we are called. */
static void test_what_is_a_host(void **state)
{
    static const struct {
        const char *public_url, *called, *name, *own;
    } cases[] = {
        {"", NULL, "a.example/app", "a.example/app"},
        {"", NULL, "/app", "/app"},
        {"", "registry", "registry/app", "registry/app"},
        {"http://registry", NULL, "registry/app", "registry/app"},
        {"http://registry:80", NULL, "registry:80/app", "app"},
        {"", "localhost", "localhost/app", "app"},
        {"", "[::1]:5000", "[::1]:5000/app", "app"},
        {"https://a.example", "b.example", "b.example/app", "app"},
        {"https://a.example", "b.example", "a.example/app", "app"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        const struct s2i_hosts hosts = s2i_hosts_of(cases[i].public_url, slice_of(cases[i].called));
        if (!slice_equal_text(s2i_name_own(slice_of(cases[i].name), &hosts), cases[i].own))
            fail_msg("%s", cases[i].name);
    }
}

static void test_options(void **state)
{
    static const struct {
        const char *given, *read; /* what the error says, after a '!' */
    } cases[] = {
        {"{\"builder\":\"127.0.0.1:5000/b:1\",\"runtime_image\":\"registry.example:8443/r\","
         "\"incremental_from\":\"127.0.0.1:5000/team/app:1\"}",
         "{\"builder\":\"b:1\",\"runtime_image\":\"r\",\"incremental_from\":\"team/app:1\"}"},
        {"{\"copy_from\":[\"a=/x\",\"127.0.0.1:5000/b:1=/x:y\"],"
         "\"detect\":[\"go.mod=127.0.0.1:5000/go\",\"127.0.0.1:5000/x=rust\"]}",
         "{\"copy_from\":[\"a=/x\",\"b:1=/x:y\"],"
         "\"detect\":[\"go.mod=go\",\"127.0.0.1:5000/x=rust\"]}"},
        {"{\"ref\":\"127.0.0.1:5000/b\"}", "{\"ref\":\"127.0.0.1:5000/b\"}"}, /* no image */
        {"{\"builder\":null,\"oci\":true}", "{\"oci\":true}"},
        {"{\"builder\":\"docker.io/python:3\"}", "{\"builder\":\"docker.io/python:3\"}"},
        {"{\"builder\":\"other.example:5000/b\"}", "!of this registry"},
        {"{\"builder\":\"127.0.0.1:5000/\"}", "!of this registry"},
        {"{\"builder\":5}", "!must be a text"},
        {"{\"copy_from\":[[\"127.0.0.1:5000/b=/x\"]]}", "!must be"},
        {"[]", "!must be an object"},
    };
    const struct s2i_hosts hosts = s2i_hosts_of(PUBLIC, CALLED);

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
        OWNED(json_drop) json_t *given = json_loads(cases[i].given, 0, NULL);
        OWNED(memory_drop) char *before = json_dumps(given, JSON_COMPACT);
        struct error err = {0};
        int result = s2i_options_hear(&options, given, S2I_FROM_CONFIG, &hosts, &err);
        OWNED(memory_drop) char *after = json_dumps(given, JSON_COMPACT);
        assert_string_equal(after, before); /* it is somebody else's */
        if (cases[i].read[0] == '!') {
            if (result == 0 || strstr(err.message, cases[i].read + 1) == NULL)
                fail_msg("%s: %s", cases[i].given, err.message);
            continue;
        }
        OWNED(json_drop) json_t *written = s2i_options_write(&options, true);
        OWNED(memory_drop) char *text = json_dumps(written, JSON_COMPACT);
        assert_string_equal(text, cases[i].read);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_is_a_host),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

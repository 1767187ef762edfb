/* test_challenge.c - WWW-Authenticate and Link of other registries, and their addresses. */
#include "registry/transfer/challenge.h"

#include "registry/transfer/remote_url.h"
#include "tests/support/unit.h"

static void is_text(const char *found, const char *expected)
{
    if (expected == NULL)
        assert_null(found);
    else
        assert_string_equal(found, expected);
}

static void test_challenge_parse(void **state)
{
    static const struct {
        const char *header;
        bool basic, bearer;
        const char *realm, *service, *scope;
    } cases[] = {
        {"", false, false, NULL, NULL, NULL},
        {"Basic realm=\"x\"", true, false, NULL, NULL, NULL},
        {"Bearer realm=\"https://a/token\",service=\"s\",scope=\"repository:a:pull,push\"", false,
         true, "https://a/token", "s", "repository:a:pull,push"},
        {"bearer Realm = \"r\" , service=s", false, true, "r", "s", NULL},
        {"Basic realm=\"b\", Bearer realm=\"t\"", true, true, "t", NULL, NULL},
        {"Bearer realm=\"t\", Basic realm=\"b\"", true, true, "t", NULL, NULL},
        {"Bearer realm=\"first\", Bearer realm=\"second\"", false, true, "first", NULL, NULL},
        {"Bearer realm=\"a\\\"b\\\\c\"", false, true, "a\"b\\c", NULL, NULL},
        {"Bearer realm=\"open", false, true, "open", NULL, NULL},
        {"Bearer realm=", false, true, "", NULL, NULL},
        {"Negotiate abc==, Bearer realm=\"t\"", false, true, "t", NULL, NULL},
        {"=\"\",;;,Bearer", false, true, NULL, NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(challenge_drop) struct challenge challenge;
        challenge_parse(slice_of(cases[i].header), &challenge);
        assert_int_equal(challenge.basic, cases[i].basic);
        assert_int_equal(challenge.bearer, cases[i].bearer);
        is_text(challenge.realm, cases[i].realm);
        is_text(challenge.service, cases[i].service);
        is_text(challenge.scope, cases[i].scope);
    }
}

static void test_link_next(void **state)
{
    static const char *const cases[][2] = {
        {"</v2/_catalog?n=1&last=a>; rel=\"next\"", "/v2/_catalog?n=1&last=a"},
        {"<https://a/b,c;d>;rel=next", "https://a/b,c;d"},
        {"</first>; rel=\"prev\", </second>; title=\"a, b\"; rel=\"next\"", "/second"},
        {"</x>; rel=\"previous\"", NULL},
        {"</x>", NULL},
        {"</open; rel=\"next\"", NULL},
        {"rel=next", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct slice target = link_next(slice_of(cases[i][0]));
        if (cases[i][1] == NULL ? target.at != NULL : !slice_equal_text(target, cases[i][1]))
            fail_msg("%s: %.*s", cases[i][0], SLICE_ARG(target));
    }
    assert_null(link_next(SLICE_NONE).at);
}

/* http, which everybody on the way can read, is for this machine unless it is asked for. */
static void test_remote_url_read(void **state)
{
    static const struct {
        const char *text;
        bool plain_http;
        const char *origin;
    } cases[] = {
        {"registry.example", false, "https://registry.example:443"},
        {"registry.example:5000", true, "http://registry.example:5000"},
        {"https://Registry.Example/", true, "https://registry.example:443"},
        {"http://127.0.0.1:5000", false, "http://127.0.0.1:5000"},
        {"http://localhost", false, "http://localhost:80"},
        {"http://registry.example", false, NULL},
        {"http://127.0.0.1.example", false, NULL},
        {"http://localhost.example", false, NULL},
        {"https://ana@registry.example", false, NULL},
        {"https://registry.example/v2", false, NULL},
        {"file:///etc/passwd", true, NULL},
        {"", false, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(memory_drop) char *origin = NULL;
        struct error err = {0};
        int status = remote_url_read(cases[i].text, cases[i].plain_http, &origin, &err);
        if ((status == 0) != (cases[i].origin != NULL))
            fail_msg("%s: %s", cases[i].text, err.message);
        is_text(origin, cases[i].origin);
    }
}

static void test_remote_url_resolve(void **state)
{
    static const struct {
        const char *base, *target, *url, *origin;
    } cases[] = {
        {"https://a:443", "/v2/", "https://a:443/v2/", "https://a:443"},
        {"https://a:443/v2/x", "?n=1", "https://a:443/v2/x?n=1", "https://a:443"},
        {"https://a:443", "https://B/x", "https://B/x", "https://b:443"},
        {"https://a:443", "//b:1/x", "https://b:1/x", "https://b:1"},
        {"https://a:443", "http://a:443/x", NULL, NULL},
        {"http://a:80", "ftp://a/x", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(memory_drop) char *url = NULL;
        OWNED(memory_drop) char *origin = NULL;
        struct error err = {0};
        int status = remote_url_resolve(cases[i].base, cases[i].target, &url, &origin, &err);
        assert_int_equal(status, cases[i].url == NULL ? -1 : 0);
        is_text(url, cases[i].url);
        is_text(origin, cases[i].origin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge_parse),
        cmocka_unit_test(test_link_next),
        cmocka_unit_test(test_remote_url_read),
        cmocka_unit_test(test_remote_url_resolve),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_challenge.c - WWW-Authenticate and Link of other registries. */
#include "registry/transfer/challenge.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_challenge_parse),
        cmocka_unit_test(test_link_next),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

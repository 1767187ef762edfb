/* test_v2_paging.c - the parameters n and last, and the Link they lead to. */
#include "registry/v2/paging.h"

#include "tests/support/unit.h"

enum { DEFAULT = 10000, MAX = 1000 };

static int parse(const char *n, const char *last, struct paging *out, struct error *err)
{
    struct parameter parameters[2];
    struct request request = {.parameters = parameters};

    if (n != NULL)
        parameters[request.parameter_count++] = (struct parameter){SLICE("n"), slice_of(n)};
    if (last != NULL)
        parameters[request.parameter_count++] = (struct parameter){SLICE("last"), slice_of(last)};
    return paging_parse(&request, DEFAULT, MAX, out, err);
}

/* Spec: TAG-03, TAG-06, TAG-07. */
static void test_paging_parse_reads_and_clamps_n(void **state)
{
    static const struct {
        const char *n;
        size_t limit;
        bool counted;
    } cases[] = {
        {NULL, DEFAULT, false},
        {"0", 0, true},
        {"1", 1, true},
        {"1000", 1000, true},
        {"1001", MAX, true},
        {"007", 7, true},
        {"9223372036854775808", MAX, true},
        {"99999999999999999999999999999999999999", MAX, true},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct paging paging;
        struct error err = {0};
        assert_int_equal(parse(cases[i].n, NULL, &paging, &err), 0);
        assert_int_equal(paging.limit, cases[i].limit);
        assert_int_equal(paging.counted, cases[i].counted);
        assert_null(paging.last.at);
    }
}

static void test_paging_parse_refuses_what_is_no_number(void **state)
{
    static const char *const cases[] = {"", "-1", "+1", "x", "1x", "1.0", " 1", "0x10", "1e3"};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct paging paging;
        struct error err = {0};
        assert_int_equal(parse(cases[i], NULL, &paging, &err), -1);
        assert_int_equal(err.code, ERROR_UNSUPPORTED);
        assert_int_equal(err.status, 400);
    }
}

/* Spec: TAG-04. */
static void test_paging_parse_takes_last_without_n(void **state)
{
    struct paging paging;
    struct error err = {0};

    (void)state;
    assert_int_equal(parse(NULL, "a_b", &paging, &err), 0);
    assert_true(slice_equal_text(paging.last, "a_b"));
}

/* Spec: TAG-05, HTTP-16. */
static void test_paging_link_is_a_path_with_escapes(void **state)
{
    static const struct {
        struct paging paging;
        const char *last;
        const char *expected;
    } cases[] = {
        {{.limit = 2, .counted = true},
         "B",
         "Link: </v2/a/tags/list?n=2&last=B>; rel=\"next\"\r\n"},
        {{.limit = DEFAULT}, "B", "Link: </v2/a/tags/list?last=B>; rel=\"next\"\r\n"},
        {{.limit = 1, .counted = true},
         "a/b",
         "Link: </v2/a/tags/list?n=1&last=a%2Fb>; rel=\"next\"\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct reply reply;
        reply_init(&reply);
        paging_link(&reply, SLICE("/v2/a/tags/list"), &cases[i].paging, slice_of(cases[i].last));
        assert_true(slice_equal_text(buffer_slice(&reply.head), cases[i].expected));
        reply_drop(&reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paging_parse_reads_and_clamps_n),
        cmocka_unit_test(test_paging_parse_refuses_what_is_no_number),
        cmocka_unit_test(test_paging_parse_takes_last_without_n),
        cmocka_unit_test(test_paging_link_is_a_path_with_escapes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

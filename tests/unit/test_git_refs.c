/* test_git_refs.c - refs of a push: which are allowed, which are built, and as what. Spec: s2i
 * 13.12, 13.21 */
#include "registry/git/refs.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

static const char COMMIT[] = "0123456789abcdef0123456789abcdef01234567";

static void test_ref_objection(void **state)
{
    static const char *const good[] = {"refs/heads/main", "refs/tags/v1.0", "refs/heads/feature/a",
                                       "refs/heads/a-b_c", "refs/heads/\xc3\xa9t\xc3\xa9"};
    static const char *const bad[] = {
        "main",
        "HEAD",
        "refs/heads/",
        "refs/heads",
        "refs/notes/x",
        "refs/builds/1",
        "refs/pull/1/head",
        "refs/heads/HEAD",
        "refs/heads/../../x",
        "refs/heads/a..b",
        "refs/heads/.a",
        "refs/heads/a/.b",
        "refs/heads/a.lock",
        "refs/heads/a.lock/b",
        "refs/heads/a.",
        "refs/heads/a//b",
        "refs/heads/a/",
        "refs/heads//a",
        "refs/heads/a b",
        "refs/heads/a\nb",
        "refs/heads/a\x1b[1m",
        "refs/heads/a\x7f",
        "refs/heads/a~1",
        "refs/heads/a^",
        "refs/heads/a:b",
        "refs/heads/a?",
        "refs/heads/a*",
        "refs/heads/[a",
        "refs/heads/a\\b",
        "refs/heads/@{1}",
        "refs/heads/-x",
        "refs/heads/\xff\xfe",    /* no UTF-8 */
        "refs/heads/\302\23331m", /* a control character */
    };
    char part[300] = "refs/heads/";

    (void)state;
    for (size_t i = 0; i < LENGTH(good); i++)
        assert_null(ref_objection(good[i]));
    for (size_t i = 0; i < LENGTH(bad); i++) {
        assert_non_null(ref_objection(bad[i]));
        assert_true(strlen(ref_objection(bad[i])) < 100);
    }
    memset(part + strlen("refs/heads/"), 'x', 250);
    assert_null(ref_objection(part));
    part[strlen(part)] = 'x'; /* with ".lock" it would be no name of a file */
    assert_non_null(ref_objection(part));
    memset(part, 0, sizeof(part));
    memcpy(part, "refs/heads/", strlen("refs/heads/"));
    for (size_t i = 0; i < 60; i++)
        memcpy(part + strlen(part), i == 0 ? "a" : "/a", i == 0 ? 1 : 2);
    assert_null(ref_objection(part));
    memcpy(part + strlen(part), "/a", 2); /* more folders in each other than anybody looks into */
    assert_non_null(ref_objection(part));
}

static void items_of(const char *text, struct s2i_list *out)
{
    char *copy = strdup(text), *rest = copy, *one;

    while ((one = strsep(&rest, ";")) != NULL)
        if (*one != 0)
            s2i_list_add(out, slice_of(one));
    free(copy);
}

static void joined(const struct s2i_list *list, char *out, size_t capacity)
{
    size_t used = 0;

    out[0] = 0;
    for (size_t i = 0; i < list->count; i++)
        used +=
            (size_t)snprintf(out + used, capacity - used, "%s%s", i > 0 ? " " : "", list->items[i]);
}

static void test_refs_map(void **state)
{
    static const struct {
        const char *branches, *main, *ref, *tags; /* NULL: not built */
    } cases[] = {
        {"", "refs/heads/main", "refs/heads/main", "latest main git-0123456789ab"},
        {"", "refs/heads/trunk", "refs/heads/main", NULL},
        {"", NULL, "refs/heads/main", NULL},
        {"", "refs/heads/main", "refs/heads/topic", NULL},
        {"", "refs/heads/main", "refs/tags/v1.2", "v1.2 git-0123456789ab"},
        {"", "refs/heads/main", "refs/tags/vendor", NULL},
        {"", "refs/heads/main", "refs/tags/v", NULL},
        {"", "refs/heads/a/b", "refs/heads/a/b", "latest a-b git-0123456789ab"},
        {"topic=t", "refs/heads/main", "refs/heads/topic", "t git-0123456789ab"},
        {"topic=t", "refs/heads/main", "refs/heads/main", "latest main git-0123456789ab"},
        {"main=prod,live", "refs/heads/main", "refs/heads/main", "prod live git-0123456789ab"},
        {"main=-", "refs/heads/main", "refs/heads/main", NULL},
        {"release/*=r-*,stable", "refs/heads/main", "refs/heads/release/1.2/x",
         "r-1.2-x stable git-0123456789ab"},
        {"*=*", "refs/heads/main", "refs/heads/any/thing", "any-thing git-0123456789ab"},
        {"*=*", "refs/heads/main", "refs/tags/x", NULL}, /* short patterns are of branches */
        {"refs/tags/*=*", "refs/heads/main", "refs/tags/x", "x git-0123456789ab"},
        {"refs/tags/r*=*", "refs/heads/main", "refs/tags/r7", "7 git-0123456789ab"},
        {"a=1;a=2", "refs/heads/main", "refs/heads/a", "1 git-0123456789ab"}, /* the first */
        {"f=x,x,x", NULL, "refs/heads/f", "x git-0123456789ab"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
        OWNED(s2i_list_drop) struct s2i_list tags = {0};
        char text[512];
        items_of(cases[i].branches, &options.branches);
        assert_int_equal(refs_map(&options, cases[i].main, cases[i].ref, COMMIT, &tags),
                         cases[i].tags != NULL);
        joined(&tags, text, sizeof(text));
        assert_string_equal(text, cases[i].tags == NULL ? "" : cases[i].tags);
    }
}

static void test_refs_tag_name(void **state)
{
    static const struct {
        const char *name, *tag;
    } cases[] = {
        {"main", "main"},
        {"a/b", "a-b"},
        {"-a", "_a"},
        {".a", "_a"},
        {"/a", "_a"},
        {"a+b@c", "a-b-c"},
        {"A.b_c-d", "A.b_c-d"},
        {"\xc3\xa9t\xc3\xa9", "_-t--"},
        {"", ""},
    };
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char large[300];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        text.size = 0;
        refs_tag_name(slice_of(cases[i].name), &text);
        assert_true(slice_equal_text(buffer_slice(&text), cases[i].tag));
    }
    text.size = 0;
    memset(large, 'x', sizeof(large));
    refs_tag_name((struct slice){large, sizeof(large)}, &text);
    assert_int_equal(text.size, 128);
}

static void test_ref_protected(void **state)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};

    (void)state;
    items_of("main;release/*;refs/tags/v*", &options.protected_branches);
    assert_true(ref_protected(&options, "refs/heads/main"));
    assert_true(ref_protected(&options, "refs/heads/release/1"));
    assert_true(ref_protected(&options, "refs/tags/v1"));
    assert_false(ref_protected(&options, "refs/tags/main"));
    assert_false(ref_protected(&options, "refs/heads/mainly"));
}

static void test_refs_default(void **state)
{
    static const struct {
        const char *configured, *head;
        bool exists;
        const char *pushed, *expected; /* pushed: "ref;ref", "-ref" is deleted */
    } cases[] = {
        {NULL, "refs/heads/main", true, "refs/heads/x", "refs/heads/main"},
        {NULL, "refs/heads/main", false, "refs/heads/x;refs/heads/master", "refs/heads/master"},
        {NULL, "refs/heads/main", false, "refs/heads/x;refs/heads/main", "refs/heads/main"},
        {NULL, "refs/heads/main", false, "refs/tags/v1;refs/heads/y", "refs/heads/y"},
        {NULL, "refs/heads/main", false, "refs/tags/v1", NULL},
        {NULL, "refs/heads/main", false, "-refs/heads/main", NULL},
        {NULL, "refs/heads/main", false, "refs/heads/-x", NULL},
        {NULL, "refs/heads/main", false, "refs/heads/a\xff;refs/heads/y", "refs/heads/y"},
        {"a..b", "refs/heads/main", true, "refs/heads/a..b", NULL},
        {"trunk", "refs/heads/main", true, "refs/heads/trunk", "refs/heads/trunk"},
        {"refs/heads/trunk", "refs/heads/main", true, "refs/heads/trunk", "refs/heads/trunk"},
        {"trunk", "refs/heads/main", true, "refs/heads/main", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_list_drop) struct s2i_list refs = {0};
        struct push_command commands[4] = {0};
        struct push_request push = {.commands = commands};
        const struct s2i_options options = {.default_branch =
                                                (char *)(uintptr_t)cases[i].configured};
        items_of(cases[i].pushed, &refs);
        for (size_t j = 0; j < refs.count; j++) {
            bool gone = refs.items[j][0] == '-';
            commands[push.count].ref = refs.items[j] + gone;
            memset(commands[push.count++].new, gone ? '0' : '1', GIT_OID_SIZE);
        }
        const char *found = refs_default(&options, cases[i].head, cases[i].exists, &push);
        if (cases[i].expected == NULL)
            assert_null(found);
        else
            assert_string_equal(found, cases[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_objection), cmocka_unit_test(test_refs_map),
        cmocka_unit_test(test_refs_tag_name), cmocka_unit_test(test_ref_protected),
        cmocka_unit_test(test_refs_default),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

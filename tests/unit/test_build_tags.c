/* test_build_tags.c - which tags a build makes that nobody pushed. Spec: s2i 13.21, 14.8 */
#include "registry/api/build.h"

#include <string.h>

#include "tests/support/unit.h"

#define COMMIT "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"

static void check(const char *const *tags, const char *branches, const char *configured,
                  const char *ref, const char *commit, const char *wanted)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    OWNED(build_tags_drop) struct build_tags found = {.slices = NULL};
    OWNED(buffer_drop) struct buffer joined = BUFFER_NONE;

    for (; tags != NULL && *tags != NULL; tags++)
        s2i_list_add(&options.tags, slice_of(*tags));
    if (branches != NULL)
        s2i_list_add(&options.branches, slice_of(branches));
    api_build_tags(&options, configured, slice_of(ref), slice_of(commit), &found);
    for (size_t i = 0; i < found.texts.count; i++) {
        assert_true(slice_equal_text(found.slices[i], found.texts.items[i]));
        buffer_print(&joined, "%s%s", i == 0 ? "" : " ", found.texts.items[i]);
    }
    buffer_append(&joined, "", 1);
    assert_string_equal(joined.at, wanted);
}

static void test_tags_of_refs(void **state)
{
    static const struct {
        const char *branches, *configured, *ref, *commit, *wanted;
    } cases[] = {
        {NULL, NULL, NULL, NULL, "latest"},
        {NULL, NULL, NULL, COMMIT, "latest git-0d1a26e67d8f"},
        {NULL, "main", "main", NULL, "latest main"},
        {NULL, "main", "refs/heads/main", COMMIT, "latest main git-0d1a26e67d8f"},
        {NULL, "refs/heads/main", "main", NULL, "latest main"},
        {NULL, "main", "feature/x", COMMIT, "feature-x git-0d1a26e67d8f"},
        {NULL, NULL, "next", NULL, "next"},
        {NULL, "main", "refs/tags/v1.2", NULL, "v1.2"},
        {NULL, "main", "refs/tags/odd", NULL, "odd"},
        {NULL, "main", COMMIT, NULL, "git-0d1a26e67d8f"},
        {"release/*=r-*,stable", "main", "release/7", COMMIT, "r-7 stable git-0d1a26e67d8f"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        check(NULL, cases[i].branches, cases[i].configured, cases[i].ref, cases[i].commit,
              cases[i].wanted);
}

static void test_tags_that_are_asked_for_are_all(void **state)
{
    static const char *const tags[] = {"v1", "stable", NULL};

    (void)state;
    check(tags, "main=latest", "main", "main", COMMIT, "v1 stable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tags_of_refs),
        cmocka_unit_test(test_tags_that_are_asked_for_are_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_scope.c - the scope grammar: what is read, what is dropped, what folds. */
#include "auth/scope.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

/* "type name bits" of each, in order: r for a repository, c for the catalogue. */
static void print(const struct scopes *scopes, struct buffer *out)
{
    for (size_t i = 0; i < scopes->count; i++) {
        buffer_print(out, "%s%c %.*s ", i > 0 ? " " : "",
                     scopes->items[i].type == SCOPE_CATALOG ? 'c' : 'r',
                     SLICE_ARG(scopes->items[i].name));
        scope_actions_print(scopes->items[i].actions, out);
    }
    buffer_append(out, "", 1);
}

static void test_scopes_are_read(void **state)
{
    static const struct {
        const char *text, *read;
    } cases[] = {
        {"", ""},
        {" ", ""},
        {"repository:a/b:pull", "r a/b pull"},
        {"repository:a/b:pull,push", "r a/b pull,push"},
        {"repository:a/b:push,pull", "r a/b pull,push"},
        {"repository:a:delete,push,*,pull,push", "r a pull,push,delete,*"},
        {"repository(plugin):a:pull", "r a pull"},
        {"repository(x9):a:pull repository:a:push", "r a pull,push"},
        {"repository:host:5000/a:pull", "r host:5000/a pull"},
        {"repository:registry.example:443/team/app:pull", "r registry.example:443/team/app pull"},
        {"registry:catalog:*", "c catalog *"},
        {"registry(class):catalog:pull", "c catalog pull"},
        {"repository:catalog:*", "r catalog *"},
        {"repository:a:", "r a "},
        {"repository:a:,", "r a "},
        {"repository:a:,,pull,", "r a pull"},
        {"repository:a:fly,pull", "r a pull"},
        {"repository:a:PULL,pullx,pul", "r a "},
        {"repository:a:pull repository:b:pull", "r a pull r b pull"},
        {"  repository:b:pull   repository:a:pull ", "r b pull r a pull"},
        {"repository:a:pull x:y:z repository:a:push", "r a pull,push"},
        /* dropped: unparsable */
        {"repository", ""},
        {"repository:a", ""},
        {":a:pull", ""},
        {"::", ""},
        {"a", ""},
        {"repository(:a:pull", ""},
        {"repository():a:pull", ""},
        {"repository(a:b:pull", ""},
        {"repository(A):a:pull", ""},
        {"repository(a)b:a:pull", ""},
        {"(a):a:pull", ""},
        {"repository:a:pull\trepository:b:pull", ""},
        /* dropped: unknown */
        {"x:y:z", ""},
        {"Repository:a:pull", ""},
        {"repositoryx:a:pull", ""},
        {"registry:other:*", ""},
        {"registry:Catalog:*", ""},
        /* dropped: no name of a repository, TOK-72 */
        {"repository:*:pull", ""},
        {"repository:**:pull", ""},
        {"repository:team/*:pull", ""},
        {"repository:..:pull", ""},
        {"repository:a/../b:pull", ""},
        {"repository:/a:pull", ""},
        {"repository:a/:pull", ""},
        {"repository:A:pull", ""},
        {"repository::pull", ""},
        {"repository:a%2fb:pull", ""},
        {"repository:host:/a:pull", ""},
        {"repository:host:0/a:pull", ""},
        {"repository:host:65536/a:pull", ""},
        {"repository:host:5000:pull", ""},
        {"repository:host:5000/:pull", ""},
        {"repository:host:5000/*:pull", ""},
        {"repository:a/host:5000/a:pull", ""},
        {"repository:host:5000/a:b/c:pull", ""},
        {"repository::5000/a:pull", ""},
        {"repository:*:5000/a:pull", ""},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        OWNED(scopes_drop) struct scopes scopes;
        size_t size = strlen(cases[i].text);
        char *exact = memory_new(size + (size == 0));
        memcpy(exact, cases[i].text, size);
        scopes_parse((struct slice){exact, size}, &scopes);
        print(&scopes, &text);
        free(exact);
        if (strcmp(text.at, cases[i].read) != 0)
            fail_msg("\"%s\" gave \"%s\", not \"%s\"", cases[i].text, text.at, cases[i].read);
    }
    OWNED(scopes_drop) struct scopes none;
    scopes_parse(SLICE_NONE, &none);
    assert_int_equal(none.count, 0);
    scopes_parse((struct slice){"repository:a\0:pull", 18}, &none);
    assert_int_equal(none.count, 0);
}

static void test_scopes_are_bounded(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(scopes_drop) struct scopes scopes;

    (void)state;
    for (int i = 0; i < 3 * SCOPES_MAX; i++)
        buffer_print(&text, "repository:r%d:pull repository:r%d:push ", i, i);
    scopes_parse(buffer_slice(&text), &scopes);
    assert_int_equal(scopes.count, SCOPES_MAX);
    for (size_t i = 0; i < scopes.count; i++)
        assert_int_equal(scopes.items[i].actions, SCOPE_PULL | SCOPE_PUSH);
    assert_true(slice_equal_text(scopes.items[SCOPES_MAX - 1].name, "r999"));
}

static void test_scope_actions(void **state)
{
    (void)state;
    assert_int_equal(scope_actions_parse(SLICE_NONE), 0);
    assert_int_equal(scope_actions_parse(SLICE("*")), SCOPE_ALL);
    assert_int_equal(scope_actions_parse(SLICE("delete,pull")), SCOPE_DELETE | SCOPE_PULL);
    assert_int_equal(scope_action_parse(SLICE("push")), SCOPE_PUSH);
    assert_int_equal(scope_action_parse(SLICE("pull,push")), 0);
    assert_int_equal(scope_action_parse(SLICE_NONE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scopes_are_read),
        cmocka_unit_test(test_scopes_are_bounded),
        cmocka_unit_test(test_scope_actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

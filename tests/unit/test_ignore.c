/* test_ignore.c - .s2iignore: rules against paths. Spec: s2i 4.20 to 4.25, acceptance 20.2 */
#include <string.h>

#include "s2i/contract/contract.h"
#include "tests/support/unit.h"

/* Whether the path goes, by itself or with a folder above it: as who walks a tree asks. */
static bool goes(const struct ignore *ignore, struct slice path)
{
    for (size_t i = 1; i < path.size; i++)
        if (path.at[i] == '/' && ignore_selects(ignore, (struct slice){path.at, i}))
            return true;
    return ignore_selects(ignore, path);
}

/* Paths with blanks between; notes: how many lines are malformed. */
struct rule_case {
    const char *rules, *gone, *kept;
    size_t notes;
};

static void check_paths(const struct rule_case *test, const struct ignore *ignore,
                        const char *paths, bool wanted)
{
    struct slice rest = slice_of(paths), path;

    while (rest.size > 0) {
        slice_split(rest, '|', &path, &rest);
        if (goes(ignore, path) != wanted)
            fail_msg("rules '%s': '%.*s' %s", test->rules, SLICE_ARG(path),
                     wanted ? "stays" : "goes");
    }
}

static void check_all(const struct rule_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
        OWNED(ignore_drop) struct ignore *ignore = ignore_parse(slice_of(cases[i].rules), &notes);
        check_paths(&cases[i], ignore, cases[i].gone, true);
        check_paths(&cases[i], ignore, cases[i].kept, false);
        if (notes.count != cases[i].notes)
            fail_msg("rules '%s': %zu notes", cases[i].rules, notes.count);
    }
}

static void test_ignore_rules(void **state)
{
    static const struct rule_case cases[] = {
        /* names, from the root only */
        {"README.md", "README.md", "docs/README.md|README.mdx|xREADME.md|readme.md", 0},
        {"docs", "docs|docs/a|docs/a/b", "docs2|src/docs", 0},
        {"docs/", "docs|docs/a", "docs2", 0},
        {"/docs", "docs|docs/a", "src/docs", 0},
        {"./docs//a/.", "docs/a|docs/a/x", "docs|docs/b", 0},
        {"src/test.py", "src/test.py", "test.py|src/a/test.py|src", 0},
        /* stars and question marks stay in their part */
        {"*.log", "a.log|.log|b.c.log", "x/a.log|a.logs", 0},
        {"*", "a|.hidden|b/c", "", 0},
        {"*/temp*", "a/temp|b/temporary|a/temp/x", "temp|a/b/temp|a/xtemp", 0},
        {"*/*/temp*", "a/b/temp1", "a/temp|temp|a/b/c/temp", 0},
        {"**/x", "a/x", "x|a/b/x", 0},
        {"a*b*c", "abc|axxbyyc|abbc|abcbc", "abcd|ab|a/b/c", 0},
        {"temp?", "tempa|temp1|temp\xc3\xa4", "temp|temp12|temp/a", 0},
        {"?", "a|\xc3\xa4|\xff", "ab", 0},
        /* classes */
        {"[a-c].txt", "a.txt|c.txt", "d.txt|-.txt|ab.txt", 0},
        {"[abx-z]1", "a1|b1|y1", "c1|11", 0},
        {"[^a]", "b|^|\xc3\xa4", "a|bb", 0},
        {"[^a-c]x", "dx", "ax|x", 0},
        {"[\xc3\xa0-\xc3\xa4]", "\xc3\xa1", "\xc3\xa5|a", 0},
        {"[\\]\\-]", "]|-", "\\|a", 0},
        {"[*?]", "*|?", "a", 0},
        /* quoting, comments, blanks */
        {"\\*", "*", "a|\\*", 0},
        {"# a\n#b\nc", "c", "# a|#b|b", 0},
        {"\\#a", "#a", "a", 0},
        {"\\!a", "!a", "a", 0},
        {"  spaced name  \n", "spaced name", "  spaced name  |spaced", 0},
        {"tab\t", "tab\t", "tab", 0},
        {"\n\n  \r\na\r\n", "a", "b|\r", 0},
        /* taking back */
        {"*.md\n!README.md", "a.md", "README.md", 0},
        {"!README.md\n*.md", "a.md|README.md", "", 0},
        {"*.md\n!README.md\nREADME*", "README.md|README.txt", "b.txt", 0},
        {"docs\n!docs/keep", "docs|docs/keep|docs/a", "", 0},
        {"docs/*\n!docs/keep", "docs/a", "docs|docs/keep", 0},
        {"*\n!*/x\n!src", "a/x|b", "src|src/x|src/y", 0},
        {"a/*\n!a", "a/x", "a", 0},
        {"!a", "", "a", 0},
        {"*\n! a", "a", "", 0},
        {"  !a \n", "", "a", 0},
        /* what leads outside, or names the root, selects nothing */
        {"../x", "", "x|../x", 1},
        {"a/../../x", "", "x", 1},
        {"a/../x", "x", "a", 0},
        {"../*", "", "a", 1},
        {"/", "", "a", 1},
        {".", "", "a|.", 1},
        {"!..\nx", "x", "a", 1},
        /* malformed */
        {"[a", "", "a|[a", 1},
        {"[]a]", "", "]|a", 1},
        {"[a-]", "", "a|-", 1},
        {"[", "", "[", 1},
        {"[^]", "", "^|a", 1},
        {"a\\", "", "a|a\\", 1},
        {"[\\", "", "[|\\", 1},
        {"*[a\nb", "b", "xa|a", 1},
        {"[a/b]", "", "a|b|[a/b]", 1},
        {"a\\/b", "", "a/b", 1},
        {"[\xff]", "", "\xff", 1},
        {"", "", "a|.s2iignore", 0},
    };

    (void)state;
    check_all(cases, LENGTH(cases));
}

static void test_ignore_without_file(void **state)
{
    (void)state;
    assert_false(ignore_selects(NULL, SLICE("a")));
}

static void test_ignore_notes_say_where(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    OWNED(ignore_drop) struct ignore *ignore = ignore_parse(SLICE("a\n\n[b"), &notes);

    (void)state;
    assert_non_null(ignore);
    assert_int_equal(notes.count, 1);
    assert_non_null(strstr(notes.items[0], "line 3"));
}

/* A zero byte would end a rule early. */
static void test_ignore_zero_byte(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    OWNED(ignore_drop) struct ignore *ignore = ignore_parse(SLICE("a\0b"), &notes);

    (void)state;
    assert_int_equal(notes.count, 1);
    assert_false(ignore_selects(ignore, SLICE("a")));
}

static void test_ignore_limits(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    struct buffer text = BUFFER_NONE;

    (void)state;
    for (int i = 0; i < 1001; i++)
        buffer_print(&text, "f%d\n", i);
    OWNED(ignore_drop) struct ignore *ignore = ignore_parse(buffer_slice(&text), &notes);
    assert_int_equal(notes.count, 1);
    assert_true(ignore_selects(ignore, SLICE("f999")));
    assert_false(ignore_selects(ignore, SLICE("f1000")));
    while (text.size <= 65536)
        buffer_append_text(&text, "# more\n");
    OWNED(ignore_drop) struct ignore *none = ignore_parse(buffer_slice(&text), &notes);
    assert_int_equal(notes.count, 2);
    assert_false(ignore_selects(none, SLICE("f1")));
    buffer_drop(&text);
}

/* A rule of many stars takes no more time than the product of the sizes. */
static void test_ignore_many_stars(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    char rule[201], name[250];

    (void)state;
    for (size_t i = 0; i < 100; i++)
        memcpy(rule + 2 * i, "*a", 2);
    rule[200] = 'b';
    memset(name, 'a', sizeof(name));
    OWNED(ignore_drop)
    struct ignore *ignore = ignore_parse((struct slice){rule, sizeof(rule)}, &notes);
    assert_false(ignore_selects(ignore, (struct slice){name, sizeof(name)}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ignore_rules),     cmocka_unit_test(test_ignore_without_file),
        cmocka_unit_test(test_ignore_zero_byte), cmocka_unit_test(test_ignore_notes_say_where),
        cmocka_unit_test(test_ignore_limits),    cmocka_unit_test(test_ignore_many_stars),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_options.c - command lines against tables: what is taken, what is refused, what help says. */
#include <stdlib.h>
#include <string.h>

#include "registry/cli/cli.h"
#include "tests/support/unit.h"

static int run(const struct cli_call *call)
{
    (void)call;
    return CLI_DONE;
}

static const struct cli_option own[] = {
    {"--name", "NAME", "what it is called", 0},
    {"--force", NULL, "also when it is there", 'f'},
    {0},
};
static const struct cli_option shared[] = {
    {"--set", "KEY=VALUE...", "a setting", 's'},
    {0},
};
static const struct cli_command none = {"thing", NULL, "does it", run, {own, shared}};
static const struct cli_command two = {"thing show", "FIRST [SECOND]", "does it", run, {own}};
static const struct cli_command many = {"thing add", "WORD...", "does it", run, {own}};
static const struct cli_command shell = {"thing sh", "ONE [COMMAND...]", "does it", run, {own}};

enum { WORDS_MAX = 8 };

static const struct {
    const struct cli_command *command;
    const char *words[WORDS_MAX];
    int status;
    const char *first; /* word that is not an option */
    const char *name;  /* of --name */
    size_t sets;
    bool force;
} lines[] = {
    {&none, {NULL}, CLI_DONE, NULL, NULL, 0, false},
    {&none, {"--name", "x"}, CLI_DONE, NULL, "x", 0, false},
    {&none, {"--name=x=y", "-f"}, CLI_DONE, NULL, "x=y", 0, true},
    {&none, {"--name="}, CLI_DONE, NULL, "", 0, false},
    {&none, {"--name", "-"}, CLI_DONE, NULL, "-", 0, false},
    {&none, {"--name", "--force"}, CLI_DONE, NULL, "--force", 0, false},
    {&none, {"--set", "a=1", "-s", "b=2", "--set=c=3"}, CLI_DONE, NULL, NULL, 3, false},
    {&none, {"--name"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--force=yes"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"-f", "--force"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--name", "a", "--name", "b"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--name", "a", "-f", "-f"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--nam", "a"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--names", "a"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"-x"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"word"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"-"}, CLI_USAGE, NULL, NULL, 0, false},
    {&none, {"--help"}, -1, NULL, NULL, 0, false},
    {&none, {"-f", "-h", "--nonsense"}, -1, NULL, NULL, 0, false},
    {&two, {NULL}, CLI_USAGE, NULL, NULL, 0, false},
    {&two, {"a"}, CLI_DONE, "a", NULL, 0, false},
    {&two, {"a", "-f", "b"}, CLI_DONE, "a", NULL, 0, true},
    {&two, {"a", "b", "c"}, CLI_USAGE, NULL, NULL, 0, false},
    {&two, {"--", "--force"}, CLI_DONE, "--force", NULL, 0, false},
    {&two, {"-"}, CLI_DONE, "-", NULL, 0, false},
    {&two, {"a", "--set", "b=1"}, CLI_USAGE, NULL, NULL, 0, false},
    {&many, {NULL}, CLI_USAGE, NULL, NULL, 0, false},
    {&many, {"a", "b", "c", "d", "e"}, CLI_DONE, "a", NULL, 0, false},
    {&many, {"a", "-x"}, CLI_USAGE, NULL, NULL, 0, false},
    {&shell, {"a", "--name", "x", "ls", "-la", "-f"}, CLI_DONE, "a", "x", 0, false},
    {&shell, {"a", "ls", "--help", "--name", "x"}, CLI_DONE, "a", NULL, 0, false},
    {&shell, {"a", "-la", "ls"}, CLI_USAGE, NULL, NULL, 0, false},
};

static bool same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void test_options_are_read_by_the_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(lines); i++) {
        OWNED(cli_call_drop) struct cli_call call = {0};
        int status = cli_parse(&call, lines[i].command, lines[i].words);
        if (status != lines[i].status)
            fail_msg("line %zu: %d", i, status);
        if (status != CLI_DONE)
            continue;
        OWNED(memory_drop) const char **sets = NULL;
        size_t count = lines[i].command == &none ? cli_values(&call, "--set", &sets) : 0;
        if (!same(call.words[0], lines[i].first) ||
            !same(cli_value(&call, "--name"), lines[i].name) ||
            cli_flag(&call, "--force") != lines[i].force || count != lines[i].sets)
            fail_msg("line %zu is read as something else", i);
        if (count == 3)
            assert_string_equal(sets[2], "c=3");
    }
}

static void test_options_match_whole_words(void **state)
{
    const char *const show[] = {"thing", "show", "a", NULL},
                      *const other[] = {"thing", "shows", NULL}, *const shorter[] = {"thing", NULL};

    (void)state;
    assert_int_equal(cli_match(&two, show), 2);
    assert_int_equal(cli_match(&two, other), 0);
    assert_int_equal(cli_match(&two, shorter), 0);
    assert_int_equal(cli_match(&none, shorter), 1);
}

static void test_options_make_the_help(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    cli_help(&none, &text);
    buffer_append(&text, "", 1);
    assert_string_equal(text.at,
                        "usage: slipway thing [OPTION]...\n"
                        "does it\n"
                        "\n"
                        "  --name NAME               what it is called\n"
                        "  -f, --force               also when it is there\n"
                        "  -s, --set KEY=VALUE       a setting; may come more than once\n");
    text.size = 0;
    cli_help(&two, &text);
    assert_true(slice_starts(buffer_slice(&text),
                             "usage: slipway thing show [OPTION]... FIRST [SECOND]\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options_are_read_by_the_table),
        cmocka_unit_test(test_options_match_whole_words),
        cmocka_unit_test(test_options_make_the_help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* options.c - the words of a command line, by the tables of the commands; help from the same.
 * Touches  memory, standard error.
 * Never    knows a command. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/cli/cli.h"

/* --- messages --- */

static void complain(const struct cli_call *call, const char *format, va_list list)
    PRINTF_LIKE(2, 0);

static void complain(const struct cli_call *call, const char *format, va_list list)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    buffer_print(&line, "slipway %s: ", call->command->name);
    buffer_print_list(&line, format, list);
    buffer_append_text(&line, "\n");
    fwrite(line.at, 1, line.size, stderr);
}

int cli_usage(const struct cli_call *call, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    complain(call, format, list);
    va_end(list);
    fprintf(stderr, "see: slipway help %s\n", call->command->name);
    return CLI_USAGE;
}

int cli_fail(const struct cli_call *call, enum cli_exit status, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    complain(call, format, list);
    va_end(list);
    return (int)status;
}

/* --- tables --- */

static bool repeats(const char *value)
{
    return slice_ends(slice_of(value), "...");
}

static bool option_named(const struct cli_option *option, struct slice word)
{
    const char letter[] = {'-', option->letter, 0};

    return slice_equal_text(word, option->name) ||
           (option->letter != 0 && slice_equal_text(word, letter));
}

static const struct cli_option *find_option(const struct cli_command *command, struct slice word)
{
    for (size_t i = 0; i < CLI_TABLES_MAX && command->options[i] != NULL; i++)
        for (const struct cli_option *at = command->options[i]; at->name != NULL; at++)
            if (option_named(at, word))
                return at;
    return NULL;
}

/* Least and most arguments of "NAME [PATTERN]", "FILE...". */
static void count_arguments(const char *arguments, size_t *least, size_t *most)
{
    struct slice rest = slice_of(arguments), word;
    bool more = rest.size > 0;

    *least = *most = 0;
    while (more) {
        more = slice_split(rest, ' ', &word, &rest);
        *least += !slice_starts(word, "[");
        *most = slice_ends(word, "...") || slice_ends(word, "...]") ? SIZE_MAX : *most + 1;
    }
}

/* The options after such words are not ours: "BUILD [COMMAND...]". */
static bool is_command_begun(const struct cli_call *call)
{
    const char *arguments = call->command->arguments;
    size_t least, most;

    count_arguments(arguments, &least, &most);
    return call->word_count > least && slice_ends(slice_of(arguments), "[COMMAND...]");
}

size_t cli_match(const struct cli_command *command, const char *const *words)
{
    struct slice rest = slice_of(command->name), word;
    bool more = true;
    size_t used = 0;

    while (more) {
        more = slice_split(rest, ' ', &word, &rest);
        if (words[used] == NULL || !slice_equal_text(word, words[used]))
            return 0;
        used++;
    }
    return used;
}

/* --- parsing --- */

static const struct cli_given *given(const struct cli_call *call, const struct cli_option *option)
{
    for (size_t i = 0; i < call->given_count; i++)
        if (call->given[i].option == option)
            return &call->given[i];
    return NULL;
}

/* "--name", "--name value", "--name=value", "-n"; *words stands on its last word afterwards. */
static int take_option(struct cli_call *call, const char *const **words)
{
    struct slice name, value;
    bool joined = slice_split(slice_of(**words), '=', &name, &value);
    const struct cli_option *option = find_option(call->command, name);

    if (option == NULL)
        return cli_usage(call, "%.*s is not understood", SLICE_ARG(name));
    if (option->value == NULL && joined)
        return cli_usage(call, "%s takes no value", option->name);
    if (given(call, option) != NULL && !repeats(option->value))
        return cli_usage(call, "%s stands here twice", option->name);
    if (option->value != NULL && !joined) {
        value = slice_of((*words)[1]);
        if (value.at == NULL)
            return cli_usage(call, "%s lacks its value", option->name);
        (*words)++;
    }
    call->given[call->given_count++] =
        (struct cli_given){option, option->value == NULL ? NULL : value.at};
    return CLI_DONE;
}

static int check_arguments(const struct cli_call *call)
{
    size_t least, most;

    count_arguments(call->command->arguments, &least, &most);
    if (call->word_count < least)
        return cli_usage(call, "expected %s", call->command->arguments);
    if (call->word_count > most)
        return cli_usage(call, "%s is one word too many", call->words[most]);
    return CLI_DONE;
}

int cli_parse(struct cli_call *out, const struct cli_command *command, const char *const *words)
{
    size_t count = 0;
    bool options = true;
    int status = CLI_DONE;

    while (words[count] != NULL)
        count++;
    *out = (struct cli_call){.command = command};
    out->given = memory_new(count * sizeof(*out->given));
    out->words = memory_new((count + 1) * sizeof(*out->words));
    for (; *words != NULL && status == CLI_DONE; words++) {
        const char *word = *words;
        if (!options || word[0] != '-' || word[1] == 0) { /* "-" alone: standard input */
            out->words[out->word_count++] = word;
            options = options && !is_command_begun(out);
        } else if (strcmp(word, "--") == 0) {
            options = false;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            return -1;
        } else {
            status = take_option(out, &words);
        }
    }
    return status == CLI_DONE ? check_arguments(out) : status;
}

void cli_call_drop(struct cli_call *call)
{
    free(call->given);
    free(call->words);
    *call = (struct cli_call){.command = call->command};
}

/* --- what was given --- */

static const struct cli_option *must_find(const struct cli_call *call, const char *name)
{
    const struct cli_option *option = find_option(call->command, slice_of(name));

    assert(option != NULL);
    return option;
}

bool cli_flag(const struct cli_call *call, const char *name)
{
    return given(call, must_find(call, name)) != NULL;
}

const char *cli_value(const struct cli_call *call, const char *name)
{
    const struct cli_given *found = given(call, must_find(call, name));

    return found == NULL ? NULL : found->value;
}

size_t cli_values(const struct cli_call *call, const char *name, const char ***out)
{
    const struct cli_option *option = must_find(call, name);
    size_t count = 0;

    *out = memory_new(call->given_count * sizeof(**out));
    for (size_t i = 0; i < call->given_count; i++)
        if (call->given[i].option == option)
            (*out)[count++] = call->given[i].value;
    return count;
}

/* --- help --- */

/* "-t, --check FILE" */
static void print_option(const struct cli_option *option, struct buffer *out)
{
    size_t size = option->value == NULL ? 0 : strlen(option->value);

    if (option->letter != 0)
        buffer_print(out, "-%c, ", option->letter);
    buffer_append_text(out, option->name);
    if (size > 0)
        buffer_print(out, " %.*s", (int)(repeats(option->value) ? size - 3 : size), option->value);
}

enum { OPTION_WIDTH = 24 };

void cli_help(const struct cli_command *command, struct buffer *out)
{
    buffer_print(out, "usage: slipway %s%s%s%s\n%s\n", command->name,
                 command->options[0] != NULL ? " [OPTION]..." : "",
                 command->arguments != NULL ? " " : "",
                 command->arguments != NULL ? command->arguments : "", command->text);
    for (size_t i = 0; i < CLI_TABLES_MAX && command->options[i] != NULL; i++)
        for (const struct cli_option *at = command->options[i]; at->name != NULL; at++) {
            OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
            print_option(at, &name);
            buffer_print(out, "%s  %-*.*s  %s%s\n", i == 0 && at == command->options[0] ? "\n" : "",
                         OPTION_WIDTH, SLICE_ARG(buffer_slice(&name)), at->text,
                         repeats(at->value) ? "; may come more than once" : "");
        }
}

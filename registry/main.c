/* main.c - options and the table of commands; the commands do the work.
 * Touches  the limits and signals of the process.
 * Never    logic. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "registry/cli/cli.h"

static int print_version(const struct cli_options *options);
static int print_help(const struct cli_options *options);

static const struct cli_command commands[] = {
    {"serve", "[-t] [--config FILE] [--set KEY=VALUE]...", "serves; -t: checks the settings only",
     cli_serve},
    {"config show", "[--origin | --defaults] [--config FILE] [--set KEY=VALUE]...",
     "prints the settings", cli_config_show},
    {"config check", "[--config FILE] [--set KEY=VALUE]...", "lists every mistake in the settings",
     cli_config_check},
    {"version", "", "prints the version", print_version},
    {"help", "", "prints this list", print_help},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static int print_version(const struct cli_options *options)
{
    (void)options;
    puts("slipway " SLIPWAY_VERSION);
    return 0;
}

static void print_commands(FILE *out)
{
    fputs("usage: slipway COMMAND [OPTION]...\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  slipway %s %s\n      %s\n", commands[i].name, commands[i].options,
                commands[i].text);
    fprintf(out,
            "\nSettings: defaults, then --config FILE (default %s), conf.d/*.yml beside it,\n"
            "SLIPWAY_<KEY> in the environment, --set. Later wins.\n",
            CONFIG_DEFAULT_FILE);
}

static int print_help(const struct cli_options *options)
{
    (void)options;
    print_commands(stdout);
    return 0;
}

/* How many of the words name the command: 0 when they do not. */
static int match_command(const struct cli_command *command, char **words, int count)
{
    struct slice rest = slice_of(command->name), word;
    bool more = true;
    int used = 0;

    while (more) {
        more = slice_split(rest, ' ', &word, &rest);
        if (used >= count || !slice_equal_text(word, words[used]))
            return 0;
        used++;
    }
    return used;
}

static const struct cli_command *find_command(char **words, int count, int *used)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        *used = match_command(&commands[i], words, count);
        if (*used > 0)
            return &commands[i];
    }
    return NULL;
}

/* True and the value of "--name=value", or of "--name" "value"; *words stands on its last word. */
static bool take_value(const char *name, char ***words, const char **value)
{
    size_t size = strlen(name);
    const char *word = **words;

    if (strncmp(word, name, size) != 0)
        return false;
    if (word[size] == '=') {
        *value = word + size + 1;
        return true;
    }
    if (word[size] != 0 || (*words)[1] == NULL)
        return false;
    (*words)++;
    *value = **words;
    return true;
}

/* assignments has room for every word. False with the word that is not understood. */
static bool parse_options(char **words, struct cli_options *options, const char **assignments,
                          const char **unknown)
{
    const char *value;

    options->inputs.assignments = assignments;
    for (; *words != NULL; words++) {
        *unknown = *words;
        if (strcmp(*words, "-t") == 0 || strcmp(*words, "--check") == 0)
            options->check = true;
        else if (strcmp(*words, "--origin") == 0)
            options->origin = true;
        else if (strcmp(*words, "--defaults") == 0)
            options->defaults = true;
        else if (take_value("--set", &words, &value))
            assignments[options->inputs.assignment_count++] = value;
        else if (!take_value("--config", &words, &options->inputs.file))
            return false;
    }
    return true;
}

/* A registry holds many connections and files: takes what the administrator allows. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Large pieces (manifests, lists) go back to the system when they are freed. Left to itself the C
 * library learns from the first of them to keep such memory, and a crowd's memory stays ours. */
static void give_memory_back(void)
{
    mallopt(M_MMAP_THRESHOLD, 512 * 1024);
}

int main(int count, char **words)
{
    struct cli_options options = {.inputs.environment = environ};
    OWNED(memory_drop)
    const char **assignments = memory_new((size_t)count * sizeof(*assignments));
    const char *unknown = NULL;
    int used = 0;
    const struct cli_command *command = find_command(words + 1, count - 1, &used);

    if (command == NULL) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    if (!parse_options(words + 1 + used, &options, assignments, &unknown)) {
        fprintf(stderr, "slipway %s: %s is not understood or lacks its value\n", command->name,
                unknown);
        return EXIT_USAGE;
    }
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    give_memory_back();
    return command->run(&options);
}

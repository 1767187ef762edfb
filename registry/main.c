/* main.c - the table of commands; the commands do the work.
 * Touches  the limits and signals of the process.
 * Never    logic. */
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "registry/cli/cli.h"
#include "registry/git/git.h"
#include "s2i/builder/builder.h"
#include "s2i/source/source.h"

static int print_version(const struct cli_call *call);
static int print_help(const struct cli_call *call);

static const struct cli_command main_commands[] = {
    {"version", NULL, "prints the version", print_version, {NULL}},
    {"help", "[COMMAND]...", "prints what there is, or what a command takes", print_help, {NULL}},
    {0},
};

/* Tables of the nouns, in the order of help. */
static const struct cli_command *const nouns[] = {
    cli_serve_commands,       cli_init_commands,       cli_config_commands,
    cli_user_commands,        cli_robot_commands,      cli_token_commands,
    cli_grant_commands,       cli_session_commands,    cli_repo_commands,
    cli_tag_commands,         cli_image_commands,      cli_pin_commands,
    cli_protection_commands,  cli_policy_commands,     cli_quota_commands,
    cli_check_commands,       cli_transfer_commands,   cli_backup_commands,
    cli_gc_commands,          cli_job_commands,        cli_build_commands,
    cli_build_image_commands, cli_provenance_commands, cli_build_config_commands,
    cli_audit_commands,       cli_events_commands,     cli_api_commands,
    cli_builder_commands,     main_commands,
};

enum { NOUNS = sizeof(nouns) / sizeof(nouns[0]) };

static int run_source(const char *const *words)
{
    (void)words;
    return source_child();
}

static int run_resolve(const char *const *words)
{
    return source_resolve_child(words[2]);
}

static int run_builder_worker(const char *const *words)
{
    (void)words;
    return builder_worker();
}

static int run_askpass(const char *const *words)
{
    return source_askpass(words[1]);
}

static int print_version(const struct cli_call *call)
{
    (void)call;
    puts("slipway " SLIPWAY_VERSION);
    return CLI_DONE;
}

/* What this program runs of itself: by its first word, or by the name it is called by. Not for
 * people, so no help knows of it. */
static const struct part {
    const char *name;
    bool by_name;
    int (*run)(const char *const *words);
} parts[] = {
    {"source", false, run_source},
    {"resolve", false, run_resolve},
    {"builder-worker", false, run_builder_worker},
    {"askpass", true, run_askpass},
    {"proc-receive", true, git_proc_receive},
    {"reference-transaction", true, git_reference_transaction},
};

static const struct part *find_part(const char *const *words)
{
    const char *slash = strrchr(words[0], '/');
    const char *name = slash == NULL ? words[0] : slash + 1;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *called = parts[i].by_name ? name : words[1];
        if (called != NULL && strcmp(parts[i].name, called) == 0)
            return &parts[i];
    }
    return NULL;
}

/* "user" of "user create"; true for every command when there is no noun. */
static bool has_noun(const struct cli_command *command, const char *noun)
{
    size_t size = noun == NULL ? 0 : strlen(noun);

    return noun == NULL || (strncmp(command->name, noun, size) == 0 && command->name[size] == ' ');
}

static size_t print_commands(const char *noun, struct buffer *out)
{
    size_t count = 0;

    buffer_append_text(out, "usage: slipway COMMAND [OPTION]...\n\n");
    for (size_t i = 0; i < NOUNS; i++)
        for (const struct cli_command *at = nouns[i]; at->name != NULL; at++)
            if (has_noun(at, noun)) {
                buffer_print(out, "  slipway %-19s  %s\n", at->name, at->text);
                count++;
            }
    buffer_append_text(out, "\nslipway help COMMAND tells what it takes.\n"
                            "Settings: defaults, then --config FILE (default " CONFIG_DEFAULT_FILE
                            "), conf.d/*.yml beside it,\n"
                            "SLIPWAY_<KEY> in the environment, --set. Later wins.\n"
                            "Exit status: 0 done, 1 failed, 2 not understood, 3 not signed in or "
                            "not allowed,\n4 not found, 5 conflict, 6 no answer.\n");
    return count;
}

static bool asks_for_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

/* "build config" where commands begin so, else "build"; NULL when there is none. *used words. */
static const char *find_noun(const char *const *words, struct buffer *both, size_t *used)
{
    *used = words[0] != NULL && !asks_for_help(words[0]);
    if (*used == 0 || words[1] == NULL)
        return *used == 0 ? NULL : words[0];
    buffer_print(both, "%s %s", words[0], words[1]);
    buffer_append(both, "", 1);
    for (size_t i = 0; i < NOUNS; i++)
        for (const struct cli_command *at = nouns[i]; at->name != NULL; at++)
            if (has_noun(at, both->at)) {
                *used = 2;
                return both->at;
            }
    return words[0];
}

static const struct cli_command *find_command(const char *const *words, size_t *used)
{
    for (size_t i = 0; i < NOUNS; i++)
        for (const struct cli_command *at = nouns[i]; at->name != NULL; at++)
            if ((*used = cli_match(at, words)) > 0)
                return at;
    return NULL;
}

/* Help on what the words name: a command, a noun, or everything. False when they name nothing. */
static bool describe(const char *const *words, struct buffer *out)
{
    OWNED(buffer_drop) struct buffer both = BUFFER_NONE;
    size_t used;
    const struct cli_command *command = find_command(words, &used);

    if (command != NULL)
        cli_help(command, out);
    else if (print_commands(find_noun(words, &both, &used), out) == 0)
        return false;
    return true;
}

static int print_command(const struct cli_command *command)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    cli_help(command, &text);
    fwrite(text.at, 1, text.size, stdout);
    return CLI_DONE;
}

static int print_help(const struct cli_call *call)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (!describe(call->words, &text))
        return cli_fail(call, CLI_USAGE, "there is no command %s", call->words[0]);
    fwrite(text.at, 1, text.size, stdout);
    return CLI_DONE;
}

/* No command, or a noun alone: help, which is a complaint unless it was asked for. */
static int answer_no_command(const char *const *words)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, both = BUFFER_NONE;
    size_t used;
    const char *noun = find_noun(words, &both, &used), *verb = words[used];
    bool known = print_commands(noun, &text) > 0, asked = verb != NULL && asks_for_help(verb);

    if (noun != NULL && strcmp(noun, "--version") == 0)
        return print_version(NULL);
    if (!known || (verb != NULL && !asked)) {
        fprintf(stderr, "slipway: there is no command %s%s%s\nsee: slipway help%s%s\n", noun,
                known ? " " : "", known ? verb : "", known ? " " : "", known ? noun : "");
        return CLI_USAGE;
    }
    fwrite(text.at, 1, text.size, asked ? stdout : stderr);
    return asked ? CLI_DONE : CLI_USAGE;
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
    const char *const *given = (const char *const *)words + (count > 0);
    const struct part *part = count > 0 ? find_part((const char *const *)words) : NULL;

    if (part != NULL)
        return part->run((const char *const *)words);
    OWNED(cli_call_drop) struct cli_call call = {0};
    size_t used = 0;
    const struct cli_command *command = find_command(given, &used);

    if (command == NULL)
        return answer_no_command(given);
    int status = cli_parse(&call, command, given + used);
    call.environment = environ;
    if (status < 0)
        return print_command(command);
    if (status != CLI_DONE)
        return status;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    give_memory_back();
    return command->run(&call);
}

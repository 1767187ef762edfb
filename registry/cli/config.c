/* config.c - config show, config check: what the settings are and whether they are right.
 * Touches  configuration files, standard output and error.
 * Never    starts anything. */
#include <stdio.h>

#include "registry/cli/cli.h"

const struct cli_option cli_settings[] = {
    {"--config", "FILE", "the settings; without it " CONFIG_DEFAULT_FILE " where there is one", 0},
    {"--set", "KEY=VALUE...", "one setting; wins over all other sources", 0},
    {0},
};

bool cli_config_read(const struct cli_call *call, struct config *config,
                     struct config_report *report)
{
    OWNED(memory_drop) const char **assignments = NULL;
    size_t count = cli_values(call, "--set", &assignments);

    return config_load(config,
                       &(struct config_inputs){.file = cli_value(call, "--config"),
                                               .assignments = assignments,
                                               .assignment_count = count,
                                               .environment = call->environment},
                       report);
}

bool cli_config_load(const struct cli_call *call, struct config *config)
{
    OWNED(config_report_drop) struct config_report report = {BUFFER_NONE, BUFFER_NONE};
    bool fine = cli_config_read(call, config, &report);

    fprintf(stderr, "%.*s", SLICE_ARG(buffer_slice(&report.warnings)));
    fprintf(stderr, "%.*s", SLICE_ARG(buffer_slice(&report.errors)));
    return fine;
}

static bool load_defaults(struct config *config)
{
    OWNED(config_report_drop) struct config_report report = {BUFFER_NONE, BUFFER_NONE};

    return config_load(config, &(struct config_inputs){.file = "/dev/null"}, &report);
}

static int show(const struct cli_call *call)
{
    OWNED(config_drop) struct config config = {0};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    bool defaults = cli_flag(call, "--defaults"), origin = cli_flag(call, "--origin");

    if (defaults && origin)
        return cli_usage(call, "--defaults and --origin exclude each other");
    if (defaults ? !load_defaults(&config) : !cli_config_load(call, &config))
        return CLI_FAILED;
    config_show(&config,
                defaults ? CONFIG_NOTES_TEXT
                : origin ? CONFIG_NOTES_ORIGIN
                         : CONFIG_NOTES_NONE,
                &text);
    return fwrite(text.at, 1, text.size, stdout) == text.size && fflush(stdout) == 0 ? CLI_DONE
                                                                                     : CLI_FAILED;
}

static int check(const struct cli_call *call)
{
    OWNED(config_drop) struct config config = {0};

    if (!cli_config_load(call, &config))
        return CLI_FAILED;
    puts("the settings are right");
    return CLI_DONE;
}

static const struct cli_option show_options[] = {
    {"--origin", NULL, "where each value comes from", 0},
    {"--defaults", NULL, "the defaults, and what each setting means", 0},
    {0},
};

const struct cli_command cli_config_commands[] = {
    {"config show", NULL, "prints the settings", show, {show_options, cli_settings}},
    {"config check", NULL, "lists every mistake in the settings", check, {cli_settings}},
    {0},
};

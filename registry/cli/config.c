/* config.c - config show, config check: what the settings are and whether they are right.
 * Touches  configuration files, standard output and error.
 * Never    starts anything. */
#include <stdio.h>

#include "registry/cli/cli.h"

bool cli_config_load(const struct cli_options *options, struct config *config)
{
    OWNED(config_report_drop) struct config_report report = {BUFFER_NONE, BUFFER_NONE};
    bool fine = config_load(config, &options->inputs, &report);

    fprintf(stderr, "%.*s", SLICE_ARG(buffer_slice(&report.warnings)));
    fprintf(stderr, "%.*s", SLICE_ARG(buffer_slice(&report.errors)));
    return fine;
}

int cli_config_show(const struct cli_options *options)
{
    OWNED(config_drop) struct config config = {0};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct config_inputs none = {.file = "/dev/null"};
    const struct cli_options defaults = {.inputs = none};

    if (!cli_config_load(options->defaults ? &defaults : options, &config))
        return 1;
    config_show(&config,
                options->defaults ? CONFIG_NOTES_TEXT
                : options->origin ? CONFIG_NOTES_ORIGIN
                                  : CONFIG_NOTES_NONE,
                &text);
    return fwrite(text.at, 1, text.size, stdout) == text.size && fflush(stdout) == 0 ? 0 : 1;
}

int cli_config_check(const struct cli_options *options)
{
    OWNED(config_drop) struct config config = {0};

    if (!cli_config_load(options, &config))
        return 1;
    puts("the settings are right");
    return 0;
}

/* cli.h - the commands of the program and the options they share.
 * Touches  standard output and error.
 * Never    what a command does on a running server: that is the API's. */
#ifndef SLIPWAY_CLI_CLI_H
#define SLIPWAY_CLI_CLI_H

#include "registry/config.h"

#define SLIPWAY_VERSION "0.1.0"

enum { EXIT_USAGE = 2 };

struct cli_options {
    struct config_inputs inputs; /* file, --set, environment */
    bool check;                  /* -t, --check: look at the settings and end */
    bool origin;                 /* --origin */
    bool defaults;               /* --defaults */
};

/* A row of main's table. run returns the exit status. */
struct cli_command {
    const char *name; /* "config show" */
    const char *options;
    const char *text;
    int (*run)(const struct cli_options *options);
};

/* Loads the settings; lists warnings and mistakes on standard error. False when there are mistakes.
 * config is to be dropped either way. */
bool cli_config_load(const struct cli_options *options, struct config *config);

int cli_serve(const struct cli_options *options);
int cli_config_show(const struct cli_options *options);
int cli_config_check(const struct cli_options *options);

#endif

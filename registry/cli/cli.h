/* cli.h - commands of the program, what they take, and what they share.
 * Touches  standard input, output and error, files named by options.
 * Never    what a command does on a running server: that is the API's.
 *
 * One file a noun. Each ends with its table of commands, which main.c lists; parsing, checks and
 * every help text come from these tables. Data goes to standard output, all else to standard error.
 */
#ifndef SLIPWAY_CLI_CLI_H
#define SLIPWAY_CLI_CLI_H

#include "registry/config.h"
#include "registry/core/version.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_FORBIDDEN = 3, /* or not signed in */
    CLI_NOT_FOUND = 4,
    CLI_CONFLICT = 5,
    CLI_UNREACHABLE = 6, /* or timed out */
};

/* A row of a table that ends with an empty one. */
struct cli_option {
    const char *name;  /* "--config" */
    const char *value; /* what help calls it: "FILE"; "KEY=VALUE..." may come again; NULL: a flag */
    const char *text;  /* one line */
    char letter;       /* 't' for -t as well; 0: none */
};

struct cli_call;

enum { CLI_TABLES_MAX = 5 };

/* A row of a table that ends with an empty one. run returns the exit status. */
struct cli_command {
    const char *name;      /* "config show" */
    const char *arguments; /* "NAME [PATTERN]", "COMMAND..."; NULL: none */
    const char *text;      /* one line */
    int (*run)(const struct cli_call *call);
    const struct cli_option *options[CLI_TABLES_MAX]; /* tables: its own, and shared ones */
};

/* A command as it was typed. */
struct cli_given {
    const struct cli_option *option;
    const char *value; /* NULL: a flag */
};
struct cli_call {
    const struct cli_command *command;
    struct cli_given *given;
    size_t given_count;
    const char **words; /* as many as command->arguments allows, then NULL */
    size_t word_count;
    char *const *environment;
};

/* --- options.c --- */

/* Reads what follows the command's name. CLI_DONE; CLI_USAGE  with a line on standard error;
 * -1  help was asked for. To be dropped either way. */
int cli_parse(struct cli_call *out, const struct cli_command *command, const char *const *words);
void cli_call_drop(struct cli_call *call);
/* Naming an option that is in none of the command's tables is our mistake, and aborts. */
bool cli_flag(const struct cli_call *call, const char *name);
const char *cli_value(const struct cli_call *call, const char *name); /* NULL: not given */
/* All values of an option that may come again, in order; the array is freed by the caller. */
size_t cli_values(const struct cli_call *call, const char *name, const char ***out);
/* "slipway NOUN VERB: sentence"; returns CLI_USAGE. */
int cli_usage(const struct cli_call *call, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same for any other failure; returns `status`. */
int cli_fail(const struct cli_call *call, enum cli_exit status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Usage, text and options of one command. */
void cli_help(const struct cli_command *command, struct buffer *out);
/* As many of the words as name the command; 0: they do not. */
size_t cli_match(const struct cli_command *command, const char *const *words);

/* --- shared by commands that read the settings (config.c) --- */

extern const struct cli_option cli_settings[]; /* --config, --set */
/* Lists warnings and mistakes on standard error. False when there are mistakes. config is to be
 * dropped either way. */
bool cli_config_load(const struct cli_call *call, struct config *config);
/* The same into a report. */
bool cli_config_read(const struct cli_call *call, struct config *config,
                     struct config_report *report);

/* --- the tables, one a noun --- */

extern const struct cli_command cli_init_commands[];
extern const struct cli_command cli_serve_commands[];
extern const struct cli_command cli_config_commands[];
extern const struct cli_command cli_user_commands[];
extern const struct cli_command cli_robot_commands[];
extern const struct cli_command cli_token_commands[];
extern const struct cli_command cli_grant_commands[];
extern const struct cli_command cli_session_commands[];
extern const struct cli_command cli_repo_commands[];
extern const struct cli_command cli_tag_commands[];
extern const struct cli_command cli_image_commands[];
extern const struct cli_command cli_pin_commands[];
extern const struct cli_command cli_protection_commands[];
extern const struct cli_command cli_policy_commands[];
extern const struct cli_command cli_quota_commands[];
extern const struct cli_command cli_transfer_commands[];
extern const struct cli_command cli_gc_commands[];
extern const struct cli_command cli_job_commands[];
extern const struct cli_command cli_check_commands[];
extern const struct cli_command cli_audit_commands[];
extern const struct cli_command cli_backup_commands[];
extern const struct cli_command cli_build_commands[];
extern const struct cli_command cli_provenance_commands[];
extern const struct cli_command cli_build_image_commands[];
extern const struct cli_command cli_build_config_commands[];
extern const struct cli_command cli_events_commands[];
extern const struct cli_command cli_api_commands[];
extern const struct cli_command cli_builder_commands[];

#endif

/* prompt.h - secrets and yes or no from people.
 * Touches  the terminal, a file named by an option, standard input.
 * Never    the words of the command line, which everybody on the machine can read; echoes a secret.
 */
#ifndef SLIPWAY_CLI_PROMPT_H
#define SLIPWAY_CLI_PROMPT_H

#include "registry/cli/cli.h"

enum { PROMPT_SECRET_MAX = 512 };

/* A password: the first line of the file that the option names ("-": of standard input), or asked
 * for when standard input is a terminal, twice when it is a new one. An exit status; when it is not
 * CLI_DONE it said why. Wiped by prompt_wipe. */
int prompt_password(const struct cli_call *call, const char *option, const char *question,
                    bool twice, char out[PROMPT_SECRET_MAX + 1]) MUST_CHECK;
bool prompt_possible(void); /* somebody is there to be asked: standard input is a terminal */
/* 120 random bits, in groups, without letters that look like others. */
void prompt_generate(char out[PROMPT_SECRET_MAX + 1]);
void prompt_wipe(char (*secret)[PROMPT_SECRET_MAX + 1]); /* for OWNED */
/* True for --yes, and when somebody at the terminal says so; without a terminal it is refused, with
 * a line on standard error. */
bool prompt_agreed(const struct cli_call *call, const char *format, ...) PRINTF_LIKE(2, 3);

extern const struct cli_option cli_yes[]; /* --yes */

#endif

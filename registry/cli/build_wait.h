/* build_wait.h - a build's log as it grows, and its end.
 * Touches  the server by way of client.h, standard output and error.
 * Never    stops a build: a signal ends the command alone. */
#ifndef SLIPWAY_CLI_BUILD_WAIT_H
#define SLIPWAY_CLI_BUILD_WAIT_H

#include "registry/cli/client.h"

/* Until the build has ended; *end is what it is then, the caller's. shown: its log goes to standard
 * output, from the offset on. A connection that breaks is made again. An exit status; when it is
 * not CLI_DONE it said why. */
int build_wait(const struct cli_call *call, struct client *client, int64_t id, bool shown,
               uint64_t offset, json_t **end) MUST_CHECK;
/* How it ended, told on standard error, as the exit status. Spec: s2i 12.1, 12.2 */
int build_ended(const struct cli_call *call, const json_t *end) MUST_CHECK;
/* What there is of the log now. */
int build_log_print_now(const struct cli_call *call, struct client *client, int64_t id,
                        bool timed) MUST_CHECK;
/* A text of a container, to standard output: of what steers a terminal, colours alone pass. */
void build_log_show(const char *text);

#endif

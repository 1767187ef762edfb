/* work.h - commands that are long work: as a job of the server where one runs, else done here.
 * Touches  the server by way of client.h, or the root folder; standard error; the signals INT and
 *          TERM, which ask the job to stop.
 * Never    opens a root that a server owns, or makes one.
 *
 * Tables of such commands have cli_remote and cli_settings. */
#ifndef SLIPWAY_CLI_WORK_H
#define SLIPWAY_CLI_WORK_H

#include "registry/cli/client.h"
#include "registry/cli/show.h"
#include "registry/jobs/jobs.h"

/* Does it and waits; progress goes to standard error when that is a terminal. spec is consumed
 * (NULL: {}). *result is what it did, the caller's: NULL when nothing is known of that, set as well
 * when it was cancelled. An exit status; when it is not CLI_DONE it said why. */
int work_run(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
             json_t **result) MUST_CHECK;
/* The same, and shows the result: with --json as it is, else by the columns, whose members may be
 * of groups within: "removed.blobs". */
int work_show(const struct cli_call *call, const struct job_kind *kind, json_t *spec,
              const struct show_column *columns) MUST_CHECK;
/* Waits for a job of the server like work_run does; cancels: whether a signal cancels it, or only
 * ends the waiting. */
int work_wait(struct client *client, const struct cli_call *call, int64_t id, bool cancels,
              json_t **result) MUST_CHECK;

/* One request; its answer is shown with --json as it is, else by such columns. body is consumed. */
int work_answer(const struct cli_call *call, const char *method, struct buffer *path, json_t *body,
                const struct show_column *columns) MUST_CHECK;
/* "a.b" of a document, to a flat object of these columns. */
json_t *work_flat(const json_t *document, const struct show_column *columns);

/* A path as the server can use it, which may stand in another folder; free(). NULL: why was said.
 */
char *work_path(const struct cli_call *call, const char *path) MUST_CHECK;

/* What root makes in somebody's folder, that somebody cannot read: CLI_FAILED with a line. */
int work_owner_check(const struct cli_call *call, const struct config *config) MUST_CHECK;

#endif

/* show.h - answers of the server as people read them: tables of a list, lines of one thing.
 * Touches  standard output.
 * Never    lets a name or a description from the server steer the terminal. */
#ifndef SLIPWAY_CLI_SHOW_H
#define SLIPWAY_CLI_SHOW_H

#include <jansson.h>

#include "registry/cli/cli.h"

/* Before a member that counts bytes: people read 8MiB, 295.9KiB. */
#define SHOW_SIZE "#"

/* A row of a table that ends with an empty one. */
struct show_column {
    const char *title;  /* "LAST USED" */
    const char *member; /* "last_used_at", "facts/kept_until" */
};

/* The member without what says how it is shown. */
const char *show_member(const struct show_column *column);
/* The items of a list; with --json the answer as it is. Returns CLI_DONE. */
int show_list(const struct cli_call *call, const json_t *list, const struct show_column *columns);
/* One thing, a line a member. */
int show_one(const struct cli_call *call, const json_t *thing, const struct show_column *columns);
/* One thing, its members side by side: for what goes on. */
void show_line(const json_t *thing, const struct show_column *columns);
/* The answer as one document: for --json. */
int show_json(const json_t *answer);

#endif

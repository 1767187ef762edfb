/* build_source.h - what build commands send: options, by their names; a folder as one archive.
 * Touches  folders that are named on the command line, a nameless file.
 * Never    follows a symbolic link in a folder. */
#ifndef SLIPWAY_CLI_BUILD_SOURCE_H
#define SLIPWAY_CLI_BUILD_SOURCE_H

#include <jansson.h>

#include "registry/cli/cli.h"

/* Options of a build, for tables: --builder, --env and so on, and --option for all others. */
extern const struct cli_option build_options[];
/* What they say, as the API takes it. CLI_USAGE */
int build_options_read(const struct cli_call *call, json_t *options) MUST_CHECK;

/* A tar of the folder, without .git: *fd stands at its start, the caller's. What is no file, folder
 * or link is left out, which is told. CLI_FAILED with a line */
int build_folder_pack(const struct cli_call *call, const char *folder, int *fd,
                      uint64_t *size) MUST_CHECK;
/* A file as it is: *type by its first bytes, tar where they say nothing. */
int build_archive_open(const struct cli_call *call, const char *file, int *fd, uint64_t *size,
                       const char **type) MUST_CHECK;

#endif

/* folder.h - folders: owned by a scope, listed, removed with all that is in them.
 * Touches  the file system, where it is told to.
 * Never    follows a link, leaves the file system it began in. */
#ifndef SLIPWAY_CORE_FOLDER_H
#define SLIPWAY_CORE_FOLDER_H

#include <dirent.h>

#include "registry/core/attributes.h"

/* "folder/name"; free() */
char *folder_path(const char *folder, const char *name);
/* For OWNED. Accepts NULL, and becomes it. */
void folder_drop(DIR **folder);
/* The folder `name` below `at`, to be listed from its start; `name` itself may be no link. "." is
 * `at` again, with a place of its own. NULL with errno. */
DIR *folder_open(int at, const char *name);
/* The next entry, "." and ".." left out; its d_type is known, also where the file system does not
 * tell it. NULL at the end with errno 0, else with the error; also for a folder that is NULL. */
const struct dirent *folder_next(DIR *folder);
/* Removes what has that name: a folder with all below it, however deep. Absent is success. -1 with
 * errno: some of it is left. */
int folder_erase(int at, const char *name);
/* The same for all that is in a folder, which stays. */
int folder_empty(const char *path);
/* The names in it are on the disk from now on. -1 with errno */
int folder_sync(const char *path);

#endif

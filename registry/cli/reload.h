/* reload.h - files that are read again while the server runs: keys, password file, certificates.
 * Touches  these files, the configuration files, the log, the service manager.
 * Never    a setting: those are compared with what they were at the start, and need a restart. */
#ifndef SLIPWAY_CLI_RELOAD_H
#define SLIPWAY_CLI_RELOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "registry/core/error.h"

struct auth;
struct cli_call;
struct config;
struct server;

/* What tells one content of a path from another; a symbolic link is followed. */
struct reload_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed;
};

enum { RELOAD_FILES = 3 };

/* The main thread's own. */
struct reload {
    const struct cli_call *call;
    const struct config *config; /* as at the start */
    struct auth *auth;           /* set by the caller once they are open */
    struct server *server;
    struct reload_stamp stamps[RELOAD_FILES]; /* of certificate, key and client authority */
    char auth_failure[200];                   /* told last; "": it went well */
    char *waiting; /* settings that differ and need a restart, as told last */
};
/* Before the server is opened: what changes from now on is noticed. */
void reload_begin(struct reload *reload, const struct cli_call *call, const struct config *config);
void reload_drop(struct reload *reload);
/* Reads everything again. What cannot be used leaves the old in place and is told. */
void reload_all(struct reload *reload);
/* Reads what has changed since. */
void reload_poll(struct reload *reload);

#endif

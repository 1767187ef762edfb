/* builder.h - the process that runs builds: `slipway builder`.
 * Touches  its own folder, mounts in a mount namespace of its own, an OCI runtime.
 * Never    opens the registry's database or blobs.
 *
 * The main process holds the control connection (s2i/wire.h) and starts a worker process for each
 * build; a worker dies with it, a container with its worker, mounts with their namespace. */
#ifndef SLIPWAY_S2I_BUILDER_H
#define SLIPWAY_S2I_BUILDER_H

#include <stdbool.h>

#include "registry/core/error.h"

struct builder_options {
    const char *socket;  /* path of the server's; or NULL: */
    int connection;      /* inherited, connected; -1 */
    const char *folder;  /* layers, private folders of builds */
    const char *runtime; /* "" finds runc, then crun */
    unsigned slots;
    unsigned long long cache_max; /* bytes of unpacked layers */
    unsigned id_base;             /* first id of 65536 that containers get; 0: 1000000000 */
    const char *scratch;          /* "disk" (a loop image), "memory" (tmpfs), "auto" */
};
/* Until the server closes the connection or SIGTERM. */
int builder_run(const struct builder_options *options, struct error *err) MUST_CHECK;
/* One build on descriptor 3: `slipway builder-worker`, started by builder_run only. */
int builder_worker(void);
/* Somebody looks at what a failed build wrote: a shell in a container as assemble had, at our
 * terminal when there is one. *status: what it exited with. NOT_FOUND  nothing of it is kept here.
 * CONFLICT  somebody else looks. Spec: s2i 11 (keep_failed) */
struct shell_options {
    const char *folder; /* the builder's */
    unsigned long long build;
    const char *const *words; /* of the command; ends in NULL; empty: /bin/sh */
};
int builder_shell(const struct shell_options *options, int *status, struct error *err) MUST_CHECK;
/* What this machine lets us do: level "root", "user" or "" with the problem. */
struct builder_level {
    char level[8];
    char runtime[256];
    char problem[200];
    bool memory_limit, process_limit, cpu_limit, disk_limit; /* can be enforced */
};

#endif

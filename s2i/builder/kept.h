/* kept.h - what failed builds wrote: kept.c keeps it, kept_sweep.c lets it go, shell.c looks.
 * Touches  nothing.
 * Never    included from outside s2i/builder/. */
#ifndef SLIPWAY_S2I_BUILDER_KEPT_H
#define SLIPWAY_S2I_BUILDER_KEPT_H

#include "s2i/builder/builder_internal.h"

/* What the container was made of that ran last. */
struct kept {
    struct worker_setup setup;
    struct s2i_list environment; /* without secrets and proxies */
    struct s2i_list layers;      /* names of their folders, topmost first */
    struct s2i_list uppers;      /* folders of /tmp/s, topmost first */
    struct s2i_list packed;      /* their diff ids, when they are packed */
    char *folder;                /* working directory */
    struct container_user user;
    struct s2i_limits limits;
};
#define KEPT_TYPE "application/vnd.oci.image.layer.v1.tar+zstd"
void kept_drop(struct kept *kept);
int kept_read(int folder, struct kept *out, struct error *err) MUST_CHECK;

/* Before a container is run whose failure fails the build. */
void kept_note(struct work *work, const struct run *run);
/* No root is mounted any more. Says in the result until when it is kept. */
void kept_end(struct work *work, bool failed);
/* Removes what is over, and the oldest above the builder's measure. halves: also what dead workers
 * left. One process at a time; wait: for the one before, else nothing is done while there is one.
 * When to sweep again, in seconds since 1970; 0: there is nothing left. */
int64_t kept_sweep(int all, unsigned long long cache_max, bool halves, bool wait);
/* Whether a kept build stands on the layer of that name. */
bool kept_uses(int all, const char *layer);

#endif

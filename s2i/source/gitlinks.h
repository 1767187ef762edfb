/* gitlinks.h - submodules: what .gitmodules says of them.
 * Touches  a repository, by git.
 * Never    fetches.
 *
 * Spec: s2i 4.5. */
#ifndef SLIPWAY_SOURCE_GITLINKS_H
#define SLIPWAY_SOURCE_GITLINKS_H

#include <git2.h>

#include "s2i/source/reading.h"

struct gitmodules {
    struct gitmodule {
        char *name, *path, *url; /* path, url: NULL when not said */
    } * items;
    size_t count;
};
/* Of the tree's .gitmodules; none when there is no such file. INVALID */
int gitmodules_read(struct gitmodules *out, const char *repository, const git_tree *tree,
                    struct error *err) MUST_CHECK;
void gitmodules_drop(struct gitmodules *modules);
/* NULL: it names no such path, or no URL for it. */
const char *gitmodules_url(const struct gitmodules *modules, struct slice path);

#endif

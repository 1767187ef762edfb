/* git.h - sources over HTTP: clone, fetch and push with the git program; a push becomes builds.
 * Touches  bare repositories below <root>/builds/repos, hooks, child processes, threads of its own.
 * Never    reads an object in this process: only confined children do.
 *
 * (1) A request that was answered with a live reply has a child; it ends before git_close returns.
 * (2) A ref moves only when what it names was judged: built, or not to be built.
 * (3) Image tags that moved for a ref go back when the ref did not move: at once, or when the next
 *     server starts.
 *
 * Spec: s2i 13. */
#ifndef SLIPWAY_GIT_GIT_H
#define SLIPWAY_GIT_GIT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "registry/http/route.h"

struct builds;
struct config;
struct git;
struct storage;

struct git_options {
    struct storage *storage;
    const struct config *config;
    struct builds *builds;        /* NULL: pushes are kept, and nothing is built */
    const _Atomic bool *draining; /* the server is about to stop: who is cut off did not leave */
};
/* Settles pushes that the end of an earlier server cut off; makes folders and hooks, starts
 * threads. *out is NULL, and that is no failure, where the settings want no builds or there is no
 * git program that will do: then its routes refuse. */
int git_open(struct git **out, const struct git_options *options, struct error *err) MUST_CHECK;
/* Ends every child. Accepts NULL. */
void git_close(struct git *git);

extern const struct route_table git_routes;

/* This program as git's hooks, by their names: words and exit status of a process. */
int git_proc_receive(const char *const *words);
int git_reference_transaction(const char *const *words);

#endif

/* commit.h - which commit and folder of a repository are read, and what is told of the commit.
 * Touches  a repository, read-only, by libgit2.
 * Never    gives libgit2 a text to resolve: ids and whole names of refs only. Spec: s2i 16.11 */
#ifndef SLIPWAY_SOURCE_COMMIT_H
#define SLIPWAY_SOURCE_COMMIT_H

#include <git2.h>

#include "s2i/source/reading.h"

/* INVALID: "<what> cannot be read"; what libgit2 said is for the log. Returns -1. */
int source_git_unreadable(struct error *err, const char *what);
/* The commit that the orders name; a tag leads to it. The caller's. INVALID */
int source_commit_find(struct reading *reading, git_repository *repository, git_commit **out,
                       struct error *err) MUST_CHECK;
/* *tree, the commit's, becomes that of the context folder. Links are not followed. Spec: s2i 4.4.
 * INVALID */
int source_commit_context(struct reading *reading, git_repository *repository, git_tree **tree,
                          struct error *err) MUST_CHECK;
/* Id, author, subject and time. */
void source_commit_tell(struct s2i_source_facts *facts, git_commit *commit);

#endif

/* census.h - how many files and folders a tree of Git shows.
 * Touches  a repository, read-only.
 * Never    looks at a tree twice: few objects may show more entries than anybody has time for. */
#ifndef SLIPWAY_SOURCE_CENSUS_H
#define SLIPWAY_SOURCE_CENSUS_H

#include <git2.h>
#include <stdint.h>

/* All below the tree; most + 1 when there are more than `most`. What cannot be read, or is nested
 * deeper than a source may be, is not counted: the walk says what is wrong with it. */
uint64_t source_census(git_repository *repository, const git_tree *tree, uint64_t most);

#endif

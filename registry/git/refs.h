/* refs.h - refs of a push: which are allowed, which are built, and as which image tags.
 * Touches  memory only (pure).
 * Never    looks into a repository. Spec: s2i 13.12, 13.21, 13.22 */
#ifndef SLIPWAY_GIT_REFS_H
#define SLIPWAY_GIT_REFS_H

#include "registry/core/bytes.h"
#include "registry/git/push.h"
#include "s2i/options.h"

/* "main" of "refs/heads/main", "v1" of "refs/tags/v1": what people call it. */
struct slice ref_short(const char *ref);
bool ref_is_branch(const char *ref);
/* NULL: it may be pushed to; else why not, in under 100 bytes. */
const char *ref_objection(const char *ref);
/* Whether the repository's configuration protects it from being forced or deleted. */
bool ref_protected(const struct s2i_options *options, const char *ref);

/* The branch a repository is about: what the configuration says; else what HEAD names, when that
 * branch is there or is being pushed; else main, master or the first branch of the push. head: as
 * HEAD has it, "refs/heads/main"; head_exists: there is such a branch. Borrowed; NULL: none. */
const char *refs_default(const struct s2i_options *options, const char *head, bool head_exists,
                         const struct push_request *push);

/* How a ref is built: adds image tags to out; false and none when it is not built at all.
 *
 * options->branches is looked at first: "pattern=tag{,tag}". The pattern is of short names of
 * branches, or of full names when it begins with "refs/"; "*" in a tag is what the pattern's stars
 * stood for; "-" alone: not built. Without such a row the default branch is "latest" and its name,
 * a Git tag vX is vX. Always also "git-" and 12 digits of the commit. Spec: 13.21
 *   default_ref  full name, or NULL
 *   commit       peeled; "": not known yet */
bool refs_map(const struct s2i_options *options, const char *default_ref, const char *ref,
              const char *commit, struct s2i_list *out);
/* Only the tags that are made of the ref's name: no other ref may mean them. */
void refs_map_own(const struct s2i_options *options, const char *default_ref, const char *ref,
                  struct s2i_list *out);
/* Characters no tag may have become '-', one at the start '_'; at most 128 are kept. */
void refs_tag_name(struct slice name, struct buffer *out);

#endif

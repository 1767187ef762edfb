/* rebase.h - an image keeps its own layers and gets those of a newer base, without building.
 * Touches  memory only (pure).
 * Never    a layer's bytes: what the base changed below the image's own files is told by whoever
 *          read them.
 *
 * Spec: s2i 15.1. A base says that it stands in for its older versions by the label
 * s2i.rebasable=true. Whoever asks
 *   1. finds the old base: rebase_base_digest of the image's manifest;
 *   2. reads names and contents of three sets of layers into trees: the old base's, the new base's,
 *      and the image's own (those after the old base's), bottom to top;
 *   3. lets rebase_conflicts say which of the image's own files stand on something that the new
 *      base has otherwise: copied up from the old base, they would bring the old version back;
 *   4. gives that list to rebase_make, which refuses unless it is empty. */
#ifndef SLIPWAY_S2I_REBASE_H
#define SLIPWAY_S2I_REBASE_H

#include "s2i/contract/contract.h"

/* The base an image's manifest names. False: none, or malformed. */
bool rebase_base_digest(struct slice manifest, struct digest *out);

struct rebase {
    struct slice manifest, config;               /* of the image, as they are stored */
    const struct s2i_image *old_base, *new_base; /* old: of that digest */
    const struct s2i_list *conflicts;            /* paths; 3. above */
};
/* What is to be published beside the new base's layers. The same inputs give the same bytes. What
 * the image's config has from its old base becomes the new base's, member by member, variable by
 * variable, label by label; what the build said stays. CONFLICT  not allowed, with the reason;
 * INVALID  malformed */
int rebase_make(const struct rebase *about, struct contract_result *out,
                struct error *err) MUST_CHECK;

/* --- which files changed below (15.1) --- */

/* Names of some layers and what each stands for. */
struct rebase_tree;
/* own: of the image's own layers, whose whiteouts are kept; else they take away. */
struct rebase_tree *rebase_tree_new(bool own);
void rebase_tree_drop(struct rebase_tree **tree);
struct rebase_entry {
    struct slice path; /* relative; also ".wh.x" and ".wh..wh..opq" as they stand */
    char type;         /* as struct tar_entry's */
    uint32_t mode;
    uint64_t uid, gid, size;
    struct slice link;     /* of links */
    struct digest content; /* of files */
    struct slice xattrs;   /* in a fixed order and form */
};
/* An entry of the layer that is being read. */
void rebase_tree_put(struct rebase_tree *tree, const struct rebase_entry *entry);
/* The layer is over: it now counts, above those before it. */
void rebase_tree_layer_end(struct rebase_tree *tree);
/* At most `most` paths, in bytewise order of their parts. */
void rebase_conflicts(const struct rebase_tree *own, const struct rebase_tree *old_base,
                      const struct rebase_tree *new_base, size_t most, struct s2i_list *out);

#endif

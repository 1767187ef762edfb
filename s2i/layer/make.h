/* make.h - shared by layer_make.c (which entries, in which order) and make_entry.c (one of them).
 * Touches  nothing.
 * Never    included by others. */
#ifndef SLIPWAY_S2I_LAYER_MAKE_H
#define SLIPWAY_S2I_LAYER_MAKE_H

#include "s2i/layer/layer_internal.h"
#include "s2i/layer/scan.h"

/* Files with more than one name, by what the kernel calls them. */
struct links {
    struct linked *slots;
    size_t count, capacity; /* a power of two, at most half full */
};

struct maker {
    const struct layer_make *make;
    struct packer *packer;
    struct scan *scan;
    struct buffer tar; /* what is not hashed yet */
    struct links links;
    struct xattr_set xattrs;
    uint64_t entries, bytes;
};
void maker_drop(struct maker *maker);

/* Each writes its folder first, when that is not written yet. */
int make_folder(struct maker *maker, struct walk_folder *folder, struct error *err) MUST_CHECK;
int make_file(struct maker *maker, struct walk_folder *folder, struct slice path,
              struct error *err) MUST_CHECK;
/* An empty file ".wh.name" beside where `hidden` was, when a lower shows that. Spec: 18.1, 18.4 */
int make_whiteout(struct maker *maker, struct walk_folder *folder, const char *name,
                  struct slice hidden, struct error *err) MUST_CHECK;
/* What was written goes on to the packer. */
int make_flush(struct maker *maker, struct error *err) MUST_CHECK;
/* Whether somebody still wants the layer. */
int make_go_on(const struct maker *maker, struct error *err) MUST_CHECK;
/* INVALID about one path. Returns -1. */
int make_refuse(struct slice path, const char *why, struct error *err);

#endif

/* rebase.h - shared by the files that put images on newer bases: rebase.c (which tags, what became
 * of each), rebase_image.c (one image), rebase_attest.c (what is to stand beside it), rebase_live.c
 * (a thread a question).
 * Touches  nothing by itself.
 * Never    included from outside s2i/. Spec: s2i 15.1 */
#ifndef SLIPWAY_S2I_REBASE_ROOM_H
#define SLIPWAY_S2I_REBASE_ROOM_H

#include "s2i/contract/rebase.h"
#include "s2i/s2i_internal.h"

/* Bases that were read stay for the next image. */
struct rebase_bases {
    struct builds *builds;
    const struct actor *actor;
    struct s2i_image old_base, new_base;
    char *old_name, *new_name;            /* as they were asked for */
    struct digest old_digest, new_digest; /* of the trees */
    int64_t began_at;                     /* us since 1970: somebody asked */
    struct rebase_tree *old_tree, *new_tree;
};
void rebase_bases_drop(struct rebase_bases *bases);
/* The new base is this one from now on. CONFLICT  it is not here, or may not be pulled */
int rebase_onto(struct rebase_bases *bases, struct slice name, struct error *err) MUST_CHECK
    ON(worker_thread);

/* One image on the new base. */
struct rebase_made {
    struct contract_result result;
    struct s2i_list conflicts; /* also when it was refused */
    struct s2i_image before;
    size_t below; /* how many of its layers were the old base's */
};
void rebase_made_drop(struct rebase_made *made);
/*   repository, digest  the image
 *   base                "repository@digest": what it stands on
 * CONFLICT, INVALID  it cannot be; the reason is for people */
int rebase_image_make(struct rebase_bases *bases, struct slice repository,
                      const struct digest *digest, struct slice base, struct rebase_made *out,
                      struct error *err) MUST_CHECK ON(worker_thread);

/* What is to stand beside the image, as JSON (attest.c): nothing when nothing is wanted.
 * rebase_attest.c */
void rebase_attest(const struct rebase_bases *bases, const struct rebase_made *made,
                   struct slice repository, const char *media_type, struct buffer *out)
    ON(worker_thread);

/* What can be told of a wish at once: errors as builds_rebase. */
int rebase_check(struct builds *builds, const struct build_rebase *wish,
                 struct error *err) MUST_CHECK ON(worker_thread);

#endif

/* meta_rebase.h - the transactions behind rebases.h, and what their files share.
 * Touches  the database only.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_META_REBASE_H
#define SLIPWAY_STORAGE_META_REBASE_H

#include "storage/meta_content.h"
#include "storage/rebases.h"
#include "storage/storage_internal.h"

/* A tag that is to move from one digest: *manifest is what it stands for, 0 when its outcome says
 * that it stays. Nothing is changed. meta_rebase.c */
struct meta_rebase_look {
    int64_t repository;
    struct slice tag;
    const struct digest *from;
};
int meta_rebase_look(struct db_tx *tx, const struct meta_rebase_look *look, int64_t *manifest,
                     enum rebase_move_outcome *outcome, char why[200],
                     struct error *err) MUST_CHECK;

/* As rebase_apply; *retyped of each image is set before `after` runs. */
int meta_rebase_apply(struct meta *meta, const struct rebase_new *rebase,
                      struct rebase_image *images, size_t count, bool *retyped, int64_t *id,
                      int64_t *until, const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_rebase_undo(struct meta *meta, int64_t id, const struct rebase_undo *undo,
                     struct rebase_record *out, const struct meta_after *after,
                     struct error *err) MUST_CHECK;

#endif

/* meta_content.h - the transactions behind content.h, and what their files share.
 * Touches  the database only.
 * Never    included outside of storage/ and its tests.
 *
 * Functions are those of content.h, see there. `after` runs after COMMIT when something changed. */
#ifndef SLIPWAY_STORAGE_META_CONTENT_H
#define SLIPWAY_STORAGE_META_CONTENT_H

#include "storage/content.h"
#include "storage/meta_internal.h"

/* --- shared --- */

/* The repository's id. NOT_FOUND */
int meta_repository_at(struct db_tx *tx, struct slice name, int64_t *id, struct error *err);
int meta_tag_unknown(struct slice tag, struct error *err); /* NOT_FOUND */
/* The manifest of that digest, if it is here; else as the error says. */
int meta_manifest_at(struct db_tx *tx, int64_t repository, const struct digest *digest, int64_t *id,
                     struct error *err);
/* Makes whole again what hangs on a manifest: it and its children, as far as they were set aside
 * within gc.undo, their blobs, and referrers that went with them or later.
 * NOT_FOUND  it went too long ago.  CONFLICT  a blob is damaged */
int meta_manifest_revive(struct db_tx *tx, const struct meta *meta, int64_t repository,
                         int64_t manifest, int64_t now, struct error *err);

/* --- tags: meta_tag.c, meta_untag.c; what was deleted: meta_restore.c --- */

int meta_tag_details(struct meta *meta, struct slice repository, struct slice after,
                     struct slice search, size_t limit, struct content_tag_page *out,
                     struct error *err) MUST_CHECK;
int meta_tag_detail(struct meta *meta, struct slice repository, struct slice tag,
                    struct content_tag *out, struct error *err) MUST_CHECK;
int meta_tag_set(struct meta *meta, struct slice repository, const struct content_tag_set *set,
                 const struct content_change *change, bool *created, const struct meta_after *after,
                 struct error *err) MUST_CHECK;
int meta_tag_protect(struct meta *meta, struct slice repository, struct slice tag, unsigned mask,
                     unsigned bits, const struct content_change *change,
                     struct error *err) MUST_CHECK;
int meta_tags_delete(struct meta *meta, struct slice repository,
                     const struct content_tags_delete *what, const struct content_change *change,
                     uint64_t *deleted, const struct meta_after *after,
                     struct error *err) MUST_CHECK;
int meta_deleted_tags(struct meta *meta, struct slice repository, struct slice after,
                      int64_t after_id, size_t limit, struct content_deleted_tag_page *out,
                      struct error *err) MUST_CHECK;
int meta_tag_restore(struct meta *meta, struct slice repository, struct slice tag,
                     const struct digest *digest, bool force, const struct content_change *change,
                     const struct meta_after *after, struct error *err) MUST_CHECK;

/* --- manifests: meta_image.c; restored: meta_restore.c --- */

int meta_manifest_list(struct meta *meta, struct slice repository, enum content_manifests which,
                       int64_t before, size_t limit, struct content_manifest_page *out,
                       struct error *err) MUST_CHECK;
int meta_manifest_detail(struct meta *meta, struct slice repository, const struct digest *digest,
                         struct content_manifest *out, struct content_family *family,
                         struct error *err) MUST_CHECK;
int meta_manifest_end(struct meta *meta, struct slice repository, const struct digest *digest,
                      const struct content_change *change, uint64_t *tags,
                      const struct meta_after *after, struct error *err) MUST_CHECK;
int meta_manifest_restore(struct meta *meta, struct slice repository, const struct digest *digest,
                          bool tags, const struct content_change *change,
                          const struct meta_after *after, struct error *err) MUST_CHECK;

/* --- pins: meta_pin.c; rules: meta_rule.c --- */

int meta_pin_list(struct meta *meta, struct slice repository, struct slice after, size_t limit,
                  struct content_pin_page *out, struct error *err) MUST_CHECK;
int meta_pin_find(struct meta *meta, struct slice repository, struct slice name,
                  struct content_pin *out, struct error *err) MUST_CHECK;
int meta_pins_own(struct meta *meta, struct slice prefix, struct content_pins *out,
                  struct error *err) MUST_CHECK;
int meta_pin_put(struct meta *meta, struct slice repository, struct slice name,
                 const struct manifest_reference *reference, int64_t until,
                 const struct content_change *change, bool *created, struct error *err) MUST_CHECK;
int meta_pin_delete(struct meta *meta, struct slice repository, struct slice name,
                    const struct content_change *change, struct error *err) MUST_CHECK;
int meta_rule_list(struct meta *meta, struct content_rules *out, struct error *err) MUST_CHECK;
int meta_rule_find(struct meta *meta, int64_t id, struct content_rule *out,
                   struct error *err) MUST_CHECK;
int meta_rule_add(struct meta *meta, struct slice pattern, struct slice tags, unsigned bits,
                  const struct content_change *change, struct content_rule *out,
                  struct error *err) MUST_CHECK;
int meta_rule_update(struct meta *meta, int64_t id, unsigned bits,
                     const struct content_change *change, struct content_rule *out,
                     struct error *err) MUST_CHECK;
int meta_rule_delete(struct meta *meta, int64_t id, const struct content_change *change,
                     struct error *err) MUST_CHECK;

/* --- history: meta_history.c --- */

int meta_history_list(struct meta *meta, struct slice repository, struct slice tag, int64_t before,
                      size_t limit, struct content_history *out, struct error *err) MUST_CHECK;

/* --- whole repositories: meta_removed.c --- */

/* uploads: locators of the sessions that ended; freed with page_drop, whatever the outcome. */
int meta_repository_delete(struct meta *meta, struct slice repository,
                           const struct content_change *change, struct content_repository_size *out,
                           struct page *uploads, const struct meta_after *after,
                           struct error *err) MUST_CHECK;
int meta_deleted_repositories(struct meta *meta, struct slice after, int64_t after_id, size_t limit,
                              struct content_deleted_repository_page *out,
                              struct error *err) MUST_CHECK;
int meta_repository_restore(struct meta *meta, struct slice repository, int64_t id,
                            const struct content_change *change, const struct meta_after *after,
                            struct error *err) MUST_CHECK;

#endif

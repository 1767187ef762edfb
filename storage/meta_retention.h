/* meta_retention.h - the transactions behind images.h and policy.h.
 * Touches  the database only.
 * Never    included outside of storage/ and its tests. */
#ifndef SLIPWAY_STORAGE_META_RETENTION_H
#define SLIPWAY_STORAGE_META_RETENTION_H

#include "storage/images.h"
#include "storage/meta.h"
#include "storage/policy.h"

/* --- meta_images.c; as the functions of images.h --- */

int meta_images_load(struct meta *meta, struct slice repository, struct images *out,
                     struct error *err) MUST_CHECK;
int meta_images_freed(struct meta *meta, const struct images *images, const size_t *chosen,
                      size_t count, struct images_freed *out, struct error *err) MUST_CHECK;
/* Background. */
int meta_images_retire(struct meta *meta, struct slice repository, const struct images *images,
                       const size_t *chosen, size_t count, const struct actor *actor,
                       const struct audit_event *event, const struct meta_after *after,
                       bool *retired, struct error *err) MUST_CHECK;

/* --- meta_policy.c; as the functions of policy.h --- */

int meta_policy_list(struct meta *meta, int64_t after_id, size_t limit, struct policies *out,
                     struct error *err) MUST_CHECK;
int meta_policy_covering(struct meta *meta, struct slice repository, struct policies *out,
                         struct error *err) MUST_CHECK;
/* By id, or by pattern when that is given. */
int meta_policy_find(struct meta *meta, int64_t id, struct slice pattern, struct policy *out,
                     struct error *err) MUST_CHECK;
int meta_policy_put(struct meta *meta, const struct policy_put *put,
                    const struct audit_event *event, struct policy *out, bool *created,
                    struct error *err) MUST_CHECK;
int meta_policy_delete(struct meta *meta, int64_t id, int64_t if_version,
                       const struct audit_event *event, struct error *err) MUST_CHECK;

#endif

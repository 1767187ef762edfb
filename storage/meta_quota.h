/* meta_quota.h - rows of quotas and what they count, one function a transaction; contracts and
 * errors as in quota.h.
 * Touches  the database only.
 * Never    reservations: they are memory. */
#ifndef SLIPWAY_STORAGE_META_QUOTA_H
#define SLIPWAY_STORAGE_META_QUOTA_H

#include "storage/meta.h"
#include "storage/quota.h"

/* `reserved` of what is read is 0. */
int meta_quota_find(struct meta *meta, int64_t id, struct quota *out, struct error *err) MUST_CHECK;
int meta_quota_list(struct meta *meta, int64_t after_id, size_t limit, struct quota_page *out,
                    struct error *err) MUST_CHECK;
/* The same quotas always come in the same order. */
int meta_quota_covering(struct meta *meta, struct slice repository, int64_t account,
                        struct quota_page *out, struct error *err) MUST_CHECK;
int meta_quota_create(struct meta *meta, enum quota_kind kind, struct slice subject, uint64_t bytes,
                      const struct audit_event *event, struct quota *out,
                      struct error *err) MUST_CHECK;
int meta_quota_update(struct meta *meta, int64_t id, uint64_t bytes, int64_t if_version,
                      const struct audit_event *event, struct quota *out,
                      struct error *err) MUST_CHECK;
int meta_quota_delete(struct meta *meta, int64_t id, int64_t if_version,
                      const struct audit_event *event, struct error *err) MUST_CHECK;
/* Counts a quota anew from the links; absent is success. meta_quota_count.c */
int meta_quota_recount(struct db_tx *tx, int64_t quota, struct error *err) MUST_CHECK;
/* The sum of a quota's parts, inside a transaction. meta_usage.c */
int meta_quota_used(struct db_tx *tx, int64_t quota, int64_t *out, struct error *err);

int meta_usage_total(struct meta *meta, struct usage *out, struct error *err) MUST_CHECK;
int meta_usage_of_repository(struct meta *meta, struct slice repository,
                             struct repository_usage *out, struct error *err) MUST_CHECK;

#endif

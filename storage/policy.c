/* policy.c - rules of retention as storage offers them.
 * Touches  the database, through meta_policy.c.
 * Never    reads a rule. */
#include "storage/policy.h"

#include "storage/meta_retention.h"
#include "storage/storage_internal.h"

int policy_list(struct storage *store, int64_t after_id, size_t limit, struct policies *out,
                struct error *err)
{
    return meta_policy_list(store->meta, after_id, limit, out, err);
}

int policy_covering(struct storage *store, struct slice repository, struct policies *out,
                    struct error *err)
{
    return meta_policy_covering(store->meta, repository, out, err);
}

int policy_find(struct storage *store, int64_t id, struct policy *out, struct error *err)
{
    return meta_policy_find(store->meta, id, SLICE_NONE, out, err);
}

int policy_find_pattern(struct storage *store, struct slice pattern, struct policy *out,
                        struct error *err)
{
    return meta_policy_find(store->meta, 0, pattern, out, err);
}

int policy_put(struct storage *store, const struct policy_put *put, const struct audit_event *event,
               struct policy *out, bool *created, struct error *err)
{
    return meta_policy_put(store->meta, put, event, out, created, err);
}

int policy_delete(struct storage *store, int64_t id, int64_t if_version,
                  const struct audit_event *event, struct error *err)
{
    return meta_policy_delete(store->meta, id, if_version, event, err);
}

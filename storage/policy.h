/* policy.h - rules of retention as they were written, by patterns of repositories.
 * Touches  the table policies, the audit.
 * Never    reads a rule: they are text here.
 *
 * Patterns are those of grants (accounts.h) and validated by the caller, as are the rules. */
#ifndef SLIPWAY_STORAGE_POLICY_H
#define SLIPWAY_STORAGE_POLICY_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

struct storage;
struct audit_event;

enum policy_mode { POLICY_OFF, POLICY_REPORT, POLICY_ENFORCE };

struct policy {
    int64_t id, created_at, updated_at, version;
    char *pattern;
    enum policy_mode mode;
    char *rules;
};
struct policies {
    struct policy *items;
    size_t count;
    bool more;
};
void policy_drop(struct policy *policy);
void policies_drop(struct policies *policies);

enum { POLICIES_MAX = 500 };

/* By id, after `after_id`. */
int policy_list(struct storage *store, int64_t after_id, size_t limit, struct policies *out,
                struct error *err) MUST_CHECK ON(worker_thread);
/* Those whose pattern covers the repository, the most specific first. */
int policy_covering(struct storage *store, struct slice repository, struct policies *out,
                    struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND */
int policy_find(struct storage *store, int64_t id, struct policy *out, struct error *err) MUST_CHECK
    ON(worker_thread);
int policy_find_pattern(struct storage *store, struct slice pattern, struct policy *out,
                        struct error *err) MUST_CHECK ON(worker_thread);

struct policy_put {
    struct slice pattern;
    enum policy_mode mode;
    struct slice rules;
    bool must_be_new;   /* CONFLICT  the pattern has one */
    int64_t if_version; /* 0: whatever is there */
};
/* One for each pattern. PRECONDITION, CONFLICT  also when there are POLICIES_MAX already */
int policy_put(struct storage *store, const struct policy_put *put, const struct audit_event *event,
               struct policy *out, bool *created, struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND, PRECONDITION */
int policy_delete(struct storage *store, int64_t id, int64_t if_version,
                  const struct audit_event *event, struct error *err) MUST_CHECK ON(worker_thread);

#endif

/* retention.h - rules of retention: what they would do, and doing it.
 * Touches  storage: policies, images.
 * Never    removes what the rules did not choose from one snapshot, or what changed since.
 *
 * Which rules count for a repository: of all policies that are not off and whose pattern covers it
 * the keep rules; and the rules that expire of the most specific of them that has such rules. The
 * mode of that one tells whether a run removes anything. */
#ifndef SLIPWAY_RETENTION_RETENTION_H
#define SLIPWAY_RETENTION_RETENTION_H

#include <jansson.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"
#include "storage/images.h"
#include "storage/policy.h"

struct job_kind;
struct storage;

/* The rules as they were understood, a JSON list, are appended. INVALID  field "rules" */
int retention_check(struct slice rules, struct buffer *canonical, struct error *err) MUST_CHECK;

/* --- what would happen to one repository --- */

struct retention; /* immutable */

/* tried: rules to look at in the place of the repository's own; SLICE_NONE: none. Changes nothing.
 * NAME_UNKNOWN, INVALID */
int retention_open(struct retention **out, struct storage *store, struct slice repository,
                   struct slice tried, struct error *err) MUST_CHECK ON(worker_thread);
void retention_drop(struct retention **retention); /* for OWNED; accepts NULL */

/* Policies that count, the most specific first; those that were tried have id 0. */
const struct policies *retention_policies(const struct retention *retention);
/* The one whose rules expire; NULL: none. */
const struct policy *retention_deciding(const struct retention *retention);

struct retention_sums {
    uint64_t manifests;    /* looked at */
    uint64_t expires;      /* removed by a run, with their tags */
    uint64_t tags;         /* of these */
    uint64_t follows;      /* go with them later: children, referrers */
    uint64_t blobs, bytes; /* freed then */
};
const struct retention_sums *retention_sums(const struct retention *retention);

struct retention_item {
    const struct image *image;
    bool expires, follows;
    const struct policy *policy; /* that decides; NULL: none does */
    int priority;                /* of its rule; 0: none */
};
size_t retention_count(const struct retention *retention);
/* By the row's id, oldest first. */
struct retention_item retention_at(const struct retention *retention, size_t place);
/* Why, as a sentence. */
void retention_reason(const struct retention *retention, size_t place, struct buffer *out);

/* Which of the policies that cover a repository count, without looking into it. out as from
 * policy_covering, without those that are off; *deciding SIZE_MAX: none expires. */
int retention_effective(struct storage *store, struct slice repository, struct policies *out,
                        size_t *deciding, struct error *err) MUST_CHECK ON(worker_thread);

/* --- runs --- */

/* Every repository that a policy covers, or those of a pattern (SLICE_NONE: all). dry_run: nobody's
 * mode matters, nothing is removed. Fills result, an object:
 *   repositories, expired, follows, skipped (had changed), blobs, bytes, and policies: the same of
 *   each, with would_expire for those that only report */
int retention_run_all(struct storage *store, struct slice pattern, bool dry_run,
                      const struct progress *progress, json_t *result, struct error *err) MUST_CHECK
    ON(worker_thread);

/* "policy"; spec: {"pattern": "team", "dry_run": false}, each may be missing */
extern const struct job_kind retention_job;

#endif

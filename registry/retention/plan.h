/* plan.h - one repository, the rules that count for it, and what they decide.
 * Touches  storage; changes nothing.
 * Never    included from elsewhere: retention.h is. */
#ifndef SLIPWAY_RETENTION_PLAN_H
#define SLIPWAY_RETENTION_PLAN_H

#include "registry/retention/decide.h"
#include "registry/retention/retention.h"

struct retention {
    struct policies policies;
    struct rules *rules;          /* of each */
    struct decide_policy *inputs; /* the same for decide */
    size_t deciding;              /* SIZE_MAX: none */
    struct images images;
    struct decision *decisions;
    struct retention_sums sums;
};

/* Decides again, after images were changed. */
void retention_decide(struct retention *retention);

#endif

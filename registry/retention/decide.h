/* decide.h - which manifests of a repository rules let go, and why the others stay.
 * Touches  memory.
 * Never    storage, the clock: the same images and rules give the same answer.
 *
 * What counts as an image: a manifest with a tag, or one that no index lists. Not: what refers to
 * a subject, or has only tags that name a digest which is here, or can be restored
 * (sha256-<hex>.sig): followers.
 *
 * (1) A rule sees every image that meets its tag requirements, whatever other rules do with it:
 *     counts run over all of these, newest push first.
 * (2) Only the first rule, by priority, whose tag requirements an image meets can expire it.
 * (3) A keep rule wins over every rule that expires, whatever its priority.
 * (4) What is pinned, has a protected tag, is listed by an index that is here or can be restored,
 *     or was touched within gc.grace stays, whatever rules say.
 * (5) Followers and children go with what they belong to, and only then. */
#ifndef SLIPWAY_RETENTION_DECIDE_H
#define SLIPWAY_RETENTION_DECIDE_H

#include "registry/retention/policy.h"
#include "storage/images.h"

/* A policy that reaches the repository: its keep rules count always. */
struct decide_policy {
    const struct rules *rules;
    bool expires; /* its other rules count as well */
};

enum decided {
    DECIDED_UNMATCHED, /* no rule is about it */
    DECIDED_WITHIN,    /* the first rule about it does not reach it */
    DECIDED_EXPIRES,
    DECIDED_KEPT,   /* by a keep rule */
    DECIDED_PINNED, /* (4), and the next three */
    DECIDED_PROTECTED,
    DECIDED_LISTED,
    DECIDED_RECENT,
    DECIDED_CHILD,    /* no image: goes with the index that lists it */
    DECIDED_FOLLOWER, /* no image: goes with its subject */
};

struct decision {
    enum decided decided;
    bool expires;            /* it is removed, with its tags */
    bool goes;               /* or the collector does that, once what holds it is gone */
    size_t policy;           /* of rule */
    const struct rule *rule; /* the one that decides; NULL: none */
};

/* out has an element for each image; policies, the most specific first. */
void decide(const struct images *images, const struct decide_policy *policies, size_t count,
            struct decision *out);

#endif

/* policy.h - rules of retention: read from JSON, checked, printed as they were understood.
 * Touches  memory; jansson.
 * Never    an image: decide.h applies them.
 *
 * The grammar is that of ECR's lifecycle policies and more:
 *
 *   {"rules": [{"rulePriority": 1, "description": "...",
 *               "selection": {"tagStatus": "tagged" | "untagged" | "any",
 *                             "tagPatternList": ["v*"], "tagPrefixList": ["dev-"],
 *                             "countType": "imageCountMoreThan" | "sinceImagePushed" |
 *                                          "sinceImagePulled",
 *                             "countUnit": "days" | "hours" | "minutes" | "seconds",
 *                             "countNumber": 14},
 *               "action": {"type": "expire"}}]}
 *
 * A rule with the action keep may leave tagStatus out, and its selection may have
 * "countType": "imageCountNewest" with "countBy": "pushed" | "version", or "inUse": true. */
#ifndef SLIPWAY_RETENTION_POLICY_H
#define SLIPWAY_RETENTION_POLICY_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum {
    RULES_TEXT_MAX = 60 * 1024, /* bytes, as it came and as it is printed */
    RULES_MAX = 100,
    RULE_PRIORITY_MAX = 999999,
    RULE_PATTERNS_MAX = 50,
    RULE_STARS_MAX = 4, /* of one pattern, as in ECR */
    RULE_NUMBER_MAX = 1000000,
    RULE_DESCRIPTION_MAX = 1000,
};

enum rule_action { RULE_EXPIRE, RULE_KEEP };
enum rule_status { RULE_ANY, RULE_TAGGED, RULE_UNTAGGED };
enum rule_count {
    RULE_ALL, /* keep only */
    RULE_MORE_THAN,
    RULE_SINCE_PUSHED,
    RULE_SINCE_PULLED,
    RULE_NEWEST, /* keep only */
};
enum rule_unit { RULE_DAYS, RULE_HOURS, RULE_MINUTES, RULE_SECONDS };

struct rule {
    int priority;
    char *description; /* NULL: none */
    enum rule_action action;
    enum rule_status status;
    bool prefixes; /* patterns are prefixes */
    char **patterns;
    size_t pattern_count;
    enum rule_count count;
    enum rule_unit unit;
    int64_t number;
    bool by_version; /* RULE_NEWEST: else by the time of the push */
    bool in_use;     /* pinned ones */
};

/* By priority, lowest number first. */
struct rules {
    struct rule *items;
    size_t count;
};
void rules_drop(struct rules *rules);

/* The object, or its list of rules alone.
 * INVALID  field "rules"; the message names the rule and the member */
int rules_parse(struct slice text, struct rules *out, struct error *err) MUST_CHECK;
/* The list of rules as JSON; read again it is the same. */
void rules_print(const struct rules *rules, struct buffer *out);

int64_t rule_age_us(const struct rule *rule); /* of RULE_SINCE_... */
const char *rule_unit_name(enum rule_unit unit);

#endif

/* reason.c - why a manifest goes or stays, as a sentence.
 * Touches  the buffer it is given.
 * Never    decides. */
#include "registry/retention/plan.h"

static void print_limit(const struct rule *rule, struct buffer *out)
{
    const char *unit = rule_unit_name(rule->unit);

    buffer_print(out, "%lld %.*s%s", (long long)rule->number, (int)slice_of(unit).size - 1, unit,
                 rule->number == 1 ? "" : "s");
}

/* "rule 2 of team/x" */
static void print_rule(const struct retention *retention, const struct decision *decision,
                       struct buffer *out)
{
    const struct policy *policy = &retention->policies.items[decision->policy];

    buffer_print(out, "rule %d of %s%s", decision->rule->priority,
                 policy->id == 0 ? "the rules tried on " : "", policy->pattern);
}

static void print_reach(const struct rule *rule, bool reached, struct buffer *out)
{
    if (rule->count == RULE_MORE_THAN) {
        buffer_print(out, "it is %samong the newest %lld", reached ? "not " : "",
                     (long long)rule->number);
        return;
    }
    buffer_print(out, "%s %s than ",
                 rule->count == RULE_SINCE_PULLED ? "its last pull, or its push, is"
                                                  : "its push is",
                 reached ? "longer ago" : "not longer ago");
    print_limit(rule, out);
}

static void print_kept(const struct rule *rule, struct buffer *out)
{
    if (rule->in_use)
        buffer_append_text(out, " keeps what is in use");
    else if (rule->count == RULE_NEWEST)
        buffer_print(out, " keeps the %lld newest by %s", (long long)rule->number,
                     rule->by_version ? "version" : "push");
    else if (rule->pattern_count > 0)
        buffer_append_text(out, " keeps these tags");
    else
        buffer_print(out, " keeps %s",
                     rule->status == RULE_ANY        ? "everything"
                     : rule->status == RULE_UNTAGGED ? "what has no tag"
                                                     : "what has a tag");
}

/* The rule would have it go, but: */
static void print_but(enum decided decided, struct buffer *out)
{
    static const char *const texts[] = {
        [DECIDED_PINNED] = "it is pinned",
        [DECIDED_PROTECTED] = "a tag of it is protected",
        [DECIDED_LISTED] = "an index lists it",
        [DECIDED_RECENT] = "it was pushed or asked for within gc.grace",
    };

    buffer_print(out, " lets it go, but %s", texts[decided]);
}

static void print_dependent(const struct decision *decision, const char *what, struct buffer *out)
{
    buffer_print(out, "%s with %s", decision->goes ? "goes" : "stays", what);
}

void retention_reason(const struct retention *retention, size_t place, struct buffer *out)
{
    const struct decision *decision = &retention->decisions[place];

    switch (decision->decided) {
    case DECIDED_UNMATCHED:
        buffer_append_text(out, "no rule is about it");
        return;
    case DECIDED_WITHIN:
    case DECIDED_EXPIRES:
        print_rule(retention, decision, out);
        buffer_append_text(out, ": ");
        print_reach(decision->rule, decision->expires, out);
        return;
    case DECIDED_KEPT:
        print_rule(retention, decision, out);
        print_kept(decision->rule, out);
        return;
    case DECIDED_PINNED:
    case DECIDED_PROTECTED:
    case DECIDED_LISTED:
    case DECIDED_RECENT:
        print_rule(retention, decision, out);
        print_but(decision->decided, out);
        return;
    case DECIDED_CHILD:
        print_dependent(decision, "the index that lists it", out);
        return;
    case DECIDED_FOLLOWER:
        print_dependent(decision, "what it refers to", out);
        return;
    }
}

/* plan.c - one repository, the rules that count for it, and what they decide. */
#include "registry/retention/plan.h"

#include <stdlib.h>
#include <string.h>

int retention_check(struct slice text, struct buffer *canonical, struct error *err)
{
    OWNED(rules_drop) struct rules rules = {.items = NULL};
    size_t start = canonical->size;

    if (rules_parse(text, &rules, err) < 0)
        return -1;
    rules_print(&rules, canonical); /* what was left out stands in it: it must be readable, too */
    if (canonical->size - start > RULES_TEXT_MAX)
        return error_set_field(err, "rules", "rules must have at most %d bytes", RULES_TEXT_MAX);
    return 0;
}

void retention_drop(struct retention **owned)
{
    struct retention *retention = *owned;

    if (retention == NULL)
        return;
    for (size_t i = 0; retention->rules != NULL && i < retention->policies.count; i++)
        rules_drop(&retention->rules[i]);
    free(retention->rules);
    free(retention->inputs);
    free(retention->decisions);
    policies_drop(&retention->policies);
    images_drop(&retention->images);
    free(retention);
    *owned = NULL;
}

/* --- which rules count --- */

static void policies_remove(struct policies *policies, size_t place)
{
    policy_drop(&policies->items[place]);
    policies->count--;
    memmove(&policies->items[place], &policies->items[place + 1],
            (policies->count - place) * sizeof(*policies->items));
}

static void policies_first(struct policies *policies, struct slice pattern, struct slice rules)
{
    policies->items =
        memory_resize(policies->items, (policies->count + 1) * sizeof(*policies->items));
    memmove(&policies->items[1], &policies->items[0], policies->count * sizeof(*policies->items));
    policies->items[0] = (struct policy){
        .pattern = memory_text(pattern), .mode = POLICY_REPORT, .rules = memory_text(rules)};
    policies->count++;
}

static int policies_load(struct retention *retention, struct storage *store,
                         struct slice repository, struct slice tried, struct error *err)
    ON(worker_thread)
{
    struct policies *policies = &retention->policies;

    if (policy_covering(store, repository, policies, err) < 0)
        return -1;
    for (size_t i = policies->count; i-- > 0;)
        if (policies->items[i].mode == POLICY_OFF ||
            (tried.at != NULL && slice_equal_text(repository, policies->items[i].pattern)))
            policies_remove(policies, i);
    if (tried.at != NULL)
        policies_first(policies, repository, tried);
    return 0;
}

static bool has_expiry(const struct rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        if (rules->items[i].action == RULE_EXPIRE)
            return true;
    return false;
}

/* Rules that were stored can be read; if not, none of them may be left out: a keep rule may be
 * among them. */
static int rules_read(const struct policy *policy, struct rules *out, struct error *err)
{
    struct error why = {0};

    if (rules_parse(slice_of(policy->rules), out, &why) == 0)
        return 0;
    if (policy->id == 0)
        return error_set_field(err, "rules", "%s", why.message);
    return error_set(err, ERROR_INTERNAL, "the policy for %s cannot be read", policy->pattern);
}

static int rules_load(struct retention *retention, struct error *err)
{
    size_t count = retention->policies.count;

    retention->rules = memory_new((count + 1) * sizeof(*retention->rules));
    retention->inputs = memory_new((count + 1) * sizeof(*retention->inputs));
    retention->deciding = SIZE_MAX;
    for (size_t i = 0; i < count; i++) {
        if (rules_read(&retention->policies.items[i], &retention->rules[i], err) < 0)
            return -1;
        bool expires = retention->deciding == SIZE_MAX && has_expiry(&retention->rules[i]);
        retention->inputs[i] = (struct decide_policy){&retention->rules[i], expires};
        if (expires)
            retention->deciding = i;
    }
    return 0;
}

int retention_effective(struct storage *store, struct slice repository, struct policies *out,
                        size_t *deciding, struct error *err)
{
    OWNED(retention_drop) struct retention *retention = memory_new(sizeof(*retention));

    if (policies_load(retention, store, repository, SLICE_NONE, err) < 0 ||
        rules_load(retention, err) < 0)
        return -1;
    *deciding = retention->deciding;
    *out = retention->policies;
    for (size_t i = 0; i < out->count; i++)
        rules_drop(&retention->rules[i]);
    retention->policies = (struct policies){.items = NULL};
    return 0;
}

/* --- what they decide --- */

void retention_decide(struct retention *retention)
{
    struct retention_sums *sums = &retention->sums;

    decide(&retention->images, retention->inputs, retention->policies.count, retention->decisions);
    *sums = (struct retention_sums){.manifests = retention->images.count};
    for (size_t i = 0; i < retention->images.count; i++) {
        const struct decision *decision = &retention->decisions[i];
        sums->expires += decision->expires;
        sums->tags += decision->expires ? retention->images.items[i].tag_count : 0;
        sums->follows += decision->goes && !decision->expires;
    }
}

static int freed(struct retention *retention, struct storage *store, struct error *err)
    ON(worker_thread)
{
    OWNED(memory_drop)
    size_t *chosen = memory_new((retention->images.count + 1) * sizeof(*chosen));
    struct images_freed sum;
    size_t count = 0;

    for (size_t i = 0; i < retention->images.count; i++)
        if (retention->decisions[i].goes)
            chosen[count++] = i;
    if (images_freed(store, &retention->images, chosen, count, &sum, err) < 0)
        return -1;
    retention->sums.blobs = sum.blobs;
    retention->sums.bytes = sum.bytes;
    return 0;
}

int retention_open(struct retention **out, struct storage *store, struct slice repository,
                   struct slice tried, struct error *err)
{
    OWNED(retention_drop) struct retention *retention = memory_new(sizeof(*retention));

    assert_worker_thread();
    if (policies_load(retention, store, repository, tried, err) < 0 ||
        rules_load(retention, err) < 0 ||
        images_load(store, repository, &retention->images, err) < 0)
        return -1;
    retention->decisions =
        memory_new((retention->images.count + 1) * sizeof(*retention->decisions));
    retention_decide(retention);
    if (freed(retention, store, err) < 0)
        return -1;
    *out = TAKE(retention);
    return 0;
}

/* --- looking at it --- */

const struct policies *retention_policies(const struct retention *retention)
{
    return &retention->policies;
}

const struct policy *retention_deciding(const struct retention *retention)
{
    return retention->deciding == SIZE_MAX ? NULL : &retention->policies.items[retention->deciding];
}

const struct retention_sums *retention_sums(const struct retention *retention)
{
    return &retention->sums;
}

size_t retention_count(const struct retention *retention)
{
    return retention->images.count;
}

struct retention_item retention_at(const struct retention *retention, size_t place)
{
    const struct decision *decision = &retention->decisions[place];
    const struct rule *rule = decision->rule;

    return (struct retention_item){
        .image = &retention->images.items[place],
        .expires = decision->expires,
        .follows = decision->goes && !decision->expires,
        .policy = rule == NULL ? NULL : &retention->policies.items[decision->policy],
        .priority = rule == NULL ? 0 : rule->priority,
    };
}

/* decide.c - which manifests of a repository rules let go, and why the others stay. */
#include "registry/retention/decide.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/glob.h"
#include "registry/retention/version.h"

enum { NOWHERE = -1, ASIDE = -2 };

enum role { ROLE_IMAGE, ROLE_CHILD, ROLE_FOLLOWER };

struct node {
    enum role role;
    bool kept;       /* by a keep rule */
    ssize_t subject; /* what it follows: a place, ASIDE, or NOWHERE */
    size_t parents;  /* indexes here that still hold it */
};

struct run {
    const struct images *images;
    struct node *nodes;
    size_t *order; /* images, newest push first */
    size_t order_count;
    size_t *links;     /* places in images->links, where each parent's begin; count + 1 */
    size_t *followers; /* those whose subject is here, by subject */
    size_t follower_count;
    struct decision *out;
};

/* --- what is an image --- */

/* A digest as the tags of clients without referrers name it: "sha256-<hex>", and ".sig" behind. */
static bool tag_names_digest(const char *tag, struct digest *out)
{
    struct slice head, tail, hex, rest;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error ignored = {0};

    if (!slice_split(slice_of(tag), '-', &head, &tail) ||
        digest_algorithm_parse(head) == DIGEST_NONE)
        return false;
    slice_split(tail, '.', &hex, &rest);
    buffer_append_slice(&text, head);
    buffer_append_text(&text, ":");
    buffer_append_slice(&text, hex);
    return digest_parse(buffer_slice(&text), out, &ignored) == 0;
}

/* What tags may name, in the order of digests. */
struct named {
    const struct digest *digest;
    ssize_t place; /* or ASIDE */
};
struct by_digest {
    const struct images *images;
    struct named *items;
    size_t count;
};

static void by_digest_drop(struct by_digest *index)
{
    free(index->items);
}

static int compare_digests(const struct digest *a, const struct digest *b)
{
    if (a->algorithm != b->algorithm)
        return a->algorithm < b->algorithm ? -1 : 1;
    return memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
}

static int compare_named(const void *a, const void *b)
{
    return compare_digests(((const struct named *)a)->digest, ((const struct named *)b)->digest);
}

/* Most repositories have no such tag, and need none of this. */
static void by_digest_fill(struct by_digest *index)
{
    const struct images *images = index->images;

    index->items = memory_new((images->count + images->aside_count) * sizeof(*index->items));
    for (size_t i = 0; i < images->count; i++)
        index->items[index->count++] = (struct named){&images->items[i].digest, (ssize_t)i};
    for (size_t i = 0; i < images->aside_count; i++)
        index->items[index->count++] = (struct named){&images->aside[i], ASIDE};
    qsort(index->items, index->count, sizeof(*index->items), compare_named);
}

static ssize_t place_of(struct by_digest *index, const struct digest *digest)
{
    const struct named wanted = {digest, NOWHERE};

    if (index->items == NULL)
        by_digest_fill(index);
    const struct named *found =
        bsearch(&wanted, index->items, index->count, sizeof(wanted), compare_named);
    return found == NULL ? NOWHERE : found->place;
}

/* Of a manifest all of whose tags name one digest. */
static ssize_t subject_by_tags(struct by_digest *index, size_t i)
{
    const struct image *image = &index->images->items[i];
    struct digest first, digest;

    for (size_t t = 0; t < image->tag_count; t++)
        if (!tag_names_digest(image->tags[t].name, t == 0 ? &first : &digest) ||
            (t > 0 && !digest_equal(&first, &digest)))
            return NOWHERE;
    ssize_t subject = image->tag_count == 0 ? NOWHERE : place_of(index, &first);
    return subject == (ssize_t)i ? NOWHERE : subject;
}

static ssize_t subject_of(struct by_digest *index, size_t i)
{
    const struct image *image = &index->images->items[i];

    switch (image->subject_is) {
    case SUBJECT_HERE:
        return (ssize_t)image->subject;
    case SUBJECT_ASIDE:
        return ASIDE;
    case SUBJECT_ABSENT:
        return NOWHERE;
    case SUBJECT_NONE:
        break;
    }
    return subject_by_tags(index, i);
}

static void classify(struct run *run)
{
    const struct images *images = run->images;
    OWNED(by_digest_drop) struct by_digest index = {.images = images};

    for (size_t i = 0; i < images->count; i++) {
        const struct image *image = &images->items[i];
        struct node *node = &run->nodes[i];
        node->subject = subject_of(&index, i);
        if (image->subject_is != SUBJECT_NONE || node->subject != NOWHERE)
            node->role = ROLE_FOLLOWER;
        else
            node->role = image->child && image->tag_count == 0 ? ROLE_CHILD : ROLE_IMAGE;
    }
    for (size_t i = 0; i < images->link_count; i++)
        run->nodes[images->links[i].child].parents++;
}

static int compare_pushes(const void *a, const void *b, void *arg)
{
    const struct images *images = arg;
    const struct image *x = &images->items[*(const size_t *)a];
    const struct image *y = &images->items[*(const size_t *)b];

    if (x->pushed_at != y->pushed_at)
        return x->pushed_at > y->pushed_at ? -1 : 1;
    return x->id > y->id ? -1 : x->id < y->id;
}

static void sort_images(struct run *run)
{
    for (size_t i = 0; i < run->images->count; i++)
        if (run->nodes[i].role == ROLE_IMAGE)
            run->order[run->order_count++] = i;
    if (run->order_count > 0)
        qsort_r(run->order, run->order_count, sizeof(*run->order), compare_pushes,
                (void *)(uintptr_t)run->images);
}

/* --- which images a rule is about --- */

static bool tag_fits(const struct rule *rule, const char *pattern, const char *tag)
{
    return rule->prefixes ? slice_starts(slice_of(tag), pattern)
                          : glob_matches(slice_of(pattern), slice_of(tag));
}

/* Every entry of the list has a tag that fits it; it may be the same one. */
static bool tags_fit(const struct rule *rule, const struct image *image)
{
    for (size_t p = 0; p < rule->pattern_count; p++) {
        size_t t = 0;
        while (t < image->tag_count && !tag_fits(rule, rule->patterns[p], image->tags[t].name))
            t++;
        if (t == image->tag_count)
            return false;
    }
    return true;
}

static bool is_about(const struct rule *rule, const struct image *image)
{
    if (rule->in_use && !image->pinned)
        return false;
    if (rule->status == RULE_UNTAGGED)
        return image->tag_count == 0;
    return rule->status == RULE_ANY || (image->tag_count > 0 && tags_fit(rule, image));
}

/* --- rules that expire --- */

static bool reaches(const struct rule *rule, const struct images *images, size_t i, int64_t rank)
{
    const struct image *image = &images->items[i];
    int64_t since = image->pushed_at;

    if (rule->count == RULE_MORE_THAN)
        return rank > rule->number;
    if (rule->count == RULE_SINCE_PULLED && image->pulled_at > since)
        since = image->pulled_at;
    return images->now - since > rule_age_us(rule);
}

/* (1) and (2). */
static void expire_by(struct run *run, const struct rule *rule, size_t policy)
{
    int64_t rank = 0;

    for (size_t i = 0; i < run->order_count; i++) {
        struct decision *decision = &run->out[run->order[i]];
        if (!is_about(rule, &run->images->items[run->order[i]]))
            continue;
        rank++;
        if (decision->rule != NULL)
            continue;
        decision->rule = rule;
        decision->policy = policy;
        decision->expires = reaches(rule, run->images, run->order[i], rank);
        decision->decided = decision->expires ? DECIDED_EXPIRES : DECIDED_WITHIN;
    }
}

/* --- rules that keep --- */

static void keep(struct run *run, size_t i, const struct rule *rule, size_t policy)
{
    if (run->nodes[i].kept)
        return; /* by a rule that came before */
    run->nodes[i].kept = true;
    run->out[i] = (struct decision){.decided = DECIDED_KEPT, .rule = rule, .policy = policy};
}

/* The highest of the tags that are versions, of those the rule's list is about; SLICE_NONE. */
static struct slice version_of(const struct rule *rule, const struct image *image)
{
    struct slice best = SLICE_NONE;

    for (size_t t = 0; t < image->tag_count; t++) {
        struct slice tag = slice_of(image->tags[t].name);
        bool listed = rule->pattern_count == 0;
        for (size_t p = 0; p < rule->pattern_count && !listed; p++)
            listed = tag_fits(rule, rule->patterns[p], image->tags[t].name);
        if (listed && version_valid(tag) && (best.at == NULL || version_compare(tag, best) > 0))
            best = tag;
    }
    return best;
}

struct versioned {
    struct slice version;
    size_t rank; /* by push: among equal versions the newest push comes first */
    size_t place;
};

static int compare_versions(const void *a, const void *b)
{
    const struct versioned *x = a, *y = b;
    int order = version_compare(y->version, x->version);

    return order != 0 ? order : x->rank < y->rank ? -1 : x->rank > y->rank;
}

static void keep_versions(struct run *run, const struct rule *rule, size_t policy)
{
    OWNED(memory_drop)
    struct versioned *found = memory_new((run->order_count + 1) * sizeof(*found));
    size_t count = 0;

    for (size_t i = 0; i < run->order_count; i++) {
        const struct image *image = &run->images->items[run->order[i]];
        struct slice version = is_about(rule, image) ? version_of(rule, image) : SLICE_NONE;
        if (version.at != NULL)
            found[count++] = (struct versioned){version, i, run->order[i]};
    }
    qsort(found, count, sizeof(*found), compare_versions);
    for (size_t i = 0; i < count && (int64_t)i < rule->number; i++)
        keep(run, found[i].place, rule, policy);
}

static void keep_newest(struct run *run, const struct rule *rule, size_t policy)
{
    int64_t left = rule->number;

    for (size_t i = 0; i < run->order_count && left > 0; i++)
        if (is_about(rule, &run->images->items[run->order[i]])) {
            keep(run, run->order[i], rule, policy);
            left--;
        }
}

/* (3) Followers are kept by what their own tags say. */
static void keep_by(struct run *run, const struct rule *rule, size_t policy)
{
    if (rule->count == RULE_NEWEST && rule->by_version)
        keep_versions(run, rule, policy);
    else if (rule->count == RULE_NEWEST)
        keep_newest(run, rule, policy);
    for (size_t i = 0; i < run->images->count && rule->count == RULE_ALL; i++)
        if (run->nodes[i].role != ROLE_CHILD && is_about(rule, &run->images->items[i]))
            keep(run, i, rule, policy);
}

/* --- what stays whatever rules say --- */

static bool has_protected_tag(const struct image *image)
{
    for (size_t t = 0; t < image->tag_count; t++)
        if (image->tags[t].protected)
            return true;
    return false;
}

/* (4) */
static enum decided stays(const struct images *images, const struct image *image)
{
    if (image->pinned)
        return DECIDED_PINNED;
    if (has_protected_tag(image))
        return DECIDED_PROTECTED;
    if (image->child)
        return DECIDED_LISTED;
    return image->touched_at > images->now - images->grace_us ? DECIDED_RECENT : DECIDED_EXPIRES;
}

static void hold_back(struct run *run)
{
    for (size_t i = 0; i < run->order_count; i++) {
        struct decision *decision = &run->out[run->order[i]];
        if (!decision->expires)
            continue;
        decision->decided = stays(run->images, &run->images->items[run->order[i]]);
        decision->expires = decision->goes = decision->decided == DECIDED_EXPIRES;
    }
}

/* --- what goes with them --- */

static int compare_followers(const void *a, const void *b, void *arg)
{
    const struct node *nodes = arg;
    ssize_t x = nodes[*(const size_t *)a].subject, y = nodes[*(const size_t *)b].subject;

    return x < y ? -1 : x > y;
}

static void relate(struct run *run)
{
    const struct images *images = run->images;
    size_t link = 0;

    for (size_t i = 0; i <= images->count; i++) {
        while (link < images->link_count && images->links[link].parent < i)
            link++;
        run->links[i] = link;
    }
    for (size_t i = 0; i < images->count; i++)
        if (run->nodes[i].subject >= 0)
            run->followers[run->follower_count++] = i;
    if (run->follower_count > 0)
        qsort_r(run->followers, run->follower_count, sizeof(*run->followers), compare_followers,
                run->nodes);
}

static size_t first_follower(const struct run *run, size_t subject)
{
    size_t low = 0, high = run->follower_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (run->nodes[run->followers[middle]].subject < (ssize_t)subject)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* With a tag it has to be removed as its subject is; else the collector does it when nothing holds
 * it any more. True when it goes now. */
static bool let_go(struct run *run, size_t i, const struct decision *with)
{
    const struct image *image = &run->images->items[i];
    const struct node *node = &run->nodes[i];
    struct decision *decision = &run->out[i];

    if (node->role == ROLE_IMAGE || decision->goes || node->kept || node->subject == ASIDE ||
        (node->subject >= 0 && !run->out[node->subject].goes))
        return false;
    if (image->tag_count > 0) {
        enum decided why = stays(run->images, image);
        decision->decided = why == DECIDED_EXPIRES ? DECIDED_FOLLOWER : why;
        decision->expires = why == DECIDED_EXPIRES;
    } else if (node->parents > 0 || image->child_aside || image->pinned) {
        return false;
    }
    decision->goes = decision->expires || image->tag_count == 0;
    decision->rule = with->rule;
    decision->policy = with->policy;
    return decision->goes;
}

/* (5) */
static void spread(struct run *run)
{
    const struct images *images = run->images;
    OWNED(memory_drop) size_t *queue = memory_new((images->count + 1) * sizeof(*queue));
    size_t end = 0;

    for (size_t i = 0; i < images->count; i++)
        if (run->out[i].goes)
            queue[end++] = i;
    for (size_t at = 0; at < end; at++) {
        size_t i = queue[at];
        for (size_t link = run->links[i]; link < run->links[i + 1]; link++) {
            size_t child = images->links[link].child;
            run->nodes[child].parents--;
            if (let_go(run, child, &run->out[i]))
                queue[end++] = child;
        }
        for (size_t f = first_follower(run, i);
             f < run->follower_count && run->nodes[run->followers[f]].subject == (ssize_t)i; f++)
            if (let_go(run, run->followers[f], &run->out[i]))
                queue[end++] = run->followers[f];
    }
}

static void run_rules(struct run *run, const struct decide_policy *policies, size_t count,
                      enum rule_action action)
{
    for (size_t p = 0; p < count; p++)
        for (size_t r = 0; r < policies[p].rules->count; r++) {
            const struct rule *rule = &policies[p].rules->items[r];
            if (rule->action != action)
                continue;
            if (action == RULE_KEEP)
                keep_by(run, rule, p);
            else if (policies[p].expires)
                expire_by(run, rule, p);
        }
}

static void run_drop(struct run *run)
{
    free(run->nodes);
    free(run->order);
    free(run->links);
    free(run->followers);
}

void decide(const struct images *images, const struct decide_policy *policies, size_t count,
            struct decision *out)
{
    size_t room = images->count + 1;
    OWNED(run_drop)
    struct run run = {
        .images = images,
        .nodes = memory_new(room * sizeof(*run.nodes)),
        .order = memory_new(room * sizeof(*run.order)),
        .links = memory_new(room * sizeof(*run.links)),
        .followers = memory_new(room * sizeof(*run.followers)),
        .out = out,
    };

    memset(out, 0, images->count * sizeof(*out));
    classify(&run);
    for (size_t i = 0; i < images->count; i++)
        out[i].decided = run.nodes[i].role == ROLE_CHILD      ? DECIDED_CHILD
                         : run.nodes[i].role == ROLE_FOLLOWER ? DECIDED_FOLLOWER
                                                              : DECIDED_UNMATCHED;
    sort_images(&run);
    run_rules(&run, policies, count, RULE_EXPIRE);
    run_rules(&run, policies, count, RULE_KEEP);
    hold_back(&run);
    relate(&run);
    spread(&run);
}

/* run.c - runs over repositories: what rules choose is removed in small batches.
 * Touches  storage.
 * Never    goes on when it was asked to stop: between batches it looks. */
#include <string.h>

#include "registry/retention/plan.h"
#include "storage/accounts.h"
#include "storage/storage.h"

enum { PAGE_SIZE = 100 };

struct run {
    struct storage *store;
    const struct progress *progress;
    bool dry_run;
    json_t *result, *policies;
};

static void add(json_t *object, const char *name, uint64_t amount)
{
    json_int_t now = json_integer_value(json_object_get(object, name));

    json_object_set_new(object, name, json_integer(now + (json_int_t)amount));
}

/* --- one repository --- */

/* What was left because it had changed counts as pinned from now on: what follows it stays. */
static int remove_batch(const struct run *run, struct slice repository, struct retention *retention,
                        const size_t *chosen, size_t count, uint64_t *removed, struct error *err)
    ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    bool retired[IMAGES_RETIRE_MAX];

    buffer_print(&name, "policy/%s", retention_deciding(retention)->pattern);
    buffer_print(&target, "repository/%.*s", SLICE_ARG(repository));
    const struct actor actor = {.name = buffer_slice(&name)};
    const struct audit_event event = {.actor = buffer_slice(&name),
                                      .action = SLICE("policy.enforce"),
                                      .target = buffer_slice(&target),
                                      .outcome = SLICE("done"),
                                      .remote = SLICE(""),
                                      .request_id = SLICE("")};
    if (images_retire(run->store, repository, &retention->images, chosen, count, &actor, &event,
                      retired, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        *removed += retired[i];
        retention->images.items[chosen[i]].pinned |= !retired[i];
        progress_add(run->progress, retired[i] ? "images_expired" : "images_skipped", 1);
    }
    return 0;
}

/* The images, or what follows them: these wait until it is known which images went. */
static int remove_kind(const struct run *run, struct slice repository, struct retention *retention,
                       bool followers, uint64_t *removed, struct error *err) ON(worker_thread)
{
    size_t chosen[IMAGES_RETIRE_MAX], count = 0;

    for (size_t i = 0; i < retention->images.count && !progress_cancelled(run->progress); i++) {
        const struct decision *decision = &retention->decisions[i];
        if (decision->expires && (decision->decided == DECIDED_FOLLOWER) == followers)
            chosen[count++] = i;
        if (count < IMAGES_RETIRE_MAX && i + 1 < retention->images.count)
            continue;
        if (count > 0 && remove_batch(run, repository, retention, chosen, count, removed, err) < 0)
            return -1;
        count = 0;
    }
    return 0;
}

static int enforce(const struct run *run, struct slice repository, struct retention *retention,
                   uint64_t *removed, struct error *err) ON(worker_thread)
{
    if (remove_kind(run, repository, retention, false, removed, err) < 0)
        return -1;
    retention_decide(retention);
    return remove_kind(run, repository, retention, true, removed, err);
}

/* The row of a policy in the result. */
static json_t *row_of(const struct run *run, const struct policy *policy)
{
    static const char *const modes[] = {"off", "report", "enforce"};
    size_t i;
    json_t *row;

    json_array_foreach(run->policies, i, row) {
        if (json_integer_value(json_object_get(row, "id")) == policy->id)
            return row;
    }
    row = json_object();
    json_object_set_new(row, "id", json_integer(policy->id));
    json_object_set_new(row, "pattern", json_string(policy->pattern));
    json_object_set_new(row, "mode", json_string(modes[policy->mode]));
    json_array_append_new(run->policies, row);
    return row;
}

static const char *const totals[] = {"repositories", "expired", "would_expire", "skipped",
                                     "follows",      "blobs",   "bytes"};

static void count(json_t *object, const struct retention_sums *sums, bool enforced,
                  uint64_t removed, uint64_t skipped)
{
    const uint64_t values[] = {
        1, removed, enforced ? 0 : sums->expires, skipped, sums->follows, sums->blobs, sums->bytes};

    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
        add(object, totals[i], values[i]);
}

static int run_one(struct run *run, struct slice repository, struct error *err) ON(worker_thread)
{
    OWNED(retention_drop) struct retention *retention = NULL;
    uint64_t removed = 0;

    if (retention_open(&retention, run->store, repository, SLICE_NONE, err) < 0) {
        if (err->code != ERROR_NAME_UNKNOWN)
            return -1;
        error_clear(err); /* deleted meanwhile */
        return 0;
    }
    const struct policy *policy = retention_deciding(retention);
    const struct retention_sums sums = retention->sums;
    progress_add(run->progress, "repositories", 1);
    if (policy == NULL)
        return 0;
    bool enforced = !run->dry_run && policy->mode == POLICY_ENFORCE;
    int result =
        enforced && sums.expires > 0 ? enforce(run, repository, retention, &removed, err) : 0;
    uint64_t skipped = enforced && !progress_cancelled(run->progress) ? sums.expires - removed : 0;
    count(run->result, &sums, enforced, removed, skipped);
    count(row_of(run, policy), &sums, enforced, removed, skipped);
    return result;
}

/* --- all of them --- */

/* Patterns of policies that are not off, within the one that is asked for. */
static size_t patterns_of(const struct policies *policies, struct slice within, struct slice *out)
{
    size_t count = 0;

    for (size_t i = 0; i < policies->count; i++) {
        struct slice pattern = slice_of(policies->items[i].pattern);
        if (policies->items[i].mode == POLICY_OFF)
            continue;
        if (within.at == NULL || pattern_within(pattern, within))
            out[count++] = pattern;
        else if (pattern_within(within, pattern))
            out[count++] = within;
    }
    return count;
}

static int run_pages(struct run *run, const struct repository_filter *filter, struct error *err)
    ON(worker_thread)
{
    OWNED(page_drop) struct page page = {.more = true};
    OWNED(memory_drop) char *last = NULL;

    while (page.more && !progress_cancelled(run->progress)) {
        page_drop(&page);
        if (storage_repository_list(run->store, slice_of(last), filter, PAGE_SIZE, &page, err) < 0)
            return -1;
        for (size_t i = 0; i < page.count && !progress_cancelled(run->progress); i++)
            if (run_one(run, slice_of(page.names[i]), err) < 0)
                return -1;
        if (page.count > 0) {
            memory_drop(&last);
            last = memory_text(slice_of(page.names[page.count - 1]));
        }
    }
    return 0;
}

int retention_run_all(struct storage *store, struct slice pattern, bool dry_run,
                      const struct progress *progress, json_t *result, struct error *err)
{
    struct run run = {store, progress, dry_run, result, json_array()};
    OWNED(policies_drop) struct policies policies = {.items = NULL};
    struct slice patterns[POLICIES_MAX];

    assert_worker_thread();
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++)
        add(result, totals[i], 0);
    json_object_set_new(result, "policies", run.policies);
    progress_phase(progress, "policies");
    if (policy_list(store, 0, POLICIES_MAX, &policies, err) < 0)
        return -1;
    const struct repository_filter filter = {
        .patterns = patterns, .pattern_count = patterns_of(&policies, pattern, patterns)};
    return filter.pattern_count == 0 ? 0 : run_pages(&run, &filter, err);
}

/* rebase.c - tagged images move onto a newer base, without building: which, how, and all at once.
 * Touches  storage: rows of who stands on what; blobs, manifests and tags of the result.
 * Never    runs anything; moves a tag that moved on meanwhile; moves one when files of the image
 *          would bring an older base's version back.
 *
 * (1) Images are made and their blobs are stored first, which nobody sees; manifests and tags of
 *     all repositories are one transaction (storage/rebases.h). Whatever ends it before leaves
 *     nothing but blobs without a user, which the collector takes.
 * (2) Who asks is told of repositories that he may push to, and of no other; right before tags move
 *     he is asked for once more. Spec: s2i 15.1 */
#include "s2i/rebase.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "storage/rebases.h"

enum { PAGE = 500, HELD_MAX = 64 * 1024 * 1024 /* bytes that wait to be put */ };

/* An image that was made, and the tags that are to stand for it. */
struct made {
    struct buffer manifest;
    struct publish_put read;
    struct buffer attestations; /* what is to stand beside it */
    struct rebase_tag *tags;
    size_t first, count; /* in `order`; also of tags */
};

struct rebasing {
    struct builds *builds;
    const struct build_rebase *wish;
    struct build_rebased *out;
    struct slice base_repository, base_tag, base_digest; /* of wish->base */
    char *base_name;  /* as annotations have it; NULL: by digest, or of a repository */
    char *base_alias; /* the same with our host before it; NULL: we have none */
    struct rebase_bases bases;
    struct rebase_candidate *found; /* as out->items, and as many */
    size_t *order;                  /* equal images follow each other */
    struct made *made;
    size_t made_count, held;
};

void build_rebased_drop(struct build_rebased *rebased)
{
    for (size_t i = 0; i < rebased->count; i++) {
        free(rebased->items[i].repository);
        free(rebased->items[i].tag);
        s2i_list_drop(&rebased->items[i].conflicts);
    }
    free(rebased->items);
    free(rebased->next);
    *rebased = (struct build_rebased){.items = NULL};
}

static void made_drop(struct made *made)
{
    buffer_drop(&made->manifest);
    publish_put_drop(&made->read);
    buffer_drop(&made->attestations);
    free(made->tags);
}

static void rebasing_drop(struct rebasing *work)
{
    for (size_t i = 0; i < work->out->count && work->found != NULL; i++)
        rebase_candidate_drop(&work->found[i]);
    for (size_t i = 0; i < work->made_count; i++)
        made_drop(&work->made[i]);
    free(work->found);
    free(work->order);
    free(work->made);
    free(work->base_name);
    free(work->base_alias);
    rebase_bases_drop(&work->bases);
}

/* --- which --- */

/* From here on its base is called as we call it. */
static void item_add(struct rebasing *work, struct rebase_candidate *candidate)
{
    struct build_rebased *out = work->out;
    const struct s2i_hosts hosts = builds_hosts(work->builds);
    char *own = memory_text(s2i_name_own(slice_of(candidate->base_name), &hosts));

    free(candidate->base_name);
    candidate->base_name = own;

    out->items = memory_resize(out->items, (out->count + 1) * sizeof(*out->items));
    work->found = memory_resize(work->found, (out->count + 1) * sizeof(*work->found));
    out->items[out->count] =
        (struct build_rebased_image){.repository = memory_text(slice_of(candidate->repository)),
                                     .tag = memory_text(slice_of(candidate->tag)),
                                     .before = candidate->digest,
                                     .outcome = REBASE_CURRENT};
    work->found[out->count++] = *candidate;
    *candidate = (struct rebase_candidate){.tag = NULL};
}

static bool may_push(const struct rebasing *work, struct slice repository) ON(worker_thread)
{
    const struct builds *builds = work->builds;

    return builds->may_push(builds->arg, work->wish->actor, repository);
}

/* What stands on the new base already is no news where a whole registry is asked. */
static bool is_wanted(const struct rebasing *work, const struct rebase_candidate *candidate)
{
    char text[DIGEST_TEXT_MAX];

    digest_text(&candidate->digest, text);
    if (work->wish->digest.at != NULL && !slice_equal_text(work->wish->digest, text))
        return false;
    digest_text(&work->bases.new_base.digest, text);
    return work->wish->repository.at != NULL || strcmp(candidate->base_digest, text) != 0;
}

/* Takes what is wanted of a page, and sets where the next one begins. False: there are enough. */
static bool page_take(struct rebasing *work, struct rebase_candidates *page,
                      struct rebase_query *query) ON(worker_thread)
{
    int64_t asked = 0;
    bool allowed = false;

    for (size_t i = 0; i < page->count; i++) {
        struct rebase_candidate *candidate = &page->items[i];
        if (asked != candidate->repository_id) {
            asked = candidate->repository_id;
            allowed = may_push(work, slice_of(candidate->repository));
        }
        if (allowed && work->out->count == work->wish->limit && is_wanted(work, candidate))
            return false;
        query->after_repository = candidate->repository_id;
        query->after_manifest = allowed ? candidate->manifest_id : INT64_MAX;
        query->after_tag = slice_of(candidate->tag);
        if (allowed && is_wanted(work, candidate))
            item_add(work, candidate);
    }
    return true;
}

static bool is_stopped(const struct rebasing *work)
{
    return work->wish->stopped != NULL && work->wish->stopped(work->wish->arg);
}

static int stopped(struct error *err)
{
    return error_set(err, ERROR_UNAVAILABLE, "the rebase was stopped: nothing has moved");
}

/* Where the page that follows begins, for build_rebase.after. */
static void next_set(struct rebasing *work, const struct rebase_query *query)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    buffer_print(&text, "%lld-%lld-%.*s", (long long)query->after_repository,
                 (long long)query->after_manifest, SLICE_ARG(query->after_tag));
    work->out->next = memory_text(buffer_slice(&text));
}

static int after_read(struct slice after, struct rebase_query *query, struct error *err)
{
    struct slice repository, manifest, rest;
    uint64_t numbers[2];

    if (after.at == NULL)
        return 0;
    if (!slice_split(after, '-', &repository, &rest) ||
        !slice_split(rest, '-', &manifest, &query->after_tag) ||
        !slice_to_u64(repository, &numbers[0]) || !slice_to_u64(manifest, &numbers[1]) ||
        numbers[0] > INT64_MAX || numbers[1] > INT64_MAX)
        return error_set_field(err, "after", "after must be what `next` said");
    query->after_repository = (int64_t)numbers[0];
    query->after_manifest = (int64_t)numbers[1];
    return 0;
}

static struct rebase_query query_of(const struct rebasing *work)
{
    struct rebase_query query = {.limit = PAGE};

    if (work->wish->repository.at != NULL)
        query.repository = work->wish->repository;
    else if (work->base_name != NULL) {
        query.base_name = slice_of(work->base_name);
        query.base_alias = slice_of(work->base_alias);
    } else
        query.base_digest = work->base_digest;
    return query;
}

static int gather(struct rebasing *work, struct error *err) ON(worker_thread)
{
    struct rebase_query query = query_of(work);
    OWNED(memory_drop) char *tag = NULL; /* after_tag, past the page it came with */

    if (after_read(work->wish->after, &query, err) < 0)
        return -1;
    for (;;) {
        OWNED(rebase_candidates_drop) struct rebase_candidates page = {.items = NULL};
        if (is_stopped(work))
            return stopped(err);
        if (rebase_candidate_list(work->builds->storage, &query, &page, err) < 0)
            return -1;
        bool all = page_take(work, &page, &query);
        if (!all)
            next_set(work, &query);
        if (!all || !page.more)
            return 0;
        char *last = memory_text(query.after_tag);
        free(tag);
        tag = last;
        query.after_tag = slice_of(tag);
    }
}

static int gather_one(struct rebasing *work, struct error *err) ON(worker_thread)
{
    OWNED(rebase_candidate_drop) struct rebase_candidate candidate = {.tag = NULL};

    if (rebase_candidate_find(work->builds->storage, work->wish->repository, work->wish->tag,
                              &candidate, err) < 0)
        return -1;
    if (may_push(work, work->wish->repository) && is_wanted(work, &candidate))
        item_add(work, &candidate);
    return 0;
}

/* Images of one base follow each other, and of these equal ones: each is read once. */
static int compare(const void *a, const void *b, void *arg)
{
    const struct rebasing *work = arg;
    const struct rebase_candidate *one = &work->found[*(const size_t *)a];
    const struct rebase_candidate *other = &work->found[*(const size_t *)b];
    int order = strcmp(one->base_name, other->base_name);

    if (order == 0)
        order = strcmp(one->base_digest, other->base_digest);
    if (order == 0)
        order = memcmp(one->digest.bytes, other->digest.bytes, sizeof(one->digest.bytes));
    if (order == 0 && one->repository_id != other->repository_id)
        order = one->repository_id < other->repository_id ? -1 : 1;
    return order != 0 ? order : strcmp(one->tag, other->tag);
}

static void sort(struct rebasing *work)
{
    work->order = memory_new((work->out->count + 1) * sizeof(*work->order));
    work->made = memory_new((work->out->count + 1) * sizeof(*work->made));
    for (size_t i = 0; i < work->out->count; i++)
        work->order[i] = i;
    if (work->out->count > 1)
        qsort_r(work->order, work->out->count, sizeof(*work->order), compare, work);
}

/* --- one image, and the tags that stand for it --- */

static struct build_rebased_image *item_at(const struct rebasing *work, size_t place)
{
    return &work->out->items[work->order[place]];
}

static struct rebase_candidate *found_at(const struct rebasing *work, size_t place)
{
    return &work->found[work->order[place]];
}

static bool same_image(const struct rebasing *work, size_t one, size_t other)
{
    return digest_equal(&found_at(work, one)->digest, &found_at(work, other)->digest);
}

/* How many places from this one on are of one image in one repository. */
static size_t group_size(const struct rebasing *work, size_t first)
{
    size_t count = 1;

    while (first + count < work->out->count && same_image(work, first, first + count) &&
           found_at(work, first)->repository_id == found_at(work, first + count)->repository_id)
        count++;
    return count;
}

static void refuse(struct build_rebased_image *item, const struct rebase_made *made,
                   const char *message)
{
    item->outcome = REBASE_REFUSED;
    snprintf(item->message, sizeof(item->message), "%s", message);
    for (size_t i = 0; made != NULL && i < made->conflicts.count; i++)
        s2i_list_add(&item->conflicts, slice_of(made->conflicts.items[i]));
}

/* "repository@digest" of what the image stands on, and the new base for it. */
static int bases_find(struct rebasing *work, const struct rebase_candidate *image,
                      struct buffer *old, struct error *err) ON(worker_thread)
{
    struct slice name = slice_of(image->base_name), repository, tag, named;
    bool by_name = work->wish->repository.at != NULL;

    if (image->base_digest[0] == 0 ||
        (by_name && !s2i_reference_parse(name, &repository, &tag, &named)))
        return error_set(err, ERROR_CONFLICT, "the image does not say what it stands on");
    buffer_print(old, "%.*s@%s", SLICE_ARG(by_name ? repository : work->base_repository),
                 image->base_digest);
    if (by_name && work->wish->base.at == NULL)
        return rebase_onto(&work->bases, name, err);
    return 0; /* it is known already */
}

static bool is_current(const struct rebasing *work, const struct rebase_candidate *image)
{
    char text[DIGEST_TEXT_MAX];

    return strcmp(image->base_digest, digest_text(&work->bases.new_base.digest, text)) == 0;
}

/* The blobs come first: (1). */
static int blobs_publish(const struct rebasing *work, struct slice repository,
                         const struct rebase_made *made, struct error *err) ON(worker_thread)
{
    const struct publisher publisher = {
        .builds = work->builds, .repository = repository, .actor = *work->wish->actor};

    if (work->wish->dry_run)
        return 0;
    if (publish_layers(&publisher, &work->bases.new_base, err) < 0)
        return -1;
    return publish_blob(&publisher, buffer_slice(&made->result.config), &made->result.config_digest,
                        err);
}

/* Waits to be put with the others. */
static int keep(struct rebasing *work, const struct rebase_made *made, size_t first, size_t count,
                struct error *err) ON(worker_thread)
{
    struct slice manifest = buffer_slice(&made->result.manifest);
    struct made *kept = &work->made[work->made_count];

    if (work->held + manifest.size > HELD_MAX)
        return error_set(err, ERROR_CONFLICT, "this is too much at once: ask again for the rest");
    *kept = (struct made){.first = first, .count = count};
    buffer_append_slice(&kept->manifest, manifest);
    kept->tags = memory_new(count * sizeof(*kept->tags));
    for (size_t i = 0; i < count; i++)
        kept->tags[i].name = slice_of(item_at(work, first + i)->tag);
    if (publish_put_read(buffer_slice(&kept->manifest), SLICE_NONE, &kept->read, err) < 0) {
        made_drop(kept);
        return -1;
    }
    work->held += manifest.size;
    work->made_count++;
    if (!work->wish->dry_run)
        rebase_attest(&work->bases, made, slice_of(found_at(work, first)->repository),
                      kept->read.document.media_type, &kept->attestations);
    work->held += kept->attestations.size;
    return 0;
}

/* A tag that cannot move costs no reading. */
static bool all_immutable(const struct rebasing *work, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!found_at(work, first + i)->immutable)
            return false;
    return true;
}

static void keep_immutable(const struct rebasing *work, size_t first, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct build_rebased_image *item = item_at(work, first + i);
        item->outcome = REBASE_KEPT;
        snprintf(item->message, sizeof(item->message),
                 "tag %.100s is immutable: it stays where it is", item->tag);
    }
}

static int group_refuse(const struct rebasing *work, size_t first, size_t count,
                        const struct rebase_made *made, struct error *err)
{
    if (error_code_status(err->code) >= 500)
        return -1;
    for (size_t i = 0; i < count; i++)
        refuse(item_at(work, first + i), made, err->message);
    error_clear(err);
    return 0;
}

/* Made, and kept for all tags of the group. made: of the group before, when that was of the same
 * image. */
static int group_make(struct rebasing *work, size_t first, size_t count, struct slice old,
                      struct rebase_made *made, struct error *err) ON(worker_thread)
{
    const struct rebase_candidate *image = found_at(work, first);

    if (first == 0 || !same_image(work, first - 1, first) || made->result.manifest.size == 0) {
        rebase_made_drop(made);
        *made = (struct rebase_made){.conflicts = {NULL, 0}};
        if (rebase_image_make(&work->bases, slice_of(image->repository), &image->digest, old, made,
                              err) < 0)
            return -1;
    }
    if (blobs_publish(work, slice_of(image->repository), made, err) < 0)
        return -1;
    return keep(work, made, first, count, err);
}

/* What cannot be done costs no reading. */
static int group_rebase(struct rebasing *work, size_t first, size_t count, struct rebase_made *made,
                        struct error *err) ON(worker_thread)
{
    const struct rebase_candidate *image = found_at(work, first);
    OWNED(buffer_drop) struct buffer old = BUFFER_NONE;

    if (bases_find(work, image, &old, err) < 0)
        return group_refuse(work, first, count, NULL, err);
    if (is_current(work, image))
        return 0;
    if (all_immutable(work, first, count)) {
        keep_immutable(work, first, count);
        return 0;
    }
    if (group_make(work, first, count, buffer_slice(&old), made, err) < 0)
        return group_refuse(work, first, count, made, err);
    return 0;
}

static int make_all(struct rebasing *work, struct error *err) ON(worker_thread)
{
    OWNED(rebase_made_drop) struct rebase_made made = {.conflicts = {NULL, 0}};
    size_t first = 0;

    while (first < work->out->count) {
        size_t count = group_size(work, first);
        if (is_stopped(work))
            return stopped(err);
        if (group_rebase(work, first, count, &made, err) < 0)
            return -1;
        first += count;
    }
    return 0;
}

/* --- all at once --- */

static void outcome_take(const struct rebasing *work, const struct made *made)
{
    static const int outcomes[] = {[REBASE_MOVE_DONE] = REBASE_DONE,
                                   [REBASE_MOVE_ELSEWHERE] = REBASE_MOVED,
                                   [REBASE_MOVE_KEPT] = REBASE_KEPT,
                                   [REBASE_MOVE_LOST] = REBASE_MOVED};

    for (size_t i = 0; i < made->count; i++) {
        struct build_rebased_image *item = item_at(work, made->first + i);
        item->outcome = outcomes[made->tags[i].outcome];
        snprintf(item->message, sizeof(item->message), "%s", made->tags[i].why);
        if (item->outcome == REBASE_DONE)
            item->after = made->read.put.digest;
    }
}

/* Layers of many images take their time: rights that were taken back meanwhile count. */
static void refuse_forbidden(struct rebasing *work) ON(worker_thread)
{
    size_t kept = 0;

    for (size_t i = 0; i < work->made_count; i++) {
        struct made *made = &work->made[i];
        if (may_push(work, slice_of(found_at(work, made->first)->repository))) {
            work->made[kept++] = *made;
            continue;
        }
        for (size_t j = 0; j < made->count; j++)
            refuse(item_at(work, made->first + j), NULL, "you may not push there any more");
        made_drop(made);
    }
    work->made_count = kept;
}

static int apply_all(struct rebasing *work, struct error *err) ON(worker_thread)
{
    const struct build_rebase *wish = work->wish;
    const struct rebase_new rebase = {.base = wish->base.at != NULL ? wish->base : SLICE(""),
                                      .actor = wish->actor,
                                      .event = wish->event,
                                      .dry_run = wish->dry_run};
    OWNED(memory_drop)
    struct rebase_image *images = memory_new((work->made_count + 1) * sizeof(*images));

    refuse_forbidden(work);
    for (size_t i = 0; i < work->made_count; i++) {
        const struct rebase_candidate *image = found_at(work, work->made[i].first);
        images[i] =
            (struct rebase_image){.repository = slice_of(image->repository),
                                  .before = image->digest,
                                  .put = &work->made[i].read.put,
                                  .tags = work->made[i].tags,
                                  .tag_count = work->made[i].count,
                                  .attestations = buffer_slice(&work->made[i].attestations)};
    }
    if (is_stopped(work))
        return stopped(err);
    if (rebase_apply(work->builds->storage, &rebase, images, work->made_count, &work->out->id,
                     &work->out->until, err) < 0)
        return -1;
    for (size_t i = 0; i < work->made_count; i++)
        outcome_take(work, &work->made[i]);
    if (!wish->dry_run && work->made_count > 0)
        attester_look(work->builds->attester);
    return 0;
}

/* --- what is asked --- */

/* wish->base without a repository: the name images have of it, or their base's digest. */
static int base_parse(struct rebasing *work, struct error *err)
{
    const struct slice host = builds_hosts(work->builds).items[0];
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;

    if (!s2i_reference_parse(work->wish->base, &work->base_repository, &work->base_tag,
                             &work->base_digest))
        return error_set_field(err, "base", "base must name an image of this registry");
    if (work->base_digest.size > 0)
        return work->wish->onto.at != NULL
                   ? 0
                   : error_set_field(err, "onto", "with a digest, onto must name the new base");
    buffer_print(&name, "%.*s:%.*s", SLICE_ARG(work->base_repository),
                 SLICE_ARG(work->base_tag.size > 0 ? work->base_tag : SLICE("latest")));
    work->base_name = memory_text(buffer_slice(&name));
    if (host.size > 0)
        work->base_alias = memory_print("%.*s/%s", SLICE_ARG(host), work->base_name);
    return 0;
}

static int wish_read(struct rebasing *work, struct error *err) ON(worker_thread)
{
    const struct build_rebase *wish = work->wish;
    struct slice repository, tag, digest;

    if (wish->repository.at == NULL && base_parse(work, err) < 0)
        return -1;
    struct slice onto =
        wish->repository.at != NULL || wish->onto.at == NULL ? wish->base : wish->onto;
    if (onto.at == NULL)
        return 0;
    if (!s2i_reference_parse(onto, &repository, &tag, &digest))
        return error_set_field(err, "onto", "onto must name an image of this registry");
    return rebase_onto(&work->bases, onto, err);
}

int rebase_check(struct builds *builds, const struct build_rebase *wish, struct error *err)
{
    struct build_rebased none = {.items = NULL};
    OWNED(rebase_candidate_drop) struct rebase_candidate tag = {.tag = NULL};
    OWNED(rebasing_drop)
    struct rebasing work = {.builds = builds,
                            .wish = wish,
                            .out = &none,
                            .bases = {.builds = builds, .actor = wish->actor}};
    struct rebase_query query = {.limit = 0};

    if (wish_read(&work, err) < 0 || after_read(wish->after, &query, err) < 0)
        return -1;
    if (wish->tag.at == NULL)
        return 0;
    return rebase_candidate_find(builds->storage, wish->repository, wish->tag, &tag, err);
}

int builds_rebase(struct builds *builds, const struct build_rebase *wish, struct build_rebased *out,
                  struct error *err)
{
    OWNED(rebasing_drop)
    struct rebasing work = {
        .builds = builds,
        .wish = wish,
        .out = out,
        .bases = {.builds = builds, .actor = wish->actor, .began_at = clock_now_us()}};

    *out = (struct build_rebased){.dry_run = wish->dry_run};
    if (wish_read(&work, err) < 0 ||
        (wish->tag.at != NULL ? gather_one(&work, err) : gather(&work, err)) < 0)
        return -1;
    sort(&work);
    return make_all(&work, err) < 0 ? -1 : apply_all(&work, err);
}

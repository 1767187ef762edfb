/* manifest.c - manifests, tags, referrers: the database's answer, and what memory keeps of it.
 * Touches  the database through meta.h, the cache.
 * Never    looks inside a manifest.
 *
 * (1) A change is invisible in memory before its caller is answered: the writer forgets what it
 *     changed after COMMIT.
 * (2) A read fills memory only with what was still true when it filled: the stamp is taken before
 *     the snapshot. */
#include "storage/meta.h"
#include "storage/pulls.h"
#include "storage/storage_internal.h"

#include <stdlib.h>

void missing_drop(struct missing *missing)
{
    free(missing->digests);
    *missing = (struct missing){.digests = NULL};
}

static struct cache_key key_of(struct slice repository, const struct manifest_reference *reference)
{
    if (reference->tag.at != NULL)
        return cache_key_tag(repository, reference->tag);
    return cache_key_manifest(repository, &reference->digest);
}

int storage_manifest_get(struct storage *store, struct slice repository,
                         const struct manifest_reference *reference, bool may_push,
                         const struct manifest **out, struct error *err)
{
    const struct cache_key key = key_of(repository, reference);
    struct cache_stamp stamp = cache_stamp(store->cache, &key);
    int64_t lease_until = 0;

    if (meta_manifest_find(store->meta, repository, reference, may_push, out, &lease_until, err) <
        0)
        return -1;
    cache_fill_manifest(store->cache, &key, stamp, *out, (uint64_t)lease_until);
    return 0;
}

void storage_pull_count(struct storage *store, struct slice repository,
                        const struct manifest_reference *reference, const struct manifest *pulled,
                        enum pull_kind kind)
{
    pulls_count(store->pulls, repository, reference->tag, &pulled->digest, kind);
}

/* What a change makes memory forget. */
struct forget {
    struct cache *cache;
    struct slice repository;
    const struct manifest_put *put;
    bool retyped;
};

static void forget_put(void *arg)
{
    const struct forget *forget = arg;
    const struct manifest_put *put = forget->put;
    const struct cache_key key = cache_key_manifest(forget->repository, &put->digest);

    if (forget->retyped) {
        cache_invalidate_repository(forget->cache, forget->repository);
        return;
    }
    cache_invalidate(forget->cache, &key);
    for (size_t i = 0; i < put->tag_count; i++) {
        const struct cache_key tag = cache_key_tag(forget->repository, put->tags[i]);
        cache_invalidate(forget->cache, &tag);
    }
}

int storage_manifest_put(struct storage *store, struct slice repository,
                         const struct manifest_put *put, struct missing *missing, struct error *err)
{
    struct forget forget = {store->cache, repository, put, false};
    const struct meta_after after = {forget_put, &forget};

    return meta_manifest_put(store->meta, repository, put, missing, &forget.retyped, &after, err);
}

struct forget_reference {
    struct cache *cache;
    struct slice repository;
    const struct manifest_reference *reference;
};

/* With a manifest all its tags go: which they were only the database knew. */
static void forget_reference(void *arg)
{
    const struct forget_reference *forget = arg;
    const struct cache_key key = key_of(forget->repository, forget->reference);

    if (forget->reference->tag.at != NULL)
        cache_invalidate(forget->cache, &key);
    else
        cache_invalidate_repository(forget->cache, forget->repository);
}

int storage_manifest_delete(struct storage *store, struct slice repository,
                            const struct manifest_reference *reference, const struct actor *actor,
                            struct error *err)
{
    struct forget_reference forget = {store->cache, repository, reference};
    const struct meta_after after = {forget_reference, &forget};

    return meta_manifest_delete(store->meta, repository, reference, actor, &after, err);
}

int storage_tag_list(struct storage *store, struct slice repository, struct slice last,
                     size_t limit, struct page *out, struct error *err)
{
    return meta_tag_list(store->meta, repository, last, limit, out, err);
}

int storage_repository_list(struct storage *store, struct slice last,
                            const struct repository_filter *filter, size_t limit, struct page *out,
                            struct error *err)
{
    return meta_repository_list(store->meta, last, filter, limit, out, err);
}

int storage_referrer_list(struct storage *store, struct slice repository,
                          const struct digest *subject, struct slice artifact_type, uint64_t cursor,
                          uint64_t size_max, struct referrers *out, struct error *err)
{
    return meta_referrer_list(store->meta, repository, subject, artifact_type, cursor, size_max,
                              out, err);
}

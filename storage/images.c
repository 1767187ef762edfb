/* images.c - what a repository holds, and the end of what rules chose of it.
 * Touches  storage: pull counts are written before they are relied on; memory forgets what went.
 * Never    decides what goes. */
#include "storage/images.h"

#include "storage/meta_retention.h"
#include "storage/pulls.h"
#include "storage/storage_internal.h"

int images_load(struct storage *store, struct slice repository, struct images *out,
                struct error *err)
{
    assert_worker_thread();
    if (pulls_flush(store->pulls, err) < 0)
        return -1;
    return meta_images_load(store->meta, repository, out, err);
}

int images_freed(struct storage *store, const struct images *images, const size_t *chosen,
                 size_t count, struct images_freed *out, struct error *err)
{
    assert_worker_thread();
    return meta_images_freed(store->meta, images, chosen, count, out, err);
}

struct forget {
    struct cache *cache;
    struct slice repository;
};

static void forget(void *arg)
{
    const struct forget *forget = arg;

    cache_invalidate_repository(forget->cache, forget->repository);
}

int images_retire(struct storage *store, struct slice repository, const struct images *images,
                  const size_t *chosen, size_t count, const struct actor *actor,
                  const struct audit_event *event, bool *retired, struct error *err)
{
    struct forget with = {store->cache, repository};
    const struct meta_after after = {forget, &with};

    assert_worker_thread();
    if (pulls_flush(store->pulls, err) < 0)
        return -1;
    return meta_images_retire(store->meta, repository, images, chosen, count, actor, event, &after,
                              retired, err);
}

/* adopt_tag.c - tags that were elsewhere, some in each transaction; see adopt.h.
 * Touches  the database through meta_adopt.h, the cache.
 * Never    a manifest. */
#include "storage/adopt.h"
#include "storage/meta_adopt.h"
#include "storage/storage_internal.h"

enum { MOVES_MAX = 64 }; /* of all tags of one transaction, unless one has more */

/* What memory forgets after COMMIT. */
struct forget {
    struct cache *cache;
    struct slice repository;
    const struct adopt_tag *tags;
    size_t count;
};

static void forget_tags(void *arg)
{
    const struct forget *forget = arg;

    for (size_t i = 0; i < forget->count; i++) {
        const struct cache_key key = cache_key_tag(forget->repository, forget->tags[i].name);
        cache_invalidate(forget->cache, &key);
    }
}

/* As many as have few moves together: one of them may have thousands. */
static size_t tags_size(const struct adopt_tag *tags, size_t count)
{
    size_t moves = 0, taken = 0;

    while (taken < count && (taken == 0 || moves + tags[taken].past_count <= MOVES_MAX))
        moves += tags[taken++].past_count;
    return taken;
}

int storage_adopt_tags(struct storage *store, struct slice repository, struct adopt_tag *tags,
                       size_t count, bool overwrite, const struct actor *actor, struct error *err)
{
    assert_worker_thread();
    for (size_t at = 0; at < count;) {
        size_t taken = tags_size(tags + at, count - at);
        struct forget forget = {store->cache, repository, tags + at, taken};
        const struct meta_after after = {forget_tags, &forget};
        if (meta_adopt_tags(store->meta, repository, tags + at, taken, overwrite, actor, &after,
                            err) < 0)
            return -1;
        at += taken;
    }
    return 0;
}

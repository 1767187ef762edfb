/* rebases.c - tags of many repositories move: the database's answer, and what memory forgets.
 * Touches  the database through meta_rebase.h, the cache.
 * Never    SQL. As manifest.c (1). */
#include <stdlib.h>

#include "storage/meta_rebase.h"

static void forget_tag(struct storage *store, struct slice repository, struct slice tag)
{
    const struct cache_key key = cache_key_tag(repository, tag);

    cache_invalidate(store->cache, &key);
}

struct forget_images {
    struct storage *store;
    const struct rebase_image *images;
    size_t count;
    bool *retyped;
};

static void forget_images(void *arg)
{
    const struct forget_images *with = arg;

    for (size_t i = 0; i < with->count; i++) {
        const struct rebase_image *image = &with->images[i];
        const struct cache_key key = cache_key_manifest(image->repository, &image->put->digest);
        if (with->retyped[i])
            cache_invalidate_repository(with->store->cache, image->repository);
        cache_invalidate(with->store->cache, &key);
        for (size_t j = 0; j < image->tag_count; j++)
            forget_tag(with->store, image->repository, image->tags[j].name);
    }
}

int rebase_apply(struct storage *store, const struct rebase_new *rebase,
                 struct rebase_image *images, size_t count, int64_t *id, int64_t *until,
                 struct error *err)
{
    OWNED(memory_drop) bool *retyped = memory_new((count + 1) * sizeof(*retyped));
    struct forget_images with = {store, images, count, retyped};
    const struct meta_after after = {forget_images, &with};

    return meta_rebase_apply(store->meta, rebase, images, count, retyped, id, until, &after, err);
}

struct forget_moves {
    struct storage *store;
    const struct rebase_record *record;
};

/* A manifest that came back may have brought others with it. */
static void forget_moves(void *arg)
{
    const struct forget_moves *with = arg;

    for (size_t i = 0; i < with->record->count; i++)
        cache_invalidate_repository(with->store->cache,
                                    slice_of(with->record->moves[i].repository));
}

int rebase_take_back(struct storage *store, int64_t id, const struct rebase_undo *undo,
                     struct rebase_record *out, struct error *err)
{
    struct forget_moves with = {store, out};
    const struct meta_after after = {forget_moves, &with};

    return meta_rebase_undo(store->meta, id, undo, out, &after, err);
}

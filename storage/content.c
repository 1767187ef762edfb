/* content.c - what people do with tags, manifests and repositories: the database's answer, and what
 * memory forgets after it.
 * Touches  the database through meta_content.h, the cache, upload sessions of a repository.
 * Never    SQL.
 *
 * (1) A change is invisible in memory before its caller is answered, as in manifest.c. */
#include "storage/content.h"

#include "storage/meta_content.h"
#include "storage/storage_internal.h"

/* --- forgetting, after COMMIT --- */

struct forget {
    struct storage *store;
    struct slice repository;
    struct slice tag; /* SLICE_NONE: all of the repository */
};

static void forget(void *arg)
{
    const struct forget *with = arg;

    if (with->tag.at == NULL) {
        cache_invalidate_repository(with->store->cache, with->repository);
        return;
    }
    const struct cache_key key = cache_key_tag(with->repository, with->tag);
    cache_invalidate(with->store->cache, &key);
}

/* The name stands for another repository, or none: also who may see it changes. */
static void forget_name(void *arg)
{
    const struct forget *with = arg;

    forget(arg);
    accounts_changed(with->store);
}

/* --- tags --- */

int content_tag_list(struct storage *store, struct slice repository, struct slice after,
                     struct slice search, size_t limit, struct content_tag_page *out,
                     struct error *err)
{
    return meta_tag_details(store->meta, repository, after, search, limit, out, err);
}

int content_tag_find(struct storage *store, struct slice repository, struct slice tag,
                     struct content_tag *out, struct error *err)
{
    return meta_tag_detail(store->meta, repository, tag, out, err);
}

int content_tag_set(struct storage *store, struct slice repository,
                    const struct content_tag_set *set, const struct content_change *change,
                    bool *created, struct error *err)
{
    struct forget with = {store, repository, set->tag};
    const struct meta_after after = {forget, &with};

    return meta_tag_set(store->meta, repository, set, change, created, &after, err);
}

int content_tag_protect(struct storage *store, struct slice repository, struct slice tag,
                        unsigned mask, unsigned bits, const struct content_change *change,
                        struct error *err)
{
    return meta_tag_protect(store->meta, repository, tag, mask, bits, change, err);
}

int content_tags_delete(struct storage *store, struct slice repository,
                        const struct content_tags_delete *what, const struct content_change *change,
                        uint64_t *deleted, struct error *err)
{
    bool one = what->glob.at == NULL && what->count == 1;
    struct forget with = {store, repository, one ? what->tags[0] : SLICE_NONE};
    const struct meta_after after = {forget, &with};

    return meta_tags_delete(store->meta, repository, what, change, deleted, &after, err);
}

int content_deleted_tag_list(struct storage *store, struct slice repository, struct slice after,
                             int64_t after_id, size_t limit, struct content_deleted_tag_page *out,
                             struct error *err)
{
    return meta_deleted_tags(store->meta, repository, after, after_id, limit, out, err);
}

int content_tag_restore(struct storage *store, struct slice repository, struct slice tag,
                        const struct digest *digest, bool force,
                        const struct content_change *change, struct error *err)
{
    struct forget with = {store, repository, SLICE_NONE};
    const struct meta_after after = {forget, &with};

    return meta_tag_restore(store->meta, repository, tag, digest, force, change, &after, err);
}

int content_history_list(struct storage *store, struct slice repository, struct slice tag,
                         int64_t before, size_t limit, struct content_history *out,
                         struct error *err)
{
    return meta_history_list(store->meta, repository, tag, before, limit, out, err);
}

/* --- manifests, pins, rules --- */

int content_manifest_list(struct storage *store, struct slice repository,
                          enum content_manifests which, int64_t before, size_t limit,
                          struct content_manifest_page *out, struct error *err)
{
    return meta_manifest_list(store->meta, repository, which, before, limit, out, err);
}

int content_manifest_find(struct storage *store, struct slice repository,
                          const struct digest *digest, struct content_manifest *out,
                          struct content_family *family, struct error *err)
{
    return meta_manifest_detail(store->meta, repository, digest, out, family, err);
}

int content_manifest_delete(struct storage *store, struct slice repository,
                            const struct digest *digest, const struct content_change *change,
                            uint64_t *tags, struct error *err)
{
    struct forget with = {store, repository, SLICE_NONE};
    const struct meta_after after = {forget, &with};

    return meta_manifest_end(store->meta, repository, digest, change, tags, &after, err);
}

int content_manifest_restore(struct storage *store, struct slice repository,
                             const struct digest *digest, bool tags,
                             const struct content_change *change, struct error *err)
{
    struct forget with = {store, repository, SLICE_NONE};
    const struct meta_after after = {forget, &with};

    return meta_manifest_restore(store->meta, repository, digest, tags, change, &after, err);
}

int content_pin_list(struct storage *store, struct slice repository, struct slice after,
                     size_t limit, struct content_pin_page *out, struct error *err)
{
    return meta_pin_list(store->meta, repository, after, limit, out, err);
}

int content_pin_find(struct storage *store, struct slice repository, struct slice name,
                     struct content_pin *out, struct error *err)
{
    return meta_pin_find(store->meta, repository, name, out, err);
}

int content_pins_own(struct storage *store, struct slice prefix, struct content_pins *out,
                     struct error *err)
{
    return meta_pins_own(store->meta, prefix, out, err);
}

int content_pin_put(struct storage *store, struct slice repository, struct slice name,
                    const struct manifest_reference *reference, int64_t until,
                    const struct content_change *change, bool *created, struct error *err)
{
    return meta_pin_put(store->meta, repository, name, reference, until, change, created, err);
}

int content_pin_delete(struct storage *store, struct slice repository, struct slice name,
                       const struct content_change *change, struct error *err)
{
    return meta_pin_delete(store->meta, repository, name, change, err);
}

int content_rule_list(struct storage *store, struct content_rules *out, struct error *err)
{
    return meta_rule_list(store->meta, out, err);
}

int content_rule_find(struct storage *store, int64_t id, struct content_rule *out,
                      struct error *err)
{
    return meta_rule_find(store->meta, id, out, err);
}

int content_rule_add(struct storage *store, struct slice pattern, struct slice tags, unsigned bits,
                     const struct content_change *change, struct content_rule *out,
                     struct error *err)
{
    return meta_rule_add(store->meta, pattern, tags, bits, change, out, err);
}

int content_rule_update(struct storage *store, int64_t id, unsigned bits,
                        const struct content_change *change, struct content_rule *out,
                        struct error *err)
{
    return meta_rule_update(store->meta, id, bits, change, out, err);
}

int content_rule_delete(struct storage *store, int64_t id, const struct content_change *change,
                        struct error *err)
{
    return meta_rule_delete(store->meta, id, change, err);
}

/* --- repositories --- */

int content_repository_delete(struct storage *store, struct slice repository,
                              const struct content_change *change,
                              struct content_repository_size *out, struct error *err)
{
    struct forget with = {store, repository, SLICE_NONE};
    const struct meta_after after = {forget_name, &with};
    OWNED(page_drop) struct page uploads = {.names = NULL};

    if (meta_repository_delete(store->meta, repository, change, out, &uploads, &after, err) < 0)
        return -1;
    for (size_t i = 0; i < uploads.count; i++)
        upload_table_forget(store->uploads, uploads.names[i]);
    return 0;
}

int content_deleted_repository_list(struct storage *store, struct slice after, int64_t after_id,
                                    size_t limit, struct content_deleted_repository_page *out,
                                    struct error *err)
{
    return meta_deleted_repositories(store->meta, after, after_id, limit, out, err);
}

int content_repository_restore(struct storage *store, struct slice repository, int64_t id,
                               const struct content_change *change, struct error *err)
{
    struct forget with = {store, repository, SLICE_NONE};
    const struct meta_after after = {forget_name, &with};

    return meta_repository_restore(store->meta, repository, id, change, &after, err);
}

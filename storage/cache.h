/* cache.h - what memory may answer: manifests by tag and by digest, blob presence.
 * Touches  memory.
 * Never    the database; negative answers.
 *
 * (1) Exact on one process. A reader takes a stamp before its database snapshot and fills with it;
 * a writer invalidates after COMMIT and before it answers. A fill whose stamp was overtaken does
 *     nothing. So what a caller was told after a change, memory never contradicts.
 * (2) Memory answers a caller who may push only while the lease it implies lasts (P4).
 *
 * Any thread; a call holds one short mutex and allocates only in the fills. */
#ifndef SLIPWAY_STORAGE_CACHE_H
#define SLIPWAY_STORAGE_CACHE_H

#include "storage/storage.h"

/* A manifest with one reference, one allocation: payload and media type are copied. Released with
 * storage_manifest_release. */
const struct manifest *manifest_new(const struct digest *digest, struct slice media_type,
                                    struct slice payload);
/* One more reference; returns the same manifest. */
const struct manifest *manifest_share(const struct manifest *manifest);

struct cache;

enum cache_kind { CACHE_TAG, CACHE_MANIFEST, CACHE_BLOB };

/* Borrows what it names: lives as long as the caller's slice and digest. */
struct cache_key {
    enum cache_kind kind;
    struct slice repository;
    struct slice name; /* a tag, or a struct digest's own bytes */
};

struct cache_key cache_key_tag(struct slice repository, struct slice tag);
struct cache_key cache_key_manifest(struct slice repository, const struct digest *digest);
struct cache_key cache_key_blob(struct slice repository, const struct digest *digest);

/* What had been invalidated when it was taken. */
struct cache_stamp {
    uint64_t entry;
    uint64_t repository;
};

/* size_bytes: of everything kept, overhead included; 0 keeps nothing. */
struct cache *cache_open(uint64_t size_bytes);
/* Accepts NULL. Manifests handed out live on. */
void cache_close(struct cache *cache);

struct cache_stamp cache_stamp(struct cache *cache, const struct cache_key *key);
/* lease_until_us: CLOCK_REALTIME time until which memory may answer a caller who may push (the time
 * of the last touch + grace/2). The manifest is shared, not consumed. */
void cache_fill_manifest(struct cache *cache, const struct cache_key *key, struct cache_stamp stamp,
                         const struct manifest *manifest, uint64_t lease_until_us);
void cache_fill_blob(struct cache *cache, const struct cache_key *key, struct cache_stamp stamp,
                     uint64_t size, uint64_t lease_until_us);

/* now_us: the time for a caller who may push, 0 for others. False says nothing.
 * *out has a reference of the caller's own. */
bool cache_get_manifest(struct cache *cache, const struct cache_key *key, uint64_t now_us,
                        const struct manifest **out);
bool cache_get_blob(struct cache *cache, const struct cache_key *key, uint64_t now_us,
                    uint64_t *size);

/* After COMMIT, before the answer. */
void cache_invalidate(struct cache *cache, const struct cache_key *key);
/* The same for everything of one repository: a manifest went with all its tags. */
void cache_invalidate_repository(struct cache *cache, struct slice repository);
/* The same for everything: a blob was found damaged. */
void cache_invalidate_all(struct cache *cache);

#endif

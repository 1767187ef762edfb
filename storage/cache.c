/* cache.c - what memory may answer: manifests by tag and by digest, blob presence.
 * Touches  memory.
 * Never    the database; negative answers.
 *
 * Entries live in shards, each a hash table and a list in order of use under one mutex. Two kinds
 * of counters keep fills exact, cache (1): each shard has a row of them that keys are hashed onto,
 * and one row serves the repositories. A collision costs a fill or an entry, never exactness. */
#include "storage/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHARDS = 16,
    SHARD_COUNTERS = 256,
    REPOSITORY_COUNTERS = 1024,
    BUCKETS_FIRST = 64,
    ENTRY_SHARE = 4,       /* an entry above this part of its shard is not kept */
    ALLOCATION_EXTRA = 16, /* what malloc keeps beside each block */
};

/* One block: counter, manifest, media type and payload. Immutable but for the counter. */
struct manifest_block {
    _Atomic uint32_t references;
    struct manifest manifest;
    char bytes[];
};

struct entry {
    struct entry *next; /* in its bucket */
    struct entry *newer, *older;
    uint64_t hash;
    uint64_t repository_count; /* the repository's counter when it was filled */
    uint64_t lease_until_us;
    uint64_t size;                   /* CACHE_BLOB */
    const struct manifest *manifest; /* the others */
    size_t cost;
    uint16_t repository_slot;
    uint16_t repository_size;
    uint16_t name_size;
    uint8_t kind;
    char key[]; /* repository, name */
};

/* All members under the lock. */
struct shard {
    pthread_mutex_t lock;
    struct entry **buckets;
    size_t bucket_count; /* a power of two */
    size_t entry_count;
    size_t used; /* bytes */
    struct entry *newest, *oldest;
    uint64_t counters[SHARD_COUNTERS];
} __attribute__((aligned(64)));

struct cache {
    uint64_t seed;
    size_t shard_size; /* bytes each shard may hold */
    _Atomic uint64_t repositories[REPOSITORY_COUNTERS];
    struct shard shards[SHARDS];
};

/* Where a key lives. */
struct place {
    struct shard *shard;
    uint64_t hash;
    uint64_t *counter; /* under the shard's lock */
    uint16_t repository_slot;
};

static struct manifest_block *block_of(const struct manifest *manifest)
{
    return (struct manifest_block *)((uintptr_t)manifest -
                                     offsetof(struct manifest_block, manifest));
}

const struct manifest *manifest_new(const struct digest *digest, struct slice media_type,
                                    struct slice payload)
{
    struct manifest_block *block = memory_new(sizeof(*block) + media_type.size + payload.size);
    char *type = block->bytes;
    char *body = block->bytes + media_type.size;

    if (media_type.size > 0)
        memcpy(type, media_type.at, media_type.size);
    if (payload.size > 0)
        memcpy(body, payload.at, payload.size);
    block->manifest = (struct manifest){
        .digest = *digest,
        .media_type = {type, media_type.size},
        .payload = {body, payload.size},
    };
    atomic_init(&block->references, 1);
    return &block->manifest;
}

const struct manifest *manifest_share(const struct manifest *manifest)
{
    atomic_fetch_add_explicit(&block_of(manifest)->references, 1, memory_order_relaxed);
    return manifest;
}

void storage_manifest_release(const struct manifest *manifest)
{
    if (manifest == NULL)
        return;
    struct manifest_block *block = block_of(manifest);
    if (atomic_fetch_sub_explicit(&block->references, 1, memory_order_acq_rel) == 1)
        free(block);
}

static size_t manifest_cost(const struct manifest *manifest)
{
    return sizeof(struct manifest_block) + manifest->media_type.size + manifest->payload.size +
           ALLOCATION_EXTRA;
}

struct cache_key cache_key_tag(struct slice repository, struct slice tag)
{
    return (struct cache_key){CACHE_TAG, repository, tag};
}

/* A digest's algorithm, size and bytes lie side by side: they are the name, nothing is copied. */
static struct slice digest_name(const struct digest *digest)
{
    return (struct slice){(const char *)digest, offsetof(struct digest, bytes) + digest->size};
}

struct cache_key cache_key_manifest(struct slice repository, const struct digest *digest)
{
    return (struct cache_key){CACHE_MANIFEST, repository, digest_name(digest)};
}

struct cache_key cache_key_blob(struct slice repository, const struct digest *digest)
{
    return (struct cache_key){CACHE_BLOB, repository, digest_name(digest)};
}

struct cache *cache_open(uint64_t size_bytes)
{
    struct cache *cache = NULL;

    if (posix_memalign((void **)&cache, _Alignof(struct cache), sizeof(*cache)) != 0)
        abort();
    memset(cache, 0, sizeof(*cache));
    random_bytes(&cache->seed, sizeof(cache->seed));
    cache->shard_size = size_bytes / SHARDS;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        pthread_mutex_init(&shard->lock, NULL);
        shard->bucket_count = BUCKETS_FIRST;
        shard->buckets = memory_new(BUCKETS_FIRST * sizeof(struct entry *));
    }
    return cache;
}

static void entry_free(struct entry *entry)
{
    storage_manifest_release(entry->manifest);
    free(entry);
}

void cache_close(struct cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &cache->shards[i];
        for (struct entry *entry = shard->newest, *older; entry != NULL; entry = older) {
            older = entry->older;
            entry_free(entry);
        }
        free(shard->buckets);
        pthread_mutex_destroy(&shard->lock);
    }
    free(cache);
}

static uint16_t repository_slot(uint64_t hash)
{
    return hash % REPOSITORY_COUNTERS;
}

static struct place place_of(struct cache *cache, const struct cache_key *key)
{
    uint64_t repository = bytes_hash(cache->seed, key->repository.at, key->repository.size);
    uint64_t hash = bytes_hash(repository + key->kind, key->name.at, key->name.size);
    struct shard *shard = &cache->shards[hash >> 60];

    _Static_assert(SHARDS == 16, "four bits choose the shard");
    return (struct place){shard, hash, &shard->counters[(hash >> 40) % SHARD_COUNTERS],
                          repository_slot(repository)};
}

static bool entry_matches(const struct entry *entry, uint64_t hash, const struct cache_key *key)
{
    return entry->hash == hash && entry->kind == key->kind &&
           entry->repository_size == key->repository.size && entry->name_size == key->name.size &&
           memcmp(entry->key, key->repository.at, key->repository.size) == 0 &&
           memcmp(entry->key + entry->repository_size, key->name.at, key->name.size) == 0;
}

static struct entry **bucket_of(struct shard *shard, uint64_t hash)
{
    return &shard->buckets[hash & (shard->bucket_count - 1)];
}

static struct entry *shard_find(struct shard *shard, uint64_t hash, const struct cache_key *key)
{
    struct entry *entry = *bucket_of(shard, hash);

    while (entry != NULL && !entry_matches(entry, hash, key))
        entry = entry->next;
    return entry;
}

static void list_remove(struct shard *shard, struct entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &shard->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &shard->oldest) = entry->newer;
}

static void list_push(struct shard *shard, struct entry *entry)
{
    entry->newer = NULL;
    entry->older = shard->newest;
    *(entry->older != NULL ? &entry->older->newer : &shard->oldest) = entry;
    shard->newest = entry;
}

static void shard_remove(struct shard *shard, struct entry *entry)
{
    struct entry **link = bucket_of(shard, entry->hash);

    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    list_remove(shard, entry);
    shard->used -= entry->cost;
    shard->entry_count--;
    entry_free(entry);
}

static void shard_grow(struct shard *shard)
{
    size_t old_count = shard->bucket_count;
    struct entry **old = shard->buckets;

    shard->bucket_count *= 2;
    shard->buckets = memory_new(shard->bucket_count * sizeof(struct entry *));
    for (size_t i = 0; i < old_count; i++) {
        for (struct entry *entry = old[i], *next; entry != NULL; entry = next) {
            next = entry->next;
            struct entry **bucket = bucket_of(shard, entry->hash);
            entry->next = *bucket;
            *bucket = entry;
        }
    }
    free(old);
}

static void shard_insert(struct shard *shard, struct entry *entry, size_t size_max)
{
    while (shard->oldest != NULL && shard->used + entry->cost > size_max)
        shard_remove(shard, shard->oldest);
    if (shard->entry_count >= shard->bucket_count)
        shard_grow(shard);
    struct entry **bucket = bucket_of(shard, entry->hash);
    entry->next = *bucket;
    *bucket = entry;
    list_push(shard, entry);
    shard->used += entry->cost;
    shard->entry_count++;
}

struct cache_stamp cache_stamp(struct cache *cache, const struct cache_key *key)
{
    struct place place = place_of(cache, key);
    struct cache_stamp stamp = {
        .repository = atomic_load(&cache->repositories[place.repository_slot]),
    };

    pthread_mutex_lock(&place.shard->lock);
    stamp.entry = *place.counter;
    pthread_mutex_unlock(&place.shard->lock);
    return stamp;
}

static struct entry *entry_new(const struct cache_key *key, const struct place *place,
                               struct cache_stamp stamp, size_t extra)
{
    size_t key_size = key->repository.size + key->name.size;
    struct entry *entry = memory_new(sizeof(*entry) + key_size);

    entry->hash = place->hash;
    entry->repository_count = stamp.repository;
    entry->cost = sizeof(*entry) + key_size + ALLOCATION_EXTRA + sizeof(struct entry *) + extra;
    entry->repository_slot = place->repository_slot;
    entry->repository_size = (uint16_t)key->repository.size;
    entry->name_size = (uint16_t)key->name.size;
    entry->kind = (uint8_t)key->kind;
    memcpy(entry->key, key->repository.at, key->repository.size);
    memcpy(entry->key + key->repository.size, key->name.at, key->name.size);
    return entry;
}

/* Consumes entry. */
static void fill(struct cache *cache, const struct cache_key *key, const struct place *place,
                 struct cache_stamp stamp, struct entry *entry)
{
    struct shard *shard = place->shard;
    bool kept = false;

    pthread_mutex_lock(&shard->lock);
    if (*place->counter == stamp.entry) {
        struct entry *old = shard_find(shard, place->hash, key);
        if (old != NULL)
            shard_remove(shard, old);
        shard_insert(shard, entry, cache->shard_size);
        kept = true;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!kept)
        entry_free(entry);
}

static bool fits(const struct cache *cache, const struct cache_key *key, size_t extra)
{
    size_t cost = sizeof(struct entry) + key->repository.size + key->name.size + extra;

    return key->repository.size <= UINT16_MAX && key->name.size <= UINT16_MAX &&
           cost <= cache->shard_size / ENTRY_SHARE;
}

void cache_fill_manifest(struct cache *cache, const struct cache_key *key, struct cache_stamp stamp,
                         const struct manifest *manifest, uint64_t lease_until_us)
{
    struct place place = place_of(cache, key);
    size_t extra = manifest_cost(manifest);

    if (!fits(cache, key, extra))
        return;
    struct entry *entry = entry_new(key, &place, stamp, extra);
    entry->manifest = manifest_share(manifest);
    entry->lease_until_us = lease_until_us;
    fill(cache, key, &place, stamp, entry);
}

void cache_fill_blob(struct cache *cache, const struct cache_key *key, struct cache_stamp stamp,
                     uint64_t size, uint64_t lease_until_us)
{
    struct place place = place_of(cache, key);

    if (!fits(cache, key, 0))
        return;
    struct entry *entry = entry_new(key, &place, stamp, 0);
    entry->size = size;
    entry->lease_until_us = lease_until_us;
    fill(cache, key, &place, stamp, entry);
}

/* The entry, moved to the front, or NULL. The shard's lock is held. */
static struct entry *shard_use(struct cache *cache, const struct place *place,
                               const struct cache_key *key, uint64_t now_us)
{
    struct shard *shard = place->shard;
    struct entry *entry = shard_find(shard, place->hash, key);

    if (entry == NULL)
        return NULL;
    if (entry->repository_count != atomic_load(&cache->repositories[entry->repository_slot])) {
        shard_remove(shard, entry);
        return NULL;
    }
    if (now_us >= entry->lease_until_us && now_us != 0)
        return NULL;
    if (shard->newest != entry) {
        list_remove(shard, entry);
        list_push(shard, entry);
    }
    return entry;
}

bool cache_get_manifest(struct cache *cache, const struct cache_key *key, uint64_t now_us,
                        const struct manifest **out)
{
    struct place place = place_of(cache, key);

    pthread_mutex_lock(&place.shard->lock);
    struct entry *entry = shard_use(cache, &place, key, now_us);
    if (entry != NULL)
        *out = manifest_share(entry->manifest);
    pthread_mutex_unlock(&place.shard->lock);
    return entry != NULL;
}

bool cache_get_blob(struct cache *cache, const struct cache_key *key, uint64_t now_us,
                    uint64_t *size)
{
    struct place place = place_of(cache, key);

    pthread_mutex_lock(&place.shard->lock);
    struct entry *entry = shard_use(cache, &place, key, now_us);
    if (entry != NULL)
        *size = entry->size;
    pthread_mutex_unlock(&place.shard->lock);
    return entry != NULL;
}

void cache_invalidate(struct cache *cache, const struct cache_key *key)
{
    struct place place = place_of(cache, key);

    pthread_mutex_lock(&place.shard->lock);
    ++*place.counter;
    struct entry *entry = shard_find(place.shard, place.hash, key);
    if (entry != NULL)
        shard_remove(place.shard, entry);
    pthread_mutex_unlock(&place.shard->lock);
}

void cache_invalidate_repository(struct cache *cache, struct slice repository)
{
    uint64_t hash = bytes_hash(cache->seed, repository.at, repository.size);

    atomic_fetch_add(&cache->repositories[repository_slot(hash)], 1);
}

void cache_invalidate_all(struct cache *cache)
{
    for (size_t i = 0; i < REPOSITORY_COUNTERS; i++)
        atomic_fetch_add(&cache->repositories[i], 1);
}

/* test_cache.c - what memory may answer, and that it never contradicts a finished change. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/cache.h"
#include "tests/support/unit.h"

#define REPOSITORY SLICE("team/app")

static const uint64_t LONG_LEASE = UINT64_MAX;

static const struct manifest *manifest_of(const char *text)
{
    struct digest digest;

    digest_of(DIGEST_SHA256, slice_of(text), &digest);
    return manifest_new(&digest, SLICE("application/json"), slice_of(text));
}

static void fill_tag(struct cache *cache, const char *tag, const char *text)
{
    struct cache_key key = cache_key_tag(REPOSITORY, slice_of(tag));
    const struct manifest *manifest = manifest_of(text);

    cache_fill_manifest(cache, &key, cache_stamp(cache, &key), manifest, LONG_LEASE);
    storage_manifest_release(manifest);
}

static bool tag_is(struct cache *cache, struct slice repository, const char *tag, const char *text)
{
    struct cache_key key = cache_key_tag(repository, slice_of(tag));
    const struct manifest *manifest = NULL;

    if (!cache_get_manifest(cache, &key, 0, &manifest))
        return text == NULL;
    bool same = text != NULL && slice_equal_text(manifest->payload, text);
    storage_manifest_release(manifest);
    return same;
}

static void test_cache_answers_what_was_filled(void **state)
{
    struct cache *cache = cache_open(1 << 20);
    const struct manifest *manifest = manifest_of("{}");
    struct cache_key by_digest = cache_key_manifest(REPOSITORY, &manifest->digest);
    struct cache_key blob = cache_key_blob(REPOSITORY, &manifest->digest);
    const struct manifest *found = NULL;
    uint64_t size = 0;

    (void)state;
    assert_false(cache_get_manifest(cache, &by_digest, 0, &found));
    cache_fill_manifest(cache, &by_digest, cache_stamp(cache, &by_digest), manifest, LONG_LEASE);
    assert_true(cache_get_manifest(cache, &by_digest, 0, &found));
    assert_ptr_equal(found, manifest);
    storage_manifest_release(found);

    assert_false(cache_get_blob(cache, &blob, 0, &size)); /* another kind of the same digest */
    cache_fill_blob(cache, &blob, cache_stamp(cache, &blob), 7, LONG_LEASE);
    assert_true(cache_get_blob(cache, &blob, 0, &size));
    assert_int_equal(size, 7);

    fill_tag(cache, "latest", "{\"a\":1}");
    assert_true(tag_is(cache, REPOSITORY, "latest", "{\"a\":1}"));
    fill_tag(cache, "latest", "{\"a\":2}"); /* a later fill takes its place */
    assert_true(tag_is(cache, REPOSITORY, "latest", "{\"a\":2}"));
    assert_true(tag_is(cache, REPOSITORY, "lates", NULL));
    assert_true(tag_is(cache, SLICE("team/ap"), "platest", NULL));
    cache_close(cache);
    assert_true(slice_equal_text(manifest->payload, "{}")); /* ours outlives the cache */
    storage_manifest_release(manifest);
}

static void test_cache_lease_binds_only_those_who_may_push(void **state)
{
    struct cache *cache = cache_open(1 << 20);
    struct digest digest;
    uint64_t size = 0;

    (void)state;
    digest_of(DIGEST_SHA512, SLICE("x"), &digest);
    struct cache_key key = cache_key_blob(REPOSITORY, &digest);
    cache_fill_blob(cache, &key, cache_stamp(cache, &key), 1, 1000);
    assert_true(cache_get_blob(cache, &key, 999, &size));
    assert_false(cache_get_blob(cache, &key, 1000, &size));
    assert_true(cache_get_blob(cache, &key, 0, &size));
    cache_close(cache);
}

static void test_cache_invalidate_forgets_and_refuses_older_stamps(void **state)
{
    struct cache *cache = cache_open(1 << 20);
    struct cache_key tag = cache_key_tag(REPOSITORY, SLICE("latest"));
    struct cache_key other = cache_key_tag(SLICE("team/other"), SLICE("latest"));
    const struct manifest *manifest = manifest_of("old");

    (void)state;
    for (int way = 0; way < 3; way++) {
        fill_tag(cache, "latest", "old");
        struct cache_stamp before = cache_stamp(cache, &tag);
        cache_fill_manifest(cache, &other, cache_stamp(cache, &other), manifest, LONG_LEASE);
        if (way == 0)
            cache_invalidate(cache, &tag);
        else if (way == 1)
            cache_invalidate_repository(cache, REPOSITORY);
        else
            cache_invalidate_all(cache);
        assert_true(tag_is(cache, REPOSITORY, "latest", NULL));
        cache_fill_manifest(cache, &tag, before, manifest, LONG_LEASE); /* read before the change */
        assert_true(tag_is(cache, REPOSITORY, "latest", NULL));
        assert_true(tag_is(cache, SLICE("team/other"), "latest", way == 2 ? NULL : "old"));
        fill_tag(cache, "latest", "new"); /* read after it */
        assert_true(tag_is(cache, REPOSITORY, "latest", "new"));
    }
    storage_manifest_release(manifest);
    cache_close(cache);
}

static void test_cache_keeps_to_its_size_and_drops_the_least_used(void **state)
{
    enum { SIZE = 256 << 10, TAGS = 4000, OVERHEAD = 300 };
    struct cache *cache = cache_open(SIZE);
    char tag[16];
    size_t kept = 0;

    (void)state;
    fill_tag(cache, "used", "the one in use");
    for (int i = 0; i < TAGS; i++) {
        snprintf(tag, sizeof(tag), "t%d", i);
        fill_tag(cache, tag, tag);
        assert_true(tag_is(cache, REPOSITORY, "used", "the one in use"));
    }
    assert_true(tag_is(cache, REPOSITORY, tag, tag)); /* the newest */
    assert_true(tag_is(cache, REPOSITORY, "t0", NULL));
    for (int i = 0; i < TAGS; i++) {
        snprintf(tag, sizeof(tag), "t%d", i);
        kept += tag_is(cache, REPOSITORY, tag, tag);
    }
    assert_in_range(kept, SIZE / OVERHEAD / 4, SIZE / OVERHEAD);
    cache_close(cache);
}

static void test_cache_does_not_keep_what_is_too_large(void **state)
{
    struct cache *cache = cache_open(1 << 20);
    struct cache *none = cache_open(0);
    char *text = malloc(20000);

    (void)state;
    memset(text, 'x', 19999);
    text[19999] = 0;
    fill_tag(cache, "small", "x");
    fill_tag(cache, "large", text);
    assert_true(tag_is(cache, REPOSITORY, "large", NULL));
    assert_true(tag_is(cache, REPOSITORY, "small", "x"));
    fill_tag(none, "small", "x");
    assert_true(tag_is(none, REPOSITORY, "small", NULL));
    free(text);
    cache_close(none);
    cache_close(cache);
}

/* A "database" of one value a tag. Writers commit, invalidate, then publish the value as
 * acknowledged; readers ask memory, else read and fill. Nobody may see less than what was
 * acknowledged before he asked. */
enum { STORM_TAGS = 4, STORM_ROUNDS = 20000, STORM_READERS = 2, STORM_WRITERS = 2 };

struct storm {
    struct cache *cache;
    pthread_mutex_t writing[STORM_TAGS];
    _Atomic uint64_t committed[STORM_TAGS];
    _Atomic uint64_t acknowledged[STORM_TAGS];
    atomic_bool ended;
    _Atomic uint64_t stale, hits;
};

static struct cache_key storm_key(int tag)
{
    static const char *const names[STORM_TAGS] = {"a", "b", "c", "d"};

    return cache_key_tag(REPOSITORY, slice_of(names[tag]));
}

/* So that memory answers beside the writers, however threads are scheduled. */
static void storm_await_hit(struct storm *storm)
{
    uint64_t hits = atomic_load(&storm->hits);

    while (atomic_load(&storm->hits) == hits)
        sched_yield();
}

static void *storm_write(void *arg)
{
    struct storm *storm = arg;

    for (int i = 0; i < STORM_ROUNDS; i++) {
        int tag = i % STORM_TAGS;
        if (i % (STORM_ROUNDS / 4) == 0)
            storm_await_hit(storm);
        struct cache_key key = storm_key(tag);
        pthread_mutex_lock(&storm->writing[tag]);
        uint64_t value = atomic_load(&storm->committed[tag]) + 1;
        atomic_store(&storm->committed[tag], value);
        if (i % 3 == 0)
            cache_invalidate_repository(storm->cache, REPOSITORY);
        else
            cache_invalidate(storm->cache, &key);
        atomic_store(&storm->acknowledged[tag], value);
        pthread_mutex_unlock(&storm->writing[tag]);
    }
    return NULL;
}

static uint64_t storm_ask(struct storm *storm, int tag)
{
    struct cache_key key = storm_key(tag);
    const struct manifest *manifest = NULL;
    uint64_t value = 0;

    if (cache_get_manifest(storm->cache, &key, 0, &manifest)) {
        memcpy(&value, manifest->payload.at, sizeof(value));
        atomic_fetch_add(&storm->hits, 1);
    } else {
        struct digest digest = {.algorithm = DIGEST_SHA256, .size = 32};
        struct cache_stamp stamp = cache_stamp(storm->cache, &key);
        value = atomic_load(&storm->committed[tag]);
        manifest = manifest_new(&digest, SLICE(""), (struct slice){(char *)&value, sizeof(value)});
        cache_fill_manifest(storm->cache, &key, stamp, manifest, LONG_LEASE);
    }
    storage_manifest_release(manifest);
    return value;
}

static void *storm_read(void *arg)
{
    struct storm *storm = arg;

    for (int i = 0; !atomic_load(&storm->ended); i++) {
        int tag = i % STORM_TAGS;
        uint64_t least = atomic_load(&storm->acknowledged[tag]);
        if (storm_ask(storm, tag) < least)
            atomic_fetch_add(&storm->stale, 1);
    }
    return NULL;
}

static void test_cache_is_exact_while_threads_write_and_read(void **state)
{
    struct storm storm = {.cache = cache_open(1 << 20)};
    pthread_t readers[STORM_READERS], writers[STORM_WRITERS];

    (void)state;
    for (int i = 0; i < STORM_TAGS; i++)
        pthread_mutex_init(&storm.writing[i], NULL);
    for (int i = 0; i < STORM_READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, storm_read, &storm), 0);
    for (int i = 0; i < STORM_WRITERS; i++)
        assert_int_equal(pthread_create(&writers[i], NULL, storm_write, &storm), 0);
    for (int i = 0; i < STORM_WRITERS; i++)
        pthread_join(writers[i], NULL);
    atomic_store(&storm.ended, true);
    for (int i = 0; i < STORM_READERS; i++)
        pthread_join(readers[i], NULL);
    for (int i = 0; i < STORM_TAGS; i++) {
        assert_int_equal(storm_ask(&storm, i), STORM_ROUNDS / STORM_TAGS * STORM_WRITERS);
        pthread_mutex_destroy(&storm.writing[i]);
    }
    assert_int_equal(storm.stale, 0);
    assert_true(storm.hits > 0);
    cache_close(storm.cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_answers_what_was_filled),
        cmocka_unit_test(test_cache_lease_binds_only_those_who_may_push),
        cmocka_unit_test(test_cache_invalidate_forgets_and_refuses_older_stamps),
        cmocka_unit_test(test_cache_keeps_to_its_size_and_drops_the_least_used),
        cmocka_unit_test(test_cache_does_not_keep_what_is_too_large),
        cmocka_unit_test(test_cache_is_exact_while_threads_write_and_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

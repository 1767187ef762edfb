/* pulls.c - pull counters: gathered in memory, written now and then by a thread of its own.
 *
 * Counting looks into a hash table under one short lock. A flush takes the whole table away and
 * writes it; what cannot be written is dropped, for counts are not worth a queue that grows. */
#include "storage/pulls.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"

enum {
    BUCKETS = 1024,
    ENTRIES_MAX = 8192,
    FLUSH_BATCH = 64, /* a write in the background is short */
};

static const int64_t DAY_US = 86400ll * 1000000;

struct entry {
    struct entry *next;
    enum pull_kind kind;
    int64_t day;
    int64_t pulled_at;
    uint64_t pulls;
    struct digest manifest;
    uint16_t repository_size;
    uint16_t reference_size;
    char names[]; /* repository, reference */
};

struct table {
    struct entry *buckets[BUCKETS];
    size_t count;
};

struct pulls {
    struct meta *meta;
    uint64_t flush_ms;
    uint64_t seed;
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct table *table;
    uint64_t dropped; /* since the last flush */
    bool closing;
};

static struct slice entry_repository(const struct entry *entry)
{
    return (struct slice){entry->names, entry->repository_size};
}

static struct slice entry_reference(const struct entry *entry)
{
    return (struct slice){entry->names + entry->repository_size, entry->reference_size};
}

static struct entry *entry_new(struct slice repository, struct slice reference, enum pull_kind kind,
                               int64_t day)
{
    struct entry *entry = memory_new(sizeof(*entry) + repository.size + reference.size);

    entry->kind = kind;
    entry->day = day;
    entry->repository_size = (uint16_t)repository.size;
    entry->reference_size = (uint16_t)reference.size;
    memcpy(entry->names, repository.at, repository.size);
    memcpy(entry->names + repository.size, reference.at, reference.size);
    return entry;
}

/* NULL: the table is full. */
static struct entry *entry_find(struct pulls *pulls, struct slice repository,
                                struct slice reference, enum pull_kind kind, int64_t day)
{
    uint64_t hash = bytes_hash(pulls->seed, repository.at, repository.size);
    hash = bytes_hash(hash, reference.at, reference.size);
    struct entry **bucket = &pulls->table->buckets[hash % BUCKETS];

    for (struct entry *entry = *bucket; entry != NULL; entry = entry->next)
        if (entry->kind == kind && entry->day == day &&
            slice_equal(entry_repository(entry), repository) &&
            slice_equal(entry_reference(entry), reference))
            return entry;
    if (pulls->table->count == ENTRIES_MAX)
        return NULL;
    struct entry *entry = entry_new(repository, reference, kind, day);
    entry->next = *bucket;
    *bucket = entry;
    pulls->table->count++;
    return entry;
}

void pulls_count(struct pulls *pulls, struct slice repository, struct slice tag,
                 const struct digest *manifest, enum pull_kind kind)
{
    char text[DIGEST_TEXT_MAX];
    struct slice reference = tag.at != NULL ? tag : slice_of(digest_text(manifest, text));
    int64_t now = clock_now_us();

    pthread_mutex_lock(&pulls->lock);
    struct entry *entry = entry_find(pulls, repository, reference, kind, now / DAY_US);
    if (entry == NULL) {
        pulls->dropped++;
    } else {
        entry->pulls++;
        entry->pulled_at = now;
        entry->manifest = *manifest;
    }
    if (pulls->table->count >= ENTRIES_MAX / 2)
        pthread_cond_signal(&pulls->changed);
    pthread_mutex_unlock(&pulls->lock);
}

/* --- flushing --- */

static void table_drop(struct table **owned)
{
    if (*owned == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while ((*owned)->buckets[i] != NULL) {
            struct entry *entry = (*owned)->buckets[i];
            (*owned)->buckets[i] = entry->next;
            free(entry);
        }
    free(*owned);
    *owned = NULL;
}

/* The gathered table; an empty one takes its place. NULL when nothing was counted. */
static struct table *table_take(struct pulls *pulls, uint64_t *dropped)
{
    struct table *empty = memory_new(sizeof(*empty));
    struct table *taken = NULL;

    pthread_mutex_lock(&pulls->lock);
    if (pulls->table->count > 0) {
        taken = pulls->table;
        pulls->table = TAKE(empty);
    }
    *dropped = pulls->dropped;
    pulls->dropped = 0;
    pthread_mutex_unlock(&pulls->lock);
    free(empty);
    return taken;
}

static int batch_write(struct pulls *pulls, struct meta_pull *batch, size_t *count,
                       struct error *err)
{
    int result = *count == 0 ? 0 : meta_pulls_add(pulls->meta, batch, *count, err);

    *count = 0;
    return result;
}

int pulls_flush(struct pulls *pulls, struct error *err)
{
    struct meta_pull batch[FLUSH_BATCH];
    uint64_t dropped = 0;
    size_t count = 0;
    OWNED(table_drop) struct table *table = table_take(pulls, &dropped);

    if (dropped > 0)
        log_event(LOG_WARNING, "pulls.dropped", F_U64("pulls", dropped));
    for (size_t i = 0; table != NULL && i < BUCKETS; i++)
        for (const struct entry *entry = table->buckets[i]; entry != NULL; entry = entry->next) {
            batch[count++] = (struct meta_pull){
                entry_repository(entry), entry_reference(entry), &entry->manifest, entry->day,
                entry->pulled_at,        entry->pulls,           entry->kind};
            if (count == FLUSH_BATCH && batch_write(pulls, batch, &count, err) < 0)
                return -1;
        }
    return batch_write(pulls, batch, &count, err);
}

static void flush_or_log(struct pulls *pulls)
{
    struct error err = {0};

    if (pulls_flush(pulls, &err) < 0)
        log_event(LOG_WARNING, "pulls.lost", F_TEXT("error", err.message),
                  F_TEXT("cause", err.cause));
}

/* Until it is time, or the table fills; false at the end. */
static bool flush_wait(struct pulls *pulls)
{
    const struct timespec until = clock_monotonic_after(pulls->flush_ms);
    int waited = 0;

    pthread_mutex_lock(&pulls->lock);
    while (!pulls->closing && waited == 0 && pulls->table->count < ENTRIES_MAX / 2)
        waited = pthread_cond_timedwait(&pulls->changed, &pulls->lock, &until);
    bool go_on = !pulls->closing;
    pthread_mutex_unlock(&pulls->lock);
    return go_on;
}

static void *flush_main(void *arg)
{
    thread_role_current = ROLE_WORKER;
    while (flush_wait(arg))
        flush_or_log(arg);
    return NULL;
}

struct pulls *pulls_open(struct meta *meta, uint64_t flush_ms)
{
    struct pulls *pulls = memory_new(sizeof(*pulls));

    pulls->meta = meta;
    pulls->flush_ms = flush_ms == 0 ? 1 : flush_ms;
    pulls->table = memory_new(sizeof(*pulls->table));
    random_bytes(&pulls->seed, sizeof(pulls->seed));
    pthread_mutex_init(&pulls->lock, NULL);
    clock_condition_init(&pulls->changed);
    if (pthread_create(&pulls->thread, NULL, flush_main, pulls) != 0)
        abort();
    return pulls;
}

void pulls_close(struct pulls *pulls)
{
    if (pulls == NULL)
        return;
    pthread_mutex_lock(&pulls->lock);
    pulls->closing = true;
    pthread_cond_signal(&pulls->changed);
    pthread_mutex_unlock(&pulls->lock);
    pthread_join(pulls->thread, NULL);
    flush_or_log(pulls);
    table_drop(&pulls->table);
    pthread_cond_destroy(&pulls->changed);
    pthread_mutex_destroy(&pulls->lock);
    free(pulls);
}

/* quota.c - what uploads under way have reserved, and the public calls of quotas.
 * Touches  memory; the database through meta_quota.h.
 * Never    holds its lock while it asks the database.
 *
 * A reservation turns into used bytes in a commit; between that commit and the end of settling both
 * count, and a reader that asked the database before it sees neither when it looks at memory after
 * it. So numbers are taken only if nothing settled meanwhile. Counting twice is on the safe side:
 * what fits so may go on; only a refusal waits until nothing settles. */
#include "storage/quota.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"
#include "storage/meta_quota.h"
#include "storage/storage_internal.h"

enum {
    BUCKETS = 64,
    /* A commit takes less, also of a process that is stopped for a moment meanwhile; then the
     * numbers are taken as they are. */
    SETTLE_WAIT_MS = 30 * 1000,
};

struct reservation {
    struct reservation *next; /* in its bucket */
    int64_t quota;
    uint64_t bytes;
    unsigned holds; /* the last one frees it */
};

struct quota_table {
    struct meta *meta;  /* immutable */
    atomic_bool needed; /* a quota exists, or may: until then uploads ask nobody */
    pthread_mutex_t lock;
    pthread_cond_t settled;
    uint64_t settlements; /* that ended, ever */
    unsigned settling;
    struct reservation *buckets[BUCKETS];
};

struct quota_hold {
    struct quota_table *table;
    uint64_t bytes;
    bool settling;
    size_t count;
    struct reservation *of[];
};

static bool quotas_exist(struct meta *meta)
{
    OWNED(quota_page_drop) struct quota_page first = {.items = NULL};
    struct error unread = {0}; /* then there may be some */

    return meta_quota_list(meta, 0, 1, &first, &unread) < 0 || first.count > 0;
}

struct quota_table *quota_table_open(struct meta *meta)
{
    struct quota_table *table = memory_new(sizeof(*table));

    table->meta = meta;
    atomic_init(&table->needed, quotas_exist(meta));
    pthread_mutex_init(&table->lock, NULL);
    clock_condition_init(&table->settled);
    return table;
}

void quota_table_close(struct quota_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(table->buckets[i] == NULL);
    pthread_cond_destroy(&table->settled);
    pthread_mutex_destroy(&table->lock);
    free(table);
}

/* --- sentences --- */

static const char *in_units(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t whole = bytes;
    size_t unit = 0;

    while (whole >= 10240 && unit < 6) {
        whole /= 1024;
        unit++;
    }
    snprintf(out, 24, "%llu %s", (unsigned long long)whole, units[unit]);
    return out;
}

int quota_fits(const struct quota_numbers *numbers, struct slice subject, uint64_t more,
               struct error *err)
{
    char limit[24], used[24], reserved[24], asked[24];
    uint64_t sum;

    if (!__builtin_add_overflow(numbers->used, numbers->reserved, &sum) &&
        !__builtin_add_overflow(sum, more, &sum) && sum <= numbers->limit)
        return 0;
    return error_set(err, ERROR_QUOTA,
                     "quota exceeded: limit %s, used %s, uploads under way %s, asked %s; of %.*s",
                     in_units(numbers->limit, limit), in_units(numbers->used, used),
                     in_units(numbers->reserved, reserved), in_units(more, asked),
                     SLICE_ARG(subject));
}

/* --- the table; lock held --- */

static struct reservation **bucket_of(struct quota_table *table, int64_t quota)
{
    struct reservation **at = &table->buckets[(uint64_t)quota % BUCKETS];

    while (*at != NULL && (*at)->quota != quota)
        at = &(*at)->next;
    return at;
}

static struct reservation *reservation_take(struct quota_table *table, int64_t quota)
{
    struct reservation **at = bucket_of(table, quota);

    if (*at == NULL) {
        *at = memory_new(sizeof(**at));
        (*at)->quota = quota;
    }
    (*at)->holds++;
    return *at;
}

static void reservation_drop(struct quota_table *table, struct reservation *reservation)
{
    struct reservation **at = bucket_of(table, reservation->quota);

    if (--reservation->holds > 0)
        return;
    *at = reservation->next;
    free(reservation);
}

uint64_t quota_reserved(struct quota_table *table, int64_t quota)
{
    if (table == NULL)
        return 0;
    pthread_mutex_lock(&table->lock);
    const struct reservation *reservation = *bucket_of(table, quota);
    uint64_t bytes = reservation == NULL ? 0 : reservation->bytes;
    pthread_mutex_unlock(&table->lock);
    return bytes;
}

/* --- holds --- */

static struct quota_hold *hold_new(struct quota_table *table, const struct quota_page *quotas)
{
    struct quota_hold *hold =
        memory_new(sizeof(*hold) + quotas->count * sizeof(struct reservation *));

    hold->table = table;
    hold->count = quotas->count;
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < hold->count; i++)
        hold->of[i] = reservation_take(table, quotas->items[i].id);
    pthread_mutex_unlock(&table->lock);
    return hold;
}

void quota_hold_drop(struct quota_hold **owned)
{
    struct quota_hold *hold = *owned;

    if (hold == NULL)
        return;
    struct quota_table *table = hold->table;
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < hold->count; i++) {
        hold->of[i]->bytes -= hold->bytes;
        reservation_drop(table, hold->of[i]);
    }
    pthread_mutex_unlock(&table->lock);
    free(hold);
    *owned = NULL;
}

void quota_settle_begin(struct quota_hold *hold)
{
    if (hold == NULL)
        return;
    pthread_mutex_lock(&hold->table->lock);
    hold->settling = true;
    hold->table->settling++;
    pthread_mutex_unlock(&hold->table->lock);
}

void quota_settle_end(struct quota_hold *hold)
{
    if (hold == NULL || !hold->settling)
        return;
    struct quota_table *table = hold->table;
    pthread_mutex_lock(&table->lock);
    for (size_t i = 0; i < hold->count; i++)
        hold->of[i]->bytes -= hold->bytes;
    hold->bytes = 0;
    hold->settling = false;
    table->settling--;
    table->settlements++;
    pthread_cond_broadcast(&table->settled);
    pthread_mutex_unlock(&table->lock);
}

/* --- reserving --- */

enum outcome { FITS, REFUSED, AGAIN };

/* Lock held. The numbers in `quotas` were read when `settlements` had ended. */
static enum outcome hold_grow(struct quota_hold *hold, const struct quota_page *quotas,
                              uint64_t bytes, uint64_t settlements, struct error *err)
{
    struct quota_table *table = hold->table;
    uint64_t more = bytes - hold->bytes;

    if (table->settlements != settlements)
        return AGAIN;
    for (size_t i = 0; i < hold->count; i++) {
        const struct quota *quota = &quotas->items[i];
        const struct quota_numbers numbers = {quota->bytes, quota->used, hold->of[i]->bytes};
        if (quota_fits(&numbers, slice_of(quota->subject), more, err) < 0)
            return table->settling > 0 ? AGAIN : REFUSED;
    }
    for (size_t i = 0; i < hold->count; i++)
        hold->of[i]->bytes += more;
    hold->bytes = bytes;
    return FITS;
}

/* Lock held; until something settles, or it takes too long. */
static bool settled_wait(struct quota_table *table, uint64_t settlements, uint64_t deadline_ms)
{
    const struct timespec until = {.tv_sec = (time_t)(deadline_ms / 1000),
                                   .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

    while (table->settling > 0 && table->settlements == settlements)
        if (pthread_cond_timedwait(&table->settled, &table->lock, &until) != 0)
            return false;
    return clock_monotonic_ms() < deadline_ms;
}

/* False when quotas came or went since the hold began: then it begins anew. */
static bool same_quotas(const struct quota_hold *hold, const struct quota_page *quotas)
{
    if (hold->count != quotas->count)
        return false;
    for (size_t i = 0; i < hold->count; i++)
        if (hold->of[i]->quota != quotas->items[i].id)
            return false;
    return true;
}

/* One look at the database, and at memory after it. */
static enum outcome try_reserve(struct quota_table *table, struct slice repository, int64_t account,
                                uint64_t bytes, struct quota_hold **hold, uint64_t *settlements,
                                struct error *err) ON(worker_thread)
{
    OWNED(quota_page_drop) struct quota_page quotas = {.items = NULL};

    pthread_mutex_lock(&table->lock);
    *settlements = table->settlements;
    pthread_mutex_unlock(&table->lock);
    if (meta_quota_covering(table->meta, repository, account, &quotas, err) < 0)
        return REFUSED;
    if (*hold != NULL && !same_quotas(*hold, &quotas))
        quota_hold_drop(hold);
    if (*hold == NULL && quotas.count == 0)
        return FITS;
    if (*hold == NULL)
        *hold = hold_new(table, &quotas);
    pthread_mutex_lock(&table->lock);
    enum outcome outcome = hold_grow(*hold, &quotas, bytes, *settlements, err);
    pthread_mutex_unlock(&table->lock);
    return outcome;
}

int quota_reserve(struct quota_table *table, struct slice repository, int64_t account,
                  uint64_t bytes, struct quota_hold **hold, struct error *err)
{
    uint64_t deadline_ms = clock_monotonic_ms() + SETTLE_WAIT_MS;
    bool wait = true;

    if (*hold == NULL ? !atomic_load(&table->needed) : bytes <= (*hold)->bytes)
        return 0;
    while (true) {
        uint64_t settlements;
        struct error refused = {0};
        enum outcome outcome =
            try_reserve(table, repository, account, bytes, hold, &settlements, &refused);
        if (outcome == FITS)
            return 0;
        if (outcome == REFUSED || !wait) {
            if (refused.code == ERROR_NONE)
                error_set(&refused, ERROR_UNAVAILABLE, "quotas are busy: try again");
            *err = refused;
            return -1;
        }
        pthread_mutex_lock(&table->lock);
        wait = settled_wait(table, settlements, deadline_ms);
        pthread_mutex_unlock(&table->lock);
    }
}

/* --- public calls --- */

void quota_drop(struct quota *quota)
{
    free(quota->subject);
    *quota = (struct quota){.id = 0};
}

void quota_page_drop(struct quota_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        quota_drop(&page->items[i]);
    free(page->items);
    *page = (struct quota_page){.items = NULL};
}

static void fill_reserved(struct storage *store, struct quota *quota)
{
    quota->reserved = quota_reserved(store->quotas, quota->id);
}

static void fill_page(struct storage *store, struct quota_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        fill_reserved(store, &page->items[i]);
}

int quota_find(struct storage *store, int64_t id, struct quota *out, struct error *err)
{
    if (meta_quota_find(store->meta, id, out, err) < 0)
        return -1;
    fill_reserved(store, out);
    return 0;
}

int quota_list(struct storage *store, int64_t after_id, size_t limit, struct quota_page *out,
               struct error *err)
{
    if (meta_quota_list(store->meta, after_id, limit, out, err) < 0)
        return -1;
    fill_page(store, out);
    return 0;
}

int quota_covering(struct storage *store, struct slice repository, int64_t account,
                   struct quota_page *out, struct error *err)
{
    if (meta_quota_covering(store->meta, repository, account, out, err) < 0)
        return -1;
    fill_page(store, out);
    return 0;
}

int quota_create(struct storage *store, enum quota_kind kind, struct slice subject, uint64_t bytes,
                 const struct audit_event *event, struct quota *out, struct error *err)
{
    atomic_store(&store->quotas->needed, true); /* before: nobody may miss it afterwards */
    return meta_quota_create(store->meta, kind, subject, bytes, event, out, err);
}

int quota_update(struct storage *store, int64_t id, uint64_t bytes, int64_t if_version,
                 const struct audit_event *event, struct quota *out, struct error *err)
{
    if (meta_quota_update(store->meta, id, bytes, if_version, event, out, err) < 0)
        return -1;
    fill_reserved(store, out);
    return 0;
}

int quota_delete(struct storage *store, int64_t id, int64_t if_version,
                 const struct audit_event *event, struct error *err)
{
    return meta_quota_delete(store->meta, id, if_version, event, err);
}

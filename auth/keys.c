/* keys.c - our signing keys: which of them signs, which still verify, and when one is due.
 * Touches  key_folder.h; memory.
 * Never    reads the clock, save once to open: now is given.
 *
 * Who signs follows from the times in the files' names, so every start comes to the same answer:
 * the newest key that was published for the lead time; before there is one, a key of the future
 * (the clock was wrong when it was made), else the oldest. A clock that goes back may hand the
 * signing back to an older key, which is still published: removal looks at the same clock. */
#include "auth/keys.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "auth/key_folder.h"

/* A key from further ahead than this was made under a wrong clock: it holds no rotation back. */
static const int64_t FUTURE_S = 86400;

struct entry {
    struct key_file file; /* the name is empty for the file of the settings */
    int64_t signed_s;     /* when this process last had it sign; 0: did not */
    bool gone;            /* somebody removed its file */
};

struct key_ring {
    char *folder; /* NULL: one file of the settings */
    char *path;   /* of that file */
    uint64_t lead_s, keep_s, rotation_s;
    pthread_mutex_t work;  /* held by whoever changes the ring; files are touched under it alone */
    pthread_rwlock_t lock; /* held for writing, beside work, while what follows changes */
    struct entry *entries; /* by time of creation, then name */
    size_t count, capacity;
    struct jwt_keys keys; /* the same keys, for jwt_verify */
    size_t signer;
};

/* --- the ring in memory: under work --- */

static int64_t seconds(uint64_t s)
{
    return s > INT64_MAX / 4 ? INT64_MAX / 4 : (int64_t)s;
}

static size_t choose_signer(const struct key_ring *ring, int64_t now_s)
{
    size_t chosen = ring->count;

    for (size_t i = 0; i < ring->count; i++)
        if (ring->entries[i].file.created_s <= now_s - seconds(ring->lead_s))
            chosen = i;
    for (size_t i = 0; i < ring->count && chosen == ring->count; i++)
        if (ring->entries[i].file.created_s > now_s)
            chosen = i;
    return chosen == ring->count ? 0 : chosen;
}

/* After the entries changed; the lock is held. */
static void renumber(struct key_ring *ring)
{
    ring->keys.items = memory_resize(ring->keys.items, (ring->count + 1) * sizeof(void *));
    ring->keys.count = ring->count;
    for (size_t i = 0; i < ring->count; i++)
        ring->keys.items[i] = ring->entries[i].file.key;
}

/* file: consumed. The signer stays who it is. */
static void insert(struct key_ring *ring, struct key_file *file)
{
    size_t at = ring->count;

    while (at > 0 && key_file_compare(&ring->entries[at - 1].file, file) > 0)
        at--;
    pthread_rwlock_wrlock(&ring->lock);
    if (ring->count == ring->capacity) {
        ring->capacity = 2 * ring->capacity + 4;
        ring->entries = memory_resize(ring->entries, ring->capacity * sizeof(*ring->entries));
    }
    memmove(&ring->entries[at + 1], &ring->entries[at],
            (ring->count - at) * sizeof(*ring->entries));
    ring->entries[at] = (struct entry){.file = *file};
    ring->signer += ring->count > 0 && at <= ring->signer;
    ring->count++;
    renumber(ring);
    pthread_rwlock_unlock(&ring->lock);
    *file = (struct key_file){0};
}

static void forget(struct key_ring *ring, size_t at)
{
    pthread_rwlock_wrlock(&ring->lock);
    key_file_drop(&ring->entries[at].file);
    ring->count--;
    memmove(&ring->entries[at], &ring->entries[at + 1],
            (ring->count - at) * sizeof(*ring->entries));
    ring->signer -= ring->signer > at || (ring->signer == at && at > 0);
    renumber(ring);
    pthread_rwlock_unlock(&ring->lock);
}

/* The one before signed until now, however late that is. */
static void set_signer(struct key_ring *ring, size_t signer, int64_t now_s)
{
    if (ring->entries[ring->signer].signed_s != 0)
        ring->entries[ring->signer].signed_s = now_s;
    pthread_rwlock_wrlock(&ring->lock);
    ring->signer = signer;
    pthread_rwlock_unlock(&ring->lock);
    ring->entries[signer].signed_s = now_s;
}

/* --- the folder: under work --- */

static size_t find_entry(const struct key_ring *ring, const char *name)
{
    size_t at = 0;

    while (at < ring->count && strcmp(ring->entries[at].file.name, name) != 0)
        at++;
    return at;
}

static bool is_listed(const struct key_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->items[i], name) == 0)
            return true;
    return false;
}

static int publish(struct key_ring *ring, int64_t now_s, struct error *err)
{
    struct key_file file = {0};

    if (key_folder_create(ring->folder, now_s, &file, err) < 0)
        return -1;
    insert(ring, &file);
    return 0;
}

static int take_new(struct key_ring *ring, const struct key_names *names, bool *changed,
                    struct error *err)
{
    int status = 0;

    for (size_t i = 0; i < names->count; i++) {
        struct key_file file = {0};
        if (find_entry(ring, names->items[i]) < ring->count)
            continue;
        if (key_folder_read(ring->folder, names->items[i], &file, err) < 0) {
            status = -1;
            continue;
        }
        insert(ring, &file);
        *changed = true;
    }
    return status;
}

/* The ring as the folder has it now: somebody may have put a key there, or taken one away. What
 * cannot be read does not hold the others back. The ring is never without a key. */
static int follow_folder(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err)
{
    OWNED(key_names_drop) struct key_names names = {NULL, 0};
    size_t gone = 0;
    int status = key_folder_list(ring->folder, &names, err);

    if (names.items == NULL)
        return -1;
    if (take_new(ring, &names, changed, err) < 0)
        status = -1;
    for (size_t i = 0; i < ring->count; i++) {
        ring->entries[i].gone = !is_listed(&names, ring->entries[i].file.name);
        gone += ring->entries[i].gone;
    }
    if (gone > 0 && gone == ring->count && (status < 0 || publish(ring, now_s, err) < 0))
        return -1;
    for (size_t i = ring->count; i-- > 0;)
        if (ring->entries[i].gone)
            forget(ring, i);
    *changed |= gone > 0;
    return status;
}

/* The youngest is too old, or there is none (keys of the future aside). */
static bool is_successor_due(const struct key_ring *ring, int64_t now_s)
{
    if (ring->count == 0)
        return true;
    if (ring->rotation_s == 0)
        return false;
    for (size_t i = ring->count; i-- > 0;) {
        int64_t created_s = ring->entries[i].file.created_s;
        if (created_s <= now_s + FUTURE_S)
            return now_s - created_s >= seconds(ring->rotation_s);
    }
    return true;
}

/* keys (2): nothing it signed can still be good. The next one signs from its creation and lead. */
static bool is_spent(const struct key_ring *ring, size_t at, int64_t now_s)
{
    if (at >= ring->signer)
        return false;
    int64_t retired_s = ring->entries[at + 1].file.created_s + seconds(ring->lead_s);
    if (retired_s < ring->entries[at].signed_s)
        retired_s = ring->entries[at].signed_s;
    return now_s - retired_s >= seconds(ring->keep_s);
}

static int remove_spent(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err)
{
    int status = 0;

    for (size_t i = ring->count; i-- > 0;) {
        if (!is_spent(ring, i, now_s))
            continue;
        if (key_folder_remove(ring->folder, ring->entries[i].file.name, err) < 0) {
            status = -1;
            continue;
        }
        forget(ring, i);
        *changed = true;
    }
    return status;
}

static int advance_folder(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err)
{
    int status = follow_folder(ring, now_s, changed, err);

    /* not beside what could not be read: the keys there may be the ones that are due */
    if (status == 0 && is_successor_due(ring, now_s)) {
        status = publish(ring, now_s, err);
        *changed |= status == 0;
    }
    if (ring->count == 0)
        return -1;
    set_signer(ring, choose_signer(ring, now_s), now_s);
    if (status == 0)
        status = remove_spent(ring, now_s, changed, err);
    return status;
}

/* --- the file of the settings: under work --- */

/* Its owner rotates: a key that replaced another signs at once, and the other one is kept for what
 * it signed. */
static int advance_file(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err)
{
    struct key_file file = {0};

    if (key_file_read(ring->path, &file, err) < 0)
        return -1;
    size_t at = 0;
    while (at < ring->count &&
           strcmp(jwt_key_id(ring->entries[at].file.key), jwt_key_id(file.key)) != 0)
        at++;
    if (at == ring->count) {
        file.created_s = at == 0 ? now_s : ring->entries[at - 1].file.created_s + 1;
        insert(ring, &file);
        *changed = true;
    }
    key_file_drop(&file);
    set_signer(ring, at, now_s);
    for (size_t i = ring->count; i-- > 0;) {
        if (i == ring->signer || now_s - ring->entries[i].signed_s < seconds(ring->keep_s))
            continue;
        forget(ring, i);
        *changed = true;
    }
    return 0;
}

/* --- the ring --- */

int key_ring_advance(struct key_ring *ring, int64_t now_s, bool *changed, struct error *err)
{
    *changed = false;
    pthread_mutex_lock(&ring->work);
    int status = ring->folder != NULL ? advance_folder(ring, now_s, changed, err)
                                      : advance_file(ring, now_s, changed, err);
    pthread_mutex_unlock(&ring->work);
    return status;
}

int key_ring_rotate(struct key_ring *ring, int64_t now_s, struct error *err)
{
    if (ring->folder == NULL)
        return error_set(err, ERROR_CONFLICT,
                         "the signing key is a file of the settings: replace that file");
    pthread_mutex_lock(&ring->work);
    bool waits = ring->count > 0 && choose_signer(ring, now_s) != ring->count - 1;
    int status = waits ? error_set(err, ERROR_CONFLICT, "the newest key does not sign yet: wait")
                       : publish(ring, now_s, err);
    if (status == 0)
        set_signer(ring, choose_signer(ring, now_s), now_s);
    pthread_mutex_unlock(&ring->work);
    return status;
}

static void drop_ring(struct key_ring **ring)
{
    key_ring_close(*ring);
}

int key_ring_open(struct key_ring **out, const struct key_ring_options *options, struct error *err)
{
    OWNED(drop_ring) struct key_ring *ring = memory_new(sizeof(*ring));
    pthread_rwlockattr_t kind;
    bool changed;

    pthread_mutex_init(&ring->work, NULL);
    pthread_rwlockattr_init(&kind);
    /* a stream of readers must not hold a rotation back */
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&ring->lock, &kind);
    pthread_rwlockattr_destroy(&kind);
    ring->lead_s = options->lead_s;
    ring->keep_s = options->keep_s;
    ring->rotation_s = options->rotation_s;
    if (options->file != NULL && options->file[0] != 0)
        ring->path = memory_text(slice_of(options->file));
    else
        ring->folder = memory_text(slice_of(options->folder));
    if (ring->folder != NULL && key_folder_make(ring->folder, err) < 0)
        return -1;
    if (key_ring_advance(ring, time(NULL), &changed, err) < 0)
        return -1;
    *out = TAKE(ring);
    return 0;
}

void key_ring_close(struct key_ring *ring)
{
    if (ring == NULL)
        return;
    for (size_t i = 0; i < ring->count; i++)
        key_file_drop(&ring->entries[i].file);
    free(ring->entries);
    free(ring->keys.items); /* the keys were the entries' */
    free(ring->folder);
    free(ring->path);
    pthread_rwlock_destroy(&ring->lock);
    pthread_mutex_destroy(&ring->work);
    free(ring);
}

/* --- use: any thread --- */

/* The lock is not part of what const promises. */
static pthread_rwlock_t *lock_of(const struct key_ring *ring)
{
    return (pthread_rwlock_t *)(uintptr_t)&ring->lock;
}

void key_ring_sign(const struct key_ring *ring, struct slice payload, struct buffer *out)
{
    pthread_rwlock_rdlock(lock_of(ring));
    jwt_sign(ring->keys.items[ring->signer], payload, out);
    pthread_rwlock_unlock(lock_of(ring));
}

void key_ring_seal(const struct key_ring *ring, struct slice bytes, struct dsse_signature *out)
{
    pthread_rwlock_rdlock(lock_of(ring));
    jwt_key_seal(ring->keys.items[ring->signer], bytes, out);
    pthread_rwlock_unlock(lock_of(ring));
}

int key_ring_verify(const struct key_ring *ring, struct slice token, struct jwt_checks checks,
                    struct jwt_claims *out, struct error *err)
{
    pthread_rwlock_rdlock(lock_of(ring));
    checks.keys = &ring->keys;
    int status = jwt_verify(token, &checks, out, err);
    pthread_rwlock_unlock(lock_of(ring));
    return status;
}

bool key_ring_knows(const struct key_ring *ring, struct slice token)
{
    pthread_rwlock_rdlock(lock_of(ring));
    bool known = jwt_key_known(token, &ring->keys);
    pthread_rwlock_unlock(lock_of(ring));
    return known;
}

void key_ring_set(const struct key_ring *ring, struct buffer *json)
{
    buffer_append_text(json, "{\"keys\":[");
    pthread_rwlock_rdlock(lock_of(ring));
    for (size_t i = 0; i < ring->keys.count; i++) {
        buffer_append_text(json, i > 0 ? "," : "");
        jwt_key_write_jwk(ring->keys.items[i], json);
    }
    pthread_rwlock_unlock(lock_of(ring));
    buffer_append_text(json, "]}");
}

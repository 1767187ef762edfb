/* trusted.c - the public keys of other issuers: a JWK set file, read again when it changed.
 * Touches  the file.
 * Never    fetches a key; trusts one that a token brings along (TOK-48).
 *
 * What is read again replaces the set whole; what cannot be read leaves the old one. Any thread. */
#include <stdlib.h>

#include "auth/auth_internal.h"
#include "auth/watched.h"

enum { LOOK_AGAIN_MS = 10 * 1000 };

struct trusted {
    char *path; /* "": no keys */
    pthread_rwlock_t lock;
    struct jwt_keys keys;       /* under lock */
    pthread_mutex_t reading;    /* one reader of the file at a time */
    struct watched_stamp stamp; /* under reading */
    _Atomic uint64_t looked_ms; /* 0: never */
    _Atomic bool untold; /* a change that look_again found and trusted_reload has not told yet */
};

static void keys_replace(struct trusted *trusted, struct jwt_keys *keys)
{
    struct jwt_keys old;

    pthread_rwlock_wrlock(&trusted->lock);
    old = trusted->keys;
    trusted->keys = *keys;
    pthread_rwlock_unlock(&trusted->lock);
    jwt_keys_drop(&old);
}

static int reading_locked(struct trusted *trusted, bool force, bool *changed, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct watched_stamp now;
    struct jwt_keys keys = {0};
    int outcome = watched_read(trusted->path, "file of trusted keys",
                               force ? NULL : &trusted->stamp, &now, &text, err);

    if (outcome <= 0)
        return outcome;
    if (jwt_keys_parse(buffer_slice(&text), &keys, err) < 0) {
        err->code = ERROR_UNAVAILABLE;
        return error_set_status(err, error_code_status(ERROR_UNAVAILABLE));
    }
    keys_replace(trusted, &keys);
    trusted->stamp = now;
    *changed = true;
    return 0;
}

int trusted_reload(struct trusted *trusted, bool force, bool *changed, struct error *err)
{
    if (trusted->path[0] == 0)
        return 0;
    pthread_mutex_lock(&trusted->reading);
    int outcome = reading_locked(trusted, force, changed, err);
    pthread_mutex_unlock(&trusted->reading);
    if (atomic_exchange(&trusted->untold, false))
        *changed = true;
    return outcome;
}

static void trusted_drop(struct trusted **trusted)
{
    trusted_close(*trusted);
}

int trusted_open(struct trusted **out, const char *path, struct error *err)
{
    OWNED(trusted_drop) struct trusted *trusted = memory_new(sizeof(*trusted));
    bool changed = false;

    trusted->path = memory_text(slice_of(path == NULL ? "" : path));
    pthread_rwlock_init(&trusted->lock, NULL);
    pthread_mutex_init(&trusted->reading, NULL);
    if (trusted_reload(trusted, true, &changed, err) < 0)
        return -1;
    *out = TAKE(trusted);
    return 0;
}

void trusted_close(struct trusted *trusted)
{
    if (trusted == NULL)
        return;
    jwt_keys_drop(&trusted->keys);
    pthread_mutex_destroy(&trusted->reading);
    pthread_rwlock_destroy(&trusted->lock);
    free(trusted->path);
    free(trusted);
}

/* --- verifying --- */

static bool is_known(struct trusted *trusted, struct slice token)
{
    pthread_rwlock_rdlock(&trusted->lock);
    bool known = jwt_key_known(token, &trusted->keys);
    pthread_rwlock_unlock(&trusted->lock);
    return known;
}

/* Whoever comes first within the time looks; a token made up by a stranger costs one stat then. */
static void look_again(struct trusted *trusted)
{
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t looked_ms = atomic_load(&trusted->looked_ms);
    struct error ignored = {0};
    bool changed = false;

    if (now_ms - looked_ms < LOOK_AGAIN_MS && looked_ms != 0)
        return;
    if (!atomic_compare_exchange_strong(&trusted->looked_ms, &looked_ms, now_ms))
        return;
    if (trusted_reload(trusted, false, &changed, &ignored) < 0)
        error_clear(&ignored); /* the periodic reload tells */
    if (changed)
        atomic_store(&trusted->untold, true);
}

/* Spec: TOK-44. */
int trusted_verify(struct trusted *trusted, struct slice token, struct jwt_checks checks,
                   struct jwt_claims *out, struct error *err)
{
    if (trusted->path[0] != 0 && !is_known(trusted, token))
        look_again(trusted);
    pthread_rwlock_rdlock(&trusted->lock);
    checks.keys = &trusted->keys;
    int outcome = jwt_verify(token, &checks, out, err);
    pthread_rwlock_unlock(&trusted->lock);
    return outcome;
}

/* remember.c - callers whose credentials were right lately, by a keyed hash of what they showed.
 * Touches  memory, bounded by SETS * SET_SIZE bytes and SETS * WAYS callers.
 * Never    a credential that was wrong; decides whether a caller is still current.
 *
 * A table of sets; the hash names the set, and in it the caller that rested longest gives way. A
 * caller without a name never displaces one that has a name: tokens for nobody are free, and what
 * they would push out are passwords that were costly to judge.
 * Spec: TOK-43, TOK-61. */
#include <stdlib.h>

#include "auth/auth_internal.h"
#include "registry/core/digest.h"

enum {
    SETS = 1024, /* a power of two */
    WAYS = 8,
    SET_SIZE = 64 * 1024, /* bytes of callers in one set; above one with GRANTS_MAX grants */
    LOCKS = 64,
};

struct way {
    const struct caller *caller; /* held; NULL: free */
    uint64_t used;               /* the set's clock when it was asked for last */
};
struct set {
    uint64_t clock;
    struct way ways[WAYS];
};

struct remember {
    uint8_t seed[SECRET_HASH_SIZE]; /* so that the hash of a weak password tells nothing */
    pthread_mutex_t locks[LOCKS];   /* set i under lock i % LOCKS */
    struct set sets[SETS];
};

struct remember *remember_open(void)
{
    struct remember *remember = memory_new(sizeof(*remember));

    random_bytes(remember->seed, sizeof(remember->seed));
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_init(&remember->locks[i], NULL);
    return remember;
}

void remember_close(struct remember *remember)
{
    if (remember == NULL)
        return;
    for (size_t i = 0; i < SETS; i++)
        for (size_t way = 0; way < WAYS; way++)
            caller_drop(&remember->sets[i].ways[way].caller);
    for (size_t i = 0; i < LOCKS; i++)
        pthread_mutex_destroy(&remember->locks[i]);
    secret_wipe(remember->seed, sizeof(remember->seed));
    free(remember);
}

void remember_key(const struct remember *remember, char what, struct slice secret,
                  uint8_t out[SECRET_HASH_SIZE])
{
    struct hasher hasher;
    struct digest digest;

    hasher_start(&hasher, DIGEST_SHA256);
    hasher_update(&hasher, remember->seed, sizeof(remember->seed));
    hasher_update(&hasher, &what, 1);
    hasher_update(&hasher, secret.at, secret.size);
    hasher_digest(&hasher, &digest);
    memcpy(out, digest.bytes, SECRET_HASH_SIZE);
    secret_wipe(&hasher, sizeof(hasher));
}

static size_t set_of(const uint8_t key[SECRET_HASH_SIZE])
{
    return (key[0] | (size_t)key[1] << 8) % SETS;
}

static bool way_is(const struct way *way, const uint8_t key[SECRET_HASH_SIZE])
{
    return way->caller != NULL && memcmp(way->caller->key, key, SECRET_HASH_SIZE) == 0;
}

const struct caller *remember_find(struct remember *remember, const uint8_t key[SECRET_HASH_SIZE],
                                   int64_t now_us)
{
    size_t index = set_of(key);
    struct set *set = &remember->sets[index];
    const struct caller *found = NULL;

    pthread_mutex_lock(&remember->locks[index % LOCKS]);
    for (size_t i = 0; i < WAYS && found == NULL; i++)
        if (way_is(&set->ways[i], key)) {
            if (set->ways[i].caller->good_until <= now_us) {
                caller_drop(&set->ways[i].caller);
                break;
            }
            set->ways[i].used = ++set->clock;
            found = caller_hold(set->ways[i].caller);
        }
    pthread_mutex_unlock(&remember->locks[index % LOCKS]);
    return found;
}

static size_t set_cost(const struct set *set)
{
    size_t cost = 0;

    for (size_t i = 0; i < WAYS; i++)
        if (set->ways[i].caller != NULL)
            cost += caller_cost(set->ways[i].caller);
    return cost;
}

static bool is_nobody(const struct caller *caller)
{
    return caller->identity.kind == IDENTITY_ANONYMOUS;
}

static bool gives_way_before(const struct way *way, const struct way *other)
{
    bool nobody = is_nobody(way->caller);

    return nobody == is_nobody(other->caller) ? way->used < other->used : nobody;
}

/* The free way, or the one that gives way first. */
static struct way *way_oldest(struct set *set, bool free_too)
{
    struct way *oldest = NULL;

    for (size_t i = 0; i < WAYS; i++) {
        struct way *way = &set->ways[i];

        if (way->caller == NULL && free_too)
            return way;
        if (way->caller != NULL && (oldest == NULL || gives_way_before(way, oldest)))
            oldest = way;
    }
    return oldest;
}

/* Empties the way for the caller; false: it may not displace who is there. */
static bool way_clear(struct way *way, const struct caller *caller)
{
    if (way->caller != NULL && is_nobody(caller) && !is_nobody(way->caller))
        return false;
    caller_drop(&way->caller);
    return true;
}

static void set_put(struct set *set, const struct caller *caller)
{
    size_t cost = caller_cost(caller);
    struct way *way;

    for (size_t i = 0; i < WAYS; i++)
        if (way_is(&set->ways[i], caller->key))
            caller_drop(&set->ways[i].caller);
    while (set_cost(set) + cost > SET_SIZE)
        if (!way_clear(way_oldest(set, false), caller))
            return;
    way = way_oldest(set, true);
    if (way_clear(way, caller))
        *way = (struct way){caller_hold(caller), ++set->clock};
}

void remember_put(struct remember *remember, const struct caller *caller)
{
    size_t index = set_of(caller->key);

    if (caller->lasting || caller_cost(caller) > SET_SIZE)
        return;
    pthread_mutex_lock(&remember->locks[index % LOCKS]);
    set_put(&remember->sets[index], caller);
    pthread_mutex_unlock(&remember->locks[index % LOCKS]);
}

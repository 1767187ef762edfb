/* digest_set.c - open addressing over the short form of digests; see digest_set.h.
 * Touches  memory.
 * Never    grows beyond twice what it holds. */
#include "registry/transfer/digest_set.h"

#include <stdlib.h>
#include <string.h>

enum { KEY_MAX = 65 }; /* the algorithm and 64 bytes */

struct digest_slot {
    uint8_t size; /* 0: free */
    uint8_t key[KEY_MAX];
};

static size_t key_of(const struct digest *digest, uint8_t key[DIGEST_KEY_MAX])
{
    size_t size = digest_key(digest, key);

    return digest->algorithm == DIGEST_OTHER || size > KEY_MAX ? 0 : size;
}

/* Where the key is, or where it would be put. */
static struct digest_slot *find(const struct digest_set *set, const uint8_t *key, size_t size)
{
    size_t at = bytes_hash(set->seed, key, size) & (set->capacity - 1);

    while (set->slots[at].size != 0 &&
           (set->slots[at].size != size || memcmp(set->slots[at].key, key, size) != 0))
        at = (at + 1) & (set->capacity - 1);
    return &set->slots[at];
}

bool digest_set_has(const struct digest_set *set, const struct digest *digest)
{
    uint8_t key[DIGEST_KEY_MAX];
    size_t size = key_of(digest, key);

    return size > 0 && set->count > 0 && find(set, key, size)->size != 0;
}

static void grow(struct digest_set *set)
{
    struct digest_set larger = {.capacity = set->capacity == 0 ? 64 : 2 * set->capacity,
                                .count = set->count};

    random_bytes(&larger.seed, sizeof(larger.seed));
    larger.slots = memory_new(larger.capacity * sizeof(*larger.slots));
    for (size_t i = 0; i < set->capacity; i++)
        if (set->slots[i].size != 0)
            *find(&larger, set->slots[i].key, set->slots[i].size) = set->slots[i];
    free(set->slots);
    *set = larger;
}

bool digest_set_add(struct digest_set *set, const struct digest *digest)
{
    uint8_t key[DIGEST_KEY_MAX];
    size_t size = key_of(digest, key);

    if (size == 0)
        return false;
    if (set->count * 4 >= set->capacity * 3)
        grow(set);
    struct digest_slot *slot = find(set, key, size);
    if (slot->size != 0)
        return false;
    slot->size = (uint8_t)size;
    memcpy(slot->key, key, size);
    set->count++;
    return true;
}

void digest_set_drop(struct digest_set *set)
{
    free(set->slots);
    *set = (struct digest_set){.slots = NULL};
}

void digest_list_add(struct digest_list *list, const struct digest *digest)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->items = memory_resize(list->items, list->capacity * sizeof(*list->items));
    }
    list->items[list->count++] = *digest;
}

void digest_list_drop(struct digest_list *list)
{
    free(list->items);
    *list = (struct digest_list){.items = NULL};
}

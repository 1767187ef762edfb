/* slots.c - a table of fixed size in memory, for counts of callers that strangers can invent.
 * Touches  memory.
 * Never    grows; fails; locks. */
#include "auth/slots.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/digest.h"

enum { WAYS = 8, SEED_SIZE = 16 };

struct slot {
    uint64_t key;     /* 0: free */
    uint64_t used_ms; /* when it was looked at last */
    uint64_t value[];
};

struct slots {
    uint8_t seed[SEED_SIZE];
    size_t sets;
    size_t value_size;
    char *memory; /* sets of WAYS slots */
};

struct slots *slots_open(size_t count, size_t value_size)
{
    assert(count >= WAYS && (count & (count - 1)) == 0 && value_size % sizeof(uint64_t) == 0);
    struct slots *slots = memory_new(sizeof(*slots));

    random_bytes(slots->seed, sizeof(slots->seed));
    slots->sets = count / WAYS;
    slots->value_size = value_size;
    slots->memory = memory_new(count * (sizeof(struct slot) + value_size));
    return slots;
}

void slots_close(struct slots *slots)
{
    if (slots == NULL)
        return;
    free(slots->memory);
    free(slots);
}

static uint64_t key_of(const struct slots *slots, struct slice first, struct slice second)
{
    struct hasher hasher;
    struct digest digest;
    uint64_t key;

    hasher_start(&hasher, DIGEST_SHA256);
    hasher_update(&hasher, slots->seed, sizeof(slots->seed));
    hasher_update(&hasher, first.at, first.size);
    hasher_update(&hasher, second.at, second.size);
    hasher_digest(&hasher, &digest);
    memcpy(&key, digest.bytes, sizeof(key));
    return key == 0 ? 1 : key;
}

/* The slot of the key, or the one to give up for it. */
static struct slot *slot_of(const struct slots *slots, uint64_t key)
{
    size_t size = sizeof(struct slot) + slots->value_size;
    char *set = slots->memory + key % slots->sets * WAYS * size;
    struct slot *oldest = (void *)set;

    for (size_t i = 0; i < WAYS; i++) {
        struct slot *slot = (void *)(set + i * size);
        if (slot->key == key)
            return slot;
        if (slot->used_ms < oldest->used_ms || (slot->key == 0 && oldest->key != 0))
            oldest = slot;
    }
    return oldest;
}

void *slots_find(struct slots *slots, struct slice first, struct slice second, uint64_t now_ms)
{
    uint64_t key = key_of(slots, first, second);
    struct slot *slot = slot_of(slots, key);

    if (slot->key != key)
        return NULL;
    slot->used_ms = now_ms;
    return slot->value;
}

void *slots_take(struct slots *slots, struct slice first, struct slice second, uint64_t now_ms)
{
    uint64_t key = key_of(slots, first, second);
    struct slot *slot = slot_of(slots, key);

    if (slot->key != key)
        memset(slot->value, 0, slots->value_size);
    slot->key = key;
    slot->used_ms = now_ms;
    return slot->value;
}

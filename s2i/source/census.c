/* census.c - see census.h. */
#include "s2i/source/census.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/bytes.h"
#include "s2i/source/text.h"

enum { CAPACITY_FIRST = 64 }; /* a power of two */

struct counted {
    git_oid id;
    uint64_t count;
    bool used;
};

struct census {
    git_repository *repository;
    uint64_t most, seen; /* entries of the trees that were looked at: all of them are shown */
    struct counted *slots;
    size_t capacity, used;
};

static void tree_drop(git_tree **tree)
{
    git_tree_free(*tree);
}

/* The tree's slot, or the free one where it belongs. Half of them are free. */
static struct counted *slot_of(const struct census *census, const git_oid *id)
{
    size_t mask = census->capacity - 1, at;

    memcpy(&at, id->id, sizeof(at)); /* it is a hash */
    at &= mask;
    while (census->slots[at].used && !git_oid_equal(&census->slots[at].id, id))
        at = (at + 1) & mask;
    return &census->slots[at];
}

static void grow(struct census *census)
{
    OWNED(memory_drop) struct counted *old = census->slots;
    size_t count = census->capacity;

    census->capacity = count == 0 ? CAPACITY_FIRST : count * 2;
    census->slots = memory_new(census->capacity * sizeof(*census->slots));
    for (size_t i = 0; i < count; i++)
        if (old[i].used)
            *slot_of(census, &old[i].id) = old[i];
}

static void remember(struct census *census, const git_oid *id, uint64_t count)
{
    if (census->used * 2 >= census->capacity)
        grow(census);
    *slot_of(census, id) = (struct counted){*id, count, true};
    census->used++;
}

static uint64_t count_tree(struct census *census, const git_tree *tree, size_t depth);

static uint64_t count_folder(struct census *census, const git_oid *id, size_t depth)
{
    const struct counted *known = slot_of(census, id);
    OWNED(tree_drop) git_tree *tree = NULL;

    if (known->used)
        return known->count;
    if (depth == SOURCE_DEPTH_MAX || git_tree_lookup(&tree, census->repository, id) != 0)
        return 0;
    uint64_t count = count_tree(census, tree, depth + 1);
    remember(census, id, count);
    return count;
}

static uint64_t count_tree(struct census *census, const git_tree *tree, size_t depth)
{
    size_t entries = git_tree_entrycount(tree);
    uint64_t count = entries;

    census->seen += entries;
    for (size_t i = 0; i < entries && count <= census->most && census->seen <= census->most; i++) {
        const git_tree_entry *entry = git_tree_entry_byindex(tree, i);
        if (git_tree_entry_filemode(entry) == GIT_FILEMODE_TREE)
            count += count_folder(census, git_tree_entry_id(entry), depth);
    }
    return count > census->most || census->seen > census->most ? census->most + 1 : count;
}

uint64_t source_census(git_repository *repository, const git_tree *tree, uint64_t most)
{
    struct census census = {.repository = repository, .most = most};

    grow(&census);
    uint64_t count = count_tree(&census, tree, 1);
    free(census.slots);
    return count;
}

/* names.c - lists of texts; see names.h.
 * Touches  memory.
 * Never    files. */
#include "registry/transfer/names.h"

#include <stdlib.h>
#include <string.h>

void names_drop(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct names){.items = NULL};
}

void names_add(struct names *names, const char *name)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 16 : 2 * names->capacity;
        names->items = memory_resize(names->items, names->capacity * sizeof(char *));
    }
    names->items[names->count++] = memory_text(slice_of(name));
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void names_sort(struct names *names)
{
    if (names->count > 1)
        qsort(names->items, names->count, sizeof(char *), compare);
}

bool names_has(const struct names *sorted, const char *name)
{
    return sorted->count > 0 &&
           bsearch(&name, sorted->items, sorted->count, sizeof(char *), compare) != NULL;
}

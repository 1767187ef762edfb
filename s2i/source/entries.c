/* entries.c - see entries.h.
 * Touches  memory.
 * Never    contents. */
#include "s2i/source/entries.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/source/text.h"

enum { PATTERN_MAX = 1024, SHOWN_MAX = 100, LINK_MAX_SIZE = 4095, CAPACITY_FIRST = 256 };

static const char exclude_default[] = "(^|/)\\.git(/|$)";

int source_entry_refuse(struct error *err, struct slice path, const char *what)
{
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;

    source_text_clean(path, SHOWN_MAX, &shown);
    return error_set(err, ERROR_INVALID, "%.*s%s %s", SLICE_ARG(buffer_slice(&shown)),
                     path.size > SHOWN_MAX ? "..." : "", what);
}

/* --- exclude --- */

/* Back references make matching take as long as it likes. */
static bool has_reference(struct slice pattern)
{
    for (size_t i = 0; i + 1 < pattern.size; i++)
        if (pattern.at[i] == '\\' && pattern.at[++i] >= '1' && pattern.at[i] <= '9')
            return true;
    return false;
}

int source_exclude_open(struct exclude *out, struct slice pattern, struct error *err)
{
    char text[PATTERN_MAX + 1], why[100];

    *out = (struct exclude){.on = false};
    if (pattern.size == 0 || slice_equal_text(pattern, exclude_default))
        return 0;
    if (!slice_to_text(pattern, text, sizeof(text)) || has_reference(pattern))
        return error_set_field(err, "exclude",
                               "must be an extended regular expression of at most "
                               "1024 bytes without back references");
    int number = regcomp(&out->pattern, text, REG_EXTENDED | REG_NOSUB);
    if (number != 0) {
        regerror(number, &out->pattern, why, sizeof(why));
        return error_set_field(err, "exclude", "exclude is no regular expression: %s", why);
    }
    out->on = true;
    return 0;
}

void source_exclude_drop(struct exclude *exclude)
{
    if (exclude->on)
        regfree(&exclude->pattern);
    exclude->on = false;
}

bool source_exclude_matches(const struct exclude *exclude, const char *path)
{
    return exclude->on && regexec(&exclude->pattern, path, 0, NULL, 0) == 0;
}

bool source_exclude_matches_within(const struct exclude *exclude, struct slice path)
{
    char text[SOURCE_PATH_MAX + 1];

    if (!exclude->on || !slice_to_text(path, text, sizeof(text)))
        return false;
    for (char *slash = strchr(text, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool matches = source_exclude_matches(exclude, text);
        *slash = '/';
        if (matches)
            return true;
    }
    return source_exclude_matches(exclude, text);
}

/* --- entries --- */

void source_entries_drop(struct entries *entries)
{
    for (size_t i = 0; i < entries->count; i++)
        free(entries->items[i].path);
    free(entries->items);
    entries->items = NULL;
    entries->count = entries->capacity = 0;
}

int source_entries_expect(const struct entries *entries, uint64_t more, struct error *err)
{
    if (more <= entries->count_max && entries->count <= entries->count_max - more)
        return 0;
    return error_set(err, ERROR_INVALID, "the source has more than %llu files and folders",
                     (unsigned long long)entries->count_max);
}

/* The slot after the last; counted. */
static struct entry *take_slot(struct entries *entries, struct slice path, struct error *err)
{
    if (source_entries_expect(entries, 1, err) < 0)
        return NULL;
    if (entries->count == entries->capacity) {
        entries->capacity = entries->capacity == 0 ? CAPACITY_FIRST : entries->capacity * 2;
        entries->items = memory_resize(entries->items, entries->capacity * sizeof(struct entry));
    }
    struct entry *entry = &entries->items[entries->count];
    *entry = (struct entry){.path = memory_text(path),
                            .path_size = path.size,
                            .kind = ENTRY_FOLDER,
                            .order = entries->count};
    entries->count++;
    return entry;
}

static int check_size(const struct entries *entries, struct slice path, enum entry_kind kind,
                      uint64_t size, struct error *err)
{
    if (kind == ENTRY_LINK && (size == 0 || size > LINK_MAX_SIZE))
        return source_entry_refuse(err, path, "is a symbolic link without a usable target");
    if (size > entries->blob_max)
        return source_entry_refuse(err, path, "is larger than a file of a source may be");
    if (size > entries->bytes_max - entries->bytes)
        return error_set(err, ERROR_INVALID, "the source holds more than %llu bytes",
                         (unsigned long long)entries->bytes_max);
    return 0;
}

struct entry *source_entries_add(struct entries *entries, struct slice path, enum entry_kind kind,
                                 uint64_t size, struct error *err)
{
    struct entry *entry;

    if (!source_path_valid(path)) {
        source_entry_refuse(err, path, "is a name that a source must not have");
        return NULL;
    }
    if (check_size(entries, path, kind, size, err) < 0 ||
        (entry = take_slot(entries, path, err)) == NULL)
        return NULL;
    entry->kind = kind;
    entry->size = size;
    entries->bytes += size;
    return entry;
}

static struct slice path_of(const struct entry *entry)
{
    return (struct slice){entry->path, entry->path_size};
}

/* As a walk of the tree comes by: a folder, then all that is in it. */
static int compare_walk(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    const unsigned char *l = (const unsigned char *)left->path,
                        *r = (const unsigned char *)right->path;

    while (*l != '\0' && *l == *r) {
        l++;
        r++;
    }
    if (*l != *r) {
        unsigned x = *l == '/' ? 1 : *l + 1U * (*l != '\0'),
                 y = *r == '/' ? 1 : *r + 1U * (*r != '\0');
        return x < y ? -1 : 1;
    }
    return left->order < right->order ? -1 : left->order > right->order;
}

static int compare_bytes(const void *a, const void *b)
{
    return slice_compare(path_of(a), path_of(b));
}

/* Of one path the last that came is kept. */
static int drop_doubles(struct entries *entries, bool unique, struct error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < entries->count; i++) {
        struct entry *entry = &entries->items[i];
        bool again = kept > 0 && strcmp(entries->items[kept - 1].path, entry->path) == 0;
        if (again && unique)
            return source_entry_refuse(err, path_of(entry), "comes twice in its folder");
        if (again)
            free(entries->items[--kept].path);
        struct entry moved = *entry;
        entry->path = NULL;
        entries->items[kept++] = moved;
    }
    entries->count = kept;
    return 0;
}

static bool is_within(const struct entry *folder, const struct entry *entry, size_t size)
{
    return folder != NULL && folder->path_size == size &&
           memcmp(folder->path, entry->path, size) == 0;
}

/* Every folder that the entry is in is there, or is added behind the others. `chain`: places of the
 * folders that hold the entry before this one. */
static int add_folders(struct entries *entries, size_t at, size_t chain[SOURCE_DEPTH_MAX],
                       size_t *depth, struct error *err)
{
    size_t level = 0;

    for (size_t end = 0; end < entries->items[at].path_size; end++) {
        if (entries->items[at].path[end] != '/')
            continue;
        struct entry *held = level < *depth ? &entries->items[chain[level]] : NULL;
        if (!is_within(held, &entries->items[at], end)) {
            *depth = level;
            struct slice path = {entries->items[at].path, end};
            if (take_slot(entries, path, err) == NULL)
                return -1;
            chain[(*depth)++] = entries->count - 1;
        } else if (held->kind != ENTRY_FOLDER) {
            return source_entry_refuse(err, path_of(held),
                                       "is a file, and a folder of other files");
        }
        level++;
    }
    *depth = level;
    chain[(*depth)++] = at;
    return 0;
}

int source_entries_settle(struct entries *entries, bool unique, struct error *err)
{
    size_t chain[SOURCE_DEPTH_MAX + 1], depth = 0, given;

    if (entries->count == 0)
        return 0;
    qsort(entries->items, entries->count, sizeof(struct entry), compare_walk);
    if (drop_doubles(entries, unique, err) < 0)
        return -1;
    given = entries->count;
    for (size_t i = 0; i < given; i++)
        if (add_folders(entries, i, chain, &depth, err) < 0)
            return -1;
    qsort(entries->items, entries->count, sizeof(struct entry), compare_bytes);
    return 0;
}

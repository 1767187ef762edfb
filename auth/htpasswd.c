/* htpasswd.c - a password file: name:bcrypt a line.
 * Touches  the file.
 * Never    writes it; takes other hashes than bcrypt.
 *
 * What was read stands as one text with its entries sorted by name. */
#include "auth/htpasswd.h"

#include <pthread.h>
#include <stdlib.h>

#include "auth/watched.h"

enum { ENTRIES_MAX = 10000, NAME_SIZE_MAX = 255 };

struct entry {
    struct slice name, hash; /* point into the text */
    size_t line;
};

struct content {
    struct buffer text;
    struct entry *entries; /* by name */
    size_t count;
    unsigned cost;
};

struct htpasswd {
    char *path;                /* immutable */
    pthread_mutex_t reloading; /* of stamp; held while the file is read */
    struct watched_stamp stamp;
    pthread_mutex_t lock; /* of content; taken last */
    struct content *content;
};

/* --- one line --- */

/* A character people see, or a space: no control character, no byte order mark. */
static size_t printable_size(struct slice s)
{
    size_t size = utf8_size(s);
    unsigned char first = s.size > 0 ? (unsigned char)s.at[0] : 0;

    if (size == 1 && (first < 0x20 || first == 0x7f))
        return 0;
    if (size == 2 && first == 0xc2 && (unsigned char)s.at[1] < 0xa0)
        return 0;
    return slice_starts(s, "\xef\xbb\xbf") ? 0 : size;
}

static bool all_printable(struct slice s)
{
    while (s.size > 0) {
        size_t size = printable_size(s);
        if (size == 0)
            return false;
        s = slice_from(s, size);
    }
    return true;
}

/* Spec: TOK-61. */
int htpasswd_line_parse(struct slice line, struct slice *name, struct slice *hash,
                        struct error *err)
{
    struct slice trimmed = slice_trim(line);

    if (trimmed.size == 0 || trimmed.at[0] == '#')
        return 0;
    if (!all_printable(line))
        return error_set(err, ERROR_INVALID, "has a control character or is not UTF-8");
    if (!slice_split(line, ':', name, hash))
        return error_set(err, ERROR_INVALID, "expected name:hash");
    if (name->size == 0 || name->size > NAME_SIZE_MAX)
        return error_set(err, ERROR_INVALID, "name is empty or longer than %d bytes",
                         NAME_SIZE_MAX);
    unsigned cost = password_bcrypt_cost(*hash);
    if (cost == 0)
        return error_set(err, ERROR_INVALID,
                         "hash is not bcrypt, the only kind that is read (htpasswd -B)");
    if (cost > BCRYPT_COST_MAX)
        return error_set(err, ERROR_INVALID, "bcrypt cost %u exceeds the limit of %d", cost,
                         BCRYPT_COST_MAX);
    return 1;
}

/* --- the content --- */

static void content_drop(struct content **owned)
{
    if (*owned == NULL)
        return;
    buffer_drop(&(*owned)->text);
    free((*owned)->entries);
    free(*owned);
    *owned = NULL;
}

static int entry_compare(const void *a, const void *b)
{
    const struct entry *left = a, *right = b;
    int order = slice_compare(left->name, right->name);

    return order != 0 ? order : (left->line > right->line) - (left->line < right->line);
}

static void content_add(struct content *content, struct entry entry)
{
    unsigned cost = password_bcrypt_cost(entry.hash);

    if ((content->count & (content->count + 1)) == 0) /* one below a power of two: full */
        content->entries =
            memory_resize(content->entries, (2 * content->count + 1) * sizeof(*content->entries));
    content->entries[content->count++] = entry;
    if (cost > content->cost)
        content->cost = cost;
}

static int content_sort(struct content *content, struct error *err)
{
    if (content->count == 0)
        return 0;
    qsort(content->entries, content->count, sizeof(*content->entries), entry_compare);
    for (size_t i = 1; i < content->count; i++)
        if (slice_equal(content->entries[i - 1].name, content->entries[i].name))
            return error_set(err, ERROR_INVALID,
                             "password file, line %zu: name stands in line %zu already",
                             content->entries[i].line, content->entries[i - 1].line);
    return 0;
}

static int content_parse(struct content *content, struct error *err)
{
    struct slice rest = buffer_slice(&content->text), line;

    for (size_t number = 1; rest.size > 0; number++) {
        struct error fault = {0};
        struct entry entry = {.line = number};
        struct slice all = rest;
        (void)slice_split(all, '\n', &line, &rest);
        int outcome = htpasswd_line_parse(line, &entry.name, &entry.hash, &fault);
        if (outcome < 0)
            return error_set(err, ERROR_INVALID, "password file, line %zu: %s", number,
                             fault.message);
        if (outcome > 0 && content->count == ENTRIES_MAX)
            return error_set(err, ERROR_INVALID, "password file, line %zu: more than %d names",
                             number, ENTRIES_MAX);
        if (outcome > 0)
            content_add(content, entry);
    }
    return content_sort(content, err);
}

/* --- the file --- */

int htpasswd_open(struct htpasswd **out, const char *path, struct error *err)
{
    struct htpasswd *file = memory_new(sizeof(*file));
    bool changed;

    file->path = memory_text(slice_of(path));
    file->content = memory_new(sizeof(*file->content));
    pthread_mutex_init(&file->reloading, NULL);
    pthread_mutex_init(&file->lock, NULL);
    if (htpasswd_reload(file, true, &changed, err) < 0) {
        htpasswd_close(file);
        return -1;
    }
    *out = file;
    return 0;
}

void htpasswd_close(struct htpasswd *file)
{
    if (file == NULL)
        return;
    content_drop(&file->content);
    pthread_mutex_destroy(&file->lock);
    pthread_mutex_destroy(&file->reloading);
    free(file->path);
    free(file);
}

/* True when the content is another; the old one is then in *content, to be dropped. */
static bool content_replace(struct htpasswd *file, struct content **content)
{
    pthread_mutex_lock(&file->lock);
    struct content *old = file->content;
    bool changed = !slice_equal(buffer_slice(&old->text), buffer_slice(&(*content)->text));
    file->content = *content;
    pthread_mutex_unlock(&file->lock);
    *content = old;
    return changed;
}

static int reload_alone(struct htpasswd *file, bool force, bool *changed, struct error *err)
{
    OWNED(content_drop) struct content *content = memory_new(sizeof(*content));
    struct watched_stamp now;
    int outcome = watched_read(file->path, "password file", force ? NULL : &file->stamp, &now,
                               &content->text, err);

    if (outcome <= 0)
        return outcome;
    if (content_parse(content, err) < 0)
        return -1;
    file->stamp = now;
    *changed = content_replace(file, &content);
    return 0;
}

int htpasswd_reload(struct htpasswd *file, bool force, bool *changed, struct error *err)
{
    *changed = false;
    pthread_mutex_lock(&file->reloading);
    int outcome = reload_alone(file, force, changed, err);
    pthread_mutex_unlock(&file->reloading);
    return outcome;
}

/* --- questions --- */

bool htpasswd_find(struct htpasswd *file, struct slice name, char out[PASSWORD_HASH_MAX])
{
    bool found = false;

    pthread_mutex_lock(&file->lock);
    struct content *content = file->content;
    size_t low = 0, high = content->count;
    while (low < high && !found) {
        size_t middle = low + (high - low) / 2;
        const struct entry *entry = &content->entries[middle];
        int order = slice_compare(name, entry->name);
        found = order == 0 && slice_to_text(entry->hash, out, PASSWORD_HASH_MAX);
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    pthread_mutex_unlock(&file->lock);
    return found;
}

unsigned htpasswd_cost(struct htpasswd *file)
{
    pthread_mutex_lock(&file->lock);
    unsigned cost = file->content->cost;
    pthread_mutex_unlock(&file->lock);
    return cost;
}

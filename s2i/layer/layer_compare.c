/* layer_compare.c - what two stored layers differ in, entry by entry.
 * Touches  the descriptors it is given; memory for a line of each entry.
 * Never    writes a file; trusts a name: it is shown as path_shown does.
 *
 * Spec: s2i 15.2 */
#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer_internal.h"

enum { TEXTS_MAX = 128 << 20 }; /* bytes of paths and links of a layer: they stay in memory */

struct line {
    char *path, *link;
    char type;
    uint32_t mode;
    uint64_t uid, gid;
    int64_t mtime;
    struct digest content, xattrs;
};
struct table {
    struct line *lines;
    size_t count, capacity;
    uint64_t bytes; /* of texts */
};

static void table_drop(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->lines[i].path);
        free(table->lines[i].link);
    }
    free(table->lines);
    *table = (struct table){.lines = NULL};
}

static struct line *table_add(struct table *table, const struct tar_entry *entry)
{
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 256 : 2 * table->capacity;
        table->lines = memory_resize(table->lines, table->capacity * sizeof(*table->lines));
    }
    struct line *line = &table->lines[table->count++];
    *line = (struct line){.path = memory_text(entry->path),
                          .link = memory_text(entry->link.at == NULL ? SLICE("") : entry->link),
                          .type = entry->type,
                          .mode = entry->mode,
                          .uid = entry->uid,
                          .gid = entry->gid,
                          .mtime = entry->mtime};
    return line;
}

static void xattrs_hash(const struct tar_entry *entry, struct digest *out)
{
    struct hasher hasher;

    hasher_start(&hasher, DIGEST_SHA256);
    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct slice *name = &entry->xattrs[i].name, *value = &entry->xattrs[i].value;
        hasher_update(&hasher, &name->size, sizeof(name->size));
        hasher_update(&hasher, name->at, name->size);
        hasher_update(&hasher, &value->size, sizeof(value->size));
        hasher_update(&hasher, value->at, value->size);
    }
    hasher_digest(&hasher, out);
}

static int content_hash(struct tar_reader *reader, char *piece, struct digest *out,
                        struct error *err)
{
    struct hasher hasher;
    size_t got;

    hasher_start(&hasher, DIGEST_SHA256);
    do {
        if (tar_read(reader, piece, LAYER_BUFFER, &got, err) < 0)
            return -1;
        hasher_update(&hasher, piece, got);
    } while (got > 0);
    hasher_digest(&hasher, out);
    return 0;
}

static void reader_drop(struct tar_reader **reader)
{
    tar_reader_close(*reader);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->path, ((const struct line *)b)->path);
}

static int table_read(int fd, const struct s2i_layer *layer, const struct layer_limits *limits,
                      struct table *out, struct error *err)
{
    OWNED(inflater_drop)
    struct inflater *inflater = inflater_open(fd, packing_of(layer->media_type), limits, 0);
    OWNED(reader_drop) struct tar_reader *reader = tar_reader_open(inflater_feed, inflater);
    OWNED(memory_drop) char *piece = memory_new(LAYER_BUFFER);
    struct tar_entry entry;
    int more;

    while ((more = tar_next(reader, &entry, err)) == 1) {
        out->bytes += entry.path.size + entry.link.size;
        if (out->count == limits->entries_max || out->bytes > TEXTS_MAX)
            return error_set(err, ERROR_INVALID, "a layer has too many entries to be compared");
        struct line *line = table_add(out, &entry);
        xattrs_hash(&entry, &line->xattrs);
        if (content_hash(reader, piece, &line->content, err) < 0)
            return -1;
    }
    if (out->count > 0)
        qsort(out->lines, out->count, sizeof(*out->lines), by_path);
    return more;
}

/* --- comparing --- */

struct comparing {
    struct s2i_list *out;
    size_t most;
};

static void tell(const struct comparing *with, const struct line *line, const char *what)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char shown[SHOWN_MAX];

    if (with->out->count == with->most)
        return;
    buffer_print(&text, "%s: %s", path_shown(slice_of(line->path), shown), what);
    s2i_list_add(with->out, buffer_slice(&text));
}

static void compare(const struct comparing *with, const struct line *one, const struct line *other)
{
    const struct {
        bool differs;
        const char *what;
    } parts[] = {
        {one->type != other->type, "type"},
        {!digest_equal(&one->content, &other->content), "content"},
        {strcmp(one->link, other->link) != 0, "target"},
        {one->mode != other->mode, "mode"},
        {one->uid != other->uid || one->gid != other->gid, "owner"},
        {one->mtime != other->mtime, "time"},
        {!digest_equal(&one->xattrs, &other->xattrs), "attributes"},
    };
    OWNED(buffer_drop) struct buffer words = BUFFER_NONE;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].differs)
            buffer_print(&words, "%s%s", words.size == 0 ? "" : ", ", parts[i].what);
    if (words.size == 0)
        return;
    buffer_append(&words, "", 1);
    tell(with, one, words.at);
}

static void merge(const struct comparing *with, const struct table *one, const struct table *other)
{
    size_t i = 0, n = 0;

    while (i < one->count || n < other->count) {
        int order = i == one->count     ? 1
                    : n == other->count ? -1
                                        : strcmp(one->lines[i].path, other->lines[n].path);
        if (order < 0)
            tell(with, &one->lines[i++], "only in the first");
        else if (order > 0)
            tell(with, &other->lines[n++], "only in the second");
        else
            compare(with, &one->lines[i++], &other->lines[n++]);
    }
}

int layer_differences(const struct layer_pair *one, const struct layer_pair *other,
                      const struct layer_limits *limits, size_t most, struct s2i_list *out,
                      struct error *err)
{
    OWNED(table_drop) struct table first = {.lines = NULL}, second = {.lines = NULL};
    const struct comparing with = {out, most};

    if (table_read(one->fd, one->layer, limits, &first, err) < 0 ||
        table_read(other->fd, other->layer, limits, &second, err) < 0)
        return -1;
    merge(&with, &first, &second);
    return 0;
}

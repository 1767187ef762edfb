/* rebase_tree.c - names of layers merged into one tree, and two of them compared below a third.
 * Touches  memory only.
 * Never    keeps content: a file is its digest.
 *
 * Files stand in an order in which '/' comes before every other byte: all that is below a folder
 * follows it at once, so that a layer is merged in one walk. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/rebase.h"

/* In one layer and at one path, what hides comes before what is there. */
enum kind { WHITEOUT, OPAQUE, FOLDER, OTHER };

struct file {
    char *path;
    enum kind kind;
    size_t place;        /* in its layer: the last of a name counts */
    char *target;        /* of a hard link, until the layer is over */
    struct digest print; /* of all that counts about it */
};
struct files {
    struct file *items;
    size_t count, room;
};
struct rebase_tree {
    bool own;
    struct files settled, layer;
};

static void file_drop(struct file *file)
{
    free(file->path);
    free(file->target);
}

static void files_drop(struct files *files)
{
    for (size_t i = 0; i < files->count; i++)
        file_drop(&files->items[i]);
    free(files->items);
    *files = (struct files){.items = NULL};
}

static void files_add(struct files *files, const struct file *file)
{
    if (files->count == files->room) {
        files->room = files->room == 0 ? 64 : 2 * files->room;
        files->items = memory_resize(files->items, files->room * sizeof(*files->items));
    }
    files->items[files->count++] = *file;
}

struct rebase_tree *rebase_tree_new(bool own)
{
    struct rebase_tree *tree = memory_new(sizeof(*tree));

    tree->own = own;
    return tree;
}

void rebase_tree_drop(struct rebase_tree **tree)
{
    if (*tree == NULL)
        return;
    files_drop(&(*tree)->settled);
    files_drop(&(*tree)->layer);
    free(*tree);
    *tree = NULL;
}

/* --- order --- */

static int compare_paths(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    if (*a == *b)
        return 0;
    if (*a == 0 || *b == 0)
        return *a == 0 ? -1 : 1;
    if (*a == '/' || *b == '/')
        return *a == '/' ? -1 : 1;
    return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

static bool is_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);

    return strncmp(path, folder, size) == 0 && path[size] == '/';
}

static bool is_hider(const struct file *file)
{
    return file->kind == WHITEOUT || file->kind == OPAQUE;
}

static int compare_files(const void *one, const void *other)
{
    const struct file *a = one, *b = other;
    int order = compare_paths(a->path, b->path);

    if (order != 0)
        return order;
    if (is_hider(a) != is_hider(b))
        return is_hider(a) ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

/* The last file of that path, or NULL. */
static const struct file *find(const struct files *files, const char *path)
{
    size_t low = 0, high = files->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_paths(files->items[middle].path, path) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || strcmp(files->items[low - 1].path, path) != 0)
        return NULL;
    return &files->items[low - 1];
}

/* --- entries --- */

static void hash_text(struct hasher *hasher, struct slice text)
{
    uint64_t size = text.size;

    hasher_update(hasher, &size, sizeof(size));
    hasher_update(hasher, text.at, text.size);
}

/* Times do not count; of a folder its size does not either. */
static void print_of(const struct rebase_entry *entry, struct digest *out)
{
    const uint64_t numbers[] = {(uint64_t)entry->type, entry->mode, entry->uid, entry->gid,
                                entry->type == '0' ? entry->size : 0};
    struct hasher hasher;
    char digest[DIGEST_TEXT_MAX];

    hasher_start(&hasher, DIGEST_SHA256);
    hasher_update(&hasher, numbers, sizeof(numbers));
    hash_text(&hasher, entry->type == '0' ? SLICE("") : entry->link);
    if (entry->type == '0' && digest_is_set(&entry->content))
        hash_text(&hasher, slice_of(digest_text(&entry->content, digest)));
    hash_text(&hasher, entry->xattrs);
    hasher_digest(&hasher, out);
}

/* Without "./" and slashes at the ends. */
static struct slice trim(struct slice path)
{
    while (slice_starts(path, "/") || slice_starts(path, "./"))
        path = slice_from(path, path.at[0] == '/' ? 1 : 2);
    while (slice_ends(path, "/"))
        path.size--;
    return slice_equal(path, SLICE(".")) ? SLICE_NONE : path;
}

/* Takes a whiteout's mark off the path. */
static enum kind unmark(struct slice path, char type, struct buffer *out)
{
    const char *slash = path.size == 0 ? NULL : memrchr(path.at, '/', path.size);
    size_t folder = slash == NULL ? 0 : (size_t)(slash - path.at) + 1;
    struct slice name = slice_from(path, folder);

    if (slice_equal(name, SLICE(".wh..wh..opq"))) {
        buffer_append(out, path.at, folder > 0 ? folder - 1 : 0);
        return OPAQUE;
    }
    buffer_append(out, path.at, folder);
    if (slice_starts(name, ".wh.")) {
        buffer_append_slice(out, slice_from(name, 4));
        return WHITEOUT;
    }
    buffer_append_slice(out, name);
    return type == '5' ? FOLDER : OTHER;
}

void rebase_tree_put(struct rebase_tree *tree, const struct rebase_entry *entry)
{
    struct slice path = trim(entry->path);
    struct file file = {.place = tree->layer.count};
    struct buffer plain = BUFFER_NONE;

    if (path.size == 0)
        return;
    file.kind = unmark(path, entry->type, &plain);
    file.path = memory_text(buffer_slice(&plain));
    buffer_drop(&plain);
    print_of(entry, &file.print);
    if (file.kind == OTHER && entry->type == '1')
        file.target = memory_text(trim(entry->link));
    files_add(&tree->layer, &file);
}

/* --- a layer is over --- */

/* A hard link is what it links to. */
static void resolve(struct rebase_tree *tree, struct file *file)
{
    enum { CHAIN_MAX = 8 };
    const struct file *target = file;

    for (int i = 0; i < CHAIN_MAX && target != NULL && target->target != NULL; i++) {
        const struct file *next = find(&tree->layer, target->target);
        target = next != NULL ? next : find(&tree->settled, target->target);
    }
    if (target != NULL && target != file && target->target == NULL)
        file->print = target->print;
}

/* Below which path the layer takes everything away, once this file of it is passed: a mark, or what
 * was a folder and is none. */
static const char *hides(const struct file *file, const char *hidden)
{
    if (hidden != NULL && is_below(file->path, hidden))
        return hidden;
    if (file->kind == FOLDER)
        return hidden != NULL && strcmp(hidden, file->path) == 0 ? hidden : NULL;
    return file->path;
}

/* Moves those of below that come before `path` on, unless they are hidden. */
static void pass(struct files *out, struct files *below, size_t *at, const char *path,
                 const char *hidden)
{
    for (; *at < below->count; ++*at) {
        struct file *file = &below->items[*at];
        if (path != NULL && compare_paths(file->path, path) >= 0)
            return;
        if (hidden != NULL && is_below(file->path, hidden))
            file_drop(file);
        else
            files_add(out, file);
    }
}

/* The last of a path counts; marks stay only where they are asked for. */
static bool is_kept(const struct rebase_tree *tree, size_t i)
{
    const struct files *layer = &tree->layer;

    if (i + 1 < layer->count && strcmp(layer->items[i].path, layer->items[i + 1].path) == 0)
        return false;
    return tree->own || !is_hider(&layer->items[i]);
}

static void merge(struct rebase_tree *tree, struct files *out)
{
    struct files *layer = &tree->layer, *below = &tree->settled;
    const char *hidden = NULL;
    size_t at = 0;

    for (size_t i = 0; i < layer->count; i++) {
        struct file *file = &layer->items[i];
        bool kept = is_kept(tree, i);
        pass(out, below, &at, file->path, hidden);
        /* a folder that is emptied stays itself */
        if (at < below->count && file->kind != OPAQUE &&
            strcmp(below->items[at].path, file->path) == 0)
            file_drop(&below->items[at++]);
        hidden = hides(file, hidden);
        free(file->target);
        file->target = NULL;
        if (!kept)
            continue; /* its path may be `hidden`: freed with the layer */
        files_add(out, file);
        file->path = NULL;
    }
    pass(out, below, &at, NULL, hidden);
}

void rebase_tree_layer_end(struct rebase_tree *tree)
{
    struct files out = {.items = NULL};

    if (tree->layer.count > 0)
        qsort(tree->layer.items, tree->layer.count, sizeof(*tree->layer.items), compare_files);
    for (size_t i = 0; i < tree->layer.count; i++)
        resolve(tree, &tree->layer.items[i]);
    merge(tree, &out);
    files_drop(&tree->layer);
    free(tree->settled.items);
    tree->settled = out;
}

/* --- comparing --- */

/* Whether a file of the image's own brings an old version back, or hides a new one. */
static bool conflicts(const struct file *own, const struct file *before, const struct file *after)
{
    if (before != NULL && after != NULL) {
        if (is_hider(own)) /* taken away again, but not what became something else */
            return (before->kind == FOLDER) != (after->kind == FOLDER);
        return !digest_equal(&before->print, &after->print);
    }
    if (is_hider(own) || (before == NULL && after == NULL))
        return false;
    if (before != NULL) /* the base has it no more */
        return own->kind != FOLDER;
    return own->kind != FOLDER || after->kind != FOLDER;
}

void rebase_conflicts(const struct rebase_tree *own, const struct rebase_tree *old_base,
                      const struct rebase_tree *new_base, size_t most, struct s2i_list *out)
{
    for (size_t i = 0; i < own->settled.count && out->count < most; i++) {
        const struct file *file = &own->settled.items[i];
        if (conflicts(file, find(&old_base->settled, file->path),
                      find(&new_base->settled, file->path)))
            s2i_list_add(out, slice_of(file->path));
    }
}

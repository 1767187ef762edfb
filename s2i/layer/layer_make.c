/* layer_make.c - what a build changed becomes one layer: the same changes give the same bytes.
 * Touches  the upper and lower directories, for reading; the sink.
 * Never    holds a file, or more than the folders on one way down, in memory.
 *
 * All processes of the build are dead: nothing changes under us, and what does fails the build. One
 * pass: files are read into the tar's buffer, which is hashed, compressed and given away when it is
 * full. Spec: s2i 15.6, 17.1, 17.2, 17.11, 17.12, 18.2, 18.3 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/fd.h"
#include "registry/core/glob.h"
#include "s2i/layer/make.h"

/* --- which entries --- */

static bool is_below(struct slice path, const char *top)
{
    size_t size = strlen(top);

    return path.size >= size && memcmp(path.at, top, size) == 0 &&
           (path.size == size || path.at[size] == '/');
}

static bool left_out(const struct maker *maker, struct slice path)
{
    for (const char *const *at = maker->make->left_out; at != NULL && *at != NULL; at++)
        if (is_below(path, *at))
            return true;
    return false;
}

/* Something below this folder is left out. */
static bool holds_left_out(const struct maker *maker, struct slice path)
{
    for (const char *const *at = maker->make->left_out; at != NULL && *at != NULL; at++) {
        struct slice out = slice_of(*at);
        if (out.size > path.size && out.at[path.size] == '/' &&
            memcmp(out.at, path.at, path.size) == 0)
            return true;
    }
    return false;
}

/* The slice a path belongs to: of the first pattern that stands for it or a folder above it. */
static size_t slice_number(const struct s2i_list *slices, struct slice path)
{
    for (size_t i = 0; i < slices->count; i++) {
        struct slice name, pattern;
        slice_split(slice_of(slices->items[i]), '=', &name, &pattern);
        for (size_t end = 0; end <= path.size; end++)
            if ((end == path.size || path.at[end] == '/') &&
                glob_matches(pattern, (struct slice){path.at, end}))
                return i;
    }
    return slices->count;
}

static bool wanted(const struct maker *maker, struct slice path)
{
    return maker->make->slices == NULL ||
           slice_number(maker->make->slices, path) == maker->make->slice;
}

/* --- folders --- */

/* "folder/name" */
static int child_path(const struct walk_folder *folder, const char *name, struct buffer *out,
                      struct error *err)
{
    out->size = 0;
    if (folder->path.size > 0) {
        buffer_append_slice(out, folder->path);
        buffer_append_text(out, "/");
    }
    buffer_append_text(out, name);
    if (out->size > LAYER_PATH_MAX)
        return make_refuse(buffer_slice(out), "is too long a path", err);
    return 0;
}

/* Whether lowers do not show through, and what of them has to be whited out then. A folder below an
 * opaque one has no mark of its own: it inherits. Spec: 18.2 */
static int look_through(const struct maker *maker, struct walk_folder *folder,
                        struct walk_names *names, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    char text[LAYER_PATH_MAX + 1];

    folder->hidden = folder->parent != NULL && folder->parent->hidden;
    if (folder->parent == NULL)
        return 0;
    if (!folder->hidden) {
        if (!slice_to_text(folder->path, text, sizeof(text)))
            return make_refuse(folder->path, "is too long a path", err);
        fd = open_below(maker->make->upper, text, O_RDONLY | O_DIRECTORY, false);
        folder->hidden = fd >= 0 && is_opaque(fd, &maker->make->ids);
    }
    return folder->hidden ? walk_hidden(maker->make, folder, names, err) : 0;
}

/* A folder that only has what is left out, and is as the lowers show it, was not changed. */
static int unchanged(const struct maker *maker, struct walk_folder *folder, bool *out,
                     struct error *err)
{
    const struct layer_make *make = maker->make;
    char text[LAYER_PATH_MAX + 1];
    struct stat here, below;
    size_t lower;

    *out = false;
    if (folder->hidden || !slice_to_text(folder->path, text, sizeof(text)))
        return 0;
    if (walk_shown(make, folder->parent, folder->path, out, &lower, &below, err) < 0)
        return -1;
    *out = *out && fstatat(make->upper, text, &here, AT_SYMLINK_NOFOLLOW) == 0 &&
           here.st_mode == below.st_mode && here.st_uid == below.st_uid &&
           here.st_gid == below.st_gid;
    return 0;
}

static int walk(struct maker *maker, struct walk_folder *folder, struct error *err);

static int walk_child(struct maker *maker, struct walk_folder *folder, const struct walk_name *name,
                      struct slice path, struct error *err)
{
    if (left_out(maker, path))
        return 0;
    if (name->whiteout)
        return wanted(maker, path) ? make_whiteout(maker, folder, name->name, path, err) : 0;
    if (slice_starts(slice_of(name->name), WHITEOUT_PREFIX))
        return make_refuse(path, "has no place in a layer: '.wh.' marks what was removed", err);
    if (!name->folder)
        return wanted(maker, path) ? make_file(maker, folder, path, err) : 0;

    OWNED(walk_folder_drop) struct walk_folder below = {.parent = folder, .path = path};
    return walk(maker, &below, err);
}

static int walk_children(struct maker *maker, struct walk_folder *folder,
                         const struct walk_names *names, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    for (size_t i = 0; i < names->count; i++)
        if (make_go_on(maker, err) < 0 ||
            child_path(folder, names->items[i].name, &path, err) < 0 ||
            walk_child(maker, folder, &names->items[i], buffer_slice(&path), err) < 0)
            return -1;
    return 0;
}

static int walk(struct maker *maker, struct walk_folder *folder, struct error *err)
{
    OWNED(walk_names_drop) struct walk_names names = {NULL, 0, 0};
    bool mine = wanted(maker, folder->path), doubtful = holds_left_out(maker, folder->path), same;

    if (mine && !doubtful && make_folder(maker, folder, err) < 0)
        return -1;
    if (walk_list(maker->make->upper, folder->path, &names, err) < 0 ||
        look_through(maker, folder, &names, err) < 0)
        return -1;
    if (walk_children(maker, folder, &names, err) < 0)
        return -1;
    if (!mine || folder->written || folder->parent == NULL)
        return 0;
    if (unchanged(maker, folder, &same, err) < 0)
        return -1;
    return same ? 0 : make_folder(maker, folder, err);
}

int layer_make(const struct layer_make *make, struct s2i_layer *out, uint64_t *entries,
               struct error *err)
{
    OWNED(maker_drop) struct maker maker = {.make = make};
    OWNED(walk_folder_drop) struct walk_folder top = {.path = SLICE("")};

    assert(packer_knows(make->compression));
    maker.packer = packer_open(make->compression, make->sink, make->arg);
    maker.scan = scan_open(make->secrets);
    buffer_reserve(&maker.tar, LAYER_BUFFER);
    if (walk(&maker, &top, err) < 0)
        return -1;
    tar_write_end(&maker.tar);
    if (make_flush(&maker, err) < 0 || packer_finish(maker.packer, out, err) < 0)
        return -1;
    *entries = maker.entries;
    return 0;
}

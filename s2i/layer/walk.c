/* walk.c - what stands in the upper directory of an overlay, and what the lower ones show there.
 * Touches  folders it is given, for reading.
 * Never    follows a link.
 *
 * A folder's lowers are those whose own folder of that path shows, as overlay itself stacks them:
 * from the top down, until something else than a folder, a whiteout or an opaque folder ends it.
 * They are looked up when somebody asks: most folders have nothing to ask. Spec: s2i 18.1 to 18.4
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "s2i/layer/layer_internal.h"

static bool stands_for_removed(const struct stat *file)
{
    return S_ISCHR(file->st_mode) && file->st_rdev == makedev(0, 0);
}

/* --- names --- */

void walk_names_drop(struct walk_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i].name);
    free(names->items);
    *names = (struct walk_names){NULL, 0, 0};
}

static void add_name(struct walk_names *names, const char *name, bool folder, bool whiteout)
{
    if (names->count == names->capacity) {
        names->capacity = names->capacity * 2 + 16;
        names->items = memory_resize(names->items, names->capacity * sizeof(names->items[0]));
    }
    names->items[names->count++] =
        (struct walk_name){memory_text(slice_of(name)), folder, whiteout};
}

/* Whiteouts first; then as the paths stand in the archive, where folders end in a slash. */
static int compare_names(const void *a, const void *b)
{
    const struct walk_name *one = a, *other = b;
    const char *x = one->name, *y = other->name;

    if (one->whiteout != other->whiteout)
        return one->whiteout ? -1 : 1;
    while (*x != 0 && *x == *y) {
        x++;
        y++;
    }
    unsigned char left = *x == 0 && one->folder ? '/' : (unsigned char)*x;
    unsigned char right = *y == 0 && other->folder ? '/' : (unsigned char)*y;
    return left - right;
}

static int open_dir(int top, struct slice path, DIR **out, struct error *err)
{
    char text[LAYER_PATH_MAX + 1];
    int fd = -1;

    if (slice_to_text(path, text, sizeof(text)))
        fd = open_below(top, text, O_RDONLY | O_DIRECTORY, false);
    else
        errno = ENAMETOOLONG;
    if (fd < 0)
        return entry_fail("read", path, errno, err);
    *out = fdopendir(fd);
    if (*out != NULL)
        return 0;
    int number = errno;
    close(fd);
    return entry_fail("read", path, number, err);
}

static int kind_of(DIR *dir, const struct dirent *entry, bool *folder, bool *whiteout)
{
    struct stat file;

    *folder = entry->d_type == DT_DIR;
    *whiteout = false;
    if (entry->d_type != DT_CHR && entry->d_type != DT_UNKNOWN)
        return 0;
    if (fstatat(dirfd(dir), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    *folder = S_ISDIR(file.st_mode);
    *whiteout = stands_for_removed(&file);
    return 0;
}

static int list(int top, struct slice path, struct walk_names *out, struct error *err)
{
    OWNED(folder_drop) DIR *dir = NULL;
    const struct dirent *entry;
    bool folder, whiteout;

    if (open_dir(top, path, &dir, err) < 0)
        return -1;
    while ((entry = folder_next(dir)) != NULL) {
        if (kind_of(dir, entry, &folder, &whiteout) < 0)
            return entry_fail("read", path, errno, err);
        add_name(out, entry->d_name, folder, whiteout);
    }
    return errno == 0 ? 0 : entry_fail("read", path, errno, err);
}

static void sort(struct walk_names *names)
{
    if (names->count > 1)
        qsort(names->items, names->count, sizeof(names->items[0]), compare_names);
}

int walk_list(int upper, struct slice path, struct walk_names *out, struct error *err)
{
    if (list(upper, path, out, err) < 0)
        return -1;
    sort(out);
    return 0;
}

/* --- the lowers' view --- */

void walk_folder_drop(struct walk_folder *folder)
{
    free(folder->lowers);
    folder->lowers = NULL;
}

/* 1: there is something; 0: nothing. */
static int look(int lower, struct slice path, struct stat *file, struct error *err)
{
    char text[LAYER_PATH_MAX + 1];

    if (!slice_to_text(path, text, sizeof(text)))
        return 0;
    if (fstatat(lower, text, file, AT_SYMLINK_NOFOLLOW) == 0)
        return 1;
    return errno == ENOENT || errno == ENOTDIR ? 0 : entry_fail("read", path, errno, err);
}

static int lower_opaque(const struct layer_make *make, size_t lower, struct slice path,
                        bool *opaque, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    char text[LAYER_PATH_MAX + 1];

    if (!slice_to_text(path, text, sizeof(text)))
        return entry_fail("read", path, ENAMETOOLONG, err);
    fd = open_below(make->lowers[lower], text, O_RDONLY | O_DIRECTORY, false);
    if (fd < 0)
        return entry_fail("read", path, errno, err);
    *opaque = is_opaque(fd, &make->ids);
    return 0;
}

static int view(const struct layer_make *make, struct walk_folder *folder, struct error *err)
{
    if (folder->viewed)
        return 0;
    folder->viewed = true;
    folder->lower_count = 0;
    size_t most = make->lower_count;
    folder->lowers = memory_new((most + 1) * sizeof(size_t));
    if (folder->parent == NULL) {
        for (size_t i = 0; i < most; i++)
            folder->lowers[folder->lower_count++] = i;
        return 0;
    }
    if (view(make, folder->parent, err) < 0)
        return -1;
    bool opaque = false;
    for (size_t i = 0; i < folder->parent->lower_count && !opaque; i++) {
        size_t lower = folder->parent->lowers[i];
        struct stat file;
        int there = look(make->lowers[lower], folder->path, &file, err);
        if (there < 0)
            return -1;
        if (there == 0)
            continue;
        if (!S_ISDIR(file.st_mode))
            break;
        folder->lowers[folder->lower_count++] = lower;
        if (lower_opaque(make, lower, folder->path, &opaque, err) < 0)
            return -1;
    }
    return 0;
}

int walk_shown(const struct layer_make *make, struct walk_folder *folder, struct slice path,
               bool *shown, size_t *lower, struct stat *file, struct error *err)
{
    *shown = false;
    if (view(make, folder, err) < 0)
        return -1;
    for (size_t i = 0; i < folder->lower_count; i++) {
        *lower = folder->lowers[i];
        int there = look(make->lowers[*lower], path, file, err);
        if (there < 0)
            return -1;
        if (there == 0)
            continue;
        *shown = !stands_for_removed(file);
        return 0;
    }
    return 0;
}

/* By name; of equal ones that of the upper first, then of the topmost lower. */
struct candidate {
    const char *name;
    size_t order;
    bool whiteout;
};

static int compare_candidates(const void *a, const void *b)
{
    const struct candidate *one = a, *other = b;
    int order = strcmp(one->name, other->name);

    return order != 0 ? order : (one->order > other->order) - (one->order < other->order);
}

int walk_hidden(const struct layer_make *make, struct walk_folder *folder, struct walk_names *names,
                struct error *err)
{
    OWNED(walk_names_drop) struct walk_names lowers = {NULL, 0, 0};

    if (view(make, folder, err) < 0)
        return -1;
    for (size_t i = 0; i < folder->lower_count; i++)
        if (list(make->lowers[folder->lowers[i]], folder->path, &lowers, err) < 0)
            return -1;
    size_t count = lowers.count + names->count;
    OWNED(memory_drop) struct candidate *all = memory_new((count + 1) * sizeof(*all));
    for (size_t i = 0; i < names->count; i++)
        all[i] = (struct candidate){names->items[i].name, 0, false};
    for (size_t i = 0; i < lowers.count; i++) /* in the order of the lowers */
        all[names->count + i] =
            (struct candidate){lowers.items[i].name, i + 1, lowers.items[i].whiteout};
    qsort(all, count, sizeof(*all), compare_candidates);
    for (size_t i = 0; i < count; i++) {
        bool first = i == 0 || strcmp(all[i - 1].name, all[i].name) != 0;
        if (first && all[i].order > 0 && !all[i].whiteout)
            add_name(names, all[i].name, false, true);
    }
    sort(names);
    return 0;
}

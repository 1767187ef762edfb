/* place_path.c - where an entry of an archive goes, whatever its name says.
 * Touches  the folder, by descriptors.
 * Never    a path that the kernel did not resolve below the folder; a last link is never followed.
 *
 * (1) The parent of every entry is opened by openat2 with the folder as its root (or, for sources,
 * beneath it and through no link at all), so links of the archive lead nowhere else. (2) Files are
 * made anew: what stood under the name goes first. Spec: s2i 19.3 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer_internal.h"

static void forget_parent(struct place *place)
{
    fd_drop(&place->parent);
    place->parent_path.size = 0;
}

/* A folder without an entry of its own, below an open one. -1 with errno. */
static int make_missing(struct place *place, int above, const char *name, struct slice path)
{
    OWNED(fd_drop) int fd = -1;
    struct stat file;
    bool whiteout = fstatat(above, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && place->layer &&
                    S_ISCHR(file.st_mode);

    if (whiteout && unlinkat(above, name, 0) < 0)
        return -1;
    if (mkdirat(above, name, 0700) < 0)
        return -1;
    fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || place_own(place, fd, place->folder_uid, place->folder_gid) < 0 ||
        (whiteout && mark_opaque(fd, place->ids) < 0))
        return -1;
    place->implied++;
    return place_pend(place, fd, path, 0755, 0);
}

static bool missing(int number)
{
    return number == ENOENT || number == ENOTDIR;
}

/* Opens the folder of this path, and makes what is missing of it, from the top down. -1 with errno.
 */
static int make_parents(struct place *place, const char *path)
{
    OWNED(fd_drop) int above = -1;
    char part[LAYER_PATH_MAX + 1];

    for (size_t start = 0, end = 0;; end++) {
        if (path[end] != '/' && path[end] != 0)
            continue;
        memcpy(part, path, end);
        part[end] = 0;
        int next = open_below(place->folder, part, O_PATH | O_DIRECTORY, place->links);
        if (next < 0 && missing(errno) &&
            make_missing(place, above < 0 ? place->folder : above, part + start,
                         (struct slice){part, end}) == 0)
            next = open_below(place->folder, part, O_PATH | O_DIRECTORY, place->links);
        if (next < 0 || path[end] == 0)
            return next;
        fd_drop(&above);
        above = next;
        start = end + 1;
    }
}

static int open_parent(struct place *place, const char *path, struct slice entry, struct error *err)
{
    int fd = open_below(place->folder, path, O_PATH | O_DIRECTORY, place->links);

    if (fd < 0 && missing(errno))
        fd = make_parents(place, path);
    if (fd >= 0)
        return fd;
    if (errno == EEXIST || errno == ENOTDIR || errno == ELOOP || errno == EXDEV)
        return entry_refuse(entry, "the way to it is no folder", err);
    return entry_fail("unpack", entry, errno, err);
}

const char *place_path_problem(struct slice path)
{
    size_t depth = 0;
    struct slice part, rest = path;

    if (path.size > LAYER_PATH_MAX)
        return "its path is too long";
    while (rest.size > 0) {
        slice_split(rest, '/', &part, &rest);
        if (slice_equal_text(part, ".."))
            return "its path has '..' in it";
        if (part.size > LAYER_NAME_MAX)
            return "its name is too long";
        if (++depth > LAYER_DEPTH_MAX)
            return "it is nested too deep";
    }
    return NULL;
}

int place_parent(struct place *place, struct slice path, int *parent, char name[LAYER_NAME_MAX + 1],
                 struct error *err)
{
    char text[LAYER_PATH_MAX + 1];
    const char *problem = place_path_problem(path);
    size_t cut = path.size;

    if (problem != NULL)
        return entry_refuse(path, problem, err);
    while (cut > 0 && path.at[cut - 1] != '/')
        cut--;
    struct slice above = {path.at, cut == 0 ? 0 : cut - 1};
    if (!slice_to_text(slice_from(path, cut), name, LAYER_NAME_MAX + 1) ||
        !slice_to_text(above, text, sizeof(text)))
        return entry_refuse(path, "its name is not valid", err);
    if (place->parent < 0 || !slice_equal(buffer_slice(&place->parent_path), above)) {
        forget_parent(place);
        place->parent = open_parent(place, text, path, err);
        if (place->parent < 0)
            return -1;
        buffer_append_slice(&place->parent_path, above);
    }
    *parent = place->parent;
    return 0;
}

/* --- what stands there --- */

int place_clear(int parent, const char *name, bool folder, bool *whiteout, struct slice path,
                struct error *err)
{
    struct stat file;

    *whiteout = false;
    if (fstatat(parent, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : entry_fail("unpack", path, errno, err);
    if (S_ISDIR(file.st_mode) && folder)
        return 0;
    *whiteout = S_ISCHR(file.st_mode);
    if (unlinkat(parent, name, S_ISDIR(file.st_mode) ? AT_REMOVEDIR : 0) < 0)
        return errno == ENOTEMPTY || errno == EEXIST
                   ? entry_refuse(path, "it replaces a folder of the same archive", err)
                   : entry_fail("unpack", path, errno, err);
    return 0;
}

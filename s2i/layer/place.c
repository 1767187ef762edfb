/* place.c - entries of an archive become files below a folder, whatever their names say.
 * Touches  the folder, by descriptors.
 * Never    a path that the kernel did not resolve below the folder; a last link is never followed.
 *
 * (1) and (2) are place_path.c's: where an entry goes, and that nothing stands there. (3) Modes and
 * times of folders come last, from the deepest up; so a folder of mode 0 stops nothing.
 * Spec: s2i 19.4, 19.6 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer_internal.h"

struct pending_folder {
    char *path;
    size_t number;
    dev_t device;
    ino_t inode;
    mode_t mode;
    int64_t mtime;
    struct buffer acl; /* the default one, which files made before must not inherit */
};

static const char ACL_DEFAULT[] = "system.posix_acl_default";

void place_drop(struct place *place)
{
    fd_drop(&place->parent);
    buffer_drop(&place->parent_path);
    for (size_t i = 0; i < place->pending_count; i++) {
        free(place->pending[i].path);
        buffer_drop(&place->pending[i].acl);
    }
    free(place->pending);
    place->pending = NULL;
    place->pending_count = 0;
}

bool place_too_many(const struct place *place, uint64_t entries, const struct layer_limits *limits,
                    struct error *err)
{
    if (limits->entries_max == 0 || entries + place->implied <= limits->entries_max)
        return false;
    error_set(err, ERROR_INVALID, "the archive has more than %llu entries",
              (unsigned long long)limits->entries_max);
    return true;
}

/* --- owners --- */

static bool owner_known(const struct place *place, uint64_t uid, uint64_t gid)
{
    if (place->ids->single)
        return uid < UINT32_MAX && gid < UINT32_MAX;
    return uid < place->ids->count && gid < place->ids->count;
}

static uid_t shifted(const struct place *place, uint64_t id)
{
    return place->ids->base + (uid_t)id;
}

int place_own(const struct place *place, int fd, uint64_t uid, uint64_t gid)
{
    if (!place->ids->single)
        return fchown(fd, shifted(place, uid), shifted(place, gid));
    return place->layer ? mark_owner(fd, place->ids, uid, gid) : 0;
}

static int own_link(const struct place *place, int parent, const char *name, uint64_t uid,
                    uint64_t gid)
{
    if (place->ids->single)
        return 0;
    return fchownat(parent, name, shifted(place, uid), shifted(place, gid), AT_SYMLINK_NOFOLLOW);
}

static struct buffer buffer_taken(struct buffer *buffer)
{
    struct buffer taken = *buffer;

    *buffer = BUFFER_NONE;
    return taken;
}

/* acl: of a folder, what is to be put on last; else NULL. */
static void set_xattrs(const struct place *place, int fd, const struct tar_entry *entry,
                       struct buffer *acl, struct s2i_list *notes)
{
    OWNED(buffer_drop) struct buffer value = BUFFER_NONE;
    char name[256], shown[SHOWN_MAX];

    for (size_t i = 0; i < entry->xattr_count; i++) {
        const struct tar_xattr *xattr = &entry->xattrs[i];
        if (!xattr_kept(xattr->name) || !slice_to_text(xattr->name, name, sizeof(name)))
            continue;
        bool good = xattr_to_disk(place->ids, xattr, &value);
        if (good && acl != NULL && strcmp(name, ACL_DEFAULT) == 0)
            *acl = buffer_taken(&value);
        else if (!good || fsetxattr(fd, name, value.at, value.size, 0) < 0)
            note(notes, "'%s' loses its attribute %s", path_shown(entry->path, shown), name);
    }
}

int place_pend(struct place *place, int fd, struct slice path, mode_t mode, int64_t mtime)
{
    struct stat file;

    if (fstat(fd, &file) < 0)
        return -1;
    if (place->pending_count == place->pending_capacity) {
        place->pending_capacity = place->pending_capacity * 2 + 64;
        place->pending =
            memory_resize(place->pending, place->pending_capacity * sizeof(place->pending[0]));
    }
    size_t number = place->pending_count++;
    place->pending[number] = (struct pending_folder){
        memory_text(path), number, file.st_dev, file.st_ino, mode, mtime, BUFFER_NONE,
    };
    return 0;
}

/* --- entries --- */

static struct timespec seconds(int64_t time)
{
    return (struct timespec){.tv_sec = time};
}

static void both_times(int64_t mtime, struct timespec out[2])
{
    out[0] = out[1] = seconds(mtime);
}

static int folder_set(struct place *place, int fd, const struct tar_entry *entry,
                      struct s2i_list *notes, struct error *err)
{
    OWNED(buffer_drop) struct buffer acl = BUFFER_NONE;

    if (!owner_known(place, entry->uid, entry->gid))
        return entry_refuse(entry->path, "its owner is out of range", err);
    if (place_own(place, fd, entry->uid, entry->gid) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    set_xattrs(place, fd, entry, &acl, notes);
    if (place_pend(place, fd, entry->path, entry->mode, entry->mtime) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    place->pending[place->pending_count - 1].acl = buffer_taken(&acl);
    return 0;
}

int place_folder(struct place *place, int parent, const char *name, const struct tar_entry *entry,
                 bool opaque, struct s2i_list *notes, struct error *err)
{
    OWNED(fd_drop) int fd = -1;

    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return entry_fail("unpack", entry->path, errno, err);
    fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || (opaque && mark_opaque(fd, place->ids) < 0))
        return entry_fail("unpack", entry->path, errno, err);
    return folder_set(place, fd, entry, notes, err);
}

static int write_content(int fd, const struct tar_entry *entry, struct tar_reader *reader,
                         char *buffer, struct error *err)
{
    size_t got = 0;

    for (;;) {
        if (tar_read(reader, buffer, LAYER_BUFFER, &got, err) < 0)
            return -1;
        if (got == 0)
            return 0;
        if (fd_write(fd, (struct slice){buffer, got}) < 0)
            return entry_fail("unpack", entry->path, errno, err);
    }
}

int place_file(struct place *place, int parent, const char *name, const struct tar_entry *entry,
               struct tar_reader *reader, char *buffer, struct s2i_list *notes, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    struct timespec times[2];

    if (!owner_known(place, entry->uid, entry->gid))
        return entry_refuse(entry->path, "its owner is out of range", err);
    fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return entry_fail("unpack", entry->path, errno, err);
    if (write_content(fd, entry, reader, buffer, err) < 0)
        return -1;
    both_times(entry->mtime, times);
    if (place_own(place, fd, entry->uid, entry->gid) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    set_xattrs(place, fd, entry, NULL, notes); /* changing the owner would take capabilities away */
    if (fchmod(fd, entry->mode) < 0 || futimens(fd, times) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    return 0;
}

int place_symlink(struct place *place, int parent, const char *name, const struct tar_entry *entry,
                  struct error *err)
{
    char text[LAYER_PATH_MAX + 1];
    struct timespec times[2];

    if (!owner_known(place, entry->uid, entry->gid))
        return entry_refuse(entry->path, "its owner is out of range", err);
    if (entry->link.size == 0 || !slice_to_text(entry->link, text, sizeof(text)))
        return entry_refuse(entry->path, "its target is empty or too long", err);
    both_times(entry->mtime, times);
    if (symlinkat(text, parent, name) < 0 ||
        own_link(place, parent, name, entry->uid, entry->gid) < 0 ||
        utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    return 0;
}

int place_fifo(struct place *place, int parent, const char *name, const struct tar_entry *entry,
               struct error *err)
{
    struct timespec times[2];

    if (!owner_known(place, entry->uid, entry->gid))
        return entry_refuse(entry->path, "its owner is out of range", err);
    both_times(entry->mtime, times);
    if (mkfifoat(parent, name, 0600) < 0 ||
        own_link(place, parent, name, entry->uid, entry->gid) < 0 ||
        fchmodat(parent, name, entry->mode, 0) < 0 ||
        utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    return 0;
}

/* The target must be a file that the archive made before; a last link is linked, not followed. */
int place_hard_link(struct place *place, int parent, const char *name,
                    const struct tar_entry *entry, struct error *err)
{
    OWNED(fd_drop) int folder = -1;
    char text[LAYER_PATH_MAX + 1];
    const char *problem = place_path_problem(entry->link), *last;
    struct stat file;

    if (problem != NULL || entry->link.size == 0 || !slice_to_text(entry->link, text, sizeof(text)))
        return entry_refuse(entry->path, "its target is not valid", err);
    char *slash = strrchr(text, '/');
    if (slash != NULL)
        *slash = 0;
    last = slash == NULL ? text : slash + 1;
    folder =
        open_below(place->folder, slash == NULL ? "" : text, O_PATH | O_DIRECTORY, place->links);
    if (folder < 0 || fstatat(folder, last, &file, AT_SYMLINK_NOFOLLOW) < 0 ||
        S_ISDIR(file.st_mode) || S_ISCHR(file.st_mode))
        return entry_refuse(entry->path, "its target is no file of the archive", err);
    if (linkat(folder, last, parent, name, 0) < 0)
        return entry_fail("unpack", entry->path, errno, err);
    return 0;
}

/* --- the folder itself, and the end --- */

int place_root(struct place *place, const struct tar_entry *entry, struct s2i_list *notes,
               struct error *err)
{
    static const struct tar_entry plain = {.type = '5', .mode = 0755};
    OWNED(fd_drop) int fd = open_below(place->folder, "", O_RDONLY | O_DIRECTORY, place->links);

    if (fd < 0)
        return entry_fail("unpack", SLICE("/"), errno, err);
    return folder_set(place, fd, entry == NULL ? &plain : entry, notes, err);
}

static int finish_one(const struct place *place, const struct pending_folder *pending)
{
    OWNED(fd_drop) int fd = -1;
    struct timespec times[2];
    struct stat file;

    fd =
        open_below(place->folder, pending->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, place->links);
    if (fd < 0) /* replaced since */
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : -1;
    if (fstat(fd, &file) < 0)
        return -1;
    if (file.st_dev != pending->device || file.st_ino != pending->inode)
        return 0;
    both_times(pending->mtime, times);
    if (pending->acl.size > 0)
        (void)fsetxattr(fd, ACL_DEFAULT, pending->acl.at, pending->acl.size, 0);
    return fchmod(fd, pending->mode) < 0 || futimens(fd, times) < 0 ? -1 : 0;
}

/* Deeper ones first; of one path the one that came last. */
static int compare_pending(const void *a, const void *b)
{
    const struct pending_folder *one = a, *other = b;
    int order = strcmp(other->path, one->path);

    return order != 0 ? order : (one->number < other->number) - (one->number > other->number);
}

int place_finish(struct place *place, struct error *err)
{
    const struct pending_folder *last = NULL;

    if (place->pending_count > 1)
        qsort(place->pending, place->pending_count, sizeof(place->pending[0]), compare_pending);
    for (size_t i = 0; i < place->pending_count; i++) {
        const struct pending_folder *pending = &place->pending[i];
        if (last != NULL && strcmp(last->path, pending->path) == 0)
            continue;
        if (finish_one(place, pending) < 0)
            return entry_fail("unpack", slice_of(pending->path), errno, err);
        last = pending;
    }
    return 0;
}

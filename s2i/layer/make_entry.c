/* make_entry.c - one entry of a new layer: its header, its content.
 * Touches  the upper and lower directories, for reading.
 * Never    writes a mark of overlay, a name of a user, a time but mtime.
 *
 * Spec: s2i 16.3, 17.3 to 17.8, 18.1, 18.4 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/make.h"

struct linked {
    dev_t device;
    ino_t inode;
    char *path; /* the name that was written; NULL: free */
};

void maker_drop(struct maker *maker)
{
    packer_drop(&maker->packer);
    scan_drop(&maker->scan);
    buffer_drop(&maker->tar);
    xattr_set_drop(&maker->xattrs);
    for (size_t i = 0; i < maker->links.capacity; i++)
        free(maker->links.slots[i].path);
    free(maker->links.slots);
}

int make_refuse(struct slice path, const char *why, struct error *err)
{
    char shown[SHOWN_MAX];

    return error_set(err, ERROR_INVALID, "'%s' %s", path_shown(path, shown), why);
}

int make_go_on(const struct maker *maker, struct error *err)
{
    const struct layer_make *make = maker->make;

    return make->go_on == NULL ? 0 : make->go_on(make->go_on_arg, err);
}

/* --- the tar --- */

int make_flush(struct maker *maker, struct error *err)
{
    struct slice bytes = buffer_slice(&maker->tar);

    maker->tar.size = 0;
    return bytes.size == 0 ? 0 : packer_write(maker->packer, bytes, err);
}

static int room(struct maker *maker, struct error *err)
{
    return maker->tar.size < LAYER_BUFFER ? 0 : make_flush(maker, err);
}

static int write_header(struct maker *maker, struct walk_folder *folder,
                        const struct tar_entry *entry, struct error *err)
{
    if (scan_names(maker->scan, entry))
        return scan_refuse(entry->path, err);
    if (make_folder(maker, folder, err) < 0)
        return -1;
    tar_write_header(&maker->tar, entry);
    maker->entries++;
    return room(maker, err);
}

/* Content as long as its header says, and its padding. */
static int write_content(struct maker *maker, int fd, struct slice path, uint64_t size,
                         struct error *err)
{
    uint64_t left = size;

    scan_begin(maker->scan);
    while (left > 0) {
        size_t space = LAYER_BUFFER - maker->tar.size;
        size_t want = left < space ? (size_t)left + 1 : space; /* one more: has it grown? */
        ssize_t got = read(fd, maker->tar.at + maker->tar.size, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return entry_fail("read", path, errno, err);
        if (got == 0 || (uint64_t)got > left)
            return error_set(err, ERROR_INTERNAL, "a file changed while it was read");
        if (scan_bytes(maker->scan, (struct slice){maker->tar.at + maker->tar.size, (size_t)got}))
            return scan_refuse(path, err);
        maker->tar.size += (size_t)got;
        left -= (uint64_t)got;
        if (room(maker, err) < 0 || make_go_on(maker, err) < 0)
            return -1;
    }
    size_t padding = tar_padding(size);
    buffer_reserve(&maker->tar, padding + 1);
    memset(maker->tar.at + maker->tar.size, 0, padding);
    maker->tar.size += padding;
    return room(maker, err);
}

/* --- hard links --- */

static struct linked *link_slot(const struct links *links, dev_t device, ino_t inode)
{
    uint64_t key[2] = {device, inode};
    size_t mask = links->capacity - 1;

    for (size_t at = (size_t)bytes_hash(0, key, sizeof(key)) & mask;; at = (at + 1) & mask) {
        struct linked *slot = &links->slots[at];
        if (slot->path == NULL || (slot->device == device && slot->inode == inode))
            return slot;
    }
}

static void links_grow(struct links *links)
{
    struct links bigger = {.capacity = links->capacity == 0 ? 64 : links->capacity * 2};

    bigger.slots = memory_new(bigger.capacity * sizeof(bigger.slots[0]));
    for (size_t i = 0; i < links->capacity; i++)
        if (links->slots[i].path != NULL)
            *link_slot(&bigger, links->slots[i].device, links->slots[i].inode) = links->slots[i];
    bigger.count = links->count;
    free(links->slots);
    *links = bigger;
}

/* The name this file has in the layer already; NULL: it has this one from now on. Spec: 17.7 */
static const char *linked_path(struct links *links, const struct stat *file, struct slice path)
{
    if (links->count * 2 >= links->capacity)
        links_grow(links);
    struct linked *slot = link_slot(links, file->st_dev, file->st_ino);
    if (slot->path != NULL)
        return slot->path;
    *slot = (struct linked){file->st_dev, file->st_ino, memory_text(path)};
    links->count++;
    return NULL;
}

/* --- one entry --- */

static int64_t clamped(const struct layer_make *make, int64_t mtime)
{
    return make->clamp_all || mtime > make->epoch ? make->epoch : mtime;
}

static char type_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return '0';
    case S_IFLNK:
        return '2';
    case S_IFDIR:
        return '5';
    case S_IFIFO:
        return '6';
    default:
        return 0;
    }
}

/* Opens what has content or attributes to read; *fd stays -1 for links. */
static int open_entry(const struct maker *maker, const char *path, int *fd, struct stat *file)
{
    int upper = maker->make->upper, flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

    *fd = open_below(upper, path, flags | O_NOATIME, false);
    if (*fd < 0 && errno == EPERM)
        *fd = open_below(upper, path, flags, false);
    if (*fd >= 0)
        return fstat(*fd, file);
    return errno == ELOOP || errno == ENXIO || errno == EACCES
               ? fstatat(upper, path, file, AT_SYMLINK_NOFOLLOW)
               : -1;
}

static int owner_single(struct maker *maker, struct walk_folder *folder, int fd,
                        const struct stat *file, struct tar_entry *entry, struct error *err);

/* Level (b): of what is new in the folder. Where the kernel would give it the folder's, it cannot:
 * there is one group on disk. So what was moved there from elsewhere has the folder's as well. */
static int group_of_new(struct maker *maker, struct walk_folder *folder, uint64_t *out,
                        struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    struct tar_entry entry = {.path = folder->path};
    char text[LAYER_PATH_MAX + 1];
    struct stat file;

    *out = folder->group_known ? folder->group : maker->make->gid;
    if (folder->group_known || folder->parent == NULL)
        return 0;
    if (!slice_to_text(folder->path, text, sizeof(text)))
        return entry_fail("read", folder->path, ENAMETOOLONG, err);
    if (open_entry(maker, text, &fd, &file) < 0)
        return entry_fail("read", folder->path, errno, err);
    if ((file.st_mode & S_ISGID) != 0) {
        if (owner_single(maker, folder->parent, fd, &file, &entry, err) < 0)
            return -1;
        *out = entry.gid;
    }
    folder->group = *out;
    folder->group_known = true;
    return 0;
}

/* Level (b): of a file that overlay copied up, the base layer's word; else the new files' owner. A
 * link or a fifo carries no marks: it is the base's when the base has one of that kind there, and
 * belongs to whom its folder does. Spec: 16.3 */
static int owner_single(struct maker *maker, struct walk_folder *folder, int fd,
                        const struct stat *file, struct tar_entry *entry, struct error *err)
{
    const struct layer_make *make = maker->make;
    OWNED(fd_drop) int from = -1;
    char text[LAYER_PATH_MAX + 1];
    struct stat below;
    size_t lower;
    bool shown = false;

    entry->uid = make->uid;
    entry->gid = 0;
    if ((make->brought == NULL || !make->brought(make->brought_arg, file->st_ino)) /* 4.12 */
        && group_of_new(maker, folder, &entry->gid, err) < 0)
        return -1;
    if (folder->hidden || (S_ISDIR(file->st_mode) && fd >= 0 && is_opaque(fd, &make->ids)) ||
        !slice_to_text(entry->path, text, sizeof(text)))
        return 0;
    if (walk_shown(make, folder, entry->path, &shown, &lower, &below, err) < 0)
        return -1;
    if (!shown || (below.st_mode & S_IFMT) != (file->st_mode & S_IFMT))
        return 0;
    if (S_ISREG(file->st_mode) && !maker->xattrs.copied_up && below.st_nlink < 2)
        return 0;
    if (!S_ISREG(below.st_mode) && !S_ISDIR(below.st_mode)) {
        char *slash = strrchr(text, '/');
        *(slash == NULL ? text : slash) = 0;
    }
    from = open_below(make->lowers[lower], text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, false);
    if (from < 0)
        return entry_fail("read", entry->path, errno, err);
    read_owner(from, &make->ids, &entry->uid, &entry->gid);
    return 0;
}

static int owner(struct maker *maker, struct walk_folder *folder, int fd, const struct stat *file,
                 struct tar_entry *entry, struct error *err)
{
    const struct layer_ids *ids = &maker->make->ids;

    if (ids->single)
        return owner_single(maker, folder, fd, file, entry, err);
    if (file->st_uid < ids->base || file->st_uid - ids->base >= ids->count ||
        file->st_gid < ids->base || file->st_gid - ids->base >= ids->count)
        return make_refuse(entry->path, "belongs to nobody of the container", err);
    entry->uid = file->st_uid - ids->base;
    entry->gid = file->st_gid - ids->base;
    return 0;
}

/* What the file says of itself: mode, owner, time, attributes. */
static int describe(struct maker *maker, struct walk_folder *folder, int fd,
                    const struct stat *file, struct tar_entry *entry, struct error *err)
{
    entry->type = type_of(file->st_mode);
    entry->mode = file->st_mode & 07777;
    entry->mtime = clamped(maker->make, file->st_mtim.tv_sec);
    maker->xattrs.count = 0;
    maker->xattrs.copied_up = false;
    if (fd >= 0 && xattr_set_read(&maker->xattrs, fd, &maker->make->ids, entry->path, err) < 0)
        return -1;
    entry->xattrs = maker->xattrs.items;
    entry->xattr_count = maker->xattrs.count;
    return owner(maker, folder, fd, file, entry, err);
}

static int write_symlink(struct maker *maker, struct walk_folder *folder,
                         const struct tar_entry *described, const char *path, struct error *err)
{
    struct tar_entry entry = *described;
    char text[LAYER_PATH_MAX + 1];
    ssize_t size = readlinkat(maker->make->upper, path, text, sizeof(text));

    if (size < 0)
        return entry_fail("read", entry.path, errno, err);
    entry.mode = 0777;
    entry.link = (struct slice){text, (size_t)size};
    return write_header(maker, folder, &entry, err);
}

/* A hole takes no disk, but it is read, packed and unpacked as what it is. */
static int count_bytes(struct maker *maker, uint64_t size, struct error *err)
{
    uint64_t most = maker->make->bytes_max;

    if (most == 0 || (size <= most && maker->bytes <= most - size)) {
        maker->bytes += size;
        return 0;
    }
    error_set(err, ERROR_INVALID, "the new files are larger than the %llu MiB of a layer",
              (unsigned long long)(most >> 20));
    error_set_cause(err, "DiskLimit");
    return -1;
}

static int write_regular(struct maker *maker, struct walk_folder *folder, int fd,
                         struct tar_entry *entry, uint64_t size, struct error *err)
{
    if (fd < 0)
        return entry_fail("read", entry->path, EACCES, err);
    entry->size = size;
    if (size > LAYER_BUFFER)
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    if (count_bytes(maker, size, err) < 0 || write_header(maker, folder, entry, err) < 0)
        return -1;
    return write_content(maker, fd, entry->path, size, err);
}

int make_file(struct maker *maker, struct walk_folder *folder, struct slice path, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    struct tar_entry entry = {.path = path};
    struct stat file;
    char text[LAYER_PATH_MAX + 1], shown[SHOWN_MAX];

    if (!slice_to_text(path, text, sizeof(text)))
        return entry_fail("read", path, ENAMETOOLONG, err);

    if (open_entry(maker, text, &fd, &file) < 0)
        return entry_fail("read", path, errno, err);
    if (S_ISSOCK(file.st_mode)) {
        note(maker->make->notes, "socket '%s' is left out of the layer", path_shown(path, shown));
        return 0;
    }
    if (type_of(file.st_mode) == 0)
        return make_refuse(path, "is a device", err);
    if (describe(maker, folder, fd, &file, &entry, err) < 0)
        return -1;
    const char *first = file.st_nlink > 1 ? linked_path(&maker->links, &file, path) : NULL;
    if (first != NULL) {
        entry.type = '1';
        entry.link = slice_of(first);
        entry.xattr_count = 0;
    }
    if (entry.type == '0')
        return write_regular(maker, folder, fd, &entry, (uint64_t)file.st_size, err);
    return entry.type == '2' ? write_symlink(maker, folder, &entry, text, err)
                             : write_header(maker, folder, &entry, err);
}

/* Folders above come first; slices write them when something below is theirs. */
int make_folder(struct maker *maker, struct walk_folder *folder, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    struct tar_entry entry = {.path = folder->path};
    struct stat file;
    char text[LAYER_PATH_MAX + 1];

    if (folder->parent == NULL || folder->written)
        return 0;
    if (make_folder(maker, folder->parent, err) < 0)
        return -1;
    folder->written = true;
    if (!slice_to_text(folder->path, text, sizeof(text)))
        return entry_fail("read", folder->path, ENAMETOOLONG, err);
    if (open_entry(maker, text, &fd, &file) < 0 || !S_ISDIR(file.st_mode))
        return entry_fail("read", folder->path, errno, err);
    if (describe(maker, folder->parent, fd, &file, &entry, err) < 0)
        return -1;
    return write_header(maker, folder->parent, &entry, err);
}

int make_whiteout(struct maker *maker, struct walk_folder *folder, const char *name,
                  struct slice hidden, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct tar_entry entry = {.type = '0', .mtime = maker->make->epoch};
    struct stat file;
    size_t lower;
    bool shown;

    if (walk_shown(maker->make, folder, hidden, &shown, &lower, &file, err) < 0)
        return -1;
    if (!shown)
        return 0;
    if (folder->path.size > 0) {
        buffer_append_slice(&path, folder->path);
        buffer_append_text(&path, "/");
    }
    buffer_append_text(&path, WHITEOUT_PREFIX);
    buffer_append_text(&path, name);
    entry.path = buffer_slice(&path);
    return write_header(maker, folder, &entry, err);
}

/* layer_unpack.c - a stored layer becomes a lower directory of overlay.
 * Touches  the folder it is given, which is empty.
 * Never    follows a link out of it; keeps a mark of overlay that the archive brings.
 *
 * A whiteout becomes a character device 0/0, an opaque folder gets overlay's mark. Neither hides
 * what the same layer brings, in whatever order it comes. Spec: s2i 18.5 to 18.7, 19.1 to 19.6 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer_internal.h"

struct unpacking {
    struct place place;
    struct tar_reader *reader;
    const struct layer_limits *limits;
    struct s2i_list *notes;
    char *buffer;
    uint64_t entries;
};

static void unpacking_drop(struct unpacking *unpacking)
{
    place_drop(&unpacking->place);
    tar_reader_close(unpacking->reader);
    memory_drop(&unpacking->buffer);
}

enum packing packing_of(const char *media_type)
{
    struct slice type = slice_of(media_type == NULL ? "" : media_type);

    if (slice_ends(type, "gzip"))
        return PACKED_GZIP;
    return slice_ends(type, "zstd") ? PACKED_ZSTD : PACKED_NOT;
}

/* --- whiteouts --- */

/* ".wh." as the start of some part of the path but the last. */
static bool below_whiteout(struct slice path, bool *meta)
{
    struct slice part, rest = path;

    while (slice_split(rest, '/', &part, &rest)) {
        *meta = slice_starts(part, WHITEOUT_META);
        if (slice_starts(part, WHITEOUT_PREFIX))
            return true;
    }
    return false;
}

static int hide(const struct unpacking *unpacking, int parent, const char *name, struct error *err)
{
    OWNED(fd_drop) int folder = -1;
    struct stat file;

    if (mknodat(parent, name, S_IFCHR, makedev(0, 0)) == 0)
        return 0;
    int number = errno;
    if (number != EEXIST || fstatat(parent, name, &file, AT_SYMLINK_NOFOLLOW) < 0)
        return error_set_errno(err, ERROR_INTERNAL, number, "cannot make a whiteout");
    if (!S_ISDIR(file.st_mode))
        return 0; /* the layer's own, or hidden already */
    folder = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0 || mark_opaque(folder, unpacking->place.ids) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "cannot hide what is below a folder");
    return 0;
}

static int hide_all(const struct unpacking *unpacking, int parent, struct error *err)
{
    OWNED(fd_drop) int folder = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0 || mark_opaque(folder, unpacking->place.ids) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "cannot hide what is below a folder");
    return 0;
}

static int whiteout(const struct unpacking *unpacking, int parent, const char *name,
                    struct slice path, struct error *err)
{
    const char *hidden = name + sizeof(WHITEOUT_PREFIX) - 1;

    if (strcmp(name, WHITEOUT_OPAQUE) == 0)
        return hide_all(unpacking, parent, err);
    if (strncmp(name, WHITEOUT_META, sizeof(WHITEOUT_META) - 1) == 0)
        return 0; /* AUFS kept such files for itself */
    if (hidden[0] == 0 || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return entry_refuse(path, "it marks nothing as removed", err);
    return hide(unpacking, parent, hidden, err);
}

/* --- entries --- */

static int place_entry(struct unpacking *unpacking, int parent, const char *name,
                       const struct tar_entry *entry, struct error *err)
{
    struct place *place = &unpacking->place;
    bool was_whiteout;
    char shown[SHOWN_MAX];

    if (entry->type == '3' || entry->type == '4') {
        note(unpacking->notes, "device '%s' is left out", path_shown(entry->path, shown));
        return 0;
    }
    if (entry->type == '1' && slice_equal(entry->link, entry->path))
        return entry_refuse(entry->path, "it is a link to itself", err);
    if (place_clear(parent, name, entry->type == '5', &was_whiteout, entry->path, err) < 0)
        return -1;
    switch (entry->type) {
    case '0':
        return place_file(place, parent, name, entry, unpacking->reader, unpacking->buffer,
                          unpacking->notes, err);
    case '1':
        return place_hard_link(place, parent, name, entry, err);
    case '2':
        return place_symlink(place, parent, name, entry, err);
    case '5':
        return place_folder(place, parent, name, entry, was_whiteout, unpacking->notes, err);
    default:
        return place_fifo(place, parent, name, entry, err);
    }
}

static int unpack_entry(struct unpacking *unpacking, const struct tar_entry *entry,
                        struct error *err)
{
    char name[LAYER_NAME_MAX + 1];
    bool meta = false;
    int parent;

    if (entry->path.size == 0)
        return entry->type == '5'
                   ? place_root(&unpacking->place, entry, unpacking->notes, err)
                   : entry_refuse(SLICE("/"), "the folder itself can only be a folder", err);
    if (below_whiteout(entry->path, &meta))
        return meta ? 0 : entry_refuse(entry->path, "it is below a mark of a removed file", err);
    if (place_parent(&unpacking->place, entry->path, &parent, name, err) < 0)
        return -1;
    if (strncmp(name, WHITEOUT_PREFIX, sizeof(WHITEOUT_PREFIX) - 1) == 0)
        return whiteout(unpacking, parent, name, entry->path, err);
    return place_entry(unpacking, parent, name, entry, err);
}

static int unpack_all(struct unpacking *unpacking, struct error *err)
{
    struct tar_entry entry;
    int more;

    if (place_root(&unpacking->place, NULL, NULL, err) < 0)
        return -1;
    while ((more = tar_next(unpacking->reader, &entry, err)) > 0) {
        unpacking->entries++;
        if (place_too_many(&unpacking->place, unpacking->entries, unpacking->limits, err))
            return -1;
        if (unpack_entry(unpacking, &entry, err) < 0)
            return -1;
    }
    return more < 0 ? -1 : place_finish(&unpacking->place, err);
}

int layer_unpack(int fd, const struct s2i_layer *layer, int folder, const struct layer_ids *ids,
                 const struct layer_limits *limits, struct s2i_list *notes, struct error *err)
{
    OWNED(inflater_drop)
    struct inflater *inflater = inflater_open(fd, packing_of(layer->media_type), limits, 0);
    OWNED(unpacking_drop)
    struct unpacking unpacking = {
        .place = {.folder = folder, .ids = ids, .links = true, .layer = true, .parent = -1},
        .limits = limits,
        .notes = notes,
        .buffer = memory_new(LAYER_BUFFER),
    };
    struct digest diff_id;

    unpacking.reader = tar_reader_open(inflater_feed, inflater);
    if (unpack_all(&unpacking, err) < 0 || inflater_finish(inflater, &diff_id, err) < 0)
        return -1;
    if (!digest_equal(&diff_id, &layer->diff_id))
        return error_set(err, ERROR_INVALID,
                         "the layer unpacks to other bytes than its diff id "
                         "says");
    return 0;
}

bool layer_hides_all(int folder, const struct layer_ids *ids)
{
    return is_opaque(folder, ids);
}

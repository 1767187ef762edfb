/* layer_untar.c - sources and artifacts: a plain tar below a folder of a container.
 * Touches  the folder it is given.
 * Never    goes through a symbolic link; writes over what is there; makes special files.
 *
 * Spec: s2i 8.3, 19.7 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "s2i/layer/layer_internal.h"

struct untarring {
    struct place place;
    struct tar_reader *reader;
    const struct tar_wish *wish;
    struct s2i_list *notes;
    char *buffer;
    uint64_t entries;
};

static void untarring_drop(struct untarring *untarring)
{
    place_drop(&untarring->place);
    tar_reader_close(untarring->reader);
    memory_drop(&untarring->buffer);
}

/* The entry's own fault: fails, or is left out with a note. */
static int leave_out(struct untarring *untarring, struct slice path, const char *why,
                     struct error *err)
{
    char shown[SHOWN_MAX];

    if (untarring->wish->strict)
        return error_set(err, ERROR_INVALID, "archive entry '%s': %s", path_shown(path, shown),
                         why);
    note(untarring->notes, "'%s' is left out: %s", path_shown(path, shown), why);
    return 0;
}

/* The same for what placing refused; what the disk says is no entry's fault. */
static int left_out(struct untarring *untarring, const struct error *own, struct error *err)
{
    if (own->code == ERROR_INVALID && !untarring->wish->strict) {
        note(untarring->notes, "%s", own->message);
        return 0;
    }
    *err = *own;
    return -1;
}

/* Whether a link's text leads out of the folder, as its letters say. */
static bool leads_outside(struct slice path, struct slice text)
{
    struct slice part, rest = path;
    size_t depth = 0;

    if (slice_starts(text, "/"))
        return true;
    while (slice_split(rest, '/', &part, &rest))
        depth++;
    for (rest = text; rest.size > 0;) {
        slice_split(rest, '/', &part, &rest);
        if (slice_equal_text(part, "..") && depth-- == 0)
            return true;
        if (part.size > 0 && !slice_equal_text(part, ".") && !slice_equal_text(part, ".."))
            depth++;
    }
    return false;
}

static int place_entry(struct untarring *untarring, int parent, const char *name,
                       const struct tar_entry *entry, struct error *err)
{
    struct place *place = &untarring->place;
    struct error own = {0};
    struct stat file;
    bool there = fstatat(parent, name, &file, AT_SYMLINK_NOFOLLOW) == 0;

    if (there && !(entry->type == '5' && S_ISDIR(file.st_mode)))
        return leave_out(untarring, entry->path, "there is something of that name", err);
    switch (entry->type) {
    case '0':
        return place_file(place, parent, name, entry, untarring->reader, untarring->buffer, NULL,
                          err);
    case '1':
        return place_hard_link(place, parent, name, entry, &own) == 0
                   ? 0
                   : left_out(untarring, &own, err);
    case '2':
        if (!untarring->wish->strict && leads_outside(entry->path, entry->link))
            return leave_out(untarring, entry->path, "its target is outside", err);
        return place_symlink(place, parent, name, entry, &own) == 0
                   ? 0
                   : left_out(untarring, &own, err);
    case '5':
        return place_folder(place, parent, name, entry, false, NULL, err);
    default:
        return leave_out(untarring, entry->path, "it is a special file", err);
    }
}

static int untar_entry(struct untarring *untarring, struct tar_entry *entry, struct error *err)
{
    const struct tar_wish *wish = untarring->wish;
    struct error own = {0};
    char name[LAYER_NAME_MAX + 1];
    int parent;

    if (entry->path.size == 0 || (wish->take != NULL && !wish->take(wish->arg, entry->path)))
        return 0;
    entry->uid = wish->uid;
    entry->gid = wish->gid;
    entry->mode &= 0777;
    entry->xattr_count = 0;
    if (place_parent(&untarring->place, entry->path, &parent, name, &own) < 0)
        return left_out(untarring, &own, err);
    return place_entry(untarring, parent, name, entry, err);
}

static int untar_all(struct untarring *untarring, struct error *err)
{
    const struct layer_limits *limits = &untarring->wish->limits;
    struct tar_entry entry;
    int more;

    while ((more = tar_next(untarring->reader, &entry, err)) > 0) {
        untarring->entries++;
        if (place_too_many(&untarring->place, untarring->entries, limits, err))
            return -1;
        if (untar_entry(untarring, &entry, err) < 0)
            return -1;
    }
    return more < 0 ? -1 : place_finish(&untarring->place, err);
}

int layer_untar(int fd, int folder, const struct layer_ids *ids, const struct tar_wish *wish,
                struct s2i_list *notes, struct error *err)
{
    OWNED(inflater_drop)
    struct inflater *inflater = inflater_open(fd, PACKED_NOT, &wish->limits, wish->quiet_ms);
    OWNED(untarring_drop)
    struct untarring untarring = {
        .place = {.folder = folder,
                  .ids = ids,
                  .parent = -1,
                  .folder_uid = wish->uid,
                  .folder_gid = wish->gid},
        .wish = wish,
        .notes = notes,
        .buffer = memory_new(LAYER_BUFFER),
    };
    struct digest content;

    untarring.reader = tar_reader_open(inflater_feed, inflater);
    if (untar_all(&untarring, err) < 0)
        return -1;
    return inflater_finish(inflater, &content, err); /* whoever writes a pipe is read to the end */
}

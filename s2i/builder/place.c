/* place.c - the source becomes files of the container: scripts apart, the rest without what
 * .s2iignore names.
 * Touches  <destination>/src and <destination>/scripts of a mounted root.
 * Never    follows a link out of them.
 *
 * Scripts are taken first, then .s2iignore counts, then .s2i/environment is read (4.25). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/steps.h"

enum { SMALL_MAX = 1 << 20, SCRIPT_MAX = 16 << 20, RATIO_NONE = 0 };

static int broken(struct work *work, struct error *err, const char *what)
{
    int number = errno;

    work_fail(work, "FileSystemOperationFailed", err, "%s: %s", what, strerror(number));
    return -1;
}

/* --- .s2iignore --- */

static int feed(void *arg, char *out, size_t capacity, size_t *got, struct error *err)
{
    ssize_t size;

    do
        size = read(*(int *)arg, out, capacity);
    while (size < 0 && errno == EINTR);
    if (size < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be read");
    *got = (size_t)size;
    return 0;
}

static void reader_drop(struct tar_reader **reader)
{
    tar_reader_close(*reader);
}

static int read_entry(struct tar_reader *reader, struct buffer *out, struct error *err)
{
    char piece[4096];
    size_t got = 1;

    while (got > 0) {
        if (tar_read(reader, piece, sizeof(piece), &got, err) < 0)
            return -1;
        if (out->size + got > SMALL_MAX)
            return error_set(err, ERROR_INVALID, ".s2iignore is too long");
        buffer_append(out, piece, got);
    }
    return 0;
}

/* Entries are in the order of their bytes: it stands near the front or nowhere. */
static int find_ignore(int source, struct buffer *out, bool *found, struct error *err)
{
    OWNED(reader_drop) struct tar_reader *reader = tar_reader_open(feed, &source);
    struct tar_entry entry;
    int more;

    *found = false;
    if (lseek(source, 0, SEEK_SET) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be read");
    while ((more = tar_next(reader, &entry, err)) == 1) {
        int order = slice_compare(entry.path, SLICE(".s2iignore"));
        if (order > 0)
            return 0;
        if (order == 0 && entry.type == '0') {
            *found = true;
            return read_entry(reader, out, err);
        }
    }
    return more;
}

/* Whether the path goes, or a folder above it. */
static bool ignored(const struct ignore *ignore, struct slice path)
{
    for (size_t i = 1; ignore != NULL && i <= path.size; i++)
        if ((i == path.size || path.at[i] == '/') &&
            ignore_selects(ignore, (struct slice){path.at, i}))
            return true;
    return false;
}

static bool is_below(struct slice path, const char *folder)
{
    size_t size = strlen(folder);

    return slice_starts(path, folder) && (path.size == size || path.at[size] == '/');
}

/* Folders that may have scripts are looked at once these were moved out. */
static bool has_scripts(struct slice path)
{
    return is_below(path, ".s2i") || is_below(path, ".sti");
}

static bool take(void *ignore, struct slice path)
{
    return has_scripts(path) || !ignored(ignore, path);
}

static int count_ignored(struct work *work, const struct ignore *ignore, struct error *err)
{
    int source = work->source;
    OWNED(reader_drop) struct tar_reader *reader = tar_reader_open(feed, &source);
    struct tar_entry entry;
    int more;

    if (lseek(source, 0, SEEK_SET) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be read");
    while ((more = tar_next(reader, &entry, err)) == 1) {
        if (work_go_on(work, err) < 0) /* a path may be held against many rules */
            return -1;
        if (entry.type != '5')
            *(ignored(ignore, entry.path) ? &work->result.files_ignored : &work->result.files_in) +=
                1;
    }
    return more;
}

/* --- unpacking --- */

static int read_ignore(struct work *work, struct ignore **out, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    bool found;

    if (find_ignore(work->source, &text, &found, err) < 0)
        return -1;
    if (!found) {
        work->result.files_in = work->spec.source.files;
        return 0;
    }
    *out = ignore_parse(buffer_slice(&text), &notes);
    work_notes(work, &notes);
    return count_ignored(work, *out, err);
}

int place_source(struct work *work, struct assembly *assembly, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/src", assembly->destination);
    assembly->src = tree_folder(assembly->root.root, path, &assembly->owner);
    if (assembly->src < 0)
        return broken(work, err, path);
    if (work->source < 0)
        return 0;
    if (read_ignore(work, &assembly->ignore, err) < 0)
        return work_because(work, "InvalidSource");
    const struct tar_wish wish = {.uid = assembly->user.uid,
                                  .gid = 0, /* 4.12 */
                                  .strict = true,
                                  .limits = {.bytes_max = work->spec.limits.disk,
                                             .entries_max = work->spec.limits.files_max,
                                             .ratio_max = RATIO_NONE},
                                  .take = take,
                                  .arg = assembly->ignore};
    if (lseek(work->source, 0, SEEK_SET) < 0)
        return broken(work, err, "the source");
    int outcome = apart_untar(work, work->source, assembly->src, &wish, &notes, err);
    work_notes(work, &notes);
    if (outcome < 0 && scratch_full())
        return work_because(work, "DiskLimit");
    return outcome < 0 ? work_because(work, "InvalidSource") : 0;
}

/* --- scripts (3.3) --- */

static int read_script(int src, const char *name, struct buffer *out)
{
    static const char *const folders[] = {".s2i/bin", ".sti/bin"};
    char path[PATH_MAX];
    int found = 0;

    for (size_t i = 0; found == 0 && i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", folders[i], name);
        found = tree_read(src, path, SCRIPT_MAX, out);
        if (found != 1)
            continue;
        snprintf(path, sizeof(path), "/%s", folders[i]);
        OWNED(fd_drop) int folder = tree_open(src, path, O_RDONLY | O_DIRECTORY, 0);
        if (folder < 0 || unlinkat(folder, name, 0) < 0)
            return -1;
    }
    if (found == 0)
        errno = ENOENT;
    return found == 1 ? 0 : -1;
}

static int place_script(struct assembly *assembly, const struct s2i_script *script)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/scripts", assembly->destination);
    OWNED(fd_drop) int folder = tree_folder(assembly->root.root, path, &assembly->owner);
    if (folder < 0)
        return -1;
    if (strcmp(script->from, "source") == 0 && assembly->src >= 0) {
        if (read_script(assembly->src, script->name, &text) < 0)
            return -1;
    } else if (fetched_script(assembly, script->name, &text) < 0)
        return -1;
    return tree_write(folder, script->name, buffer_slice(&text), 0755, &assembly->owner);
}

int place_scripts(struct work *work, struct assembly *assembly, struct error *err)
{
    for (size_t i = 0; i < assembly->scripts.count; i++) {
        const struct s2i_script *script = &assembly->scripts.items[i];
        bool later = assembly->src >= 0 && work->spec.runtime.name != NULL &&
                     strcmp(script->name, "run") == 0; /* it is the runtime image's */
        if (script->from == NULL || strncmp(script->from, "image://", 8) == 0 || later)
            continue;
        if (place_script(assembly, script) < 0)
            return broken(work, err, script->name);
    }
    return 0;
}

void place_keep(struct work *work, struct assembly *assembly)
{
    static const char *const names[] = {"assemble-runtime", "run"};

    for (size_t i = 0; work->spec.runtime.name != NULL && i < 2; i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        if (read_script(assembly->src, names[i], &text) < 0)
            continue;
        assembly->fetched[assembly->fetched_count++] =
            (struct fetched){.name = memory_text(slice_of(names[i])), .text = text};
        text = BUFFER_NONE;
    }
}

/* --- what .s2iignore says of the folders that had scripts --- */

struct sweeping {
    struct work *work;
    const struct ignore *ignore;
    struct buffer path; /* of the folder, from the source's root on */
};

static void sweeping_drop(struct sweeping *sweeping)
{
    buffer_drop(&sweeping->path);
}

static int sweep(struct sweeping *sweeping, int parent, const char *name, struct error *err)
{
    OWNED(folder_drop) DIR *open = folder_open(parent, name);
    struct buffer *path = &sweeping->path;
    size_t above = path->size;

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        path->size = above;
        buffer_print(path, "/%s", entry->d_name);
        if (work_go_on(sweeping->work, err) < 0)
            return -1;
        if (ignore_selects(sweeping->ignore, buffer_slice(path)))
            folder_erase(dirfd(open), entry->d_name);
        else if (entry->d_type == DT_DIR && sweep(sweeping, dirfd(open), entry->d_name, err) < 0)
            return -1;
    }
    path->size = above;
    return 0;
}

int place_ignore(struct work *work, struct assembly *assembly, struct error *err)
{
    static const char *const folders[] = {".s2i", ".sti"};

    for (size_t i = 0; assembly->ignore != NULL && i < 2; i++) {
        OWNED(sweeping_drop)
        struct sweeping sweeping = {.work = work, .ignore = assembly->ignore};
        buffer_append_text(&sweeping.path, folders[i]);
        if (ignore_selects(assembly->ignore, buffer_slice(&sweeping.path)))
            folder_erase(assembly->src, folders[i]);
        else if (sweep(&sweeping, assembly->src, folders[i], err) < 0)
            return -1;
    }
    return 0;
}

/* --- small files of the source --- */

int place_read(struct work *work, const struct assembly *assembly, const char *path,
               struct buffer *out, struct error *err)
{
    if (tree_read(assembly->src, path, SMALL_MAX, out) >= 0)
        return 0;
    return broken(work, err, path);
}

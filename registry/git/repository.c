/* repository.c - bare repositories as folders: made, their refs read, swept after a crash.
 * Touches  <root>/builds/repos.
 * Never    reads an object; follows a symbolic link; writes a ref that clients see. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/oci.h"
#include "registry/git/git_internal.h"

enum { FILE_MODE = 0600, FOLDER_MODE = 0700, PACKED_MAX = 64 * 1024 * 1024, DEPTH_MAX = 64 };

bool repository_name_sane(struct slice name)
{
    struct slice part;

    if (!oci_name_valid(name))
        return false;
    while (name.size > 0) {
        slice_split(name, '/', &part, &name);
        if (slice_ends(part, ".git"))
            return false;
    }
    return true;
}

static char *joined(const char *folder, const char *name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s", folder, name);
    return memory_text(buffer_slice(&path));
}

char *repository_path(const struct git *git, struct slice name)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%.*s.git", git->repositories, SLICE_ARG(name));
    return memory_text(buffer_slice(&path));
}

bool repository_exists(const char *path)
{
    OWNED(memory_drop) char *head = joined(path, "HEAD");

    return access(head, F_OK) == 0;
}

/* --- small files --- */

static int read_file(const char *path, size_t limit, struct buffer *out)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    return fd < 0 ? -1 : fd_read(fd, limit, out);
}

/* Whole or not at all, and durable: by a rename. */
static int write_file(const char *path, struct slice bytes, struct error *err)
{
    OWNED(buffer_drop) struct buffer fresh = BUFFER_NONE;

    buffer_print(&fresh, "%s.new", path);
    OWNED(fd_drop)
    int fd = open(fresh.at, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
    if (fd < 0 || fd_write(fd, bytes) < 0 || fsync(fd) < 0 || rename(fresh.at, path) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "the repository of sources cannot be written");
    return 0;
}

/* --- making --- */

static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = 0;
        int made = mkdir(path, FOLDER_MODE);
        int number = errno;
        if (slash != NULL)
            *slash = '/';
        if (made < 0 && number != EEXIST)
            return errno = number, -1;
        if (slash == NULL)
            return 0;
    }
}

static int fill(const char *folder, struct error *err)
{
    static const char *const folders[] = {"objects/info", "objects/pack", "refs/heads", "refs/tags",
                                          "refs/builds"};
    OWNED(memory_drop) char *head = joined(folder, "HEAD"), *config = joined(folder, "config");

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        OWNED(memory_drop) char *path = joined(folder, folders[i]);
        if (make_folders(path) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                                   "a repository of sources cannot be made");
    }
    if (write_file(config, SLICE("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"), err) <
        0)
        return -1;
    return write_file(head, SLICE("ref: refs/heads/main\n"), err); /* last: now it exists */
}

int repository_make(const char *path, struct error *err)
{
    if (repository_exists(path))
        return 0;
    return fill(path, err);
}

/* --- refs --- */

static bool oid_take(struct slice text, char out[GIT_OID_SIZE + 1])
{
    if (text.size < GIT_OID_SIZE || !oid_valid((struct slice){text.at, GIT_OID_SIZE}))
        return false;
    memcpy(out, text.at, GIT_OID_SIZE);
    out[GIT_OID_SIZE] = 0;
    return true;
}

static bool packed_ref(const char *path, const char *ref, char out[GIT_OID_SIZE + 1])
{
    OWNED(memory_drop) char *file = joined(path, "packed-refs");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, line;

    if (read_file(file, PACKED_MAX, &text) < 0)
        return false;
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        if (line.size > GIT_OID_SIZE && line.at[GIT_OID_SIZE] == ' ' &&
            slice_equal_text(slice_from(line, GIT_OID_SIZE + 1), ref))
            return oid_take(line, out);
    }
    return false;
}

bool repository_ref(const char *path, const char *ref, char out[GIT_OID_SIZE + 1])
{
    OWNED(memory_drop) char *file = joined(path, ref);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    assert(ref_objection(ref) == NULL);
    if (read_file(file, PATH_MAX, &text) == 0)
        return oid_take(buffer_slice(&text), out);
    return packed_ref(path, ref, out);
}

static void add_ref(struct slice name, size_t limit, struct s2i_list *out)
{
    OWNED(memory_drop) char *ref = memory_text(name);

    if (out->count < limit && ref_objection(ref) == NULL)
        s2i_list_add(out, name);
}

/* prefix: "refs/heads", of the folder. */
static void add_loose(const char *path, const char *prefix, size_t limit, int depth,
                      struct s2i_list *out)
{
    OWNED(memory_drop) char *folder_path = joined(path, prefix);
    DIR *folder = opendir(folder_path);
    struct dirent *entry;

    while (folder != NULL && out->count < limit && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        OWNED(memory_drop) char *below = joined(prefix, entry->d_name);
        if (entry->d_type == DT_DIR && depth < DEPTH_MAX)
            add_loose(path, below, limit, depth + 1, out);
        else if (entry->d_type == DT_REG)
            add_ref(slice_of(below), limit, out);
    }
    if (folder != NULL)
        closedir(folder);
}

static void add_packed(const char *path, size_t limit, struct s2i_list *out)
{
    OWNED(memory_drop) char *file = joined(path, "packed-refs");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, line;

    if (read_file(file, PACKED_MAX, &text) < 0)
        return;
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        if (line.size > GIT_OID_SIZE && line.at[GIT_OID_SIZE] == ' ')
            add_ref(slice_from(line, GIT_OID_SIZE + 1), limit, out);
    }
}

void repository_refs(const char *path, size_t limit, struct s2i_list *out)
{
    add_loose(path, "refs/heads", limit, 0, out);
    add_loose(path, "refs/tags", limit, 0, out);
    add_packed(path, limit, out);
}

bool repository_head(const char *path, char out[PUSH_REF_SIZE_MAX])
{
    OWNED(memory_drop) char *file = joined(path, "HEAD");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice line, rest;

    if (read_file(file, PATH_MAX, &text) < 0)
        return false;
    slice_split(buffer_slice(&text), '\n', &line, &rest);
    return slice_starts(line, "ref: ") &&
           slice_to_text(slice_from(line, 5), out, PUSH_REF_SIZE_MAX) && ref_objection(out) == NULL;
}

int repository_head_put(const char *path, const char *ref, struct error *err)
{
    OWNED(memory_drop) char *file = joined(path, "HEAD");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    buffer_print(&text, "ref: %s\n", ref);
    return write_file(file, buffer_slice(&text), err);
}

int repository_pin(const char *path, int64_t build, const char *commit, struct error *err)
{
    OWNED(buffer_drop) struct buffer file = BUFFER_NONE, text = BUFFER_NONE;

    buffer_print(&file, "%s/refs/builds", path);
    if (mkdir(file.at, FOLDER_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "the repository of sources cannot be written");
    buffer_print(&file, "/%lld", (long long)build);
    buffer_print(&text, "%s\n", commit);
    return write_file(file.at, buffer_slice(&text), err);
}

/* --- after a crash --- */

static void remove_tree(int parent, const char *name, int depth)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (folder == NULL) {
        if (fd >= 0)
            close(fd);
        unlinkat(parent, name, 0);
        return;
    }
    while (depth < DEPTH_MAX && (entry = readdir(folder)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_tree(dirfd(folder), entry->d_name, depth + 1);
    closedir(folder);
    unlinkat(parent, name, AT_REMOVEDIR);
}

static bool is_left_over(const char *name)
{
    struct slice text = slice_of(name);

    return slice_ends(text, ".lock") || slice_ends(text, ".new") || slice_starts(text, "tmp_") ||
           slice_starts(text, ".tmp-") || slice_starts(text, "incoming-");
}

/* deep: folders are looked into (refs). */
static void sweep_folder(const char *path, bool deep, int depth)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        if (is_left_over(entry->d_name)) {
            remove_tree(dirfd(folder), entry->d_name, 0);
        } else if (deep && depth < DEPTH_MAX && entry->d_type == DT_DIR &&
                   entry->d_name[0] != '.') {
            OWNED(memory_drop) char *below = joined(path, entry->d_name);
            sweep_folder(below, true, depth + 1);
        }
    }
    if (folder != NULL)
        closedir(folder);
}

void repository_sweep(const char *path)
{
    OWNED(memory_drop) char *objects = joined(path, "objects");
    OWNED(memory_drop) char *packs = joined(path, "objects/pack");
    OWNED(memory_drop) char *refs = joined(path, "refs");

    sweep_folder(path, false, 0); /* HEAD.lock, packed-refs.lock, shallow.lock */
    sweep_folder(objects, false, 0);
    sweep_folder(packs, false, 0);
    sweep_folder(refs, true, 0);
}

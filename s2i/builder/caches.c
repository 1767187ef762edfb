/* caches.c - folders that live from build to build: unpacked before assemble, packed after it.
 * Touches  the folder caches of the builder; folders beside the build's changes, within its disk.
 * Never    lets one into a layer; fails a build for a cache that cannot be used.
 *
 * A cache belongs to a repository (by its first build: names are given again), a builder's
 * repository, a branch and a path; a branch without one begins with that of the default branch. It
 * is kept as a packed layer, "<key>-<its diff id>", so it is read as carefully as a layer is, and
 * it is whole or absent. Spec: s2i 8.7 */
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

enum { CACHES_MAX = 16, RATIO_MAX = 200, KEY_SIZE = 64, SHARE = 4 };

#define MEDIA_TYPE "application/vnd.oci.image.layer.v1.tar+zstd"

/* --- which --- */

static void gather(struct slice text, struct s2i_list *out)
{
    for (size_t at = 0; at < text.size;) {
        size_t size = 0;
        while (at + size < text.size && strchr(" ,\t\r\n", text.at[at + size]) == NULL)
            size++;
        if (size > 0 && text.at[at] == '/')
            s2i_list_add(out, (struct slice){text.at + at, size});
        at += size + 1;
    }
}

/* Options, the source, the image: the first that says something. */
static int find_paths(struct work *work, struct assembly *assembly, struct s2i_list *out,
                      struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct s2i_list *given = &work->spec.options.cache;
    const char *label = image_label(&assembly->root.config, "s2i.cache-dirs");

    for (size_t i = 0; i < given->count; i++)
        s2i_list_add(out, slice_of(given->items[i]));
    if (out->count == 0 && assembly->src >= 0) {
        if (place_read(work, assembly, ".s2i/cache", &text, err) < 0)
            return -1;
        gather(buffer_slice(&text), out);
    }
    if (out->count == 0 && label != NULL)
        gather(slice_of(label), out);
    if (out->count > CACHES_MAX)
        return work_fail(work, "GenericS2IBuildFailed", err, "more than %d caches", CACHES_MAX);
    return 0;
}

static void key_of(const struct work *work, const char *ref, const char *path,
                   char out[KEY_SIZE + 1])
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct digest digest;

    buffer_print(&text, "%lld\n%s\n%s\n%s\n%s", (long long)work->spec.first_build,
                 work->spec.builder.repository, ref, path, work->setup.root ? "root" : "user");
    digest_of(DIGEST_SHA256, buffer_slice(&text), &digest);
    hex_encode(digest.bytes, digest.size, out);
    out[KEY_SIZE] = 0;
}

/* -1: none are to be used. */
static int open_caches(const struct work *work)
{
    return work->spec.fresh ? -1
                            : openat(work->folder, "caches", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* The file of a key; its name has the diff id. */
static int find_file(int caches, const char *key, char name[NAME_MAX + 1])
{
    OWNED(folder_drop) DIR *open = folder_open(caches, ".");
    int found = -1;

    for (const struct dirent *entry; found < 0 && (entry = folder_next(open)) != NULL;)
        if (strncmp(entry->d_name, key, KEY_SIZE) == 0 && entry->d_name[KEY_SIZE] == '-') {
            found = openat(caches, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
            snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
        }
    return found;
}

/* --- unpacking --- */

static int unpack(struct work *work, int file, const char *name, int folder, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    OWNED(buffer_drop) struct buffer diff_id = BUFFER_NONE;
    struct s2i_layer layer = {.media_type = (char *)(uintptr_t)MEDIA_TYPE};
    const struct layer_limits limits = {.bytes_max = work->spec.limits.disk,
                                        .entries_max = work->spec.limits.files_max,
                                        .ratio_max = RATIO_MAX};
    struct stat about;

    buffer_print(&diff_id, "sha256:%s", name + KEY_SIZE + 1);
    if (digest_parse(buffer_slice(&diff_id), &layer.diff_id, err) < 0)
        return -1;
    if (fstat(file, &about) == 0)
        layer.size = (uint64_t)about.st_size;
    futimens(file, NULL);
    return apart_unpack(work, file, &layer, folder, &limits, &notes, err);
}

/* This branch's, else the default branch's. False: what was kept is broken, and is gone. */
static bool fill(struct work *work, const char *path, int folder)
{
    const char *fallback = work->spec.options.default_branch;
    const char *const refs[] = {work->spec.source.ref, fallback == NULL ? "main" : fallback};
    OWNED(fd_drop) int caches = open_caches(work);
    char key[KEY_SIZE + 1], name[NAME_MAX + 1];
    struct error err = {0};

    for (size_t i = 0; caches >= 0 && i < 2; i++) {
        key_of(work, refs[i] == NULL ? "" : refs[i], path, key);
        OWNED(fd_drop) int file = find_file(caches, key, name);
        if (file < 0)
            continue;
        if (unpack(work, file, name, folder, &err) == 0) {
            work_detail(work, "cache of %s", path);
            return true;
        }
        work_warn(work, "the cache of %s cannot be used: %s", path, err.message);
        unlinkat(caches, name, 0);
        return false;
    }
    return true;
}

/* A folder of that name among what the build writes: filled, and the build's user's. -1 with
 * errno. */
static int make_folder(struct work *work, const struct assembly *assembly, const char *path,
                       const char *name)
{
    OWNED(fd_drop) int scratch = open(DESK "/s", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool filled = false;

    for (int i = 0; !filled && i < 3; i++) { /* its own, the default branch's, none */
        if (scratch < 0 || folder_erase(scratch, name) < 0 || mkdirat(scratch, name, 0755) < 0)
            return -1;
        OWNED(fd_drop) int folder = openat(scratch, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (folder < 0)
            return -1;
        filled = fill(work, path, folder);
        if (fchown(folder, assembly->owner.uid, assembly->owner.gid) < 0)
            return -1;
    }
    return 0;
}

/* --- mounting --- */

static int give_cache(struct work *work, struct assembly *assembly, struct run *run,
                      const char *path, struct error *err)
{
    char clean[PATH_MAX] = "/", real[PATH_MAX] = "/";
    struct mount_file *mount;

    if (!tree_path_clean(path, clean + 1, sizeof(clean) - 1) || clean[1] == 0)
        return work_fail(work, "GenericS2IBuildFailed", err, "the cache %.80s is no folder", path);
    OWNED(fd_drop) int point = tree_folder(assembly->root.root, clean, &assembly->owner);
    if (point < 0 || !root_real_path(&assembly->root, clean, real + 1, sizeof(real) - 1) ||
        real[1] == 0)
        return work_fail(work, "GenericS2IBuildFailed", err, "the cache %.80s cannot be mounted",
                         path);
    s2i_list_add(&assembly->left_out, slice_of(real + 1));
    s2i_list_add(&assembly->targets, slice_of(real));
    if ((mount = run_mount(run, assembly->targets.items[assembly->targets.count - 1])) == NULL)
        return work_fail(work, "GenericS2IBuildFailed", err, "too many mounts");
    mount->writable = true;
    snprintf(mount->source, sizeof(mount->source), DESK "/s/c%zu", assembly->caches.count);
    s2i_list_add(&assembly->caches, slice_of(path));
    if (make_folder(work, assembly, path, strrchr(mount->source, '/') + 1) < 0)
        return work_fail(work, "FileSystemOperationFailed", err, "the cache %.80s: %s", path,
                         strerror(errno));
    return 0;
}

int give_caches(struct work *work, struct assembly *assembly, struct run *run, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list paths = {0};

    if (find_paths(work, assembly, &paths, err) < 0)
        return -1;
    for (size_t i = 0; i < paths.count; i++)
        if (give_cache(work, assembly, run, paths.items[i], err) < 0)
            return -1;
    return 0;
}

/* --- packing --- */

static int write_packed(void *arg, struct slice bytes, struct error *err)
{
    if (fd_write(*(int *)arg, bytes) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a cache cannot be written");
    return 0;
}

/* Others of the key go when the new one has its name. */
static void replace(int caches, const char *key, const char *name)
{
    char old[NAME_MAX + 1];
    OWNED(folder_drop) DIR *open = folder_open(caches, ".");

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        snprintf(old, sizeof(old), "%s", entry->d_name);
        if (strncmp(old, key, KEY_SIZE) == 0 && strcmp(old, name) != 0)
            unlinkat(caches, old, 0);
    }
}

static int pack(struct work *work, const struct assembly *assembly, int folder, int out,
                struct s2i_layer *layer, struct error *err)
{
    static const char *const nothing[] = {NULL};
    uint64_t entries;
    const struct layer_make make = {.upper = folder,
                                    .ids = work->ids,
                                    .uid = assembly->user.uid,
                                    .gid = assembly->user.gid,
                                    .epoch = INT64_MAX, /* times stay */
                                    .left_out = nothing,
                                    .compression = "zstd",
                                    .bytes_max = work->spec.limits.layer_bytes_max,
                                    .secrets = &assembly->secrets,
                                    .go_on = work_go_on,
                                    .go_on_arg = work,
                                    .sink = write_packed,
                                    .arg = &out};

    return layer_make(&make, layer, &entries, err);
}

static int save(struct work *work, const struct assembly *assembly, int caches, size_t index,
                struct error *err)
{
    char key[KEY_SIZE + 1], name[NAME_MAX + 1], path[64], hex[2 * 64 + 1] = "";
    const char *ref = work->spec.source.ref;
    struct s2i_layer layer = {0};

    snprintf(path, sizeof(path), DESK "/s/c%zu", index);
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED(fd_drop) int out = openat(caches, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (folder < 0 || out < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a cache cannot be kept");
    if (pack(work, assembly, folder, out, &layer, err) < 0)
        return -1;
    free(layer.media_type);
    key_of(work, ref == NULL ? "" : ref, assembly->caches.items[index], key);
    hex_encode(layer.diff_id.bytes, layer.diff_id.size, hex);
    snprintf(name, sizeof(name), "%s-%s", key, hex);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", out);
    if (linkat(AT_FDCWD, path, caches, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a cache cannot be kept");
    replace(caches, key, name);
    return 0;
}

int save_caches(struct work *work, const struct assembly *assembly, struct error *err)
{
    OWNED(fd_drop) int caches = assembly->caches.count == 0 ? -1 : open_caches(work);

    for (size_t i = 0; caches >= 0 && i < assembly->caches.count; i++) {
        struct error failure = {0};
        if (save(work, assembly, caches, i, &failure) == 0)
            continue;
        if (work_over(work, err) < 0)
            return -1;
        work_warn(work, "the cache of %s is not kept: %s", assembly->caches.items[i],
                  failure.message);
    }
    return 0;
}

/* --- eviction --- */

/* The oldest one; false: there is none. */
static bool find_oldest(int caches, char name[NAME_MAX + 1], uint64_t *bytes, uint64_t *all)
{
    OWNED(folder_drop) DIR *open = folder_open(caches, ".");
    struct timespec oldest = {0};
    struct stat about;
    bool found = false;

    *all = 0;
    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        if (fstatat(caches, entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISREG(about.st_mode))
            continue;
        *all += (uint64_t)about.st_size;
        if (found &&
            (about.st_mtim.tv_sec > oldest.tv_sec ||
             (about.st_mtim.tv_sec == oldest.tv_sec && about.st_mtim.tv_nsec >= oldest.tv_nsec)))
            continue;
        found = true;
        oldest = about.st_mtim;
        *bytes = (uint64_t)about.st_size;
        snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
    }
    return found;
}

void caches_evict(const struct work *work)
{
    OWNED(fd_drop) int caches = open_caches(work);
    char name[NAME_MAX + 1];
    uint64_t bytes, all;

    while (caches >= 0 && find_oldest(caches, name, &bytes, &all) &&
           all > work->setup.cache_max / SHARE)
        if (unlinkat(caches, name, 0) < 0)
            return;
}

/* repository.c - bare repositories as folders: made, their refs read, swept after a crash.
 * Touches  <root>/builds/repos.
 * Never    reads an object; follows a symbolic link below a repository: git writes there, and what
 *          it reads was written by strangers; writes a ref that clients see. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/core/oci.h"
#include "registry/git/git_internal.h"

enum {
    FILE_MODE = 0600,
    FOLDER_MODE = 0700,
    PACKED_MAX = 64 * 1024 * 1024,
    PACKED_SOME = 4096,
    DEPTH_MAX = 64,
    FRESH_SIZE = 32,
};
static const char FRESH[] = "new-"; /* begins names of files on their way */

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

char *repository_path(const struct git *git, struct slice name)
{
    return memory_print("%s/%.*s.git", git->repositories, SLICE_ARG(name));
}

bool repository_exists(const char *path)
{
    OWNED(memory_drop) char *head = folder_path(path, "HEAD");

    return access(head, F_OK) == 0;
}

uint64_t repository_number(const char *path)
{
    struct stat info;

    return stat(path, &info) < 0 ? 0 : (uint64_t)info.st_ino;
}

/* --- below a repository --- */

static int root_open(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static int open_below(int root, const char *name, int flags)
{
    const struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
                                 .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};

    return (int)syscall(SYS_openat2, root, name, &how, sizeof(how));
}

DIR *repository_folder(const char *path, const char *name)
{
    OWNED(fd_drop) int root = root_open(path);
    OWNED(fd_drop) int fd = root < 0 ? -1 : open_below(root, name, O_RDONLY | O_DIRECTORY);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (folder != NULL)
        fd_take(&fd); /* the folder has it */
    return folder;
}

static int read_below(const char *path, const char *name, size_t limit, struct buffer *out)
{
    OWNED(fd_drop) int root = root_open(path);
    OWNED(fd_drop) int fd = root < 0 ? -1 : open_below(root, name, O_RDONLY);

    return fd < 0 ? -1 : fd_read(fd, limit, out);
}

static void fresh_name(char out[FRESH_SIZE])
{
    uint8_t random[8];
    char digits[2 * sizeof(random)];

    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), digits);
    snprintf(out, FRESH_SIZE, "%s%.16s", FRESH, digits);
}

static int put_fresh(int root, const char *fresh, struct slice bytes)
{
    OWNED(fd_drop)
    int fd = openat(root, fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);

    return fd < 0 || fd_write(fd, bytes) < 0 ? -1 : fsync(fd);
}

/* Whole or not at all, and durable: by a rename into `folder` ("." or below). */
static int write_below(const char *path, const char *folder, const char *name, struct slice bytes,
                       struct error *err)
{
    OWNED(fd_drop) int root = root_open(path);
    OWNED(fd_drop) int parent = root < 0 ? -1 : open_below(root, folder, O_RDONLY | O_DIRECTORY);
    char fresh[FRESH_SIZE];

    fresh_name(fresh);
    if (parent >= 0 && put_fresh(root, fresh, bytes) == 0 &&
        renameat(root, fresh, parent, name) == 0 && fsync(parent) == 0)
        return 0;
    error_set_errno(err, ERROR_UNAVAILABLE, errno, "the repository of sources cannot be written");
    if (parent >= 0)
        unlinkat(root, fresh, 0);
    return -1;
}

int repository_write(const char *path, const char *name, struct slice bytes, struct error *err)
{
    return write_below(path, ".", name, bytes, err);
}

/* --- making --- */

/* A new name is durable when the folder it stands in is synced. */
static int make_folder(const char *path)
{
    if (mkdir(path, FOLDER_MODE) < 0)
        return errno == EEXIST ? 0 : -1;
    OWNED(memory_drop) char *above = folder_path(path, "..");
    OWNED(fd_drop) int fd = open(above, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash != NULL)
            *slash = 0;
        int made = make_folder(path);
        int number = errno;
        if (slash != NULL)
            *slash = '/';
        if (made < 0)
            return errno = number, -1;
        if (slash == NULL)
            return 0;
    }
}

int repository_make(const char *path, struct error *err)
{
    static const char *const folders[] = {"objects/info", "objects/pack", "refs/heads", "refs/tags",
                                          "refs/builds"};

    if (repository_exists(path))
        return 0;
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        OWNED(memory_drop) char *folder = folder_path(path, folders[i]);
        if (make_folders(folder) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                                   "a repository of sources cannot be made");
    }
    if (repository_write(path, "config",
                         SLICE("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"), err) < 0)
        return -1;
    return repository_write(path, "HEAD", SLICE("ref: refs/heads/main\n"), err); /* now it exists */
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

/* The next line of packed-refs that has a ref: "<oid> <ref>". */
static bool packed_next(struct slice *text, struct slice *oid, struct slice *ref)
{
    struct slice line;

    while (text->size > 0) {
        slice_split(*text, '\n', &line, text);
        if (slice_split(line, ' ', oid, ref) && oid_valid(*oid))
            return true;
    }
    return false;
}

/* There is none; anything else may be a ref that cannot be read now. */
static bool is_absent(int number)
{
    return number == ENOENT || number == ENOTDIR || number == EISDIR;
}

struct wanted {
    struct held_ref *held;
};

static int compare_wanted(const void *a, const void *b)
{
    const struct wanted *left = a, *right = b;

    return strcmp(left->held->ref, right->held->ref);
}

static int compare_name(const void *name, const void *element)
{
    const struct wanted *wanted = element;

    return slice_compare(*(const struct slice *)name, slice_of(wanted->held->ref));
}

/* Those that are not loose, in their order: the file is read once, and may be long. */
static void find_packed(const char *path, const struct wanted *wanted, size_t count)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, oid, ref;

    if (read_below(path, "packed-refs", PACKED_MAX, &text) < 0) {
        for (size_t i = 0; i < count; i++)
            wanted[i].held->state = is_absent(errno) ? 0 : -1;
        return;
    }
    rest = buffer_slice(&text);
    while (packed_next(&rest, &oid, &ref)) {
        struct wanted *found = bsearch(&ref, wanted, count, sizeof(*wanted), compare_name);
        if (found != NULL)
            found->held->state = oid_take(oid, found->held->oid);
    }
}

void repository_refs_find(const char *path, struct held_ref *refs, size_t count)
{
    OWNED(memory_drop) struct wanted *packed = memory_new(count * sizeof(*packed));
    size_t packed_count = 0;

    for (size_t i = 0; i < count; i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct held_ref *held = &refs[i];
        assert(ref_objection(held->ref) == NULL);
        if (read_below(path, held->ref, PATH_MAX, &text) == 0)
            held->state = oid_take(buffer_slice(&text), held->oid);
        else if ((held->state = is_absent(errno) ? 0 : -1) == 0)
            packed[packed_count++].held = held;
    }
    if (packed_count == 0)
        return;
    qsort(packed, packed_count, sizeof(*packed), compare_wanted);
    find_packed(path, packed, packed_count);
}

bool repository_ref(const char *path, const char *ref, char out[GIT_OID_SIZE + 1])
{
    struct held_ref held = {.ref = ref};

    repository_refs_find(path, &held, 1);
    if (held.state > 0)
        memcpy(out, held.oid, sizeof(held.oid));
    return held.state > 0;
}

int held_ref_is(const struct held_ref *held, const char *oid)
{
    if (held->state < 0)
        return -1;
    return held->state == 0 ? oid_is_none(oid) : strcmp(held->oid, oid) == 0;
}

/* One that is not there any more went with its ref. */
static void sync_folder(int root, const char *name)
{
    OWNED(fd_drop) int fd = root < 0 ? -1 : open_below(root, name, O_RDONLY | O_DIRECTORY);

    if (fd >= 0)
        fsync(fd);
}

static bool stand_together(const char *ref, const char *other)
{
    const char *slash = strrchr(ref, '/');
    size_t size = slash == NULL ? 0 : (size_t)(slash - ref) + 1;

    return strncmp(ref, other, size) == 0 && strchr(other + size, '/') == NULL;
}

/* From the folder one stands in up to the repository, for folders may be new too; once for those of
 * a folder that follow each other, as git and people name them. */
void repository_refs_sync(const char *path, char *const *refs, size_t count)
{
    OWNED(fd_drop) int root = root_open(path);
    char *slash;

    for (size_t i = 0; i < count; i++) {
        if (i > 0 && stand_together(refs[i - 1], refs[i]))
            continue;
        OWNED(memory_drop) char *folder = memory_text(slice_of(refs[i]));
        while ((slash = strrchr(folder, '/')) != NULL) {
            *slash = 0;
            sync_folder(root, folder);
        }
    }
    if (count > 0)
        sync_folder(root, "."); /* packed-refs */
}

static void add_ref(struct slice name, size_t limit, struct s2i_list *out)
{
    OWNED(memory_drop) char *ref = memory_text(name);

    if (out->count < limit && ref_objection(ref) == NULL)
        s2i_list_add(out, name);
}

/* prefix: "refs/heads", of the folder. False: not all could be read. */
static bool add_loose(const char *path, const char *prefix, size_t limit, int depth,
                      struct s2i_list *out)
{
    OWNED(folder_drop) DIR *folder = repository_folder(path, prefix);
    const struct dirent *entry;
    bool whole = true;

    if (folder == NULL)
        return is_absent(errno);
    while ((entry = folder_next(folder)) != NULL) {
        if (out->count >= limit)
            return whole;
        if (entry->d_name[0] == '.')
            continue;
        OWNED(memory_drop) char *below = folder_path(prefix, entry->d_name);
        if (entry->d_type == DT_DIR)
            whole &= depth < DEPTH_MAX && add_loose(path, below, limit, depth + 1, out);
        else if (entry->d_type == DT_REG)
            add_ref(slice_of(below), limit, out);
    }
    return whole && errno == 0;
}

static bool add_all(const char *path, size_t limit, size_t packed_max, struct s2i_list *out)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    bool whole = add_loose(path, "refs/heads", limit, 0, out);
    struct slice rest, oid, ref;

    whole &= add_loose(path, "refs/tags", limit, 0, out);
    if (out->count >= limit)
        return whole;
    if (read_below(path, "packed-refs", packed_max, &text) < 0)
        return whole && is_absent(errno);
    rest = buffer_slice(&text);
    while (out->count < limit && packed_next(&rest, &oid, &ref))
        add_ref(ref, limit, out);
    return whole;
}

bool repository_refs(const char *path, size_t limit, struct s2i_list *out)
{
    return add_all(path, limit, PACKED_MAX, out);
}

/* Where much is packed, there is one. */
bool repository_has_refs(const char *path)
{
    OWNED(s2i_list_drop) struct s2i_list refs = {0};

    return !add_all(path, 1, PACKED_SOME, &refs) || refs.count > 0;
}

bool repository_head(const char *path, char out[PUSH_REF_SIZE_MAX])
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice line, rest;

    if (read_below(path, "HEAD", PATH_MAX, &text) < 0)
        return false;
    slice_split(buffer_slice(&text), '\n', &line, &rest);
    return slice_starts(line, "ref: ") &&
           slice_to_text(slice_from(line, 5), out, PUSH_REF_SIZE_MAX) && ref_objection(out) == NULL;
}

int repository_head_put(const char *path, const char *ref, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    buffer_print(&text, "ref: %s\n", ref);
    return repository_write(path, "HEAD", buffer_slice(&text), err);
}

int repository_pin(const char *path, int64_t build, const char *commit, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char name[32];

    snprintf(name, sizeof(name), "%lld", (long long)build);
    buffer_print(&text, "%s\n", commit);
    return write_below(path, "refs/builds", name, buffer_slice(&text), err);
}

/* --- after a crash --- */

/* Nothing that git keeps, and no ref, has such a name. */
static bool is_lock(const char *name)
{
    return slice_ends(slice_of(name), ".lock");
}

static bool is_on_its_way(const char *name)
{
    struct slice text = slice_of(name);

    return is_lock(name) || slice_starts(text, "tmp_") || slice_starts(text, ".tmp-") ||
           slice_starts(text, FRESH);
}

static void sweep(const char *path, const char *name, bool (*left_over)(const char *name))
{
    OWNED(folder_drop) DIR *folder = repository_folder(path, name);
    const struct dirent *entry;

    while ((entry = folder_next(folder)) != NULL)
        if (left_over(entry->d_name))
            folder_erase(dirfd(folder), entry->d_name);
}

static void sweep_locks(const char *path, const char *name, int depth)
{
    OWNED(folder_drop) DIR *folder = repository_folder(path, name);
    const struct dirent *entry;

    while (depth < DEPTH_MAX && (entry = folder_next(folder)) != NULL)
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            OWNED(memory_drop) char *below = folder_path(name, entry->d_name);
            sweep_locks(path, below, depth + 1);
        }
    sweep(path, name, is_lock);
}

void repository_sweep(const char *path)
{
    sweep(path, ".", is_on_its_way);
    sweep(path, "objects", is_on_its_way);
    sweep(path, "objects/pack", is_on_its_way);
    sweep_locks(path, "refs", 0); /* a branch may be called tmp_x */
}

/* Or may have: where it cannot be read. */
static bool has_pins(const char *path)
{
    OWNED(folder_drop) DIR *pins = repository_folder(path, "refs/builds");
    const struct dirent *entry;

    if (pins == NULL)
        return !is_absent(errno);
    while ((entry = folder_next(pins)) != NULL)
        if (entry->d_name[0] != '.')
            return true;
    return errno != 0;
}

void repository_remove_empty(const char *path)
{
    OWNED(fd_drop) int root = root_open(path);
    OWNED(memory_drop) char *held = memory_print("/proc/self/fd/%d", root);

    /* another one may come under the name: it was deleted, or comes back */
    if (root < 0 || repository_has_refs(held) || has_pins(held))
        return;
    unlinkat(root, "HEAD", 0); /* from now on it does not exist */
    folder_empty(held);
    rmdir(path);
}

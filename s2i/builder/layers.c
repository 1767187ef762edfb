/* layers.c - unpacked layers of images: made once for each blob and diff id, shared by builds,
 * evicted by last use.
 * Touches  the folder layers of the builder; asks the server for layers that are not there.
 * Never    uses a folder before it was renamed to its name: until then it is not whole (19.5), nor
 *          on the disk. All of the file system is synced, once for each new layer: file by file
 *          would cost far more, and without it a power cut leaves empty files that builds would
 * use.
 *
 *   (none) --lock, unpack, rename--> WHOLE --lock, evict--> (none)
 *
 * <key> is a folder, <key>.lock a file: locked by whoever unpacks or evicts, shared by whoever uses
 * it; its text is the folder's size in bytes, its time that of the last use.
 *
 * The key is of the blob and of the diff id: an image's config only claims the latter, so that what
 * is there for another blob is nobody's who names it (16.8). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/kept.h"

enum { NAME_SIZE = 200, WAIT_MS = 20, RATIO_MAX = 200, AGAIN = 1 };

void stack_drop(struct stack *stack)
{
    for (size_t i = 0; i < stack->count; i++) {
        fd_drop(&stack->layers[i]);
        fd_drop(&stack->locks[i]);
    }
    free(stack->layers);
    free(stack->locks);
    free(stack->keys);
    *stack = (struct stack){0};
}

static void layer_key(const struct s2i_layer *layer, struct digest *out)
{
    char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];
    OWNED(buffer_drop) struct buffer both = BUFFER_NONE;

    buffer_print(&both, "%s %s", digest_text(&layer->digest, digest),
                 digest_text(&layer->diff_id, diff_id));
    digest_of(DIGEST_SHA256, buffer_slice(&both), out);
}

void layer_folder_name(const struct digest *key, char out[LAYER_NAME_MAX])
{
    char text[DIGEST_TEXT_MAX];

    snprintf(out, LAYER_NAME_MAX, "%s", digest_text(key, text));
    for (char *at = out; *at != 0; at++)
        if (*at == ':')
            *at = '-';
}

/* Polling: a build that is cancelled does not wait for another one's unpacking. */
static int lock_within(struct work *work, int lock, int how, struct error *err)
{
    while (flock(lock, how | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return error_set_errno(err, ERROR_INTERNAL, errno, "a layer cannot be locked");
        usleep(WAIT_MS * 1000);
        if (work_go_on(work, err) < 0)
            return -1;
    }
    return 0;
}

static int lock_open(int layers, const char *name, struct error *err)
{
    char file[NAME_SIZE];

    snprintf(file, sizeof(file), "%s.lock", name);
    int lock = openat(layers, file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0)
        error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer cannot be unpacked");
    return lock;
}

static int unpack(struct work *work, int folder, const char *kind, size_t index,
                  const struct s2i_layer *layer, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    OWNED(fd_drop) int blob = -1;
    uint64_t most = work->spec.limits.layer_bytes_max;
    const struct layer_limits limits = {.bytes_max = most - work->layer_bytes,
                                        .entries_max = work->spec.limits.files_max,
                                        .ratio_max = RATIO_MAX};

    if (work->layer_bytes >= most)
        return error_set(err, ERROR_INVALID, "the layers exceed the limit of %llu bytes together",
                         (unsigned long long)most);
    if (work_want(work, json_pack("{s:s, s:I}", "image", kind, "layer", (json_int_t)index), &blob,
                  err) < 0)
        return -1;
    if (fchown(folder, work->ids.base, work->ids.base) < 0 || fchmod(folder, 0755) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer cannot be unpacked");
    int outcome = apart_unpack(work, blob, layer, folder, &limits, &notes, err);
    for (size_t i = 0; i < notes.count; i++)
        work_detail(work, "%s", notes.items[i]);
    return outcome;
}

static void note_size(int lock, int folder)
{
    char text[U64_DIGITS_MAX];
    size_t size = u64_digits(tree_bytes(folder), text);

    /* A size that cannot be noted counts as nothing until the layer goes. */
    if (ftruncate(lock, 0) == 0 && pwrite(lock, text, size, 0) != (ssize_t)size)
        (void)!ftruncate(lock, 0);
}

static uint64_t noted_size(int lock)
{
    char text[U64_DIGITS_MAX];
    ssize_t size = pread(lock, text, sizeof(text), 0);
    uint64_t bytes = 0;

    return size > 0 && slice_to_u64((struct slice){text, (size_t)size}, &bytes) ? bytes : 0;
}

/* The lock is held alone. */
static int make(struct work *work, int layers, const char *name, int lock, const char *kind,
                size_t index, const struct s2i_layer *layer, struct error *err)
{
    char fresh[NAME_SIZE];

    snprintf(fresh, sizeof(fresh), "%s.new", name);
    if (folder_erase(layers, fresh) < 0 || mkdirat(layers, fresh, 0700) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer cannot be unpacked");
    OWNED(fd_drop) int folder = openat(layers, fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer cannot be unpacked");
    if (unpack(work, folder, kind, index, layer, err) < 0) {
        folder_erase(layers, fresh);
        return -1;
    }
    note_size(lock, folder);
    if (syncfs(folder) < 0 || renameat(layers, fresh, layers, name) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer cannot be kept");
    return 0;
}

/* 0: it is there, and held; AGAIN: it went meanwhile. */
static int take_once(struct work *work, int layers, const char *kind, size_t index,
                     const struct s2i_layer *layer, const struct digest *key, int *folder,
                     int *held, struct error *err)
{
    char name[LAYER_NAME_MAX];
    struct stat about;

    layer_folder_name(key, name);
    OWNED(fd_drop) int lock = lock_open(layers, name, err);
    if (lock < 0 || lock_within(work, lock, LOCK_SH, err) < 0)
        return -1;
    if (faccessat(layers, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
        if (lock_within(work, lock, LOCK_EX, err) < 0)
            return -1;
        if (fstat(lock, &about) < 0 || about.st_nlink == 0)
            return AGAIN;
        if (faccessat(layers, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
            make(work, layers, name, lock, kind, index, layer, err) < 0)
            return -1;
        if (lock_within(work, lock, LOCK_SH, err) < 0)
            return -1;
    }
    *folder = openat(layers, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (*folder < 0 || fstat(lock, &about) < 0 || about.st_nlink == 0) {
        fd_drop(folder);
        return AGAIN;
    }
    futimens(lock, NULL);
    *held = fd_take(&lock);
    return 0;
}

/* The same layer again, further down, shows nothing that the one above does not show. */
static bool is_held(const struct stack *stack, const struct digest *key)
{
    for (size_t i = 0; i < stack->count; i++)
        if (digest_equal(&stack->keys[i], key))
            return true;
    return false;
}

int layers_open(const struct work *work, struct error *err)
{
    int folder = openat(work->folder, work->setup.root ? "layers" : "layers-user",
                        O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (folder < 0)
        error_set_errno(err, ERROR_UNAVAILABLE, errno, "the builder's folder is broken");
    return folder;
}

int layers_take(struct work *work, const char *kind, const struct s2i_image *image,
                struct stack *out, struct error *err)
{
    OWNED(fd_drop) int layers = layers_open(work, err);

    if (layers < 0)
        return -1;
    if (image->layer_count > LAYERS_MAX)
        return error_set(err, ERROR_INVALID, "an image of %zu layers exceeds the limit of %d",
                         image->layer_count, LAYERS_MAX);
    out->layers = memory_new((image->layer_count + 1) * sizeof(int));
    out->locks = memory_new((image->layer_count + 1) * sizeof(int));
    out->keys = memory_new((image->layer_count + 1) * sizeof(struct digest));
    for (size_t i = image->layer_count; i-- > 0;) {
        const struct s2i_layer *layer = &image->layers[i];
        int taken = AGAIN, folder = -1, lock = -1;
        struct digest key;
        layer_key(layer, &key);
        if (is_held(out, &key))
            continue;
        while (taken == AGAIN)
            taken = take_once(work, layers, kind, i, layer, &key, &folder, &lock, err);
        if (taken < 0)
            return -1;
        work->layer_bytes += noted_size(lock);
        out->layers[out->count] = folder;
        out->locks[out->count] = lock;
        out->keys[out->count++] = key;
        if (layer_hides_all(folder, &work->ids))
            return 0;
    }
    return 0;
}

/* --- eviction --- */

struct unpacked {
    char name[LAYER_NAME_MAX];
    uint64_t bytes;
    struct timespec used;
};

static int by_use(const void *a, const void *b)
{
    const struct unpacked *one = a, *other = b;

    if (one->used.tv_sec != other->used.tv_sec)
        return one->used.tv_sec < other->used.tv_sec ? -1 : 1;
    return one->used.tv_nsec < other->used.tv_nsec   ? -1
           : one->used.tv_nsec > other->used.tv_nsec ? 1
                                                     : 0;
}

static bool look(int layers, const char *file, struct unpacked *out)
{
    OWNED(fd_drop) int lock = openat(layers, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    size_t size = strlen(file) - strlen(".lock");
    struct stat about;

    *out = (struct unpacked){0};
    if (lock < 0 || size >= sizeof(out->name) || fstat(lock, &about) < 0 ||
        fd_read(lock, U64_DIGITS_MAX + 1, &text) < 0)
        return false;
    memcpy(out->name, file, size);
    slice_to_u64(buffer_slice(&text), &out->bytes);
    out->used = about.st_mtim;
    return true;
}

static size_t gather(int layers, struct unpacked **out, uint64_t *bytes)
{
    OWNED(folder_drop) DIR *open = folder_open(layers, ".");
    size_t count = 0;

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        if (!slice_ends(slice_of(entry->d_name), ".lock"))
            continue;
        *out = memory_resize(*out, (count + 1) * sizeof(**out));
        if (!look(layers, entry->d_name, &(*out)[count]))
            continue;
        *bytes += (*out)[count++].bytes;
    }
    return count;
}

/* Nobody uses it: true. Whoever keeps it says so before he lets go of its lock. It is renamed
 * first, so that a half of it is never taken for the whole. */
static bool evict(int layers, const char *name)
{
    char file[NAME_SIZE], gone[NAME_SIZE];

    snprintf(file, sizeof(file), "%s.lock", name);
    snprintf(gone, sizeof(gone), "%s.new", name);
    OWNED(fd_drop) int lock = openat(layers, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) < 0)
        return false;
    OWNED(fd_drop) int kept = openat(layers, "../kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (kept >= 0 && kept_uses(kept, name))
        return false;
    folder_erase(layers, gone);
    if (renameat(layers, name, layers, gone) < 0 && errno != ENOENT)
        return false;
    folder_erase(layers, gone);
    unlinkat(layers, file, 0);
    return true;
}

void layers_evict(int layers, unsigned long long cache_max)
{
    OWNED(memory_drop) struct unpacked *unpacked = NULL;
    uint64_t bytes = 0;
    size_t count = gather(layers, &unpacked, &bytes);

    if (bytes <= cache_max)
        return;
    qsort(unpacked, count, sizeof(*unpacked), by_use);
    for (size_t i = 0; i < count && bytes > cache_max; i++)
        if (evict(layers, unpacked[i].name))
            bytes -= unpacked[i].bytes;
}

/* Nobody holds its lock: it is of the dead. */
static void sweep_one(int layers, const char *fresh)
{
    char file[NAME_SIZE];
    int size = (int)(strlen(fresh) - strlen(".new"));

    if ((size_t)snprintf(file, sizeof(file), "%.*s.lock", size, fresh) >= sizeof(file))
        return;
    OWNED(fd_drop) int lock = openat(layers, file, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (lock < 0 ? errno == ENOENT : flock(lock, LOCK_EX | LOCK_NB) == 0)
        folder_erase(layers, fresh);
}

void layers_sweep(int layers, bool all)
{
    OWNED(folder_drop) DIR *open = folder_open(layers, ".");

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;)
        if (slice_ends(slice_of(entry->d_name), ".new")) {
            if (all)
                folder_erase(layers, entry->d_name);
            else
                sweep_one(layers, entry->d_name);
        }
}

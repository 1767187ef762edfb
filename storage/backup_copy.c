/* backup_copy.c - bytes of blobs into another folder: linked, shared by the file system, or read
 * and written; hashed in every case.
 * Touches  <to>/blobs.
 * Never    a file that has its name already; a byte of the source.
 *
 * (1) A file is written under another name, synced, and named then: what has its name is whole.
 * (2) Files are synced some together: the first sync takes the others along on most file systems.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/backup_internal.h"

enum { BATCH_BYTES = 64 << 20, NAME_MAX_ = LOCATOR_SIZE + 16, PAUSE_MS_MAX = 100 };

static const char DIGEST_ATTRIBUTE[] = "user.slipway.digest";
static const char BLOBS[] = "blobs";

/* "blobs/4f/4f1c...", or with `dot` the name before it has its name. */
static const char *name_of(const char *locator, bool dot, char out[NAME_MAX_])
{
    assert(locator_valid(locator));
    snprintf(out, NAME_MAX_, "%s/%.2s/%s%s", BLOBS, locator, dot ? "." : "", locator);
    return out;
}

static unsigned shelf_of(const char *locator)
{
    return (unsigned)(hex_value(locator[0]) << 4 | hex_value(locator[1]));
}

static void close_waiting(struct copier *copier)
{
    for (size_t i = 0; i < copier->waiting_count; i++)
        close(copier->waiting[i].fd);
    copier->waiting_count = 0;
    copier->waiting_bytes = 0;
}

void copier_drop(struct copier *copier)
{
    close_waiting(copier);
    free(copier->piece);
    copier->piece = NULL;
}

/* --- reading --- */

static void pause_ms(uint64_t ms)
{
    struct timespec left = {.tv_nsec = (long)ms * 1000000};

    nanosleep(&left, NULL); /* a signal makes it shorter: it is called again */
}

static int tick(const struct copier *copier, struct error *err)
{
    return copier->tick == NULL ? 0 : copier->tick(copier->tick_arg, err);
}

/* Waits until the rate allows more, ticking. */
static int pace(struct copier *copier, struct error *err)
{
    uint64_t now = clock_monotonic_us();

    if (copier->started_us == 0)
        copier->started_us = now;
    if (tick(copier, err) < 0)
        return -1;
    uint64_t due =
        copier->rate == 0 ? 0 : (uint64_t)((double)copier->paced * 1e6 / (double)copier->rate);
    while ((now = clock_monotonic_us()) < copier->started_us + due) {
        uint64_t left_ms = (copier->started_us + due - now) / 1000 + 1;
        pause_ms(left_ms < PAUSE_MS_MAX ? left_ms : PAUSE_MS_MAX);
        if (tick(copier, err) < 0)
            return -1;
    }
    return 0;
}

struct stream {
    int from, to; /* to: -1 nowhere */
    struct hasher hasher;
    uint64_t size;
    int failed; /* errno of a read */
};

static int stream_run(struct copier *copier, struct stream *stream, struct error *err)
{
    ssize_t got;

    if (copier->piece == NULL)
        copier->piece = memory_new(COPY_PIECE);
    while (true) {
        if (pace(copier, err) < 0)
            return -1;
        do
            got = pread(stream->from, copier->piece, COPY_PIECE, (off_t)stream->size);
        while (got < 0 && errno == EINTR);
        if (got <= 0) {
            stream->failed = got < 0 ? errno : 0;
            return 0;
        }
        struct slice bytes = {copier->piece, (size_t)got};
        hasher_update(&stream->hasher, bytes.at, bytes.size);
        stream->size += (uint64_t)got;
        copier->paced += (uint64_t)got;
        progress_add(copier->progress, "bytes_done", (uint64_t)got);
        if (stream->to >= 0 && fd_write(stream->to, bytes) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a copy cannot be written");
    }
}

int copier_stream(struct copier *copier, int from, int to, struct summary_file *out,
                  struct error *err)
{
    struct stream stream = {.from = from, .to = to};

    hasher_start(&stream.hasher, DIGEST_SHA256);
    if (stream_run(copier, &stream, err) < 0)
        return -1;
    if (stream.failed != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, stream.failed, "a file cannot be read");
    hasher_digest(&stream.hasher, &out->digest);
    out->size = stream.size;
    return 0;
}

static int read_blob(struct copier *copier, const struct meta_backup_blob *blob, int from, int to,
                     const char **damage, struct error *err)
{
    struct stream stream = {.from = from, .to = to};
    struct digest digest;

    hasher_start(&stream.hasher, (enum digest_algorithm)blob->digest.algorithm);
    if (stream_run(copier, &stream, err) < 0)
        return -1;
    hasher_digest(&stream.hasher, &digest);
    *damage = stream.failed != 0                      ? "unreadable"
              : stream.size != blob->size             ? "of another size"
              : !digest_equal(&digest, &blob->digest) ? "changed"
                                                      : NULL;
    return 0;
}

int copier_read(struct copier *copier, const struct meta_backup_blob *blob, int from,
                const char **damage, struct error *err)
{
    return read_blob(copier, blob, from, -1, damage, err);
}

void backup_tell(const struct backup_told *told, const struct progress *progress,
                 const struct meta_backup_blob *blob, const char *what)
{
    const struct backup_damage damage = {blob->digest, what};

    progress_add(progress, "damaged", 1);
    if (told->damaged != NULL)
        told->damaged(told->arg, &damage);
}

/* --- files with their names --- */

int blob_file_open(int at, const struct meta_backup_blob *blob, const char **damage)
{
    char name[NAME_MAX_];
    struct stat file;
    int fd = openat(at, name_of(blob->locator, false, name),
                    O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC); /* it may be a pipe */

    *damage = NULL;
    if (fd < 0)
        *damage = errno == ENOENT ? "missing" : "unreadable";
    else if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode))
        *damage = "unreadable";
    else if ((uint64_t)file.st_size != blob->size)
        *damage = "of another size";
    if (*damage != NULL)
        fd_drop(&fd);
    return fd;
}

/* Whoever named it may have been killed before that was synced. */
bool copier_has(struct copier *copier, const struct meta_backup_blob *blob)
{
    char name[NAME_MAX_];
    struct stat file;

    if (fstatat(copier->to, name_of(blob->locator, false, name), &file, AT_SYMLINK_NOFOLLOW) < 0 ||
        !S_ISREG(file.st_mode) || (uint64_t)file.st_size != blob->size)
        return false;
    copier->changed[shelf_of(blob->locator)] = true;
    return true;
}

static int shelf_make(struct copier *copier, unsigned shelf, struct error *err)
{
    char name[3];

    if (copier->made[shelf])
        return 0;
    snprintf(name, sizeof(name), "%02x", shelf & 0xff);
    OWNED(fd_drop)
    int blobs = folder_below(copier->to, BLOBS, copier->folder_mode, &copier->owner, err);
    if (blobs < 0)
        return -1;
    OWNED(fd_drop) int fd = folder_below(blobs, name, copier->folder_mode, &copier->owner, err);
    copier->made[shelf] = fd >= 0;
    return fd < 0 ? -1 : 0;
}

/* (1), (2) */
static int name_waiting(struct copier *copier, struct error *err)
{
    char from[NAME_MAX_], to[NAME_MAX_];

    for (size_t i = 0; i < copier->waiting_count; i++)
        if (fd_sync(copier->waiting[i].fd, err) < 0)
            return -1;
    for (size_t i = 0; i < copier->waiting_count; i++) {
        const char *locator = copier->waiting[i].locator;
        posix_fadvise(copier->waiting[i].fd, 0, 0, POSIX_FADV_DONTNEED); /* not read soon */
        if (renameat(copier->to, name_of(locator, true, from), copier->to,
                     name_of(locator, false, to)) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a copy cannot be named");
        copier->changed[shelf_of(locator)] = true;
    }
    close_waiting(copier);
    return 0;
}

/* The first sync should find that the others are being written already. */
static int wait_for_sync(struct copier *copier, const struct meta_backup_blob *blob, int fd,
                         struct error *err)
{
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    copier->waiting[copier->waiting_count].fd = fd;
    memcpy(copier->waiting[copier->waiting_count].locator, blob->locator, LOCATOR_SIZE + 1);
    copier->waiting_count++;
    copier->waiting_bytes += blob->size;
    if (copier->waiting_count < COPY_BATCH && copier->waiting_bytes < BATCH_BYTES)
        return 0;
    return name_waiting(copier, err);
}

/* --- taking --- */

static bool may_link(const struct copier *copier, int from)
{
    struct stat file;
    uid_t owner = copier->owner.given ? copier->owner.user : geteuid();

    return !copier->same_owner || (fstat(from, &file) == 0 && file.st_uid == owner);
}

/* The file itself; its bytes were synced when it became a blob. False: it has to be copied. */
static bool take_link(struct copier *copier, const struct meta_backup_blob *blob, int from)
{
    char name[NAME_MAX_], open_file[32];

    if (!may_link(copier, from))
        return false;
    snprintf(open_file, sizeof(open_file), "/proc/self/fd/%d", from);
    name_of(blob->locator, false, name);
    if (linkat(AT_FDCWD, open_file, copier->to, name, AT_SYMLINK_FOLLOW) < 0)
        return false;
    copier->changed[shelf_of(blob->locator)] = true;
    return true;
}

static int copy_open(const struct copier *copier, const struct meta_backup_blob *blob,
                     struct error *err)
{
    char name[NAME_MAX_];
    int fd = openat(copier->to, name_of(blob->locator, true, name),
                    O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, copier->file_mode);

    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a copy cannot be made");
    owner_give(&copier->owner, fd);
    return fd;
}

static void mark(int fd, const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];

    digest_text(digest, text);
    (void)fsetxattr(fd, DIGEST_ATTRIBUTE, text, strlen(text), 0); /* as fs.c does: a help only */
}

static int take_copy(struct copier *copier, const struct meta_backup_blob *blob, int from,
                     const char **damage, struct error *err)
{
    char name[NAME_MAX_];
    OWNED(fd_drop) int fd = copy_open(copier, blob, err);

    if (fd < 0)
        return -1;
    bool shared = ioctl(fd, FICLONE, from) == 0;
    int result = read_blob(copier, blob, from, shared ? -1 : fd, damage, err);
    if (result < 0 || *damage != NULL) {
        unlinkat(copier->to, name_of(blob->locator, true, name), 0);
        return result;
    }
    mark(fd, &blob->digest);
    return wait_for_sync(copier, blob, fd_take(&fd), err);
}

static int take_by_link(struct copier *copier, const struct meta_backup_blob *blob, int from,
                        const char **damage, struct error *err)
{
    if (copier_read(copier, blob, from, damage, err) < 0)
        return -1;
    if (*damage != NULL || take_link(copier, blob, from))
        return 0;
    return take_copy(copier, blob, from, damage, err);
}

int copier_take(struct copier *copier, const struct meta_backup_blob *blob, int from,
                const char **damage, struct error *err)
{
    *damage = NULL;
    if (shelf_make(copier, shelf_of(blob->locator), err) < 0)
        return -1;
    int result = copier->link ? take_by_link(copier, blob, from, damage, err)
                              : take_copy(copier, blob, from, damage, err);
    if (result == 0 && *damage == NULL) {
        copier->copied++;
        copier->copied_bytes += blob->size;
    }
    return result;
}

int copier_finish(struct copier *copier, struct error *err)
{
    char name[NAME_MAX_];

    if (name_waiting(copier, err) < 0)
        return -1;
    for (unsigned shelf = 0; shelf < LOCATOR_SHELVES; shelf++) {
        if (!copier->changed[shelf])
            continue;
        if (shelf_make(copier, shelf, err) < 0)
            return -1;
        snprintf(name, sizeof(name), "%s/%02x", BLOBS, shelf);
        OWNED(fd_drop) int fd = openat(copier->to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a folder cannot be synced");
        copier->changed[shelf] = false;
    }
    return 0;
}

/* fs.c - blob bytes as files: <root>/blobs/<first two digits of the locator>/<locator>.
 * Touches  the folder blobs.
 * Never    renames, writes to a file once it is committed.
 *
 * (1) A commit syncs the file, then the folder that names it; that folder's own name was synced
 *     before the first file was put into it.
 * (2) Write errors are learnt from fsync and fdatasync only. sync_file_range just starts writing:
 *     its waiting forms would take a write error away from the fsync that must see it.
 * (3) A file that has a second name is somebody else's too: it is never cut, written to or marked.
 */
#include "storage/fs_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    WRITEBACK_STEP = 8 << 20, /* bytes between two requests to start writing */
    FOLDER_MODE = 0750,
    FILE_MODE = 0640,
};

/* One thread's at a time; sync, which may run beside append, touches fd and named only. */
struct blob_writer {
    struct fs *fs;
    int fd;
    uint64_t offset;
    uint64_t writeback; /* up to here writing was started */
    bool named;         /* its folder was synced since it was created */
    bool shared;        /* fs (3) */
    char locator[LOCATOR_SIZE + 1];
};

void locator_new(char *out)
{
    uint8_t random[LOCATOR_SIZE / 2];

    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), out);
    out[LOCATOR_SIZE] = 0;
}

void locator_new_beside(const char *other, char *out)
{
    locator_new(out);
    memcpy(out, other, 2);
}

bool locator_valid(const char *locator)
{
    uint8_t bytes[LOCATOR_SIZE / 2];

    return hex_decode(slice_of(locator), bytes, sizeof(bytes));
}

unsigned fs_shelf(const char *locator)
{
    uint8_t index = 0;
    bool valid = hex_decode((struct slice){locator, 2}, &index, 1);

    assert(valid);
    (void)valid;
    return index;
}

static char *folder_path(const struct fs *fs, const char *locator)
{
    struct buffer path = BUFFER_NONE;

    assert(locator_valid(locator));
    buffer_print(&path, "%s/%.2s", fs->blobs, locator);
    return path.at;
}

char *fs_file_path(const struct fs *fs, const char *locator)
{
    struct buffer path = BUFFER_NONE;

    assert(locator_valid(locator));
    buffer_print(&path, "%s/%.2s/%s", fs->blobs, locator, locator);
    return path.at;
}

int fs_folder_sync(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a blob folder cannot be opened");
    int failed = fsync(fd) < 0 ? errno : 0;
    close(fd);
    if (failed != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, failed, "a blob folder cannot be synced");
    return 0;
}

/* fs (1): once a process for each folder, also for one that a process before us made and perhaps
 * could not sync any more. */
static int folder_settle(struct fs *fs, const char *locator, struct error *err)
{
    unsigned index = fs_shelf(locator);
    int status = 0;

    if (atomic_load(&fs->settled[index]))
        return 0;
    OWNED(memory_drop) char *path = folder_path(fs, locator);
    pthread_mutex_lock(&fs->lock);
    if (!atomic_load(&fs->settled[index])) {
        if (mkdir(path, FOLDER_MODE) < 0 && errno != EEXIST)
            status = error_set_errno(err, ERROR_UNAVAILABLE, errno, "a blob folder cannot be made");
        else
            status = fs_folder_sync(fs->blobs, err);
        atomic_store(&fs->settled[index], status == 0);
    }
    pthread_mutex_unlock(&fs->lock);
    return status;
}

static void fs_writer_close(struct blob_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    free(writer);
}

static void drop_writer(struct blob_writer **writer)
{
    fs_writer_close(*writer);
}

static int writer_stand(struct blob_writer *writer, uint64_t offset, struct error *err)
{
    struct stat file;

    if (fstat(writer->fd, &file) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be examined");
    if ((uint64_t)file.st_size < offset)
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "blob data received earlier is missing");
    if ((uint64_t)file.st_size > offset && file.st_nlink > 1)
        return error_set(err, ERROR_INTERNAL, "blob data with a second name cannot be cut");
    if ((uint64_t)file.st_size > offset && ftruncate(writer->fd, (off_t)offset) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be cut");
    writer->offset = offset;
    writer->writeback = offset;
    return 0;
}

static int fs_writer_open(void *self, const char *locator, uint64_t offset,
                          struct blob_writer **out, struct error *err)
{
    struct fs *fs = self;

    assert_worker_thread();
    if (folder_settle(fs, locator, err) < 0)
        return -1;
    OWNED(memory_drop) char *path = fs_file_path(fs, locator);
    OWNED(drop_writer) struct blob_writer *writer = memory_new(sizeof(*writer));
    writer->fs = fs;
    memcpy(writer->locator, locator, LOCATOR_SIZE + 1);
    writer->fd = open(path, O_RDWR | O_CLOEXEC | (offset == 0 ? O_CREAT : 0), FILE_MODE);
    if (writer->fd < 0 && errno == ENOENT)
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "blob data received earlier is missing");
    if (writer->fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be opened");
    if (writer_stand(writer, offset, err) < 0)
        return -1;
    *out = TAKE(writer);
    return 0;
}

static int write_all(int fd, struct slice bytes, uint64_t offset)
{
    while (bytes.size > 0) {
        ssize_t put = pwrite(fd, bytes.at, bytes.size, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return errno;
        bytes = slice_from(bytes, (size_t)put);
        offset += (uint64_t)put;
    }
    return 0;
}

/* While much is received the disk is kept busy, so that the last sync is short. */
static void start_writeback(struct blob_writer *writer)
{
    uint64_t size = writer->offset - writer->writeback;

    if (size < WRITEBACK_STEP)
        return;
    /* A hint: what fails here, fsync reports. fs (2) */
    (void)sync_file_range(writer->fd, (off_t)writer->writeback, (off_t)size, SYNC_FILE_RANGE_WRITE);
    writer->writeback = writer->offset;
}

static int fs_writer_append(struct blob_writer *writer, struct slice bytes, struct error *err)
{
    assert_worker_thread();
    int failed = write_all(writer->fd, bytes, writer->offset);
    if (failed != 0) {
        /* A full disk wants back what was written of it; where that fails too, it stays as a part
         * of what the client sent, or the next append writes over it. */
        int cut = ftruncate(writer->fd, (off_t)writer->offset);
        (void)cut;
        return error_set_errno(err, ERROR_UNAVAILABLE, failed, "blob data cannot be written");
    }
    writer->offset += bytes.size;
    start_writeback(writer);
    return 0;
}

static int fs_writer_rewind(struct blob_writer *writer, uint64_t offset, struct error *err)
{
    assert_worker_thread();
    assert(offset <= writer->offset);
    return writer_stand(writer, offset, err);
}

static int fs_writer_read(struct blob_writer *writer, uint64_t offset, void *out, size_t size,
                          struct error *err)
{
    char *at = out;

    assert_worker_thread();
    while (size > 0) {
        ssize_t got = pread(writer->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, got < 0 ? errno : 0,
                                   "blob data cannot be read back");
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return 0;
}

static int fs_writer_sync(struct blob_writer *writer, struct error *err)
{
    assert_worker_thread();
    if (fdatasync(writer->fd) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be synced");
    if (writer->named)
        return 0;
    OWNED(memory_drop) char *folder = folder_path(writer->fs, writer->locator);
    if (fs_folder_sync(folder, err) < 0)
        return -1;
    writer->named = true;
    return 0;
}

/* All but the syncs. */
static int writer_complete(struct blob_writer *writer, const struct digest *digest,
                           struct error *err)
{
    char text[DIGEST_TEXT_MAX];

    if (writer->shared)
        return 0;
    if (writer_stand(writer, writer->offset, err) < 0) /* what a failed append left goes */
        return -1;
    digest_text(digest, text);
    /* A help for whoever lost the database; not every file system can. */
    (void)fsetxattr(writer->fd, FS_DIGEST_ATTRIBUTE, text, strlen(text), 0);
    return 0;
}

static int fs_writer_commit(struct blob_writer *writer, const struct digest *digest,
                            struct error *err)
{
    assert_worker_thread();
    if (writer_complete(writer, digest, err) < 0)
        return -1;
    return fs_writer_sync(writer, err);
}

/* Each file is on its way to the disk before the first is waited for; the last sync is the one of
 * the folder. */
static int fs_writers_commit(struct blob_writer *const *writers,
                             const struct digest *const *digests, size_t count, struct error *err)
{
    assert_worker_thread();
    for (size_t i = 0; i < count; i++) {
        assert(memcmp(writers[i]->locator, writers[0]->locator, 2) == 0);
        if (writer_complete(writers[i], digests[i], err) < 0)
            return -1;
        (void)sync_file_range(writers[i]->fd, 0, 0, SYNC_FILE_RANGE_WRITE); /* fs (2) */
        writers[i]->named = i + 1 < count; /* by the last one, which is still to come */
    }
    for (size_t i = 0; i < count; i++)
        if (fs_writer_sync(writers[i], err) < 0)
            return -1;
    return 0;
}

/* --- files that are there already --- */

static int not_with_this(int failed, const char *what, struct error *err)
{
    if (failed == ENOSPC || failed == EDQUOT || failed == EIO)
        return error_set_errno(err, ERROR_UNAVAILABLE, failed, "blob data cannot be written");
    return error_set_errno(err, ERROR_UNSUPPORTED, failed, "the file cannot be %s here: %s", what,
                           failed == EXDEV ? "it lies on another file system"
                                           : "its file system or its owner forbids it");
}

/* By its descriptor: the file that was examined, whatever its name stands for by now. */
static int link_file(int source, const char *path, struct error *err)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;

    buffer_print(&name, "/proc/self/fd/%d", source);
    if (linkat(AT_FDCWD, name.at, AT_FDCWD, path, AT_SYMLINK_FOLLOW) < 0)
        return not_with_this(errno, "linked", err);
    return 0;
}

static int adopt_file(struct blob_writer *writer, const char *path, int source, bool link,
                      struct error *err)
{
    struct stat file;

    if (link && link_file(source, path, err) < 0)
        return -1;
    writer->shared = link;
    writer->fd = open(path, link ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (writer->fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be opened");
    if (!link && ioctl(writer->fd, FICLONE, source) < 0) {
        int failed = errno;
        unlink(path); /* another way is tried under the same name */
        return not_with_this(failed, "cloned", err);
    }
    if (fstat(writer->fd, &file) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be examined");
    writer->offset = writer->writeback = (uint64_t)file.st_size;
    return 0;
}

static int fs_adopt(void *self, const char *locator, int source, bool link,
                    struct blob_writer **out, struct error *err)
{
    assert_worker_thread();
    if (folder_settle(self, locator, err) < 0)
        return -1;
    OWNED(memory_drop) char *path = fs_file_path(self, locator);
    OWNED(drop_writer) struct blob_writer *writer = memory_new(sizeof(*writer));
    writer->fs = self;
    writer->fd = -1;
    memcpy(writer->locator, locator, LOCATOR_SIZE + 1);
    if (adopt_file(writer, path, source, link, err) < 0)
        return -1;
    *out = TAKE(writer);
    return 0;
}

static int fs_size(void *self, const char *locator, uint64_t *out, struct error *err)
{
    struct stat file;

    assert_worker_thread();
    OWNED(memory_drop) char *path = fs_file_path(self, locator);
    if (stat(path, &file) < 0) {
        if (errno != ENOENT)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be examined");
        file.st_size = 0;
    }
    *out = (uint64_t)file.st_size;
    return 0;
}

static int fs_open(void *self, const char *locator, uint64_t size, int *fd, struct error *err)
{
    struct stat file;

    assert_worker_thread();
    OWNED(memory_drop) char *path = fs_file_path(self, locator);
    int opened = open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0 && errno == ENOENT)
        return error_set(err, ERROR_BLOB_UNKNOWN, "blob data is missing");
    if (opened < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be opened");
    if (fstat(opened, &file) == 0 && (uint64_t)file.st_size == size) {
        *fd = opened;
        return 0;
    }
    close(opened);
    return error_set(err, ERROR_BLOB_UNKNOWN, "blob data has another size than it was stored with");
}

static int fs_remove(void *self, const char (*locators)[LOCATOR_SIZE + 1], size_t count,
                     uint64_t *bytes, struct error *err)
{
    bool changed[LOCATOR_SHELVES] = {false};
    struct stat file;

    assert_worker_thread();
    *bytes = 0;
    for (size_t i = 0; i < count; i++) {
        OWNED(memory_drop) char *path = fs_file_path(self, locators[i]);
        uint64_t size = lstat(path, &file) == 0 ? (uint64_t)file.st_size : 0;
        if (unlink(path) == 0) {
            changed[fs_shelf(locators[i])] = true;
            *bytes += size;
        } else if (errno != ENOENT) {
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob data cannot be removed");
        }
    }
    for (size_t i = 0; i < count; i++) {
        bool *folder_changed = &changed[fs_shelf(locators[i])];
        OWNED(memory_drop) char *folder = folder_path(self, locators[i]);
        if (*folder_changed && fs_folder_sync(folder, err) < 0)
            return -1;
        *folder_changed = false;
    }
    return 0;
}

static int fs_space(void *self, uint64_t *free_bytes, struct error *err)
{
    const struct fs *fs = self;
    struct statvfs space;

    assert_worker_thread();
    if (statvfs(fs->blobs, &space) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "free space cannot be told");
    *free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    return 0;
}

static int fs_ready(void *self, uint64_t min_free_bytes, struct error *err)
{
    const struct fs *fs = self;
    uint64_t free_bytes = 0;

    assert_worker_thread();
    if (access(fs->blobs, W_OK | X_OK) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "blob folder cannot be written to");
    if (fs_space(self, &free_bytes, err) < 0)
        return -1;
    if (free_bytes < min_free_bytes)
        return error_set(err, ERROR_STORAGE_FULL, "%llu bytes are free, %llu are wanted",
                         (unsigned long long)free_bytes, (unsigned long long)min_free_bytes);
    return 0;
}

static void fs_close(void *self)
{
    struct fs *fs = self;

    pthread_mutex_destroy(&fs->lock);
    free(fs->blobs);
    free(fs->quarantine);
    free(fs);
}

static const struct blob_driver blob_driver_fs = {
    .name = "fs",
    .writer_open = fs_writer_open,
    .writer_append = fs_writer_append,
    .writer_rewind = fs_writer_rewind,
    .writer_read = fs_writer_read,
    .writer_sync = fs_writer_sync,
    .writer_commit = fs_writer_commit,
    .writers_commit = fs_writers_commit,
    .writer_close = fs_writer_close,
    .adopt = fs_adopt,
    .size = fs_size,
    .open = fs_open,
    .remove = fs_remove,
    .list = fs_list,
    .list_strange = fs_list_strange,
    .look = fs_look,
    .mark = fs_mark,
    .quarantine = fs_quarantine,
    .space = fs_space,
    .ready = fs_ready,
    .close = fs_close,
};

int blob_store_open_fs(struct blob_store *out, const char *root, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    struct buffer quarantine = BUFFER_NONE;

    buffer_print(&path, "%s/blobs", root);
    if (mkdir(path.at, FOLDER_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "folder %s cannot be made", path.at);
    if (fs_folder_sync(root, err) < 0)
        return -1;
    struct fs *fs = memory_new(sizeof(*fs));
    fs->blobs = TAKE(path.at);
    buffer_print(&quarantine, "%s/quarantine", root);
    fs->quarantine = quarantine.at;
    pthread_mutex_init(&fs->lock, NULL);
    *out = (struct blob_store){&blob_driver_fs, fs};
    return 0;
}

void blob_store_close(struct blob_store *store)
{
    if (store->driver != NULL)
        store->driver->close(store->self);
    *store = (struct blob_store){NULL, NULL};
}

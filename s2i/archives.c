/* archives.c - sources that were uploaded: one file a build, for as long as the build is kept.
 * Touches  <root>/builds/archives.
 * Never    removes one that a build still waits for.
 *
 * (1) A file has its name only once it is whole and synced.
 * (2) Together they take no more than builds.keep_archives: the oldest of builds that have ended go
 *     first. Builds that were begun again share their file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "s2i/queue.h"

enum { COPY_SIZE = 1 << 20 };

char *builds_archive_path(const struct builds *builds, int64_t id)
{
    return memory_print("%s/%lld", builds->archives, (long long)id);
}

/* By hand, where the kernel cannot do it. */
static int copy_by_hand(int from, int to, off_t at)
{
    OWNED(memory_drop) char *bytes = memory_new(COPY_SIZE);
    ssize_t got;

    while ((got = pread(from, bytes, COPY_SIZE, at)) > 0) {
        if (fd_write(to, (struct slice){bytes, (size_t)got}) < 0)
            return -1;
        at += got;
    }
    return got < 0 ? -1 : 0;
}

static int copy_all(int from, int to)
{
    off_t at = 0;
    ssize_t got;

    while ((got = copy_file_range(from, &at, to, NULL, 1 << 30, 0)) > 0)
        ;
    if (got < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
        return copy_by_hand(from, to, at);
    return got < 0 ? -1 : 0;
}

static int archive_failed(struct error *err)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be kept");
}

/* A file without a name, of the same file system, gets one; so does that of a build before. */
static bool link_it(int from, const char *path)
{
    char self[64];

    snprintf(self, sizeof(self), "/proc/self/fd/%d", from);
    return linkat(AT_FDCWD, self, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0;
}

static int copy_it(int from, const char *path)
{
    OWNED(fd_drop)
    int to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    return to < 0 || copy_all(from, to) < 0 ? -1 : fsync(to);
}

int builds_archive_keep(const struct builds *builds, int64_t id, int from, struct error *err)
{
    OWNED(memory_drop) char *path = builds_archive_path(builds, id);
    OWNED(buffer_drop) struct buffer fresh = BUFFER_NONE;

    buffer_print(&fresh, "%s.new", path);
    if ((link_it(from, fresh.at) ? fsync(from) : copy_it(from, fresh.at)) == 0 &&
        rename(fresh.at, path) == 0 && folder_sync(builds->archives) == 0)
        return 0;
    archive_failed(err);
    unlink(fresh.at);
    unlink(path);
    return -1;
}

int builds_archive_open(const struct builds *builds, int64_t id, struct error *err)
{
    OWNED(memory_drop) char *path = builds_archive_path(builds, id);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd >= 0)
        return fd;
    error_set(err, ERROR_CONFLICT,
              "the archive of build %lld is not kept any more (builds.keep_archives): upload it "
              "again",
              (long long)id);
    return error_set_cause(err, "%s", strerror(errno));
}

void builds_archive_remove(const struct builds *builds, int64_t id)
{
    OWNED(memory_drop) char *path = builds_archive_path(builds, id);

    if (unlink(path) < 0 && errno != ENOENT)
        log_event(LOG_WARNING, "build.archive", F_I64("id", id), F_TEXT("cause", strerror(errno)));
}

/* --- what they take --- */

struct kept {
    int64_t id;
    ino_t file;     /* 0: no other build has it */
    uint64_t bytes; /* 0: a later build has it too */
};

static int by_id(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;

    return (x->id > y->id) - (x->id < y->id);
}

static size_t list(const struct builds *builds, struct kept **out)
{
    OWNED(folder_drop) DIR *folder = opendir(builds->archives);
    const struct dirent *entry;
    struct stat about;
    size_t count = 0;
    uint64_t id;

    while ((entry = folder_next(folder)) != NULL) {
        if (!slice_to_u64(slice_of(entry->d_name), &id) ||
            fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        *out = memory_resize(*out, (count + 1) * sizeof(**out));
        (*out)[count++] = (struct kept){.id = (int64_t)id,
                                        .file = about.st_nlink > 1 ? about.st_ino : 0,
                                        .bytes = (uint64_t)about.st_size};
    }
    return count;
}

/* Oldest first; their sum. */
static uint64_t put_in_order(struct kept *kept, size_t count)
{
    uint64_t all = 0;

    if (count > 0)
        qsort(kept, count, sizeof(*kept), by_id);
    for (size_t i = 0; i < count; i++) {
        for (size_t later = i + 1; kept[i].file != 0 && later < count; later++)
            if (kept[later].file == kept[i].file)
                kept[i].bytes = 0;
        all += kept[i].bytes;
    }
    return all;
}

static bool has_ended(const struct builds *builds, int64_t id) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct error err = {0};

    if (build_find(builds->storage, id, &record, &err) < 0)
        return false; /* the sweep's, when there is no such build */
    return build_state_ended(record.state);
}

void builds_archives_trim(const struct builds *builds)
{
    OWNED(memory_drop) struct kept *kept = NULL;
    size_t count = list(builds, &kept);
    uint64_t all = put_in_order(kept, count);

    for (size_t i = 0; i < count && all > builds->config->builds_keep_archives; i++)
        if (has_ended(builds, kept[i].id)) {
            builds_archive_remove(builds, kept[i].id);
            all -= kept[i].bytes;
        }
}

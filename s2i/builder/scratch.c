/* scratch.c - where builds write: a file system of its own with a size, in a nameless image file or
 * in memory.
 * Touches  the folder templates of the builder, a loop device, the mount /tmp/s.
 * Never    leaves anything behind: the image has no name, the loop device goes with its mount.
 *
 * An empty ext4 of each size is made once; a build gets a sparse copy of it. Spec: s2i 16.7 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/builder_internal.h"

enum {
    NAME_SIZE = 64,
    TEMPLATES_MAX = 32,
    LOOP_TRIES = 32,
    BYTES_PER_FILE = 4096,
    FULL_PART = 64,
    FULL_MAX = 4 << 20,
    CLOSE_TRIES = 100,
    CLOSE_WAIT_US = 10 * 1000,
};

#define SCRATCH DESK "/s"

/* --- the template --- */

static int run_mkfs(char *file, char *megabytes)
{
    static const char *const programs[] = {"/sbin/mkfs.ext4", "/usr/sbin/mkfs.ext4"};
    char *const words[] = {
        (char *)(uintptr_t) "mkfs.ext4",
        (char *)(uintptr_t) "-q",
        (char *)(uintptr_t) "-F",
        (char *)(uintptr_t) "-m",
        (char *)(uintptr_t) "0",
        (char *)(uintptr_t) "-i",
        (char *)(uintptr_t) "8192",
        (char *)(uintptr_t) "-b",
        (char *)(uintptr_t) "4096",
        (char *)(uintptr_t) "-O",
        (char *)(uintptr_t) "^has_journal,^resize_inode,^metadata_csum,uninit_bg",
        (char *)(uintptr_t) "-E",
        (char *)(uintptr_t) "lazy_itable_init=1,nodiscard,root_owner=0:0",
        file,
        megabytes,
        NULL};
    char *const environment[] = {NULL};
    posix_spawn_file_actions_t files;
    int status = -1, failed = ENOENT;
    pid_t pid;

    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&files, 0, 1);
    posix_spawn_file_actions_adddup2(&files, 0, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    for (size_t i = 0; failed == ENOENT && i < sizeof(programs) / sizeof(programs[0]); i++)
        failed = posix_spawn(&pid, programs[i], &files, NULL, words, environment);
    posix_spawn_file_actions_destroy(&files);
    if (failed != 0)
        return -1;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return status == 0 ? 0 : -1;
}

/* Named once it is whole: two workers at once do the same twice, and who dies leaves nothing. */
static int make_template(int templates, const char *name, uint64_t size)
{
    OWNED(fd_drop) int fd = openat(templates, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    char path[NAME_SIZE], megabytes[32];

    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
    snprintf(megabytes, sizeof(megabytes), "%lluM", (unsigned long long)(size >> 20));
    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || run_mkfs(path, megabytes) < 0 ||
        (linkat(AT_FDCWD, path, templates, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST))
        return -1;
    return fd_take(&fd);
}

/* Sizes are what builds ask for: a folder of many is begun anew. Their copies live on. */
static void keep_few(int templates)
{
    OWNED(folder_drop) DIR *open = folder_open(templates, ".");
    size_t count = 0;

    while (folder_next(open) != NULL)
        count++;
    if (count > TEMPLATES_MAX) {
        rewinddir(open);
        for (const struct dirent *entry; (entry = folder_next(open)) != NULL;)
            if (strchr(entry->d_name, '.') == NULL) /* another worker's half */
                unlinkat(templates, entry->d_name, 0);
    }
}

static int open_template(int templates, uint64_t size)
{
    char name[NAME_SIZE];

    snprintf(name, sizeof(name), "ext4-%llu", (unsigned long long)(size >> 20));
    int fd = openat(templates, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        return fd;
    keep_few(templates);
    return make_template(templates, name, size);
}

/* Only what is not a hole; shared with the template where the file system can. */
static int copy_sparse(int from, int to, off_t size)
{
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (ftruncate(to, size) < 0)
        return -1;
    for (off_t at = 0;;) {
        at = lseek(from, at, SEEK_DATA);
        if (at < 0)
            return errno == ENXIO ? 0 : -1;
        off_t end = lseek(from, at, SEEK_HOLE), out = at;
        while (at < end) {
            ssize_t done = copy_file_range(from, &at, to, &out, (size_t)(end - at), 0);
            if (done <= 0)
                return -1;
        }
    }
}

static int open_image(int folder, uint64_t size)
{
    OWNED(fd_drop) int templates = openat(folder, "templates", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED(fd_drop) int from = templates < 0 ? -1 : open_template(templates, size);
    OWNED(fd_drop)
    int image = from < 0 ? -1 : openat(templates, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (image < 0 || copy_sparse(from, image, (off_t)size) < 0)
        return -1;
    return fd_take(&image);
}

/* --- the loop device --- */

/* It frees itself when nothing has it open any more. */
static int loop_attach(int image, char path[NAME_SIZE])
{
    OWNED(fd_drop) int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const struct loop_config config = {.fd = (unsigned)image,
                                       .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};

    for (int i = 0; control >= 0 && i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return -1;
        snprintf(path, NAME_SIZE, "/dev/loop%d", number);
        OWNED(fd_drop) int loop = open(path, O_RDWR | O_CLOEXEC);
        if (loop < 0)
            return -1;
        if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
            return fd_take(&loop);
        if (errno != EBUSY)
            return -1;
    }
    return -1;
}

static int mount_image(int image)
{
    char path[NAME_SIZE];
    OWNED(fd_drop) int loop = image < 0 ? -1 : loop_attach(image, path);

    if (loop < 0)
        return -1;
    return mount(path, SCRATCH, "ext4", MS_NODEV | MS_NOATIME, "nobarrier,noinit_itable");
}

static int mount_disk(struct work *work, uint64_t size)
{
    OWNED(fd_drop) int image = open_image(work->folder, size);

    if (mount_image(image) < 0)
        return -1;
    if (work->spec.options.keep_failed_ms > 0)
        work->disk = fd_take(&image);
    return 0;
}

int scratch_mount(int image, struct error *err)
{
    if (mount_image(image) == 0)
        return 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "its disk cannot be mounted");
}

/* Namespaces of containers that ended let go of it a little later. */
int scratch_close(void)
{
    for (int i = 0; umount2(SCRATCH, 0) < 0; i++) {
        if (errno != EBUSY || i == CLOSE_TRIES)
            return -1;
        usleep(CLOSE_WAIT_US);
    }
    return 0;
}

static int mount_memory(uint64_t size)
{
    char options[128];

    snprintf(options, sizeof(options), "size=%llu,nr_inodes=%llu,mode=0711",
             (unsigned long long)size, (unsigned long long)size / BYTES_PER_FILE + 1024);
    return mount("tmpfs", SCRATCH, "tmpfs", MS_NODEV | MS_NOATIME, options);
}

int scratch_open(struct work *work, struct error *err)
{
    const uint64_t megabyte = 1 << 20;
    uint64_t size = (work->spec.limits.disk + megabyte - 1) / megabyte * megabyte;
    const char *kind = work->setup.scratch;
    bool disk = work->setup.root && strcmp(kind, "memory") != 0;

    if (disk && mount_disk(work, size) == 0)
        return 0;
    if (disk && strcmp(kind, "disk") == 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "no file system for the build on a loop device");
    if (mount_memory(size) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no file system for the build");
    return 0;
}

/* A write that did not fit leaves a little. */
bool scratch_full(void)
{
    struct statvfs about;

    if (statvfs(SCRATCH, &about) < 0)
        return false;
    uint64_t left = (uint64_t)about.f_bavail * about.f_frsize;
    uint64_t part = (uint64_t)about.f_blocks * about.f_frsize / FULL_PART;
    return left < (part < FULL_MAX ? part : FULL_MAX) || about.f_favail == 0;
}

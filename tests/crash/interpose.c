/* interpose.c - the calls the preloaded library takes over.
 * Touches  what the program touches, below CRASH_ROOT; the trace.
 * Never    changes a call that no rule names.
 *
 * What cannot be described in a trace is counted as misuse and fails the test: data that reaches a
 * file by mapping, splicing or copying in the kernel. SQLite's -shm file is left out: it is rebuilt
 * whenever a database is opened first, so its bytes need not be durable. */
#include "tests/crash/interpose.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PARTS_MAX 64
#define PATH_SIZE sizeof(((struct tracked *)0)->path)
#define BOOT_ID "/proc/sys/kernel/random/boot_id"
#define SYNC_FAILED 1 /* flag of a record: what was unsynced on this file is lost for good */
#define ALL_PERMISSIONS 07777
#define SAME(other) __attribute__((alias(#other)))

/* --- one call: ask the rules, work and record under the lock --- */

static bool step_begin(struct verdict *verdict, enum call call, const char *path)
{
    *verdict = rules_ask(call, path);
    if (verdict->action == FAIL)
        errno = verdict->error;
    if (verdict->action == FAIL || verdict->action == SKIP)
        return false;
    trace_lock();
    if (verdict->action == KILL_BEFORE)
        die();
    return true;
}

static int step_refused(const struct verdict *verdict)
{
    return verdict->action == FAIL ? -1 : 0;
}

static int step_end(const struct verdict *verdict, const struct effect *effect, long result)
{
    int error = errno;
    if (result >= 0)
        trace_append(effect, NULL, 0, 0);
    if (verdict->action == KILL_AFTER || verdict->action == KILL_MID)
        die();
    trace_unlock();
    errno = error;
    return (int)result;
}

static void misuse(void)
{
    __atomic_add_fetch(&control->misuse, 1, __ATOMIC_RELAXED);
}

/* --- open, close --- */

static int boot_id_open(void)
{
    int fd = (int)syscall(SYS_memfd_create, "boot_id", MFD_CLOEXEC);
    syscall(SYS_write, fd, control->boot_id, strlen(control->boot_id));
    syscall(SYS_write, fd, "\n", 1);
    syscall(SYS_lseek, fd, 0L, SEEK_SET);
    return fd;
}

static bool is_shared_memory(const char *path)
{
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, "-shm") == 0;
}

static int open_below_root(int folder, const char *name, int flags, mode_t mode, const char *path)
{
    bool is_there = syscall(SYS_faccessat, folder, name, F_OK) == 0;
    enum call call = (flags & O_CREAT) != 0 && !is_there ? CALL_CREATE : CALL_OPEN;
    struct verdict verdict;
    if ((flags & O_TMPFILE) == O_TMPFILE) /* path is its folder's: it has no name */
        call = CALL_CREATE;
    if (!step_begin(&verdict, call, path)) {
        errno = verdict.action == FAIL ? verdict.error : EIO;
        return -1;
    }
    int fd = (int)syscall(SYS_openat, folder, name, flags, mode);
    if (fd >= 0)
        tracked_open(fd, path);
    struct tracked *file = tracked_find(fd);
    struct effect effect = {.call = call, .flags = (uint32_t)flags, .path = path};
    effect.handle = file == NULL ? 0 : file->handle;
    return step_end(&verdict, &effect, fd);
}

static int open_any(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_SIZE];
    if (control != NULL && control->boot_id[0] != '\0' && name != NULL &&
        strcmp(name, BOOT_ID) == 0)
        return boot_id_open();
    if (!path_below_root(folder, name, path, sizeof path) || is_shared_memory(path))
        return (int)syscall(SYS_openat, folder, name, flags, mode);
    return open_below_root(folder, name, flags, mode, path);
}

/* Without O_CREAT there is no mode: then it is whatever was in its place, and the kernel does not
 * look at it. */
int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_any(AT_FDCWD, path, flags, mode & ALL_PERMISSIONS);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return open_any(folder, path, flags, mode & ALL_PERMISSIONS);
}

int creat(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

/* What a fortified build calls instead. */
int __open_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);
int __open64_2(const char *path, int flags) SAME(__open_2);
int __openat64_2(int folder, const char *path, int flags) SAME(__openat_2);
int open64(const char *path, int flags, ...) SAME(open);
int openat64(int folder, const char *path, int flags, ...) SAME(openat);
int creat64(const char *path, mode_t mode) SAME(creat);

int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}

int __openat_2(int folder, const char *path, int flags)
{
    return open_any(folder, path, flags, 0);
}

/* Streams are for files outside the root; below it a write through one would go unseen. */
FILE *fopen(const char *path, const char *mode)
{
    FILE *(*next)(const char *, const char *) =
        (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "fopen");
    char below[PATH_SIZE];
    if (control != NULL && control->boot_id[0] != '\0' && strcmp(path, BOOT_ID) == 0)
        return fdopen(boot_id_open(), mode);
    if (path_below_root(AT_FDCWD, path, below, sizeof below) && strpbrk(mode, "wa+") != NULL)
        misuse();
    return next(path, mode);
}
FILE *fopen64(const char *path, const char *mode) SAME(fopen);

int close(int fd)
{
    tracked_close(fd);
    return (int)syscall(SYS_close, fd);
}

int dup(int fd)
{
    int copy = (int)syscall(SYS_dup, fd);
    tracked_copy(fd, copy);
    return copy;
}

int dup3(int fd, int to, int flags)
{
    int copy = (int)syscall(SYS_dup3, fd, to, flags);
    tracked_copy(fd, copy);
    return copy;
}

int dup2(int fd, int to)
{
    return fd == to ? fd : dup3(fd, to, 0);
}

int fcntl(int fd, int command, ...)
{
    va_list rest;
    va_start(rest, command);
    unsigned long argument = va_arg(rest, unsigned long);
    va_end(rest);
    int result = (int)syscall(SYS_fcntl, fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC)
        tracked_copy(fd, result);
    return result;
}
int fcntl64(int fd, int command, ...) SAME(fcntl);

/* --- writing --- */

/* The first `length` bytes of the parts; returns how many parts that takes. */
static int parts_cut(struct iovec *out, const struct iovec *parts, int count, size_t length)
{
    int n = 0;
    for (; n < count && n < PARTS_MAX && length > 0; n++) {
        out[n] = parts[n];
        if (out[n].iov_len > length)
            out[n].iov_len = length;
        length -= out[n].iov_len;
    }
    return n;
}

static ssize_t raw_write(int fd, const struct iovec *parts, int count, off_t offset)
{
    if (offset < 0)
        return syscall(SYS_writev, fd, parts, count);
    return syscall(SYS_pwritev, fd, parts, count, offset, 0L);
}

static ssize_t write_recorded(const struct tracked *file, int fd, const struct iovec *parts,
                              int count, off_t offset, enum action action)
{
    ssize_t n = raw_write(fd, parts, count, offset);
    int error = errno;
    struct effect effect = {.call = CALL_WRITE, .handle = file->handle};
    if (n > 0 && trace_on()) {
        off_t end = offset < 0 ? syscall(SYS_lseek, fd, 0L, SEEK_CUR) : offset + n;
        effect.offset = (uint64_t)(end - n);
        trace_append(&effect, parts, count, (size_t)n);
    }
    if (action == KILL_MID || action == KILL_AFTER)
        die();
    errno = error;
    return n;
}

/* offset -1: at the descriptor's own position. */
static ssize_t write_any(int fd, const struct iovec *parts, int count, off_t offset)
{
    struct tracked *file = tracked_find(fd);
    if (file == NULL)
        return raw_write(fd, parts, count, offset);
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    struct verdict verdict;
    if (!step_begin(&verdict, CALL_WRITE, file->path))
        return verdict.action == FAIL ? -1 : (ssize_t)length;
    if (length > 1 && (verdict.action == SHORT || verdict.action == KILL_MID))
        length /= 2;
    struct iovec cut[PARTS_MAX];
    int cut_count = parts_cut(cut, parts, count, length);
    ssize_t n = write_recorded(file, fd, cut, cut_count, offset, verdict.action);
    trace_unlock();
    return n;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    if (tracked_find(fd) == NULL)
        return syscall(SYS_write, fd, bytes, length);
    return write_any(fd, &(struct iovec){(void *)(uintptr_t)bytes, length}, 1, -1);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return write_any(fd, &(struct iovec){(void *)(uintptr_t)bytes, length}, 1, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) SAME(pwrite);

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return write_any(fd, parts, count, -1);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    return write_any(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) SAME(pwritev);

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
                        unsigned flags)
{
    if (tracked_find(to) != NULL)
        misuse();
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, length, flags);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length,
               unsigned flags)
{
    if (tracked_find(to) != NULL)
        misuse();
    return syscall(SYS_splice, from, from_offset, to, to_offset, length, flags);
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    struct tracked *file = tracked_find(fd);
    if (file != NULL && (flags & MAP_SHARED) != 0 && (protection & PROT_WRITE) != 0)
        misuse();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset); // NOLINT
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
    SAME(mmap);

/* --- reading: only to make it fail --- */

static bool read_fails(int fd)
{
    struct tracked *file = tracked_find(fd);
    if (file == NULL)
        return false;
    struct verdict verdict = rules_ask(CALL_READ, file->path);
    if (verdict.action == KILL_BEFORE)
        die();
    errno = verdict.error;
    return verdict.action == FAIL;
}

ssize_t read(int fd, void *bytes, size_t length)
{
    return read_fails(fd) ? -1 : syscall(SYS_read, fd, bytes, length);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t offset)
{
    return read_fails(fd) ? -1 : syscall(SYS_pread64, fd, bytes, length, offset);
}
ssize_t pread64(int fd, void *bytes, size_t length, off_t offset) SAME(pread);

/* What a fortified build calls instead. */
ssize_t __read_chk(int fd, void *bytes, size_t length, size_t size);
ssize_t __pread_chk(int fd, void *bytes, size_t length, off_t offset, size_t size);
ssize_t __pread64_chk(int fd, void *bytes, size_t length, off_t offset, size_t size)
    SAME(__pread_chk);

ssize_t __read_chk(int fd, void *bytes, size_t length, size_t size)
{
    if (length > size)
        abort();
    return read(fd, bytes, length);
}

ssize_t __pread_chk(int fd, void *bytes, size_t length, off_t offset, size_t size)
{
    if (length > size)
        abort();
    return pread(fd, bytes, length, offset);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t length)
{
    if (tracked_find(to) != NULL)
        misuse();
    return read_fails(from) ? -1 : syscall(SYS_sendfile, to, from, offset, length);
}
ssize_t sendfile64(int to, int from, off_t *offset, size_t length) SAME(sendfile);

/* --- syncing --- */

static int sync_any(int fd, enum call call, long number)
{
    struct tracked *file = tracked_find(fd);
    if (file == NULL)
        return (int)syscall(number, fd);
    struct effect effect = {.call = call, .handle = file->handle, .path = file->path};
    struct verdict verdict;
    if (!step_begin(&verdict, call, file->path)) {
        effect.flags = SYNC_FAILED;
        trace_lock();
        if (verdict.action == FAIL)
            trace_append(&effect, NULL, 0, 0);
        trace_unlock();
        errno = verdict.error;
        return step_refused(&verdict);
    }
    effect.reference = trace_append(&effect, NULL, 0, 0);
    trace_unlock();
    int result = (int)syscall(number, fd);
    effect.call = CALL_SYNC_END;
    trace_lock();
    return step_end(&verdict, &effect, result);
}

int fsync(int fd)
{
    return sync_any(fd, CALL_SYNC, SYS_fsync);
}

int fdatasync(int fd)
{
    return sync_any(fd, CALL_DATASYNC, SYS_fdatasync);
}

/* --- sizes --- */

int ftruncate(int fd, off_t length)
{
    struct tracked *file = tracked_find(fd);
    struct verdict verdict = {0, 0};
    if (file == NULL)
        return (int)syscall(SYS_ftruncate, fd, length);
    if (!step_begin(&verdict, CALL_TRUNCATE, file->path))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_TRUNCATE, .handle = file->handle};
    effect.reference = (uint64_t)length;
    return step_end(&verdict, &effect, syscall(SYS_ftruncate, fd, length));
}
int ftruncate64(int fd, off_t length) SAME(ftruncate);

int truncate(const char *name, off_t length)
{
    char path[PATH_SIZE];
    struct verdict verdict = {0, 0};
    if (!path_below_root(AT_FDCWD, name, path, sizeof path))
        return (int)syscall(SYS_truncate, name, length);
    if (!step_begin(&verdict, CALL_TRUNCATE, path))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_TRUNCATE, .path = path};
    effect.reference = (uint64_t)length;
    return step_end(&verdict, &effect, syscall(SYS_truncate, name, length));
}
int truncate64(const char *name, off_t length) SAME(truncate);

int fallocate(int fd, int mode, off_t offset, off_t length)
{
    struct tracked *file = tracked_find(fd);
    struct verdict verdict = {0, 0};
    if (file == NULL)
        return (int)syscall(SYS_fallocate, fd, mode, offset, length);
    if (!step_begin(&verdict, CALL_ALLOCATE, file->path))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_ALLOCATE, .handle = file->handle};
    effect.flags = (uint32_t)mode;
    effect.offset = (uint64_t)offset;
    effect.reference = (uint64_t)length;
    return step_end(&verdict, &effect, syscall(SYS_fallocate, fd, mode, offset, length));
}
int fallocate64(int fd, int mode, off_t offset, off_t length) SAME(fallocate);

int posix_fallocate(int fd, off_t offset, off_t length)
{
    return fallocate(fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off_t offset, off_t length) SAME(posix_fallocate);

/* --- names --- */

static int remove_any(int folder, const char *name, int flags)
{
    char path[PATH_SIZE];
    struct verdict verdict;
    if (!path_below_root(folder, name, path, sizeof path) || is_shared_memory(path))
        return (int)syscall(SYS_unlinkat, folder, name, flags);
    struct effect effect = {.call = (flags & AT_REMOVEDIR) != 0 ? CALL_RMDIR : CALL_UNLINK};
    if (!step_begin(&verdict, effect.call, path))
        return step_refused(&verdict);
    effect.path = path;
    return step_end(&verdict, &effect, syscall(SYS_unlinkat, folder, name, flags));
}

int unlinkat(int folder, const char *path, int flags)
{
    return remove_any(folder, path, flags);
}

int unlink(const char *path)
{
    return remove_any(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return remove_any(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int result = unlink(path);
    return result < 0 && errno == EISDIR ? rmdir(path) : result;
}

int mkdirat(int folder, const char *name, mode_t mode)
{
    char path[PATH_SIZE];
    struct verdict verdict;
    if (!path_below_root(folder, name, path, sizeof path))
        return (int)syscall(SYS_mkdirat, folder, name, mode);
    if (!step_begin(&verdict, CALL_MKDIR, path))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_MKDIR, .path = path};
    return step_end(&verdict, &effect, syscall(SYS_mkdirat, folder, name, mode));
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char old[PATH_SIZE], new[PATH_SIZE];
    struct verdict verdict;
    bool from_below = path_below_root(from_folder, from, old, sizeof old);
    bool to_below = path_below_root(to_folder, to, new, sizeof new);
    if (from_below != to_below || (from_below && (flags & ~RENAME_NOREPLACE) != 0))
        misuse();
    if (!from_below || !to_below)
        return (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
    if (!step_begin(&verdict, CALL_RENAME, new))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_RENAME, .path = old, .path_to = new};
    return step_end(&verdict, &effect,
                    syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return renameat2(from_folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* The file that "/proc/self/fd/<number>" is, when we follow it. */
static struct tracked *nameless(const char *path, int flags)
{
    int fd, end = 0;
    if ((flags & AT_SYMLINK_FOLLOW) == 0 || sscanf(path, "/proc/self/fd/%d%n", &fd, &end) != 1 ||
        path[end] != '\0')
        return NULL;
    return tracked_find(fd);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    char old[PATH_SIZE], new[PATH_SIZE];
    struct verdict verdict;
    const struct tracked *file = nameless(from, flags);
    if (!path_below_root(to_folder, to, new, sizeof new))
        return (int)syscall(SYS_linkat, from_folder, from, to_folder, to, flags);
    old[0] = '\0';
    if (file == NULL && !path_below_root(from_folder, from, old, sizeof old))
        misuse();
    if (!step_begin(&verdict, CALL_LINK, new))
        return step_refused(&verdict);
    struct effect effect = {.call = CALL_LINK, .path = old, .path_to = new};
    effect.handle = file == NULL ? 0 : file->handle;
    return step_end(&verdict, &effect,
                    syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* Attributes carry nothing that was acknowledged, so they are not in the trace. */
int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    struct tracked *file = tracked_find(fd);
    struct verdict verdict = {0, 0};
    if (file != NULL)
        verdict = rules_ask(CALL_XATTR, file->path);
    if (verdict.action == KILL_BEFORE || verdict.action == KILL_AFTER)
        die();
    errno = verdict.error;
    return verdict.action == FAIL ? -1 : (int)syscall(SYS_fsetxattr, fd, name, value, size, flags);
}

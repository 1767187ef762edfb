/* trace.c - the trace of the preloaded library: one record for each effect.
 * Touches  the file CRASH_TRACE names.
 * Never    buffers: a record is in the file before the lock is given up. */
#include "tests/crash/interpose.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Followed by the path, the second path, the data. trace.py repeats the layout. */
struct record {
    uint64_t sequence;
    uint64_t offset;
    uint64_t reference;
    uint32_t handle;
    uint32_t call;
    uint32_t flags;
    uint32_t data_length;
    uint16_t path_length;
    uint16_t path_to_length;
    uint32_t pad;
};

static int trace_fd = -1;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void trace_open(void)
{
    const char *file = getenv("CRASH_TRACE");
    if (file == NULL)
        return;
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    trace_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of the program's way */
    syscall(SYS_close, fd);
}

bool trace_on(void)
{
    return trace_fd >= 0 && control != NULL;
}

/* Without a trace there is no order to keep, and none is forced upon the threads. */
void trace_lock(void)
{
    if (trace_on())
        pthread_mutex_lock(&order);
}

void trace_unlock(void)
{
    if (trace_on())
        pthread_mutex_unlock(&order);
}

static void trace_write(const struct iovec *parts, int count, size_t length)
{
    if (syscall(SYS_writev, trace_fd, parts, count) != (ssize_t)length)
        die(); /* a trace with a hole would prove nothing */
}

uint64_t trace_append(const struct effect *effect, const struct iovec *data, int count,
                      size_t length)
{
    if (!trace_on())
        return 0;
    struct record record = {
        .sequence = __atomic_add_fetch(&control->sequence, 1, __ATOMIC_SEQ_CST),
        .offset = effect->offset,
        .reference = effect->reference,
        .handle = effect->handle,
        .call = effect->call,
        .flags = effect->flags,
        .data_length = (uint32_t)length,
        .path_length = effect->path == NULL ? 0 : (uint16_t)strlen(effect->path),
        .path_to_length = effect->path_to == NULL ? 0 : (uint16_t)strlen(effect->path_to),
    };
    struct iovec head[3] = {
        {&record, sizeof record},
        {(void *)(uintptr_t)effect->path, record.path_length},
        {(void *)(uintptr_t)effect->path_to, record.path_to_length},
    };
    trace_write(head, 3, sizeof record + record.path_length + record.path_to_length);
    for (int i = 0; i < count && length > 0; i++) {
        struct iovec part = data[i];
        if (part.iov_len > length)
            part.iov_len = length;
        length -= part.iov_len;
        if (part.iov_len > 0)
            trace_write(&part, 1, part.iov_len);
    }
    return record.sequence;
}

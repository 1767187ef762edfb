/* blob_read.c - reads a blob's bytes to see whether they are what they were, at a rate.
 * Touches  blob bytes, reading; the page cache.
 * Never    marks, moves or writes anything.
 *
 * Pages that were in memory before stay there, since somebody pulls them; those that this reading
 * brought in are let go of, step by step. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "storage/check_internal.h"

enum { STEP_MAX = 256 * 1024, STEP_MIN = 4096, STEPS_PER_S = 20, NAP_US = 100 * 1000 };

/* --- the rate --- */

static size_t step_size(const struct pace *pace)
{
    uint64_t share = pace->rate / STEPS_PER_S;

    return pace->rate == 0 || share > STEP_MAX ? STEP_MAX : share < STEP_MIN ? STEP_MIN : share;
}

static bool stopped(const struct pace *pace)
{
    return pace->stopped != NULL && pace->stopped(pace->arg);
}

/* Sleeps until the step that was read has had its time. False when it was stopped. */
static bool pace_wait(struct pace *pace, size_t size)
{
    uint64_t now = clock_monotonic_us();

    if (pace->rate == 0)
        return !stopped(pace);
    if (pace->next_us < now)
        pace->next_us = now;
    pace->next_us += (uint64_t)size * US_PER_S / pace->rate;
    while (!stopped(pace)) {
        now = clock_monotonic_us();
        if (now >= pace->next_us)
            return true;
        uint64_t left = pace->next_us - now < NAP_US ? pace->next_us - now : NAP_US;
        const struct timespec nap = {.tv_nsec = (long)left * 1000};
        nanosleep(&nap, NULL);
    }
    return false;
}

/* --- reading --- */

/* As pread; a step that was not in memory leaves it again. */
static ssize_t read_step(int fd, void *out, size_t size, off_t offset)
{
    struct iovec into = {out, size};
    ssize_t cached = preadv2(fd, &into, 1, offset, RWF_NOWAIT);

    if (cached == (ssize_t)size)
        return cached;
    ssize_t got = pread(fd, out, size, offset);
    if (cached <= 0 && got > 0)
        (void)posix_fadvise(fd, offset, got, POSIX_FADV_DONTNEED);
    return got;
}

static enum blob_state read_all(int fd, const struct check_row *row, struct pace *pace,
                                uint64_t *bytes)
{
    size_t step = step_size(pace);
    OWNED(memory_drop) char *buffer = memory_new(step);
    struct hasher hasher;
    struct digest actual;
    uint64_t offset = 0;

    hasher_start(&hasher, row->digest.algorithm);
    while (offset < row->size) {
        size_t size = row->size - offset < step ? (size_t)(row->size - offset) : step;
        ssize_t got = read_step(fd, buffer, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? BLOB_UNREADABLE : BLOB_RESIZED;
        hasher_update(&hasher, buffer, (size_t)got);
        offset += (uint64_t)got;
        *bytes += (uint64_t)got;
        if (!pace_wait(pace, (size_t)got))
            return BLOB_STOPPED;
    }
    hasher_digest(&hasher, &actual);
    return digest_equal(&actual, &row->digest) ? BLOB_RIGHT : BLOB_WRONG;
}

int blob_read(const struct blob_store *blobs, const struct check_row *row, struct pace *pace,
              enum blob_state *state, uint64_t *bytes, struct error *err)
{
    OWNED(fd_drop) int fd = -1;
    struct blob_object object;

    if (blobs->driver->open(blobs->self, row->locator, row->size, &fd, err) == 0) {
        *state = read_all(fd, row, pace, bytes);
        return 0;
    }
    if (err->code != ERROR_BLOB_UNKNOWN)
        return -1;
    error_clear(err);
    if (blobs->driver->look(blobs->self, row->locator, &object, err) < 0)
        return -1;
    *state = object.found ? BLOB_RESIZED : BLOB_GONE;
    return 0;
}

int blob_read_twice(const struct blob_store *blobs, const struct check_row *row, struct pace *pace,
                    enum blob_state *state, uint64_t *bytes, struct error *err)
{
    if (blob_read(blobs, row, pace, state, bytes, err) < 0)
        return -1;
    if (*state == BLOB_RIGHT || *state == BLOB_STOPPED)
        return 0;
    return blob_read(blobs, row, pace, state, bytes, err);
}

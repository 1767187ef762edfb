/* watched.h - files that people and programs beside us renew: told apart, and read whole.
 * Touches  the file behind a path; a symbolic link is followed.
 * Never    waits for a file that is a pipe or a device.
 *
 * A file that changed within the last seconds may change again without any of its times telling
 * (they are no finer than the kernel's clock): it counts as changed until it has rested. */
#ifndef SLIPWAY_AUTH_WATCHED_H
#define SLIPWAY_AUTH_WATCHED_H

#include <sys/types.h>
#include <time.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { WATCHED_SIZE_MAX = 1024 * 1024 };

/* Which content was read. Zero-initialised: of no file. */
struct watched_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

/* Reads the file, unless it is the one of `old`; *now is of what was read.
 *   what  the file in messages: "password file"
 *   old   NULL: reads it whatever it is
 * 1 it was read; 0 it is the same; -1 UNAVAILABLE */
int watched_read(const char *path, const char *what, const struct watched_stamp *old,
                 struct watched_stamp *now, struct buffer *out, struct error *err) MUST_CHECK;

#endif

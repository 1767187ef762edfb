/* fd.h - file descriptors: owned by a scope, read and written to the end.
 * Touches  the descriptor it is given.
 * Never    opens one; says what it was for: callers word their errors. */
#ifndef SLIPWAY_CORE_FD_H
#define SLIPWAY_CORE_FD_H

#include "registry/core/bytes.h"

/* For OWNED: closes it, becomes -1. Accepts -1. Closing may fail: sync before, by name. */
void fd_drop(int *fd);
/* As TAKE. */
int fd_take(int *fd);
/* All of the bytes where the descriptor stands. -1 with errno; some may be written then. */
int fd_write(int fd, struct slice bytes) MUST_CHECK;
/* Appends all there is to out. -1 with errno; EFBIG when out would hold more than `limit`. */
int fd_read(int fd, size_t limit, struct buffer *out) MUST_CHECK;

#endif

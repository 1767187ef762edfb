/* password.h - password hashes: yescrypt written, bcrypt of password files read.
 * Touches  libcrypt.
 * Never    stores, logs or compares a password outside of the hash.
 *
 * Blocks for tens of milliseconds of CPU: login threads only. */
#ifndef SLIPWAY_AUTH_PASSWORD_H
#define SLIPWAY_AUTH_PASSWORD_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { PASSWORD_SIZE_MAX = 512, PASSWORD_SIZE_MIN = 8, PASSWORD_HASH_MAX = 384 };

int password_hash(struct slice password, char out[PASSWORD_HASH_MAX], struct error *err) MUST_CHECK
    ON(worker_thread);
/* hash NULL, or of a kind that is not read: the same work is done and the answer is false. Compared
 * in constant time. Spec: TOK-61, TOK-69. */
bool password_verify(struct slice password, const char *hash) ON(worker_thread);
/* $y$ of ours or $2a$, $2b$, $2y$ with a cost of at most 14. */
bool password_hash_readable(struct slice hash);

#endif

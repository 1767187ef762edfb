/* password.h - password hashes: yescrypt written, bcrypt of password files read.
 * Touches  libcrypt.
 * Never    stores, logs or compares a password outside of the hash.
 *
 * Blocks for tens of milliseconds of CPU: login threads only. */
#ifndef SLIPWAY_AUTH_PASSWORD_H
#define SLIPWAY_AUTH_PASSWORD_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

/* libcrypt takes 511 bytes and a terminator. bcrypt looks at the first 72 of them only. */
enum { PASSWORD_SIZE_MAX = 511, PASSWORD_SIZE_MIN = 8, PASSWORD_HASH_MAX = 384 };
enum { BCRYPT_COST_MIN = 4, BCRYPT_COST_MAX = 14 };

/* INVALID  too short, too long, or with a NUL (field "password") */
int password_hash(struct slice password, char out[PASSWORD_HASH_MAX], struct error *err) MUST_CHECK
    ON(worker_thread);
/* False when hash is NULL or of a kind that is not read. Compared in constant time.
 *   bcrypt_cost  the highest of the password file in use (htpasswd_cost); 0: there is none
 * Whatever hash is, the work is one yescrypt of ours, and bcrypt worth bcrypt_cost. So neither
 * whether a name exists nor where its password stands shows in the time; a bcrypt of a higher cost
 * than the file's does. Spec: TOK-61, TOK-69. */
bool password_verify(struct slice password, const char *hash, unsigned bcrypt_cost)
    ON(worker_thread);
/* $y$ of ours or bcrypt. */
bool password_hash_readable(struct slice hash);
/* The cost of a bcrypt hash ($2a$, $2b$, $2y$; whole and well-formed), even one above
 * BCRYPT_COST_MAX; 0: it is something else. */
unsigned password_bcrypt_cost(struct slice hash);

#endif

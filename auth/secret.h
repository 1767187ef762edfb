/* secret.h - random secrets people carry: "slipway_" + kind + random + checksum.
 * Touches  memory; the kernel's generator.
 * Never    stores one.
 *
 *   slipway_pat_<40 base62 characters><6 of CRC-32 in base62>    personal token
 *   slipway_ref_...                                              refresh token
 *   slipway_set_...                                              setup
 *
 * The checksum lets secret scanners and us tell a token from a password without a lookup; the 40
 * characters hold 238 random bits, so one SHA-256 is hash enough. Spec: TOK-27, TOK-65. */
#ifndef SLIPWAY_AUTH_SECRET_H
#define SLIPWAY_AUTH_SECRET_H

#include "registry/core/bytes.h"
#include "storage/accounts.h"

enum secret_kind { SECRET_NONE, SECRET_PERSONAL, SECRET_REFRESH, SECRET_SETUP };
enum { SECRET_TEXT_SIZE = 58 }; /* "slipway_pat_" and 46 */

void secret_new(enum secret_kind kind, char out[SECRET_TEXT_SIZE + 1]);
/* By prefix, length, alphabet and checksum. */
enum secret_kind secret_kind_of(struct slice text);
void secret_hash(struct slice text, uint8_t out[SECRET_HASH_SIZE]);
void secret_hint(struct slice text, char out[32]); /* "slipway_pat_AbCd...xYz1" */
bool secret_equal(struct slice a, struct slice b); /* constant time for equal sizes */
void secret_wipe(void *bytes, size_t size);        /* not optimised away */

#endif

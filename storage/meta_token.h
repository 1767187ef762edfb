/* meta_token.h - shared by meta_token.c, meta_refresh.c, meta_robot.c and meta_login.c: pieces of
 * transactions.
 * Touches  nothing by itself.
 * Never    included by others. */
#ifndef SLIPWAY_STORAGE_META_TOKEN_H
#define SLIPWAY_STORAGE_META_TOKEN_H

#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"

static inline struct slice meta_hash(const uint8_t *secret_hash)
{
    return (struct slice){(const char *)secret_hash, SECRET_HASH_SIZE};
}

/* By the hash of its secret, or by id when that is NULL; what *out held is freed. NOT_FOUND */
int meta_token_read(struct db_tx *tx, const uint8_t *secret_hash, int64_t id, struct token *out,
                    struct error *err);
/* Makes room for one more of the kind, or CONFLICT. A refresh token that has to go is no change of
 * what anybody may: each use of one asks storage. */
int meta_token_room(struct db_tx *tx, int64_t account, enum token_kind kind, struct error *err);
int meta_token_add(struct db_tx *tx, const struct token_new *token, int64_t *id, struct error *err);
/* It has a successor since `at`, and ends then. */
int meta_token_rotated(struct db_tx *tx, int64_t id, int64_t at, int64_t expires_at,
                       struct error *err);

#endif

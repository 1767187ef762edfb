/* quota.h - how many pulls a caller may make in a window.
 * Touches  memory, bounded; when it is full, one that rested long goes.
 * Never    the disk: a restart begins anew.
 *
 * A fixed window for each caller, begun by its first pull. Any thread. Spec: TOK-66, LIM-05. */
#ifndef SLIPWAY_AUTH_QUOTA_H
#define SLIPWAY_AUTH_QUOTA_H

#include "registry/core/bytes.h"

struct quota;
struct quota *quota_open(void);
void quota_close(struct quota *quota); /* accepts NULL */
/* Uses one of `limit` when `count`; *remaining after that; *wait_ms until the window ends (0: none
 * is running). False: none was left. */
bool quota_use(struct quota *quota, struct slice caller, uint64_t limit, uint64_t window_ms,
               bool count, uint64_t now_ms, uint64_t *remaining, uint64_t *wait_ms);

#endif

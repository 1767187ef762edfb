/* limit.h - how many requests a second an address may send.
 * Touches  memory only: a table of fixed size.
 * Never    allocates per address, waits. */
#ifndef SLIPWAY_HTTP_LIMIT_H
#define SLIPWAY_HTTP_LIMIT_H

#include "registry/core/bytes.h"

struct limiter;

struct limiter *limiter_open(uint64_t requests_per_second);
void limiter_close(struct limiter *limiter); /* accepts NULL */
/* Counts one request of the address; false when it is one too many. Any thread. */
bool limiter_admit(struct limiter *limiter, struct slice address, uint64_t now_ms);

#endif

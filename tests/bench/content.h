/* content.h - bodies that cost nothing to make: a unique prefix before one fixed random block.
 * Touches  one block of memory made at the start.
 * Never    compresses, repeats between items, or hashes inside the timed part. */
#ifndef TESTS_BENCH_CONTENT_H
#define TESTS_BENCH_CONTENT_H

#include <stddef.h>
#include <stdint.h>

enum { CONTENT_PREFIX = 32, CONTENT_BLOCK = 1 << 20, CONTENT_HEX = 64 };

/* The blob number `index` of a run: `prefix`, then the block again and again up to `size`. */
struct content {
    char prefix[CONTENT_PREFIX + 1]; /* text of seed and index */
    uint64_t size_bytes;
    char digest[sizeof "sha256:" + CONTENT_HEX];
};

/* Fills the block; the same on every run. */
void content_prepare(void);

/* Makes one item and computes its digest; call before the timed part. */
void content_make(struct content *content, uint64_t seed, uint64_t index, uint64_t size_bytes);

/* The bytes from `offset` on that lie together in memory; at most the rest of the block. */
const char *content_at(const struct content *content, uint64_t offset, size_t *length);

/* Writes "sha256:<hex>" of the bytes; `out` holds sizeof content.digest. */
void content_digest(const void *bytes, size_t length, char *out);

#endif

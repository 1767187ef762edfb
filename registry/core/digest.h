/* digest.h - digests: parsing, printing, hashing while bytes arrive, and a state that can be kept.
 * Touches  memory; OpenSSL.
 * Never    files.
 *
 * Spec: NAME-03, NAME-04, NAME-05, NAME-13, NAME-15. */
#ifndef SLIPWAY_CORE_DIGEST_H
#define SLIPWAY_CORE_DIGEST_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum digest_algorithm {
    DIGEST_NONE,
    DIGEST_SHA256,
    DIGEST_SHA512,
    DIGEST_OTHER, /* matches NAME-03 but we cannot compute it: may be named, never stored under */
};

enum {
    DIGEST_TEXT_MAX = 136, /* "sha512:" + 128 digits + terminator: no digest is longer here */
    DIGEST_KEY_MAX = 136,  /* algorithm byte and what follows: the database's form */
};

/* A value; compare with digest_equal only. Zero-initialised is "no digest". */
struct digest {
    uint8_t algorithm; /* enum digest_algorithm */
    uint8_t size;      /* of bytes: 32, 64, or the length of the text for DIGEST_OTHER */
    uint8_t bytes[DIGEST_TEXT_MAX];
};

/* What a descriptor says of a stored thing. */
struct descriptor {
    struct digest digest;
    uint64_t size; /* bytes */
};

/* Accepts sha256 and sha512 only.
 * DIGEST_INVALID  malformed, or an algorithm this registry does not compute */
int digest_parse(struct slice text, struct digest *out, struct error *err) MUST_CHECK;
/* Accepts every digest of NAME-03 up to 135 bytes; the registered sha256 and sha512 strictly.
 * DIGEST_INVALID  malformed or too long */
int digest_parse_any(struct slice text, struct digest *out, struct error *err) MUST_CHECK;
/* "sha256:..."; out must hold DIGEST_TEXT_MAX. Returns out. */
const char *digest_text(const struct digest *digest, char *out);
bool digest_equal(const struct digest *a, const struct digest *b);
bool digest_is_set(const struct digest *digest);
/* The database's form: one algorithm byte and the raw hash (or, for DIGEST_OTHER, the text).
 * out must hold DIGEST_KEY_MAX; returns its size. */
size_t digest_key(const struct digest *digest, uint8_t *out);
bool digest_from_key(struct slice key, struct digest *out);
/* "sha256", "sha512"; DIGEST_NONE when unknown. */
enum digest_algorithm digest_algorithm_parse(struct slice name);

/* A running hash. A value: may be copied, needs no drop. Not for two threads at once. */
struct hasher {
    enum digest_algorithm algorithm;
    union {
        uint64_t align;
        uint8_t state[240]; /* the library's own context */
    } context;
};

enum { HASHER_SAVED_MAX = 224 };

void hasher_start(struct hasher *hasher, enum digest_algorithm algorithm); /* sha256 or sha512 */
void hasher_update(struct hasher *hasher, const void *bytes, size_t size);
/* Leaves the hasher running: a copy is finished. */
void hasher_digest(const struct hasher *hasher, struct digest *out);
/* Our own fixed layout of the state, the same on every machine: version, algorithm, chaining words
 * and length big-endian, pending bytes. out must hold HASHER_SAVED_MAX; returns its size. */
size_t hasher_save(const struct hasher *hasher, uint8_t *out);
bool hasher_restore(struct hasher *hasher, struct slice saved);

/* SHA-1, for formats that ask for it beside a better one (SPDX); nothing is known or trusted by it.
 * A value, as a hasher. */
enum { SHA1_SIZE = 20 };
struct sha1 {
    union {
        uint64_t align;
        uint8_t state[96];
    } context;
};
void sha1_start(struct sha1 *sha1);
void sha1_update(struct sha1 *sha1, const void *bytes, size_t size);
void sha1_finish(struct sha1 *sha1, uint8_t out[SHA1_SIZE]);

/* One call for bytes that are all here. */
void digest_of(enum digest_algorithm algorithm, struct slice bytes, struct digest *out);

#endif

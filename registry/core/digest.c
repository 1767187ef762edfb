/* digest.c - digests: parsing, printing, hashing while bytes arrive, and a state that can be kept.
 *
 * OpenSSL's one-shot contexts (SHA256_CTX) are used rather than EVP because their state can be
 * saved and restored; both run the same assembler. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "registry/core/digest.h"

#include <openssl/sha.h>
#include <string.h>

_Static_assert(sizeof(SHA512_CTX) <= sizeof(((struct hasher *)0)->context.state), "hasher size");
_Static_assert(sizeof(SHA_CTX) <= sizeof(((struct sha1 *)0)->context.state), "SHA-1 size");
_Static_assert(sizeof(SHA256_CTX) <= sizeof(((struct hasher *)0)->context.state), "hasher size");

static const struct {
    const char *name;
    uint8_t size;
} algorithms[] = {
    [DIGEST_SHA256] = {"sha256", 32},
    [DIGEST_SHA512] = {"sha512", 64},
};

enum digest_algorithm digest_algorithm_parse(struct slice name)
{
    if (slice_equal_text(name, "sha256"))
        return DIGEST_SHA256;
    return slice_equal_text(name, "sha512") ? DIGEST_SHA512 : DIGEST_NONE;
}

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* [a-z0-9]+([+._-][a-z0-9]+)* */
static bool algorithm_valid(struct slice s)
{
    bool separator = true; /* a separator, or the start, stands before */

    for (size_t i = 0; i < s.size; i++) {
        bool word = is_lower_alnum(s.at[i]);
        if (!word && (separator || strchr("+._-", s.at[i]) == NULL || s.at[i] == 0))
            return false;
        separator = !word;
    }
    return !separator;
}

static bool encoded_valid(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        char c = s.at[i];
        if (!is_lower_alnum(c) && !(c >= 'A' && c <= 'Z') && c != '=' && c != '_' && c != '-')
            return false;
    }
    return s.size > 0;
}

int digest_parse_any(struct slice text, struct digest *out, struct error *err)
{
    struct slice name, encoded;

    if (text.size >= DIGEST_TEXT_MAX)
        return error_set(err, ERROR_DIGEST_INVALID,
                         "digest of %zu characters exceeds the limit of %d", text.size,
                         DIGEST_TEXT_MAX - 1);
    if (!slice_split(text, ':', &name, &encoded) || !algorithm_valid(name) ||
        !encoded_valid(encoded))
        return error_set(err, ERROR_DIGEST_INVALID, "malformed digest");

    enum digest_algorithm algorithm = digest_algorithm_parse(name);
    memset(out, 0, sizeof(*out));
    if (algorithm == DIGEST_NONE) {
        out->algorithm = DIGEST_OTHER;
        out->size = (uint8_t)text.size;
        memcpy(out->bytes, text.at, text.size);
        return 0;
    }
    if (!hex_decode(encoded, out->bytes, algorithms[algorithm].size))
        return error_set(err, ERROR_DIGEST_INVALID, "%s digest is not %d lower-case hex digits",
                         algorithms[algorithm].name, 2 * algorithms[algorithm].size);
    out->algorithm = (uint8_t)algorithm;
    out->size = algorithms[algorithm].size;
    return 0;
}

int digest_parse(struct slice text, struct digest *out, struct error *err)
{
    struct digest any;

    if (digest_parse_any(text, &any, err) < 0)
        return -1;
    if (any.algorithm == DIGEST_OTHER)
        return error_set(err, ERROR_DIGEST_INVALID, "unsupported digest algorithm");
    *out = any;
    return 0;
}

const char *digest_text(const struct digest *digest, char *out)
{
    if (digest->algorithm == DIGEST_OTHER) {
        memcpy(out, digest->bytes, digest->size);
        out[digest->size] = 0;
        return out;
    }
    if (digest->algorithm == DIGEST_NONE) {
        out[0] = 0;
        return out;
    }
    size_t name = strlen(algorithms[digest->algorithm].name);
    memcpy(out, algorithms[digest->algorithm].name, name);
    out[name] = ':';
    hex_encode(digest->bytes, digest->size, out + name + 1);
    out[name + 1 + 2 * (size_t)digest->size] = 0;
    return out;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return a->algorithm == b->algorithm && a->size == b->size &&
           memcmp(a->bytes, b->bytes, a->size) == 0;
}

bool digest_is_set(const struct digest *digest)
{
    return digest->algorithm != DIGEST_NONE;
}

size_t digest_key(const struct digest *digest, uint8_t *out)
{
    out[0] = digest->algorithm;
    memcpy(out + 1, digest->bytes, digest->size);
    return 1u + digest->size;
}

bool digest_from_key(struct slice key, struct digest *out)
{
    memset(out, 0, sizeof(*out));
    if (key.size < 2 || key.size > DIGEST_KEY_MAX)
        return false;
    out->algorithm = (uint8_t)key.at[0];
    out->size = (uint8_t)(key.size - 1);
    memcpy(out->bytes, key.at + 1, out->size);
    switch (out->algorithm) {
    case DIGEST_SHA256:
    case DIGEST_SHA512:
        return out->size == algorithms[out->algorithm].size;
    default:
        return out->algorithm == DIGEST_OTHER;
    }
}

static SHA256_CTX *sha256_of(const struct hasher *hasher)
{
    return (SHA256_CTX *)(uintptr_t)hasher->context.state;
}

static SHA512_CTX *sha512_of(const struct hasher *hasher)
{
    return (SHA512_CTX *)(uintptr_t)hasher->context.state;
}

void hasher_start(struct hasher *hasher, enum digest_algorithm algorithm)
{
    assert(algorithm == DIGEST_SHA256 || algorithm == DIGEST_SHA512);
    hasher->algorithm = algorithm;
    if (algorithm == DIGEST_SHA256)
        SHA256_Init(sha256_of(hasher));
    else
        SHA512_Init(sha512_of(hasher));
}

void hasher_update(struct hasher *hasher, const void *bytes, size_t size)
{
    if (hasher->algorithm == DIGEST_SHA256)
        SHA256_Update(sha256_of(hasher), bytes, size);
    else
        SHA512_Update(sha512_of(hasher), bytes, size);
}

void hasher_digest(const struct hasher *hasher, struct digest *out)
{
    struct hasher copy = *hasher;

    memset(out, 0, sizeof(*out));
    out->algorithm = (uint8_t)hasher->algorithm;
    out->size = algorithms[hasher->algorithm].size;
    if (hasher->algorithm == DIGEST_SHA256)
        SHA256_Final(out->bytes, sha256_of(&copy));
    else
        SHA512_Final(out->bytes, sha512_of(&copy));
}

static size_t put_be(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    return size;
}

static uint64_t get_be(const uint8_t *at, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value = value << 8 | at[i];
    return value;
}

enum { SAVED_VERSION = 1, SAVED_HEAD = 2 };

size_t hasher_save(const struct hasher *hasher, uint8_t *out)
{
    size_t used = SAVED_HEAD;

    out[0] = SAVED_VERSION;
    out[1] = (uint8_t)hasher->algorithm;
    if (hasher->algorithm == DIGEST_SHA256) {
        const SHA256_CTX *sha = sha256_of(hasher);
        for (int i = 0; i < 8; i++)
            used += put_be(out + used, sha->h[i], 4);
        used += put_be(out + used, (uint64_t)sha->Nh << 32 | sha->Nl, 8); /* in bits */
        memcpy(out + used, sha->data, sha->num);
        return used + sha->num;
    }
    const SHA512_CTX *sha = sha512_of(hasher);
    for (int i = 0; i < 8; i++)
        used += put_be(out + used, sha->h[i], 8);
    used += put_be(out + used, sha->Nl, 8);
    memcpy(out + used, sha->u.p, sha->num);
    return used + sha->num;
}

bool hasher_restore(struct hasher *hasher, struct slice saved)
{
    const uint8_t *at = (const uint8_t *)saved.at;

    if (saved.size < SAVED_HEAD || at[0] != SAVED_VERSION ||
        (at[1] != DIGEST_SHA256 && at[1] != DIGEST_SHA512))
        return false;
    hasher_start(hasher, at[1]);
    size_t word = at[1] == DIGEST_SHA256 ? 4 : 8;
    size_t block = 16 * word;
    size_t fixed = SAVED_HEAD + 8 * word + 8;
    if (saved.size < fixed)
        return false;
    uint64_t bits = get_be(at + SAVED_HEAD + 8 * word, 8);
    size_t pending = saved.size - fixed;
    if (pending != bits / 8 % block)
        return false;
    if (at[1] == DIGEST_SHA256) {
        SHA256_CTX *sha = sha256_of(hasher);
        for (size_t i = 0; i < 8; i++)
            sha->h[i] = (SHA_LONG)get_be(at + SAVED_HEAD + i * word, word);
        sha->Nh = (SHA_LONG)(bits >> 32);
        sha->Nl = (SHA_LONG)bits;
        memcpy(sha->data, at + fixed, pending);
        sha->num = (unsigned)pending;
        return true;
    }
    SHA512_CTX *sha = sha512_of(hasher);
    for (size_t i = 0; i < 8; i++)
        sha->h[i] = get_be(at + SAVED_HEAD + i * word, word);
    sha->Nl = bits;
    memcpy(sha->u.p, at + fixed, pending);
    sha->num = (unsigned)pending;
    return true;
}

void digest_of(enum digest_algorithm algorithm, struct slice bytes, struct digest *out)
{
    struct hasher hasher;

    hasher_start(&hasher, algorithm);
    hasher_update(&hasher, bytes.at, bytes.size);
    hasher_digest(&hasher, out);
}

/* --- SHA-1 --- */

void sha1_start(struct sha1 *sha1)
{
    SHA1_Init((SHA_CTX *)(void *)sha1->context.state);
}

void sha1_update(struct sha1 *sha1, const void *bytes, size_t size)
{
    SHA1_Update((SHA_CTX *)(void *)sha1->context.state, bytes, size);
}

void sha1_finish(struct sha1 *sha1, uint8_t out[SHA1_SIZE])
{
    SHA1_Final(out, (SHA_CTX *)(void *)sha1->context.state);
}

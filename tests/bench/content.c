/* content.c - bodies that cost nothing to make: a unique prefix before one fixed random block.
 * Touches  the block, written once by content_prepare.
 * Never    hashes inside the timed part. */
#include "tests/bench/content.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

static char block[CONTENT_BLOCK];

void content_prepare(void)
{
    uint64_t state = 0x9e3779b97f4a7c15U;

    for (size_t i = 0; i < sizeof block; i += sizeof state) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memcpy(block + i, &state, sizeof state);
    }
}

const char *content_at(const struct content *content, uint64_t offset, size_t *length)
{
    uint64_t left = content->size_bytes - offset;

    if (offset < CONTENT_PREFIX) {
        *length = left < CONTENT_PREFIX - offset ? left : CONTENT_PREFIX - offset;
        return content->prefix + offset;
    }

    uint64_t within = (offset - CONTENT_PREFIX) % sizeof block;

    *length = left < sizeof block - within ? left : sizeof block - within;
    return block + within;
}

static void write_digest(EVP_MD_CTX *hash, char *out)
{
    static const char HEX[] = "0123456789abcdef";
    unsigned char raw[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    EVP_DigestFinal_ex(hash, raw, &length);
    assert(length == CONTENT_HEX / 2);
    memcpy(out, "sha256:", sizeof "sha256:");
    out += strlen(out);
    for (unsigned i = 0; i < length; i++) {
        *out++ = HEX[raw[i] >> 4];
        *out++ = HEX[raw[i] & 15];
    }
    *out = '\0';
}

void content_digest(const void *bytes, size_t length, char *out)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();

    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    EVP_DigestUpdate(hash, bytes, length);
    write_digest(hash, out);
    EVP_MD_CTX_free(hash);
}

void content_make(struct content *content, uint64_t seed, uint64_t index, uint64_t size_bytes)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    size_t length = 0;

    assert(hash != NULL);
    content->size_bytes = size_bytes;
    snprintf(content->prefix, sizeof content->prefix, "%016llx%016llx", (unsigned long long)seed,
             (unsigned long long)index);
    EVP_DigestInit_ex(hash, EVP_sha256(), NULL);
    for (uint64_t offset = 0; offset < size_bytes; offset += length) {
        const char *bytes = content_at(content, offset, &length);

        EVP_DigestUpdate(hash, bytes, length);
    }
    write_digest(hash, content->digest);
    EVP_MD_CTX_free(hash);
}

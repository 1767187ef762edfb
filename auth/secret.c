/* secret.c - random secrets people carry: "slipway_" + kind + random + checksum.
 * Touches  memory; the kernel's generator.
 * Never    stores one. */
#include "auth/secret.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

enum { PREFIX_SIZE = 12, RANDOM_SIZE = 40, CHECKSUM_SIZE = 6 };

_Static_assert((int)SECRET_TEXT_SIZE == PREFIX_SIZE + RANDOM_SIZE + CHECKSUM_SIZE, "the form");
_Static_assert((int)SECRET_HASH_SIZE == SHA256_DIGEST_LENGTH, "the hash");

static const char *const prefixes[] = {
    [SECRET_PERSONAL] = "slipway_pat_",
    [SECRET_REFRESH] = "slipway_ref_",
    [SECRET_SETUP] = "slipway_set_",
};
static const char BASE62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* The common CRC-32 (of gzip), bit by bit: a secret has 52 bytes. */
static uint32_t crc32_of(const char *bytes, size_t size)
{
    uint32_t crc = 0xffffffffu;

    for (size_t i = 0; i < size; i++) {
        crc ^= (uint8_t)bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Of what stands before it, the prefix too; most significant digit first. */
static void checksum_write(const char *text, char out[CHECKSUM_SIZE])
{
    uint32_t crc = crc32_of(text, PREFIX_SIZE + RANDOM_SIZE);

    for (int i = CHECKSUM_SIZE - 1; i >= 0; i--) {
        out[i] = BASE62[crc % 62];
        crc /= 62;
    }
}

/* A byte is taken when it is below 4 * 62, else drawn again: each character is as likely. */
static void random_write(char out[RANDOM_SIZE])
{
    uint8_t drawn[RANDOM_SIZE];
    size_t written = 0;

    while (written < RANDOM_SIZE) {
        random_bytes(drawn, sizeof(drawn));
        for (size_t i = 0; i < sizeof(drawn) && written < RANDOM_SIZE; i++)
            if (drawn[i] < 4 * 62)
                out[written++] = BASE62[drawn[i] % 62];
    }
    secret_wipe(drawn, sizeof(drawn));
}

void secret_new(enum secret_kind kind, char out[SECRET_TEXT_SIZE + 1])
{
    assert(kind != SECRET_NONE);
    memcpy(out, prefixes[kind], PREFIX_SIZE);
    random_write(out + PREFIX_SIZE);
    checksum_write(out, out + PREFIX_SIZE + RANDOM_SIZE);
    out[SECRET_TEXT_SIZE] = 0;
}

static bool all_base62(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        char c = s.at[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z'))
            return false;
    }
    return true;
}

enum secret_kind secret_kind_of(struct slice text)
{
    char checksum[CHECKSUM_SIZE];

    if (text.size != SECRET_TEXT_SIZE || !all_base62(slice_from(text, PREFIX_SIZE)))
        return SECRET_NONE;
    checksum_write(text.at, checksum);
    if (memcmp(checksum, text.at + PREFIX_SIZE + RANDOM_SIZE, CHECKSUM_SIZE) != 0)
        return SECRET_NONE;
    for (enum secret_kind kind = SECRET_PERSONAL; kind <= SECRET_SETUP; kind++)
        if (slice_starts(text, prefixes[kind]))
            return kind;
    return SECRET_NONE;
}

void secret_hash(struct slice text, uint8_t out[SECRET_HASH_SIZE])
{
    SHA256((const unsigned char *)text.at, text.size, out);
}

/* Eight characters are told; more than 190 random bits are not. */
void secret_hint(struct slice text, char out[32])
{
    assert(text.size == SECRET_TEXT_SIZE);
    memcpy(out, text.at, PREFIX_SIZE + 4);
    memcpy(out + PREFIX_SIZE + 4, "...", 3);
    memcpy(out + PREFIX_SIZE + 7, text.at + SECRET_TEXT_SIZE - 4, 4);
    out[PREFIX_SIZE + 11] = 0;
}

bool secret_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || CRYPTO_memcmp(a.at, b.at, a.size) == 0);
}

void secret_wipe(void *bytes, size_t size)
{
    explicit_bzero(bytes, size);
}

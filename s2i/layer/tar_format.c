/* tar_format.c - what stands in a header block and in records of pax; see tar_format.h. */
#include "s2i/layer/tar_format.h"

#include <stddef.h>
#include <string.h>

int tar_invalid(struct error *err, const char *what)
{
    return error_set(err, ERROR_INVALID, "the tar archive is not valid: %s", what);
}

/* --- fields --- */

struct slice tar_field_text(const char *field, size_t size)
{
    return (struct slice){field, strnlen(field, size)};
}

/* Base 256, big-endian, when the first bit is set; as GNU writes what does not fit. */
static bool binary_number(const char *field, size_t size, int64_t *out)
{
    const unsigned char *bytes = (const unsigned char *)field;
    bool negative = (bytes[0] & 0x40) != 0;
    uint64_t value = negative ? UINT64_MAX : 0;

    for (size_t i = 0; i < size; i++) {
        unsigned char byte = bytes[i];
        if (i == 0)
            byte = negative ? (unsigned char)(byte | 0x80) : (unsigned char)(byte & 0x7f);
        if (value >> 55 != (negative ? UINT64_MAX >> 55 : 0))
            return false;
        value = value << 8 | byte;
    }
    *out = (int64_t)value;
    return true;
}

bool tar_field_number(const char *field, size_t size, int64_t *out)
{
    size_t i = 0;
    uint64_t value = 0;

    if ((unsigned char)field[0] >= 0x80)
        return binary_number(field, size, out);
    while (i < size && field[i] == ' ')
        i++;
    for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(field[i] - '0'); /* 12 digits at most: 36 bits */
    while (i < size && (field[i] == ' ' || field[i] == 0))
        i++;
    *out = (int64_t)value;
    return i == size;
}

bool tar_checksum_right(const struct tar_header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    int64_t sum = 0, sum_signed = 0, said;

    for (size_t i = 0; i < sizeof(*header); i++) {
        bool own = i >= offsetof(struct tar_header, checksum) &&
                   i < offsetof(struct tar_header, checksum) + sizeof(header->checksum);
        unsigned char byte = own ? ' ' : bytes[i];
        sum += byte;
        sum_signed += (signed char)byte; /* of old programs */
    }
    return tar_field_number(header->checksum, sizeof(header->checksum), &said) &&
           (said == sum || said == sum_signed);
}

bool tar_block_empty(const char *block)
{
    return block[0] == 0 && memcmp(block, block + 1, TAR_BLOCK - 1) == 0;
}

/* --- pax --- */

int tar_record_next(struct slice *text, struct tar_record *out, struct error *err)
{
    struct slice number, rest;
    uint64_t size;

    if (text->size == 0)
        return 0;
    if (!slice_split(*text, ' ', &number, &rest) || !slice_to_u64(number, &size) ||
        size > text->size || size < number.size + 4 || text->at[size - 1] != '\n')
        return tar_invalid(err, "a pax record is malformed");
    rest.size = size - number.size - 2;
    *text = slice_from(*text, size);
    if (!slice_split(rest, '=', &out->key, &out->value) || out->key.size == 0)
        return tar_invalid(err, "a pax record has no keyword");
    return 1;
}

bool tar_record_time(struct slice text, int64_t *out)
{
    struct slice whole, fraction;
    bool negative = slice_starts(text, "-");
    uint64_t seconds;

    slice_split(slice_from(text, negative ? 1 : 0), '.', &whole, &fraction);
    if (!slice_to_u64(whole, &seconds))
        return false;
    bool more = false;
    for (size_t i = 0; i < fraction.size; i++) {
        if (fraction.at[i] < '0' || fraction.at[i] > '9')
            return false;
        more = more || fraction.at[i] != '0';
    }
    *out = negative ? -(int64_t)seconds - (more ? 1 : 0) : (int64_t)seconds;
    return true;
}

/* --- names --- */

struct slice tar_path_clean(struct buffer *path)
{
    size_t size = 0, at = 0;

    while (at < path->size) {
        const char *slash = memchr(path->at + at, '/', path->size - at);
        size_t end = slash == NULL ? path->size : (size_t)(slash - path->at), part = end - at;
        if (part > 0 && !(part == 1 && path->at[at] == '.')) {
            if (size > 0)
                path->at[size++] = '/';
            memmove(path->at + size, path->at + at, part);
            size += part;
        }
        at = end + 1;
    }
    path->size = size;
    return buffer_slice(path);
}

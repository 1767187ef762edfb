/* tar_format.h - the header block of tar and records of pax, as tar_write.c writes and tar_read.c
 * reads them.
 * Touches  memory only (pure).
 * Never    included from outside s2i/layer/.
 *
 * Spec: POSIX.1-2017, pax, "ustar Interchange Format". */
#ifndef SLIPWAY_S2I_LAYER_TAR_FORMAT_H
#define SLIPWAY_S2I_LAYER_TAR_FORMAT_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { TAR_BLOCK = 512, TAR_NAME_MAX = 4096 };

/* Texts are not terminated when they fill their field. */
struct tar_header {
    char name[100];
    char mode[8];
    char uid[8];
    char gid[8];
    char size[12];
    char mtime[12];
    char checksum[8];
    char type;
    char link[100];
    char magic[6];
    char version[2];
    char user[32];
    char group[32];
    char device_major[8];
    char device_minor[8];
    char prefix[155];
    char padding[12];
};
_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "a header is one block");

#define TAR_XATTR "SCHILY.xattr." /* the keyword of an extended attribute, before its name */

/* INVALID, with what is wrong with the archive. Returns -1. */
int tar_invalid(struct error *err, const char *what);

/* Text of a field: up to its first zero byte. */
struct slice tar_field_text(const char *field, size_t size);
/* Octal digits between blanks, or base 256; an empty field is 0. False: it is no number. */
bool tar_field_number(const char *field, size_t size, int64_t *out);
bool tar_checksum_right(const struct tar_header *header);
bool tar_block_empty(const char *block);

struct tar_record {
    struct slice key, value; /* of the text it was read from */
};
/* The next of "27 path=...\n", which is taken from the text. 1; 0: there are no more. INVALID */
int tar_record_next(struct slice *text, struct tar_record *out, struct error *err) MUST_CHECK;
/* Seconds with a fraction, which is cut; before 1970 towards the past. False: it is no time. */
bool tar_record_time(struct slice text, int64_t *out);

/* Takes out empty parts and ".": "/./a//b/" becomes "a/b". Spec: s2i 19.2 */
struct slice tar_path_clean(struct buffer *path);

#endif

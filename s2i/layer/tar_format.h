/* tar_format.h - the header block of tar, as tar_write.c writes and tar_read.c reads it.
 * Touches  nothing.
 * Never    included from outside s2i/layer/.
 *
 * Spec: POSIX.1-2017, pax, "ustar Interchange Format". */
#ifndef SLIPWAY_S2I_LAYER_TAR_FORMAT_H
#define SLIPWAY_S2I_LAYER_TAR_FORMAT_H

#include <stddef.h>

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

#endif

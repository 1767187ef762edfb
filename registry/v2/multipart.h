/* multipart.h - several ranges of one blob as a multipart/byteranges body.
 * Touches  the reply it is given.
 * Never    files: it only says which parts of the reply's file stand where.
 *
 * Spec: BLOB-04, BLOB-06; RFC 9110 section 14.6. */
#ifndef SLIPWAY_V2_MULTIPART_H
#define SLIPWAY_V2_MULTIPART_H

#include "registry/http/message.h"

enum { MULTIPART_BOUNDARY_SIZE = 32 };

/* A fresh random boundary, terminated; out holds MULTIPART_BOUNDARY_SIZE + 1. */
void multipart_boundary(char *out);
/* Content-Type and body. count is 1 to RANGES_MAX; size is that of the whole blob. */
void multipart_write(struct reply *reply, const char *boundary, const struct range *ranges,
                     size_t count, uint64_t size);

#endif

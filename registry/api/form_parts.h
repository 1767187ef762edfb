/* form_parts.h - a body of multipart/form-data as it comes, part by part (pure).
 * Touches  memory only: a piece of the length of a boundary is all it keeps of a part.
 * Never    decodes what a part holds.
 *
 * Spec: s2i 13.46; RFC 7578, RFC 2046 section 5.1. */
#ifndef SLIPWAY_API_FORM_PARTS_H
#define SLIPWAY_API_FORM_PARTS_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum {
    FORM_BOUNDARY_MAX = 70,
    FORM_PART_HEAD_MAX = 4096,
    FORM_PARTS_MAX = 8,
    FORM_PREAMBLE_MAX = 4096,
};

enum form_place { FORM_PREAMBLE, FORM_HEAD, FORM_PART, FORM_BETWEEN, FORM_EPILOGUE };
struct form_parts {
    char delimiter[FORM_BOUNDARY_MAX + 5]; /* CR LF "--" boundary */
    size_t delimiter_size;
    enum form_place place;
    struct buffer pending; /* not judged yet */
    size_t parts, skipped;
};
/* What a part says of itself, then its bytes; -1 ends it all. */
struct form_parts_taker {
    int (*part)(void *arg, struct slice name, struct error *err);
    int (*bytes)(void *arg, struct slice bytes, struct error *err);
    void *arg;
};
/* By the request's Content-Type. BAD_REQUEST  it names no boundary. Dropped also when it failed. */
int form_parts_open(struct form_parts *form, struct slice type, struct error *err) MUST_CHECK;
void form_parts_drop(struct form_parts *form);
/* BAD_REQUEST  it is none, or more than the limits */
int form_parts_write(struct form_parts *form, struct slice bytes,
                     const struct form_parts_taker *taker, struct error *err) MUST_CHECK;
/* BAD_REQUEST  its end did not come */
int form_parts_end(const struct form_parts *form, struct error *err) MUST_CHECK;

#endif

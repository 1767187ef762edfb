/* parse.h - the strict head of a request, its query, and the chunk decoder.
 * Touches  the bytes it is given: names of headers become lower case in place.
 * Never    allocates, reads, waits (pure).
 *
 * Framing is never guessed: whatever two readers could understand differently is refused. */
#ifndef SLIPWAY_HTTP_PARSE_H
#define SLIPWAY_HTTP_PARSE_H

#include "registry/http/message.h"

enum {
    HEAD_HEADERS_MAX = 100,
    HEAD_PARAMETERS_MAX = FORM_FIELDS_MAX, /* a push may name 100 tags (MPUT-25) */
};

enum head_outcome {
    HEAD_COMPLETE,
    HEAD_PARTIAL,   /* more bytes are needed */
    HEAD_MALFORMED, /* 400; head->complaint says what is wrong */
    HEAD_TOO_MANY,  /* 431: more than HEAD_HEADERS_MAX lines */
};

struct head {
    struct slice method;
    struct slice target;        /* as received */
    struct slice path;          /* of the target, still encoded */
    struct slice query;         /* still encoded; SLICE_NONE when there is none */
    struct slice authority;     /* of an absolute target, else of Host; may be SLICE_NONE */
    struct slice authorization; /* the header; SLICE_NONE: absent */
    size_t size;                /* bytes of the head, its empty line included */
    size_t header_count;
    uint64_t content_length;
    bool chunked;
    bool persistent;       /* the client is ready for a next request */
    bool old;              /* HTTP/1.0 */
    bool expects_continue; /* and there is a body to wait for */
    const char *complaint;
};

/* bytes[0..size) is what arrived, bytes[0..previous) what an earlier call found incomplete.
 * headers holds HEAD_HEADERS_MAX; slices point into bytes. */
enum head_outcome head_parse(char *bytes, size_t size, size_t previous, struct head *out,
                             struct header *headers);

enum method method_parse(struct slice text);

/* Splits and decodes a query into at most HEAD_PARAMETERS_MAX parameters. `storage` holds at least
 * query.size bytes and must outlive them. False when an escape is malformed or there are more;
 * then *count is HEAD_PARAMETERS_MAX. */
bool query_parse(struct slice query, char *storage, struct parameter *out, size_t *count);

/* --- chunked transfer coding: RFC 9112 section 7.1, strictly --- */

struct chunk_decoder { /* zero-initialised stands before the first chunk */
    uint8_t state;
    uint8_t digits;    /* of the size seen so far */
    uint32_t overhead; /* bytes of extensions and trailers, bounded over the whole body */
    uint64_t left;     /* bytes of this chunk still to come */
};

enum chunk_outcome {
    CHUNK_MORE,
    CHUNK_END, /* the body is complete; what was not consumed belongs to the next request */
    CHUNK_MALFORMED,
};

/* Decodes from `in` until it is used up, `room` is full or the body ends. out may be in.at: the
 * output never overtakes the input. */
enum chunk_outcome chunk_decode(struct chunk_decoder *decoder, struct slice in, size_t *consumed,
                                char *out, size_t room, size_t *produced);

#endif

/* message.h - a request as a handler sees it, the reply it fills, and small grammars of headers.
 * Touches  memory only.
 * Never    sockets, h2o, storage.
 *
 * A handler never sees the connection. A request lives from its parsed head until its reply was
 * sent; everything a handler borrows from it is valid until the handler returns. */
#ifndef SLIPWAY_HTTP_MESSAGE_H
#define SLIPWAY_HTTP_MESSAGE_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

struct services; /* registry/services.h: what handlers work with; opaque to http/ */
struct route;
struct identity; /* auth/auth.h */

enum method {
    METHOD_GET = 1,
    METHOD_HEAD = 2,
    METHOD_POST = 4,
    METHOD_PUT = 8,
    METHOD_PATCH = 16,
    METHOD_DELETE = 32,
    METHOD_OTHER = 64,
};

struct header {
    struct slice name;  /* lower case */
    struct slice value; /* trimmed */
};

/* A decoded query parameter: percent-decoded, '+' turned into a blank. Spec: HTTP-10, HTTP-12. */
struct parameter {
    struct slice name;
    struct slice value;
};

enum { REQUEST_ID_MAX = 64 }; /* bytes, without the end */

struct request {
    enum method method;
    struct slice method_text; /* as received */
    struct slice target;      /* path and query as received, for the log */
    struct slice path;        /* percent-decoded once; an encoded slash makes no route (HTTP-11) */
    struct header *headers;
    size_t header_count;
    struct parameter *parameters;
    size_t parameter_count;
    uint64_t content_length; /* declared; 0 when there is none */
    bool chunked;            /* the length is not known ahead */
    bool tls;                /* as the client sees it: a trusted proxy may say so */
    struct slice host;       /* as the client calls us, from Host or a trusted proxy; SLICE_NONE */
    char id[REQUEST_ID_MAX + 1]; /* also in the reply's X-Request-Id and in the log */
    char remote[64];             /* address of the client, behind trusted proxies */
    uint8_t network[8];          /* what rates are counted by: IPv4 address, IPv6 /64 */
    bool local;                  /* by the admin socket, from somebody who may use it */
    const struct route *route;
    struct slice name;      /* <name> of the route, validated; SLICE_NONE when it has none */
    struct slice reference; /* <reference>, <digest>, <id>: the last variable segment, decoded */
    struct slice body;      /* BODY_COLLECT routes: the whole body */
    /* Authorization, for ACTION_HOOK alone: its handler judges it, auth does not. */
    struct slice authorization;
    const struct services *services;
    const struct identity *caller; /* who asks, once authorised; held by the request */
    bool may_push; /* the caller's grant covers push on name: answers to it give leases (P4) */
};

/* First header of that (lower-case) name, or SLICE_NONE. */
struct slice request_header(const struct request *request, const char *name);
/* All headers of that name joined by ", " into out. Spec: HTTP-09. */
void request_header_joined(const struct request *request, const char *name, struct buffer *out);
/* First parameter of that name; SLICE_NONE when absent; an empty value has at != NULL. */
struct slice request_parameter(const struct request *request, const char *name);

/* A body of application/x-www-form-urlencoded, decoded. Freed, and wiped, with form_drop. */
enum { FORM_FIELDS_MAX = 128 };
struct form {
    struct parameter fields[FORM_FIELDS_MAX]; /* in their order */
    size_t count;
    char *decoded; /* what the fields point into */
    size_t size;
};
/* BAD_REQUEST  another media type, a malformed escape, too many fields */
int form_parse(const struct request *request, struct form *out, struct error *err) MUST_CHECK;
void form_drop(struct form *form);

/* One piece of a reply's body: bytes, then a range of the reply's file. */
struct reply_part {
    struct slice bytes;   /* borrowed from the reply (text) or from what release frees */
    uint64_t file_offset; /* bytes */
    uint64_t file_size;   /* 0: no file piece */
};

/* Zero-initialised is "no answer yet". */
struct reply {
    int status;
    struct buffer head;       /* complete header lines, each ended by CR LF */
    struct reply_part *parts; /* owned array */
    size_t part_count;
    size_t part_capacity;
    uint64_t length; /* of the body; for HEAD what GET would send */
    int fd;          /* the file of the parts; only looked at when a part has file_size */
    bool live;       /* fd, owned, is what the body comes from; there are no parts */
    bool follower;   /* live, and the server need not wait for its end */
    bool (*whole)(void *released); /* live: whether its end is one; NULL: it always is */
    /* Called once, on a worker when there is a file or the body is live, else on any thread;
     * read_failed tells that the file's bytes could not be read or ended early. */
    void (*release)(void *released, bool read_failed);
    void *released;
    struct buffer text; /* owned bytes that parts may point into */
};

void reply_init(struct reply *reply);
void reply_drop(struct reply *reply);
/* Drops the content, release included, and keeps small memory for the next reply. */
void reply_reset(struct reply *reply);
/* Calls release, at most once over the life of a reply's body. */
void reply_release(struct reply *reply, bool read_failed);
bool reply_has_file(const struct reply *reply);
/* Adds "name: value". Control characters in the value become blanks: no splitting. */
void reply_header(struct reply *reply, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);
void reply_header_slice(struct reply *reply, const char *name, struct slice value);
/* A whole body of borrowed bytes; release (may be NULL) is called when it is sent. */
void reply_bytes(struct reply *reply, struct slice bytes, void (*release)(void *, bool),
                 void *released);
/* A whole body the reply owns: takes the buffer's memory. */
void reply_text(struct reply *reply, struct buffer *text);
/* A range of a file; consumes the descriptor by way of release. */
void reply_file(struct reply *reply, int fd, uint64_t offset, uint64_t size,
                void (*release)(void *, bool), void *released);
/* A body that goes on until its end: bytes as they can be read from fd, a pipe or a socket, sent in
 * chunks. Consumes fd and makes it non-blocking, a dup of it as well: who keeps one may read it
 * again, or make it blocking again, from release on. There fd is closed already, so that a producer
 * hears of it (EPIPE). release (may be NULL) is called once, on a worker; its second argument tells
 * that the reply did not come to its end: the client went, which is noticed at once (half-close,
 * reset), did not take bytes for the write idle time, or the server stopped. Spec: s2i 13.25.
 * A draining server waits for live replies as for others; a follower, which only watches what goes
 * on without it, breaks off at once, so that its client comes again. */
void reply_live(struct reply *reply, int fd, void (*release)(void *released, bool gone),
                void *released);
void reply_live_follower(struct reply *reply); /* after reply_live */
/* After reply_live. Asked on the loop, when fd has ended: false, and the reply is
 * broken off instead, so that nobody takes it for whole. */
void reply_live_whole(struct reply *reply, bool (*whole)(void *released));
/* Adds one more part (multipart/byteranges); bytes must lie in reply->text or outlive it. */
void reply_part_add(struct reply *reply, struct slice bytes, uint64_t offset, uint64_t size);
/* Status and the JSON error body; headers already added stay.
 *   detail  JSON already; empty: without it. Spec: ERR-01, TOK-07. */
void reply_error(struct reply *reply, const struct error *err, struct slice detail);
/* For git, which shows text to its user, line by line, and nothing else. */
void reply_error_text(struct reply *reply, const struct error *err);
/* The token endpoint's error body: what OAuth knows, beside the registry's. UNSUPPORTED with status
 * 400 is a grant_type that is not known. Spec: TOK-26. */
void reply_error_oauth(struct reply *reply, const struct error *err);
/* The management API's error body, application/problem+json. Spec: RFC 9457. */
void reply_problem(struct reply *reply, const struct error *err, const char *request_id);
/* Whether a header line of that name, as we write it, was added. */
bool reply_has_header(const struct reply *reply, const char *name);
/* The reason phrase; "Status" for a status we do not use. */
const char *reply_status_text(int status);

/* --- grammars (pure) --- */

/* Range of one representation. Spec: BLOB-04, BLOB-06; RFC 9110 section 14. */
enum range_outcome {
    RANGE_NONE,          /* absent, other unit, malformed: send everything */
    RANGE_PARTIAL,       /* ranges hold what to send, ascending, coalesced */
    RANGE_UNSATISFIABLE, /* 416 */
    RANGE_TOO_MANY,      /* more than the cap: send everything */
};
struct range {
    uint64_t first, last; /* inclusive */
};
enum { RANGES_MAX = 256 };
enum range_outcome range_parse(struct slice header, uint64_t size, struct range *out,
                               size_t *count);

/* Content-Range of an upload chunk: "a-b", "bytes a-b/n", "bytes a-b/x", "bytes=a-b".
 * Spec: NAME-07, UPL-10. */
bool content_range_parse(struct slice header, uint64_t *first, uint64_t *last);

/* If-None-Match or If-Match against one strong tag: lists, *, W/ prefix, unquoted. Spec: CACHE-02.
 */
bool etag_matches(struct slice header, struct slice etag_unquoted);

/* Percent-decodes in place of out (capacity >= in.size); false on a malformed escape or NUL.
 * plus_is_blank for query strings. keep_slash: an encoded slash or backslash is an error. */
bool percent_decode(struct slice in, char *out, size_t *size, bool plus_is_blank,
                    bool refuse_slash);
/* Appends s with everything outside unreserved characters escaped. */
void percent_encode(struct buffer *out, struct slice s);

#endif

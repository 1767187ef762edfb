/* route.h - the table of routes: method, path, endpoint, action asked of auth, handler.
 * Touches  nothing (pure).
 * Never    calls a handler.
 *
 * Spec: ROUTE-01 (matched from the right end), HTTP-11, HTTP-13, NAME-14. */
#ifndef SLIPWAY_HTTP_ROUTE_H
#define SLIPWAY_HTTP_ROUTE_H

#include "auth/auth.h"
#include "registry/http/message.h"

enum body_kind {
    BODY_IGNORE,  /* read, bounded, and thrown away (HTTP-06) */
    BODY_COLLECT, /* gathered up to the route's limit, then the handler runs */
    BODY_STREAM,  /* handed over piece by piece */
    BODY_PIPE,    /* written into a pipe by the loop, while the reply is already being sent */
};

enum { STREAM_LATER = -2 };

enum body_outcome {
    BODY_COMPLETE, /* every byte was given to write */
    BODY_BROKEN,   /* the client left, stalled or broke the framing: no reply will be sent */
    BODY_REFUSED,  /* write failed; its error is given to finish */
};

/* A streamed body. All three run on workers, never two at once for one request, in order. */
struct body_stream {
    /* Decides by the head alone. 1: send the body (and *stream is set); 0: reply is the answer and
     * the body is thrown away; -1: refused, err holds why (headers already in reply are sent).
     * STREAM_LATER: refused because of another client, which may end within a second or two; until
     * then it is asked again, without a worker waiting for that. */
    int (*open)(struct request *request, struct reply *reply, void **stream, struct error *err);
    /* bytes are borrowed for the call, at most 256 KiB. -1 ends the body with BODY_REFUSED. */
    int (*write)(void *stream, struct slice bytes, struct error *err);
    /* Consumes the stream, whatever the outcome. -1: err is rendered. */
    int (*finish)(void *stream, enum body_outcome outcome, struct request *request,
                  struct reply *reply, struct error *err);
};

struct route {
    /* "/v2/<name>/manifests/<reference>": at most one <name>, one other. "<id>:rotate" is a segment
     * with that ending, and "<name>:restore" a name; its row stands before the one of "<id>", which
     * takes it as well.
     * "...?service=git-upload-pack": only with that parameter; its row stands before the one
     * without. "/<name>.git/...": not when the name begins with the first segment of another row,
     * or of what is to come (13.20). */
    const char *pattern;
    const char *endpoint; /* "end-3": what the log calls it */
    int methods;          /* bits of enum method */
    enum action action;   /* what auth must allow before the handler runs */
    bool login;           /* its handler hashes passwords: it runs on a login thread, */
    /* unless this, on the loop and with the whole body at hand, is true: it will hash none. Must
     * tell the same as the handler does. NULL: it always may. */
    bool (*hashless)(const struct request *request);
    enum body_kind body;
    /* BODY_COLLECT: bytes at most; above, 413 SIZE_INVALID before anything is stored. */
    uint64_t (*body_limit)(const struct services *services);
    /* On the loop, from memory only: true when reply is the answer. May be NULL. */
    bool (*peek)(struct request *request, struct reply *reply);
    /* BODY_IGNORE, BODY_COLLECT: on a worker. -1: err is rendered with its status. */
    int (*handle)(struct request *request, struct reply *reply, struct error *err);
    const struct body_stream *stream; /* BODY_STREAM */
    /* BODY_PIPE: on a worker, by the head alone. 1: the reply is live (reply_live) and starts now,
     * head first; the body goes into *input, a pipe or socket that nobody else writes to, consumed,
     * made non-blocking and closed at the body's end. 0: the reply is the answer. -1: refused. A
     * reader that closes early ends the body, not the reply: the rest is thrown away. A body that
     * breaks or stalls ends both: release hears that the client is gone. Neither is closed by the
     * end of the other. */
    int (*open_pipe)(struct request *request, struct reply *reply, int *input, struct error *err);
};

struct route_table {
    const struct route *routes;
    size_t count;
};

enum route_outcome { ROUTE_FOUND, ROUTE_UNKNOWN, ROUTE_METHOD };

/* Finds the route of request->method and request->path, sets route, name and reference (borrowed
 * from path). Rows are tried in order; the first whose pattern fits from the right end wins.
 * ROUTE_METHOD: the path is known, the method is not; *allowed gets the bits that are (for Allow).
 * The grammar of <name> is not checked here. */
enum route_outcome route_find(const struct route_table *table, struct request *request,
                              int *allowed);

#endif

/* remote_http.h - requests to another registry: credentials, redirects, another try.
 * Touches  the network; the file of the password.
 * Never    sends credentials to a host that did not ask for them, or in the clear unless told to;
 *          shows them in an error. */
#ifndef SLIPWAY_TRANSFER_REMOTE_HTTP_H
#define SLIPWAY_TRANSFER_REMOTE_HTTP_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"

struct remote;

struct remote_options {
    const char *url;                 /* "https://host[:port]", or without scheme */
    const char *user;                /* NULL: nobody */
    const char *password_file;       /* its first line */
    const char *ca_file;             /* NULL: the system's */
    bool plain_http;                 /* http, and credentials over it */
    const struct progress *progress; /* asked whether to stop */
};
/* INVALID, UNAVAILABLE */
int remote_open(struct remote **out, const struct remote_options *options,
                struct error *err) MUST_CHECK;
void remote_close(struct remote **remote); /* for OWNED; accepts NULL */

struct remote_request {
    const char *path;   /* "/v2/...", or a whole URL of the same host */
    const char *scope;  /* asked of a token service: "repository:team/app:pull" */
    const char *accept; /* NULL: anything */
    bool head;
    size_t body_max; /* of a body that is kept; ignored with `receive` */
    /* The body of 200 as it comes, once each byte, whatever breaks on the way. */
    int (*receive)(void *arg, struct slice bytes, struct error *err);
    void *arg;
};
/* Freed with remote_answer_drop. */
struct remote_answer {
    long status;
    struct buffer body;
    char *content_type, *link, *digest, *location; /* NULL: no such header */
    struct buffer authenticate;                    /* WWW-Authenticate, joined by commas */
};
void remote_answer_drop(struct remote_answer *answer);

/* GET or HEAD. Whatever final status is a success here.
 * UNAVAILABLE  no answer, or 429 and 5xx as often as asked; stopped.  DENIED  no token was given */
int remote_get(struct remote *remote, const struct remote_request *request,
               struct remote_answer *out, struct error *err) MUST_CHECK;

#endif

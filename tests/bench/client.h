/* client.h - one keep-alive HTTP/1.1 connection of the load: a request out, its reply in.
 * Touches  its socket.
 * Never    waits; looks at a body: the bytes of a reply are thrown away inside the kernel. */
#ifndef TESTS_BENCH_CLIENT_H
#define TESTS_BENCH_CLIENT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/content.h"

enum { CLIENT_HEAD_LIMIT = 16 * 1024 };

enum client_outcome {
    CLIENT_WAITS,  /* for the socket, or for its pace */
    CLIENT_ANSWER, /* a whole reply is in: status, location */
    CLIENT_BROKEN, /* the peer closed or sent what is no reply */
};

struct client {
    int fd;
    struct sockaddr_in address;

    /* The request: a head, then either a text or a content. */
    const char *head;
    size_t head_length;
    const char *text; /* NULL: see content */
    const struct content *content;
    uint64_t body_length;
    uint64_t sent; /* of head and body together */
    bool no_body;  /* HEAD: the reply carries a length and no bytes */

    /* Pace of the body; 0 is as fast as the socket takes it. */
    uint64_t pace_bytes_s;
    uint64_t started_ns;
    bool paused;

    /* The reply. */
    bool in_body;
    bool chunked;
    bool closing;
    uint64_t left; /* of the reply's body */
    size_t filled;
    int status;
    char tail[5];        /* the last bytes of a chunked body, to see its end */
    char location[1024]; /* path and query only */
    char reply[CLIENT_HEAD_LIMIT];
};

/* Connects, waiting; -1 with errno when the server cannot be reached. */
int client_connect(struct client *client);
void client_close(struct client *client);

/* Starts the request described in `client` and sends what goes out at once. */
enum client_outcome client_start(struct client *client, uint64_t now_ns);

/* The socket is ready, or the pace allows more. */
enum client_outcome client_continue(struct client *client, uint64_t now_ns);

#endif

/* work.h - what the load asks of a registry: scripts of requests, one operation each.
 * Touches  the requests of the clients it is given.
 * Never    sockets, clocks: load.c sends, waits and counts. */
#ifndef TESTS_BENCH_WORK_H
#define TESTS_BENCH_WORK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/client.h"
#include "tests/bench/content.h"

enum script {
    SCRIPT_GET,   /* one fixed GET */
    SCRIPT_HEAD,  /* one fixed HEAD */
    SCRIPT_PATCH, /* a blob: POST, PATCH, PUT */
    SCRIPT_PUT,   /* a blob: POST, PUT with the bytes */
    SCRIPT_TAG,   /* a manifest by tag */
    SCRIPT_IMAGE, /* a blob as in PATCH, then a manifest that names it */
    SCRIPT_PULL,  /* a manifest by tag, then its blob */
};

/* One for each operation in turn. */
struct values {
    const char **items;
    uint64_t count;
};

/* What all operations of a run share; read-only while it runs. */
struct work {
    const char *host;             /* value of the Host header */
    struct values paths;          /* GET, HEAD */
    struct values authorizations; /* GET, HEAD: of the header, or none */
    bool fresh;                   /* every request on a connection of its own */
    int status;                   /* expected of GET, HEAD; 0: any */
    const char *repository;
    const char *tag;       /* tags are <tag>-<index> */
    struct content config; /* the config blob every manifest names; in place before the run */
    struct content *items; /* blobs, digests computed */
    uint64_t item_count;   /* an operation's index counts modulo this */
    bool same_manifest;    /* all tags name one manifest */
    uint64_t pace_bytes_s; /* of each upload; 0 for none */
    uint64_t seed;
};

/* One operation under way on one client. */
struct operation {
    enum script script;
    uint64_t index;
    unsigned step;
    int expected; /* status; 0: any */
    char head[2048];
    char manifest[1024];
};

/* Describes the next request of the operation in `client`; false when the operation is over. */
bool work_next(const struct work *work, struct operation *operation, struct client *client);

/* The script of that name, or -1. */
int work_script(const char *name);

#endif

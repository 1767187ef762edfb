/* run.h - one timed run: clients that repeat operations on one thread until time or work is out.
 * Touches  the clients' sockets, one epoll instance.
 * Never    prints; what it counted is in the structure. */
#ifndef TESTS_BENCH_RUN_H
#define TESTS_BENCH_RUN_H

#include <netinet/in.h>
#include <stdint.h>

#include "tests/bench/sample.h"
#include "tests/bench/work.h"

struct run {
    /* What to do. */
    const struct work *work;
    enum script script;
    struct sockaddr_in address;
    unsigned clients;
    uint64_t first;         /* index of the first operation */
    uint64_t count;         /* operations in all; 0: until the time is out */
    double seconds;         /* 0: until the work is out */
    double warmup_s;        /* operations begun earlier are not counted */
    unsigned pulls_percent; /* so many operations are pulls of an index below `first` */
    uint64_t interval_ns;   /* each client begins an operation so often; 0: as fast as it can */

    /* What was seen. */
    uint64_t operations;
    uint64_t errors;
    uint64_t refused;  /* answers of 400 and above, expected or not, warm-up included */
    char problem[200]; /* the first error */
    double elapsed_s;
    struct samples latency;
    struct samples pulls;
};

/* Runs it; -1 when a server cannot be reached. Errors of single operations are counted. */
int run_all(struct run *run);

#endif

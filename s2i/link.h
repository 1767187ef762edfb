/* link.h - shared by link.c (the builders this server has), link_spawn.c (the one it starts) and
 * slots.c (which of them gets a build).
 * Touches  nothing.
 * Never    included from outside s2i/. */
#ifndef SLIPWAY_S2I_LINK_H
#define SLIPWAY_S2I_LINK_H

#include "s2i/s2i_internal.h"

enum {
    BUILDERS_MAX = 16,
    BUILDER_HELLO_MS = 10 * 1000, /* a builder that was started counts as coming for so long */
};

struct builder {
    int control; /* -1: the place is free */
    unsigned slots, used;
    bool known;        /* said hello */
    uint64_t since_ms; /* when it came */
    char level[8], problem[200];
};

struct channel { /* a build under way */
    struct channel *next;
    int fd;
    struct builder *builder;
    uint64_t life; /* of the builder's place: it may be another's by now */
};

struct build_link {
    const struct config *config;
    char *folder; /* the started builder's */
    int listener; /* -1: none */
    bool rests;   /* the listener is left out of the next poll */
    char *path;
    int wake;
    pthread_t thread;
    bool threaded;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct builder builders[BUILDERS_MAX]; /* under lock, as all below */
    uint64_t lives[BUILDERS_MAX];
    struct channel *channels;
    pid_t child; /* 0: none */
    uint64_t started_ms;
    bool closing;
    char problem[200]; /* why no builder is there */
};

/* --- link.c --- */

/* Under lock: its connection is closed, its place is free. */
void link_builder_end(struct build_link *link, struct builder *builder, const char *why);

/* --- link_spawn.c --- */

/* Starts a builder with its connection; *pid: of it. */
int link_spawn(const struct build_link *link, int theirs, pid_t *pid, struct error *err) MUST_CHECK;

#endif

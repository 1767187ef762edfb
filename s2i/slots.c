/* slots.c - which builder gets a build, and the channels of those under way.
 * Touches  what is known of the builders, under its lock; a socket pair a build.
 * Never    looks at what a build says: its channel goes from the worker process to the session.
 *
 * (1) A builder gets no more builds than the slots it told. */
#include "s2i/link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/wire.h"

enum {
    WAIT_MS = 100, /* how often a wait looks at its wake-up */
    SEND_S = 20,   /* a worker that reads nothing for so long is none */
};

static bool able(const struct builder *builder)
{
    return builder->control >= 0 && builder->known && builder->level[0] != 0;
}

void link_health(struct build_link *link, struct builds_health *out)
{
    const char *problem = NULL;

    pthread_mutex_lock(&link->lock);
    for (size_t i = 0; i < BUILDERS_MAX; i++) {
        const struct builder *builder = &link->builders[i];
        if (builder->control >= 0 && builder->known && builder->level[0] == 0)
            problem = builder->problem;
        if (!able(builder))
            continue;
        out->able = true;
        out->builders++;
        out->slots += builder->slots;
        snprintf(out->level, sizeof(out->level), "%s", builder->level);
    }
    out->problem[0] = 0;
    if (!out->able && problem == NULL && link->child != 0 &&
        clock_monotonic_ms() - link->started_ms < BUILDER_HELLO_MS)
        out->able = true; /* it is coming: what is asked for meanwhile waits for it */
    if (!out->able)
        snprintf(out->problem, sizeof(out->problem), "%s",
                 problem != NULL ? problem : link->problem);
    pthread_mutex_unlock(&link->lock);
}

/* Under lock. The least busy one. */
static struct builder *free_slot(struct build_link *link)
{
    struct builder *best = NULL;

    for (size_t i = 0; i < BUILDERS_MAX; i++) {
        struct builder *builder = &link->builders[i];
        if (able(builder) && builder->used < builder->slots && /* (1) */
            (best == NULL || builder->used < best->used))
            best = builder;
    }
    return best;
}

/* A build waits for its worker's words only as long as its time limit; for its ears as well. */
static int channel_open(int pair[2])
{
    const struct timeval patience = {.tv_sec = SEND_S};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    return setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

/* Under lock. */
static int hand_over(struct build_link *link, struct builder *builder, int64_t build, int *out,
                     struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    int pair[2];

    if (channel_open(pair) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no channel for the build");
    buffer_print(&text, "{\"build\":%lld}", (long long)build);
    int sent = wire_send(builder->control, WIRE_BUILD, buffer_slice(&text), pair[1], err);
    close(pair[1]);
    if (sent < 0) {
        close(pair[0]);
        link_builder_end(link, builder, "the builder does not listen");
        return -1;
    }
    struct channel *channel = memory_new(sizeof(*channel));
    *channel = (struct channel){.next = link->channels,
                                .fd = pair[0],
                                .builder = builder,
                                .life = link->lives[builder - link->builders]};
    link->channels = channel;
    builder->used++;
    *out = pair[0];
    return 0;
}

static bool woken(int wake)
{
    struct pollfd one = {.fd = wake, .events = POLLIN};

    return wake >= 0 && poll(&one, 1, 0) > 0;
}

static void wait_a_little(struct build_link *link)
{
    const struct timespec until = clock_monotonic_after(WAIT_MS);

    pthread_cond_timedwait(&link->changed, &link->lock, &until);
}

int link_take(struct build_link *link, int64_t build, int wake, int *channel, struct error *err)
{
    int outcome = 1;

    pthread_mutex_lock(&link->lock);
    while (outcome > 0) {
        struct builder *builder = free_slot(link);
        if (link->closing || woken(wake)) {
            outcome = error_set(err, ERROR_UNAVAILABLE, "the build is to stop");
        } else if (builder == NULL) {
            wait_a_little(link);
        } else {
            struct error failure = {0};
            outcome = hand_over(link, builder, build, channel, &failure) < 0 ? 1 : 0;
        }
    }
    pthread_mutex_unlock(&link->lock);
    return outcome;
}

void link_give_back(struct build_link *link, int channel)
{
    pthread_mutex_lock(&link->lock);
    for (struct channel **at = &link->channels; *at != NULL; at = &(*at)->next) {
        struct channel *found = *at;
        if (found->fd != channel)
            continue;
        if (link->lives[found->builder - link->builders] == found->life)
            found->builder->used--;
        *at = found->next;
        free(found);
        break;
    }
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    close(channel);
}

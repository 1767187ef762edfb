/* attester.c - publishes what is to stand beside images, when their builds have ended, or they were
 * put on newer bases.
 * Touches  rows of attestations; a thread of its own.
 * Never    holds up a build; gives up on what may work later.
 *
 * (1) What is to be published is a row since the end of its build or its rebase, and one until it
 * is published: a server that dies in between goes on at its next start. Published twice it is the
 * same.
 *
 * Spec: s2i 7.12 */
#include <stdlib.h>

#include "registry/core/clock.h"
#include "registry/core/log.h"
#include "registry/core/start.h"
#include "s2i/s2i_internal.h"

enum {
    TRIES_MAX = 12, /* more than a day */
    FIRST_PAUSE_S = 5,
    LONGEST_PAUSE_S = 6 * 3600,
    UNREAD_PAUSE_MS = 5000, /* after a failure of the database */
    LOOK_MS = 600 * 1000,   /* deleted repositories come back without a word */
};

struct attester {
    struct builds *builds;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    bool look, closing;
};

bool attester_closing(struct attester *attester)
{
    pthread_mutex_lock(&attester->lock);
    bool yes = attester->closing;
    pthread_mutex_unlock(&attester->lock);
    return yes;
}

void attester_look(struct attester *attester)
{
    if (attester == NULL)
        return;
    pthread_mutex_lock(&attester->lock);
    attester->look = true;
    pthread_cond_signal(&attester->wake);
    pthread_mutex_unlock(&attester->lock);
}

/* Until there may be more, or so long. False: it closes. */
static bool rest(struct attester *attester, uint64_t ms)
{
    const struct timespec until = clock_monotonic_after(ms);
    int waited = 0;

    pthread_mutex_lock(&attester->lock);
    while (!attester->closing && !attester->look && waited == 0)
        waited = pthread_cond_timedwait(&attester->wake, &attester->lock, &until);
    attester->look = false;
    bool open = !attester->closing;
    pthread_mutex_unlock(&attester->lock);
    return open;
}

/* --- one --- */

static int64_t pause_s(uint64_t tries)
{
    int64_t pause = FIRST_PAUSE_S;

    for (uint64_t i = 0; i < tries && pause < LONGEST_PAUSE_S; i++)
        pause *= 4;
    return pause < LONGEST_PAUSE_S ? pause : LONGEST_PAUSE_S;
}

static void failed(struct attester *attester, const struct build_attestation *attestation,
                   const struct error *why) ON(worker_thread)
{
    struct storage *storage = attester->builds->storage;
    bool last = attestation->tries + 1 >= TRIES_MAX || why->code == ERROR_INVALID;
    int64_t due_at = clock_now_us() + pause_s(attestation->tries) * US_PER_S;
    struct error ignored = {0};

    log_event(LOG_WARNING, last ? "build.unattested" : "build.attest.again",
              F_I64("id", attestation->build), F_TEXT("repository", attestation->repository),
              F_TEXT("reason", why->message), F_TEXT("cause", why->cause));
    int noted = last ? build_attestation_done(storage, attestation->id, &ignored)
                     : build_attestation_later(storage, attestation->id, due_at, &ignored);
    if (noted < 0) /* the row is as it was: not at once again */
        rest(attester, UNREAD_PAUSE_MS);
}

static void publish(struct attester *attester, const struct build_attestation *attestation)
    ON(worker_thread)
{
    struct builds *builds = attester->builds;
    struct error err = {0};

    if (attest_publish(builds, attestation, &err) == 0 &&
        build_attestation_done(builds->storage, attestation->id, &err) == 0)
        return;
    if (!attester_closing(attester))
        failed(attester, attestation, &err);
}

/* --- the thread --- */

/* How long there is nothing to do then, in ms, unless somebody says so. */
static uint64_t look(struct attester *attester) ON(worker_thread)
{
    struct error err = {0};

    while (!attester_closing(attester)) {
        OWNED(build_attestation_drop) struct build_attestation next = {.id = 0};
        if (build_attestation_next(attester->builds->storage, &next, &err) < 0) {
            log_event(LOG_WARNING, "build.attest.again", F_TEXT("reason", err.message),
                      F_TEXT("cause", err.cause));
            return UNREAD_PAUSE_MS;
        }
        int64_t left = next.due_at - clock_now_us();
        if (next.id == 0 || left > INT64_C(1000) * LOOK_MS)
            return LOOK_MS;
        if (left > 0)
            return (uint64_t)left / 1000 + 1;
        publish(attester, &next);
    }
    return LOOK_MS;
}

static void *work(void *arg)
{
    struct attester *attester = arg;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-attest");
    while (rest(attester, look(attester)))
        ;
    return NULL;
}

int attester_open(struct builds *builds, struct error *err)
{
    struct attester *attester = memory_new(sizeof(*attester));

    attester->builds = builds;
    pthread_mutex_init(&attester->lock, NULL);
    clock_condition_init(&attester->wake);
    builds->attester = attester;
    if (thread_start(&attester->thread, work, attester, err) == 0)
        return 0;
    builds->attester = NULL;
    pthread_cond_destroy(&attester->wake);
    pthread_mutex_destroy(&attester->lock);
    free(attester);
    return -1;
}

void attester_close(struct attester *attester)
{
    if (attester == NULL)
        return;
    pthread_mutex_lock(&attester->lock);
    attester->closing = true;
    pthread_cond_signal(&attester->wake);
    pthread_mutex_unlock(&attester->lock);
    pthread_join(attester->thread, NULL);
    pthread_cond_destroy(&attester->wake);
    pthread_mutex_destroy(&attester->lock);
    free(attester);
}

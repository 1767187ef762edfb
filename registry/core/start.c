/* start.c - see start.h. */
#include "registry/core/start.h"

#include <signal.h>

int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg, struct error *err)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new one has what we have */
    int failed = pthread_create(out, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0)
        return 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, failed, "a thread cannot be started");
}

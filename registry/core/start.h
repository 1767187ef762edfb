/* start.h - a thread begins, or does not: then its caller is told.
 * Touches  the kernel's limits on threads.
 * Never    ends the program: a machine that is out of threads has other work to go on with. */
#ifndef SLIPWAY_CORE_START_H
#define SLIPWAY_CORE_START_H

#include <pthread.h>

#include "registry/core/error.h"

/* run(arg) on a thread of its own, which takes no signals: these belong to main. UNAVAILABLE */
int thread_start(pthread_t *out, void *(*run)(void *arg), void *arg, struct error *err) MUST_CHECK;

#endif

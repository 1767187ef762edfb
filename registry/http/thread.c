/* thread.c - how a thread shares the processor with the others.
 * Touches  the calling thread's scheduling.
 * Never    fails: it is about time, not about being right.
 *
 * Linux lets whoever runs finish the turn it began, however nice it is, unless the thread that
 * wakes asked for shorter turns. Log-ins and uploads hash in long turns: without this the loop
 * would wait a millisecond or more for each of them. */
#include "registry/http/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TURN_NS = 100 * 1000 }; /* the shortest there is */

/* struct sched_attr of the kernel as it first was; libc does not have it. */
struct attributes {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns; /* a turn, when the policy is SCHED_OTHER */
    uint64_t deadline_ns;
    uint64_t period_ns;
};

void thread_prompt(void)
{
    struct attributes attributes = {.size = sizeof(attributes)};

    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) < 0 ||
        attributes.policy != SCHED_OTHER)
        return;
    attributes.runtime_ns = TURN_NS;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void thread_stand_back(int nice)
{
    setpriority(PRIO_PROCESS, 0, nice); /* Linux: of this thread alone */
}

/* confine_launch.h - what confine.c prepares for a child, and confine_child.c does in it.
 * Touches  nothing.
 * Never    included by others. */
#ifndef SLIPWAY_S2I_CONFINE_LAUNCH_H
#define SLIPWAY_S2I_CONFINE_LAUNCH_H

#include <linux/filter.h>
#include <signal.h>

#include "s2i/confine.h"

/* What failed; in memory that both see. */
struct confine_report {
    const char *volatile step;
    volatile int number;
};

struct confine_launch {
    const struct confinement *with;
    const char *program;
    int standard[3]; /* all above 2 */
    int kept[CONFINE_KEPT_MAX + 1];
    size_t kept_count; /* in order; the lifeline among them */
    int lifeline, ruleset;
    struct sock_fprog filter;
    sigset_t none;
    struct confine_report *report; /* of the child */
    struct confine_report told;    /* to the parent */
};

/* For clone; arg: the launch. Runs on its own stack in our memory, while the thread that started it
 * stands still. Ends by exec, or with 127 and a report. */
int confine_child(void *arg);

#endif

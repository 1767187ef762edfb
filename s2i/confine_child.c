/* confine_child.c - what a confined child does before it becomes a program: it gives up its rights.
 * Touches  itself, in the memory of the process that started it.
 * Never    runs code that could need a lock: only makes system calls. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "s2i/confine_launch.h"

enum {
    CALL_CLOSE_RANGE = 436,
    CALL_RESTRICT_SELF = 446,
    OPEN_FILES = 1024,
    SIGNALS = 64,
    SIGNAL_SET_SIZE = 8, /* the kernel's */
};

struct kernel_action {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    unsigned long mask;
};

/* What runs on the child's stack: sanitizers do not see that stack end. */
#define IN_CHILD __attribute__((no_sanitize_address, no_sanitize_thread))

IN_CHILD static int failed(struct confine_launch *launch, const char *step)
{
    launch->report->step = step;
    launch->report->number = errno;
    return -1;
}

/* Handlers of ours must not run on the shared memory once signals are let through. */
IN_CHILD static void reset_signals(void)
{
    struct kernel_action action = {0};

    for (int number = 1; number <= SIGNALS; number++)
        syscall(SYS_rt_sigaction, number, &action, NULL, SIGNAL_SET_SIZE);
}

IN_CHILD static int hold_lifeline(struct confine_launch *launch)
{
    struct f_owner_ex owner = {F_OWNER_PGRP, getpid()};
    struct pollfd gone = {.fd = launch->lifeline};

    if (fcntl(launch->lifeline, F_SETOWN_EX, &owner) < 0 ||
        fcntl(launch->lifeline, F_SETSIG, SIGKILL) < 0 ||
        fcntl(launch->lifeline, F_SETFL, O_NONBLOCK | O_ASYNC) < 0)
        return failed(launch, "lifeline");
    if (poll(&gone, 1, 0) != 0) /* it died before we held it */
        return failed(launch, "lifeline");
    return 0;
}

IN_CHILD static int limit(int resource, uint64_t value)
{
    struct rlimit both = {value, value};

    return setrlimit(resource, &both);
}

IN_CHILD static int put_limits(struct confine_launch *launch)
{
    const struct confinement *with = launch->with;

    if (limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NOFILE, OPEN_FILES) < 0 ||
        (with->file_size > 0 && limit(RLIMIT_FSIZE, with->file_size) < 0) ||
        (with->cpu_s > 0 && limit(RLIMIT_CPU, with->cpu_s) < 0))
        return failed(launch, "limits");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    if (with->memory > 0 && limit(RLIMIT_DATA, with->memory) < 0)
        return failed(launch, "limits");
#endif
    return 0;
}

IN_CHILD static void close_between(unsigned first, unsigned last)
{
    if (first > last || syscall(CALL_CLOSE_RANGE, first, last, 0) == 0)
        return;
    for (unsigned fd = first; fd <= last && fd < OPEN_FILES; fd++)
        close((int)fd); /* an old outer sandbox; what we open is close-on-exec anyway */
}

IN_CHILD static int put_descriptors(struct confine_launch *launch)
{
    unsigned next = 3;

    for (int fd = 0; fd < 3; fd++)
        if (dup2(launch->standard[fd], fd) < 0)
            return failed(launch, "descriptors");
    for (size_t i = 0; i < launch->kept_count; i++) {
        if (fcntl(launch->kept[i], F_SETFD, 0) < 0)
            return failed(launch, "descriptors");
        close_between(next, (unsigned)launch->kept[i] - 1);
        next = (unsigned)launch->kept[i] + 1;
    }
    close_between(next, ~0U);
    return 0;
}

IN_CHILD static int put_rules(struct confine_launch *launch)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed(launch, "no_new_privs");
    if (launch->ruleset >= 0 && syscall(CALL_RESTRICT_SELF, launch->ruleset, 0) < 0)
        return failed(launch, "landlock");
    return 0;
}

IN_CHILD int confine_child(void *arg)
{
    struct confine_launch *launch = arg;
    const struct confinement *with = launch->with;

    reset_signals();
    if (setsid() < 0) {
        failed(launch, "session");
        _exit(127);
    }
    if (hold_lifeline(launch) < 0 || put_rules(launch) < 0 || put_descriptors(launch) < 0 ||
        put_limits(launch) < 0)
        _exit(127);
    if (chdir(with->folder == NULL ? "/" : with->folder) < 0) {
        failed(launch, "folder");
        _exit(127);
    }
    sigprocmask(SIG_SETMASK, &launch->none, NULL);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &launch->filter, 0, 0) < 0) {
        failed(launch, "seccomp");
        _exit(127);
    }
    execve(launch->program, (char *const *)(uintptr_t)with->words,
           (char *const *)(uintptr_t)with->environment);
    failed(launch, "program");
    _exit(127);
}

#if defined(__SANITIZE_ADDRESS__)
/* The search for leaks stops a process by ptrace, which confined ones may not. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
}
#endif

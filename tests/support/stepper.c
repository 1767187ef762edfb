/* stepper.c - stops the next worker of a builder at its n-th system call: tests kill it there.
 * Touches  the builder and that worker, by ptrace.
 * Never    the worker's own children; what it was told not to stop.
 *
 *   stepper BUILDER N     says "ready" once it watches; then
 *                         "stopped PID CALL" and goes on when its input ends, or
 *                         "ended COUNT" when the worker made fewer calls than N */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    SYSTEM_CALL = SIGTRAP | 0x80,
    FORKS = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE
};

static int fail(const char *what)
{
    fprintf(stderr, "stepper: %s: %s\n", what, strerror(errno));
    return 1;
}

static void say(const char *word, long one, long two)
{
    printf("%s %ld %ld\n", word, one, two);
    fflush(stdout);
}

static void wait_for_end_of_input(void)
{
    char byte;

    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
}

/* The builder's first child from now on; 0 when it ended first. */
static pid_t next_child(pid_t builder)
{
    int status;

    for (;;) {
        if (waitpid(builder, &status, __WALL) < 0 || !WIFSTOPPED(status))
            return 0;
        int event = status >> 16, sign = WSTOPSIG(status);
        if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
            event == PTRACE_EVENT_CLONE) {
            unsigned long child = 0;
            ptrace(PTRACE_GETEVENTMSG, builder, NULL, &child);
            ptrace(PTRACE_DETACH, builder, NULL, NULL);
            return (pid_t)child;
        }
        ptrace(PTRACE_CONT, builder, NULL, (void *)(long)(event != 0 ? 0 : sign));
    }
}

/* The number of the call that is about to be made. */
static long call_of(pid_t pid)
{
    struct __ptrace_syscall_info info;

    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof(info), &info) < 0 ||
        info.op != PTRACE_SYSCALL_INFO_ENTRY)
        return -1;
    return (long)info.entry.nr;
}

/* True at the n-th call; false with *count when the worker ended. */
static bool walk(pid_t worker, long n, long *count, long *call)
{
    long sign = 0;
    int status;

    *count = 0;
    for (bool first = true;; first = false) {
        if (waitpid(worker, &status, __WALL) < 0 || !WIFSTOPPED(status))
            return false;
        if (first)
            ptrace(PTRACE_SETOPTIONS, worker, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD);
        bool at_call = WSTOPSIG(status) == SYSTEM_CALL;
        if (at_call && (*call = call_of(worker)) >= 0 && ++*count == n)
            return true;
        sign = at_call || status >> 16 != 0 || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        ptrace(PTRACE_SYSCALL, worker, NULL, (void *)sign);
    }
}

int main(int argc, char **argv)
{
    long count, call = -1;

    if (argc != 3)
        return 2;
    pid_t builder = (pid_t)strtol(argv[1], NULL, 10);
    if (ptrace(PTRACE_SEIZE, builder, NULL, (void *)(long)FORKS) < 0)
        return fail("the builder cannot be watched");
    say("ready", 0, 0);
    pid_t worker = next_child(builder);
    if (worker == 0)
        return fail("the builder ended");
    if (!walk(worker, strtol(argv[2], NULL, 10), &count, &call)) {
        say("ended", count, 0);
        return 0;
    }
    say("stopped", worker, call);
    wait_for_end_of_input();
    ptrace(PTRACE_DETACH, worker, NULL, NULL);
    return 0;
}

/* confine.h - children that read what strangers send: git, the source reader. They see a few
 * folders, no network unless they need it, and end with their parent. Touches  child processes.
 * Never    a shell; the server's own environment.
 *
 * By no_new_privs, resource limits, Landlock (where the kernel has it) and a seccomp filter; all
 * are put on between fork and exec. Without Landlock the rest still holds, and health says so. */
#ifndef SLIPWAY_S2I_CONFINE_H
#define SLIPWAY_S2I_CONFINE_H

#include <sys/types.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

struct confinement {
    const char *const *words;       /* argv; words[0] is an absolute path; ends in NULL */
    const char *const *environment; /* all of it; ends in NULL */
    const char *folder;             /* where it starts */
    const char *const *writable;    /* folders it may change; ends in NULL; may be NULL */
    const char *const *readable; /* beside /usr, /lib, /lib64, /bin, /sbin, /etc/ssl and the like */
    bool network;                /* sockets beside UNIX ones that it inherits */
    int input, output, errors;   /* become 0, 1, 2; -1: /dev/null */
    const int *kept;             /* further descriptors that stay open, by the same number */
    size_t kept_count;
    uint64_t memory, file_size; /* bytes; 0: no limit */
    uint64_t cpu_s;             /* 0: no limit */
};
/* A process group of its own, killed when the thread's process dies. *pidfd may be NULL. */
int confine_start(const struct confinement *with, pid_t *pid, int *pidfd,
                  struct error *err) MUST_CHECK;
/* Kills the whole group, and reaps. */
void confine_kill(pid_t pid);
/* Waits for its end; the status as of waitpid. Blocks. timeout_ms over: it is killed, -1. */
int confine_wait(pid_t pid, int pidfd, int timeout_ms, int *status, struct error *err) MUST_CHECK;

/* The path of this program, for children that run a part of it. */
const char *confine_self(void);
/* The program's path in the usual folders ("git"); NULL when it is not installed. */
const char *confine_program(const char *name);

#endif

/* confine.h - children that read what strangers send: git, the source reader. They see a few
 * folders, no network unless they need it, and end with their parent.
 * Touches  child processes.
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
    const char *const *words; /* argv; words[0] is an absolute path (NULL fails); ends in NULL */
    const char *const *environment; /* all of it; ends in NULL */
    const char *folder;             /* where it starts; NULL: the root folder */
    const char *const *writable;    /* folders it may change; ends in NULL; may be NULL */
    /* Folders and files beside /usr, /lib, /lib64, /bin, /sbin, /etc/ssl and the like; NULL. */
    const char *const *readable;
    bool network;              /* IPv4 and IPv6; else no socket can be made, inherited ones work */
    uint16_t port;             /* with network: the one TCP port it may reach (Linux 6.7); 0: any */
    int input, output, errors; /* become 0, 1, 2; -1: /dev/null */
    const int *kept;   /* further descriptors (above 2) that stay open, by the same number */
    size_t kept_count; /* at most CONFINE_KEPT_MAX */
    uint64_t memory, file_size; /* bytes; 0: no limit. memory: of each process, what it writes */
    uint64_t cpu_s;             /* of each process; 0: no limit */
};

enum { CONFINE_KEPT_MAX = 16 };

/* A session and process group of its own, which nothing in it can leave; the kernel kills all of it
 * when this process dies, however it dies and whichever thread started it. *pidfd may be NULL.
 * UNAVAILABLE  no process, no such program, or a rule that cannot be put on */
int confine_start(const struct confinement *with, pid_t *pid, int *pidfd,
                  struct error *err) MUST_CHECK;
/* Kills the whole group, and reaps. */
void confine_kill(pid_t pid);
/* Waits for its end, kills what is left of the group, and reaps; the status as of waitpid. pidfd -1
 * is found by itself. timeout_ms -1: as long as it takes; when it is over, all are killed: -1.
 * UNAVAILABLE */
int confine_wait(pid_t pid, int pidfd, int timeout_ms, int *status, struct error *err) MUST_CHECK;

/* What is missing on this kernel, as a sentence for health; "" when nothing is. */
const char *confine_weakness(void);

/* The path of this program, for children that run a part of it. */
const char *confine_self(void);
/* The program's path in the usual folders ("git"); NULL when it is not installed. */
const char *confine_program(const char *name);

#endif

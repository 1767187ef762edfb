/* machine.c - what this machine lets a builder do: found out by doing it.
 * Touches  a child process that tries a container; the runtime; namespaces.
 * Never    leaves anything behind: what is tried dies with its namespaces.
 *
 * A container is begun whose only file does not exist: a runtime that complains of just that has
 * made everything else. Spec: s2i 16.3, 16.4 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/builder/builder_internal.h"

enum { ANSWER_MAX = 4096, TRY_DISK = 16 << 20, TRY_MS = 20 * 1000 };

/* --- namespaces --- */

static int put(const char *path, const char *text)
{
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd < 0 ? -1 : fd_write(fd, slice_of(text));
}

int machine_enter_user(struct error *err)
{
    char uid_map[64], gid_map[64];

    snprintf(uid_map, sizeof(uid_map), "0 %u 1", geteuid());
    snprintf(gid_map, sizeof(gid_map), "0 %u 1", getegid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no user namespace: %s",
                               strerror(errno));
    if (put("/proc/self/setgroups", "deny") < 0 || put("/proc/self/uid_map", uid_map) < 0 ||
        put("/proc/self/gid_map", gid_map) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "the user namespace takes no id map: %s", strerror(errno));
    return 0;
}

/* What a parent that ended before prctl would not have told. */
static bool parent_lives(int parent)
{
    struct pollfd one = {.fd = parent, .events = POLLIN};

    return poll(&one, 1, 0) == 0;
}

pid_t machine_fork(void)
{
    int parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
    pid_t pid =
        (pid_t)syscall(SYS_clone, CLONE_NEWPID | CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL);
    int number = errno;

    if (pid == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || !parent_lives(parent) ||
            mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            _exit(1);
    }
    if (parent >= 0)
        close(parent);
    errno = number;
    return pid;
}

/* --- the runtime --- */

static bool find_program(const char *name, char *out, size_t capacity)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin",        "/sbin",          "/bin"};

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        if (snprintf(out, capacity, "%s/%s", folders[i], name) < (int)capacity &&
            access(out, X_OK) == 0)
            return true;
    return false;
}

/* --- trying --- */

static int try_container(struct work *work, struct error *err)
{
    OWNED(root_drop) struct root root = ROOT_NONE;
    static const char *const words[] = {"/slipway-probe", NULL};
    static const struct s2i_list environment = {0};
    const struct run run = {.root = &root,
                            .words = words,
                            .environment = &environment,
                            .folder = "/",
                            .network_namespace = -1,
                            .output = -1,
                            .reason = "",
                            .name = ""};
    const struct s2i_image image = {.config = (char *)(uintptr_t) "{}"};

    work->started_ms = clock_monotonic_ms();
    work->spec.limits = (struct s2i_limits){
        .disk = TRY_DISK, .timeout_ms = TRY_MS, .memory = TRY_DISK * 8, .processes = 64};
    if (scratch_open(work, err) < 0 || root_open(work, "builder", &image, &root, err) < 0)
        return -1;
    return run_container(work, &run, err);
}

/* In the child; what it says goes into the pipe: "" when all is well. */
static void try_here(struct worker_setup *setup, int answer)
{
    struct error err = {0};
    struct work work = {.setup = *setup, .folder = -1, .source = -1, .disk = -1};
    int pair[2] = {-1, -1};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        _exit(1);
    work.channel = pair[0];
    work.gone = true; /* nobody reads the log */
    work.probing = true;
    if (work_begin(&work, &err) == 0 && try_container(&work, &err) < 0 &&
        strstr(err.message, "slipway-probe") != NULL)
        error_clear(&err);
    struct slice said = slice_of(err.message);
    if (fd_write(answer, said) < 0)
        _exit(1);
    if (err.cause[0] != 0 &&
        (fd_write(answer, SLICE(": ")) < 0 || fd_write(answer, slice_of(err.cause)) < 0))
        _exit(1);
    _exit(0);
}

/* A level that needs a user namespace of ours is tried in one that ends with the child. */
static void try_level(struct worker_setup *setup, int answer)
{
    struct error err = {0};
    int status = 1;

    if (!setup->root && machine_enter_user(&err) < 0) {
        _exit(fd_write(answer, slice_of(err.message)) < 0);
    }
    pid_t pid = machine_fork();
    if (pid == 0)
        try_here(setup, answer);
    if (pid < 0)
        _exit(fd_write(answer, SLICE("no pid namespace")) < 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status != 0 && fd_write(answer, SLICE("the test of a container ended early")) < 0)
        _exit(1);
    _exit(0);
}

/* True: it works. problem: why not. */
static bool attempt(struct worker_setup *setup, char *problem, size_t capacity)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    int answer[2], status;

    snprintf(problem, capacity, "no process for a test");
    if (pipe2(answer, O_CLOEXEC) < 0)
        return false;
    pid_t pid = fork();
    if (pid == 0)
        try_level(setup, answer[1]);
    close(answer[1]);
    bool heard = pid > 0 && fd_read(answer[0], ANSWER_MAX, &text) == 0;
    close(answer[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (!heard)
        return false;
    snprintf(problem, capacity, "%.*s", SLICE_ARG(buffer_slice(&text)));
    return text.size == 0;
}

/* Groups that stay for a look are an option not every runtime has: what it says without is why. */
static bool attempt_both(struct worker_setup *setup, char *problem, size_t capacity)
{
    setup->keeps = true;
    if (attempt(setup, problem, capacity))
        return true;
    setup->keeps = false;
    return attempt(setup, problem, capacity);
}

static bool attempt_levels(struct worker_setup *setup, struct builder_level *out)
{
    char problem[sizeof(out->problem)] = "";

    if (geteuid() == 0) {
        setup->root = true;
        if (attempt_both(setup, out->problem, sizeof(out->problem)))
            return true;
    }
    setup->root = false;
    if (attempt_both(setup, problem, sizeof(problem)))
        return true;
    if (out->problem[0] == 0)
        snprintf(out->problem, sizeof(out->problem), "%s", problem);
    return false;
}

static bool attempt_runtime(struct worker_setup *setup, const char *runtime,
                            struct builder_level *out)
{
    free(setup->runtime);
    setup->runtime = memory_text(slice_of(runtime));
    snprintf(out->runtime, sizeof(out->runtime), "%s", runtime);
    if (!attempt_levels(setup, out))
        return false;
    snprintf(out->level, sizeof(out->level), "%s", setup->root ? "root" : "user");
    out->problem[0] = 0;
    return true;
}

void machine_probe(struct worker_setup *setup, const char *runtime, struct builder_level *out)
{
    static const char *const known[] = {"runc", "crun"};
    char path[256];
    bool any = false;

    *out = (struct builder_level){0};
    out->memory_limit = setup->groups.memory;
    out->process_limit = setup->groups.pids;
    out->cpu_limit = setup->groups.cpu;
    out->disk_limit = true;
    if (runtime != NULL && runtime[0] != 0) {
        attempt_runtime(setup, runtime, out);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        if (!find_program(known[i], path, sizeof(path)))
            continue;
        any = true;
        if (attempt_runtime(setup, path, out))
            return;
    }
    if (!any)
        snprintf(out->problem, sizeof(out->problem), "there is no OCI runtime: install runc");
}

/* confine.c - starts, waits for and ends confined children; see confine.h.
 * Touches  child processes, one pipe of this process that is never written to.
 * Never    runs anything of the child: confine_child.c does.
 *
 * The lifeline: this process holds the writing end of a pipe. Each child has a reading end of its
 * own, told to send SIGKILL to the child's group when it becomes readable, which is when the last
 * writing end is closed: when this process is gone. The kernel does it; nobody has to run. */
#include "s2i/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/confine_launch.h"
#include "s2i/confine_rules.h"

enum {
    STACK_SIZE = 128 * 1024,
    CALL_PIDFD_OPEN = 434,
};

/* --- what is the same for all children of this process --- */

static struct {
    pthread_once_t once;
    int lifeline[2]; /* never closed */
    char self[4096];
} process = {.once = PTHREAD_ONCE_INIT, .lifeline = {-1, -1}};

static void process_find(void)
{
    ssize_t size = readlink("/proc/self/exe", process.self, sizeof(process.self) - 1);

    process.self[size > 0 ? size : 0] = '\0';
    if (pipe2(process.lifeline, O_CLOEXEC) < 0)
        process.lifeline[0] = -1;
}

/* A reading end that has its own flags and owner. */
static int lifeline_open(struct error *err)
{
    char path[32];
    int fd = -1;

    pthread_once(&process.once, process_find);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", process.lifeline[0]);
    if (process.lifeline[0] >= 0)
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && fd < 3) { /* the child's own three go there */
        int low = fd;
        fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
        close(low);
    }
    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "a program's life cannot be bound to the server's");
    return fd;
}

/* --- in the parent --- */

/* The thread sanitizer does not know of threads it did not see begin: there the memory is copied.
 */
#if defined(__SANITIZE_THREAD__)
enum { SHARED_MEMORY = 0 };
#else
enum { SHARED_MEMORY = CLONE_VM };
#endif

static int compare_int(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* A descriptor above 2 for each of the three, so that none is overwritten before it is moved. */
static int take_standard(const struct confinement *with, int out[3], struct error *err)
{
    const int given[3] = {with->input, with->output, with->errors};

    for (int i = 0; i < 3; i++) {
        if (given[i] >= 0)
            out[i] = fcntl(given[i], F_DUPFD_CLOEXEC, 3);
        else {
            OWNED(fd_drop) int null = open("/dev/null", O_RDWR | O_CLOEXEC);
            out[i] = null < 0 ? -1 : fcntl(null, F_DUPFD_CLOEXEC, 3);
        }
        if (out[i] < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                                   "a program's descriptors cannot be prepared");
    }
    return 0;
}

static void launch_drop(struct confine_launch *launch)
{
    for (int i = 0; i < 3; i++)
        fd_drop(&launch->standard[i]);
    fd_drop(&launch->lifeline);
    fd_drop(&launch->ruleset);
}

static int prepare(struct confine_launch *launch, struct sock_filter *filter, struct error *err)
{
    const struct confinement *with = launch->with;

    assert(with->kept_count <= CONFINE_KEPT_MAX);
    if (with->words[0] == NULL || with->words[0][0] != '/')
        return error_set(err, ERROR_UNAVAILABLE, "a program that is needed is not installed");
    /* Ourselves as we run, also when another version stands at our path by now. */
    launch->program =
        strcmp(with->words[0], confine_self()) == 0 ? "/proc/self/exe" : with->words[0];
    launch->lifeline = lifeline_open(err);
    if (launch->lifeline < 0 || take_standard(with, launch->standard, err) < 0 ||
        confine_landlock(with, &launch->ruleset, err) < 0)
        return -1;
    launch->filter =
        (struct sock_fprog){(unsigned short)confine_filter(with->network, filter), filter};
    for (size_t i = 0; i < with->kept_count; i++) {
        assert(with->kept[i] > 2);
        launch->kept[launch->kept_count++] = with->kept[i];
    }
    launch->kept[launch->kept_count++] = launch->lifeline;
    qsort(launch->kept, launch->kept_count, sizeof(int), compare_int);
    sigemptyset(&launch->none);
    return 0;
}

/* Signals are held back until the child has let go of our memory. */
static pid_t run(struct confine_launch *launch, int *pidfd)
{
    void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    sigset_t all, before;
    pid_t pid;

    if (stack == MAP_FAILED)
        return -1;
    launch->report = stack; /* at its far end */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = clone(confine_child, (char *)stack + STACK_SIZE,
                SHARED_MEMORY | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, launch, pidfd);
    int number = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    launch->told = *launch->report;
    munmap(stack, STACK_SIZE);
    errno = number;
    return pid;
}

int confine_start(const struct confinement *with, pid_t *pid, int *pidfd, struct error *err)
{
    struct sock_filter filter[CONFINE_FILTER_MAX];
    OWNED(launch_drop)
    struct confine_launch launch = {
        .with = with, .standard = {-1, -1, -1}, .lifeline = -1, .ruleset = -1};
    OWNED(fd_drop) int handle = -1;
    pid_t child;

    if (prepare(&launch, filter, err) < 0)
        return -1;
    child = run(&launch, &handle);
    if (child < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a program cannot be started");
    if (launch.told.step != NULL) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
        error_set_errno(err, ERROR_UNAVAILABLE, launch.told.number, "a program cannot be started");
        return error_set_cause(err, "%s of %s: %s", launch.told.step, with->words[0],
                               strerrordesc_np(launch.told.number));
    }
    *pid = child;
    if (pidfd != NULL)
        *pidfd = fd_take(&handle);
    return 0;
}

/* The leader has ended but is not reaped, so its number cannot be another's yet. Members of the
 * group whose parents are gone become ours where we are the first process of a container. */
static void reap(pid_t pid, int *status)
{
    siginfo_t ended;

    while (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    kill(-pid, SIGKILL);
    while (waitpid(pid, status, 0) < 0 && errno == EINTR)
        ;
    while (waitpid(-pid, NULL, 0) > 0 || errno == EINTR)
        ;
}

void confine_kill(pid_t pid)
{
    int status;

    kill(-pid, SIGKILL);
    reap(pid, &status);
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* 1: it has ended; 0: the time is over. */
static int wait_ended(int pidfd, int timeout_ms)
{
    int64_t end = now_ms() + timeout_ms;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};

    for (;;) {
        int64_t left = end - now_ms();
        int ready = poll(&ended, 1, timeout_ms < 0 ? -1 : left > 0 ? (int)left : 0);
        if (ready >= 0)
            return ready;
        if (errno != EINTR)
            return 1; /* waiting itself finds out */
    }
}

int confine_wait(pid_t pid, int pidfd, int timeout_ms, int *status, struct error *err)
{
    bool bounded = timeout_ms >= 0;
    OWNED(fd_drop) int own = bounded && pidfd < 0 ? (int)syscall(CALL_PIDFD_OPEN, pid, 0) : -1;
    int watched = pidfd < 0 ? own : pidfd;

    if (bounded && (watched < 0 || wait_ended(watched, timeout_ms) == 0)) {
        confine_kill(pid);
        return error_set(err, ERROR_UNAVAILABLE, "a program took longer than it may");
    }
    reap(pid, status);
    return 0;
}

const char *confine_weakness(void)
{
    return confine_landlock_version() > 0
               ? ""
               : "the kernel has no Landlock: programs that read sources see the server's files";
}

const char *confine_self(void)
{
    pthread_once(&process.once, process_find);
    return process.self;
}

#define IN_FOLDERS(name) "/usr/bin/" name, "/bin/" name, "/usr/local/bin/" name

static const char *const programs[] = {IN_FOLDERS("git"), IN_FOLDERS("gzip"), IN_FOLDERS("ssh"),
                                       IN_FOLDERS("runc")};

const char *confine_program(const char *name)
{
    for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
        if (strcmp(strrchr(programs[i], '/') + 1, name) == 0 && access(programs[i], X_OK) == 0)
            return programs[i];
    return NULL;
}

/* run.c - one container from its start to the death of its last process.
 * Touches  the runtime as a child process; the build's log.
 * Never    returns while a process of the container lives (6.6).
 *
 *   STARTED --exit--> ENDED      STARTED --limit--> KILLED      STARTED --cancel--> ASKED --10 s-->
 *   KILLED
 *
 * The worker is the first process of its pid namespace: a signal to everybody (-1) reaches the
 * runtime, the container and nobody else. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "s2i/builder/builder_internal.h"

enum {
    TICK_MS = 100,
    GRACE_MS = 10 * 1000, /* from SIGTERM to SIGKILL (13.44) */
    PIECE = 32 * 1024,
    ROUNDS = 64, /* pieces read from a pipe in one turn: a flood does not hide time */
    RUNTIME_LOG_MAX = 64 * 1024,
    STATUS_MAX = 16 * 1024,
};

#define RUNTIME_LOG DESK "/r/log"

enum stop { STOP_NOT, STOP_TIME, STOP_SILENCE, STOP_CANCEL, STOP_GONE };

struct watch {
    struct work *work;
    const struct run *run;
    pid_t pid;
    int pidfd, out, err; /* out, err: pipes to read; -1 when closed */
    enum stop stop;
    uint64_t spoke_ms, kill_ms; /* kill_ms 0: nothing is to be killed */
    off_t output_size;
    bool disk_full, ended;
    int status;
};

static void watch_drop(struct watch *watch)
{
    fd_drop(&watch->pidfd);
    fd_drop(&watch->out);
    fd_drop(&watch->err);
}

/* --- starting --- */

/* The container's user may open /dev/stdout again: the pipe is his. */
static int open_pipe(const struct work *work, const struct run *run, int *read_end, int *write_end)
{
    int both[2];

    if (pipe2(both, O_CLOEXEC) < 0)
        return -1;
    *read_end = both[0];
    *write_end = both[1];
    if (work->setup.root &&
        fchown(both[1], work->ids.base + run->user.uid, work->ids.base + run->user.gid) < 0)
        return -1;
    return fcntl(both[0], F_SETFL, O_NONBLOCK);
}

int run_spawn(const struct work *work, const int fds[3], pid_t *pid)
{
    static const char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
    char *words[20], *const environment[] = {(char *)(uintptr_t)path, NULL};
    static const char state[] = DESK "/r/state", log[] = RUNTIME_LOG, bundle[] = DESK "/b";
    const char *wanted[] = {work->setup.runtime,
                            "--root",
                            state,
                            "--log",
                            log,
                            "--log-format",
                            "json",
                            "--rootless",
                            work->setup.root ? "false" : "true",
                            "run",
                            "--bundle",
                            bundle,
                            work->setup.keeps ? "--keep" : work->cgroup, /* before the name */
                            work->setup.keeps ? work->cgroup : NULL,
                            NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        words[i] = (char *)(uintptr_t)wanted[i];
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    if (fds[0] < 0)
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    for (int i = fds[0] < 0 ? 1 : 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&files, fds[i], i);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int failed = posix_spawn(pid, work->setup.runtime, &files, &attributes, words, environment);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    errno = failed;
    return failed == 0 ? 0 : -1;
}

static int spawn_runtime(struct watch *watch, int out, int err_fd)
{
    const int fds[3] = {-1, out, err_fd};

    return run_spawn(watch->work, fds, &watch->pid);
}

static int start(struct watch *watch, struct error *err)
{
    OWNED(fd_drop) int out = -1;
    OWNED(fd_drop) int errors = -1;

    unlink(RUNTIME_LOG);
    if (open_pipe(watch->work, watch->run, &watch->out, &out) < 0 ||
        open_pipe(watch->work, watch->run, &watch->err, &errors) < 0 ||
        spawn_runtime(watch, watch->run->output >= 0 ? watch->run->output : out, errors) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the runtime %s cannot be started",
                               watch->work->setup.runtime);
    watch->pidfd = (int)syscall(SYS_pidfd_open, watch->pid, 0);
    if (watch->pidfd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the runtime cannot be watched");
    return 0;
}

/* --- its output --- */

/* What is there now goes into the log; a pipe at its end is closed. */
static void read_pipe(struct watch *watch, int *fd, enum log_stream stream)
{
    char piece[PIECE];

    for (int i = 0; *fd >= 0 && i < ROUNDS; i++) {
        ssize_t got = read(*fd, piece, sizeof(piece));
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) {
            fd_drop(fd);
            return;
        }
        watch->spoke_ms = clock_monotonic_ms();
        work_log(watch->work, stream, (struct slice){piece, (size_t)got});
    }
}

/* --- ending --- */

/* The value of a line "Name:\t..." of /proc/<pid>/status. */
static struct slice status_line(struct slice text, const char *name)
{
    struct slice line;

    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        if (slice_starts(line, name))
            return slice_trim(slice_from(line, strlen(name)));
    }
    return SLICE("");
}

/* Bit of SIGTERM in a mask of 16 hex digits. */
static bool has_term(struct slice mask)
{
    uint8_t bytes[8];

    return hex_decode(mask, bytes, sizeof(bytes)) &&
           (bytes[(64 - SIGTERM) / 8] >> (SIGTERM - 1) % 8 & 1) != 0;
}

/* The kernel keeps SIGTERM from the first process of a container unless it asked for it; any other
 * process would end by it, so this one does. */
static void end_first(const char *pid)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%.16s/status", pid);
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fd_read(fd, STATUS_MAX, &text) < 0)
        return;
    struct slice ids = status_line(buffer_slice(&text), "NSpid:");
    if (!slice_ends(ids, "\t1") || has_term(status_line(buffer_slice(&text), "SigCgt:")) ||
        has_term(status_line(buffer_slice(&text), "SigIgn:")))
        return;
    kill((pid_t)strtol(pid, NULL, 10), SIGKILL);
}

static void ask_to_end(void)
{
    OWNED(folder_drop) DIR *open = opendir("/proc");

    kill(-1, SIGTERM);
    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            end_first(entry->d_name);
}

static void stop(struct watch *watch, enum stop why)
{
    if (watch->stop != STOP_NOT)
        return;
    watch->stop = why;
    watch->kill_ms = clock_monotonic_ms() + (why == STOP_CANCEL ? GRACE_MS : 0);
    if (why == STOP_CANCEL)
        ask_to_end();
}

/* --- watching --- */

static void look_at_output(struct watch *watch)
{
    struct stat about;

    if (watch->run->output < 0 || fstat(watch->run->output, &about) < 0 ||
        about.st_size == watch->output_size)
        return;
    watch->output_size = about.st_size;
    watch->spoke_ms = clock_monotonic_ms();
}

static void look_at_limits(struct watch *watch)
{
    struct work *work = watch->work;
    const struct s2i_limits *limits = &work->spec.limits;
    uint64_t now = clock_monotonic_ms();

    look_at_output(watch);
    watch->disk_full = watch->disk_full || scratch_full();
    if (work->gone && !work->probing)
        stop(watch, STOP_GONE);
    if (work->cancel[0] != 0)
        stop(watch, STOP_CANCEL);
    if (limits->timeout_ms > 0 && now - work->started_ms >= limits->timeout_ms)
        stop(watch, STOP_TIME);
    if (limits->silence_ms > 0 && now - watch->spoke_ms >= limits->silence_ms)
        stop(watch, STOP_SILENCE);
    if (watch->kill_ms != 0 && now >= watch->kill_ms)
        kill(-1, SIGKILL);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Until the next limit; the disk and a file of output are looked at now and then. */
static int next_look(const struct watch *watch)
{
    const struct s2i_limits *limits = &watch->work->spec.limits;
    uint64_t now = clock_monotonic_ms(), at = now + TICK_MS;

    if (limits->timeout_ms > 0)
        at = earlier(at, watch->work->started_ms + limits->timeout_ms);
    if (limits->silence_ms > 0)
        at = earlier(at, watch->spoke_ms + limits->silence_ms);
    return at > now ? (int)(at - now) : 0;
}

static void watch_once(struct watch *watch)
{
    struct pollfd polled[] = {
        {.fd = watch->out, .events = POLLIN},
        {.fd = watch->err, .events = POLLIN},
        {.fd = watch->pidfd, .events = POLLIN},
        {.fd = watch->work->gone ? -1 : watch->work->channel, .events = POLLIN}};

    poll(polled, 4, next_look(watch));
    read_pipe(watch, &watch->out, LOG_OUT);
    read_pipe(watch, &watch->err, LOG_ERR);
    if (polled[3].revents != 0)
        work_listen(watch->work);
    look_at_limits(watch);
    if (polled[2].revents != 0 && waitpid(watch->pid, &watch->status, WNOHANG) == watch->pid)
        watch->ended = true;
}

/* The runtime ended: what it left behind dies, then the pipes are at their ends. */
static void end_all(struct watch *watch)
{
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    while (watch->out >= 0 || watch->err >= 0) {
        read_pipe(watch, &watch->out, LOG_OUT);
        read_pipe(watch, &watch->err, LOG_ERR);
    }
    watch->disk_full = watch->disk_full || scratch_full();
}

/* --- what it was --- */

/* The last error of the runtime: "runc run failed: ...". */
static bool runtime_failed(struct buffer *out)
{
    OWNED(fd_drop) int fd = open(RUNTIME_LOG, O_RDONLY | O_CLOEXEC);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, line;

    if (fd < 0 || fd_read(fd, RUNTIME_LOG_MAX, &text) < 0)
        return false;
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        json_t *object = json_loadb(line.at == NULL ? "" : line.at, line.size, 0, NULL);
        const char *level = json_string_value(json_object_get(object, "level"));
        const char *message = json_string_value(json_object_get(object, "msg"));
        if (level != NULL && message != NULL && strcmp(level, "error") == 0) {
            out->size = 0;
            buffer_append_text(out, message);
        }
        json_decref(object);
    }
    return out->size > 0;
}

static int stopped(struct watch *watch, struct error *err)
{
    struct work *work = watch->work;
    const struct s2i_limits *limits = &work->spec.limits;

    if (watch->stop == STOP_SILENCE)
        return work_fail(work, "BuildTimeout", err, "the script said nothing for %llu s",
                         (unsigned long long)(limits->silence_ms / 1000));
    return work_over(work, err);
}

/* Which limit was behind a failure (16.6). */
static int failed(struct watch *watch, int code, const struct cgroup_events *events,
                  struct error *err)
{
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    struct work *work = watch->work;
    const struct s2i_limits *limits = &work->spec.limits;

    work->result.exit_code = code;
    if (events->memory_kills > 0)
        return work_fail(work, "OutOfMemoryKilled", err,
                         "a process was killed at the limit of %llu MiB of memory",
                         (unsigned long long)(limits->memory >> 20));
    if (watch->disk_full)
        return work_fail(work, "DiskLimit", err, "the build wrote the %llu MiB that it may",
                         (unsigned long long)(limits->disk >> 20));
    if (events->process_refusals > 0)
        return work_fail(work, "ProcessLimit", err, "the build started the %llu processes it may",
                         (unsigned long long)limits->processes);
    if (!runtime_failed(&said))
        return work_fail(work, watch->run->reason, err, "non-zero (%d) exit code from %s", code,
                         watch->run->name);
    work->result.exit_code = -1;
    bool script = memmem(said.at, said.size, "exec", sizeof("exec") - 1) != NULL;
    return work_fail(work, script ? watch->run->reason : "ExecutorUnavailable", err, "%.*s",
                     SLICE_ARG(buffer_slice(&said)));
}

static int judge(struct watch *watch, struct error *err)
{
    struct cgroup_events events;
    int code =
        WIFEXITED(watch->status) ? WEXITSTATUS(watch->status) : 128 + WTERMSIG(watch->status);

    cgroup_events(&watch->work->setup.groups, watch->work->cgroup, &events);
    cgroup_sweep(&watch->work->setup.groups, watch->work->cgroup);
    if (watch->stop != STOP_NOT)
        return stopped(watch, err);
    if (code != 0)
        return failed(watch, code, &events, err);
    if (events.memory_kills > 0)
        work_warn(watch->work, "a process was killed at the limit of memory, and the script went "
                               "on");
    return 0;
}

int run_container(struct work *work, const struct run *run, struct error *err)
{
    OWNED(watch_drop)
    struct watch watch = {.work = work,
                          .run = run,
                          .pidfd = -1,
                          .out = -1,
                          .err = -1,
                          .spoke_ms = clock_monotonic_ms()};

    assert(getpid() == 1); /* or signals to everybody would reach the machine */
    snprintf(work->cgroup, sizeof(work->cgroup), "%s.%u", work->setup.cgroup, ++work->containers);
    cgroup_make(&work->setup.groups, work->cgroup);
    if (bundle_write(work, run, err) < 0)
        return -1;
    if (start(&watch, err) < 0) {
        end_all(&watch); /* it may run, and only watching it failed */
        return -1;
    }
    while (!watch.ended)
        watch_once(&watch);
    end_all(&watch);
    return judge(&watch, err);
}

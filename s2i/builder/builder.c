/* builder.c - the builder's main process: it hands builds to workers.
 * Touches  the control connection, its folder's lock, child processes.
 * Never    reads what a build brings: that is its worker's.
 *
 *   CONNECTED --build--> a worker      CONNECTED --end--> (none) | WAITING --time--> CONNECTED
 *
 * (1) One builder a folder: it holds the lock, so what stands there at its start is of the dead
 *     (16.14). (2) A worker ends with this process, and its control groups are removed after it. */
#include "s2i/builder/builder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "s2i/builder/kept.h"

enum {
    ID_BASE = 1000000000,
    FIRST_WAIT_MS = 100, /* between two tries to connect; doubled */
    LAST_WAIT_MS = 10 * 1000,
    SWEEP_MAX_S = 600,  /* what is kept is looked at so often */
    WORKERS_FACTOR = 4, /* workers that tidy up stand beside those that build */
};

struct worker {
    struct worker *next;
    pid_t pid;
    char cgroup[64];
};

struct builder {
    const struct builder_options *options;
    struct worker_setup setup;
    struct builder_level level;
    struct worker *workers;
    unsigned worker_count, builds;
    char prefix[40]; /* of our control groups */
    int folder, lock, signals, connection;
    int64_t next_sweep; /* of what is kept, in seconds since 1970; 0: there is none */
    bool lost;          /* a connection, at least once */
    bool ended;
};

/* --- the folder --- */

static int make_folder(int folder, const char *name)
{
    return mkdirat(folder, name, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

static int open_folder(struct builder *builder, struct error *err)
{
    const char *path = builder->options->folder;
    struct stat about;

    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be made", path);
    builder->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (builder->folder < 0 || fstat(builder->folder, &about) < 0 ||
        make_folder(builder->folder, "layers") < 0 ||
        make_folder(builder->folder, "layers-user") < 0 ||
        make_folder(builder->folder, "caches") < 0 || make_folder(builder->folder, "kept") < 0 ||
        make_folder(builder->folder, "templates") < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s cannot be used", path);
    builder->lock = openat(builder->folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (builder->lock < 0 || flock(builder->lock, LOCK_EX | LOCK_NB) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s is another builder's", path);
    snprintf(builder->prefix, sizeof(builder->prefix), "slipway-%llx-%llx-",
             (unsigned long long)about.st_dev, (unsigned long long)about.st_ino);
    return 0;
}

static void sweep_layers(const struct builder *builder, bool all)
{
    static const char *const names[] = {"layers", "layers-user"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        OWNED(fd_drop)
        int layers = openat(builder->folder, names[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (layers >= 0)
            layers_sweep(layers, all);
    }
}

/* What failed builds wrote, until its time is over. A worker that sweeps holds up nobody here. */
static void sweep_kept(struct builder *builder, bool halves)
{
    OWNED(fd_drop) int kept = openat(builder->folder, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    builder->next_sweep =
        kept < 0 ? 0 : kept_sweep(kept, builder->options->cache_max, halves, false);
}

/* Halves of dead workers. */
static void sweep_templates(const struct builder *builder)
{
    OWNED(folder_drop) DIR *open = folder_open(builder->folder, "templates");

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;)
        if (strchr(entry->d_name, '.') != NULL)
            unlinkat(dirfd(open), entry->d_name, 0);
}

/* (1) */
static void sweep(struct builder *builder)
{
    cgroup_sweep(&builder->setup.groups, builder->prefix);
    sweep_kept(builder, true);
    sweep_layers(builder, true);
    sweep_templates(builder);
}

/* --- workers --- */

static void become_worker(const struct builder *builder, int channel)
{
    OWNED(memory_drop) char *setup = worker_setup_write(&builder->setup);
    OWNED(buffer_drop) struct buffer variable = BUFFER_NONE;
    char *const words[] = {(char *)(uintptr_t) "slipway", (char *)(uintptr_t) "builder-worker",
                           NULL};
    sigset_t none;

    buffer_print(&variable, WORKER_SETUP "=%s", setup);
    buffer_append(&variable, "", 1);
    char *const environment[] = {
        (char *)(uintptr_t) "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        (char *)(uintptr_t) "LC_ALL=C.UTF-8", variable.at, NULL};
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* channel may be 3 already: dup2 would then leave it to be closed. */
    int moved = fcntl(channel, F_DUPFD, WORKER_CHANNEL + 1);
    if (moved < 0 || dup2(moved, WORKER_CHANNEL) < 0 || close_range(WORKER_CHANNEL + 1, ~0U, 0) < 0)
        _exit(1);
    execve("/proc/self/exe", words, environment);
    _exit(1);
}

static bool is_full(const struct builder *builder)
{
    return builder->worker_count >= WORKERS_FACTOR * builder->options->slots;
}

static void start_worker(struct builder *builder, int channel)
{
    struct worker *worker;

    if (builder->level.level[0] == 0 || is_full(builder))
        return;
    worker = memory_new(sizeof(*worker));
    snprintf(worker->cgroup, sizeof(worker->cgroup), "%s%u", builder->prefix, ++builder->builds);
    free(builder->setup.cgroup);
    builder->setup.cgroup = memory_text(slice_of(worker->cgroup));
    worker->pid = machine_fork();
    if (worker->pid == 0)
        become_worker(builder, channel);
    if (worker->pid < 0) {
        log_event(LOG_ERROR, "worker.refused", F_TEXT("reason", strerror(errno)));
        free(worker);
        return;
    }
    worker->next = builder->workers;
    builder->workers = worker;
    builder->worker_count++;
}

/* (2) */
static void worker_ended(struct builder *builder, pid_t pid)
{
    char prefix[72];

    for (struct worker **at = &builder->workers; *at != NULL; at = &(*at)->next) {
        struct worker *worker = *at;
        if (worker->pid != pid)
            continue;
        *at = worker->next;
        builder->worker_count--;
        snprintf(prefix, sizeof(prefix), "%s.", worker->cgroup);
        cgroup_sweep(&builder->setup.groups, prefix);
        free(worker);
        return;
    }
}

static void reap(struct builder *builder)
{
    bool killed = false, ended = false;
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        worker_ended(builder, pid);
        killed = killed || WIFSIGNALED(status);
        ended = true;
    }
    if (killed)
        sweep_layers(builder, builder->workers == NULL);
    if (ended) /* it may have left something; a half of it nobody else is making */
        sweep_kept(builder, builder->workers == NULL);
}

static void end_workers(struct builder *builder)
{
    for (const struct worker *worker = builder->workers; worker != NULL; worker = worker->next)
        kill(worker->pid, SIGKILL);
    while (builder->workers != NULL) {
        pid_t pid = waitpid(-1, NULL, 0);
        if (pid > 0)
            worker_ended(builder, pid);
        else if (errno != EINTR)
            return;
    }
}

/* --- the connection --- */

static int say_hello(struct builder *builder, struct error *err)
{
    const struct builder_level *level = &builder->level;
    json_t *hello =
        json_pack("{s:i, s:s, s:i, s:s, s:s, s:s, s:{s:b, s:b, s:b, s:b}}", "version", 1, "level",
                  level->level, "slots", (int)builder->options->slots, "platform", MACHINE_PLATFORM,
                  "problem", level->problem, "runtime", level->runtime, "limits", "memory",
                  (int)level->memory_limit, "processes", (int)level->process_limit, "cpu",
                  (int)level->cpu_limit, "disk", (int)level->disk_limit);
    OWNED(memory_drop) char *text = json_dumps(hello, JSON_COMPACT);

    json_decref(hello);
    if (text == NULL)
        return error_set(err, ERROR_INTERNAL, "the builder's words are not UTF-8");
    return wire_send(builder->connection, WIRE_HELLO, slice_of(text), -1, err);
}

static int connect_socket(struct builder *builder)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    OWNED(fd_drop) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (fd < 0 ||
        !slice_to_text(slice_of(builder->options->socket), address.sun_path,
                       sizeof(address.sun_path)) ||
        connect(fd, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0)
        return -1;
    return fd_take(&fd);
}

/* A packet: a build, or the end of the connection. */
static void listen_control(struct builder *builder)
{
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);
    struct wire_packet packet;
    struct error ignored = {0};

    if (wire_receive(builder->connection, buffer, WIRE_PIECE_MAX + 1, &packet, &ignored) <= 0) {
        fd_drop(&builder->connection);
        builder->lost = true;
        return;
    }
    if (packet.kind == WIRE_BUILD && packet.fd >= 0)
        start_worker(builder, packet.fd);
    fd_drop(&packet.fd);
}

static void listen_signals(struct builder *builder)
{
    struct signalfd_siginfo info;

    while (read(builder->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD)
            builder->ended = true;
    reap(builder);
}

/* Until something that is kept is over; the clock may be set meanwhile. */
static int until_sweep_ms(const struct builder *builder)
{
    int64_t left_s = builder->next_sweep - clock_now_us() / US_PER_S;

    return builder->next_sweep == 0 ? -1
           : left_s <= 0            ? 0
           : left_s > SWEEP_MAX_S   ? SWEEP_MAX_S * 1000
                                    : (int)left_s * 1000;
}

/* Signals, and packets while there is a connection; at most so long. A build that comes while too
 * many workers tidy up stays in the connection until one of them has ended. */
static void turn(struct builder *builder, int timeout_ms)
{
    struct pollfd polled[2] = {
        {.fd = builder->signals, .events = POLLIN},
        {.fd = builder->connection, .events = is_full(builder) ? 0 : POLLIN}};

    if (poll(polled, 2, timeout_ms) <= 0)
        return;
    if (polled[0].revents != 0)
        listen_signals(builder);
    if (polled[1].revents != 0)
        listen_control(builder);
}

/* Waits longer and longer for a server that is not there. */
static void reconnect(struct builder *builder)
{
    int wait_ms = FIRST_WAIT_MS;
    struct error ignored = {0};

    if (builder->lost) /* who closes at once is not asked at once again */
        turn(builder, wait_ms);
    while (!builder->ended && builder->connection < 0) {
        builder->connection = connect_socket(builder);
        if (builder->connection >= 0) {
            if (say_hello(builder, &ignored) < 0)
                fd_drop(&builder->connection);
            return;
        }
        turn(builder, wait_ms);
        wait_ms = wait_ms * 2 < LAST_WAIT_MS ? wait_ms * 2 : LAST_WAIT_MS;
    }
}

static int serve(struct builder *builder, struct error *err)
{
    builder->connection = builder->options->connection;
    if (builder->connection >= 0 && say_hello(builder, err) < 0)
        return -1;
    while (!builder->ended) {
        if (builder->connection < 0 && builder->options->socket != NULL)
            reconnect(builder);
        else if (builder->connection < 0)
            return 0;
        else
            turn(builder, until_sweep_ms(builder));
        if (until_sweep_ms(builder) == 0)
            sweep_kept(builder, false);
    }
    return 0;
}

/* --- all of it --- */

static int open_signals(struct error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0)
        error_set_errno(err, ERROR_UNAVAILABLE, errno, "no descriptor for signals");
    return fd;
}

static void setup_fill(const struct builder_options *options, const char *cgroup,
                       struct worker_setup *out)
{
    *out = (struct worker_setup){
        .folder = memory_text(slice_of(options->folder)),
        .runtime = memory_text(SLICE("")),
        .scratch = memory_text(slice_of(options->scratch == NULL ? "auto" : options->scratch)),
        .cgroup = memory_text(slice_of(cgroup)),
        .id_base = options->id_base == 0 ? ID_BASE : options->id_base,
        .cache_max = options->cache_max};
    cgroup_probe(&out->groups);
}

/* Then each process has a limit of its own at least (16.6). */
static void warn_of_limits(const struct builder *builder)
{
    const struct cgroup_means *groups = &builder->setup.groups;

    if (!groups->memory || !groups->pids)
        log_event(LOG_WARNING, "builder.weak_limits",
                  F_TEXT("memory", groups->memory ? "of a build" : "of each process"),
                  F_TEXT("processes", groups->pids ? "of a build" : "of its user"));
}

static int prepare(struct builder *builder, struct error *err)
{
    if (open_folder(builder, err) < 0)
        return -1;
    setup_fill(builder->options, builder->prefix, &builder->setup);
    sweep(builder);
    machine_probe(&builder->setup, builder->options->runtime, &builder->level);
    cgroup_sweep(&builder->setup.groups, builder->prefix);
    if (builder->level.level[0] == 0)
        log_event(LOG_ERROR, "builder.unable", F_TEXT("reason", builder->level.problem));
    else if (!builder->setup.root && machine_enter_user(err) < 0)
        return -1;
    else
        warn_of_limits(builder);
    builder->signals = open_signals(err);
    return builder->signals < 0 ? -1 : 0;
}

static void builder_drop(struct builder *builder)
{
    end_workers(builder);
    fd_drop(&builder->connection);
    fd_drop(&builder->signals);
    fd_drop(&builder->lock);
    fd_drop(&builder->folder);
    worker_setup_drop(&builder->setup);
}

int builder_run(const struct builder_options *options, struct error *err)
{
    OWNED(builder_drop)
    struct builder builder = {
        .options = options, .folder = -1, .lock = -1, .signals = -1, .connection = -1};

    if (prepare(&builder, err) < 0)
        return -1;
    return serve(&builder, err);
}

/* shell.c - somebody looks at what a failed build wrote, in a container as its script had.
 * Touches  one folder of kept (kept.h); a process of its own with mounts and a container; the
 *          terminal, by way of the runtime.
 * Never    a network, a secret of the build, a folder of another one.
 *
 * The walls are those of a build: namespaces, user, capabilities, filter, limits of memory and
 * processes; what is written goes to the build's own disk, and stays with it. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "s2i/builder/kept.h"
#include "s2i/builder/steps.h"

enum { ANSWER_MAX = 1024, NAME_SIZE = 48 };

struct shell {
    const struct shell_options *options;
    struct kept kept;
    int folder, lock;
};

static void shell_drop(struct shell *shell)
{
    kept_drop(&shell->kept);
    fd_drop(&shell->lock);
    fd_drop(&shell->folder);
}

/* --- what is kept --- */

static int find(struct shell *shell, struct error *err)
{
    const struct shell_options *options = shell->options;
    char path[NAME_SIZE];

    OWNED(fd_drop) int top = open(options->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "kept/%llu", options->build);
    if (top >= 0)
        shell->folder = openat(top, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (top < 0 || (shell->folder < 0 && errno != ENOENT))
        return error_set_errno(err, ERROR_DENIED, errno,
                               "%.100s, of the builder (--folder), cannot be read",
                               options->folder);
    if (shell->folder < 0)
        return error_set(err, ERROR_NOT_FOUND, "nothing of build %llu is kept in %.100s (--folder)",
                         options->build, options->folder);
    shell->lock = openat(shell->folder, "lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (shell->lock < 0 || flock(shell->lock, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, ERROR_CONFLICT, "somebody looks at build %llu already",
                         options->build);
    return kept_read(shell->folder, &shell->kept, err);
}

/* A builder without privileges had the ids of its folder's owner. */
static int become_builder(const struct shell *shell, struct error *err)
{
    struct stat about;

    if (shell->kept.setup.root)
        return geteuid() == 0 ? 0
                              : error_set(err, ERROR_DENIED,
                                          "this builder runs as root: so must "
                                          "who looks");
    if (fstat(shell->folder, &about) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "what is kept cannot be read");
    if (geteuid() == 0 &&
        (setgroups(0, NULL) < 0 || setgid(about.st_gid) < 0 || setuid(about.st_uid) < 0))
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the builder's user cannot be taken");
    prctl(PR_SET_DUMPABLE, 1); /* else what changed its user may not write its own maps */
    return machine_enter_user(err);
}

/* --- in the child --- */

/* "disk" is mounted, or packed changes become folders where they had been. */
static int unpack_upper(struct work *work, const struct shell *shell, size_t index,
                        struct error *err)
{
    const char *name = shell->kept.uppers.items[index];
    const struct layer_limits limits = {.bytes_max = INT64_MAX, .entries_max = UINT32_MAX};
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    struct s2i_layer layer = {.media_type = (char *)(uintptr_t)KEPT_TYPE};
    char path[NAME_SIZE];

    if (index >= shell->kept.packed.count ||
        digest_parse(slice_of(shell->kept.packed.items[index]), &layer.diff_id, err) < 0)
        return error_set(err, ERROR_INTERNAL, "what is kept cannot be read");
    snprintf(path, sizeof(path), "upper-%zu", index);
    OWNED(fd_drop) int packed = openat(shell->folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    snprintf(path, sizeof(path), DESK "/s/%s", name);
    if (packed < 0 || mkdir(path, 0700) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "what is kept cannot be read");
    snprintf(path, sizeof(path), DESK "/s/%s/w", name);
    int made = mkdir(path, 0700);
    snprintf(path, sizeof(path), DESK "/s/%s/u", name);
    if (made < 0 || mkdir(path, 0755) < 0 || chown(path, work->ids.base, work->ids.base) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "what is kept cannot be unpacked");
    OWNED(fd_drop) int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return apart_unpack(work, packed, &layer, folder, &limits, &notes, err);
}

static int mount_upper(struct work *work, const struct shell *shell, struct error *err)
{
    OWNED(fd_drop) int image = openat(shell->folder, "disk", O_RDWR | O_CLOEXEC | O_NOFOLLOW);

    if (image >= 0)
        return scratch_mount(image, err);
    if (scratch_open(work, err) < 0)
        return -1;
    for (size_t i = 0; i < shell->kept.uppers.count; i++)
        if (unpack_upper(work, shell, i, err) < 0)
            return -1;
    return 0;
}

/* As the runtime gives it back; ended before its disk is let go. */
static int wait_for(pid_t pid)
{
    int status = 0;

    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What the terminal is, its programs ask. */
static void set_term(struct s2i_list *environment)
{
    const char *term = getenv("TERM");
    OWNED(memory_drop) char *item = memory_print("TERM=%.60s", term == NULL ? "dumb" : term);

    s2i_list_set(environment, slice_of(item));
}

static int run_shell(struct work *work, struct shell *shell, struct root *root, int *status,
                     struct error *err)
{
    static const char *const sh[] = {"/bin/sh", NULL};
    static const int own[3] = {0, 1, 2};
    struct kept *kept = &shell->kept;
    bool given = shell->options->words != NULL && shell->options->words[0] != NULL;
    const struct run run = {.root = root,
                            .words = given ? shell->options->words : sh,
                            .environment = &kept->environment,
                            .folder = kept->folder,
                            .user = kept->user,
                            .terminal = isatty(0) && isatty(1),
                            .network_namespace = -1,
                            .output = -1,
                            .reason = "",
                            .name = ""};
    pid_t pid;

    set_term(&kept->environment);
    snprintf(work->cgroup, sizeof(work->cgroup), "%.60s-shell", work->setup.cgroup);
    cgroup_make(&work->setup.groups, work->cgroup);
    if (bundle_write(work, &run, err) < 0)
        return -1;
    if (run_spawn(work, own, &pid) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the runtime %s cannot be started",
                               work->setup.runtime);
    *status = wait_for(pid);
    cgroup_sweep(&work->setup.groups, work->cgroup);
    return 0;
}

static int look(struct work *work, struct shell *shell, int *status, struct error *err)
{
    OWNED(root_drop) struct root root = ROOT_NONE;

    if (work_begin(work, err) < 0 || mount_upper(work, shell, err) < 0 ||
        root_open_again(work, &shell->kept.uppers, &shell->kept.layers, &root, err) < 0)
        return -1;
    return run_shell(work, shell, &root, status, err);
}

/* What went wrong before there was a shell goes into the pipe. */
static void be_child(struct shell *shell, int answer)
{
    struct work work = {.folder = -1, .source = -1, .disk = -1};
    struct error err = {0};
    int pair[2] = {-1, -1}, status = 1;

    work.setup = shell->kept.setup;
    work.spec.limits = shell->kept.limits;
    work.gone = work.probing = true; /* no server listens, and it goes on */
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        _exit(1);
    work.channel = pair[0];
    if (look(&work, shell, &status, &err) < 0 && fd_write(answer, slice_of(err.message)) < 0)
        status = 1;
    if (scratch_close() < 0)
        errno = 0; /* it goes with the namespace */
    _exit(status);
}

/* --- outside --- */

/* Keys of a terminal reach the container through the runtime; they do not end who waits for it. */
static void ignore_keys(void)
{
    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
}

static int enter(struct shell *shell, int *status, struct error *err)
{
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    int answer[2], ended = 0;

    if (pipe2(answer, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no pipe for a shell");
    pid_t pid = machine_fork();
    if (pid == 0)
        be_child(shell, answer[1]);
    close(answer[1]);
    ignore_keys();
    if (pid < 0)
        error_set_errno(err, ERROR_UNAVAILABLE, errno, "no process for a shell");
    else if (fd_read(answer[0], ANSWER_MAX, &said) < 0)
        error_set(err, ERROR_INTERNAL, "the shell's process says too much");
    close(answer[0]);
    while (pid > 0 && waitpid(pid, &ended, 0) < 0 && errno == EINTR)
        continue;
    if (pid < 0 || err->code != ERROR_NONE)
        return -1;
    if (said.size > 0)
        return error_set(err, ERROR_UNAVAILABLE, "%.*s", SLICE_ARG(buffer_slice(&said)));
    *status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    return 0;
}

int builder_shell(const struct shell_options *options, int *status, struct error *err)
{
    OWNED(shell_drop) struct shell shell = {.options = options, .folder = -1, .lock = -1};

    if (find(&shell, err) < 0)
        return -1;
    if (shell.kept.setup.groups.v2 && access(shell.kept.setup.groups.root, F_OK) < 0)
        cgroup_probe(&shell.kept.setup.groups); /* the builder's went with it */
    if (become_builder(&shell, err) < 0)
        return -1;
    return enter(&shell, status, err);
}

/* worker.c - one build, in a process of its own: the first of its pid namespace.
 * Touches  its channel, its desk (builder_internal.h), what its steps do.
 * Never    outlives its builder, or its channel while a container runs.
 *
 *   STARTED --spec--> AT WORK --result--> (none) */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/builder/kept.h"
#include "s2i/builder/steps.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- failures --- */

/* 12.1; reasons that are not here speak for themselves. */
static const char *sentence_of(const char *reason)
{
    static const struct {
        const char *reason, *sentence;
    } known[] = {
        {"AssembleFailed", "Assemble script failed"},
        {"PullBuilderImageFailed", "Failed to pull builder image"},
        {"PullRuntimeImageFailed", "Failed to pull runtime image"},
        {"PullPreviousImageFailed", "Failed to pull the previous image for incremental build"},
        {"ContainerCommitFailed", "Failed to commit container"},
        {"InstallScriptsFailed", "Failed to install specified scripts"},
        {"FetchScriptsFailed", "Failed to fetch specified scripts"},
        {"InvalidArtifactsMapping", "Invalid artifacts mapping specified"},
        {"FetchRuntimeArtifactsFailed", "Failed to fetch specified runtime artifacts"},
        {"FetchImageContentFailed", "Failed to extract image content"},
        {"FileSystemOperationFailed", "Failed to perform filesystem operation"},
        {"OnBuildForbidden", "ONBUILD instructions not allowed in this context"},
        {"AssembleUserForbidden", "Assemble user for S2I build is forbidden"},
        {"GenericS2IBuildFailed", "Generic S2I Build failure"},
        {"PostCommitHookFailed", "The post-commit hook failed"},
    };

    for (size_t i = 0; i < LENGTH(known); i++)
        if (strcmp(known[i].reason, reason) == 0)
            return known[i].sentence;
    return NULL;
}

int work_because(struct work *work, const char *reason)
{
    if (work->reason == NULL)
        work->reason = reason;
    return -1;
}

int work_fail(struct work *work, const char *reason, struct error *err, const char *format, ...)
{
    char text[sizeof(err->message)];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    work_because(work, reason);
    return error_set(err, ERROR_INVALID, "%s", text);
}

/* One line of UTF-8 for the status. */
static char *message_of(const struct work *work, const struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const char *sentence = sentence_of(work->reason);

    if (sentence != NULL)
        buffer_print(&text, "%s: ", sentence);
    buffer_append_text(&text, err->message);
    for (size_t at = 0; at < text.size;) {
        size_t size = utf8_size(slice_from(buffer_slice(&text), at));
        if (size == 0 || (unsigned char)text.at[at] < ' ')
            text.at[at] = '?';
        at += size == 0 ? 1 : size;
    }
    return memory_text(buffer_slice(&text));
}

/* --- the desk --- */

static int broken(struct error *err, const char *what)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "%s", what);
}

/* The builder's folder stays reachable, wherever it is. */
static int mount_desk(struct work *work, struct error *err)
{
    static const struct {
        const char *path;
        mode_t mode;
    } folders[] = {{DESK "/f", 0700}, {DESK "/l", 0700}, {DESK "/s", 0711}, {DESK "/m", 0755},
                   {DESK "/b", 0711}, {DESK "/r", 0700}, {DESK "/x", 0711}};

    OWNED(fd_drop)
    int tree = open_tree(work->folder, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0 ||
        mount("tmpfs", DESK, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=64m,mode=0711") < 0)
        return broken(err, "the worker's desk cannot be mounted");
    for (size_t i = 0; i < LENGTH(folders); i++)
        if (mkdir(folders[i].path, 0700) < 0 || chmod(folders[i].path, folders[i].mode) < 0)
            return broken(err, "the worker's desk cannot be laid out");
    if (move_mount(tree, "", AT_FDCWD, DESK "/f", MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return broken(err, "the builder's folder cannot be mounted");
    /* A device that an archive got into a layer is none there. */
    if (mount(NULL, DESK "/f", NULL, MS_REMOUNT | MS_BIND | MS_NODEV | MS_NOSUID | MS_NOEXEC,
              NULL) < 0)
        return broken(err, "the builder's folder cannot be guarded");
    fd_drop(&work->folder);
    work->folder = open(DESK "/f", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return work->folder < 0 ? broken(err, "the builder's folder cannot be opened") : 0;
}

/* The lowest layer of every container. */
static int lay_mount_points(const struct work *work, struct error *err)
{
    const struct tree_owner owner = {work->ids.base, work->ids.base};
    OWNED(fd_drop) int lowest = open(DESK "/m", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    OWNED(fd_drop) int proc = lowest < 0 ? -1 : tree_folder(lowest, "proc", &owner);
    OWNED(fd_drop) int dev = lowest < 0 ? -1 : tree_folder(lowest, "dev", &owner);

    if (proc < 0 || dev < 0 || fchown(lowest, owner.uid, owner.gid) < 0)
        return broken(err, "the mount points cannot be made");
    if (!give_network_files(work))
        return 0;
    OWNED(fd_drop) int etc = tree_folder(lowest, "etc", &owner);
    if (etc < 0 || tree_write(etc, "hosts", SLICE(""), 0644, &owner) < 0 ||
        tree_write(etc, "resolv.conf", SLICE(""), 0644, &owner) < 0)
        return broken(err, "the mount points cannot be made");
    return 0;
}

/* --- the build --- */

static void tell_failure(struct work *work, const struct error *err)
{
    struct s2i_result *result = &work->result;

    if (work->cancel[0] != 0)
        work->reason = work->cancel;
    if (work->reason == NULL)
        work->reason = "GenericS2IBuildFailed";
    free(result->reason);
    free(result->message);
    result->reason = memory_text(slice_of(work->reason));
    result->message = message_of(work, err);
}

static void work_drop(struct work *work)
{
    fd_drop(&work->source);
    fd_drop(&work->disk);
    fd_drop(&work->folder);
    s2i_spec_drop(&work->spec);
    s2i_result_drop(&work->result);
    worker_setup_drop(&work->setup);
}

int work_begin(struct work *work, struct error *err)
{
    bool root = work->setup.root;

    umask(022);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return broken(err, "no /proc for the worker");
    work->folder = open(work->setup.folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (work->folder < 0)
        return broken(err, "the builder's folder cannot be opened");
    work->ids = (struct layer_ids){
        .base = root ? work->setup.id_base : 0, .count = IDS, .single = !root, .user_xattr = !root};
    if (mount_desk(work, err) < 0)
        return -1;
    return lay_mount_points(work, err);
}

static int begin(struct work *work, struct error *err)
{
    if (worker_setup_read(&work->setup, getenv(WORKER_SETUP), err) < 0)
        return -1;
    unsetenv(WORKER_SETUP);
    if (getpid() != 1)
        return error_set(err, ERROR_INTERNAL, "workers are started by a builder only");
    if (work_receive_spec(work, err) < 0)
        return -1;
    work->started_ms = clock_monotonic_ms();
    if (work_begin(work, err) < 0)
        return work_because(work, "ExecutorUnavailable");
    return 0;
}

static void finish(struct work *work)
{
    struct error ignored = {0};
    OWNED(fd_drop) int layers = layers_open(work, &ignored);

    if (layers >= 0)
        layers_evict(layers, work->setup.cache_max);
    caches_evict(work);
}

int builder_worker(void)
{
    OWNED(work_drop)
    struct work work = {.channel = WORKER_CHANNEL, .folder = -1, .source = -1, .disk = -1};
    struct error err = {0};

    signal(SIGPIPE, SIG_IGN);
    work.result.exit_code = -1;
    if (begin(&work, &err) < 0 || steps_build(&work, &err) < 0)
        tell_failure(&work, &err);
    else
        work.result.done = true;
    work_stage(&work, NULL);
    kept_end(&work, !work.result.done);
    if (!work.gone && work_send_result(&work, &err) < 0)
        fprintf(stderr, "slipway builder-worker: %s\n", err.message);
    close(WORKER_CHANNEL);
    finish(&work);
    return work.result.done ? 0 : 1;
}

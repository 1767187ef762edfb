/* give.c - what is mounted into a container beside its files: secrets, a network's files.
 * Touches  small files on the desk.
 * Never    writes a secret to a disk; leaves a mount point to the layer (17.12). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s2i/builder/steps.h"

enum { SECRET_MAX = 1 << 20, SCAN_MIN = 8, NETWORK_FILE_MAX = 64 * 1024 };

static int broken(struct work *work, const char *what, struct error *err)
{
    return work_fail(work, "FileSystemOperationFailed", err, "%s: %s", what, strerror(errno));
}

/* --- mounting files --- */

struct mount_file *run_mount(struct run *run, const char *target)
{
    if (run->mount_count == sizeof(run->mounts) / sizeof(run->mounts[0]))
        return NULL;
    struct mount_file *mount = &run->mounts[run->mount_count++];
    *mount = (struct mount_file){.target = target};
    return mount;
}

static int write_file(struct work *work, struct slice content, mode_t mode, uid_t uid,
                      char path[64], struct error *err)
{
    snprintf(path, 64, DESK "/x/%u", ++work->files);
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fd_write(fd, content) < 0 || fchown(fd, uid, work->ids.base) < 0 ||
        fchmod(fd, mode) < 0)
        return broken(work, path, err);
    return 0;
}

/* --- secrets (10.20, 10.21) --- */

static bool find_secret(const struct work *work, struct slice name, struct buffer *out)
{
    const struct s2i_list *secrets = &work->spec.secrets;
    struct slice known, value;

    for (size_t i = 0; i < secrets->count; i++)
        if (slice_split(slice_of(secrets->items[i]), '=', &known, &value) &&
            slice_equal(known, name) && value.size <= SECRET_MAX) {
            buffer_append(out, value.at, value.size);
            return true;
        }
    return false;
}

/* The folder and the name of the target; a target that is a folder gets a file of the secret's
 * name. */
static int find_target(struct work *work, const struct assembly *assembly, struct slice secret,
                       struct slice given, char *out, size_t capacity, struct error *err)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    char clean[PATH_MAX], above[PATH_MAX], *slash;

    if (given.size == 0 || given.at[0] != '/')
        buffer_print(&path, "%s/", assembly->root.config.working_dir);
    buffer_append_slice(&path, given);
    buffer_append(&path, "", 1);
    clean[0] = '/';
    if (!tree_path_clean(path.at, clean + 1, sizeof(clean) - 300))
        return work_fail(work, "GenericS2IBuildFailed", err, "a secret's path is malformed");
    OWNED(fd_drop) int folder = tree_open(assembly->root.root, clean, O_PATH | O_DIRECTORY, 0);
    if (folder >= 0)
        snprintf(clean + strlen(clean), 300, "/%.*s", SLICE_ARG(secret));
    slash = strrchr(clean, '/');
    *slash = 0;
    if (!root_real_path(&assembly->root, slash == clean ? "/" : clean, above, sizeof(above)) ||
        snprintf(out, capacity, "%s%s%s", above, above[0] == 0 ? "" : "/", slash + 1) >=
            (int)capacity)
        return work_fail(work, "GenericS2IBuildFailed", err,
                         "The destination directory for %.*s injection must exist in container",
                         SLICE_ARG(secret));
    return 0;
}

static int give_secret(struct work *work, struct assembly *assembly, struct run *run,
                       const char *inject, struct error *err)
{
    OWNED(buffer_wipe) struct buffer content = BUFFER_NONE;
    struct slice name, given;
    char target[PATH_MAX];

    slice_split(slice_of(inject), ':', &name, &given);
    if (!find_secret(work, name, &content))
        return work_fail(work, "GenericS2IBuildFailed", err,
                         "there is no secret %.*s: slipway build secret set keeps one",
                         SLICE_ARG(name));
    target[0] = '/';
    if (find_target(work, assembly, name, given, target + 1, sizeof(target) - 1, err) < 0)
        return -1;
    s2i_list_add(&assembly->left_out, slice_of(target + 1));
    s2i_list_add(&assembly->targets, slice_of(target));
    if (content.size >= SCAN_MIN)
        s2i_list_add(&assembly->secrets, buffer_slice(&content));
    struct mount_file *mount = run_mount(run, assembly->targets.items[assembly->targets.count - 1]);
    if (mount == NULL)
        return work_fail(work, "GenericS2IBuildFailed", err, "too many secrets");
    uid_t owner = work->ids.base + (work->setup.root ? assembly->user.uid : 0);
    return write_file(work, buffer_slice(&content), 0400, owner, mount->source, err);
}

int give_secrets(struct work *work, struct assembly *assembly, struct run *run, struct error *err)
{
    const struct s2i_list *inject = &work->spec.options.inject;
    const struct s2i_list *environment = &work->spec.options.secret_env;
    struct slice name, value;

    for (size_t i = 0; i < inject->count; i++)
        if (give_secret(work, assembly, run, inject->items[i], err) < 0)
            return -1;
    for (size_t i = 0; i < environment->count; i++)
        if (slice_split(slice_of(environment->items[i]), '=', &name, &value) &&
            value.size >= SCAN_MIN)
            s2i_list_add(&assembly->secrets, value);
    return 0;
}

/* --- networks (16.9) --- */

static bool network_is(const struct work *work, const char *kind)
{
    const char *given = work->spec.options.network;

    return strcmp(given == NULL ? "none" : given, kind) == 0;
}

bool give_network_files(const struct work *work)
{
    return !network_is(work, "none");
}

static int give_file(struct work *work, struct run *run, const char *target, struct slice content,
                     struct error *err)
{
    struct mount_file *mount = run_mount(run, target);

    if (mount == NULL)
        return work_fail(work, "GenericS2IBuildFailed", err, "too many files are mounted");
    return write_file(work, content, 0444, work->ids.base, mount->source, err);
}

/* The machine's own, as it is now. */
static int give_host_file(struct work *work, struct run *run, const char *path, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fd_read(fd, NETWORK_FILE_MAX, &text) < 0)
        text.size = 0;
    return give_file(work, run, path, buffer_slice(&text), err);
}

static void leave_out(struct assembly *assembly)
{
    s2i_list_add(&assembly->left_out, SLICE("etc/hosts"));
    s2i_list_add(&assembly->left_out, SLICE("etc/resolv.conf"));
}

static void tell_proxy(struct assembly *assembly)
{
    static const char *const variables[] = {
        "HTTP_PROXY=http://127.0.0.1:3128", "HTTPS_PROXY=http://127.0.0.1:3128",
        "http_proxy=http://127.0.0.1:3128", "https_proxy=http://127.0.0.1:3128",
        "NO_PROXY=localhost,127.0.0.1",     "no_proxy=localhost,127.0.0.1"};

    for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++)
        environment_set(&assembly->environment, slice_of(variables[i]));
}

int give_network(struct work *work, struct assembly *assembly, struct run *run,
                 struct proxy **proxy, struct error *err)
{
    if (network_is(work, "none"))
        return 0;
    leave_out(assembly);
    if (network_is(work, "host")) {
        run->host_network = true;
        return give_host_file(work, run, "/etc/hosts", err) < 0
                   ? -1
                   : give_host_file(work, run, "/etc/resolv.conf", err);
    }
    tell_proxy(assembly);
    if (proxy_open(work, proxy, &run->network_namespace, err) < 0)
        return work_because(work, "ExecutorUnavailable");
    return give_file(work, run, "/etc/hosts", SLICE("127.0.0.1 localhost s2i\n::1 localhost\n"),
                     err);
}

/* bundle.c - config.json of a container: what it is given, and what it is not.
 * Touches  the file config.json on the desk.
 * Never    more capabilities than those of 16.5; a path of the host but the desk's.
 *
 * Spec: s2i 6.8, 16.3 to 16.6; the form is the OCI runtime specification's. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "s2i/builder/builder_internal.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

enum { FILES_MAX = 1024, CPU_PERIOD_US = 100000, LOW_SHARES = 128, OOM_SCORE = 500 };

static json_t *texts(const char *const *items, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_string(items[i]));
    return array;
}

/* --- the process --- */

static json_t *capabilities(void)
{
    static const char *const kept[] = {"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",
                                       "CAP_FSETID",  "CAP_SETUID",       "CAP_SETGID",
                                       "CAP_SETFCAP", "CAP_KILL"};

    return json_pack("{s:o, s:o, s:o, s:[], s:[]}", "bounding", texts(kept, LENGTH(kept)),
                     "effective", texts(kept, LENGTH(kept)), "permitted", texts(kept, LENGTH(kept)),
                     "inheritable", "ambient");
}

/* Level (b) has one id, and calls it root: a build's user that is not gets no rights by it. */
static json_t *no_capabilities(void)
{
    return json_pack("{s:[], s:[], s:[], s:[], s:[]}", "bounding", "effective", "permitted",
                     "inheritable", "ambient");
}

static json_t *user(const struct work *work, const struct run *run)
{
    json_t *groups = json_array();

    if (!work->setup.root)
        return json_pack("{s:i, s:i, s:o}", "uid", 0, "gid", 0, "additionalGids", groups);
    for (size_t i = 0; i < run->user.group_count; i++)
        json_array_append_new(groups, json_integer(run->user.groups[i]));
    return json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)run->user.uid, "gid",
                     (json_int_t)run->user.gid, "additionalGids", groups);
}

static json_t *limit(const char *type, int value)
{
    return json_pack("{s:s, s:i, s:i}", "type", type, "soft", value, "hard", value);
}

/* Without groups that count processes and memory, each process has limits at least (16.6). */
static json_t *rlimits(const struct work *work)
{
    json_t *limits =
        json_pack("[o, o]", limit("RLIMIT_NOFILE", FILES_MAX), limit("RLIMIT_CORE", 0));
    json_int_t memory = (json_int_t)work->spec.limits.memory;
    json_int_t processes = (json_int_t)work->spec.limits.processes;

    if (!work->setup.groups.memory && memory > 0)
        json_array_append_new(limits, json_pack("{s:s, s:I, s:I}", "type", "RLIMIT_DATA", "soft",
                                                memory, "hard", memory));
    if (!work->setup.groups.pids && processes > 0)
        json_array_append_new(limits, json_pack("{s:s, s:I, s:I}", "type", "RLIMIT_NPROC", "soft",
                                                processes, "hard", processes));
    return limits;
}

static json_t *process(const struct work *work, const struct run *run)
{
    const struct s2i_list *environment = run->environment;
    bool privileged = work->setup.root || run->user.uid == 0;
    size_t words = 0;

    while (run->words[words] != NULL)
        words++;
    return json_pack("{s:b, s:o, s:o, s:o, s:s, s:o, s:b, s:o, s:i}", "terminal",
                     (int)run->terminal, "user", user(work, run), "args", texts(run->words, words),
                     "env", texts((const char *const *)environment->items, environment->count),
                     "cwd", run->folder, "capabilities",
                     privileged ? capabilities() : no_capabilities(), "noNewPrivileges", 1,
                     "rlimits", rlimits(work), "oomScoreAdj", OOM_SCORE);
}

/* --- mounts --- */

static json_t *mount_of(const char *target, const char *type, const char *const *options,
                        size_t count)
{
    return json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type", type, "source", type,
                     "options", texts(options, count));
}

/* Flags of the mount it is from must be among them: a user namespace cannot take one off. */
static json_t *mount_of_desk(const struct mount_file *mount)
{
    static const char *const read_only[] = {"bind", "ro", "nosuid", "nodev", "noexec"};
    static const char *const writable[] = {"bind", "rw", "nosuid", "nodev", "noatime"};

    return json_pack("{s:s, s:s, s:s, s:o}", "destination", mount->target, "type", "bind", "source",
                     mount->source, "options",
                     texts(mount->writable ? writable : read_only, LENGTH(read_only)));
}

static json_t *mounts(const struct run *run)
{
    static const char *const proc[] = {"nosuid", "noexec", "nodev"};
    static const char *const dev[] = {"nosuid", "noexec", "mode=755", "size=64k"};
    static const char *const pts[] = {"nosuid", "noexec", "newinstance", "ptmxmode=0666",
                                      "mode=0620"};
    static const char *const shm[] = {"nosuid", "noexec", "nodev", "mode=1777", "size=67108864"};
    json_t *array = json_array();

    json_array_append_new(array, mount_of("/proc", "proc", proc, LENGTH(proc)));
    json_array_append_new(array, mount_of("/dev", "tmpfs", dev, LENGTH(dev)));
    json_array_append_new(array, mount_of("/dev/pts", "devpts", pts, LENGTH(pts)));
    json_array_append_new(array, mount_of("/dev/shm", "tmpfs", shm, LENGTH(shm)));
    for (size_t i = 0; i < run->mount_count; i++)
        json_array_append_new(array, mount_of_desk(&run->mounts[i]));
    return array;
}

/* --- namespaces, groups, what is hidden --- */

static json_t *namespaces(const struct run *run)
{
    static const char *const own[] = {"user", "mount", "pid", "ipc", "uts", "cgroup"};
    json_t *array = json_array();
    char path[32];

    for (size_t i = 0; i < LENGTH(own); i++)
        json_array_append_new(array, json_pack("{s:s}", "type", own[i]));
    if (run->host_network)
        return array;
    if (run->network_namespace < 0) {
        json_array_append_new(array, json_pack("{s:s}", "type", "network"));
        return array;
    }
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", getpid(), run->network_namespace);
    json_array_append_new(array, json_pack("{s:s, s:s}", "type", "network", "path", path));
    return array;
}

static json_t *id_map(const struct work *work)
{
    return json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", (json_int_t)work->ids.base,
                     "size", work->setup.root ? IDS : 1);
}

static json_t *resources(const struct work *work)
{
    const struct s2i_limits *limits = &work->spec.limits;
    json_t *object = json_object(), *cpu = json_object();

    if (work->setup.groups.memory && limits->memory > 0)
        json_object_set_new(object, "memory",
                            work->setup.groups.swap
                                ? json_pack("{s:I, s:I}", "limit", (json_int_t)limits->memory,
                                            "swap", (json_int_t)limits->memory)
                                : json_pack("{s:I}", "limit", (json_int_t)limits->memory));
    if (work->setup.groups.pids && limits->processes > 0)
        json_object_set_new(object, "pids",
                            json_pack("{s:I}", "limit", (json_int_t)limits->processes));
    json_object_set_new(cpu, "shares", json_integer(LOW_SHARES));
    if (limits->cpu_percent > 0) {
        json_object_set_new(cpu, "period", json_integer(CPU_PERIOD_US));
        json_object_set_new(cpu, "quota",
                            json_integer((json_int_t)limits->cpu_percent * CPU_PERIOD_US / 100));
    }
    if (work->setup.groups.cpu)
        json_object_set(object, "cpu", cpu);
    json_decref(cpu);
    return object;
}

static json_t *platform(const struct work *work, const struct run *run)
{
    static const char *const hidden[] = {
        "/proc/acpi",          "/proc/asound",     "/proc/kcore",       "/proc/keys",
        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
        "/proc/scsi",          "/proc/config.gz",  "/proc/kallsyms",    "/proc/kpagecount",
        "/proc/kpageflags",    "/proc/kpagecgroup"};
    static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
                                        "/proc/sysrq-trigger"};
    const struct cgroup_means *groups = &work->setup.groups;
    char path[PATH_MAX];
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "namespaces", namespaces(run),
                  "uidMappings", id_map(work), "gidMappings", id_map(work), "resources",
                  resources(work), "seccomp", seccomp_profile(), "maskedPaths",
                  texts(hidden, LENGTH(hidden)), "readonlyPaths", texts(fixed, LENGTH(fixed)));

    cgroup_path(groups, work->cgroup, path, sizeof(path));
    if (groups->memory || groups->pids || groups->cpu)
        json_object_set_new(object, "cgroupsPath", json_string(path));
    return object;
}

int bundle_write(const struct work *work, const struct run *run, struct error *err)
{
    json_t *config =
        json_pack("{s:s, s:o, s:{s:s}, s:s, s:o, s:o}", "ociVersion", "1.0.2", "process",
                  process(work, run), "root", "path", run->root->path, "hostname", "s2i", "mounts",
                  mounts(run), "linux", platform(work, run));
    OWNED(memory_drop) char *text = config == NULL ? NULL : json_dumps(config, JSON_COMPACT);

    json_decref(config);
    if (text == NULL)
        return error_set(err, ERROR_INVALID,
                         "the environment or the command of the build is not UTF-8");
    OWNED(fd_drop)
    int fd = open(DESK "/b/config.json", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int outcome = fd < 0 ? -1 : fd_write(fd, slice_of(text));
    explicit_bzero(text, strlen(text)); /* build-only variables are in it */
    if (outcome < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the bundle cannot be written");
    return 0;
}

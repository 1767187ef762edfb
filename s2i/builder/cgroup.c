/* cgroup.c - control groups: which limits can be enforced, what they did, groups of dead builds.
 * Touches  the cgroup file systems, below our own group.
 * Never    sets a limit: the runtime does, in the group whose path we give it.
 *
 * v1: every hierarchy has a place of its own for us; the runtime takes a relative path as below it.
 * v2: our group must be delegated, and we step into a child so that it may have others; or root
 * makes one at the top. A container's group is <name>/c: the upper one stays for a look when it is
 * gone. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/builder_internal.h"

#define CGROUPS "/sys/fs/cgroup"

enum { CGROUP2_MAGIC = 0x63677270, FILE_MAX = 64 * 1024, PATIENCE = 50 };

/* Reads a small file; empty when it cannot be. */
static void read_file(const char *path, struct buffer *out)
{
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0 && fd_read(fd, FILE_MAX, out) < 0)
        buffer_drop(out);
}

static bool write_file(const char *path, const char *text)
{
    OWNED(fd_drop) int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && fd_write(fd, slice_of(text)) == 0;
}

/* Whether `word` is in a list with commas. */
static bool has_word(struct slice list, const char *word)
{
    struct slice head = list;

    while (slice_split(list, ',', &head, &list))
        if (slice_equal_text(head, word))
            return true;
    return slice_equal_text(head, word);
}

/* Our own folder in the hierarchy of a controller; "" is v2's. False: it is not mounted. */
static bool own_folder(const char *controller, char *out, size_t capacity)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice rest, line, number, names, path;
    bool v2 = controller[0] == 0;
    struct statfs mounted;

    read_file("/proc/self/cgroup", &text);
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        if (!slice_split(line, ':', &number, &names) || !slice_split(names, ':', &names, &path))
            continue;
        if (v2 ? names.size > 0 : !has_word(names, controller))
            continue;
        int size = snprintf(out, capacity, CGROUPS "%s%.*s%.*s", v2 ? "" : "/", SLICE_ARG(names),
                            path.size > 1 ? (int)path.size : 0, path.at);
        return size > 0 && (size_t)size < capacity && statfs(out, &mounted) == 0 &&
               (mounted.f_type == CGROUP2_MAGIC) == v2;
    }
    return false;
}

/* --- v2 --- */

static bool controls(const char *folder, const char *controller)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char path[PATH_MAX];
    struct slice rest, word;

    snprintf(path, sizeof(path), "%s/cgroup.subtree_control", folder);
    read_file(path, &text);
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == '\n')
            text.at[i] = ' ';
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, ' ', &word, &rest);
        if (slice_equal_text(word, controller))
            return true;
    }
    return false;
}

static const char *const wanted[] = {"+memory", "+pids", "+cpu"};

/* What it did is read back. */
static void enable(const char *folder)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/cgroup.subtree_control", folder) >= (int)sizeof(path))
        return;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        write_file(path, wanted[i]);
}

static bool move_to(const char *folder)
{
    char path[PATH_MAX], pid[16];

    snprintf(pid, sizeof(pid), "%d", getpid());
    return snprintf(path, sizeof(path), "%s/cgroup.procs", folder) < (int)sizeof(path) &&
           write_file(path, pid);
}

/* Processes of a group and controllers for its children exclude each other: we step into a child.
 * Others who are there may keep it from being done; then we step back. */
static bool delegate(const char *folder)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/builder", folder) >= (int)sizeof(path) ||
        (mkdir(path, 0755) < 0 && errno != EEXIST))
        return false;
    if (!move_to(path)) {
        rmdir(path);
        return false;
    }
    enable(folder);
    if (controls(folder, "memory"))
        return true;
    move_to(folder);
    rmdir(path);
    return false;
}

/* Without a group that was delegated: one at the top, where root may make it. */
static bool take_top(char *root, size_t capacity)
{
    snprintf(root, capacity, CGROUPS "/slipway");
    if (mkdir(root, 0755) < 0 && errno != EEXIST)
        return false;
    enable(root);
    return controls(root, "memory");
}

static void probe_v2(struct cgroup_means *out)
{
    char path[PATH_MAX];

    out->v2 = own_folder("", out->root, sizeof(out->root)) &&
              (delegate(out->root) || take_top(out->root, sizeof(out->root)));
    if (!out->v2)
        return;
    out->memory = controls(out->root, "memory");
    out->pids = controls(out->root, "pids");
    out->cpu = controls(out->root, "cpu");
    /* A child shows whether swap is counted. */
    if (snprintf(path, sizeof(path), "%s/probe", out->root) >= (int)sizeof(path) - 32 ||
        (mkdir(path, 0755) < 0 && errno != EEXIST))
        return;
    snprintf(path + strlen(path), 32, "/memory.swap.max");
    out->swap = access(path, F_OK) == 0;
    *strrchr(path, '/') = 0;
    rmdir(path);
}

/* Kernels may be told not to; then a limit on it is an error. */
static bool counts_swap(void)
{
    char folder[PATH_MAX], path[PATH_MAX];

    return own_folder("memory", folder, sizeof(folder)) &&
           snprintf(path, sizeof(path), "%s/memory.memsw.limit_in_bytes", folder) <
               (int)sizeof(path) &&
           access(path, F_OK) == 0;
}

void cgroup_probe(struct cgroup_means *out)
{
    char folder[PATH_MAX];

    *out = (struct cgroup_means){0};
    if (own_folder("memory", folder, sizeof(folder)) ||
        own_folder("pids", folder, sizeof(folder))) {
        out->memory = own_folder("memory", folder, sizeof(folder)) && access(folder, W_OK) == 0;
        out->pids = own_folder("pids", folder, sizeof(folder)) && access(folder, W_OK) == 0;
        out->cpu = own_folder("cpu", folder, sizeof(folder)) && access(folder, W_OK) == 0;
        out->swap = out->memory && counts_swap();
    } else
        probe_v2(out);
}

void cgroup_path(const struct cgroup_means *means, const char *name, char *out, size_t capacity)
{
    if (means->v2)
        snprintf(out, capacity, "%s/%s/c", means->root + sizeof(CGROUPS) - 1, name);
    else
        snprintf(out, capacity, "%s", name);
}

void cgroup_make(const struct cgroup_means *means, const char *name)
{
    char path[PATH_MAX];

    if (!means->v2 || snprintf(path, sizeof(path), "%s/%s", means->root, name) >= (int)sizeof(path))
        return;
    if (mkdir(path, 0755) == 0)
        enable(path);
}

/* --- what limits did --- */

/* The number after a word at a line's start. */
static uint64_t number_of(struct slice text, const char *word)
{
    struct slice line, name, value;
    uint64_t number = 0;

    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        if (slice_split(line, ' ', &name, &value) && slice_equal_text(name, word))
            slice_to_u64(slice_trim(value), &number);
    }
    return number;
}

static uint64_t read_number(const char *folder, const char *group, const char *file,
                            const char *word)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s/%s", folder, group, file);

    if (size > 0 && (size_t)size < sizeof(path))
        read_file(path, &text);
    return number_of(buffer_slice(&text), word);
}

void cgroup_events(const struct cgroup_means *means, const char *name, struct cgroup_events *out)
{
    char folder[PATH_MAX];

    *out = (struct cgroup_events){0};
    if (means->v2) { /* the group of the container itself may be gone with it */
        out->memory_kills = read_number(means->root, name, "memory.events", "oom_kill");
        out->process_refusals = read_number(means->root, name, "pids.events", "max") +
                                read_number(means->root, name, "c/pids.events", "max");
        return;
    }
    if (means->memory && own_folder("memory", folder, sizeof(folder)))
        out->memory_kills = read_number(folder, name, "memory.oom_control", "oom_kill");
    if (means->pids && own_folder("pids", folder, sizeof(folder)))
        out->process_refusals = read_number(folder, name, "pids.events", "max");
}

/* --- dead groups --- */

static void kill_members(const char *folder)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char path[PATH_MAX];
    struct slice rest, line;
    uint64_t pid;

    if (snprintf(path, sizeof(path), "%s/cgroup.procs", folder) >= (int)sizeof(path))
        return;
    read_file(path, &text);
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        if (slice_to_u64(line, &pid) && pid > 1 && pid < INT_MAX)
            kill((pid_t)pid, SIGKILL);
    }
}

static void remove_group(const char *folder)
{
    char inner[PATH_MAX];

    if (snprintf(inner, sizeof(inner), "%s/c", folder) < (int)sizeof(inner) &&
        access(inner, F_OK) == 0)
        remove_group(inner);
    for (int i = 0; rmdir(folder) < 0 && errno == EBUSY && i < PATIENCE; i++) {
        kill_members(folder);
        usleep(2000);
    }
}

static void sweep_folder(const char *folder, const char *prefix)
{
    OWNED(folder_drop) DIR *open = opendir(folder);
    char path[PATH_MAX];

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;)
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path))
            remove_group(path);
}

void cgroup_sweep(const struct cgroup_means *means, const char *prefix)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char folder[PATH_MAX], mounted[PATH_MAX];
    struct slice rest, line, number, names, path;

    if (means->v2) {
        sweep_folder(means->root, prefix);
        return;
    }
    read_file("/proc/self/cgroup", &text);
    rest = buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        if (!slice_split(line, ':', &number, &names) || !slice_split(names, ':', &names, &path))
            continue;
        if (slice_starts(names, "name="))
            names = slice_from(names, strlen("name="));
        snprintf(mounted, sizeof(mounted), CGROUPS "/%.*s",
                 names.size == 0 ? (int)strlen("unified") : (int)names.size,
                 names.size == 0 ? "unified" : names.at);
        if (snprintf(folder, sizeof(folder), "%.1000s%.*s", mounted,
                     path.size > 1 ? (int)path.size : 0, path.at) < (int)sizeof(folder))
            sweep_folder(folder, prefix);
    }
}

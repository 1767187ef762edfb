/* extended.c - builds with a runtime image: artifacts of the builder go to a second image, and that
 * becomes the result (9).
 * Touches  a mounted root of the runtime image; reads the builder's.
 * Never    copies what is no file, folder or link; follows a link out of either root. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/steps.h"

enum { DEPTH_MAX = 256, LINK_MAX = 4096 };

struct copying {
    struct tree_owner owner;
    uint64_t files, files_max;
};

/* --- copying (9.4) --- */

static int copy_file(struct copying *copying, int from, const char *name, int to,
                     const struct stat *about)
{
    OWNED(fd_drop) int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || (unlinkat(to, name, 0) < 0 && errno != ENOENT))
        return -1;
    OWNED(fd_drop)
    int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        return -1;
    for (ssize_t done = 1; done > 0;) {
        done = copy_file_range(in, NULL, out, NULL, 1 << 24, 0);
        if (done < 0)
            return -1;
    }
    const struct timespec times[2] = {about->st_atim, about->st_mtim};
    if (fchown(out, copying->owner.uid, copying->owner.gid) < 0 ||
        fchmod(out, (about->st_mode & 0111) != 0 ? 0755 : 0644) < 0)
        return -1;
    return futimens(out, times);
}

static int copy_link(struct copying *copying, int from, const char *name, int to)
{
    char text[LINK_MAX + 1];
    ssize_t size = readlinkat(from, name, text, LINK_MAX);

    if (size < 0 || (unlinkat(to, name, 0) < 0 && errno != ENOENT))
        return -1;
    text[size] = 0;
    if (symlinkat(text, to, name) < 0)
        return -1;
    return fchownat(to, name, copying->owner.uid, copying->owner.gid, AT_SYMLINK_NOFOLLOW);
}

static int copy_any(struct copying *copying, int from, const char *name, int to, unsigned depth);

static int copy_below(struct copying *copying, int from, int to, unsigned depth)
{
    OWNED(folder_drop) DIR *open = folder_open(from, ".");
    int outcome = open == NULL ? -1 : 0;

    for (const struct dirent *entry; outcome == 0 && (entry = folder_next(open)) != NULL;)
        outcome = copy_any(copying, from, entry->d_name, to, depth);
    return outcome;
}

static int copy_folder(struct copying *copying, int from, const char *name, int to, unsigned depth)
{
    OWNED(fd_drop) int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (in < 0 || depth == DEPTH_MAX || (mkdirat(to, name, 0755) < 0 && errno != EEXIST))
        return -1;
    OWNED(fd_drop) int out = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out < 0 || fchown(out, copying->owner.uid, copying->owner.gid) < 0 || fchmod(out, 0755) < 0)
        return -1;
    return copy_below(copying, in, out, depth + 1);
}

static int copy_any(struct copying *copying, int from, const char *name, int to, unsigned depth)
{
    struct stat about;

    if (fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) < 0)
        return -1;
    if (++copying->files > copying->files_max && copying->files_max > 0) {
        errno = EMFILE;
        return -1;
    }
    if (S_ISDIR(about.st_mode))
        return copy_folder(copying, from, name, to, depth);
    if (S_ISREG(about.st_mode))
        return copy_file(copying, from, name, to, &about);
    return S_ISLNK(about.st_mode) ? copy_link(copying, from, name, to) : 0;
}

/* A folder's content goes into the destination, a file into it under its name, as upstream. */
static int copy_artifact(struct copying *copying, int from_root, const char *source, int to_root,
                         const char *destination)
{
    char above[PATH_MAX];
    OWNED(fd_drop) int to = tree_folder(to_root, destination, &copying->owner);
    OWNED(fd_drop) int folder = tree_open(from_root, source, O_RDONLY | O_DIRECTORY, 0);

    if (to < 0)
        return -1;
    if (folder >= 0)
        return copy_below(copying, folder, to, 0);
    if (snprintf(above, sizeof(above), "%s", source) >= (int)sizeof(above))
        return -1;
    char *slash = strrchr(above, '/');
    if (slash == NULL)
        return -1;
    *slash = 0;
    OWNED(fd_drop)
    int from = tree_open(from_root, above[0] == 0 ? "/" : above, O_RDONLY | O_DIRECTORY, 0);
    return from < 0 ? -1 : copy_any(copying, from, slash + 1, to, 0);
}

static int copy_artifacts(struct work *work, const struct assembly *builder,
                          const struct assembly *runtime, struct error *err)
{
    OWNED(artifact_mappings_drop) struct artifact_mappings mappings = {0};
    struct copying copying = {.owner = runtime->owner, .files_max = work->spec.limits.files_max};
    char destination[PATH_MAX];

    if (artifact_mappings_find(&work->spec.options, &runtime->root.config, &mappings, err) < 0)
        return work_because(work, "InvalidArtifactsMapping");
    for (size_t i = 0; i < mappings.count; i++) {
        const struct artifact_mapping *mapping = &mappings.items[i];
        snprintf(destination, sizeof(destination), "%s/%s", runtime->destination,
                 mapping->destination == NULL ? "" : mapping->destination);
        work_detail(work, "%s to %s", mapping->source, destination);
        if (copy_artifact(&copying, builder->root.root, mapping->source, runtime->root.root,
                          destination) < 0)
            return work_fail(work, "FetchRuntimeArtifactsFailed", err, "%.100s: %s",
                             mapping->source, strerror(errno));
    }
    return 0;
}

/* --- the second image --- */

static int open_runtime(struct work *work, struct assembly *builder, struct assembly *runtime,
                        struct error *err)
{
    runtime->image = &work->spec.runtime;
    if (root_open(work, "runtime", runtime->image, &runtime->root, err) < 0)
        return work_because(work, "PullRuntimeImageFailed");
    runtime->destination[0] = '/';
    if (!tree_path_clean(runtime->root.config.working_dir, runtime->destination + 1,
                         sizeof(runtime->destination) - 64))
        return work_fail(work, "FileSystemOperationFailed", err,
                         "the runtime image's working directory is no path");
    /* Its scripts were taken from the source before .s2iignore counted. */
    memcpy(runtime->fetched, builder->fetched, sizeof(builder->fetched));
    runtime->fetched_count = builder->fetched_count;
    builder->fetched_count = 0;
    return look_user(work, runtime,
                     contract_runtime_user(&work->spec.options, &runtime->root.config), err);
}

static void give_environment(struct work *work, const struct assembly *builder,
                             struct assembly *runtime)
{
    for (size_t i = 0; i < builder->stored.count; i++)
        s2i_list_add(&runtime->stored, slice_of(builder->stored.items[i]));
    environment_of_build(&work->spec, &runtime->root.config, &runtime->stored, runtime->user.home,
                         &runtime->environment);
}

static int assemble(struct work *work, struct assembly *runtime, struct error *err)
{
    const struct s2i_script *script = look_script(runtime, "assemble-runtime");
    const char *const words[] = {script->path, NULL};

    work_step(work, "Running %s in %s", script->path, runtime->image->name);
    if (step_run(work, runtime, words, "AssembleFailed", -1, err) < 0)
        return -1;
    return commit_metadata(work, runtime, err);
}

int extended_build(struct work *work, struct assembly *builder, struct error *err)
{
    OWNED(assembly_drop) struct assembly runtime = ASSEMBLY_NONE;

    work_stage(work, "PullRuntimeImage");
    if (open_runtime(work, builder, &runtime, err) < 0 ||
        copy_artifacts(work, builder, &runtime, err) < 0 ||
        look_scripts(work, &runtime, true, err) < 0 || place_scripts(work, &runtime, err) < 0)
        return -1;
    give_environment(work, builder, &runtime);
    tell_result(work, &runtime);
    work_stage(work, "Assemble");
    if (assemble(work, &runtime, err) < 0 || commit_layers(work, &runtime, err) < 0)
        return -1;
    return commit_hook(work, &runtime, err);
}

/* extended.c - builds with a runtime image: artifacts of the builder go to a second image, and that
 * becomes the result (9).
 * Touches  a mounted root of the runtime image; reads the builder's.
 * Never    changes the builder's. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/builder/steps.h"

static int copy_artifacts(struct work *work, const struct assembly *builder,
                          const struct assembly *runtime, struct error *err)
{
    OWNED(artifact_mappings_drop) struct artifact_mappings mappings = {0};
    struct copying copying = {.work = work,
                              .owner = runtime->owner,
                              .files_max = work->spec.limits.files_max,
                              .latest = INT64_MAX,
                              .err = err};
    char destination[PATH_MAX];

    if (artifact_mappings_find(&work->spec.options, &runtime->root.config, &mappings, err) < 0)
        return work_because(work, "InvalidArtifactsMapping");
    for (size_t i = 0; i < mappings.count; i++) {
        const struct artifact_mapping *mapping = &mappings.items[i];
        snprintf(destination, sizeof(destination), "%s/%s", runtime->destination,
                 mapping->destination == NULL ? "" : mapping->destination);
        work_detail(work, "%s to %s", mapping->source, destination);
        if (copy_path(&copying, builder->root.root, mapping->source, runtime->root.root,
                      destination) < 0)
            return err->code != ERROR_NONE
                       ? -1
                       : work_fail(work, "FetchRuntimeArtifactsFailed", err, "%.100s: %s",
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

/* steps.c - the order of a build: image, source, scripts, assemble, layer.
 * Touches  what its steps do.
 * Never    goes on after a step that failed.
 *
 *   IMAGE > SOURCE > LOOK > INPUTS (a plan ends here) > ARTIFACTS > ASSEMBLE > COMMIT > HOOK */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s2i/builder/kept.h"
#include "s2i/builder/steps.h"

enum { USAGE_MAX = 1 << 20 };

static void proxy_drop(struct proxy **proxy)
{
    proxy_close(*proxy);
}

/* --- running a script --- */

/* Created if it is missing (6.1). The runtime gets the real place: a link into /proc would be
 * followed by it in the running container. */
static int working_folder(struct work *work, const struct assembly *assembly, char *out,
                          size_t capacity, struct error *err)
{
    const char *given = assembly->root.config.working_dir;
    char clean[1024] = "/";

    if (!tree_path_clean(given, clean + 1, sizeof(clean) - 1))
        return work_fail(work, "FileSystemOperationFailed", err,
                         "the working directory %.80s is no path in a container", given);
    OWNED(fd_drop) int folder = tree_folder(assembly->root.root, clean, &assembly->owner);
    out[0] = '/';
    if (folder < 0 || !root_real_path(&assembly->root, clean, out + 1, capacity - 1))
        return work_fail(work, "FileSystemOperationFailed", err,
                         "the working directory %.80s cannot be made or used", given);
    return 0;
}

int step_run(struct work *work, struct assembly *assembly, const char *const *words,
             const char *reason, int output, struct error *err)
{
    OWNED(proxy_drop) struct proxy *proxy = NULL;
    char folder[PATH_MAX];
    struct run run = {.root = &assembly->root,
                      .words = words,
                      .environment = &assembly->environment,
                      .folder = folder,
                      .user = assembly->user,
                      .network_namespace = -1,
                      .output = output,
                      .reason = reason,
                      .name = assembly->image->name};

    if (working_folder(work, assembly, folder, sizeof(folder), err) < 0 ||
        give_network(work, assembly, &run, &proxy, err) < 0)
        return -1;
    if (strcmp(reason, "AssembleFailed") == 0 && give_secrets(work, assembly, &run, err) < 0)
        return -1;
    if (assembly->gets_caches && give_caches(work, assembly, &run, err) < 0)
        return -1;
    if (strcmp(reason, "AssembleFailed") == 0)
        brought_read(work, assembly);
    if (strcmp(reason, "AssembleFailed") == 0 || strcmp(reason, "PostCommitHookFailed") == 0)
        kept_note(work, &run);
    return run_container(work, &run, err);
}

/* --- the image --- */

static int check_user(struct work *work, const char *wanted, struct error *err)
{
    const struct s2i_options *options = &work->spec.options;
    bool from_label = options->assemble_user == NULL || options->assemble_user[0] == 0;

    if (container_user_allowed(options->allowed_uids, wanted, from_label, work->spec.builder.name,
                               err) < 0)
        return work_because(work, "AssembleUserForbidden");
    return 0;
}

static int open_image(struct work *work, struct assembly *assembly, struct error *err)
{
    const char *wanted;

    work_stage(work, "PullImages");
    assembly->image = &work->spec.builder;
    if (root_open(work, "builder", assembly->image, &assembly->root, err) < 0)
        return work_because(work, "PullBuilderImageFailed");
    if (assembly->root.config.onbuild) /* 10.2 */
        return work_fail(work, "OnBuildForbidden", err,
                         "builder image uses ONBUILD instructions but ONBUILD is not allowed");
    wanted = contract_assemble_user(&work->spec.options, &assembly->root.config);
    if (check_user(work, wanted == NULL ? "" : wanted, err) < 0 ||
        look_user(work, assembly, wanted, err) < 0)
        return -1;
    return look_destination(work, assembly, err);
}

/* --- the result's words --- */

static char *copy(const char *text)
{
    return text == NULL ? NULL : memory_text(slice_of(text));
}

static void tell_scripts(struct work *work, const struct assembly *assembly)
{
    struct s2i_result *result = &work->result;
    size_t count = assembly->scripts.count;

    result->scripts = memory_resize(result->scripts,
                                    (result->script_count + count + 1) * sizeof(*result->scripts));
    for (size_t i = 0; i < count; i++) {
        const struct s2i_script *script = &assembly->scripts.items[i];
        result->scripts[result->script_count++] = (struct s2i_script){
            .name = copy(script->name), .from = copy(script->from), .path = copy(script->path)};
    }
}

void tell_result(struct work *work, struct assembly *assembly)
{
    struct s2i_result *result = &work->result;
    const struct s2i_script *run = look_script(assembly, "run");
    OWNED(buffer_drop) struct buffer user = BUFFER_NONE;

    tell_scripts(work, assembly);
    if (run != NULL) {
        free(result->run);
        result->run = copy(run->path);
    }
    buffer_print(&user, "%u:%u", assembly->user.uid, assembly->user.gid);
    free(result->assemble_user);
    result->assemble_user = memory_text(buffer_slice(&user));
    s2i_list_drop(&result->env);
    for (size_t i = 0; i < assembly->stored.count; i++)
        s2i_list_add(&result->env, slice_of(assembly->stored.items[i]));
}

/* --- the modes --- */

static int usage(struct work *work, struct assembly *assembly, struct error *err)
{
    const struct s2i_script *script = look_script(assembly, "usage");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop) int output = open(DESK "/s", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (script == NULL)
        return work_fail(work, "InstallScriptsFailed", err, "the builder has no usage script");
    if (output < 0)
        return work_fail(work, "FileSystemOperationFailed", err, "%s", strerror(errno));
    const char *const words[] = {script->path, NULL};
    if (step_run(work, assembly, words, "GenericS2IBuildFailed", output, err) < 0)
        return -1;
    if (lseek(output, 0, SEEK_SET) < 0 || fd_read(output, USAGE_MAX, &text) < 0)
        return work_fail(work, "GenericS2IBuildFailed", err, "what usage says is too long");
    work->result.output = memory_text(buffer_slice(&text));
    return 0;
}

static int assemble(struct work *work, struct assembly *assembly, struct error *err)
{
    const struct s2i_script *script = look_script(assembly, "assemble");
    const char *const words[] = {script->path, NULL};

    work_stage(work, "Assemble");
    work_step(work, "Running %s as %s", script->path, work->result.assemble_user);
    assembly->gets_caches = true;
    if (step_run(work, assembly, words, "AssembleFailed", -1, err) < 0)
        return -1;
    if (save_caches(work, assembly, err) < 0)
        return -1;
    return commit_metadata(work, assembly, err);
}

static int look(struct work *work, struct assembly *assembly, struct error *err)
{
    if (place_source(work, assembly, err) < 0 || look_scripts(work, assembly, false, err) < 0 ||
        place_scripts(work, assembly, err) < 0)
        return -1;
    place_keep(work, assembly);
    if (place_ignore(work, assembly, err) < 0 || look_environment(work, assembly, err) < 0)
        return -1;
    tell_result(work, assembly);
    return 0;
}

static void say_source(struct work *work)
{
    unsigned long long files = work->result.files_in, ignored = work->result.files_ignored;
    const char *more = files == 1 ? "" : "s";

    if (ignored > 0)
        work_step(work, "Source: %llu file%s, %llu left out by .s2iignore", files, more, ignored);
    else
        work_step(work, "Source: %llu file%s", files, more);
}

int steps_build(struct work *work, struct error *err)
{
    OWNED(assembly_drop) struct assembly assembly = ASSEMBLY_NONE;

    if (scratch_open(work, err) < 0)
        return work_because(work, "ExecutorUnavailable");
    if (open_image(work, &assembly, err) < 0 || look(work, &assembly, err) < 0)
        return -1;
    if (work->spec.mode == S2I_USAGE)
        return usage(work, &assembly, err);
    if (work->spec.mode == S2I_BUILD)
        say_source(work);
    if (inputs_place(work, &assembly, err) < 0)
        return -1;
    if (work->spec.mode == S2I_PLAN)
        return 0;
    if (work->spec.options.incremental)
        previous_artifacts(work, &assembly);
    if (assemble(work, &assembly, err) < 0)
        return -1;
    if (work->spec.runtime.name != NULL)
        return extended_build(work, &assembly, err);
    if (commit_layers(work, &assembly, err) < 0)
        return -1;
    return commit_hook(work, &assembly, err);
}

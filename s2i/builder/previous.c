/* previous.c - artifacts that the last image saves for the next build (8.1 to 8.5).
 * Touches  a container of the previous image; <destination>/artifacts.
 * Never    fails a build: it goes on clean. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/folder.h"
#include "s2i/builder/steps.h"

enum { QUIET_MS = 300 * 1000, SCRIPT_MAX = 16 << 20 };

#define SAVE "save-artifacts"

/* A script that is no part of the image is put where it is expected (8.5). */
static int give_script(const struct assembly *builder, const struct assembly *previous,
                       const struct s2i_script *script)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char folder[PATH_MAX];

    if (strncmp(script->from, "image://", 8) == 0)
        return tree_has(previous->root.root, script->path) ? 0 : -1;
    if (tree_read(builder->root.root, script->path, SCRIPT_MAX, &text) != 1)
        return -1;
    snprintf(folder, sizeof(folder), "%s/scripts", builder->destination);
    OWNED(fd_drop) int scripts = tree_folder(previous->root.root, folder, &previous->owner);
    if (scripts < 0)
        return -1;
    return tree_write(scripts, SAVE, buffer_slice(&text), 0755, &previous->owner);
}

static const char *user_of(const struct work *work, const struct assembly *previous)
{
    const char *wanted = work->spec.options.assemble_user;

    return wanted != NULL && wanted[0] != 0 ? wanted : previous->root.config.user;
}

static int save(struct work *work, const struct assembly *builder, int output, struct error *err)
{
    OWNED(assembly_drop) struct assembly previous = ASSEMBLY_NONE;
    const struct s2i_script *script = look_script(builder, SAVE);
    const char *const words[] = {script->path, NULL};

    previous.image = &work->spec.previous;
    if (root_open(work, "previous", previous.image, &previous.root, err) < 0 ||
        look_user(work, &previous, user_of(work, &previous), err) < 0)
        return -1;
    if (give_script(builder, &previous, script) < 0)
        return error_set(err, ERROR_INVALID, "the previous image has no %s", script->path);
    environment_of_build(&work->spec, &previous.root.config, NULL, previous.user.home,
                         &previous.environment);
    return step_run(work, &previous, words, "GenericS2IBuildFailed", output, err);
}

static int restore(struct work *work, struct assembly *assembly, int output, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/artifacts", assembly->destination);
    OWNED(fd_drop) int folder = tree_folder(assembly->root.root, path, &assembly->owner);
    if (folder < 0 || lseek(output, 0, SEEK_SET) < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "artifacts cannot be placed");
    const struct tar_wish wish = {.uid = assembly->user.uid,
                                  .gid = 0,
                                  .strict = false,
                                  .limits = {.bytes_max = work->spec.limits.disk,
                                             .entries_max = work->spec.limits.files_max}};
    int outcome = apart_untar(work, output, folder, &wish, &notes, err);
    work_notes(work, &notes);
    if (outcome == 0)
        return 0;
    fd_drop(&folder);
    OWNED(fd_drop)
    int above = tree_open(assembly->root.root, assembly->destination, O_RDONLY | O_DIRECTORY, 0);
    if (above >= 0)
        folder_erase(above, "artifacts");
    return -1;
}

void previous_artifacts(struct work *work, struct assembly *assembly)
{
    struct error err = {0};
    uint64_t silence_ms = work->spec.limits.silence_ms;

    if (work->spec.previous.name == NULL || look_script(assembly, SAVE) == NULL) {
        work_step(work, "Clean build will be performed");
        return;
    }
    work_stage(work, "RetrieveArtifacts");
    work_step(work, "Saving artifacts of %s", work->spec.previous.name);
    OWNED(fd_drop) int output = open(DESK "/s", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (silence_ms == 0 || silence_ms > QUIET_MS)
        work->spec.limits.silence_ms = QUIET_MS;
    int outcome = output < 0 ? -1 : save(work, assembly, output, &err);
    work->spec.limits.silence_ms = silence_ms;
    if (outcome == 0 && restore(work, assembly, output, &err) == 0)
        return;
    work_warn(work,
              "Clean build will be performed because of error saving previous build "
              "artifacts: %s",
              err.message);
    work->reason = NULL;
    work->result.exit_code = -1;
}

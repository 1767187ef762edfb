/* inputs.c - files of other images go beside the source, before assemble runs.
 * Touches  <destination>/src of a mounted root; layers of other images, mounted for reading.
 * Never    writes outside of the source; takes a device, a fifo, an owner or a setuid bit along.
 *
 * Spec: s2i 13.52. A folder gives what is in it, a file itself; scripts and .s2iignore have been
 * looked at before, so that nothing that comes here counts as the source's own word. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "s2i/builder/steps.h"

#define REASON "FetchImageContentFailed"

struct view { /* one image at a time */
    const struct s2i_image *image;
    struct root root;
};

static void view_drop(struct view *view)
{
    root_drop(&view->root);
}

static int view_open(struct work *work, struct view *view, struct slice name, struct error *err)
{
    const struct s2i_image *image = s2i_spec_input(&work->spec, name);
    char kind[32];

    if (image == NULL)
        return work_fail(work, REASON, err, "there is no image %.*s", SLICE_ARG(name));
    if (image == view->image)
        return 0;
    root_drop(&view->root);
    *view = (struct view){.image = image, .root = ROOT_NONE};
    snprintf(kind, sizeof(kind), "input/%zu", (size_t)(image - work->spec.inputs));
    return root_open_view(work, kind, image, &view->root, err) < 0 ? work_because(work, REASON) : 0;
}

/* Folders that were made on the way have a time of no clock either. */
static void set_times(const struct copying *copying, int src, const char *folder)
{
    const struct timespec times[2] = {{.tv_sec = copying->latest}, {.tv_sec = copying->latest}};
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "/%s", folder);
    for (char *end = path + strlen(path); end != NULL; end = strrchr(path, '/')) {
        *end = 0;
        OWNED(fd_drop)
        int fd = tree_open(src, path[0] == 0 ? "/" : path, O_RDONLY | O_DIRECTORY, 0);
        if (fd >= 0)
            futimens(fd, times);
    }
}

static int failed(struct work *work, const struct view *view, const char *source, struct error *err)
{
    int number = errno;

    if (err->code != ERROR_NONE) /* the build is over */
        return -1;
    if (scratch_full())
        return work_fail(work, "DiskLimit", err, "the build wrote the %llu MiB that it may",
                         (unsigned long long)(work->spec.limits.disk >> 20));
    if (number == ENOENT || number == ENOTDIR)
        return work_fail(work, REASON, err, "%.60s has no %.100s", view->image->name, source);
    return work_fail(work, REASON, err, "%.100s of %.60s: %s", source, view->image->name,
                     number == EINVAL   ? "it is neither a file nor a folder"
                     : number == EMFILE ? "more files than a source may have"
                                        : strerror(number));
}

static int place(struct work *work, const struct assembly *assembly, struct copying *copying,
                 struct view *view, const char *item, struct error *err)
{
    struct slice name, from, to;

    if (!s2i_copy_parse(slice_of(item), &name, &from, &to))
        return work_fail(work, REASON, err, "copy_from cannot be read");
    OWNED(memory_drop) char *source = memory_text(from);
    OWNED(memory_drop) char *destination = memory_text(to);
    if (view_open(work, view, name, err) < 0)
        return -1;
    assert(view->image != NULL);
    if (work->spec.mode == S2I_PLAN) { /* it only has to be there */
        OWNED(fd_drop) int there = tree_open(view->root.root, source, O_PATH, 0);
        return there < 0 ? failed(work, view, source, err) : 0;
    }
    uint64_t before = copying->files;
    if (copy_path(copying, view->root.root, source, assembly->src, destination) < 0)
        return failed(work, view, source, err);
    set_times(copying, assembly->src, destination);
    work_step(work, "Copied %s of %s to src/%s: %llu files", source, view->image->name, destination,
              (unsigned long long)(copying->files - before));
    return 0;
}

int inputs_place(struct work *work, struct assembly *assembly, struct error *err)
{
    const struct s2i_list *items = &work->spec.options.copy_from;
    OWNED(view_drop) struct view view = {.image = NULL, .root = ROOT_NONE};
    struct copying copying = {.work = work,
                              .owner = assembly->owner,
                              .files_max = work->spec.limits.files_max,
                              .latest = work->spec.source.time,
                              .follow = true,
                              .err = err};

    if (items->count == 0)
        return 0;
    work_stage(work, "FetchImageContent");
    for (size_t i = 0; i < items->count; i++)
        if (place(work, assembly, &copying, &view, items->items[i], err) < 0)
            return -1;
    return 0;
}

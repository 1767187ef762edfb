/* commit.c - what assemble changed becomes layers; what it said of the image is read; the hook
 * after it is run.
 * Touches  the upper folder of a root none of whose processes live; the build's channel.
 * Never    lets a mount point, a secret or a cache into a layer (17.12). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/builder/steps.h"

enum { METADATA_MAX = 1 << 20, HELD_MAX = 4096, LEFT_MAX = 256 };

#define METADATA "tmp/.s2i/image_metadata.json"

/* --- image_metadata.json (6.7) --- */

int commit_metadata(struct work *work, struct assembly *assembly, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    int found = tree_read(assembly->root.root, "/" METADATA, METADATA_MAX, &text);

    s2i_list_add(&assembly->left_out, SLICE(METADATA));
    if (found == 0)
        return 0;
    if (found < 0)
        return work_fail(work, "GenericS2IBuildFailed", err, "/" METADATA " cannot be read");
    if (image_metadata_read(buffer_slice(&text), &work->result.labels, err) < 0)
        return work_because(work, "GenericS2IBuildFailed");
    return 0;
}

/* --- layers --- */

/* A slice that nothing fell into is not worth a layer: the first bytes are held back. */
struct holding {
    struct work *work;
    struct buffer held;
    bool let_go;
};

static void holding_drop(struct holding *holding)
{
    buffer_drop(&holding->held);
}

static int let_go(struct holding *holding, struct error *err)
{
    if (holding->let_go)
        return 0;
    holding->let_go = true;
    return work_blob(holding->work, buffer_slice(&holding->held), err);
}

static int hold(void *arg, struct slice bytes, struct error *err)
{
    struct holding *holding = arg;

    if (!holding->let_go && holding->held.size + bytes.size <= HELD_MAX) {
        buffer_append_slice(&holding->held, bytes);
        return 0;
    }
    return let_go(holding, err) < 0 ? -1 : work_blob(holding->work, bytes, err);
}

static struct s2i_made_layer *new_layer(struct s2i_result *result)
{
    result->layers =
        memory_resize(result->layers, (result->layer_count + 1) * sizeof(*result->layers));
    result->layers[result->layer_count] = (struct s2i_made_layer){0};
    return &result->layers[result->layer_count++];
}

static char *slice_name(const struct layer_make *make)
{
    struct slice name = SLICE(""), pattern;

    if (make->slices != NULL && make->slice < make->slices->count)
        slice_split(slice_of(make->slices->items[make->slice]), '=', &name, &pattern);
    return memory_text(name);
}

static int failed(struct work *work, const struct error *err)
{
    static const char *const known[] = {"SecretInLayer", "DiskLimit"};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strstr(err->cause, known[i]) != NULL)
            return work_because(work, known[i]);
    return work_because(work, "ContainerCommitFailed");
}

/* last: the image gets at least one layer. */
static int make_one(struct work *work, const struct layer_make *wanted, bool last,
                    struct error *err)
{
    OWNED(holding_drop) struct holding holding = {.work = work};
    OWNED(memory_drop) char *name = slice_name(wanted);
    struct layer_make make = *wanted;
    struct s2i_layer layer = {0};
    uint64_t entries = 0;

    make.sink = hold;
    make.arg = &holding;
    if (layer_make(&make, &layer, &entries, err) < 0)
        return failed(work, err);
    if (entries == 0 && !holding.let_go && !(last && work->result.layer_count == 0)) {
        free(layer.media_type);
        return 0;
    }
    struct s2i_made_layer *made = new_layer(&work->result);
    *made = (struct s2i_made_layer){.layer = layer, .name = TAKE(name)};
    if (let_go(&holding, err) < 0 || work_blob_end(work, "layer", &layer, made->name, err) < 0)
        return work_because(work, "ContainerCommitFailed");
    return 0;
}

/* Options, the source, the image: the first that says something (15.6). */
static int find_slices(struct work *work, struct assembly *assembly, struct s2i_list *out,
                       struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct s2i_list *given = &work->spec.options.slices;
    const char *label = image_label(&assembly->root.config, "s2i.slices");
    struct slice rest, line;

    for (size_t i = 0; i < given->count; i++)
        s2i_list_add(out, slice_of(given->items[i]));
    if (out->count > 0)
        return 0;
    if (assembly->slices.size == 0 && label != NULL)
        buffer_append_text(&text, label);
    rest = assembly->slices.size > 0 ? buffer_slice(&assembly->slices) : buffer_slice(&text);
    while (rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        line = slice_trim(line);
        if (line.size > 0 && line.at[0] != '#' && memchr(line.at, '=', line.size) != NULL)
            s2i_list_add(out, line);
    }
    if (out->count > LEFT_MAX)
        return work_fail(work, "ContainerCommitFailed", err, "more than %d slices", LEFT_MAX);
    return 0;
}

static int make_all(struct work *work, const struct assembly *assembly,
                    const struct s2i_list *slices, struct s2i_list *notes, struct error *err)
{
    OWNED(memory_drop)
    const char **left_out = memory_new((assembly->left_out.count + 3) * sizeof(*left_out));
    size_t count = 0;

    left_out[count++] = "proc";
    left_out[count++] = "dev";
    for (size_t i = 0; i < assembly->left_out.count; i++)
        left_out[count++] = assembly->left_out.items[i];
    struct layer_make make = {.upper = assembly->root.upper,
                              .lowers = assembly->root.stack.layers,
                              .lower_count = assembly->root.stack.count,
                              .ids = work->ids,
                              .uid = assembly->user.uid,
                              .gid = assembly->user.gid,
                              .brought = brought_has,
                              .brought_arg = (void *)(uintptr_t)&assembly->brought,
                              .notes = notes,
                              .epoch = work->spec.source.time,
                              .bytes_max = work->spec.limits.layer_bytes_max,
                              .clamp_all = work->spec.options.clamp_all,
                              .left_out = left_out,
                              .slices = slices->count > 0 ? slices : NULL,
                              .compression = work->spec.options.compression == NULL
                                                 ? "gzip"
                                                 : work->spec.options.compression,
                              .secrets = &assembly->secrets,
                              .go_on = work_go_on,
                              .go_on_arg = work};
    for (make.slice = 0; make.slice <= slices->count; make.slice++, make.notes = NULL)
        if (make_one(work, &make, make.slice == slices->count, err) < 0)
            return -1;
    return 0;
}

int commit_layers(struct work *work, struct assembly *assembly, struct error *err)
{
    OWNED(s2i_list_drop) struct s2i_list slices = {0};
    OWNED(s2i_list_drop) struct s2i_list notes = {0};
    uint64_t bytes = 0;

    work_stage(work, "CommitContainer");
    packages_read(assembly->root.root, assembly->root.config.working_dir, &work->result.packages);
    if (find_slices(work, assembly, &slices, err) < 0 ||
        make_all(work, assembly, &slices, &notes, err) < 0)
        return -1;
    work_notes(work, &notes);
    for (size_t i = 0; i < work->result.layer_count; i++)
        bytes += work->result.layers[i].layer.size;
    work_detail(work, "%zu layer%s, %llu bytes", work->result.layer_count,
                work->result.layer_count == 1 ? "" : "s", (unsigned long long)bytes);
    return 0;
}

/* --- after it (13.50) --- */

static int run_hook(struct work *work, struct assembly *image, const char *const *words,
                    const char *wanted, struct error *err)
{
    if (look_user(work, image, wanted, err) < 0)
        return -1;
    return step_run(work, image, words, "PostCommitHookFailed", -1, err);
}

int commit_hook(struct work *work, struct assembly *assembly, struct error *err)
{
    OWNED(assembly_drop) struct assembly image = ASSEMBLY_NONE;
    const struct s2i_list *command = &work->spec.options.post_commit;
    struct image_config config = assembly->root.config;

    if (command->count == 0)
        return 0;
    OWNED(memory_drop) const char **words = memory_new((command->count + 1) * sizeof(*words));
    for (size_t i = 0; i < command->count; i++)
        words[i] = command->items[i];
    work_stage(work, "PostCommit");
    work_step(work, "Running %s in the new image", words[0]);
    image.image = assembly->image;
    if (root_open_over(work, &assembly->root, &image.root, err) < 0)
        return work_because(work, "PostCommitHookFailed");
    assembly->root.config = (struct image_config){0};
    image_config_drop(&image.root.config);
    image.root.config = config;
    environment_of_build(&work->spec, &image.root.config, &assembly->stored, NULL,
                         &image.environment);
    return run_hook(work, &image, words, image.root.config.user, err);
}

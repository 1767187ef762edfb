/* setup.c - what a builder tells its workers, as JSON in their environment.
 * Touches  memory only.
 * Never    a secret: those come over a build's channel. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/builder/builder_internal.h"

char *worker_setup_write(const struct worker_setup *setup)
{
    const struct cgroup_means *groups = &setup->groups;
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:{s:b, s:b, s:b, s:b, s:b, s:s}}", "folder",
        setup->folder, "runtime", setup->runtime, "scratch", setup->scratch, "cgroup",
        setup->cgroup, "root", (int)setup->root, "keeps", (int)setup->keeps, "id_base",
        (json_int_t)setup->id_base, "cache_max", (json_int_t)setup->cache_max, "groups", "v2",
        (int)groups->v2, "memory", (int)groups->memory, "swap", (int)groups->swap, "pids",
        (int)groups->pids, "cpu", (int)groups->cpu, "root", groups->root);
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    return text;
}

static char *text_of(const json_t *object, const char *name)
{
    return memory_text(slice_of(json_string_value(json_object_get(object, name))));
}

static bool flag_of(const json_t *object, const char *name)
{
    return json_is_true(json_object_get(object, name));
}

static void read_groups(struct cgroup_means *out, const json_t *object)
{
    const char *root = json_string_value(json_object_get(object, "root"));

    *out = (struct cgroup_means){.v2 = flag_of(object, "v2"),
                                 .memory = flag_of(object, "memory"),
                                 .swap = flag_of(object, "swap"),
                                 .pids = flag_of(object, "pids"),
                                 .cpu = flag_of(object, "cpu")};
    snprintf(out->root, sizeof(out->root), "%s", root == NULL ? "" : root);
}

int worker_setup_read(struct worker_setup *out, const char *text, struct error *err)
{
    json_t *object = text == NULL ? NULL : json_loads(text, 0, NULL);
    bool whole = json_is_string(json_object_get(object, "folder")) &&
                 json_is_string(json_object_get(object, "runtime")) &&
                 json_is_string(json_object_get(object, "scratch")) &&
                 json_is_string(json_object_get(object, "cgroup"));

    if (whole) {
        *out = (struct worker_setup){
            .folder = text_of(object, "folder"),
            .runtime = text_of(object, "runtime"),
            .scratch = text_of(object, "scratch"),
            .cgroup = text_of(object, "cgroup"),
            .root = flag_of(object, "root"),
            .keeps = flag_of(object, "keeps"),
            .id_base = (unsigned)json_integer_value(json_object_get(object, "id_base")),
            .cache_max =
                (unsigned long long)json_integer_value(json_object_get(object, "cache_max"))};
        read_groups(&out->groups, json_object_get(object, "groups"));
    }
    json_decref(object);
    return whole ? 0 : error_set(err, ERROR_INTERNAL, "workers are started by a builder only");
}

void worker_setup_drop(struct worker_setup *setup)
{
    free(setup->folder);
    free(setup->runtime);
    free(setup->scratch);
    free(setup->cgroup);
    *setup = (struct worker_setup){0};
}

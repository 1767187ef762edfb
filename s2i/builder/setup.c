/* setup.c - what a builder tells its workers, as JSON in their environment.
 * Touches  memory only.
 * Never    a secret: those come over a build's channel. */
#include <stdlib.h>
#include <string.h>

#include "s2i/builder/builder_internal.h"

char *worker_setup_write(const struct worker_setup *setup)
{
    json_t *object =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I}", "folder", setup->folder, "runtime",
                  setup->runtime, "scratch", setup->scratch, "cgroup", setup->cgroup, "root",
                  (int)setup->root, "keeps", (int)setup->keeps, "id_base",
                  (json_int_t)setup->id_base, "cache_max", (json_int_t)setup->cache_max);
    char *text = json_dumps(object, JSON_COMPACT);

    json_decref(object);
    return text;
}

int worker_setup_read(struct worker_setup *out, const char *text, struct error *err)
{
    const char *folder, *runtime, *scratch, *cgroup;
    json_int_t id_base, cache_max;
    int root, keeps;
    json_t *object = text == NULL ? NULL : json_loads(text, 0, NULL);
    int failed = json_unpack(object, "{s:s, s:s, s:s, s:s, s:b, s:b, s:I, s:I}", "folder", &folder,
                             "runtime", &runtime, "scratch", &scratch, "cgroup", &cgroup, "root",
                             &root, "keeps", &keeps, "id_base", &id_base, "cache_max", &cache_max);

    if (failed == 0)
        *out = (struct worker_setup){.folder = memory_text(slice_of(folder)),
                                     .runtime = memory_text(slice_of(runtime)),
                                     .scratch = memory_text(slice_of(scratch)),
                                     .cgroup = memory_text(slice_of(cgroup)),
                                     .root = root != 0,
                                     .keeps = keeps != 0,
                                     .id_base = (unsigned)id_base,
                                     .cache_max = (unsigned long long)cache_max};
    json_decref(object);
    if (failed < 0)
        return error_set(err, ERROR_INTERNAL, "workers are started by a builder only");
    return 0;
}

void worker_setup_drop(struct worker_setup *setup)
{
    free(setup->folder);
    free(setup->runtime);
    free(setup->scratch);
    free(setup->cgroup);
    *setup = (struct worker_setup){0};
}

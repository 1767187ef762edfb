/* look.c - what a build needs to know of its image and source: destination, users, scripts,
 * environment.
 * Touches  a mounted root, read only; URLs of scripts where the server allows them (2.8).
 * Never    runs anything. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/builder/steps.h"
#include "s2i/source/source.h"

enum { FETCH_MS = 60 * 1000, SCRIPT_MAX = 1 << 20 };

void assembly_drop(struct assembly *assembly)
{
    fd_drop(&assembly->src);
    ignore_drop(&assembly->ignore);
    contract_scripts_drop(&assembly->scripts);
    for (size_t i = 0; i < assembly->fetched_count; i++) {
        free(assembly->fetched[i].name);
        buffer_drop(&assembly->fetched[i].text);
    }
    container_user_drop(&assembly->user);
    free(assembly->user_wanted);
    s2i_list_drop(&assembly->stored);
    s2i_list_drop(&assembly->environment);
    s2i_list_drop(&assembly->left_out);
    s2i_list_wipe(&assembly->secrets);
    s2i_list_drop(&assembly->targets);
    s2i_list_drop(&assembly->caches);
    buffer_drop(&assembly->slices);
    brought_drop(&assembly->brought);
    root_drop(&assembly->root);
}

int look_destination(struct work *work, struct assembly *assembly, struct error *err)
{
    const char *given = contract_destination(&work->spec.options, &assembly->root.config);

    assembly->destination[0] = '/';
    if (!tree_path_clean(given, assembly->destination + 1, sizeof(assembly->destination) - 64) ||
        root_mounted_over(assembly->destination + 1)) /* it would be hidden */
        return work_fail(work, "FileSystemOperationFailed", err,
                         "the destination %.80s is no path in a container", given);
    return 0;
}

/* --- users --- */

static const char *text_or(const char *text, const char *instead)
{
    return text == NULL || text[0] == 0 ? instead : text;
}

int look_user(struct work *work, struct assembly *assembly, const char *wanted, struct error *err)
{
    bool root = work->setup.root;

    free(assembly->user_wanted);
    assembly->user_wanted = memory_text(slice_of(text_or(wanted, "0")));
    container_user_drop(&assembly->user);
    if (root_user(&assembly->root, assembly->user_wanted, &assembly->user, err) < 0)
        return work_because(work, "GenericS2IBuildFailed");
    assembly->owner = (struct tree_owner){.uid = work->ids.base + (root ? assembly->user.uid : 0),
                                          .gid = work->ids.base};
    return 0;
}

/* --- scripts --- */

struct look {
    struct work *work;
    struct assembly *assembly;
};

static bool in_image(void *arg, const char *path)
{
    const struct look *look = arg;

    return tree_has(look->assembly->root.root, path);
}

static const struct fetched *find_fetched(const struct assembly *assembly, const char *name)
{
    for (size_t i = 0; i < assembly->fetched_count; i++)
        if (strcmp(assembly->fetched[i].name, name) == 0)
            return &assembly->fetched[i];
    return NULL;
}

static bool in_source(void *arg, const char *path)
{
    const struct look *look = arg;

    if (look->assembly->src >= 0)
        return tree_has(look->assembly->src, path);
    return find_fetched(look->assembly, strrchr(path, '/') + 1) != NULL; /* a runtime image's */
}

/* By the filter of sources (16.10). */
static int fetch(void *arg, const char *url, const char *script, struct error *err)
{
    struct look *look = arg;
    struct assembly *assembly = look->assembly;
    OWNED(buffer_drop) struct buffer address = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct s2i_spec *spec = &look->work->spec;
    const struct source_rules rules = {.schemes = &spec->script_schemes,
                                       .ports = &spec->script_ports,
                                       .allowed_hosts = &spec->script_hosts,
                                       .bytes_max = SCRIPT_MAX};
    int status = 0;

    if (assembly->fetched_count == sizeof(assembly->fetched) / sizeof(assembly->fetched[0]))
        return 1;
    buffer_print(&address, "%s%s%s", url, slice_ends(slice_of(url), "/") ? "" : "/", script);
    buffer_append(&address, "", 1);
    const struct source_request request = {
        .url = address.at, .size_max = SCRIPT_MAX, .timeout_ms = FETCH_MS};
    if (source_http(&request, &rules, &text, &status, err) < 0)
        return -1;
    if (status != 200 && status != 201)
        return 1;
    struct fetched *kept = &assembly->fetched[assembly->fetched_count++];
    *kept = (struct fetched){.name = memory_text(slice_of(script)), .text = text};
    text = BUFFER_NONE;
    work_detail(look->work, "fetched %s", address.at);
    return 0;
}

int fetched_script(const struct assembly *assembly, const char *name, struct buffer *out)
{
    const struct fetched *fetched = find_fetched(assembly, name);

    if (fetched == NULL)
        return -1;
    buffer_append_slice(out, buffer_slice(&fetched->text));
    return 0;
}

const struct s2i_script *look_script(const struct assembly *assembly, const char *name)
{
    for (size_t i = 0; i < assembly->scripts.count; i++)
        if (strcmp(assembly->scripts.items[i].name, name) == 0)
            return assembly->scripts.items[i].from == NULL ? NULL : &assembly->scripts.items[i];
    return NULL;
}

int look_scripts(struct work *work, struct assembly *assembly, bool runtime, struct error *err)
{
    struct look look = {work, assembly};
    const struct contract_tree tree = {.in_image = in_image,
                                       .in_source = in_source,
                                       .fetch = work->spec.scripts_by_http ? fetch : NULL,
                                       .arg = &look};
    const char *reason = NULL;

    int outcome = contract_scripts_find(&work->spec.options, &assembly->root.config, &tree, runtime,
                                        &assembly->scripts, &reason, err);
    work_notes(work, &assembly->scripts.notes);
    return outcome < 0 ? work_because(work, reason == NULL ? "InstallScriptsFailed" : reason) : 0;
}

/* --- environment (5) --- */

int look_environment(struct work *work, struct assembly *assembly, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(s2i_list_drop) struct s2i_list file = {0};
    OWNED(s2i_list_drop) struct s2i_list notes = {0};

    if (assembly->src >= 0 && place_read(work, assembly, ".s2i/environment", &text, err) < 0)
        return -1;
    if (assembly->src >= 0 && place_read(work, assembly, ".s2i/slices", &assembly->slices, err) < 0)
        return -1;
    environment_parse(buffer_slice(&text), &file, &notes);
    work_notes(work, &notes);
    environment_stored(&file, &work->spec.options, &assembly->stored);
    environment_of_build(&work->spec, &assembly->root.config, &assembly->stored,
                         assembly->user.home, &assembly->environment);
    return 0;
}

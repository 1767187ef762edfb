/* scripts.c - where each script comes from: the option, the source, the image.
 * Touches  what struct contract_tree shows.
 * Never    reads a script; takes a script for there without having looked (2.9). */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

struct wanted {
    const char *name;
    bool required;
};

/* One look-up of all scripts. */
struct search {
    const struct contract_tree *tree;
    const char *option;   /* scripts URL of the options, or NULL */
    const char *image;    /* of the image, or NULL */
    struct buffer folder; /* where scripts go that are not in the image; terminated */
    size_t by_option;     /* scripts that the option's URL gave */
    bool incremental;     /* so that save-artifacts matters */
    bool old_folder_noted;
    struct contract_scripts *out;
    const char **reason;
    struct error *err;
};

void contract_scripts_drop(struct contract_scripts *scripts)
{
    for (size_t i = 0; i < scripts->count; i++) {
        free(scripts->items[i].name);
        free(scripts->items[i].from);
        free(scripts->items[i].path);
    }
    free(scripts->items);
    s2i_list_drop(&scripts->notes);
    *scripts = (struct contract_scripts){.items = NULL};
}

static void note(struct search *search, const char *format, ...) PRINTF_LIKE(2, 3);
static void note(struct search *search, const char *format, ...)
{
    struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    s2i_list_add(&search->out->notes, buffer_slice(&text));
    buffer_drop(&text);
}

static char *join(struct slice folder, const char *name)
{
    while (folder.size > 0 && slice_ends(folder, "/"))
        folder.size--;
    return memory_print("%.*s/%s", SLICE_ARG(folder), name);
}

static void found(const struct search *search, struct s2i_script *script, const char *from)
{
    script->from = memory_text(slice_of(from));
    if (script->path == NULL)
        script->path = join(buffer_slice(&search->folder), script->name);
}

/* 1: found there; 0: not; -1. Spec: s2i 2.7, 2.8, 2.9 */
static int from_url(struct search *search, const char *url, struct s2i_script *script)
{
    if (strncmp(url, "image://", 8) == 0) {
        char *path = join(slice_of(url + 8), script->name);
        if (path[0] == '/' && search->tree->in_image(search->tree->arg, path)) {
            script->path = path;
            found(search, script, url);
            return 1;
        }
        free(path);
        return 0;
    }
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return 0;
    if (search->tree->fetch == NULL)
        return 0;
    int outcome = search->tree->fetch(search->tree->arg, url, script->name, search->err);
    if (outcome < 0)
        *search->reason = "FetchScriptsFailed";
    if (outcome != 0)
        return outcome < 0 ? -1 : 0;
    found(search, script, url);
    return 1;
}

/* Spec: s2i 3.2, 3.7 */
static bool from_source(struct search *search, struct s2i_script *script)
{
    char path[64];

    snprintf(path, sizeof(path), ".s2i/bin/%s", script->name);
    bool there = search->tree->in_source(search->tree->arg, path);
    if (!there) {
        snprintf(path, sizeof(path), ".sti/bin/%s", script->name);
        there = search->tree->in_source(search->tree->arg, path);
        if (there && !search->old_folder_noted) {
            note(search, "DEPRECATED: Use .s2i/bin instead of .sti/bin");
            search->old_folder_noted = true;
        }
    }
    if (there)
        found(search, script, "source");
    return there;
}

/* First hit wins, each script on its own. */
static int find_one(struct search *search, struct s2i_script *script)
{
    if (search->option != NULL) {
        int outcome = from_url(search, search->option, script);
        search->by_option += outcome == 1;
        if (outcome != 0)
            return outcome < 0 ? -1 : 0;
    }
    if (from_source(search, script) || search->image == NULL)
        return 0;
    return from_url(search, search->image, script) < 0 ? -1 : 0;
}

/* Schemes that cannot be used are said once, not script by script. */
static void note_scheme(struct search *search, const char *url, const char *whose)
{
    bool http = url != NULL && strncmp(url, "http", 4) == 0;

    if (url == NULL || strncmp(url, "image:///", 9) == 0 || (http && search->tree->fetch != NULL))
        return;
    if (http)
        note(search, "the scripts URL of %s is not read: this server fetches no scripts", whose);
    else
        note(search, "the scripts URL of %s is not image:///<folder>, and is not used", whose);
}

static void note_image(struct search *search, const struct image_config *image)
{
    const char *deprecated;

    search->image = contract_scripts_url(image, &deprecated);
    if (deprecated != NULL)
        note(search,
             "the image uses deprecated %s, please use the label "
             "io.openshift.s2i.scripts-url instead",
             deprecated);
    if (search->image == NULL)
        note(search, "the image does not contain a value for the io.openshift.s2i.scripts-url "
                     "label");
    note_scheme(search, search->image, "the image");
}

/* Spec: s2i 3.5, 9.5 */
static int missing(struct search *search, const struct wanted *wanted, bool runtime)
{
    struct buffer names = BUFFER_NONE;

    for (size_t i = 0; i < search->out->count; i++)
        if (wanted[i].required && search->out->items[i].from == NULL)
            buffer_print(&names, "%s%s", names.size > 0 ? " " : "", wanted[i].name);
    if (names.size == 0)
        return 0;
    *search->reason = "InstallScriptsFailed";
    if (runtime && search->image == NULL)
        error_set(search->err, ERROR_INVALID, "could not determine scripts URL for image");
    else if (search->image != NULL)
        error_set(search->err, ERROR_INVALID,
                  "failed to install [%.*s]: neither in .s2i/bin nor in %.90s",
                  SLICE_ARG(buffer_slice(&names)), search->image);
    else
        error_set(search->err, ERROR_INVALID,
                  "failed to install [%.*s]: set the scripts URL or the label "
                  "io.openshift.s2i.scripts-url of the image",
                  SLICE_ARG(buffer_slice(&names)));
    buffer_drop(&names);
    return -1;
}

static int find_all(struct search *search, const struct wanted *wanted, size_t count, bool runtime)
{
    struct contract_scripts *out = search->out;

    out->items = memory_new(count * sizeof(*out->items));
    for (; out->count < count; out->count++)
        out->items[out->count].name = memory_text(slice_of(wanted[out->count].name));
    for (size_t i = 0; i < count; i++)
        if (find_one(search, &out->items[i]) < 0)
            return -1;
    if (search->option != NULL && search->by_option == 0) { /* Spec: s2i 3.6 */
        *search->reason = "FetchScriptsFailed";
        return error_set(search->err, ERROR_INVALID,
                         "could not download any scripts from URL %.120s", search->option);
    }
    for (size_t i = 0; i < count && search->incremental; i++)
        if (out->items[i].from == NULL && strcmp(wanted[i].name, "save-artifacts") == 0)
            note(search, "there is no save-artifacts script, which is optional");
    return missing(search, wanted, runtime);
}

/* Spec: s2i 3.3, 9.5 */
static void folder_of(struct search *search, const struct s2i_options *options,
                      const struct image_config *image, bool runtime)
{
    struct slice base =
        slice_of(runtime ? image->working_dir : contract_destination(options, image));

    while (slice_ends(base, "/"))
        base.size--;
    if (base.size > 0 && base.at[0] != '/')
        buffer_append_text(&search->folder, "/");
    buffer_append_slice(&search->folder, base);
    buffer_append_text(&search->folder, "/scripts");
}

int contract_scripts_find(const struct s2i_options *options, const struct image_config *image,
                          const struct contract_tree *tree, bool runtime,
                          struct contract_scripts *out, const char **reason, struct error *err)
{
    /* a runtime image brings its own run */
    const struct wanted of_builder[] = {{"assemble", true},
                                        {"run", options->runtime_image == NULL},
                                        {"save-artifacts", false},
                                        {"usage", false}};
    const struct wanted of_runtime[] = {{"assemble-runtime", true}, {"run", true}};
    struct search search = {.tree = tree,
                            .option = options->scripts_url,
                            .incremental = options->incremental,
                            .out = out,
                            .reason = reason,
                            .err = err};

    *out = (struct contract_scripts){.items = NULL};
    *reason = NULL;
    folder_of(&search, options, image, runtime);
    note_scheme(&search, search.option, "the options");
    note_image(&search, image);
    int outcome = runtime ? find_all(&search, of_runtime, LENGTH(of_runtime), true)
                          : find_all(&search, of_builder, LENGTH(of_builder), false);
    buffer_drop(&search.folder);
    return outcome;
}

/* gitlinks.c - see gitlinks.h.
 * Touches  a repository, by git.
 * Never    fetches. */
#include "s2i/source/gitlinks.h"

#include <stdlib.h>
#include <string.h>

enum { GITMODULES_MAX = 1024 * 1024, MODULES_MAX = 4096 };

void gitmodules_drop(struct gitmodules *modules)
{
    for (size_t i = 0; i < modules->count; i++) {
        free(modules->items[i].name);
        free(modules->items[i].path);
        free(modules->items[i].url);
    }
    free(modules->items);
    *modules = (struct gitmodules){NULL, 0};
}

static int gather(void *arg, struct slice bytes, struct error *err)
{
    (void)err;
    buffer_append_slice(arg, bytes);
    return 0;
}

static struct gitmodule *find(struct gitmodules *modules, struct slice name)
{
    for (size_t i = 0; i < modules->count; i++)
        if (slice_equal_text(name, modules->items[i].name))
            return &modules->items[i];
    if (modules->count == MODULES_MAX)
        return NULL;
    modules->items =
        memory_resize(modules->items, (modules->count + 1) * sizeof(modules->items[0]));
    modules->items[modules->count] = (struct gitmodule){.name = memory_text(name)};
    return &modules->items[modules->count++];
}

/* "submodule.<name>.path\n<value>" */
static void take(struct gitmodules *modules, struct slice record)
{
    struct slice key, value, name;

    if (!slice_split(record, '\n', &key, &value) || !slice_starts(key, "submodule."))
        return;
    name = slice_from(key, sizeof("submodule.") - 1);
    bool is_path = slice_ends(name, ".path"), is_url = slice_ends(name, ".url");
    if (!is_path && !is_url)
        return;
    name.size -= is_path ? 5 : 4;
    struct gitmodule *module = find(modules, name);
    if (module == NULL)
        return;
    char **field = is_path ? &module->path : &module->url;
    free(*field);
    *field = memory_text(value);
}

int gitmodules_read(struct gitmodules *out, const char *repository, const git_tree *tree,
                    struct error *err)
{
    const git_tree_entry *entry = git_tree_entry_byname(tree, ".gitmodules");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    char blob[sizeof("--blob=") + GIT_OID_HEXSZ] = "--blob=";

    *out = (struct gitmodules){NULL, 0};
    if (entry == NULL || git_tree_entry_type(entry) != GIT_OBJECT_BLOB ||
        git_tree_entry_filemode(entry) == GIT_FILEMODE_LINK)
        return 0;
    git_oid_tostr(blob + strlen(blob), GIT_OID_HEXSZ + 1, git_tree_entry_id(entry));
    if (source_git(repository, (const char *[]){"config", "--null", blob, "--list", NULL},
                   GITMODULES_MAX, gather, &text, err) < 0)
        return error_set_cause(err, ".gitmodules");
    for (struct slice rest = buffer_slice(&text), record; rest.size > 0;) {
        slice_split(rest, '\0', &record, &rest);
        take(out, record);
    }
    return 0;
}

const char *gitmodules_url(const struct gitmodules *modules, struct slice path)
{
    for (size_t i = 0; i < modules->count; i++) {
        const struct gitmodule *module = &modules->items[i];
        if (module->path != NULL && slice_equal_text(path, module->path))
            return module->url;
    }
    return NULL;
}

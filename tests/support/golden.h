/* golden.h - a build that tests of results start from: tests/unit/golden/build.json.
 * Touches  files below tests/unit/golden.
 * Never    writes them: a golden file changes by hand, after somebody looked. */
#ifndef SLIPWAY_TESTS_SUPPORT_GOLDEN_H
#define SLIPWAY_TESTS_SUPPORT_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/spec.h"
#include "tests/support/unit.h"

struct golden {
    struct s2i_spec spec;
    struct s2i_result result;
    struct s2i_list tags;
};

static inline void golden_drop(struct golden *golden)
{
    s2i_spec_drop(&golden->spec);
    s2i_result_drop(&golden->result);
    s2i_list_drop(&golden->tags);
}

static inline json_t *golden_file(const char *name)
{
    char path[200];
    json_error_t where;

    snprintf(path, sizeof(path), "tests/unit/golden/%s", name);
    json_t *json = json_load_file(path, 0, &where);
    if (json == NULL)
        fail_msg("%s: %s", path, where.text);
    return json;
}

/* Member by member down to the leaves; null takes one away. */
static inline void golden_merge(json_t *into, json_t *change)
{
    const char *name;
    json_t *value;

    json_object_foreach(change, name, value) {
        json_t *old = json_object_get(into, name);
        if (json_is_null(value))
            json_object_del(into, name);
        else if (json_is_object(value) && json_is_object(old))
            golden_merge(old, value);
        else
            json_object_set(into, name, value);
    }
}

/* change: merged into the file before it is read; NULL: nothing. */
static inline void golden_read(struct golden *out, const char *change)
{
    json_t *build = golden_file("build.json");
    struct error err = {0};

    *out = (struct golden){.spec = {.build = 0}};
    if (change != NULL) {
        json_t *changes = json_loads(change, 0, NULL);
        if (changes == NULL)
            fail_msg("the change is not JSON: %s", change);
        golden_merge(build, changes);
        json_decref(changes);
    }
    if (s2i_spec_read(&out->spec, json_object_get(build, "spec"), &err) < 0 ||
        s2i_result_read(&out->result, json_object_get(build, "result"), &err) < 0)
        fail_msg("%s: %s %s", change, err.field, err.message);
    json_t *tags = json_object_get(build, "tags");
    for (size_t i = 0; i < json_array_size(tags); i++)
        s2i_list_add(&out->tags, slice_of(json_string_value(json_array_get(tags, i))));
    json_decref(build);
}

/* The text is the file's JSON in canonical form: sorted, without blanks. */
static inline void golden_compare(struct slice text, const char *name)
{
    json_t *wanted = golden_file(name);
    char *canonical = json_dumps(wanted, JSON_COMPACT | JSON_SORT_KEYS);

    if (!slice_equal_text(text, canonical))
        fail_msg("%s differs:\n%.*s", name, SLICE_ARG(text));
    free(canonical);
    json_decref(wanted);
}

#endif

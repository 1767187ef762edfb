/* inputs.c - images whose files a build gets beside its source: which ones they were when it was
 * asked for.
 * Touches  storage by way of image.c; the words of a row.
 * Never    fails a build that is asked for: what is not there yet may come until it runs.
 *
 * Spec: s2i 13.52; a name is resolved once, as a builder's is (2.10). */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/s2i_internal.h"

static bool has(const struct build_inputs *inputs, struct slice name)
{
    for (size_t i = 0; i < inputs->count; i++)
        if (slice_equal_text(name, inputs->items[i].name))
            return true;
    return false;
}

void build_inputs_drop(struct build_inputs *inputs)
{
    for (size_t i = 0; i < inputs->count; i++)
        s2i_image_drop(&inputs->items[i]);
    free(inputs->items);
    *inputs = (struct build_inputs){.items = NULL};
}

void build_inputs_resolve(const struct builds *builds, const struct actor *who,
                          const struct s2i_options *options, struct build_inputs *out)
{
    const struct s2i_list *wanted = &options->copy_from;
    struct slice name, source, destination;
    struct error ignored = {0};
    bool found;

    out->items = memory_new((wanted->count + 1) * sizeof(*out->items));
    for (size_t i = 0; i < wanted->count; i++) {
        struct s2i_image *image = &out->items[out->count];
        if (!s2i_copy_parse(slice_of(wanted->items[i]), &name, &source, &destination) ||
            has(out, name))
            continue;
        *image = (struct s2i_image){.name = NULL};
        if (image_resolve(builds, who, name, image, &found, &ignored) < 0)
            error_clear(&ignored);
        else if (found)
            out->count++;
    }
}

json_t *build_inputs_write(const struct build_inputs *inputs)
{
    json_t *object = json_object();
    char digest[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < inputs->count; i++)
        json_object_set_new(object, inputs->items[i].name,
                            json_string(digest_text(&inputs->items[i].digest, digest)));
    return object;
}

char *build_input_digest(const struct build_record *record, const char *name)
{
    OWNED(json_drop) json_t *spec = record->spec == NULL ? NULL : json_loads(record->spec, 0, NULL);
    const char *digest = json_string_value(json_object_get(json_object_get(spec, "inputs"), name));

    return digest == NULL ? NULL : memory_text(slice_of(digest));
}

void build_inputs_unpin(const struct builds *builds, const struct build_record *record)
{
    OWNED(json_drop) json_t *spec = json_loads(record->spec, 0, NULL);
    const char *name;
    json_t *digest;

    json_object_foreach(json_object_get(spec, "inputs"), name, digest) {
        struct s2i_image image = {.name = (char *)(uintptr_t)name};
        struct slice repository, tag, rest;
        struct error ignored = {0};
        if (!s2i_reference_parse(slice_of(name), &repository, &tag, &rest) ||
            digest_parse(slice_of(json_string_value(digest)), &image.digest, &ignored) < 0)
            continue;
        image.repository = memory_text(repository);
        image_unpin(builds, &image, record->id);
        free(image.repository);
    }
}

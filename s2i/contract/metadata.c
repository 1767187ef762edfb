/* metadata.c - what scripts and images say in formats of upstream's: image_metadata.json, mappings
 * of runtime artifacts.
 * Touches  memory only.
 * Never    takes a half of something malformed. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

enum { METADATA_MAX = 1024 * 1024, LABELS_MAX = 1000, MAPPINGS_MAX = 256 };

/* --- image_metadata.json (6.7) --- */

static int read_label(const char *name, const json_t *value, size_t place, struct s2i_list *labels,
                      struct error *err)
{
    struct buffer label = BUFFER_NONE;

    if (name[0] == 0 || strchr(name, '=') != NULL)
        return error_set(err, ERROR_INVALID,
                         "image_metadata.json: labels[%zu] has a name that is empty or holds '='",
                         place);
    if (!json_is_string(value))
        return error_set(err, ERROR_INVALID,
                         "image_metadata.json: labels[%zu] has a value that is not a text", place);
    if (labels->count >= LABELS_MAX)
        return error_set(err, ERROR_INVALID, "image_metadata.json: more than %d labels",
                         LABELS_MAX);
    buffer_append_text(&label, name);
    buffer_append_text(&label, "=");
    buffer_append_text(&label, json_string_value(value));
    s2i_list_set(labels, buffer_slice(&label));
    buffer_drop(&label);
    return 0;
}

static int read_labels(const json_t *document, struct s2i_list *labels, struct error *err)
{
    const json_t *list = json_object_get(document, "labels");
    const char *name;
    json_t *value;

    if (!json_is_array(list))
        return error_set(err, ERROR_INVALID, "image_metadata.json: labels is not a list");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (!json_is_object(item))
            return error_set(err, ERROR_INVALID,
                             "image_metadata.json: labels[%zu] is not an object", i);
        json_object_foreach(item, name, value) {
            if (read_label(name, value, i, labels, err) < 0)
                return -1;
        }
    }
    return 0;
}

int image_metadata_read(struct slice text, struct s2i_list *labels, struct error *err)
{
    json_error_t where;

    if (text.size > METADATA_MAX)
        return error_set(err, ERROR_INVALID, "image_metadata.json has %zu bytes, more than %d",
                         text.size, METADATA_MAX);
    OWNED(json_decrefp)
    json_t *document = json_loadb(text.at == NULL ? "" : text.at, text.size, 0, &where);
    if (document == NULL)
        return error_set(err, ERROR_INVALID, "image_metadata.json: not JSON at line %d, column %d",
                         where.line, where.column);
    return read_labels(document, labels, err);
}

/* --- runtime artifacts (9.2, 9.3) --- */

void artifact_mapping_drop(struct artifact_mapping *mapping)
{
    free(mapping->source);
    free(mapping->destination);
    *mapping = (struct artifact_mapping){.source = NULL};
}

void artifact_mappings_drop(struct artifact_mappings *mappings)
{
    for (size_t i = 0; i < mappings->count; i++)
        artifact_mapping_drop(&mappings->items[i]);
    free(mappings->items);
    *mappings = (struct artifact_mappings){.items = NULL};
}

static bool has_refused(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if ((unsigned char)s.at[i] < 0x20 || strchr(";*?\"<>|%#$!+{}&[],'`", s.at[i]) != NULL)
            return true;
    return false;
}

/* What is wrong with it; NULL: nothing. */
static const char *mapping_fault(struct slice source, struct slice destination)
{
    if (!slice_starts(source, "/"))
        return "source must be an absolute path";
    if (slice_starts(destination, "/"))
        return "destination must be a relative path";
    if (slice_starts(destination, ".."))
        return "destination cannot start with '..'";
    if (s2i_path_climbs(source) || s2i_path_climbs(destination))
        return "'..' cannot be part of a path";
    if (memchr(destination.at, ':', destination.size) != NULL)
        return "there is more than one ':'";
    return NULL;
}

int artifact_mapping_parse(struct slice text, struct artifact_mapping *out, struct error *err)
{
    struct slice source, destination;

    *out = (struct artifact_mapping){.source = NULL};
    if (has_refused(text))
        return error_set(err, ERROR_INVALID,
                         "invalid runtime artifacts mapping: names cannot have any of "
                         ";*?\"<>|%%#$!+{}&[],'` or control characters");
    slice_split(text, ':', &source, &destination);
    source = slice_trim(source);
    destination = slice_trim(destination);
    if (destination.size == 0)
        destination = SLICE(".");
    const char *fault = mapping_fault(source, destination);
    if (fault != NULL)
        return error_set(err, ERROR_INVALID,
                         "invalid runtime artifacts mapping: '%.*s' -> '%.*s': %s",
                         source.size > 40 ? 40 : (int)source.size, source.at,
                         destination.size > 40 ? 40 : (int)destination.size, destination.at, fault);
    out->source = memory_text(source);
    out->destination = memory_text(destination);
    return 0;
}

static int mappings_add(struct artifact_mappings *out, struct slice texts, struct error *err)
{
    struct slice text;

    while (texts.size > 0) {
        slice_split(texts, ';', &text, &texts);
        if (slice_trim(text).size == 0)
            continue;
        if (out->count == MAPPINGS_MAX)
            return error_set(err, ERROR_INVALID, "more than %d runtime artifacts", MAPPINGS_MAX);
        out->items = memory_resize(out->items, (out->count + 1) * sizeof(*out->items));
        if (artifact_mapping_parse(text, &out->items[out->count], err) < 0)
            return -1;
        out->count++;
    }
    return 0;
}

int artifact_mappings_find(const struct s2i_options *options, const struct image_config *runtime,
                           struct artifact_mappings *out, struct error *err)
{
    const char *label = image_label(runtime, "io.openshift.s2i.assemble-input-files");
    const struct s2i_list *asked = &options->runtime_artifact;
    int outcome = 0;

    *out = (struct artifact_mappings){.items = NULL};
    for (size_t i = 0; i < asked->count && outcome == 0; i++)
        outcome = mappings_add(out, slice_of(asked->items[i]), err);
    if (asked->count == 0)
        outcome = mappings_add(out, slice_of(label), err);
    if (outcome == 0 && out->count == 0)
        outcome = error_set(err, ERROR_INVALID, "no runtime artifacts to copy were specified");
    if (outcome < 0)
        artifact_mappings_drop(out);
    return outcome;
}

/* compose.c - texts, descriptors, media types and labels of results.
 * Touches  memory only.
 * Never    writes user information of an URL (7.5). */
#include "s2i/contract/compose.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/timestamp.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

void compose_text(const json_t *json, struct buffer *out, struct digest *digest)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);

    buffer_append_text(out, text);
    digest_of(DIGEST_SHA256, buffer_slice(out), digest);
    free(text);
}

json_t *compose_descriptor(const char *media_type, const struct digest *digest, uint64_t size)
{
    char text[DIGEST_TEXT_MAX];
    json_t *descriptor = json_object();

    json_object_set_new(descriptor, "mediaType", json_string(media_type));
    json_object_set_new(descriptor, "digest", json_string(digest_text(digest, text)));
    json_object_set_new(descriptor, "size", json_integer((json_int_t)size));
    return descriptor;
}

json_t *compose_object(json_t *parent, const char *name)
{
    json_t *child = json_object_get(parent, name);

    if (json_is_object(child))
        return child;
    child = json_object();
    json_object_set_new(parent, name, child);
    return child;
}

void compose_set(json_t *object, const char *name, struct slice value)
{
    if (value.size > 0)
        json_object_set_new(object, name, s2i_json_text(value));
}

void compose_set_time(json_t *object, const char *name, int64_t seconds)
{
    const int64_t first = 0, last = 253402300799; /* years 1970 to 9999 */
    char text[TIMESTAMP_MAX];

    seconds = seconds < first ? first : seconds > last ? last : seconds;
    timestamp_print(seconds * 1000000, text);
    json_object_set_new(object, name, json_string(text));
}

struct slice compose_reference_name(const char *reference)
{
    struct slice name, digest;

    slice_split(slice_of(reference), '@', &name, &digest);
    return name;
}

struct slice compose_ref_name(const char *ref)
{
    struct slice name = slice_of(ref);

    if (slice_starts(name, "refs/heads/"))
        return slice_from(name, strlen("refs/heads/"));
    return slice_starts(name, "refs/tags/") ? slice_from(name, strlen("refs/tags/")) : name;
}

/* --- media types (7.9) --- */

#define DOCKER_LAYER "application/vnd.docker.image.rootfs."
#define OCI_LAYER "application/vnd.oci.image.layer."

/* zstd has no type of Docker's: such a manifest is OCI's. */
static const struct {
    const char *docker, *oci;
} layer_types[] = {
    {DOCKER_LAYER "diff.tar.gzip", OCI_LAYER "v1.tar+gzip"},
    {DOCKER_LAYER "diff.tar", OCI_LAYER "v1.tar"},
    {DOCKER_LAYER "diff.tar.zstd", OCI_LAYER "v1.tar+zstd"},
    {DOCKER_LAYER "foreign.diff.tar.gzip", OCI_LAYER "nondistributable.v1.tar+gzip"},
};

const char *compose_layer_type(const char *media_type, bool docker)
{
    for (size_t i = 0; i < LENGTH(layer_types); i++)
        if (strcmp(media_type, layer_types[i].docker) == 0 ||
            strcmp(media_type, layer_types[i].oci) == 0)
            return !docker                                          ? layer_types[i].oci
                   : strstr(layer_types[i].docker, ".zstd") != NULL ? NULL
                                                                    : layer_types[i].docker;
    return docker ? NULL : media_type;
}

/* --- what a base says of itself only --- */

void compose_forget_commit(json_t *document)
{
    static const char *const members[] = {"id",        "parent",           "container",
                                          "throwaway", "container_config", "docker_version"};
    json_t *config = compose_object(document, "config");

    for (size_t i = 0; i < LENGTH(members); i++)
        json_object_del(document, members[i]);
    json_object_del(config, "OnBuild");
    json_object_del(config, "Image");
}

/* --- history --- */

/* Spec: s2i 7.8 */
json_t *compose_history(json_t *document, const struct s2i_image *base)
{
    json_t *history = json_object_get(document, "history");
    const json_t *entry;
    size_t made = 0, i;

    json_array_foreach((json_t *)(uintptr_t)history, i, entry)
        made += json_is_object(entry) && !json_is_true(json_object_get(entry, "empty_layer"));
    if (json_is_array(history) && made == base->layer_count)
        return history;
    history = json_array();
    for (i = 0; i < base->layer_count; i++) {
        struct buffer comment = BUFFER_NONE;
        json_t *layer = json_object();
        buffer_append_text(&comment, "layer of ");
        buffer_append_slice(&comment, compose_reference_name(base->name));
        compose_set(layer, "comment", buffer_slice(&comment));
        json_array_append_new(history, layer);
        buffer_drop(&comment);
    }
    json_object_set_new(document, "history", history);
    return history;
}

/* --- labels --- */

/* A subject is cut to 80 characters. */
static struct slice cut(struct slice text)
{
    struct slice rest = text;

    for (int i = 0; i < 80 && rest.size > 0; i++) {
        size_t size = utf8_size(rest);
        rest = slice_from(rest, size > 0 ? size : 1);
    }
    return (struct slice){text.at, text.size - rest.size};
}

/* The name of a label, terminated. */
static void label_name(struct buffer *out, const char *prefix, const char *name)
{
    out->size = 0;
    buffer_print(out, "%s%s%c", prefix, name, 0);
}

void compose_forget_facts(json_t *labels, const char *prefix)
{
    static const char *const names[] = {"image",           "commit.id",         "commit.ref",
                                        "commit.author",   "commit.date",       "commit.message",
                                        "source-location", "source-context-dir"};
    struct buffer label = BUFFER_NONE;

    for (size_t i = 0; i < LENGTH(names); i++) {
        label_name(&label, prefix, names[i]);
        json_object_del(labels, label.at);
    }
    buffer_drop(&label);
}

static const char *prefix_of(const struct s2i_options *options)
{
    return options->label_prefix != NULL ? options->label_prefix : LABEL_PREFIX_DEFAULT;
}

static void set_fact(json_t *labels, const struct s2i_options *options, const char *name,
                     struct slice value)
{
    struct buffer label = BUFFER_NONE;

    label_name(&label, prefix_of(options), name);
    compose_set(labels, label.at, value);
    buffer_drop(&label);
}

/* Spec: s2i 7.4 */
static void set_generated(json_t *labels, const struct s2i_spec *spec)
{
    const struct s2i_options *options = &spec->options;
    const struct s2i_source_facts *source = &spec->source;
    struct slice target, tag;
    struct buffer url = BUFFER_NONE;

    slice_split(slice_of(spec->target), ':', &target, &tag);
    s2i_url_clean(slice_of(source->url), &url);
    compose_set(labels, "io.k8s.display-name",
                options->application_name != NULL ? slice_of(options->application_name) : target);
    compose_set(labels, "io.k8s.description", slice_of(options->description));
    compose_forget_facts(labels, prefix_of(options));
    set_fact(labels, options, "image", slice_of(spec->builder.name));
    set_fact(labels, options, "commit.id", slice_of(source->commit));
    set_fact(labels, options, "commit.ref", compose_ref_name(source->ref));
    set_fact(labels, options, "commit.author", slice_of(source->author));
    set_fact(labels, options, "commit.date", slice_of(source->author_date));
    set_fact(labels, options, "commit.message", cut(slice_of(source->subject)));
    set_fact(labels, options, "source-location", buffer_slice(&url));
    set_fact(labels, options, "source-context-dir", slice_of(source->context_dir));
    buffer_drop(&url);
}

/* Also such with an empty value: somebody said so. */
static void set_said(json_t *labels, const struct s2i_list *said)
{
    struct slice name, value;

    for (size_t i = 0; i < said->count; i++) {
        slice_split(slice_of(said->items[i]), '=', &name, &value);
        char *text = memory_text(name);
        json_object_set_new(labels, text, s2i_json_text(value));
        free(text);
    }
}

int compose_labels(const struct s2i_spec *spec, const struct s2i_list *said,
                   const json_t *inherited, uint64_t label_max, json_t **out, struct error *err)
{
    json_t *labels = inherited == NULL ? json_object() : json_copy((json_t *)(uintptr_t)inherited);
    uint64_t size = 0;
    const char *name;
    json_t *value;

    set_generated(labels, spec);
    set_said(labels, &spec->options.labels);
    set_said(labels, said);
    json_object_foreach(labels, name, value)
        size += strlen(name) + json_string_length(value);
    if (label_max > 0 && size > label_max) {
        json_decref(labels);
        return error_set(err, ERROR_INVALID, "label size '%llu' exceeds the maximum limit '%llu'",
                         (unsigned long long)size, (unsigned long long)label_max);
    }
    *out = labels;
    return 0;
}

/* --- options --- */

/* Options that end up as facts of the source or as images' digests, or only decide when, how long
 * and for whom a build runs. */
static const char *const beside[] = {
    "url",
    "ref",
    "context_dir",
    "exclude",
    "builder",
    "runtime_image",
    "incremental_from",
    "detect",
    "tags",
    "timeout_ms",
    "silence_ms",
    "memory",
    "disk",
    "processes",
    "keep_failed_ms",
    "log_level",
    "callback_url",
    "run_policy",
    "push_mode",
    "on_disconnect",
    "branches",
    "default_branch",
    "protected_branches",
    "allow_push_env",
    "allow_webhook_env",
    "image_trigger",
    "rebuild",
    "allowed_uids",
    "ignore_submodules",
};

json_t *compose_options(const struct s2i_options *options, bool secrets)
{
    json_t *all = s2i_options_write(options, secrets);

    for (size_t i = 0; i < LENGTH(beside); i++)
        json_object_del(all, beside[i]);
    return all;
}

/* result.c - config and manifest of the image that a build made, out of the builder's.
 * Touches  memory only.
 * Never    a clock, a random number, the build's number: the same build gives the same bytes
 * (17.10).
 *
 * (1) What the base's config says and we do not know stays as it is. (2) There are as many diff ids
 * as layers, and as many entries of history that made one (7.8). */
#include <stdlib.h>
#include <string.h>

#include "registry/core/oci.h"
#include "s2i/contract/compose.h"
#include "s2i/contract/contract.h"

void contract_result_drop(struct contract_result *result)
{
    buffer_drop(&result->config);
    buffer_drop(&result->manifest);
}

static const struct s2i_image *base_of(const struct s2i_spec *spec)
{
    return spec->runtime.name != NULL ? &spec->runtime : &spec->builder;
}

/* --- config --- */

static json_t *env_of(const struct image_config *base, const struct s2i_list *stored)
{
    OWNED(s2i_list_drop) struct s2i_list all = {.items = NULL};
    json_t *array = json_array();

    for (size_t i = 0; i < base->env.count; i++)
        environment_set(&all, slice_of(base->env.items[i]));
    for (size_t i = 0; i < stored->count; i++)
        environment_set(&all, slice_of(stored->items[i]));
    for (size_t i = 0; i < all.count; i++)
        json_array_append_new(array, s2i_json_text(slice_of(all.items[i])));
    return array;
}

/* Spec: s2i 7.2, 7.3, 10.2 */
static int set_config(json_t *document, const struct s2i_spec *spec,
                      const struct s2i_result *result, const struct image_config *base,
                      uint64_t label_max, struct error *err)
{
    json_t *config = compose_object(document, "config");
    json_t *labels = NULL;

    if (compose_labels(spec, &result->labels, base->labels, label_max, &labels, err) < 0)
        return -1;
    if (json_is_null(json_object_get(config, "Entrypoint")))
        json_object_del(config, "Entrypoint");
    json_object_set_new(config, "Cmd", json_pack("[o]", s2i_json_text(slice_of(result->run))));
    json_object_set_new(config, "Labels", labels);
    json_t *env = env_of(base, &result->env);
    if (json_array_size(env) > 0)
        json_object_set_new(config, "Env", env);
    else
        json_decref(env);
    return 0;
}

/* --- layers and history --- */

static int set_diff_ids(json_t *document, const struct s2i_image *base,
                        const struct s2i_result *result, struct error *err)
{
    json_t *rootfs = compose_object(document, "rootfs");
    json_t *ids = json_object_get(rootfs, "diff_ids");
    char text[DIGEST_TEXT_MAX];

    if (json_array_size(ids) != base->layer_count)
        return error_set(err, ERROR_INVALID,
                         "the config of %.60s names %zu layers, its manifest %zu", base->name,
                         json_array_size(ids), base->layer_count);
    if (!json_is_array(ids)) {
        ids = json_array();
        json_object_set_new(rootfs, "diff_ids", ids);
    }
    json_object_set_new(rootfs, "type", json_string("layers"));
    for (size_t i = 0; i < result->layer_count; i++)
        json_array_append_new(ids,
                              json_string(digest_text(&result->layers[i].layer.diff_id, text)));
    return 0;
}

/* Spec: s2i 7.8 */
static json_t *our_entry(const struct s2i_spec *spec)
{
    json_t *entry = json_object();
    struct buffer made_by = BUFFER_NONE;
    char digest[DIGEST_TEXT_MAX];

    buffer_append_text(&made_by, "s2i assemble ");
    buffer_append_slice(&made_by, compose_reference_name(spec->builder.name));
    buffer_print(&made_by, "@%s", digest_text(&spec->builder.digest, digest));
    compose_set_time(entry, "created", spec->source.time);
    compose_set(entry, "created_by", buffer_slice(&made_by));
    compose_set(entry, "comment", slice_of(spec->source.commit));
    buffer_drop(&made_by);
    return entry;
}

static void set_history(json_t *document, const struct s2i_spec *spec, const struct s2i_image *base,
                        const struct s2i_result *result)
{
    json_t *history = compose_history(document, base);

    for (size_t i = 0; i < result->layer_count; i++)
        json_array_append_new(history, our_entry(spec));
    if (result->layer_count > 0)
        return;
    json_t *entry = our_entry(spec); /* nothing changed but the config */
    json_object_set_new(entry, "empty_layer", json_true());
    json_array_append_new(history, entry);
}

static int make_config(const struct s2i_spec *spec, const struct s2i_result *result,
                       uint64_t label_max, struct contract_result *out, struct error *err)
{
    const struct s2i_image *base = base_of(spec);
    OWNED(image_config_drop) struct image_config image = {.document = NULL};

    if (image_config_read(&image, slice_of(base->config), err) < 0)
        return -1;
    OWNED(json_decrefp) json_t *document = json_deep_copy(image.document);
    compose_forget_commit(document);
    compose_set_time(document, "created", spec->source.time);
    if (set_config(document, spec, result, &image, label_max, err) < 0 ||
        set_diff_ids(document, base, result, err) < 0)
        return -1;
    set_history(document, spec, base, result);
    compose_text(document, &out->config, &out->config_digest);
    return 0;
}

/* --- manifest --- */

static bool all_docker(const struct s2i_spec *spec, const struct s2i_result *result)
{
    const struct s2i_image *base = base_of(spec);

    if (spec->options.oci || strcmp(base->media_type, DOCKER_TYPE_MANIFEST) != 0)
        return false;
    for (size_t i = 0; i < base->layer_count; i++)
        if (compose_layer_type(base->layers[i].media_type, true) == NULL)
            return false;
    for (size_t i = 0; i < result->layer_count; i++)
        if (compose_layer_type(result->layers[i].layer.media_type, true) == NULL)
            return false;
    return true;
}

static json_t *layer_descriptor(const struct s2i_layer *layer, bool docker)
{
    return compose_descriptor(compose_layer_type(layer->media_type, docker), &layer->digest,
                              layer->size);
}

static bool is_git_tag(const struct s2i_spec *spec)
{
    return slice_starts(slice_of(spec->source.ref), "refs/tags/");
}

/* Spec: s2i 7.7. Version: the image's tag that a Git tag became. */
static json_t *annotations_of(const struct s2i_spec *spec, const struct s2i_list *tags)
{
    const struct s2i_image *base = base_of(spec);
    json_t *annotations = json_object();
    struct slice target, tag;
    char digest[DIGEST_TEXT_MAX];
    struct buffer url = BUFFER_NONE;

    s2i_url_clean(slice_of(spec->source.url), &url);
    slice_split(slice_of(spec->target), ':', &target, &tag);
    compose_set_time(annotations, "org.opencontainers.image.created", spec->source.time);
    compose_set(annotations, "org.opencontainers.image.source", buffer_slice(&url));
    compose_set(annotations, "org.opencontainers.image.revision", slice_of(spec->source.commit));
    compose_set(annotations, "org.opencontainers.image.base.name",
                compose_reference_name(base->name));
    compose_set(annotations, "org.opencontainers.image.base.digest",
                slice_of(digest_text(&base->digest, digest)));
    compose_set(annotations, "org.opencontainers.image.title",
                spec->options.application_name != NULL ? slice_of(spec->options.application_name)
                                                       : target);
    if (is_git_tag(spec))
        compose_set(annotations, "org.opencontainers.image.version",
                    tags->count > 0 ? slice_of(tags->items[0])
                                    : compose_ref_name(spec->source.ref));
    buffer_drop(&url);
    return annotations;
}

static void make_manifest(const struct s2i_spec *spec, const struct s2i_result *result,
                          const struct s2i_list *tags, struct contract_result *out)
{
    const struct s2i_image *base = base_of(spec);
    bool docker = all_docker(spec, result);
    OWNED(json_decrefp) json_t *manifest = json_object();
    json_t *layers = json_array();

    for (size_t i = 0; i < base->layer_count; i++)
        json_array_append_new(layers, layer_descriptor(&base->layers[i], docker));
    for (size_t i = 0; i < result->layer_count; i++)
        json_array_append_new(layers, layer_descriptor(&result->layers[i].layer, docker));
    json_object_set_new(manifest, "schemaVersion", json_integer(2));
    json_object_set_new(manifest, "mediaType",
                        json_string(docker ? DOCKER_TYPE_MANIFEST : OCI_TYPE_MANIFEST));
    json_object_set_new(manifest, "config",
                        compose_descriptor(docker ? DOCKER_TYPE_CONFIG : OCI_TYPE_CONFIG,
                                           &out->config_digest, out->config.size));
    json_object_set_new(manifest, "layers", layers);
    json_object_set_new(manifest, "annotations", annotations_of(spec, tags));
    compose_text(manifest, &out->manifest, &out->manifest_digest);
}

int contract_result_make(const struct s2i_spec *spec, const struct s2i_result *result,
                         const struct s2i_list *tags, uint64_t label_max,
                         struct contract_result *out, struct error *err)
{
    *out = (struct contract_result){.config = BUFFER_NONE};
    if (result->run == NULL || result->run[0] != '/')
        return error_set(err, ERROR_INVALID, "the run script has no absolute path");
    if (make_config(spec, result, label_max, out, err) < 0) {
        contract_result_drop(out);
        return -1;
    }
    make_manifest(spec, result, tags, out);
    return 0;
}

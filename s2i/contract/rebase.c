/* rebase.c - config and manifest of an image on a newer base.
 * Touches  memory only.
 * Never    loses what the build said; keeps what only the old base said. Spec: s2i 15.1 */
#include "s2i/contract/rebase.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "registry/core/oci.h"
#include "s2i/contract/compose.h"

#define BASE_DIGEST "org.opencontainers.image.base.digest"
#define BASE_NAME "org.opencontainers.image.base.name"
#define REBASABLE "s2i.rebasable"

/* The image while it is taken apart. */
struct image {
    json_t *manifest, *document;
    struct image_config config;
    const json_t *own; /* array of descriptors; borrowed from manifest */
    size_t below;      /* how many of them are the old base's */
};

static void image_drop(struct image *image)
{
    json_decref(image->manifest);
    json_decref(image->document);
    image_config_drop(&image->config);
}

static json_t *parse(struct slice text)
{
    json_t *json = json_of_others(text, 0);

    if (json_is_object(json))
        return json;
    json_decref(json);
    return NULL;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}

static bool read_base(const json_t *manifest, struct digest *out)
{
    const json_t *annotations = json_object_get(manifest, "annotations");

    return digest_parse(slice_of(text_of(annotations, BASE_DIGEST)), out, &(struct error){0}) == 0;
}

bool rebase_base_digest(struct slice manifest, struct digest *out)
{
    OWNED(json_decrefp) json_t *json = parse(manifest);

    return read_base(json, out);
}

/* --- whether it may be --- */

static bool same_digest(const json_t *descriptor, const struct digest *digest)
{
    char text[DIGEST_TEXT_MAX];

    return strcmp(text_of(descriptor, "digest"), digest_text(digest, text)) == 0;
}

/* The image's lowest layers are the base's. */
static int check_layers(const struct image *image, const struct s2i_image *base, struct error *err)
{
    const json_t *rootfs = json_object_get(image->document, "rootfs");
    const json_t *ids = json_object_get(rootfs, "diff_ids");
    size_t count = json_array_size(image->own);
    char text[DIGEST_TEXT_MAX];

    if (count < base->layer_count || json_array_size(ids) != count)
        return error_set(err, ERROR_CONFLICT, "the image's layers are not those of its base");
    for (size_t i = 0; i < count; i++)
        if (!json_is_string(json_array_get(ids, i)) ||
            !json_is_integer(json_object_get(json_array_get(image->own, i), "size")))
            return error_set(err, ERROR_INVALID, "the image's layers are malformed");
    for (size_t i = 0; i < base->layer_count; i++)
        if (!same_digest(json_array_get(image->own, i), &base->layers[i].digest) ||
            strcmp(json_string_value(json_array_get(ids, i)),
                   digest_text(&base->layers[i].diff_id, text)) != 0)
            return error_set(err, ERROR_CONFLICT, "the image's layers are not those of its base");
    return 0;
}

static int check_base(const struct rebase *about, const struct image *image,
                      const struct image_config *newer, struct error *err)
{
    const char *label = image_label(newer, REBASABLE);
    struct digest base;

    if (!read_base(image->manifest, &base) || !digest_equal(&base, &about->old_base->digest))
        return error_set(err, ERROR_CONFLICT, "the image does not name this base");
    if (digest_equal(&base, &about->new_base->digest))
        return error_set(err, ERROR_CONFLICT, "the image stands on this base already");
    if (label == NULL || strcmp(label, "true") != 0)
        return error_set(err, ERROR_CONFLICT,
                         "the base does not allow it: it has no label s2i.rebasable=true");
    if (strcmp(image->config.architecture, newer->architecture) != 0 ||
        strcmp(image->config.os, newer->os) != 0 ||
        strcmp(image->config.variant, newer->variant) != 0)
        return error_set(err, ERROR_CONFLICT, "the base is for another platform");
    return check_layers(image, about->old_base, err);
}

/* Names a few of them. */
static int check_conflicts(const struct s2i_list *conflicts, struct error *err)
{
    char shown[3][48] = {"", "", ""};

    if (conflicts->count == 0)
        return 0;
    for (size_t i = 0; i < 3 && i < conflicts->count; i++) {
        snprintf(shown[i], sizeof(shown[i]), "%s%s", i > 0 ? ", " : "", conflicts->items[i]);
        for (char *c = shown[i]; *c != 0; c++)
            *c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    }
    return error_set(err, ERROR_CONFLICT, "the base changed below %zu of the image's files: %s%s%s",
                     conflicts->count, shown[0], shown[1], shown[2]);
}

/* --- config: what differs from the old base is the build's --- */

static const json_t *member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static bool is_of_layers(const char *name)
{
    return strcmp(name, "config") == 0 || strcmp(name, "rootfs") == 0 ||
           strcmp(name, "history") == 0;
}

/* Maps whose entries stand for themselves. */
static bool is_map(const char *name)
{
    return strcmp(name, "Labels") == 0 || strcmp(name, "ExposedPorts") == 0 ||
           strcmp(name, "Volumes") == 0;
}

static void merge(json_t *into, const json_t *mine, const json_t *old, bool maps)
{
    const char *name;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)mine, name, value) {
        const json_t *before = member(old, name);
        if (is_of_layers(name) || json_equal(value, (json_t *)(uintptr_t)before))
            continue;
        if (maps && is_map(name) && json_is_object(value))
            merge(compose_object(into, name), value, before, false);
        else
            json_object_set(into, name, value);
    }
    json_object_foreach((json_t *)(uintptr_t)old, name, value) {
        if (!is_of_layers(name) && !json_is_null(value) && json_object_get(mine, name) == NULL)
            json_object_del(into, name);
    }
}

static void merge_env(json_t *into, const struct image_config *mine, const struct image_config *old,
                      const struct image_config *newer)
{
    OWNED(s2i_list_drop) struct s2i_list all = {.items = NULL};
    json_t *array = json_array();
    struct slice name, value;

    for (size_t i = 0; i < newer->env.count; i++)
        environment_set(&all, slice_of(newer->env.items[i]));
    for (size_t i = 0; i < mine->env.count; i++) {
        slice_split(slice_of(mine->env.items[i]), '=', &name, &value);
        const char *before = s2i_list_value(&old->env, name);
        if (before == NULL || !slice_equal_text(value, before))
            environment_set(&all, slice_of(mine->env.items[i]));
    }
    for (size_t i = 0; i < all.count; i++)
        json_array_append_new(array, s2i_json_text(slice_of(all.items[i])));
    json_object_set_new(into, "Env", array);
}

/* old: the old base's config; entries of the image's history behind the old base's are the build's.
 */
static void set_layers(json_t *document, const struct rebase *about, const struct image *image,
                       json_t *old)
{
    const json_t *mine = json_object_get(image->document, "history");
    const json_t *ids = json_object_get(json_object_get(image->document, "rootfs"), "diff_ids");
    json_t *history = compose_history(document, about->new_base);
    json_t *all = json_array();
    char text[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < about->new_base->layer_count; i++)
        json_array_append_new(all,
                              json_string(digest_text(&about->new_base->layers[i].diff_id, text)));
    for (size_t i = image->below; i < json_array_size(ids); i++)
        json_array_append(all, json_array_get(ids, i));
    json_object_set_new(document, "rootfs",
                        json_pack("{s:s, s:o}", "type", "layers", "diff_ids", all));
    for (size_t i = json_array_size(compose_history(old, about->old_base));
         i < json_array_size(mine); i++)
        json_array_append(history, json_array_get(mine, i));
}

static int make_config(const struct rebase *about, const struct image *image,
                       const struct image_config *newer, struct contract_result *out,
                       struct error *err)
{
    OWNED(image_config_drop) struct image_config old = {.document = NULL};

    if (image_config_read(&old, slice_of(about->old_base->config), err) < 0)
        return -1;
    OWNED(json_decrefp) json_t *document = json_deep_copy(newer->document);
    merge(document, image->document, old.document, false);
    json_t *config = compose_object(document, "config");
    compose_forget_commit(document);
    compose_forget_facts(json_object_get(config, "Labels"), LABEL_PREFIX_DEFAULT);
    merge(config, json_object_get(image->document, "config"),
          json_object_get(old.document, "config"), true);
    merge_env(config, &image->config, &old, newer);
    const json_t *command = json_object_get(json_object_get(image->document, "config"), "Cmd");
    if (command != NULL) /* also when the old base had the same */
        json_object_set(config, "Cmd", (json_t *)(uintptr_t)command);
    set_layers(document, about, image, old.document);
    compose_text(document, &out->config, &out->config_digest);
    return 0;
}

/* --- manifest --- */

static bool all_docker(const struct rebase *about, const struct image *image)
{
    if (strcmp(text_of(image->manifest, "mediaType"), DOCKER_TYPE_MANIFEST) != 0)
        return false;
    for (size_t i = 0; i < about->new_base->layer_count; i++)
        if (compose_layer_type(about->new_base->layers[i].media_type, true) == NULL)
            return false;
    return true;
}

static json_t *layers_of(const struct rebase *about, const struct image *image, bool docker)
{
    json_t *layers = json_array();

    for (size_t i = 0; i < about->new_base->layer_count; i++) {
        const struct s2i_layer *layer = &about->new_base->layers[i];
        json_array_append_new(layers,
                              compose_descriptor(compose_layer_type(layer->media_type, docker),
                                                 &layer->digest, layer->size));
    }
    for (size_t i = image->below; i < json_array_size(image->own); i++) {
        json_t *descriptor = json_deep_copy(json_array_get(image->own, i));
        const char *type = compose_layer_type(text_of(descriptor, "mediaType"), docker);
        if (type != NULL)
            json_object_set_new(descriptor, "mediaType", json_string(type));
        json_array_append_new(layers, descriptor);
    }
    return layers;
}

static void make_manifest(const struct rebase *about, const struct image *image,
                          struct contract_result *out)
{
    OWNED(json_decrefp) json_t *manifest = json_deep_copy(image->manifest);
    json_t *annotations = compose_object(manifest, "annotations");
    bool docker = all_docker(about, image);
    char digest[DIGEST_TEXT_MAX];

    json_object_set_new(manifest, "mediaType",
                        json_string(docker ? DOCKER_TYPE_MANIFEST : OCI_TYPE_MANIFEST));
    json_object_set_new(manifest, "layers", layers_of(about, image, docker));
    json_object_set_new(manifest, "config",
                        compose_descriptor(docker ? DOCKER_TYPE_CONFIG : OCI_TYPE_CONFIG,
                                           &out->config_digest, out->config.size));
    compose_set(annotations, BASE_NAME, compose_reference_name(about->new_base->name));
    compose_set(annotations, BASE_DIGEST, slice_of(digest_text(&about->new_base->digest, digest)));
    compose_text(manifest, &out->manifest, &out->manifest_digest);
}

static int rebase(const struct rebase *about, struct image *image, struct contract_result *out,
                  struct error *err)
{
    OWNED(image_config_drop) struct image_config newer = {.document = NULL};

    image->manifest = parse(about->manifest);
    image->document = parse(about->config);
    image->own = json_object_get(image->manifest, "layers");
    image->below = about->old_base->layer_count;
    if (image->manifest == NULL || image->document == NULL)
        return error_set(err, ERROR_INVALID, "the image's manifest or config is not JSON");
    if (image_config_read(&image->config, about->config, err) < 0 ||
        image_config_read(&newer, slice_of(about->new_base->config), err) < 0 ||
        check_base(about, image, &newer, err) < 0 || check_conflicts(about->conflicts, err) < 0 ||
        make_config(about, image, &newer, out, err) < 0)
        return -1;
    make_manifest(about, image, out);
    return 0;
}

int rebase_make(const struct rebase *about, struct contract_result *out, struct error *err)
{
    struct image image = {.manifest = NULL};

    *out = (struct contract_result){.config = BUFFER_NONE};
    int outcome = rebase(about, &image, out, err);
    image_drop(&image);
    if (outcome < 0)
        contract_result_drop(out);
    return outcome;
}

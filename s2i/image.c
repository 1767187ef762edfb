/* image.c - images of this registry that a build stands on: found by name, held while it runs.
 * Touches  storage: manifests, configs, blobs, pins.
 * Never    gives an image to a build whose asker may not pull it.
 *
 * Spec: s2i 2.10. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "registry/core/document.h"
#include "registry/core/json.h"
#include "registry/core/oci.h"
#include "s2i/s2i_internal.h"
#include "storage/content.h"
#include "storage/storage.h"

enum { DESCRIPTORS_MAX = 1000, CONFIG_MAX = 4 * 1024 * 1024, PIN_NAME_MAX = 48 };
#define PIN_PREFIX "build-"

static void manifest_drop(const struct manifest **manifest)
{
    if (*manifest != NULL)
        storage_manifest_release(*manifest);
}

/* --- names --- */

struct image_name {
    struct slice repository, tag;
    struct digest digest; /* or not set */
};

static int name_parse(struct slice text, struct image_name *out, struct error *err)
{
    struct slice rest, digest;

    *out = (struct image_name){.tag = SLICE("latest")};
    if (slice_split(text, '@', &rest, &digest) && digest_parse(digest, &out->digest, err) < 0)
        return -1;
    const char *colon = rest.size == 0 ? NULL : memrchr(rest.at, ':', rest.size);
    out->repository = rest;
    if (colon != NULL) {
        out->repository.size = (size_t)(colon - rest.at);
        out->tag = slice_from(rest, out->repository.size + 1);
    }
    if (!oci_name_valid(out->repository) || !oci_tag_valid(out->tag))
        return error_set(err, ERROR_INVALID, "\"%.*s\" does not name an image of this registry",
                         SLICE_ARG(text));
    return 0;
}

/* --- manifests --- */

/* "linux/amd64", as the field calls this machine. */
static const char *machine_platform(void)
{
    static const struct {
        const char *kernel, *platform;
    } known[] = {{"x86_64", "linux/amd64"},    {"aarch64", "linux/arm64"},
                 {"armv7l", "linux/arm"},      {"riscv64", "linux/riscv64"},
                 {"ppc64le", "linux/ppc64le"}, {"s390x", "linux/s390x"},
                 {"i686", "linux/386"}};
    struct utsname machine;

    uname(&machine);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (strcmp(machine.machine, known[i].kernel) == 0)
            return known[i].platform;
    return "linux/unknown";
}

static const struct document_link *child_for_us(const struct document *index)
{
    const char *platform = machine_platform();
    size_t size = strlen(platform);

    for (size_t i = 0; i < index->child_count; i++) {
        const char *has = index->children[i].platform;
        if (has != NULL && strncmp(has, platform, size) == 0 &&
            (has[size] == 0 || has[size] == '/'))
            return &index->children[i];
    }
    return NULL;
}

/* The image's manifest, through an index when there is one. */
static int manifest_find(const struct builds *builds, const struct image_name *name,
                         const struct manifest **out, struct error *err) ON(worker_thread)
{
    struct manifest_reference reference = {.tag = name->tag};
    OWNED(manifest_drop) const struct manifest *manifest = NULL;
    OWNED(document_drop) struct document document = {0};

    if (digest_is_set(&name->digest))
        reference = (struct manifest_reference){.digest = name->digest};
    if (storage_manifest_get(builds->storage, name->repository, &reference, false, &manifest, err) <
            0 ||
        document_parse(manifest->payload, manifest->media_type, DESCRIPTORS_MAX, &document, err) <
            0)
        return -1;
    if (document.kind == DOCUMENT_IMAGE) {
        *out = TAKE(manifest);
        return 0;
    }
    const struct document_link *child = child_for_us(&document);
    if (child == NULL)
        return error_set(err, ERROR_INVALID, "the image has nothing for %s", machine_platform());
    reference = (struct manifest_reference){.digest = child->digest};
    return storage_manifest_get(builds->storage, name->repository, &reference, false, out, err);
}

/* --- config and layers --- */

static int config_read(const struct builds *builds, struct slice repository,
                       const struct digest *digest, struct buffer *out, struct error *err)
    ON(worker_thread)
{
    struct blob blob;
    size_t at = 0;

    if (storage_blob_open(builds->storage, repository, digest, false, &blob, err) < 0)
        return -1;
    if (blob.size > CONFIG_MAX) {
        storage_blob_close(&blob);
        return error_set(err, ERROR_INVALID, "the image's config is too large");
    }
    buffer_reserve(out, (size_t)blob.size);
    while (at < blob.size) {
        ssize_t got = pread(blob.fd, out->at + at, (size_t)blob.size - at, (off_t)at);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    out->size = at;
    bool whole = at == blob.size;
    if (!whole)
        storage_blob_damaged(builds->storage, &blob);
    storage_blob_close(&blob);
    return whole ? 0 : error_set(err, ERROR_UNAVAILABLE, "the image's config cannot be read");
}

static int layer_read(const json_t *descriptor, const json_t *diff_id, struct s2i_layer *out,
                      struct error *err)
{
    const char *digest = json_string_value(json_object_get(descriptor, "digest"));
    const char *type = json_string_value(json_object_get(descriptor, "mediaType"));
    const char *plain = json_string_value(diff_id);
    json_int_t size = json_integer_value(json_object_get(descriptor, "size"));

    if (digest == NULL || plain == NULL || size < 0 ||
        digest_parse(slice_of(digest), &out->digest, err) < 0 ||
        digest_parse(slice_of(plain), &out->diff_id, err) < 0)
        return error_set(err, ERROR_INVALID, "the image's config does not fit its layers");
    out->size = (uint64_t)size;
    out->media_type = memory_text(slice_of(type == NULL ? "" : type));
    return 0;
}

static int layers_read(const json_t *manifest, const json_t *config, struct s2i_image *out,
                       struct error *err)
{
    const json_t *layers = json_object_get(manifest, "layers");
    const json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    size_t count = json_array_size(layers);

    if (count == 0 || count != json_array_size(ids))
        return error_set(err, ERROR_INVALID, "it is no image of layers that a build could use");
    out->layers = memory_new(count * sizeof(*out->layers));
    for (; out->layer_count < count; out->layer_count++)
        if (layer_read(json_array_get(layers, out->layer_count),
                       json_array_get(ids, out->layer_count), &out->layers[out->layer_count],
                       err) < 0)
            return -1;
    return 0;
}

static int image_read(const struct builds *builds, struct slice repository,
                      const struct manifest *manifest, struct s2i_image *out, struct error *err)
    ON(worker_thread)
{
    OWNED(json_drop)
    json_t *document = json_loadb(manifest->payload.at, manifest->payload.size, 0, NULL);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(json_drop) json_t *config = NULL;
    struct digest digest;
    const char *named =
        json_string_value(json_object_get(json_object_get(document, "config"), "digest"));

    if (named == NULL || digest_parse(slice_of(named), &digest, err) < 0)
        return error_set(err, ERROR_INVALID, "the image names no config");
    if (config_read(builds, repository, &digest, &text, err) < 0)
        return -1;
    if (json_is_crowded(buffer_slice(&text)))
        return error_set(err, ERROR_INVALID, "the image's config has more than %d values",
                         JSON_VALUES_MAX);
    config = json_loadb(text.at, text.size, 0, NULL);
    if (!json_is_object(config))
        return error_set(err, ERROR_INVALID, "the image's config is no JSON object");
    out->digest = manifest->digest;
    out->media_type = memory_text(manifest->media_type);
    out->repository = memory_text(repository);
    out->config = memory_text(buffer_slice(&text));
    return layers_read(document, config, out, err);
}

int image_resolve(const struct builds *builds, const struct actor *who, struct slice name,
                  struct s2i_image *out, bool *found, struct error *err)
{
    OWNED(manifest_drop) const struct manifest *manifest = NULL;
    struct image_name parsed;

    *found = false;
    if (name_parse(name, &parsed, err) < 0)
        return -1;
    if (!builds->may_pull(builds->arg, who, parsed.repository))
        return 0;
    if (manifest_find(builds, &parsed, &manifest, err) < 0) {
        if (err->code != ERROR_MANIFEST_UNKNOWN && err->code != ERROR_NAME_UNKNOWN)
            return -1;
        error_clear(err);
        return 0;
    }
    OWNED(s2i_image_drop) struct s2i_image image = {.name = memory_text(name)};
    if (image_read(builds, parsed.repository, manifest, &image, err) < 0)
        return -1;
    *out = image;
    image = (struct s2i_image){.name = NULL};
    *found = true;
    return 0;
}

int image_layer_open(const struct builds *builds, const struct s2i_image *image, size_t layer,
                     int *fd, struct error *err)
{
    struct blob blob;

    if (image->name == NULL || layer >= image->layer_count)
        return error_set(err, ERROR_INVALID, "there is no such layer");
    if (storage_blob_open(builds->storage, slice_of(image->repository),
                          &image->layers[layer].digest, false, &blob, err) < 0)
        return -1;
    *fd = blob.fd;
    return 0;
}

/* --- pins --- */

/* Of the build and the image: two images of one repository are two pins. */
static struct slice pin_name(const struct digest *image, int64_t build, char out[PIN_NAME_MAX])
{
    char hex[17];

    hex_encode(image->bytes, 8, hex);
    hex[16] = 0;
    int size = snprintf(out, PIN_NAME_MAX, PIN_PREFIX "%lld-%s", (long long)build, hex);
    return (struct slice){out, (size_t)size};
}

int image_pin(const struct builds *builds, const struct s2i_image *image, int64_t build,
              int64_t until, struct error *err)
{
    const struct manifest_reference reference = {.digest = image->digest};
    const struct content_change change = {.actor = NULL};
    char name[PIN_NAME_MAX];
    bool created;

    if (image->name == NULL)
        return 0;
    return content_pin_put(builds->storage, slice_of(image->repository),
                           pin_name(&image->digest, build, name), &reference, until, &change,
                           &created, err);
}

void image_unpin(const struct builds *builds, const struct s2i_image *image, int64_t build)
{
    const struct content_change change = {.actor = NULL};
    struct error ignored = {0};
    char name[PIN_NAME_MAX];

    if (image->name != NULL &&
        content_pin_delete(builds->storage, slice_of(image->repository),
                           pin_name(&image->digest, build, name), &change, &ignored) < 0)
        error_clear(&ignored); /* it ends by itself */
}

/* Found again by the digest the row has, in the repository that its name says. */
void image_unpin_row(const struct builds *builds, int64_t build)
{
    OWNED(build_record_drop) struct build_record record = {0};
    struct s2i_image image = {.name = NULL};
    struct image_name name;
    struct error ignored = {0};

    if (build_find(builds->storage, build, &record, &ignored) < 0)
        return;
    build_inputs_unpin(builds, &record);
    if (record.builder[0] == 0 || name_parse(slice_of(record.builder), &name, &ignored) < 0 ||
        digest_parse(slice_of(record.builder_digest), &image.digest, &ignored) < 0)
        return;
    OWNED(memory_drop) char *repository = memory_text(name.repository);
    image.name = record.builder;
    image.repository = repository;
    image_unpin(builds, &image, build);
}

/* The build that made the pin; 0: it was none. */
static int64_t pin_build(const struct content_pin *pin)
{
    struct slice rest = slice_from(slice_of(pin->name), sizeof(PIN_PREFIX) - 1), digits;
    char name[PIN_NAME_MAX];
    uint64_t build = 0;

    if (!slice_split(rest, '-', &digits, &rest) || !slice_to_u64(digits, &build) ||
        build > INT64_MAX ||
        !slice_equal_text(pin_name(&pin->digest, (int64_t)build, name), pin->name))
        return 0;
    return (int64_t)build;
}

static bool has_ended(const struct builds *builds, int64_t build) ON(worker_thread)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    struct error err = {0};

    if (build_find(builds->storage, build, &record, &err) < 0)
        return err.code == ERROR_NOT_FOUND;
    return build_state_ended(record.state);
}

void image_unpin_late(const struct builds *builds, int64_t build)
{
    if (has_ended(builds, build))
        image_unpin_row(builds, build);
}

void images_sweep_pins(const struct builds *builds)
{
    OWNED(content_pins_drop) struct content_pins pins = {.items = NULL};
    const struct content_change change = {.actor = NULL};
    struct error err = {0};

    if (content_pins_own(builds->storage, SLICE(PIN_PREFIX), &pins, &err) < 0)
        return; /* the next sweep */
    for (size_t i = 0; i < pins.count; i++) {
        int64_t build = pin_build(&pins.items[i]);
        if (build != 0 && has_ended(builds, build) &&
            content_pin_delete(builds->storage, slice_of(pins.repositories[i]),
                               slice_of(pins.items[i].name), &change, &err) < 0)
            error_clear(&err); /* it ended by itself */
    }
}

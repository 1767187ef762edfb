/* document.c - manifests and indexes: reads a JSON document and lists what it names.
 * Touches  memory; jansson.
 * Never    storage; it does not know what exists.
 *
 * Members we do not know are left alone (MPUT-09); those we read are checked strictly, since what
 * other programs take for a reference is what must not be collected. */
#include "registry/core/document.h"

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "registry/core/json.h"
#include "registry/core/oci.h"

enum { NESTING_MAX = 64, ARTIFACT_TYPE_MAX = 1024, BASE_NAME_MAX = 512 };

#define BASE_NAME "org.opencontainers.image.base.name"
#define BASE_DIGEST "org.opencontainers.image.base.digest"

/* What a media type means here: accepted, or why not. */
struct known_type {
    const char *name;
    enum document_kind kind;
    const char *refusal; /* NULL when accepted */
};

static const char SCHEMA1_REFUSAL[] =
    "schema 1 manifests are not accepted, push the image with a newer client";

static const struct known_type known_types[] = {
    {OCI_TYPE_MANIFEST, DOCUMENT_IMAGE, NULL},
    {OCI_TYPE_INDEX, DOCUMENT_INDEX, NULL},
    {DOCKER_TYPE_MANIFEST, DOCUMENT_IMAGE, NULL},
    {DOCKER_TYPE_LIST, DOCUMENT_INDEX, NULL},
    {"application/vnd.docker.distribution.manifest.v1+json", DOCUMENT_IMAGE, SCHEMA1_REFUSAL},
    {"application/vnd.docker.distribution.manifest.v1+prettyjws", DOCUMENT_IMAGE, SCHEMA1_REFUSAL},
    {"application/vnd.oci.artifact.manifest.v1+json", DOCUMENT_IMAGE,
     "the withdrawn artifact manifest is not accepted, use an image manifest with artifactType"},
};

/* MPUT-06: types that say nothing about the body. */
static const char *const generic_types[] = {
    "application/json",
    "application/octet-stream",
    "text/plain",
};

/* MPUT-15: layers that need not be here. */
static const char *const nondistributable_types[] = {
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

static bool is_one_of(struct slice type, const char *const *types, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal_ignore_case(type, types[i]))
            return true;
    return false;
}

static const struct known_type *find_type(struct slice name)
{
    for (size_t i = 0; i < LENGTH(known_types); i++)
        if (slice_equal_ignore_case(name, known_types[i].name))
            return &known_types[i];
    return NULL;
}

static struct slice text_of(const json_t *value)
{
    return (struct slice){json_string_value(value), json_string_length(value)};
}

/* A member that is there and not null. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

/* --- parsing: MPUT-03 --- */

/* Looked at before parsing, since the parser recurses. */
static bool nests_too_deep(struct slice body)
{
    size_t depth = 0;
    bool in_text = false;

    for (size_t i = 0; i < body.size; i++) {
        char c = body.at[i];
        if (in_text && c == '\\')
            i++;
        else if (c == '"')
            in_text = !in_text;
        else if (!in_text && (c == '{' || c == '[') && ++depth > NESTING_MAX)
            return true;
        else if (!in_text && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return false;
}

/* Only the place is told: what stands there may be anything. */
static int refuse_json(const json_error_t *why, struct error *err)
{
    enum json_error_code code = json_error_code(why);
    const char *reason = code == json_error_duplicate_key           ? "a duplicate key"
                         : code == json_error_invalid_utf8          ? "text that is not UTF-8"
                         : code == json_error_end_of_input_expected ? "something after the object"
                                                                    : "a syntax error";

    return error_set(err, ERROR_MANIFEST_INVALID,
                     "the manifest is not acceptable JSON: %s at line %d, column %d", reason,
                     why->line, why->column);
}

/* Out of memory must not look like bad JSON: memory_new ends the process. */
static void configure(void)
{
    json_set_alloc_funcs(memory_new, free);
}

static int parse(struct slice body, json_t **out, struct error *err)
{
    static pthread_once_t configured = PTHREAD_ONCE_INIT;
    json_error_t why;

    pthread_once(&configured, configure);
    if (body.size == 0)
        return error_set(err, ERROR_MANIFEST_INVALID, "the manifest is empty");
    if (nests_too_deep(body))
        return error_set(err, ERROR_MANIFEST_INVALID, "the manifest nests deeper than %d levels",
                         NESTING_MAX);
    if (json_is_crowded(body))
        return error_set(err, ERROR_MANIFEST_INVALID, "the manifest has more than %d values",
                         JSON_VALUES_MAX);
    OWNED(json_drop)
    json_t *root = json_loadb(body.at, body.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (root == NULL)
        return refuse_json(&why, err);
    if (!json_is_object(root))
        return error_set(err, ERROR_MANIFEST_INVALID, "the manifest is not a JSON object");
    *out = TAKE(root);
    return 0;
}

/* --- what it is: MPUT-04 to MPUT-09 --- */

/* The body's own type, SLICE_NONE when it has none. */
static int read_media_type(const json_t *root, struct slice *out, struct error *err)
{
    const json_t *value = json_object_get(root, "mediaType");

    *out = SLICE_NONE;
    if (value == NULL)
        return 0;
    if (!json_is_string(value) || !oci_media_type_valid(text_of(value)))
        return error_set(err, ERROR_MANIFEST_INVALID, "mediaType is not a media type");
    *out = text_of(value);
    return 0;
}

static int infer_type(const json_t *root, struct slice *out, struct error *err)
{
    bool image = json_object_get(root, "config") != NULL || json_object_get(root, "layers") != NULL;
    bool index = json_object_get(root, "manifests") != NULL;

    if (image == index)
        return error_set(err, ERROR_MANIFEST_INVALID,
                         "neither Content-Type nor mediaType says what the manifest is");
    *out = image ? SLICE(OCI_TYPE_MANIFEST) : SLICE(OCI_TYPE_INDEX);
    return 0;
}

static int decide_type(const json_t *root, struct slice content_type, struct slice *out,
                       struct error *err)
{
    struct slice declared, parameters, own;

    slice_split(content_type, ';', &declared, &parameters);
    declared = slice_trim(declared);
    if (read_media_type(root, &own, err) < 0)
        return -1;
    if (declared.size == 0 || is_one_of(declared, generic_types, LENGTH(generic_types))) {
        *out = own;
        return own.size > 0 ? 0 : infer_type(root, out, err);
    }
    if (own.size > 0 &&
        (own.size != declared.size || strncasecmp(own.at, declared.at, own.size) != 0))
        return error_set(err, ERROR_MANIFEST_INVALID, "mediaType differs from the Content-Type");
    *out = declared;
    return 0;
}

static int read_kind(const json_t *root, struct slice content_type, struct document *out,
                     struct error *err)
{
    struct slice name;

    if (decide_type(root, content_type, &name, err) < 0)
        return -1;
    const struct known_type *type = find_type(name);
    if (type == NULL && !oci_media_type_valid(name))
        return error_set(err, ERROR_MANIFEST_INVALID, "Content-Type is not a media type");
    if (type == NULL)
        return error_set(err, ERROR_MANIFEST_INVALID,
                         "media type %.*s is none of an image manifest or index",
                         (int)(name.size < 120 ? name.size : 120), name.at);
    if (type->refusal != NULL)
        return error_set(err, ERROR_MANIFEST_INVALID, "%s", type->refusal);
    out->kind = type->kind;
    out->media_type = memory_text(slice_of(type->name));

    const json_t *version = json_object_get(root, "schemaVersion");
    if (!json_is_integer(version) || json_integer_value(version) != 2)
        return error_set(err, ERROR_MANIFEST_INVALID, "schemaVersion is not 2");
    return 0;
}

/* MPUT-09: what one program reads as an image, another must not read as an index. */
static int refuse_confusion(const json_t *root, enum document_kind kind, struct error *err)
{
    static const char *const foreign[][2] = {
        [DOCUMENT_IMAGE] = {"manifests", "manifests"},
        [DOCUMENT_INDEX] = {"config", "layers"},
    };

    for (size_t i = 0; i < 2; i++)
        if (json_object_get(root, foreign[kind][i]) != NULL)
            return error_set(err, ERROR_MANIFEST_INVALID, "an image %s must not have the member %s",
                             kind == DOCUMENT_IMAGE ? "manifest" : "index", foreign[kind][i]);
    return 0;
}

/* --- descriptors: MPUT-13, FMT-01 --- */

/* "os/architecture[/variant]", NULL unless the first two are there. */
static char *read_platform(const json_t *descriptor)
{
    const json_t *platform = json_object_get(descriptor, "platform");
    const json_t *os = json_object_get(platform, "os");
    const json_t *architecture = json_object_get(platform, "architecture");
    const json_t *variant = json_object_get(platform, "variant");
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (!json_is_string(os) || !json_is_string(architecture))
        return NULL;
    buffer_print(&text, "%s/%s", json_string_value(os), json_string_value(architecture));
    if (json_string_length(variant) > 0)
        buffer_print(&text, "/%s", json_string_value(variant));
    return memory_text(buffer_slice(&text));
}

/* place names the descriptor in messages. On failure nothing is left in out to free. */
static int read_descriptor(const json_t *value, const char *place, struct document_link *out,
                           struct error *err)
{
    const json_t *media_type = json_object_get(value, "mediaType");
    const json_t *digest = json_object_get(value, "digest");
    const json_t *size = json_object_get(value, "size");
    struct error why = {0};

    if (!json_is_object(value))
        return error_set(err, ERROR_MANIFEST_INVALID, "%s is not a descriptor", place);
    if (!json_is_string(media_type) || !oci_media_type_valid(text_of(media_type)))
        return error_set(err, ERROR_MANIFEST_INVALID, "%s.mediaType is not a media type", place);
    if (!json_is_string(digest))
        return error_set(err, ERROR_MANIFEST_INVALID, "%s.digest is not a string", place);
    if (digest_parse_any(text_of(digest), &out->digest, &why) < 0)
        return error_set(err, ERROR_MANIFEST_INVALID, "%s.digest: %s", place, why.message);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return error_set(err, ERROR_MANIFEST_INVALID, "%s.size is not an integer from 0 to 2^63-1",
                         place);
    out->size = (uint64_t)json_integer_value(size);
    out->nondistributable =
        is_one_of(text_of(media_type), nondistributable_types, LENGTH(nondistributable_types));
    out->media_type = memory_text(text_of(media_type));
    out->platform = read_platform(value);
    return 0;
}

static void link_drop(struct document_link *link)
{
    free(link->media_type);
    free(link->platform);
}

/* The member as an array; NULL and no elements when it is absent or null (MPUT-10, MPUT-11). */
static int read_array(const json_t *root, const char *name, const json_t **out, struct error *err)
{
    *out = member(root, name);
    if (*out != NULL && !json_is_array(*out))
        return error_set(err, ERROR_MANIFEST_INVALID, "%s is not an array", name);
    return 0;
}

static int read_list(const json_t *array, const char *name, struct document_link *links,
                     size_t *count, struct error *err)
{
    char place[48];

    for (size_t i = 0; i < json_array_size(array); i++) {
        snprintf(place, sizeof(place), "%s[%zu]", name, i);
        if (read_descriptor(json_array_get(array, i), place, &links[*count], err) < 0)
            return -1;
        (*count)++;
    }
    return 0;
}

/* Keeps the first link of each digest, in order. A hash table of positions, seeded against chosen
 * collisions, keeps the cost linear (MPUT-29). */
static void keep_once(struct document_link *links, size_t *count)
{
    size_t slots = 16, kept = 0;
    uint64_t seed;

    while (slots < 2 * *count)
        slots *= 2;
    OWNED(memory_drop) size_t *table = memory_new(slots * sizeof(*table)); /* position + 1 */
    random_bytes(&seed, sizeof(seed));
    for (size_t i = 0; i < *count; i++) {
        const struct digest *digest = &links[i].digest;
        size_t slot = bytes_hash(seed, digest->bytes, digest->size) & (slots - 1);
        while (table[slot] != 0 && !digest_equal(&links[table[slot] - 1].digest, digest))
            slot = (slot + 1) & (slots - 1);
        if (table[slot] != 0) {
            links[table[slot] - 1].nondistributable &= links[i].nondistributable;
            link_drop(&links[i]);
            continue;
        }
        links[kept] = links[i];
        table[slot] = ++kept;
    }
    *count = kept;
}

static int check_count(size_t count, size_t descriptors_max, struct error *err)
{
    if (count > descriptors_max)
        return error_set(err, ERROR_MANIFEST_INVALID,
                         "the manifest names %zu objects, more than the limit of %zu", count,
                         descriptors_max);
    return 0;
}

/* MPUT-10 */
static int read_image(const json_t *root, size_t descriptors_max, struct document *out,
                      struct error *err)
{
    const json_t *layers;

    if (member(root, "config") == NULL)
        return error_set(err, ERROR_MANIFEST_INVALID, "config is missing");
    if (read_array(root, "layers", &layers, err) < 0)
        return -1;
    size_t count = 1 + json_array_size(layers);
    if (check_count(count, descriptors_max, err) < 0)
        return -1;
    out->blobs = memory_new(count * sizeof(*out->blobs));
    if (read_descriptor(member(root, "config"), "config", &out->blobs[0], err) < 0)
        return -1;
    out->blobs[0].nondistributable = false; /* MPUT-15 excuses layers, not configs */
    out->blob_count = 1;
    if (read_list(layers, "layers", out->blobs, &out->blob_count, err) < 0)
        return -1;
    out->artifact_type = memory_text(slice_of(out->blobs[0].media_type));
    keep_once(out->blobs, &out->blob_count);
    return 0;
}

/* MPUT-11 */
static int read_index(const json_t *root, size_t descriptors_max, struct document *out,
                      struct error *err)
{
    const json_t *manifests;

    if (read_array(root, "manifests", &manifests, err) < 0 ||
        check_count(json_array_size(manifests), descriptors_max, err) < 0)
        return -1;
    out->children = memory_new(json_array_size(manifests) * sizeof(*out->children));
    if (read_list(manifests, "manifests", out->children, &out->child_count, err) < 0)
        return -1;
    keep_once(out->children, &out->child_count);
    return 0;
}

/* --- what referrers show: REF-04, MPUT-18 --- */

static int read_subject(const json_t *root, struct document *out, struct error *err)
{
    const json_t *subject = member(root, "subject");
    struct document_link link = {0};

    if (subject == NULL)
        return 0;
    if (read_descriptor(subject, "subject", &link, err) < 0)
        return -1;
    out->subject = link.digest;
    link_drop(&link);
    return 0;
}

/* Replaces what the config's type gave, when the manifest says its own. */
static int read_artifact_type(const json_t *root, struct document *out, struct error *err)
{
    const json_t *value = member(root, "artifactType");
    struct slice text = text_of(value);

    if (value != NULL &&
        (!json_is_string(value) || text.size > ARTIFACT_TYPE_MAX || strlen(text.at) != text.size))
        return error_set(err, ERROR_MANIFEST_INVALID, "artifactType is not a string of up to %d",
                         ARTIFACT_TYPE_MAX);
    if (text.size == 0)
        return 0;
    free(out->artifact_type);
    out->artifact_type = memory_text(text);
    return 0;
}

/* What an image says it stands on; another form than ours says nothing. */
static void read_base(const json_t *annotations, struct document *out)
{
    struct slice name = text_of(json_object_get(annotations, BASE_NAME));
    struct slice digest = text_of(json_object_get(annotations, BASE_DIGEST));

    if (out->kind != DOCUMENT_IMAGE || digest.size == 0 ||
        digest_parse(digest, &out->base_digest, &(struct error){0}) < 0)
        return;
    if (name.size == 0 || name.size > BASE_NAME_MAX || strlen(name.at) != name.size)
        return;
    const char *slash = strrchr(name.at, '/');
    bool named = strpbrk(slash == NULL ? name.at : slash, ":@") != NULL;
    OWNED(buffer_drop) struct buffer whole = BUFFER_NONE;
    buffer_print(&whole, "%s%s", name.at, named ? "" : ":latest");
    out->base_name = memory_text(buffer_slice(&whole));
}

static int read_annotations(json_t *root, struct document *out, struct error *err)
{
    json_t *annotations = member(root, "annotations");
    const char *name;
    json_t *value;

    if (annotations == NULL)
        return 0;
    if (!json_is_object(annotations))
        return error_set(err, ERROR_MANIFEST_INVALID, "annotations is not an object");
    json_object_foreach(annotations, name, value)
        if (!json_is_string(value))
            return error_set(err, ERROR_MANIFEST_INVALID, "an annotation is not a string");
    if (json_object_size(annotations) > 0)
        out->annotations = json_dumps(annotations, JSON_COMPACT);
    read_base(annotations, out);
    return 0;
}

static int read_document(json_t *root, struct slice content_type, size_t descriptors_max,
                         struct document *out, struct error *err)
{
    if (read_kind(root, content_type, out, err) < 0 || refuse_confusion(root, out->kind, err) < 0)
        return -1;
    int read = out->kind == DOCUMENT_IMAGE ? read_image(root, descriptors_max, out, err)
                                           : read_index(root, descriptors_max, out, err);
    if (read < 0)
        return -1;
    if (read_subject(root, out, err) < 0 || read_artifact_type(root, out, err) < 0)
        return -1;
    return read_annotations(root, out, err);
}

int document_parse(struct slice body, struct slice content_type, size_t descriptors_max,
                   struct document *out, struct error *err)
{
    OWNED(json_drop) json_t *root = NULL;

    *out = (struct document){0};
    if (parse(body, &root, err) < 0)
        return -1;
    if (read_document(root, content_type, descriptors_max, out, err) == 0)
        return 0;
    document_drop(out);
    return -1;
}

void document_drop(struct document *document)
{
    if (document == NULL)
        return;
    for (size_t i = 0; i < document->blob_count; i++)
        link_drop(&document->blobs[i]);
    for (size_t i = 0; i < document->child_count; i++)
        link_drop(&document->children[i]);
    free(document->blobs);
    free(document->children);
    free(document->media_type);
    free(document->artifact_type);
    free(document->annotations);
    free(document->base_name);
    *document = (struct document){0};
}

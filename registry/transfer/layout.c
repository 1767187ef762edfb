/* layout.c - reads and writes index.json and oci-layout; see layout.h.
 * Touches  memory; jansson.
 * Never    files; keeps members it does not know. */
#include "registry/transfer/layout.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "registry/core/oci.h"

static const char REF_NAME[] = "org.opencontainers.image.ref.name";

static void entry_drop(struct layout_entry *entry)
{
    free(entry->media_type);
    free(entry->artifact_type);
    free(entry->name);
}

void layout_drop(struct layout *layout)
{
    for (size_t i = 0; i < layout->count; i++)
        entry_drop(&layout->entries[i]);
    free(layout->entries);
    *layout = (struct layout){.entries = NULL};
}

static int invalid(struct error *err, const char *what)
{
    return error_set(err, ERROR_INVALID, "%s", what);
}

static int load(struct slice text, const char *file, json_t **out, struct error *err)
{
    *out = json_of_others(text, JSON_REJECT_DUPLICATES);
    if (json_is_object(*out))
        return 0;
    json_decref(*out);
    *out = NULL;
    return error_set(err, ERROR_INVALID, "%s is no JSON object", file);
}

/* NULL for a member that is absent; a copy. */
static char *copy_text(const json_t *object, const char *member)
{
    const json_t *value = json_object_get(object, member);

    return json_is_string(value) ? memory_text(slice_of(json_string_value(value))) : NULL;
}

static int read_entry(const json_t *value, struct layout_entry *out, struct error *err)
{
    const json_t *digest = json_object_get(value, "digest");
    const json_t *size = json_object_get(value, "size");
    const json_t *type = json_object_get(value, "mediaType");

    if (!json_is_string(digest) || !json_is_string(type))
        return invalid(err, "an entry of index.json has no digest or no mediaType");
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return invalid(err, "an entry of index.json has no size");
    if (digest_parse(slice_of(json_string_value(digest)), &out->digest, err) < 0)
        return -1;
    out->size = (uint64_t)json_integer_value(size);
    out->media_type = copy_text(value, "mediaType");
    out->artifact_type = copy_text(value, "artifactType");
    out->name = copy_text(json_object_get(value, "annotations"), REF_NAME);
    return 0;
}

static struct layout_entry *entry_new(struct layout *layout)
{
    if (layout->count == layout->capacity) {
        layout->capacity = layout->capacity == 0 ? 16 : 2 * layout->capacity;
        layout->entries =
            memory_resize(layout->entries, layout->capacity * sizeof(*layout->entries));
    }
    struct layout_entry *entry = &layout->entries[layout->count++];
    *entry = (struct layout_entry){.name = NULL};
    return entry;
}

int layout_parse(struct slice text, size_t entries_max, struct layout *out, struct error *err)
{
    OWNED(json_drop) json_t *root = NULL;
    size_t i;
    json_t *value;

    *out = (struct layout){.entries = NULL};
    if (load(text, LAYOUT_INDEX, &root, err) < 0)
        return -1;
    const json_t *manifests = json_object_get(root, "manifests");
    if (!json_is_array(manifests))
        return invalid(err, "index.json has no list of manifests");
    if (json_array_size(manifests) > entries_max)
        return error_set(err, ERROR_INVALID, "index.json lists more than %zu manifests",
                         entries_max);
    json_array_foreach(manifests, i, value) {
        if (read_entry(value, entry_new(out), err) == 0)
            continue;
        layout_drop(out);
        return -1;
    }
    return 0;
}

static bool same(const struct layout_entry *a, const struct layout_entry *b)
{
    if (a->name == NULL || b->name == NULL)
        return a->name == b->name && digest_equal(&a->digest, &b->digest);
    return strcmp(a->name, b->name) == 0;
}

void layout_add(struct layout *layout, const struct layout_entry *entry)
{
    size_t kept = 0;

    for (size_t i = 0; i < layout->count; i++) {
        if (same(&layout->entries[i], entry))
            entry_drop(&layout->entries[i]);
        else
            layout->entries[kept++] = layout->entries[i];
    }
    layout->count = kept;
    struct layout_entry *copy = entry_new(layout);
    copy->digest = entry->digest;
    copy->size = entry->size;
    copy->media_type = memory_text(slice_of(entry->media_type));
    if (entry->artifact_type != NULL)
        copy->artifact_type = memory_text(slice_of(entry->artifact_type));
    if (entry->name != NULL)
        copy->name = memory_text(slice_of(entry->name));
}

bool layout_names(const struct layout *layout, const struct digest *digest)
{
    for (size_t i = 0; i < layout->count; i++)
        if (digest_equal(&layout->entries[i].digest, digest))
            return true;
    return false;
}

static json_t *print_entry(const struct layout_entry *entry)
{
    char digest[DIGEST_TEXT_MAX];
    json_t *value = json_object();

    json_object_set_new(value, "mediaType", json_string(entry->media_type));
    json_object_set_new(value, "digest", json_string(digest_text(&entry->digest, digest)));
    json_object_set_new(value, "size", json_integer((json_int_t)entry->size));
    if (entry->artifact_type != NULL)
        json_object_set_new(value, "artifactType", json_string(entry->artifact_type));
    if (entry->name != NULL)
        json_object_set_new(value, "annotations", json_pack("{s:s}", REF_NAME, entry->name));
    return value;
}

void layout_print(const struct layout *layout, struct buffer *out)
{
    OWNED(json_drop) json_t *root = json_object();
    json_t *manifests = json_array();

    json_object_set_new(root, "schemaVersion", json_integer(2));
    json_object_set_new(root, "mediaType", json_string(OCI_TYPE_INDEX));
    json_object_set_new(root, "manifests", manifests);
    for (size_t i = 0; i < layout->count; i++)
        json_array_append_new(manifests, print_entry(&layout->entries[i]));
    OWNED(memory_drop) char *text = json_dumps(root, JSON_INDENT(2));
    buffer_print(out, "%s\n", text);
}

int layout_check(struct slice text, struct error *err)
{
    OWNED(json_drop) json_t *root = NULL;

    if (load(text, LAYOUT_FILE, &root, err) < 0)
        return -1;
    const char *version = json_string_value(json_object_get(root, "imageLayoutVersion"));
    if (version == NULL || strncmp(version, "1.", 2) != 0)
        return invalid(err, "the layout is not of version 1");
    return 0;
}

struct slice layout_tag(struct slice name)
{
    const char *slash = name.size == 0 ? NULL : memrchr(name.at, '/', name.size);
    struct slice last = slash == NULL ? name : slice_from(name, (size_t)(slash + 1 - name.at));
    struct slice repository, tag;

    if (!slice_split(last, ':', &repository, &tag))
        tag = slash == NULL ? name : SLICE_NONE;
    return oci_tag_valid(tag) ? tag : SLICE_NONE;
}

int image_name_parse(struct slice text, struct image_name *out, struct error *err)
{
    struct slice rest;

    *out = (struct image_name){.tag = SLICE_NONE};
    if (slice_split(text, '@', &out->repository, &rest)) {
        if (digest_parse(rest, &out->digest, err) < 0)
            return -1;
    } else if (slice_split(text, ':', &out->repository, &out->tag)) {
        if (!oci_tag_valid(out->tag))
            return invalid(err, "what follows the colon cannot be a tag");
    }
    if (!oci_name_valid(out->repository))
        return invalid(err, "it cannot be the name of a repository");
    return 0;
}

/* provenance.c - the signed provenance that stands beside an image, as it is stored.
 * Touches  storage: referrers, their manifests and blobs.
 * Never    verifies: whoever pushes may put an envelope there, and who asks judges by the keys.
 *
 * Spec: s2i 7.12, 15.10 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/json.h"
#include "s2i/s2i_internal.h"
#include "storage/storage.h"

enum {
    PAGE_SIZE = 16 * 1024, /* bytes of descriptors: some dozen envelopes */
    ENVELOPE_MAX = 256 * 1024,
};

static void manifest_drop(const struct manifest **manifest)
{
    if (*manifest != NULL)
        storage_manifest_release(*manifest);
}

/* The one layer of a referrer, when it is an envelope of a size that ours may have. */
static bool layer_of(struct slice manifest, struct digest *digest)
{
    OWNED(json_drop) json_t *document = json_loadb(manifest.at, manifest.size, 0, NULL);
    const json_t *layers = json_object_get(document, "layers");
    const json_t *layer = json_array_get(layers, 0);
    const char *type = json_string_value(json_object_get(layer, "mediaType"));
    const char *named = json_string_value(json_object_get(layer, "digest"));
    struct error ignored = {0};

    return json_array_size(layers) == 1 && type != NULL && strcmp(type, DSSE_TYPE) == 0 &&
           named != NULL && digest_parse(slice_of(named), digest, &ignored) == 0;
}

static json_t *envelope_read(int fd, uint64_t size)
{
    OWNED(memory_drop) char *text = memory_new((size_t)size + 1);
    json_t *envelope;
    size_t at = 0;
    ssize_t got;

    while (at < size && (got = pread(fd, text + at, (size_t)size - at, (off_t)at)) > 0)
        at += (size_t)got;
    envelope = json_loadb(text, at, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_string(json_object_get(envelope, "payload")) &&
        json_is_string(json_object_get(envelope, "payloadType")) &&
        json_is_array(json_object_get(envelope, "signatures")))
        return envelope;
    json_decref(envelope);
    return NULL;
}

/* NULL: it is none; strangers may push what they like under this type. */
static json_t *envelope_of(const struct builds *builds, struct slice repository,
                           const struct digest *referrer) ON(worker_thread)
{
    const struct manifest_reference reference = {.digest = *referrer};
    OWNED(manifest_drop) const struct manifest *manifest = NULL;
    json_t *envelope = NULL;
    struct error ignored = {0};
    struct digest digest;
    struct blob blob;

    if (storage_manifest_get(builds->storage, repository, &reference, false, &manifest, &ignored) <
            0 ||
        !layer_of(manifest->payload, &digest) ||
        storage_blob_open(builds->storage, repository, &digest, false, &blob, &ignored) < 0)
        return NULL;
    if (blob.size <= ENVELOPE_MAX)
        envelope = envelope_read(blob.fd, blob.size);
    storage_blob_close(&blob);
    return envelope;
}

int builds_provenance(struct builds *builds, struct slice repository, const struct digest *image,
                      uint64_t after, struct buffer *out, uint64_t *next, struct error *err)
{
    OWNED(referrers_drop) struct referrers referrers = {0};
    char digest[DIGEST_TEXT_MAX];

    if (storage_referrer_list(builds->storage, repository, image, SLICE(DSSE_TYPE), after,
                              PAGE_SIZE, &referrers, err) < 0)
        return -1;
    for (size_t i = 0; i < referrers.count; i++) {
        OWNED(json_drop)
        json_t *envelope = envelope_of(builds, repository, &referrers.items[i].digest);
        if (envelope == NULL)
            continue;
        char *text = json_dumps(envelope, JSON_COMPACT);
        buffer_print(out, "%s{\"digest\":\"%s\",\"envelope\":", out->size > 0 ? "," : "",
                     digest_text(&referrers.items[i].digest, digest));
        buffer_append_text(out, text);
        buffer_append_text(out, "}");
        free(text);
    }
    *next = referrers.next;
    return 0;
}

int builds_keys(struct builds *builds, struct buffer *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer keys = BUFFER_NONE;

    if (build_key_list(builds->storage, &keys, err) < 0)
        return -1;
    buffer_append_text(out, "{\"keys\":[");
    buffer_append_slice(out, buffer_slice(&keys));
    buffer_append_text(out, "]}");
    return 0;
}

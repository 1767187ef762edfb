/* publish.c - what a build gives back becomes an image: blobs, config, manifest, tags.
 * Touches  storage, as a push of the asker does.
 * Never    believes a digest of the builder's: bytes are hashed as they come.
 *
 * (3) of s2i.h: blobs first, each under a lease; then one transaction. Spec: s2i 7.10, 7.11. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/document.h"
#include "registry/core/oci.h"
#include "s2i/contract/contract.h"
#include "s2i/s2i_internal.h"
#include "storage/storage.h"

enum { DESCRIPTORS_MAX = 1000, LABELS_MAX = 10240 };

struct publisher publisher_of(const struct build_task *task)
{
    return (struct publisher){
        .builds = task->builds,
        .repository = slice_of(task->record.repository),
        .actor = {.account = task->record.account, .name = slice_of(task->record.actor)}};
}

/* --- blobs --- */

static int arrival_begin(const struct publisher *publisher, struct arrival *arrival,
                         struct error *err) ON(worker_thread)
{
    struct storage *storage = publisher->builds->storage;
    struct actor actor = publisher->actor;

    actor.owner = BUILD_UPLOADS;
    if (storage_upload_start(storage, publisher->repository, DIGEST_SHA256, &actor, arrival->id,
                             err) < 0)
        return -1;
    return storage_upload_claim(storage, publisher->repository, slice_of(arrival->id),
                                &arrival->upload, err);
}

int arrival_write(const struct publisher *publisher, struct arrival *arrival, struct slice bytes,
                  struct error *err)
{
    if (arrival->upload == NULL && arrival_begin(publisher, arrival, err) < 0)
        return -1;
    return storage_upload_append(arrival->upload, bytes, err);
}

int arrival_finish(const struct publisher *publisher, struct arrival *arrival,
                   const struct digest *digest, struct error *err)
{
    struct descriptor stored;

    if (arrival->upload == NULL && arrival_begin(publisher, arrival, err) < 0)
        return -1;
    return storage_upload_finish(TAKE(arrival->upload), digest, &stored, err);
}

/* A session that did not become a blob is of no use to anybody. */
void arrival_drop(const struct publisher *publisher, struct arrival *arrival)
{
    struct error ignored = {0};

    if (arrival->upload == NULL)
        return;
    storage_upload_release(TAKE(arrival->upload));
    if (storage_upload_cancel(publisher->builds->storage, publisher->repository,
                              slice_of(arrival->id), &ignored) < 0)
        error_clear(&ignored);
}

int publish_blob(const struct publisher *publisher, struct slice bytes, const struct digest *digest,
                 struct error *err)
{
    struct arrival arrival = {0};

    int outcome = arrival_write(publisher, &arrival, bytes, err) < 0
                      ? -1
                      : arrival_finish(publisher, &arrival, digest, err);
    arrival_drop(publisher, &arrival);
    return outcome;
}

int publish_layers(const struct publisher *publisher, const struct s2i_image *base,
                   struct error *err)
{
    char text[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < base->layer_count; i++) {
        bool mounted = true;
        if (storage_blob_mount(publisher->builds->storage, publisher->repository,
                               slice_of(base->repository), &base->layers[i].digest,
                               &publisher->actor, &mounted, err) < 0)
            return -1;
        if (!mounted)
            return error_set(err, ERROR_UNAVAILABLE, "the builder's layer %s is gone",
                             digest_text(&base->layers[i].digest, text));
    }
    return 0;
}

/* --- tags --- */

int publish_tag_list(const struct build_record *record, struct s2i_list *out, struct error *err)
{
    json_t *tags = json_loads(record->tags, 0, NULL);
    json_t *tag;
    size_t i;

    json_array_foreach(tags, i, tag) {
        const char *text = json_string_value(tag);
        if (text == NULL || !oci_tag_valid(slice_of(text))) {
            json_decref(tags);
            return error_set(err, ERROR_INVALID, "a tag of the build is malformed");
        }
        s2i_list_add(out, slice_of(text));
    }
    json_decref(tags);
    return 0;
}

static void slices_of(const struct s2i_list *list, struct slice *out)
{
    for (size_t i = 0; i < list->count; i++)
        out[i] = slice_of(list->items[i]);
}

/* --- the manifest --- */

static void links_fill(const struct document *document, struct manifest_link *out)
{
    for (size_t i = 0; i < document->blob_count; i++)
        out[i] = (struct manifest_link){.digest = document->blobs[i].digest,
                                        .size = document->blobs[i].size,
                                        .may_be_missing = document->blobs[i].nondistributable};
}

void publish_put_drop(struct publish_put *put)
{
    document_drop(&put->document);
    free(put->blobs);
    *put = (struct publish_put){.blobs = NULL};
}

int publish_put_read(struct slice payload, struct slice media_type, struct publish_put *out,
                     struct error *err)
{
    struct document *document = &out->document;

    if (document_parse(payload, media_type, DESCRIPTORS_MAX, document, err) < 0)
        return -1;
    out->blobs = memory_new((document->blob_count + 1) * sizeof(*out->blobs));
    links_fill(document, out->blobs);
    out->put = (struct manifest_put){.payload = payload,
                                     .media_type = slice_of(document->media_type),
                                     .artifact_type = slice_of(document->artifact_type),
                                     .annotations = slice_of(document->annotations),
                                     .subject = document->subject,
                                     .base_name = slice_of(document->base_name),
                                     .base_digest = document->base_digest,
                                     .blobs = out->blobs,
                                     .blob_count = document->blob_count};
    digest_of(DIGEST_SHA256, payload, &out->put.digest);
    return 0;
}

int publish_manifest(const struct publisher *publisher, struct slice payload,
                     struct slice media_type, const struct s2i_list *tags, struct published *out,
                     struct error *err)
{
    OWNED(publish_put_drop) struct publish_put read = {.blobs = NULL};
    OWNED(memory_drop) struct slice *names = memory_new((tags->count + 1) * sizeof(*names));
    struct missing missing = {0};

    if (publish_put_read(payload, media_type, &read, err) < 0)
        return -1;
    slices_of(tags, names);
    read.put.tags = names;
    read.put.tag_count = tags->count;
    read.put.actor = &publisher->actor;
    int outcome = storage_manifest_put(publisher->builds->storage, publisher->repository, &read.put,
                                       &missing, err);
    missing_drop(&missing);
    if (out != NULL) {
        out->digest = read.put.digest;
        out->size = payload.size;
        snprintf(out->media_type, sizeof(out->media_type), "%s", read.document.media_type);
    }
    return outcome;
}

int publish_result(const struct build_task *task, const struct s2i_spec *spec,
                   const struct s2i_result *result, struct published *out, struct error *err)
{
    const struct s2i_image *base = spec->runtime.name != NULL ? &spec->runtime : &spec->builder;
    OWNED(contract_result_drop) struct contract_result made = {0};
    OWNED(s2i_list_drop) struct s2i_list tags = {0};
    const struct publisher publisher = publisher_of(task);
    const struct s2i_list none = {0};

    if (publish_tag_list(&task->record, &tags, err) < 0 ||
        contract_result_make(spec, result, &tags, LABELS_MAX, &made, err) < 0 ||
        publish_layers(&publisher, base, err) < 0 ||
        publish_blob(&publisher, buffer_slice(&made.config), &made.config_digest, err) < 0)
        return -1;
    return publish_manifest(&publisher, buffer_slice(&made.manifest), SLICE_NONE, &none, out, err);
}

void publish_tags_drop(struct publish_tags *tags)
{
    s2i_list_drop(&tags->list);
    free(tags->names);
    *tags = (struct publish_tags){.names = NULL};
}

int publish_tags_read(const struct build_task *task, const struct digest *image,
                      struct publish_tags *out, struct error *err)
{
    if (publish_tag_list(&task->record, &out->list, err) < 0)
        return -1;
    out->names = memory_new((out->list.count + 1) * sizeof(*out->names));
    slices_of(&out->list, out->names);
    out->actor = publisher_of(task).actor;
    out->tags = (struct build_tagging){.repository = slice_of(task->record.repository),
                                       .image = *image,
                                       .names = out->names,
                                       .count = task->hold_tags ? 0 : out->list.count,
                                       .actor = &out->actor};
    return 0;
}

/* --- tags of a push: moved when its ref does --- */

int builds_move_tags(struct builds *builds, int64_t id, struct slice ref, struct slice ref_id,
                     const struct actor *actor, struct error *err)
{
    OWNED(build_record_drop) struct build_record record = {0};
    OWNED(s2i_list_drop) struct s2i_list tags = {0};

    if (build_find(builds->storage, id, &record, err) < 0)
        return -1;
    struct build_move move = {.build = id,
                              .repository = slice_of(record.repository),
                              .ref = ref,
                              .ref_id = ref_id,
                              .actor = actor};
    if (record.state != BUILD_COMPLETE)
        return error_set(err, ERROR_CONFLICT, "build %lld has no image", (long long)id);
    if (digest_parse(slice_of(record.result_digest), &move.image, err) < 0 ||
        publish_tag_list(&record, &tags, err) < 0)
        return -1;
    OWNED(memory_drop) struct slice *names = memory_new((tags.count + 1) * sizeof(*names));
    slices_of(&tags, names);
    move.tags = names;
    move.tag_count = tags.count;
    return tags.count == 0 ? 0 : build_move_begin(builds->storage, &move, err);
}

/* verify.c - whether the same comes out again: a build is built beside itself, on images of the
 * same digests, and the two images are compared.
 * Touches  the queue; blobs of the images, read only.
 * Never    moves a tag; unpacks a layer.
 *
 * Spec: s2i 15.2 */
#include <jansson.h>
#include <string.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer.h"
#include "s2i/queue.h"
#include "s2i/session.h"

enum { DIFFERENCES_MAX = 1000, RATIO_MAX = 1000 };

int builds_verify(struct builds *builds, int64_t id, const struct actor *actor,
                  struct slice actor_name, const struct audit_event *event, int64_t *out,
                  struct error *err)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    if (build_find(builds->storage, id, &record, err) < 0)
        return -1;
    if (build_verifies(&record) && record.retry_of != 0) {
        id = record.retry_of; /* what that one was of */
        build_record_drop(&record);
        record = (struct build_record){.id = 0};
        if (build_find(builds->storage, id, &record, err) < 0)
            return -1;
    }
    if (record.state != BUILD_COMPLETE)
        return error_set(err, ERROR_CONFLICT, "build %lld made no image", (long long)id);
    return builds_apart(builds, &record, SLICE(BUILD_VERIFY), actor, actor_name, event, out, err);
}

/* --- the images it stands on --- */

int session_verify_begin(struct session *session)
{
    const struct build_task *task = session->task;
    struct error err = {0};

    if (!build_verifies(&task->record))
        return 0;
    if (build_find(task->builds->storage, task->record.retry_of, &session->verified, &err) < 0)
        return session_fail(session, BUILD_FAILED, "GenericS2IBuildFailed",
                            "build %lld, which was to be verified, is gone",
                            (long long)task->record.retry_of);
    return 0;
}

char *session_verify_image(const struct session *session, const char *which, const char *name)
{
    const struct build_record *before = &session->verified;

    if (before->id == 0)
        return NULL;
    if (strcmp(which, "builder") == 0)
        return memory_text(slice_of(before->builder_digest));
    json_t *facts = json_loads(before->facts, 0, NULL);
    const json_t *images = json_object_get(facts, "images");
    const json_t *image = json_object_get(images, which);
    if (json_is_object(image))
        image = json_object_get(image, name);
    const char *digest = json_string_value(image);
    char *text = memory_text(slice_of(digest == NULL ? "" : digest));
    json_decref(facts);
    return text;
}

/* --- comparing --- */

static int image_of(struct builds *builds, const struct build_record *record, struct s2i_image *out,
                    struct error *err) ON(worker_thread)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    const struct actor ours = {.account = 0};
    bool found = false;

    if (record->result_digest[0] == 0)
        return error_set(err, ERROR_CONFLICT, "build %lld made no image", (long long)record->id);
    buffer_print(&name, "%s@%s", record->repository, record->result_digest);
    if (image_resolve(builds, &ours, buffer_slice(&name), out, &found, err) < 0)
        return -1;
    if (found)
        return 0;
    return error_set(err, ERROR_NOT_FOUND, "the image of build %lld is gone",
                     (long long)record->id);
}

static int layers_compare(struct builds *builds, const struct s2i_image *one,
                          const struct s2i_image *other, size_t layer, struct s2i_list *out,
                          struct error *err) ON(worker_thread)
{
    const struct config *config = builds->config;
    const struct layer_limits limits = {.bytes_max = config->builds_disk,
                                        .entries_max = config->builds_sources_max_files * 10,
                                        .ratio_max = RATIO_MAX};
    OWNED(fd_drop) int first = -1, second = -1;

    if (image_layer_open(builds, one, layer, &first, err) < 0 ||
        image_layer_open(builds, other, layer, &second, err) < 0)
        return -1;
    const struct layer_pair a = {first, &one->layers[layer]}, b = {second, &other->layers[layer]};
    return layer_differences(&a, &b, &limits, DIFFERENCES_MAX, out, err);
}

int builds_differences(struct builds *builds, const struct build_record *one,
                       const struct build_record *other, struct s2i_list *out, struct error *err)
{
    OWNED(s2i_image_drop) struct s2i_image first = {.name = NULL}, second = {.name = NULL};

    if (image_of(builds, one, &first, err) < 0 || image_of(builds, other, &second, err) < 0)
        return -1;
    if (digest_equal(&first.digest, &second.digest))
        return 0;
    if (strcmp(one->builder_digest, other->builder_digest) != 0)
        s2i_list_add(out, SLICE("the builder image is another one now"));
    if (first.layer_count != second.layer_count)
        s2i_list_add(out, SLICE("the images have not as many layers"));
    for (size_t i = 0; i < first.layer_count && i < second.layer_count; i++)
        if (!digest_equal(&first.layers[i].diff_id, &second.layers[i].diff_id) &&
            layers_compare(builds, &first, &second, i, out, err) < 0)
            return -1;
    if (strcmp(first.config, second.config) != 0)
        s2i_list_add(out, SLICE("the config of the image"));
    if (out->count == 0)
        s2i_list_add(out, SLICE("the manifest alone"));
    return 0;
}

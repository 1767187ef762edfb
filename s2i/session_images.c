/* session_images.c - the images a build stands on: found by name or digest, allowed to who asked,
 * held until its end.
 * Touches  storage by way of image.c.
 * Never    takes a tag for what it was: from here on an image is its digest.
 * Spec: s2i 2.10, 8.1, 15.7. */
#include "s2i/session.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/clock.h"

enum { PIN_MARGIN_US = 600 * 1000 * 1000 }; /* beyond the time a build may take */

static int builder_choose(struct session *session)
{
    struct s2i_options *options = &session->spec.options;

    if (options->builder != NULL)
        return 0;
    const char *found = session_detected(session);
    if (found == NULL)
        return session_fail(session, BUILD_FAILED, "PullBuilderImageFailed",
                            "no builder is named, and nothing in the source tells which: push with "
                            "-o builder=NAME, or configure one: slipway build config set");
    SAY(session, "-----> %s says: %s", session->spec.source.detected.items[0], found);
    options->builder = memory_text(slice_of(found));
    return 0;
}

/* What the name stood for when the build was asked for (2.10); NULL: it was not looked up. The
 * caller's. */
static char *digest_then(const struct build_record *record, const char *which, const char *name)
{
    if (record->id == 0)
        return NULL;
    if (strcmp(which, "inputs") == 0)
        return build_input_digest(record, name);
    if (strcmp(which, "builder") == 0 && record->builder_digest[0] != 0 &&
        strcmp(record->builder, name) == 0)
        return memory_text(slice_of(record->builder_digest));
    return NULL;
}

/* By its name; what was looked up when the build was asked for, and all of a verification, by the
 * digest it was then, under the same name. */
static int image_find(struct session *session, const char *which, const char *name,
                      struct s2i_image *out, bool *found, struct error *err) ON(worker_thread)
{
    const struct build_task *task = session->task;
    OWNED(memory_drop) char *digest = session_verify_image(session, which, name);
    OWNED(buffer_drop) struct buffer exact = BUFFER_NONE;
    OWNED(memory_drop) char *reach = NULL;
    const struct actor who = build_asker(&task->record, &reach);

    *found = false;
    if (digest == NULL)
        digest = digest_then(&task->record, which, name);
    if (digest != NULL && digest[0] == 0)
        return 0;
    buffer_append_text(&exact, name);
    if (digest != NULL) {
        exact.size = strcspn(name, "@");
        buffer_print(&exact, "@%s", digest);
    }
    if (image_resolve(task->builds, &who, buffer_slice(&exact), out, found, err) < 0)
        return -1;
    if (*found) {
        free(out->name);
        out->name = memory_text(slice_of(name));
    }
    return 0;
}

/* (2) of s2i.h */
static int image_hold(struct session *session, const struct s2i_image *image, struct error *err)
    ON(worker_thread)
{
    const struct build_task *task = session->task;
    int64_t until =
        clock_now_us() + (int64_t)session->spec.limits.timeout_ms * 1000 + PIN_MARGIN_US;

    return task->record.id == 0 ? 0 : image_pin(task->builds, image, task->record.id, until, err);
}

static int image_take(struct session *session, const char *which, const char *name,
                      const char *reason, struct s2i_image *out) ON(worker_thread)
{
    struct error err = {0};
    bool found;

    if (image_find(session, which, name, out, &found, &err) < 0)
        return session_fail_by(session, reason, &err);
    if (!found)
        return session_fail(
            session, BUILD_FAILED, reason,
            "there is no image %s%s here, or whoever builds may not pull it: push it, "
            "name another, or grant the right to read it",
            name, session->verified.id == 0 ? "" : ", as it was then");
    if (image_hold(session, out, &err) < 0)
        return session_fail_by(session, reason, &err);
    return 0;
}

/* The image of the build before, whose artifacts save this one work (8.1). */
static int previous_take(struct session *session) ON(worker_thread)
{
    const struct s2i_options *options = &session->spec.options;
    OWNED(s2i_list_drop) struct s2i_list tags = {0};
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    struct error err = {0};
    bool found;

    if (!options->incremental)
        return 0;
    if (publish_tag_list(&session->task->record, &tags, &err) < 0)
        return session_fail_by(session, "GenericS2IBuildFailed", &err);
    if (options->incremental_from != NULL)
        buffer_append_text(&name, options->incremental_from);
    else
        buffer_print(&name, "%s:%s", session->task->record.repository,
                     tags.count > 0 ? tags.items[0] : "latest");
    OWNED(memory_drop) char *text = memory_text(buffer_slice(&name));
    if (image_find(session, "previous", text, &session->spec.previous, &found, &err) < 0 ||
        image_hold(session, &session->spec.previous, &err) < 0)
        return session_fail_by(session, "PullPreviousImageFailed", &err);
    if (!found)
        SAY(session, "       no image before this one: a clean build is made");
    return 0;
}

/* Images whose files go beside the source, each once (13.52). Nobody asks for their configs. */
static int inputs_take(struct session *session) ON(worker_thread)
{
    const struct s2i_list *wanted = &session->spec.options.copy_from;
    struct s2i_spec *spec = &session->spec;
    struct slice name, source, destination;

    spec->inputs = memory_new((wanted->count + 1) * sizeof(*spec->inputs));
    for (size_t i = 0; i < wanted->count; i++) {
        struct s2i_image *image = &spec->inputs[spec->input_count];
        if (!s2i_copy_parse(slice_of(wanted->items[i]), &name, &source, &destination) ||
            s2i_spec_input(spec, name) != NULL)
            continue;
        OWNED(memory_drop) char *text = memory_text(name);
        *image = (struct s2i_image){.name = NULL};
        spec->input_count++;
        if (image_take(session, "inputs", text, "FetchImageContentFailed", image) < 0)
            return -1;
        free(image->config);
        image->config = memory_text(SLICE("{}"));
    }
    return 0;
}

int session_images_take(struct session *session)
{
    const struct s2i_options *options = &session->spec.options;
    char digest[DIGEST_TEXT_MAX];

    session_stage_begin(session, "PullImages");
    if (builder_choose(session) < 0 ||
        image_take(session, "builder", options->builder, "PullBuilderImageFailed",
                   &session->spec.builder) < 0 ||
        (options->runtime_image != NULL &&
         image_take(session, "runtime", options->runtime_image, "PullRuntimeImageFailed",
                    &session->spec.runtime) < 0) ||
        previous_take(session) < 0 || inputs_take(session) < 0)
        return -1;
    session_say_digest(&session->spec.builder.digest, digest);
    SAY(session, "-----> Builder %s (%s)", options->builder, digest);
    session_facts_of_images(session);
    session_stage_end(session);
    return 0;
}

void session_images_release(struct session *session)
{
    const struct build_task *task = session->task;

    if (task->record.id == 0)
        return;
    image_unpin(task->builds, &session->spec.runtime, task->record.id);
    image_unpin(task->builds, &session->spec.previous, task->record.id);
    for (size_t i = 0; i < session->spec.input_count; i++)
        image_unpin(task->builds, &session->spec.inputs[i], task->record.id);
}

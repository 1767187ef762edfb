/* session.c - one build: its source, its images, its options settled; a builder runs it; what comes
 * back is published.
 * Touches  storage by way of publish.c; what the other files of session.h touch.
 * Never    moves a tag of a build that failed.
 *
 *   FetchInputs > PullImages > (a builder: Assemble, CommitContainer) > PushImage
 *
 * Spec: s2i 12.3, 13.26, 13.27, 15.3. */
#include "s2i/session.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/contract/contract.h"

enum { SHORT_DIGEST = 19 }; /* "sha256:" and twelve digits */

/* --- saying --- */

void session_say_digest(const struct digest *digest, char out[DIGEST_TEXT_MAX])
{
    digest_text(digest, out);
    if (strlen(out) > SHORT_DIGEST)
        out[SHORT_DIGEST] = 0;
}

/* --- whose it is --- */

/* Builds wait, and take their time: a right that was taken back meanwhile counts. Spec: 2.10 */
static int push_check(const struct session *session, struct error *err) ON(worker_thread)
{
    const struct build_task *task = session->task;
    const struct builds *builds = task->builds;
    OWNED(memory_drop) char *reach = NULL;
    const struct actor who = build_asker(&task->record, &reach);

    if (task->record.id == 0 ||
        builds->may_push(builds->arg, &who, slice_of(task->record.repository)))
        return 0;
    return error_set(err, ERROR_DENIED,
                     "who asked for this build may not push into %.100s any more",
                     task->record.repository);
}

/* --- what was built before (13.27) --- */

/* They move with the end of the build, where it is late to say in its log that they may not. */
static int tags_check(const struct session *session, const struct digest *image, struct error *err)
    ON(worker_thread)
{
    OWNED(publish_tags_drop) struct publish_tags tags = {.names = NULL};

    if (push_check(session, err) < 0 || publish_tags_read(session->task, image, &tags, err) < 0)
        return -1;
    return build_tags_check(session->task->builds->storage, &tags.tags, err);
}

static bool reuse_wanted(const struct session *session)
{
    const struct s2i_options *options = &session->spec.options;

    return !options->rebuild && !options->incremental && options->inject.count == 0;
}

/* The image of the same inputs, when it is still there. */
static bool reuse(struct session *session) ON(worker_thread)
{
    struct build_task *task = session->task;
    OWNED(build_record_drop) struct build_record before = {0};
    const struct manifest *manifest = NULL;
    struct manifest_reference reference = {.tag = SLICE_NONE};
    char digest[DIGEST_TEXT_MAX];
    struct error err = {0};
    bool found = false;

    contract_input_key(&session->spec, session->input_key);
    if (!reuse_wanted(session) ||
        build_by_key(task->builds->storage, slice_of(task->record.repository),
                     slice_of(session->input_key), &before, &found, &err) < 0 ||
        !found || digest_parse(slice_of(before.result_digest), &reference.digest, &err) < 0 ||
        storage_manifest_get(task->builds->storage, slice_of(task->record.repository), &reference,
                             true, &manifest, &err) < 0)
        return false;
    storage_manifest_release(manifest);
    if (tags_check(session, &reference.digest, &err) < 0)
        return false;
    session_say_digest(&reference.digest, digest);
    SAY(session, "-----> Nothing to build: build %lld made %s of the same", (long long)before.id,
        digest);
    json_object_set_new(session->facts, "reused", json_integer(before.id));
    session->out->result = reference.digest;
    session->out->layer_size = before.layer_size;
    session->reused = true;
    return true;
}

/* --- the end --- */

static void say_result(struct session *session)
{
    OWNED(s2i_list_drop) struct s2i_list tags = {0};
    uint64_t ms = clock_monotonic_ms() - session->begun_ms;
    char digest[DIGEST_TEXT_MAX];
    struct error ignored = {0};

    if (publish_tag_list(&session->task->record, &tags, &ignored) < 0)
        error_clear(&ignored);
    SAY(session, "-----> %s%s%s", session->task->record.repository, tags.count > 0 ? ":" : "",
        tags.count > 0 ? tags.items[0] : "");
    SAY(session, "       %s", digest_text(&session->out->result, digest));
    SAY(session, "       %s of %lld bytes, %llu.%llu s",
        session->reused ? "same layer" : "new layer", (long long)session->out->layer_size,
        (unsigned long long)(ms / 1000), (unsigned long long)(ms % 1000 / 100));
}

static int publish(struct session *session) ON(worker_thread)
{
    struct published image;
    struct error err = {0};

    if (session_stopped(session))
        return -1;
    session_stage_begin(session, "PushImage");
    for (size_t i = 0; i < session->result.layer_count; i++)
        session->out->layer_size += (int64_t)session->result.layers[i].layer.size;
    if (push_check(session, &err) < 0 ||
        publish_result(session->task, &session->spec, &session->result, &image, &err) < 0 ||
        tags_check(session, &image.digest, &err) < 0)
        return session_fail_by(session, "PushImageToRegistryFailed", &err);
    session->out->result = image.digest;
    session_attest(session, &image);
    session_stage_end(session);
    return 0;
}

/* What the builder says it came to. */
static int judge(struct session *session)
{
    const struct s2i_result *result = &session->result;

    session->out->exit_code = result->exit_code;
    session_facts_of_result(session);
    if (result->done)
        return 0;
    return session_fail(session, BUILD_FAILED,
                        result->reason == NULL ? "GenericS2IBuildFailed" : result->reason, "%s",
                        result->message == NULL ? "" : result->message);
}

int session_steps(struct session *session)
{
    bool verifies = build_verifies(&session->task->record);
    struct error err = {0};

    if (push_check(session, &err) < 0)
        return session_fail_by(session, "PushImageToRegistryFailed", &err);
    if (session_verify_begin(session) < 0 || session_fetch(session) < 0 ||
        session_settle(session) < 0 || session_images_take(session) < 0)
        return -1;
    session_tell(session, false);
    if (session->spec.mode == S2I_BUILD && !verifies && reuse(session))
        return 0;
    if (session_talk(session) < 0 || judge(session) < 0)
        return -1;
    return session->spec.mode == S2I_BUILD ? publish(session) : 0;
}

/* --- from the queue --- */

void session_start(struct session *session, struct build_task *task, struct build_outcome *out,
                   enum s2i_mode mode)
{
    OWNED(s2i_list_drop) struct s2i_list tags = {0};
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    struct error ignored = {0};

    *out = (struct build_outcome){.state = BUILD_COMPLETE, .exit_code = -1};
    *session = (struct session){.task = task,
                                .out = out,
                                .source = -1,
                                .channel = -1,
                                .stages = json_array(),
                                .facts = json_object(),
                                .begun_ms = clock_monotonic_ms()};
    session->publisher = publisher_of(task);
    session->spec.build = task->record.id;
    session->spec.first_build = task->record.first;
    session->spec.mode = mode;
    session->spec.options = task->options;
    task->options = (struct s2i_options){0};
    if (publish_tag_list(&task->record, &tags, &ignored) < 0)
        error_clear(&ignored);
    buffer_print(&target, "%s:%s", task->record.repository,
                 tags.count > 0 ? tags.items[0] : "latest");
    session->spec.target = memory_text(buffer_slice(&target));
}

void session_text_keep(struct buffer *out, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    buffer_append_text(out, text);
    free(text);
    json_decref(value);
}

void session_finish(struct session *session)
{
    session_stage_end(session);
    session_images_release(session);
    if (session->source >= 0)
        close(session->source);
    session_text_keep(&session->out->stages, session->stages);
    session_text_keep(&session->out->facts, session->facts);
    s2i_list_wipe(&session->spec.secrets);
    build_record_drop(&session->verified);
    s2i_spec_drop(&session->spec);
    s2i_result_drop(&session->result);
}

void build_outcome_drop(struct build_outcome *outcome)
{
    buffer_drop(&outcome->stages);
    buffer_drop(&outcome->facts);
    buffer_drop(&outcome->attestations);
}

/* Spec: s2i 13.26 */
static void say_failure(struct session *session)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE, text = BUFFER_NONE;

    buffer_print(&line, "       %s", session->out->message);
    buffer_append_wrapped(&text, buffer_slice(&line), SAID_INDENT, SAID_COLUMNS);
    SAY(session, "-----> %s\n%.*s", session->out->reason, SLICE_ARG(buffer_slice(&text)));
}

void session_run(struct build_task *task, struct build_outcome *out)
{
    struct session session;

    session_start(&session, task, out, S2I_BUILD);
    if (session_steps(&session) == 0)
        say_result(&session);
    else
        say_failure(&session);
    session_tell(&session, true);
    session_finish(&session);
}

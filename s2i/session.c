/* session.c - one build: its source, its images, its options settled; a builder runs it; what comes
 * back is published.
 * Touches  confined children by way of source.h, storage by way of image.c and publish.c.
 * Never    reads a stranger's file in this process; moves a tag of a build that failed.
 *
 *   FetchInputs > PullImages > (a builder: Assemble, CommitContainer) > PushImage
 *
 * Spec: s2i 12.3, 13.26, 13.27, 15.3, 15.7, 15.9. */
#include "s2i/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "s2i/contract/contract.h"
#include "s2i/contract/dockerfile.h"
#include "s2i/source/source.h"

enum {
    PIN_MARGIN_US = 600 * 1000 * 1000, /* beyond the time a build may take */
    SHORT_DIGEST = 19,                 /* "sha256:" and twelve digits */
};

/* --- saying --- */

static void say_digest(const struct digest *digest, char out[DIGEST_TEXT_MAX])
{
    digest_text(digest, out);
    if (strlen(out) > SHORT_DIGEST)
        out[SHORT_DIGEST] = 0;
}

/* --- the source --- */

static struct s2i_list list_of(const struct config_list *list)
{
    return (struct s2i_list){list->items, list->count};
}

static const struct s2i_list *detect_table(const struct session *session,
                                           const struct s2i_list *of_server)
{
    const struct s2i_list *own = &session->spec.options.detect;

    if (session->spec.options.builder != NULL)
        return NULL;
    return own->count > 0 ? own : of_server;
}

static char *repository_folder(const struct session *session)
{
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s/%s.git", session->task->builds->repositories,
                 session->task->record.repository);
    return memory_text(buffer_slice(&path));
}

/* Names and values of what opens the sources (16.12). */
static int credentials_read(const struct session *session, struct s2i_list *out, struct error *err)
    ON(worker_thread)
{
    struct storage *storage = session->task->builds->storage;
    OWNED(build_config_drop) struct build_config config = {0};
    OWNED(build_secrets_drop) struct build_secrets secrets = {0};

    if (build_config_find(storage, slice_of(session->task->record.repository), &config, err) < 0) {
        error_clear(err);
        return 0;
    }
    if (build_secret_list(storage, config.id, BUILD_SECRET_SOURCE, true, &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++)
        s2i_list_add(out, slice_of(secrets.items[i].value));
    return 0;
}

static int archive_open(const struct session *session, int *fd, struct error *err)
{
    const struct build_task *task = session->task;
    OWNED(memory_drop) char *path = build_archive_path(task->builds, task->record.id);

    *fd = task->archive >= 0 ? fcntl(task->archive, F_DUPFD_CLOEXEC, 0)
                             : open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the uploaded source is gone");
    return 0;
}

static int fetch_with(struct session *session, int archive, struct error *err) ON(worker_thread)
{
    const struct config *config = session->task->builds->config;
    const struct build_record *record = &session->task->record;
    const struct s2i_options *options = &session->spec.options;
    const struct s2i_list schemes = list_of(&config->builds_sources_schemes),
                          ports = list_of(&config->builds_sources_ports),
                          hosts = list_of(&config->builds_sources_allow),
                          detect = list_of(&config->builds_detect);
    OWNED(memory_drop) char *folder = repository_folder(session);
    OWNED(s2i_list_wipe) struct s2i_list credentials = {0};
    const char *reason = "FetchSourceFailed";

    if (credentials_read(session, &credentials, err) < 0)
        return -1;
    const struct source_wish wish = {
        .kind = record->source,
        .repository_folder = folder,
        .commit = slice_of(record->commit),
        .ref = slice_of(record->ref),
        .url = slice_of(record->url),
        .archive = archive,
        .context_dir = slice_of(options->context_dir),
        .exclude = slice_of(options->exclude),
        .ignore_submodules = options->ignore_submodules,
        .detect = detect_table(session, &detect),
        .credentials = &credentials,
        .files_max = config->builds_sources_max_files,
        .bytes_max = config->builds_sources_max_size,
        .blob_max = config->builds_sources_max_size,
        .timeout_ms = config->builds_sources_timeout,
        .scratch = session->task->builds->scratch,
        .log = session->task->log,
        .cancel = session->task->wake,
    };
    const struct source_rules rules = {&schemes, &ports, &hosts, config->builds_sources_max_size};
    if (source_open(&wish, &rules, &session->source, &session->spec.source, &reason, err) == 0)
        return 0;
    if (!session_stopped(session))
        session_fail_by(session, reason, err);
    return -1;
}

static int fetch(struct session *session) ON(worker_thread)
{
    const struct build_record *record = &session->task->record;
    struct error err = {0};
    int archive = -1;

    session_stage_begin(session, "FetchInputs");
    SAY(session, "-----> Fetching the source%s%.12s", record->commit[0] == 0 ? "" : ": commit ",
        record->commit);
    if (record->source == BUILD_FROM_ARCHIVE && archive_open(session, &archive, &err) < 0)
        return session_fail_by(session, "FetchSourceFailed", &err);
    int outcome = fetch_with(session, archive, &err);
    if (archive >= 0)
        close(archive);
    if (outcome < 0)
        return session_fail_by(session, "FetchSourceFailed", &err);
    const struct s2i_source_facts *source = &session->spec.source;
    SAY(session, "       %llu files, %llu bytes", (unsigned long long)source->files,
        (unsigned long long)source->bytes);
    if (source->lfs_pointers > 0)
        SAY(session, "       warning: %llu files are pointers of Git LFS, not their content",
            (unsigned long long)source->lfs_pointers);
    session_facts_of_source(session);
    session_stage_end(session);
    return 0;
}

/* --- images --- */

/* "pattern=builder" of the first pattern that the source has. */
static const char *detected(const struct session *session)
{
    const struct s2i_list found = session->spec.source.detected;
    const struct s2i_list of_server = list_of(&session->task->builds->config->builds_detect);
    const struct s2i_list *table = detect_table(session, &of_server);

    for (size_t i = 0; found.count > 0 && table != NULL && i < table->count; i++) {
        struct slice pattern, builder;
        if (slice_split(slice_of(table->items[i]), '=', &pattern, &builder) &&
            slice_equal_text(pattern, found.items[0]))
            return builder.at;
    }
    return NULL;
}

static int builder_choose(struct session *session)
{
    struct s2i_options *options = &session->spec.options;

    if (options->builder != NULL)
        return 0;
    const char *found = detected(session);
    if (found == NULL)
        return session_fail(session, BUILD_FAILED, "PullBuilderImageFailed",
                            "no builder is named, and nothing in the source tells which: configure "
                            "one, or push with -o builder=NAME");
    SAY(session, "-----> %s says: %s", session->spec.source.detected.items[0], found);
    options->builder = memory_text(slice_of(found));
    return 0;
}

/* By its name; the builder that was named when the build was asked for, and all of a verification,
 * by the digest it was then, under the same name. */
static int image_find(struct session *session, const char *which, const char *name,
                      struct s2i_image *out, bool *found, struct error *err) ON(worker_thread)
{
    const struct build_task *task = session->task;
    OWNED(memory_drop) char *digest = session_verify_image(session, which);
    OWNED(buffer_drop) struct buffer exact = BUFFER_NONE;
    OWNED(memory_drop) char *reach = NULL;
    const struct actor who = build_asker(&task->record, &reach);

    *found = false;
    if (digest == NULL && strcmp(which, "builder") == 0 && task->record.id != 0 &&
        task->record.builder_digest[0] != 0 && strcmp(task->record.builder, name) == 0)
        digest = memory_text(slice_of(task->record.builder_digest)); /* 2.10 */
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
        return session_fail(session, BUILD_FAILED, reason,
                            "there is no image %s%s here that this build may use: push it, name "
                            "another, or grant who builds its pull",
                            name, session->verified.id == 0 ? "" : ", as it was then,");
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

static int images_take(struct session *session) ON(worker_thread)
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
        previous_take(session) < 0)
        return -1;
    say_digest(&session->spec.builder.digest, digest);
    SAY(session, "-----> Builder %s (%s)", options->builder, digest);
    session_facts_of_images(session);
    session_stage_end(session);
    return 0;
}

/* --- what was built before (13.27) --- */

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
    const struct actor actor = {.account = task->record.account,
                                .name = slice_of(task->record.actor)};
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
    if (!task->hold_tags &&
        publish_tags(task->builds, &task->record, &reference.digest, &actor, &err) < 0)
        return false;
    say_digest(&reference.digest, digest);
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
    struct error err = {0};

    if (session_stopped(session))
        return -1;
    session_stage_begin(session, "PushImage");
    for (size_t i = 0; i < session->result.layer_count; i++)
        session->out->layer_size += (int64_t)session->result.layers[i].layer.size;
    if (publish_result(session->task, &session->spec, &session->result, &session->out->attestations,
                       &err) < 0)
        return session_fail_by(session, "PushImageToRegistryFailed", &err);
    session->out->result = session->out->attestations.digest;
    session_attest(session);
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

static int run_steps(struct session *session) ON(worker_thread)
{
    bool verifies = build_verifies(&session->task->record);

    if (session_verify_begin(session) < 0 || fetch(session) < 0 || session_settle(session) < 0 ||
        images_take(session) < 0)
        return -1;
    session_tell(session, false);
    if (session->spec.mode == S2I_BUILD && !verifies && reuse(session))
        return 0;
    if (session_talk(session) < 0 || judge(session) < 0)
        return -1;
    return session->spec.mode == S2I_BUILD ? publish(session) : 0;
}

/* --- from the queue --- */

static void session_begin(struct session *session, struct build_task *task,
                          struct build_outcome *out, enum s2i_mode mode)
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
    session->spec.mode = mode;
    session->spec.options = task->options;
    task->options = (struct s2i_options){0};
    if (publish_tag_list(&task->record, &tags, &ignored) < 0)
        error_clear(&ignored);
    buffer_print(&target, "%s:%s", task->record.repository,
                 tags.count > 0 ? tags.items[0] : "latest");
    session->spec.target = memory_text(buffer_slice(&target));
}

static void text_keep(struct buffer *out, json_t *value)
{
    char *text = json_dumps(value, JSON_COMPACT);

    buffer_append_text(out, text);
    free(text);
    json_decref(value);
}

static void session_end(struct session *session) ON(worker_thread)
{
    const struct build_task *task = session->task;

    session_stage_end(session);
    if (task->record.id != 0) {
        image_unpin(task->builds, &session->spec.runtime, task->record.id);
        image_unpin(task->builds, &session->spec.previous, task->record.id);
    }
    if (session->source >= 0)
        close(session->source);
    text_keep(&session->out->stages, session->stages);
    text_keep(&session->out->facts, session->facts);
    s2i_list_wipe(&session->spec.secrets);
    build_record_drop(&session->verified);
    s2i_spec_drop(&session->spec);
    s2i_result_drop(&session->result);
}

void build_outcome_drop(struct build_outcome *outcome)
{
    buffer_drop(&outcome->stages);
    buffer_drop(&outcome->facts);
    attestations_drop(&outcome->attestations);
}

void session_run(struct build_task *task, struct build_outcome *out)
{
    struct session session;

    session_begin(&session, task, out, S2I_BUILD);
    if (run_steps(&session) == 0)
        say_result(&session);
    else
        SAY(&session, "-----> %s\n       %s", out->reason, out->message);
    session_tell(&session, true);
    session_end(&session);
}

/* --- plans (15.9), usage (10.4), Dockerfiles (10.3) --- */

static json_t *names_of(const struct s2i_list *assignments)
{
    json_t *names = json_array();

    for (size_t i = 0; i < assignments->count; i++) {
        struct slice name, value;
        slice_split(slice_of(assignments->items[i]), '=', &name, &value);
        json_array_append_new(names, json_stringn(name.at, name.size));
    }
    return names;
}

static json_t *plan_answer(struct session *session)
{
    char digest[DIGEST_TEXT_MAX];
    json_t *answer =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:O}", "builder", session->spec.builder.name,
                  "builder_digest", digest_text(&session->spec.builder.digest, digest), "env",
                  names_of(&session->result.env), "labels", names_of(&session->spec.options.labels),
                  "tags", json_loads(session->task->record.tags, 0, NULL), "facts", session->facts);

    return answer;
}

/* "registry.example:5000" of "https://registry.example:5000". */
static const char *host_of(const char *url)
{
    const char *slashes = strstr(url, "://");

    return slashes == NULL ? url : slashes + 3;
}

static json_t *dockerfile_answer(struct session *session)
{
    const struct dockerfile about = {.spec = &session->spec,
                                     .plan = &session->result,
                                     .registry =
                                         host_of(session->task->builds->config->server_public_url)};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct error err = {0};

    if (dockerfile_make(&about, &text, &err) < 0)
        return json_pack("{s:{s:s, s:s}}", "error", "reason", "DockerFileCreationFailed", "message",
                         err.message);
    return json_pack("{s:o}", "dockerfile", s2i_json_text(buffer_slice(&text)));
}

void session_plan(struct build_task *task, enum build_question question, struct buffer *out)
{
    struct build_outcome outcome;
    struct session session;
    json_t *answer;

    session_begin(&session, task, &outcome, question == BUILD_USAGE ? S2I_USAGE : S2I_PLAN);
    if (run_steps(&session) < 0)
        answer = json_pack("{s:{s:s, s:s}}", "error", "reason", outcome.reason, "message",
                           outcome.message);
    else if (question == BUILD_DOCKERFILE)
        answer = dockerfile_answer(&session);
    else if (question == BUILD_USAGE)
        answer =
            json_pack("{s:s}", "usage", session.result.output == NULL ? "" : session.result.output);
    else
        answer = plan_answer(&session);
    text_keep(out, answer);
    session_end(&session);
    build_outcome_drop(&outcome);
}

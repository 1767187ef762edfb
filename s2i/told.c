/* told.c - what is recorded of a build while it runs: stages, facts, failures.
 * Touches  the build's row; its log by way of the callers.
 * Never    decides how a build goes on.
 *
 * Spec: s2i 12.3 (stages), 12.1 (reasons). */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/clock.h"
#include "registry/core/timestamp.h"
#include "s2i/outbox.h"
#include "s2i/session.h"

enum {
    TELL_MS = 250,   /* whoever looks at a build sees it so late at most */
    STAGES_MAX = 64, /* that a builder may tell */
};

/* --- failures --- */

int session_fail(struct session *session, enum build_state state, const char *reason,
                 const char *format, ...)
{
    struct build_outcome *out = session->out;
    va_list list;

    if (session->failed)
        return -1;
    session->failed = true;
    out->state = state;
    snprintf(out->reason, sizeof(out->reason), "%s", reason);
    va_start(list, format);
    vsnprintf(out->message, sizeof(out->message), format, list);
    va_end(list);
    utf8_mend(out->reason); /* JSON is made of them; what was cut, or a builder said, may be none */
    utf8_mend(out->message);
    return -1;
}

int session_fail_by(struct session *session, const char *reason, const struct error *err)
{
    enum build_state state = error_code_status(err->code) < 500 ? BUILD_FAILED : BUILD_ERROR;

    return session_fail(session, state, reason, "%s", err->message);
}

bool session_stopped(struct session *session)
{
    char reason[64], by[256];

    if (!build_task_stopped(session->task, reason, by))
        return false;
    session_fail(session, reason[0] == 0 ? BUILD_ERROR : BUILD_CANCELLED, reason, "%s%s",
                 reason[0] == 0 ? "the server was stopped" : "cancelled by ",
                 reason[0] == 0 ? "" : by);
    return true;
}

/* --- stages --- */

static json_t *text_now(void)
{
    char text[TIMESTAMP_MAX];

    return json_string(timestamp_print(clock_now_us(), text));
}

static json_t *open_stage(const struct session *session)
{
    size_t count = json_array_size(session->stages);
    json_t *last = count == 0 ? NULL : json_array_get(session->stages, count - 1);

    return json_object_get(last, "duration_ms") == NULL ? last : NULL;
}

void session_stage_end(struct session *session)
{
    json_t *stage = open_stage(session);

    if (stage != NULL)
        json_object_set_new(stage, "duration_ms",
                            json_integer((json_int_t)(clock_monotonic_ms() - session->stage_ms)));
}

/* The one before goes on when the builder does more of the same. */
static bool stage_again(struct session *session, const char *name)
{
    size_t count = json_array_size(session->stages);
    json_t *last = count == 0 ? NULL : json_array_get(session->stages, count - 1);
    const char *before = json_string_value(json_object_get(last, "name"));

    if (before == NULL || strcmp(before, name) != 0)
        return false;
    json_object_del(last, "duration_ms");
    return true;
}

void session_stage_begin(struct session *session, const char *name)
{
    session_stage_end(session);
    if (stage_again(session, name))
        return;
    session->stage_ms = clock_monotonic_ms();
    json_array_append_new(session->stages,
                          json_pack("{s:s, s:o}", "name", name, "started_at", text_now()));
    session_tell(session, false);
}

void session_stage_told(struct session *session, struct slice json)
{
    json_t *told = json_loadb(json.at, json.size, 0, NULL);
    const char *name = json_string_value(json_object_get(told, "name"));

    if (name != NULL && strlen(name) < 64 && json_array_size(session->stages) < STAGES_MAX) {
        if (json_object_get(told, "ms") == NULL)
            session_stage_begin(session, name);
        else
            session_stage_end(session);
    }
    json_decref(told);
}

/* --- facts --- */

static void put_text(json_t *object, const char *name, const char *text)
{
    if (text != NULL && text[0] != 0)
        json_object_set_new(object, name, json_string(text));
}

static void put_count(json_t *object, const char *name, uint64_t count)
{
    json_object_set_new(object, name, json_integer((json_int_t)count));
}

void session_facts_of_source(struct session *session)
{
    const struct s2i_source_facts *source = &session->spec.source;
    json_t *facts = json_object();
    char digest[DIGEST_TEXT_MAX];

    put_text(facts, "url", source->url);
    put_text(facts, "ref", source->ref);
    put_text(facts, "commit", source->commit);
    put_text(facts, "author", source->author);
    put_text(facts, "author_date", source->author_date);
    put_text(facts, "subject", source->subject);
    put_text(facts, "context_dir", source->context_dir);
    if (digest_is_set(&source->content))
        put_text(facts, "content", digest_text(&source->content, digest));
    put_count(facts, "files", source->files);
    put_count(facts, "bytes", source->bytes);
    if (source->lfs_pointers > 0)
        put_count(facts, "lfs_pointers", source->lfs_pointers);
    json_object_set_new(session->facts, "source", facts);
}

/* {"<name>": "<digest>"} */
static json_t *inputs_of(const struct s2i_spec *spec)
{
    json_t *inputs = json_object();
    char digest[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < spec->input_count; i++)
        put_text(inputs, spec->inputs[i].name, digest_text(&spec->inputs[i].digest, digest));
    return inputs;
}

void session_facts_of_images(struct session *session)
{
    const struct s2i_spec *spec = &session->spec;
    json_t *facts = json_object();
    char digest[DIGEST_TEXT_MAX];

    if (spec->runtime.name != NULL)
        put_text(facts, "runtime", digest_text(&spec->runtime.digest, digest));
    if (spec->previous.name != NULL)
        put_text(facts, "previous", digest_text(&spec->previous.digest, digest));
    if (spec->input_count > 0)
        json_object_set_new(facts, "inputs", inputs_of(spec));
    if (json_object_size(facts) > 0)
        json_object_set(session->facts, "images", facts);
    json_decref(facts);
}

static json_t *texts(const struct s2i_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

static json_t *scripts_of(const struct s2i_result *result)
{
    json_t *scripts = json_object();

    for (size_t i = 0; i < result->script_count; i++)
        if (result->scripts[i].from != NULL)
            json_object_set_new(scripts, result->scripts[i].name,
                                json_string(result->scripts[i].from));
    return scripts;
}

static json_t *layers_of(const struct s2i_result *result)
{
    json_t *layers = json_array();
    char digest[DIGEST_TEXT_MAX], diff_id[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < result->layer_count; i++) {
        const struct s2i_layer *layer = &result->layers[i].layer;
        json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "digest",
                                                digest_text(&layer->digest, digest), "diff_id",
                                                digest_text(&layer->diff_id, diff_id), "size",
                                                (json_int_t)layer->size));
    }
    return layers;
}

void session_facts_of_result(struct session *session)
{
    const struct s2i_result *result = &session->result;
    json_t *facts = session->facts;
    char until[TIMESTAMP_MAX];

    put_count(facts, "files_in", result->files_in);
    put_count(facts, "files_ignored", result->files_ignored);
    put_text(facts, "run", result->run);
    put_text(facts, "assemble_user", result->assemble_user);
    if (result->kept_until > 0 && result->kept_until < INT64_MAX / US_PER_S)
        put_text(facts, "kept_until", timestamp_print(result->kept_until * US_PER_S, until));
    json_object_set_new(facts, "scripts", scripts_of(result));
    json_object_set_new(facts, "layers", layers_of(result));
    if (result->warnings.count > 0)
        json_object_set_new(facts, "warnings", texts(&result->warnings));
}

/* --- the row --- */

/* A row that cannot be written now is written with the next word. */
void session_tell(struct session *session, bool force)
{
    const struct build_record *record = &session->task->record;
    const struct s2i_image *builder = &session->spec.builder;
    uint64_t now = clock_monotonic_ms();
    char digest[DIGEST_TEXT_MAX] = "";
    struct error ignored = {0};

    session->untold = record->id != 0 && !force && now - session->told_ms < TELL_MS;
    if (record->id == 0 || session->untold)
        return;
    session->told_ms = now;
    if (builder->name != NULL)
        digest_text(&builder->digest, digest);
    OWNED(memory_drop) char *stages = json_dumps(session->stages, JSON_COMPACT);
    OWNED(memory_drop) char *facts = json_dumps(session->facts, JSON_COMPACT);
    const struct build_progress progress = {
        .id = record->id,
        .epoch = record->epoch,
        .commit = session->spec.source.commit == NULL || session->spec.source.commit[0] == 0
                      ? SLICE_NONE
                      : slice_of(session->spec.source.commit),
        .builder = slice_of(builder->name),
        .builder_digest = builder->name == NULL ? SLICE_NONE : slice_of(digest),
        .stages = slice_of(stages),
        .facts = slice_of(facts),
        .input_key = session->input_key[0] == 0 ? SLICE_NONE : slice_of(session->input_key),
        .log_size = session->task->log == NULL ? -1 : (int64_t)build_log_size(session->task->log)};
    if (build_progress_put(session->task->builds->storage, &progress, &ignored) < 0)
        error_clear(&ignored);
}

int session_untold_ms(const struct session *session)
{
    uint64_t passed = clock_monotonic_ms() - session->told_ms;

    if (!session->untold)
        return -1;
    return passed < TELL_MS ? (int)(TELL_MS - passed) : 0;
}

void session_commit_known(struct session *session)
{
    const struct build_record *record = &session->task->record;
    struct builds *builds = session->task->builds;
    struct error ignored = {0}; /* then its end is the first that is shown */

    if (record->id == 0 || record->commit[0] != 0 || session->spec.options.status_kind == NULL)
        return;
    session_tell(session, true);
    if (build_message_stir(builds->storage, record->id, &ignored) == 0)
        outbox_look(builds->outbox);
}

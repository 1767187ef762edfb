/* submit.c - builds are asked for: their rows, and once more.
 * Touches  rows of builds, pins of builder images; uploaded sources by archives.c.
 * Never    runs one.
 *
 *   NEW --linked or copied, synced, renamed, the folder synced--> PENDING (s2i (1))
 *   anything fails --> the row says so, the file goes; what a crash leaves is swept (keeper.c) */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "s2i/outbox.h"
#include "s2i/queue.h"

enum {
    RETRY_AFTER_S = 30, /* a full queue */
    UNABLE_RETRY_AFTER_S = 60,
};
#define QUEUE_PIN_US                                                                               \
    (INT64_C(7) * 24 * 3600 * US_PER_S) /* a build that waits longer finds another */

/* --- the words of a row --- */

char *build_spec_write(const struct s2i_options *options, bool hold_tags, const char *reach,
                       const struct build_inputs *inputs)
{
    json_t *spec = json_pack("{s:o, s:b}", "options", s2i_options_write(options, true), "hold_tags",
                             hold_tags ? 1 : 0);
    if (reach != NULL)
        json_object_set_new(spec, "reach", json_string(reach));
    if (inputs != NULL && inputs->count > 0)
        json_object_set_new(spec, "inputs", build_inputs_write(inputs));
    char *text = json_dumps(spec, JSON_COMPACT);

    json_decref(spec);
    return text;
}

int build_spec_read(const char *text, struct s2i_options *options, bool *hold_tags,
                    struct error *err)
{
    json_t *spec = json_loads(text, 0, NULL);
    const json_t *said = json_object_get(spec, "options");
    int status = 0;

    if (!json_is_object(said))
        status = error_set(err, ERROR_INTERNAL, "the build's options cannot be read");
    else
        status = s2i_options_read(options, said, S2I_FROM_CONFIG, err);
    *hold_tags = json_is_true(json_object_get(spec, "hold_tags"));
    json_decref(spec);
    return status;
}

struct actor build_asker(const struct build_record *record, char **reach)
{
    json_t *spec = record->spec == NULL ? NULL : json_loads(record->spec, 0, NULL);
    const char *said = json_string_value(json_object_get(spec, "reach"));

    *reach = said == NULL ? NULL : memory_text(slice_of(said));
    json_decref(spec);
    return (struct actor){
        .account = record->account, .name = slice_of(record->actor), .reach = *reach};
}

static char *tags_write(const struct slice *tags, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_stringn(tags[i].at, tags[i].size));
    char *text = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    return text;
}

/* Spec: s2i 13.42. */
static enum build_policy policy_of(const struct s2i_options *options)
{
    struct slice name = slice_of(options->run_policy);

    if (slice_equal_ignore_case(name, "Parallel"))
        return BUILD_PARALLEL;
    return slice_equal_ignore_case(name, "SerialLatestOnly") ? BUILD_SERIAL_LATEST : BUILD_SERIAL;
}

/* --- asking --- */

/* A spec holds the values of secret_env. */
static void spec_drop(char **spec)
{
    explicit_bzero(*spec, strlen(*spec));
    free(*spec);
}

static void tell_superseded(struct builds *builds, int64_t *ids, size_t count)
{
    for (size_t i = 0; i < count; i++)
        queue_ended(builds->queue, ids[i]);
    free(ids);
}

/* Spec: s2i 16.4. */
int builds_able(struct builds *builds, struct error *err)
{
    struct builds_health health = {.enabled = false};

    if (builds->link == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "builds are off: see the setting builds.enabled");
    link_health(builds->link, &health);
    if (health.able)
        return 0;
    err->retry_after_s = UNABLE_RETRY_AFTER_S;
    return error_set(err, ERROR_UNAVAILABLE, "ExecutorUnavailable: %.170s", health.problem);
}

/* The digest that is built is the builder's of now (2.10), save for a verification (15.2); one that
 * is not there may come until the build runs. So are those of images whose files it gets. */
static void images_resolve(struct builds *builds, const struct build_request *request,
                           struct s2i_image *out, struct build_inputs *inputs) ON(worker_thread)
{
    const struct actor nobody = {.account = 0};
    const struct actor *who = request->actor == NULL ? &nobody : request->actor;
    struct error ignored = {0};
    bool found;

    if (slice_equal_text(request->trigger, BUILD_VERIFY))
        return;
    build_inputs_resolve(builds, who, request->options, inputs);
    if (request->options->builder != NULL &&
        image_resolve(builds, who, slice_of(request->options->builder), out, &found, &ignored) < 0)
        error_clear(&ignored);
}

static void pin(struct builds *builds, const struct s2i_image *image, int64_t id) ON(worker_thread)
{
    struct error err = {0};

    if (image->name != NULL &&
        image_pin(builds, image, id, clock_now_us() + QUEUE_PIN_US, &err) < 0)
        log_event(LOG_WARNING, "build.unpinned", F_I64("id", id), F_TEXT("reason", err.message));
}

/* From the queue on; s2i (2). Its end may have come before. */
static void pin_all(struct builds *builds, const struct s2i_image *builder,
                    const struct build_inputs *inputs, int64_t id) ON(worker_thread)
{
    pin(builds, builder, id);
    for (size_t i = 0; i < inputs->count; i++)
        pin(builds, &inputs->items[i], id);
    if (builder->name != NULL || inputs->count > 0)
        image_unpin_late(builds, id);
}

/* Who is told of it, by host. A status that cannot be told is no reason not to build. */
static void messages_of(const struct build_request *request, struct buffer *status_url,
                        struct build_new *row)
{
    const struct s2i_options *options = request->options;
    struct error ignored = {0};

    if (options->callback_url != NULL)
        row->callback = letter_destination(options->callback_url);
    if (options->status_kind == NULL || request->source != BUILD_FROM_URL)
        return;
    if (builds_status_api(options, status_url, &ignored) < 0)
        log_event(LOG_WARNING, "build.status", F_SLICE("repository", request->repository),
                  F_TEXT("reason", ignored.message));
    else {
        buffer_append(status_url, "", 1);
        row->status = letter_destination(status_url->at);
    }
}

/* 13.49; no longer than the server's. */
static int64_t wait_us(const struct builds *builds, const struct s2i_options *options)
{
    uint64_t most = builds->config->builds_queue_timeout, wished = options->queue_timeout_ms;

    return (int64_t)(wished == 0 || (most != 0 && wished > most) ? most : wished) * 1000;
}

static int row_add(struct builds *builds, const struct build_request *request, int64_t *id,
                   struct error *err) ON(worker_thread)
{
    OWNED(s2i_image_drop) struct s2i_image builder = {.name = NULL};
    OWNED(build_inputs_drop) struct build_inputs inputs = {.items = NULL};
    images_resolve(builds, request, &builder, &inputs);
    char digest[DIGEST_TEXT_MAX] = "";
    OWNED(spec_drop)
    char *spec = build_spec_write(request->options, request->hold_tags,
                                  request->actor == NULL ? NULL : request->actor->reach, &inputs);
    OWNED(memory_drop) char *tags = tags_write(request->tags, request->tag_count);
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE, status_url = BUFFER_NONE;
    int64_t *superseded = NULL;
    size_t count = 0;

    if (request->url.size > 0)
        s2i_url_clean(request->url, &url); /* 7.5 */
    if (builder.name != NULL)
        digest_text(&builder.digest, digest);
    struct build_new row = {
        .repository = request->repository,
        .trigger = request->trigger,
        .actor = request->actor_name,
        .url = buffer_slice(&url),
        .ref = request->ref,
        .commit = request->commit,
        .builder = slice_of(request->options->builder),
        .builder_digest = slice_of(digest),
        .spec = slice_of(spec),
        .tags = slice_of(tags),
        .state = request->source == BUILD_FROM_ARCHIVE ? BUILD_NEW : BUILD_PENDING,
        .policy = policy_of(request->options),
        .source = request->source,
        .account = request->actor == NULL ? 0 : request->actor->account,
        .retry_of = request->retry_of,
        .wait_us = wait_us(builds, request->options),
        .queue_max = builds->config->builds_queue_max,
        .delivery = request->delivery,
        .event = request->event,
    };
    messages_of(request, &status_url, &row);
    if (build_add(builds->storage, &row, id, &superseded, &count, err) < 0) {
        if (err->code == ERROR_TOOMANYREQUESTS)
            err->retry_after_s = RETRY_AFTER_S;
        return -1;
    }
    pin_all(builds, &builder, &inputs, *id);
    tell_superseded(builds, superseded, count);
    return 0;
}

/* Its source will not come. */
static void give_up(struct builds *builds, int64_t id, const struct error *why) ON(worker_thread)
{
    const struct build_end end = {.id = id,
                                  .state = BUILD_ERROR,
                                  .reason = SLICE("FetchSourceFailed"),
                                  .message = slice_of(why->message),
                                  .exit_code = -1};
    struct error ignored = {0}; /* a row that stays NEW is ended at the next start */

    builds_archive_remove(builds, id);
    if (build_finish(builds->storage, &end, &ignored) == 0)
        queue_ended(builds->queue, id);
}

/* s2i (1). One that was cancelled meanwhile is no failure of who asked. */
static int make_ready(struct builds *builds, int64_t id, int archive, struct error *err)
    ON(worker_thread)
{
    int64_t *superseded = NULL;
    size_t count = 0;

    if (builds_archive_keep(builds, id, archive, err) < 0 ||
        build_ready(builds->storage, id, &superseded, &count, err) < 0) {
        give_up(builds, id, err);
        if (err->code != ERROR_CONFLICT)
            return -1;
        error_clear(err);
        return 0;
    }
    tell_superseded(builds, superseded, count);
    return 0;
}

/* What can never be fetched is not begun. Spec: 4.2, 16.10 */
static int url_permitted(const struct builds *builds, const struct build_request *request,
                         struct error *err)
{
    struct builds_rules rules;

    if (request->source != BUILD_FROM_URL)
        return 0;
    builds_rules_fill(&rules, builds->config, 0);
    return source_url_check(request->url, &rules.rules, err);
}

int builds_submit(struct builds *builds, const struct build_request *request, int64_t *id,
                  struct error *err)
{
    if (builds_able(builds, err) < 0 || url_permitted(builds, request, err) < 0 ||
        row_add(builds, request, id, err) < 0 ||
        (request->source == BUILD_FROM_ARCHIVE &&
         make_ready(builds, *id, request->archive, err) < 0))
        return -1;
    queue_look(builds->queue);
    outbox_look(builds->outbox);
    return 0;
}

int builds_cancel(struct builds *builds, int64_t id, struct slice actor, struct slice why,
                  const struct audit_event *event, struct error *err)
{
    return queue_cancel(builds->queue, id, actor, why, event, err);
}

/* --- once more --- */

static void tags_read(const char *text, struct s2i_list *out)
{
    json_t *tags = json_loads(text, 0, NULL);
    const json_t *tag;
    size_t i;

    json_array_foreach(tags, i, tag) {
        s2i_list_add(out, slice_of(json_string_value(tag)));
    }
    json_decref(tags);
}

static int source_of(const struct builds *builds, const struct build_record *record, int *archive,
                     struct error *err)
{
    if (!build_state_ended(record->state))
        return error_set(err, ERROR_CONFLICT, "build %lld has not ended yet",
                         (long long)record->id);
    if (record->source != BUILD_FROM_ARCHIVE)
        return 0;
    *archive = builds_archive_open(builds, record->id, err);
    return *archive < 0 ? -1 : 0;
}

/* Nobody else is told how it ends, and it takes no other's place in the queue. */
static void set_apart(struct s2i_options *options)
{
    options->rebuild = true;
    free(options->callback_url);
    free(options->status_kind);
    options->callback_url = options->status_kind = NULL;
    if (policy_of(options) == BUILD_SERIAL_LATEST) {
        free(options->run_policy);
        options->run_policy = memory_text(SLICE("Serial"));
    }
}

static int again(struct builds *builds, const struct build_record *record, bool apart,
                 const struct build_request *by, int64_t *out, struct error *err) ON(worker_thread)
{
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    OWNED(s2i_list_drop) struct s2i_list tags = {0};
    OWNED(fd_drop) int archive = -1;
    bool held;

    if (source_of(builds, record, &archive, err) < 0 ||
        build_spec_read(record->spec, &options, &held, err) < 0)
        return -1;
    if (apart)
        set_apart(&options);
    tags_read(record->tags, &tags);
    OWNED(memory_drop) struct slice *names = memory_new((tags.count + 1) * sizeof(*names));
    for (size_t i = 0; i < tags.count; i++)
        names[i] = slice_of(tags.items[i]);
    const struct build_request request = {.repository = slice_of(record->repository),
                                          .source = record->source,
                                          .trigger = by->trigger,
                                          .actor = by->actor,
                                          .actor_name = by->actor_name,
                                          .options = &options,
                                          .url = slice_of(record->url),
                                          .ref = slice_of(record->ref),
                                          .commit = slice_of(record->commit),
                                          .tags = names,
                                          .tag_count = tags.count,
                                          .hold_tags = apart,
                                          .archive = archive,
                                          .retry_of = record->id,
                                          .event = by->event};
    return builds_submit(builds, &request, out, err);
}

int builds_again(struct builds *builds, const struct build_record *record, struct slice trigger,
                 const struct actor *actor, struct slice actor_name,
                 const struct audit_event *event, int64_t *out, struct error *err)
{
    const struct build_request by = {
        .trigger = trigger, .actor = actor, .actor_name = actor_name, .event = event};

    return again(builds, record, false, &by, out, err);
}

int builds_apart(struct builds *builds, const struct build_record *record, struct slice trigger,
                 const struct actor *actor, struct slice actor_name,
                 const struct audit_event *event, int64_t *out, struct error *err)
{
    const struct build_request by = {
        .trigger = trigger, .actor = actor, .actor_name = actor_name, .event = event};

    return again(builds, record, true, &by, out, err);
}

int builds_retry(struct builds *builds, int64_t id, const struct actor *actor,
                 struct slice actor_name, const struct audit_event *event, int64_t *out,
                 struct error *err)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    if (build_find(builds->storage, id, &record, err) < 0)
        return -1;
    if (build_verifies(&record))
        return builds_verify(builds, id, actor, actor_name, event, out, err);
    return builds_again(builds, &record, SLICE("retry"), actor, actor_name, event, out, err);
}

/* perform.c - one build that was claimed: its log, its run, its end in its row.
 * Touches  the build's row and log.
 * Never    knows what a build does: queue_options.run does.
 *
 * Numbers in brackets: queue_internal.h. */
#include "s2i/queue_internal.h"

#include <stdio.h>
#include <unistd.h>

#include "registry/core/log.h"
#include "s2i/outbox.h"

static void fail(struct build_outcome *out, const struct error *err)
{
    *out = (struct build_outcome){.state = BUILD_ERROR, .exit_code = -1};
    snprintf(out->reason, sizeof(out->reason), "GenericS2IBuildFailed");
    snprintf(out->message, sizeof(out->message), "%s", err->message);
}

static int begin_log(struct queue *queue, struct build_task *task, struct error *err)
    ON(worker_thread)
{
    OWNED(s2i_list_wipe) struct s2i_list masks = {0};

    if (masks_read(task, &masks, err) < 0)
        return -1;
    OWNED(memory_drop) struct slice *secrets = memory_new((masks.count + 1) * sizeof(*secrets));
    for (size_t i = 0; i < masks.count; i++)
        secrets[i] = slice_of(masks.items[i]);
    return build_log_begin(task->builds->logs, task->record.id, queue->with.log_max, secrets,
                           masks.count, &task->log, err);
}

static void perform(struct queue *queue, struct build_task *task, struct build_outcome *out)
    ON(worker_thread)
{
    struct error err = {0};

    if (task->wake < 0)
        error_set(&err, ERROR_UNAVAILABLE, "no descriptor for the build");
    else if (build_spec_read(task->record.spec, &task->options, &task->hold_tags, &err) == 0 &&
             begin_log(queue, task, &err) == 0) {
        queue->with.run(task, out);
        return;
    }
    fail(out, &err);
}

/* What the server's end cut off stays in its row as it is. */
static bool cut_off(const struct running *running, const struct build_outcome *out)
{
    struct queue *queue = running->task.builds->queue;

    pthread_mutex_lock(&queue->lock);
    bool closing = running->closing;
    pthread_mutex_unlock(&queue->lock);
    return closing && out->state == BUILD_ERROR && out->reason[0] == 0;
}

static int record_end(struct queue *queue, const struct running *running,
                      const struct build_outcome *out, int64_t log_size, struct error *err)
    ON(worker_thread)
{
    const struct build_task *task = &running->task;
    OWNED(publish_tags_drop) struct publish_tags moving = {.names = NULL};
    bool moves = out->state == BUILD_COMPLETE && digest_is_set(&out->result);
    char digest[DIGEST_TEXT_MAX] = "";

    if (moves && publish_tags_read(task, &out->result, &moving, err) < 0)
        return -1;

    if (digest_is_set(&out->result))
        digest_text(&out->result, digest);
    const struct build_end end = {
        .id = task->record.id,
        .epoch = task->record.epoch,
        .state = out->state,
        .reason = slice_of(out->reason),
        .message = slice_of(out->message),
        .stages = buffer_slice(&out->stages),
        .facts = buffer_slice(&out->facts),
        .result_digest = slice_of(digest),
        .ended_by = slice_of(out->state == BUILD_CANCELLED ? running->by : ""),
        .exit_code = out->exit_code,
        .layer_size = out->layer_size,
        .log_size = log_size,
        .attestations = buffer_slice(&out->attestations),
        .tags = moving.tags.count > 0 ? &moving.tags : NULL,
    };
    if (build_finish(queue->with.builds->storage, &end, err) == 0)
        return 0;
    if (err->code == ERROR_CONFLICT || err->code == ERROR_NOT_FOUND) {
        error_clear(err); /* its repository was deleted, with what it would say */
        return 0;
    }
    return -1;
}

/* Its tags were protected, or its image deleted, since the session looked; or they are none.
 * Another try says the same. */
static bool is_final(const struct build_outcome *out, const struct error *err)
{
    return out->state == BUILD_COMPLETE &&
           (err->code == ERROR_PROTECTED || err->code == ERROR_INVALID);
}

static void refuse(struct build_outcome *out, const struct error *err)
{
    out->state = BUILD_FAILED;
    out->result = (struct digest){.algorithm = DIGEST_NONE};
    out->attestations.size = 0;
    snprintf(out->reason, sizeof(out->reason), "PushImageToRegistryFailed");
    snprintf(out->message, sizeof(out->message), "%s", err->message);
}

/* (3). True when its row says that it has ended. */
static bool conclude(struct queue *queue, const struct running *running, struct build_outcome *out,
                     int64_t log_size) ON(worker_thread)
{
    struct error err = {0};

    if (cut_off(running, out))
        return false;
    while (record_end(queue, running, out, log_size, &err) < 0) {
        if (is_final(out, &err)) {
            refuse(out, &err);
            error_clear(&err);
            continue;
        }
        log_event(LOG_ERROR, "build.unrecorded", F_I64("id", running->task.record.id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
        error_clear(&err);
        if (!queue_pause(queue, QUEUE_AGAIN_MS))
            return false;
    }
    return true;
}

static int64_t end_log(struct build_task *task)
{
    struct error err = {0};
    int64_t size = 0;

    if (task->log == NULL)
        return 0;
    size = (int64_t)build_log_size(task->log);
    if (build_log_end(TAKE(task->log), &err) < 0)
        log_event(LOG_WARNING, "build.log", F_I64("id", task->record.id),
                  F_TEXT("reason", err.message), F_TEXT("cause", err.cause));
    return size;
}

static void log_end(const struct build_task *task, const struct build_outcome *out)
{
    log_event(out->state == BUILD_ERROR ? LOG_WARNING : LOG_INFO, "build.ended",
              F_I64("id", task->record.id), F_TEXT("repository", task->record.repository),
              F_TEXT("state", build_state_name(out->state)), F_TEXT("reason", out->reason));
}

void queue_perform(struct queue *queue, struct running *running)
{
    OWNED(build_outcome_drop)
    struct build_outcome out = {.state = BUILD_ERROR, .exit_code = -1};
    struct build_task *task = &running->task;
    const int64_t id = task->record.id;

    log_event(LOG_INFO, "build.started", F_I64("id", id),
              F_TEXT("repository", task->record.repository), F_TEXT("actor", task->record.actor));
    outbox_look(queue->with.builds->outbox); /* its status is another */
    perform(queue, task, &out);
    int64_t log_size = end_log(task);
    bool ended = conclude(queue, running, &out, log_size);
    if (ended)
        log_end(task, &out);
    queue_leave(queue, running); /* (2) */
    if (ended)
        queue_ended(queue, id);
    if (ended && out.attestations.size > 0)
        attester_look(queue->with.builds->attester);
}

/* plan.c - what a build would do, told without doing it: a thread a question, a pipe an answer.
 * Touches  threads of its own, a pipe, the copy of an archive without a name.
 * Never    makes a row, publishes. Spec: s2i 10.4, 15.9. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/queue.h"

enum { PLANS_MAX = 4, RETRY_AFTER_S = 10 };

struct plan {
    struct running *running;
    enum build_question question;
    int pipe;
};

static void plan_drop(struct plan **plan)
{
    if (*plan == NULL)
        return;
    running_drop(&(*plan)->running);
    fd_drop(&(*plan)->pipe);
    free(*plan);
    *plan = NULL;
}

/* A reader that has gone away wanted nothing more. */
static void *work(void *arg)
{
    OWNED(plan_drop) struct plan *plan = arg;
    OWNED(buffer_drop) struct buffer answer = BUFFER_NONE;
    struct build_task *task = &plan->running->task;
    struct queue *queue = task->builds->queue;

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-plan");
    session_plan(task, plan->question, &answer);
    if (fd_write(plan->pipe, buffer_slice(&answer)) < 0)
        errno = 0;
    queue_leave(queue, plan->running);
    return NULL;
}

/* As submit.c writes the row of a build; no text of it is NULL. */
static void record_of(const struct build_request *request, struct build_record *out)
{
    OWNED(buffer_drop) struct buffer url = BUFFER_NONE, tags = BUFFER_NONE;
    const char *reach = request->actor == NULL ? NULL : request->actor->reach;
    const struct s2i_options apart = {.url = NULL}; /* they are the task's */

    if (request->url.size > 0)
        s2i_url_clean(request->url, &url);
    buffer_append_text(&tags, "[");
    for (size_t i = 0; i < request->tag_count; i++) {
        buffer_append_text(&tags, i == 0 ? "" : ",");
        buffer_append_json(&tags, request->tags[i]);
    }
    buffer_append_text(&tags, "]");
    *out = (struct build_record){
        .account = request->actor == NULL ? 0 : request->actor->account,
        .source = request->source,
        .exit_code = -1,
        .repository = memory_text(request->repository),
        .trigger = memory_text(request->trigger),
        .actor = memory_text(request->actor_name),
        .url = memory_text(buffer_slice(&url)),
        .ref = memory_text(request->ref),
        .commit = memory_text(request->commit),
        .tags = memory_text(buffer_slice(&tags)),
        .builder = memory_text(SLICE("")),
        .builder_digest = memory_text(SLICE("")),
        .spec = build_spec_write(&apart, false, reach, NULL),
        .stages = memory_text(SLICE("")),
        .facts = memory_text(SLICE("")),
        .reason = memory_text(SLICE("")),
        .message = memory_text(SLICE("")),
        .input_key = memory_text(SLICE("")),
        .result_digest = memory_text(SLICE("")),
        .ended_by = memory_text(SLICE("")),
        .left_by = memory_text(SLICE("")),
    };
}

static int options_copy(const struct s2i_options *from, struct s2i_options *out, struct error *err)
{
    json_t *said = s2i_options_write(from, true);
    int status = s2i_options_read(out, said, S2I_FROM_CONFIG, err);

    json_decref(said);
    return status;
}

static int plan_new(struct builds *builds, const struct build_request *request,
                    enum build_question question, struct plan **out, struct error *err)
{
    OWNED(plan_drop) struct plan *plan = memory_new(sizeof(*plan));
    struct build_record record;

    plan->question = question;
    plan->pipe = -1;
    record_of(request, &record);
    plan->running = running_new(builds, &record);
    if (options_copy(request->options, &plan->running->task.options, err) < 0)
        return -1;
    if (request->source == BUILD_FROM_ARCHIVE)
        plan->running->task.archive = fcntl(request->archive, F_DUPFD_CLOEXEC, 0);
    if (plan->running->task.wake < 0 ||
        (request->source == BUILD_FROM_ARCHIVE &&
         (plan->running->task.archive < 0 || lseek(request->archive, 0, SEEK_SET) < 0)))
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no descriptor for the plan");
    *out = TAKE(plan);
    return 0;
}

/* A thread that nobody joins: queue_close waits until it has left. */
static int thread_start(struct plan *plan, struct error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, work, plan);
    pthread_attr_destroy(&attributes);
    if (failed == 0)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE, "no thread for the plan");
}

int builds_plan(struct builds *builds, const struct build_request *request,
                enum build_question question, int *fd, struct error *err)
{
    OWNED(plan_drop) struct plan *plan = NULL;
    int ends[2];

    if (builds_able(builds, err) < 0 || plan_new(builds, request, question, &plan, err) < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no pipe for the plan");
    OWNED(fd_drop) int reader = ends[0];
    plan->pipe = ends[1];
    err->retry_after_s = RETRY_AFTER_S;
    if (queue_enter(builds->queue, plan->running, PLANS_MAX, err) < 0)
        return -1;
    struct running *running = plan->running;
    if (thread_start(plan, err) < 0) {
        queue_leave(builds->queue, running);
        return -1;
    }
    plan = NULL; /* the thread's */
    *fd = fd_take(&reader);
    return 0;
}

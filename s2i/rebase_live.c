/* rebase_live.c - a rebase that somebody waits for: a thread a question, a pipe an answer.
 * Touches  threads of its own, a pipe.
 * Never    goes on for somebody who has gone: until its tags move it can be stopped. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/queue.h"
#include "s2i/rebase.h"

enum { REBASES_MAX = 4, RETRY_AFTER_S = 10 }; /* with plans */

/* What is asked, as copies. */
struct live {
    struct running *running;
    build_rebase_render *render;
    struct build_rebase wish;
    struct actor actor;
    struct audit_event event;
    int pipe;
    char *texts[16]; /* all that the others borrow */
    size_t text_count;
};

static void live_drop(struct live **live)
{
    if (*live == NULL)
        return;
    running_drop(&(*live)->running);
    fd_drop(&(*live)->pipe);
    for (size_t i = 0; i < (*live)->text_count; i++)
        free((*live)->texts[i]);
    free(*live);
    *live = NULL;
}

/* SLICE_NONE stays it. */
static struct slice text_keep(struct live *live, struct slice text)
{
    if (text.at == NULL)
        return SLICE_NONE;
    assert(live->text_count < sizeof(live->texts) / sizeof(live->texts[0]));
    live->texts[live->text_count] = memory_text(text);
    return (struct slice){live->texts[live->text_count++], text.size};
}

static void event_keep(struct live *live, const struct audit_event *event)
{
    live->event = (struct audit_event){.actor = text_keep(live, event->actor),
                                       .actor_id = event->actor_id,
                                       .action = text_keep(live, event->action),
                                       .target = text_keep(live, event->target),
                                       .outcome = text_keep(live, event->outcome),
                                       .remote = text_keep(live, event->remote),
                                       .request_id = text_keep(live, event->request_id),
                                       .detail = text_keep(live, event->detail)};
    live->wish.event = &live->event;
}

/* The reader has gone, or the server ends. */
static bool has_gone(void *arg)
{
    const struct live *live = arg;
    struct pollfd ends[] = {{.fd = live->pipe}, {live->running->task.wake, POLLIN, 0}};

    return poll(ends, 2, 0) > 0;
}

static struct live *live_new(struct builds *builds, const struct build_rebase *wish,
                             build_rebase_render *render)
{
    struct live *live = memory_new(sizeof(*live));
    struct build_record none = {.id = 0};
    const char *reach = wish->actor->reach;

    live->running = running_new(builds, &none);
    live->render = render;
    live->pipe = -1;
    live->wish = *wish;
    live->wish.repository = text_keep(live, wish->repository);
    live->wish.tag = text_keep(live, wish->tag);
    live->wish.base = text_keep(live, wish->base);
    live->wish.onto = text_keep(live, wish->onto);
    live->wish.after = text_keep(live, wish->after);
    live->wish.digest = text_keep(live, wish->digest);
    live->actor =
        (struct actor){.account = wish->actor->account,
                       .name = text_keep(live, wish->actor->name),
                       .reach = reach == NULL ? NULL : text_keep(live, slice_of(reach)).at};
    live->wish.actor = &live->actor;
    if (wish->event != NULL)
        event_keep(live, wish->event);
    live->wish.stopped = has_gone;
    live->wish.arg = live;
    return live;
}

static void *work(void *arg)
{
    OWNED(live_drop) struct live *live = arg;
    OWNED(build_rebased_drop) struct build_rebased rebased = {.items = NULL};
    OWNED(buffer_drop) struct buffer answer = BUFFER_NONE;
    struct builds *builds = live->running->task.builds;
    struct error err = {0};

    thread_role_current = ROLE_WORKER; /* it may block */
    assert_worker_thread();
    pthread_setname_np(pthread_self(), "build-rebase");
    bool failed = builds_rebase(builds, &live->wish, &rebased, &err) < 0;
    live->render(&rebased, failed ? &err : NULL, &answer);
    if (fd_write(live->pipe, buffer_slice(&answer)) < 0)
        errno = 0; /* who has gone sees it in the list of rebases */
    queue_leave(builds->queue, live->running);
    return NULL;
}

/* A thread that nobody joins: queue_close waits until it has left. */
static int thread_start(struct live *live, struct error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int failed = pthread_create(&thread, &attributes, work, live);
    pthread_attr_destroy(&attributes);
    return failed == 0 ? 0 : error_set(err, ERROR_UNAVAILABLE, "no thread for the rebase");
}

int builds_rebase_live(struct builds *builds, const struct build_rebase *wish,
                       build_rebase_render *render, int *fd, struct error *err)
{
    OWNED(live_drop) struct live *live = NULL;
    int ends[2];

    if (rebase_check(builds, wish, err) < 0)
        return -1;
    live = live_new(builds, wish, render);
    if (live->running->task.wake < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no descriptor for the rebase");
    OWNED(fd_drop) int reader = ends[0];
    live->pipe = ends[1];
    err->retry_after_s = RETRY_AFTER_S;
    if (queue_enter(builds->queue, live->running, REBASES_MAX, err) < 0)
        return -1;
    err->retry_after_s = 0;
    struct running *running = live->running;
    if (thread_start(live, err) < 0) {
        queue_leave(builds->queue, running);
        return -1;
    }
    live = NULL; /* the thread's */
    *fd = fd_take(&reader);
    return 0;
}

/* service.c - one request and its children, from their start to the end.
 * Touches  child processes, pipes.
 * Never    waits for them: the room's thread tells.
 *
 *   RUNNING --client gone, time over, room closes--> ENDING (SIGTERM) --2 s--> KILLED
 *      '-----git ended, reply ended, push judged-------'----------> freed */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/log.h"
#include "registry/git/git_internal.h"
#include "registry/git/packet.h"
#include "s2i/confine.h"

enum { TERM_MS = 2000 }; /* for removing locks and what came in, after SIGTERM */

/* --- the list --- */

void service_uncount(struct service *service)
{
    service->git->service_count--;
    service->git->fetch_count -= service->kind == SERVICE_FETCH;
}

static void list_remove(struct git *git, struct service *service)
{
    if (service->previous == NULL)
        git->services = service->next;
    else
        service->previous->next = service->next;
    if (service->next != NULL)
        service->next->previous = service->previous;
    service_uncount(service);
}

void service_free(struct service *service)
{
    if (service->looked != NULL)
        place_looked(service->git, service->looked);
    session_drop(&service->session);
    free(service->name);
    free(service);
}

/* --- what happens to it: with the lock, on the room's thread --- */

/* What the hooks said last comes before the end. */
static void hear_out(struct service *service)
{
    struct pollfd hook = {.fd = service->hook.fd, .events = POLLIN};

    while (!service->heard_out && poll(&hook, 1, 0) > 0)
        session_arrived(service->session);
}

/* Where git was refused what it had been told it might do, it ends in the middle: the pusher hears
 * why. Not more than an empty pipe takes, for nobody may wait here. */
static void say_refusal(const struct service *service)
{
    const struct session *session = service->session;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, packet = BUFFER_NONE;

    if (session == NULL || session->refusal[0] == 0)
        return;
    buffer_print(&text, "\2%s\n", session->refusal);
    packet_append(&packet, buffer_slice(&text));
    fcntl(service->tail, F_SETFL, O_NONBLOCK);
    if (write(service->tail, packet.at, packet.size) < 0)
        return; /* then it hears the end alone */
}

/* Before the reply can end: a client would wait for what git did not say. */
static void reply_end(struct service *service)
{
    if (service->status != 0) {
        service->failed = true;
        say_refusal(service);
    }
    fd_drop(&service->tail);
}

static void child_ended(struct service *service, struct watch *child)
{
    struct error ignored = {0};
    int status = 0;

    if (confine_wait(child->pid, child->fd, -1, &status, &ignored) < 0)
        error_clear(&ignored);
    child->pid = 0;
    room_forget(service->git, child);
    if (child != &service->children[0])
        return;
    service->status = status;
    if (service->session != NULL)
        hear_out(service);
    reply_end(service);
    if (service->session == NULL)
        return;
    session_post(service->session, EVENT_OVER);
}

static void errors_ready(struct service *service, struct watch *watch)
{
    char bytes[4096];
    ssize_t got = read(watch->fd, bytes, sizeof(bytes));
    size_t room = ERRORS_MAX - service->errors_size;

    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            room_forget(service->git, watch);
        return;
    }
    if ((size_t)got < room)
        room = (size_t)got;
    memcpy(service->errors + service->errors_size, bytes, room);
    service->errors_size += room;
}

static void drain_ready(struct service *service, struct watch *watch)
{
    ssize_t got = read(watch->fd, service->git->piece, WIRE_PIECE_MAX);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        room_forget(service->git, watch);
}

void service_ready(struct service *service, struct watch *watch)
{
    if (watch->fd < 0)
        return; /* forgotten earlier in this turn */
    switch (watch->kind) {
    case WATCH_CHILD:
        child_ended(service, watch);
        break;
    case WATCH_ERRORS:
        errors_ready(service, watch);
        break;
    case WATCH_HOOK:
        if (!service->heard_out)
            session_arrived(service->session);
        break;
    case WATCH_DRAIN:
        drain_ready(service, watch);
        break;
    case WATCH_WAKE:
        break;
    }
}

void service_end(struct service *service)
{
    if (service->ending)
        return;
    service->ending = true;
    service->kill_ms = clock_monotonic_ms() + TERM_MS;
    for (size_t i = 0; i < 2; i++)
        if (service->children[i].pid > 0)
            kill(-service->children[i].pid, SIGTERM);
}

static void kill_children(struct service *service)
{
    for (size_t i = 0; i < 2; i++)
        if (service->children[i].pid > 0)
            kill(-service->children[i].pid, SIGKILL); /* its descriptor tells the end */
    service->kill_ms = clock_monotonic_ms() + TERM_MS;
}

/* The client went before the end: a fetch is over; a push is its session's to judge (13.25). */
static void client_gone(struct service *service)
{
    struct error ignored = {0};

    service->gone = false;
    if (service->session == NULL) {
        service_end(service);
        return;
    }
    session_post(service->session, EVENT_GONE);
    fcntl(service->drain.fd, F_SETFL, O_NONBLOCK);
    if (room_watch(service->git, &service->drain, &ignored) < 0)
        service_end(service);
}

static void log_end(const struct service *service)
{
    struct slice text = {service->errors, service->errors_size}, line, rest;
    int status = service->status;

    slice_split(text, '\n', &line, &rest);
    if (status == 0 || service->ending)
        return;
    log_event(LOG_INFO, "git.failed", F_TEXT("request_id", service->request_id),
              F_TEXT("repository", service->name), F_U64("status", (uint64_t)status),
              F_SLICE("cause", line));
}

static bool is_over(const struct service *service)
{
    return service->replied && service->children[0].pid == 0 && service->children[1].pid == 0 &&
           (service->session == NULL || service->session->over);
}

bool service_look(struct service *service, uint64_t now_ms, uint64_t *due_ms)
{
    struct git *git = service->git;
    struct session *session = service->session;

    if (is_over(service)) {
        room_forget(git, &service->complaints);
        room_forget(git, &service->hook);
        room_forget(git, &service->drain);
        log_end(service);
        list_remove(git, service);
        service_free(service);
        return true;
    }
    if (service->gone)
        client_gone(service);
    if (service->deadline_ms != 0 && now_ms >= service->deadline_ms)
        service_end(service);
    if (service->kill_ms != 0 && now_ms >= service->kill_ms)
        kill_children(service);
    if (session != NULL && session->look_ms != 0 && now_ms >= session->look_ms) {
        session->look_ms = 0;
        session_post(session, EVENT_LOOK);
    }
    const uint64_t times[] = {service->kill_ms, service->ending ? 0 : service->deadline_ms,
                              session == NULL ? 0 : session->look_ms};
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
        if (times[i] != 0 && times[i] < *due_ms)
            *due_ms = times[i];
    return false;
}

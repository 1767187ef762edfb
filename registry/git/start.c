/* start.c - starts what a request needs: git, and gzip before it when the body is compressed.
 * Touches  child processes, pipes.
 * Never    waits for them: from hand_over on the room's thread has them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "registry/config.h"
#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/git/git_internal.h"
#include "registry/git/packet.h"
#include "s2i/confine.h"

enum { HOOK_SEND_S = 20 };

/* --- children --- */

struct ends { /* descriptors of a start; what was given to a child is closed here */
    int in[2], plain[2], out[2], errors[2], hook[2];
};
#define ENDS_NONE ((struct ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}})

static void ends_drop(struct ends *ends)
{
    int *const all[] = {ends->in, ends->plain, ends->out, ends->errors, ends->hook};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        fd_drop(&all[i][0]);
        fd_drop(&all[i][1]);
    }
}

/* A hook that does not read what it is told must not hold a step thread for long. */
static int hook_open(int both[2])
{
    const struct timeval patience = {.tv_sec = HOOK_SEND_S};

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, both) < 0)
        return -1;
    return setsockopt(both[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
}

static int ends_open(struct ends *ends, const struct service_wish *wish, struct error *err)
{
    bool body = wish->kind != SERVICE_ADVERTISE;

    if ((body && pipe2(ends->in, O_CLOEXEC) < 0) ||
        (wish->gzip && pipe2(ends->plain, O_CLOEXEC) < 0) || pipe2(ends->out, O_CLOEXEC) < 0 ||
        pipe2(ends->errors, O_CLOEXEC) < 0 ||
        (wish->kind == SERVICE_PUSH && hook_open(ends->hook) < 0))
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a request's pipes cannot be made");
    fcntl(ends->errors[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int start_child(struct watch *watch, const struct confinement *with, struct error *err)
{
    return confine_start(with, &watch->pid, &watch->fd, err);
}

static int start_gzip(const struct git *git, struct service *service, const struct ends *ends,
                      struct error *err)
{
    const char *const words[] = {git->gzip, "-dc", NULL};
    const char *const environment[] = {"PATH=/usr/bin:/bin", NULL};
    const struct confinement with = {
        .words = words,
        .environment = environment,
        .input = ends->in[0],
        .output = ends->plain[1],
        .errors = ends->errors[1],
        .memory = git->options.config->builds_git_memory,
        .cpu_s = CHILD_CPU_S,
    };

    return start_child(&service->children[1], &with, err);
}

/* Fetches only; a push is always answered in version 0. Spec: 13.3 */
static bool protocol_known(const struct request *request)
{
    struct slice asked = request_header(request, "git-protocol");

    return slice_equal_text(asked, "version=2") || slice_equal_text(asked, "version=1");
}

static int start_git(const struct git *git, const struct service_wish *wish,
                     const struct request *request, struct service *service,
                     const struct ends *ends, struct error *err)
{
    OWNED(environment_drop) struct environment environment = {.count = 0};
    bool push = wish->push || wish->kind == SERVICE_PUSH,
         advertise = wish->kind == SERVICE_ADVERTISE;
    const char *words[8] = {git->program, push ? "receive-pack" : "upload-pack"};
    const char *const writable[] = {wish->path, NULL};
    const char *const readable[] = {wish->path, git->hooks, confine_self(), NULL};
    size_t count = 2;

    if (!push)
        words[count++] = "--strict";
    words[count++] = "--stateless-rpc";
    if (advertise)
        words[count++] = "--advertise-refs";
    words[count] = ".";
    environment_fill(git, git->hooks, &environment);
    if (!push && protocol_known(request))
        environment_add(&environment, "GIT_PROTOCOL=%.*s",
                        SLICE_ARG(request_header(request, "git-protocol")));
    if (ends->hook[1] >= 0)
        environment_add(&environment, HOOK_DESCRIPTOR "=%d", ends->hook[1]);
    const struct confinement with = {
        .words = words,
        .environment = (const char *const *)environment.items,
        .folder = wish->path,
        .writable = wish->kind == SERVICE_PUSH ? writable : NULL,
        .readable = readable,
        .input = wish->gzip ? ends->plain[0] : ends->in[0],
        .output = ends->out[1],
        .errors = ends->errors[1],
        .kept = &ends->hook[1],
        .kept_count = wish->kind == SERVICE_PUSH,
        .memory = git->options.config->builds_git_memory,
        .cpu_s = CHILD_CPU_S,
    };
    return start_child(&service->children[0], &with, err);
}

/* "# service=git-upload-pack" before the refs; not in version 2. Spec: 13.1 */
static int write_heading(const struct service_wish *wish, const struct request *request, int fd,
                         struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (wish->kind != SERVICE_ADVERTISE ||
        (!wish->push && slice_equal_text(request_header(request, "git-protocol"), "version=2")))
        return 0;
    packet_append(&text, wish->push ? SLICE("# service=git-receive-pack\n")
                                    : SLICE("# service=git-upload-pack\n"));
    packet_append_flush(&text);
    if (fd_write(fd, buffer_slice(&text)) < 0) /* an empty pipe takes it */
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the reply cannot be begun");
    return 0;
}

/* --- the list --- */

static int64_t account_of(const struct request *request)
{
    return request->caller == NULL ? 0 : auth_actor(request->caller).account;
}

static bool is_of(const struct service *service, const struct request *request)
{
    int64_t account = account_of(request);

    return service->account == account &&
           (account != 0 || memcmp(service->network, request->network, NETWORK_SIZE) == 0);
}

/* Whoever has some gets another one while more are free than he has: so however many one asks for,
 * and however many ask, there is a place for the next. */
static int share_check(size_t mine, size_t all, uint64_t limit, struct error *err)
{
    if (all >= limit)
        return error_set(err, ERROR_UNAVAILABLE, "too many clones and pushes at a time");
    if (mine > 0 && mine >= limit - all)
        return error_set(err, ERROR_TOOMANYREQUESTS,
                         "%zu clones and pushes are under way for you: too many for now", mine);
    return 0;
}

static int admit(struct git *git, const struct service_wish *wish, const struct request *request,
                 struct error *err)
{
    const struct config *config = git->options.config;
    size_t mine = 0, fetches = 0;

    if (git->closing)
        return error_set(err, ERROR_UNAVAILABLE, "the server is ending");
    for (const struct service *at = git->services; at != NULL; at = at->next) {
        bool his = is_of(at, request);
        mine += his;
        fetches += his && at->kind == SERVICE_FETCH;
    }
    if (share_check(mine, git->service_count, config->builds_git_requests, err) < 0)
        return -1;
    return wish->kind != SERVICE_FETCH
               ? 0
               : share_check(fetches, git->fetch_count, config->builds_git_fetches, err);
}

static bool reply_whole(void *released)
{
    const struct service *service = released;

    return !service->failed;
}

static struct service *service_new(struct git *git, const struct service_wish *wish,
                                   const struct request *request)
{
    struct service *service = memory_new(sizeof(*service));

    service->git = git;
    service->kind = wish->kind;
    service->name = memory_text(wish->name);
    memcpy(service->request_id, request->id, sizeof(service->request_id));
    memcpy(service->network, request->network, NETWORK_SIZE);
    service->children[0] = service->children[1] = (struct watch){WATCH_CHILD, -1, service, 0};
    service->complaints = (struct watch){WATCH_ERRORS, -1, service, 0};
    service->hook = (struct watch){WATCH_HOOK, -1, service, 0};
    service->drain = (struct watch){WATCH_DRAIN, -1, service, 0};
    service->tail = -1;
    service->account = account_of(request);
    service->looked = wish->looked;
    service->deadline_ms = clock_monotonic_ms() + git->options.config->builds_git_timeout;
    return service;
}

static void list_add(struct git *git, struct service *service)
{
    service->next = git->services;
    if (service->next != NULL)
        service->next->previous = service;
    git->services = service;
}

/* --- the reply --- */

/* The room's thread does the rest. */
static void reply_ended(void *released, bool gone)
{
    struct service *service = released;
    struct git *git = service->git;

    pthread_mutex_lock(&git->lock);
    service->replied = true;
    service->gone = gone && !service->failed;
    pthread_mutex_unlock(&git->lock);
    room_wake(git);
}

/* Of a start that failed, with the lock: what runs is killed, and the room's thread frees it, for
 * events that name it may be under way. Its session stays the caller's. */
static void start_undo(struct service *service)
{
    struct watch *const all[] = {&service->children[0], &service->children[1], &service->complaints,
                                 &service->hook, &service->drain};

    for (size_t i = 0; i < 2; i++)
        if (service->children[i].pid > 0)
            confine_kill(service->children[i].pid);
    service->children[0].pid = service->children[1].pid = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        room_forget(service->git, all[i]);
    fd_drop(&service->tail);
    if (service->session != NULL)
        service->session->service = NULL;
    service->session = NULL;
    service->replied = true;
}

static int start_children(struct service *service, const struct service_wish *wish,
                          const struct request *request, struct ends *ends, struct error *err)
{
    struct git *git = service->git;

    if (ends_open(ends, wish, err) < 0 || write_heading(wish, request, ends->out[1], err) < 0 ||
        (wish->gzip && start_gzip(git, service, ends, err) < 0) ||
        start_git(git, wish, request, service, ends, err) < 0)
        return -1;
    service->complaints.fd = fd_take(&ends->errors[0]);
    service->hook.fd = fd_take(&ends->hook[0]);
    service->tail = fd_take(&ends->out[1]);
    if (wish->kind != SERVICE_PUSH)
        return 0;
    /* so that git can go on when the client is gone (13.25) */
    service->drain.fd = fcntl(ends->out[0], F_DUPFD_CLOEXEC, 3);
    if (service->drain.fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a request's pipes cannot be made");
    return 0;
}

static int watch_all(struct service *service, struct error *err)
{
    struct watch *const all[] = {&service->children[0], &service->children[1], &service->complaints,
                                 &service->hook};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i]->fd >= 0 && room_watch(service->git, all[i], err) < 0)
            return -1;
    return 0;
}

/* From here on the room's thread has it, also when the start failed. */
static int hand_over(struct service *service, struct session *session, bool started,
                     struct error *err)
{
    struct git *git = service->git;

    pthread_mutex_lock(&git->lock);
    service->session = session;
    if (session != NULL) {
        session->service = service;
        session->channel = service->hook.fd;
    }
    started = started && watch_all(service, err) == 0;
    list_add(git, service);
    if (!started)
        start_undo(service);
    else if (git->closing)
        service_end(service);
    bool look = !started || git->closing;
    pthread_mutex_unlock(&git->lock);
    if (look)
        room_wake(git);
    return started ? 0 : -1;
}

static int reserve(struct git *git, const struct service_wish *wish, const struct request *request,
                   struct error *err)
{
    pthread_mutex_lock(&git->lock);
    int outcome = admit(git, wish, request, err);
    if (outcome == 0) {
        git->service_count++;
        git->fetch_count += wish->kind == SERVICE_FETCH;
    } else if (wish->looked != NULL)
        place_looked(git, wish->looked);
    pthread_mutex_unlock(&git->lock);
    return outcome;
}

int service_start(struct git *git, const struct service_wish *wish, const struct request *request,
                  struct session *session, struct reply *reply, int *input, struct error *err)
{
    OWNED(ends_drop) struct ends ends = ENDS_NONE;

    if (reserve(git, wish, request, err) < 0)
        return -1;
    struct service *service = service_new(git, wish, request);
    bool started = start_children(service, wish, request, &ends, err) == 0;
    if (hand_over(service, session, started, err) < 0)
        return -1;
    reply->status = 200;
    reply_live(reply, fd_take(&ends.out[0]), reply_ended, service);
    reply_live_whole(reply, reply_whole);
    if (input != NULL)
        *input = fd_take(&ends.in[1]);
    return 0;
}

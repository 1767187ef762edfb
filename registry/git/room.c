/* room.c - the room's threads: one waits for everything that happens to requests, a few do what may
 * block.
 * Touches  epoll, threads, the folders of the room.
 * Never    waits for a child or a client with a thread of HTTP's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/config.h"
#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "registry/core/folder.h"
#include "registry/core/log.h"
#include "registry/git/git_internal.h"
#include "s2i/confine.h"

enum { EVENTS = 64 };

/* --- waiting --- */

void room_wake(struct git *git)
{
    uint64_t one = 1;

    if (write(git->wake.fd, &one, sizeof(one)) < 0)
        assert(errno == EAGAIN); /* it is awake already */
}

int room_watch(struct git *git, struct watch *watch, struct error *err)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};

    if (epoll_ctl(git->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a request cannot be watched");
    return 0;
}

void room_unwatch(struct git *git, const struct watch *watch)
{
    epoll_ctl(git->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
}

void room_forget(struct git *git, struct watch *watch)
{
    if (watch->fd < 0)
        return;
    room_unwatch(git, watch);
    fd_drop(&watch->fd);
}

static void wake_ready(struct git *git)
{
    uint64_t count;

    if (read(git->wake.fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN);
}

/* A service whose end was noticed in this turn is freed only after it: events may name it. */
static uint64_t look_at_all(struct git *git)
{
    uint64_t now = clock_monotonic_ms(), due = UINT64_MAX;
    struct service *next;

    for (struct service *service = git->services; service != NULL; service = next) {
        next = service->next;
        service_look(service, now, &due);
    }
    return due == UINT64_MAX ? UINT64_MAX : due > now ? due - now : 0;
}

static void *room_main(void *arg)
{
    struct git *git = arg;
    struct epoll_event events[EVENTS];
    uint64_t pause = UINT64_MAX;

    for (;;) {
        int timeout = pause == UINT64_MAX ? -1 : pause > 60000 ? 60000 : (int)pause;
        int count = epoll_wait(git->epoll, events, EVENTS, timeout);
        pthread_mutex_lock(&git->lock);
        for (int i = 0; i < count; i++) {
            struct watch *watch = events[i].data.ptr;
            if (watch->kind == WATCH_WAKE)
                wake_ready(git);
            else
                service_ready(watch->service, watch);
        }
        pause = look_at_all(git);
        bool over = git->closing && git->service_count == 0; /* those that start are counted */
        pthread_mutex_unlock(&git->lock);
        if (over)
            return NULL;
    }
}

/* --- steps --- */

static struct session *take_ready(struct git *git)
{
    struct session *session;

    while (git->ready == NULL && !git->steps_over)
        pthread_cond_wait(&git->work, &git->lock);
    session = git->ready;
    if (session != NULL && (git->ready = session->next) == NULL)
        git->ready_last = &git->ready;
    return session;
}

static void *step_main(void *arg)
{
    struct git *git = arg;
    struct session *session;

    become_worker_thread();
    pthread_mutex_lock(&git->lock);
    while ((session = take_ready(git)) != NULL) {
        struct hook_message *messages = session->messages;
        unsigned events = session->events;
        session->queued = false;
        session->busy = true;
        session->events = 0;
        session->messages = NULL;
        session->message_last = &session->messages;
        session->message_count = 0;
        pthread_mutex_unlock(&git->lock);
        session_step(session, events, messages);
        pthread_mutex_lock(&git->lock);
        session->busy = false;
        if ((events & EVENT_OVER) != 0) {
            session->over = true;
            room_wake(git);
        } else if (session->events != 0) {
            session_post(session, 0);
        }
    }
    pthread_mutex_unlock(&git->lock);
    return NULL;
}

/* --- opening --- */

static int make_folder(const char *path, struct error *err)
{
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the folder %s cannot be made", path);
    return 0;
}

/* A link of each hook's name to this program. */
static int link_hook(const struct git *git, const char *name, struct error *err)
{
    OWNED(memory_drop)
    char *path = folder_path(git->hooks, name), *fresh = folder_path(git->hooks, "new");

    if ((unlink(fresh) < 0 && errno != ENOENT) || symlink(confine_self(), fresh) < 0 ||
        rename(fresh, path) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "git's hooks cannot be made");
    return 0;
}

static int make_files(struct git *git, struct error *err)
{
    if (make_folder(git->folder, err) < 0 || make_folder(git->repositories, err) < 0 ||
        make_folder(git->hooks, err) < 0 || link_hook(git, "proc-receive", err) < 0 ||
        link_hook(git, "reference-transaction", err) < 0)
        return -1;
    return repository_make(git->nothing, err);
}

static int start_threads(struct git *git, struct error *err)
{
    int number = 0;

    while (number == 0 && git->stepper_count < STEP_THREADS) {
        number = pthread_create(&git->steppers[git->stepper_count], NULL, step_main, git);
        git->stepper_count += number == 0;
    }
    if (number == 0)
        number = pthread_create(&git->thread, NULL, room_main, git);
    if (number != 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, number, "threads cannot be started");
    git->has_thread = true;
    return 0;
}

static int open_room(struct git *git, struct error *err)
{
    git->epoll = epoll_create1(EPOLL_CLOEXEC);
    git->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (git->epoll < 0 || git->wake.fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "descriptors cannot be made");
    if (room_watch(git, &git->wake, err) < 0 || make_files(git, err) < 0)
        return -1;
    return start_threads(git, err) < 0 ? -1 : care_open(git, err);
}

static struct git *git_new(const struct git_options *options)
{
    /* git runs in the repository's folder: nothing it is told of may be relative to ours */
    OWNED(memory_drop) char *root = realpath(options->config->storage_root, NULL);
    struct git *git = memory_new(sizeof(*git));

    git->options = *options;
    git->program = confine_program("git");
    git->gzip = confine_program("gzip");
    git->folder = folder_path(root == NULL ? options->config->storage_root : root, "builds");
    git->repositories = folder_path(git->folder, "repos");
    git->hooks = folder_path(git->folder, "hooks");
    git->nothing = folder_path(git->hooks, "nothing.git");
    git->piece = memory_new(WIRE_PIECE_MAX + 1);
    git->epoll = git->wake.fd = -1;
    git->wake.kind = WATCH_WAKE;
    git->ready_last = &git->ready;
    pthread_mutex_init(&git->lock, NULL);
    pthread_cond_init(&git->work, NULL);
    pthread_cond_init(&git->place_changed, NULL);
    return git;
}

static bool is_able(const struct git *git)
{
    if (git->program != NULL && command_is_new(git))
        return true;
    log_event(LOG_WARNING, "git.missing",
              F_TEXT("reason", "there is no git program of 2.31 or newer: no clone, no push"));
    return false;
}

static void git_drop(struct git **git)
{
    git_close(*git);
}

int git_open(struct git **out, const struct git_options *options, struct error *err)
{
    OWNED(git_drop) struct git *git = git_new(options);
    enum thread_role_kind role = become_worker_thread();
    int outcome = settle_left(git, err);

    *out = NULL;
    thread_role_current = role;
    if (outcome < 0 || !options->config->builds_enabled || !is_able(git))
        return outcome;
    if (open_room(git, err) < 0)
        return -1;
    *out = TAKE(git);
    return 0;
}

/* --- closing --- */

static void end_services(struct git *git)
{
    pthread_mutex_lock(&git->lock);
    git->closing = true;
    for (struct service *service = git->services; service != NULL; service = service->next)
        service_end(service);
    pthread_mutex_unlock(&git->lock);
    if (git->has_thread)
        room_wake(git);
}

static void free_all(struct git *git)
{
    for (struct place *place = git->places, *next; place != NULL; place = next) {
        next = place->next;
        free(place->name);
        free(place);
    }
    fd_drop(&git->epoll);
    fd_drop(&git->wake.fd);
    pthread_cond_destroy(&git->place_changed);
    pthread_cond_destroy(&git->work);
    pthread_mutex_destroy(&git->lock);
    free(git->piece);
    free(git->nothing);
    free(git->hooks);
    free(git->repositories);
    free(git->folder);
    free(git);
}

void git_close(struct git *git)
{
    if (git == NULL)
        return;
    care_close(git);
    end_services(git);
    if (git->has_thread)
        pthread_join(git->thread, NULL);
    pthread_mutex_lock(&git->lock);
    git->steps_over = true;
    pthread_cond_broadcast(&git->work);
    pthread_mutex_unlock(&git->lock);
    for (size_t i = 0; i < git->stepper_count; i++)
        pthread_join(git->steppers[i], NULL);
    free_all(git);
}

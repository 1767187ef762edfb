/* link.c - the builders this server has: one it starts itself, and those that connect to its
 * socket.
 * Touches  the socket file, control connections, the started builder; a thread of its own.
 * Never    looks at what a build says: its channel goes from the worker process to the session.
 *
 *   (none) --hello--> CONNECTED --its end, a broken word--> (none)
 *
 * (1) A builder gets no more builds than the slots it told (slots.c).
 * (2) Only root and our own user may be a builder: it is trusted with what a build's images hold.
 */
#include "s2i/link.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/json.h"
#include "registry/core/log.h"
#include "registry/core/start.h"
#include "s2i/wire.h"

enum {
    SLOTS_MAX = 256,
    AGAIN_MS = 1000,        /* from the end of the started builder to the next one */
    END_MS = 15 * 1000,     /* what a builder gets to end its builds */
    SILENT_MS = 300 * 1000, /* trying what the machine allows takes a builder a while */
    CONTROL_SEND_S = 2,     /* a builder that reads nothing for so long is none */
};

/* --- connections --- */

/* A builder that does not read is gone, not waited for: words go to it under the lock. */
static void limit_sending(int control)
{
    const struct timeval most = {.tv_sec = CONTROL_SEND_S};

    setsockopt(control, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
}

static struct builder *free_place(struct build_link *link)
{
    for (size_t i = 0; i < BUILDERS_MAX; i++)
        if (link->builders[i].control < 0) {
            link->lives[i]++;
            return &link->builders[i];
        }
    return NULL;
}

/* Under lock. */
static int start_builder(struct build_link *link, struct error *err)
{
    struct builder *place = free_place(link);
    int pair[2];

    if (place == NULL)
        return error_set(err, ERROR_UNAVAILABLE, "too many builders are connected");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the builder cannot be started");
    int started = link_spawn(link, pair[1], &link->child, err);
    close(pair[1]);
    if (started < 0) {
        close(pair[0]);
        return -1;
    }
    limit_sending(pair[0]);
    *place = (struct builder){.control = pair[0], .since_ms = clock_monotonic_ms()};
    link->started_ms = clock_monotonic_ms();
    log_event(LOG_INFO, "builder.started", F_I64("pid", link->child));
    return 0;
}

/* Under lock. */
void link_builder_end(struct build_link *link, struct builder *builder, const char *why)
{
    close(builder->control);
    builder->control = -1;
    builder->known = false;
    link->lives[builder - link->builders]++;
    snprintf(link->problem, sizeof(link->problem), "%s", why);
    if (!link->closing)
        log_event(LOG_WARNING, "builder.gone", F_TEXT("reason", why));
    pthread_cond_broadcast(&link->changed);
}

static void copy_text(char *out, size_t capacity, const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    size_t at = 0;

    for (; text != NULL && text[at] != 0 && at + 1 < capacity; at++)
        out[at] = (unsigned char)text[at] < ' ' ? ' ' : text[at];
    out[at] = 0;
}

static void hello(struct build_link *link, struct builder *builder, struct slice payload)
{
    OWNED(json_drop) json_t *said = json_loadb(payload.at, payload.size, 0, NULL);
    json_int_t slots = json_integer_value(json_object_get(said, "slots"));

    copy_text(builder->level, sizeof(builder->level), said, "level");
    copy_text(builder->problem, sizeof(builder->problem), said, "problem");
    builder->slots = slots < 1 ? 1 : slots > SLOTS_MAX ? SLOTS_MAX : (unsigned)slots;
    builder->known = true;
    log_event(builder->level[0] == 0 ? LOG_WARNING : LOG_INFO, "builder.connected",
              F_TEXT("level", builder->level), F_U64("slots", builder->slots),
              F_TEXT("problem", builder->problem));
    pthread_cond_broadcast(&link->changed);
}

static void control_readable(struct build_link *link, struct builder *builder)
{
    OWNED(memory_drop) char *buffer = memory_new(WIRE_PIECE_MAX + 1);
    struct wire_packet packet;
    struct error err = {0};
    int got = wire_receive(builder->control, buffer, WIRE_PIECE_MAX + 1, &packet, &err);

    if (got == 1 && packet.fd >= 0)
        close(packet.fd);
    if (got == 1 && packet.kind == WIRE_HELLO && !builder->known) /* once */
        hello(link, builder, packet.payload);
    else
        link_builder_end(link, builder,
                         got == 0 ? "the builder ended" : "the builder said nonsense");
}

/* (2) */
static bool trusted_peer(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == 0 || peer.uid == geteuid());
}

static void accept_builder(struct build_link *link)
{
    int fd = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC);
    struct builder *place;

    link->rests = fd < 0;
    if (fd < 0) {
        log_event(LOG_WARNING, "builder.refused", F_TEXT("cause", strerror(errno)));
        return;
    }
    if (!trusted_peer(fd) || (place = free_place(link)) == NULL) {
        log_event(LOG_WARNING, "builder.refused");
        close(fd);
        return;
    }
    limit_sending(fd);
    *place = (struct builder){.control = fd, .since_ms = clock_monotonic_ms()};
}

/* Who connects and says nothing has a place that others want. */
static void end_silent(struct build_link *link)
{
    uint64_t now = clock_monotonic_ms();

    for (size_t i = 0; i < BUILDERS_MAX; i++) {
        struct builder *builder = &link->builders[i];
        if (builder->control >= 0 && !builder->known && now - builder->since_ms >= SILENT_MS)
            link_builder_end(link, builder, "the builder said nothing");
    }
}

/* --- the thread --- */

static void child_look(struct build_link *link)
{
    int status;

    if (link->child == 0 || waitpid(link->child, &status, WNOHANG) != link->child)
        return;
    link->child = 0;
    snprintf(link->problem, sizeof(link->problem), "the builder ended with status %d",
             WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* Under lock: a started builder that ended gets a successor. */
static void child_again(struct build_link *link)
{
    struct error err = {0};

    child_look(link);
    if (link->child != 0 || link->closing || strcmp(link->config->builds_builder, "auto") != 0 ||
        clock_monotonic_ms() - link->started_ms < AGAIN_MS)
        return;
    link->started_ms = clock_monotonic_ms();
    if (start_builder(link, &err) < 0)
        snprintf(link->problem, sizeof(link->problem), "%s", err.message);
}

/* Who could not be taken, for want of a descriptor, is still there: he is asked for again after
 * this poll. */
static size_t gather(struct build_link *link, struct pollfd *out)
{
    out[0] = (struct pollfd){.fd = link->wake, .events = POLLIN};
    out[1] = (struct pollfd){.fd = link->rests ? -1 : link->listener, .events = POLLIN};
    link->rests = false;
    for (size_t i = 0; i < BUILDERS_MAX; i++)
        out[2 + i] = (struct pollfd){.fd = link->builders[i].control, .events = POLLIN};
    return 2 + BUILDERS_MAX;
}

static void *link_thread(void *arg)
{
    struct build_link *link = arg;
    struct pollfd polled[2 + BUILDERS_MAX];

    pthread_mutex_lock(&link->lock);
    while (!link->closing) {
        size_t count = gather(link, polled);
        pthread_mutex_unlock(&link->lock);
        poll(polled, count, AGAIN_MS);
        pthread_mutex_lock(&link->lock);
        for (size_t i = 0; i < BUILDERS_MAX; i++)
            if (polled[2 + i].revents != 0 && link->builders[i].control == polled[2 + i].fd)
                control_readable(link, &link->builders[i]);
        /* Last: it may get the number of one that another thread ended, and that was heard. */
        if ((polled[1].revents & POLLIN) != 0)
            accept_builder(link);
        end_silent(link);
        child_again(link);
    }
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

/* --- opening --- */

static int listen_open(struct build_link *link, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (!slice_to_text(slice_of(link->path), address.sun_path, sizeof(address.sun_path)))
        return error_set(err, ERROR_UNAVAILABLE, "builds.socket is too long a path");
    unlink(link->path);
    link->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->listener < 0 ||
        bind(link->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        chmod(link->path, 0600) < 0 || listen(link->listener, BUILDERS_MAX) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "builds.socket cannot be opened");
    return 0;
}

static struct build_link *link_new(const struct config *config)
{
    struct build_link *link = memory_new(sizeof(*link));
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    link->config = config;
    link->listener = link->wake = -1;
    for (size_t i = 0; i < BUILDERS_MAX; i++)
        link->builders[i].control = -1;
    pthread_mutex_init(&link->lock, NULL);
    clock_condition_init(&link->changed);
    if (config->builds_folder[0] != 0)
        link->folder = memory_text(slice_of(config->builds_folder));
    else {
        buffer_print(&path, "%s/builder", config->storage_root);
        link->folder = memory_text(buffer_slice(&path));
    }
    buffer_drop(&path);
    buffer_print(&path, "%s/builder.sock", config->storage_root);
    link->path = memory_text(config->builds_socket[0] != 0 ? slice_of(config->builds_socket)
                                                           : buffer_slice(&path));
    snprintf(link->problem, sizeof(link->problem), "no builder is connected");
    return link;
}

static void link_drop(struct build_link **link)
{
    link_close(*link);
}

int link_open(struct build_link **out, const struct config *config, struct error *err)
{
    OWNED(link_drop) struct build_link *link = link_new(config);
    bool own = strcmp(config->builds_builder, "auto") == 0;
    struct error failure = {0};

    link->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (link->wake < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "no descriptor for the builders");
    if (listen_open(link, &failure) < 0) {
        if (!own)
            return error_set(err, failure.code, "%s", failure.message);
        log_event(LOG_WARNING, "builder.socket", F_TEXT("reason", failure.message),
                  F_TEXT("cause", failure.cause));
    }
    if (own && start_builder(link, &failure) < 0)
        snprintf(link->problem, sizeof(link->problem), "%s", failure.message);
    if (thread_start(&link->thread, link_thread, link, err) < 0)
        return -1;
    link->threaded = true;
    *out = TAKE(link);
    return 0;
}

/* --- closing --- */

static void wake_thread(const struct build_link *link)
{
    const uint64_t one = 1;

    if (write(link->wake, &one, sizeof(one)) < 0)
        return; /* it is awake already */
}

/* Its connection is closed: it ends by itself, or is ended. */
static void child_end(struct build_link *link)
{
    if (link->child == 0)
        return;
    kill(link->child, SIGTERM);
    for (int waited = 0; waited < END_MS; waited += 10) {
        if (waitpid(link->child, NULL, WNOHANG) != 0)
            return;
        usleep(10 * 1000);
    }
    kill(link->child, SIGKILL);
    waitpid(link->child, NULL, 0);
}

void link_close(struct build_link *link)
{
    if (link == NULL)
        return;
    pthread_mutex_lock(&link->lock);
    link->closing = true;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    if (link->threaded) {
        wake_thread(link);
        pthread_join(link->thread, NULL);
    }
    for (size_t i = 0; i < BUILDERS_MAX; i++)
        if (link->builders[i].control >= 0)
            close(link->builders[i].control);
    child_end(link);
    if (link->listener >= 0) {
        close(link->listener);
        unlink(link->path);
    }
    if (link->wake >= 0)
        close(link->wake);
    while (link->channels != NULL)
        link_give_back(link, link->channels->fd);
    pthread_mutex_destroy(&link->lock);
    pthread_cond_destroy(&link->changed);
    free(link->folder);
    free(link->path);
    free(link);
}

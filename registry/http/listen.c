/* listen.c - addresses and accepting.
 * Touches  listening sockets, unix socket files.
 * Never    reads from a connection. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <fcntl.h>
#include <unistd.h>

#include "registry/core/log.h"
#include "registry/http/http_internal.h"

enum {
    BACKLOG = 1024,
    ACCEPT_TURN = 16, /* connections taken before others have a turn */
    REFUSED_MAX = 64, /* connections above the limit that still get an answer */
};

/* --- binding --- */

static int bind_failed(struct error *err, const char *address, int number)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, number, "cannot listen on %s: %s", address,
                           strerror(number));
}

/* owner_only: a socket file that is made with mode 0600, whatever the umask. */
static int listen_on(const struct sockaddr *address, socklen_t size, bool shared, bool owner_only,
                     int *out)
{
    int on = 1;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    if (address->sa_family != AF_UNIX) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (shared)
            setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    }
    if (address->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if ((owner_only && fchmod(fd, S_IRUSR | S_IWUSR) < 0) || bind(fd, address, size) < 0 ||
        listen(fd, BACKLOG) < 0) {
        int number = errno;
        close(fd);
        return -number;
    }
    *out = fd;
    return 0;
}

/* "host:port", "[::1]:port", ":port" */
static bool address_split(const char *address, char *host, size_t host_capacity, const char **port)
{
    const char *colon = strrchr(address, ':');
    struct slice text;

    if (colon == NULL)
        return false;
    text = (struct slice){address, (size_t)(colon - address)};
    if (text.size >= 2 && text.at[0] == '[' && text.at[text.size - 1] == ']')
        text = (struct slice){text.at + 1, text.size - 2};
    *port = colon + 1;
    return **port != 0 && slice_to_text(text, host, host_capacity);
}

static void endpoint_text(const struct sockaddr *address, socklen_t size, char *out,
                          size_t capacity)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getnameinfo(address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        snprintf(out, capacity, "?");
    else
        snprintf(out, capacity, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static int bind_address(struct bound *bound, const struct addrinfo *info, size_t loop_count)
{
    struct sockaddr_storage address;
    socklen_t size = info->ai_addrlen;

    memcpy(&address, info->ai_addr, size);
    for (size_t i = 0; i < loop_count; i++) { /* the first decides port 0 */
        int outcome =
            listen_on((struct sockaddr *)&address, size, loop_count > 1, false, &bound->fds[i]);
        if (outcome < 0)
            return outcome;
        socklen_t named = sizeof(address);
        if (getsockname(bound->fds[i], (struct sockaddr *)&address, &named) < 0)
            return -errno;
    }
    endpoint_text((struct sockaddr *)&address, size, bound->text, sizeof(bound->text));
    return 0;
}

static int bind_tcp(struct bound *bound, const char *text, size_t loop_count, struct error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *infos;
    char host[256];
    const char *port;

    if (!address_split(text, host, sizeof(host), &port))
        return error_set(err, ERROR_UNAVAILABLE, "address %s is not host:port", text);
    int found = getaddrinfo(host[0] == 0 ? NULL : host, port, &hints, &infos);
    if (found != 0) {
        error_set(err, ERROR_UNAVAILABLE, "address %s is unknown", text);
        return error_set_cause(err, "%s", gai_strerror(found));
    }
    int outcome = bind_address(bound, infos, loop_count);
    freeaddrinfo(infos);
    return outcome < 0 ? bind_failed(err, text, -outcome) : 0;
}

/* A socket file that nobody answers on is what a dead process left. */
static void stale_socket_remove(const struct sockaddr_un *address)
{
    struct stat status;

    if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
        return;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

/* Members of the group may connect; who they are is asked of the kernel at each connection. Where
 * we may not give the file away it stays ours alone. */
static void admin_socket_share(const struct server *server, const char *path)
{
    if (server->has_admin_group && lchown(path, (uid_t)-1, server->admin_group) == 0 &&
        chmod(path, S_IRUSR | S_IWUSR | S_IRGRP | S_IWGRP) == 0)
        return;
    log_event(LOG_INFO, "server.admin_socket_private", F_TEXT("path", path),
              F_TEXT("reason", server->has_admin_group ? "its group cannot be set"
                                                       : "there is no group slipway-admin"));
}

static int bind_unix(struct bound *bound, const char *text, const struct server *server,
                     struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = text + strlen("unix:");

    if (!slice_to_text(slice_of(path), address.sun_path, sizeof(address.sun_path)))
        return error_set(err, ERROR_UNAVAILABLE, "socket path %s is too long", path);
    stale_socket_remove(&address);
    int outcome = listen_on((const struct sockaddr *)&address, sizeof(address), false, bound->admin,
                            &bound->fds[0]);
    if (outcome < 0)
        return bind_failed(err, text, -outcome);
    if (bound->admin)
        admin_socket_share(server, path);
    for (size_t i = 1; i < server->loop_count; i++) {
        bound->fds[i] = fcntl(bound->fds[0], F_DUPFD_CLOEXEC, 0);
        if (bound->fds[i] < 0)
            return bind_failed(err, text, errno);
    }
    bound->local = true;
    bound->unlink_path = memory_text(slice_of(path));
    snprintf(bound->text, sizeof(bound->text), "%s", text);
    return 0;
}

int bound_open(struct bound *bound, const struct server *server,
               const struct server_listener *listener, struct error *err)
{
    size_t loop_count = server->loop_count;

    *bound = (struct bound){.tls = listener->tls, .admin = listener->admin};
    bound->fds = memory_new(loop_count * sizeof(bound->fds[0]));
    for (size_t i = 0; i < loop_count; i++)
        bound->fds[i] = -1;
    if (slice_starts(slice_of(listener->address), "unix:"))
        return bind_unix(bound, listener->address, server, err);
    if (listener->admin)
        return error_set(err, ERROR_UNAVAILABLE, "the admin socket %s is not unix:/path",
                         listener->address);
    return bind_tcp(bound, listener->address, loop_count, err);
}

void bound_close(struct bound *bound, size_t loop_count)
{
    for (size_t i = 0; bound->fds != NULL && i < loop_count; i++) {
        if (bound->fds[i] >= 0)
            close(bound->fds[i]);
    }
    if (bound->unlink_path != NULL)
        unlink(bound->unlink_path);
    free(bound->unlink_path);
    free(bound->fds);
    *bound = (struct bound){0};
}

/* --- accepting --- */

static void accepted(struct listener *listener, int fd, const struct sockaddr_storage *peer)
    ON(loop_thread)
{
    struct loop *loop = listener->loop;
    struct server *server = loop->server;
    uint64_t before = atomic_fetch_add(&server->connections, 1);
    bool refused = before >= server->connections_max;
    int on = 1;

    if (refused && (listener->tls || before >= server->connections_max + REFUSED_MAX)) {
        close(fd);
        loop_connection_ended(loop);
        return;
    }
    if (!listener->local)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct conn *conn = conn_open(loop, fd, listener->tls);
    if (listener->admin)
        conn->standing = admin_judge_peer(server, fd);
    client_of_conn(conn, (const struct sockaddr *)peer);
    if (refused)
        conn_refuse(conn, 503, ERROR_UNAVAILABLE, "too many connections");
}

/* No descriptor is left. One kept in reserve lets us tell one client; then we wait for a close or
 * the timer instead of spinning on a readable listener. */
static void listener_pause(struct listener *listener) ON(loop_thread)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
                                 "Retry-After: 1\r\nConnection: close\r\n\r\n";
    struct loop *loop = listener->loop;

    if (loop->spare_descriptor >= 0) {
        close(loop->spare_descriptor);
        int fd =
            accept4(h2o_socket_get_fd(listener->socket), NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            if (!listener->tls)
                (void)!send(fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            close(fd);
        }
        loop->spare_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    log_event(LOG_WARNING, "http.descriptors_exhausted");
    listener->paused = true;
    h2o_socket_read_stop(listener->socket);
    if (!h2o_timeout_is_linked(&loop->accept_retry))
        h2o_timeout_link(loop->evloop, &loop->timeouts.retry, &loop->accept_retry);
}

static void on_accept(h2o_socket_t *socket, const char *err)
{
    struct listener *listener = socket->data;
    struct sockaddr_storage peer;

    (void)err;
    assert_loop_thread();
    for (int i = 0; i < ACCEPT_TURN; i++) {
        socklen_t size = sizeof(peer);
        peer.ss_family = AF_UNSPEC;
        int fd = accept4(h2o_socket_get_fd(socket), (struct sockaddr *)&peer, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(listener, fd, &peer);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            listener_pause(listener);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_accept_retry(h2o_timeout_entry_t *entry)
{
    assert_loop_thread();
    listeners_resume(H2O_STRUCT_FROM_MEMBER(struct loop, accept_retry, entry));
}

void listeners_open(struct loop *loop)
{
    struct server *server = loop->server;
    size_t index = (size_t)(loop - server->loops);

    loop->spare_descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    loop->accept_retry.cb = on_accept_retry;
    loop->listeners = memory_new(server->options.listener_count * sizeof(*loop->listeners));
    for (size_t i = 0; i < server->options.listener_count; i++) {
        struct bound *bound = &server->bound[i];
        struct listener *listener = &loop->listeners[i];
        listener->loop = loop;
        listener->tls = bound->tls;
        listener->local = bound->local;
        listener->admin = bound->admin;
        listener->socket =
            h2o_evloop_socket_create(loop->evloop, bound->fds[index], H2O_SOCKET_FLAG_DONT_READ);
        bound->fds[index] = -1;
        listener->socket->data = listener;
        h2o_socket_read_start(listener->socket, on_accept);
    }
}

void listeners_resume(struct loop *loop)
{
    for (size_t i = 0; i < loop->server->options.listener_count; i++) {
        struct listener *listener = &loop->listeners[i];
        if (!listener->paused || listener->socket == NULL)
            continue;
        listener->paused = false;
        h2o_socket_read_start(listener->socket, on_accept);
    }
}

void listeners_close(struct loop *loop)
{
    for (size_t i = 0; i < loop->server->options.listener_count; i++) {
        if (loop->listeners[i].socket != NULL)
            h2o_socket_close(TAKE(loop->listeners[i].socket));
    }
    h2o_timeout_unlink(&loop->accept_retry);
}

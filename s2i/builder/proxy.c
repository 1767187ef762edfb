/* proxy.c - the one way out of a build with network "proxy": CONNECT to hosts on a list.
 * Touches  a network namespace made for the build, sockets, threads of its own.
 * Never    resolves a name twice; connects to a private address that is not named by the list.
 *
 * The socket listens on 127.0.0.1:3128 inside the namespace and is served from here, outside: the
 * container has no other road (s2i-facts A5). Spec: s2i 16.9, 16.10 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "s2i/builder/builder_internal.h"
#include "s2i/builder/proxy.h"
#include "s2i/source/address.h"

enum {
    PORT = 3128,
    CONNECTIONS_MAX = 64,
    HOSTS_MAX = 64,
    HEAD_MAX = 8192,
    PIECE = 32 * 1024,
    HEAD_MS = 10 * 1000,
    CONNECT_MS = 15 * 1000,
    IDLE_MS = 300 * 1000,
};

struct traffic {
    struct proxy_target target;
    uint64_t connections, refused, in, out; /* bytes */
};

struct proxy {
    struct work *work;
    int listener, wake, network;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned connections; /* under lock, as what follows */
    unsigned resolving;   /* of them: as slow as name servers are, so nobody waits for them */
    bool closing;         /* who is the last frees it */
    struct traffic hosts[HOSTS_MAX];
    size_t host_count;
};

struct connection {
    struct proxy *proxy;
    int client;
};

/* --- accounts --- */

static void account(struct proxy *proxy, const struct proxy_target *target,
                    const struct traffic *add)
{
    size_t i = 0;

    pthread_mutex_lock(&proxy->lock);
    while (i < proxy->host_count && (strcmp(proxy->hosts[i].target.host, target->host) != 0 ||
                                     strcmp(proxy->hosts[i].target.port, target->port) != 0))
        i++;
    if (i < HOSTS_MAX) {
        struct traffic *host = &proxy->hosts[i];
        host->target = *target;
        host->connections += add->connections;
        host->refused += add->refused;
        host->in += add->in;
        host->out += add->out;
        if (i == proxy->host_count)
            proxy->host_count++;
    }
    pthread_mutex_unlock(&proxy->lock);
}

static void tell(struct proxy *proxy)
{
    for (size_t i = 0; i < proxy->host_count; i++) {
        const struct traffic *host = &proxy->hosts[i];
        if (host->connections > 0)
            work_step(proxy->work, "proxy: %s:%s: %llu connections, %llu bytes in, %llu out",
                      host->target.host, host->target.port, (unsigned long long)host->connections,
                      (unsigned long long)host->in, (unsigned long long)host->out);
        if (host->refused > 0)
            work_step(proxy->work, "proxy: %s:%s: refused %llu times", host->target.host,
                      host->target.port, (unsigned long long)host->refused);
    }
}

/* --- one connection --- */

/* False when it is over: time, the end of the build, nothing to wait for. */
static bool wait_for(struct proxy *proxy, struct pollfd *both, nfds_t count, int timeout_ms)
{
    struct pollfd polled[3];
    int ready;

    for (nfds_t i = 0; i < count; i++)
        polled[i] = both[i];
    polled[count] = (struct pollfd){.fd = proxy->wake, .events = POLLIN};
    do
        ready = poll(polled, count + 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    for (nfds_t i = 0; i < count; i++)
        both[i].revents = polled[i].revents;
    return ready > 0 && polled[count].revents == 0;
}

static bool read_head(struct proxy *proxy, int client, char head[HEAD_MAX], size_t *size)
{
    struct pollfd one = {.fd = client, .events = POLLIN};

    for (*size = 0; *size < HEAD_MAX - 1;) {
        if (!wait_for(proxy, &one, 1, HEAD_MS))
            return false;
        ssize_t got = recv(client, head + *size, HEAD_MAX - 1 - *size, 0);
        if (got <= 0)
            return false;
        *size += (size_t)got;
        head[*size] = 0;
        if (memmem(head, *size, "\r\n\r\n", 4) != NULL)
            return true;
    }
    return false;
}

static void answer(int client, int status, const char *words)
{
    char text[256];
    int size = snprintf(text, sizeof(text),
                        status == 200 ? "HTTP/1.1 200 Connection established\r\n\r\n"
                                      : "HTTP/1.1 %d %s\r\nConnection: close\r\n"
                                        "Content-Length: 0\r\n\r\n",
                        status, words);

    if (send(client, text, (size_t)size, MSG_NOSIGNAL) < 0)
        return; /* who is gone needs no answer */
}

static int connect_one(struct proxy *proxy, const struct addrinfo *address)
{
    OWNED(fd_drop)
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct pollfd one = {.fd = fd, .events = POLLOUT};
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (fd < 0 ||
        (connect(fd, address->ai_addr, address->ai_addrlen) < 0 && errno != EINPROGRESS) ||
        !wait_for(proxy, &one, 1, CONNECT_MS) ||
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) < 0 || failure != 0)
        return -1;
    return fd_take(&fd);
}

/* False when it is over by then: what is left of the proxy is its memory. */
static bool resolve(struct proxy *proxy, const struct proxy_target *target, struct addrinfo **out)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};

    pthread_mutex_lock(&proxy->lock);
    proxy->resolving++;
    pthread_cond_signal(&proxy->idle);
    pthread_mutex_unlock(&proxy->lock);
    if (getaddrinfo(target->host, target->port, &hints, out) != 0)
        *out = NULL;
    pthread_mutex_lock(&proxy->lock);
    proxy->resolving--;
    bool open = !proxy->closing;
    pthread_mutex_unlock(&proxy->lock);
    return open;
}

/* The address that is used is the one that was looked at. *status: why there is none. */
static int connect_target(struct proxy *proxy, const struct proxy_target *target, bool exact,
                          int *status)
{
    struct addrinfo *addresses = NULL;
    bool open = resolve(proxy, target, &addresses);
    int fd = -1;

    *status = 502;
    for (const struct addrinfo *at = addresses; open && fd < 0 && at != NULL; at = at->ai_next) {
        if (!exact && source_address_refusal(at->ai_addr) != NULL)
            *status = 403;
        else
            fd = connect_one(proxy, at);
    }
    if (addresses != NULL)
        freeaddrinfo(addresses);
    return fd;
}

/* All bytes, waiting for a reader that is slow. */
static bool pass(struct proxy *proxy, int from, int to, uint64_t *bytes, bool *more)
{
    char piece[PIECE];
    ssize_t got = recv(from, piece, sizeof(piece), MSG_DONTWAIT);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR;
    *more = got > 0;
    if (got == 0)
        return shutdown(to, SHUT_WR) == 0;
    for (ssize_t sent = 0; sent < got;) {
        struct pollfd one = {.fd = to, .events = POLLOUT};
        ssize_t put = send(to, piece + sent, (size_t)(got - sent), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (put < 0 && !wait_for(proxy, &one, 1, IDLE_MS))
            return false;
        sent += put > 0 ? put : 0;
    }
    *bytes += (uint64_t)got;
    return true;
}

static void relay(struct proxy *proxy, int client, int server, struct traffic *traffic)
{
    bool up = true, down = true;

    while (up || down) {
        struct pollfd both[2] = {{.fd = up ? client : -1, .events = POLLIN},
                                 {.fd = down ? server : -1, .events = POLLIN}};
        if (!wait_for(proxy, both, 2, IDLE_MS))
            return;
        if (both[0].revents != 0 && !pass(proxy, client, server, &traffic->out, &up))
            return;
        if (both[1].revents != 0 && !pass(proxy, server, client, &traffic->in, &down))
            return;
    }
}

/* What came right behind the request, before it was answered. */
static bool pass_rest(int server, struct slice head, struct traffic *traffic)
{
    const char *end = memmem(head.at, head.size, "\r\n\r\n", 4);
    struct slice rest = slice_from(head, (size_t)(end - head.at) + 4);

    traffic->out += rest.size;
    return rest.size == 0 || send(server, rest.at, rest.size, MSG_NOSIGNAL) == (ssize_t)rest.size;
}

static void serve(struct proxy *proxy, int client)
{
    struct traffic traffic = {.connections = 1};
    struct proxy_target target;
    char head[HEAD_MAX];
    size_t size;
    bool exact;

    if (!read_head(proxy, client, head, &size))
        return;
    int status = proxy_parse((struct slice){head, size}, &target);
    if (status != 200) {
        answer(client, status, status == 405 ? "Only CONNECT is served" : "Bad Request");
        return;
    }
    OWNED(fd_drop) int server = -1;
    if (!proxy_allows(&proxy->work->spec.options.allow, &target, &exact))
        status = 403;
    else
        server = connect_target(proxy, &target, exact, &status);
    if (server < 0) {
        account(proxy, &target, &(struct traffic){.refused = 1});
        answer(client, status, status == 403 ? "Not allowed to builds" : "Bad Gateway");
        return;
    }
    answer(client, 200, "");
    if (pass_rest(server, (struct slice){head, size}, &traffic))
        relay(proxy, client, server, &traffic);
    account(proxy, &target, &traffic);
}

static void proxy_free(struct proxy **proxy)
{
    struct proxy *it = *proxy;

    if (it == NULL)
        return;
    fd_drop(&it->listener);
    fd_drop(&it->wake);
    fd_drop(&it->network);
    pthread_mutex_destroy(&it->lock);
    pthread_cond_destroy(&it->idle);
    free(it);
}

static void *connection_thread(void *arg)
{
    struct connection *connection = arg;
    struct proxy *proxy = connection->proxy;

    serve(proxy, connection->client);
    close(connection->client);
    free(connection);
    pthread_mutex_lock(&proxy->lock);
    bool last = --proxy->connections == 0 && proxy->closing;
    pthread_cond_signal(&proxy->idle);
    pthread_mutex_unlock(&proxy->lock);
    if (last)
        proxy_free(&proxy);
    return NULL;
}

/* --- all of them --- */

static void accept_one(struct proxy *proxy)
{
    pthread_attr_t detached;
    pthread_t thread;
    int client = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);

    if (client < 0)
        return;
    pthread_mutex_lock(&proxy->lock);
    bool room = proxy->connections < CONNECTIONS_MAX;
    proxy->connections += room;
    pthread_mutex_unlock(&proxy->lock);
    if (!room) {
        answer(client, 503, "Too many connections");
        close(client);
        return;
    }
    struct connection *connection = memory_new(sizeof(*connection));
    *connection = (struct connection){proxy, client};
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &detached, connection_thread, connection) != 0) {
        close(client);
        free(connection);
        pthread_mutex_lock(&proxy->lock);
        proxy->connections--;
        pthread_mutex_unlock(&proxy->lock);
    }
    pthread_attr_destroy(&detached);
}

static void *accept_thread(void *arg)
{
    struct proxy *proxy = arg;
    struct pollfd one = {.fd = proxy->listener, .events = POLLIN};

    while (wait_for(proxy, &one, 1, -1))
        accept_one(proxy);
    return NULL;
}

/* --- the namespace: made by a thread that ends in it --- */

static bool lo_up(void)
{
    OWNED(fd_drop) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};

    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return false;
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static void *namespace_thread(void *arg)
{
    struct proxy *proxy = arg;
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    if (unshare(CLONE_NEWNET) < 0 || !lo_up())
        return NULL;
    OWNED(fd_drop) int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 ||
        bind(listener, (const struct sockaddr *)(const void *)&address, sizeof(address)) < 0 ||
        listen(listener, CONNECTIONS_MAX) < 0)
        return NULL;
    proxy->network = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (proxy->network >= 0)
        proxy->listener = fd_take(&listener);
    return NULL;
}

int proxy_open(struct work *work, struct proxy **out, int *network_namespace, struct error *err)
{
    OWNED(proxy_free) struct proxy *proxy = memory_new(sizeof(*proxy));
    pthread_t thread;

    *proxy = (struct proxy){.work = work, .listener = -1, .network = -1};
    pthread_mutex_init(&proxy->lock, NULL);
    pthread_cond_init(&proxy->idle, NULL);
    proxy->wake = eventfd(0, EFD_CLOEXEC);
    if (proxy->wake < 0 || pthread_create(&thread, NULL, namespace_thread, proxy) != 0)
        return error_set(err, ERROR_UNAVAILABLE, "no thread for the proxy");
    pthread_join(thread, NULL);
    if (proxy->listener < 0)
        return error_set(err, ERROR_UNAVAILABLE, "no network namespace for the proxy");
    if (pthread_create(&proxy->thread, NULL, accept_thread, proxy) != 0)
        return error_set(err, ERROR_UNAVAILABLE, "no thread for the proxy");
    *network_namespace = proxy->network;
    *out = TAKE(proxy);
    return 0;
}

void proxy_close(struct proxy *proxy)
{
    const uint64_t one = 1;

    if (proxy == NULL)
        return;
    if (write(proxy->wake, &one, sizeof(one)) < 0)
        abort(); /* an eventfd at one takes another */
    pthread_join(proxy->thread, NULL);
    pthread_mutex_lock(&proxy->lock);
    while (proxy->connections > proxy->resolving)
        pthread_cond_wait(&proxy->idle, &proxy->lock);
    tell(proxy);
    proxy->closing = true;
    bool last = proxy->connections == 0;
    pthread_mutex_unlock(&proxy->lock);
    if (last)
        proxy_free(&proxy);
}

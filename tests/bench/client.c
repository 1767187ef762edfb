/* client.c - one keep-alive HTTP/1.1 connection of the load.
 * Touches  its socket.
 * Never    waits, save in connect; never looks at a body.
 *
 * A reply's body is dropped with MSG_TRUNC, so that pulling costs the load next to nothing and what
 * is measured is the server. A chunked body is read, for its end must be seen. */
#include "tests/bench/client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIECES = 4, DISCARD = 4 << 20 };

int client_connect(struct client *client)
{
    int on = 1;

    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return -1;
    if (connect(client->fd, (struct sockaddr *)&client->address, sizeof client->address) < 0) {
        client_close(client);
        return -1;
    }
    return setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void client_close(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
}

/* How far the body may be sent by now. */
static uint64_t allowance(const struct client *client, uint64_t now_ns)
{
    if (client->pace_bytes_s == 0)
        return client->body_length;

    double elapsed_s = (double)(now_ns - client->started_ns) / 1e9;
    uint64_t allowed = (uint64_t)(elapsed_s * (double)client->pace_bytes_s);

    return allowed < client->body_length ? allowed : client->body_length;
}

static const char *body_at(const struct client *client, uint64_t offset, size_t *length)
{
    if (client->text == NULL)
        return content_at(client->content, offset, length);
    *length = client->body_length - offset;
    return client->text + offset;
}

/* Gathers what may be sent next from head and body. Returns the number of pieces. */
static size_t gather(const struct client *client, uint64_t allowed, struct iovec *pieces)
{
    size_t count = 0;
    uint64_t offset = client->sent;

    if (offset < client->head_length) {
        pieces[count].iov_base = (void *)(uintptr_t)(client->head + offset);
        pieces[count++].iov_len = client->head_length - offset;
        offset = client->head_length;
    }
    for (offset -= client->head_length; count < PIECES && offset < allowed; count++) {
        size_t length = 0;
        const char *bytes = body_at(client, offset, &length);

        if (length > allowed - offset)
            length = allowed - offset;
        pieces[count] = (struct iovec){(void *)(uintptr_t)bytes, length};
        offset += length;
    }
    return count;
}

/* Sends until all is out, the socket is full or the pace says stop. -1 when the socket broke. */
static int send_more(struct client *client, uint64_t now_ns)
{
    uint64_t allowed = allowance(client, now_ns);

    while (client->sent < client->head_length + allowed) {
        struct iovec pieces[PIECES];
        struct msghdr message = {.msg_iov = pieces};

        message.msg_iovlen = gather(client, allowed, pieces);

        ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        client->sent += (uint64_t)sent;
    }
    client->paused = allowed < client->body_length;
    return 0;
}

/* Keeps path and query of a Location. */
static void keep_location(struct client *client, const char *value, size_t length)
{
    const char *authority = memmem(value, length, "://", 3);

    if (authority != NULL) {
        size_t skipped = (size_t)(authority + 3 - value);
        const char *path = memchr(value + skipped, '/', length - skipped);

        if (path == NULL)
            return;
        length -= (size_t)(path - value);
        value = path;
    }
    if (length >= sizeof client->location)
        return;
    memcpy(client->location, value, length);
    client->location[length] = '\0';
}

static bool header_is(const char *line, size_t length, const char *name)
{
    size_t wanted = strlen(name);

    return length > wanted && line[wanted] == ':' && strncasecmp(line, name, wanted) == 0;
}

static void read_header(struct client *client, const char *line, size_t length)
{
    const char *value = memchr(line, ':', length);

    if (value == NULL)
        return;
    for (value++; *value == ' '; value++)
        ;
    if (header_is(line, length, "content-length"))
        client->left = strtoull(value, NULL, 10);
    else if (header_is(line, length, "transfer-encoding"))
        client->chunked = true;
    else if (header_is(line, length, "connection"))
        client->closing = strncasecmp(value, "close", 5) == 0;
    else if (header_is(line, length, "location"))
        keep_location(client, value, length - (size_t)(value - line));
}

/* Notes the bytes of a chunked body: it is over with an empty chunk and no trailer. */
static void chunked_take(struct client *client, const char *bytes, size_t length)
{
    for (size_t i = length > sizeof client->tail ? length - sizeof client->tail : 0; i < length;
         i++) {
        memmove(client->tail, client->tail + 1, sizeof client->tail - 1);
        client->tail[sizeof client->tail - 1] = bytes[i];
    }
    if (memcmp(client->tail, "0\r\n\r\n", sizeof client->tail) == 0)
        client->left = 0;
}

/* Reads a whole head; what follows it in the buffer counts as body. */
static void read_head(struct client *client, size_t head_length)
{
    const char *line = client->reply;
    const char *end = client->reply + head_length - 2;

    client->status = client->filled > 12 ? (int)strtol(line + 9, NULL, 10) : 0;
    client->left = 0;
    client->chunked = client->closing = false;
    while (line < end) {
        const char *next = memmem(line, (size_t)(end - line), "\r\n", 2);
        size_t length = (size_t)((next == NULL ? end : next) - line);

        read_header(client, line, length);
        line += length + 2;
    }
    client->in_body = true;

    size_t extra = client->filled - head_length;

    if (client->no_body || client->status == 204 || client->status == 304) {
        client->left = 0;
    } else if (client->chunked) {
        client->left = UINT64_MAX;
        memset(client->tail, 0, sizeof client->tail);
        chunked_take(client, client->reply + head_length, extra);
    } else {
        client->left -= extra < client->left ? extra : client->left;
    }
}

/* One receive. 1: something came, 0: nothing to be had, -1: closed or broken. */
static int receive(struct client *client)
{
    ssize_t got = 0;

    if (client->in_body && !client->chunked) {
        size_t wanted = client->left < DISCARD ? client->left : DISCARD;

        got = recv(client->fd, NULL, wanted, MSG_TRUNC | MSG_DONTWAIT);
        if (got > 0)
            client->left -= (uint64_t)got;
    } else {
        size_t start = client->in_body ? 0 : client->filled;

        got = recv(client->fd, client->reply + start, sizeof client->reply - start, MSG_DONTWAIT);
        if (got > 0 && client->in_body)
            chunked_take(client, client->reply, (size_t)got);
        else if (got > 0)
            client->filled += (size_t)got;
    }
    if (got < 0)
        return errno == EAGAIN ? 0 : -1;
    return got > 0 ? 1 : -1;
}

static enum client_outcome receive_more(struct client *client)
{
    for (;;) {
        if (client->in_body && client->left == 0)
            return CLIENT_ANSWER;

        int got = receive(client);

        if (got <= 0)
            return got < 0 ? CLIENT_BROKEN : CLIENT_WAITS;
        if (client->in_body)
            continue;

        const char *end = memmem(client->reply, client->filled, "\r\n\r\n", 4);

        if (end != NULL)
            read_head(client, (size_t)(end - client->reply) + 4);
        else if (client->filled == sizeof client->reply)
            return CLIENT_BROKEN;
    }
}

enum client_outcome client_start(struct client *client, uint64_t now_ns)
{
    client->sent = client->filled = 0;
    client->in_body = client->paused = false;
    client->started_ns = now_ns;
    return send_more(client, now_ns) < 0 ? CLIENT_BROKEN : CLIENT_WAITS;
}

enum client_outcome client_continue(struct client *client, uint64_t now_ns)
{
    if (client->sent < client->head_length + client->body_length && send_more(client, now_ns) < 0)
        return CLIENT_BROKEN;
    return receive_more(client);
}

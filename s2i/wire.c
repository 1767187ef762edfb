/* wire.c - packets over SOCK_SEQPACKET: the kernel keeps their bounds, and passes descriptors.
 * Touches  the socket it is given.
 * Never    looks into a payload. */
#include "s2i/wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "registry/core/fd.h"

int wire_send(int socket, enum wire_kind kind, struct slice payload, int fd, struct error *err)
{
    char tag = (char)kind;
    struct iovec parts[2] = {{&tag, 1}, {(void *)(uintptr_t)payload.at, payload.size}};
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;

    assert(payload.size <= WIRE_PIECE_MAX);
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), &fd, sizeof(int));
    }
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "the other side of the build is gone");
    return 0;
}

int wire_send_text(int socket, enum wire_kind kind, struct slice text, int fd, struct error *err)
{
    if (text.size > WIRE_JSON_MAX)
        return error_set(err, ERROR_INTERNAL, "a message of %zu bytes is too long", text.size);
    while (text.size > 0) {
        size_t size = text.size < WIRE_PIECE_MAX ? text.size : WIRE_PIECE_MAX;
        if (wire_send(socket, kind, (struct slice){text.at, size}, -1, err) < 0)
            return -1;
        text = slice_from(text, size);
    }
    return wire_send(socket, kind, SLICE(""), fd, err);
}

/* The first descriptor that came is given out, others are closed. */
static int take_descriptor(struct msghdr *message)
{
    int kept = -1;

    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL;
         head = CMSG_NXTHDR(message, head)) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(int));
            if (kept < 0)
                kept = fd;
            else
                close(fd);
        }
    }
    return kept;
}

int wire_receive(int socket, char *buffer, size_t capacity, struct wire_packet *out,
                 struct error *err)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec part = {buffer, capacity};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    ssize_t got;

    do
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0 && errno == ECONNRESET)
        return 0;
    if (got < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the build's channel failed");
    OWNED(fd_drop) int fd = take_descriptor(&message);
    if (got == 0) /* the end, or a packet without a kind, which may have brought one as well */
        return 0;
    *out = (struct wire_packet){.kind = (enum wire_kind)(unsigned char)buffer[0],
                                .payload = {buffer + 1, (size_t)got - 1},
                                .fd = fd_take(&fd)};
    if ((message.msg_flags & MSG_TRUNC) == 0)
        return 1;
    if (out->fd >= 0)
        close(out->fd);
    return error_set(err, ERROR_INTERNAL, "a packet on the build's channel is too long");
}

int wire_gather(struct buffer *text, const struct wire_packet *packet, struct error *err)
{
    if (packet->payload.size == 0)
        return 1;
    if (text->size + packet->payload.size > WIRE_JSON_MAX)
        return error_set(err, ERROR_INTERNAL, "a message on the build's channel is too long");
    buffer_append_slice(text, packet->payload);
    return 0;
}

int wire_wait(int socket, int wake, int timeout_ms)
{
    struct pollfd both[2] = {{.fd = socket, .events = POLLIN}, {.fd = wake, .events = POLLIN}};
    int ready;

    do
        ready = poll(both, 2, timeout_ms);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0)
        return 0;
    return both[1].revents != 0 ? 2 : 1; /* a flood does not hide what else there is */
}

/* test_wire.c - packets between server and builder, also such as no builder of ours sends. */
#include "s2i/wire.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/unit.h"

struct ends {
    int channel[2], pipe[2];
};

static void ends_open(struct ends *ends)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends->channel), 0);
    assert_int_equal(pipe2(ends->pipe, O_CLOEXEC | O_NONBLOCK), 0);
}

/* So many bytes with a descriptor, which the sender closes then. */
static void send_bytes(int socket, const char *bytes, size_t size, int fd)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);

    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &fd, sizeof(int));
    assert_int_equal(sendmsg(socket, &message, MSG_NOSIGNAL), size);
    close(fd);
}

static void test_wire_gives_the_descriptor_of_a_packet(void **state)
{
    struct ends ends;
    struct wire_packet packet = {.fd = -1};
    struct error err = {0};
    char buffer[16], byte;

    (void)state;
    ends_open(&ends);
    send_bytes(ends.channel[1], "\001ab", 3, ends.pipe[1]);
    assert_int_equal(wire_receive(ends.channel[0], buffer, sizeof(buffer), &packet, &err), 1);
    assert_int_equal(packet.kind, 1);
    assert_true(slice_equal_text(packet.payload, "ab"));
    assert_int_equal(write(packet.fd, "x", 1), 1);
    assert_int_equal(read(ends.pipe[0], &byte, 1), 1);
    close(packet.fd);
    close(ends.pipe[0]);
    close(ends.channel[0]);
    close(ends.channel[1]);
}

/* A packet of no bytes looks like the end, and may bring one all the same. */
static void test_wire_keeps_no_descriptor_of_an_empty_packet(void **state)
{
    struct ends ends;
    struct wire_packet packet = {.fd = -1};
    struct error err = {0};
    char buffer[16], byte;

    (void)state;
    ends_open(&ends);
    send_bytes(ends.channel[1], "", 0, ends.pipe[1]);
    assert_int_equal(wire_receive(ends.channel[0], buffer, sizeof(buffer), &packet, &err), 0);
    assert_int_equal(read(ends.pipe[0], &byte, 1), 0); /* nobody can write to it any more */
    close(ends.pipe[0]);
    close(ends.channel[0]);
    close(ends.channel[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wire_gives_the_descriptor_of_a_packet),
        cmocka_unit_test(test_wire_keeps_no_descriptor_of_an_empty_packet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

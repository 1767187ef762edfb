/* hello.h - a builder that connects to a link, says what it has, and takes builds without doing
 * any: for tests of who asks for builds. */
#ifndef SLIPWAY_TESTS_SUPPORT_HELLO_H
#define SLIPWAY_TESTS_SUPPORT_HELLO_H

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "s2i/s2i_internal.h"
#include "tests/support/store.h"

/* Opens the link with an external builder of four slots. The builder's descriptor: close it, and it
 * is gone. The texts of config are the caller's to free. */
static inline int builder_connect(struct fixture *fixture, struct config *config,
                                  struct build_link **link)
{
    static const char hello[] = "h{\"slots\":4,\"level\":\"user\"}";
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
    int builder = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    buffer_print(&path, "%s/builder.sock", fixture->root);
    config->builds_builder = memory_text(SLICE("external"));
    config->builds_socket = memory_text(buffer_slice(&path));
    config->builds_folder = config->builds_socket;
    config->storage_root = fixture->root;
    OK(link_open(link, config, &fixture->err));
    assert_true(slice_to_text(buffer_slice(&path), address.sun_path, sizeof(address.sun_path)));
    assert_int_equal(connect(builder, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(builder, hello, sizeof(hello) - 1, 0), (ssize_t)sizeof(hello) - 1);
    for (int i = 0; i < 6000; i++) {
        struct builds_health health = {.enabled = true};
        link_health(*link, &health);
        if (health.able)
            return builder;
        usleep(10 * 1000);
    }
    fail_msg("the builder was not heard");
    return -1;
}

#endif

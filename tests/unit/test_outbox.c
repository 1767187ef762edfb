/* test_outbox.c - callbacks of builds: what they say, and that they are tried until they arrive. */
#include "s2i/outbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/content.h"
#include "tests/support/room.h"

static void test_build_room_callbacks_are_signed(void **state)
{
    char text[CALLBACK_SIGNATURE_MAX];

    (void)state;
    callback_sign(SLICE("Jefe"), SLICE("what do ya want for nothing?"), text); /* RFC 4231, 2 */
    assert_string_equal(text,
                        "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

static void test_build_room_callbacks_say_how_it_ended(void **state)
{
    const struct {
        enum build_state state;
        const char *reason, *digest, *config, *body;
    } cases[] = {
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":{\"a\":\"b\"}}}",
         "{\"success\":true,\"labels\":{\"a\":\"b\"},\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":{}}}",
         "{\"success\":true,\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_COMPLETE, "", "sha256:1", "{\"config\":{\"Labels\":7}}",
         "{\"success\":true,\"build\":5,\"digest\":\"sha256:1\"}"},
        {BUILD_FAILED, "AssembleFailed", "", NULL,
         "{\"success\":false,\"build\":5,\"reason\":\"AssembleFailed\"}"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(memory_drop) char *reason = memory_text(slice_of(cases[i].reason));
        OWNED(memory_drop) char *digest = memory_text(slice_of(cases[i].digest));
        const struct build_record record = {
            .id = 5, .state = cases[i].state, .reason = reason, .result_digest = digest};
        OWNED(memory_drop) char *body = callback_body(&record, cases[i].config);
        assert_string_equal(body, cases[i].body);
    }
}

/* What times out is interrupted when the process was stopped for a while. */
static int accept_patiently(int socket)
{
    int connection;

    do
        connection = accept(socket, NULL, NULL);
    while (connection < 0 && errno == EINTR);
    return connection;
}

/* A receiver: closes the first connection without a word, answers the second. */
struct receiver {
    int socket;
    pthread_t thread;
    atomic_uint heard;
    char said[2][4096];
};

static void *receive(void *arg)
{
    struct receiver *receiver = arg;
    static const char answer[] = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

    for (int i = 0; i < 2; i++) {
        int connection = accept_patiently(receiver->socket);
        size_t size = 0;
        while (size + 1 < sizeof(receiver->said[i]) && strchr(receiver->said[i], '}') == NULL) {
            ssize_t got =
                read(connection, receiver->said[i] + size, sizeof(receiver->said[i]) - 1 - size);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                break;
            size += (size_t)got;
        }
        if (i == 1 && write(connection, answer, sizeof(answer) - 1) < 0)
            size = 0;
        atomic_fetch_add(&receiver->heard, size > 0 ? 1 : 0);
        close(connection);
    }
    return NULL;
}

enum { SPEC_SIZE = 200 };
static const char LAST_TRY[] =
    "INSERT INTO build_messages(build_id, kind, destination, state, tries, due_at)"
    "     VALUES (1, 1, 'http://127.0.0.1', 6, 2, 1)";
static char receiver_port[16], *receiver_ports[] = {receiver_port};
static char *http_only[] = {(char *)(uintptr_t) "http"};
static char *loopback[] = {(char *)(uintptr_t) "127.0.0.1"};

/* Builds may call the receiver, which listens from now on; spec: of one that does. */
static void allow(struct room *room, struct receiver *receiver, char spec[SPEC_SIZE])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    receiver->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(receiver->socket, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(receiver->socket, 4), 0);
    assert_int_equal(getsockname(receiver->socket, (struct sockaddr *)&address, &size), 0);
    snprintf(receiver_port, sizeof(receiver_port), "%u", ntohs(address.sin_port));
    room->config.builds_sources_schemes = (struct config_list){http_only, 1};
    room->config.builds_sources_ports = (struct config_list){receiver_ports, 1};
    room->config.builds_sources_allow = (struct config_list){loopback, 1};
    snprintf(spec, SPEC_SIZE, "{\"options\":{\"callback_url\":\"http://127.0.0.1:%s/x\"}}",
             receiver_port);
}

static void answer(struct receiver *receiver)
{
    const struct timeval patience = {.tv_sec = 120}; /* for one that never comes */

    setsockopt(receiver->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(pthread_create(&receiver->thread, NULL, receive, receiver), 0);
}

/* outbox (1): also the last one. One that is over before, on a machine that stood still, has
 * another problem. */
static void test_build_room_callbacks_that_a_close_cuts_short(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    OWNED(build_told_drop) struct build_told_list told = {.count = 0};
    char spec[SPEC_SIZE];

    allow(room, &receiver, spec);
    int64_t id = add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, LAST_TRY);
    open_room(room);
    struct pollfd called = {.fd = receiver.socket, .events = POLLIN};
    assert_int_equal(poll(&called, 1, 120 * 1000), 1);
    builds_close(room->builds);
    room->builds = NULL;
    close(receiver.socket);
    OK(build_told_list(fixture->store, id, &told, &fixture->err));
    assert_int_equal(told.count, 1);
    assert_null(strstr(told.items[0].problem, "stopped"));
}

/* What is told comes too late to be written, and the receiver is not told again for it. */
static void test_build_room_callbacks_that_cannot_be_settled(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    char spec[SPEC_SIZE];

    allow(room, &receiver, spec);
    answer(&receiver);
    add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, LAST_TRY);
    script(fixture, "CREATE TRIGGER full BEFORE UPDATE ON build_messages"
                    " BEGIN SELECT RAISE(ABORT, 'full'); END");
    open_room(room);
    for (int i = 0; i < 6000 && atomic_load(&receiver.heard) == 0; i++)
        poll(NULL, 0, 10);
    poll(NULL, 0, 300);
    shutdown(receiver.socket, SHUT_RDWR); /* ends the wait for a second one */
    pthread_join(receiver.thread, NULL);
    close(receiver.socket);
    assert_int_equal(atomic_load(&receiver.heard), 1);
}

/* Upstream's second try may send nothing; ours says it all again, and is signed. */
static void test_build_room_callbacks_are_tried_again(void **state)
{
    struct room *room = *state;
    struct fixture *fixture = room->fixture;
    struct receiver receiver = {.socket = -1};
    char spec[SPEC_SIZE], signature[CALLBACK_SIGNATURE_MAX];
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    struct build_config_change change = {.repository = REPOSITORY};
    bool created;

    allow(room, &receiver, spec);
    answer(&receiver);
    change.spec = (struct slice){spec + 11, strlen(spec) - 12}; /* the options alone */
    open_room(room);
    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_CALLBACK, SLICE("old"),
                        SLICE("one"), NULL, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_CALLBACK, SLICE("new"),
                        SLICE("two"), NULL, &fixture->err));
    int64_t id = add(fixture, BUILD_PENDING, BUILD_FROM_URL, spec);
    script(fixture, "INSERT INTO build_messages(build_id, kind, destination, state)"
                    " VALUES (1, 1, 'http://127.0.0.1', 1)");
    OK(builds_cancel(room->builds, id, SLICE("ana"), SLICE_NONE, NULL, &fixture->err));
    pthread_join(receiver.thread, NULL);
    close(receiver.socket);
    static const char body[] = "{\"success\":false,\"build\":1,\"reason\":\"CancelledBuild\"}";
    callback_sign(SLICE("two"), slice_of(body), signature);
    for (int i = 0; i < 2; i++) {
        assert_non_null(strstr(receiver.said[i], "POST /x HTTP/1.1"));
        assert_non_null(strstr(receiver.said[i], body));
        assert_non_null(strstr(receiver.said[i], "application/json"));
        assert_non_null(strstr(receiver.said[i], signature));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_room_callbacks_are_signed),
        cmocka_unit_test(test_build_room_callbacks_say_how_it_ended),
        ROOM_TEST(test_build_room_callbacks_that_a_close_cuts_short),
        ROOM_TEST(test_build_room_callbacks_that_cannot_be_settled),
        ROOM_TEST(test_build_room_callbacks_are_tried_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

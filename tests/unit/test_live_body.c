/* test_live_body.c - bodies that are written into a pipe while they come. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tests/support/live.h"

/* The server's end of the connection: it lives in this process. */
static int other_end(const struct client *client)
{
    struct sockaddr_in here, there;
    socklen_t size = sizeof(here);

    assert_int_equal(getsockname(client->fd, (struct sockaddr *)&here, &size), 0);
    for (int fd = 3; fd < 1024; fd++) {
        size = sizeof(there);
        if (getpeername(fd, (struct sockaddr *)&there, &size) == 0 && size == sizeof(there) &&
            there.sin_family == AF_INET && there.sin_port == here.sin_port)
            return fd;
    }
    fail_msg("the server does not know this client");
    return -1;
}

/* Bytes that wait to be read at this end. */
static int unread(int fd)
{
    int size = 0;

    assert_int_equal(ioctl(fd, FIONREAD, &size), 0);
    return size;
}

/* Another client is answered: the turn that the server's only loop was at is over. */
static void end_turn(struct client *other)
{
    char answer[ANSWER_MAX];

    say(other, GET_PLAIN);
    hear(other, "\r\n\r\nplain", answer);
}

/* Does the server let what this client sent lie, for a whole turn? */
static bool is_held_back(const struct client *client, struct client *other)
{
    int waits = unread(other_end(client)), piped = unread(scene.consumer);

    end_turn(other);
    return waits > 0 && unread(scene.consumer) == piped;
}

/* Sends until the server reads no more: the pipe is full. What waits to be read is little, so that
 * the kernel has room for the end of the connection behind it. */
static void say_until_full(struct client *client, struct client *other)
{
    static const char bytes[4096];
    int fd = other_end(client);

    while (!is_held_back(client, other))
        if (unread(fd) == 0)
            assert_true(client_write(client, bytes, sizeof(bytes)));
}

/* Also while the pipe is full and bytes of the client wait to be read. */
static void test_a_client_that_goes_in_its_body_is_noticed(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (int full = 0; full < 2; full++) {
        struct server *server = serve(false);
        struct client client = dial(server, false), other = dial(server, false);
        ask(&client, POST_PUSH, answer);
        say(&client, "40000\r\n");
        if (full)
            say_until_full(&client, &other);
        hang_up(&client);
        expect_released(1);
        hang_up(&other);
        end(server);
    }
}

struct flood {
    struct client client;
    size_t size;
    bool chunked;
};

static uint32_t pattern(size_t at)
{
    return (uint32_t)(at * 2654435761u);
}

/* The body in pieces that are no multiple of anything. */
static void *flood(void *argument)
{
    enum { PIECE = 9973 * 4 };
    struct flood *work = argument;
    static _Thread_local uint32_t bytes[PIECE / 4];

    for (size_t at = 0; at < work->size;) {
        size_t size = work->size - at < PIECE ? work->size - at : PIECE;
        char head[32];
        for (size_t i = 0; i < (size + 3) / 4; i++)
            bytes[i] = pattern(at / 4 + i);
        snprintf(head, sizeof(head), "%zx\r\n", size);
        if ((work->chunked && !client_write(&work->client, head, strlen(head))) ||
            !client_write(&work->client, bytes, size) ||
            (work->chunked && !client_write(&work->client, "\r\n", 2)))
            break;
        at += size;
    }
    if (work->chunked)
        client_write(&work->client, "0\r\n\r\n", 5);
    return NULL;
}

/* Reads the chunks of a reply; true when they are the flood. */
static bool flood_heard(struct client *client, size_t wanted)
{
    static uint32_t words[16384];
    char *bytes = (char *)words, line[32];
    size_t total = 0, filled = 0;

    for (;;) {
        size_t used = 0;
        do
            if (client_read(client, line + used, 1) != 1)
                return false;
        while (line[used++] != '\n' && used < sizeof(line) - 1);
        line[used] = 0;
        size_t left = strtoul(line, NULL, 16);
        if (left == 0)
            break;
        while (left > 0) {
            size_t room = sizeof(words) - filled;
            ssize_t got = client_read(client, bytes + filled, left < room ? left : room);
            if (got <= 0)
                return false;
            left -= (size_t)got;
            filled += (size_t)got;
            if (filled < sizeof(words))
                continue;
            for (size_t i = 0; i < LENGTH(words); i++)
                if (words[i] != pattern(total / 4 + i))
                    return false;
            total += filled;
            filled = 0;
        }
        if (client_read(client, line, 1) != 1 || client_read(client, line, 1) != 1)
            return false;
    }
    expect_heard(client, "\r\n");
    for (size_t i = 0; i < filled / 4; i++)
        if (words[i] != pattern(total / 4 + i))
            return false;
    return total + filled == wanted;
}

static void echoed(bool tls, bool chunked, size_t size)
{
    struct server *server = serve(tls);
    struct client client = dial(server, tls);
    struct flood work = {client, size, chunked};
    char head[256], answer[ANSWER_MAX];
    pthread_t thread;

    snprintf(head, sizeof(head), "POST /echo HTTP/1.1\r\nHost: a\r\n%s: ",
             chunked ? "Transfer-Encoding" : "Content-Length");
    snprintf(head + strlen(head), 64, chunked ? "chunked\r\n\r\n" : "%zu\r\n\r\n", size);
    ask(&client, head, answer);
    if (tls) { /* one SSL is for one thread at a time */
        flood(&work);
        assert_true(flood_heard(&client, size));
    } else {
        pthread_create(&thread, NULL, flood, &work);
        assert_true(flood_heard(&client, size));
        pthread_join(thread, NULL);
    }
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

/* Body and reply move at the same time: none of this fits into any buffer on the way. */
static void test_a_body_is_echoed_while_it_comes(void **state)
{
    (void)state;
    echoed(false, false, 32 * MIB + 4);
    echoed(false, true, 32 * MIB);
    echoed(true, false, 64 * 1024 + 8);
    echoed(true, true, 64 * 1024);
    echoed(false, false, 0);
}

static void test_expect_continue_is_honoured(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client,
        "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        answer);
    assert_string_equal(answer, "HTTP/1.1 100 Continue\r\n\r\n");
    hear(&client, "\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    produce("first");
    expect_heard(&client, "5\r\nfirst\r\n");
    say(&client, "hello");
    consume("hello");
    assert_int_equal(read(scene.consumer, answer, 1), 0); /* closed at the body's end */
    produce("last");
    expect_heard(&client, "4\r\nlast\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    hang_up(&client);
    end(server);
}

/* A refusal by the head alone spares the client its body. */
static void test_a_pipe_may_be_refused(void **state)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {{"/refuse", 404}, {"/answer", 200}};
    char text[256], answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct server *server = serve(false);
        struct client client = dial(server, false);
        snprintf(text, sizeof(text),
                 "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                 "Expect: 100-continue\r\n\r\n",
                 cases[i].path);
        ask(&client, text, answer);
        assert_int_equal(strtol(answer + 9, NULL, 10), cases[i].status);
        hang_up(&client);
        end(server);
    }
}

/* Nobody reads the body: the client cannot send without bounds, and no time runs against it. */
static void test_a_full_pipe_holds_the_client_back(void **state)
{
    static const char bytes[65536];
    struct server *server = serve_with(false, (struct times){100, 60000, 100});
    struct client client = dial(server, false), other = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    size_t sent = 0, heard = 0;
    ssize_t put;

    (void)state;
    loop_stop();
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 134217728\r\n\r\n", answer);
    say(&client, "hello");
    consume("hello");
    end_turn(&other); /* time runs against the client, until the pipe is full */
    do {
        put = send(client.fd, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += put > 0 ? (size_t)put : 0;
    } while (sent < 32 * MIB && (put > 0 || !is_held_back(&client, &other)));
    for (int i = 0; i < 10; i++) { /* in all three times the body's idle time */
        loop_move(30);
        assert_true(is_held_back(&client, &other));
    }
    assert_in_range(sent, 65536, 32 * MIB - 1);
    assert_int_equal(told(&scene.ended), 0);
    while (heard < sent) {
        ssize_t more = read(scene.consumer, got, sizeof(got));
        assert_true(more > 0);
        heard += (size_t)more;
    }
    loop_go_on();
    expect_released(1); /* and now it stalls */
    hang_up(&client);
    hang_up(&other);
    end(server);
}

/* Bytes that come now and then are no progress; the body that goes on is not disturbed. */
static void test_a_body_that_drips_is_given_up(void **state)
{
    static const char much[5000];
    struct server *server = serve_with(false, (struct times){500, 60000, 100});
    struct client client = dial(server, false), other = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    loop_stop();
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", answer);
    for (int i = 0; i < 7; i++, loop_move(100)) {
        assert_int_equal(send(client.fd, much, sizeof(much), MSG_NOSIGNAL), sizeof(much));
        for (size_t got = 0; got < sizeof(much);) {
            ssize_t more = read(scene.consumer, answer, sizeof(much) - got);
            assert_true(more > 0);
            got += (size_t)more;
        }
        end_turn(&other); /* a loop that is still at it takes the next at the same time */
    }
    assert_int_equal(told(&scene.ended), 0);
    for (int i = 0; i < PATIENCE_MS / 50 && told(&scene.ended) == 0; i++, usleep(50000)) {
        (void)send(client.fd, "x", 1, MSG_NOSIGNAL);
        loop_move(50);
    }
    assert_int_equal(told(&scene.ended), 1); /* while it drips, not when it stops */
    expect_released(1);
    hang_up(&client);
    hang_up(&other);
    end(server);
}

static void test_a_body_that_is_malformed_breaks_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, POST_PUSH, answer);
    say(&client, "2\r\nhixx");
    expect_end(&client);
    expect_released(1);
    consume("hi");
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    hang_up(&client);
    end(server);
}

/* What was sent has left the kernel's buffers: a busy machine may leave megabytes there. */
static void wait_until_taken(const struct client *client)
{
    int fd = other_end(client), left = 1;

    for (int ms = 0; ms < PATIENCE_MS && left > 0; ms++) {
        int sending = 0;
        assert_int_equal(ioctl(client->fd, TIOCOUTQ, &sending), 0);
        assert_int_equal(ioctl(fd, FIONREAD, &left), 0);
        left += sending;
        usleep(1000);
    }
    assert_int_equal(left, 0);
}

/* The reply goes on; the rest of the body is thrown away, and the connection serves on. */
static void test_a_reader_that_closes_early_ends_the_body_alone(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    struct flood work = {client, 4 * MIB, true};
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, POST_PUSH, answer);
    fd_drop(&scene.consumer);
    flood(&work);
    wait_until_taken(&client);
    produce("refused");
    expect_heard(&client, "7\r\nrefused\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

static void test_a_reply_may_end_before_its_body(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "POST /push HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n", answer);
    say(&client, "hello");
    consume("hello");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    expect_released(0);
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    say(&client, "world");
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

/* A body under way has a place; a reply that goes on without one has none. */
static void test_a_place_is_free_at_the_end_of_the_body(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 60000, 1});
    struct client first = dial(server, false), second = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    loop_stop(); /* who stands still for longer gives way */
    ask(&first, POST_PUSH, answer);
    ask(&second, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 503 "));
    hang_up(&second);
    say(&first, "0\r\n\r\n");
    assert_int_equal(read(scene.consumer, answer, 1), 0);
    second = dial(server, false);
    ask(&second, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    hang_up(&second);
    hang_up(&first);
    expect_released(1);
    end(server);
}

/* One address with many bodies does not lock others out. */
static void test_a_piped_body_gives_way_to_another_address(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 60000, 2});
    struct client first = dial(server, false), second = dial(server, false);
    struct client other = dial_from("127.0.0.2", server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&first, POST_PUSH, answer);
    ask(&second, POST_PUSH, answer);
    ask(&other, POST_PUSH, answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 "));
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 1);
    expect_end(&first); /* it stood still for longest */
    hang_up(&first);
    hang_up(&second);
    hang_up(&other);
    end(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_that_goes_in_its_body_is_noticed),
        cmocka_unit_test(test_a_body_is_echoed_while_it_comes),
        cmocka_unit_test(test_expect_continue_is_honoured),
        cmocka_unit_test(test_a_pipe_may_be_refused),
        cmocka_unit_test(test_a_full_pipe_holds_the_client_back),
        cmocka_unit_test(test_a_body_that_drips_is_given_up),
        cmocka_unit_test(test_a_body_that_is_malformed_breaks_off),
        cmocka_unit_test(test_a_reader_that_closes_early_ends_the_body_alone),
        cmocka_unit_test(test_a_reply_may_end_before_its_body),
        cmocka_unit_test(test_a_place_is_free_at_the_end_of_the_body),
        cmocka_unit_test(test_a_piped_body_gives_way_to_another_address),
    };

    signal(SIGPIPE, SIG_IGN); /* as main does */
    return cmocka_run_group_tests(tests, certificate_new, certificate_drop);
}

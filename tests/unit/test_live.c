/* test_live.c - replies that go on: as they come, to clients that go or are slow, to the end of the
 * server. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/live.h"

/* --- replies --- */

static void live_as_it_comes(bool tls)
{
    struct server *server = serve(tls);
    struct client client = dial(server, tls);
    char answer[ANSWER_MAX];

    ask(&client, GET_LIVE, answer);
    assert_non_null(strstr(answer, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(answer, "\r\nTransfer-Encoding: chunked\r\n"));
    assert_null(strstr(answer, "Content-Length"));
    assert_null(strstr(answer, "Connection:"));
    produce("one");
    expect_heard(&client, "3\r\none\r\n");
    say(&client, GET_PLAIN); /* waits for its turn, and is not a client that goes */
    produce("and twenty");
    expect_heard(&client, "a\r\nand twenty\r\n");
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hear(&client, "\r\n\r\nplain", answer);
    ask(&client, GET_LIVE, answer);
    end_reply();
    expect_heard(&client, "0\r\n\r\n");
    hang_up(&client);
    end(server);
}

static void test_a_live_reply_is_sent_as_it_comes(void **state)
{
    (void)state;
    live_as_it_comes(false);
    live_as_it_comes(true);
}

static void test_an_old_client_reads_until_the_connection_ends(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /live HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", answer);
    assert_null(strstr(answer, "Transfer-Encoding"));
    assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
    produce("all of it");
    expect_heard(&client, "all of it");
    end_reply();
    expect_end(&client);
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hang_up(&client);
    end(server);
}

/* The last chunk is missing: no client takes it for whole. */
static void test_a_producer_that_failed_breaks_the_reply_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /half HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    produce("begun");
    expect_heard(&client, "5\r\nbegun\r\n");
    end_reply();
    expect_end(&client);
    expect_released(1);
    hang_up(&client);
    end(server);
}

static void test_head_has_no_body(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "HEAD /live HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    assert_non_null(strstr(answer, "\r\nTransfer-Encoding: chunked\r\n"));
    expect_released(0);
    ask(&client, GET_PLAIN, answer);
    hang_up(&client);
    end(server);
}

static void test_a_handler_that_fails_after_all_lets_go(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, "GET /fail HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    assert_non_null(strstr(answer, "HTTP/1.1 404 "));
    expect_released(1);
    hang_up(&client);
    end(server);
}

/* --- clients that go --- */

static void leave_by_close(struct client *client)
{
    hang_up(client);
}

static void leave_by_half(struct client *client)
{
    shutdown(client->fd, SHUT_WR);
}

static void leave_by_reset(struct client *client)
{
    static const struct linger at_once = {.l_onoff = 1};

    setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    hang_up(client);
}

static void leave_with_bytes_unread(struct client *client)
{
    say(client, GET_PLAIN);
    shutdown(client->fd, SHUT_WR);
}

static void (*const leavings[])(struct client *) = {leave_by_close, leave_by_half, leave_by_reset,
                                                    leave_with_bytes_unread};

/* Nothing is being sent, nothing else is heard of the client. Spec: s2i 13.25. */
static void test_a_client_that_goes_is_noticed_at_once(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < 2 * LENGTH(leavings); i++) {
        bool tls = i >= LENGTH(leavings);
        struct server *server = serve(tls);
        struct client client = dial(server, tls);
        ask(&client, GET_LIVE, answer);
        leavings[i % LENGTH(leavings)](&client);
        expect_released(1);
        assert_int_equal(write(scene.producer, "x", 1), -1);
        assert_int_equal(errno, EPIPE);
        if (client.fd >= 0)
            hang_up(&client);
        end(server);
    }
}

/* --- back-pressure of the reply --- */

/* Writes until nothing is taken any more for a while, or the reader is gone. */
static size_t produce_until_full(void)
{
    static const char bytes[65536];
    size_t total = 0;
    ssize_t put;

    fcntl(scene.producer, F_SETFL, O_NONBLOCK);
    for (int quiet = 0; quiet < 10;) {
        put = write(scene.producer, bytes, sizeof(bytes));
        if (put < 0 && errno == EPIPE)
            break;
        total += put > 0 ? (size_t)put : 0;
        quiet = put > 0 ? 0 : quiet + 1;
        if (put <= 0)
            usleep(10000);
    }
    return total;
}

static void test_a_slow_client_holds_the_producer_back(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    size_t heard = 0;
    ssize_t more;

    (void)state;
    ask(&client, "GET /live HTTP/1.0\r\n\r\n", answer);
    size_t total = produce_until_full();
    assert_in_range(total, 65536, 32 * MIB);
    end_reply();
    while ((more = client_read(&client, got, sizeof(got))) > 0)
        heard += (size_t)more;
    assert_int_equal(heard, total);
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 0);
    hang_up(&client);
    end(server);
}

static void test_a_client_that_takes_nothing_is_given_up(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 100, 100});
    struct client client = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, GET_LIVE, answer);
    usleep(150000); /* silence of the producer is not the client's */
    assert_int_equal(told(&scene.ended), 0);
    while (told(&scene.ended) == 0)
        produce_until_full();
    expect_released(1);
    hang_up(&client);
    end(server);
}

static void *produce_much(void *argument)
{
    static const char bytes[8 * MIB];

    (void)argument;
    return fd_write(scene.producer, (struct slice){bytes, sizeof(bytes)}) == 0 ? &scene : NULL;
}

/* A client that was slow and has caught up is not waited for. */
static void test_time_runs_only_while_the_client_has_to_take(void **state)
{
    struct server *server = serve_with(false, (struct times){60000, 100, 100});
    struct client client = dial(server, false);
    char answer[ANSWER_MAX], got[65536];
    pthread_t thread;
    void *written;

    (void)state;
    loop_stop(); /* while it has to */
    ask(&client, "GET /live HTTP/1.0\r\n\r\n", answer);
    pthread_create(&thread, NULL, produce_much, NULL);
    usleep(30000);
    for (size_t heard = 0; heard < 8 * MIB;) {
        ssize_t more = client_read(&client, got, sizeof(got));
        assert_true(more > 0);
        heard += (size_t)more;
    }
    pthread_join(thread, &written);
    assert_non_null(written);
    loop_go_on();
    usleep(350000); /* more than three times the write idle time */
    assert_int_equal(told(&scene.ended), 0);
    produce("x");
    expect_heard(&client, "x");
    end_reply();
    hang_up(&client);
    end(server);
}

/* --- shutdown --- */

static void *drain(void *server)
{
    server_drain(server, PATIENCE_MS);
    return NULL;
}

/* A follower comes again elsewhere; what has work to end may end it. */
static void test_draining_waits_for_live_replies_but_not_for_followers(void **state)
{
    struct server *server = serve(false);
    struct client follower = dial(server, false), pusher = dial(server, false);
    char answer[ANSWER_MAX];
    pthread_t thread;

    (void)state;
    ask(&follower, "GET /follow HTTP/1.1\r\nHost: a\r\n\r\n", answer);
    ask(&pusher, POST_PUSH, answer);
    pthread_create(&thread, NULL, drain, server);
    expect_end(&follower); /* without the last chunk: it is not the end */
    await(&scene.ended, 1);
    assert_int_equal(told(&scene.gone), 1);
    produce("done");
    expect_heard(&pusher, "4\r\ndone\r\n");
    say(&pusher, "0\r\n\r\n");
    end_reply();
    expect_heard(&pusher, "0\r\n\r\n");
    expect_end(&pusher);
    pthread_join(thread, NULL);
    await(&scene.ended, 2);
    assert_int_equal(told(&scene.gone), 1);
    hang_up(&follower);
    hang_up(&pusher);
    server_close(server);
    scene_clear();
}

static void test_closing_breaks_live_replies_off(void **state)
{
    struct server *server = serve(false);
    struct client client = dial(server, false), other = dial(server, false);
    char answer[ANSWER_MAX];

    (void)state;
    ask(&client, GET_LIVE, answer);
    ask(&other, POST_PUSH, answer);
    server_drain(server, 10);
    server_close(server);
    expect_end(&client);
    assert_int_equal(told(&scene.ended), 2);
    assert_int_equal(told(&scene.gone), 2);
    hang_up(&client);
    hang_up(&other);
    scene_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_live_reply_is_sent_as_it_comes),
        cmocka_unit_test(test_an_old_client_reads_until_the_connection_ends),
        cmocka_unit_test(test_a_producer_that_failed_breaks_the_reply_off),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_a_handler_that_fails_after_all_lets_go),
        cmocka_unit_test(test_a_client_that_goes_is_noticed_at_once),
        cmocka_unit_test(test_a_slow_client_holds_the_producer_back),
        cmocka_unit_test(test_a_client_that_takes_nothing_is_given_up),
        cmocka_unit_test(test_time_runs_only_while_the_client_has_to_take),
        cmocka_unit_test(test_draining_waits_for_live_replies_but_not_for_followers),
        cmocka_unit_test(test_closing_breaks_live_replies_off),
    };

    signal(SIGPIPE, SIG_IGN); /* as main does */
    return cmocka_run_group_tests(tests, certificate_new, certificate_drop);
}

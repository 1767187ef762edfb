/* test_feed.c - a reader gets all pieces, is not waited for, and is missed when it goes. */
#include "registry/core/feed.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "tests/support/unit.h"

enum { PIPE_SIZE = 4096, PIECE_SIZE = 300 * 1000 /* more than any pipe */ };

struct line {
    struct feed feed;
    int reader, epoll;
};

static int set_up(void **state)
{
    static struct line line;

    signal(SIGPIPE, SIG_IGN); /* as the program does */
    line = (struct line){.feed = FEED_NONE, .reader = -1};
    line.epoll = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(feed_open(&line.feed, PIPE_SIZE, &line.reader), 0);
    assert_int_equal(feed_watch(&line.feed, line.epoll, &line), 0);
    *state = &line;
    return 0;
}

static int tear_down(void **state)
{
    struct line *line = *state;

    feed_close(&line->feed, line->epoll);
    fd_drop(&line->reader);
    fd_drop(&line->epoll);
    return 0;
}

/* What the epoll says of it now. */
static uint32_t told(const struct line *line)
{
    struct epoll_event event = {.events = 0};

    if (epoll_wait(line->epoll, &event, 1, 0) == 1)
        assert_ptr_equal(event.data.ptr, line);
    return event.events;
}

/* Until the pipe is empty: what is not written yet is still in the piece. */
static size_t read_all(const struct line *line, char *out, size_t size)
{
    size_t written = PIECE_SIZE - (line->feed.piece.size - line->feed.start);

    while (size < written) {
        ssize_t got = read(line->reader, out + size, written - size);
        assert_true(got > 0);
        size += (size_t)got;
    }
    return size;
}

static void write_all(struct line *line)
{
    enum feed_progress progress = FEED_MOVED;

    while (progress == FEED_MOVED && line->feed.piece.size > 0)
        progress = feed_write(&line->feed);
    feed_rest(&line->feed, line->epoll, line, line->feed.piece.size > 0 ? progress : FEED_WAITS);
    assert_int_equal(progress, line->feed.piece.size > 0 ? FEED_WAITS : FEED_MOVED);
}

static void test_a_piece_in_as_many_turns_as_it_takes(void **state)
{
    struct line *line = *state;
    OWNED(memory_drop) char *wanted = memory_new(PIECE_SIZE);
    OWNED(memory_drop) char *got = memory_new(PIECE_SIZE);
    size_t size = 0, turns = 0;

    for (size_t i = 0; i < PIECE_SIZE; i++)
        wanted[i] = (char)('a' + i % 23);
    buffer_append(&line->feed.piece, wanted, PIECE_SIZE);
    line->feed.sent_ms = 0;
    for (; size < PIECE_SIZE; turns++) {
        write_all(line);
        assert_int_equal(told(line), 0); /* the pipe is full, or there is no more */
        size = read_all(line, got, size);
        assert_int_equal(told(line), line->feed.piece.size > 0 ? EPOLLOUT : 0);
    }
    assert_memory_equal(got, wanted, PIECE_SIZE);
    assert_true(turns > 1);
    assert_true(line->feed.sent_ms > 0);
}

/* Who has nothing to write is told nothing, though the pipe could take it. */
static void test_silence_wakes_nobody(void **state)
{
    struct line *line = *state;

    assert_int_equal(told(line), 0);
    feed_rest(&line->feed, line->epoll, line, FEED_WAITS);
    assert_int_equal(told(line), 0);
    feed_rest(&line->feed, line->epoll, line, FEED_MOVED); /* its turn was over */
    assert_int_equal(told(line), EPOLLOUT);
    feed_rest(&line->feed, line->epoll, line, FEED_WAITS);
    assert_int_equal(told(line), 0);
}

static void test_a_reader_that_goes(void **state)
{
    struct line *line = *state;

    fd_drop(&line->reader);
    assert_int_equal(told(line), EPOLLERR);
    buffer_append_text(&line->feed.piece, "late");
    assert_int_equal(feed_write(&line->feed), FEED_OVER);
}

/* Even while a child holds the pipe, the epoll is rid of it. */
static void test_the_end(void **state)
{
    struct line *line = *state;
    int held = dup(line->feed.fd);
    char last;

    feed_rest(&line->feed, line->epoll, line, FEED_MOVED);
    buffer_append_text(&line->feed.piece, "never written");
    feed_close(&line->feed, line->epoll);
    feed_close(&line->feed, line->epoll);
    assert_int_equal(line->feed.fd, -1);
    assert_int_equal(line->feed.piece.size, 0);
    assert_int_equal(told(line), 0);
    fd_drop(&held);
    assert_int_equal(read(line->reader, &last, 1), 0);
}

/* Ours does not wait, theirs does; neither is for children. */
static void test_the_ends_of_the_pipe(void **state)
{
    const struct line *line = *state;

    assert_true(fcntl(line->feed.fd, F_GETFL) & O_NONBLOCK);
    assert_false(fcntl(line->reader, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fcntl(line->feed.fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(line->reader, F_GETFD), FD_CLOEXEC);
}

#define FEED_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FEED_TEST(test_a_piece_in_as_many_turns_as_it_takes),
        FEED_TEST(test_silence_wakes_nobody),
        FEED_TEST(test_a_reader_that_goes),
        FEED_TEST(test_the_end),
        FEED_TEST(test_the_ends_of_the_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

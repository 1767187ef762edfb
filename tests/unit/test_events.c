/* test_events.c - the hub (s2i 13.48): what is kept, who gets what, where one goes on, and that
 * nobody who does not read costs anything. The command's reading of such a stream is at the end. */
#include "registry/events/events_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/auth_internal.h"
#include "registry/api/api.h"
#include "registry/cli/sse.h"
#include "registry/core/fd.h"
#include "storage/job.h"
#include "tests/support/unit.h"

enum { PATIENCE_MS = 60000 };
static const unsigned ALL = (1u << NEWS_KINDS) - 1;

static struct news *push(const char *repository, const char *tag)
{
    const struct news news = {.kind = NEWS_PUSH,
                              .at = 1,
                              .repository = slice_of(repository),
                              .tag = slice_of(tag),
                              .actor = SLICE("ana")};

    return news_copy(&news);
}

static struct news *job(int64_t id, enum job_state state)
{
    const struct news news = {
        .kind = NEWS_JOB, .at = 1, .id = id, .state = state, .name = SLICE("gc")};

    return news_copy(&news);
}

/* --- the ring --- */

static void test_ring_keeps_the_last(void **state)
{
    struct ring *ring = memory_new(sizeof(*ring));
    struct ring_entry *entry = NULL;
    uint64_t place = 0;

    (void)state;
    ring_open(ring);
    assert_int_equal(ring_after(ring, &place, &entry), RING_NOTHING);
    for (int i = 0; i < RING_EVENTS + 10; i++)
        ring_add(ring, push("a", "b"));
    assert_int_equal(ring_last(ring), RING_EVENTS + 10);
    assert_int_equal(ring_first(ring), 11);
    assert_int_equal(ring_after(ring, &place, &entry), RING_MISSED);
    assert_int_equal(place, 10);
    for (uint64_t number = 11; number <= RING_EVENTS + 10; number++) {
        assert_int_equal(ring_after(ring, &place, &entry), RING_EVENT);
        assert_int_equal(entry->number, number);
        ring_entry_drop(&entry);
    }
    assert_int_equal(ring_after(ring, &place, &entry), RING_NOTHING);
    ring_close(ring);
    free(ring);
}

static void test_ring_is_bounded_in_bytes(void **state)
{
    struct ring *ring = memory_new(sizeof(*ring));
    OWNED(memory_drop) char *text = memory_new(100001);
    struct ring_entry *held = NULL;
    uint64_t place;

    (void)state;
    memset(text, 'x', 100000);
    ring_open(ring);
    for (int i = 0; i < 100; i++) {
        ring_add(ring, push("a", text));
        assert_true(ring->bytes <= RING_BYTES);
    }
    assert_true(ring_first(ring) > 50 && ring_first(ring) < 80);
    place = ring_first(ring) - 1;
    assert_int_equal(ring_after(ring, &place, &held), RING_EVENT); /* outlives its place */
    for (int i = 0; i < 100; i++)
        ring_add(ring, push("a", text));
    assert_int_equal(held->news->tag.size, 100000);
    ring_entry_drop(&held);
    ring_close(ring);
    free(ring);
}

/* --- the hub --- */

static void write_news(struct buffer *out, const char *id, const struct news *news, bool people)
{
    api_event_write(out, id, news, people);
}

static struct events *hub(uint64_t each)
{
    struct events *events = events_open();
    const struct events_options options = {
        .followers_max = 10, .followers_each = each, .write = write_news};
    struct error err = {0};

    events->gather_ms = 1;
    assert_int_equal(events_start(events, &options, &err), 0);
    return events;
}

static void hub_close(struct events *events)
{
    events_stop(events);
    events_close(events);
}

static struct events_wish wish_of(struct events *events)
{
    return (struct events_wish){.who = &caller_lasting(IDENTITY_LOCAL, true)->identity,
                                .kinds = ALL,
                                .place = events_now(events)};
}

static int follow(struct events *events, const struct events_wish *wish)
{
    struct error err = {0};
    int fd = -1;

    thread_role_current = ROLE_WORKER;
    assert_worker_thread();
    assert_int_equal(events_follow(events, wish, &fd, &err), 0);
    return fd;
}

/* Reads until the text is there; NULL: until the end. */
static void read_until(int fd, struct buffer *out, const char *text)
{
    char piece[4096];
    ssize_t got = 1;

    while (got > 0) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        if (text != NULL && out->size > 0 && memmem(out->at, out->size, text, strlen(text)) != NULL)
            return;
        if (poll(&one, 1, PATIENCE_MS) != 1)
            fail_msg("no %s in %.*s", text == NULL ? "end" : text, (int)out->size, out->at);
        got = read(fd, piece, sizeof(piece));
        if (got > 0)
            buffer_append(out, piece, (size_t)got);
    }
    assert_null(text);
}

static bool has(const struct buffer *out, const char *text)
{
    return memmem(out->at, out->size, text, strlen(text)) != NULL;
}

static void test_filters(void **state)
{
    static const struct {
        unsigned kinds;
        const char *repository;
        bool app, lib, job;
    } cases[] = {
        {~0u, NULL, true, true, true},
        {1u << NEWS_PUSH, NULL, true, true, false},
        {1u << NEWS_JOB, NULL, false, false, true},
        {1u << NEWS_DELETE, NULL, false, false, false},
        {~0u, "team/app", true, false, false},
        {~0u, "team/*", true, true, false},
        {~0u, "other", false, false, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct events *events = hub(10);
        OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
        struct events_wish wish = wish_of(events);
        wish.kinds = cases[i].kinds;
        if (cases[i].repository != NULL)
            wish.repository = slice_of(cases[i].repository);
        events_told(events, push("team/app", "1"), 0);
        events_told(events, push("team/lib", "2"), 0);
        events_told(events, job(5, JOB_RUNNING), 0);
        wish.once = true;
        OWNED(fd_drop) int fd = follow(events, &wish);
        read_until(fd, &got, NULL);
        assert_int_equal(has(&got, "\"repository\":\"team/app\""), cases[i].app);
        assert_int_equal(has(&got, "\"repository\":\"team/lib\""), cases[i].lib);
        assert_int_equal(has(&got, "event: job"), cases[i].job);
        hub_close(events);
    }
}

/* A line of data whatever is in the texts, and an object. */
static void test_hostile_texts_stay_in_their_line(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    const struct events_wish wish = wish_of(events);
    OWNED(fd_drop) int fd = follow(events, &wish);
    const struct news build = {.kind = NEWS_BUILD,
                               .repository = SLICE("a"),
                               .message = SLICE("x\n\nevent: job\rdata: {}\n\n\"}"),
                               .detail = SLICE("[{\"name\":\n\"assemble\"}]")};

    (void)state;
    events_told(events, news_copy(&build), 0);
    events_told(events, push("a", "last"), 0);
    read_until(fd, &got, "\"tag\":\"last\"");
    assert_false(has(&got, "\nevent: job"));
    assert_false(has(&got, "\r"));
    assert_true(has(&got, "x\\u000a\\u000aevent: job\\u000ddata: {}\\u000a\\u000a\\\"}"));
    assert_true(has(&got, "\"stage\":\"assemble\",\"stages\":[{\"name\": \"assemble\"}]"));
    hub_close(events);
}

static void test_comes_again_where_it_was(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    struct events_wish wish = wish_of(events);
    char last[START_SIZE + 24];

    (void)state;
    for (int i = 0; i < 5; i++) {
        char tag[8];
        snprintf(tag, sizeof(tag), "t%d", i);
        events_told(events, push("a", tag), 0);
    }
    event_id_print(events, 3, last);
    wish.last = slice_of(last);
    wish.once = true;
    OWNED(fd_drop) int fd = follow(events, &wish);
    read_until(fd, &got, NULL);
    assert_false(has(&got, "\"t2\"") || has(&got, "event: gap"));
    assert_true(has(&got, "\"t3\"") && has(&got, "\"t4\""));
    hub_close(events);
}

static void test_ids(void **state)
{
    struct events *events = hub(10);
    struct error err = {0};
    char id[START_SIZE + 24];
    uint64_t place;
    bool missed;
    static const char *const wrong[] = {"",
                                        "1",
                                        "-",
                                        "-1",
                                        "zzzz-1",
                                        "0123456789abcdef",
                                        "0123456789abcdef-",
                                        "0123456789abcdef-x",
                                        "0123456789abcdef--1",
                                        "0123456789abcdef-99999999999999999999999",
                                        "0123456789ABCDEF-1",
                                        "00123456789abcdef-1"};

    (void)state;
    events_told(events, push("a", "b"), 0);
    events_told(events, push("a", "c"), 0);
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        err = (struct error){0};
        if (event_id_read(events, slice_of(wrong[i]), &place, &missed, &err) == 0)
            fail_msg("%s is taken for an id", wrong[i]);
        assert_string_equal(error_code_name(err.code), error_code_name(ERROR_INVALID));
    }
    event_id_print(events, 1, id);
    assert_int_equal(event_id_read(events, slice_of(id), &place, &missed, &err), 0);
    assert_true(place == 1 && !missed);
    event_id_print(events, 3, id); /* none that was given */
    assert_int_equal(event_id_read(events, slice_of(id), &place, &missed, &err), 0);
    assert_true(place == 2 && missed);
    assert_int_equal(event_id_read(events, SLICE("0123456789abcdef-1"), &place, &missed, &err), 0);
    assert_true(place == 2 && missed);
    hub_close(events);
}

static void test_who_does_not_read_misses_some(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    const struct events_wish wish = wish_of(events);
    OWNED(fd_drop) int fd = follow(events, &wish);

    (void)state;
    read_until(fd, &got, "\nid: ");
    for (int i = 0; i < 3 * RING_EVENTS; i++)
        events_told(events, push("team/app", "1.0"), 0);
    assert_int_equal(ring_last(&events->ring) - ring_first(&events->ring) + 1, RING_EVENTS);
    events_told(events, push("team/app", "last"), 0);
    read_until(fd, &got, "\"tag\":\"last\"");
    assert_true(has(&got, "event: gap"));
    hub_close(events);
}

static void test_what_was_lost_is_a_gap(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    const struct events_wish wish = wish_of(events);
    OWNED(fd_drop) int fd = follow(events, &wish);

    (void)state;
    events_told(events, NULL, 700);
    events_told(events, push("a", "last"), 0);
    read_until(fd, &got, "\"tag\":\"last\"");
    assert_true(has(&got, "event: gap"));
    hub_close(events);
}

static void test_one_job_until_its_end(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    struct events_wish wish = wish_of(events);

    (void)state;
    wish.job = 7;
    wish.first = SLICE("event: job\ndata: first\n\n");
    OWNED(fd_drop) int fd = follow(events, &wish);
    events_told(events, push("a", "b"), 0);
    events_told(events, job(6, JOB_DONE), 0);
    events_told(events, job(7, JOB_RUNNING), 0);
    events_told(events, job(7, JOB_FAILED), 0);
    events_told(events, job(7, JOB_RUNNING), 0);
    read_until(fd, &got, NULL);
    assert_true(has(&got, "data: first") && has(&got, "\"state\":\"failed\""));
    assert_true(has(&got, "event: end\ndata:\n\n"));
    assert_false(has(&got, "\"job\":6") || has(&got, "push"));
    hub_close(events);
}

static void test_seats(void **state)
{
    struct events *events = hub(2);
    const struct events_wish wish = wish_of(events);
    struct events_wish other = wish;
    struct error err = {0};
    int fds[2], fd = -1;

    (void)state;
    for (int i = 0; i < 2; i++)
        fds[i] = follow(events, &wish);
    assert_int_equal(events_follow(events, &wish, &fd, &err), -1);
    assert_string_equal(error_code_name(err.code), error_code_name(ERROR_TOOMANYREQUESTS));
    assert_string_equal(err.message,
                        "2 streams of events are open already, as many as one account may have");
    other.who = &caller_lasting(IDENTITY_OPEN, true)->identity;
    OWNED(fd_drop) int another = follow(events, &other);
    assert_true(another >= 0);
    close(fds[0]); /* noticed at once, though nothing is told */
    for (int i = 0; i < 12000 && fd < 0; i++) {
        err = (struct error){0};
        if (events_follow(events, &wish, &fd, &err) < 0)
            nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_true(fd >= 0);
    close(fd);
    close(fds[1]);
    hub_close(events);
}

static void test_silence_is_broken_by_comments(void **state)
{
    struct events *events = events_open();
    const struct events_options options = {
        .followers_max = 10, .followers_each = 10, .write = write_news};
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    struct error err = {0};
    struct events_wish wish = wish_of(events);
    char id[START_SIZE + 40];

    (void)state;
    events->comment_ms = 20;
    assert_int_equal(events_start(events, &options, &err), 0);
    wish.repository = SLICE("mine");
    OWNED(fd_drop) int fd = follow(events, &wish);
    events_told(events, push("other", "1"), 0); /* not for him, but no gap either */
    snprintf(id, sizeof(id), ":\nid: %s-1\n\n", events->start);
    read_until(fd, &got, id);
    assert_false(has(&got, "other"));
    hub_close(events);
}

static void test_the_end_of_the_server_ends_streams(void **state)
{
    struct events *events = hub(10);
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    const struct events_wish wish = wish_of(events);
    OWNED(fd_drop) int fd = follow(events, &wish);

    (void)state;
    hub_close(events);
    read_until(fd, &got, NULL);
    events_stop(NULL);
    events_close(NULL);
    events_close(events_open()); /* never started */
}

/* --- the command's side --- */

static void sse_keep(void *arg, struct slice name, struct slice data)
{
    buffer_print(arg, "[%.*s|%.*s]", SLICE_ARG(name), SLICE_ARG(data));
}

static void test_sse_is_read(void **state)
{
    static const struct {
        const char *stream, *events, *last;
    } cases[] = {
        {"", "", ""},
        {":comment\nid: 1\n\n", "", "1"},
        {"event: push\ndata: {}\nid: s-2\n\n", "[push|{}]", "s-2"},
        {"data:a\ndata: b\r\n\r\n", "[|a\nb]", ""},
        {"retry: 5\nevent: x\n\ndata: y\n\n", "[x|][|y]", ""},
        {"event: cut\ndata: off", "", ""},
        {"nonsense\ndata: z\n\n\n\n", "[|z]", ""},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        for (size_t step = 1; step < 8; step++) {
            OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
            OWNED(sse_drop) struct sse sse = {.take = sse_keep, .arg = &got};
            size_t size = strlen(cases[i].stream);
            for (size_t at = 0; at < size; at += step)
                sse_feed(&sse,
                         (struct slice){cases[i].stream + at, step < size - at ? step : size - at});
            assert_true(slice_equal_text(buffer_slice(&got), cases[i].events));
            assert_true(slice_equal_text(buffer_slice(&sse.last), cases[i].last));
        }
}

static void test_sse_passes_over_what_is_too_long(void **state)
{
    OWNED(buffer_drop) struct buffer got = BUFFER_NONE;
    OWNED(sse_drop) struct sse sse = {.take = sse_keep, .arg = &got};
    OWNED(memory_drop) char *piece = memory_new(100000);

    (void)state;
    memset(piece, 'x', 100000);
    sse_feed(&sse, SLICE("event: push\ndata: "));
    for (int i = 0; i < 20; i++)
        sse_feed(&sse, (struct slice){piece, 100000});
    assert_true(sse.line.capacity <= 4 * SSE_EVENT_MAX);
    sse_feed(&sse, SLICE("\nid: 4\n\nevent: b\ndata: c\n\n"));
    assert_true(slice_equal_text(buffer_slice(&got), "[b|c]"));
    assert_true(slice_equal_text(buffer_slice(&sse.last), "4"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring_keeps_the_last),
        cmocka_unit_test(test_ring_is_bounded_in_bytes),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_hostile_texts_stay_in_their_line),
        cmocka_unit_test(test_comes_again_where_it_was),
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_who_does_not_read_misses_some),
        cmocka_unit_test(test_what_was_lost_is_a_gap),
        cmocka_unit_test(test_one_job_until_its_end),
        cmocka_unit_test(test_seats),
        cmocka_unit_test(test_silence_is_broken_by_comments),
        cmocka_unit_test(test_the_end_of_the_server_ends_streams),
        cmocka_unit_test(test_sse_is_read),
        cmocka_unit_test(test_sse_passes_over_what_is_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

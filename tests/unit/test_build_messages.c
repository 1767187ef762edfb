/* test_build_messages.c - what others are told of builds: made and changed with their builds, told
 * one at a time, tried again, bounded; deliveries that start one build each; builds that waited too
 * long.
 */
#include "tests/support/plans.h"

#include "registry/core/clock.h"
#include "storage/builds.h"
#include "storage/content.h"

static struct build_new new_build(void)
{
    return (struct build_new){.repository = REPOSITORY,
                              .trigger = SLICE("webhook"),
                              .actor = SLICE("webhook/github"),
                              .commit = SLICE("c0ffee"),
                              .state = BUILD_PENDING,
                              .source = BUILD_FROM_URL,
                              .callback = SLICE("https://ci.example"),
                              .status = SLICE("https://api.github.com")};
}

static int try_add(struct fixture *fixture, const struct build_new *build, int64_t *id)
{
    int64_t *superseded = NULL;
    size_t count = 0;

    fixture->err = (struct error){0};
    int status = build_add(fixture->store, build, id, &superseded, &count, &fixture->err);
    if (status == 0)
        free(superseded);
    return status;
}

static int64_t add(struct fixture *fixture)
{
    const struct build_new build = new_build();
    int64_t id = 0;

    assert_int_equal(try_add(fixture, &build, &id), 0);
    return id;
}

static void claim(struct fixture *fixture, int64_t id)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    bool found = false;

    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    assert_int_equal(record.id, id);
}

static void finish(struct fixture *fixture, int64_t id, enum build_state state)
{
    const struct build_end end = {.id = id, .epoch = 1, .state = state, .exit_code = -1};

    OK(build_finish(fixture->store, &end, &fixture->err));
}

/* --- whose turn it is --- */

static bool nobody(void *arg, struct slice destination, struct slice repository)
{
    (void)arg;
    (void)destination;
    (void)repository;
    return false;
}

static bool is_arg(void *arg, struct slice destination, struct slice repository)
{
    (void)repository;
    return slice_equal_text(destination, arg);
}

/* "" when there is none; the caller's. */
static struct build_message next_but(struct fixture *fixture, char *busy)
{
    const struct build_message_query query = {clock_now_us(), busy == NULL ? nobody : is_arg, busy};
    struct build_message_queue queue;
    struct build_message message;

    OK(build_message_next(fixture->store, &query, &message, &queue, &fixture->err));
    return message;
}

/* Delivered, or to be tried again then. */
static void settle(struct fixture *fixture, const struct build_message *message, int64_t again_at)
{
    const struct build_message_try delivered = {.outcome = BUILD_MESSAGE_DELIVERED, .answer = 204};
    const struct build_message_try failed = {.again_at = again_at, .problem = SLICE("no answer")};

    OK(build_message_settle(fixture->store, message, again_at == 0 ? &delivered : &failed,
                            &fixture->err));
}

/* Tells what is due next, which has to be this. */
static void told(struct fixture *fixture, int64_t build, enum build_message_kind kind,
                 enum build_state state)
{
    OWNED(build_message_drop) struct build_message message = next_but(fixture, NULL);

    assert_int_equal(message.build, build);
    assert_int_equal(message.kind, kind);
    assert_int_equal(message.state, state);
    assert_string_equal(message.repository, "team/app");
    settle(fixture, &message, 0);
}

static void nothing_is_due(struct fixture *fixture)
{
    OWNED(build_message_drop) struct build_message message = next_but(fixture, NULL);

    assert_int_equal(message.id, 0);
}

/* Spec: s2i 11.1, 13.48. */
static void test_build_messages_follow_their_build(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture);

    told(fixture, id, BUILD_STATUS, BUILD_PENDING);
    nothing_is_due(fixture);
    claim(fixture, id);
    told(fixture, id, BUILD_STATUS, BUILD_RUNNING);
    nothing_is_due(fixture);
    finish(fixture, id, BUILD_FAILED);
    told(fixture, id, BUILD_CALLBACK, BUILD_FAILED);
    told(fixture, id, BUILD_STATUS, BUILD_FAILED);
    nothing_is_due(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_messages WHERE outcome = 1"), 2);
    OK(build_message_stir(fixture->store, id, &fixture->err)); /* an end is told once */
    nothing_is_due(fixture);
}

/* --- how they stand --- */

static struct build_told_list stand(struct fixture *fixture, int64_t id)
{
    struct build_told_list list;

    OK(build_told_list(fixture->store, id, &list, &fixture->err));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].kind, BUILD_CALLBACK);
    assert_int_equal(list.items[1].kind, BUILD_STATUS);
    return list;
}

static void came_of(struct fixture *fixture, const struct build_message_try *came)
{
    OWNED(build_message_drop) struct build_message message = next_but(fixture, NULL);

    OK(build_message_settle(fixture->store, &message, came, &fixture->err));
}

/* The last try stands with the build, and is forgotten when there is something else to tell. */
static void test_build_messages_what_came_of_them(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture), later = clock_now_us() + 3600 * INT64_C(1000000);
    const struct build_message_try again = {.again_at = later, .answer = 503};
    const struct build_message_try lost = {.outcome = BUILD_MESSAGE_GIVEN_UP,
                                           .problem = SLICE("nobody answers")};
    const struct build_message_try needless = {.outcome = BUILD_MESSAGE_NEEDLESS};

    came_of(fixture, &again);
    OWNED(build_told_drop) struct build_told_list pending = stand(fixture, id);
    assert_int_equal(pending.items[0].tries, 0);
    assert_int_equal(pending.items[0].due_at, 0);
    assert_int_equal(pending.items[0].tried_at, 0);
    assert_string_equal(pending.items[1].destination, "https://api.github.com");
    assert_int_equal(pending.items[1].outcome, BUILD_MESSAGE_WAITING);
    assert_int_equal(pending.items[1].tries, 1);
    assert_int_equal(pending.items[1].answer, 503);
    assert_int_equal(pending.items[1].due_at, later);
    claim(fixture, id);
    OWNED(build_told_drop) struct build_told_list running = stand(fixture, id);
    assert_int_equal(running.items[1].tries, 0);
    assert_int_equal(running.items[1].answer, 0);
    assert_true(running.items[1].tried_at > 0);
    came_of(fixture, &again);
    finish(fixture, id, BUILD_FAILED);
    came_of(fixture, &lost);
    came_of(fixture, &needless);
    OWNED(build_told_drop) struct build_told_list ended = stand(fixture, id);
    assert_int_equal(ended.items[0].outcome, BUILD_MESSAGE_GIVEN_UP);
    assert_int_equal(ended.items[0].state, BUILD_FAILED);
    assert_string_equal(ended.items[0].problem, "nobody answers");
    assert_int_equal(ended.items[0].tries, 1);
    assert_int_equal(ended.items[1].outcome, BUILD_MESSAGE_NEEDLESS);
    assert_int_equal(ended.items[1].tries, 0);
    assert_int_equal(ended.items[1].due_at, 0);
    nothing_is_due(fixture);
}

/* What changed while it was told is told anew: the newest state wins. */
static void test_build_messages_the_newest_state_is_told(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture);
    OWNED(build_message_drop) struct build_message pending = next_but(fixture, NULL);

    assert_int_equal(pending.state, BUILD_PENDING);
    claim(fixture, id);
    settle(fixture, &pending, 0);
    OWNED(build_message_drop) struct build_message running = next_but(fixture, NULL);
    assert_int_equal(running.state, BUILD_RUNNING);
    finish(fixture, id, BUILD_COMPLETE);
    settle(fixture, &running, clock_now_us() + 3600 * INT64_C(1000000)); /* failed, meanwhile */
    told(fixture, id, BUILD_CALLBACK, BUILD_COMPLETE);
    told(fixture, id, BUILD_STATUS, BUILD_COMPLETE);
    nothing_is_due(fixture);
}

/* Whatever ends a build, and in the same transaction. */
static void test_build_messages_every_end_is_told(void **state)
{
    struct fixture *fixture = *state;
    const char *due = "SELECT count(*) FROM build_messages WHERE due_at IS NOT NULL AND state >= 3";
    const struct content_change change = {.actor = NULL};
    struct content_repository_size size;
    struct build_new latest = new_build();
    bool running;
    size_t count;
    int64_t *ids;

    script(fixture, "INSERT INTO repositories(name, created_at) VALUES ('team/app', 1)");
    int64_t id = add(fixture);
    OK(build_cancel(fixture->store, id, SLICE("ana"), SLICE_NONE, NULL, &running, &fixture->err));
    assert_int_equal(number(fixture, due), 2);
    latest.policy = BUILD_SERIAL_LATEST;
    add(fixture);
    assert_int_equal(try_add(fixture, &latest, &id), 0); /* takes its place */
    assert_int_equal(number(fixture, due), 4);
    claim(fixture, id);
    OK(build_interrupt(fixture->store, true, &count, &fixture->err)); /* begun anew: no end */
    assert_int_equal(number(fixture, due), 4);
    assert_int_equal(number(fixture, "SELECT state FROM build_messages WHERE kind = 2"
                                     "  ORDER BY id DESC LIMIT 1"),
                     BUILD_PENDING);
    claim(fixture, id);
    OK(build_interrupt(fixture->store, false, &count, &fixture->err));
    assert_int_equal(number(fixture, due), 6);
    latest.wait_us = 1;
    assert_int_equal(try_add(fixture, &latest, &id), 0);
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    free(ids);
    assert_int_equal(number(fixture, due), 8);
    id = add(fixture);
    OK(content_repository_delete(fixture->store, REPOSITORY, &change, &size, &fixture->err));
    assert_int_equal(number(fixture, due), 10);
    OWNED(build_message_drop) struct build_message last = next_but(fixture, NULL);
    assert_string_equal(last.repository, "~1"); /* it is set aside; others know its name */
    assert_string_equal(last.called, "team/app");
    script(fixture, "DELETE FROM builds"); /* they go with their builds */
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_messages"), 0);
}

/* A status waits for the commit. */
static void test_build_messages_wait_for_the_commit(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = new_build();
    int64_t id;

    build.commit = build.callback = SLICE_NONE;
    assert_int_equal(try_add(fixture, &build, &id), 0);
    nothing_is_due(fixture);
    claim(fixture, id);
    told(fixture, id, BUILD_STATUS, BUILD_RUNNING); /* as far as storage knows */
    nothing_is_due(fixture);
    OK(build_message_stir(fixture->store, id, &fixture->err));
    told(fixture, id, BUILD_STATUS, BUILD_RUNNING);
}

static void test_build_messages_are_tried_again_later(void **state)
{
    struct fixture *fixture = *state;
    const struct build_message_query query = {clock_now_us() + 10, nobody, NULL};
    int64_t later = query.now + 3600 * INT64_C(1000000);
    struct build_message_queue queue;

    add(fixture);
    OWNED(build_message_drop) struct build_message first = next_but(fixture, NULL);
    OWNED(build_message_drop) struct build_message none = {.id = 0}, again = {.id = 0};
    assert_int_equal(first.tries, 0);
    settle(fixture, &first, later);
    OK(build_message_next(fixture->store, &query, &none, &queue, &fixture->err));
    assert_int_equal(none.id, 0);
    assert_int_equal(queue.next_due, later);
    assert_int_equal(queue.waiting, 1);
    const struct build_message_query then = {later, nobody, NULL};
    OK(build_message_next(fixture->store, &then, &again, &queue, &fixture->err));
    assert_int_equal(again.id, first.id);
    assert_int_equal(again.tries, 1);
    assert_int_equal(queue.next_due, 0);
}

/* The longest due of those that nobody is at. */
static void test_build_messages_a_busy_destination_holds_up_no_other(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = add(fixture);

    claim(fixture, id);
    finish(fixture, id, BUILD_COMPLETE);
    OWNED(build_message_drop) struct build_message callback = next_but(fixture, NULL);
    OWNED(build_message_drop)
    struct build_message status = next_but(fixture, callback.destination);
    assert_int_equal(callback.kind, BUILD_CALLBACK);
    assert_string_equal(callback.destination, "https://ci.example");
    assert_int_equal(status.kind, BUILD_STATUS);
}

static void test_build_messages_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    uint64_t count = 0;

    for (int i = 0; i < 5; i++)
        add(fixture); /* a status each */
    OK(build_message_trim(fixture->store, 5, &count, &fixture->err));
    assert_int_equal(count, 0);
    OK(build_message_trim(fixture->store, 2, &count, &fixture->err));
    assert_int_equal(count, 3);
    OWNED(build_message_drop) struct build_message message = next_but(fixture, NULL);
    assert_int_equal(message.build, 4); /* the oldest went */
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_messages"
                                     " WHERE build_id < 4 AND kind = 2 AND outcome = 2"),
                     3);
}

/* --- builds that wait too long (13.49) --- */

static void test_build_expire_ends_what_waited_too_long(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = new_build();
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    int64_t first, second, third, *ids = NULL;
    size_t count = 0;
    bool found;

    assert_int_equal(try_add(fixture, &build, &first), 0); /* for ever */
    build.wait_us = 3600 * INT64_C(1000000);
    assert_int_equal(try_add(fixture, &build, &second), 0);
    build.wait_us = 1;
    assert_int_equal(try_add(fixture, &build, &third), 0);
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    assert_int_equal(count, 1);
    assert_int_equal(ids[0], third);
    free(ids);
    OK(build_find(fixture->store, third, &record, &fixture->err));
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "QueueTimeout");
    script(fixture, "UPDATE builds SET expires_at = created_at WHERE id = 2");
    claim(fixture, first);
    finish(fixture, first, BUILD_COMPLETE);
    build_record_drop(&record);
    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    assert_false(found); /* it is over, also before anybody looked */
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    assert_int_equal(count, 1);
    free(ids);
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    assert_int_equal(count, 0);
    free(ids);
}

/* It began in time; cut off, it has as long again. */
static void test_build_expire_a_restart_is_not_waiting(void **state)
{
    struct fixture *fixture = *state;
    struct build_new build = new_build();
    int64_t id, *ids = NULL;
    size_t count = 0;

    build.wait_us = 3600 * INT64_C(1000000);
    assert_int_equal(try_add(fixture, &build, &id), 0);
    claim(fixture, id);
    script(fixture, "UPDATE builds SET created_at = created_at - 9000000000,"
                    "                  expires_at = expires_at - 9000000000");
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    assert_int_equal(count, 0); /* it runs */
    free(ids);
    OK(build_interrupt(fixture->store, true, &count, &fixture->err));
    OK(build_expire(fixture->store, 10, &ids, &count, &fixture->err));
    assert_int_equal(count, 0);
    free(ids);
    claim(fixture, id);
}

/* --- deliveries (14.10) --- */

static int64_t configure(struct fixture *fixture, struct slice repository)
{
    const struct build_config_change change = {.repository = repository, .spec = SLICE("{}")};
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    bool created;

    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    return config.id;
}

static struct build_delivery_new delivery_of(int64_t config, const char *id, const char *content)
{
    return (struct build_delivery_new){.config = config,
                                       .sender = SLICE("github"),
                                       .id = slice_of(id),
                                       .event = SLICE("push"),
                                       .content = slice_of(content)};
}

static int deliver(struct fixture *fixture, int64_t config, const char *id, const char *content,
                   int64_t *build)
{
    const struct build_delivery_new delivery = delivery_of(config, id, content);
    struct build_new row = new_build();

    row.delivery = &delivery;
    return try_add(fixture, &row, build);
}

static void test_build_deliveries_start_one_build(void **state)
{
    struct fixture *fixture = *state;
    int64_t first = configure(fixture, SLICE("a")), second = configure(fixture, SLICE("b"));
    const struct {
        int64_t config;
        const char *id, *content;
        int64_t build; /* 0: a new one */
    } cases[] = {
        {first, "d1", NULL, 0}, {first, "d1", NULL, 1},  {second, "d1", NULL, 0},
        {first, "d2", "x", 0},  {first, "d3", "x", 3},   {first, "d2", "y", 3},
        {second, "d2", "x", 0}, {first, "d3", "z", 0},   {first, "d4", "z", 5},
        {first, "d4", NULL, 0}, {second, "d2", NULL, 4},
    };
    OWNED(build_deliveries_drop) struct build_deliveries list = {.items = NULL};
    int64_t build = 0, last = 0;

    for (size_t i = 0; i < LENGTH(cases); i++) {
        int status = deliver(fixture, cases[i].config, cases[i].id, cases[i].content, &build);
        if (cases[i].build == 0) {
            assert_int_equal(status, 0);
            assert_int_equal(build, ++last);
            continue;
        }
        assert_int_equal(status, -1);
        assert_int_equal(fixture->err.code, ERROR_CONFLICT);
        assert_int_equal(build, cases[i].build);
    }
    assert_int_equal(number(fixture, "SELECT count(*) FROM builds"), last);
    OK(build_delivery_list(fixture->store, first, 10, &list, &fixture->err));
    assert_int_equal(list.count, 4);
    assert_string_equal(list.items[3].verdict, "build 1 was started");
    assert_string_equal(list.items[3].event, "push");
    assert_int_equal(list.items[3].build, 1);
    build_deliveries_drop(&list);
    OK(build_delivery_list(fixture->store, first, 1, &list, &fixture->err));
    assert_int_equal(list.count, 1);
}

/* What started nothing may come again. */
static void test_build_deliveries_that_started_nothing_may(void **state)
{
    struct fixture *fixture = *state;
    int64_t config = configure(fixture, SLICE("a")), build = 9;
    const struct build_delivery_new delivery = delivery_of(config, "d1", "x");
    const struct build_delivery_new nowhere = delivery_of(99, "d1", "x");

    FAILS(build_delivery_put(fixture->store, &nowhere, SLICE("no"), &fixture->err),
          ERROR_NOT_FOUND);
    OK(build_delivery_put(fixture->store, &delivery, SLICE("paused"), &fixture->err));
    OK(build_delivery_find(fixture->store, &delivery, &build, &fixture->err));
    assert_int_equal(build, 0);
    assert_int_equal(deliver(fixture, config, "d1", "x", &build), 0);
    OK(build_delivery_put(fixture->store, &delivery, SLICE("late"), &fixture->err));
    OK(build_delivery_find(fixture->store, &delivery, &build, &fixture->err));
    assert_int_equal(build, 1); /* what was started stays */
    OWNED(build_deliveries_drop) struct build_deliveries list = {.items = NULL};
    OK(build_delivery_list(fixture->store, config, 10, &list, &fixture->err));
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].verdict, "build 1 was started");
}

/* An old one is known for long, and longer than others of its repository can drive it out. */
static void test_build_deliveries_are_remembered_for_long(void **state)
{
    struct fixture *fixture = *state;
    int64_t config = configure(fixture, SLICE("a")), other = configure(fixture, SLICE("b")), build;

    assert_int_equal(deliver(fixture, other, "kept", NULL, &build), 0);
    assert_int_equal(deliver(fixture, config, "old", NULL, &build), 0);
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9998)"
                    " INSERT INTO build_deliveries(config_id, sender, delivery, event, verdict,"
                    "                              created_at)"
                    " SELECT 1, 'github', 'n' || i, 'push', '', 1 FROM n");
    assert_int_equal(deliver(fixture, config, "old", NULL, &build), -1);
    assert_int_equal(build, 2);
    assert_int_equal(deliver(fixture, config, "one more", NULL, &build), 0);
    assert_int_equal(deliver(fixture, config, "old", NULL, &build), -1);
    assert_int_equal(deliver(fixture, config, "another", NULL, &build), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_deliveries WHERE config_id = 1"),
                     10000);
    assert_int_equal(deliver(fixture, other, "kept", NULL, &build), -1);
}

/* Runs last: statements of the tests above. */
static void test_build_messages_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_build_messages_follow_their_build),
        FIXTURE_TEST(test_build_messages_what_came_of_them),
        FIXTURE_TEST(test_build_messages_the_newest_state_is_told),
        FIXTURE_TEST(test_build_messages_every_end_is_told),
        FIXTURE_TEST(test_build_messages_wait_for_the_commit),
        FIXTURE_TEST(test_build_messages_are_tried_again_later),
        FIXTURE_TEST(test_build_messages_a_busy_destination_holds_up_no_other),
        FIXTURE_TEST(test_build_messages_are_bounded),
        FIXTURE_TEST(test_build_expire_ends_what_waited_too_long),
        FIXTURE_TEST(test_build_expire_a_restart_is_not_waiting),
        FIXTURE_TEST(test_build_deliveries_start_one_build),
        FIXTURE_TEST(test_build_deliveries_that_started_nothing_may),
        FIXTURE_TEST(test_build_deliveries_are_remembered_for_long),
        FIXTURE_TEST(test_build_messages_no_statement_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

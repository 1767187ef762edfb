/* test_queue.c - rows become running builds: each once, in turn, as many at a time as there is
 * room; cancelled, superseded, cut off, and their ends told once; what of them is secret. What a
 * build does is handed in. */
#include <unistd.h>

#include "storage/content.h"
#include "tests/support/queue.h"

/* --- running --- */

static void test_queue_runs_what_waits_and_records_its_end(void **state)
{
    struct stage *stage = *state;
    int64_t before = add(stage, "early"); /* by an earlier process */

    queue_begin(stage, 2);
    AWAIT(stage, stage->ends[before] == 1);
    int64_t id = add(stage, "late");
    AWAIT(stage, stage->ends[id] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, id);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_string_equal(record.stages, "[\"s\"]");
    assert_memory_equal(record.result_digest, "sha256:", 7);
    assert_int_equal(record.layer_size, 7);
    assert_true(record.log_size > 0);
    assert_true(has_file(stage->builds.log_folder, "2.log"));
}

static void test_queue_what_cannot_be_read_fails(void **state)
{
    struct stage *stage = *state;
    int64_t id;

    queue_begin(stage, 1);
    id = add_with(stage, "a", BUILD_SERIAL, "nonsense");
    AWAIT(stage, stage->ends[id] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, id);
    assert_int_equal(record.state, BUILD_ERROR);
    assert_string_equal(record.reason, "GenericS2IBuildFailed");
    assert_int_equal(stage->started, 0);
}

/* A row that says Complete has its tags: the end of others is told, not tried for ever. */
static void test_queue_what_cannot_be_tagged_fails(void **state)
{
    struct stage *stage = *state;
    const char *tags[] = {"[\"latest\"]", "[\"latest\",\"v\\\"1\"]", "[1]"};

    queue_begin(stage, 1);
    for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
        const struct build_new build = {.repository = REPOSITORY,
                                        .trigger = SLICE("api"),
                                        .actor = SLICE("ana"),
                                        .spec = SLICE("{\"options\":{}}"),
                                        .tags = slice_of(tags[i]),
                                        .state = BUILD_PENDING,
                                        .policy = BUILD_SERIAL,
                                        .source = BUILD_FROM_URL};
        int64_t id = add_new(stage, &build); /* of an image that is not here */
        AWAIT(stage, stage->ends[id] == 1);
        OWNED(build_record_drop) struct build_record record = find(stage, id);
        assert_int_equal(record.state, BUILD_FAILED);
        assert_string_equal(record.reason, "PushImageToRegistryFailed");
        assert_string_equal(record.result_digest, "");
    }
}

enum { FLOOD = 50, SMALL = 10, BUILDS = 100 };

/* Repositories of which something is to be built, up to four: first the flood's, then ten times one
 * of each of the others. Under the lock. */
static size_t at_a_time(const struct stage *stage)
{
    bool open[1 + SMALL] = {false};
    size_t count = 0;

    for (size_t id = 1; id <= BUILDS; id++)
        open[id <= FLOOD ? 0 : 1 + (id - 1) % SMALL] |= stage->ends[id] != 1;
    for (size_t i = 0; i < LENGTH(open); i++)
        count += open[i];
    return count < 4 ? count : 4;
}

/* Spec: s2i 20.11. All that run at a time end before more are let go, however slow some are. */
static void test_queue_hundred_builds_share_four_slots(void **state)
{
    struct stage *stage = *state;
    size_t last_of_small = 0, flood_before = 0;
    char name[] = "r?";

    set_hold(stage, true);
    for (int i = 0; i < FLOOD; i++)
        add(stage, "flood");
    for (int i = FLOOD; i < BUILDS; i++) {
        name[1] = (char)('0' + i % SMALL);
        add(stage, name);
    }
    queue_begin(stage, 4);
    while (stage->let_go < BUILDS) {
        AWAIT(stage, stage->ended == stage->let_go && stage->running == at_a_time(stage));
        pthread_mutex_lock(&stage->lock);
        stage->let_go = stage->started;
        pthread_mutex_unlock(&stage->lock);
    }
    AWAIT(stage, stage->ended == BUILDS);
    assert_int_equal(stage->started, BUILDS);
    assert_int_equal(stage->most, 4);
    assert_false(stage->together);
    for (size_t i = 0; i < BUILDS; i++)
        if (strcmp(stage->names[i], "flood") != 0)
            last_of_small = i;
    for (size_t i = 0; i < last_of_small; i++)
        flood_before += strcmp(stage->names[i], "flood") == 0 ? 1 : 0;
    assert_in_range(flood_before, 1, 10); /* a turn like everybody's: five, give or take */
}

static void test_queue_starts_no_more_than_builders_have_room_for(void **state)
{
    struct stage *stage = *state;
    int64_t ids[3];

    set_hold(stage, true);
    stage->room = 0;
    queue_begin(stage, 3);
    for (size_t i = 0; i < 3; i++)
        ids[i] = add(stage, i == 0 ? "a" : i == 1 ? "b" : "c");
    usleep(50 * 1000);
    assert_int_equal(state_of(stage, ids[0]), BUILD_PENDING);
    pthread_mutex_lock(&stage->lock);
    stage->room = 2;
    pthread_mutex_unlock(&stage->lock);
    AWAIT(stage, stage->running == 2);
    usleep(150 * 1000);
    assert_int_equal(state_of(stage, ids[2]), BUILD_PENDING);
    set_hold(stage, false);
    AWAIT(stage, stage->ends[ids[2]] == 1);
    assert_int_equal(stage->most, 2);
}

/* --- stopping --- */

static int cancel(struct stage *stage, int64_t id)
{
    stage->fixture->err = (struct error){0};
    return queue_cancel(stage->builds.queue, id, SLICE("eva"), SLICE("it rains"), NULL,
                        &stage->fixture->err);
}

/* Spec: s2i 13.44. */
static void test_queue_cancels_in_each_state(void **state)
{
    struct stage *stage = *state;
    int64_t running, waiting;

    set_hold(stage, true);
    queue_begin(stage, 1);
    running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    waiting = add(stage, "a");
    assert_int_equal(cancel(stage, waiting), 0);
    assert_int_equal(state_of(stage, waiting), BUILD_CANCELLED);
    AWAIT(stage, stage->ends[waiting] == 1);
    assert_int_equal(cancel(stage, waiting), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    assert_int_equal(cancel(stage, running), 0);
    if (cancel(stage, running) < 0) /* the same again, or it has ended by now */
        assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    AWAIT(stage, stage->ends[running] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, running);
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "CancelledBuild");
    assert_string_equal(record.ended_by, "eva");
    assert_string_equal(record.message, "cancelled by eva: it rains");
    assert_int_equal(cancel(stage, 99), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_NOT_FOUND);
    assert_int_equal(stage->started, 1);
}

/* Whether it waits, is being claimed, or runs when somebody cancels it: it ends once. */
static void test_queue_cancel_finds_a_build_at_any_moment(void **state)
{
    struct stage *stage = *state;

    set_hold(stage, true);
    queue_begin(stage, 2);
    for (int i = 0; i < 60; i++) {
        int64_t id = add(stage, i % 2 == 0 ? "a" : "b");
        usleep((unsigned)(i % 6) * 200);
        assert_int_equal(cancel(stage, id), 0);
        AWAIT(stage, stage->ends[id] == 1);
        assert_int_equal(state_of(stage, id), BUILD_CANCELLED);
    }
}

static void test_queue_close_leaves_what_ran_to_the_next_start(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    int64_t running, waiting;
    size_t count = 0;

    set_hold(stage, true);
    queue_begin(stage, 1);
    running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    waiting = add(stage, "a");
    queue_end(stage);
    assert_int_equal(state_of(stage, running), BUILD_RUNNING);
    assert_int_equal(state_of(stage, waiting), BUILD_PENDING);
    assert_int_equal(stage->ends[running], 0);
    OK(build_interrupt(stage->builds.storage, true, &count, &fixture->err));
    set_hold(stage, false);
    queue_begin(stage, 1);
    AWAIT(stage, stage->ends[running] == 1 && stage->ends[waiting] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, running);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_int_equal(record.epoch, 2);
}

static void test_queue_stops_builds_of_a_deleted_repository(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const struct content_change change = {.actor = NULL};
    struct content_repository_size size;

    push_text(fixture, "{}", "v1");
    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t id = add(stage, "team/app");
    AWAIT(stage, stage->running == 1);
    queue_watch(stage->builds.queue);
    assert_int_equal(stage->running, 1);
    OK(content_repository_delete(stage->builds.storage, REPOSITORY, &change, &size, &fixture->err));
    queue_watch(stage->builds.queue);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(state_of(stage, id), BUILD_CANCELLED);
}

/* --- who waits for an end --- */

struct waiting {
    struct stage *stage;
    size_t calls;
    enum build_state state;
};

static void told(void *arg, const struct build_record *record)
{
    struct waiting *waiting = arg;

    pthread_mutex_lock(&waiting->stage->lock);
    waiting->calls++;
    waiting->state = record->state;
    pthread_cond_broadcast(&waiting->stage->changed);
    pthread_mutex_unlock(&waiting->stage->lock);
}

static void wait_for(struct stage *stage, int64_t id, struct waiting *waiting)
{
    struct fixture *fixture = stage->fixture;

    waiting->stage = stage;
    OK(waiters_add(stage->builds.waiters, id, told, waiting, &fixture->err));
}

static void test_queue_tells_each_waiter_once(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct waiting waiting[5] = {{.calls = 0}};

    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t id = add(stage, "a"), other = add(stage, "a");
    for (size_t i = 0; i < 3; i++)
        wait_for(stage, id, &waiting[i]);
    wait_for(stage, other, &waiting[3]);
    waiters_look(stage->builds.waiters); /* none has ended */
    FAILS(waiters_add(stage->builds.waiters, 99, told, &waiting[0], &fixture->err),
          ERROR_NOT_FOUND);
    set_hold(stage, false);
    AWAIT(stage, waiting[0].calls + waiting[1].calls + waiting[2].calls + waiting[3].calls == 4);
    wait_for(stage, id, &waiting[4]); /* it has ended */
    AWAIT(stage, waiting[4].calls == 1);
    waiters_look(stage->builds.waiters);
    waiters_tell(stage->builds.waiters, id);
    queue_end(stage);
    for (size_t i = 0; i < LENGTH(waiting); i++) {
        assert_int_equal(waiting[i].calls, 1);
        assert_int_equal(waiting[i].state, BUILD_COMPLETE);
    }
}

static void test_queue_tells_waiters_that_it_closes(void **state)
{
    struct stage *stage = *state;
    struct waiting waiting[2] = {{.calls = 0}};

    set_hold(stage, true);
    queue_begin(stage, 1);
    int64_t running = add(stage, "a");
    AWAIT(stage, stage->running == 1);
    wait_for(stage, running, &waiting[0]);
    wait_for(stage, add(stage, "a"), &waiting[1]);
    queue_end(stage);
    assert_int_equal(waiting[0].calls, 1);
    assert_int_equal(waiting[0].state, BUILD_RUNNING);
    assert_int_equal(waiting[1].calls, 1);
    assert_int_equal(waiting[1].state, BUILD_PENDING);
}

static void test_queue_waiters_notice_ends_nobody_told(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    struct waiting waiting = {.calls = 0};
    bool running;

    stage->room = 0;
    queue_begin(stage, 1);
    int64_t id = add(stage, "a");
    wait_for(stage, id, &waiting);
    OK(build_cancel(stage->builds.storage, id, SLICE("eva"), SLICE_NONE, NULL, &running,
                    &fixture->err));
    waiters_look(stage->builds.waiters);
    AWAIT(stage, waiting.calls == 1);
    assert_int_equal(waiting.state, BUILD_CANCELLED);
}

/* --- masks --- */

static void test_queue_masks_are_all_that_is_secret(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    const char *const wanted[] = {"env-word", "proxy-word",     "line one",
                                  "line two", "user:pass-word", "pass-word"};
    char *pairs[] = {memory_text(SLICE("A=env-word")), memory_text(SLICE("B=abc"))};
    struct build_task task = {.builds = &stage->builds,
                              .record = {.repository = memory_text(REPOSITORY)},
                              .options = {.secret_env = {pairs, 2}}};
    OWNED(s2i_list_wipe) struct s2i_list masks = {0};
    OWNED(build_config_drop) struct build_config config = {.id = 0};
    const struct build_config_change change = {.repository = REPOSITORY, .spec = SLICE("{}")};
    bool created;

    OK(build_config_put(fixture->store, &change, &config, &created, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_FILE, SLICE("f"),
                        SLICE("line one\r\nline two\n\n"), NULL, &fixture->err));
    OK(build_secret_put(fixture->store, config.id, BUILD_SECRET_SOURCE, SLICE("s"),
                        SLICE("s\thttps://h/\tbasic\tuser:pass-word"), NULL, &fixture->err));
    OK(masks_read(&task, &masks, &fixture->err));
    assert_int_equal(masks.count, LENGTH(wanted));
    for (size_t i = 0; i < LENGTH(wanted); i++)
        assert_string_equal(masks.items[i], wanted[i]);
    free(task.record.repository);
    free(pairs[0]);
    free(pairs[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(test_queue_runs_what_waits_and_records_its_end),
        QUEUE_TEST(test_queue_what_cannot_be_read_fails),
        QUEUE_TEST(test_queue_what_cannot_be_tagged_fails),
        QUEUE_TEST(test_queue_hundred_builds_share_four_slots),
        QUEUE_TEST(test_queue_starts_no_more_than_builders_have_room_for),
        QUEUE_TEST(test_queue_cancels_in_each_state),
        QUEUE_TEST(test_queue_cancel_finds_a_build_at_any_moment),
        QUEUE_TEST(test_queue_close_leaves_what_ran_to_the_next_start),
        QUEUE_TEST(test_queue_stops_builds_of_a_deleted_repository),
        QUEUE_TEST(test_queue_tells_each_waiter_once),
        QUEUE_TEST(test_queue_tells_waiters_that_it_closes),
        QUEUE_TEST(test_queue_waiters_notice_ends_nobody_told),
        QUEUE_TEST(test_queue_masks_are_all_that_is_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_schedule.c - the job that starts by itself: at its times, once for what was missed, and as
 * somebody said at run time. */
#include <stdatomic.h>

#include "registry/core/timestamp.h"
#include "registry/jobs/jobs.h"
#include "registry/jobs/schedule.h"
#include "storage/collect.h"
#include "tests/support/store.h"

static _Atomic int64_t clock_us; /* what time it is here */
static _Atomic int runs;

static int64_t now(void)
{
    return atomic_load(&clock_us);
}

static void set_clock(const char *text)
{
    int64_t us = 0;

    assert_true(timestamp_parse(slice_of(text), &us));
    atomic_store(&clock_us, us);
}

static int run(struct job *job, struct error *err)
{
    (void)job;
    (void)err;
    atomic_fetch_add(&runs, 1);
    return 0;
}

static const struct job_kind kind = {.name = "gc", .run = run};
static const struct job_kind *const kinds[] = {&kind, NULL};

struct bench {
    struct fixture *fixture;
    struct jobs *jobs;
    struct schedule *schedule;
    struct schedule_options options;
};

static void bench_open(struct bench *bench)
{
    struct fixture *fixture = bench->fixture;
    const struct jobs_options options = {.storage = fixture->store, .kinds = kinds};

    OK(jobs_open(&bench->jobs, &options, &fixture->err));
    bench->options.jobs = bench->jobs;
    OK(schedule_open(&bench->schedule, &bench->options, &fixture->err));
}

static void bench_close(struct bench *bench)
{
    schedule_close(bench->schedule);
    jobs_close(bench->jobs); /* waits for what runs */
}

static struct bench bench_new(void **state)
{
    struct fixture *fixture = *state;
    struct bench bench = {.fixture = fixture,
                          .options = {.storage = fixture->store,
                                      .kind = "gc",
                                      .cron = "30 3 * * *",
                                      .time_zone = "UTC",
                                      .resting = true,
                                      .now = now}};

    atomic_store(&runs, 0);
    return bench;
}

/* How many ran until everything that was started has ended: both rooms are opened anew. */
static int looked(struct bench *bench, const char *at)
{
    set_clock(at);
    schedule_look(bench->schedule);
    bench_close(bench);
    bench_open(bench);
    return atomic_load(&runs);
}

static const char *next_of(struct bench *bench, char out[TIMESTAMP_MAX])
{
    struct schedule_view view;

    schedule_view(bench->schedule, &view);
    return view.next_at == 0 ? "never" : timestamp_print(view.next_at, out);
}

static void test_schedule_starts_at_its_times(void **state)
{
    struct bench bench = bench_new(state);
    char text[TIMESTAMP_MAX];

    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    assert_string_equal(next_of(&bench, text), "2026-03-02T03:30:00Z");
    set_clock("2026-03-02T03:29:59Z");
    schedule_look(bench.schedule);
    assert_string_equal(next_of(&bench, text), "2026-03-02T03:30:00Z");
    set_clock("2026-03-02T03:30:00Z");
    schedule_look(bench.schedule);
    schedule_look(bench.schedule);
    assert_string_equal(next_of(&bench, text), "2026-03-03T03:30:00Z");
    bench_close(&bench);
    assert_int_equal(atomic_load(&runs), 1);
    assert_int_equal(number(bench.fixture, "SELECT count(*) FROM jobs WHERE kind = 'gc'"
                                           "   AND actor = '' AND state = 2"),
                     1);
    assert_int_equal(number(bench.fixture, "SELECT count(*) FROM audit"), 0);
}

static void test_schedule_runs_once_for_what_was_missed(void **state)
{
    struct bench bench = bench_new(state);

    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    assert_int_equal(looked(&bench, "2026-03-10T00:00:00Z"), 1); /* it slept */
    assert_int_equal(looked(&bench, "2026-03-10T03:29:00Z"), 1);
    assert_int_equal(looked(&bench, "2026-03-10T03:31:00Z"), 2);
    bench_close(&bench);
    set_clock("2026-03-12T12:00:00Z"); /* it was off */
    bench_open(&bench);
    schedule_look(bench.schedule);
    schedule_look(bench.schedule);
    bench_close(&bench);
    assert_int_equal(atomic_load(&runs), 3);
}

/* A root that is new missed nothing. */
static void test_schedule_begins_with_its_first_start(void **state)
{
    struct bench bench = bench_new(state);

    set_clock("2026-03-01T03:29:00Z");
    bench_open(&bench);
    bench_close(&bench);
    set_clock("2026-03-01T04:00:00Z"); /* off at half past three */
    bench_open(&bench);
    schedule_look(bench.schedule);
    bench_close(&bench);
    assert_int_equal(atomic_load(&runs), 1);
}

static void test_schedule_jitter_comes_after(void **state)
{
    struct bench bench = bench_new(state);
    struct schedule_view view;
    int64_t slot, least = INT64_MAX, most = 0;

    bench.options.jitter_ms = 600000;
    set_clock("2026-03-01T03:30:00Z");
    slot = now();
    set_clock("2026-03-01T03:00:00Z");
    for (int i = 0; i < 40; i++) {
        bench_open(&bench);
        schedule_view(bench.schedule, &view);
        least = view.next_at < least ? view.next_at : least;
        most = view.next_at > most ? view.next_at : most;
        bench_close(&bench);
    }
    assert_true(least >= slot && most <= slot + INT64_C(600000000));
    assert_true(most - least > 60 * INT64_C(1000000));
}

static void test_schedule_clock_set_back(void **state)
{
    struct bench bench = bench_new(state);
    char text[TIMESTAMP_MAX];

    set_clock("2036-03-01T08:00:00Z");
    bench_open(&bench);
    set_clock("2026-03-01T08:00:00Z");
    schedule_look(bench.schedule);
    assert_string_equal(next_of(&bench, text), "2026-03-02T03:30:00Z");
    bench_close(&bench);
    assert_int_equal(atomic_load(&runs), 0);
}

static void test_schedule_never(void **state)
{
    struct bench bench = bench_new(state);
    char text[TIMESTAMP_MAX];

    bench.options.cron = "";
    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    assert_string_equal(next_of(&bench, text), "never");
    assert_int_equal(looked(&bench, "2036-03-02T03:30:00Z"), 0);
    bench_close(&bench);
}

/* schedule (3) */
static void test_schedule_passes_while_paused(void **state)
{
    struct bench bench = bench_new(state);
    struct fixture *fixture = bench.fixture;

    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    OK(storage_collect_pause(fixture->store, true, &fixture->err));
    assert_int_equal(looked(&bench, "2026-03-02T03:30:00Z"), 0);
    OK(storage_collect_pause(fixture->store, false, &fixture->err));
    assert_int_equal(looked(&bench, "2026-03-02T12:00:00Z"), 0);
    assert_int_equal(looked(&bench, "2026-03-03T03:30:00Z"), 1);
    bench_close(&bench);
}

/* schedule (1) */
static void test_schedule_set_is_remembered(void **state)
{
    struct bench bench = bench_new(state);
    struct fixture *fixture = bench.fixture;
    const struct slice weekly = SLICE("0 5 * * sun"), berlin = SLICE("Europe/Berlin"),
                       none = SLICE(""), off = SLICE("off");
    struct schedule_view view;
    char text[TIMESTAMP_MAX];

    set_clock("2026-03-03T08:00:00Z");
    bench_open(&bench);
    OK(schedule_set(bench.schedule, &weekly, &berlin, &fixture->err));
    for (int i = 0; i < 2; i++) { /* now, and after a restart */
        schedule_view(bench.schedule, &view);
        assert_string_equal(view.cron, "0 5 * * sun");
        assert_string_equal(view.time_zone, "Europe/Berlin");
        assert_false(view.from_settings);
        assert_string_equal(next_of(&bench, text), "2026-03-08T04:00:00Z");
        bench_close(&bench);
        bench_open(&bench);
    }
    OK(schedule_set(bench.schedule, NULL, &none, &fixture->err)); /* the zone alone */
    assert_string_equal(next_of(&bench, text), "2026-03-08T05:00:00Z");
    OK(schedule_set(bench.schedule, &off, NULL, &fixture->err));
    assert_string_equal(next_of(&bench, text), "never");
    OK(schedule_set(bench.schedule, &none, NULL, &fixture->err));
    schedule_view(bench.schedule, &view);
    assert_true(view.from_settings);
    assert_string_equal(next_of(&bench, text), "2026-03-04T03:30:00Z");
    bench_close(&bench);
}

static void test_schedule_set_forgets_what_the_old_one_missed(void **state)
{
    struct bench bench = bench_new(state);
    struct fixture *fixture = bench.fixture;
    const struct slice hourly = SLICE("@hourly");

    bench.options.cron = "";
    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    set_clock("2026-03-05T08:10:00Z");
    OK(schedule_set(bench.schedule, &hourly, NULL, &fixture->err));
    assert_int_equal(looked(&bench, "2026-03-05T08:20:00Z"), 0);
    assert_int_equal(looked(&bench, "2026-03-05T09:00:00Z"), 1);
    bench_close(&bench);
}

static void test_schedule_set_refuses(void **state)
{
    struct bench bench = bench_new(state);
    struct fixture *fixture = bench.fixture;
    const struct slice bad = SLICE("61 * * * *"), nowhere = SLICE("Europe/Nowhere");
    char text[TIMESTAMP_MAX];

    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    FAILS(schedule_set(bench.schedule, &bad, NULL, &fixture->err), ERROR_INVALID);
    assert_string_equal(fixture->err.field, "schedule");
    FAILS(schedule_set(bench.schedule, NULL, &nowhere, &fixture->err), ERROR_INVALID);
    assert_string_equal(fixture->err.field, "time_zone");
    assert_string_equal(next_of(&bench, text), "2026-03-02T03:30:00Z");
    bench_close(&bench);
    bench.options.cron = "61 * * * *";
    const struct jobs_options options = {.storage = fixture->store, .kinds = kinds};
    OK(jobs_open(&bench.jobs, &options, &fixture->err));
    FAILS(schedule_open(&bench.schedule, &bench.options, &fixture->err), ERROR_INVALID);
    jobs_close(bench.jobs);
}

/* A zone that the machine has lost. */
static void test_schedule_that_is_none_any_more(void **state)
{
    struct bench bench = bench_new(state);
    char text[TIMESTAMP_MAX];

    script(bench.fixture, "INSERT INTO server_state(name, value)"
                          " VALUES ('gc_schedule', '@hourly|Europe/Nowhere')");
    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    assert_string_equal(next_of(&bench, text), "2026-03-02T03:30:00Z");
    bench_close(&bench);
}

/* The thread: what is missed starts when it is opened. */
static void test_schedule_thread_starts_what_is_due(void **state)
{
    struct bench bench = bench_new(state);
    const struct timespec pause = {0, 2000000};

    set_clock("2026-03-01T08:00:00Z");
    bench_open(&bench);
    bench_close(&bench);
    set_clock("2026-03-02T08:00:00Z");
    bench.options.resting = false;
    bench_open(&bench);
    for (int i = 0; i < 30000 && atomic_load(&runs) == 0; i++)
        nanosleep(&pause, NULL);
    bench_close(&bench);
    assert_int_equal(atomic_load(&runs), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_schedule_starts_at_its_times),
        FIXTURE_TEST(test_schedule_runs_once_for_what_was_missed),
        FIXTURE_TEST(test_schedule_begins_with_its_first_start),
        FIXTURE_TEST(test_schedule_jitter_comes_after),
        FIXTURE_TEST(test_schedule_clock_set_back),
        FIXTURE_TEST(test_schedule_never),
        FIXTURE_TEST(test_schedule_passes_while_paused),
        FIXTURE_TEST(test_schedule_set_is_remembered),
        FIXTURE_TEST(test_schedule_set_forgets_what_the_old_one_missed),
        FIXTURE_TEST(test_schedule_set_refuses),
        FIXTURE_TEST(test_schedule_that_is_none_any_more),
        FIXTURE_TEST(test_schedule_thread_starts_what_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_jobs.c - the runner of long work: what runs, what its rows say, how it is stopped, and what
 * the end of a process leaves. */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "registry/core/clock.h"
#include "registry/jobs/jobs.h"
#include "storage/job.h"
#include "tests/support/plans.h"

/* --- kinds that do what a test wants --- */

/* What the job under test waits for, and tells. */
static struct {
    sem_t begun, go_on;
    _Atomic int runs;
    _Atomic bool seen_cancel;
} stage;

static int run_waits(struct job *job, struct error *err)
{
    const struct progress *progress = job_progress(job);

    (void)err;
    atomic_fetch_add(&stage.runs, 1);
    progress_phase(progress, "first");
    progress_add(progress, "things", 2);
    progress_phase(progress, "second");
    progress_add(progress, "things", 3);
    progress_add(progress, "others", 1);
    sem_post(&stage.begun);
    sem_wait(&stage.go_on);
    atomic_store(&stage.seen_cancel, progress_cancelled(progress));
    json_object_set_new(job_result(job), "did", json_integer(5));
    return 0;
}

/* Goes on until it is told to stop. */
static int run_until_cancelled(struct job *job, struct error *err)
{
    const struct timespec pause = {0, 1000000};

    (void)err;
    atomic_fetch_add(&stage.runs, 1);
    sem_post(&stage.begun);
    while (!progress_cancelled(job_progress(job)))
        nanosleep(&pause, NULL);
    json_object_set_new(job_result(job), "did", json_integer(1));
    return 0;
}

/* Does not ask. */
static int run_deaf(struct job *job, struct error *err)
{
    (void)job;
    (void)err;
    sem_post(&stage.begun);
    sem_wait(&stage.go_on);
    return 0;
}

static int run_fails(struct job *job, struct error *err)
{
    json_object_set_new(job_result(job), "did", json_integer(2));
    return error_set(err, ERROR_STORAGE_FULL, "there is no room");
}

static int run_at_once(struct job *job, struct error *err)
{
    (void)err;
    atomic_fetch_add(&stage.runs, 1);
    json_object_set(job_result(job), "spec", (json_t *)(uintptr_t)job_spec(job));
    return 0;
}

static int check_spec(const json_t *spec, struct error *err)
{
    if (json_object_size(spec) == 0)
        return 0;
    return error_set_field(err, "spec", "it takes nothing");
}

static const struct job_kind waits = {.name = "waits", .run = run_waits, .check = check_spec};
static const struct job_kind endless = {.name = "endless", .run = run_until_cancelled};
static const struct job_kind resumes = {
    .name = "resumes", .run = run_until_cancelled, .local = true, .resumes = true};
static const struct job_kind fails = {.name = "fails", .run = run_fails};
static const struct job_kind deaf = {.name = "deaf", .run = run_deaf};
static const struct job_kind quick = {.name = "quick", .run = run_at_once};
static const struct job_kind *const kinds[] = {&waits, &endless, &resumes, &fails,
                                               &deaf,  &quick,   NULL};

static const struct job_asker ana = {
    .actor = {"ana", 3}, .actor_id = 7, .remote = {"192.0.2.1", 9}, .request_id = {"r-1", 3}};
static const struct job_asker local = {.actor = {"local", 5}, .local = true};
static const struct job_asker nobody = {.actor = {"", 0}};

static struct jobs *jobs_new(struct fixture *fixture)
{
    const struct jobs_options options = {.storage = fixture->store, .kinds = kinds};
    struct jobs *jobs = NULL;

    OK(jobs_open(&jobs, &options, &fixture->err));
    return jobs;
}

static int set_up(void **state)
{
    sem_init(&stage.begun, 0, 0);
    sem_init(&stage.go_on, 0, 0);
    atomic_store(&stage.runs, 0);
    return fixture_set_up(state);
}

static int64_t begin(struct fixture *fixture, struct jobs *jobs, const char *kind,
                     const struct job_asker *asker)
{
    int64_t id = 0;

    OK(jobs_start(jobs, slice_of(kind), NULL, asker, &id, &fixture->err));
    return id;
}

static void await(sem_t *what)
{
    const struct timespec until = clock_monotonic_after(60 * 1000);

    assert_int_equal(sem_clockwait(what, CLOCK_MONOTONIC, &until), 0);
}

/* Its row, once it says how it ended. */
static struct job_record ended(struct fixture *fixture, struct jobs *jobs, int64_t id)
{
    const struct timespec pause = {0, 1000000};
    struct job_record record = {.kind = NULL};

    for (int i = 0; i < 60000; i++) {
        OK(jobs_find(jobs, id, &record, &fixture->err));
        if (record.state > JOB_RUNNING)
            return record;
        job_record_drop(&record);
        nanosleep(&pause, NULL);
    }
    fail_msg("job %lld does not end", (long long)id);
    return record;
}

static void await_end(struct fixture *fixture, struct jobs *jobs, int64_t id)
{
    struct job_record record = ended(fixture, jobs, id);

    job_record_drop(&record);
}

/* --- running --- */

static void test_jobs_run_and_are_recorded(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    OWNED(job_record_drop) struct job_record now = {.kind = NULL};
    int64_t id = begin(fixture, jobs, "waits", &ana);

    await(&stage.begun);
    OK(jobs_find(jobs, id, &now, &fixture->err)); /* from memory: the row knows nothing yet */
    assert_int_equal(now.state, JOB_RUNNING);
    assert_string_equal(now.phase, "second");
    assert_string_equal(now.progress, "{\"things\":5,\"others\":1}");
    assert_string_equal(now.result, "{}");
    assert_true(now.started_at > 0 && now.finished_at == 0);
    sem_post(&stage.go_on);
    OWNED(job_record_drop) struct job_record then = ended(fixture, jobs, id);
    assert_int_equal(then.state, JOB_DONE);
    assert_string_equal(then.kind, "waits");
    assert_string_equal(then.actor, "ana");
    assert_string_equal(then.phase, "second");
    assert_string_equal(then.spec, "{}");
    assert_string_equal(then.progress, "{\"things\":5,\"others\":1}");
    assert_string_equal(then.result, "{\"did\":5}");
    assert_string_equal(then.error, "");
    assert_true(then.finished_at >= then.started_at);
    assert_false(atomic_load(&stage.seen_cancel));
    jobs_close(jobs);
}

static void test_jobs_that_fail_say_why(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    OWNED(job_record_drop)
    struct job_record record = ended(fixture, jobs, begin(fixture, jobs, "fails", &ana));

    assert_int_equal(record.state, JOB_FAILED);
    assert_string_equal(record.error, "there is no room");
    assert_string_equal(record.result, "{\"did\":2}");
    jobs_close(jobs);
}

/* jobs (1) */
static void test_jobs_of_a_kind_run_one_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    int64_t id = begin(fixture, jobs, "waits", &ana), other;

    await(&stage.begun);
    FAILS(jobs_start(jobs, SLICE("waits"), NULL, &ana, &other, &fixture->err), ERROR_CONFLICT);
    assert_non_null(strstr(fixture->err.message, "job 1 is running"));
    other = begin(fixture, jobs, "quick", &ana); /* of another kind */
    await_end(fixture, jobs, other);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs"), 2);
    sem_post(&stage.go_on);
    await_end(fixture, jobs, id);
    sem_post(&stage.go_on);
    id = begin(fixture, jobs, "waits", &ana); /* who saw the end may start the next: jobs.c (1) */
    OWNED(job_record_drop) struct job_record second = ended(fixture, jobs, id);
    assert_int_equal(second.state, JOB_DONE);
    jobs_close(jobs);
}

static void test_jobs_start_refuses(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    struct error *err = &fixture->err;
    int64_t id;

    FAILS(jobs_start(jobs, SLICE("unknown"), NULL, &ana, &id, err), ERROR_INVALID);
    assert_string_equal(err->field, "kind");
    FAILS(jobs_start(jobs, SLICE("waits"), json_pack("{s:i}", "a", 1), &ana, &id, err),
          ERROR_INVALID);
    FAILS(jobs_start(jobs, SLICE("quick"), json_array(), &ana, &id, err), ERROR_INVALID);
    FAILS(jobs_start(jobs, SLICE("resumes"), NULL, &ana, &id, err), ERROR_DENIED); /* jobs (3) */
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs"), 0);
    assert_int_equal(atomic_load(&stage.runs), 0);
    id = begin(fixture, jobs, "resumes", &local);
    OK(jobs_cancel(jobs, id, err));
    await_end(fixture, jobs, id);
    jobs_close(jobs);
}

static void test_jobs_that_cannot_be_recorded_do_not_run(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    int64_t id;

    script(fixture, "ALTER TABLE jobs RENAME TO gone");
    FAILS(jobs_start(jobs, SLICE("quick"), NULL, &ana, &id, &fixture->err), ERROR_INTERNAL);
    script(fixture, "ALTER TABLE gone RENAME TO jobs");
    assert_int_equal(atomic_load(&stage.runs), 0);
    id = begin(fixture, jobs, "quick", &ana); /* its place is free again */
    await_end(fixture, jobs, id);
    jobs_close(jobs);
}

/* jobs.c (3) */
static void test_jobs_whose_end_cannot_be_recorded_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    int64_t id;

    begin(fixture, jobs, "deaf", &ana);
    await(&stage.begun);
    script(fixture, "ALTER TABLE jobs RENAME TO gone");
    sem_post(&stage.go_on);
    do { /* joins the thread that could not record */
        fixture->err = (struct error){0};
        assert_int_equal(jobs_start(jobs, SLICE("deaf"), NULL, &ana, &id, &fixture->err), -1);
    } while (fixture->err.code == ERROR_CONFLICT);
    script(fixture, "ALTER TABLE gone RENAME TO jobs");
    assert_int_equal(number(fixture, "SELECT state FROM jobs"), JOB_RUNNING);
    jobs_close(jobs);
    assert_int_equal(number(fixture, "SELECT state FROM jobs"), JOB_DONE);
}

/* --- stopping --- */

static void test_jobs_cancel(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    int64_t id = begin(fixture, jobs, "endless", &ana);

    await(&stage.begun);
    OK(jobs_cancel(jobs, id, &fixture->err));
    OWNED(job_record_drop) struct job_record record = ended(fixture, jobs, id);
    assert_int_equal(record.state, JOB_CANCELLED);
    assert_string_equal(record.result, "{\"did\":1}");
    FAILS(jobs_cancel(jobs, id, &fixture->err), ERROR_CONFLICT);
    FAILS(jobs_cancel(jobs, 999, &fixture->err), ERROR_NOT_FOUND);
    jobs_close(jobs);
}

static void test_jobs_close_stops_what_runs(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);

    begin(fixture, jobs, "endless", &ana);
    begin(fixture, jobs, "resumes", &local);
    await(&stage.begun);
    await(&stage.begun);
    jobs_close(jobs);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 1"), JOB_INTERRUPTED);
    assert_int_equal(number(fixture, "SELECT finished_at > 0 FROM jobs WHERE id = 1"), 1);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 2"), JOB_RUNNING);
    jobs = jobs_new(fixture); /* goes on */
    await(&stage.begun);
    assert_int_equal(atomic_load(&stage.runs), 3);
    OK(jobs_cancel(jobs, 3, &fixture->err)); /* a cancelled one does not */
    OWNED(job_record_drop) struct job_record record = ended(fixture, jobs, 3);
    assert_string_equal(record.kind, "resumes");
    assert_string_equal(record.actor, "local");
    jobs_close(jobs);
    jobs_close(jobs_new(fixture));
    assert_int_equal(atomic_load(&stage.runs), 3);
}

/* Who was not told did everything. */
static void test_jobs_that_end_before_they_are_told(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    int64_t id = begin(fixture, jobs, "deaf", &ana);

    await(&stage.begun);
    OK(jobs_cancel(jobs, id, &fixture->err));
    sem_post(&stage.go_on);
    OWNED(job_record_drop) struct job_record record = ended(fixture, jobs, id);
    assert_int_equal(record.state, JOB_DONE);
    jobs_close(jobs);
}

/* jobs (2) */
static void test_jobs_that_a_killed_process_left(void **state)
{
    struct fixture *fixture = *state;

    script(fixture, "INSERT INTO jobs(kind, state, spec, actor, created_at, started_at) VALUES"
                    " ('quick', 1, '{}', 'ana', 8000000000000000, 1), ('resumes', 1, '{\"a\":1}', "
                    "'bob', 8000000000000000, 2),"
                    " ('unheard', 1, '{}', 'ana', 8000000000000000, 3), ('quick', 2, '{}', 'ana', "
                    "8000000000000000, 4)");
    struct jobs *jobs = jobs_new(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE state = 5 AND id < 4"), 3);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 4"), JOB_DONE);
    await(&stage.begun);
    assert_int_equal(atomic_load(&stage.runs), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE id = 5 AND actor = 'bob'"
                                     "   AND kind = 'resumes' AND spec = '{\"a\":1}'"),
                     1);
    jobs_close(jobs);
}

/* --- rows --- */

static void test_jobs_are_audited_when_people_start_them(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    await_end(fixture, jobs, begin(fixture, jobs, "quick", &ana));
    await_end(fixture, jobs, begin(fixture, jobs, "quick", &nobody));
    await_end(fixture, jobs, begin(fixture, jobs, "fails", &ana));

    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 4);
    assert_int_equal(
        number(fixture, "SELECT count(*) FROM audit WHERE action = 'job.start' AND actor = 'ana'"
                        "   AND actor_id = 7 AND target = 'job/1' AND outcome = 'done'"
                        "   AND remote = '192.0.2.1' AND request_id = 'r-1'"
                        "   AND detail = '{\"kind\":\"quick\"}'"),
        1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'job.end'"
                                     "   AND target = 'job/3' AND outcome = 'failed'"),
                     1);
    jobs_close(jobs);
}

static void test_jobs_list(void **state)
{
    struct fixture *fixture = *state;
    struct jobs *jobs = jobs_new(fixture);
    OWNED(job_page_drop) struct job_page page = {.items = NULL}, rest = {.items = NULL};
    const char *const order[] = {"quick", "fails", "quick", "quick"};

    for (size_t i = 0; i < LENGTH(order); i++) {
        await_end(fixture, jobs, begin(fixture, jobs, order[i], &ana));
    }
    OK(jobs_list(jobs, SLICE("quick"), 0, 2, &page, &fixture->err));
    assert_int_equal(page.count, 2);
    assert_true(page.more && page.items[0].id == 4 && page.items[1].id == 3);
    OK(jobs_list(jobs, SLICE("quick"), 3, 2, &rest, &fixture->err));
    assert_true(rest.count == 1 && !rest.more && rest.items[0].id == 1);
    job_page_drop(&page);
    OK(jobs_list(jobs, SLICE_NONE, 0, 10, &page, &fixture->err));
    assert_int_equal(page.count, 4);
    jobs_close(jobs);
}

/* job (2) */
static void test_jobs_rows_are_bounded(void **state)
{
    struct fixture *fixture = *state;

    script(fixture,
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1010)"
           " INSERT INTO jobs(kind, state, spec, actor, created_at)"
           " SELECT 'quick', CASE i WHEN 3 THEN 1 ELSE 2 END, '{}', '', 8000000000000000 FROM n;"
           "INSERT INTO jobs(kind, state, spec, actor, created_at)"
           " VALUES ('fails', 2, '{}', '', 1), ('fails', 2, '{}', '', 8000000000000000)");
    struct jobs *jobs = jobs_new(fixture);
    script(fixture, "UPDATE jobs SET state = 1 WHERE id = 3"); /* one that runs stays */
    await_end(fixture, jobs, begin(fixture, jobs, "quick", &ana));
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE kind = 'quick'"), 1001);
    assert_int_equal(number(fixture, "SELECT min(id) FROM jobs WHERE id > 3"), 12);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE kind = 'fails'"), 2);
    await_end(fixture, jobs, begin(fixture, jobs, "fails", &ana));
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE kind = 'fails'"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE created_at = 1"), 0);
    jobs_close(jobs);
}

static void test_jobs_progress_reaches_the_row(void **state)
{
    struct fixture *fixture = *state;
    int64_t id = 0;
    const struct job_row_new row = {SLICE("quick"), SLICE("ana"), SLICE("{}"), NULL};

    OK(job_row_add(fixture->store, &row, &id, &fixture->err));
    OK(job_row_progress(fixture->store, id, SLICE("p"), SLICE("{\"a\":1}"), &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE phase = 'p'"
                                     "   AND progress = '{\"a\":1}'"),
                     1);
    const struct job_row_end end = {
        .id = id, .state = JOB_DONE, .progress = SLICE("{\"a\":2}"), .result = SLICE("{}")};
    OK(job_row_finish(fixture->store, &end, &fixture->err));
    OK(job_row_progress(fixture->store, id, SLICE("late"), SLICE("{}"), &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs WHERE progress = '{\"a\":2}'"), 1);
}

/* --- without a server --- */

struct told {
    int times;
    bool stop;
};

static void tell(void *arg, const char *phase, const json_t *progress)
{
    struct told *told = arg;

    assert_non_null(phase);
    assert_true(json_is_object(progress));
    told->times++;
}

static bool asks_to_stop(void *arg)
{
    return ((struct told *)arg)->stop;
}

static void test_job_run_alone(void **state)
{
    struct fixture *fixture = *state;
    struct told told = {0, true};
    json_t *result = NULL;
    struct job_alone with = {.storage = fixture->store,
                             .kind = &waits,
                             .tell = tell,
                             .cancelled = asks_to_stop,
                             .arg = &told};

    script(fixture,
           "INSERT INTO jobs(kind, state, spec, actor, created_at) VALUES"
           " ('waits', 1, '{}', '', 8000000000000000), ('resumes', 1, '{}', '', 8000000000000000)");
    sem_post(&stage.go_on);
    OK(job_run_alone(&with, &result, &fixture->err));
    assert_int_equal(json_integer_value(json_object_get(result, "did")), 5);
    assert_true(told.times > 0 && atomic_load(&stage.seen_cancel));
    json_decref(result);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 1"), JOB_INTERRUPTED);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 2"), JOB_RUNNING);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 3"), JOB_CANCELLED);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE actor = 'local'"), 2);
    with.kind = &fails;
    FAILS(job_run_alone(&with, &result, &fixture->err), ERROR_STORAGE_FULL);
    assert_int_equal(number(fixture, "SELECT state FROM jobs WHERE id = 4"), JOB_FAILED);
    json_t *spec = json_pack("{s:b}", "a", 1);
    with.kind = &waits;
    with.spec = spec;
    FAILS(job_run_alone(&with, &result, &fixture->err), ERROR_INVALID);
    json_decref(spec);
    assert_int_equal(number(fixture, "SELECT count(*) FROM jobs"), 4);
}

/* Runs last: statements of the tests above. All jobs, newest first, are a range of the key. */
static void test_jobs_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 8);
}

#define JOBS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JOBS_TEST(test_jobs_run_and_are_recorded),
        JOBS_TEST(test_jobs_that_fail_say_why),
        JOBS_TEST(test_jobs_of_a_kind_run_one_at_a_time),
        JOBS_TEST(test_jobs_start_refuses),
        JOBS_TEST(test_jobs_that_cannot_be_recorded_do_not_run),
        JOBS_TEST(test_jobs_whose_end_cannot_be_recorded_at_once),
        JOBS_TEST(test_jobs_cancel),
        JOBS_TEST(test_jobs_close_stops_what_runs),
        JOBS_TEST(test_jobs_that_end_before_they_are_told),
        JOBS_TEST(test_jobs_that_a_killed_process_left),
        JOBS_TEST(test_jobs_are_audited_when_people_start_them),
        JOBS_TEST(test_jobs_list),
        JOBS_TEST(test_jobs_rows_are_bounded),
        JOBS_TEST(test_jobs_progress_reaches_the_row),
        JOBS_TEST(test_job_run_alone),
        JOBS_TEST(test_jobs_no_statement_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_scrub.c - the scrub: marks what is damaged, goes on where it stood. */
#include <unistd.h>

#include "tests/support/checks.h"

static struct scrub_status scrub_after_pass(struct fixture *fixture)
{
    struct scrub_status status;
    int64_t before;

    OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    before = status.finished_at;
    OK(storage_scrub_run(fixture->store, &fixture->err));
    do {
        usleep(2000);
        OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    } while (status.running || status.finished_at == before);
    return status;
}

/* With threads: nothing of the collector's is due within the hour. */
static void scrub_on(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture->options.resting = false;
    fixture->options.scrub_rate = 100 << 20;
    fixture->options.scrub_interval_ms = 3600000;
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
}

static void test_scrub_marks_what_is_damaged(void **state)
{
    struct fixture *fixture = *state;
    const struct digest layer = digest_text_of(LAYER);
    struct blob blob;

    fill(fixture);
    scrub_on(fixture);
    struct scrub_status status = scrub_after_pass(fixture);
    assert_int_equal(status.damaged, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE verified_at IS NOT NULL"),
                     3);
    blob_altered(fixture);
    OK(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err));
    status = scrub_after_pass(fixture);
    assert_int_equal(status.damaged, 1);
    assert_int_equal(status.found, 1);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    push_blob(fixture, REPOSITORY, LAYER);
    assert_int_equal(scrub_after_pass(fixture).damaged, 0);
}

static void test_scrub_goes_on_where_it_stood(void **state)
{
    struct fixture *fixture = *state;
    int64_t began = clock_now_us() - 60 * INT64_C(1000000);
    char sql[128];
    struct scrub_status status;

    push_blob(fixture, REPOSITORY, LAYER);
    push_blob(fixture, REPOSITORY, CONFIG);
    /* A pass that began, and passed the first blob, before the process ended. */
    edit(fixture, "UPDATE blobs SET created_at = 1, verified_at = NULL");
    snprintf(sql, sizeof(sql), "INSERT INTO server_state(name, value) VALUES('scrub', '1 %lld 2')",
             (long long)began);
    edit(fixture, sql);
    scrub_on(fixture);
    do {
        usleep(2000);
        OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    } while (status.running);
    assert_int_equal(status.started_at, began);
    assert_true(status.finished_at > began);
    assert_true(status.next_at == began + 3600 * INT64_C(1000000));
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE verified_at IS NULL"), 1);
    assert_int_equal(number(fixture, "SELECT id FROM blobs WHERE verified_at IS NULL"), 1);
}

static void test_scrub_is_off_without_a_rate(void **state)
{
    struct fixture *fixture = *state;
    struct scrub_status status;

    OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    assert_int_equal(status.rate, 0);
    assert_false(status.running);
    FAILS(storage_scrub_run(fixture->store, &fixture->err), ERROR_CONFLICT);
}

/* After all the others: see test_check.c. */
static void test_scrub_statements_scan_nothing(void **state)
{
    assert_true(plans_check(*state, "r.deleted_name >= $2") >= 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_scrub_marks_what_is_damaged),
        FIXTURE_TEST(test_scrub_goes_on_where_it_stood),
        FIXTURE_TEST(test_scrub_is_off_without_a_rate),
        FIXTURE_TEST(test_scrub_statements_scan_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

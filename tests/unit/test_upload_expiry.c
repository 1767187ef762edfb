/* test_upload_expiry.c - when upload sessions expire, and when they do not. */
#include <string.h>
#include <unistd.h>

#include "storage/meta_internal.h"
#include "tests/support/uploads.h"

static void test_upload_idle_for_too_long_expires(void **state)
{
    struct bench *bench = *state;

    bench->options.upload_ttl_ms = 0;
    reopen(bench);
    start(bench);
    receive(bench, "hello");
    assert_int_equal(files(bench), 1);
    sweep_until_files(bench, 0);
    assert_int_equal(status_code(bench), ERROR_BLOB_UPLOAD_UNKNOWN);
}

enum { MINUTE_US = 60000000, HOUR_US = 60 * INT64_C(60000000) };

struct expiry {
    const char *sql;
    int64_t value;
};

static int expiry_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct expiry *expiry = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, expiry->sql);

    if (strchr(expiry->sql, '$') != NULL) {
        db_bind_i64(&query, expiry->value);
        return db_finish(&query, err);
    }
    if (db_step(&query, err) != 1)
        return -1;
    expiry->value = db_column_i64(&query, 0);
    return 0;
}

/* Of the one session there is. */
static void expiry_set(struct bench *bench, int64_t at)
{
    struct expiry expiry = {"UPDATE uploads SET expires_at = $1", at};
    struct error err = {0};

    assert_int_equal(meta_write(bench->store->meta, expiry_run, &expiry, &err), 0);
}

static int64_t expiry_get(struct bench *bench)
{
    struct expiry expiry = {.sql = "SELECT expires_at FROM uploads"};
    struct error err = {0};

    assert_int_equal(db_read(bench->store->meta->db, expiry_run, &expiry, &err), 0);
    return expiry.value;
}

/* Its row learns of the bytes some seconds later. */
static void test_upload_written_to_just_now_does_not_expire(void **state)
{
    struct bench *bench = *state;
    char locator[LOCATOR_SIZE + 1] = "";
    int64_t now = clock_now_us();
    struct error err = {0};
    bool more = true;

    start(bench);
    expiry_set(bench, now + 10 * MINUTE_US);
    receive(bench, "hello");
    upload_table_touch(bench->store->uploads);
    assert_true(expiry_get(bench) >= now + HOUR_US);
    assert_int_equal(meta_upload_expire(bench->store->meta, clock_now_us(), locator, &more, &err),
                     0);
    assert_string_equal(locator, "");
    offset_is(bench, 5);
}

/* The sweep's: before it touches those that are written to. */
static void test_upload_expires_by_the_time_it_is_told(void **state)
{
    struct bench *bench = *state;
    int64_t now = clock_now_us();

    start(bench);
    expiry_set(bench, now - 5);
    for (int64_t at = now - 10; at <= now; at += 10) {
        char locator[LOCATOR_SIZE + 1] = "";
        struct error err = {0};
        bool more = true;
        assert_int_equal(meta_upload_expire(bench->store->meta, at, locator, &more, &err), 0);
        assert_int_equal(locator_valid(locator), at == now);
        assert_int_equal(more, at == now);
    }
}

static void test_upload_expired_under_its_writer_is_unknown(void **state)
{
    struct bench *bench = *state;

    bench->options.upload_ttl_ms = 0;
    for (int told = 0; told < 2; told++) {
        char locator[LOCATOR_SIZE + 1] = "";
        struct error err = {0};
        reopen(bench);
        start(bench);
        struct upload *upload = claim(bench);
        append(upload, "hello");
        usleep(2000);
        bool more = false;
        assert_int_equal(
            meta_upload_expire(bench->store->meta, clock_now_us(), locator, &more, &err), 0);
        assert_true(locator_valid(locator));
        if (told) { /* as the sweep does */
            upload_table_forget(bench->store->uploads, locator);
            assert_int_equal(append_code(upload, "x"), ERROR_BLOB_UPLOAD_UNKNOWN);
        }
        assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello"), ERROR_BLOB_UPLOAD_UNKNOWN);
        assert_int_equal(files(bench), told ? 0 : 1);
        sweep_until_files(bench, 0);
    }
}

static void test_upload_in_use_does_not_expire(void **state)
{
    struct bench *bench = *state;

    int64_t now = clock_now_us();

    start(bench);
    expiry_set(bench, now + 10 * MINUTE_US);
    struct upload *upload = claim(bench);
    append(upload, "hello ");
    bench->store->sweep = sweep_open(bench->store);
    for (int i = 0; i < PATIENCE_MS && expiry_get(bench) < now + HOUR_US; i++)
        usleep(1000);
    assert_true(expiry_get(bench) >= now + HOUR_US);
    append(upload, "world");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_upload_idle_for_too_long_expires),
        UPLOAD_TEST(test_upload_written_to_just_now_does_not_expire),
        UPLOAD_TEST(test_upload_expires_by_the_time_it_is_told),
        UPLOAD_TEST(test_upload_expired_under_its_writer_is_unknown),
        UPLOAD_TEST(test_upload_in_use_does_not_expire),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

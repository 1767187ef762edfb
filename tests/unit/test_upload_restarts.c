/* test_upload_restarts.c - upload sessions after the death of the process and after power cuts, and
 * what of them stays in memory. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/meta_internal.h"
#include "storage/session.h"
#include "tests/support/uploads.h"

/* As the death of the process leaves it: nothing more is synced or recorded. */
static void die(struct bench *bench)
{
    struct upload_table *table = bench->store->uploads;

    for (size_t i = 0; i < SESSION_BUCKETS; i++) {
        while (table->buckets[i] != NULL) {
            struct session *session = table->buckets[i];
            pthread_mutex_lock(&table->lock);
            session->references++;
            session_end(session, SESSION_LEFT);
            pthread_mutex_unlock(&table->lock);
            session_release(session);
        }
    }
    reopen(bench);
}

static uint64_t read_back; /* bytes of uploads */
static const struct blob_driver *whole;

static int count_read(struct blob_writer *writer, uint64_t offset, void *out, size_t size,
                      struct error *err)
{
    read_back += size;
    return whole->writer_read(writer, offset, out, size, err);
}

/* Lasts until the store is opened anew. */
static void count_reads(struct bench *bench)
{
    static struct blob_driver driver;

    whole = bench->store->blobs.driver;
    driver = *whole;
    driver.writer_read = count_read;
    bench->store->blobs.driver = &driver;
    read_back = 0;
}

static void test_upload_survives_the_death_of_the_process(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello ");
    die(bench);
    offset_is(bench, 6);
    receive(bench, "w");
    reopen(bench); /* a checkpoint at 7: the hash goes on from there */
    receive(bench, "or");
    die(bench);
    count_reads(bench);
    struct upload *upload = claim(bench);
    assert_int_equal(storage_upload_offset(upload), 9);
    assert_int_equal(read_back, 2);
    append(upload, "ld");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

static void test_upload_closed_in_order_goes_on_after_a_power_cut(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello ");
    set_boot(bench, "second");
    reopen(bench); /* closing recorded it */
    offset_is(bench, 6);
    struct upload *upload = claim(bench);
    append(upload, "world");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
}

static void test_upload_stands_at_its_checkpoint_after_a_power_cut(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello ");
    reopen(bench); /* a checkpoint at 6 */
    receive(bench, "unsynced");
    set_boot(bench, "second");
    die(bench);
    offset_is(bench, 6);
    die(bench); /* again, and now in the same boot: the file must not tell otherwise */
    offset_is(bench, 6);
    struct upload *upload = claim(bench);
    append(upload, "world");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

/* As a power cut leaves it that took the row of a session and not its file. */
static void orphan_make(struct bench *bench)
{
    char locator[LOCATOR_SIZE + 1], path[FOLDER_MAX + 2 * LOCATOR_SIZE];

    locator_new(locator);
    snprintf(path, sizeof(path), "%s/blobs/%.2s", bench->root, locator);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", bench->root, locator, locator);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

static bool orphans_due(struct bench *bench)
{
    char state[16] = "";
    struct error err = {0};
    bool found = false;

    assert_int_equal(
        meta_state_get(bench->store->meta, STATE_ORPHANS, state, sizeof(state), &found, &err), 0);
    return !found || strcmp(state, STATE_ORPHANS_DUE) == 0;
}

static void test_upload_file_without_a_row_goes_after_another_boot(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(push(bench, "kept"), 0);
    start(bench);
    receive(bench, "hello ");
    bench->sweeps = true;
    reopen(bench);
    for (int i = 0; i < PATIENCE_MS && orphans_due(bench); i++)
        usleep(1000);
    assert_false(orphans_due(bench)); /* the first boot has been looked through */
    orphan_make(bench);
    reopen(bench);
    usleep(200000);
    assert_int_equal(files(bench), 3); /* the same boot: no need to look */
    set_boot(bench, "second");
    sweep_until_files(bench, 2);
    blob_is(bench, DIGEST_SHA256, "kept");
    offset_is(bench, 6);
}

static void test_upload_whose_file_fell_short_is_gone(void **state)
{
    static const char *const boots[] = {"first", "second"};
    struct bench *bench = *state;

    for (size_t i = 0; i < LENGTH(boots); i++) {
        start(bench);
        receive(bench, "hello ");
        reopen(bench);
        assert_int_equal(files(bench), 1);
        assert_int_equal(truncate(seen.path, 3), 0);
        set_boot(bench, boots[i]);
        reopen(bench);
        struct meta_counts counts;
        struct error err = {0};
        assert_int_equal(meta_count(bench->store->meta, &counts, &err), 0);
        assert_int_equal(counts.uploads, i == 0 ? 1 : 0); /* recovery does not wait for a claim */
        assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
        sweep_until_files(bench, 0);
    }
}

static void test_upload_resting_is_recorded_and_leaves_memory(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello ");
    assert_int_equal(bench->store->uploads->idle, 1);
    assert_false(upload_table_checkpoint(bench->store->uploads, 60000));
    assert_int_equal(bench->store->uploads->idle, 1);
    assert_false(upload_table_checkpoint(bench->store->uploads, 0));
    assert_int_equal(bench->store->uploads->idle, 0);
    offset_is(bench, 6);
    struct meta_upload row;
    struct error err = {0};
    assert_int_equal(
        meta_upload_find(bench->store->meta, REPOSITORY, slice_of(bench->id), &row, &err), 0);
    assert_int_equal(row.synced, 6);
    struct upload *upload = claim(bench);
    append(upload, "world");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
}

static void test_upload_crowd_keeps_few_descriptors(void **state)
{
    struct bench *bench = *state;

    for (int i = 0; i < SESSION_IDLE_MAX + 20; i++) {
        start(bench);
        receive(bench, "hello");
    }
    assert_int_equal(bench->store->uploads->idle, SESSION_IDLE_MAX);
    offset_is(bench, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_upload_survives_the_death_of_the_process),
        UPLOAD_TEST(test_upload_closed_in_order_goes_on_after_a_power_cut),
        UPLOAD_TEST(test_upload_stands_at_its_checkpoint_after_a_power_cut),
        UPLOAD_TEST(test_upload_file_without_a_row_goes_after_another_boot),
        UPLOAD_TEST(test_upload_whose_file_fell_short_is_gone),
        UPLOAD_TEST(test_upload_resting_is_recorded_and_leaves_memory),
        UPLOAD_TEST(test_upload_crowd_keeps_few_descriptors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

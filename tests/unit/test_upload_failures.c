/* test_upload_failures.c - what failures of the disk leave of upload sessions. */
#include <errno.h>

#include "storage/meta_internal.h"
#include "tests/support/uploads.h"

/* The file system driver, of which one function fails once. */
static struct {
    const struct blob_driver *whole;
    int number; /* errno */
} broken;

static int append_fails(struct blob_writer *writer, struct slice bytes, struct error *err)
{
    int number = broken.number;

    if (number == 0)
        return broken.whole->writer_append(writer, bytes, err);
    broken.number = 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, number, "broken for a test");
}

static int sync_fails(struct blob_writer *writer, struct error *err)
{
    if (broken.number == 0)
        return broken.whole->writer_sync(writer, err);
    broken.number = 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, EIO, "broken for a test");
}

static int commit_fails(struct blob_writer *writer, const struct digest *digest, struct error *err)
{
    if (broken.number == 0)
        return broken.whole->writer_commit(writer, digest, err);
    broken.number = 0;
    return error_set_errno(err, ERROR_UNAVAILABLE, EIO, "broken for a test");
}

/* Lasts until the store is opened anew. */
static void break_driver(struct bench *bench, int number)
{
    static struct blob_driver driver;

    broken.whole = bench->store->blobs.driver;
    broken.number = number;
    driver = *broken.whole;
    driver.writer_append = append_fails;
    driver.writer_sync = sync_fails;
    driver.writer_commit = commit_fails;
    bench->store->blobs.driver = &driver;
}

static void test_upload_on_a_full_disk_keeps_what_came_before(void **state)
{
    struct bench *bench = *state;

    start(bench);
    struct upload *upload = claim(bench);
    append(upload, "hello ");
    break_driver(bench, ENOSPC);
    assert_int_equal(append_code(upload, "lost"), ERROR_STORAGE_FULL);
    offset_is(bench, 6);
    append(upload, "world"); /* there is room again */
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

static void test_upload_that_cannot_be_synced_is_gone(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "hello");
    struct blob blob;

    start(bench);
    struct upload *upload = claim(bench);
    append(upload, "hello");
    break_driver(bench, EIO);
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello"), ERROR_UNAVAILABLE);
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &blob), ERROR_BLOB_UNKNOWN);
    assert_int_equal(files(bench), 0);
}

static int keep_sessions(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return db_execute(tx,
                      "CREATE TRIGGER keep BEFORE DELETE ON uploads"
                      " BEGIN SELECT RAISE(ABORT, 'for a test'); END",
                      err);
}

/* Nor can its row be removed: what the row says is then still the truth. */
static void test_upload_that_cannot_be_synced_is_cut_back_to_its_checkpoint(void **state)
{
    const struct db_work keep = {.run = keep_sessions};
    struct bench *bench = *state;
    struct error err = {0};

    start(bench);
    receive(bench, "hello ");
    reopen(bench); /* a checkpoint at 6 */
    assert_int_equal(db_write(bench->store->meta->db, &keep, &err), 0);
    struct upload *upload = claim(bench);
    append(upload, "lost");
    break_driver(bench, EIO);
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello lost"), ERROR_UNAVAILABLE);
    offset_is(bench, 6);
    upload = claim(bench);
    append(upload, "world");
    assert_int_equal(storage_upload_offset(upload), 11);
    storage_upload_release(upload);
}

static void test_upload_whose_checkpoint_fails_is_gone(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello");
    break_driver(bench, EIO);
    upload_table_checkpoint(bench->store->uploads, 0);
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(files(bench), 0);
}

/* 64 MiB came by an earlier claim: the checkpoint runs beside the writer at work. */
static void test_upload_whose_checkpoint_fails_beside_its_writer_is_lost(void **state)
{
    enum { PIECE = 1 << 20 };
    struct bench *bench = *state;
    OWNED(memory_drop) char *piece = memory_new(PIECE);
    struct error err = {0};

    start(bench);
    for (int claims = 0; claims < 2; claims++) {
        struct upload *upload = claim(bench);
        for (size_t i = 0; i < SESSION_CHECKPOINT_SIZE / PIECE && claims == 0; i++)
            assert_int_equal(storage_upload_append(upload, (struct slice){piece, PIECE}, &err), 0);
        if (claims == 1) {
            append(upload, "more");
            upload_table_checkpoint(bench->store->uploads, 60000); /* this one is good */
            struct meta_upload row;
            assert_int_equal(
                meta_upload_find(bench->store->meta, REPOSITORY, slice_of(bench->id), &row, &err),
                0);
            assert_int_equal(row.synced, SESSION_CHECKPOINT_SIZE); /* never inside a claim */
            for (size_t i = 0; i < SESSION_CHECKPOINT_SIZE / PIECE; i++)
                assert_int_equal(storage_upload_append(upload, (struct slice){piece, PIECE}, &err),
                                 0);
        }
        storage_upload_release(upload);
    }
    struct upload *upload = claim(bench);
    break_driver(bench, EIO);
    upload_table_checkpoint(bench->store->uploads, 60000);
    assert_int_equal(append_code(upload, "x"), ERROR_UNAVAILABLE);
    storage_upload_release(upload);
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_upload_on_a_full_disk_keeps_what_came_before),
        UPLOAD_TEST(test_upload_that_cannot_be_synced_is_gone),
        UPLOAD_TEST(test_upload_that_cannot_be_synced_is_cut_back_to_its_checkpoint),
        UPLOAD_TEST(test_upload_whose_checkpoint_fails_is_gone),
        UPLOAD_TEST(test_upload_whose_checkpoint_fails_beside_its_writer_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

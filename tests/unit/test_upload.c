/* test_upload.c - upload sessions with one writer, over the real database and the file system. */
#include <string.h>

#include "tests/support/uploads.h"

static void test_upload_in_pieces_becomes_a_blob(void **state)
{
    struct bench *bench = *state;

    start(bench);
    offset_is(bench, 0);
    assert_int_equal(files(bench), 0); /* no bytes, no file */
    receive(bench, "hello ");
    offset_is(bench, 6);
    struct upload *upload = claim(bench);
    assert_int_equal(storage_upload_offset(upload), 6);
    append(upload, "wor");
    append(upload, "");
    append(upload, "ld");
    offset_is(bench, 11);
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
    reopen(bench);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

static void test_upload_without_bytes_becomes_the_empty_blob(void **state)
{
    struct bench *bench = *state;

    start(bench);
    assert_int_equal(finish_code(claim(bench), DIGEST_SHA256, ""), 0);
    blob_is(bench, DIGEST_SHA256, "");
}

static void test_upload_finish_in_sha512_reads_the_bytes_again(void **state)
{
    struct bench *bench = *state;

    start(bench);
    receive(bench, "hello ");
    struct upload *upload = claim(bench);
    append(upload, "world");
    assert_int_equal(finish_code(upload, DIGEST_SHA512, "hello world"), 0);
    blob_is(bench, DIGEST_SHA512, "hello world");
}

static void test_upload_mismatch_ends_the_session(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "other");
    struct blob blob;

    start(bench);
    struct upload *upload = claim(bench);
    append(upload, "hello");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "other"), ERROR_DIGEST_INVALID);
    assert_int_equal(status_code(bench), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &blob), ERROR_BLOB_UNKNOWN);
    assert_int_equal(files(bench), 0);
}

static void test_upload_rewind_forgets_bytes_and_hash(void **state)
{
    static const struct {
        uint64_t offset;
        const char *whole;
    } cases[] = {{6, "hello world"}, {9, "hello badworld"}, {15, "hello bad bytesworld"}};
    struct bench *bench = *state;

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error err = {0};
        start(bench);
        receive(bench, "hello ");
        struct upload *upload = claim(bench);
        append(upload, "bad bytes");
        assert_int_equal(storage_upload_rewind(upload, 5, &err), -1); /* before the claim */
        error_clear(&err);
        assert_int_equal(storage_upload_rewind(upload, 16, &err), -1);
        error_clear(&err);
        assert_int_equal(storage_upload_rewind(upload, cases[i].offset, &err), 0);
        offset_is(bench, cases[i].offset);
        append(upload, "world");
        assert_int_equal(finish_code(upload, DIGEST_SHA256, cases[i].whole), 0);
        blob_is(bench, DIGEST_SHA256, cases[i].whole);
    }
}

static void test_upload_larger_than_allowed_keeps_what_came_before(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};

    bench->options.blob_size_max = 8;
    reopen(bench);
    start(bench);
    struct upload *upload = claim(bench);
    append(upload, "hello");
    assert_int_equal(storage_upload_append(upload, SLICE("1234"), &err), -1);
    assert_int_equal(err.code, ERROR_SIZE_INVALID);
    assert_int_equal(err.status, 413);
    append(upload, "123");
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello123"), 0);
}

static void test_upload_belongs_to_its_repository(void **state)
{
    struct bench *bench = *state;

    start(bench);
    assert_int_equal(claim_code(bench, SLICE("team/other")), ERROR_BLOB_UPLOAD_UNKNOWN);
    receive(bench, "hello");
    assert_int_equal(claim_code(bench, SLICE("team/other")), ERROR_BLOB_UPLOAD_UNKNOWN);
    struct error err = {0};
    assert_int_equal(
        storage_upload_cancel(bench->store, SLICE("team/other"), slice_of(bench->id), &err), -1);
    offset_is(bench, 5);
    memcpy(bench->id, "not-an-id", 10);
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(status_code(bench), ERROR_BLOB_UPLOAD_UNKNOWN);
}

static void test_upload_finished_is_remembered(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "hello");
    struct upload_status status;
    struct error err = {0};

    assert_int_equal(push(bench, "hello"), 0);
    reopen(bench);
    assert_int_equal(
        storage_upload_status(bench->store, REPOSITORY, slice_of(bench->id), &status, &err), 0);
    assert_true(status.committed);
    assert_true(digest_equal(&status.digest, &digest));
    assert_int_equal(storage_upload_cancel(bench->store, REPOSITORY, slice_of(bench->id), &err),
                     -1);
    assert_int_equal(err.code, ERROR_BLOB_UPLOAD_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_upload_in_pieces_becomes_a_blob),
        UPLOAD_TEST(test_upload_without_bytes_becomes_the_empty_blob),
        UPLOAD_TEST(test_upload_finish_in_sha512_reads_the_bytes_again),
        UPLOAD_TEST(test_upload_mismatch_ends_the_session),
        UPLOAD_TEST(test_upload_rewind_forgets_bytes_and_hash),
        UPLOAD_TEST(test_upload_larger_than_allowed_keeps_what_came_before),
        UPLOAD_TEST(test_upload_belongs_to_its_repository),
        UPLOAD_TEST(test_upload_finished_is_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_storage.c - blobs that are damaged, deleted and mounted, as readers see them; the root. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/uploads.h"

/* --- blobs --- */

static void test_blob_damaged_is_unknown_until_pushed_again(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "hello");
    struct error err = {0};
    struct blob blob;
    uint64_t size = 0;

    for (int way = 0; way < 3; way++) {
        assert_int_equal(push(bench, "hello"), 0);
        blob_is(bench, DIGEST_SHA256, "hello");
        assert_true(storage_peek_blob(bench->store, REPOSITORY, &digest, true, &size));
        assert_int_equal(size, 5);
        sweep_until_files(bench, 1);
        assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &blob), ERROR_NONE);
        storage_blob_close(&blob);
        if (way == 0)
            assert_int_equal(truncate(seen.path, 4), 0);
        else if (way == 1)
            assert_int_equal(unlink(seen.path), 0);
        else
            storage_blob_damaged(bench->store, &blob);
        assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &blob), ERROR_BLOB_UNKNOWN);
        assert_int_equal(storage_blob_stat(bench->store, REPOSITORY, &digest, false, &blob, &err),
                         -1);
        assert_int_equal(err.code, ERROR_BLOB_UNKNOWN);
        error_clear(&err);
        assert_false(storage_peek_blob(bench->store, REPOSITORY, &digest, false, &size));
    }
}

/* A slow reader of damaged bytes learns of it when others have been pushed in their place. */
static void test_blob_damage_of_replaced_bytes_harms_nobody(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "hello");
    struct blob slow, quick;

    assert_int_equal(push(bench, "hello"), 0);
    assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &slow), ERROR_NONE);
    assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &quick), ERROR_NONE);
    storage_blob_damaged(bench->store, &quick);
    assert_int_equal(push(bench, "hello"), 0);
    storage_blob_damaged(bench->store, &slow);
    blob_is(bench, DIGEST_SHA256, "hello");
    storage_blob_close(&slow);
    storage_blob_close(&quick);
}

static void test_blob_delete_and_mount_are_seen_at_once(void **state)
{
    struct bench *bench = *state;
    struct digest digest = digest_of_text(DIGEST_SHA256, "hello");
    struct slice target = SLICE("team/target");
    struct error err = {0};
    struct blob blob;
    bool mounted = true;
    uint64_t size = 0;

    assert_int_equal(
        storage_blob_mount(bench->store, target, REPOSITORY, &digest, NULL, &mounted, &err), 0);
    assert_false(mounted);
    assert_int_equal(push(bench, "hello"), 0);
    assert_int_equal(storage_blob_stat(bench->store, target, &digest, false, &blob, &err), -1);
    error_clear(&err);
    assert_int_equal(
        storage_blob_mount(bench->store, target, REPOSITORY, &digest, NULL, &mounted, &err), 0);
    assert_true(mounted);
    assert_int_equal(storage_blob_stat(bench->store, REPOSITORY, &digest, true, &blob, &err), 0);
    assert_int_equal(blob.fd, -1);
    assert_true(storage_peek_blob(bench->store, REPOSITORY, &digest, true, &size));
    assert_int_equal(storage_blob_delete(bench->store, REPOSITORY, &digest, &err), 0);
    assert_false(storage_peek_blob(bench->store, REPOSITORY, &digest, false, &size));
    assert_int_equal(storage_blob_stat(bench->store, REPOSITORY, &digest, true, &blob, &err), -1);
    assert_int_equal(err.code, ERROR_BLOB_UNKNOWN);
    error_clear(&err);
    assert_int_equal(storage_blob_stat(bench->store, target, &digest, true, &blob, &err), 0);
}

/* --- the root --- */

static void test_storage_root_has_one_owner(void **state)
{
    struct bench *bench = *state;
    struct storage *second = NULL;
    struct error err = {0};

    assert_int_equal(storage_open(&second, &bench->options, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_non_null(strstr(err.message, "another process"));
    error_clear(&err);
    assert_int_equal(storage_ready(bench->store, &err), 0);
    bench->options.min_free_bytes = UINT64_MAX;
    reopen(bench);
    assert_int_equal(storage_ready(bench->store, &err), -1);
}

static void test_storage_makes_the_folders_above_its_root(void **state)
{
    struct bench *bench = *state;
    struct storage *store = NULL;
    char root[FOLDER_MAX + 10];
    struct error err = {0};
    struct stat file;

    snprintf(root, sizeof(root), "%s/a/b/", bench->root);
    struct storage_options options = bench->options;
    options.root = root;
    assert_int_equal(storage_open(&store, &options, &err), 0);
    storage_close(store);
    assert_int_equal(stat(root, &file), 0);
    assert_int_equal(file.st_mode & 07777, 0700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_blob_damaged_is_unknown_until_pushed_again),
        UPLOAD_TEST(test_blob_damage_of_replaced_bytes_harms_nobody),
        UPLOAD_TEST(test_blob_delete_and_mount_are_seen_at_once),
        UPLOAD_TEST(test_storage_root_has_one_owner),
        UPLOAD_TEST(test_storage_makes_the_folders_above_its_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_fs.c - the file system driver through its table of functions. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/driver.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

/* One root and one store a test. */
struct bench {
    char root[FOLDER_MAX];
    struct blob_store store;
    char locator[LOCATOR_SIZE + 1];
};

static int set_up(void **state)
{
    struct bench *bench = memory_new(sizeof(*bench));
    struct error err = {0};

    thread_role_current = ROLE_WORKER;
    folder_new(bench->root);
    locator_new(bench->locator);
    *state = bench;
    return blob_store_open_fs(&bench->store, bench->root, &err);
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    blob_store_close(&bench->store);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

static struct blob_writer *writer_at(struct bench *bench, uint64_t offset)
{
    struct blob_writer *writer = NULL;
    struct error err = {0};

    assert_int_equal(
        bench->store.driver->writer_open(bench->store.self, bench->locator, offset, &writer, &err),
        0);
    return writer;
}

static void append(struct bench *bench, struct blob_writer *writer, const char *text)
{
    struct error err = {0};

    assert_int_equal(bench->store.driver->writer_append(writer, slice_of(text), &err), 0);
}

static uint64_t size_of(struct bench *bench)
{
    struct error err = {0};
    uint64_t size = 0;

    assert_int_equal(bench->store.driver->size(bench->store.self, bench->locator, &size, &err), 0);
    return size;
}

static void content_is(struct bench *bench, const char *text)
{
    char content[64] = "";
    struct error err = {0};
    int fd = -1;

    assert_int_equal(
        bench->store.driver->open(bench->store.self, bench->locator, strlen(text), &fd, &err), 0);
    assert_int_equal(read(fd, content, sizeof(content)), strlen(text));
    assert_string_equal(content, text);
    close(fd);
}

static void commit(struct bench *bench, struct blob_writer *writer, const char *text)
{
    struct digest digest;
    struct error err = {0};

    digest_of(DIGEST_SHA256, slice_of(text), &digest);
    assert_int_equal(bench->store.driver->writer_commit(writer, &digest, &err), 0);
}

/* fs (3) */
static void test_fs_a_second_name_is_never_cut_or_marked(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = NULL;
    struct digest digest;
    struct error err = {0};
    char path[FOLDER_MAX + 16];

    snprintf(path, sizeof(path), "%s/theirs", bench->root);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "theirs", 6), 6);
    assert_int_equal(
        bench->store.driver->adopt(bench->store.self, bench->locator, fd, true, &writer, &err), 0);
    digest_of(DIGEST_SHA256, SLICE("theirs"), &digest);
    struct blob_writer *const writers[] = {writer};
    const struct digest *const digests[] = {&digest};
    assert_int_equal(bench->store.driver->writers_commit(writers, digests, 1, &err), 0);
    bench->store.driver->writer_close(writer);
    content_is(bench, "theirs");
    assert_true(fgetxattr(fd, "user.slipway.digest", NULL, 0) < 0);
    assert_int_equal(
        bench->store.driver->writer_open(bench->store.self, bench->locator, 0, &writer, &err), -1);
    content_is(bench, "theirs");
    close(fd);
}

static void test_fs_locators_beside_each_other(void **state)
{
    const struct bench *bench = *state;
    char other[LOCATOR_SIZE + 1];

    locator_new_beside(bench->locator, other);
    assert_true(locator_valid(other));
    assert_memory_equal(other, bench->locator, 2);
    assert_string_not_equal(other, bench->locator);
}

static void test_fs_locators_are_random_hex(void **state)
{
    char other[LOCATOR_SIZE + 1];
    struct bench *bench = *state;

    locator_new(other);
    assert_true(locator_valid(other));
    assert_string_not_equal(other, bench->locator);
    assert_false(locator_valid("../../etc/passwd"));
    assert_false(locator_valid(""));
    assert_false(locator_valid("ABCDEF0123456789abcdef0123456789"));
}

static void test_fs_writes_into_the_final_file(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    char path[FOLDER_MAX + 100], attribute[200] = "", text[DIGEST_TEXT_MAX];
    struct digest digest;
    struct stat file;

    append(bench, writer, "hello ");
    append(bench, writer, "world");
    commit(bench, writer, "hello world");
    bench->store.driver->writer_close(writer);
    content_is(bench, "hello world");
    snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", bench->root, bench->locator, bench->locator);
    assert_int_equal(stat(path, &file), 0);
    digest_of(DIGEST_SHA256, SLICE("hello world"), &digest);
    if (getxattr(path, "user.slipway.digest", attribute, sizeof(attribute) - 1) >= 0)
        assert_string_equal(attribute, digest_text(&digest, text));
}

static void test_fs_commits_an_object_without_bytes(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);

    commit(bench, writer, "");
    bench->store.driver->writer_close(writer);
    content_is(bench, "");
}

static void test_fs_goes_on_where_it_stood_and_cuts_the_rest(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    struct error err = {0};
    char back[5] = "";

    append(bench, writer, "hello world");
    bench->store.driver->writer_close(writer);
    assert_int_equal(size_of(bench), 11);
    writer = writer_at(bench, 6);
    assert_int_equal(size_of(bench), 6);
    append(bench, writer, "there");
    assert_int_equal(bench->store.driver->writer_rewind(writer, 8, &err), 0);
    append(bench, writer, "e!");
    assert_int_equal(bench->store.driver->writer_read(writer, 6, back, 4, &err), 0);
    assert_string_equal(back, "the!");
    assert_int_equal(bench->store.driver->writer_sync(writer, &err), 0);
    bench->store.driver->writer_close(writer);
    content_is(bench, "hello the!");
}

static void test_fs_refuses_to_go_on_behind_the_end(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = NULL;
    struct error err = {0};

    assert_int_equal(
        bench->store.driver->writer_open(bench->store.self, bench->locator, 1, &writer, &err), -1);
    assert_int_equal(err.code, ERROR_BLOB_UPLOAD_UNKNOWN);
    bench->store.driver->writer_close(writer_at(bench, 0));
    error_clear(&err);
    assert_int_equal(
        bench->store.driver->writer_open(bench->store.self, bench->locator, 1, &writer, &err), -1);
    assert_int_equal(err.code, ERROR_BLOB_UPLOAD_UNKNOWN);
}

static void count_found(void *arg, const char *locator)
{
    int *count = arg;

    assert_true(locator_valid(locator));
    (*count)++;
}

/* All that is there, and nothing that is no object. */
static void test_fs_list_names_every_object(void **state)
{
    struct bench *bench = *state;
    char path[FOLDER_MAX + 64];
    struct error err = {0};
    int count = 0;

    for (int i = 0; i < 20; i++) {
        struct blob_writer *writer;
        locator_new(bench->locator);
        writer = writer_at(bench, 0);
        append(bench, writer, "hello");
        bench->store.driver->writer_close(writer);
    }
    snprintf(path, sizeof(path), "%s/blobs/%.2s/lost+found", bench->root, bench->locator);
    assert_int_equal(mkdir(path, 0700), 0);
    for (unsigned shelf = 0; shelf < LOCATOR_SHELVES; shelf++)
        assert_int_equal(
            bench->store.driver->list(bench->store.self, shelf, count_found, &count, &err), 0);
    assert_int_equal(count, 20);
}

static void test_fs_open_finds_damage(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    static const uint64_t wrong[] = {0, 4, 6};
    int fd = -1;

    append(bench, writer, "hello");
    bench->store.driver->writer_close(writer);
    for (size_t i = 0; i < LENGTH(wrong); i++) {
        struct error err = {0};
        assert_int_equal(
            bench->store.driver->open(bench->store.self, bench->locator, wrong[i], &fd, &err), -1);
        assert_int_equal(err.code, ERROR_BLOB_UNKNOWN);
    }
    struct error err = {0};
    locator_new(bench->locator);
    assert_int_equal(bench->store.driver->open(bench->store.self, bench->locator, 5, &fd, &err),
                     -1);
    assert_int_equal(err.code, ERROR_BLOB_UNKNOWN);
}

static void test_fs_removes_and_is_content_when_there_is_nothing(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    char locators[2][LOCATOR_SIZE + 1];
    const char(*both)[LOCATOR_SIZE + 1] = (const char(*)[LOCATOR_SIZE + 1]) locators;
    struct error err = {0};
    uint64_t bytes = 0;

    append(bench, writer, "hello");
    bench->store.driver->writer_close(writer);
    locator_new(locators[0]);
    memcpy(locators[1], bench->locator, LOCATOR_SIZE + 1);
    assert_int_equal(bench->store.driver->remove(bench->store.self, both, 2, &bytes, &err), 0);
    assert_int_equal(bytes, 5);
    assert_int_equal(size_of(bench), 0);
    assert_int_equal(bench->store.driver->remove(bench->store.self, both, 2, &bytes, &err), 0);
    assert_int_equal(bytes, 0);
}

/* A limit on the size of files stands in for a full disk. */
static void test_fs_failed_append_leaves_it_where_it_stood(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    struct rlimit before, small;
    struct error err = {0};

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){8, before.rlim_max};
    append(bench, writer, "hello");
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = bench->store.driver->writer_append(writer, SLICE(" world"), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(status, -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    assert_int_equal(size_of(bench), 5);
    append(bench, writer, " again");
    bench->store.driver->writer_close(writer);
    content_is(bench, "hello again");
}

/* What a failed append could not take back must not become part of the blob. */
static void test_fs_commit_cuts_what_was_not_appended(void **state)
{
    struct bench *bench = *state;
    struct blob_writer *writer = writer_at(bench, 0);
    char path[FOLDER_MAX + 100];

    append(bench, writer, "hello");
    snprintf(path, sizeof(path), "%s/blobs/%.2s/%s", bench->root, bench->locator, bench->locator);
    assert_int_equal(truncate(path, 8), 0);
    commit(bench, writer, "hello");
    bench->store.driver->writer_close(writer);
    content_is(bench, "hello");
}

static void test_fs_ready_tells_when_space_runs_out(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};

    assert_int_equal(bench->store.driver->ready(bench->store.self, 1, &err), 0);
    assert_int_equal(bench->store.driver->ready(bench->store.self, UINT64_MAX, &err), -1);
    assert_int_equal(err.code, ERROR_STORAGE_FULL);
}

static void test_fs_open_refuses_a_root_that_is_a_file(void **state)
{
    struct bench *bench = *state;
    struct blob_store store = {NULL, NULL};
    char path[FOLDER_MAX + 10];
    struct error err = {0};

    snprintf(path, sizeof(path), "%s/file", bench->root);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(blob_store_open_fs(&store, path, &err), -1);
    assert_int_equal(err.code, ERROR_UNAVAILABLE);
    blob_store_close(&store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fs_locators_are_random_hex),
        TEST(test_fs_locators_beside_each_other),
        TEST(test_fs_a_second_name_is_never_cut_or_marked),
        TEST(test_fs_writes_into_the_final_file),
        TEST(test_fs_commits_an_object_without_bytes),
        TEST(test_fs_goes_on_where_it_stood_and_cuts_the_rest),
        TEST(test_fs_refuses_to_go_on_behind_the_end),
        TEST(test_fs_list_names_every_object),
        TEST(test_fs_open_finds_damage),
        TEST(test_fs_removes_and_is_content_when_there_is_nothing),
        TEST(test_fs_failed_append_leaves_it_where_it_stood),
        TEST(test_fs_commit_cuts_what_was_not_appended),
        TEST(test_fs_ready_tells_when_space_runs_out),
        TEST(test_fs_open_refuses_a_root_that_is_a_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

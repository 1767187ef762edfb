/* test_upload_writers.c - upload sessions that several want to write to: who gives way, and many
 * threads at once. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/session.h"
#include "tests/support/uploads.h"

static void test_upload_of_the_same_blob_keeps_one_file(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(push(bench, "hello"), 0);
    assert_int_equal(push(bench, "hello"), 0);
    assert_int_equal(files(bench), 2);
    blob_is(bench, DIGEST_SHA256, "hello");
    sweep_until_files(bench, 1);
    blob_is(bench, DIGEST_SHA256, "hello");
}

static void test_upload_takeover_when_the_older_writer_rests(void **state)
{
    struct bench *bench = *state;

    start(bench);
    clock_stop();
    struct upload *older = claim(bench);
    append(older, "hello ");
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_INVALID); /* at once */
    clock_move(TAKEOVER_MS);
    struct upload *newer = claim(bench);
    assert_int_equal(storage_upload_offset(newer), 6);
    assert_int_equal(append_code(older, "interleaved"), ERROR_BLOB_UPLOAD_INVALID);
    append(newer, "world");
    assert_int_equal(finish_code(older, DIGEST_SHA256, "hello world"), ERROR_BLOB_UPLOAD_INVALID);
    assert_int_equal(finish_code(newer, DIGEST_SHA256, "hello world"), 0);
    blob_is(bench, DIGEST_SHA256, "hello world");
}

static void test_upload_second_writer_gives_way_to_progress(void **state)
{
    struct bench *bench = *state;

    start(bench);
    clock_stop();
    struct upload *older = claim(bench);
    for (int i = 0; i < 20; i++) {
        struct upload *rival = NULL;
        struct error err = {0};
        append(older, "x");
        clock_move(TAKEOVER_MS - 1);
        assert_int_equal(
            storage_upload_claim(bench->store, REPOSITORY, slice_of(bench->id), &rival, &err), -1);
        assert_int_equal(err.code, ERROR_BLOB_UPLOAD_INVALID);
        assert_int_equal(err.status, 416);
    }
    assert_int_equal(finish_code(older, DIGEST_SHA256, "xxxxxxxxxxxxxxxxxxxx"), 0);
}

static void test_upload_second_writer_goes_on_after_the_first(void **state)
{
    struct bench *bench = *state;

    start(bench);
    clock_stop();
    struct upload *older = claim(bench);
    append(older, "hello ");
    assert_int_equal(claim_code(bench, REPOSITORY), ERROR_BLOB_UPLOAD_INVALID);
    storage_upload_release(older);
    struct upload *newer = claim(bench); /* at once */
    append(newer, "world");
    assert_int_equal(finish_code(newer, DIGEST_SHA256, "hello world"), 0);
}

static void test_upload_cancel_ends_a_writer_as_well(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};

    start(bench);
    struct upload *upload = claim(bench);
    append(upload, "hello");
    assert_int_equal(storage_upload_cancel(bench->store, REPOSITORY, slice_of(bench->id), &err), 0);
    assert_int_equal(append_code(upload, "x"), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(finish_code(upload, DIGEST_SHA256, "hello"), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(status_code(bench), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(files(bench), 0);
    assert_int_equal(storage_upload_cancel(bench->store, REPOSITORY, slice_of(bench->id), &err),
                     -1);
}

/* Threads that claim, write, rewind, give back and finish the same few sessions while others settle
 * and cancel them. The byte at each offset is known, so whatever order they came in, a finish
 * that succeeds has stored exactly the pattern, and so has its hash. */
enum { STORM_SESSIONS = 6, STORM_THREADS = 4, STORM_ROUNDS = 150, STORM_SIZE = 200000 };

struct storm {
    struct bench *bench;
    char ids[STORM_SESSIONS][OCI_UPLOAD_ID_SIZE + 1];
    char pattern[STORM_SIZE];
    _Atomic bool ended;
    _Atomic unsigned seed, finished, failures;
};

static void storm_write(struct storm *storm, struct upload *upload, unsigned *seed)
{
    uint64_t at = storage_upload_offset(upload);
    uint64_t first = at;
    struct error err = {0};

    for (int i = 0; i < 4; i++) {
        size_t size = (size_t)rand_r(seed) % 3000;
        struct slice piece = {storm->pattern + at, size};
        if (at + size > STORM_SIZE || storage_upload_append(upload, piece, &err) < 0)
            return;
        at += size;
    }
    uint64_t back = first + (at == first ? 0 : (uint64_t)rand_r(seed) % (at - first));
    if (rand_r(seed) % 4 == 0 && storage_upload_rewind(upload, back, &err) < 0)
        atomic_fetch_add(&storm->failures, err.code != ERROR_BLOB_UPLOAD_UNKNOWN);
}

static bool storm_stored(struct storm *storm, const struct digest *digest, struct slice whole)
{
    OWNED(memory_drop) char *content = memory_new(whole.size);
    struct blob blob;

    if (blob_open_code(storm->bench, REPOSITORY, digest, &blob) != 0)
        return false;
    ssize_t got = pread(blob.fd, content, whole.size, 0);
    storage_blob_close(&blob);
    return got == (ssize_t)whole.size && memcmp(content, whole.at, whole.size) == 0;
}

static void storm_finish(struct storm *storm, struct upload *upload)
{
    struct slice whole = {storm->pattern, storage_upload_offset(upload)};
    struct digest digest;
    struct descriptor blob;
    struct error err = {0};

    digest_of(DIGEST_SHA256, whole, &digest);
    if (storage_upload_finish(upload, &digest, &blob, &err) == 0)
        atomic_fetch_add(storm_stored(storm, &digest, whole) ? &storm->finished : &storm->failures,
                         1);
    else
        atomic_fetch_add(&storm->failures, err.code != ERROR_BLOB_UPLOAD_UNKNOWN);
}

static void *storm_thread(void *arg)
{
    struct storm *storm = arg;
    unsigned seed = atomic_fetch_add(&storm->seed, 1);

    thread_role_current = ROLE_WORKER;
    for (int i = 0; i < STORM_ROUNDS; i++) {
        struct slice id = slice_of(storm->ids[rand_r(&seed) % STORM_SESSIONS]);
        struct upload *upload = NULL;
        struct upload_status status;
        struct error err = {0};
        if (storage_upload_claim(storm->bench->store, REPOSITORY, id, &upload, &err) < 0)
            continue;
        storm_write(storm, upload, &seed);
        if (storage_upload_status(storm->bench->store, REPOSITORY, id, &status, &err) < 0)
            error_clear(&err);
        if (rand_r(&seed) % 60 == 0)
            storm_finish(storm, upload);
        else
            storage_upload_release(upload);
        if (rand_r(&seed) % 300 == 0 &&
            storage_upload_cancel(storm->bench->store, REPOSITORY, id, &err) < 0)
            error_clear(&err);
    }
    return NULL;
}

static void *storm_settle(void *arg)
{
    struct storm *storm = arg;

    thread_role_current = ROLE_WORKER;
    while (!atomic_load(&storm->ended))
        upload_table_checkpoint(storm->bench->store->uploads, 0);
    return NULL;
}

static void test_upload_threads_on_the_same_sessions_keep_bytes_and_hash_equal(void **state)
{
    OWNED(memory_drop) struct storm *storm = memory_new(sizeof(*storm));
    pthread_t threads[STORM_THREADS], settling;

    storm->bench = *state;
    for (size_t i = 0; i < STORM_SIZE; i++)
        storm->pattern[i] = (char)(i * 31 + i / 251);
    for (int i = 0; i < STORM_SESSIONS; i++) {
        start(storm->bench);
        memcpy(storm->ids[i], storm->bench->id, sizeof(storm->ids[i]));
    }
    assert_int_equal(pthread_create(&settling, NULL, storm_settle, storm), 0);
    for (int i = 0; i < STORM_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, storm_thread, storm), 0);
    for (int i = 0; i < STORM_THREADS; i++)
        pthread_join(threads[i], NULL);
    atomic_store(&storm->ended, true);
    pthread_join(settling, NULL);
    for (int i = 0; i < STORM_SESSIONS; i++) {
        memcpy(storm->bench->id, storm->ids[i], sizeof(storm->ids[i]));
        if (status_code(storm->bench) == 0 && claim_code(storm->bench, REPOSITORY) == 0)
            storm_finish(storm, claim(storm->bench));
    }
    assert_int_equal(storm->failures, 0);
    assert_true(storm->finished > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UPLOAD_TEST(test_upload_of_the_same_blob_keeps_one_file),
        UPLOAD_TEST(test_upload_takeover_when_the_older_writer_rests),
        UPLOAD_TEST(test_upload_second_writer_gives_way_to_progress),
        UPLOAD_TEST(test_upload_second_writer_goes_on_after_the_first),
        UPLOAD_TEST(test_upload_cancel_ends_a_writer_as_well),
        UPLOAD_TEST(test_upload_threads_on_the_same_sessions_keep_bytes_and_hash_equal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

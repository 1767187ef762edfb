/* test_upload.c - upload sessions over the real database and the file system: what each call leaves
 * behind, restarts, power cuts, two writers, and the sweep. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/oci.h"
#include "storage/meta_internal.h"
#include "storage/session.h"
#include "storage/storage_internal.h"
#include "tests/support/folder.h"
#include "tests/support/still_clock.h"
#include "tests/support/unit.h"

#define REPOSITORY SLICE("team/app")

enum { PATIENCE_MS = 60000, TAKEOVER_MS = 1500 /* UPL-15 */ };

struct bench {
    char root[FOLDER_MAX];
    char boot[FOLDER_MAX];
    struct storage_options options;
    struct storage *store;
    bool sweeps;
    char id[OCI_UPLOAD_ID_SIZE + 1];
};

/* Unless a test asks for the sweep it has ended: sessions change only by what the test does. */
static void reopen(struct bench *bench)
{
    struct error err = {0};

    storage_close(bench->store);
    bench->store = NULL;
    if (storage_open(&bench->store, &bench->options, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    assert(bench->store != NULL); /* for the analyser, which does not know that fail_msg ends it */
    if (!bench->sweeps) {
        sweep_close(bench->store->sweep);
        bench->store->sweep = NULL;
    }
}

/* What a power cut leaves: what was not synced may be there or not; another boot. */
static void set_boot(struct bench *bench, const char *id)
{
    FILE *file = fopen(bench->boot, "w");

    assert_non_null(file);
    fprintf(file, "%s\n", id);
    fclose(file);
}

static int set_up(void **state)
{
    struct bench *bench = memory_new(sizeof(*bench));

    thread_role_current = ROLE_WORKER;
    folder_new(bench->root);
    snprintf(bench->boot, sizeof(bench->boot), "%.200s/boot", bench->root);
    set_boot(bench, "first");
    bench->options = (struct storage_options){
        .root = bench->root,
        .boot_id_path = bench->boot,
        .upload_ttl_ms = 3600000,
        .gc_grace_ms = 3600000,
        .cache_size_bytes = 1 << 20,
        .sweep_interval_ms = 10,
        .pull_flush_ms = 3600000,
    };
    reopen(bench);
    *state = bench;
    return 0;
}

static int tear_down(void **state)
{
    struct bench *bench = *state;

    clock_go_on();
    storage_close(bench->store);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

static void start(struct bench *bench)
{
    struct error err = {0};

    assert_int_equal(
        storage_upload_start(bench->store, REPOSITORY, DIGEST_SHA256, NULL, bench->id, &err), 0);
}

static struct upload *claim(struct bench *bench)
{
    struct upload *upload = NULL;
    struct error err = {0};

    if (storage_upload_claim(bench->store, REPOSITORY, slice_of(bench->id), &upload, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    return upload;
}

static int claim_code(struct bench *bench, struct slice repository)
{
    struct upload *upload = NULL;
    struct error err = {0};

    if (storage_upload_claim(bench->store, repository, slice_of(bench->id), &upload, &err) == 0)
        storage_upload_release(upload);
    return (int)err.code;
}

static void append(struct upload *upload, const char *text)
{
    struct error err = {0};

    if (storage_upload_append(upload, slice_of(text), &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
}

static void receive(struct bench *bench, const char *text)
{
    struct upload *upload = claim(bench);

    append(upload, text);
    storage_upload_release(upload);
}

static int append_code(struct upload *upload, const char *text)
{
    struct error err = {0};

    return storage_upload_append(upload, slice_of(text), &err) == 0 ? 0 : (int)err.code;
}

static struct digest digest_of_text(enum digest_algorithm algorithm, const char *text)
{
    struct digest digest;

    digest_of(algorithm, slice_of(text), &digest);
    return digest;
}

/* 0, or the code of the failure. */
static int finish_code(struct upload *upload, enum digest_algorithm algorithm, const char *text)
{
    struct digest digest = digest_of_text(algorithm, text);
    struct descriptor blob = {.size = UINT64_MAX};
    struct error err = {0};

    if (storage_upload_finish(upload, &digest, &blob, &err) < 0)
        return (int)err.code;
    assert_int_equal(blob.size, strlen(text));
    assert_true(digest_equal(&blob.digest, &digest));
    return 0;
}

static int push(struct bench *bench, const char *text)
{
    start(bench);
    struct upload *upload = claim(bench);
    append(upload, text);
    return finish_code(upload, DIGEST_SHA256, text);
}

static int blob_open_code(struct bench *bench, struct slice repository, const struct digest *digest,
                          struct blob *blob)
{
    struct error err = {0};

    return storage_blob_open(bench->store, repository, digest, true, blob, &err) == 0
               ? 0
               : (int)err.code;
}

static void blob_is(struct bench *bench, enum digest_algorithm algorithm, const char *text)
{
    struct digest digest = digest_of_text(algorithm, text);
    char content[200] = "";
    struct blob blob;

    assert_int_equal(blob_open_code(bench, REPOSITORY, &digest, &blob), 0);
    assert_int_equal(blob.size, strlen(text));
    assert_int_equal(read(blob.fd, content, sizeof(content) - 1), strlen(text));
    assert_string_equal(content, text);
    storage_blob_close(&blob);
}

static void offset_is(struct bench *bench, uint64_t offset)
{
    struct upload_status status;
    struct error err = {0};

    if (storage_upload_status(bench->store, REPOSITORY, slice_of(bench->id), &status, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    assert_false(status.committed);
    assert_int_equal(status.offset, offset);
}

static int status_code(struct bench *bench)
{
    struct upload_status status;
    struct error err = {0};

    return storage_upload_status(bench->store, REPOSITORY, slice_of(bench->id), &status, &err) == 0
               ? 0
               : (int)err.code;
}

/* Files below blobs/, and the path of the last one seen. */
static struct {
    int files;
    char path[512];
} seen;

static int count_file(const char *path, const struct stat *file, int kind, struct FTW *place)
{
    (void)file;
    (void)place;
    if (kind == FTW_F) {
        seen.files++;
        snprintf(seen.path, sizeof(seen.path), "%s", path);
    }
    return 0;
}

static int files(struct bench *bench)
{
    char blobs[FOLDER_MAX + 10];

    snprintf(blobs, sizeof(blobs), "%s/blobs", bench->root);
    seen.files = 0;
    nftw(blobs, count_file, 16, FTW_PHYS);
    return seen.files;
}

/* The sweep's work, until it has done it once from start to end. */
static void sweep_until_files(struct bench *bench, int wanted)
{
    bench->sweeps = true;
    reopen(bench);
    for (int i = 0; i < PATIENCE_MS / 10 && files(bench) != wanted; i++)
        usleep(10000);
    assert_int_equal(files(bench), wanted);
    bench->sweeps = false; /* from the next opening on */
}

/* --- one writer --- */

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

/* --- several writers, and other ends --- */

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

/* --- failures of the disk --- */

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

/* --- restarts --- */

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

static int count_read(struct blob_writer *writer, uint64_t offset, void *out, size_t size,
                      struct error *err)
{
    read_back += size;
    return broken.whole->writer_read(writer, offset, out, size, err);
}

/* Lasts until the store is opened anew. */
static void count_reads(struct bench *bench)
{
    static struct blob_driver driver;

    broken.whole = bench->store->blobs.driver;
    driver = *broken.whole;
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upload_in_pieces_becomes_a_blob),
        TEST(test_upload_without_bytes_becomes_the_empty_blob),
        TEST(test_upload_finish_in_sha512_reads_the_bytes_again),
        TEST(test_upload_mismatch_ends_the_session),
        TEST(test_upload_rewind_forgets_bytes_and_hash),
        TEST(test_upload_larger_than_allowed_keeps_what_came_before),
        TEST(test_upload_belongs_to_its_repository),
        TEST(test_upload_finished_is_remembered),
        TEST(test_upload_of_the_same_blob_keeps_one_file),
        TEST(test_upload_takeover_when_the_older_writer_rests),
        TEST(test_upload_second_writer_gives_way_to_progress),
        TEST(test_upload_second_writer_goes_on_after_the_first),
        TEST(test_upload_cancel_ends_a_writer_as_well),
        TEST(test_upload_idle_for_too_long_expires),
        TEST(test_upload_written_to_just_now_does_not_expire),
        TEST(test_upload_expires_by_the_time_it_is_told),
        TEST(test_upload_expired_under_its_writer_is_unknown),
        TEST(test_upload_in_use_does_not_expire),
        TEST(test_upload_threads_on_the_same_sessions_keep_bytes_and_hash_equal),
        TEST(test_upload_on_a_full_disk_keeps_what_came_before),
        TEST(test_upload_that_cannot_be_synced_is_gone),
        TEST(test_upload_that_cannot_be_synced_is_cut_back_to_its_checkpoint),
        TEST(test_upload_whose_checkpoint_fails_is_gone),
        TEST(test_upload_whose_checkpoint_fails_beside_its_writer_is_lost),
        TEST(test_upload_survives_the_death_of_the_process),
        TEST(test_upload_closed_in_order_goes_on_after_a_power_cut),
        TEST(test_upload_stands_at_its_checkpoint_after_a_power_cut),
        TEST(test_upload_file_without_a_row_goes_after_another_boot),
        TEST(test_upload_whose_file_fell_short_is_gone),
        TEST(test_upload_resting_is_recorded_and_leaves_memory),
        TEST(test_upload_crowd_keeps_few_descriptors),
        TEST(test_blob_damaged_is_unknown_until_pushed_again),
        TEST(test_blob_damage_of_replaced_bytes_harms_nobody),
        TEST(test_blob_delete_and_mount_are_seen_at_once),
        TEST(test_storage_root_has_one_owner),
        TEST(test_storage_makes_the_folders_above_its_root),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

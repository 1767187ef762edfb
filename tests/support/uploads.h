/* uploads.h - for tests of upload sessions: a store whose sweep rests unless a test asks for it,
 * one session in it, short ways to write to it, what lies in the store. Define nothing else of the
 * names of still_clock.h. */
#ifndef SLIPWAY_TESTS_SUPPORT_UPLOADS_H
#define SLIPWAY_TESTS_SUPPORT_UPLOADS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/oci.h"
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
static inline void reopen(struct bench *bench)
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
static inline void set_boot(struct bench *bench, const char *id)
{
    FILE *file = fopen(bench->boot, "w");

    assert_non_null(file);
    fprintf(file, "%s\n", id);
    fclose(file);
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
{
    struct bench *bench = *state;

    clock_go_on();
    storage_close(bench->store);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

static inline void start(struct bench *bench)
{
    struct error err = {0};

    assert_int_equal(
        storage_upload_start(bench->store, REPOSITORY, DIGEST_SHA256, NULL, bench->id, &err), 0);
}

static inline struct upload *claim(struct bench *bench)
{
    struct upload *upload = NULL;
    struct error err = {0};

    if (storage_upload_claim(bench->store, REPOSITORY, slice_of(bench->id), &upload, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    return upload;
}

static inline int claim_code(struct bench *bench, struct slice repository)
{
    struct upload *upload = NULL;
    struct error err = {0};

    if (storage_upload_claim(bench->store, repository, slice_of(bench->id), &upload, &err) == 0)
        storage_upload_release(upload);
    return (int)err.code;
}

static inline void append(struct upload *upload, const char *text)
{
    struct error err = {0};

    if (storage_upload_append(upload, slice_of(text), &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
}

static inline void receive(struct bench *bench, const char *text)
{
    struct upload *upload = claim(bench);

    append(upload, text);
    storage_upload_release(upload);
}

static inline int append_code(struct upload *upload, const char *text)
{
    struct error err = {0};

    return storage_upload_append(upload, slice_of(text), &err) == 0 ? 0 : (int)err.code;
}

static inline struct digest digest_of_text(enum digest_algorithm algorithm, const char *text)
{
    struct digest digest;

    digest_of(algorithm, slice_of(text), &digest);
    return digest;
}

/* 0, or the code of the failure. */
static inline int finish_code(struct upload *upload, enum digest_algorithm algorithm,
                              const char *text)
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

static inline int push(struct bench *bench, const char *text)
{
    start(bench);
    struct upload *upload = claim(bench);
    append(upload, text);
    return finish_code(upload, DIGEST_SHA256, text);
}

static inline int blob_open_code(struct bench *bench, struct slice repository,
                                 const struct digest *digest, struct blob *blob)
{
    struct error err = {0};

    return storage_blob_open(bench->store, repository, digest, true, blob, &err) == 0
               ? 0
               : (int)err.code;
}

static inline void blob_is(struct bench *bench, enum digest_algorithm algorithm, const char *text)
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

static inline void offset_is(struct bench *bench, uint64_t offset)
{
    struct upload_status status;
    struct error err = {0};

    if (storage_upload_status(bench->store, REPOSITORY, slice_of(bench->id), &status, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    assert_false(status.committed);
    assert_int_equal(status.offset, offset);
}

static inline int status_code(struct bench *bench)
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

static inline int count_file(const char *path, const struct stat *file, int kind, struct FTW *place)
{
    (void)file;
    (void)place;
    if (kind == FTW_F) {
        seen.files++;
        snprintf(seen.path, sizeof(seen.path), "%s", path);
    }
    return 0;
}

static inline int files(struct bench *bench)
{
    char blobs[FOLDER_MAX + 10];

    snprintf(blobs, sizeof(blobs), "%s/blobs", bench->root);
    seen.files = 0;
    nftw(blobs, count_file, 16, FTW_PHYS);
    return seen.files;
}

/* The sweep's work, until it has done it once from start to end. */
static inline void sweep_until_files(struct bench *bench, int wanted)
{
    bench->sweeps = true;
    reopen(bench);
    for (int i = 0; i < PATIENCE_MS / 10 && files(bench) != wanted; i++)
        usleep(10000);
    assert_int_equal(files(bench), wanted);
    bench->sweeps = false; /* from the next opening on */
}

#define UPLOAD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

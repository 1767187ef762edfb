/* store.h - an opened storage in a temporary folder, and short ways to fill and to look at it. */
#ifndef SLIPWAY_TESTS_SUPPORT_STORE_H
#define SLIPWAY_TESTS_SUPPORT_STORE_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/meta_internal.h"
#include "storage/pulls.h"
#include "storage/storage_internal.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

#define REPOSITORY SLICE("team/app")
#define OCI_MANIFEST SLICE(OCI_TYPE_MANIFEST)

struct fixture {
    char root[FOLDER_MAX];
    struct storage_options options;
    struct storage *store;
    struct meta *meta; /* the store's */
    struct error err;
};

#define OK(call)                                                                                   \
    do {                                                                                           \
        fixture->err = (struct error){0};                                                          \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s: %s", #call, fixture->err.message, fixture->err.cause);               \
    } while (0)

#define FAILS(call, expected)                                                                      \
    do {                                                                                           \
        fixture->err = (struct error){0};                                                          \
        assert_int_equal((call), -1);                                                              \
        assert_string_equal(error_code_name(fixture->err.code), error_code_name(expected));        \
    } while (0)

/* Without threads of its own: what was put in trash, and what waits for the collector, stays there
 * to be looked at. */
static inline void fixture_open(struct fixture *fixture)
{
    fixture->options.resting = true;
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
}

static inline void fixture_reopen(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture_open(fixture);
}

static inline int fixture_set_up(void **state)
{
    struct fixture *fixture = memory_new(sizeof(*fixture));

    thread_role_current = ROLE_WORKER;
    folder_new(fixture->root);
    fixture->options = (struct storage_options){.root = fixture->root,
                                                .upload_ttl_ms = 3600000,
                                                .gc_grace_ms = 3600000,
                                                .gc_undo_ms = 3600000,
                                                .gc_late_ms = 60000,
                                                .cache_size_bytes = 4 << 20,
                                                .pull_flush_ms = 3600000};
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    struct fixture *fixture = *state;

    storage_close(fixture->store);
    folder_remove(fixture->root);
    free(fixture);
    return 0;
}

#define FIXTURE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

/* --- looking into the database, and changing it behind storage's back --- */

struct fixture_number {
    const char *sql;
    int64_t value;
};

static inline int fixture_number_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct fixture_number *number = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, number->sql);

    int row = db_step(&query, err);
    number->value = row == 1 ? db_column_i64(&query, 0) : -1;
    return row < 0 ? -1 : 0;
}

/* The first column of the first row; -1 when there is none. sql is a literal. */
static inline int64_t number(struct fixture *fixture, const char *sql)
{
    struct fixture_number number = {sql, 0};

    OK(db_read(fixture->meta->db, fixture_number_run, &number, &fixture->err));
    return number.value;
}

static inline int fixture_script_run(struct db_tx *tx, void *arg, struct error *err)
{
    const char *const *sql = arg;

    return db_execute(tx, *sql, err);
}

static inline void script(struct fixture *fixture, const char *sql)
{
    OK(meta_write(fixture->meta, fixture_script_run, &sql, &fixture->err));
}

/* --- filling --- */

static inline struct digest digest_text_of(const char *text)
{
    struct digest digest;

    digest_of(DIGEST_SHA256, slice_of(text), &digest);
    return digest;
}

/* The row of a blob whose bytes would be `text`; metadata only. */
static inline struct digest blob_row(struct fixture *fixture, struct slice repository,
                                     const char *text)
{
    char id[OCI_UPLOAD_ID_SIZE + 1], locator[LOCATOR_SIZE + 1];
    const struct descriptor blob = {digest_text_of(text), strlen(text)};

    oci_upload_id_new(id);
    locator_new(locator);
    OK(meta_upload_start(fixture->meta, repository, id, locator, DIGEST_SHA256, NULL,
                         &fixture->err));
    OK(meta_upload_finish(fixture->meta, repository, slice_of(id), &blob, NULL, &fixture->err));
    return blob.digest;
}

/* A put of `text` under one tag; NULL: none. Change members before fixture_put. */
struct push {
    struct manifest_put put;
    struct slice tag;
    struct missing missing;
};

static inline struct push push_of(const char *text, const char *tag)
{
    struct push push = {.put = {.payload = slice_of(text),
                                .digest = digest_text_of(text),
                                .media_type = OCI_MANIFEST,
                                .tag_count = tag != NULL},
                        .tag = slice_of(tag)};

    return push;
}

static inline int push_run(struct fixture *fixture, struct slice repository, struct push *push)
{
    fixture->err = (struct error){0};
    if (push->put.tags == NULL)
        push->put.tags = &push->tag;
    return storage_manifest_put(fixture->store, repository, &push->put, &push->missing,
                                &fixture->err);
}

static inline void push_text(struct fixture *fixture, const char *text, const char *tag)
{
    struct push push = push_of(text, tag);

    OK(push_run(fixture, REPOSITORY, &push));
    missing_drop(&push.missing);
}

#endif

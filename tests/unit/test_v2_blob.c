/* test_v2_blob.c - blobs on the wire, over a storage of one blob that stands in for the real one.
 */
#include <stdio.h>
#include <string.h>

#include "registry/v2/v2_internal.h"
#include "storage/storage.h"
#include "tests/support/handler.h"
#include "tests/support/unit.h"

#define BLOB "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
#define ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"

/* --- the storage --- */

static struct {
    uint64_t size;
    int opened; /* not closed yet */
    int damaged, deletes;
} fake;

static int find(const struct digest *digest, struct blob *out, struct error *err)
{
    char text[DIGEST_TEXT_MAX];

    if (strcmp(digest_text(digest, text), BLOB) != 0)
        return error_set(err, ERROR_BLOB_UNKNOWN, "no such blob");
    *out = (struct blob){.digest = *digest, .size = fake.size, .fd = -1};
    return 0;
}

int storage_blob_stat(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err)
{
    (void)store, (void)repository, (void)may_push;
    return find(digest, out, err);
}

int storage_blob_open(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err)
{
    (void)store, (void)repository, (void)may_push;
    if (find(digest, out, err) < 0)
        return -1;
    out->fd = 1000;
    fake.opened++;
    return 0;
}

void storage_blob_close(struct blob *blob)
{
    if (blob->fd >= 0)
        fake.opened--;
    blob->fd = -1;
}

void storage_blob_damaged(struct storage *store, const struct blob *blob)
{
    (void)store, (void)blob;
    fake.damaged++;
}

bool storage_peek_blob(struct storage *store, struct slice repository, const struct digest *digest,
                       bool may_push, uint64_t *size)
{
    struct blob blob;
    struct error err = {0};

    (void)store, (void)repository, (void)may_push;
    *size = fake.size;
    return find(digest, &blob, &err) == 0;
}

int storage_blob_delete(struct storage *store, struct slice repository, const struct digest *digest,
                        struct error *err)
{
    struct blob blob;

    (void)store, (void)repository;
    if (find(digest, &blob, err) < 0)
        return -1;
    fake.deletes++;
    return 0;
}

/* --- one request --- */

static struct config config;

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&config, 0, sizeof(config));
    fake.size = 1000;
    return 0;
}

/* Spec: BLOB-04, BLOB-05, BLOB-07. */
static void test_get_sends_the_range_asked_for(void **state)
{
    static const struct {
        const char *range, *condition;
        int status;
        uint64_t length;
        const char *content_range;
    } cases[] = {
        {NULL, NULL, 200, 1000, NULL},
        {"bytes=0-9", NULL, 206, 10, "Content-Range: bytes 0-9/1000\r\n"},
        {"bytes=990-", NULL, 206, 10, "Content-Range: bytes 990-999/1000\r\n"},
        {"bytes=-1", NULL, 206, 1, "Content-Range: bytes 999-999/1000\r\n"},
        {"bytes=0-4,5-9", NULL, 206, 10, "Content-Range: bytes 0-9/1000\r\n"},
        {"bytes=0-9", "\"" BLOB "\"", 206, 10, "Content-Range: bytes 0-9/1000\r\n"},
        {"bytes=0-9", "W/\"" BLOB "\"", 200, 1000, NULL},
        {"bytes=0-9", "\"" ZERO "\"", 200, 1000, NULL},
        {"bytes=0-9", BLOB, 200, 1000, NULL},
        {"lines=0-9", NULL, 200, 1000, NULL},
        {"bytes=1000-", NULL, 416, 0, "Content-Range: bytes */1000\r\n"},
        {"bytes=-0", NULL, 416, 0, "Content-Range: bytes */1000\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        exchange_init(&exchange, &config, METHOD_GET, BLOB);
        if (cases[i].range != NULL)
            with_header(&exchange, "range", cases[i].range);
        if (cases[i].condition != NULL)
            with_header(&exchange, "if-range", cases[i].condition);
        assert_int_equal(run(&exchange, v2_blob_get), cases[i].status);
        assert_int_equal(exchange.reply.length, cases[i].length);
        assert_int_equal(head_has(&exchange, "Content-Range: "), cases[i].content_range != NULL);
        if (cases[i].content_range != NULL)
            assert_true(head_has(&exchange, cases[i].content_range));
        if (cases[i].status != 416)
            assert_true(head_has(&exchange, "Content-Type: application/octet-stream\r\n"));
        reply_drop(&exchange.reply);
        assert_int_equal(fake.opened, 0);
    }
}

/* Spec: BLOB-06. */
static void test_get_of_several_ranges_is_multipart(void **state)
{
    struct exchange exchange;

    (void)state;
    exchange_init(&exchange, &config, METHOD_GET, BLOB);
    with_header(&exchange, "range", "bytes=0-0,500-509,-1");
    assert_int_equal(run(&exchange, v2_blob_get), 206);
    assert_true(head_has(&exchange, "Content-Type: multipart/byteranges; boundary="));
    assert_false(head_has(&exchange, "Content-Range"));
    assert_int_equal(exchange.reply.part_count, 4);
    assert_int_equal(exchange.reply.fd, 1000);
    reply_drop(&exchange.reply);
    assert_int_equal(fake.opened, 0);
}

/* Spec: BLOB-04 (s = 0). */
static void test_get_of_an_empty_blob_ignores_ranges(void **state)
{
    struct exchange exchange;

    (void)state;
    fake.size = 0;
    exchange_init(&exchange, &config, METHOD_GET, BLOB);
    with_header(&exchange, "range", "bytes=0-9");
    assert_int_equal(run(&exchange, v2_blob_get), 200);
    assert_int_equal(exchange.reply.length, 0);
    assert_int_equal(exchange.reply.part_count, 0);
    assert_int_equal(fake.opened, 0);
    reply_drop(&exchange.reply);
}

/* Invariant (1); Spec: BLOB-01, BLOB-03, CACHE-02. */
static void test_head_from_memory_and_worker_is_the_head_of_get(void **state)
{
    struct exchange peeked, worked, got;

    (void)state;
    exchange_init(&peeked, &config, METHOD_HEAD, BLOB);
    exchange_init(&worked, &config, METHOD_HEAD, BLOB);
    exchange_init(&got, &config, METHOD_GET, BLOB);
    assert_true(v2_blob_peek(&peeked.request, &peeked.reply));
    assert_false(v2_blob_peek(&got.request, &got.reply));
    assert_int_equal(run(&worked, v2_blob_get), 200);
    assert_int_equal(run(&got, v2_blob_get), 200);
    assert_true(slice_equal(buffer_slice(&peeked.reply.head), buffer_slice(&worked.reply.head)));
    assert_true(slice_equal(buffer_slice(&peeked.reply.head), buffer_slice(&got.reply.head)));
    assert_int_equal(peeked.reply.length, 1000);
    assert_int_equal(worked.reply.length, 1000);
    assert_true(head_has(&got, "Docker-Content-Digest: " BLOB "\r\nETag: \"" BLOB "\"\r\n"));
    reply_drop(&peeked.reply);
    reply_drop(&worked.reply);
    reply_drop(&got.reply);

    exchange_init(&got, &config, METHOD_GET, BLOB);
    with_header(&got, "if-none-match", BLOB);
    assert_true(v2_blob_peek(&got.request, &got.reply));
    assert_int_equal(got.reply.status, 304);
    assert_int_equal(got.reply.length, 0);
    reply_drop(&got.reply);
}

/* Invariant (2); Spec: CONC-03. */
static void test_a_blob_that_cannot_be_read_is_reported(void **state)
{
    struct exchange exchange;

    (void)state;
    exchange_init(&exchange, &config, METHOD_GET, BLOB);
    assert_int_equal(run(&exchange, v2_blob_get), 200);
    exchange.reply.release(exchange.reply.released, true);
    exchange.reply.release = NULL;
    assert_int_equal(fake.damaged, 1);
    assert_int_equal(fake.opened, 0);
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_GET, BLOB);
    assert_int_equal(run(&exchange, v2_blob_get), 200);
    reply_drop(&exchange.reply);
    assert_int_equal(fake.damaged, 1);
    assert_int_equal(fake.opened, 0);
}

/* Spec: ROUTE-05, DEL-03, DEL-05. */
static void test_refusals_name_their_code(void **state)
{
    struct exchange exchange;

    (void)state;
    exchange_init(&exchange, &config, METHOD_GET, ZERO);
    assert_int_equal(run(&exchange, v2_blob_get), 404);
    assert_int_equal(exchange.err.code, ERROR_BLOB_UNKNOWN);
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_HEAD, "sha256:xyz");
    assert_false(v2_blob_peek(&exchange.request, &exchange.reply));
    assert_int_equal(run(&exchange, v2_blob_get), 400);
    assert_int_equal(exchange.err.code, ERROR_DIGEST_INVALID);
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_DELETE, BLOB);
    assert_int_equal(v2_blob_delete(&exchange.request, &exchange.reply, &exchange.err), -1);
    assert_int_equal(exchange.err.status, 405);
    assert_int_equal(exchange.err.code, ERROR_UNSUPPORTED);
    error_clear(&exchange.err);
    config.delete_blobs = true;
    assert_int_equal(v2_blob_delete(&exchange.request, &exchange.reply, &exchange.err), 0);
    assert_int_equal(exchange.reply.status, 202);
    assert_int_equal(fake.deletes, 1);
    reply_drop(&exchange.reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_get_sends_the_range_asked_for, set_up),
        cmocka_unit_test_setup(test_get_of_several_ranges_is_multipart, set_up),
        cmocka_unit_test_setup(test_get_of_an_empty_blob_ignores_ranges, set_up),
        cmocka_unit_test_setup(test_head_from_memory_and_worker_is_the_head_of_get, set_up),
        cmocka_unit_test_setup(test_a_blob_that_cannot_be_read_is_reported, set_up),
        cmocka_unit_test_setup(test_refusals_name_their_code, set_up),
    };

    thread_role_current = ROLE_WORKER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

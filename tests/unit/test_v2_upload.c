/* test_v2_upload.c - upload sessions on the wire, over a storage of one session in memory that
 * stands in for the real one. */
#include <stdio.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/core/oci.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"
#include "tests/support/handler.h"
#include "tests/support/unit.h"

#define ID "00000000-0000-4000-8000-000000000000"
#define OTHER_ID "00000000-0000-4000-8000-000000000001"
#define HELLO_SHA256 "sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

/* --- the storage --- */

struct upload {
    int unused;
};

static struct {
    bool open;
    bool committed;
    bool claimed;
    bool busy; /* another writer makes progress */
    bool source_has_blob;
    bool collected; /* the blob that came of the session */
    int mounts;     /* asked for */
    int rewinds, cancels, starts;
    enum digest_algorithm algorithm;
    char bytes[64];
    uint64_t offset;
    struct digest digest;
    struct upload upload;
} fake;

static int session_check(struct slice repository, struct slice id, struct error *err)
{
    if (!fake.open || !slice_equal_text(repository, "a/b") || !slice_equal_text(id, ID))
        return error_set(err, ERROR_BLOB_UPLOAD_UNKNOWN, "no such upload session");
    return 0;
}

int storage_upload_start(struct storage *store, struct slice repository,
                         enum digest_algorithm algorithm, const struct actor *actor, char *id,
                         struct error *err)
{
    (void)store, (void)repository, (void)err;
    assert_true(slice_equal_text(actor->owner, "ana")); /* TOK-55 */
    fake.open = true;
    fake.offset = 0;
    fake.algorithm = algorithm;
    fake.starts++;
    memcpy(id, ID, sizeof(ID));
    return 0;
}

int storage_upload_status(struct storage *store, struct slice repository, struct slice id,
                          struct upload_status *out, struct error *err)
{
    (void)store;
    if (!fake.committed && session_check(repository, id, err) < 0)
        return -1;
    *out = (struct upload_status){fake.offset, fake.committed, fake.digest};
    return 0;
}

int storage_blob_stat(struct storage *store, struct slice repository, const struct digest *digest,
                      bool may_push, struct blob *out, struct error *err)
{
    (void)store, (void)repository;
    assert_true(may_push); /* the answer is a lease */
    if (fake.collected)
        return error_set(err, ERROR_BLOB_UNKNOWN, "blob unknown to this repository");
    *out = (struct blob){.digest = *digest, .fd = -1};
    return 0;
}

int storage_upload_claim(struct storage *store, struct slice repository, struct slice id,
                         struct upload **out, struct error *err)
{
    (void)store;
    if (session_check(repository, id, err) < 0)
        return -1;
    if (fake.busy) {
        error_set(err, ERROR_BLOB_UPLOAD_INVALID, "another upload is at work");
        return error_set_status(err, 416);
    }
    assert_false(fake.claimed);
    fake.claimed = true;
    *out = &fake.upload;
    return 0;
}

uint64_t storage_upload_offset(const struct upload *upload)
{
    assert_ptr_equal(upload, &fake.upload);
    return fake.offset;
}

int storage_upload_append(struct upload *upload, struct slice bytes, struct error *err)
{
    assert_ptr_equal(upload, &fake.upload);
    if (fake.offset + bytes.size > sizeof(fake.bytes))
        return error_set(err, ERROR_STORAGE_FULL, "no space left");
    memcpy(fake.bytes + fake.offset, bytes.at, bytes.size);
    fake.offset += bytes.size;
    return 0;
}

int storage_upload_rewind(struct upload *upload, uint64_t offset, struct error *err)
{
    (void)err;
    assert_ptr_equal(upload, &fake.upload);
    fake.offset = offset;
    fake.rewinds++;
    return 0;
}

void storage_upload_release(struct upload *upload)
{
    if (upload != NULL)
        fake.claimed = false;
}

int storage_upload_finish(struct upload *upload, const struct digest *claimed,
                          struct descriptor *out, struct error *err)
{
    struct digest digest;

    storage_upload_release(upload);
    fake.open = false;
    digest_of(claimed->algorithm, (struct slice){fake.bytes, (size_t)fake.offset}, &digest);
    if (!digest_equal(&digest, claimed))
        return error_set(err, ERROR_DIGEST_INVALID, "content does not match its digest");
    fake.committed = true;
    fake.digest = digest;
    *out = (struct descriptor){digest, fake.offset};
    return 0;
}

int storage_upload_cancel(struct storage *store, struct slice repository, struct slice id,
                          struct error *err)
{
    (void)store;
    if (session_check(repository, id, err) < 0)
        return -1;
    fake.open = false;
    fake.cancels++;
    return 0;
}

struct actor auth_actor(const struct identity *identity)
{
    (void)identity;
    return (struct actor){.account = 7};
}

int storage_upload_expect(struct upload *upload, uint64_t more, struct error *err)
{
    (void)upload, (void)more, (void)err;
    return 0;
}

int storage_blob_mount(struct storage *store, struct slice repository, struct slice from,
                       const struct digest *digest, const struct actor *actor, bool *mounted,
                       struct error *err)
{
    (void)store, (void)repository, (void)digest, (void)actor, (void)err;
    assert_true(oci_name_valid(from));
    assert_false(slice_equal_text(from, "hidden")); /* TOK-73 */
    fake.mounts++;
    *mounted = fake.source_has_blob;
    return 0;
}

int storage_blob_sources(struct storage *store, const struct digest *digest, size_t limit,
                         struct page *out, struct error *err)
{
    static char hidden[] = "hidden", shown[] = "x/y", other[] = "x/z",
                *names[] = {hidden, shown, other};

    (void)store, (void)digest, (void)err;
    assert_true(limit >= LENGTH(names));
    *out = (struct page){names, fake.source_has_blob ? LENGTH(names) : 0, false};
    return 0;
}

void page_drop(struct page *page)
{
    *page = (struct page){0};
}

/* --- one request --- */

static struct config config;
static bool source_forbidden;

bool auth_may(struct auth *auth, const struct identity *identity, struct slice repository,
              unsigned rights)
{
    (void)auth;
    (void)identity;
    assert_int_equal(rights, RIGHT_PULL);
    assert_non_null(repository.at);
    return !source_forbidden && !slice_equal_text(repository, "hidden");
}

void auth_upload_owner(const struct identity *identity, char out[UPLOAD_OWNER_MAX + 1])
{
    (void)identity;
    memcpy(out, "ana", sizeof("ana"));
}

/* The status the client would see; 0 when no reply is sent. */
static int stream_body(struct exchange *exchange, const struct body_stream *kind, const char *body,
                       enum body_outcome outcome)
{
    struct request *request = &exchange->request;
    void *stream = NULL;

    request->content_length = request->chunked ? 0 : strlen(body);
    int opened = kind->open(request, &exchange->reply, &stream, &exchange->err);
    if (opened < 0)
        return exchange->err.status;
    if (opened == 0)
        return exchange->reply.status;
    if (strlen(body) > 0 && kind->write(stream, slice_of(body), &exchange->err) < 0)
        outcome = BODY_REFUSED;
    int finished = kind->finish(stream, outcome, request, &exchange->reply, &exchange->err);
    assert_false(fake.claimed);
    if (outcome == BODY_BROKEN)
        return 0;
    return finished < 0 ? exchange->err.status : exchange->reply.status;
}

static void assert_stands_at(struct exchange *exchange, const char *range)
{
    char line[64];

    snprintf(line, sizeof(line), "Range: %s\r\n", range);
    assert_true(head_has(exchange, line));
    assert_true(head_has(exchange, "Location: /v2/a/b/blobs/uploads/" ID "\r\n"));
    assert_true(head_has(exchange, "Docker-Upload-UUID: " ID "\r\n"));
}

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&config, 0, sizeof(config));
    source_forbidden = false;
    return 0;
}

static void open_with(const char *bytes)
{
    fake.open = true;
    fake.offset = strlen(bytes);
    memcpy(fake.bytes, bytes, strlen(bytes));
}

/* --- PATCH --- */

/* Spec: UPL-07 to UPL-12; every row starts on a session of four bytes. */
static void test_patch_takes_what_fits_and_nothing_else(void **state)
{
    static const struct {
        const char *range;
        bool chunked;
        const char *body;
        int status;
        enum error_code code;
        uint64_t offset;
        const char *stands; /* NULL: no session headers */
    } cases[] = {
        {NULL, false, "56789", 202, ERROR_NONE, 9, "0-8"},
        {NULL, true, "56789", 202, ERROR_NONE, 9, "0-8"},
        {NULL, false, "", 202, ERROR_NONE, 4, "0-3"},
        {"4-7", false, "4567", 202, ERROR_NONE, 8, "0-7"},
        {"bytes 4-7/*", true, "4567", 202, ERROR_NONE, 8, "0-7"},
        {"0-3", false, "0123", 416, ERROR_BLOB_UPLOAD_INVALID, 4, "0-3"},
        {"5-8", false, "5678", 416, ERROR_BLOB_UPLOAD_INVALID, 4, "0-3"},
        {"5-9", false, "5678", 416, ERROR_BLOB_UPLOAD_INVALID, 4, "0-3"},
        {"4-8", false, "4567", 400, ERROR_SIZE_INVALID, 4, "0-3"},
        {"4-8", true, "4567", 400, ERROR_SIZE_INVALID, 4, "0-3"},
        {"4-6", false, "4567", 400, ERROR_SIZE_INVALID, 4, "0-3"},
        {"4-6", true, "4567", 400, ERROR_SIZE_INVALID, 4, "0-3"},
        {"7-4", false, "4567", 400, ERROR_BLOB_UPLOAD_INVALID, 4, NULL},
        {"x", false, "4567", 400, ERROR_BLOB_UPLOAD_INVALID, 4, NULL},
        {"0-9223372036854775808", false, "4567", 400, ERROR_BLOB_UPLOAD_INVALID, 4, NULL},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        open_with("0123");
        exchange_init(&exchange, &config, METHOD_OTHER, ID);
        exchange.request.chunked = cases[i].chunked;
        if (cases[i].range != NULL)
            with_header(&exchange, "content-range", cases[i].range);
        assert_int_equal(stream_body(&exchange, &v2_upload_patch, cases[i].body, BODY_COMPLETE),
                         cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        assert_int_equal(fake.offset, cases[i].offset);
        assert_false(fake.claimed);
        assert_true(fake.open);
        if (cases[i].stands != NULL)
            assert_stands_at(&exchange, cases[i].stands);
        reply_drop(&exchange.reply);
    }
}

/* Spec: UPL-14. */
static void test_patch_keeps_what_arrived_of_a_broken_body(void **state)
{
    struct exchange exchange;

    (void)state;
    open_with("0123");
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    with_header(&exchange, "content-range", "4-7");
    exchange.request.chunked = true;
    assert_int_equal(stream_body(&exchange, &v2_upload_patch, "45", BODY_BROKEN), 0);
    assert_int_equal(fake.offset, 6);
    assert_true(fake.open);
    reply_drop(&exchange.reply);
}

/* Spec: UPL-03, UPL-15. */
static void test_patch_names_the_reason_when_it_cannot_claim(void **state)
{
    static const struct {
        const char *name, *id;
        bool busy;
        int status;
        enum error_code code;
    } cases[] = {
        {"a/b", OTHER_ID, false, 404, ERROR_BLOB_UPLOAD_UNKNOWN},
        {"a/c", ID, false, 404, ERROR_BLOB_UPLOAD_UNKNOWN},
        {"a/b", "no-id", false, 404, ERROR_BLOB_UPLOAD_UNKNOWN},
        {"a/b", ID, true, 416, ERROR_BLOB_UPLOAD_INVALID},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        open_with("0123");
        fake.busy = cases[i].busy;
        exchange_init(&exchange, &config, METHOD_OTHER, ID);
        exchange.request.name = slice_of(cases[i].name);
        exchange.request.reference = slice_of(cases[i].id);
        assert_int_equal(stream_body(&exchange, &v2_upload_patch, "4567", BODY_COMPLETE),
                         cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        assert_int_equal(fake.offset, 4);
        if (cases[i].busy)
            assert_stands_at(&exchange, "0-3");
        reply_drop(&exchange.reply);
    }
}

/* Spec: LIM-01. */
static void test_bodies_above_the_limit_are_refused_by_their_head(void **state)
{
    struct exchange exchange;

    (void)state;
    config.server_limits_blob = 7;
    open_with("0123");
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    assert_int_equal(stream_body(&exchange, &v2_upload_patch, "4567", BODY_COMPLETE), 413);
    assert_int_equal(exchange.err.code, ERROR_SIZE_INVALID);
    assert_int_equal(fake.offset, 4);
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    with_parameter(&exchange, "digest", HELLO_SHA256);
    assert_int_equal(stream_body(&exchange, &v2_upload_post, "hello world", BODY_COMPLETE), 413);
    assert_int_equal(fake.starts, 0);
    reply_drop(&exchange.reply);
}

/* What was received before the disk was full stays. */
static void test_patch_reports_where_a_full_disk_stopped_it(void **state)
{
    char body[70];
    struct exchange exchange;

    (void)state;
    memset(body, 'x', sizeof(body) - 1);
    body[sizeof(body) - 1] = 0;
    open_with("0123");
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    assert_int_equal(stream_body(&exchange, &v2_upload_patch, body, BODY_COMPLETE), 507);
    assert_int_equal(fake.rewinds, 0);
    assert_stands_at(&exchange, "0-3");
    reply_drop(&exchange.reply);
}

/* --- PUT --- */

/* Spec: UPL-17 to UPL-20; the session holds "hello ". */
static void test_put_finishes_or_says_why_not(void **state)
{
    static const struct {
        const char *digest;
        const char *range;
        const char *body;
        int status;
        enum error_code code;
        bool open; /* the session lives on */
    } cases[] = {
        {HELLO_SHA256, NULL, "world", 201, ERROR_NONE, false},
        {HELLO_SHA256, "6-10", "world", 201, ERROR_NONE, false},
        {HELLO_SHA256, NULL, "", 400, ERROR_DIGEST_INVALID, false},
        {HELLO_SHA256, NULL, "World", 400, ERROR_DIGEST_INVALID, false},
        {NULL, NULL, "world", 400, ERROR_DIGEST_INVALID, true},
        {"", NULL, "world", 400, ERROR_DIGEST_INVALID, true},
        {"sha256:xyz", NULL, "world", 400, ERROR_DIGEST_INVALID, true},
        {"md5:d41d8cd98f00b204e9800998ecf8427e", NULL, "world", 400, ERROR_DIGEST_INVALID, true},
        {HELLO_SHA256, "7-11", "world", 416, ERROR_BLOB_UPLOAD_INVALID, true},
        {HELLO_SHA256, "0-4", "world", 416, ERROR_BLOB_UPLOAD_INVALID, true},
        {HELLO_SHA256, "6-11", "world", 400, ERROR_SIZE_INVALID, true},
        {HELLO_SHA256, "six", "world", 400, ERROR_BLOB_UPLOAD_INVALID, true},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        open_with("hello ");
        exchange_init(&exchange, &config, METHOD_OTHER, ID);
        if (cases[i].digest != NULL)
            with_parameter(&exchange, "digest", cases[i].digest);
        if (cases[i].range != NULL)
            with_header(&exchange, "content-range", cases[i].range);
        assert_int_equal(stream_body(&exchange, &v2_upload_put, cases[i].body, BODY_COMPLETE),
                         cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        assert_int_equal(fake.open, cases[i].open);
        if (cases[i].open)
            assert_int_equal(fake.offset, 6);
        if (cases[i].status == 416)
            assert_stands_at(&exchange, "0-5");
        if (cases[i].status == 201) {
            assert_true(head_has(&exchange, "Location: /v2/a/b/blobs/" HELLO_SHA256 "\r\n"));
            assert_true(head_has(&exchange, "Docker-Content-Digest: " HELLO_SHA256 "\r\n"));
        }
        reply_drop(&exchange.reply);
    }
}

/* Spec: UPL-23. */
static void test_put_repeated_after_its_end_is_created_again(void **state)
{
    struct exchange exchange;

    (void)state;
    fake.committed = true;
    digest_of(DIGEST_SHA256, SLICE("hello world"), &fake.digest);
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    with_parameter(&exchange, "digest", HELLO_SHA256);
    assert_int_equal(stream_body(&exchange, &v2_upload_put, "world", BODY_COMPLETE), 201);
    assert_int_equal(exchange.err.code, ERROR_NONE);
    reply_drop(&exchange.reply);

    fake.collected = true;
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    with_parameter(&exchange, "digest", HELLO_SHA256);
    assert_int_equal(stream_body(&exchange, &v2_upload_put, "world", BODY_COMPLETE), 404);
    reply_drop(&exchange.reply);

    fake.collected = false;
    fake.digest.bytes[0] ^= 1; /* it ended as something else */
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    with_parameter(&exchange, "digest", HELLO_SHA256);
    assert_int_equal(stream_body(&exchange, &v2_upload_put, "world", BODY_COMPLETE), 404);
    reply_drop(&exchange.reply);
}

/* --- POST --- */

/* Spec: UPL-01, UPL-06, UPL-31 to UPL-35. */
static void test_post_starts_or_mounts(void **state)
{
    static const struct {
        const char *mount, *from, *algorithm;
        bool found, forbidden;
        int status;
        int mounts; /* storage was asked */
    } cases[] = {
        {NULL, NULL, NULL, false, false, 202, 0},
        {NULL, NULL, "sha512", false, false, 202, 0},
        {NULL, NULL, "md5", false, false, 400, 0},
        {HELLO_SHA256, "x/y", NULL, true, false, 201, 1},
        {HELLO_SHA256, "x/y", NULL, false, false, 202, 1},
        {HELLO_SHA256, "x/y", NULL, true, true, 202, 0},
        {HELLO_SHA256, "X//y", NULL, true, false, 202, 0},
        {HELLO_SHA256, "", NULL, true, false, 202, 0},
        {HELLO_SHA256, NULL, NULL, true, false, 201, 1},
        {HELLO_SHA256, NULL, NULL, false, false, 202, 0},
        {HELLO_SHA256, NULL, NULL, true, true, 202, 0},
        {"sha256:xyz", "x/y", NULL, true, false, 400, 0},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        exchange_init(&exchange, &config, METHOD_OTHER, ID);
        fake.source_has_blob = cases[i].found;
        source_forbidden = cases[i].forbidden;
        if (cases[i].mount != NULL) {
            with_parameter(&exchange, "mount", cases[i].mount);
            with_parameter(&exchange, "digest", HELLO_SHA256); /* mount decides (UPL-35) */
        }
        if (cases[i].from != NULL)
            with_parameter(&exchange, "from", cases[i].from);
        if (cases[i].algorithm != NULL)
            with_parameter(&exchange, "digest-algorithm", cases[i].algorithm);
        assert_int_equal(stream_body(&exchange, &v2_upload_post, "", BODY_COMPLETE),
                         cases[i].status);
        assert_int_equal(fake.mounts, cases[i].mounts);
        assert_int_equal(fake.starts, cases[i].status == 202);
        if (cases[i].status == 202)
            assert_stands_at(&exchange, "0-0");
        if (cases[i].status == 201)
            assert_true(head_has(&exchange, "Location: /v2/a/b/blobs/" HELLO_SHA256 "\r\n"));
        reply_drop(&exchange.reply);
    }
}

/* Spec: UPL-30. */
static void test_post_with_digest_leaves_no_session(void **state)
{
    static const struct {
        const char *body;
        enum body_outcome outcome;
        int status;
        bool committed;
    } cases[] = {
        {"hello world", BODY_COMPLETE, 201, true},
        {"hello", BODY_COMPLETE, 400, false},
        {"hello", BODY_BROKEN, 0, false},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        exchange_init(&exchange, &config, METHOD_OTHER, ID);
        with_parameter(&exchange, "digest", HELLO_SHA256);
        assert_int_equal(stream_body(&exchange, &v2_upload_post, cases[i].body, cases[i].outcome),
                         cases[i].status);
        assert_int_equal(fake.committed, cases[i].committed);
        assert_false(fake.open);
        assert_false(head_has(&exchange, "uploads"));
        reply_drop(&exchange.reply);
    }
}

/* --- status and cancel --- */

/* Spec: UPL-26, UPL-27. */
static void test_session_tells_its_offset_until_it_is_cancelled(void **state)
{
    struct exchange exchange;

    (void)state;
    open_with("0123");
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    assert_int_equal(v2_upload_get(&exchange.request, &exchange.reply, &exchange.err), 0);
    assert_int_equal(exchange.reply.status, 204);
    assert_stands_at(&exchange, "0-3");
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    assert_int_equal(v2_upload_delete(&exchange.request, &exchange.reply, &exchange.err), 0);
    assert_int_equal(exchange.reply.status, 204);
    assert_int_equal(v2_upload_delete(&exchange.request, &exchange.reply, &exchange.err), -1);
    assert_int_equal(exchange.err.code, ERROR_BLOB_UPLOAD_UNKNOWN);
    error_clear(&exchange.err);
    assert_int_equal(v2_upload_get(&exchange.request, &exchange.reply, &exchange.err), -1);
    assert_int_equal(exchange.err.code, ERROR_BLOB_UPLOAD_UNKNOWN);
    reply_drop(&exchange.reply);

    fake.committed = true;
    exchange_init(&exchange, &config, METHOD_OTHER, ID);
    assert_int_equal(v2_upload_get(&exchange.request, &exchange.reply, &exchange.err), -1);
    assert_int_equal(exchange.err.status, 404);
    reply_drop(&exchange.reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_patch_takes_what_fits_and_nothing_else, set_up),
        cmocka_unit_test_setup(test_patch_keeps_what_arrived_of_a_broken_body, set_up),
        cmocka_unit_test_setup(test_patch_names_the_reason_when_it_cannot_claim, set_up),
        cmocka_unit_test_setup(test_bodies_above_the_limit_are_refused_by_their_head, set_up),
        cmocka_unit_test_setup(test_patch_reports_where_a_full_disk_stopped_it, set_up),
        cmocka_unit_test_setup(test_put_finishes_or_says_why_not, set_up),
        cmocka_unit_test_setup(test_put_repeated_after_its_end_is_created_again, set_up),
        cmocka_unit_test_setup(test_post_starts_or_mounts, set_up),
        cmocka_unit_test_setup(test_post_with_digest_leaves_no_session, set_up),
        cmocka_unit_test_setup(test_session_tells_its_offset_until_it_is_cancelled, set_up),
    };

    thread_role_current = ROLE_WORKER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

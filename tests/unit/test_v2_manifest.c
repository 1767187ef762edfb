/* test_v2_manifest.c - manifests on the wire, over a storage of one manifest that stands in for
 * the real one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/core/oci.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"
#include "tests/support/handler.h"
#include "tests/support/unit.h"

#define EMPTY_JSON "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define DESCRIPTOR(digest)                                                                         \
    "{\"mediaType\":\"application/vnd.oci.empty.v1+json\",\"digest\":\"" digest "\",\"size\":2}"
#define IMAGE                                                                                      \
    "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_MANIFEST                                      \
    "\",\"config\":" DESCRIPTOR(EMPTY_JSON) ",\"layers\":[],\"subject\":" DESCRIPTOR(ZERO) "}"

/* --- the storage --- */

static struct {
    struct manifest manifest; /* stands under tag "t" and its digest */
    int references;           /* handed out and not released */
    int pulls, deletes, puts;
    struct manifest_put put; /* what came last; payload and texts are gone by then */
    struct slice tags[128];
    bool lacks, accept_missing;
} fake;

static int find(const struct manifest_reference *reference, struct error *err)
{
    assert_true((reference->tag.at != NULL) != digest_is_set(&reference->digest));
    if (reference->tag.at != NULL ? slice_equal_text(reference->tag, "t")
                                  : digest_equal(&reference->digest, &fake.manifest.digest))
        return 0;
    return error_set(err, ERROR_MANIFEST_UNKNOWN, "no such manifest");
}

int storage_manifest_get(struct storage *store, struct slice repository,
                         const struct manifest_reference *reference, bool may_push,
                         const struct manifest **out, struct error *err)
{
    (void)store, (void)repository, (void)may_push;
    if (find(reference, err) < 0)
        return -1;
    fake.references++;
    *out = &fake.manifest;
    return 0;
}

bool storage_peek_manifest(struct storage *store, struct slice repository,
                           const struct manifest_reference *reference, bool may_push,
                           const struct manifest **out)
{
    struct error err = {0};

    return storage_manifest_get(store, repository, reference, may_push, out, &err) == 0;
}

void storage_manifest_release(const struct manifest *manifest)
{
    assert_ptr_equal(manifest, &fake.manifest);
    fake.references--;
}

void storage_pull_count(struct storage *store, struct slice repository,
                        const struct manifest_reference *reference, const struct manifest *pulled,
                        enum pull_kind kind)
{
    (void)store, (void)repository, (void)reference, (void)kind;
    assert_ptr_equal(pulled, &fake.manifest);
    fake.pulls++;
}

int storage_manifest_put(struct storage *store, struct slice repository,
                         const struct manifest_put *put, struct missing *missing, struct error *err)
{
    (void)store, (void)repository;
    fake.puts++;
    fake.put = *put;
    memcpy(fake.tags, put->tags, put->tag_count * sizeof(*put->tags));
    if (put->if_absent ||
        (digest_is_set(&put->if_digest) && !digest_equal(&put->if_digest, &fake.manifest.digest)))
        return error_set(err, ERROR_PRECONDITION, "the tag stands elsewhere");
    if (!fake.lacks)
        return 0;
    missing->digests = memory_new(sizeof(*missing->digests));
    missing->digests[0] = put->blobs[0].digest;
    missing->count = 1;
    return fake.accept_missing ? 0 : error_set(err, ERROR_MANIFEST_BLOB_UNKNOWN, "missing");
}

void missing_drop(struct missing *missing)
{
    free(missing->digests);
}

int storage_manifest_delete(struct storage *store, struct slice repository,
                            const struct manifest_reference *reference, const struct actor *actor,
                            struct error *err)
{
    (void)store, (void)repository, (void)actor;
    if (find(reference, err) < 0)
        return -1;
    fake.deletes++;
    return 0;
}

struct actor auth_actor(const struct identity *identity)
{
    (void)identity;
    return (struct actor){.account = 7};
}

static struct pull_quota quota;

/* Spec: TOK-66. */
bool auth_pull_admit(struct auth *auth, const struct identity *identity, struct slice remote,
                     const uint8_t *network, bool count, struct pull_quota *out)
{
    (void)auth, (void)identity, (void)remote;
    assert_non_null(network);
    bool admitted = !quota.limited || quota.remaining > 0;
    if (quota.limited && count && admitted)
        quota.remaining--;
    *out = quota;
    return admitted;
}

/* --- one request --- */

static struct config config;

static void push_init(struct exchange *exchange, enum method method, const char *reference)
{
    exchange_init(exchange, &config, method, reference);
    exchange->request.body = SLICE(IMAGE);
}

static const char *image_digest(void)
{
    static char text[DIGEST_TEXT_MAX];

    return digest_text(&fake.manifest.digest, text);
}

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&quota, 0, sizeof(quota));
    memset(&config, 0, sizeof(config));
    config.server_limits_descriptors = 10;
    config.delete_tags = config.delete_manifests = true;
    digest_of(DIGEST_SHA256, SLICE(IMAGE), &fake.manifest.digest);
    fake.manifest.media_type = SLICE(OCI_TYPE_MANIFEST);
    fake.manifest.payload = SLICE(IMAGE);
    return 0;
}

/* --- end-3 --- */

/* Invariant (1); Spec: MGET-01, HDR-01, HDR-03, CACHE-01, CACHE-02. */
static void test_memory_and_worker_give_the_same_answer(void **state)
{
    for (int variant = 0; variant < 8; variant++) {
        enum method method = variant & 1 ? METHOD_HEAD : METHOD_GET;
        const char *reference = variant & 2 ? "t" : image_digest();
        bool known = variant & 4;
        struct exchange peeked, worked;

        set_up(state);
        push_init(&peeked, method, reference);
        push_init(&worked, method, reference);
        if (known) {
            with_header(&peeked, "if-none-match", image_digest());
            with_header(&worked, "if-none-match", image_digest());
        }
        assert_true(v2_manifest_peek(&peeked.request, &peeked.reply));
        assert_int_equal(run(&worked, v2_manifest_get), known ? 304 : 200);
        assert_int_equal(peeked.reply.status, worked.reply.status);
        assert_true(
            slice_equal(buffer_slice(&peeked.reply.head), buffer_slice(&worked.reply.head)));
        assert_int_equal(peeked.reply.length, worked.reply.length);
        assert_int_equal(worked.reply.length, known ? 0 : sizeof(IMAGE) - 1);
        assert_true(head_has(&worked, "Content-Type: " OCI_TYPE_MANIFEST "\r\n"));
        assert_true(head_has(&worked, variant & 2 ? "no-cache" : "max-age=31536000"));
        assert_int_equal(fake.pulls, method == METHOD_GET && !known ? 2 : 0);
        reply_drop(&peeked.reply);
        reply_drop(&worked.reply);
        assert_int_equal(fake.references, 0);
    }
}

#define LIMIT "ratelimit-limit: 2;w=21600\r\n"
#define REMAINING(left) "ratelimit-remaining: " left ";w=21600\r\n"

/* GET counts, HEAD does not. Spec: TOK-66, LIM-05. */
static void test_pulls_are_limited_and_say_so(void **state)
{
    static const struct {
        enum method method;
        const char *reference;
        bool known;
        bool peeked;
        int status;
        const char *remaining;
    } cases[] = {
        {METHOD_HEAD, "t", false, true, 200, REMAINING("2")},
        {METHOD_GET, "u", false, false, 404, NULL},
        {METHOD_GET, "t", false, true, 200, REMAINING("1")},
        {METHOD_GET, "t", true, true, 304, REMAINING("0")},
        {METHOD_GET, "t", false, false, 429, REMAINING("0")},
        {METHOD_HEAD, "t", false, true, 200, REMAINING("0")},
        {METHOD_GET, "u", false, false, 404, NULL},
    };

    (void)state;
    for (int worker = 0; worker < 2; worker++) {
        quota = (struct pull_quota){.limited = true,
                                    .limit = 2,
                                    .remaining = 2,
                                    .window_s = 21600,
                                    .retry_after_s = 77,
                                    .source = "192.0.2.7"};
        for (size_t i = 0; i < LENGTH(cases); i++) {
            struct exchange exchange;
            push_init(&exchange, cases[i].method, cases[i].reference);
            if (cases[i].known)
                with_header(&exchange, "if-none-match", image_digest());
            if (worker || !cases[i].peeked)
                assert_int_equal(run(&exchange, v2_manifest_get), cases[i].status);
            if (!worker)
                assert_int_equal(v2_manifest_peek(&exchange.request, &exchange.reply),
                                 cases[i].peeked);
            if (cases[i].status == 429) {
                assert_int_equal(exchange.err.code, ERROR_TOOMANYREQUESTS);
                assert_int_equal(exchange.err.retry_after_s, 77);
                assert_non_null(strstr(exchange.err.message, "2 pulls in 21600 seconds"));
            }
            assert_int_equal(head_has(&exchange, LIMIT), cases[i].remaining != NULL);
            assert_int_equal(head_has(&exchange, "docker-ratelimit-source: 192.0.2.7\r\n"),
                             cases[i].remaining != NULL);
            if (cases[i].remaining != NULL)
                assert_true(head_has(&exchange, cases[i].remaining));
            reply_drop(&exchange.reply);
        }
        assert_int_equal(fake.references, 0);
    }
    assert_int_equal(fake.pulls, 2);
}

/* Spec: ROUTE-04, ROUTE-05, NAME-12. */
static void test_get_and_delete_refuse_what_is_no_reference(void **state)
{
    static const struct {
        const char *reference;
        int status;
        enum error_code code;
    } cases[] = {
        {"u", 404, ERROR_MANIFEST_UNKNOWN},  {".bad", 404, ERROR_MANIFEST_UNKNOWN},
        {ZERO, 404, ERROR_MANIFEST_UNKNOWN}, {"sha256:xyz", 400, ERROR_DIGEST_INVALID},
        {"t:t", 400, ERROR_DIGEST_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        push_init(&exchange, METHOD_GET, cases[i].reference);
        assert_false(v2_manifest_peek(&exchange.request, &exchange.reply));
        assert_int_equal(run(&exchange, v2_manifest_get), cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        error_clear(&exchange.err);
        assert_int_equal(run(&exchange, v2_manifest_delete), cases[i].status);
        assert_int_equal(exchange.err.code, cases[i].code);
        reply_drop(&exchange.reply);
    }
}

/* Spec: DEL-05. */
static void test_delete_obeys_its_switches(void **state)
{
    struct exchange exchange;

    (void)state;
    config.delete_tags = false;
    push_init(&exchange, METHOD_DELETE, "t");
    assert_int_equal(run(&exchange, v2_manifest_delete), 405);
    assert_int_equal(exchange.err.code, ERROR_UNSUPPORTED);
    assert_true(head_has(&exchange, "Allow: "));
    reply_drop(&exchange.reply);

    push_init(&exchange, METHOD_DELETE, image_digest());
    assert_int_equal(run(&exchange, v2_manifest_delete), 202);
    config.delete_manifests = false;
    assert_int_equal(run(&exchange, v2_manifest_delete), 405);
    assert_int_equal(fake.deletes, 1);
    reply_drop(&exchange.reply);
}

/* --- end-7 --- */

/* Spec: MPUT-20 to MPUT-22. */
static void test_put_hands_over_what_the_document_names(void **state)
{
    struct exchange exchange;
    struct digest config_digest;
    struct error err = {0};

    (void)state;
    push_init(&exchange, METHOD_PUT, "t");
    with_parameter(&exchange, "tag", "ignored"); /* MPUT-25: only a push by digest has more tags */
    assert_int_equal(run(&exchange, v2_manifest_put), 201);
    assert_int_equal(digest_parse(SLICE(EMPTY_JSON), &config_digest, &err), 0);
    assert_int_equal(fake.put.blob_count, 1);
    assert_int_equal(fake.put.child_count, 0);
    assert_int_equal(fake.put.tag_count, 1);
    assert_true(slice_equal_text(fake.tags[0], "t"));
    assert_true(digest_equal(&fake.put.digest, &fake.manifest.digest));
    assert_true(head_has(&exchange, "OCI-Subject: " ZERO "\r\n"));
    assert_true(head_has(&exchange, "Location: /v2/a/b/manifests/sha256:"));
    assert_false(head_has(&exchange, "OCI-Tag"));
    assert_false(head_has(&exchange, "Warning"));
    reply_drop(&exchange.reply);
}

/* Spec: ROUTE-04, ROUTE-05, MPUT-03, MPUT-20. */
static void test_put_refuses_before_anything_is_stored(void **state)
{
    static const struct {
        const char *reference, *body;
        enum error_code code;
    } cases[] = {
        {".bad", IMAGE, ERROR_MANIFEST_INVALID},     {"t", "{", ERROR_MANIFEST_INVALID},
        {"sha256:xyz", IMAGE, ERROR_DIGEST_INVALID}, {ZERO, IMAGE, ERROR_DIGEST_INVALID},
        {"md5:00", IMAGE, ERROR_DIGEST_INVALID},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        push_init(&exchange, METHOD_PUT, cases[i].reference);
        exchange.request.body = slice_of(cases[i].body);
        assert_int_equal(run(&exchange, v2_manifest_put), 400);
        assert_int_equal(exchange.err.code, cases[i].code);
        assert_int_equal(fake.puts, 0);
        reply_drop(&exchange.reply);
    }
}

/* Spec: MPUT-25, MPUT-26. */
static void test_put_by_digest_takes_up_to_a_hundred_tags(void **state)
{
    static const struct {
        int count;
        const char *extra;
        int status;
        int kept;
    } cases[] = {
        {0, NULL, 201, 0},     {2, NULL, 201, 2},     {2, "tag0", 201, 2},
        {100, NULL, 201, 100}, {100, "tag0", 414, 0}, {1, ".bad", 400, 0},
    };
    char names[100][16];

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        char digest[DIGEST_TEXT_MAX];
        struct digest sha512;
        set_up(state);
        digest_of(DIGEST_SHA512, SLICE(IMAGE), &sha512);
        push_init(&exchange, METHOD_PUT, digest_text(&sha512, digest));
        for (int n = 0; n < cases[i].count; n++) {
            snprintf(names[n], sizeof(names[n]), "tag%d", n);
            with_parameter(&exchange, "tag", names[n]);
        }
        if (cases[i].extra != NULL)
            with_parameter(&exchange, "tag", cases[i].extra);
        assert_int_equal(run(&exchange, v2_manifest_put), cases[i].status);
        assert_int_equal(fake.puts, cases[i].status == 201);
        assert_int_equal(fake.put.tag_count, cases[i].kept);
        if (cases[i].status == 201)
            assert_true(digest_equal(&fake.put.digest, &sha512));
        assert_int_equal(head_has(&exchange, "OCI-Tag: tag0"), cases[i].kept > 0);
        assert_int_equal(head_has(&exchange, "OCI-Tag: tag1\r\n"), cases[i].kept == 2);
        assert_int_equal(head_has(&exchange, ", tag98, tag99\r\n"), cases[i].kept == 100);
        reply_drop(&exchange.reply);
    }
}

/* Spec: CACHE-03. */
static void test_put_by_tag_has_conditions(void **state)
{
    static const struct {
        const char *reference, *header, *value;
        int status;
    } cases[] = {
        {"t", "if-match", "*", 201},          {"t", "if-match", "\"" ZERO "\"", 412},
        {"u", "if-match", "*", 412},          {"t", "if-none-match", "*", 412},
        {"t", "if-none-match", "\"x\"", 201}, {"t", "if-match", NULL, 201},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        char digest[DIGEST_TEXT_MAX];
        set_up(state);
        push_init(&exchange, METHOD_PUT, cases[i].reference);
        with_header(&exchange, cases[i].header,
                    cases[i].value != NULL ? cases[i].value
                                           : digest_text(&fake.manifest.digest, digest));
        assert_int_equal(run(&exchange, v2_manifest_put), cases[i].status);
        if (cases[i].status == 201 && strcmp(cases[i].header, "if-match") == 0)
            assert_true(digest_equal(&fake.put.if_digest, &fake.manifest.digest));
        assert_int_equal(fake.references, 0);
        reply_drop(&exchange.reply);
    }
}

/* Spec: MPUT-14, MPUT-17, WARN-01. */
static void test_put_names_what_is_missing(void **state)
{
    struct exchange exchange;

    (void)state;
    fake.lacks = true;
    push_init(&exchange, METHOD_PUT, "t");
    assert_int_equal(run(&exchange, v2_manifest_put), 400);
    assert_non_null(memmem(exchange.reply.text.at, exchange.reply.text.size,
                           "{\"digest\":\"" EMPTY_JSON "\"}",
                           strlen("{\"digest\":\"" EMPTY_JSON "\"}")));
    assert_false(head_has(&exchange, "Location"));
    reply_drop(&exchange.reply);

    fake.accept_missing = true;
    push_init(&exchange, METHOD_PUT, "t");
    assert_int_equal(run(&exchange, v2_manifest_put), 201);
    assert_true(head_has(&exchange, "Warning: 299 - \""));
    reply_drop(&exchange.reply);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_memory_and_worker_give_the_same_answer, set_up),
        cmocka_unit_test_setup(test_pulls_are_limited_and_say_so, set_up),
        cmocka_unit_test_setup(test_get_and_delete_refuse_what_is_no_reference, set_up),
        cmocka_unit_test_setup(test_delete_obeys_its_switches, set_up),
        cmocka_unit_test_setup(test_put_hands_over_what_the_document_names, set_up),
        cmocka_unit_test_setup(test_put_refuses_before_anything_is_stored, set_up),
        cmocka_unit_test_setup(test_put_by_digest_takes_up_to_a_hundred_tags, set_up),
        cmocka_unit_test_setup(test_put_by_tag_has_conditions, set_up),
        cmocka_unit_test_setup(test_put_names_what_is_missing, set_up),
    };

    thread_role_current = ROLE_WORKER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

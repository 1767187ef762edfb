/* test_v2_lists.c - tags, catalogue and referrers on the wire, over lists that stand in for the
 * real storage. */
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "registry/core/oci.h"
#include "registry/v2/v2_internal.h"
#include "storage/storage.h"
#include "tests/support/handler.h"
#include "tests/support/unit.h"

#define ZERO "sha256:0000000000000000000000000000000000000000000000000000000000000000"

/* --- the storage --- */

static struct {
    size_t count; /* names there are: a/0, a/1, ... */
    size_t limit; /* as asked for */
    struct slice last;
    char artifact_type[64]; /* as asked for */
    uint64_t cursor, size_max;
    struct referrers referrers;
} fake;

static void page_fill(size_t limit, struct page *out)
{
    fake.limit = limit;
    out->count = fake.count < limit ? fake.count : limit;
    out->more = fake.count > limit;
    out->names = memory_new((out->count + 1) * sizeof(*out->names));
    for (size_t i = 0; i < out->count; i++) {
        char name[] = {'a', '/', (char)('0' + i % 10)};
        out->names[i] = memory_text((struct slice){name, sizeof(name)});
    }
}

void page_drop(struct page *page)
{
    for (size_t i = 0; i < page->count; i++)
        free(page->names[i]);
    free(page->names);
}

int storage_tag_list(struct storage *store, struct slice repository, struct slice last,
                     size_t limit, struct page *out, struct error *err)
{
    (void)store;
    if (!slice_equal_text(repository, "a/b"))
        return error_set(err, ERROR_NAME_UNKNOWN, "no such repository");
    fake.last = last;
    page_fill(limit, out);
    return 0;
}

int storage_repository_list(struct storage *store, struct slice last,
                            const struct repository_filter *filter, size_t limit, struct page *out,
                            struct error *err)
{
    (void)store, (void)err;
    assert_true(filter->pattern_count == 1 && !filter->all); /* the caller's: CAT-02 */
    fake.last = last;
    page_fill(limit, out);
    return 0;
}

void auth_list_filter(struct auth *auth, const struct identity *identity,
                      struct repository_filter *out)
{
    static const struct slice pattern = {"a/*", 3};

    (void)auth, (void)identity;
    *out = (struct repository_filter){.patterns = &pattern, .pattern_count = 1};
}

int storage_referrer_list(struct storage *store, struct slice repository,
                          const struct digest *subject, struct slice artifact_type, uint64_t cursor,
                          uint64_t size_max, struct referrers *out, struct error *err)
{
    (void)store, (void)repository, (void)subject, (void)err;
    assert_true(slice_to_text(artifact_type, fake.artifact_type, sizeof(fake.artifact_type)));
    fake.cursor = cursor;
    fake.size_max = size_max;
    *out = fake.referrers;
    return 0;
}

void referrers_drop(struct referrers *referrers)
{
    (void)referrers;
}

/* --- one request --- */

static struct config config;

static void assert_body(const struct exchange *exchange, const char *expected)
{
    struct slice text = buffer_slice(&exchange->reply.text);

    assert_true(slice_equal_text(text, expected));
    assert_int_equal(exchange->reply.length, text.size);
}

static int set_up(void **state)
{
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&config, 0, sizeof(config));
    config.server_limits_tags_page = 5;
    return 0;
}

/* Spec: TAG-01, TAG-03, TAG-05 to TAG-08. */
static void test_tags_come_in_pages(void **state)
{
    static const struct {
        size_t count;
        const char *n;
        size_t limit;
        const char *link; /* NULL: none */
    } cases[] = {
        {3, NULL, 50, NULL},
        {60, NULL, 50, "Link: </v2/a/b/tags/list?last=a%2F9>; rel=\"next\"\r\n"},
        {3, "2", 2, "Link: </v2/a/b/tags/list?n=2&last=a%2F1>; rel=\"next\"\r\n"},
        {3, "3", 3, NULL},
        {6, "100", 5, "Link: </v2/a/b/tags/list?n=5&last=a%2F4>; rel=\"next\"\r\n"},
        {3, "0", 0, NULL},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        fake.count = cases[i].count;
        exchange_init(&exchange, &config, METHOD_GET, NULL);
        with_parameter(&exchange, "n", cases[i].n);
        assert_int_equal(run(&exchange, v2_tags_get), 200);
        assert_int_equal(fake.limit, cases[i].limit);
        assert_null(fake.last.at);
        assert_int_equal(head_has(&exchange, "Link: "), cases[i].link != NULL);
        if (cases[i].link != NULL)
            assert_true(head_has(&exchange, cases[i].link));
        reply_drop(&exchange.reply);
    }
}

static void test_tags_are_named_with_their_repository(void **state)
{
    struct exchange exchange;

    (void)state;
    exchange_init(&exchange, &config, METHOD_GET, NULL);
    with_parameter(&exchange, "last", "x");
    assert_int_equal(run(&exchange, v2_tags_get), 200);
    assert_body(&exchange, "{\"name\":\"a/b\",\"tags\":[]}");
    assert_true(slice_equal_text(fake.last, "x"));
    assert_true(head_has(&exchange, "Content-Type: application/json\r\n"));
    reply_drop(&exchange.reply);

    exchange_init(&exchange, &config, METHOD_GET, NULL);
    exchange.request.name = SLICE("other");
    assert_int_equal(run(&exchange, v2_tags_get), 404);
    assert_int_equal(exchange.err.code, ERROR_NAME_UNKNOWN);
    reply_drop(&exchange.reply);
}

/* Spec: CAT-01. */
static void test_catalog_has_a_hundred_unless_asked(void **state)
{
    static const struct {
        const char *n;
        int status;
        size_t limit;
    } cases[] = {{NULL, 200, 100}, {"7", 200, 7}, {"5000", 200, 1000}, {"-1", 400, 0}};

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        fake.count = 2;
        exchange_init(&exchange, &config, METHOD_GET, NULL);
        with_parameter(&exchange, "n", cases[i].n);
        assert_int_equal(run(&exchange, v2_catalog_get), cases[i].status);
        assert_int_equal(fake.limit, cases[i].limit);
        if (cases[i].status == 200)
            assert_body(&exchange, "{\"repositories\":[\"a/0\",\"a/1\"]}");
        reply_drop(&exchange.reply);
    }
}

/* Spec: REF-01, REF-04. */
static void test_referrers_are_an_index_of_descriptors(void **state)
{
    static char type[] = "m/1", artifact[] = "t/1", annotations[] = "{\"k\":\"v\"}";
    struct referrer items[] = {
        {.size = 626, .media_type = type, .artifact_type = artifact, .annotations = annotations},
        {.size = 1, .media_type = type}};
    struct exchange exchange;
    struct error err = {0};

    (void)state;
    assert_int_equal(digest_parse(SLICE(ZERO), &items[0].digest, &err), 0);
    items[1].digest = items[0].digest;
    fake.referrers = (struct referrers){items, 2, 0};
    exchange_init(&exchange, &config, METHOD_GET, ZERO);
    assert_int_equal(run(&exchange, v2_referrers_get), 200);
    assert_body(&exchange,
                "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_INDEX "\",\"manifests\":["
                "{\"mediaType\":\"m/1\",\"digest\":\"" ZERO
                "\",\"size\":626,\"artifactType\":\"t/1\",\"annotations\":{\"k\":\"v\"}},"
                "{\"mediaType\":\"m/1\",\"digest\":\"" ZERO "\",\"size\":1}]}");
    assert_true(head_has(&exchange, "Content-Type: " OCI_TYPE_INDEX "\r\n"));
    assert_true(head_has(&exchange, "ETag: \"sha256:"));
    assert_false(head_has(&exchange, "Link"));
    assert_in_range(fake.size_max, 4000000, 4 * 1024 * 1024 - 200);
    reply_drop(&exchange.reply);
}

/* Spec: REF-05, REF-06, HTTP-12. */
static void test_referrers_are_filtered_and_linked(void **state)
{
    static const struct {
        const char *type, *cursor; /* as the query's decoder gives them */
        const char *asked;         /* "": no filter */
        uint64_t next;
        const char *link;
    } cases[] = {
        {NULL, NULL, "", 0, NULL},
        {"", NULL, "", 0, NULL},
        {"a/x json", NULL, "a/x+json", 0, NULL},
        {"a/x+json", "7", "a/x+json", 9,
         "Link: </v2/a/b/referrers/" ZERO "?artifactType=a%2Fx%2Bjson&cursor=9>; rel=\"next\"\r\n"},
        {NULL, NULL, "", 9, "Link: </v2/a/b/referrers/" ZERO "?cursor=9>; rel=\"next\"\r\n"},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        fake.referrers.next = cases[i].next;
        exchange_init(&exchange, &config, METHOD_GET, ZERO);
        with_parameter(&exchange, "artifactType", cases[i].type);
        with_parameter(&exchange, "cursor", cases[i].cursor);
        assert_int_equal(run(&exchange, v2_referrers_get), 200);
        assert_string_equal(fake.artifact_type, cases[i].asked);
        assert_int_equal(fake.cursor, cases[i].cursor != NULL ? 7 : 0);
        assert_int_equal(head_has(&exchange, "OCI-Filters-Applied: artifactType\r\n"),
                         cases[i].asked[0] != 0);
        assert_int_equal(head_has(&exchange, "Link: "), cases[i].link != NULL);
        if (cases[i].link != NULL)
            assert_true(head_has(&exchange, cases[i].link));
        reply_drop(&exchange.reply);
    }
}

/* Spec: REF-02, REF-13, ROUTE-05. */
static void test_referrers_answer_by_digest_and_condition(void **state)
{
    static const struct {
        const char *digest, *cursor, *condition;
        int status;
    } cases[] = {
        {ZERO, NULL, NULL, 200},         {ZERO, NULL, "*", 304},         {ZERO, "x", NULL, 400},
        {"sha256:xyz", NULL, NULL, 400}, {"other:abc", NULL, NULL, 200}, {"none", NULL, NULL, 400},
    };

    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exchange exchange;
        set_up(state);
        exchange_init(&exchange, &config, METHOD_GET, cases[i].digest);
        with_parameter(&exchange, "cursor", cases[i].cursor);
        if (cases[i].condition != NULL) {
            exchange.headers[0] =
                (struct header){SLICE("if-none-match"), slice_of(cases[i].condition)};
            exchange.request.header_count = 1;
        }
        assert_int_equal(run(&exchange, v2_referrers_get), cases[i].status);
        if (cases[i].status == 304)
            assert_int_equal(exchange.reply.length, 0);
        reply_drop(&exchange.reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_tags_come_in_pages, set_up),
        cmocka_unit_test_setup(test_tags_are_named_with_their_repository, set_up),
        cmocka_unit_test_setup(test_catalog_has_a_hundred_unless_asked, set_up),
        cmocka_unit_test_setup(test_referrers_are_an_index_of_descriptors, set_up),
        cmocka_unit_test_setup(test_referrers_are_filtered_and_linked, set_up),
        cmocka_unit_test_setup(test_referrers_answer_by_digest_and_condition, set_up),
    };

    thread_role_current = ROLE_WORKER;
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_v2_render.c - headers and JSON that several endpoints of the distribution API write. */
#include "registry/v2/render.h"

#include <string.h>

#include "auth/auth.h"
#include "tests/support/unit.h"

#define EMPTY_SHA256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void assert_head(struct reply *reply, const char *expected)
{
    buffer_append(&reply->head, "", 1);
    assert_string_equal(reply->head.at, expected);
    reply_drop(reply);
}

/* Spec: UPL-01, UPL-11, UPL-12. */
static void test_render_upload_head_counts_inclusively(void **state)
{
    static const struct {
        uint64_t offset;
        const char *expected;
    } cases[] = {
        {0, "Location: /v2/a/b/blobs/uploads/u\r\nRange: 0-0\r\nDocker-Upload-UUID: u\r\n"},
        {1, "Location: /v2/a/b/blobs/uploads/u\r\nRange: 0-0\r\nDocker-Upload-UUID: u\r\n"},
        {4, "Location: /v2/a/b/blobs/uploads/u\r\nRange: 0-3\r\nDocker-Upload-UUID: u\r\n"},
        {10737418240, "Location: /v2/a/b/blobs/uploads/u\r\nRange: 0-10737418239\r\n"
                      "Docker-Upload-UUID: u\r\n"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct reply reply;
        reply_init(&reply);
        render_upload_head(&reply, SLICE("a/b"), SLICE("u"), cases[i].offset);
        assert_head(&reply, cases[i].expected);
    }
}

/* Spec: CACHE-01, HDR-01. */
static void test_render_content_head_says_how_long_it_holds(void **state)
{
    struct header header = {SLICE("authorization"), SLICE("Basic x")};
    struct identity everybody = {.kind = IDENTITY_OPEN}, nobody = {.kind = IDENTITY_ANONYMOUS},
                    account = {.kind = IDENTITY_ACCOUNT};
    struct request open = {.headers = &header, .header_count = 1, .caller = &everybody},
                   stranger = {.caller = &nobody}, caller = {.caller = &account};
    static const char fence[] = "Content-Security-Policy: sandbox; default-src 'none'\r\n";
    const struct {
        const struct request *request;
        bool immutable;
        const char *expected;
    } cases[] = {
        {&open, true, "max-age=31536000"},
        {&open, false, "no-cache"},
        {&stranger, true, "private, max-age=31536000"},
        {&caller, true, "private, max-age=31536000"},
        {&caller, false, "no-cache"},
        {&stranger, false, "no-cache"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct buffer expected = BUFFER_NONE;
        struct reply reply;
        reply_init(&reply);
        render_content_head(&reply, cases[i].request, SLICE("d:1"), cases[i].immutable);
        buffer_print(&expected,
                     "Docker-Content-Digest: d:1\r\nETag: \"d:1\"\r\nCache-Control: %s\r\n%s",
                     cases[i].expected, fence);
        assert_head(&reply, expected.at);
        buffer_drop(&expected);
    }
}

/* Spec: CACHE-02. */
static void test_render_not_modified_looks_at_every_line(void **state)
{
    struct header lines[] = {{SLICE("if-match"), SLICE("\"d:1\"")},
                             {SLICE("if-none-match"), SLICE("\"d:0\"")},
                             {SLICE("if-none-match"), SLICE("W/\"d:2\", \"d:1\"")}};
    struct request request = {.headers = lines, .header_count = 3};

    (void)state;
    assert_true(render_not_modified(&request, SLICE("d:1")));
    assert_true(render_not_modified(&request, SLICE("d:0")));
    assert_false(render_not_modified(&request, SLICE("d:3")));
    request.header_count = 1;
    assert_false(render_not_modified(&request, SLICE("d:1")));
}

/* Spec: UPL-19, MPUT-21. */
static void test_render_created_names_the_digest_given(void **state)
{
    struct digest digest;
    struct error err = {0};
    struct reply reply;

    (void)state;
    assert_int_equal(digest_parse(SLICE(EMPTY_SHA256), &digest, &err), 0);
    reply_init(&reply);
    render_created(&reply, SLICE("a/b"), "blobs", &digest);
    assert_int_equal(reply.status, 201);
    assert_head(&reply, "Location: /v2/a/b/blobs/" EMPTY_SHA256
                        "\r\nDocker-Content-Digest: " EMPTY_SHA256 "\r\n");
}

static void test_render_names_is_never_null(void **state)
{
    char one[] = "a", other[] = "b";
    char *names[] = {one, other};
    struct page page = {.names = names};
    struct buffer out = BUFFER_NONE;

    (void)state;
    render_names(&out, &page);
    assert_true(slice_equal_text(buffer_slice(&out), "[]"));
    page.count = 2;
    out.size = 0;
    render_names(&out, &page);
    assert_true(slice_equal_text(buffer_slice(&out), "[\"a\",\"b\"]"));
    buffer_drop(&out);
}

/* Spec: MPUT-14. */
static void test_render_missing_has_one_entry_a_digest(void **state)
{
    struct digest digests[2];
    struct missing missing = {digests, 2};
    struct error err = {0};
    struct reply reply;
    size_t entries = 0;

    (void)state;
    assert_int_equal(digest_parse(SLICE(EMPTY_SHA256), &digests[0], &err), 0);
    digests[1] = digests[0];
    digests[1].bytes[0] ^= 1;
    reply_init(&reply);
    render_missing(&reply, &missing);
    buffer_append(&reply.text, "", 1);
    for (const char *at = reply.text.at; (at = strstr(at, "\"MANIFEST_BLOB_UNKNOWN\"")) != NULL;
         at++)
        entries++;
    assert_int_equal(entries, 2);
    assert_non_null(strstr(reply.text.at, "\"detail\":{\"digest\":\"" EMPTY_SHA256 "\"}"));
    assert_int_equal(reply.status, 400);
    reply_drop(&reply);
}

/* Spec: WARN-01. */
static void test_render_warning_is_quoted_ascii_on_one_line(void **state)
{
    struct reply reply;

    (void)state;
    reply_init(&reply);
    render_warning(&reply, SLICE("a \"b\" \\ c\r\nd \xc3\xa4"));
    assert_head(&reply, "Warning: 299 - \"a \\\"b\\\" \\\\ c??d ??\"\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render_upload_head_counts_inclusively),
        cmocka_unit_test(test_render_content_head_says_how_long_it_holds),
        cmocka_unit_test(test_render_not_modified_looks_at_every_line),
        cmocka_unit_test(test_render_created_names_the_digest_given),
        cmocka_unit_test(test_render_names_is_never_null),
        cmocka_unit_test(test_render_missing_has_one_entry_a_digest),
        cmocka_unit_test(test_render_warning_is_quoted_ascii_on_one_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

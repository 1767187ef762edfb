/* test_message.c - look-ups in a request, building replies, the grammars of headers. */
#include "registry/http/message.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

static void test_request_header_finds_the_first_and_joins_all(void **state)
{
    struct header headers[] = {{SLICE("accept"), SLICE("a/b, c/d")},
                               {SLICE("host"), SLICE("")},
                               {SLICE("accept"), SLICE("e/f")}};
    struct request request = {.headers = headers, .header_count = LENGTH(headers)};
    OWNED(buffer_drop) struct buffer joined = BUFFER_NONE;

    (void)state;
    assert_true(slice_equal_text(request_header(&request, "accept"), "a/b, c/d"));
    assert_non_null(request_header(&request, "host").at);
    assert_null(request_header(&request, "accep").at);
    request_header_joined(&request, "accept", &joined); /* HTTP-09 */
    assert_true(slice_equal_text(buffer_slice(&joined), "a/b, c/d, e/f"));
}

static int releases;
static bool release_failed;

static void count_release(void *released, bool read_failed)
{
    assert_ptr_equal(released, &releases);
    release_failed = read_failed;
    releases++;
}

static void test_reply_release_is_called_once(void **state)
{
    struct reply reply;

    (void)state;
    releases = 0;
    reply_init(&reply);
    reply_bytes(&reply, SLICE("abc"), count_release, &releases);
    assert_int_equal(reply.length, 3);
    reply_release(&reply, true);
    assert_true(release_failed);
    reply_reset(&reply);
    assert_int_equal(releases, 1);
    reply_file(&reply, 7, 0, 10, count_release, &releases);
    assert_true(reply_has_file(&reply));
    reply_bytes(&reply, SLICE("x"), NULL, NULL); /* a new body gives the old one back */
    assert_int_equal(releases, 2);
    assert_false(reply_has_file(&reply));
    reply_drop(&reply);
    assert_int_equal(releases, 2);
}

static void test_reply_header_cannot_be_split(void **state)
{
    struct reply reply;

    (void)state;
    reply_init(&reply);
    reply_header(&reply, "A", "x%sy", "\r\nB: c");
    reply_header_slice(&reply, "C",
                       SLICE("1\n2\0"
                             "3\x7f"));
    assert_true(slice_equal(buffer_slice(&reply.head), SLICE("A: x  B: cy\r\nC: 1 2 3 \r\n")));
    reply_drop(&reply);
}

/* Spec: ERR-01, ERR-03, HTTP-20. */
static void test_reply_error_is_json_and_keeps_headers(void **state)
{
    struct reply reply;
    struct error err = {0};

    (void)state;
    reply_init(&reply);
    reply_header(&reply, "WWW-Authenticate", "Bearer");
    error_set(&err, ERROR_UNAUTHORIZED, "say \"who\"");
    reply_error(&reply, &err, SLICE_NONE);
    assert_int_equal(reply.status, 401);
    assert_true(slice_starts(buffer_slice(&reply.head), "WWW-Authenticate: Bearer\r\n"));
    assert_true(slice_equal_text(
        reply.parts[0].bytes,
        "{\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"say \\\"who\\\"\"}]}\n"));
    assert_int_equal(reply.length, reply.parts[0].bytes.size);
    assert_null(memmem(reply.head.at, reply.head.size, "Retry-After", 11));

    reply_reset(&reply);
    error_clear(&err);
    error_set(&err, ERROR_UNAVAILABLE, "later");
    error_set_cause(&err, "/var/lib/slipway/meta.db: Input/output error"); /* for the log only */
    reply_error(&reply, &err, SLICE_NONE);
    assert_true(slice_equal_text(
        reply.parts[0].bytes, "{\"errors\":[{\"code\":\"UNAVAILABLE\",\"message\":\"later\"}]}\n"));
    assert_non_null(memmem(reply.head.at, reply.head.size, "Retry-After: 1\r\n", 16));
    reply_drop(&reply);
}

/* Spec: TOK-26. */
static void test_reply_error_oauth_speaks_both_languages(void **state)
{
    static const struct {
        enum error_code code;
        int status; /* 0: the code's own */
        const char *word, *name;
    } cases[] = {
        {ERROR_UNAUTHORIZED, 0, "invalid_grant", "UNAUTHORIZED"},
        {ERROR_BAD_REQUEST, 0, "invalid_request", "UNSUPPORTED"},
        {ERROR_UNSUPPORTED, 400, "unsupported_grant_type", "UNSUPPORTED"},
        {ERROR_UNSUPPORTED, 0, "invalid_request", "UNSUPPORTED"},
        {ERROR_TOOMANYREQUESTS, 0, "temporarily_unavailable", "TOOMANYREQUESTS"},
        {ERROR_UNAVAILABLE, 0, "temporarily_unavailable", "UNAVAILABLE"},
        {ERROR_INTERNAL, 0, "server_error", "UNKNOWN"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char expected[200];
        struct reply reply;
        struct error err = {0};
        reply_init(&reply);
        error_set(&err, cases[i].code, "no");
        if (cases[i].status != 0)
            error_set_status(&err, cases[i].status);
        reply_error_oauth(&reply, &err);
        snprintf(expected, sizeof(expected),
                 "{\"error\":\"%s\",\"error_description\":\"no\","
                 "\"errors\":[{\"code\":\"%s\",\"message\":\"no\"}]}\n",
                 cases[i].word, cases[i].name);
        assert_true(slice_equal_text(reply.parts[0].bytes, expected));
        assert_int_equal(reply.status, err.status);
        reply_drop(&reply);
    }
}

/* The table of BLOB-04, for 1000 bytes. */
static void test_range_parse_follows_the_table(void **state)
{
    static const struct {
        const char *header;
        enum range_outcome outcome;
        const char *ranges;
    } cases[] = {
        {"bytes=0-0", RANGE_PARTIAL, "0-0"},
        {"bytes=5-9", RANGE_PARTIAL, "5-9"},
        {"Bytes = 5-9", RANGE_PARTIAL, "5-9"},
        {"bytes=5-", RANGE_PARTIAL, "5-999"},
        {"bytes=999-5000", RANGE_PARTIAL, "999-999"},
        {"bytes=5-1000", RANGE_PARTIAL, "5-999"},
        {"bytes=0-99999999999999999999999", RANGE_PARTIAL, "0-999"},
        {"bytes=-1", RANGE_PARTIAL, "999-999"},
        {"bytes=-5000", RANGE_PARTIAL, "0-999"},
        {"bytes=-0", RANGE_UNSATISFIABLE, ""},
        {"bytes=1000-", RANGE_UNSATISFIABLE, ""},
        {"bytes=99999999999999999999-", RANGE_UNSATISFIABLE, ""},
        {"bytes=500-0", RANGE_UNSATISFIABLE, ""},
        {"bytes=9-5, 2-3", RANGE_PARTIAL, "2-3"},
        {"bytes=1000-,2000-", RANGE_NONE, ""},
        {"bytes=10-19,0-4, ,30-", RANGE_PARTIAL, "0-4 10-19 30-999"},
        {"bytes=0-4,5-9", RANGE_PARTIAL, "0-9"},
        {"bytes=0-8,2-4,-990", RANGE_PARTIAL, "0-8 10-999"},
        {"bytes=", RANGE_NONE, ""},
        {"bytes=-", RANGE_NONE, ""},
        {"bytes=a-b", RANGE_NONE, ""},
        {"bytes=1", RANGE_NONE, ""},
        {"bytes=1-2-3", RANGE_NONE, ""},
        {"bytes=1-2,x", RANGE_NONE, ""},
        {"bytes 1-2", RANGE_NONE, ""},
        {"lines=1-2", RANGE_NONE, ""},
        {"", RANGE_NONE, ""},
    };
    struct range ranges[RANGES_MAX];
    size_t count;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        enum range_outcome outcome = range_parse(slice_of(cases[i].header), 1000, ranges, &count);
        if (outcome != cases[i].outcome)
            fail_msg("%s gives %d", cases[i].header, (int)outcome);
        for (size_t j = 0; j < count; j++)
            buffer_print(&text, "%s%d-%d", j > 0 ? " " : "", (int)ranges[j].first,
                         (int)ranges[j].last);
        assert_true(slice_equal_text(buffer_slice(&text), cases[i].ranges));
    }
    assert_int_equal(range_parse(SLICE("bytes=0-"), 0, ranges, &count), RANGE_NONE);
    assert_int_equal(range_parse(SLICE_NONE, 10, ranges, &count), RANGE_NONE);
}

static void test_range_parse_caps_the_count(void **state)
{
    struct range ranges[RANGES_MAX];
    size_t count;

    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
        buffer_append_text(&header, "bytes=");
        for (int i = 0; i < RANGES_MAX + extra; i++)
            buffer_print(&header, "%d-%d,", 3 * i, 3 * i);
        assert_int_equal(range_parse(buffer_slice(&header), 1000000, ranges, &count),
                         extra == 0 ? RANGE_PARTIAL : RANGE_TOO_MANY);
        assert_int_equal(count, extra == 0 ? RANGES_MAX : 0);
    }
}

/* Spec: NAME-07, UPL-10. */
static void test_content_range_parse(void **state)
{
    static const struct {
        const char *header;
        bool good;
        uint64_t first, last;
    } cases[] = {
        {"0-0", true, 0, 0},
        {"5-9", true, 5, 9},
        {"bytes 5-9/*", true, 5, 9},
        {"bytes 5-9/10", true, 5, 9},
        {"bytes=5-9", true, 5, 9},
        {"0-9223372036854775807", true, 0, INT64_MAX},
        {"bytes 5-9/9", false, 0, 0},
        {"bytes 5-9/x", false, 0, 0},
        {"bytes 5-9", false, 0, 0},
        {"9-5", false, 0, 0},
        {"0-9223372036854775808", false, 0, 0},
        {"-5", false, 0, 0},
        {"5-", false, 0, 0},
        {"5", false, 0, 0},
        {"", false, 0, 0},
        {"a-b", false, 0, 0},
        {" 5-9", false, 0, 0},
        {"bytes=5-9/10", false, 0, 0},
        {"bytes */10", false, 0, 0},
        {"lines 5-9/10", false, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        uint64_t first = 0, last = 0;
        if (content_range_parse(slice_of(cases[i].header), &first, &last) != cases[i].good)
            fail_msg("%s", cases[i].header);
        if (cases[i].good)
            assert_true(first == cases[i].first && last == cases[i].last);
    }
}

/* Spec: CACHE-02. */
static void test_etag_matches_lists_and_sloppy_forms(void **state)
{
    static const struct {
        const char *header;
        bool matches;
    } cases[] = {
        {"\"sha256:a\"", true},
        {"sha256:a", true},
        {"W/\"sha256:a\"", true},
        {"*", true},
        {" * ", true},
        {"\"x\", \"sha256:a\"", true},
        {"x,sha256:a", true},
        {"\"x,y\" , W/\"sha256:a\"", true},
        {"", false},
        {"\"\"", false},
        {"\"sha256:b\"", false},
        {"\"sha256:a,\"", false},
        {"\"sha256:ab\"", false},
        {"W/", false},
        {"\"", false},
        {"\"x, sha256:a\"", false},
        {",,,", false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        if (etag_matches(slice_of(cases[i].header), SLICE("sha256:a")) != cases[i].matches)
            fail_msg("%s", cases[i].header);
    }
}

/* Spec: HTTP-10, HTTP-11. */
static void test_percent_decode_once(void **state)
{
    static const struct {
        const char *in, *out; /* out NULL: refused */
        bool plus_is_blank, refuse_slash;
    } cases[] = {
        {"", "", false, false},          {"a%3Ab%3a", "a:b:", false, true},
        {"%2525", "%25", false, true},   {"a+b", "a+b", false, false},
        {"a+b%2B", "a b+", true, false}, {"%2F", "/", false, false},
        {"%2F", NULL, false, true},      {"%5c", NULL, false, true},
        {"%5c", "\\", false, false},     {"/", "/", false, true},
        {"%", NULL, false, false},       {"%4", NULL, false, false},
        {"%4g", NULL, false, false},     {"%g4", NULL, false, false},
        {"%00", NULL, false, false},     {"%C3%A4", "\xc3\xa4", false, true},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        char out[32];
        size_t size = 0;
        bool good = percent_decode(slice_of(cases[i].in), out, &size, cases[i].plus_is_blank,
                                   cases[i].refuse_slash);
        assert_int_equal(good, cases[i].out != NULL);
        if (good)
            assert_true(slice_equal_text((struct slice){out, size}, cases[i].out));
    }
}

static void test_percent_encode_comes_back(void **state)
{
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
    char all[255], back[sizeof(all) * 3];
    size_t size;

    (void)state;
    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (char)(i + 1);
    percent_encode(&out, (struct slice){all, sizeof(all)});
    assert_true(percent_decode(buffer_slice(&out), back, &size, true, false));
    assert_int_equal(size, sizeof(all));
    assert_memory_equal(back, all, size);
    out.size = 0;
    percent_encode(&out, SLICE("aZ09-._~/ +"));
    assert_true(slice_equal_text(buffer_slice(&out), "aZ09-._~%2F%20%2B"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_header_finds_the_first_and_joins_all),
        cmocka_unit_test(test_reply_release_is_called_once),
        cmocka_unit_test(test_reply_header_cannot_be_split),
        cmocka_unit_test(test_reply_error_is_json_and_keeps_headers),
        cmocka_unit_test(test_reply_error_oauth_speaks_both_languages),
        cmocka_unit_test(test_range_parse_follows_the_table),
        cmocka_unit_test(test_range_parse_caps_the_count),
        cmocka_unit_test(test_content_range_parse),
        cmocka_unit_test(test_etag_matches_lists_and_sloppy_forms),
        cmocka_unit_test(test_percent_decode_once),
        cmocka_unit_test(test_percent_encode_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

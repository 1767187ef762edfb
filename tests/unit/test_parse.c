/* test_parse.c - heads that are taken, heads that are refused, queries, and chunks in any pieces.
 */
#include "registry/http/parse.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

#define HOST "Host: x\r\n"

static struct header headers[HEAD_HEADERS_MAX];

/* Parses a copy of exactly the text's size, so that reading beyond it is seen by the sanitizer. */
static enum head_outcome parse(struct slice text, char **copy, struct head *head)
{
    *copy = malloc(text.size == 0 ? 1 : text.size);
    assert_non_null(*copy);
    memcpy(*copy, text.at, text.size);
    return head_parse(*copy, text.size, 0, head, headers);
}

static void test_head_parse_takes_a_head_apart(void **state)
{
    static const char text[] =
        "PUT /v2/a%2Fb?x=1&y HTTP/1.1\r\nHOST: h:80\r\nContent-Length:  7\t\r\n"
        "X-Empty:\r\nExpect: 100-Continue\r\n\r\nbody";
    struct head head;
    char *copy;

    (void)state;
    assert_int_equal(parse((struct slice){text, sizeof(text) - 1}, &copy, &head), HEAD_COMPLETE);
    assert_true(slice_equal_text(head.method, "PUT"));
    assert_true(slice_equal_text(head.target, "/v2/a%2Fb?x=1&y"));
    assert_true(slice_equal_text(head.path, "/v2/a%2Fb"));
    assert_true(slice_equal_text(head.query, "x=1&y"));
    assert_true(slice_equal_text(head.authority, "h:80"));
    assert_int_equal(head.size, sizeof(text) - 1 - strlen("body"));
    assert_int_equal(head.content_length, 7);
    assert_int_equal(head.header_count, 4);
    assert_true(slice_equal_text(headers[0].name, "host"));
    assert_true(slice_equal_text(headers[1].value, "7"));
    assert_int_equal(headers[2].value.size, 0);
    assert_true(head.expects_continue);
    assert_true(head.persistent);
    assert_false(head.chunked);
    free(copy);
}

static void test_head_parse_takes_every_target_form_we_serve(void **state)
{
    static const struct {
        const char *target, *path, *query, *authority;
    } cases[] = {
        {"/", "/", NULL, "x"},
        {"/a?", "/a", "", "x"},
        {"/a?b?c", "/a", "b?c", "x"},
        {"http://h/a", "/a", NULL, "h"},
        {"HTTPS://h:1/a?b", "/a", "b", "h:1"},
        {"http://h", "/", NULL, "h"},
        {"http://h?b", "/", "b", "h"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct head head;
        char *copy;
        buffer_print(&text, "GET %s HTTP/1.1\r\n" HOST "\r\n", cases[i].target);
        assert_int_equal(parse(buffer_slice(&text), &copy, &head), HEAD_COMPLETE);
        assert_true(slice_equal_text(head.path, cases[i].path));
        assert_true((head.query.at == NULL) == (cases[i].query == NULL));
        assert_true(slice_equal_text(head.query, cases[i].query));
        assert_true(slice_equal_text(head.authority, cases[i].authority));
        free(copy);
    }
}

/* Whatever two readers could understand differently. */
static void test_head_parse_refuses_what_is_ambiguous(void **state)
{
#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
    static const struct slice cases[] = {
        TEXT("GET / HTTP/1.1\n" HOST "\r\n"),
        TEXT("GET / HTTP/1.1\r\nHost: x\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "\n"),
        TEXT("GET / HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A: b\r\n\tc\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST HOST "\r\n"),
        TEXT("GET / HTTP/1.0\r\n" HOST HOST "\r\n"),
        TEXT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\nHost : x\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A(b: c\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST ": c\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "abc\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A: b\0c\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A: b\x01\r\n\r\n"),
        TEXT("GET / HTTP/1.1\r\n" HOST "A: b\x7f\r\n\r\n"),
        TEXT("GET / HTTP/1.2\r\n" HOST "\r\n"),
        TEXT("GET / HTTP/2.0\r\n" HOST "\r\n"),
        TEXT("GET / HTTP/1.10\r\n" HOST "\r\n"),
        TEXT("GET / http/1.1\r\n" HOST "\r\n"),
        TEXT("GET /\r\n\r\n"),
        TEXT(" / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("G(T / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET  / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET /  HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET\t/ HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("\n\nGET / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET /#a HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET * HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET a HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET ftp://h/ HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET http:///a HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("GET http://a@b/ HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 0x1\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 1000000000000000000\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: "
             "chunked\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked,\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"),
        TEXT("PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n"),
        TEXT("PUT / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"),
    };
#undef TEXT

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct head head;
        char *copy;
        enum head_outcome outcome = parse(cases[i], &copy, &head);
        if (outcome != HEAD_MALFORMED)
            fail_msg("accepted (%d): %.*s", (int)outcome, SLICE_ARG(cases[i]));
        assert_non_null(head.complaint);
        free(copy);
    }
}

static void test_head_parse_waits_for_every_missing_byte(void **state)
{
    static const char text[] = "GET /a HTTP/1.1\r\n" HOST "A: b\r\n\r\n";
    char *copy = memory_text(slice_of(text));
    struct head head;
    size_t size = strlen(text);

    (void)state;
    for (size_t i = 1; i < size; i++)
        assert_int_equal(head_parse(copy, i, i - 1, &head, headers), HEAD_PARTIAL);
    assert_int_equal(head_parse(copy, size, size - 1, &head, headers), HEAD_COMPLETE);
    assert_int_equal(head.header_count, 2);
    free(copy);
}

static void test_head_parse_counts_header_lines(void **state)
{
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct head head;
        char *copy;
        buffer_append_text(&text, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 1; i < HEAD_HEADERS_MAX + extra; i++)
            buffer_append_text(&text, "A: b\r\n");
        buffer_append_text(&text, "\r\n");
        assert_int_equal(parse(buffer_slice(&text), &copy, &head),
                         extra == 0 ? HEAD_COMPLETE : HEAD_TOO_MANY);
        free(copy);
    }
}

static void test_head_parse_decides_persistence(void **state)
{
    static const struct {
        const char *version, *line;
        bool persistent;
    } cases[] = {
        {"1.1", "", true},
        {"1.1", "Connection: close\r\n", false},
        {"1.1", "Connection: Upgrade, CLOSE\r\n", false},
        {"1.1", "Connection: keep-alive\r\nConnection: close\r\n", false},
        {"1.1", "Connection: closed\r\n", true},
        {"1.0", "", false},
        {"1.0", "Connection: Keep-Alive\r\n", true},
        {"1.0", "Connection: keep-alive, close\r\n", false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct head head;
        char *copy;
        buffer_print(&text, "GET / HTTP/%s\r\n" HOST "%s\r\n", cases[i].version, cases[i].line);
        assert_int_equal(parse(buffer_slice(&text), &copy, &head), HEAD_COMPLETE);
        assert_int_equal(head.persistent, cases[i].persistent);
        free(copy);
    }
}

/* Spec: HTTP-10, HTTP-12. */
static void test_query_parse_decodes_once(void **state)
{
    static const char text[] = "a=b%2Fc&&d&e=&f=x+y%2By&g=%2525&=v";
    static const struct {
        const char *name, *value;
    } wanted[] = {{"a", "b/c"}, {"d", ""}, {"e", ""}, {"f", "x y+y"}, {"g", "%25"}, {"", "v"}};
    struct parameter parameters[HEAD_PARAMETERS_MAX];
    char storage[sizeof(text)];
    size_t count;

    (void)state;
    assert_true(query_parse(slice_of(text), storage, parameters, &count));
    assert_int_equal(count, LENGTH(wanted));
    for (size_t i = 0; i < count; i++) {
        assert_true(slice_equal_text(parameters[i].name, wanted[i].name));
        assert_true(slice_equal_text(parameters[i].value, wanted[i].value));
        assert_non_null(parameters[i].value.at);
    }
}

static void test_query_parse_refuses_bad_escapes_and_crowds(void **state)
{
    static const char *const bad[] = {"a=%", "a=%2", "a=%zz", "%00=a", "a=%00"};
    struct parameter parameters[HEAD_PARAMETERS_MAX];
    char crowd[2 * HEAD_PARAMETERS_MAX + 2], storage[sizeof(crowd)];
    size_t count;

    (void)state;
    for (size_t i = 0; i < LENGTH(bad); i++)
        assert_false(query_parse(slice_of(bad[i]), storage, parameters, &count));
    for (size_t i = 0; i < sizeof(crowd); i++)
        crowd[i] = i % 2 == 0 ? 'a' : '&';
    assert_true(query_parse((struct slice){crowd, sizeof(crowd) - 2}, storage, parameters, &count));
    assert_int_equal(count, HEAD_PARAMETERS_MAX);
    assert_false(query_parse((struct slice){crowd, sizeof(crowd)}, storage, parameters, &count));
}

/* Feeds the text in pieces of `step` bytes into an output with `room` bytes a call. */
static enum chunk_outcome decode(struct slice text, size_t step, size_t room, struct buffer *out,
                                 size_t *left)
{
    struct chunk_decoder decoder = {0};
    enum chunk_outcome outcome = CHUNK_MORE;
    char piece[64];

    while (outcome == CHUNK_MORE && text.size > 0) {
        struct slice in = {text.at, text.size < step ? text.size : step};
        size_t used, made;
        outcome = chunk_decode(&decoder, in, &used, piece, room, &made);
        assert_true(used <= in.size && made <= room);
        buffer_append(out, piece, made);
        text = slice_from(text, used);
    }
    *left = text.size;
    return outcome;
}

static void test_chunk_decode_in_any_pieces(void **state)
{
    static const char text[] =
        "3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n1;\r\nz\r\n000\r\nX: y\r\nZ:\r\n\r\nNEXT";

    (void)state;
    for (size_t step = 1; step < sizeof(text); step++) {
        for (size_t room = 1; room <= 64; room += 7) {
            OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
            size_t left;
            assert_int_equal(decode(slice_of(text), step, room, &out, &left), CHUNK_END);
            assert_true(slice_equal_text(buffer_slice(&out), "abc0123456789z"));
            assert_int_equal(left, strlen("NEXT"));
        }
    }
}

/* What bounds one size line must not add up over chunks. */
static void test_chunk_decode_of_many_chunks(void **state)
{
    enum { CHUNKS = 100 };
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
    size_t left;

    (void)state;
    for (int i = 0; i < CHUNKS; i++)
        buffer_append_text(&text, "000001\r\nx\r\n");
    buffer_append_text(&text, "0\r\n\r\n");
    assert_int_equal(decode(buffer_slice(&text), 7, 64, &out, &left), CHUNK_END);
    assert_int_equal(out.size, CHUNKS);
    assert_int_equal(left, 0);
}

static void test_chunk_decode_refuses(void **state)
{
    static const char *const cases[] = {
        "3 \r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\r\n0\r\n\r\n",
        "3\r\rabc\r\n0\r\n\r\n",
        "g\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";a\r\n0\r\n\r\n",
        "-1\r\n\r\n",
        "+1\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "1000000000000000\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
        "0\r\nx\x01y\r\n\r\n",
        "0\r\n\r\r\n",
        "0\r\n:\r\n\r\n",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        for (size_t step = 1; step < 40; step += 38) {
            OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
            size_t left;
            if (decode(slice_of(cases[i]), step, 64, &out, &left) != CHUNK_MALFORMED)
                fail_msg("accepted: %s", cases[i]);
        }
    }
}

static void test_chunk_decode_bounds_extensions_and_trailers(void **state)
{
    static const char *const starts[] = {"1;", "0\r\nx: "};

    (void)state;
    for (size_t i = 0; i < LENGTH(starts); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        size_t left;
        buffer_append_text(&text, starts[i]);
        for (int j = 0; j < 20000; j++)
            buffer_append_text(&text, "a");
        assert_int_equal(decode(buffer_slice(&text), 1000, 64, &out, &left), CHUNK_MALFORMED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_parse_takes_a_head_apart),
        cmocka_unit_test(test_head_parse_takes_every_target_form_we_serve),
        cmocka_unit_test(test_head_parse_refuses_what_is_ambiguous),
        cmocka_unit_test(test_head_parse_waits_for_every_missing_byte),
        cmocka_unit_test(test_head_parse_counts_header_lines),
        cmocka_unit_test(test_head_parse_decides_persistence),
        cmocka_unit_test(test_query_parse_decodes_once),
        cmocka_unit_test(test_query_parse_refuses_bad_escapes_and_crowds),
        cmocka_unit_test(test_chunk_decode_in_any_pieces),
        cmocka_unit_test(test_chunk_decode_of_many_chunks),
        cmocka_unit_test(test_chunk_decode_refuses),
        cmocka_unit_test(test_chunk_decode_bounds_extensions_and_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

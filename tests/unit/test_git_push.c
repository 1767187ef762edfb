/* test_git_push.c - packets, and what a push asks for. Spec: s2i 13.2, 13.5, 13.23 */
#include "registry/git/packet.h"
#include "registry/git/push.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/unit.h"

#define A "1111111111111111111111111111111111111111"
#define B "2222222222222222222222222222222222222222"
#define ZERO "0000000000000000000000000000000000000000"

static void test_packet_next_takes_one(void **state)
{
    static const struct {
        const char *text;
        enum packet_outcome outcome;
        const char *data, *rest;
    } cases[] = {
        {"0006a\n0000", PACKET_DATA, "a", "0000"},
        {"0005a", PACKET_DATA, "a", ""},
        {"0004", PACKET_DATA, "", ""},
        {"0000x", PACKET_FLUSH, NULL, "x"},
        {"", PACKET_SHORT, NULL, ""},
        {"000", PACKET_SHORT, NULL, "000"},
        {"0006a", PACKET_SHORT, NULL, "0006a"},
        {"0001", PACKET_BAD, NULL, "0001"}, /* a delimiter: not in what a hook reads */
        {"0003", PACKET_BAD, NULL, "0003"},
        {"fff1", PACKET_BAD, NULL, "fff1"},
        {"00g5a", PACKET_BAD, NULL, "00g5a"},
        {"-001", PACKET_BAD, NULL, "-001"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct slice text = slice_of(cases[i].text), data = SLICE_NONE;
        assert_int_equal(packet_next(&text, &data), cases[i].outcome);
        if (cases[i].data != NULL)
            assert_true(slice_equal_text(data, cases[i].data));
        assert_true(slice_equal_text(text, cases[i].rest));
    }
}

static void test_packet_append_is_read_back(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(memory_drop) char *large = memory_new(PACKET_MAX);
    struct slice rest, data;

    (void)state;
    memset(large, 'x', PACKET_MAX);
    packet_append(&text, SLICE("ok refs/heads/main"));
    packet_append(&text, (struct slice){large, PACKET_MAX - PACKET_HEAD});
    packet_append_flush(&text);
    rest = buffer_slice(&text);
    assert_int_equal(packet_next(&rest, &data), PACKET_DATA);
    assert_true(slice_equal_text(data, "ok refs/heads/main"));
    assert_int_equal(packet_next(&rest, &data), PACKET_DATA);
    assert_int_equal(data.size, PACKET_MAX - PACKET_HEAD);
    assert_int_equal(packet_next(&rest, &data), PACKET_FLUSH);
    assert_int_equal(rest.size, 0);
}

/* --- what the hook reads --- */

static void add(struct buffer *out, const char *line)
{
    packet_append(out, slice_of(line));
}

static void version(struct buffer *out, const char *capabilities)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    buffer_append_text(&line, "version=1");
    if (capabilities != NULL) {
        buffer_append(&line, "", 1);
        buffer_append_text(&line, capabilities);
    }
    packet_append(out, buffer_slice(&line));
    packet_append_flush(out);
}

static void push(struct buffer *out)
{
    version(out, "push-options atomic");
    add(out, A " " B " refs/heads/main");
    add(out, ZERO " " A " refs/tags/v 1\n");
    packet_append_flush(out);
    add(out, "async");
    add(out, "tag=x");
    packet_append_flush(out);
}

static void test_push_request_parse(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(push_request_drop) struct push_request request = {0};
    struct error err = {0};

    (void)state;
    push(&text);
    assert_int_equal(push_request_parse(buffer_slice(&text), &request, &err), 0);
    assert_true(request.atomic);
    assert_int_equal(request.count, 2);
    assert_string_equal(request.commands[0].old, A);
    assert_string_equal(request.commands[0].new, B);
    assert_string_equal(request.commands[0].ref, "refs/heads/main");
    assert_string_equal(request.commands[1].ref, "refs/tags/v 1");
    assert_true(oid_is_none(request.commands[1].old));
    assert_int_equal(request.option_count, 2);
    assert_string_equal(request.options[1], "tag=x");
}

static void test_push_request_complete_only_at_its_end(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, plain = BUFFER_NONE;
    bool options, atomic;

    (void)state;
    push(&text);
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(push_request_complete((struct slice){text.at, size}), 0);
    assert_int_equal(push_request_complete(buffer_slice(&text)), 1);
    version(&plain, NULL);
    assert_int_equal(push_capabilities(buffer_slice(&plain), &options, &atomic), 1);
    assert_false(options || atomic);
    assert_int_equal(push_request_complete(buffer_slice(&plain)), 0);
    packet_append_flush(&plain); /* no command, and options were not promised */
    assert_int_equal(push_request_complete(buffer_slice(&plain)), 1);
    assert_int_equal(push_request_complete(SLICE("zzzz")), -1);
    assert_int_equal(push_request_complete(SLICE("0009hello")), -1);
}

static void test_push_request_parse_refuses(void **state)
{
    static const char *const lines[] = {
        "",
        A,
        A " " B,
        A " " B " ",
        "g" A " " B " refs/heads/x",
        A "1 " B " refs/heads/x",
        "111 222 refs/heads/x",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(lines); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct push_request request;
        struct error err = {0};
        version(&text, NULL);
        add(&text, lines[i]);
        packet_append_flush(&text);
        assert_int_equal(push_request_parse(buffer_slice(&text), &request, &err), -1);
        assert_int_equal(err.code, ERROR_BAD_REQUEST);
    }
}

static void test_push_request_parse_counts(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct push_request request;
    struct error err = {0};

    (void)state;
    version(&text, NULL);
    for (size_t i = 0; i <= PUSH_COMMANDS_MAX; i++) {
        char line[128];
        snprintf(line, sizeof(line), A " " B " refs/heads/b%zu", i);
        add(&text, line);
    }
    packet_append_flush(&text);
    assert_int_equal(push_request_parse(buffer_slice(&text), &request, &err), -1);
    assert_non_null(strstr(err.message, "in parts"));
}

/* --- options --- */

static int wishes(const char *const *words, size_t count, struct push_wishes *out,
                  struct error *err)
{
    const struct push_request request = {.options = (char **)(uintptr_t)words,
                                         .option_count = count};

    return push_wishes_parse(&request, out, err);
}

static void test_push_wishes_parse(void **state)
{
    static const char *const words[] = {
        "async", "no-cache", "rebuild", "tag=a.b", "env=K=V=W", "tag=c", "builder=builders/x:1"};
    OWNED(push_wishes_drop) struct push_wishes out = {0};
    struct error err = {0};

    (void)state;
    assert_int_equal(wishes(words, LENGTH(words), &out, &err), 0);
    assert_true(out.async && out.no_cache && out.rebuild && !out.wait && !out.no_build);
    assert_int_equal(out.tags.count, 2);
    assert_string_equal(out.tags.items[1], "c");
    assert_string_equal(out.env.items[0], "K=V=W");
    assert_string_equal(out.builder, "builders/x:1");
}

static void test_push_wishes_parse_refuses(void **state)
{
    static const char *const words[] = {"asinc",  "tag=", "tag=-x", "tag=a/b",  "env=K",
                                        "env==V", "tag",  "",       "builder=", "no-build=1"};
    static const char *const both[] = {"async", "wait"}, *const builders[] = {"builder=a",
                                                                              "builder=b"};

    (void)state;
    for (size_t i = 0; i < LENGTH(words); i++) {
        struct push_wishes out;
        struct error err = {0};
        assert_int_equal(wishes(&words[i], 1, &out, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
    }
    struct push_wishes out;
    struct error err = {0};
    assert_int_equal(wishes(both, 2, &out, &err), -1);
    assert_int_equal(wishes(builders, 2, &out, &(struct error){0}), -1);
}

/* Spec: 13.7 */
static void test_push_verdicts(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    push_verdict_append(&text, "refs/heads/a", NULL);
    push_verdict_append(&text, "refs/heads/b", "build 12 failed: AssembleFailed");
    assert_true(slice_equal_text(buffer_slice(&text),
                                 "0013ok refs/heads/a"
                                 "0017option fall-through"
                                 "0033ng refs/heads/b build 12 failed: AssembleFailed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packet_next_takes_one),
        cmocka_unit_test(test_packet_append_is_read_back),
        cmocka_unit_test(test_push_request_parse),
        cmocka_unit_test(test_push_request_complete_only_at_its_end),
        cmocka_unit_test(test_push_request_parse_refuses),
        cmocka_unit_test(test_push_request_parse_counts),
        cmocka_unit_test(test_push_wishes_parse),
        cmocka_unit_test(test_push_wishes_parse_refuses),
        cmocka_unit_test(test_push_verdicts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

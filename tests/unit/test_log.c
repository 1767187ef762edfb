/* test_log.c - one event is one line, whatever its values hold; callers never wait. */
#include "registry/core/log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/unit.h"

static void *read_all(void *argument)
{
    int fd = *(int *)argument;
    struct buffer *text = memory_new(sizeof(*text));
    char piece[4096];
    ssize_t got;

    while ((got = read(fd, piece, sizeof(piece))) > 0)
        buffer_append(text, piece, (size_t)got);
    buffer_append(text, "", 1);
    return text;
}

/* What one event looks like in a format, without the time. */
static char *line_of(enum log_format format, const struct log_field *fields)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    log_open(ends[1], LOG_INFO, format);
    log_write(LOG_WARNING, "test.event", fields);
    log_close();
    close(ends[1]);
    struct buffer *text = read_all(&ends[0]);
    close(ends[0]);
    char *line = text->at;
    free(text);
    return line;
}

static const struct {
    enum log_format format;
    struct log_field field;
    const char *expected; /* the end of the line */
} lines[] = {
    {LOG_FORMAT_LOGFMT,
     {LOG_FIELD_TEXT, "k", {.text = "plain"}},
     " level=warning msg=test.event k=plain\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = "a b"}}, " k=\"a b\"\n"},
    {LOG_FORMAT_LOGFMT,
     {LOG_FIELD_TEXT, "k", {.text = "x\nlevel=error"}},
     " k=\"x\\x0alevel=error\"\n"},
    {LOG_FORMAT_LOGFMT,
     {LOG_FIELD_TEXT, "k", {.text = "a\" other=\"b"}},
     " k=\"a\\\" other=\\\"b\"\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = "back\\slash"}}, " k=\"back\\\\slash\"\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = "\x1b[2J"}}, " k=\"\\x1b[2J\"\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = "\xc2\x85"}}, " k=\"\\xc2\\x85\"\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = ""}}, " msg=test.event\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_TEXT, "k", {.text = NULL}}, " msg=test.event\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_SLICE, "k", {.slice = {"slices", 5}}}, " k=slice\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_U64, "k", {.u64 = UINT64_MAX}}, " k=18446744073709551615\n"},
    {LOG_FORMAT_LOGFMT, {LOG_FIELD_I64, "k", {.i64 = -7}}, " k=-7\n"},
    {LOG_FORMAT_TEXT,
     {LOG_FIELD_TEXT, "k", {.text = "v\r\n"}},
     "Z WARN  test.event k=\"v\\x0d\\x0a\"\n"},
    {LOG_FORMAT_JSON,
     {LOG_FIELD_TEXT, "k", {.text = "a\"\n\\"}},
     "\",\"level\":\"warning\",\"msg\":\"test.event\",\"k\":\"a\\\"\\u000a\\\\\"}\n"},
    {LOG_FORMAT_JSON, {LOG_FIELD_TEXT, "k", {.text = "caf\xc3\xa9"}}, "\"k\":\"caf\xc3\xa9\"}\n"},
    {LOG_FORMAT_JSON,
     {LOG_FIELD_TEXT, "k", {.text = "bad\xff\xc3"}},
     "\"k\":\"bad\xef\xbf\xbd\xef\xbf\xbd\"}\n"},
    {LOG_FORMAT_JSON,
     {LOG_FIELD_TEXT, "k", {.text = "\xed\xa0\x80"}},
     "\"k\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"}\n"},
    {LOG_FORMAT_JSON, {LOG_FIELD_U64, "k", {.u64 = 3}}, "\"k\":3}\n"},
    {LOG_FORMAT_AUTO, {LOG_FIELD_U64, "k", {.u64 = 3}}, " level=warning msg=test.event k=3\n"},
};

static void test_log_line_cannot_be_forged(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(lines); i++) {
        const struct log_field fields[] = {lines[i].field, {.kind = LOG_FIELD_END}};
        char *line = line_of(lines[i].format, fields);
        if (!slice_ends(slice_of(line), lines[i].expected))
            fail_msg("case %zu: \"%s\" does not end in \"%s\"", i, line, lines[i].expected);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        free(line);
    }
}

static void test_log_time_is_utc_to_the_millisecond(void **state)
{
    (void)state;
    setenv("TZ", "Asia/Tokyo", 1);
    time_t before = time(NULL);
    char *line = line_of(LOG_FORMAT_LOGFMT, (const struct log_field[]){{.kind = LOG_FIELD_END}});
    struct tm tm = {0};
    const char *rest = strptime(line, "time=%Y-%m-%dT%H:%M:%S.", &tm);

    assert_non_null(rest);
    assert_int_equal(rest[3], 'Z');
    assert_in_range(timegm(&tm), before, time(NULL) + 1); /* time() lags behind by a moment */
    free(line);
    unsetenv("TZ");
}

static void test_log_cuts_long_values(void **state)
{
    char *value = memory_new(100001);

    (void)state;
    memset(value, 'x', 100000);
    char *line = line_of(LOG_FORMAT_LOGFMT,
                         (const struct log_field[]){F_TEXT("k", value), {.kind = LOG_FIELD_END}});
    assert_in_range(strlen(line), 1000, 1200);
    assert_true(slice_ends(slice_of(line), "xxx...\n"));
    free(line);
    free(value);
}

static void test_log_level_hides_what_is_below(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    log_open(ends[1], LOG_WARNING, LOG_FORMAT_LOGFMT);
    assert_false(log_enabled(LOG_INFO));
    log_event(LOG_INFO, "hidden");
    log_event(LOG_ERROR, "shown");
    log_close();
    close(ends[1]);
    struct buffer *text = read_all(&ends[0]);
    assert_null(strstr(text->at, "hidden"));
    assert_non_null(strstr(text->at, "shown"));
    buffer_drop(text);
    free(text);
    close(ends[0]);
}

/* Nobody reads the pipe while three times the queue is logged: no call waits, what did not fit is
 * counted, and every line is either written whole or counted. */
static void test_log_drops_and_counts_when_full(void **state)
{
    enum { LINES = 30000 };
    int ends[2];
    pthread_t reader;
    void *result;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    log_open(ends[1], LOG_INFO, LOG_FORMAT_LOGFMT);
    alarm(300);
    for (int i = 0; i < LINES; i++)
        log_event(LOG_INFO, "flood", F_TEXT("padding", "0123456789012345678901234567890123456789"));
    pthread_create(&reader, NULL, read_all, &ends[0]);
    log_close();
    alarm(0);
    close(ends[1]);
    pthread_join(reader, &result);
    struct buffer *text = result;
    unsigned long long written = 0, dropped = 0, more;
    for (const char *at = text->at; (at = strstr(at, "msg=")) != NULL; at++) {
        if (sscanf(at, "msg=log.dropped lines=%llu", &more) == 1)
            dropped += more;
        else
            written++;
    }
    assert_true(dropped > 0);
    assert_int_equal(written + dropped, LINES);
    buffer_drop(text);
    free(text);
    close(ends[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_log_line_cannot_be_forged),
        cmocka_unit_test(test_log_time_is_utc_to_the_millisecond),
        cmocka_unit_test(test_log_cuts_long_values),
        cmocka_unit_test(test_log_level_hides_what_is_below),
        cmocka_unit_test(test_log_drops_and_counts_when_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

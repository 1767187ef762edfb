/* test_build_log.c - what is left of what a script prints, where a log goes on after a crash, and
 * what its followers get. */
#include "s2i/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/log_filter.h"
#include "s2i/log_internal.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

enum { PATIENCE_MS = 60000 };

/* --- the filter --- */

static void line_keep(void *arg, struct slice line)
{
    struct buffer *out = arg;

    buffer_append_slice(out, line);
    buffer_append(out, "|", 1);
}

/* The lines, each ended by '|', of bytes that come in pieces of `step`. */
static void filtered(const struct log_masks *masks, struct slice bytes, size_t step,
                     struct buffer *out)
{
    struct log_filter filter = {.masks = masks, .line = line_keep, .arg = out};

    out->size = 0;
    for (size_t at = 0; at < bytes.size; at += step)
        log_filter_write(&filter, (struct slice){bytes.at + at,
                                                 step < bytes.size - at ? step : bytes.size - at});
    log_filter_flush(&filter);
    log_filter_drop(&filter);
}

static void expect_filtered(const struct log_masks *masks, struct slice bytes, const char *wanted)
{
    struct buffer out = BUFFER_NONE;

    for (size_t step = 1; step <= bytes.size; step++) {
        filtered(masks, bytes, step, &out);
        buffer_append(&out, "", 1);
        if (strcmp(out.at, wanted) != 0)
            fail_msg("%.*s in pieces of %zu: %s, not %s", SLICE_ARG(bytes), step, out.at, wanted);
    }
    buffer_drop(&out);
}

/* Spec: s2i 13.13. */
static void test_only_colours_and_tabs_are_left_of_controls(void **state)
{
    static const struct {
        const char *bytes, *lines;
    } cases[] = {
        {"plain\n", "plain|"},
        {"no end", "no end|"},
        {"\n\n", "||"},
        {"dos\r\nmac\r\r\n", "dos|mac|"},
        {"10%\r50%\r100%\n", "100%|"},
        {"a\tb\n", "a\tb|"},
        {"bell\a back\b del\x7f\n", "bell back del|"},
        {"\x1b[31mred\x1b[0m\n", "\x1b[31mred\x1b[0m|"},
        {"\x1b[m\x1b[38;2;1;2;3mx\x1b[4:3my\n", "\x1b[m\x1b[38;2;1;2;3mx\x1b[4:3my|"},
        {"\x1b[2J\x1b[1;1Hcleared\n", "cleared|"},
        {"\x1b[?25lhidden\x1b[>4;2mx\n", "hiddenx|"},
        {"\x1b[1 mx\n", "x|"},
        {"\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13mx\n", "x|"},
        {"\x1b]0;title\ax\x1b]8;;http://y\x1b\\z\n", "xz|"},
        {"\x1bP1$r\x1b\\a\x1b_b\x1b\\c\x1b^d\x1b\\e\x1bXf\x1b\\g\n", "aceg|"},
        {"\x1b(Bx\x1b"
         "7y\x1b=z\n",
         "xyz|"},
        {"cut \x1b[3\nnext\x1b]0;\nlast\n", "cut |next|last|"},
        {"\x1b\x1b[1mtwice\n", "\x1b[1mtwice|"},
        {"\x1b[3\x18"
         "4mx\n",
         "4mx|"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\x80\n",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x9a\x80|"},
        {"c1 \xc2\x9b"
         "31m\xc2\x85\xc2\xa0\n",
         "c1 31m\xc2\xa0|"},
        {"bad \xff\xc3(\x80\xe2\x82\n", "bad \xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd|"},
        {"over \xc0\xaf \xed\xa0\x80\n", "over \xef\xbf\xbd \xef\xbf\xbd|"},
        {"half \xe2\x82", "half \xef\xbf\xbd|"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        expect_filtered(NULL, slice_of(cases[i].bytes), cases[i].lines);
    expect_filtered(NULL, SLICE("nul\0l\n"), "null|");
}

/* Spec: s2i 5.4. */
static void test_secrets_are_masked_wherever_they_are_cut(void **state)
{
    static const struct slice secrets[] = {
        {"hunter2!", 8},
        {"hunter2!!more", 13},
        {"abcdef", 6},
        {"defghi", 6},
        {"abc", 3},
        {"no\r\nt one", 9},
        {"col\x1b[2Jour", 10},
        {"", 0},
        {"-----BEGIN-----\nMIIEsecretline\nx=\n-----END-----\n", 48},
    };
    static const struct {
        const char *bytes, *lines;
    } cases[] = {
        {"pw=hunter2! end\n", "pw=*** end|"},
        {"hunter2!hunter2!\n", "******|"},
        {"hunter2!!more\n", "***|"},
        {"hunter2!!mor\n", "***!mor|"}, /* the shorter one, when it is not the longer */
        {"hunter2\nhunter2!\n", "hunter2|***|"},
        {"hunter2", "hunter2|"},
        {"abcdefghi\n", "***|"}, /* one reaches into the other */
        {"abcabcabcdef\n", "abcabc***|"},
        {"abc\n", "abc|"},             /* too short to be one */
        {"hun\x1b[2Jter2!\n", "***|"}, /* what is dropped does not hide it */
        {"colour\n", "***|"},
        {"no\nt one\n", "***|"},
        {"key:\n-----BEGIN-----\nMIIEsecretline\nx=\n-----END-----\nbye\n", "key:|***|bye|"},
        {"-----BEGIN-----\r\nMIIEsecretline\r\nx=\r\n-----END-----\r\n", "***|"},
        {"-----BEGIN-----\nother\n", "***|other|"},
        {"line: MIIEsecretline.\nx=\n", "line: ***.|x=|"},
        {"bad\rhunter2!\n", "***|"},
        {"no\nx\rt one\n", "***|"}, /* as it is seen in the end */
    };
    struct log_masks *masks = log_masks_new(secrets, LENGTH(secrets));

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        expect_filtered(masks, slice_of(cases[i].bytes), cases[i].lines);
    log_masks_free(masks);
}

/* Secrets that begin with others: whatever follows, the longest that is there counts. */
static void test_secrets_that_begin_with_others(void **state)
{
    static const char *const texts[] = {"aaaa",     "aaaab", "aaaabcde", "aaaac",
                                        "aaaabcdz", "aaaa",  "zzzzzz",   "aaaabcdefghi"};
    static const struct {
        const char *bytes, *lines;
    } cases[] = {
        {"aaaa\n", "***|"},
        {"aaaad\n", "***d|"},
        {"aaaabx\n", "***x|"},
        {"aaaabcdx\n", "***cdx|"},
        {"aaaabcdey\n", "***y|"},
        {"aaaabcdefghi.\n", "***.|"},
        {"aaaabcdefgh.\n", "***fgh.|"},
        {"aaaac\n", "***|"},
        {"aaa\n", "aaa|"},
        {"xzzzzzz\n", "x***|"},
        {"zzzzz\n", "zzzzz|"},
    };
    struct slice secrets[LENGTH(texts)];

    (void)state;
    for (size_t i = 0; i < LENGTH(texts); i++)
        secrets[i] = slice_of(texts[i]);
    struct log_masks *masks = log_masks_new(secrets, LENGTH(secrets));
    for (size_t i = 0; i < LENGTH(cases); i++)
        expect_filtered(masks, slice_of(cases[i].bytes), cases[i].lines);
    log_masks_free(masks);
}

/* A long line is masked piece by piece, and never within a character. */
static void test_a_long_secret(void **state)
{
    struct buffer text = BUFFER_NONE, out = BUFFER_NONE;

    (void)state;
    for (int i = 0; text.size < 3000; i++)
        buffer_print(&text, "%d\xe2\x82\xac", i);
    const struct slice secret = buffer_slice(&text);
    struct log_masks *masks = log_masks_new(&secret, 1);
    for (size_t step = 1; step < 3000; step += 700) {
        out.size = 0;
        filtered(masks, secret, step, &out);
        assert_true(out.size <= sizeof("******************|"));
        assert_null(memmem(out.at, out.size, "\xe2\x82\xac", 3));
    }
    log_masks_free(masks);
    buffer_drop(&text);
    buffer_drop(&out);
}

/* It took a look at each secret for each byte: minutes, in which no build could be cancelled. */
static void test_many_secrets_cost_little(void **state)
{
    enum { MANY = 100000, SIZE = 1 << 20 };
    OWNED(memory_drop) struct slice *secrets = memory_new(MANY * sizeof(*secrets));
    OWNED(memory_drop) char *texts = memory_new((size_t)MANY * 16);
    struct buffer text = BUFFER_NONE, out = BUFFER_NONE;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        snprintf(texts + i * 16, 16, "aaaa%zx", i);
        secrets[i] = slice_of(texts + i * 16);
    }
    buffer_reserve(&text, SIZE);
    memset(text.at, 'a', SIZE);
    text.size = SIZE;
    struct log_masks *masks = log_masks_new(secrets, MANY);
    filtered(masks, buffer_slice(&text), SIZE / 16, &out);
    assert_true(out.size > 0 && memchr(out.at, '*', out.size) != NULL);
    log_masks_free(masks);
    buffer_drop(&text);
    buffer_drop(&out);
}

/* A line is shown as soon as it cannot be a secret any more. */
static void test_lines_do_not_wait_longer_than_they_must(void **state)
{
    static const struct slice secret = {"first\nsecond", 12};
    struct log_masks *masks = log_masks_new(&secret, 1);
    struct buffer out = BUFFER_NONE;
    struct log_filter filter = {.masks = masks, .line = line_keep, .arg = &out};

    (void)state;
    log_filter_write(&filter, SLICE("hello\nfirst\n"));
    assert_memory_equal(out.at, "hello|", out.size);
    assert_int_equal(out.size, 6);
    log_filter_write(&filter, SLICE("s"));
    assert_int_equal(out.size, 6);
    log_filter_write(&filter, SLICE("ilence\n"));
    assert_int_equal(out.size, 20);
    log_filter_drop(&filter);
    log_masks_free(masks);
    buffer_drop(&out);
}

static void test_long_lines_become_many(void **state)
{
    struct buffer bytes = BUFFER_NONE, out = BUFFER_NONE;
    struct slice line, rest;
    size_t total = 0;

    (void)state;
    for (int i = 0; i < 50000; i++) /* characters of three bytes are not cut */
        buffer_append(&bytes, "\xe2\x82\xac", 3);
    buffer_append(&bytes, "\n", 1);
    filtered(NULL, buffer_slice(&bytes), 1000, &out);
    rest = buffer_slice(&out);
    while (slice_split(rest, '|', &line, &rest)) {
        assert_true(line.size <= LOG_LINE_MAX && line.size % 3 == 0);
        total += line.size;
    }
    assert_int_equal(total, 150000);
    bytes.size = 0;
    for (int i = 0; i < 2 * LOG_LINE_MAX; i++)
        buffer_append(&bytes, "x", 1);
    filtered(NULL, buffer_slice(&bytes), 50000, &out);
    assert_int_equal(out.size, 2 * LOG_LINE_MAX + 2);
    assert_int_equal(out.at[LOG_LINE_MAX], '|');
    buffer_drop(&bytes);
    buffer_drop(&out);
}

/* --- logs --- */

static char folder[FOLDER_MAX];

static struct build_logs *logs_open(void)
{
    struct build_logs *logs;
    struct error err = {0};

    if (build_logs_open(&logs, folder, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    logs->comment_ms = 3600000; /* however long a test takes */
    return logs;
}

static struct build_log *begin(struct build_logs *logs, int64_t id, uint64_t size_max)
{
    static const struct slice secret = {"s3cret", 6};
    struct build_log *log;
    struct error err = {0};

    if (build_log_begin(logs, id, size_max, &secret, 1, &log, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    return log;
}

static void end(struct build_log *log)
{
    struct error err = {0};
    assert_int_equal(build_log_end(log, &err), 0);
}

static int follow(struct build_logs *logs, struct log_follow wish)
{
    struct error err = {0};
    int fd;

    if (build_log_follow(logs, &wish, &fd, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    return fd;
}

static void hear(int fd, const char *wanted)
{
    size_t used = 0, size = strlen(wanted);
    char got[4096];

    while (used < size) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&one, 1, PATIENCE_MS), 1);
        ssize_t more = read(fd, got + used, size - used);
        if (more <= 0)
            fail_msg("ended after: %.*s", (int)used, got);
        used += (size_t)more;
    }
    assert_memory_equal(got, wanted, size);
}

static void hear_end(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    char byte;

    assert_int_equal(poll(&one, 1, PATIENCE_MS), 1);
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
}

static void hear_nothing(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&one, 1, 20), 0);
}

/* All of it, to its end; freed by the caller. */
static struct buffer text_of(struct build_logs *logs, int64_t id)
{
    struct buffer text = BUFFER_NONE;
    struct error err = {0};
    int fd;

    assert_int_equal(build_log_file(logs, id, &fd, &err), 0);
    assert_int_equal(fd_read(fd, 1 << 30, &text), 0);
    close(fd);
    buffer_append(&text, "", 1);
    return text;
}

static void expect_text(struct build_logs *logs, int64_t id, const char *wanted)
{
    struct buffer text = text_of(logs, id);
    assert_string_equal(text.at, wanted);
    buffer_drop(&text);
}

static void test_streams_keep_their_lines_apart(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 1, 1 << 20);
    uint64_t size;
    bool live;
    struct error err = {0};
    struct buffer tail = BUFFER_NONE;

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("on o"));
    build_log_write(log, LOG_ERR, SLICE("on err s3c"));
    build_log_print(log, "-----> building %d", 7);
    build_log_write(log, LOG_OUT, SLICE("ut\nagain"));
    build_log_write(log, LOG_ERR, SLICE("ret\n"));
    assert_int_equal(build_log_size(log), strlen("-----> building 7\non out\non err ***\n"));
    assert_int_equal(build_log_stat(logs, 1, &size, &live, &err), 0);
    assert_true(live);
    assert_int_equal(size, build_log_size(log));
    end(log);
    expect_text(logs, 1, "-----> building 7\non out\non err ***\nagain\n");
    build_log_tail(logs, 1, 20, &tail);
    assert_true(slice_equal_text(buffer_slice(&tail), "on err ***\nagain\n"));
    tail.size = 0;
    build_log_tail(logs, 1, 4, &tail); /* of a line that does not fit, its end */
    assert_true(slice_equal_text(buffer_slice(&tail), "ain\n"));
    tail.size = 0;
    build_log_tail(logs, 1, 1000, &tail);
    assert_true(slice_starts(buffer_slice(&tail), "-----> building 7\n"));
    tail.size = 0;
    build_log_tail(logs, 99, 1000, &tail);
    assert_int_equal(tail.size, 0);
    buffer_drop(&tail);
    assert_int_equal(build_log_stat(logs, 1, &size, &live, &err), 0);
    assert_false(live);
    build_log_remove(logs, 1);
    assert_int_equal(build_log_stat(logs, 1, &size, &live, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    build_logs_close(logs);
}

/* Spec: s2i 13.45. Our own words tell the outcome all the same. */
static void test_the_limit_is_stated_once(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 2, 20);

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("0123456789\n01234567\n"));
    build_log_write(log, LOG_OUT, SLICE("x\ny\n"));
    build_log_write(log, LOG_ERR, SLICE("z\n"));
    build_log_print(log, "failed: exit 1");
    end(log);
    expect_text(logs, 2,
                "0123456789\n01234567\n"
                "the log has reached its limit of 20 bytes: what follows is not kept\n"
                "failed: exit 1\n");
    log = begin(logs, 3, 1 << 20); /* the index has a limit as well */
    for (int i = 0; i < 1 << 17; i++)
        build_log_write(log, LOG_OUT, SLICE("\n"));
    end(log);
    struct buffer text = text_of(logs, 3);
    assert_in_range(text.size, 65536, 65536 + 100);
    buffer_drop(&text);
    build_logs_close(logs);
}

static void path_of(int64_t id, const char *suffix, char out[FOLDER_MAX + 32])
{
    snprintf(out, FOLDER_MAX + 32, "%s/%d.%s", folder, (int)id, suffix);
}

static void file_put(int64_t id, const char *suffix, int flags, const void *bytes, size_t size)
{
    char path[FOLDER_MAX + 32];

    path_of(id, suffix, path);
    int fd = open(path, O_WRONLY | O_CREAT | flags, 0600);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static void file_cut(int64_t id, const char *suffix, off_t by)
{
    char path[FOLDER_MAX + 32];
    struct stat status;

    path_of(id, suffix, path);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(truncate(path, status.st_size - by), 0);
}

static void broken_not(void)
{
}
static void broken_line(void)
{
    file_put(9, "log", O_APPEND, "half a li", 9);
}
static void broken_index_behind(void)
{
    file_cut(9, "index", LOG_ENTRY_SIZE * 2 + 5);
}
static void broken_index_gone(void)
{
    file_put(9, "index", O_TRUNC, "", 0);
}
static void broken_index_ahead(void)
{
    file_put(9, "log", O_APPEND, "lost\n", 5);
    file_cut(9, "log", 5);
    static const char entries[LOG_ENTRY_SIZE * 2] = {100};
    file_put(9, "index", O_APPEND, entries, sizeof(entries));
}
static void broken_zeros(void)
{
    static const char zeros[10000];
    file_put(9, "log", O_APPEND, zeros, sizeof(zeros));
    file_put(9, "index", O_APPEND, zeros, sizeof(zeros));
}

static void expect_entries(int64_t id, const uint64_t *offsets, const unsigned *streams,
                           size_t count)
{
    char path[FOLDER_MAX + 32];
    struct log_entry entries[16];

    path_of(id, "index", path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(log_entries_read(fd, 0, entries, 16), count);
    close(fd);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(entries[i].offset, offsets[i]);
        if (streams != NULL)
            assert_int_equal(entries[i].stream, streams[i]);
        assert_true(entries[i].time_us > 1000000);
    }
}

/* (1): a process that dies leaves what it leaves. */
static void test_a_log_goes_on_after_a_crash(void **state)
{
    static const struct {
        void (*how)(void);
        bool streams_known;
    } cases[] = {{broken_not, true},           {broken_line, true},
                 {broken_index_behind, false}, {broken_index_gone, false},
                 {broken_index_ahead, true},   {broken_zeros, true}};
    static const uint64_t offsets[] = {0, 4, 8, 14, 18};
    static const unsigned streams[] = {LOG_OUT, LOG_ERR, LOG_STEP, LOG_OUT, LOG_ENDED};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct build_logs *logs = logs_open();
        struct build_log *log = begin(logs, 9, 1000);
        build_log_write(log, LOG_OUT, SLICE("one\n"));
        build_log_write(log, LOG_ERR, SLICE("two\n"));
        build_log_print(log, "three");
        end(log);
        cases[i].how();
        log = begin(logs, 9, 1000);
        assert_int_equal(build_log_size(log), 14);
        build_log_write(log, LOG_OUT, SLICE("new\n"));
        end(log);
        expect_text(logs, 9, "one\ntwo\nthree\nnew\n");
        expect_entries(9, offsets, cases[i].streams_known ? streams : NULL, 5);
        build_log_remove(logs, 9);
        build_logs_close(logs);
    }
}

/* --- followers --- */

static void test_a_follower_hears_lines_as_they_come(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 20, 1 << 20);
    struct error err = {0};
    int fd;

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("before\n"));
    int from_start = follow(logs, (struct log_follow){.id = 20, .follow = true});
    int from_offset = follow(logs, (struct log_follow){.id = 20, .offset = 3, .follow = true});
    int ahead = follow(logs, (struct log_follow){.id = 20, .offset = 10, .follow = true});
    int until_now = follow(logs, (struct log_follow){.id = 20});
    hear(from_start, "before\n");
    hear(from_offset, "ore\n");
    hear(until_now, "before\n");
    hear_end(until_now);
    hear_nothing(from_start);
    build_log_write(log, LOG_OUT, SLICE("after\npart"));
    hear(from_start, "after\n");
    hear(from_offset, "after\n");
    hear(ahead, "er\n");
    hear_nothing(from_start);
    end(log);
    hear(from_start, "part\n");
    hear_end(from_start);
    hear(from_offset, "part\n");
    hear_end(from_offset);
    hear(ahead, "part\n");
    hear_end(ahead);
    from_start = follow(logs, (struct log_follow){.id = 20, .follow = true});
    hear(from_start, "before\nafter\npart\n");
    hear_end(from_start);
    assert_int_equal(build_log_follow(logs, &(struct log_follow){.id = 21}, &fd, &err), -1);
    assert_int_equal(err.code, ERROR_NOT_FOUND);
    build_logs_close(logs);
}

/* Ids are offsets behind the line: Last-Event-ID is where to go on. */
static void test_events_have_ids_and_an_end(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 30, 1 << 20);

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("one\n\nthree\n"));
    int fd = follow(logs, (struct log_follow){.id = 30, .form = LOG_SSE, .follow = true});
    int later =
        follow(logs, (struct log_follow){.id = 30, .form = LOG_SSE, .offset = 4, .follow = true});
    int within =
        follow(logs, (struct log_follow){.id = 30, .form = LOG_SSE, .offset = 2, .follow = true});
    hear(fd, "id: 4\ndata: one\n\nid: 5\ndata: \n\nid: 11\ndata: three\n\n");
    hear(later, "id: 5\ndata: \n\nid: 11\ndata: three\n\n");
    hear(within, "id: 5\ndata: \n\nid: 11\ndata: three\n\n");
    close(later);
    close(within);
    build_log_write(log, LOG_OUT, SLICE("four\n"));
    hear(fd, "id: 16\ndata: four\n\n");
    end(log);
    hear(fd, "event: end\ndata:\n\n");
    hear_end(fd);
    fd = follow(logs, (struct log_follow){.id = 30, .form = LOG_SSE, .offset = 16, .follow = true});
    hear(fd, "event: end\ndata:\n\n");
    hear_end(fd);
    file_cut(30, "index", LOG_ENTRY_SIZE); /* its process died: a client may come again */
    fd = follow(logs, (struct log_follow){.id = 30, .form = LOG_SSE, .offset = 11, .follow = true});
    hear(fd, "id: 16\ndata: four\n\n");
    hear_end(fd);
    build_logs_close(logs);
}

static void test_events_that_are_silent_get_comments(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 31, 1 << 20);

    (void)state;
    logs->comment_ms = 30;
    int fd = follow(logs, (struct log_follow){.id = 31, .form = LOG_SSE, .follow = true});
    int text = follow(logs, (struct log_follow){.id = 31, .follow = true});
    hear(fd, ":\n\n");
    hear(fd, ":\n\n");
    build_log_write(log, LOG_OUT, SLICE("x\n"));
    hear(text, "x\n");
    end(log);
    hear_end(text);
    close(fd);
    build_logs_close(logs);
}

static void test_timed_lines_tell_time_and_stream(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 40, 1 << 20);
    char got[256] = "";
    size_t used = 0;
    ssize_t more;

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("o\n"));
    build_log_write(log, LOG_ERR, SLICE("e\n"));
    build_log_print(log, "s");
    end(log);
    int fd = follow(logs, (struct log_follow){.id = 40, .form = LOG_TIMED, .offset = 1});
    while ((more = read(fd, got + used, sizeof(got) - 1 - used)) > 0)
        used += (size_t)more;
    close(fd);
    assert_int_equal(used, 2 * 29);
    assert_memory_equal(got + 4, "-", 1);
    assert_memory_equal(got + 23, "Z E e\n20", 8);
    assert_memory_equal(got + 29 + 23, "Z S s\n", 6);
    static const struct log_entry entry = {.offset = 0, .time_us = 1767323045678901, LOG_OUT};
    char bytes[LOG_ENTRY_SIZE];
    log_entry_write(&entry, bytes);
    file_put(41, "log", O_TRUNC, "a\nb\n", 4); /* b has no entry: as the line before */
    file_put(41, "index", O_TRUNC, bytes, sizeof(bytes));
    fd = follow(logs, (struct log_follow){.id = 41, .form = LOG_TIMED});
    hear(fd, "2026-01-02T03:04:05.678Z O a\n2026-01-02T03:04:05.678Z O b\n");
    hear_end(fd);
    build_logs_close(logs);
}

/* Its pipe is full; nobody else notices, and it gets all in the end. */
static void test_a_slow_reader_is_only_behind(void **state)
{
    enum { LINES = 20000 };
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 50, 1 << 26);
    struct buffer slow_text = BUFFER_NONE;
    char line[128];

    (void)state;
    int slow = follow(logs, (struct log_follow){.id = 50, .follow = true});
    int events = follow(logs, (struct log_follow){.id = 50, .form = LOG_SSE, .follow = true});
    int gone = follow(logs, (struct log_follow){.id = 50, .follow = true});
    int quick = follow(logs, (struct log_follow){.id = 50, .follow = true});
    close(gone);
    for (int i = 0; i < LINES; i++) {
        int size = snprintf(line, sizeof(line), "line %d of many\n", i);
        build_log_write(log, i % 2 ? LOG_OUT : LOG_ERR, (struct slice){line, (size_t)size});
        hear(quick, line);
    }
    end(log);
    hear_end(quick);
    assert_int_equal(fd_read(slow, 1 << 30, &slow_text), 0);
    close(slow);
    struct buffer text = text_of(logs, 50);
    assert_int_equal(slow_text.size, text.size - 1);
    assert_memory_equal(slow_text.at, text.at, slow_text.size);
    slow_text.size = 0;
    assert_int_equal(fd_read(events, 1 << 30, &slow_text), 0);
    close(events);
    snprintf(line, sizeof(line), "id: %zu\ndata: line %d of many\n\nevent: end\ndata:\n\n",
             text.size - 1, LINES - 1);
    assert_true(slice_ends(buffer_slice(&slow_text), line));
    buffer_drop(&slow_text);
    buffer_drop(&text);
    build_logs_close(logs);
}

static void test_closing_ends_what_is_followed(void **state)
{
    struct build_logs *logs = logs_open();
    struct build_log *log = begin(logs, 60, 1 << 20);

    (void)state;
    build_log_write(log, LOG_OUT, SLICE("x\n"));
    end(log);
    int fd = follow(logs, (struct log_follow){.id = 60, .follow = true});
    build_logs_close(logs);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    char bytes[8];
    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
    hear_end(fd);
}

static int setup(void **state)
{
    (void)state;
    folder_new(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_colours_and_tabs_are_left_of_controls),
        cmocka_unit_test(test_secrets_are_masked_wherever_they_are_cut),
        cmocka_unit_test(test_secrets_that_begin_with_others),
        cmocka_unit_test(test_a_long_secret),
        cmocka_unit_test(test_many_secrets_cost_little),
        cmocka_unit_test(test_lines_do_not_wait_longer_than_they_must),
        cmocka_unit_test(test_long_lines_become_many),
        cmocka_unit_test(test_streams_keep_their_lines_apart),
        cmocka_unit_test(test_the_limit_is_stated_once),
        cmocka_unit_test(test_a_log_goes_on_after_a_crash),
        cmocka_unit_test(test_a_follower_hears_lines_as_they_come),
        cmocka_unit_test(test_events_have_ids_and_an_end),
        cmocka_unit_test(test_events_that_are_silent_get_comments),
        cmocka_unit_test(test_timed_lines_tell_time_and_stream),
        cmocka_unit_test(test_a_slow_reader_is_only_behind),
        cmocka_unit_test(test_closing_ends_what_is_followed),
    };

    signal(SIGPIPE, SIG_IGN); /* as main does */
    return cmocka_run_group_tests(tests, setup, teardown);
}

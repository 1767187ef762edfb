/* test_source_url.c - URLs, refs and names of sources: what is taken, what is refused. */
#include "s2i/source/url.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/source/entries.h"
#include "s2i/source/text.h"
#include "tests/support/unit.h"

/* s2i 4.2 */
static void test_source_url_read(void **state)
{
    static const struct {
        const char *text, *printed; /* NULL: refused */
        const char *ref;
        uint16_t port;
    } cases[] = {
        {"https://git.example.org/team/app.git", "https://git.example.org/team/app.git", "", 443},
        {"HTTPS://Git.Example.ORG/Team/App", "https://git.example.org/Team/App", "", 443},
        {"https://git.example.org:443/a", "https://git.example.org/a", "", 443},
        {"https://git.example.org:8443/a", "https://git.example.org:8443/a", "", 8443},
        {"http://git.example.org/a", "http://git.example.org/a", "", 80},
        {"https://someone@git.example.org/a", "https://git.example.org/a", "", 443},
        {"https://git.example.org/a#main", "https://git.example.org/a", "main", 443},
        {"https://git.example.org/a#refs/pull/7/head", "https://git.example.org/a",
         "refs/pull/7/head", 443},
        {"https://[2606:4700::1]:8443/a", "https://[2606:4700::1]:8443/a", "", 8443},
        {"https://10.0.0.1/a", "https://10.0.0.1/a", "", 443},
        {"ssh://git@example.org/team/app", "ssh://git@example.org/team/app", "", 22},
        {"ssh://git@example.org:2222/app", "ssh://git@example.org:2222/app", "", 2222},
        {"git://example.org/app", "git://example.org/app", "", 9418},
        {"git@example.org:team/app.git", "git@example.org:team/app.git", "", 22},
        {"git@example.org:team/app.git#v1", "git@example.org:team/app.git", "v1", 22},
        {"", NULL, NULL, 0},
        {"/srv/git/app", NULL, NULL, 0},
        {"./app", NULL, NULL, 0},
        {"../app", NULL, NULL, 0},
        {"app", NULL, NULL, 0},
        {"C:\\app", NULL, NULL, 0},
        {"host:path", NULL, NULL, 0},
        {"file:///srv/git/app", NULL, NULL, 0},
        {"ftp://example.org/a", NULL, NULL, 0},
        {"ext::sh -c touch% /tmp/x", NULL, NULL, 0},
        {"ext::https://example.org/a", NULL, NULL, 0},
        {"fd::17/foo", NULL, NULL, 0},
        {"transport::git@example.org:a", NULL, NULL, 0},
        {"https://", NULL, NULL, 0},
        {"https:///a", NULL, NULL, 0},
        {"https://example.org", NULL, NULL, 0},
        {"https://example.org/", NULL, NULL, 0},
        {"https://example.org/a?b", NULL, NULL, 0},
        {"https://example.org/a b", NULL, NULL, 0},
        {"https://example.org/a\nb", NULL, NULL, 0},
        {"https://example.org/\x1b[2J", NULL, NULL, 0},
        {"https://user:secret@example.org/a", NULL, NULL, 0},
        {"https://a@b@example.org/a", NULL, NULL, 0},
        {"https://-oProxyCommand=x/a", NULL, NULL, 0},
        {"ssh://-oProxyCommand=x/a", NULL, NULL, 0},
        {"ssh://-x@example.org/a", NULL, NULL, 0},
        {"git@example.org:-x", NULL, NULL, 0},
        {"-x@example.org:a", NULL, NULL, 0},
        {"git@-x:a", NULL, NULL, 0},
        {"https://example.org:0/a", NULL, NULL, 0},
        {"https://example.org:65536/a", NULL, NULL, 0},
        {"https://example.org:/a", NULL, NULL, 0},
        {"https://example..org/a", NULL, NULL, 0},
        {"https://.example.org/a", NULL, NULL, 0},
        {"https://example.org./a", NULL, NULL, 0},
        {"https://2130706433/a", NULL, NULL, 0},
        {"https://0x7f000001/a", NULL, NULL, 0},
        {"https://0x7f.1/a", NULL, NULL, 0},
        {"https://127.1/a", NULL, NULL, 0},
        {"https://127.0.0.0x1/a", NULL, NULL, 0},
        {"https://::1/a", NULL, NULL, 0},
        {"https://[127.0.0.1]/a", NULL, NULL, 0},
        {"https://[::1%25lo]/a", NULL, NULL, 0},
        {"https://ex%61mple.org/a", NULL, NULL, 0},
        {"https://ex\xc3\xa4mple.org/a", NULL, NULL, 0},
        {"https://example.org/a#--upload-pack=x", NULL, NULL, 0},
        {"https://example.org/a#a:b", NULL, NULL, 0},
        {"https://example.org/a#a b", NULL, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct error err = {0};
        bool taken = source_url_read(slice_of(cases[i].text), &url, &err) == 0;
        if (taken != (cases[i].printed != NULL))
            fail_msg("%s: %s", cases[i].text, taken ? "taken" : err.message);
        if (!taken) {
            assert_int_equal(err.code, ERROR_INVALID);
            if (slice_starts(slice_of(cases[i].text), "ext::"))
                assert_string_equal(err.message, "remote helpers are not allowed");
            continue;
        }
        source_url_print(&url, &text);
        if (!slice_equal_text(buffer_slice(&text), cases[i].printed))
            fail_msg("%s: %.*s", cases[i].text, SLICE_ARG(buffer_slice(&text)));
        assert_string_equal(url.ref, cases[i].ref);
        assert_int_equal(url.port, cases[i].port);
    }
}

static void test_source_url_check_asks_the_settings(void **state)
{
    char *schemes[] = {(char *)(uintptr_t) "https", (char *)(uintptr_t) "ssh"};
    char *ports[] = {(char *)(uintptr_t) "443", (char *)(uintptr_t) "2222"};
    const struct s2i_list scheme_list = {schemes, 2}, port_list = {ports, 2};
    const struct source_rules rules = {&scheme_list, &port_list, NULL, 0};
    static const struct {
        const char *url;
        bool permitted;
    } cases[] = {
        {"https://example.org/a", true},      {"ssh://git@example.org:2222/a", true},
        {"http://example.org:443/a", false},  {"https://example.org:8443/a", false},
        {"git@example.org:a", false},         {"git://example.org:443/a", false},
        {"https://example.org:2222/a", true}, {"file:///etc/passwd", false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct error err = {0};
        assert_int_equal(source_url_check(slice_of(cases[i].url), &rules, &err) == 0,
                         cases[i].permitted);
    }
}

static void test_source_url_begins(void **state)
{
    static const struct {
        const char *url, *prefix;
        bool begins;
    } cases[] = {
        {"https://example.org/team/app.git", "https://example.org", true},
        {"https://example.org/team/app.git", "https://EXAMPLE.org/", true},
        {"https://example.org/team/app.git", "https://example.org:443/team", true},
        {"https://example.org/team/app.git", "https://example.org/team/", true},
        {"https://example.org/team/app.git", "https://example.org/team/app", true},
        {"https://example.org/team/app.git", "https://example.org/team/app.git", true},
        {"https://example.org/team/app.git", "https://example.org/team/ap", false},
        {"https://example.org/team-evil/app", "https://example.org/team", false},
        {"https://example.org.evil.org/team", "https://example.org", false},
        {"http://example.org/team", "https://example.org", false},
        {"https://example.org:8443/team", "https://example.org", false},
        {"https://example.org/team", "example.org", false},
        {"https://example.org/team", "", false},
        {"git@example.org:team/app", "ssh://example.org/team", true},
        {"ssh://git@example.org/team/app", "ssh://example.org", true},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
        struct error err = {0};
        assert_int_equal(source_url_read(slice_of(cases[i].url), &url, &err), 0);
        if (source_url_begins(&url, slice_of(cases[i].prefix)) != cases[i].begins)
            fail_msg("%s begins with %s", cases[i].url, cases[i].prefix);
    }
}

/* s2i 4.5 */
static void test_source_url_join(void **state)
{
    static const struct {
        const char *parent, *relative, *joined; /* NULL: refused */
    } cases[] = {
        {"https://example.org/team/app.git", "../lib.git", "https://example.org/team/lib.git"},
        {"https://example.org/team/app.git/", "../lib.git", "https://example.org/team/lib.git"},
        {"https://example.org/team/app", "../../other/lib", "https://example.org/other/lib"},
        {"https://example.org/team/app", "./sub", "https://example.org/team/app/sub"},
        {"https://example.org:8443/a/b", "../c", "https://example.org:8443/a/c"},
        {"git@example.org:team/app", "../lib", "git@example.org:team/lib"},
        {"https://example.org/a", "https://other.org/b", "https://other.org/b"},
        {"https://example.org/a", "../../b", NULL},
        {"git@example.org:a", "../../b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(source_url_drop) struct source_url parent = {.scheme = NULL};
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        struct error err = {0};
        assert_int_equal(source_url_read(slice_of(cases[i].parent), &parent, &err), 0);
        bool joined = source_url_join(&parent, slice_of(cases[i].relative), &text, &err) == 0;
        assert_int_equal(joined, cases[i].joined != NULL);
        if (joined && !slice_equal_text(buffer_slice(&text), cases[i].joined))
            fail_msg("%s: %.*s", cases[i].relative, SLICE_ARG(buffer_slice(&text)));
    }
}

/* s2i 4.3 */
static void test_source_ref_valid(void **state)
{
    static const char *const good[] = {
        "main",     "v1.0", "refs/heads/main", "refs/pull/7/head", "feature/a-b_c",
        "\xc3\xa4", "HEAD", "0123abc"};
    static const char *const bad[] = {"",      "-x",  "--all", "a..b",    "a b",  "a\tb",   "a~1",
                                      "a^{}",  "a:b", "+a",    "a?",      "*",    "a[b",    "a\\b",
                                      "/a",    "a/",  "a//b",  ".a",      "a/.b", "a.lock", "a.",
                                      "a@{1}", "@",   "a\x7f", "a\x1b[0m"};

    (void)state;
    for (size_t i = 0; i < LENGTH(good); i++)
        assert_true(source_ref_valid(slice_of(good[i])));
    for (size_t i = 0; i < LENGTH(bad); i++)
        if (source_ref_valid(slice_of(bad[i])))
            fail_msg("%s", bad[i]);
    assert_true(source_is_commit(SLICE("0123456789abcdef0123456789ABCDEF01234567")));
    assert_false(source_is_commit(SLICE("0123456789abcdef0123456789abcdef0123456")));
    assert_false(source_is_commit(SLICE("0123456789abcdef0123456789abcdef0123456g")));
}

/* s2i 4.10 */
static void test_source_name_valid(void **state)
{
    static const char *const good[] = {
        "a",     "...",    ".gitignore", ".gitmodules", "git",          ".github",
        "git~2", "git~10", "a b",        "\xc3\xa4",    "\xff",         ".git-x",
        "x.git", "-rf",    ".s2i",       "a\\b",        "\xe2\x80\x8cx"};
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "a/b",
                                      "/",
                                      ".git",
                                      ".GIT",
                                      ".gIt",
                                      "git~1",
                                      "GIT~1",
                                      ".g\xe2\x80\x8cit",
                                      "\xef\xbb\xbf.git",
                                      ".git\xe2\x80\x8e",
                                      ".git ",
                                      ".git.",
                                      ".git. .",
                                      ".git::$INDEX_ALLOCATION",
                                      ".git:x"};
    char longest[257];

    (void)state;
    for (size_t i = 0; i < LENGTH(good); i++)
        if (!source_name_valid(slice_of(good[i])))
            fail_msg("%s", good[i]);
    for (size_t i = 0; i < LENGTH(bad); i++)
        if (source_name_valid(slice_of(bad[i])))
            fail_msg("%s", bad[i]);
    assert_false(source_name_valid((struct slice){"a\0b", 3}));
    memset(longest, 'x', sizeof(longest));
    assert_true(source_name_valid((struct slice){longest, 255}));
    assert_false(source_name_valid((struct slice){longest, 256}));
}

static void test_source_path_valid(void **state)
{
    static const char *const bad[] = {"", "/a", "a/", "a//b", "a/../b", "./a", "a/.git/config"};
    char deep[2 * (SOURCE_DEPTH_MAX + 1)];

    (void)state;
    assert_true(source_path_valid(SLICE("a/b/c.txt")));
    for (size_t i = 0; i < LENGTH(bad); i++)
        assert_false(source_path_valid(slice_of(bad[i])));
    for (size_t i = 0; i < sizeof(deep); i++)
        deep[i] = i % 2 == 0 ? 'a' : '/';
    assert_true(source_path_valid((struct slice){deep, 2 * SOURCE_DEPTH_MAX - 1}));
    assert_false(source_path_valid((struct slice){deep, 2 * SOURCE_DEPTH_MAX + 1}));
}

/* s2i 4.4 */
static void test_source_folder_clean(void **state)
{
    static const struct {
        const char *text, *clean; /* NULL: refused */
    } cases[] = {
        {"", ""},          {".", ""},       {"./", ""},       {"app", "app"},
        {"./app/", "app"}, {"a//b", "a/b"}, {"a/./b", "a/b"}, {"..", NULL},
        {"a/../b", NULL},  {"/app", NULL},  {"a/.git", NULL}, {"/", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        bool taken = source_folder_clean(slice_of(cases[i].text), &out);
        assert_int_equal(taken, cases[i].clean != NULL);
        if (taken && !slice_equal_text(buffer_slice(&out), cases[i].clean))
            fail_msg("%s", cases[i].text);
    }
}

/* s2i 13.13 */
static void test_source_text_clean(void **state)
{
    static const struct {
        const char *text, *clean;
    } cases[] = {
        {"Jos\xc3\xa9 <j@example.org>", "Jos\xc3\xa9 <j@example.org>"},
        {"a\x1b[31mb\n\tc\x7f", "a\\x1b[31mb\\x0a\\x09c\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\xc2\\x9b"
         "31m"},
        {"a\xe2\x80\xae"
         "cba",
         "a\\xe2\\x80\\xae"
         "cba"},
        {"\xff\xfe", "\\xff\\xfe"},
        {"", ""},
    };
    OWNED(buffer_drop) struct buffer cut = BUFFER_NONE;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        source_text_clean(slice_of(cases[i].text), 1000, &out);
        if (!slice_equal_text(buffer_slice(&out), cases[i].clean))
            fail_msg("%.*s", SLICE_ARG(buffer_slice(&out)));
    }
    source_text_clean(SLICE("ab\xc3\xa9"), 3, &cut); /* no half character */
    assert_true(slice_equal(buffer_slice(&cut), SLICE("ab")));
}

/* s2i 4.7 */
static void test_source_exclude(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool excluded;
    } cases[] = {
        {"^vendor$", "vendor", true},      {"^vendor$", "vendor/a/b", true},
        {"^vendor$", "src/vendor", false}, {"(^|/)node_modules(/|$)", "a/node_modules/b", true},
        {"\\.o$", "a/b.o", true},          {"\\.o$", "a/b.oo", false},
        {"", "anything", false},
    };
    static const char *const bad[] = {"(", "a{2,1}", "(a)\\1"};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct exclude exclude;
        struct error err = {0};
        assert_int_equal(source_exclude_open(&exclude, slice_of(cases[i].pattern), &err), 0);
        if (source_exclude_matches_within(&exclude, slice_of(cases[i].path)) != cases[i].excluded)
            fail_msg("%s: %s", cases[i].pattern, cases[i].path);
        source_exclude_drop(&exclude);
    }
    for (size_t i = 0; i < LENGTH(bad); i++) {
        struct exclude exclude;
        struct error err = {0};
        assert_int_equal(source_exclude_open(&exclude, slice_of(bad[i]), &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
    }
}

static void test_source_entries_settle(void **state)
{
    static const struct {
        const char *path;
        enum entry_kind kind;
    } given[] = {{"b/c/d", ENTRY_FILE}, {"a-b", ENTRY_FILE},   {"a/x", ENTRY_FILE},
                 {"a", ENTRY_FOLDER},   {"a.b/y", ENTRY_FILE}, {"b/c", ENTRY_FOLDER},
                 {"a/x", ENTRY_PROGRAM}};
    static const char *const expected[] = {"a", "a-b", "a.b", "a.b/y", "a/x", "b", "b/c", "b/c/d"};
    struct entries entries = {.count_max = 100, .bytes_max = 100, .blob_max = 100};
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < LENGTH(given); i++)
        assert_non_null(
            source_entries_add(&entries, slice_of(given[i].path), given[i].kind, 1, &err));
    assert_int_equal(source_entries_settle(&entries, false, &err), 0);
    assert_int_equal(entries.count, LENGTH(expected));
    for (size_t i = 0; i < LENGTH(expected); i++)
        assert_string_equal(entries.items[i].path, expected[i]);
    assert_int_equal(entries.items[4].kind, ENTRY_PROGRAM); /* the later one */
    source_entries_drop(&entries);
}

static void test_source_entries_refuse(void **state)
{
    struct entries entries = {.count_max = 3, .bytes_max = 10, .blob_max = 8};
    struct error err = {0};

    (void)state;
    assert_null(source_entries_add(&entries, SLICE("a/../b"), ENTRY_FILE, 1, &err));
    assert_null(source_entries_add(&entries, SLICE("big"), ENTRY_FILE, 9, &err));
    assert_null(source_entries_add(&entries, SLICE("link"), ENTRY_LINK, 0, &err));
    assert_non_null(source_entries_add(&entries, SLICE("a"), ENTRY_FILE, 6, &err));
    assert_null(source_entries_add(&entries, SLICE("b"), ENTRY_FILE, 5, &err));
    assert_non_null(source_entries_add(&entries, SLICE("a"), ENTRY_FILE, 4, &err));
    error_clear(&err);
    assert_int_equal(source_entries_settle(&entries, true, &err), -1); /* twice */
    assert_int_equal(source_entries_settle(&entries, false, &err), 0);
    assert_non_null(source_entries_add(&entries, SLICE("a/b"), ENTRY_FILE, 0, &err));
    error_clear(&err);
    assert_int_equal(source_entries_settle(&entries, true, &err), -1); /* in a file */
    error_clear(&err);
    assert_non_null(source_entries_add(&entries, SLICE("c"), ENTRY_FILE, 0, &err));
    assert_null(source_entries_add(&entries, SLICE("d"), ENTRY_FILE, 0, &err)); /* too many */
    source_entries_drop(&entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_source_url_read),
        cmocka_unit_test(test_source_url_check_asks_the_settings),
        cmocka_unit_test(test_source_url_begins),
        cmocka_unit_test(test_source_url_join),
        cmocka_unit_test(test_source_ref_valid),
        cmocka_unit_test(test_source_name_valid),
        cmocka_unit_test(test_source_path_valid),
        cmocka_unit_test(test_source_folder_clean),
        cmocka_unit_test(test_source_text_clean),
        cmocka_unit_test(test_source_exclude),
        cmocka_unit_test(test_source_entries_settle),
        cmocka_unit_test(test_source_entries_refuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

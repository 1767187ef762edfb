/* test_layout.c - index.json read and written, names of images, sets of digests. */
#include "registry/transfer/layout.h"

#include <stdio.h>
#include <string.h>

#include "registry/core/json.h"
#include "registry/transfer/digest_set.h"
#include "tests/support/unit.h"

#define HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define ENTRY(more) "{\"mediaType\":\"a/b\",\"digest\":\"sha256:" HEX "\",\"size\":2" more "}"
#define NAMED(name) ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"" name "\"}"
#define INDEX(entries) "{\"schemaVersion\":2,\"manifests\":[" entries "]}"

static int parse(const char *text, struct layout *out, struct error *err)
{
    *err = (struct error){0};
    return layout_parse(slice_of(text), 3, out, err);
}

static void test_layout_parse(void **state)
{
    OWNED(layout_drop) struct layout layout = {.entries = NULL};
    struct error err;

    (void)state;
    assert_int_equal(
        parse(INDEX(ENTRY() "," ENTRY(NAMED("v1")) "," ENTRY(",\"artifactType\":\"x/y\"")), &layout,
              &err),
        0);
    assert_int_equal(layout.count, 3);
    assert_null(layout.entries[0].name);
    assert_string_equal(layout.entries[1].name, "v1");
    assert_string_equal(layout.entries[2].artifact_type, "x/y");
    assert_int_equal(layout.entries[1].size, 2);
    assert_true(layout_names(&layout, &layout.entries[1].digest));
}

static void test_layout_parse_refuses(void **state)
{
    static const char *const cases[] = {
        "",
        "[]",
        "{}",
        "{\"manifests\":{}}",
        "{\"manifests\":[1]}",
        INDEX("{\"mediaType\":\"a/b\",\"size\":1}"),
        INDEX("{\"mediaType\":\"a/b\",\"digest\":\"sha256:../../etc\",\"size\":1}"),
        INDEX("{\"mediaType\":\"a/b\",\"digest\":\"md5:00\",\"size\":1}"),
        INDEX("{\"mediaType\":\"a/b\",\"digest\":\"sha256:" HEX "\",\"size\":-1}"),
        INDEX("{\"digest\":\"sha256:" HEX "\",\"size\":1}"),
        INDEX(ENTRY() "," ENTRY() "," ENTRY() "," ENTRY()),
        INDEX(ENTRY()) "x",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct layout layout;
        struct error err;
        if (parse(cases[i], &layout, &err) == 0)
            fail_msg("%s", cases[i]);
        assert_null(layout.entries);
        assert_true(err.message[0] != 0);
    }
}

/* One name is one entry; what has no name is known by its digest. */
/* It would take 200 bytes of memory for three of its own. */
static void test_layout_parse_refuses_a_crowd(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    for (int crowded = 0; crowded < 2; crowded++) {
        OWNED(layout_drop) struct layout layout = {.entries = NULL};
        struct error err;
        text.size = 0;
        buffer_append_text(&text, "{\"manifests\":[],\"x\":[1");
        for (size_t i = 0; i + 5 < JSON_VALUES_MAX + (size_t)crowded; i++)
            buffer_append_text(&text, ",1");
        buffer_append(&text, "]}", 3);
        assert_int_equal(parse(text.at, &layout, &err), crowded ? -1 : 0);
    }
}

static void test_layout_add_replaces(void **state)
{
    OWNED(layout_drop) struct layout layout = {.entries = NULL};
    struct layout_entry entry = {.size = 1, .media_type = (char[]){"a/b"}};
    char name[] = "v1";

    (void)state;
    digest_of(DIGEST_SHA256, SLICE("one"), &entry.digest);
    layout_add(&layout, &entry);
    layout_add(&layout, &entry);
    assert_int_equal(layout.count, 1);
    entry.name = name;
    layout_add(&layout, &entry);
    assert_int_equal(layout.count, 2);
    digest_of(DIGEST_SHA256, SLICE("two"), &entry.digest);
    layout_add(&layout, &entry);
    assert_int_equal(layout.count, 2);
    assert_true(digest_equal(&layout.entries[1].digest, &entry.digest));
}

static void test_layout_print_is_read_again(void **state)
{
    OWNED(layout_drop) struct layout layout = {.entries = NULL};
    OWNED(layout_drop) struct layout again = {.entries = NULL};
    OWNED(buffer_drop) struct buffer first = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer second = BUFFER_NONE;
    struct error err;

    (void)state;
    assert_int_equal(
        parse(INDEX(ENTRY(NAMED("a\\\"b")) "," ENTRY(",\"artifactType\":\"x/y\"")), &layout, &err),
        0);
    layout_print(&layout, &first);
    assert_int_equal(parse(first.at, &again, &err), 0);
    layout_print(&again, &second);
    assert_true(slice_equal(buffer_slice(&first), buffer_slice(&second)));
    assert_string_equal(again.entries[0].name, "a\"b");
}

static void test_layout_check(void **state)
{
    struct error err = {0};

    (void)state;
    assert_int_equal(layout_check(SLICE(LAYOUT_TEXT), &err), 0);
    assert_int_equal(layout_check(SLICE("{\"imageLayoutVersion\":\"2.0.0\"}"), &err), -1);
    assert_int_equal(layout_check(SLICE("{}"), &err), -1);
}

static void test_layout_tag(void **state)
{
    static const char *const cases[][2] = {
        {"v1", "v1"},
        {"team/app:v1", "v1"},
        {"docker.io:443/app:latest", "latest"},
        {"app:v1", "v1"},
        {"docker.io:443/app", NULL},
        {"team/app", NULL},
        {"a b", NULL},
        {"-x", NULL},
        {"", NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct slice tag = layout_tag(slice_of(cases[i][0]));
        if (cases[i][1] == NULL ? tag.at != NULL : !slice_equal_text(tag, cases[i][1]))
            fail_msg("%s: %.*s", cases[i][0], SLICE_ARG(tag));
    }
}

static void test_image_name_parse(void **state)
{
    static const struct {
        const char *text, *repository, *tag;
        bool digest;
    } cases[] = {
        {"app", "app", NULL, false},
        {"team/app:v1.0", "team/app", "v1.0", false},
        {"app@sha256:" HEX, "app", NULL, true},
    };
    static const char *const refused[] = {
        "", "App", "app:", "app:-x", "app@x", "a:b:c", "app@sha256:00", ("app:v1@sha256:" HEX)};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct image_name name;
        struct error err = {0};
        assert_int_equal(image_name_parse(slice_of(cases[i].text), &name, &err), 0);
        assert_true(slice_equal_text(name.repository, cases[i].repository));
        assert_true(cases[i].tag == NULL ? name.tag.size == 0
                                         : slice_equal_text(name.tag, cases[i].tag));
        assert_int_equal(digest_is_set(&name.digest), cases[i].digest);
    }
    for (size_t i = 0; i < LENGTH(refused); i++) {
        struct image_name name;
        struct error err = {0};
        if (image_name_parse(slice_of(refused[i]), &name, &err) == 0)
            fail_msg("%s", refused[i]);
    }
}

static void test_digest_set(void **state)
{
    enum { MANY = 1000 };
    OWNED(digest_set_drop) struct digest_set set = {.slots = NULL};
    struct digest digest;
    struct error err = {0};
    char text[16];

    (void)state;
    digest_of(DIGEST_SHA256, SLICE(""), &digest);
    assert_false(digest_set_has(&set, &digest));
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++) {
            snprintf(text, sizeof(text), "%d", i);
            digest_of(i % 2 == 0 ? DIGEST_SHA256 : DIGEST_SHA512, slice_of(text), &digest);
            assert_int_equal(digest_set_has(&set, &digest), round == 1);
            assert_int_equal(digest_set_add(&set, &digest), round == 0);
        }
    assert_int_equal(set.count, MANY);
    assert_int_equal(digest_parse_any(SLICE("md5:d41d8cd98f00b204e9800998ecf8427e"), &digest, &err),
                     0);
    assert_false(digest_set_add(&set, &digest));
    assert_false(digest_set_has(&set, &digest));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_parse),
        cmocka_unit_test(test_layout_parse_refuses),
        cmocka_unit_test(test_layout_parse_refuses_a_crowd),
        cmocka_unit_test(test_layout_add_replaces),
        cmocka_unit_test(test_layout_print_is_read_again),
        cmocka_unit_test(test_layout_check),
        cmocka_unit_test(test_layout_tag),
        cmocka_unit_test(test_image_name_parse),
        cmocka_unit_test(test_digest_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

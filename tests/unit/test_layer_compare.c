/* test_layer_compare.c - what two layers differ in: each part of an entry is named, and nothing
 * that is the same. Spec: s2i 15.2 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer.h"
#include "tests/support/unit.h"

static const struct s2i_layer plain = {.media_type = NULL};
static const struct layer_limits limits = {1 << 20, 100, 0};

/* A plain tar of the entries; content follows each file. */
static int layer_of(const struct tar_entry *entries, const char *const *contents, size_t count)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
    static const char zeros[512];
    int fd = memfd_create("layer", MFD_CLOEXEC);

    for (size_t i = 0; i < count; i++) {
        struct tar_entry entry = entries[i];
        entry.size = contents[i] == NULL ? 0 : strlen(contents[i]);
        tar_write_header(&tar, &entry);
        if (contents[i] == NULL)
            continue;
        buffer_append_text(&tar, contents[i]);
        buffer_append(&tar, zeros, tar_padding(entry.size));
    }
    tar_write_end(&tar);
    assert_int_equal(fd_write(fd, buffer_slice(&tar)), 0);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static struct tar_entry file(const char *path)
{
    return (struct tar_entry){.path = slice_of(path), .type = '0', .mode = 0644, .mtime = 7};
}

static void differ(struct tar_entry one, const char *a, struct tar_entry other, const char *b,
                   const char *wanted)
{
    OWNED(s2i_list_drop) struct s2i_list out = {0};
    OWNED(fd_drop) int first = layer_of(&one, &a, 1), second = layer_of(&other, &b, 1);
    const struct layer_pair x = {first, &plain}, y = {second, &plain};
    OWNED(buffer_drop) struct buffer joined = BUFFER_NONE;
    struct error err = {0};

    assert_int_equal(layer_differences(&x, &y, &limits, 10, &out, &err), 0);
    for (size_t i = 0; i < out.count; i++)
        buffer_print(&joined, "%s%s", i == 0 ? "" : "; ", out.items[i]);
    buffer_append(&joined, "", 1);
    assert_string_equal(joined.at, wanted);
}

static void test_compare_names_what_differs(void **state)
{
    struct tar_entry other = file("x");

    (void)state;
    differ(file("x"), "one", file("x"), "one", "");
    differ(file("x"), "one", file("x"), "two", "x: content");
    differ(file("x"), "one", file("y"), "one", "x: only in the first; y: only in the second");
    other.mode = 0755;
    differ(file("x"), "", other, "", "x: mode");
    other = file("x");
    other.uid = 1;
    differ(file("x"), "", other, "", "x: owner");
    other = file("x");
    other.mtime = 8;
    differ(file("x"), "", other, "", "x: time");
    other = file("x");
    other.type = '2';
    other.link = SLICE("y");
    differ(file("x"), NULL, other, NULL, "x: type, target");
    const struct tar_xattr xattr = {SLICE("user.a"), SLICE("b")};
    other = file("x");
    other.xattrs = &xattr;
    other.xattr_count = 1;
    differ(file("x"), "", other, "", "x: attributes");
    differ(file("x"), "a", other, "b", "x: content, attributes");
}

static void test_compare_is_bounded(void **state)
{
    const struct tar_entry many[] = {file("a"), file("b"), file("c")};
    static const char *const contents[] = {"1", "2", "3"};
    OWNED(s2i_list_drop) struct s2i_list out = {0};
    OWNED(fd_drop) int first = layer_of(many, contents, 3), second = layer_of(many, contents, 0);
    const struct layer_pair x = {first, &plain}, y = {second, &plain};
    struct layer_limits few = limits;
    struct error err = {0};

    (void)state;
    assert_int_equal(layer_differences(&x, &y, &limits, 2, &out, &err), 0);
    assert_int_equal(out.count, 2);
    lseek(first, 0, SEEK_SET);
    lseek(second, 0, SEEK_SET);
    few.entries_max = 2;
    assert_int_equal(layer_differences(&x, &y, &few, 2, &out, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID);
}

/* Long ones that are alike pack to little: the server kept gigabytes of them. */
static void test_compare_keeps_few_bytes_of_paths(void **state)
{
    enum { MANY = 18000, SIZE = 4000 };
    static char text[SIZE + 1];
    OWNED(memory_drop) struct tar_entry *entries = memory_new(MANY * sizeof(*entries));
    OWNED(memory_drop) const char **contents = memory_new(MANY * sizeof(*contents));
    const struct layer_limits wide = {1 << 30, 100000, 0};
    OWNED(s2i_list_drop) struct s2i_list out = {0};
    struct error err = {0};

    (void)state;
    for (size_t i = 0; i < SIZE; i++)
        text[i] = i % 200 == 199 ? '/' : 'n';
    text[SIZE - 1] = 'n';
    for (size_t i = 0; i < MANY; i++) {
        entries[i] = file(text);
        entries[i].type = '1';
        entries[i].link = entries[i].path;
    }
    OWNED(fd_drop)
    int first = layer_of(entries, contents, MANY), second = layer_of(entries, NULL, 0);
    const struct layer_pair x = {first, &plain}, y = {second, &plain};
    assert_int_equal(layer_differences(&x, &y, &wide, 2, &out, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_names_what_differs),
        cmocka_unit_test(test_compare_is_bounded),
        cmocka_unit_test(test_compare_keeps_few_bytes_of_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

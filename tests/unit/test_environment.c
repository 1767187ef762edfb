/* test_environment.c - variables: the source's file, what is stored, what a build sees. */
#include <string.h>

#include "s2i/contract/contract.h"
#include "tests/support/unit.h"

static void expect(const struct s2i_list *list, const char *wanted)
{
    struct buffer text = BUFFER_NONE;

    for (size_t i = 0; i < list->count; i++)
        buffer_print(&text, "%s%s", i > 0 ? "|" : "", list->items[i]);
    buffer_print(&text, "%c", 0);
    assert_string_equal(text.at, wanted);
    buffer_drop(&text);
}

/* Spec: s2i 5.1 */
static void test_environment_file(void **state)
{
    static const struct {
        const char *text, *wanted;
        size_t notes;
    } cases[] = {
        {"", "", 0},
        {"A=1\nB=2", "A=1|B=2", 0},
        {" A = 1 \n\tB\t=\t2\t\r\n", "A=1|B=2", 0},
        {"# A=1\n#\nB=2", "B=2", 0},
        {" # A=1", "# A=1", 0},
        {"A=b=c", "A=b=c", 0},
        {"A=", "A=", 0},
        {"A=\"quoted $B\"", "A=\"quoted $B\"", 0},
        {"=1\n = 2\nnothing\nA=1", "A=1", 3},
        {"A=1\nB=1\nA=2", "A=2|B=1", 0},
        {"\n \n\t\n", "", 0},
        {"// A=1", "// A=1", 0},
        {"A=\xff\nB=\xc3\xa4", "B=\xc3\xa4", 1},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_list_drop) struct s2i_list out = {.items = NULL}, notes = {.items = NULL};
        environment_parse(slice_of(cases[i].text), &out, &notes);
        expect(&out, cases[i].wanted);
        if (notes.count != cases[i].notes)
            fail_msg("'%s': %zu notes", cases[i].text, notes.count);
        s2i_list_drop(&notes);
    }
}

static void test_environment_limits(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list out = {.items = NULL};
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    struct buffer text = BUFFER_NONE;

    (void)state;
    environment_parse(SLICE("A=1\0B=2"), &out, &notes);
    assert_int_equal(out.count, 0);
    for (int i = 0; i < 1001; i++)
        buffer_print(&text, "N%d=\n", i);
    environment_parse(buffer_slice(&text), &out, &notes);
    assert_int_equal(out.count, 1000);
    assert_int_equal(notes.count, 2);
    s2i_list_drop(&out);
    text.size = 0;
    buffer_append_text(&text, "A=");
    while (text.size <= 32768)
        buffer_append_text(&text, "xxxxxxxx");
    environment_parse(buffer_slice(&text), &out, &notes);
    assert_int_equal(out.count, 0);
    while (text.size <= 262144)
        buffer_append_text(&text, "\nB=1");
    environment_parse(buffer_slice(&text), &out, &notes);
    assert_int_equal(out.count, 0);
    assert_int_equal(notes.count, 4);
    buffer_drop(&text);
}

/* Spec: s2i 5.2, 5.3 */
static void test_environment_stored(void **state)
{
    OWNED(s2i_list_drop) struct s2i_list file = {.items = NULL};
    OWNED(s2i_list_drop) struct s2i_list out = {.items = NULL};
    struct s2i_options options = {.url = NULL};

    (void)state;
    s2i_list_add(&file, SLICE("A=file"));
    s2i_list_add(&file, SLICE("B=file"));
    s2i_list_add(&options.env, SLICE("C=option"));
    s2i_list_add(&options.env, SLICE("A=option"));
    environment_stored(&file, &options, &out);
    expect(&out, "A=option|B=file|C=option");
    s2i_options_drop(&options);
}

#define FACTS                                                                                      \
    "SOURCE_DATE_EPOCH=1700000000|CI=true|S2I_BUILD_ID=41|OPENSHIFT_BUILD_NAME=build-41|"          \
    "OPENSHIFT_BUILD_NAMESPACE=team/app|OPENSHIFT_BUILD_SOURCE=https://git.example/a|"             \
    "OPENSHIFT_BUILD_COMMIT=c0ffee|HTTP_PROXY=http://p:1|NO_PROXY=x"

static void check_build(const char *config, const char *home, bool save, const char *wanted)
{
    OWNED(image_config_drop) struct image_config image = {.document = NULL};
    OWNED(s2i_list_drop) struct s2i_list stored = {.items = NULL};
    OWNED(s2i_list_drop) struct s2i_list out = {.items = NULL};
    OWNED(s2i_options_drop) struct s2i_options options = {.url = NULL};
    struct error err = {0};

    s2i_list_add(&stored, SLICE("A=stored"));
    s2i_list_add(&options.build_env, SLICE("B=build"));
    s2i_list_add(&options.secret_env, SLICE("S=secret"));
    const struct s2i_spec spec = {
        .build = 41,
        .options = options,
        .target = (char *)(uintptr_t) "team/app:latest",
        .proxy_environment = (char *)(uintptr_t) "HTTP_PROXY=http://p:1\nNO_PROXY=x\n",
        .source = {.url = (char *)(uintptr_t) "https://git.example/a",
                   .ref = (char *)(uintptr_t) "",
                   .commit = (char *)(uintptr_t) "c0ffee",
                   .time = 1700000000},
    };
    assert_int_equal(image_config_read(&image, slice_of(config), &err), 0);
    environment_of_build(&spec, &image, save ? NULL : &stored, home, &out);
    expect(&out, wanted);
}

/* Spec: s2i 5.3 to 5.8 */
static void test_environment_of_build(void **state)
{
    (void)state;
    check_build("{\"config\":{\"Env\":[\"PATH=/bin\",\"A=image\",\"HOME=/h\",\"B=image\"]}}", "/r",
                false, "PATH=/bin|A=stored|HOME=/h|B=build|" FACTS "|S=secret");
    check_build("{}", "/r", false,
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|" FACTS
                "|A=stored|B=build|S=secret|HOME=/r");
    check_build("{\"config\":{\"Env\":[\"PATH=/bin\"]}}", NULL, true, "PATH=/bin|" FACTS "|HOME=/");
    check_build("{\"config\":{\"Env\":[\"PATH=/bin\",\"CI=no\"]}}", NULL, true,
                "PATH=/bin|CI=true|SOURCE_DATE_EPOCH=1700000000|S2I_BUILD_ID=41|"
                "OPENSHIFT_BUILD_NAME=build-41|OPENSHIFT_BUILD_NAMESPACE=team/app|"
                "OPENSHIFT_BUILD_SOURCE=https://git.example/a|OPENSHIFT_BUILD_COMMIT=c0ffee|"
                "HTTP_PROXY=http://p:1|NO_PROXY=x|HOME=/");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment_file),
        cmocka_unit_test(test_environment_limits),
        cmocka_unit_test(test_environment_stored),
        cmocka_unit_test(test_environment_of_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

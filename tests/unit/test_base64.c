/* test_base64.c - base64: what is written, and of each form what is read and what is not. */
#include "registry/core/base64.h"

#include <string.h>

#include "tests/support/unit.h"

enum {
    COMMON = 1 << BASE64,
    URL = 1 << BASE64_URL,
    ANY = 1 << BASE64_ANY,
    ALL = COMMON | URL | ANY
};

/* RFC 4648 section 10, and both alphabets' own digits. */
static void test_written_and_read_again(void **state)
{
    static const struct {
        const char *plain, *common, *url;
    } cases[] = {
        {"", "", ""},
        {"f", "Zg==", "Zg"},
        {"fo", "Zm8=", "Zm8"},
        {"foo", "Zm9v", "Zm9v"},
        {"foob", "Zm9vYg==", "Zm9vYg"},
        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
        {"\xff\xef\xfe", "/+/+", "_-_-"},
        {"\xfb\xff\xbf", "+/+/", "-_-_"},
        {"\xfb\xf0", "+/A=", "-_A"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        for (enum base64 form = BASE64; form <= BASE64_URL; form++) {
            OWNED(buffer_drop) struct buffer text = BUFFER_NONE, plain = BUFFER_NONE;
            const char *wanted = form == BASE64 ? cases[i].common : cases[i].url;
            buffer_append_text(&text, "before ");
            base64_encode(form, cases[i].plain, strlen(cases[i].plain), &text);
            struct slice written = slice_from(buffer_slice(&text), 7);
            assert_true(slice_equal_text(written, wanted));
            buffer_append_text(&plain, "before ");
            assert_true(base64_decode(form, written, &plain));
            assert_true(slice_equal_text(slice_from(buffer_slice(&plain), 7), cases[i].plain));
        }
}

static void test_each_form_reads_its_own(void **state)
{
    static const struct {
        const char *text;
        unsigned forms;
    } cases[] = {
        {"", ALL},
        {"Zm9v", ALL},
        {"Zg", URL | ANY},
        {"Zm8", URL | ANY},
        {"Zg==", COMMON | ANY},
        {"Zm8=", COMMON | ANY},
        {"+/+/", COMMON | ANY},
        {"-_-_", URL | ANY},
        {"-_A=", ANY},
        {"+/A", ANY},
        {"+/-_", ANY},
        /* padding that is not what lacks */
        {"Zg=", 0},
        {"Zg===", 0},
        {"Zm8==", 0},
        {"Zm9v=", 0},
        {"Zm9v====", 0},
        {"=", 0},
        {"==", 0},
        {"====", 0},
        {"Z===", 0},
        {"Z=g=", 0},
        {"Zg==Zg==", 0},
        /* bits that belong to no byte, a digit too many */
        {"Zh==", 0},
        {"Zh", 0},
        {"Zm9=", 0},
        {"Zm9", 0},
        {"Z", 0},
        {"Zm9vY", 0},
        /* other characters */
        {"Zm 9", 0},
        {"Zm9v Yg", 0},
        {"Zm8\n", 0},
        {" Zm8", 0},
        {"Zm9v\n", 0},
        {"Zm.v", 0},
        {"Zm\xc3\xa9", 0},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        for (enum base64 form = BASE64; form <= BASE64_ANY; form++) {
            OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
            bool read = base64_decode(form, slice_of(cases[i].text), &out);
            if (read != ((cases[i].forms & 1U << form) != 0))
                fail_msg("\"%s\" as form %d", cases[i].text, form);
            assert_true(read || out.size == 0);
        }
}

static void test_zero_is_no_digit(void **state)
{
    (void)state;
    for (enum base64 form = BASE64; form <= BASE64_ANY; form++) {
        OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
        assert_false(base64_decode(form, (struct slice){"Zg\0A", 4}, &out));
    }
}

/* Not a byte behind what the caller gave. */
static void test_into_memory_of_the_caller(void **state)
{
    char out[8];
    size_t size = 0;

    (void)state;
    for (size_t room = 0; room <= 6; room++) {
        memset(out, '#', sizeof(out));
        bool read = base64_decode_into(BASE64, SLICE("Zm9vYg=="), out, room, &size);
        assert_int_equal(read, room >= 4);
        for (size_t i = room < 4 ? room : 4; i < sizeof(out); i++)
            assert_int_equal(out[i], '#');
    }
    assert_int_equal(size, 4);
    assert_memory_equal(out, "foob", 4);
    assert_true(base64_decode_into(BASE64, SLICE(""), NULL, 0, &size));
    assert_int_equal(size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_written_and_read_again),
        cmocka_unit_test(test_each_form_reads_its_own),
        cmocka_unit_test(test_zero_is_no_digit),
        cmocka_unit_test(test_into_memory_of_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

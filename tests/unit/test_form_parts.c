/* test_form_parts.c - bodies of multipart/form-data, whatever the pieces they come in. */
#include "registry/api/form_parts.h"

#include "tests/support/unit.h"

#define HEAD(name) "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n"
#define END "\r\n--b--\r\n"

static int part(void *arg, struct slice name, struct error *err)
{
    (void)err;
    buffer_print(arg, "<%.*s>", SLICE_ARG(name));
    return 0;
}

static int bytes(void *arg, struct slice text, struct error *err)
{
    (void)err;
    buffer_append_slice(arg, text);
    return 0;
}

static int read_by(const char *type, struct slice body, size_t step, struct buffer *out)
{
    OWNED(form_parts_drop) struct form_parts form;
    const struct form_parts_taker taker = {part, bytes, out};
    struct error err = {0};

    if (form_parts_open(&form, slice_of(type), &err) < 0)
        return -1;
    while (body.size > 0) {
        size_t piece = step < body.size ? step : body.size;
        if (form_parts_write(&form, (struct slice){body.at, piece}, &taker, &err) < 0)
            return -1;
        body = slice_from(body, piece);
    }
    return form_parts_end(&form, &err);
}

static void test_form_parts_come_in_any_pieces(void **state)
{
    static const struct {
        const char *type;
        struct slice body;
        const char *parts; /* NULL: refused */
    } cases[] = {
        {"x; boundary=b", SLICE(HEAD("a") "one" END), "<a>one"},
        {"x; boundary=\"b\"", SLICE(HEAD("a") "" END), "<a>"},
        {"x;charset=utf-8;boundary=b;x=y", SLICE(HEAD("a") "1\r\n" HEAD("b") "2" END), "<a>1<b>2"},
        {"x; boundary=b", SLICE("before\r\n" HEAD("a") "x\r\n--c\r\n\r\n-" END "after"),
         "<a>x\r\n--c\r\n\r\n-"},
        {"x; boundary=b", SLICE("--b \t\r\nA: b\r\ncontent-disposition: x;name=a\r\n\r\n1" END),
         "<a>1"},
        {"x; boundary=b", SLICE("--b--"), ""},
        {"x; boundary=b", SLICE(HEAD("a") "one"), NULL},
        {"x; boundary=b", SLICE(HEAD("a") "one\r\n--b-"), NULL},
        {"x; boundary=b", SLICE("--bb\r\n\r\n"), NULL},
        {"x; boundary=b", SLICE(HEAD("") "one" END), NULL},
        {"x; boundary=b", SLICE("--b\r\nno head\r\n\r\n" END), NULL},
        {"x; boundary=b", SLICE("--b\r\nA: b\r\n\r\n" END), NULL},
        {"x; boundary=b",
         SLICE("--b\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n" END), NULL},
        {"x; boundary=b",
         SLICE("--b\r\nContent-Transfer-Encoding: base64\r\n"
               "Content-Disposition: form-data; name=a\r\n\r\n" END),
         NULL},
        {"x; boundary=b", SLICE(""), NULL},
        {"x", SLICE("--\r\n"), NULL},
        {"x; boundary=", SLICE("--\r\n"), NULL},
        {"x; boundary=b; boundary=c", SLICE(HEAD("a") "one" END), NULL},
        {"x; boundary=\"a\001\"", SLICE("--"), NULL},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        for (size_t step = 1; step < 90; step++) {
            OWNED(buffer_drop) struct buffer out = BUFFER_NONE;
            int status = read_by(cases[i].type, cases[i].body, step, &out);
            assert_int_equal(status, cases[i].parts == NULL ? -1 : 0);
            if (status == 0)
                assert_true(slice_equal_text(buffer_slice(&out), cases[i].parts) ||
                            (out.size == 0 && cases[i].parts[0] == 0));
        }
}

static void test_form_parts_are_bounded(void **state)
{
    OWNED(buffer_drop)
    struct buffer many = BUFFER_NONE, head = BUFFER_NONE, out = BUFFER_NONE, preamble = BUFFER_NONE;

    (void)state;
    for (int i = 0; i <= FORM_PARTS_MAX; i++)
        buffer_append_text(&many, HEAD("a") "x\r\n");
    buffer_append_text(&many, "--b--");
    assert_int_equal(read_by("x; boundary=b", buffer_slice(&many), 7, &out), -1);
    buffer_append_text(&head, "--b\r\nA: ");
    for (int i = 0; i <= FORM_PART_HEAD_MAX; i++)
        buffer_append_text(&head, "x");
    assert_int_equal(read_by("x; boundary=b", buffer_slice(&head), 1000, &out), -1);
    for (int i = 0; i <= FORM_PREAMBLE_MAX + 100; i++)
        buffer_append_text(&preamble, "x");
    buffer_append_text(&preamble, "\r\n--b--");
    assert_int_equal(read_by("x; boundary=b", buffer_slice(&preamble), 1000, &out), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_parts_come_in_any_pieces),
        cmocka_unit_test(test_form_parts_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

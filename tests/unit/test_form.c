/* test_form.c - which bodies are forms, and what their fields say. */
#include <string.h>

#include "registry/http/message.h"
#include "tests/support/unit.h"

#define FORM "application/x-www-form-urlencoded"

static int parse(struct form *form, const char *type, const char *body, struct error *err)
{
    struct header header = {SLICE("content-type"), slice_of(type)};
    struct request request = {
        .headers = &header, .header_count = type != NULL, .body = slice_of(body)};

    *err = (struct error){0};
    return form_parse(&request, form, err);
}

static void test_form_needs_its_media_type(void **state)
{
    static const struct {
        const char *type;
        bool accepted;
    } cases[] = {
        {FORM, true},
        {"Application/X-WWW-Form-Urlencoded", true},
        {FORM "; charset=utf-8", true},
        {FORM ";charset=\"UTF-8\"", true},
        {FORM ";", true},
        {FORM "; charset=iso-8859-1", false},
        {FORM "; boundary=x", false},
        {"application/json", false},
        {FORM "x", false},
        {"", false},
        {NULL, false},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        struct form form;
        struct error err;
        assert_int_equal(parse(&form, cases[i].type, "a=b", &err), cases[i].accepted ? 0 : -1);
        assert_int_equal(err.status, cases[i].accepted ? 0 : 400);
        assert_int_equal(form.count, cases[i].accepted);
        form_drop(&form);
    }
}

static void test_form_decodes_its_fields(void **state)
{
    struct form form;
    struct error err;

    (void)state;
    assert_int_equal(parse(&form, FORM, "a=x%3Ay+z&scope=1&scope=&b&%70=%C3%A9%2B", &err), 0);
    static const char *const wanted[][2] = {
        {"a", "x:y z"}, {"scope", "1"}, {"scope", ""}, {"b", ""}, {"p", "\xc3\xa9+"}};
    assert_int_equal(form.count, LENGTH(wanted));
    for (size_t i = 0; i < LENGTH(wanted); i++) {
        assert_true(slice_equal_text(form.fields[i].name, wanted[i][0]));
        assert_true(slice_equal_text(form.fields[i].value, wanted[i][1]));
        assert_non_null(form.fields[i].value.at);
    }
    form_drop(&form);
    assert_int_equal(form.count, 0);
    assert_null(form.decoded);
}

static void test_form_refuses_what_is_malformed(void **state)
{
    static const char *const cases[] = {"a=%", "a=%4", "a=%zz", "%=b", "a=%00"};
    char many[2 * (FORM_FIELDS_MAX + 1) + 1];
    struct form form;
    struct error err;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        assert_int_equal(parse(&form, FORM, cases[i], &err), -1);
        assert_int_equal(err.code, ERROR_BAD_REQUEST);
        assert_null(form.decoded);
    }
    for (size_t i = 0; i < sizeof(many); i++)
        many[i] = i % 2 == 0 ? 'a' : '&';
    many[2 * FORM_FIELDS_MAX] = 0;
    assert_int_equal(parse(&form, FORM, many, &err), 0);
    assert_int_equal(form.count, FORM_FIELDS_MAX);
    form_drop(&form);
    many[2 * FORM_FIELDS_MAX] = 'a';
    many[2 * FORM_FIELDS_MAX + 1] = 0;
    assert_int_equal(parse(&form, FORM, many, &err), -1);
    assert_int_equal(parse(&form, FORM, "", &err), 0);
    assert_int_equal(form.count, 0);
    form_drop(&form);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_form_needs_its_media_type),
        cmocka_unit_test(test_form_decodes_its_fields),
        cmocka_unit_test(test_form_refuses_what_is_malformed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

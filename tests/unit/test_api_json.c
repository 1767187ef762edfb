/* test_api_json.c - bodies of the management API: what is read, and what is refused with which
 * member at fault. */
#include "registry/api/json.h"

#include <stdio.h>
#include <string.h>

#include "tests/support/unit.h"

enum { NAME, SECRET, FLAG, NUMBER, TIME, LIST, COUNT };
static const struct json_member members[] = {
    [NAME] = {"name", JSON_TEXT, .required = true, .least = 1, .most = 8},
    [SECRET] = {"secret", JSON_SECRET, .most = 100},
    [FLAG] = {"flag", JSON_FLAG, .required = false},
    [NUMBER] = {"number", JSON_NUMBER, .least = -5, .most = INT64_MAX},
    [TIME] = {"time", JSON_TIME, .nullable = true},
    [LIST] = {"list", JSON_LIST, .least = 1, .most = 3},
};

static int read_size(struct json_body *body, const char *text, size_t size,
                     struct json_value *values, struct error *err)
{
    *err = (struct error){0};
    return json_read_text(body, (struct slice){text, size}, JSON_MEMBERS(members), values, err);
}

static int read(struct json_body *body, const char *text, struct json_value *values,
                struct error *err)
{
    return read_size(body, text, strlen(text), values, err);
}

static void test_json_reads_each_kind(void **state)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err;

    (void)state;
    assert_int_equal(read(&body,
                          " {\"name\" : \"ana\",\r\n\t\"secret\":\"a\\u0001b\",\"flag\":true,"
                          "\"number\":-5,\"time\":\"1970-01-01T00:00:01Z\",\"list\":[1, {}]} ",
                          values, &err),
                     0);
    assert_true(slice_equal_text(values[NAME].text, "ana"));
    assert_true(slice_equal_text(values[SECRET].text, "a\001b"));
    assert_true(values[FLAG].given && values[FLAG].flag);
    assert_int_equal(values[NUMBER].number, -5);
    assert_int_equal(values[TIME].number, 1000000);
    assert_true(values[LIST].given);
}

static void test_json_tells_absent_from_null(void **state)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err;

    (void)state;
    assert_int_equal(read(&body, "{\"name\":\"a\",\"time\":null,\"flag\":false}", values, &err), 0);
    assert_true(values[TIME].given && values[TIME].null);
    assert_true(values[FLAG].given && !values[FLAG].flag && !values[FLAG].null);
    assert_false(values[NUMBER].given);
    assert_null(values[SECRET].text.at);
}

static void test_json_decodes_escapes(void **state)
{
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t"},
        {"\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\"\xc3\xa9\"", "\xc3\xa9"},
        {"\"\\u007f\"", "\x7f"},
        {"\"\\uffff\"", "\xef\xbf\xbf"},
        {"\"\"", ""},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_body_drop) struct json_body body = {0};
        struct json_value values[COUNT];
        struct error err;
        char text[200];
        snprintf(text, sizeof(text), "{\"\\u006eame\":\"a\",\"secret\":%s}", cases[i].text);
        assert_int_equal(read(&body, text, values, &err), 0);
        assert_true(slice_equal_text(values[SECRET].text, cases[i].value));
    }
}

/* What is no JSON at all: 400. */
static void test_json_refuses_malformed_text(void **state)
{
    static const char *const cases[] = {
        "{",
        "}",
        "[]",
        "null",
        "\"name\"",
        "{\"name\":\"a\"",
        "{\"name\":\"a\"}}",
        "{\"name\":\"a\"} x",
        "{\"name\":\"a\",}",
        "{,\"name\":\"a\"}",
        "{\"name\" \"a\"}",
        "{name:\"a\"}",
        "{'name':'a'}",
        "{\"name\":\"a\"/**/}",
        "{\"name\":\"\\x\"}",
        "{\"name\":\"\\u12g4\"}",
        "{\"name\":\"\\u0000\"}",
        "{\"name\":\"\\ud83d\"}",
        "{\"name\":\"\\ude00\\ud83d\"}",
        "{\"name\":\"\\ud83d\\u0041\"}",
        "{\"name\":\"a\nb\"}",
        "{\"name\":\"\xff\"}",
        "{\"name\":\"\xc0\xaf\"}",
        "{\"name\":\"\xed\xa0\x80\"}",
        "{\"name\":\"a}",
        "{\"number\":01}",
        "{\"number\":+1}",
        "{\"number\":1.}",
        "{\"number\":.5}",
        "{\"number\":1e}",
        "{\"number\":9223372036854775808}",
        "{\"number\":-}",
        "{\"number\":NaN}",
        "{\"flag\":True}",
        "{\"flag\":truex}",
        "{\"list\":[1,]}",
        "{\"list\":[1 2]}",
        "\xef\xbb\xbf{\"name\":\"a\"}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_body_drop) struct json_body body = {0};
        struct json_value values[COUNT];
        struct error err;
        if (read(&body, cases[i], values, &err) == 0)
            fail_msg("read: %s", cases[i]);
        if (err.code != ERROR_BAD_REQUEST)
            fail_msg("%s: %s", cases[i], err.message);
    }
}

/* What is JSON, but not what is asked for: 422 with the member. */
static void test_json_names_the_member_at_fault(void **state)
{
    static const struct {
        const char *text, *field, *message;
    } cases[] = {
        {"{}", "name", "name is missing"},
        {"", "name", "name is missing"},
        {" \n", "name", "name is missing"},
        {"{\"name\":\"a\",\"name\":\"a\"}", NULL, "a member is there twice"},
        {"{\"name\":\"a\",\"\\u006eame\":\"b\"}", NULL, "a member is there twice"},
        {"{\"time\":null,\"time\":null}", NULL, "a member is there twice"},
        {"{\"name\":1}", "name", "name must be a text"},
        {"{\"name\":null}", "name", "name must not be null"},
        {"{\"name\":[\"a\"]}", "name", "name must be a text"},
        {"{\"name\":\"\"}", "name", "name must not be empty"},
        {"{\"name\":\"123456789\"}", "name", "name must have 1 to 8 bytes"},
        {"{\"name\":\"a\\u001b[1m\"}", "name", "name has control characters"},
        {"{\"name\":\"a\\u007f\"}", "name", "name has control characters"},
        {"{\"flag\":\"true\"}", "flag", "flag must be true or false"},
        {"{\"flag\":1}", "flag", "flag must be true or false"},
        {"{\"flag\":null}", "flag", "flag must not be null"},
        {"{\"number\":\"1\"}", "number", "number must be an integer"},
        {"{\"number\":1.0}", "number", "number must be an integer"},
        {"{\"number\":1e3}", "number", "number must be an integer"},
        {"{\"number\":-6}", "number", "number must be from -5 to 9223372036854775807"},
        {"{\"time\":\"now\"}", "time", "time must be a time like 2026-03-01T08:15:30Z"},
        {"{\"time\":0}", "time", "time must be a text"},
        {"{\"list\":{}}", "list", "list must be a list"},
        {"{\"list\":[]}", "list", "list must not be empty"},
        {"{\"list\":[1,[2,3],{},\"a,b\"]}", "list", "list must have 1 to 3 items"},
        {"{\"nome\":1}", NULL, "there is no member \"nome\" here"},
        {"{\"a b\":1}", NULL, "there is a member that is not known here"},
        {"{\"\":1}", NULL, "there is a member that is not known here"},
        {"{\"Name\":\"a\"}", NULL, "there is no member \"Name\" here"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_body_drop) struct json_body body = {0};
        struct json_value values[COUNT];
        struct error err;
        if (read(&body, cases[i].text, values, &err) == 0)
            fail_msg("read: %s", cases[i].text);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_string_equal(err.message, cases[i].message);
        assert_true(slice_equal(slice_of(err.field), slice_of(cases[i].field)));
    }
}

/* A zero byte ends nothing early. */
static void test_json_looks_at_every_byte(void **state)
{
    static const char text[] = "{\"name\":\"a\"}\0{";
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err;

    (void)state;
    assert_int_equal(read_size(&body, text, sizeof(text) - 1, values, &err), -1);
    assert_int_equal(err.code, ERROR_BAD_REQUEST);
}

/* --- lists --- */

static void test_json_reads_lists(void **state)
{
    static const struct json_member inner[] = {
        {"a", JSON_TEXT, .required = true, .most = 5},
        {"b", JSON_LIST, .most = 5},
    };
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT], items[2];
    const void *item;
    struct slice word;
    struct error err;

    (void)state;
    assert_int_equal(read(&body,
                          "{\"list\":[ {\"a\":\"x\",\"b\":[\"p\" , \"q,]\"]} , {\"a\":\"y\"} ],"
                          "\"name\":\"n\"}",
                          values, &err),
                     0);
    assert_true(json_next(&values[LIST].list, &item));
    assert_int_equal(json_read_item(item, "list", JSON_MEMBERS(inner), items, &err), 0);
    assert_true(slice_equal_text(items[0].text, "x"));
    assert_true(json_next(&items[1].list, &item));
    assert_int_equal(json_read_word(item, "list", &word, &err), 0);
    assert_true(slice_equal_text(word, "p"));
    assert_true(json_next(&items[1].list, &item));
    assert_int_equal(json_read_word(item, "list", &word, &err), 0);
    assert_true(slice_equal_text(word, "q,]"));
    assert_false(json_next(&items[1].list, &item));
    assert_true(json_next(&values[LIST].list, &item));
    assert_int_equal(json_read_item(item, "list", JSON_MEMBERS(inner), items, &err), 0);
    assert_true(slice_equal_text(items[0].text, "y"));
    assert_false(items[1].given);
    assert_false(json_next(&values[LIST].list, &item));
    assert_true(slice_equal_text(values[NAME].text, "n"));
}

/* As deep as a body can be. */
static void test_json_refuses_what_nests_too_deep(void **state)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err;
    static char text[JSON_BODY_MAX];

    (void)state;
    memset(text, '[', sizeof(text));
    assert_int_equal(read_size(&body, text, sizeof(text), values, &err), -1);
    assert_int_equal(err.code, ERROR_BAD_REQUEST);
}

static void test_json_faults_inside_a_list_name_the_list(void **state)
{
    static const struct json_member inner[] = {{"a", JSON_TEXT, .required = true, .most = 5}};
    static const char *const cases[] = {
        "{\"name\":\"n\",\"list\":[{}]}",
        "{\"name\":\"n\",\"list\":[{\"a\":1}]}",
        "{\"name\":\"n\",\"list\":[{\"b\":1}]}",
        "{\"name\":\"n\",\"list\":[1]}",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(json_body_drop) struct json_body body = {0};
        struct json_value values[COUNT], items[1];
        const void *item;
        struct error err;
        assert_int_equal(read(&body, cases[i], values, &err), 0);
        assert_true(json_next(&values[LIST].list, &item));
        assert_int_equal(json_read_item(item, "list", JSON_MEMBERS(inner), items, &err), -1);
        assert_int_equal(err.code, ERROR_INVALID);
        assert_string_equal(err.field, "list");
    }
}

/* --- the request --- */

static int read_request(const char *type, const char *text, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct header header = {SLICE("content-type"), slice_of(type)};
    struct request request = {
        .headers = &header, .header_count = type == NULL ? 0 : 1, .body = slice_of(text)};
    struct json_value values[COUNT];

    *err = (struct error){0};
    return json_read(&body, &request, JSON_MEMBERS(members), values, err);
}

/* A form of another page cannot send application/json. */
static void test_json_body_must_say_what_it_is(void **state)
{
    static const struct {
        const char *type;
        int outcome;
    } cases[] = {
        {"application/json", 0},   {"Application/JSON; charset=utf-8", 0},
        {"text/plain", -1},        {"application/x-www-form-urlencoded", -1},
        {"application/jsonl", -1}, {NULL, -1},
    };
    struct error err;

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        assert_int_equal(read_request(cases[i].type, "{\"name\":\"a\"}", &err), cases[i].outcome);
        if (cases[i].outcome < 0)
            assert_int_equal(err.code, ERROR_BAD_REQUEST);
    }
    assert_int_equal(read_request(NULL, "", &err), -1);
    assert_string_equal(err.field, "name"); /* an empty body says nothing, and needs no type */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_reads_each_kind),
        cmocka_unit_test(test_json_tells_absent_from_null),
        cmocka_unit_test(test_json_decodes_escapes),
        cmocka_unit_test(test_json_refuses_malformed_text),
        cmocka_unit_test(test_json_names_the_member_at_fault),
        cmocka_unit_test(test_json_looks_at_every_byte),
        cmocka_unit_test(test_json_reads_lists),
        cmocka_unit_test(test_json_refuses_what_nests_too_deep),
        cmocka_unit_test(test_json_faults_inside_a_list_name_the_list),
        cmocka_unit_test(test_json_body_must_say_what_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

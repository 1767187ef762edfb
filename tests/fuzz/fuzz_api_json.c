/* fuzz_api_json.c - any bytes as a body of the management API: what is accepted is JSON to another
 * reader as well, with the same texts in it. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "registry/api/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT, NUMBER, TIME, LIST, COUNT };
static const struct json_member members[] = {
    [TEXT] = {"text", JSON_SECRET, .most = JSON_BODY_MAX},
    [NUMBER] = {"number", JSON_NUMBER, .least = INT64_MIN, .most = INT64_MAX},
    [TIME] = {"time", JSON_TIME, .nullable = true},
    [LIST] = {"list", JSON_LIST, .most = 100},
};
static const struct json_member inner[] = {
    {"text", JSON_TEXT, .most = JSON_BODY_MAX},
};

static void compare_text(const struct json_value *value, const json_t *object)
{
    const json_t *text = json_object_get(object, "text");

    assert(value->given == (text != NULL));
    if (value->given)
        assert(slice_equal(value->text,
                           (struct slice){json_string_value(text), json_string_length(text)}));
}

static void read_items(struct json_body *body, struct slice list, const json_t *array)
{
    struct slice item, word;
    size_t count = 0;

    while (json_next(&list, &item)) {
        const json_t *there = json_array_get(array, count++);
        struct json_value value;
        struct error err = {0};
        if (json_is_object(there)) {
            if (json_read_item(body, item, "list", JSON_MEMBERS(inner), &value, &err) == 0)
                compare_text(&value, there);
        } else if (json_read_word(body, item, "list", &word, &err) == 0) {
            assert(slice_equal(
                word, (struct slice){json_string_value(there), json_string_length(there)}));
        }
    }
    assert(count == json_array_size(array));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err = {0};
    struct slice text = {(const char *)data, size};

    if (size > JSON_BODY_MAX ||
        json_read_text(&body, text, JSON_MEMBERS(members), values, &err) < 0)
        return 0;
    assert(body.used <= body.size);
    if (body.used == 0 && !values[NUMBER].given && !values[LIST].given)
        return 0; /* an empty body */
    json_t *root = json_loadb(text.at, text.size, JSON_REJECT_DUPLICATES, NULL);
    if (root == NULL)
        return 0; /* nested lists are read when they are asked for, with their doubles */
    compare_text(&values[TEXT], root);
    if (values[NUMBER].given)
        assert(values[NUMBER].number == json_integer_value(json_object_get(root, "number")));
    if (values[LIST].given)
        read_items(&body, values[LIST].list, json_object_get(root, "list"));
    json_decref(root);
    return 0;
}

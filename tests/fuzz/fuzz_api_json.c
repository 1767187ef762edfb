/* fuzz_api_json.c - any bytes as a body of the management API: read by the table, or refused. */
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

static void check_text(const struct json_value *value)
{
    if (value->given)
        assert(memchr(value->text.at, 0, value->text.size) == NULL);
}

static void read_items(struct json_list list)
{
    const void *item;
    size_t count = 0;

    while (json_next(&list, &item)) {
        struct json_value value;
        struct slice word;
        struct error err = {0};
        if (json_read_item(item, "list", JSON_MEMBERS(inner), &value, &err) == 0) {
            check_text(&value);
            continue;
        }
        error_clear(&err);
        if (json_read_word(item, "list", &word, &err) < 0)
            assert(err.code == ERROR_INVALID && err.field != NULL);
        count++;
    }
    assert(count <= 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(json_body_drop) struct json_body body = {0};
    struct json_value values[COUNT];
    struct error err = {0};
    struct slice text = {(const char *)data, size};

    if (size > JSON_BODY_MAX)
        return 0;
    if (json_read_text(&body, text, JSON_MEMBERS(members), values, &err) < 0) {
        assert(err.code == ERROR_INVALID || err.code == ERROR_BAD_REQUEST);
        return 0;
    }
    check_text(&values[TEXT]);
    if (values[LIST].given)
        read_items(values[LIST].list);
    return 0;
}

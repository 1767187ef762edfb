/* json.c - the JSON body of a request, read by a table of the members a handler knows. */
#include "registry/api/json.h"

#include <string.h>

#include <jansson.h>

#include "registry/core/timestamp.h"

enum { NAME_SHOWN_MAX = 40 };

/* --- values --- */

static struct slice text_of(const json_t *value)
{
    return (struct slice){json_string_value(value), json_string_length(value)};
}

static bool is_line(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

static int refuse(const struct json_member *member, const char *field, const char *why,
                  struct error *err)
{
    return error_set_field(err, field == NULL ? member->name : field, "%s %s", member->name, why);
}

static int check_bounds(const struct json_member *member, const char *field, int64_t size,
                        const char *unit, struct error *err)
{
    if (size < member->least && member->least == 1)
        return refuse(member, field, "must not be empty", err);
    if (size < member->least || size > member->most)
        return error_set_field(err, field == NULL ? member->name : field,
                               "%s must have %lld to %lld%s", member->name,
                               (long long)member->least, (long long)member->most, unit);
    return 0;
}

static int read_text(const struct json_member *member, const char *field, const json_t *value,
                     struct json_value *out, struct error *err)
{
    if (!json_is_string(value))
        return refuse(member, field, "must be a text", err);
    out->text = text_of(value);
    if (member->kind == JSON_TIME)
        return timestamp_parse(out->text, &out->number)
                   ? 0
                   : refuse(member, field, "must be a time like 2026-03-01T08:15:30Z", err);
    if (member->kind == JSON_TEXT && !is_line(out->text))
        return refuse(member, field, "has control characters", err);
    return check_bounds(member, field, (int64_t)out->text.size, " bytes", err);
}

static int read_number(const struct json_member *member, const char *field, const json_t *value,
                       struct json_value *out, struct error *err)
{
    if (!json_is_integer(value))
        return refuse(member, field, "must be an integer", err);
    out->number = json_integer_value(value);
    if (out->number >= member->least && out->number <= member->most)
        return 0;
    return error_set_field(err, field == NULL ? member->name : field,
                           "%s must be from %lld to %lld", member->name, (long long)member->least,
                           (long long)member->most);
}

static int read_value(const struct json_member *member, const char *field, const json_t *value,
                      struct json_value *out, struct error *err)
{
    out->given = true;
    out->null = json_is_null(value);
    if (out->null)
        return member->nullable ? 0 : refuse(member, field, "must not be null", err);
    switch (member->kind) {
    case JSON_TEXT:
    case JSON_SECRET:
    case JSON_TIME:
        return read_text(member, field, value, out, err);
    case JSON_FLAG:
        out->flag = json_is_true(value);
        return json_is_boolean(value) ? 0 : refuse(member, field, "must be true or false", err);
    case JSON_NUMBER:
        return read_number(member, field, value, out, err);
    case JSON_LIST:
        if (!json_is_array(value))
            return refuse(member, field, "must be a list", err);
        out->list = (struct json_list){value, 0};
        return check_bounds(member, field, (int64_t)json_array_size(value), " items", err);
    case JSON_GROUP:
        out->object = value;
        return json_is_object(value) ? 0 : refuse(member, field, "must be an object", err);
    }
    return 0;
}

/* --- objects --- */

/* What a stranger called it is shown only when it looks like a name. */
static int refuse_unknown(const char *name, const char *field, struct error *err)
{
    size_t size = strlen(name);
    bool plain = size > 0 && size <= NAME_SHOWN_MAX;

    for (size_t i = 0; plain && i < size; i++)
        plain = name[i] > ' ' && name[i] < 0x7f && name[i] != '"';
    if (plain)
        return error_set_field(err, field, "there is no member \"%s\" here", name);
    return error_set_field(err, field, "there is a member that is not known here");
}

static int read_members(json_t *object, const char *field, const struct json_member *members,
                        size_t count, struct json_value *values, struct error *err)
{
    const char *name;
    json_t *value;

    memset(values, 0, count * sizeof(*values));
    json_object_foreach(object, name, value) {
        size_t i = 0;
        while (i < count && strcmp(name, members[i].name) != 0)
            i++;
        if (i == count)
            return refuse_unknown(name, field, err);
        if (read_value(&members[i], field, value, &values[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (members[i].required && !values[i].given)
            return refuse(&members[i], field, "is missing", err);
    return 0;
}

/* --- the public side --- */

static json_t *parse(struct slice text, struct error *err)
{
    json_error_t fault;
    json_t *document = json_loadb(text.at, text.size, JSON_REJECT_DUPLICATES, &fault);

    if (document == NULL && json_error_code(&fault) == json_error_duplicate_key)
        error_set_field(err, NULL, "a member is there twice");
    else if (document == NULL)
        error_set(err, ERROR_BAD_REQUEST, "the body is not JSON as it must be, at byte %d",
                  fault.position);
    else if (!json_is_object(document))
        error_set(err, ERROR_BAD_REQUEST, "the body must be a JSON object");
    return document;
}

static bool is_blank(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] == 0 || strchr(" \t\r\n", text.at[i]) == NULL)
            return false;
    return true;
}

int json_read_text(struct json_body *body, struct slice text, const struct json_member *members,
                   size_t count, struct json_value *values, struct error *err)
{
    body->document = parse(is_blank(text) ? SLICE("{}") : text, err);
    if (err->code != ERROR_NONE)
        return -1;
    return read_members(body->document, NULL, members, count, values, err);
}

int json_read(struct json_body *body, const struct request *request,
              const struct json_member *members, size_t count, struct json_value *values,
              struct error *err)
{
    struct slice type, rest;

    slice_split(request_header(request, "content-type"), ';', &type, &rest);
    if (request->body.size > 0 && !slice_equal_ignore_case(slice_trim(type), "application/json"))
        return error_set(err, ERROR_BAD_REQUEST, "the body must be application/json");
    return json_read_text(body, request->body, members, count, values, err);
}

bool json_next(struct json_list *list, const void **item)
{
    if (list->next >= json_array_size(list->array))
        return false;
    *item = json_array_get(list->array, list->next++);
    return true;
}

int json_read_item(const void *item, const char *field, const struct json_member *members,
                   size_t count, struct json_value *values, struct error *err)
{
    if (!json_is_object((const json_t *)item))
        return error_set_field(err, field, "%s must be a list of objects", field);
    return read_members((json_t *)(uintptr_t)item, field, members, count, values, err);
}

int json_read_word(const void *item, const char *field, struct slice *out, struct error *err)
{
    if (!json_is_string((const json_t *)item))
        return error_set_field(err, field, "%s must be a list of texts", field);
    *out = text_of(item);
    return 0;
}

/* Nobody else holds these texts, and jansson frees them as they are. */
static void wipe(json_t *value)
{
    void *at = json_object_iter(value);

    if (json_is_string(value))
        explicit_bzero((void *)(uintptr_t)json_string_value(value), json_string_length(value));
    for (; at != NULL; at = json_object_iter_next(value, at))
        wipe(json_object_iter_value(at));
    for (size_t i = 0; i < json_array_size(value); i++)
        wipe(json_array_get(value, i));
}

void json_body_drop(struct json_body *body)
{
    wipe(body->document);
    json_decref(body->document);
    body->document = NULL;
}

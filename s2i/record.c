/* record.c - fields by their table: one place that knows how each kind is written, read and freed.
 * Touches  memory only.
 * Never    keeps JSON. */
#include "s2i/record.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/digest.h"

/* The field of a record, as its kind has it. */
#define FIELD(type, record, field) ((type *)(void *)((char *)(record) + (field)->at))
#define FIELD_CONST(type, record, field)                                                           \
    ((__typeof__(type) const *)(const void *)((const char *)(record) + (field)->at))

/* --- lists --- */

/* The room of a list is the next power of two. */
void s2i_list_add(struct s2i_list *list, struct slice text)
{
    if ((list->count & (list->count - 1)) == 0)
        list->items =
            memory_resize(list->items, (list->count == 0 ? 1 : 2 * list->count) * sizeof(char *));
    list->items[list->count++] = memory_text(text);
}

void s2i_list_drop(struct s2i_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct s2i_list){.items = NULL};
}

void s2i_list_wipe(struct s2i_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        explicit_bzero(list->items[i], strlen(list->items[i]));
    s2i_list_drop(list);
}

/* --- writing --- */

json_t *s2i_json_text(struct slice text)
{
    json_t *plain = json_stringn(text.at == NULL ? "" : text.at, text.size);
    struct buffer mended = BUFFER_NONE;

    if (plain != NULL)
        return plain;
    while (text.size > 0) {
        size_t size = utf8_size(text);
        if (size > 0)
            buffer_append(&mended, text.at, size);
        else
            buffer_append_text(&mended, "\xef\xbf\xbd");
        text = slice_from(text, size > 0 ? size : 1);
    }
    plain = json_stringn(mended.at, mended.size);
    buffer_drop(&mended);
    return plain;
}

static json_t *write_list(const struct s2i_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, s2i_json_text(slice_of(list->items[i])));
    return array;
}

bool record_said(const void *record, const struct record_field *field)
{
    switch (field->kind) {
    case RECORD_NAME:
    case RECORD_TEXT:
        return *FIELD_CONST(char *, record, field) != NULL;
    case RECORD_LIST:
        return FIELD_CONST(struct s2i_list, record, field)->count > 0;
    case RECORD_FLAG:
        return *FIELD_CONST(bool, record, field);
    case RECORD_NUMBER:
        return *FIELD_CONST(uint64_t, record, field) != 0;
    case RECORD_SIGNED:
        return *FIELD_CONST(int64_t, record, field) != 0;
    case RECORD_INT:
        return true;
    case RECORD_DIGEST:
        return digest_is_set(FIELD_CONST(struct digest, record, field));
    }
    return false;
}

static json_t *write_field(const void *record, const struct record_field *field)
{
    char digest[DIGEST_TEXT_MAX];

    switch (field->kind) {
    case RECORD_NAME:
    case RECORD_TEXT:
        return s2i_json_text(slice_of(*FIELD_CONST(char *, record, field)));
    case RECORD_LIST:
        return write_list(FIELD_CONST(struct s2i_list, record, field));
    case RECORD_FLAG:
        return json_boolean(*FIELD_CONST(bool, record, field));
    case RECORD_NUMBER:
        return json_integer((json_int_t)*FIELD_CONST(uint64_t, record, field));
    case RECORD_SIGNED:
        return json_integer((json_int_t)*FIELD_CONST(int64_t, record, field));
    case RECORD_INT:
        return json_integer(*FIELD_CONST(int, record, field));
    case RECORD_DIGEST:
        return json_string(digest_text(FIELD_CONST(struct digest, record, field), digest));
    }
    return NULL;
}

void record_write(const void *record, const struct record_field *fields, size_t count,
                  json_t *object)
{
    for (size_t i = 0; i < count; i++)
        if (record_said(record, &fields[i]))
            json_object_set_new(object, fields[i].name, write_field(record, &fields[i]));
}

/* --- reading --- */

static int read_text(const struct record_field *field, const json_t *value, struct slice *out,
                     struct error *err)
{
    if (!json_is_string(value))
        return error_set_field(err, field->name, "must be a text");
    *out = (struct slice){json_string_value(value), json_string_length(value)};
    if (out->size > field->most)
        return error_set_field(err, field->name, "has %zu bytes, more than %llu", out->size,
                               (unsigned long long)field->most);
    if (memchr(out->at, 0, out->size) != NULL)
        return error_set_field(err, field->name, "must not hold a zero byte");
    return 0;
}

static int read_list(struct s2i_list *list, const struct record_field *field, const json_t *value,
                     struct error *err)
{
    struct slice text;

    if (!json_is_array(value))
        return error_set_field(err, field->name, "must be a list of texts");
    if (json_array_size(value) > field->items_most)
        return error_set_field(err, field->name, "has %zu items, more than %zu",
                               json_array_size(value), field->items_most);
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (read_text(field, json_array_get(value, i), &text, err) < 0)
            return -1;
        s2i_list_add(list, text);
    }
    return 0;
}

static int read_number(void *record, const struct record_field *field, const json_t *value,
                       struct error *err)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_integer(value))
        return error_set_field(err, field->name, "must be an integer");
    if (field->kind == RECORD_SIGNED) {
        *FIELD(int64_t, record, field) = number;
        return 0;
    }
    if (field->kind == RECORD_INT) {
        if (number < INT_MIN || number > INT_MAX)
            return error_set_field(err, field->name, "is out of bounds");
        *FIELD(int, record, field) = (int)number;
        return 0;
    }
    if (number < 0 || (uint64_t)number > field->most)
        return error_set_field(err, field->name, "must be from 0 to %llu",
                               (unsigned long long)field->most);
    *FIELD(uint64_t, record, field) = (uint64_t)number;
    return 0;
}

int record_read_field(void *record, const struct record_field *field, const json_t *value,
                      struct error *err)
{
    struct slice text;

    switch (field->kind) {
    case RECORD_NAME:
    case RECORD_TEXT:
        if (read_text(field, value, &text, err) < 0)
            return -1;
        *FIELD(char *, record, field) = memory_text(text);
        return 0;
    case RECORD_LIST:
        return read_list(FIELD(struct s2i_list, record, field), field, value, err);
    case RECORD_FLAG:
        if (!json_is_boolean(value))
            return error_set_field(err, field->name, "must be true or false");
        *FIELD(bool, record, field) = json_is_true(value);
        return 0;
    case RECORD_NUMBER:
    case RECORD_SIGNED:
    case RECORD_INT:
        return read_number(record, field, value, err);
    case RECORD_DIGEST:
        if (read_text(field, value, &text, err) < 0)
            return -1;
        if (digest_parse(text, FIELD(struct digest, record, field), &(struct error){0}) < 0)
            return error_set_field(err, field->name, "is no digest");
        return 0;
    }
    return 0;
}

int record_read(void *record, const struct record_field *fields, size_t count, const json_t *object,
                struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(object, fields[i].name);
        if (value != NULL && record_read_field(record, &fields[i], value, err) < 0)
            return -1;
        if (value == NULL && fields[i].kind == RECORD_TEXT)
            *FIELD(char *, record, &fields[i]) = memory_text(SLICE(""));
    }
    return 0;
}

void record_drop(void *record, const struct record_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (fields[i].kind == RECORD_LIST)
            s2i_list_drop(FIELD(struct s2i_list, record, &fields[i]));
        else if (fields[i].kind == RECORD_NAME || fields[i].kind == RECORD_TEXT)
            memory_drop(FIELD(char *, record, &fields[i]));
    }
}

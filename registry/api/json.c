/* json.c - the JSON body of a request, read by a table of the members a handler knows.
 *
 * The whole text is checked against the grammar first; afterwards the functions that read can rely
 * on it. Decoded texts go into one block as large as the body, since no text grows by decoding. */
#include "registry/api/json.h"

#include <stdlib.h>
#include <string.h>

#include "registry/core/timestamp.h"

enum { NESTING_MAX = 8, NAME_SHOWN_MAX = 40 };

/* --- grammar: each function moves `text` behind what it takes --- */

static bool is_one_of(char c, const char *set)
{
    return c != 0 && strchr(set, c) != NULL;
}

static const char BLANKS[] = " \t\n\r";

static void skip_blank(struct slice *text)
{
    size_t i = 0;

    while (i < text->size && is_one_of(text->at[i], BLANKS))
        i++;
    *text = slice_from(*text, i);
}

static bool skip_mark(struct slice *text, char wanted)
{
    if (text->size == 0 || text->at[0] != wanted)
        return false;
    *text = slice_from(*text, 1);
    return true;
}

static bool skip_word(struct slice *text, const char *word)
{
    if (!slice_starts(*text, word))
        return false;
    *text = slice_from(*text, strlen(word));
    return true;
}

static size_t skip_digits(struct slice *text)
{
    size_t i = 0;

    while (i < text->size && text->at[i] >= '0' && text->at[i] <= '9')
        i++;
    *text = slice_from(*text, i);
    return i;
}

static bool skip_number(struct slice *text)
{
    skip_mark(text, '-');
    if (!skip_mark(text, '0') && skip_digits(text) == 0)
        return false;
    if (skip_mark(text, '.') && skip_digits(text) == 0)
        return false;
    if (!skip_mark(text, 'e') && !skip_mark(text, 'E'))
        return true;
    if (!skip_mark(text, '+'))
        skip_mark(text, '-');
    return skip_digits(text) > 0;
}

/* Four hexadecimal digits. */
static bool hex_unit(struct slice text, uint32_t *out)
{
    *out = 0;
    if (text.size < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        char c = text.at[i];
        bool digit = c >= '0' && c <= '9';
        char lower = (char)(c | 0x20);
        if (!digit && (lower < 'a' || lower > 'f'))
            return false;
        *out = *out << 4 | (uint32_t)(digit ? c - '0' : lower - 'a' + 10);
    }
    return true;
}

/* What stands behind the "\u": one character, maybe of two units; not NUL, no lone surrogate. */
static bool skip_unicode(struct slice *text, uint32_t *out)
{
    uint32_t second;

    if (!hex_unit(*text, out) || *out == 0)
        return false;
    *text = slice_from(*text, 4);
    if (*out < 0xd800 || *out > 0xdfff)
        return true;
    if (*out > 0xdbff || !skip_word(text, "\\u") || !hex_unit(*text, &second) || second < 0xdc00 ||
        second > 0xdfff)
        return false;
    *text = slice_from(*text, 4);
    *out = 0x10000 + ((*out - 0xd800) << 10) + (second - 0xdc00);
    return true;
}

static bool skip_escape(struct slice *text)
{
    uint32_t character;

    if (skip_mark(text, 'u'))
        return skip_unicode(text, &character);
    if (text->size == 0 || !is_one_of(text->at[0], "\"\\/bfnrt"))
        return false;
    *text = slice_from(*text, 1);
    return true;
}

static bool skip_string(struct slice *text)
{
    if (!skip_mark(text, '"'))
        return false;
    while (!skip_mark(text, '"')) {
        if (skip_mark(text, '\\')) {
            if (!skip_escape(text))
                return false;
            continue;
        }
        size_t size = utf8_size(*text);
        if (size == 0 || (unsigned char)text->at[0] < 0x20)
            return false;
        *text = slice_from(*text, size);
    }
    return true;
}

static bool skip_value(struct slice *text, int depth);

/* The inside of an object or a list, with the mark that ends it. */
static bool skip_items(struct slice *text, bool named, char end, int depth)
{
    skip_blank(text);
    if (skip_mark(text, end))
        return true;
    do {
        skip_blank(text);
        if (named) {
            if (!skip_string(text))
                return false;
            skip_blank(text);
            if (!skip_mark(text, ':'))
                return false;
        }
        if (!skip_value(text, depth))
            return false;
    } while (skip_mark(text, ','));
    return skip_mark(text, end);
}

/* A value and the blanks around it. */
static bool skip_value(struct slice *text, int depth)
{
    bool taken = false;

    skip_blank(text);
    if (text->size == 0 || depth == 0)
        return false;
    switch (text->at[0]) {
    case '{':
        *text = slice_from(*text, 1);
        taken = skip_items(text, true, '}', depth - 1);
        break;
    case '[':
        *text = slice_from(*text, 1);
        taken = skip_items(text, false, ']', depth - 1);
        break;
    case '"':
        taken = skip_string(text);
        break;
    case 't':
    case 'f':
    case 'n':
        taken = skip_word(text, "true") || skip_word(text, "false") || skip_word(text, "null");
        break;
    default:
        taken = skip_number(text);
        break;
    }
    skip_blank(text);
    return taken;
}

/* --- reading what fits the grammar --- */

/* Cuts the value off that the text starts with, without the blanks around it. */
static struct slice take_value(struct slice *text)
{
    skip_blank(text);
    struct slice value = *text;
    bool fits = skip_value(text, NESTING_MAX + 1);

    assert(fits);
    value.size -= text->size;
    while (value.size > 0 && is_one_of(value.at[value.size - 1], BLANKS))
        value.size--;
    return value;
}

static void put_utf8(struct json_body *body, uint32_t c)
{
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    char *at = body->at + body->used;

    body->used += size;
    for (size_t i = size - 1; i > 0; i--, c >>= 6)
        at[i] = (char)(0x80 | (c & 0x3f));
    at[0] = (char)(size == 1 ? c : first[size] | c);
}

static uint32_t short_escape(char c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return (unsigned char)c;
    }
}

/* `string` with its quotes. */
static struct slice decode(struct json_body *body, struct slice string)
{
    struct slice text = {string.at + 1, string.size - 2};
    size_t start = body->used;

    assert(text.size <= body->size - body->used);
    while (text.size > 0) {
        uint32_t c;
        if (!skip_mark(&text, '\\')) {
            body->at[body->used++] = text.at[0];
            text = slice_from(text, 1);
        } else if (skip_mark(&text, 'u')) {
            bool fits = skip_unicode(&text, &c);
            assert(fits);
            put_utf8(body, c);
        } else {
            put_utf8(body, short_escape(text.at[0]));
            text = slice_from(text, 1);
        }
    }
    return (struct slice){body->at + start, body->used - start};
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

static bool to_integer(struct slice value, int64_t *out)
{
    bool negative = value.size > 0 && value.at[0] == '-';
    uint64_t digits;

    if (!slice_to_u64(slice_from(value, negative ? 1 : 0), &digits))
        return false;
    *out = negative ? -(int64_t)digits : (int64_t)digits;
    return true;
}

static size_t list_count(struct slice list)
{
    struct slice item;
    size_t count = 0;

    while (json_next(&list, &item))
        count++;
    return count;
}

/* --- members --- */

static int refuse(const struct json_member *member, const char *field, const char *why,
                  struct error *err)
{
    return error_set_field(err, field == NULL ? member->name : field, "%s %s", member->name, why);
}

static int check_bounds(const struct json_member *member, const char *field, int64_t size,
                        const char *unit, struct error *err)
{
    if (size < member->least && member->least == 1 && unit[0] != 0)
        return refuse(member, field, "must not be empty", err);
    if (size < member->least || size > member->most)
        return error_set_field(err, field == NULL ? member->name : field,
                               "%s must have %lld to %lld%s", member->name,
                               (long long)member->least, (long long)member->most, unit);
    return 0;
}

static int read_text(struct json_body *body, const struct json_member *member, const char *field,
                     struct slice raw, struct json_value *out, struct error *err)
{
    if (raw.at[0] != '"')
        return refuse(member, field, "must be a text", err);
    out->text = decode(body, raw);
    if (member->kind == JSON_TIME)
        return timestamp_parse(out->text, &out->number)
                   ? 0
                   : refuse(member, field, "must be a time like 2026-03-01T08:15:30Z", err);
    if (member->kind == JSON_TEXT && !is_line(out->text))
        return refuse(member, field, "has control characters", err);
    return check_bounds(member, field, (int64_t)out->text.size, " bytes", err);
}

static int read_value(struct json_body *body, const struct json_member *member, const char *field,
                      struct slice raw, struct json_value *out, struct error *err)
{
    out->given = true;
    if (raw.at[0] == 'n') {
        out->null = true;
        return member->nullable ? 0 : refuse(member, field, "must not be null", err);
    }
    switch (member->kind) {
    case JSON_TEXT:
    case JSON_SECRET:
    case JSON_TIME:
        return read_text(body, member, field, raw, out, err);
    case JSON_FLAG:
        out->flag = raw.at[0] == 't';
        return out->flag || raw.at[0] == 'f' ? 0
                                             : refuse(member, field, "must be true or false", err);
    case JSON_NUMBER:
        if (!to_integer(raw, &out->number))
            return refuse(member, field, "must be an integer", err);
        if (out->number < member->least || out->number > member->most)
            return error_set_field(err, field == NULL ? member->name : field,
                                   "%s must be from %lld to %lld", member->name,
                                   (long long)member->least, (long long)member->most);
        return 0;
    case JSON_LIST:
        if (raw.at[0] != '[')
            return refuse(member, field, "must be a list", err);
        out->list = (struct slice){raw.at + 1, raw.size - 2};
        return check_bounds(member, field, (int64_t)list_count(out->list), " items", err);
    }
    return 0;
}

/* What a stranger called it is shown only when it looks like a name. */
static int refuse_unknown(struct slice name, const char *field, struct error *err)
{
    bool plain = name.size > 0 && name.size <= NAME_SHOWN_MAX;

    for (size_t i = 0; plain && i < name.size; i++)
        plain = name.at[i] > ' ' && name.at[i] < 0x7f && name.at[i] != '"';
    if (plain)
        return error_set_field(err, field, "there is no member \"%.*s\" here", SLICE_ARG(name));
    return error_set_field(err, field, "there is a member that is not known here");
}

static int read_members(struct json_body *body, struct slice inside, const char *field,
                        const struct json_member *members, size_t count, struct json_value *values,
                        struct error *err)
{
    for (skip_blank(&inside); inside.size > 0; skip_mark(&inside, ',')) {
        struct slice name = decode(body, take_value(&inside));
        skip_mark(&inside, ':');
        struct slice raw = take_value(&inside);
        size_t i = 0;
        while (i < count && !slice_equal_text(name, members[i].name))
            i++;
        if (i == count)
            return refuse_unknown(name, field, err);
        if (values[i].given)
            return refuse(&members[i], field, "is there twice", err);
        if (read_value(body, &members[i], field, raw, &values[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < count; i++)
        if (members[i].required && !values[i].given)
            return refuse(&members[i], field, "is missing", err);
    return 0;
}

/* --- the public side --- */

int json_read_text(struct json_body *body, struct slice text, const struct json_member *members,
                   size_t count, struct json_value *values, struct error *err)
{
    struct slice rest = text;

    *body = (struct json_body){NULL, 0, text.size};
    memset(values, 0, count * sizeof(*values));
    skip_blank(&text);
    if (text.size == 0)
        text = rest = SLICE("{}");
    if (!skip_value(&rest, NESTING_MAX) || rest.size > 0)
        return error_set(err, ERROR_BAD_REQUEST, "the body is not JSON as it must be, at byte %zu",
                         body->size - rest.size);
    if (text.at[0] != '{')
        return error_set(err, ERROR_BAD_REQUEST, "the body must be a JSON object");
    body->at = memory_new(body->size + 1);
    text = take_value(&text);
    return read_members(body, (struct slice){text.at + 1, text.size - 2}, NULL, members, count,
                        values, err);
}

int json_read(struct json_body *body, const struct request *request,
              const struct json_member *members, size_t count, struct json_value *values,
              struct error *err)
{
    struct slice type, rest;

    slice_split(request_header(request, "content-type"), ';', &type, &rest);
    if (request->body.size > 0 && !slice_equal_ignore_case(slice_trim(type), "application/json")) {
        *body = (struct json_body){NULL, 0, 0};
        return error_set(err, ERROR_BAD_REQUEST, "the body must be application/json");
    }
    return json_read_text(body, request->body, members, count, values, err);
}

bool json_next(struct slice *list, struct slice *item)
{
    skip_blank(list);
    if (list->size == 0)
        return false;
    *item = take_value(list);
    skip_mark(list, ',');
    return true;
}

int json_read_item(struct json_body *body, struct slice item, const char *field,
                   const struct json_member *members, size_t count, struct json_value *values,
                   struct error *err)
{
    memset(values, 0, count * sizeof(*values));
    if (item.at[0] != '{')
        return error_set_field(err, field, "%s must be a list of objects", field);
    return read_members(body, (struct slice){item.at + 1, item.size - 2}, field, members, count,
                        values, err);
}

int json_read_word(struct json_body *body, struct slice item, const char *field, struct slice *out,
                   struct error *err)
{
    if (item.at[0] != '"')
        return error_set_field(err, field, "%s must be a list of texts", field);
    *out = decode(body, item);
    return 0;
}

void json_body_drop(struct json_body *body)
{
    if (body->at != NULL)
        explicit_bzero(body->at, body->size);
    free(body->at);
    *body = (struct json_body){NULL, 0, 0};
}

/* list.c - pages of a list: limit, cursor, and the way to what follows.
 * Touches  the reply it is given.
 * Never    storage.
 *
 * A cursor is the key of the last item shown, in hexadecimal: to clients it is opaque. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "registry/api/answer.h"

static int read_limit(const struct request *request, size_t *out, struct error *err)
{
    struct slice text = request_parameter(request, "limit");
    uint64_t value;

    *out = LIST_LIMIT;
    if (text.at == NULL)
        return 0;
    if (!slice_to_u64_saturated(text, &value) || value == 0)
        return error_set_field(err, "limit", "limit must be a positive integer");
    *out = value > LIST_LIMIT_MAX ? LIST_LIMIT_MAX : (size_t)value;
    return 0;
}

static int read_cursor(const struct request *request, struct list_query *out, struct error *err)
{
    struct slice text = request_parameter(request, "cursor");
    size_t size = text.size / 2;

    if (text.at == NULL)
        return 0;
    if (size == 0 || size > LIST_PLACE_MAX || !hex_decode(text, (uint8_t *)out->key, size) ||
        memchr(out->key, 0, size) != NULL)
        return error_set_field(err, "cursor", "cursor is not one of this list");
    out->after = (struct slice){out->key, size};
    return 0;
}

int list_query_by_name(const struct request *request, struct list_query *out, struct error *err)
{
    *out = (struct list_query){.search = request_parameter(request, "q")};
    if (out->search.size == 0)
        out->search = SLICE_NONE;
    if (out->search.size > LIST_KEY_MAX)
        return error_set_field(err, "q", "q must have at most %d bytes", LIST_KEY_MAX);
    if (read_limit(request, &out->limit, err) < 0 || read_cursor(request, out, err) < 0)
        return -1;
    return 0;
}

int list_query_by_id(const struct request *request, struct list_query *out, struct error *err)
{
    uint64_t value = 0;

    if (list_query_by_name(request, out, err) < 0)
        return -1;
    if (out->after.at != NULL && !slice_to_u64(out->after, &value))
        return error_set_field(err, "cursor", "cursor is not one of this list");
    out->after_id = (int64_t)value;
    return 0;
}

void list_place_print(struct buffer *out, int64_t id, const char *name)
{
    buffer_append_u64(out, (uint64_t)id);
    buffer_append_text(out, " ");
    buffer_append_text(out, name);
}

int list_place_read(const struct list_query *query, int64_t *id, struct slice *name,
                    struct error *err)
{
    struct slice number;
    uint64_t value;

    *id = 0;
    *name = SLICE_NONE;
    if (query->after.at == NULL)
        return 0;
    if (!slice_split(query->after, ' ', &number, name) || !slice_to_u64(number, &value))
        return error_set_field(err, "cursor", "cursor is not one of this list");
    *id = (int64_t)value;
    return 0;
}

static void append_hex(struct buffer *out, struct slice key)
{
    buffer_reserve(out, 2 * key.size);
    hex_encode((const uint8_t *)key.at, key.size, out->at + out->size);
    out->size += 2 * key.size;
}

void list_link(const struct request *request, struct reply *reply, struct slice next)
{
    struct buffer *head = &reply->head;

    if (next.at == NULL)
        return;
    buffer_append_text(head, "Link: <");
    for (size_t i = 0; i < request->path.size; i++)
        if (request->path.at[i] == '/')
            buffer_append_text(head, "/");
        else
            percent_encode(head, (struct slice){request->path.at + i, 1});
    buffer_append_text(head, "?");
    for (size_t i = 0; i < request->parameter_count; i++) {
        const struct parameter *parameter = &request->parameters[i];
        if (slice_equal_text(parameter->name, "cursor"))
            continue;
        percent_encode(head, parameter->name);
        buffer_append_text(head, "=");
        percent_encode(head, parameter->value);
        buffer_append_text(head, "&");
    }
    buffer_append_text(head, "cursor=");
    append_hex(head, next);
    buffer_append_text(head, ">; rel=\"next\"\r\n");
}

void list_open(struct buffer *body)
{
    buffer_append_text(body, "{\"items\":[");
}

void list_answer(const struct request *request, struct reply *reply, struct buffer *body,
                 struct slice next, int64_t total)
{
    write_close(body, ']');
    if (next.at == NULL) {
        write_null(body, "next");
    } else {
        buffer_append_text(body, ",\"next\":\"");
        append_hex(body, next);
        buffer_append_text(body, "\"");
    }
    if (total >= 0)
        write_i64(body, "total", total);
    write_close(body, '}');
    list_link(request, reply, next);
    answer_json(reply, body);
}

void list_answer_id(const struct request *request, struct reply *reply, struct buffer *body,
                    int64_t next_id, int64_t total)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRId64, next_id);
    list_answer(request, reply, body, next_id == 0 ? SLICE_NONE : slice_of(text), total);
}

/* write.c - JSON of answers, written member by member into a buffer. */
#include "registry/api/write.h"

#include <inttypes.h>

#include "registry/core/timestamp.h"

static void begin(struct buffer *out, const char *name)
{
    char last = out->size == 0 ? '{' : out->at[out->size - 1];

    if (last != '{' && last != '[' && last != '\n')
        buffer_append_text(out, ",");
    if (name == NULL)
        return;
    buffer_append_json(out, slice_of(name));
    buffer_append_text(out, ":");
}

void write_open(struct buffer *out, const char *name, char brace)
{
    if (name != NULL || out->size > 0)
        begin(out, name);
    buffer_append(out, &brace, 1);
}

void write_close(struct buffer *out, char brace)
{
    buffer_append(out, &brace, 1);
}

void write_text(struct buffer *out, const char *name, struct slice value)
{
    begin(out, name);
    buffer_append_json(out, value);
}

void write_text_or_null(struct buffer *out, const char *name, const char *value)
{
    if (value == NULL)
        write_null(out, name);
    else
        write_text(out, name, slice_of(value));
}

void write_i64(struct buffer *out, const char *name, int64_t value)
{
    begin(out, name);
    buffer_print(out, "%" PRId64, value);
}

void write_flag(struct buffer *out, const char *name, bool value)
{
    begin(out, name);
    buffer_append_text(out, value ? "true" : "false");
}

void write_null(struct buffer *out, const char *name)
{
    begin(out, name);
    buffer_append_text(out, "null");
}

void write_time(struct buffer *out, const char *name, int64_t us)
{
    char text[TIMESTAMP_MAX];

    if (us == 0)
        write_null(out, name);
    else
        write_text(out, name, slice_of(timestamp_print(us, text)));
}

void write_raw(struct buffer *out, const char *name, struct slice json)
{
    begin(out, name);
    buffer_append_slice(out, json);
}

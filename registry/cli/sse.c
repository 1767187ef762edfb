/* sse.c - lines "field: value", an empty one ends an event. Lines end in LF, or CR LF. */
#include "registry/cli/sse.h"

#include <string.h>

static void keep(struct buffer *out, struct slice value)
{
    out->size = 0;
    buffer_append_slice(out, value);
}

static void event_end(struct sse *sse)
{
    bool is_one = sse->data.size > 0 || sse->name.size > 0;

    if (is_one && !sse->too_long)
        sse->take(sse->arg, buffer_slice(&sse->name), buffer_slice(&sse->data));
    sse->name.size = sse->data.size = 0;
    sse->too_long = false;
}

static void data_add(struct sse *sse, struct slice value)
{
    if (sse->data.size + value.size >= SSE_EVENT_MAX) {
        sse->too_long = true;
        return;
    }
    if (sse->data.size > 0)
        buffer_append(&sse->data, "\n", 1);
    buffer_append_slice(&sse->data, value);
}

static void line_take(struct sse *sse, struct slice line)
{
    struct slice field, value;

    if (line.size > 0 && line.at[line.size - 1] == '\r')
        line.size--;
    if (line.size == 0) {
        event_end(sse);
        return;
    }
    if (!slice_split(line, ':', &field, &value))
        return;
    if (value.size > 0 && value.at[0] == ' ')
        value = slice_from(value, 1);
    if (slice_equal_text(field, "event"))
        keep(&sse->name, value);
    else if (slice_equal_text(field, "id"))
        keep(&sse->last, value);
    else if (slice_equal_text(field, "data"))
        data_add(sse, value);
}

static void line_add(struct sse *sse, struct slice part)
{
    if (sse->line.size + part.size > SSE_EVENT_MAX) {
        sse->cut = sse->too_long = true;
        sse->line.size = 0;
    }
    if (!sse->cut)
        buffer_append_slice(&sse->line, part);
}

void sse_feed(struct sse *sse, struct slice bytes)
{
    struct slice line, rest;

    while (slice_split(bytes, '\n', &line, &rest)) {
        line_add(sse, line);
        if (!sse->cut)
            line_take(sse, buffer_slice(&sse->line));
        sse->cut = false;
        sse->line.size = 0;
        bytes = rest;
    }
    line_add(sse, bytes);
}

void sse_restart(struct sse *sse)
{
    sse->line.size = sse->name.size = sse->data.size = 0;
    sse->cut = sse->too_long = false;
}

void sse_drop(struct sse *sse)
{
    buffer_drop(&sse->line);
    buffer_drop(&sse->name);
    buffer_drop(&sse->data);
    buffer_drop(&sse->last);
}

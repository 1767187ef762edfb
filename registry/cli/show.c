/* show.c - answers of the server as people read them. */
#include "registry/cli/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS_MAX = 12, WIDTH_MAX = 71 /* a digest */ };

/* Control characters would be taken as orders by a terminal. */
static void append_safely(struct buffer *out, const char *text)
{
    for (; *text != 0; text++) {
        unsigned char c = (unsigned char)*text;
        char shown = c < 0x20 || c == 0x7f ? '?' : *text;
        buffer_append(out, &shown, 1);
    }
}

/* C1 controls arrive as two bytes of UTF-8: c2 80 to c2 9f. */
static void drop_c1(struct buffer *text)
{
    for (size_t i = 0; i + 1 < text->size; i++)
        if ((unsigned char)text->at[i] == 0xc2 && (unsigned char)text->at[i + 1] < 0xa0)
            text->at[i] = text->at[i + 1] = '?';
}

/* "2026-11-21T11:45:59.63603Z": people need no parts of seconds. */
static void append_text(struct buffer *out, const char *text)
{
    struct slice whole = slice_of(text), second, fraction;
    bool time = whole.size > 20 && whole.at[10] == 'T' && slice_ends(whole, "Z") &&
                slice_split(whole, '.', &second, &fraction) && second.size == 19;

    if (time)
        buffer_print(out, "%.*sZ", SLICE_ARG(second));
    else
        append_safely(out, text);
}

/* "blobs=3,bytes=17"; what is deeper is for --json. */
static void append_counters(struct buffer *out, const json_t *counters)
{
    json_t *copy = (json_t *)(uintptr_t)counters; /* jansson's loop takes no const */
    const char *name, *comma = "";
    json_t *value;

    json_object_foreach(copy, name, value) {
        if (!json_is_integer(value) || json_integer_value(value) == 0)
            continue;
        buffer_append_text(out, comma);
        append_safely(out, name);
        buffer_print(out, "=%" JSON_INTEGER_FORMAT, json_integer_value(value));
        comma = ",";
    }
}

static void append_value(struct buffer *out, const json_t *value)
{
    size_t i;
    json_t *item;

    if (json_is_string(value)) {
        append_text(out, json_string_value(value));
    } else if (json_is_integer(value)) {
        buffer_print(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_boolean(value)) {
        buffer_append_text(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item) {
            buffer_append_text(out, i > 0 ? "," : "");
            append_value(out, item);
        }
    } else if (json_is_object(value)) {
        append_counters(out, value);
    }
}

/* As settings spell it, where that is exact. */
static void append_size(struct buffer *out, uint64_t bytes)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    uint64_t unit = 1;
    size_t i = 0;

    for (; i < 6 && bytes / unit >= 1024; i++)
        unit *= 1024;
    uint64_t rest = bytes % unit;
    if (rest == 0)
        buffer_print(out, "%" PRIu64 "%s", bytes / unit, units[i]);
    else
        buffer_print(out, "%.1f%s", (double)bytes / (double)unit, units[i]);
}

const char *show_member(const struct show_column *column)
{
    return column->member[0] == SHOW_SIZE[0] ? column->member + 1 : column->member;
}

/* Of an object within, when its name has a slash. */
static const json_t *value_of(const json_t *thing, const char *member)
{
    const char *slash = strchr(member, '/');

    return slash == NULL
               ? json_object_get(thing, member)
               : json_object_get(json_object_getn(thing, member, (size_t)(slash - member)),
                                 slash + 1);
}

/* Never empty, so that columns can be cut by other programs. */
static void cell(struct buffer *out, const json_t *thing, const struct show_column *column)
{
    const json_t *value = value_of(thing, show_member(column));
    size_t start = out->size;

    if (column->member[0] == SHOW_SIZE[0] && json_is_integer(value) &&
        json_integer_value(value) > 0)
        append_size(out, (uint64_t)json_integer_value(value));
    else
        append_value(out, value);
    if (out->size == start)
        buffer_append_text(out, "-");
    drop_c1(out);
}

/* Characters, not bytes. */
static size_t width_of(struct slice text)
{
    size_t width = 0;

    for (size_t i = 0; i < text.size; i++)
        width += ((unsigned char)text.at[i] & 0xc0) != 0x80;
    return width;
}

static void print_cell(struct slice text, size_t width, bool last)
{
    size_t used = width_of(text);

    printf("%.*s", SLICE_ARG(text));
    if (!last)
        printf("%*s", (int)((used < width ? width - used : 0) + 2), "");
}

static void measure(const json_t *items, const struct show_column *columns,
                    size_t widths[COLUMNS_MAX])
{
    size_t i;
    json_t *item;

    for (size_t c = 0; columns[c].title != NULL; c++) {
        widths[c] = width_of(slice_of(columns[c].title));
        json_array_foreach(items, i, item) {
            OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
            cell(&text, item, &columns[c]);
            size_t width = width_of(buffer_slice(&text));
            if (width > widths[c])
                widths[c] = width > WIDTH_MAX ? WIDTH_MAX : width;
        }
    }
}

int show_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
    return CLI_DONE;
}

int show_list(const struct cli_call *call, const json_t *list, const struct show_column *columns)
{
    const json_t *items = json_object_get(list, "items");
    size_t widths[COLUMNS_MAX], i;
    json_t *item;

    if (cli_flag(call, "--json"))
        return show_json(list);
    measure(items, columns, widths);
    for (size_t c = 0; columns[c].title != NULL; c++)
        print_cell(slice_of(columns[c].title), widths[c], columns[c + 1].title == NULL);
    putchar('\n');
    json_array_foreach(items, i, item) {
        for (size_t c = 0; columns[c].title != NULL; c++) {
            OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
            cell(&text, item, &columns[c]);
            print_cell(buffer_slice(&text), widths[c], columns[c + 1].title == NULL);
        }
        putchar('\n');
    }
    return CLI_DONE;
}

int show_one(const struct cli_call *call, const json_t *thing, const struct show_column *columns)
{
    size_t widest = 0;

    if (cli_flag(call, "--json"))
        return show_json(thing);
    for (size_t c = 0; columns[c].title != NULL; c++) {
        size_t width = width_of(slice_of(columns[c].title));
        widest = width > widest ? width : widest;
    }
    for (size_t c = 0; columns[c].title != NULL; c++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        cell(&text, thing, &columns[c]);
        print_cell(slice_of(columns[c].title), widest, false);
        print_cell(buffer_slice(&text), 0, true);
        putchar('\n');
    }
    return CLI_DONE;
}

void show_line(const json_t *thing, const struct show_column *columns)
{
    for (size_t c = 0; columns[c].title != NULL; c++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        cell(&text, thing, &columns[c]);
        print_cell(buffer_slice(&text), 0, columns[c + 1].title == NULL);
    }
    putchar('\n');
}

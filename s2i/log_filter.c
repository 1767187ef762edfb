/* log_filter.c - only colours, no secrets, whole lines.
 * Touches  memory only.
 * Never    files, time.
 *
 * (1) A byte leaves only when no secret can begin at it any more, or is part of one no more.
 * (2) Secrets go through the same filter as the text, or what it drops would hide them. */
#include "s2i/log_filter.h"

#include <stdlib.h>
#include <string.h>

#include "s2i/log.h"

static const char MASK[] = "***";
static const char BROKEN_CHARACTER[] = "\xef\xbf\xbd"; /* U+FFFD */

/* --- bytes become text --- */

static void clean_move(struct log_filter *filter)
{
    buffer_append_slice(&filter->held, buffer_slice(&filter->clean));
    filter->clean.size = 0;
}

/* Of a character or an escape sequence all at once. A line is complete before secrets are looked
 * for, or what goes back to its start could put one together. */
static void clean_put(struct log_filter *filter, const char *bytes, size_t size)
{
    if (size > 0 && bytes[0] == '\r') {
        filter->clean.size = 0;
        return;
    }
    buffer_append(&filter->clean, bytes, size);
    if (filter->clean.size >= LOG_LINE_MAX || (size > 0 && bytes[0] == '\n'))
        clean_move(filter);
}

static void put_colour(struct log_filter *filter)
{
    char sequence[sizeof(filter->parameters) + 3] = "\x1b[";
    size_t size = filter->parameter_size;

    memcpy(sequence + 2, filter->parameters, size);
    sequence[size + 2] = 'm';
    clean_put(filter, sequence, size + 3);
}

static bool is_parameter(unsigned char c)
{
    return (c >= '0' && c <= '9') || c == ';' || c == ':';
}

/* One byte after ESC. */
static void take_escape(struct log_filter *filter, unsigned char c)
{
    if (c == '[') {
        filter->state = FILTER_CSI;
        filter->parameter_size = 0;
    } else if (c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_') {
        filter->state = FILTER_STRING; /* OSC, DCS, SOS, PM, APC */
    } else if (c >= 0x30) {
        filter->state = FILTER_TEXT; /* intermediates are 0x20 to 0x2f */
    }
}

/* Only "CSI digits m" is kept: colours. */
static void take_csi(struct log_filter *filter, unsigned char c)
{
    enum { TOO_MANY = 255 };
    bool clean = filter->parameter_size != TOO_MANY;

    if (c >= 0x40) {
        filter->state = FILTER_TEXT;
        if (c != 'm' || !clean)
            return;
        put_colour(filter);
    } else if (!clean || !is_parameter(c) || filter->parameter_size == sizeof(filter->parameters)) {
        filter->parameter_size = TOO_MANY; /* it goes on, but is dropped */
    } else {
        filter->parameters[filter->parameter_size++] = (char)c;
    }
}

static void utf8_break(struct log_filter *filter)
{
    if (filter->utf8_size > 0)
        clean_put(filter, BROKEN_CHARACTER, sizeof(BROKEN_CHARACTER) - 1);
    filter->utf8_size = 0;
}

/* A byte of a character of many. C1 controls, U+0080 to U+009F, are dropped. */
static void take_utf8(struct log_filter *filter, unsigned char c)
{
    bool leads = c >= 0xc0;

    if (leads || filter->utf8_size == 0) {
        utf8_break(filter);
        filter->utf8_wanted = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    }
    filter->utf8[filter->utf8_size++] = (char)c;
    struct slice character = {filter->utf8, filter->utf8_size};
    if (!leads && filter->utf8_size == 1) { /* it continues nothing */
        utf8_break(filter);
    } else if (filter->utf8_size == filter->utf8_wanted) {
        if (utf8_size(character) != character.size)
            utf8_break(filter);
        else if (character.size > 2 || (unsigned char)character.at[0] != 0xc2 ||
                 (unsigned char)character.at[1] >= 0xa0)
            clean_put(filter, character.at, character.size);
        filter->utf8_size = 0;
    }
}

static void take_text(struct log_filter *filter, unsigned char c)
{
    if (c >= 0x80) {
        take_utf8(filter, c);
        return;
    }
    utf8_break(filter);
    if ((c >= 0x20 && c != 0x7f) || c == '\t' || c == '\n')
        clean_put(filter, (const char *)&c, 1);
    else if (c == 0x1b)
        filter->state = FILTER_ESCAPE;
}

/* A '\r' counts when something else than a line's end follows. */
static bool take_return(struct log_filter *filter, unsigned char c)
{
    if (c == '\r') {
        filter->returned = true;
        return true;
    }
    if (filter->returned && c != '\n')
        clean_put(filter, "\r", 1);
    filter->returned = false;
    return false;
}

/* An escape sequence ends at the line's end, whatever it lacks: nothing is swallowed for long. */
static void take(struct log_filter *filter, unsigned char c)
{
    if (filter->state != FILTER_TEXT && (c == '\n' || c == 0x18 || c == 0x1a))
        filter->state = FILTER_TEXT;
    else if (filter->state != FILTER_TEXT && filter->state != FILTER_STRING && c == 0x1b) {
        filter->state = FILTER_ESCAPE;
        return;
    }
    switch (filter->state) {
    case FILTER_TEXT:
        if (!take_return(filter, c))
            take_text(filter, c);
        break;
    case FILTER_ESCAPE:
        take_escape(filter, c);
        break;
    case FILTER_CSI:
        take_csi(filter, c);
        break;
    case FILTER_STRING:
        if (c == 0x07)
            filter->state = FILTER_TEXT;
        else if (c == 0x1b)
            filter->state = FILTER_STRING_END;
        break;
    case FILTER_STRING_END: /* ESC \, or ESC that begins something else */
        filter->state = FILTER_ESCAPE;
        if (c == '\\')
            filter->state = FILTER_TEXT;
        else
            take_escape(filter, c);
        break;
    }
}

/* --- text becomes lines --- */

static void line_end(struct log_filter *filter)
{
    filter->line(filter->arg, buffer_slice(&filter->text));
    filter->text.size = 0;
}

static void line_put(struct log_filter *filter, const char *bytes, size_t size)
{
    if (filter->text.size + size > LOG_LINE_MAX)
        line_end(filter);
    buffer_append(&filter->text, bytes, size);
}

/* Of a character or an escape sequence nothing may be cut off. */
static size_t unit_size(struct slice s)
{
    const char *end;
    size_t size = utf8_size(s);

    if (s.at[0] == 0x1b && (end = memchr(s.at, 'm', s.size)) != NULL)
        size = (size_t)(end - s.at) + 1;
    return size == 0 ? 1 : size;
}

static size_t unit_take(struct log_filter *filter, struct slice s)
{
    size_t size = unit_size(s);

    if (s.at[0] == '\n')
        line_end(filter);
    else
        line_put(filter, s.at, size);
    return size;
}

/* Bytes at the start that are neither the end of anything nor the beginning of a secret: most of
 * what comes, and taken at once. */
static size_t plain_size(const struct log_masks *masks, struct slice s)
{
    size_t size = 0;

    while (size < s.size && s.at[size] >= 0x20 && s.at[size] < 0x7f &&
           (masks == NULL || !masks->first[(unsigned char)s.at[size]]))
        size++;
    return size;
}

/* --- secrets --- */

/* Where the secrets that begin at s end: one may reach into the next. */
static size_t covered(const struct log_masks *masks, struct slice s, bool *open)
{
    size_t end = log_masks_match(masks, s, open);

    for (size_t at = 1; at < end; at++) {
        size_t size = log_masks_match(masks, slice_from(s, at), open);
        if (at + size > end)
            end = at + size;
    }
    return end;
}

/* Lets go of what is held; all: nothing more comes that could make it a secret. (1) */
static void release(struct log_filter *filter, bool all)
{
    struct slice held = buffer_slice(&filter->held);

    while (held.size > 0) {
        bool open = false;
        size_t room = LOG_LINE_MAX - filter->text.size, plain = plain_size(filter->masks, held);
        if (plain > 0 && room > 0) {
            plain = plain < room ? plain : room;
            line_put(filter, held.at, plain);
            held = slice_from(held, plain);
            continue;
        }
        size_t size = covered(filter->masks, held, &open);
        if (open && !all)
            break;
        if (size > 0)
            line_put(filter, MASK, sizeof(MASK) - 1);
        else
            size = unit_take(filter, held);
        held = slice_from(held, size);
    }
    memmove(filter->held.at, held.at, held.size);
    filter->held.size = held.size;
}

void log_filter_write(struct log_filter *filter, struct slice bytes)
{
    while (bytes.size > 0) {
        bool at_ease = filter->state == FILTER_TEXT && filter->utf8_size == 0 && !filter->returned;
        size_t plain = at_ease ? plain_size(NULL, bytes) : 0;
        if (plain > LOG_LINE_MAX - filter->clean.size)
            plain = LOG_LINE_MAX - filter->clean.size;
        clean_put(filter, bytes.at, plain);
        if (plain < bytes.size)
            take(filter, (unsigned char)bytes.at[plain++]);
        bytes = slice_from(bytes, plain);
    }
    if (filter->held.size > 0)
        release(filter, false);
}

void log_filter_flush(struct log_filter *filter)
{
    utf8_break(filter);
    filter->state = FILTER_TEXT;
    filter->returned = false;
    clean_move(filter);
    if (filter->held.size > 0)
        release(filter, true);
    if (filter->text.size > 0)
        line_end(filter);
}

void log_filter_drop(struct log_filter *filter)
{
    buffer_wipe(&filter->clean);
    buffer_wipe(&filter->held);
    buffer_wipe(&filter->text); /* without masks it is all there is */
}

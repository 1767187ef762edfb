/* message.c - header lookups, building replies, and the small grammars of headers.
 * Touches  memory only.
 * Never    sockets, h2o, storage. */
#include "registry/http/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/core/fd.h"

/* --- what a request says --- */

struct slice request_header(const struct request *request, const char *name)
{
    size_t size = strlen(name);

    for (size_t i = 0; i < request->header_count; i++) {
        const struct header *header = &request->headers[i];
        if (header->name.size == size && memcmp(header->name.at, name, size) == 0)
            return header->value;
    }
    return SLICE_NONE;
}

void request_header_joined(const struct request *request, const char *name, struct buffer *out)
{
    bool first = true;

    for (size_t i = 0; i < request->header_count; i++) {
        if (!slice_equal_text(request->headers[i].name, name))
            continue;
        if (!first)
            buffer_append_text(out, ", ");
        buffer_append_slice(out, request->headers[i].value);
        first = false;
    }
}

struct slice request_parameter(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->parameter_count; i++) {
        if (slice_equal_text(request->parameters[i].name, name))
            return request->parameters[i].value;
    }
    return SLICE_NONE;
}

/* --- building a reply --- */

enum { KEPT_MAX = 8192 }; /* bytes of a buffer that reply_reset keeps */

void reply_init(struct reply *reply)
{
    *reply = (struct reply){.fd = -1};
}

void reply_release(struct reply *reply, bool read_failed)
{
    void (*release)(void *, bool) = reply->release;

    reply->release = NULL;
    if (release != NULL)
        release(reply->released, read_failed);
}

static void body_drop(struct reply *reply)
{
    if (reply->live)
        fd_drop(&reply->fd);
    reply_release(reply, reply->live);
    reply->released = NULL;
    reply->live = reply->follower = false;
    reply->part_count = 0;
    reply->length = 0;
    reply->fd = -1;
    buffer_drop(&reply->text);
}

void reply_drop(struct reply *reply)
{
    body_drop(reply);
    buffer_drop(&reply->head);
    free(reply->parts);
    reply_init(reply);
}

void reply_reset(struct reply *reply)
{
    body_drop(reply);
    reply->status = 0;
    reply->head.size = 0;
    if (reply->head.capacity > KEPT_MAX)
        buffer_drop(&reply->head);
    if (reply->part_capacity * sizeof(*reply->parts) > KEPT_MAX) {
        memory_drop(&reply->parts);
        reply->part_capacity = 0;
    }
}

bool reply_has_file(const struct reply *reply)
{
    for (size_t i = 0; i < reply->part_count; i++) {
        if (reply->parts[i].file_size > 0)
            return true;
    }
    return false;
}

/* What stands in the head from `from` on is a value: nothing in it may end the line. */
static void blank_controls(struct buffer *head, size_t from)
{
    for (size_t i = from; i < head->size; i++) {
        unsigned char c = (unsigned char)head->at[i];
        if (c < 0x20 || c == 0x7f)
            head->at[i] = ' ';
    }
}

void reply_header(struct reply *reply, const char *name, const char *format, ...)
{
    va_list list;

    buffer_append_text(&reply->head, name);
    buffer_append(&reply->head, ": ", 2);
    size_t value = reply->head.size;
    va_start(list, format);
    buffer_print_list(&reply->head, format, list);
    va_end(list);
    blank_controls(&reply->head, value);
    buffer_append(&reply->head, "\r\n", 2);
}

void reply_header_slice(struct reply *reply, const char *name, struct slice value)
{
    size_t name_size = strlen(name);

    buffer_reserve(&reply->head, name_size + value.size + 4);
    buffer_append(&reply->head, name, name_size);
    buffer_append(&reply->head, ": ", 2);
    size_t from = reply->head.size;
    buffer_append_slice(&reply->head, value);
    blank_controls(&reply->head, from);
    buffer_append(&reply->head, "\r\n", 2);
}

void reply_part_add(struct reply *reply, struct slice bytes, uint64_t offset, uint64_t size)
{
    if (reply->part_count == reply->part_capacity) {
        size_t wanted = reply->part_capacity == 0 ? 2 : reply->part_capacity * 2;
        reply->parts = memory_resize(reply->parts, wanted * sizeof(*reply->parts));
        reply->part_capacity = wanted;
    }
    reply->parts[reply->part_count++] = (struct reply_part){bytes, offset, size};
    reply->length += bytes.size + size;
}

void reply_bytes(struct reply *reply, struct slice bytes, void (*release)(void *, bool),
                 void *released)
{
    body_drop(reply);
    reply->release = release;
    reply->released = released;
    reply_part_add(reply, bytes, 0, 0);
}

void reply_text(struct reply *reply, struct buffer *text)
{
    struct buffer taken = *text; /* may be the reply's own */

    *text = BUFFER_NONE;
    body_drop(reply);
    reply->text = taken;
    reply_part_add(reply, buffer_slice(&reply->text), 0, 0);
}

void reply_file(struct reply *reply, int fd, uint64_t offset, uint64_t size,
                void (*release)(void *, bool), void *released)
{
    body_drop(reply);
    reply->fd = fd;
    reply->release = release;
    reply->released = released;
    reply_part_add(reply, SLICE_NONE, offset, size);
}

void reply_live(struct reply *reply, int fd, void (*release)(void *, bool), void *released)
{
    body_drop(reply);
    reply->live = true;
    reply->whole = NULL;
    reply->fd = fd;
    reply->release = release;
    reply->released = released;
}

void reply_live_follower(struct reply *reply)
{
    assert(reply->live);
    reply->follower = true;
}

void reply_live_whole(struct reply *reply, bool (*whole)(void *))
{
    assert(reply->live);
    reply->whole = whole;
}

bool reply_has_header(const struct reply *reply, const char *name)
{
    struct slice rest = buffer_slice(&reply->head), line;
    size_t size = strlen(name);

    while (slice_split(rest, '\n', &line, &rest)) {
        if (line.size > size && line.at[size] == ':' && memcmp(line.at, name, size) == 0)
            return true;
    }
    return false;
}

/* --- Range: a position beyond 2^63 is only "beyond the end" --- */

enum spec_outcome { SPEC_MALFORMED, SPEC_OUTSIDE, SPEC_INSIDE };

/* One of "a-b", "a-", "-n" against a representation that is not empty. */
static enum spec_outcome spec_parse(struct slice spec, uint64_t size, struct range *out)
{
    struct slice first_text, last_text;
    uint64_t first = 0, last = size - 1;

    if (!slice_split(spec, '-', &first_text, &last_text))
        return SPEC_MALFORMED;
    if (first_text.size == 0) {
        uint64_t suffix;
        if (!slice_to_u64_saturated(last_text, &suffix))
            return SPEC_MALFORMED;
        if (suffix == 0)
            return SPEC_OUTSIDE;
        *out = (struct range){suffix >= size ? 0 : size - suffix, size - 1};
        return SPEC_INSIDE;
    }
    if (!slice_to_u64_saturated(first_text, &first) ||
        (last_text.size > 0 && !slice_to_u64_saturated(last_text, &last)))
        return SPEC_MALFORMED;
    if (first >= size || (last_text.size > 0 && last < first)) /* BLOB-04: 416 for both */
        return SPEC_OUTSIDE;
    *out = (struct range){first, last < size ? last : size - 1};
    return SPEC_INSIDE;
}

static int range_compare(const void *left, const void *right)
{
    const struct range *a = left, *b = right;

    return a->first < b->first ? -1 : a->first > b->first;
}

/* Sorts, then joins what overlaps or touches. Spec: BLOB-06. */
static size_t ranges_coalesce(struct range *ranges, size_t count)
{
    size_t kept = 0;

    qsort(ranges, count, sizeof(*ranges), range_compare);
    for (size_t i = 1; i < count; i++) {
        if (ranges[i].first > ranges[kept].last + 1)
            ranges[++kept] = ranges[i];
        else if (ranges[i].last > ranges[kept].last)
            ranges[kept].last = ranges[i].last;
    }
    return kept + 1;
}

enum range_outcome range_parse(struct slice header, uint64_t size, struct range *out, size_t *count)
{
    struct slice unit, rest, spec;
    size_t inside = 0, seen = 0;

    *count = 0;
    if (size == 0 || !slice_split(header, '=', &unit, &rest) ||
        !slice_equal_ignore_case(slice_trim(unit), "bytes"))
        return RANGE_NONE;
    for (bool more = true; more;) {
        struct range range;
        more = slice_split(rest, ',', &spec, &rest);
        spec = slice_trim(spec);
        if (spec.size == 0)
            continue; /* an empty list element */
        enum spec_outcome outcome = spec_parse(spec, size, &range);
        if (outcome == SPEC_MALFORMED)
            return RANGE_NONE;
        if (++seen > RANGES_MAX)
            return RANGE_TOO_MANY;
        if (outcome == SPEC_INSIDE)
            out[inside++] = range;
    }
    if (inside == 0) /* several: never 416 (BLOB-04) */
        return seen == 1 ? RANGE_UNSATISFIABLE : RANGE_NONE;
    *count = ranges_coalesce(out, inside);
    return RANGE_PARTIAL;
}

/* --- Content-Range of a chunk --- */

bool content_range_parse(struct slice header, uint64_t *first, uint64_t *last)
{
    struct slice pair = header, total = SLICE_NONE, first_text, last_text;
    uint64_t size = 0;

    if (slice_starts(header, "bytes=")) {
        pair = slice_from(header, strlen("bytes="));
    } else if (slice_starts(header, "bytes ")) {
        if (!slice_split(slice_from(header, strlen("bytes ")), '/', &pair, &total))
            return false;
        if (!slice_equal_text(total, "*") && !slice_to_u64(total, &size))
            return false;
    }
    if (!slice_split(pair, '-', &first_text, &last_text) || !slice_to_u64(first_text, first) ||
        !slice_to_u64(last_text, last) || *last < *first)
        return false;
    return total.at == NULL || slice_equal_text(total, "*") || *last < size;
}

/* --- entity tags --- */

/* Takes one tag off the list: quoted (the quotes are left out) or a bare word. */
static bool tag_next(struct slice *list, struct slice *tag)
{
    while (list->size > 0 && (list->at[0] == ',' || list->at[0] == ' ' || list->at[0] == '\t'))
        *list = slice_from(*list, 1);
    if (list->size == 0)
        return false;
    if (slice_starts(*list, "W/"))
        *list = slice_from(*list, 2);
    char end = ',';
    if (list->size > 0 && list->at[0] == '"') {
        *list = slice_from(*list, 1);
        end = '"';
    }
    slice_split(*list, end, tag, list);
    if (end == ',')
        *tag = slice_trim(*tag);
    return true;
}

bool etag_matches(struct slice header, struct slice etag_unquoted)
{
    struct slice tag;

    if (slice_equal_text(slice_trim(header), "*"))
        return true;
    while (tag_next(&header, &tag)) {
        if (tag.size > 0 && slice_equal(tag, etag_unquoted))
            return true;
    }
    return false;
}

/* --- percent encoding --- */

bool percent_decode(struct slice in, char *out, size_t *size, bool plus_is_blank, bool refuse_slash)
{
    size_t used = 0;

    for (size_t i = 0; i < in.size; i++) {
        char c = in.at[i];
        if (c == '%') {
            int high = in.size - i > 2 ? hex_value(in.at[i + 1]) : -1;
            int low = high >= 0 ? hex_value(in.at[i + 2]) : -1;
            if (low < 0)
                return false;
            c = (char)(high << 4 | low);
            if (c == 0 || (refuse_slash && (c == '/' || c == '\\')))
                return false;
            i += 2;
        } else if (c == '+' && plus_is_blank) {
            c = ' ';
        } else if (c == 0) {
            return false;
        }
        out[used++] = c;
    }
    *size = used;
    return true;
}

void percent_encode(struct buffer *out, struct slice s)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.size; i++) {
        unsigned char c = (unsigned char)s.at[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char escaped[3] = {'%', digits[c >> 4], digits[c & 15]};
        if (plain)
            buffer_append(out, s.at + i, 1);
        else
            buffer_append(out, escaped, sizeof(escaped));
    }
}

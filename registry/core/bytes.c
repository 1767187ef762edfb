/* bytes.c - borrowed slices and owned, growing buffers. */
#include "registry/core/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

struct slice slice_of(const char *text)
{
    return text == NULL ? SLICE_NONE : (struct slice){text, strlen(text)};
}

bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

bool slice_equal_text(struct slice a, const char *text)
{
    return slice_equal(a, slice_of(text));
}

bool slice_equal_ignore_case(struct slice a, const char *text)
{
    return a.size == strlen(text) && strncasecmp(a.at, text, a.size) == 0;
}

bool slice_starts(struct slice s, const char *prefix)
{
    size_t size = strlen(prefix);
    return s.size >= size && memcmp(s.at, prefix, size) == 0;
}

bool slice_ends(struct slice s, const char *suffix)
{
    size_t size = strlen(suffix);
    return s.size >= size && memcmp(s.at + s.size - size, suffix, size) == 0;
}

struct slice slice_from(struct slice s, size_t offset)
{
    if (offset > s.size)
        offset = s.size;
    return (struct slice){s.at == NULL ? NULL : s.at + offset, s.size - offset};
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct slice slice_trim(struct slice s)
{
    while (s.size > 0 && is_blank(s.at[0])) {
        s.at++;
        s.size--;
    }
    while (s.size > 0 && is_blank(s.at[s.size - 1]))
        s.size--;
    return s;
}

bool slice_split(struct slice s, char at, struct slice *head, struct slice *tail)
{
    const char *found = s.size == 0 ? NULL : memchr(s.at, at, s.size);

    if (found == NULL) {
        *head = s;
        *tail = SLICE_NONE;
        return false;
    }
    size_t before = (size_t)(found - s.at);
    *head = (struct slice){s.at, before};
    *tail = (struct slice){found + 1, s.size - before - 1};
    return true;
}

/* over: the digits say more than INT64_MAX; then *out is worth nothing. */
static bool digits_parse(struct slice s, uint64_t *out, bool *over)
{
    uint64_t value = 0;

    *over = false;
    if (s.size == 0)
        return false;
    for (size_t i = 0; i < s.size; i++) {
        if (s.at[i] < '0' || s.at[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.at[i] - '0');
        if (value > ((uint64_t)INT64_MAX - digit) / 10)
            *over = true;
        else
            value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool slice_to_u64(struct slice s, uint64_t *out)
{
    uint64_t value;
    bool over;

    if (!digits_parse(s, &value, &over) || over)
        return false;
    *out = value;
    return true;
}

bool slice_to_u64_saturated(struct slice s, uint64_t *out)
{
    uint64_t value;
    bool over;

    if (!digits_parse(s, &value, &over))
        return false;
    *out = over ? INT64_MAX : value;
    return true;
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.at, b.at, common);

    if (order != 0)
        return order;
    return a.size < b.size ? -1 : a.size > b.size;
}

size_t utf8_size(struct slice s)
{
    const unsigned char *at = (const unsigned char *)s.at;

    if (s.size > 0 && at[0] < 0x80)
        return 1;
    size_t size = s.size == 0 || at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    if (size == 0 || at[0] > 0xf4 || s.size < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool too_long = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool surrogate = at[0] == 0xed && at[1] > 0x9f;
    bool too_high = at[0] == 0xf4 && at[1] > 0x8f;
    return too_long || surrogate || too_high ? 0 : size;
}

void utf8_mend(char *text)
{
    for (struct slice rest = slice_of(text); rest.size > 0;) {
        size_t size = utf8_size(rest);
        if (size == 0)
            *text = '?';
        text += size == 0 ? 1 : size;
        rest = slice_from(rest, size == 0 ? 1 : size);
    }
}

bool slice_to_text(struct slice s, char *out, size_t capacity)
{
    if (s.size >= capacity || (s.size > 0 && memchr(s.at, 0, s.size) != NULL))
        return false;
    if (s.size > 0)
        memcpy(out, s.at, s.size);
    out[s.size] = 0;
    return true;
}

void *memory_new(size_t size)
{
    void *memory = calloc(1, size == 0 ? 1 : size);
    if (memory == NULL)
        abort();
    return memory;
}

void *memory_resize(void *old, size_t size)
{
    void *memory = realloc(old, size == 0 ? 1 : size);
    if (memory == NULL)
        abort();
    return memory;
}

char *memory_text(struct slice s)
{
    char *text = memory_new(s.size + 1);
    if (s.size > 0)
        memcpy(text, s.at, s.size);
    return text;
}

void memory_drop(void *owned_pointer)
{
    void **pointer = owned_pointer;
    free(*pointer);
    *pointer = NULL;
}

void buffer_drop(struct buffer *buffer)
{
    if (buffer == NULL)
        return;
    free(buffer->at);
    *buffer = BUFFER_NONE;
}

void buffer_wipe(struct buffer *buffer)
{
    if (buffer != NULL && buffer->at != NULL)
        explicit_bzero(buffer->at, buffer->capacity);
    buffer_drop(buffer);
}

void buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->capacity - buffer->size >= more)
        return;
    size_t wanted = buffer->capacity < 64 ? 64 : buffer->capacity * 2;
    while (wanted - buffer->size < more)
        wanted *= 2;
    buffer->at = memory_resize(buffer->at, wanted);
    buffer->capacity = wanted;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t size)
{
    if (size == 0)
        return;
    buffer_reserve(buffer, size);
    memcpy(buffer->at + buffer->size, bytes, size);
    buffer->size += size;
}

void buffer_append_slice(struct buffer *buffer, struct slice s)
{
    buffer_append(buffer, s.at, s.size);
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

size_t u64_digits(uint64_t value, char out[U64_DIGITS_MAX])
{
    char digits[U64_DIGITS_MAX];
    size_t used = 0;

    do {
        digits[U64_DIGITS_MAX - ++used] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    memcpy(out, digits + U64_DIGITS_MAX - used, used);
    return used;
}

void buffer_append_u64(struct buffer *buffer, uint64_t value)
{
    char digits[U64_DIGITS_MAX];
    size_t size = u64_digits(value, digits);

    buffer_append(buffer, digits, size);
}

void buffer_print_list(struct buffer *buffer, const char *format, va_list list)
{
    va_list again;

    va_copy(again, list);
    int size = vsnprintf(NULL, 0, format, list);
    assert(size >= 0);
    buffer_reserve(buffer, (size_t)size + 1);
    vsnprintf(buffer->at + buffer->size, (size_t)size + 1, format, again);
    buffer->size += (size_t)size;
    va_end(again);
}

void buffer_print(struct buffer *buffer, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    buffer_print_list(buffer, format, list);
    va_end(list);
}

char *memory_print(const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    return memory_text(buffer_slice(&text));
}

void buffer_append_json(struct buffer *buffer, struct slice text)
{
    buffer_append(buffer, "\"", 1);
    while (text.size > 0) {
        unsigned char c = (unsigned char)text.at[0];
        size_t size = utf8_size(text);
        if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            buffer_append(buffer, escaped, 2);
        } else if (c < 0x20 || c == 0x7f) {
            buffer_print(buffer, "\\u%04x", c);
        } else {
            buffer_append(buffer, size == 0 ? "?" : text.at, size == 0 ? 1 : size);
        }
        text = slice_from(text, size == 0 ? 1 : size);
    }
    buffer_append(buffer, "\"", 1);
}

void buffer_append_wrapped(struct buffer *buffer, struct slice text, size_t indent, size_t width)
{
    size_t column = 0;

    for (size_t at = 0, end; at < text.size; at = end) {
        size_t word = at; /* the blanks before it go with it, or the end of the line does */
        while (word < text.size && text.at[word] == ' ')
            word++;
        for (end = word; end < text.size && text.at[end] != ' ';)
            end++;
        if (column > 0 && word < end && column + (end - at) > width) {
            buffer_print(buffer, "\n%*s", (int)indent, "");
            column = indent;
            at = word;
        }
        buffer_append(buffer, text.at + at, end - at);
        column += end - at;
    }
}

struct slice buffer_slice(const struct buffer *buffer)
{
    return (struct slice){buffer->at, buffer->size};
}

void hex_encode(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int lower_value(char c)
{
    return c >= 'A' && c <= 'F' ? -1 : hex_value(c);
}

bool hex_decode(struct slice text, uint8_t *out, size_t size)
{
    if (text.size != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        int high = lower_value(text.at[2 * i]);
        int low = lower_value(text.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

uint64_t bytes_hash(uint64_t seed, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t hash = seed ^ 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 0x100000001b3u;
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 29);
}

void random_bytes(void *out, size_t size)
{
    char *at = out;

    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got <= 0)
            abort();
        at += got;
        size -= (size_t)got;
    }
}

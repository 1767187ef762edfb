/* text.c - see text.h.
 * Touches  memory.
 * Never    I/O. */
#include "s2i/source/text.h"

#include <string.h>

/* The code point of a character that utf8_size measured. */
static uint32_t code_point(const char *at, size_t size)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t value = (uint8_t)at[0] & masks[size];

    for (size_t i = 1; i < size; i++)
        value = value << 6 | ((uint8_t)at[i] & 0x3f);
    return value;
}

static bool is_harmful(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x061c || point == 0x200e ||
           point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

static void append_escaped(struct slice bytes, struct buffer *out)
{
    for (size_t i = 0; i < bytes.size; i++)
        buffer_print(out, "\\x%02x", (uint8_t)bytes.at[i]);
}

void source_text_clean(struct slice text, size_t most, struct buffer *out)
{
    while (text.size > 0 && most > 0) {
        size_t size = utf8_size(text);
        struct slice one = {text.at, size == 0 ? 1 : size};
        if (one.size > most)
            break;
        if (size == 0 || is_harmful(code_point(text.at, size)))
            append_escaped(one, out);
        else
            buffer_append_slice(out, one);
        text = slice_from(text, one.size);
        most -= one.size;
    }
}

/* Characters that HFS+ ignores in names. */
static bool is_ignorable(uint32_t point)
{
    return (point >= 0x200c && point <= 0x200f) || (point >= 0x202a && point <= 0x202e) ||
           (point >= 0x206a && point <= 0x206f) || point == 0xfeff;
}

/* The name as HFS+ compares it, in lower case; true when it is no longer than `capacity`. */
static bool fold(struct slice name, char *out, size_t capacity, size_t *used)
{
    *used = 0;
    while (name.size > 0) {
        size_t size = utf8_size(name);
        struct slice one = {name.at, size == 0 ? 1 : size};
        name = slice_from(name, one.size);
        if (size > 1 && is_ignorable(code_point(one.at, size)))
            continue;
        if (*used + one.size > capacity)
            return false;
        for (size_t i = 0; i < one.size; i++)
            out[(*used)++] =
                (char)(one.at[i] >= 'A' && one.at[i] <= 'Z' ? one.at[i] | 0x20 : one.at[i]);
    }
    return true;
}

/* What Git's own files would be found under, on whatever file system. */
static bool is_git(struct slice name)
{
    char folded[SOURCE_NAME_MAX];
    size_t size, end;

    if (!fold(name, folded, sizeof(folded), &size))
        return false;
    /* NTFS drops dots and blanks at the end, and knows streams: ".git::$INDEX_ALLOCATION". */
    char *colon = memchr(folded, ':', size);
    end = colon == NULL ? size : (size_t)(colon - folded);
    while (end > 0 && (folded[end - 1] == '.' || folded[end - 1] == ' '))
        end--;
    struct slice base = {folded, end};
    return slice_equal(base, SLICE(".git")) || slice_equal(base, SLICE("git~1"));
}

bool source_name_valid(struct slice name)
{
    return name.size > 0 && name.size <= SOURCE_NAME_MAX && !slice_equal(name, SLICE(".")) &&
           !slice_equal(name, SLICE("..")) && memchr(name.at, '/', name.size) == NULL &&
           memchr(name.at, '\0', name.size) == NULL && !is_git(name);
}

bool source_path_valid(struct slice path)
{
    struct slice rest = path, name;
    size_t depth = 0;

    if (path.size > SOURCE_PATH_MAX)
        return false;
    while (rest.at != NULL) {
        slice_split(rest, '/', &name, &rest);
        if (!source_name_valid(name) || ++depth > SOURCE_DEPTH_MAX)
            return false;
    }
    return depth > 0;
}

bool source_folder_clean(struct slice text, struct buffer *out)
{
    struct slice rest = text, name;
    size_t start = out->size;

    if (text.size > SOURCE_PATH_MAX || (text.size > 0 && text.at[0] == '/'))
        return false;
    while (rest.at != NULL) {
        slice_split(rest, '/', &name, &rest);
        if (name.size == 0 || slice_equal(name, SLICE(".")))
            continue;
        if (!source_name_valid(name))
            return false;
        if (out->size > start)
            buffer_append_text(out, "/");
        buffer_append_slice(out, name);
    }
    return true;
}

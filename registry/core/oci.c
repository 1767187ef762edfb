/* oci.c - the grammars of names, tags, media types and upload ids. */
#include "registry/core/oci.h"

#include <string.h>

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_alnum(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* The length of the separator at s[0]: ".", "_", "__" or any run of "-"; 0 when none is allowed. */
static size_t separator_size(struct slice s)
{
    size_t run = 1;

    while (run < s.size && s.at[run] == s.at[0])
        run++;
    switch (s.at[0]) {
    case '-':
        return run;
    case '_':
        return run <= 2 ? run : 0;
    case '.':
        return run == 1 ? 1 : 0;
    default:
        return 0;
    }
}

/* [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* */
static bool component_valid(struct slice s)
{
    while (true) {
        size_t word = 0;
        while (word < s.size && is_lower_alnum(s.at[word]))
            word++;
        if (word == 0)
            return false;
        s = slice_from(s, word);
        if (s.size == 0)
            return true;
        size_t separator = separator_size(s);
        if (separator == 0)
            return false;
        s = slice_from(s, separator);
    }
}

bool oci_name_valid(struct slice name)
{
    bool more = true;

    if (name.size == 0 || name.size > OCI_NAME_MAX)
        return false;
    while (more) {
        struct slice component;
        more = slice_split(name, '/', &component, &name);
        if (!component_valid(component))
            return false;
    }
    return true;
}

bool oci_tag_valid(struct slice tag)
{
    if (tag.size == 0 || tag.size > OCI_TAG_MAX || tag.at[0] == '.' || tag.at[0] == '-')
        return false;
    for (size_t i = 0; i < tag.size; i++) {
        char c = tag.at[i];
        if (!is_alnum(c) && c != '_' && c != '.' && c != '-')
            return false;
    }
    return true;
}

static bool media_part_valid(struct slice part)
{
    if (part.size == 0 || part.size > 127 || !is_alnum(part.at[0]))
        return false;
    for (size_t i = 1; i < part.size; i++) {
        char c = part.at[i];
        if (!is_alnum(c) && (c == 0 || strchr("!#$&^_.+-", c) == NULL))
            return false;
    }
    return true;
}

bool oci_media_type_valid(struct slice type)
{
    struct slice kind, subtype;

    return slice_split(type, '/', &kind, &subtype) && media_part_valid(kind) &&
           media_part_valid(subtype);
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_dash_place(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

bool oci_upload_id_valid(struct slice id)
{
    if (id.size != OCI_UPLOAD_ID_SIZE)
        return false;
    for (size_t i = 0; i < id.size; i++)
        if (is_dash_place(i) ? id.at[i] != '-' : !is_hex(id.at[i]))
            return false;
    return true;
}

void oci_upload_id_new(char *out)
{
    uint8_t random[16];
    char digits[32];
    size_t used = 0;

    random_bytes(random, sizeof(random));
    random[6] = (uint8_t)((random[6] & 0x0f) | 0x40);
    random[8] = (uint8_t)((random[8] & 0x3f) | 0x80);
    hex_encode(random, sizeof(random), digits);
    for (size_t i = 0; i < OCI_UPLOAD_ID_SIZE; i++)
        out[i] = is_dash_place(i) ? '-' : digits[used++];
    out[OCI_UPLOAD_ID_SIZE] = 0;
}

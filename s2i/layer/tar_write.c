/* tar_write.c - headers of tar: ustar, and pax where a field does not fit.
 * Touches  memory only (pure).
 * Never    writes what depends on the machine, the clock or the locale.
 *
 * The same entry gives the same bytes: records of pax are sorted, their header has a fixed name,
 * there are no names of users and no times but mtime. Spec: s2i 17.3, 17.4, 17.5 */
#include <string.h>

#include "s2i/layer/layer.h"
#include "s2i/layer/tar_format.h"

static const uint64_t ID_MAX = 07777777, SIZE_MAX_ = 077777777777;

/* Digits of base 8, filled up with zeros, and an end. What does not fit becomes all sevens. */
static void put_octal(char *field, size_t size, uint64_t value)
{
    bool fits = value >> (3 * (size - 1)) == 0;

    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = fits ? (char)('0' + (value & 7)) : '7';
    field[size - 1] = 0;
}

static void put_checksum(struct tar_header *header)
{
    const unsigned char *bytes = (const unsigned char *)header;
    uint64_t sum = 0;

    memset(header->checksum, ' ', sizeof(header->checksum));
    for (size_t i = 0; i < sizeof(*header); i++)
        sum += bytes[i];
    put_octal(header->checksum, sizeof(header->checksum) - 1, sum);
}

/* --- names --- */

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if ((unsigned char)text.at[i] >= 0x80)
            return false;
    return true;
}

static bool is_utf8(struct slice text)
{
    while (text.size > 0) {
        size_t size = utf8_size(text);
        if (size == 0)
            return false;
        text = slice_from(text, size);
    }
    return true;
}

/* Where a long path is cut in two at a slash, which is left out: the prefix's size; 0: nowhere. */
static size_t prefix_size(const struct tar_header *header, struct slice path)
{
    for (size_t i = path.size - sizeof(header->name) - 1; i + 1 < path.size; i++) {
        if (i > sizeof(header->prefix))
            break;
        if (i > 0 && path.at[i] == '/')
            return i;
    }
    return 0;
}

/* False when the path does not fit: the start of it stands there then, for whoever reads no pax. */
static bool put_path(struct tar_header *header, struct slice path)
{
    if (path.size <= sizeof(header->name)) {
        memcpy(header->name, path.at, path.size);
        return is_ascii(path);
    }
    size_t prefix = prefix_size(header, path);
    if (prefix == 0) {
        memcpy(header->name, path.at, sizeof(header->name));
        return false;
    }
    memcpy(header->prefix, path.at, prefix);
    memcpy(header->name, path.at + prefix + 1, path.size - prefix - 1);
    return is_ascii(path);
}

static bool put_link(struct tar_header *header, struct slice link)
{
    size_t size = link.size < sizeof(header->link) ? link.size : sizeof(header->link);

    if (size > 0)
        memcpy(header->link, link.at, size);
    return size == link.size && is_ascii(link);
}

/* --- pax --- */

/* "27 path=...\n": the number counts itself. */
static void add_record(struct buffer *out, const char *prefix, struct slice key, struct slice value)
{
    char digits[U64_DIGITS_MAX];
    size_t rest = strlen(prefix) + key.size + value.size + 3; /* ' ', '=', '\n' */
    size_t size = rest + u64_digits(rest, digits);

    assert(key.size > 0 && memchr(key.at, '=', key.size) == NULL);
    size = rest + u64_digits(size, digits);
    buffer_append_u64(out, size);
    buffer_append_text(out, " ");
    buffer_append_text(out, prefix);
    buffer_append_slice(out, key);
    buffer_append_text(out, "=");
    buffer_append_slice(out, value);
    buffer_append_text(out, "\n");
}

static void add_number(struct buffer *out, struct slice key, bool negative, uint64_t value)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (negative)
        buffer_append_text(&text, "-");
    buffer_append_u64(&text, value);
    add_record(out, "", key, buffer_slice(&text));
}

/* What the header could not hold, in the order of the keywords. */
static void add_records(struct buffer *out, const struct tar_entry *entry, struct slice path,
                        bool path_fits, bool link_fits)
{
    for (size_t i = 0; i < entry->xattr_count; i++)
        add_record(out, TAR_XATTR, entry->xattrs[i].name, entry->xattrs[i].value);
    if (entry->gid > ID_MAX)
        add_number(out, SLICE("gid"), false, entry->gid);
    if ((!path_fits && !is_utf8(path)) || (!link_fits && !is_utf8(entry->link)))
        add_record(out, "", SLICE("hdrcharset"), SLICE("BINARY"));
    if (!link_fits)
        add_record(out, "", SLICE("linkpath"), entry->link);
    if (entry->mtime < 0)
        add_number(out, SLICE("mtime"), true, 0 - (uint64_t)entry->mtime);
    else if ((uint64_t)entry->mtime > SIZE_MAX_)
        add_number(out, SLICE("mtime"), false, (uint64_t)entry->mtime);
    if (!path_fits)
        add_record(out, "", SLICE("path"), path);
    if (entry->size > SIZE_MAX_)
        add_number(out, SLICE("size"), false, entry->size);
    if (entry->uid > ID_MAX)
        add_number(out, SLICE("uid"), false, entry->uid);
}

/* --- blocks --- */

static void put_fixed(struct tar_header *header, char type)
{
    header->type = type;
    memcpy(header->magic, "ustar", sizeof(header->magic));
    memset(header->version, '0', sizeof(header->version));
    put_octal(header->device_major, sizeof(header->device_major), 0);
    put_octal(header->device_minor, sizeof(header->device_minor), 0);
}

static void append_zeros(struct buffer *out, size_t size)
{
    buffer_reserve(out, size);
    memset(out->at + out->size, 0, size);
    out->size += size;
}

static void append_pax(struct buffer *out, struct slice records)
{
    struct tar_header header = {.name = "PaxHeaders/entry"};

    put_fixed(&header, 'x');
    put_octal(header.mode, sizeof(header.mode), 0644);
    put_octal(header.uid, sizeof(header.uid), 0);
    put_octal(header.gid, sizeof(header.gid), 0);
    put_octal(header.size, sizeof(header.size), records.size);
    put_octal(header.mtime, sizeof(header.mtime), 0);
    put_checksum(&header);
    buffer_append(out, &header, sizeof(header));
    buffer_append_slice(out, records);
    append_zeros(out, tar_padding(records.size));
}

void tar_write_header(struct buffer *out, const struct tar_entry *entry)
{
    OWNED(buffer_drop) struct buffer folder = BUFFER_NONE, records = BUFFER_NONE;
    struct tar_header header = {.name = ""};
    struct slice path = entry->path;

    assert(path.size > 0);
    if (entry->type == '5') {
        buffer_append_slice(&folder, path);
        buffer_append_text(&folder, "/");
        path = buffer_slice(&folder);
    }
    bool path_fits = put_path(&header, path);
    bool link_fits = put_link(&header, entry->link);
    add_records(&records, entry, path, path_fits, link_fits);
    if (records.size > 0)
        append_pax(out, buffer_slice(&records));
    put_fixed(&header, entry->type);
    put_octal(header.mode, sizeof(header.mode), entry->mode & 07777);
    put_octal(header.uid, sizeof(header.uid), entry->uid);
    put_octal(header.gid, sizeof(header.gid), entry->gid);
    put_octal(header.size, sizeof(header.size), entry->size);
    put_octal(header.mtime, sizeof(header.mtime), entry->mtime < 0 ? 0 : (uint64_t)entry->mtime);
    put_octal(header.device_major, sizeof(header.device_major), entry->device_major);
    put_octal(header.device_minor, sizeof(header.device_minor), entry->device_minor);
    put_checksum(&header);
    buffer_append(out, &header, sizeof(header));
}

size_t tar_padding(uint64_t size)
{
    return (size_t)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

void tar_write_end(struct buffer *out)
{
    append_zeros(out, (size_t)2 * TAR_BLOCK);
}

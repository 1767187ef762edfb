/* tar_read.c - a stream of tar becomes entries: ustar, v7, pax, GNU long names, base-256 numbers.
 * Touches  memory only (pure); the feed it is given.
 * Never    believes a number it has not checked; seeks; reads sparse formats.
 *
 * (1) Every entry has a path without a leading slash, "." or empty part and without a zero byte, at
 * most TAR_NAME_MAX bytes; ".." stands as it came: who writes files refuses it. (2) Memory and time
 * are bounded: headers that say more than RECORDS_MAX bytes are refused. Spec: s2i 19.5, 20.8 */
#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer.h"
#include "s2i/layer/tar_format.h"

enum {
    READ_SIZE = 64 * 1024,
    RECORDS_MAX = 1024 * 1024, /* of one pax header */
    GLOBAL_MAX = 16 * 1024,    /* of all global ones: they are read again for every entry */
    XATTRS_MAX = 256,
};

struct tar_reader {
    tar_feed *feed;
    void *arg;
    char *bytes; /* read ahead: from at, so many */
    size_t at, have;
    uint64_t left;         /* of the current entry's content */
    size_t padding;        /* behind it */
    bool over;             /* the end was seen */
    struct buffer global;  /* records of pax that hold for all entries to come */
    struct buffer records; /* of the current entry */
    struct buffer path, link;
    bool path_given, link_given; /* by GNU's long names */
    struct tar_xattr xattrs[XATTRS_MAX];
    size_t xattr_count;
};

struct tar_reader *tar_reader_open(tar_feed *feed, void *arg)
{
    struct tar_reader *reader = memory_new(sizeof(*reader));

    reader->feed = feed;
    reader->arg = arg;
    reader->bytes = memory_new(READ_SIZE);
    return reader;
}

void tar_reader_close(struct tar_reader *reader)
{
    if (reader == NULL)
        return;
    free(reader->bytes);
    buffer_drop(&reader->global);
    buffer_drop(&reader->records);
    buffer_drop(&reader->path);
    buffer_drop(&reader->link);
    free(reader);
}

/* --- bytes --- */

/* Reads ahead until a block is there. 1; 0: the stream ends before its first byte. */
static int want_block(struct tar_reader *reader, struct error *err)
{
    if (reader->have < TAR_BLOCK && reader->at > 0) {
        memmove(reader->bytes, reader->bytes + reader->at, reader->have);
        reader->at = 0;
    }
    while (reader->have < TAR_BLOCK) {
        size_t got = 0;
        if (reader->feed(reader->arg, reader->bytes + reader->have, READ_SIZE - reader->have, &got,
                         err) < 0)
            return -1;
        if (got == 0)
            return reader->have == 0 ? 0 : tar_invalid(err, "it ends within a block");
        reader->have += got;
    }
    return 1;
}

/* What is read ahead, or else straight from the feed. *got 0: the stream ends. */
static int take_some(struct tar_reader *reader, char *out, size_t capacity, size_t *got,
                     struct error *err)
{
    if (reader->have == 0 && out != NULL && capacity >= READ_SIZE)
        return reader->feed(reader->arg, out, capacity, got, err);
    if (reader->have == 0) {
        reader->at = 0;
        if (reader->feed(reader->arg, reader->bytes, READ_SIZE, &reader->have, err) < 0)
            return -1;
    }
    *got = reader->have < capacity ? reader->have : capacity;
    if (out != NULL && *got > 0)
        memcpy(out, reader->bytes + reader->at, *got);
    reader->at += *got;
    reader->have -= *got;
    return 0;
}

/* Exactly so many; out NULL: they are dropped. */
static int take_all(struct tar_reader *reader, char *out, uint64_t size, struct error *err)
{
    while (size > 0) {
        size_t got = 0, most = size < READ_SIZE ? (size_t)size : READ_SIZE;
        if (take_some(reader, out, most, &got, err) < 0)
            return -1;
        if (got == 0)
            return tar_invalid(err, "it ends within an entry");
        if (out != NULL)
            out += got;
        size -= got;
    }
    return 0;
}

int tar_read(struct tar_reader *reader, char *out, size_t capacity, size_t *got, struct error *err)
{
    size_t most = reader->left < capacity ? (size_t)reader->left : capacity;

    *got = 0;
    if (most == 0)
        return 0;
    if (take_some(reader, out, most, got, err) < 0)
        return -1;
    if (*got == 0)
        return tar_invalid(err, "it ends within an entry");
    reader->left -= *got;
    return 0;
}

/* --- pax --- */

static void set_text(struct buffer *out, struct slice text)
{
    out->size = 0;
    buffer_append_slice(out, text);
}

static int set_xattr(struct tar_reader *reader, struct slice name, struct slice value,
                     struct error *err)
{
    size_t i = 0;

    while (i < reader->xattr_count && slice_compare(reader->xattrs[i].name, name) < 0)
        i++;
    if (i < reader->xattr_count && slice_equal(reader->xattrs[i].name, name)) {
        reader->xattrs[i].value = value;
        return 0;
    }
    if (reader->xattr_count == XATTRS_MAX)
        return tar_invalid(err, "an entry has too many extended attributes");
    if (name.size == 0 || name.size > 255 || memchr(name.at, 0, name.size) != NULL)
        return tar_invalid(err, "the name of an extended attribute is malformed");
    memmove(reader->xattrs + i + 1, reader->xattrs + i,
            (reader->xattr_count - i) * sizeof(reader->xattrs[0]));
    reader->xattrs[i] = (struct tar_xattr){name, value};
    reader->xattr_count++;
    return 0;
}

/* The value of one record into the entry; an empty one takes back, and the header's holds. */
static int apply_record(struct tar_reader *reader, const struct tar_record *record,
                        struct tar_entry *entry, struct error *err)
{
    bool good = true;

    if (slice_starts(record->key, TAR_XATTR))
        return set_xattr(reader, slice_from(record->key, sizeof(TAR_XATTR) - 1), record->value,
                         err);
    if (slice_starts(record->key, "GNU.sparse."))
        return tar_invalid(err, "sparse files are not supported");
    if (record->value.size == 0)
        return 0;
    if (slice_equal_text(record->key, "path"))
        set_text(&reader->path, record->value);
    else if (slice_equal_text(record->key, "linkpath"))
        set_text(&reader->link, record->value);
    else if (slice_equal_text(record->key, "size"))
        good = slice_to_u64(record->value, &entry->size);
    else if (slice_equal_text(record->key, "uid"))
        good = slice_to_u64(record->value, &entry->uid);
    else if (slice_equal_text(record->key, "gid"))
        good = slice_to_u64(record->value, &entry->gid);
    else if (slice_equal_text(record->key, "mtime"))
        good = tar_record_time(record->value, &entry->mtime);
    return good ? 0 : tar_invalid(err, "a pax record holds no number");
}

static int apply_records(struct tar_reader *reader, const struct buffer *from,
                         struct tar_entry *entry, struct error *err)
{
    struct slice text = buffer_slice(from);
    struct tar_record record;
    int more;

    while ((more = tar_record_next(&text, &record, err)) > 0)
        if (apply_record(reader, &record, entry, err) < 0)
            return -1;
    return more;
}

/* --- headers --- */

/* Content of a header that says something of the next: appended to out. */
static int read_extension(struct tar_reader *reader, uint64_t size, size_t most, struct buffer *out,
                          struct error *err)
{
    if (size > most || out->size + size > most)
        return tar_invalid(err, "an extended header is too long");
    buffer_reserve(out, size + 1);
    if (take_all(reader, out->at + out->size, size, err) < 0)
        return -1;
    out->size += size;
    return take_all(reader, NULL, tar_padding(size), err);
}

static int read_long_name(struct tar_reader *reader, uint64_t size, struct buffer *out, bool *given,
                          struct error *err)
{
    out->size = 0;
    if (read_extension(reader, size, RECORDS_MAX, out, err) < 0)
        return -1;
    out->size = out->size == 0 ? 0 : strnlen(out->at, out->size);
    *given = true;
    return 0;
}

/* 1: the header was one of those, and is read; 0: it is an entry's. */
static int extension(struct tar_reader *reader, char type, uint64_t size, struct error *err)
{
    int status;

    if (type == 'x' || type == 'X') {
        reader->records.size = 0;
        status = read_extension(reader, size, RECORDS_MAX, &reader->records, err);
    } else if (type == 'g') {
        status = read_extension(reader, size, GLOBAL_MAX, &reader->global, err);
    } else if (type == 'L') {
        status = read_long_name(reader, size, &reader->path, &reader->path_given, err);
    } else if (type == 'K') {
        status = read_long_name(reader, size, &reader->link, &reader->link_given, err);
    } else {
        return 0;
    }
    return status < 0 ? -1 : 1;
}

static int read_numbers(const struct tar_header *header, struct tar_entry *out, struct error *err)
{
    int64_t mode, uid, gid, size, major, minor;

    if (!tar_field_number(header->mode, sizeof(header->mode), &mode) ||
        !tar_field_number(header->uid, sizeof(header->uid), &uid) || uid < 0 ||
        !tar_field_number(header->gid, sizeof(header->gid), &gid) || gid < 0 ||
        !tar_field_number(header->size, sizeof(header->size), &size) || size < 0 ||
        !tar_field_number(header->mtime, sizeof(header->mtime), &out->mtime))
        return tar_invalid(err, "a header holds no number");
    out->mode = (uint32_t)mode & 07777;
    out->uid = (uint64_t)uid;
    out->gid = (uint64_t)gid;
    out->size = (uint64_t)size;
    if (header->type != '3' && header->type != '4')
        return 0;
    if (!tar_field_number(header->device_major, sizeof(header->device_major), &major) ||
        !tar_field_number(header->device_minor, sizeof(header->device_minor), &minor))
        return tar_invalid(err, "a header holds no number");
    out->device_major = (uint32_t)major;
    out->device_minor = (uint32_t)minor;
    return 0;
}

static void read_names(struct tar_reader *reader, const struct tar_header *header)
{
    if (!reader->path_given) {
        reader->path.size = 0;
        if (memcmp(header->magic, "ustar", sizeof(header->magic)) == 0 && header->prefix[0] != 0) {
            buffer_append_slice(&reader->path,
                                tar_field_text(header->prefix, sizeof(header->prefix)));
            buffer_append_text(&reader->path, "/");
        }
        buffer_append_slice(&reader->path, tar_field_text(header->name, sizeof(header->name)));
    }
    if (!reader->link_given)
        set_text(&reader->link, tar_field_text(header->link, sizeof(header->link)));
}

static bool name_bad(const struct buffer *name)
{
    return name->size > TAR_NAME_MAX || (name->size > 0 && memchr(name->at, 0, name->size) != NULL);
}

/* Type, names and sizes, from what the header and its extensions say. */
static int settle(struct tar_reader *reader, char type, struct tar_entry *out, struct error *err)
{
    bool folder = reader->path.size > 0 && reader->path.at[reader->path.size - 1] == '/';

    if (name_bad(&reader->path) || name_bad(&reader->link))
        return tar_invalid(err, "a name is too long, or holds a zero byte");
    if (type == 0 || type == '7')
        type = '0';
    if (type == '0' && folder)
        type = '5'; /* v7 */
    if (type < '0' || type > '6')
        return tar_invalid(err, type == 'S' ? "sparse files are not supported"
                                            : "an entry is of an unknown type");
    out->type = type;
    out->path = tar_path_clean(&reader->path);
    out->link = type == '1' ? tar_path_clean(&reader->link) : buffer_slice(&reader->link);
    if (type != '1' && type != '2')
        out->link = SLICE_NONE;
    if (type != '0')
        out->size = 0; /* some programs write a link's size, and no content */
    if (out->size > INT64_MAX - TAR_BLOCK)
        return tar_invalid(err, "a size is out of range");
    out->xattrs = reader->xattrs;
    out->xattr_count = reader->xattr_count;
    reader->left = out->size;
    reader->padding = tar_padding(out->size);
    return 0;
}

/* One block: 1: an entry's header, 0: the end. */
static int next_header(struct tar_reader *reader, struct tar_header *out, struct error *err)
{
    int status = want_block(reader, err);

    if (status <= 0)
        return status;
    memcpy(out, reader->bytes + reader->at, sizeof(*out));
    reader->at += TAR_BLOCK;
    reader->have -= TAR_BLOCK;
    if (tar_block_empty((const char *)out)) {
        status = want_block(reader, err);
        if (status > 0 && !tar_block_empty(reader->bytes + reader->at))
            return tar_invalid(err, "there is more behind its end");
        return status < 0 ? -1 : 0;
    }
    return tar_checksum_right(out) ? 1 : tar_invalid(err, "the checksum of a header is wrong");
}

static int next_entry(struct tar_reader *reader, struct tar_entry *out, struct error *err)
{
    struct tar_header header;
    int status;

    while ((status = next_header(reader, &header, err)) > 0) {
        if (read_numbers(&header, out, err) < 0)
            return -1;
        int more = extension(reader, header.type, out->size, err);
        if (more < 0)
            return -1;
        if (more > 0)
            continue;
        read_names(reader, &header);
        if (apply_records(reader, &reader->global, out, err) < 0 ||
            apply_records(reader, &reader->records, out, err) < 0)
            return -1;
        return settle(reader, header.type, out, err) < 0 ? -1 : 1;
    }
    return status;
}

int tar_next(struct tar_reader *reader, struct tar_entry *out, struct error *err)
{
    memset(out, 0, sizeof(*out));
    if (reader->over)
        return 0;
    if (take_all(reader, NULL, reader->left + reader->padding, err) < 0)
        return -1;
    reader->left = reader->padding = 0;
    reader->records.size = 0;
    reader->path_given = reader->link_given = false;
    reader->xattr_count = 0;

    int status = next_entry(reader, out, err);
    reader->over = status <= 0;
    return status;
}

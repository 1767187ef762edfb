/* fuzz_tar.c - any bytes as a tar: read or refused; what was read and written again reads the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer.h"
#include "s2i/layer/tar_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int feed(void *arg, char *out, size_t capacity, size_t *got, struct error *err)
{
    struct slice *rest = arg;

    (void)err;
    *got = rest->size < capacity ? rest->size : capacity;
    *got = *got < 700 ? *got : 700;
    if (*got > 0)
        memcpy(out, rest->at, *got);
    *rest = slice_from(*rest, *got);
    return 0;
}

static void check_path(struct slice path)
{
    assert(path.size <= TAR_NAME_MAX);
    assert(path.size == 0 || (path.at[0] != '/' && path.at[path.size - 1] != '/'));
    assert(path.size == 0 || memchr(path.at, 0, path.size) == NULL);
    assert(path.size < 2 || memmem(path.at, path.size, "//", 2) == NULL);
}

/* Names, numbers and attributes come back as they were. */
static void check_again(const struct tar_entry *entry)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
    struct tar_entry plain = *entry, again;
    struct error err = {0};

    if (entry->path.size == 0 || (entry->type == '1' && entry->link.size == 0))
        return;
    plain.size = 0;
    for (size_t i = 0; i < entry->xattr_count; i++)
        if (memchr(entry->xattrs[i].name.at, '=', entry->xattrs[i].name.size) != NULL)
            return;
    tar_write_header(&tar, &plain);
    struct slice rest = buffer_slice(&tar);
    struct tar_reader *reader = tar_reader_open(feed, &rest);
    int status = tar_next(reader, &again, &err);
    if (status < 0) { /* many attributes together may be more than a reader takes */
        assert(tar.size > 1 << 20);
        tar_reader_close(reader);
        return;
    }
    assert(status == 1 && again.type == plain.type && slice_equal(again.path, plain.path));
    assert(plain.link.size == 0 || slice_equal(again.link, plain.link));
    assert(again.uid == plain.uid && again.gid == plain.gid && again.mode == plain.mode);
    assert(again.mtime == plain.mtime && again.xattr_count == plain.xattr_count);
    tar_reader_close(reader);
}

/* Mutations break checksums: blocks that look like headers get theirs put right. */
static void put_checksums(char *bytes, size_t size)
{
    for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
        char *block = bytes + at, text[8];
        unsigned sum = 0;
        if (memcmp(block + 257, "ustar", 5) != 0)
            continue;
        memset(block + 148, ' ', 8);
        for (size_t i = 0; i < TAR_BLOCK; i++)
            sum += (unsigned char)block[i];
        snprintf(text, sizeof(text), "%06o", sum & 0777777);
        memcpy(block + 148, text, 7);
    }
}

static void read_all(struct slice bytes)
{
    struct slice rest = bytes;
    struct tar_reader *reader = tar_reader_open(feed, &rest);
    struct tar_entry entry;
    struct error err = {0};
    uint64_t total = 0;
    int status;

    while ((status = tar_next(reader, &entry, &err)) > 0) {
        char piece[100];
        size_t got = 0;
        check_path(entry.path);
        assert(entry.type >= '0' && entry.type <= '6' && entry.size <= INT64_MAX);
        check_again(&entry);
        status = tar_read(reader, piece, sizeof(piece), &got, &err);
        if (status < 0)
            break;
        total += got;
        assert(total <= bytes.size);
    }
    assert(status >= 0 || (err.code == ERROR_INVALID && err.message[0] != 0));
    tar_reader_close(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = memory_new(size + 1);

    memcpy(copy, data, size);
    read_all((struct slice){copy, size});
    put_checksums(copy, size);
    read_all((struct slice){copy, size});
    free(copy);
    return 0;
}

/* test_tar.c - archives: what we write, what we read, and what we refuse to read. */
#include <stdlib.h>
#include <string.h>

#include "s2i/layer/layer.h"
#include "s2i/layer/tar_format.h"

#include "tests/support/unit.h"

/* --- a feed of bytes in memory --- */

struct pieces {
    struct slice rest;
    size_t most; /* bytes of one piece */
};

static int feed(void *arg, char *out, size_t capacity, size_t *got, struct error *err)
{
    struct pieces *pieces = arg;
    size_t size = pieces->rest.size;

    (void)err;
    size = size < capacity ? size : capacity;
    size = size < pieces->most ? size : pieces->most;
    if (size > 0)
        memcpy(out, pieces->rest.at, size);
    pieces->rest = slice_from(pieces->rest, size);
    *got = size;
    return 0;
}

static void reader_drop(struct tar_reader **reader)
{
    tar_reader_close(TAKE(*reader));
}

/* Appends the entry and its content. */
static void put(struct buffer *out, const struct tar_entry *entry, struct slice content)
{
    tar_write_header(out, entry);
    buffer_append_slice(out, content);
    for (size_t i = tar_padding(content.size); i > 0; i--)
        buffer_append(out, "", 1);
}

static void assert_same(struct slice one, struct slice other)
{
    assert_int_equal(one.size, other.size);
    if (one.size > 0)
        assert_memory_equal(one.at, other.at, one.size);
}

static void read_content(struct tar_reader *reader, struct buffer *out)
{
    struct error err = {0};
    char piece[333];
    size_t got;

    do {
        assert_int_equal(tar_read(reader, piece, sizeof(piece), &got, &err), 0);
        buffer_append(out, piece, got);
    } while (got > 0);
}

static void assert_entry(const struct tar_entry *one, const struct tar_entry *other)
{
    assert_same(one->path, other->path);
    assert_same(one->link, other->link);
    assert_int_equal(one->type, other->type);
    assert_int_equal(one->mode, other->mode);
    assert_true(one->uid == other->uid && one->gid == other->gid && one->size == other->size);
    assert_true(one->mtime == other->mtime);
    assert_int_equal(one->device_major, other->device_major);
    assert_int_equal(one->device_minor, other->device_minor);
    assert_int_equal(one->xattr_count, other->xattr_count);
    for (size_t i = 0; i < one->xattr_count; i++) {
        assert_same(one->xattrs[i].name, other->xattrs[i].name);
        assert_same(one->xattrs[i].value, other->xattrs[i].value);
    }
}

#define TEN(x) x x x x x x x x x x
#define HUNDRED(x) TEN(TEN(x))

static const struct tar_xattr XATTRS[] = {
    {{"security.capability", 19}, {"\1\0\0\2\n=\0", 7}},
    {{"user.empty", 10}, {"", 0}},
    {{"user.x", 6}, {"value", 5}},
};

#define TEXT(literal)                                                                              \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
static const struct tar_entry ENTRIES[] = {
    {.path = TEXT("a"), .type = '0', .mode = 0644, .size = 5},
    {.path = TEXT("a/b"), .type = '5', .mode = 01777, .uid = 1001, .gid = 5, .mtime = 1},
    {.path = TEXT("l"), .link = TEXT("../x y/\n"), .type = '2', .mode = 0777},
    {.path = TEXT("h"), .link = TEXT("a"), .type = '1', .mode = 04755},
    {.path = TEXT("p"), .type = '6', .mode = 0},
    {.path = TEXT("c"), .type = '3', .device_major = 10, .device_minor = 229},
    {.path = TEXT("big ids"), .type = '0', .uid = 2097152, .gid = 4294967294},
    {.path = TEXT("last small id"), .type = '0', .uid = 2097151, .gid = 2097151},
    {.path = TEXT("before 1970"), .type = '0', .mtime = -86400},
    {.path = TEXT("far"), .type = '0', .mtime = 8589934592},
    {.path = TEXT("far enough"), .type = '0', .mtime = 8589934591},
    {.path = TEXT(HUNDRED("n")), .type = '0'},
    {.path = TEXT(HUNDRED("n") "o"), .type = '0'},
    {.path = TEXT(HUNDRED("d")), .type = '5'},
    {.path = TEXT(HUNDRED("p") "/" HUNDRED("n")), .type = '0'},
    {.path = TEXT(HUNDRED("p") TEN("12345") "12345/" HUNDRED("n")), .type = '0'},
    {.path = TEXT(HUNDRED("p") TEN("12345") "123456/" HUNDRED("n")), .type = '0'},
    {.path = TEXT(HUNDRED("p") "/" HUNDRED("n")), .type = '5'},
    {.path = TEXT(TEN(HUNDRED("x") "/") "y"), .type = '0', .size = 5},
    {.path = TEXT("l2"), .link = TEXT(HUNDRED("t") "u"), .type = '2', .mode = 0777},
    {.path = TEXT("n\xc3\xa4me"), .link = TEXT("\xc3\xa4"), .type = '2'},
    {.path = TEXT("\xff\xfe"), .type = '0'},
    {.path = TEXT("with"), .type = '0', .size = 5, .xattrs = XATTRS, .xattr_count = 3},
    {.path = TEXT("=\n 12 path=x"), .type = '5', .xattrs = XATTRS + 1, .xattr_count = 1},
};

static void write_all(struct buffer *out)
{
    for (size_t i = 0; i < LENGTH(ENTRIES); i++)
        put(out, &ENTRIES[i], ENTRIES[i].size > 0 ? SLICE("12345") : SLICE(""));
    tar_write_end(out);
}

/* What is written reads the same, in pieces of every kind, content read or skipped. Spec:
 * s2i 17.4, 17.5 */
static void test_tar_round_trip(void **state)
{
    static const size_t pieces_of[] = {1, 511, 512, 513, 65536, 1 << 20};
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;

    (void)state;
    write_all(&tar);
    assert_int_equal(tar.size % TAR_BLOCK, 0);
    for (size_t p = 0; p < 2 * LENGTH(pieces_of); p++) {
        struct pieces pieces = {buffer_slice(&tar), pieces_of[p / 2]};
        OWNED(reader_drop) struct tar_reader *reader = tar_reader_open(feed, &pieces);
        struct tar_entry entry;
        struct error err = {0};
        for (size_t i = 0; i < LENGTH(ENTRIES); i++) {
            OWNED(buffer_drop) struct buffer content = BUFFER_NONE;
            assert_int_equal(tar_next(reader, &entry, &err), 1);
            assert_entry(&entry, &ENTRIES[i]);
            if (p % 2 == 0)
                continue;
            read_content(reader, &content);
            assert_same(buffer_slice(&content), ENTRIES[i].size > 0 ? SLICE("12345") : SLICE(""));
        }
        assert_int_equal(tar_next(reader, &entry, &err), 0);
        assert_int_equal(tar_next(reader, &entry, &err), 0);
    }
}

/* pax stands only where a field does not fit. Spec: 17.5 */
static void test_tar_pax_only_where_needed(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(ENTRIES); i++) {
        static const char *const with[] = {"big ids",     "before 1970", "far",  "l2",
                                           "n\xc3\xa4me", "\xff\xfe",    "with", "=\n 12 path=x"};
        OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
        const struct tar_entry *entry = &ENTRIES[i];
        bool pax = (entry->type == '5' && entry->path.size == 201) ||
                   entry->path.size == (entry->type == '5' ? 100 : 101) ||
                   entry->path.size == 257 || entry->path.size > 1000;
        for (size_t w = 0; w < LENGTH(with); w++)
            pax = pax || slice_equal_text(entry->path, with[w]);
        tar_write_header(&tar, entry);
        if ((tar.size > TAR_BLOCK) != pax)
            fail_msg("entry %zu: %zu bytes of header", i, tar.size);
        assert_int_equal(tar.at[156], pax ? 'x' : entry->type);
    }
}

/* The very bytes. */
static void test_tar_golden(void **state)
{
    static const struct tar_entry folder = {
        .path = TEXT("etc"), .type = '5', .mode = 0755, .uid = 1001, .mtime = 1000000000};
    static const struct tar_entry named = {
        .path = TEXT("\xc3\xa4"), .type = '0', .mode = 0644, .gid = 2097152};
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;

    (void)state;
    tar_write_header(&tar, &folder);
    assert_memory_equal(tar.at, "etc/\0", 5);
    assert_memory_equal(tar.at + 100,
                        "0000755\0"
                        "0001751\0"
                        "0000000\0"
                        "00000000000\0"
                        "07346545000\0"
                        "010040\0 5",
                        57);
    assert_memory_equal(tar.at + 257,
                        "ustar\0"
                        "00\0",
                        9);
    assert_memory_equal(tar.at + 329,
                        "0000000\0"
                        "0000000\0\0",
                        17);
    tar.size = 0;
    tar_write_header(&tar, &named);
    assert_int_equal(tar.size, 3 * TAR_BLOCK);
    assert_memory_equal(tar.at, "PaxHeaders/entry\0", 17);
    assert_memory_equal(tar.at + TAR_BLOCK,
                        "15 gid=2097152\n"
                        "11 path=\xc3\xa4\n\0",
                        27);
}

static void test_tar_record_counts_itself(void **state)
{
    (void)state;
    for (size_t size = 80; size < 1100; size++) { /* lengths of 2, 3 and 4 digits */
        OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
        OWNED(memory_drop) char *value = memory_new(size);
        memset(value, 'v', size);
        struct tar_xattr xattr = {SLICE("user.x"), {value, size}};
        struct tar_entry entry = {
            .path = SLICE("f"), .type = '0', .xattrs = &xattr, .xattr_count = 1};
        struct error err = {0};
        put(&tar, &entry, SLICE(""));
        struct pieces pieces = {buffer_slice(&tar), tar.size};
        OWNED(reader_drop) struct tar_reader *reader = tar_reader_open(feed, &pieces);
        struct tar_entry got;
        assert_int_equal(tar_next(reader, &got, &err), 1);
        assert_entry(&got, &entry);
    }
}

/* --- what others write --- */

static void checksum(char *block)
{
    unsigned sum = 0;
    char text[8];

    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)block[i];
    snprintf(text, sizeof(text), "%06o", sum);
    memcpy(block + 148, text, 7);
}

static void set(char *at, struct slice bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        at[i] = bytes.at[i];
}

/* A header whose fields are set by hand. */
static void block(struct buffer *out, const char *name, char type, const char *size)
{
    buffer_reserve(out, TAR_BLOCK);
    char *at = out->at + out->size;

    memset(at, 0, TAR_BLOCK);
    set(at, slice_of(name));
    set(at + 124, slice_of(size));
    at[156] = type;
    checksum(at);
    out->size += TAR_BLOCK;
}

static void padded(struct buffer *out, const char *text)
{
    buffer_append_text(out, text);
    for (size_t i = tar_padding(strlen(text)); i > 0; i--)
        buffer_append(out, "", 1);
}

static int first(const struct buffer *tar, struct tar_entry *out, struct tar_reader **reader,
                 struct pieces *pieces, struct error *err)
{
    *pieces = (struct pieces){buffer_slice(tar), SIZE_MAX};
    *reader = tar_reader_open(feed, pieces);
    return tar_next(*reader, out, err);
}

static void test_tar_paths_are_cleaned(void **state)
{
    static const struct {
        const char *name;
        const char *path;
        char type, is;
    } cases[] = {
        {"./a", "a", '0', '0'},         {"/a//b/", "a/b", '5', '5'}, {"a/", "a", 0, '5'},
        {"./", "", '5', '5'},           {"a/./b", "a/b", '0', '0'},  {"///.", "", '5', '5'},
        {"a/../b", "a/../b", '0', '0'}, {"..", "..", '5', '5'},      {".a/..b", ".a/..b", '7', '0'},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
        OWNED(reader_drop) struct tar_reader *reader = NULL;
        struct pieces pieces;
        struct tar_entry entry;
        struct error err = {0};
        block(&tar, cases[i].name, cases[i].type, "");
        assert_int_equal(first(&tar, &entry, &reader, &pieces, &err), 1);
        assert_same(entry.path, slice_of(cases[i].path));
        assert_int_equal(entry.type, cases[i].is);
    }
}

static void test_tar_reads_gnu(void **state)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
    OWNED(reader_drop) struct tar_reader *reader = NULL;
    struct pieces pieces;
    struct tar_entry entry;
    struct error err = {0};

    (void)state;
    block(&tar, "././@LongLink", 'L', "00000000015");
    padded(&tar, "a long name/");
    block(&tar, "././@LongLink", 'K', "00000000006");
    padded(&tar, "target");
    block(&tar, "cut", '2', "00000000777"); /* a link's size means nothing */
    block(&tar, "numbers", '0', "");
    char *at = tar.at + tar.size - TAR_BLOCK;
    set(at + 108, SLICE("\x80\0\0\0\xff\xff\xff\xfe"));                       /* uid */
    set(at + 116, SLICE(" 644 \0"));                                          /* gid, with blanks */
    set(at + 136, SLICE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")); /* mtime */
    set(at + 257, SLICE("ustar  "));                                          /* GNU's: no prefix */
    set(at + 345, SLICE("12345"));
    checksum(at);
    assert_int_equal(first(&tar, &entry, &reader, &pieces, &err), 1);
    assert_same(entry.path, SLICE("a long name"));
    assert_same(entry.link, SLICE("target"));
    assert_int_equal(tar_next(reader, &entry, &err), 1);
    assert_same(entry.path, SLICE("numbers"));
    assert_true(entry.uid == 4294967294 && entry.gid == 0644 && entry.mtime == -1);
    assert_int_equal(tar_next(reader, &entry, &err), 0); /* no end block: as GNU tar takes it */
}

static void test_tar_reads_pax(void **state)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
    OWNED(reader_drop) struct tar_reader *reader = NULL;
    struct pieces pieces;
    struct tar_entry entry;
    struct error err = {0};

    (void)state;
    block(&tar, "pax_global_header", 'g', "00000000054");
    padded(&tar, "16 comment=abcd\n"
                 "17 mtime=1234.56\n"
                 "11 uid=777\n");
    block(&tar, "x", 'x', "00000000047");
    padded(&tar, "12 path=one\n"
                 "17 mtime=-1.5000\n"
                 "10 size=3\n");
    block(&tar, "other", '0', "00000000777");
    padded(&tar, "abc");
    block(&tar, "two", '0', "");
    assert_int_equal(first(&tar, &entry, &reader, &pieces, &err), 1);
    assert_same(entry.path, SLICE("one"));
    assert_true(entry.mtime == -2 && entry.uid == 777 && entry.size == 3);
    assert_int_equal(tar_next(reader, &entry, &err), 1);
    assert_same(entry.path, SLICE("two"));
    assert_true(entry.mtime == 1234 && entry.uid == 777 && entry.size == 0);
}

/* --- refusals --- */

static void assert_refused(const struct buffer *tar, const char *why)
{
    OWNED(reader_drop) struct tar_reader *reader = NULL;
    struct pieces pieces;
    struct tar_entry entry;
    struct error err = {0};
    int status = first(tar, &entry, &reader, &pieces, &err);

    while (status > 0)
        status = tar_next(reader, &entry, &err);
    if (status == 0 || err.code != ERROR_INVALID || strstr(err.message, why) == NULL)
        fail_msg("'%s' expected, not '%s'", why, err.message);
}

/* Spec: 19.5, 20.8 */
static void test_tar_refuses_headers(void **state)
{
    static const struct {
        const char *size, *why;
        char type;
    } cases[] = {
        {"0000000008", "no number", '0'},
        {"12x", "no number", '0'},
        {"\x80\1\1\1\1\1\1\1\1\1\1\1", "no number", '0'},
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "no number", '0'},
        {"\x80\1\1\1\x7f\xff\xff\xff\xff\xff\xff\xff", "no number", '0'},
        {"1", "ends within an entry", '0'},
        {"77777777777", "too long", 'x'},
        {"00004000001", "too long", 'x'},
        {"00004000001", "too long", 'L'},
        {"77777777777", "too long", 'L'},
        {"77777777777", "too long", 'g'},
        {"00000040001", "too long", 'g'},
        {"", "sparse", 'S'},
        {"", "unknown type", 'M'},
        {"", "unknown type", 'Z'},
        {"", "unknown type", '8'},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
        block(&tar, "f", cases[i].type, cases[i].size);
        assert_refused(&tar, cases[i].why);
    }
}

static void test_tar_refuses_records(void **state)
{
    static const struct {
        const char *records, *why;
    } cases[] = {
        {"4 a\n", "malformed"},
        {"999 path=a\n", "malformed"},
        {"path=a\n", "malformed"},
        {"0 path=a\n", "malformed"},
        {"11 path=abc", "malformed"},
        {"8 path\n\n", "no keyword"},
        {"7 =abc\n", "no keyword"},
        {"10 size=x\n", "no number"},
        {"11 size=-1\n", "no number"},
        {"29 size=99999999999999999999\n", "no number"},
        {"12 mtime=1x\n", "no number"},
        {"22 GNU.sparse.major=1\n", "sparse"},
        {"19 SCHILY.xattr.=x\n", "name of an extended attribute"},
        {"28 size=9223372036854775807\n", "out of range"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;
        char size[12];
        snprintf(size, sizeof(size), "%011o", (unsigned)strlen(cases[i].records));
        block(&tar, "x", 'x', size);
        padded(&tar, cases[i].records);
        block(&tar, "f", '0', "");
        assert_refused(&tar, cases[i].why);
    }
}

static void test_tar_refuses_names(void **state)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE, name = BUFFER_NONE;

    (void)state;
    block(&tar, "x", 'x', "00000000013");
    buffer_append(&tar, "11 path=\0a\n", 11);
    for (size_t i = tar_padding(11); i > 0; i--)
        buffer_append(&tar, "", 1);
    block(&tar, "f", '0', "");
    assert_refused(&tar, "zero byte");

    for (size_t i = 0; i <= TAR_NAME_MAX; i++)
        buffer_append_text(&name, "n");
    buffer_append(&name, "", 1);
    tar.size = 0;
    block(&tar, "././@LongLink", 'L', "00000010002");
    padded(&tar, name.at);
    block(&tar, "f", '0', "");
    assert_refused(&tar, "too long");
}

static void test_tar_refuses_damage(void **state)
{
    OWNED(buffer_drop) struct buffer tar = BUFFER_NONE;

    (void)state;
    block(&tar, "f", '0', "");
    tar.at[3] ^= 1;
    assert_refused(&tar, "checksum");
    tar.at[3] ^= 1;
    tar.size -= 1;
    assert_refused(&tar, "ends within a block");
    tar.size += 1;
    tar_write_end(&tar);
    tar.at[2 * TAR_BLOCK] = 1;
    assert_refused(&tar, "more behind its end");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tar_round_trip),
        cmocka_unit_test(test_tar_pax_only_where_needed),
        cmocka_unit_test(test_tar_golden),
        cmocka_unit_test(test_tar_record_counts_itself),
        cmocka_unit_test(test_tar_paths_are_cleaned),
        cmocka_unit_test(test_tar_reads_gnu),
        cmocka_unit_test(test_tar_reads_pax),
        cmocka_unit_test(test_tar_refuses_headers),
        cmocka_unit_test(test_tar_refuses_records),
        cmocka_unit_test(test_tar_refuses_names),
        cmocka_unit_test(test_tar_refuses_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_layer.c - layers are made of folders and unpacked again. What needs a real overlay is tested
 * by tests/s2i/test_layer_roundtrip.py. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer.h"
#include "s2i/layer/scan.h"

#include "tests/support/folder.h"
#include "tests/support/unit.h"

/* Level (b): runs as whoever tests. */
static const struct layer_ids IDS = {.count = 65536, .single = true, .user_xattr = true};
static const struct layer_limits NO_LIMITS = {0, 0, 0};

struct place {
    char path[FOLDER_MAX];
    int upper, lower, out;
};

static int folder_at(const char *top, const char *name)
{
    char path[FOLDER_MAX + 32];

    snprintf(path, sizeof(path), "%s/%s", top, name);
    assert_int_equal(mkdir(path, 0755), 0);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static int setup(void **state)
{
    struct place *place = memory_new(sizeof(*place));

    folder_new(place->path);
    place->upper = folder_at(place->path, "upper");
    place->lower = folder_at(place->path, "lower");
    place->out = folder_at(place->path, "out");
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;

    fd_drop(&place->upper);
    fd_drop(&place->lower);
    fd_drop(&place->out);
    folder_remove(place->path);
    free(place);
    return 0;
}

static void put(int folder, const char *name, struct slice content)
{
    int fd = openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, content), 0);
    close(fd);
}

static void put_text(int folder, const char *name, const char *text)
{
    put(folder, name, slice_of(text));
}

static int keep(void *arg, struct slice bytes, struct error *err)
{
    (void)err;
    buffer_append_slice(arg, bytes);
    return 0;
}

/* A made layer and its bytes. */
struct made {
    struct s2i_layer layer;
    struct buffer bytes;
    uint64_t entries;
};

static void made_drop(struct made *made)
{
    free(made->layer.media_type);
    buffer_drop(&made->bytes);
}

static struct layer_make orders(const struct place *place, struct made *made)
{
    return (struct layer_make){
        .upper = place->upper,
        .lowers = &place->lower,
        .lower_count = 1,
        .ids = IDS,
        .epoch = 1000000000,
        .compression = "gzip",
        .sink = keep,
        .arg = &made->bytes,
    };
}

static void make(const struct layer_make *make, struct made *made)
{
    struct error err = {0};
    struct digest digest;

    if (layer_make(make, &made->layer, &made->entries, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
    digest_of(DIGEST_SHA256, buffer_slice(&made->bytes), &digest);
    assert_true(digest_equal(&digest, &made->layer.digest));
    assert_true(made->layer.size == made->bytes.size);
}

/* The layer's bytes as a file, from its start. */
static int as_file(struct slice bytes)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    int fd = dup(fileno(file));
    fclose(file);
    assert_true(fd >= 0);
    assert_int_equal(fd_write(fd, bytes), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void unpack(const struct made *made, int folder)
{
    OWNED(fd_drop) int fd = as_file(buffer_slice(&made->bytes));
    struct error err = {0};

    if (layer_unpack(fd, &made->layer, folder, &IDS, &NO_LIMITS, NULL, &err) < 0)
        fail_msg("%s (%s)", err.message, err.cause);
}

static void fill(const struct place *place)
{
    put_text(place->upper, "file", "content");
    assert_int_equal(mkdirat(place->upper, "folder", 0700), 0);
    put_text(place->upper, "folder/inside", "more");
    assert_int_equal(linkat(place->upper, "file", place->upper, "folder/linked", 0), 0);
    assert_int_equal(symlinkat("nowhere", place->upper, "symlink"), 0);
    assert_int_equal(mkfifoat(place->upper, "fifo", 0600), 0);
    put_text(place->lower, "gone", "");
    assert_int_equal(mknodat(place->upper, "gone", S_IFCHR, makedev(0, 0)), 0);
    assert_int_equal(mknodat(place->upper, "never was", S_IFCHR, makedev(0, 0)), 0);
    assert_int_equal(mknodat(place->lower, "gone before", S_IFCHR, makedev(0, 0)), 0);
    assert_int_equal(mknodat(place->upper, "gone before", S_IFCHR, makedev(0, 0)), 0);
}

/* What was made unpacks to what makes the same again. Spec: s2i 17, 18.1, 18.4, 18.5 */
static void test_layer_round_trip(void **state)
{
    static const char *const compressions[] = {"gzip", "zstd"};
    const struct place *place = *state;

    fill(place);
    for (size_t i = 0; i < LENGTH(compressions); i++) {
        OWNED(made_drop) struct made first = {.entries = 0}, again = {.entries = 0};
        struct layer_make how = orders(place, &first);
        char name[] = "out0";
        name[3] = (char)('0' + i);
        OWNED(fd_drop) int out = folder_at(place->path, name);
        how.compression = compressions[i];
        make(&how, &first);
        assert_int_equal(first.entries, 7);
        unpack(&first, out);
        how.upper = out;
        how.arg = &again.bytes;
        make(&how, &again);
        assert_true(digest_equal(&first.layer.digest, &again.layer.digest));
        assert_true(digest_equal(&first.layer.diff_id, &again.layer.diff_id));
    }
}

static void test_layer_nothing(void **state)
{
    const struct place *place = *state;
    OWNED(made_drop) struct made made = {.entries = 0};
    struct layer_make how = orders(place, &made);

    make(&how, &made);
    assert_int_equal(made.entries, 0);
    unpack(&made, place->out);
}

/* Content of many blocks, of sizes around those of buffers; compressed by threads. Spec: s2i 17.9
 */
static void test_layer_sizes(void **state)
{
    static const size_t sizes[] = {
        0, 1, 511, 512, 513, 262143, 262144, 262145, 256 * 1022, 256 * 1023, 256 * 1024 * 13 + 7};
    const struct place *place = *state;
    OWNED(memory_drop) char *bytes = memory_new(sizes[LENGTH(sizes) - 1]);

    for (size_t i = 0; i < sizes[LENGTH(sizes) - 1]; i++)
        bytes[i] = (char)(i % 7 == 0 ? i * i >> 8 : i / 4096);
    random_bytes(bytes + 1024 * 1024, 1024 * 1024); /* and some that does not compress */
    for (size_t i = 0; i < LENGTH(sizes); i++) {
        OWNED(made_drop) struct made made = {.entries = 0};
        OWNED(buffer_drop) struct buffer found = BUFFER_NONE;
        struct layer_make how = orders(place, &made);
        put(place->upper, "f", (struct slice){bytes, sizes[i]});
        make(&how, &made);
        unpack(&made, place->out);
        OWNED(fd_drop) int fd = openat(place->out, "f", O_RDONLY | O_CLOEXEC);
        assert_int_equal(fd_read(fd, 1 << 30, &found), 0);
        assert_int_equal(found.size, sizes[i]);
        if (found.size > 0)
            assert_memory_equal(found.at, bytes, found.size);
        unlinkat(place->out, "f", 0);
    }
}

/* --- failures --- */

struct full {
    size_t calls;
};

static int refuse(void *arg, struct slice bytes, struct error *err)
{
    struct full *full = arg;

    (void)bytes;
    return full->calls-- > 0 ? 0 : error_set(err, ERROR_STORAGE_FULL, "the sink is full");
}

/* It is told what is made as it is made: a sink that fails ends the making. Spec: s2i 17.11 */
static void test_layer_sink_fails(void **state)
{
    const struct place *place = *state;
    OWNED(memory_drop) char *bytes = memory_new(4 << 20);

    random_bytes(bytes, 4 << 20);
    put(place->upper, "f", (struct slice){bytes, 4 << 20});
    for (size_t calls = 0; calls < 12; calls++) {
        OWNED(made_drop) struct made made = {.entries = 0};
        struct layer_make how = orders(place, &made);
        struct full full = {calls};
        struct error err = {0};
        how.sink = refuse;
        how.arg = &full;
        assert_int_equal(layer_make(&how, &made.layer, &made.entries, &err), -1);
        assert_string_equal(err.message, "the sink is full");
    }
}

/* Spec: s2i 10.22, 17.12 */
static void test_layer_make_refuses(void **state)
{
    const struct place *place = *state;
    struct s2i_list secrets = {NULL, 0};
    static const struct {
        const char *name, *content, *said;
    } cases[] = {
        {".wh.x", "", "'.wh.x' has no place in a layer"},
        {".wh..wh..opq", "", "has no place in a layer"},
        {"f", "a=12345678", "'f' holds a secret of the build"},
        {"12345678", "", "holds a secret of the build"},
        {"f", "1234567", NULL},
        {"f", "short", NULL},
        {"x.wh.", "", NULL},
    };

    s2i_list_add(&secrets, SLICE("short"));
    s2i_list_add(&secrets, SLICE("12345678"));
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(made_drop) struct made made = {.entries = 0};
        struct layer_make how = orders(place, &made);
        struct error err = {0};
        put_text(place->upper, cases[i].name, cases[i].content);
        how.secrets = &secrets;
        int status = layer_make(&how, &made.layer, &made.entries, &err);
        if ((status < 0) != (cases[i].said != NULL) ||
            (status < 0 && strstr(err.message, cases[i].said) == NULL))
            fail_msg("case %zu: '%s'", i, err.message);
        if (status < 0)
            assert_int_equal(err.code, ERROR_INVALID);
        unlinkat(place->upper, cases[i].name, 0);
    }
    s2i_list_drop(&secrets);
}

/* A secret is found wherever pieces are cut. */
static void test_layer_scan_seams(void **state)
{
    static const char text[] = "....................0123456789abcdef....................";
    struct s2i_list secrets = {NULL, 0};

    (void)state;
    s2i_list_add(&secrets, SLICE("0123456789abcdef"));
    s2i_list_add(&secrets, SLICE("unseen-but-longer-than-it"));
    OWNED(scan_drop) struct scan *scan = scan_open(&secrets);
    for (size_t piece = 1; piece < sizeof(text); piece++) {
        bool found = false;
        scan_begin(scan);
        for (size_t at = 0; at < sizeof(text) - 1; at += piece) {
            struct slice rest = slice_from(slice_of(text), at);
            rest.size = rest.size < piece ? rest.size : piece;
            found = scan_bytes(scan, rest) || found;
        }
        if (!found)
            fail_msg("not found in pieces of %zu", piece);
        scan_begin(scan);
        assert_false(scan_bytes(scan, SLICE("0123456789abcde")));
        scan_begin(scan); /* another file */
        assert_false(scan_bytes(scan, SLICE("f")));
    }
    assert_null(scan_open(NULL));
    s2i_list_drop(&secrets);
}

/* What an unpacked layer does not say the same of is refused. Spec: s2i 19.5 */
static void test_layer_unpack_checks(void **state)
{
    const struct place *place = *state;
    OWNED(made_drop) struct made made = {.entries = 0};
    struct layer_make how = orders(place, &made);
    struct error err = {0};

    put_text(place->upper, "f", "content");
    make(&how, &made);
    struct s2i_layer other = made.layer;
    other.diff_id.bytes[0] ^= 1;
    OWNED(fd_drop) int fd = as_file(buffer_slice(&made.bytes));
    assert_int_equal(layer_unpack(fd, &other, place->out, &IDS, &NO_LIMITS, NULL, &err), -1);
    assert_int_equal(err.code, ERROR_INVALID);
    assert_non_null(strstr(err.message, "diff id"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_layer_round_trip),    TEST(test_layer_nothing),      TEST(test_layer_sizes),
        TEST(test_layer_sink_fails),    TEST(test_layer_make_refuses), TEST(test_layer_scan_seams),
        TEST(test_layer_unpack_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

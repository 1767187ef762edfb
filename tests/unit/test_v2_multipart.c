/* test_v2_multipart.c - the layout of multipart/byteranges bodies. */
#include "registry/v2/multipart.h"

#include <string.h>

#include "tests/support/unit.h"

/* What the client would read, each byte of the file standing as a dot. */
static void flatten(const struct reply *reply, struct buffer *out)
{
    for (size_t i = 0; i < reply->part_count; i++) {
        buffer_append_slice(out, reply->parts[i].bytes);
        for (uint64_t n = 0; n < reply->parts[i].file_size; n++)
            buffer_append_text(out, ".");
    }
}

/* Spec: BLOB-04, BLOB-06. */
static void test_multipart_write_frames_each_range(void **state)
{
    static const struct range ranges[] = {{0, 1}, {7, 9}};
    static const char expected[] = "--XX\r\nContent-Type: application/octet-stream\r\n"
                                   "Content-Range: bytes 0-1/10\r\n\r\n..\r\n"
                                   "--XX\r\nContent-Type: application/octet-stream\r\n"
                                   "Content-Range: bytes 7-9/10\r\n\r\n...\r\n"
                                   "--XX--\r\n";
    struct buffer body = BUFFER_NONE;
    struct reply reply;

    (void)state;
    reply_init(&reply);
    multipart_write(&reply, "XX", ranges, 2, 10);
    flatten(&reply, &body);
    assert_true(slice_equal_text(buffer_slice(&body), expected));
    assert_int_equal(reply.length, body.size);
    assert_int_equal(reply.parts[0].file_offset, 0);
    assert_int_equal(reply.parts[1].file_offset, 7);
    assert_true(slice_equal_text(buffer_slice(&reply.head),
                                 "Content-Type: multipart/byteranges; boundary=XX\r\n"));
    buffer_drop(&body);
    reply_drop(&reply);
}

static void test_multipart_write_keeps_its_text_in_place_for_many_ranges(void **state)
{
    struct range ranges[RANGES_MAX];
    struct buffer body = BUFFER_NONE;
    struct reply reply;

    (void)state;
    for (uint64_t i = 0; i < RANGES_MAX; i++)
        ranges[i] = (struct range){3 * i, 3 * i};
    reply_init(&reply);
    multipart_write(&reply, "B", ranges, RANGES_MAX, 3 * RANGES_MAX);
    assert_int_equal(reply.part_count, RANGES_MAX + 1);
    for (size_t i = 0; i < RANGES_MAX; i++) {
        assert_int_equal(reply.parts[i].file_offset, 3 * i);
        assert_non_null(memmem(reply.parts[i].bytes.at, reply.parts[i].bytes.size, "--B\r\n", 5));
    }
    flatten(&reply, &body);
    assert_int_equal(reply.length, body.size);
    buffer_drop(&body);
    reply_drop(&reply);
}

static void test_multipart_boundary_is_fresh(void **state)
{
    char one[MULTIPART_BOUNDARY_SIZE + 1], other[MULTIPART_BOUNDARY_SIZE + 1];

    (void)state;
    multipart_boundary(one);
    multipart_boundary(other);
    assert_int_equal(strlen(one), MULTIPART_BOUNDARY_SIZE);
    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_multipart_write_frames_each_range),
        cmocka_unit_test(test_multipart_write_keeps_its_text_in_place_for_many_ranges),
        cmocka_unit_test(test_multipart_boundary_is_fresh),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* multipart.c - several ranges of one blob as a multipart/byteranges body. */
#include "registry/v2/multipart.h"

#include <inttypes.h>

void multipart_boundary(char *out)
{
    uint8_t random[MULTIPART_BOUNDARY_SIZE / 2];

    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), out);
    out[MULTIPART_BOUNDARY_SIZE] = 0;
}

void multipart_write(struct reply *reply, const char *boundary, const struct range *ranges,
                     size_t count, uint64_t size)
{
    size_t ends[RANGES_MAX]; /* of each part's head in text, which moves while it grows */
    struct buffer *text = &reply->text;

    assert(count >= 1 && count <= RANGES_MAX && text->size == 0);
    reply_header(reply, "Content-Type", "multipart/byteranges; boundary=%s", boundary);
    for (size_t i = 0; i < count; i++) {
        buffer_print(text,
                     "%s--%s\r\nContent-Type: application/octet-stream\r\n"
                     "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
                     i == 0 ? "" : "\r\n", boundary, ranges[i].first, ranges[i].last, size);
        ends[i] = text->size;
    }
    buffer_print(text, "\r\n--%s--\r\n", boundary);

    size_t start = 0;
    for (size_t i = 0; i < count; i++) {
        struct slice head = {text->at + start, ends[i] - start};
        reply_part_add(reply, head, ranges[i].first, ranges[i].last - ranges[i].first + 1);
        start = ends[i];
    }
    reply_part_add(reply, (struct slice){text->at + start, text->size - start}, 0, 0);
}

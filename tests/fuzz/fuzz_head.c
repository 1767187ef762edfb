/* fuzz_head.c - any bytes as a request head: nothing outside them is touched, growing input gives
 * the same answer as all at once, and what is accepted obeys the strict rules. */
#include <stdlib.h>
#include <string.h>

#include "registry/http/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(const char *bytes, size_t size, struct slice s)
{
    assert(s.at == NULL || s.size == 0 || slice_equal(s, SLICE("/")) ||
           (s.at >= bytes && s.at + s.size <= bytes + size));
}

static void check_accepted(const char *bytes, const struct head *head, const struct header *headers)
{
    int lengths = 0;

    assert(head->size >= 4 && memcmp(bytes + head->size - 4, "\r\n\r\n", 4) == 0);
    assert(!(head->chunked && head->content_length > 0));
    assert(head->path.size > 0 && head->path.at[0] == '/');
    check_inside(bytes, head->size, head->target);
    check_inside(bytes, head->size, head->path);
    check_inside(bytes, head->size, head->query);
    check_inside(bytes, head->size, head->authority);
    for (size_t i = 0; i < head->header_count; i++) {
        check_inside(bytes, head->size, headers[i].name);
        check_inside(bytes, head->size, headers[i].value);
        lengths += slice_equal(headers[i].name, SLICE("content-length"));
        for (size_t j = 0; j < headers[i].value.size; j++)
            assert(strchr("\r\n", headers[i].value.at[j]) == NULL);
    }
    assert(lengths <= 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct header headers[HEAD_HEADERS_MAX];
    struct head head, grown = {0};
    OWNED(memory_drop) char *whole = malloc(size == 0 ? 1 : size);
    OWNED(memory_drop) char *pieces = malloc(size == 0 ? 1 : size);
    enum head_outcome outcome, last = HEAD_PARTIAL;

    assert(whole != NULL && pieces != NULL);
    memcpy(whole, data, size);
    memcpy(pieces, data, size);
    outcome = head_parse(whole, size, 0, &head, headers);
    if (outcome == HEAD_COMPLETE)
        check_accepted(whole, &head, headers);
    for (size_t have = 1, seen = 0; have <= size && last == HEAD_PARTIAL; seen = have, have += 7)
        last = head_parse(pieces, have, seen, &grown, headers);
    if (last == HEAD_COMPLETE)
        assert(outcome == HEAD_COMPLETE && grown.size == head.size &&
               grown.content_length == head.content_length && grown.chunked == head.chunked);
    return 0;
}

/* fuzz_range.c - any bytes as Range, Content-Range and If-None-Match: what is accepted lies inside
 * the representation, in order and apart. */
#include "registry/http/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct range ranges[RANGES_MAX];
    size_t count;
    uint64_t first, last, total = size == 0 ? 0 : (uint64_t)data[0] * 100;

    enum range_outcome outcome = range_parse(text, total, ranges, &count);
    assert((outcome == RANGE_PARTIAL) == (count > 0) && count <= RANGES_MAX);
    for (size_t i = 0; i < count; i++) {
        assert(ranges[i].first <= ranges[i].last && ranges[i].last < total);
        assert(i == 0 || ranges[i].first > ranges[i - 1].last + 1);
    }
    if (content_range_parse(text, &first, &last))
        assert(first <= last && last <= INT64_MAX);
    (void)etag_matches(text, SLICE("sha256:0"));
    return 0;
}

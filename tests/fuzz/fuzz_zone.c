/* fuzz_zone.c - any bytes as a file of a time zone: offsets are within bounds, and the moment of a
 * time on the wall is one at which clocks show it, or leap over it. */
#include "registry/core/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t moments[] = {INT64_C(-9000000000), -1,         0,
                                      1700000000,           1792890000, INT64_C(4102444800),
                                      INT64_C(33000000000)};
    OWNED(zone_drop)
    struct zone *zone = zone_parse((struct slice){(const char *)data, size});

    if (zone == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(moments) / sizeof(moments[0]); i++) {
        int32_t offset = zone_offset(zone, moments[i]);
        assert(offset > -200 * 3600 && offset < 200 * 3600);
        int64_t at = zone_moment(zone, moments[i]);
        assert(at > moments[i] - 200 * 3600 && at < moments[i] + 200 * 3600);
    }
    return 0;
}

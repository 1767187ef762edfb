/* fuzz_proxy.c - any bytes as a request to the proxy of builds: what is taken is a host of plain
 * characters and a port. */
#include <string.h>

#include "s2i/builder/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_target target;
    static const struct s2i_list none = {0};
    bool exact;

    if (proxy_parse((struct slice){(const char *)data, size}, &target) != 200)
        return 0;
    assert(target.host[0] != 0 &&
           strspn(target.host, "abcdefghijklmnopqrstuvwxyz0123456789.-_:") == strlen(target.host));
    assert(target.port[0] > '0' && strspn(target.port, "0123456789") == strlen(target.port));
    assert(!proxy_allows(&none, &target, &exact));
    return 0;
}

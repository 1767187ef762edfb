/* proxy.h - what the proxy of builds decides: pure.
 * Touches  memory only.
 * Never    I/O. */
#ifndef SLIPWAY_S2I_BUILDER_PROXY_H
#define SLIPWAY_S2I_BUILDER_PROXY_H

#include "registry/core/bytes.h"
#include "s2i/options.h"

struct proxy_target {
    char host[256]; /* lower case; an address of version 6 without its brackets */
    char port[6];
};
/* The first line of "CONNECT host:port HTTP/1.1". 200, or the status to refuse it with. */
int proxy_parse(struct slice head, struct proxy_target *out);
/* Whether a pattern "host:port" of the list allows it. *exact: one names just this target. */
bool proxy_allows(const struct s2i_list *patterns, const struct proxy_target *target, bool *exact);

#endif

/* address.h - which addresses may be asked for what strangers name: no machine of ours (pure).
 * Touches  memory.
 * Never    resolves a name.
 *
 * Spec: s2i 16.10. */
#ifndef SLIPWAY_SOURCE_ADDRESS_H
#define SLIPWAY_SOURCE_ADDRESS_H

#include <sys/socket.h>

#include "s2i/options.h"

/* Why it is refused, as a noun: "a loopback address"; NULL: it is an address of the Internet.
 * Addresses that hold one of IPv4 are judged by that. */
const char *source_address_refusal(const struct sockaddr *address);
/* Whether an administrator named it: by the host's name ("git.example.org", "*.example.org"), the
 * address, or a block ("10.1.0.0/16", "fd00::/8"). */
bool source_address_listed(const struct sockaddr *address, struct slice host,
                           const struct s2i_list *list);
/* IPv4 in dots or IPv6 without brackets, nothing else that a resolver would take for a number. */
bool source_address_parse(struct slice text, struct sockaddr_storage *out);

#endif

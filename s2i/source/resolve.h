/* resolve.h - a host's name becomes addresses once; only these are used, and only checked ones.
 * Touches  the machine's resolver, by a confined child: it ends when it is told to, or when the
 *          time is over, however slow the name's servers are.
 * Never    connects.
 *
 * Spec: s2i 16.10. */
#ifndef SLIPWAY_SOURCE_RESOLVE_H
#define SLIPWAY_SOURCE_RESOLVE_H

#include <sys/socket.h>

#include "s2i/options.h"
#include "s2i/source/run.h"

enum { RESOLVED_MAX = 8 };

struct resolved {
    struct sockaddr_storage addresses[RESOLVED_MAX]; /* with the port */
    size_t count;                                    /* at least 1 */
    bool unanswered; /* on failure: nobody said that there is none; another time may do */
};
/* A number is its own address, without asking. At most RESOLVE_MS, and no longer than patience.
 * INVALID  no address, no answer, or none that may be asked: with the reason.
 * UNAVAILABLE  told to stop, or the child cannot be started */
enum { RESOLVE_MS = 30 * 1000 };
int source_resolve_host(const char *host, uint16_t port, const struct s2i_list *allowed,
                        const struct patience *patience, struct resolved *out,
                        struct error *err) MUST_CHECK;
bool source_resolved_has(const struct resolved *resolved, const struct sockaddr *address);
/* "host:port:address,address": how libcurl is told not to ask again. */
void source_resolve_pin(const char *host, uint16_t port, const struct resolved *resolved,
                        struct buffer *out);
/* The first address as text, without brackets. */
void source_resolve_first(const struct resolved *resolved, struct buffer *out);

#endif

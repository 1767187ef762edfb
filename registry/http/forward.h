/* forward.h - what a reverse proxy in front of us tells about the client.
 * Touches  memory only (pure, save that a list of proxies is allocated once).
 * Never    looks a name up; believes anybody who is not in the list.
 *
 * X-Forwarded-For is read from its right end, where each proxy adds whom it saw: the first address
 * that is no trusted proxy is the client. What stands left of it anybody could have written.
 * X-Forwarded-Proto and -Host must be single and well-formed, for realms and cookies depend on
 * them; a proxy that sends them twice or as a list lets clients choose, and is refused.
 * `Forwarded` (RFC 7239) is not read: proxies that write it write these as well, and of two
 * accounts of one thing one would have to be disbelieved. */
#ifndef SLIPWAY_HTTP_FORWARD_H
#define SLIPWAY_HTTP_FORWARD_H

#include "registry/http/message.h"

struct sockaddr;

/* An IPv4 address in IPv6's clothes is an IPv4 address. */
struct address {
    enum address_family { ADDRESS_UNIX, ADDRESS_V4, ADDRESS_V6 } family;
    uint8_t bytes[16];
};

enum { ADDRESS_TEXT_MAX = 64, ADDRESS_NETWORK_SIZE = 8 };

void address_of_peer(const struct sockaddr *peer, struct address *out);
/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". */
bool address_parse(struct slice text, struct address *out) MUST_CHECK;
void address_text(const struct address *address, char out[ADDRESS_TEXT_MAX]); /* or "local" */
/* What rates are counted by: IPv4 address, IPv6 /64. */
void address_network(const struct address *address, uint8_t out[ADDRESS_NETWORK_SIZE]);

/* Immutable. */
struct proxies;
/* Entries as in server.h. UNAVAILABLE  the message names the entry */
int proxies_open(struct proxies **out, const char *const *entries, size_t count,
                 struct error *err) MUST_CHECK;
void proxies_close(struct proxies *proxies); /* accepts NULL */
bool proxies_trust(const struct proxies *proxies, const struct address *address);

struct forwarded {
    struct address client; /* the peer, when nobody else is named */
    enum forwarded_scheme { FORWARDED_UNSAID, FORWARDED_HTTP, FORWARDED_HTTPS } scheme;
    struct slice host;       /* SLICE_NONE: unsaid */
    struct slice request_id; /* SLICE_NONE: unsaid, or not fit for a log */
};
/* Reads the headers of a trusted peer. NULL, or what is wrong with them (a constant). */
const char *forward_read(const struct proxies *proxies, const struct address *peer,
                         const struct header *headers, size_t count, struct forwarded *out);

/* "host", "host:port", "[v6]:port" without anything that a header, a URL or a log would mind. */
bool host_valid(struct slice host);

#endif

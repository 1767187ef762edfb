/* forward.c - addresses, the list of trusted proxies, the headers they send.
 * Touches  memory only.
 * Never    looks a name up. */
#include "registry/http/forward.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

enum {
    HOPS_MAX = 32, /* entries of X-Forwarded-For that are looked at */
    HOST_MAX = 255 + sizeof(":65535") - 1,
    PORT_DIGITS_MAX = 5,
};

/* --- addresses --- */

static void address_of_v6(const uint8_t bytes[16], struct address *out)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    bool v4 = memcmp(bytes, mapped, sizeof(mapped)) == 0;

    *out = (struct address){.family = v4 ? ADDRESS_V4 : ADDRESS_V6};
    if (v4)
        memcpy(out->bytes, bytes + sizeof(mapped), 4);
    else
        memcpy(out->bytes, bytes, 16);
}

void address_of_peer(const struct sockaddr *peer, struct address *out)
{
    *out = (struct address){.family = ADDRESS_UNIX};
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, peer, sizeof(v4));
        out->family = ADDRESS_V4;
        memcpy(out->bytes, &v4.sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, peer, sizeof(v6));
        address_of_v6(v6.sin6_addr.s6_addr, out);
    }
}

/* Without brackets and port. */
static bool bare_parse(struct slice text, struct address *out)
{
    char copy[INET6_ADDRSTRLEN];
    uint8_t v6[16];

    *out = (struct address){.family = ADDRESS_V4};
    if (!slice_to_text(text, copy, sizeof(copy)))
        return false;
    if (inet_pton(AF_INET, copy, out->bytes) == 1)
        return true;
    if (inet_pton(AF_INET6, copy, v6) != 1)
        return false;
    address_of_v6(v6, out);
    return true;
}

static bool port_valid(struct slice port)
{
    uint64_t number;
    return port.size <= PORT_DIGITS_MAX && slice_to_u64(port, &number) && number <= 65535;
}

bool address_parse(struct slice text, struct address *out)
{
    struct slice address, port;

    if (slice_starts(text, "[")) {
        if (!slice_split(slice_from(text, 1), ']', &address, &port) ||
            memchr(address.at, ':', address.size) == NULL || !bare_parse(address, out))
            return false;
        return port.size == 0 || (port.at[0] == ':' && port_valid(slice_from(port, 1)));
    }
    bool one_colon =
        slice_split(text, ':', &address, &port) && memchr(port.at, ':', port.size) == NULL;
    if (one_colon)
        return port_valid(port) && bare_parse(address, out) && out->family == ADDRESS_V4;
    return bare_parse(text, out);
}

void address_text(const struct address *address, char out[ADDRESS_TEXT_MAX])
{
    int family = address->family == ADDRESS_V4 ? AF_INET : AF_INET6;

    if (address->family == ADDRESS_UNIX ||
        inet_ntop(family, address->bytes, out, ADDRESS_TEXT_MAX) == NULL)
        memcpy(out, "local", sizeof("local"));
}

void address_network(const struct address *address, uint8_t out[ADDRESS_NETWORK_SIZE])
{
    memcpy(out, address->bytes, ADDRESS_NETWORK_SIZE); /* behind IPv4 there are zeros */
}

/* --- the list --- */

struct network {
    struct address address;
    unsigned bits;
};

struct proxies {
    size_t count;
    struct network networks[];
};

/* "10.0.0.0/8", "2001:db8::/32", one address, "unix". */
static bool network_parse(struct slice text, struct network *out)
{
    struct slice address, bits;
    uint64_t count;

    *out = (struct network){.bits = 0};
    if (slice_equal_text(text, "unix"))
        return true;
    bool masked = slice_split(text, '/', &address, &bits);
    if (!bare_parse(address, &out->address))
        return false;
    out->bits = out->address.family == ADDRESS_V4 ? 32 : 128;
    if (!masked)
        return true;
    if (out->bits == 32 && memchr(address.at, ':', address.size) != NULL)
        return false; /* ::ffff:10.0.0.0/104: whose bits are meant? */
    if (bits.size > 3 || !slice_to_u64(bits, &count) || count > out->bits)
        return false;
    out->bits = (unsigned)count;
    return true;
}

int proxies_open(struct proxies **out, const char *const *entries, size_t count, struct error *err)
{
    OWNED(memory_drop)
    struct proxies *proxies = memory_new(sizeof(*proxies) + count * sizeof(proxies->networks[0]));

    for (size_t i = 0; i < count; i++) {
        if (!network_parse(slice_of(entries[i]), &proxies->networks[i]))
            return error_set(err, ERROR_UNAVAILABLE,
                             "trusted proxy %s is no address, no network and not \"unix\"",
                             entries[i]);
    }
    proxies->count = count;
    *out = TAKE(proxies);
    return 0;
}

void proxies_close(struct proxies *proxies)
{
    free(proxies);
}

static bool network_has(const struct network *network, const struct address *address)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;

    if (network->address.family != address->family ||
        memcmp(network->address.bytes, address->bytes, whole) != 0)
        return false;
    return rest == 0 || (network->address.bytes[whole] ^ address->bytes[whole]) >> (8 - rest) == 0;
}

bool proxies_trust(const struct proxies *proxies, const struct address *address)
{
    for (size_t i = 0; i < proxies->count; i++) {
        if (network_has(&proxies->networks[i], address))
            return true;
    }
    return false;
}

/* --- the headers --- */

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Of these characters alone, beside letters and digits. */
static bool consists_of(struct slice text, const char *others)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!is_alnum(text.at[i]) && (text.at[i] == 0 || strchr(others, text.at[i]) == NULL))
            return false;
    }
    return text.size > 0;
}

bool host_valid(struct slice host)
{
    struct slice name, port;
    struct address ignored;

    if (host.size > HOST_MAX)
        return false;
    if (slice_starts(host, "["))
        return address_parse(host, &ignored);
    bool ported = slice_split(host, ':', &name, &port);
    return consists_of(name, "-._") && (!ported || port_valid(port));
}

/* Takes the last entry of a list off; false when nothing is left. */
static bool entry_last(struct slice *list, struct slice *entry)
{
    const char *comma = list->size == 0 ? NULL : memrchr(list->at, ',', list->size);

    if (list->at == NULL)
        return false;
    size_t before = comma == NULL ? 0 : (size_t)(comma - list->at);
    *entry = slice_trim(comma == NULL ? *list : slice_from(*list, before + 1));
    *list = comma == NULL ? SLICE_NONE : (struct slice){list->at, before};
    return true;
}

/* Walks from the peer towards the client. An entry that is no address ends the walk: nobody behind
 * it is believed, and the proxy that wrote it stands for its clients. True to go on. */
static bool hops_walk(const struct proxies *proxies, struct slice list, int *hops,
                      struct address *client)
{
    struct slice entry;
    struct address next;

    while (entry_last(&list, &entry)) {
        if (++*hops > HOPS_MAX || !address_parse(entry, &next))
            return false;
        *client = next;
        if (!proxies_trust(proxies, client))
            return false;
    }
    return true;
}

/* A header that must stand there once. */
static bool single(const struct header *header, struct slice *out)
{
    if (out->at != NULL)
        return false;
    *out = header->value;
    return true;
}

static const char *scheme_read(struct slice text, struct forwarded *out)
{
    if (text.at == NULL)
        return NULL;
    if (slice_equal_ignore_case(text, "https"))
        out->scheme = FORWARDED_HTTPS;
    else if (slice_equal_ignore_case(text, "http"))
        out->scheme = FORWARDED_HTTP;
    else
        return "X-Forwarded-Proto is neither http nor https";
    return NULL;
}

const char *forward_read(const struct proxies *proxies, const struct address *peer,
                         const struct header *headers, size_t count, struct forwarded *out)
{
    struct slice scheme = SLICE_NONE, request_id = SLICE_NONE;
    bool walking = true, id_single = true;
    int hops = 0;

    *out = (struct forwarded){.client = *peer};
    for (size_t i = count; i-- > 0;) { /* several lines are one list */
        const struct header *header = &headers[i];
        if (!slice_starts(header->name, "x-"))
            continue;
        if (slice_equal_text(header->name, "x-forwarded-for"))
            walking = walking && hops_walk(proxies, header->value, &hops, &out->client);
        else if (slice_equal_text(header->name, "x-forwarded-proto") && !single(header, &scheme))
            return "X-Forwarded-Proto is given twice";
        else if (slice_equal_text(header->name, "x-forwarded-host") && !single(header, &out->host))
            return "X-Forwarded-Host is given twice";
        else if (slice_equal_text(header->name, "x-request-id"))
            id_single &= single(header, &request_id);
    }
    if (out->host.at != NULL && !host_valid(out->host))
        return "X-Forwarded-Host is not one host";
    if (request_id.at != NULL && id_single && request_id.size <= REQUEST_ID_MAX &&
        consists_of(request_id, "-._~+=:/@"))
        out->request_id = request_id;
    return scheme_read(scheme, out);
}

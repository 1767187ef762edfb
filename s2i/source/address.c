/* address.c - blocks of addresses that are not the Internet's; see address.h.
 * Touches  memory.
 * Never    trusts a form: what an address embeds is looked at too. */
#include "s2i/source/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

enum { V4_BYTES = 4, V6_BYTES = 16 };

/* IPv4's refused blocks (RFC 6890 and its registry). */
static const struct {
    uint8_t start[V4_BYTES];
    unsigned bits;
    const char *what;
} blocks4[] = {
    {{0, 0, 0, 0}, 8, "an address of this network"},
    {{10, 0, 0, 0}, 8, "a private address"},
    {{100, 64, 0, 0}, 10, "a shared address"}, /* 100.100.100.200: metadata */
    {{127, 0, 0, 0}, 8, "a loopback address"},
    {{168, 63, 129, 16}, 32, "a metadata address"},
    {{169, 254, 0, 0}, 16, "a link-local address"}, /* 169.254.169.254: metadata */
    {{172, 16, 0, 0}, 12, "a private address"},
    {{192, 0, 0, 0}, 24, "a reserved address"}, /* 192.0.0.192: metadata */
    {{192, 0, 2, 0}, 24, "a documentation address"},
    {{192, 88, 99, 0}, 24, "a reserved address"},
    {{192, 168, 0, 0}, 16, "a private address"},
    {{198, 18, 0, 0}, 15, "a benchmark address"},
    {{198, 51, 100, 0}, 24, "a documentation address"},
    {{203, 0, 113, 0}, 24, "a documentation address"},
    {{224, 0, 0, 0}, 4, "a multicast address"},
    {{240, 0, 0, 0}, 4, "a reserved address"},
};

/* Of IPv6 only 2000::/3 is the Internet's; these are not, or say what is elsewhere. */
static const struct {
    uint8_t start[V6_BYTES];
    unsigned bits;
    const char *what;
} blocks6[] = {
    {{0x20, 0x01}, 23, "a reserved address"}, /* Teredo, ORCHID, benchmarks */
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "a documentation address"},
    {{0x20, 0x02}, 16, "a 6to4 address"},
    {{0x3f, 0xff}, 20, "a documentation address"},
    {{0xfc}, 7, "a private address"}, /* fd00:ec2::254: metadata */
    {{0xfe, 0x80}, 10, "a link-local address"},
    {{0xfe, 0xc0}, 10, "a private address"},
    {{0xff}, 8, "a multicast address"},
};

static const uint8_t mapped4[] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
static const uint8_t nat64[] = {0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0};

static bool in_block(const uint8_t *address, const uint8_t *start, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;

    if (memcmp(address, start, whole) != 0)
        return false;
    return rest == 0 || (uint8_t)(address[whole] ^ start[whole]) >> (8 - rest) == 0;
}

static const char *refusal4(const uint8_t *address)
{
    for (size_t i = 0; i < sizeof(blocks4) / sizeof(blocks4[0]); i++)
        if (in_block(address, blocks4[i].start, blocks4[i].bits))
            return blocks4[i].what;
    return NULL;
}

static const char *refusal6(const uint8_t *address)
{
    static const uint8_t loopback[V6_BYTES] = {[15] = 1};

    if (memcmp(address, mapped4, sizeof(mapped4)) == 0 ||
        memcmp(address, nat64, sizeof(nat64)) == 0)
        return refusal4(address + sizeof(mapped4));
    if (memcmp(address, loopback, V6_BYTES) == 0)
        return "a loopback address";
    for (size_t i = 0; i < sizeof(blocks6) / sizeof(blocks6[0]); i++)
        if (in_block(address, blocks6[i].start, blocks6[i].bits))
            return blocks6[i].what;
    return address[0] >> 5 == 1 ? NULL : "a reserved address";
}

/* The bytes of an address: IPv4's also when IPv6 maps it. Returns how many; 0: of neither kind. */
static size_t bytes_of(const struct sockaddr *address, uint8_t out[V6_BYTES])
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)(const void *)address;
        memcpy(out, &in4->sin_addr, V4_BYTES);
        return V4_BYTES;
    }
    if (address->sa_family != AF_INET6)
        return 0;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)address;
    memcpy(out, &in6->sin6_addr, V6_BYTES);
    if (memcmp(out, mapped4, sizeof(mapped4)) != 0)
        return V6_BYTES;
    memmove(out, out + sizeof(mapped4), V4_BYTES);
    return V4_BYTES;
}

const char *source_address_refusal(const struct sockaddr *address)
{
    uint8_t bytes[V6_BYTES];
    size_t size = bytes_of(address, bytes);

    if (size == 0)
        return "an address of an unknown kind";
    return size == V4_BYTES ? refusal4(bytes) : refusal6(bytes);
}

bool source_address_parse(struct slice text, struct sockaddr_storage *out)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
    char copy[INET6_ADDRSTRLEN];

    memset(out, 0, sizeof(*out));
    if (!slice_to_text(text, copy, sizeof(copy)))
        return false;
    if (inet_pton(AF_INET, copy, &in4->sin_addr) == 1)
        out->ss_family = AF_INET;
    else if (inet_pton(AF_INET6, copy, &in6->sin6_addr) == 1)
        out->ss_family = AF_INET6;
    return out->ss_family != AF_UNSPEC;
}

/* An address, or one with "/bits". */
static bool in_text_block(const uint8_t *bytes, size_t size, struct slice text)
{
    struct sockaddr_storage start;
    struct slice head, tail;
    uint8_t first[V6_BYTES];
    bool ranged = slice_split(text, '/', &head, &tail);
    uint64_t bits = size * 8;

    if (!source_address_parse(head, &start) ||
        bytes_of((const struct sockaddr *)&start, first) != size ||
        (ranged && (!slice_to_u64(tail, &bits) || bits > size * 8)))
        return false;
    return in_block(bytes, first, (unsigned)bits);
}

static bool is_host(struct slice host, struct slice wanted)
{
    char text[256];

    if (slice_starts(wanted, "*.")) {
        wanted = slice_from(wanted, 1);
        if (host.size <= wanted.size)
            return false;
        host = slice_from(host, host.size - wanted.size);
    }
    return slice_to_text(wanted, text, sizeof(text)) && slice_equal_ignore_case(host, text);
}

bool source_address_listed(const struct sockaddr *address, struct slice host,
                           const struct s2i_list *list)
{
    uint8_t bytes[V6_BYTES];
    size_t size = bytes_of(address, bytes);

    for (size_t i = 0; list != NULL && i < list->count; i++) {
        struct slice item = slice_of(list->items[i]);
        if (is_host(host, item) || (size > 0 && in_text_block(bytes, size, item)))
            return true;
    }
    return false;
}

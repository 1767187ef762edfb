/* proxy_rules.c - see proxy.h. */
#include "s2i/builder/proxy.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/glob.h"

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* --- the request --- */

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_' ||
           c == ':';
}

static bool read_host(struct slice text, char out[256])
{
    if (text.size >= 2 && text.at[0] == '[' && text.at[text.size - 1] == ']')
        text = (struct slice){text.at + 1, text.size - 2};
    else if (text.size > 0 && memchr(text.at, ':', text.size) != NULL)
        return false;
    if (text.size == 0 || text.size > 255)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        out[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        if (!is_host_char(out[i]))
            return false;
    }
    out[text.size] = 0;
    return true;
}

static bool read_port(struct slice text, char out[6])
{
    uint64_t port;

    if (!slice_to_u64(text, &port) || port == 0 || port > 65535)
        return false;
    snprintf(out, 6, "%u", (unsigned)port);
    return true;
}

int proxy_parse(struct slice head, struct proxy_target *out)
{
    struct slice line, method, target, version, rest;
    size_t colon;

    slice_split(head, '\n', &line, &rest);
    if (slice_ends(line, "\r"))
        line.size--;
    if (!slice_split(line, ' ', &method, &line) || !slice_split(line, ' ', &target, &version) ||
        !slice_starts(version, "HTTP/1."))
        return 400;
    if (!slice_equal_text(method, "CONNECT"))
        return 405;
    for (colon = target.size; colon > 0 && target.at[colon - 1] != ':'; colon--)
        continue;
    if (colon == 0 || !read_host((struct slice){target.at, colon - 1}, out->host) ||
        !read_port(slice_from(target, colon), out->port))
        return 400;
    return 200;
}

bool proxy_allows(const struct s2i_list *patterns, const struct proxy_target *target, bool *exact)
{
    char whole[256 + 8];
    bool allowed = false;

    snprintf(whole, sizeof(whole), "%s:%s", target->host, target->port);
    *exact = false;
    for (size_t i = 0; i < patterns->count; i++) {
        struct slice pattern = slice_of(patterns->items[i]);
        allowed = allowed || glob_matches(pattern, slice_of(whole));
        *exact = *exact || slice_equal_text(pattern, whole);
    }
    return allowed;
}

/* --- addresses --- */

struct block {
    uint8_t start[16];
    unsigned bits;
};

static bool in_block(const uint8_t *address, const struct block *block)
{
    for (unsigned bit = 0; bit < block->bits; bit++)
        if (((address[bit / 8] ^ block->start[bit / 8]) >> (7 - bit % 8) & 1) != 0)
            return false;
    return true;
}

static bool private_4(const uint8_t *address)
{
    static const struct block blocks[] = {
        {{0}, 8},
        {{10}, 8},
        {{100, 64}, 10},
        {{127}, 8},
        {{169, 254}, 16},
        {{172, 16}, 12},
        {{192, 0, 0}, 24},
        {{192, 0, 2}, 24},
        {{192, 88, 99}, 24},
        {{192, 168}, 16},
        {{198, 18}, 15},
        {{198, 51, 100}, 24},
        {{203, 0, 113}, 24},
        {{224}, 3},
    };

    for (size_t i = 0; i < LENGTH(blocks); i++)
        if (in_block(address, &blocks[i]))
            return true;
    return false;
}

/* What is not 2000::/3 is not the Internet's; within it, ways into version 4 and documentation. */
static bool private_6(const uint8_t *address)
{
    static const struct block internet = {{0x20}, 3};
    static const struct block mapped = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff}, 96};
    static const struct block inside[] = {{{0x20, 0x01, 0x00}, 23},
                                          {{0x20, 0x01, 0x0d, 0xb8}, 32},
                                          {{0x20, 0x02}, 16},
                                          {{0x3f, 0xff}, 20}};

    if (in_block(address, &mapped))
        return private_4(address + 12);
    if (!in_block(address, &internet))
        return true;
    for (size_t i = 0; i < LENGTH(inside); i++)
        if (in_block(address, &inside[i]))
            return true;
    return false;
}

bool proxy_address_private(const struct sockaddr *address)
{
    uint8_t bytes[16];

    if (address->sa_family == AF_INET) {
        memcpy(bytes, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        return private_4(bytes);
    }
    if (address->sa_family != AF_INET6)
        return true;
    memcpy(bytes, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    return private_6(bytes);
}

/* resolve.c - asks the resolver, and filters what it says; see resolve.h.
 * Touches  the machine's resolver: blocks as long as that does.
 * Never    asks twice for one fetch. */
#include "s2i/source/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "s2i/source/address.h"

static void addrinfo_drop(struct addrinfo **list)
{
    if (*list != NULL)
        freeaddrinfo(*list);
}

/* Those that may be asked; *refusal: why the last other one may not. */
static void keep_permitted(const struct addrinfo *list, const char *host,
                           const struct s2i_list *allowed, struct resolved *out,
                           const char **refusal)
{
    for (; list != NULL; list = list->ai_next) {
        const char *why = source_address_refusal(list->ai_addr);
        if (why != NULL && !source_address_listed(list->ai_addr, slice_of(host), allowed))
            *refusal = why;
        else if (out->count < RESOLVED_MAX && list->ai_addrlen <= sizeof(out->addresses[0]))
            memcpy(&out->addresses[out->count++], list->ai_addr, list->ai_addrlen);
    }
}

int source_resolve_host(const char *host, uint16_t port, const struct s2i_list *allowed,
                        struct resolved *out, struct error *err)
{
    const struct addrinfo wish = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    OWNED(addrinfo_drop) struct addrinfo *list = NULL;
    const char *refusal = NULL;
    char service[8];

    *out = (struct resolved){.count = 0};
    snprintf(service, sizeof(service), "%u", port);
    int number = getaddrinfo(host, service, &wish, &list);
    if (number != 0) {
        error_set_field(err, "url", "the host %.100s has no address", host);
        return error_set_cause(err, "%s", gai_strerror(number));
    }
    keep_permitted(list, host, allowed, out, &refusal);
    if (out->count > 0)
        return 0;
    return error_set_field(err, "url",
                           "the host %.100s has %s, which is not asked "
                           "(builds.sources.allow)",
                           host, refusal == NULL ? "no usable address" : refusal);
}

/* Family, address and port: what connecting looks at. */
static bool is_same(const struct sockaddr *a, const struct sockaddr *b)
{
    const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
    const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

    if (a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
    return a->sa_family == AF_INET6 && a6->sin6_port == b6->sin6_port &&
           IN6_ARE_ADDR_EQUAL(&a6->sin6_addr, &b6->sin6_addr);
}

bool source_resolved_has(const struct resolved *resolved, const struct sockaddr *address)
{
    for (size_t i = 0; i < resolved->count; i++)
        if (is_same((const struct sockaddr *)(const void *)&resolved->addresses[i], address))
            return true;
    return false;
}

static void print_address(const struct sockaddr_storage *address, bool brackets, struct buffer *out)
{
    const void *bytes =
        address->ss_family == AF_INET
            ? (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
            : &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    char text[INET6_ADDRSTRLEN] = "";

    inet_ntop(address->ss_family, bytes, text, sizeof(text));
    brackets = brackets && address->ss_family == AF_INET6;
    buffer_print(out, "%s%s%s", brackets ? "[" : "", text, brackets ? "]" : "");
}

void source_resolve_pin(const char *host, uint16_t port, const struct resolved *resolved,
                        struct buffer *out)
{
    buffer_print(out, "%s:%u:", host, port);
    for (size_t i = 0; i < resolved->count; i++) {
        if (i > 0)
            buffer_append_text(out, ",");
        print_address(&resolved->addresses[i], true, out);
    }
}

void source_resolve_first(const struct resolved *resolved, struct buffer *out)
{
    print_address(&resolved->addresses[0], false, out);
}

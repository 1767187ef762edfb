/* lookup.c - the child that asks the resolver, `slipway resolve HOST`; see source.h.
 * Touches  the machine's resolver: as slow as that is, which is why it is a child.
 * Never    judges an address; who started it does. */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

#include "s2i/source/source.h"

static const void *bytes_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return &((const struct sockaddr_in *)(const void *)address)->sin_addr;
    if (address->sa_family == AF_INET6)
        return &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    return NULL;
}

int source_resolve_child(const char *host)
{
    const struct addrinfo wish = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char text[INET6_ADDRSTRLEN];
    int number = host == NULL ? EAI_NONAME : getaddrinfo(host, NULL, &wish, &list);

    if (number != 0)
        return -number; /* what the C library calls EAI_..., from 1 */
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        const void *bytes = bytes_of(at->ai_addr);
        if (bytes != NULL && inet_ntop(at->ai_family, bytes, text, sizeof(text)) != NULL)
            puts(text);
    }
    freeaddrinfo(list);
    return fflush(stdout) == 0 ? 0 : -EAI_SYSTEM;
}

/* resolve.c - has the resolver asked, and filters what it says; see resolve.h.
 * Touches  a confined child.
 * Never    asks twice for one fetch. */
#include "s2i/source/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/wait.h>

#include "s2i/source/address.h"

enum { SAID_MAX = 64 * 1024, CPU_S = 10 };

#define MEMORY_MAX (UINT64_C(256) << 20)

/* --- asking --- */

/* *status: of the child. */
static int run_child(const char *host, const struct patience *patience, struct buffer *said,
                     int *status, struct error *err)
{
    const char *const words[] = {confine_self(), "resolve", host, NULL};
    const char *const environment[] = {"LC_ALL=C", NULL};
    const char *const readable[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf",
                                    "/etc/gai.conf", NULL};
    struct confinement with = {.words = words,
                               .environment = environment,
                               .readable = readable,
                               .network = true,
                               .input = -1,
                               .errors = -1,
                               .memory = MEMORY_MAX,
                               .cpu_s = CPU_S};

    return source_run(&with, false, SAID_MAX, patience, said, status, err);
}

static int unanswered(const char *host, const char *cause, struct resolved *out, struct error *err)
{
    out->unanswered = true;
    error_set_field(err, "url", "the host %.100s was not found: no name server answers", host);
    return error_set_cause(err, "%s", cause);
}

static int ask(const char *host, const struct patience *patience, struct buffer *said,
               struct resolved *out, struct error *err)
{
    int64_t until_ms = source_now_ms() + RESOLVE_MS;
    const struct patience ours = {until_ms < patience->until_ms ? until_ms : patience->until_ms,
                                  patience->cancel};
    struct error why = {0};
    int status;

    if (run_child(host, &ours, said, &status, &why) < 0) {
        if (why.code == ERROR_INVALID) /* the time was over */
            return unanswered(host, "the resolver takes too long", out, err);
        *err = why;
        return -1;
    }
    int number = WIFEXITED(status) ? -WEXITSTATUS(status) : EAI_SYSTEM;
    if (number == EAI_AGAIN || number == EAI_SYSTEM)
        return unanswered(host, gai_strerror(number), out, err);
    if (number != 0) {
        error_set_field(err, "url", "the host %.100s has no address", host);
        return error_set_cause(err, "%s", gai_strerror(number));
    }
    return 0;
}

/* --- judging --- */

static void set_port(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons(port);
    else
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons(port);
}

/* Those that may be asked; *refusal: why the last other one may not. */
static void keep_permitted(struct slice said, const char *host, const struct s2i_list *allowed,
                           struct resolved *out, const char **refusal)
{
    struct sockaddr_storage address;
    struct slice line;

    while (said.size > 0) {
        slice_split(said, '\n', &line, &said);
        if (!source_address_parse(line, &address))
            continue;
        const struct sockaddr *known = (const struct sockaddr *)(const void *)&address;
        const char *why = source_address_refusal(known);
        if (why != NULL && !source_address_listed(known, slice_of(host), allowed)) {
            *refusal = why;
        } else if (out->count < RESOLVED_MAX) {
            out->addresses[out->count] = address;
            out->count++;
        }
    }
}

int source_resolve_host(const char *host, uint16_t port, const struct s2i_list *allowed,
                        const struct patience *patience, struct resolved *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer said = BUFFER_NONE;
    struct sockaddr_storage number;
    const char *refusal = NULL;

    *out = (struct resolved){.count = 0};
    if (source_address_parse(slice_of(host), &number))
        buffer_append_text(&said, host);
    else if (ask(host, patience, &said, out, err) < 0)
        return -1;
    keep_permitted(buffer_slice(&said), host, allowed, out, &refusal);
    for (size_t i = 0; i < out->count; i++)
        set_port(&out->addresses[i], port);
    if (out->count > 0)
        return 0;
    return error_set_field(err, "url",
                           "the host %.100s has %s, which is not asked "
                           "(builds.sources.allow)",
                           host, refusal == NULL ? "no usable address" : refusal);
}

/* --- what is known then --- */

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

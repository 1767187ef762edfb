/* proxy_rules.c - see proxy.h. */
#include "s2i/builder/proxy.h"

#include <stdio.h>
#include <string.h>

#include "registry/core/glob.h"

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

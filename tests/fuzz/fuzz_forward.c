/* fuzz_forward.c - any bytes as headers of a trusted proxy, "name:value" lines: the client is an
 * address that comes back from its text, host and id hold nothing that a header, a URL or a log
 * would mind; and any line as an entry of the list of proxies. */
#include <string.h>

#include "registry/http/forward.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 16 };

static void check_harmless(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        assert(text.at[i] > ' ' && text.at[i] < 0x7f && strchr("\"\\<>,;", text.at[i]) == NULL);
}

static void check_address(const struct address *address)
{
    struct address again;
    char text[ADDRESS_TEXT_MAX];

    address_text(address, text);
    assert(address_parse(slice_of(text), &again));
    assert(again.family == address->family && memcmp(again.bytes, address->bytes, 16) == 0);
}

static void try_entry(struct slice line)
{
    OWNED(memory_drop) char *text = memory_text(line);
    const char *const entries[] = {text};
    struct proxies *proxies = NULL;
    struct error err = {0};

    if (proxies_open(&proxies, entries, 1, &err) == 0)
        (void)proxies_trust(proxies, &(struct address){.family = ADDRESS_V6});
    proxies_close(proxies);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const entries[] = {"10.0.0.0/8", "2001:db8::/32"};
    const struct address peer = {.family = ADDRESS_V4, .bytes = {10, 0, 0, 1}};
    struct slice rest = {(const char *)data, size}, line;
    struct header headers[LINES_MAX];
    struct forwarded forwarded;
    struct proxies *proxies;
    struct error err = {0};
    size_t count = 0;

    while (count < LINES_MAX && rest.size > 0) {
        slice_split(rest, '\n', &line, &rest);
        try_entry(line);
        slice_split(line, ':', &headers[count].name, &headers[count].value);
        headers[count].value = slice_trim(headers[count].value);
        count++;
    }
    if (proxies_open(&proxies, entries, 2, &err) < 0)
        return 0;
    if (forward_read(proxies, &peer, headers, count, &forwarded) == NULL)
        check_harmless(forwarded.host);
    check_harmless(forwarded.request_id);
    assert(forwarded.request_id.size <= REQUEST_ID_MAX);
    check_address(&forwarded.client);
    proxies_close(proxies);
    return 0;
}

/* fuzz_source_url.c - any bytes as the URL of a source, as a submodule's beside it, as a prefix of
 * credentials and as an address: what is taken has no part that git, ssh or a shell could take for
 * something else, and is taken again as it is printed. */
#include "s2i/source/url.h"

#include <string.h>

#include "s2i/source/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    assert(text[0] != '-');
    for (; *text != '\0'; text++)
        assert(*text > ' ' && *text < 0x7f);
}

static void check_url(const struct source_url *url)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(source_url_drop) struct source_url again = {.scheme = NULL};
    struct error err = {0};

    check_text(url->user);
    check_text(url->host);
    check_text(url->path);
    assert(strpbrk(url->user, ":@/") == NULL && strpbrk(url->host, "@/[]") == NULL);
    assert(url->ref[0] != '-' && url->port != 0);
    source_url_print(url, &text);
    assert(source_url_read(buffer_slice(&text), &again, &err) == 0 || url->by_colon);
}

static void check_address(struct slice text)
{
    struct sockaddr_storage address;
    char *items[] = {memory_text(text)};
    const struct s2i_list list = {items, 1};

    if (source_address_parse(text, &address)) {
        source_address_refusal((const struct sockaddr *)&address);
        assert(source_address_listed((const struct sockaddr *)&address, SLICE("x"), &list));
    }
    address.ss_family = AF_INET6;
    source_address_listed((const struct sockaddr *)&address, text, &list);
    memory_drop(&items[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice first, second, text = {(const char *)data, size};
    OWNED(source_url_drop) struct source_url url = {.scheme = NULL};
    OWNED(buffer_drop) struct buffer joined = BUFFER_NONE;
    struct error err = {0};

    slice_split(text, '\n', &first, &second);
    check_address(first);
    if (second.at == NULL)
        second = SLICE("../x");
    if (source_url_read(first, &url, &err) < 0)
        return 0;
    check_url(&url);
    source_url_begins(&url, second);
    if (source_url_join(&url, second, &joined, &err) == 0)
        assert(joined.size <= first.size + second.size + 16);
    return 0;
}

/* fuzz_authorization.c - any bytes as an Authorization header and as cookies: what is accepted lies
 * where it should, without control characters, and Basic encodes back to the text it was. */
#include "auth/authorization.h"

#include <openssl/evp.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool lies_in(struct slice part, const char *at, size_t size)
{
    return part.at >= at && part.at <= at + size && part.size <= (size_t)(at + size - part.at);
}

static void basic_check(struct slice header, const struct authorization *parsed)
{
    unsigned char encoded[BASIC_MAX * 2];
    struct slice name = parsed->name, password = parsed->password;

    assert(lies_in(name, parsed->basic, BASIC_MAX) && lies_in(password, parsed->basic, BASIC_MAX));
    assert(name.at == parsed->basic && password.at == name.at + name.size + 1);
    assert(name.size == 0 || memchr(name.at, ':', name.size) == NULL);
    size_t size = name.size + 1 + password.size;
    for (size_t i = 0; i < size; i++)
        assert((unsigned char)parsed->basic[i] >= 0x20 && parsed->basic[i] != 0x7f);
    (void)EVP_EncodeBlock(encoded, (const unsigned char *)parsed->basic, (int)size);
    assert(slice_ends(header, (const char *)encoded));
}

static void cookie_check(struct slice header)
{
    struct slice value = cookie_find(header, "s");

    if (value.at == NULL)
        return;
    assert(lies_in(value, header.at, header.size) && value.at - header.at >= 2);
    assert(value.at[-1] == '=' && value.at[-2] == 's');
    assert(value.size == 0 || memchr(value.at, ';', value.size) == NULL);
    assert(value.size == 0 || memchr(value.at, '"', value.size) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice header = {(const char *)data, size};
    struct authorization parsed;

    authorization_parse(header, &parsed);
    if (parsed.kind == AUTHORIZATION_BASIC)
        basic_check(header, &parsed);
    assert((parsed.kind == AUTHORIZATION_BEARER) == (parsed.token.at != NULL));
    if (parsed.kind == AUTHORIZATION_BEARER)
        assert(lies_in(parsed.token, header.at, header.size) && parsed.token.size > 0 &&
               memchr(parsed.token.at, ' ', parsed.token.size) == NULL);
    cookie_check(header);
    return 0;
}

/* fuzz_challenge.c - any bytes as the headers WWW-Authenticate and Link: always an end, and texts
 * without a zero byte. */
#include "registry/transfer/challenge.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    OWNED(challenge_drop) struct challenge challenge;

    challenge_parse(text, &challenge);
    assert(challenge.realm == NULL || (challenge.bearer && strlen(challenge.realm) <= size));
    assert(challenge.service == NULL || challenge.bearer);
    struct slice next = link_next(text);
    assert(next.at == NULL || (next.at > text.at && next.at + next.size < text.at + text.size));
    return 0;
}

/* fuzz_htpasswd.c - any bytes as a line of a password file: what is accepted has a name without
 * control characters or colon, and a hash that password.h reads. */
#include "auth/htpasswd.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = {(const char *)data, size}, name, hash;
    struct error err = {0};
    int outcome = htpasswd_line_parse(line, &name, &hash, &err);

    assert((outcome < 0) == (err.code == ERROR_INVALID) && (outcome < 0) == (err.message[0] != 0));
    (void)password_hash_readable(line);
    if (outcome <= 0)
        return 0;
    assert(name.at == line.at && name.size > 0 && hash.at == name.at + name.size + 1);
    assert(name.size + 1 + hash.size == line.size && password_hash_readable(hash));
    for (size_t i = 0; i < name.size; i++)
        assert((unsigned char)name.at[i] >= 0x20 && name.at[i] != ':' && name.at[i] != 0x7f);
    return 0;
}

/* fuzz_passwd.c - any bytes as passwd and group: a number stays that user, groups fit. */
#include <stdlib.h>

#include "s2i/contract/contract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is who is wanted; passwd and group are both all the rest. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(container_user_drop) struct container_user user;
    struct slice wanted, files, name, group;
    struct error err = {0};
    uint64_t uid;

    slice_split((struct slice){(const char *)data, size}, '\n', &wanted, &files);
    char *text = memory_text(wanted);
    int outcome = container_user_find(text, files, files, &user, &err);
    slice_split(slice_of(text), ':', &name, &group);
    if (outcome < 0)
        assert(err.code == ERROR_INVALID && user.home == NULL);
    else if (slice_to_u64(name, &uid))
        assert(user.uid == uid);
    assert(user.group_count <= 64);
    free(text);
    return 0;
}

/* fuzz_hook.c - any bytes as the payload of a webhook: the first says of which sender. What is
 * taken has whole refs and ids of commits only. */
#include <string.h>

#include "registry/api/hook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_change(const struct hook_change *change)
{
    assert(change->ref == NULL || strncmp(change->ref, "refs/", 5) == 0);
    assert(change->ref == NULL || strstr(change->ref, "..") == NULL);
    assert(change->commit == NULL || strspn(change->commit, "0123456789abcdef") >= 40);
    assert(!change->deleted || change->commit == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(hook_push_drop) struct hook_push push = {0};
    struct error err = {0};

    if (size == 0)
        return 0;
    struct slice body = {(const char *)data + 1, size - 1};
    if (hook_parse((enum hook_sender)(data[0] % HOOK_SENDERS), body, &push, &err) < 0) {
        assert(err.code == ERROR_BAD_REQUEST && push.count == 0);
        return 0;
    }
    for (size_t i = 0; i < push.count; i++)
        check_change(&push.changes[i]);
    hook_choose(&push, SLICE_NONE);
    hook_choose(&push, SLICE("next"));
    return 0;
}

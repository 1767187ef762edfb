/* fuzz_ignore.c - any bytes as .s2iignore and a path: told to go or to stay, in time. */
#include "s2i/contract/contract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the path, the rest the rules. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};
    struct slice path, rules;

    slice_split((struct slice){(const char *)data, size}, '\n', &path, &rules);
    OWNED(ignore_drop) struct ignore *ignore = ignore_parse(rules, &notes);
    assert(!ignore_selects(NULL, path));
    bool goes = ignore_selects(ignore, path);
    assert(goes == ignore_selects(ignore, path));
    assert(!goes || rules.size > 0);
    return 0;
}

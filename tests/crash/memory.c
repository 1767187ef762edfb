/* memory.c - allocations of the program under the preloaded library: they fail when a rule says so.
 * Touches  nothing.
 * Never    allocates by itself. */
#include "tests/crash/interpose.h"

#include <errno.h>
#include <stdlib.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static bool memory_is_out(void)
{
    if (control == NULL || rules_ask(CALL_MALLOC, "").action != FAIL)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    return memory_is_out() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return memory_is_out() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return memory_is_out() ? NULL : __libc_realloc(memory, size);
}

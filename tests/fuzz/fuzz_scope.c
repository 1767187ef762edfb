/* fuzz_scope.c - any bytes as scopes: what is read is well-formed, and reads the same again. */
#include "auth/scope.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(const struct scopes *scopes, struct buffer *out)
{
    for (size_t i = 0; i < scopes->count; i++) {
        const struct scope *one = &scopes->items[i];
        buffer_append_text(out, one->type == SCOPE_CATALOG ? " registry:" : " repository:");
        buffer_append_slice(out, one->name);
        buffer_append_text(out, ":");
        scope_actions_print(one->actions, out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(scopes_drop) struct scopes scopes, again;
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE, same = BUFFER_NONE;
    const unsigned every = SCOPE_PULL | SCOPE_PUSH | SCOPE_DELETE | SCOPE_ALL;

    scopes_parse((struct slice){(const char *)data, size}, &scopes);
    assert(scopes.count <= SCOPES_MAX);
    for (size_t i = 0; i < scopes.count; i++) {
        struct slice name = scopes.items[i].name;
        assert((scopes.items[i].actions & ~every) == 0);
        assert(name.size > 0 && name.size <= 255 && memchr(name.at, '*', name.size) == NULL);
        assert(memchr(name.at, ' ', name.size) == NULL &&
               memmem(name.at, name.size, "..", 2) == NULL);
        for (size_t other = 0; other < i; other++)
            assert(scopes.items[other].type != scopes.items[i].type ||
                   !slice_equal(scopes.items[other].name, name));
    }
    print(&scopes, &text);
    scopes_parse(buffer_slice(&text), &again);
    print(&again, &same);
    assert(slice_equal(buffer_slice(&text), buffer_slice(&same)));
    return 0;
}

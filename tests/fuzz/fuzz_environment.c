/* fuzz_environment.c - any bytes as .s2i/environment: what comes out are variables that fit JSON.
 */
#include <string.h>

#include "s2i/contract/contract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(s2i_list_drop) struct s2i_list out = {.items = NULL};
    OWNED(s2i_list_drop) struct s2i_list notes = {.items = NULL};

    environment_parse((struct slice){(const char *)data, size}, &out, &notes);
    assert(out.count <= 1000);
    for (size_t i = 0; i < out.count; i++) {
        const char *equals = strchr(out.items[i], '=');
        assert(equals != NULL && equals != out.items[i]);
        json_t *text = json_string(out.items[i]);
        assert(text != NULL);
        json_decref(text);
    }
    return 0;
}

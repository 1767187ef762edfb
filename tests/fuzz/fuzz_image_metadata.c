/* fuzz_image_metadata.c - any bytes as image_metadata.json: labels, or a sentence why not. */
#include <string.h>

#include "s2i/contract/contract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(s2i_list_drop) struct s2i_list labels = {.items = NULL};
    struct error err = {0};

    if (image_metadata_read((struct slice){(const char *)data, size}, &labels, &err) < 0)
        assert(err.code == ERROR_INVALID && strstr(err.message, "image_metadata.json") != NULL);
    for (size_t i = 0; i < labels.count; i++)
        assert(strchr(labels.items[i], '=') > labels.items[i]);
    return 0;
}

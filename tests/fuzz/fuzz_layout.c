/* fuzz_layout.c - any bytes as index.json: read or refused; what was read is printed, and reads the
 * same again. */
#include "registry/transfer/layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    OWNED(layout_drop) struct layout layout = {.entries = NULL};
    OWNED(layout_drop) struct layout again = {.entries = NULL};
    OWNED(buffer_drop) struct buffer printed = BUFFER_NONE;
    struct image_name name;
    struct error err = {0}, ignored = {0};

    if (image_name_parse(text, &name, &ignored) == 0)
        assert(name.repository.size > 0 && name.repository.size <= size);
    if (layout_parse(text, 20, &layout, &err) < 0) {
        assert(err.message[0] != 0 && layout.entries == NULL);
        return 0;
    }
    assert(layout.count <= 20);
    layout_print(&layout, &printed);
    int status = layout_parse(buffer_slice(&printed), 20, &again, &err);
    assert(status == 0 && again.count == layout.count);
    for (size_t i = 0; i < layout.count; i++) {
        struct slice tag = layout_tag(slice_of(layout.entries[i].name));
        assert(tag.size <= 128);
        assert(digest_equal(&layout.entries[i].digest, &again.entries[i].digest));
    }
    return 0;
}

/* fuzz_document.c - any bytes as a manifest: read or refused, never more than the limit. */
#include "registry/core/document.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first line is the Content-Type, the rest the body. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice type, body;
    struct document document;
    struct error err = {0};

    slice_split((struct slice){(const char *)data, size}, '\n', &type, &body);
    if (document_parse(body, type, 50, &document, &err) == 0) {
        assert(document.media_type != NULL);
        assert(document.blob_count + document.child_count <= 50);
        assert(document.kind == DOCUMENT_INDEX || document.artifact_type != NULL);
    } else {
        assert(err.code == ERROR_MANIFEST_INVALID && err.message[0] != 0);
        assert(document.blobs == NULL && document.children == NULL);
    }
    document_drop(&document);
    return 0;
}

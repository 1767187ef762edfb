/* fuzz_reference.c - any bytes as a name, a tag, a media type, an upload id and a digest: what is
 * accepted is within its limits, and a digest prints as it was read. */
#include <string.h>

#include "registry/core/digest.h"
#include "registry/core/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void names(struct slice text)
{
    if (oci_name_valid(text)) {
        assert(text.size <= OCI_NAME_MAX && memchr(text.at, ':', text.size) == NULL);
        assert(!slice_starts(text, "/") && !slice_ends(text, "/"));
    }
    if (oci_tag_valid(text))
        assert(text.size <= OCI_TAG_MAX && memchr(text.at, '/', text.size) == NULL);
    if (oci_media_type_valid(text))
        assert(text.size <= OCI_MEDIA_TYPE_MAX && memchr(text.at, ';', text.size) == NULL);
    if (oci_upload_id_valid(text))
        assert(text.size == OCI_UPLOAD_ID_SIZE);
}

static void digests(struct slice text)
{
    struct digest any, strict, again;
    struct error err = {0}, other = {0};
    char printed[DIGEST_TEXT_MAX];
    uint8_t key[DIGEST_KEY_MAX];

    bool named = digest_parse_any(text, &any, &err) == 0;
    bool known = digest_parse(text, &strict, &other) == 0;
    assert(named || !known);
    if (!named)
        return;
    assert(slice_equal_text(text, digest_text(&any, printed)));
    size_t size = digest_key(&any, key);
    assert(digest_from_key((struct slice){(const char *)key, size}, &again));
    assert(digest_equal(&any, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct hasher hasher;
    struct digest digest;

    names(text);
    digests(text);
    if (hasher_restore(&hasher, text)) {
        hasher_update(&hasher, data, size);
        hasher_digest(&hasher, &digest);
    }
    return 0;
}

/* document.h - manifests and indexes: reads a JSON document and lists what it names.
 * Touches  memory; jansson.
 * Never    storage; it does not know what exists.
 *
 * Spec: MPUT-03 to MPUT-13, MPUT-15, MPUT-18, MPUT-29, REF-04, FMT-01, FMT-02. */
#ifndef SLIPWAY_CORE_DOCUMENT_H
#define SLIPWAY_CORE_DOCUMENT_H

#include "registry/core/digest.h"

enum document_kind { DOCUMENT_IMAGE, DOCUMENT_INDEX };

struct document_link {
    struct digest digest; /* digest_parse_any: may be of an algorithm we do not compute */
    uint64_t size;
    bool nondistributable; /* MPUT-15 */
    char *media_type;      /* owned by the document */
    char *platform;        /* "os/arch[/variant]" or NULL; owned by the document */
};

struct document {
    enum document_kind kind;
    char *media_type;      /* what it is stored under */
    char *artifact_type;   /* REF-04: the manifest's, else an image's config type, else NULL */
    char *annotations;     /* JSON object text, compact; NULL when absent or empty */
    struct digest subject; /* or not set */
    char *base_name;       /* of an image: its base, by its annotations, with a tag; NULL: none */
    struct digest base_digest;   /* or not set */
    struct document_link *blobs; /* config first, then layers; duplicates kept once */
    size_t blob_count;
    struct document_link *children; /* in order; duplicates kept once */
    size_t child_count;
};

/* content_type: the request's, SLICE_NONE when absent; parameters are ignored.
 * descriptors_max: config, layers and children together.
 * MANIFEST_INVALID  with a sentence that names the member. On failure out is dropped. */
int document_parse(struct slice body, struct slice content_type, size_t descriptors_max,
                   struct document *out, struct error *err) MUST_CHECK;
void document_drop(struct document *document);

#endif

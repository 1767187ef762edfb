/* referrer.c - manifests of what refers to an image.
 * Touches  memory only.
 * Never    the text itself. */
#include "s2i/contract/referrer.h"

#include "registry/core/dsse.h"
#include "registry/core/oci.h"
#include "s2i/contract/compose.h"

static const struct {
    const char *artifact_type, *text_type, *title;
    const char *predicate; /* of an in-toto statement, or NULL */
} kinds[] = {
    [REFERRER_STATEMENT] = {DSSE_PAYLOAD_STATEMENT, DSSE_PAYLOAD_STATEMENT, "provenance.json",
                            PROVENANCE_PREDICATE},
    [REFERRER_PROVENANCE] = {DSSE_TYPE, DSSE_TYPE, "provenance.intoto.json", PROVENANCE_PREDICATE},
    [REFERRER_SBOM] = {"application/spdx+json", "application/spdx+json", "sbom.spdx.json", NULL},
    [REFERRER_LOG] = {"application/vnd.slipway.build-log.v1", "text/plain", "build.log", NULL},
};

/* By the two names that tools look for. */
static void set_predicate(json_t *object, const char *predicate)
{
    if (predicate == NULL)
        return;
    json_t *annotations = compose_object(object, "annotations");
    json_object_set_new(annotations, "in-toto.io/predicate-type", json_string(predicate));
    json_object_set_new(annotations, "predicateType", json_string(predicate));
}

void referrer_make(enum referrer_kind kind, const struct referrer_subject *subject,
                   const struct digest *text, uint64_t size, int64_t seconds,
                   struct buffer *manifest, struct digest *digest)
{
    OWNED(json_decrefp) json_t *document = json_object();
    json_t *layer = compose_descriptor(kinds[kind].text_type, text, size);
    struct digest empty;

    digest_of(DIGEST_SHA256, SLICE(REFERRER_CONFIG), &empty);
    json_object_set_new(document, "schemaVersion", json_integer(2));
    json_object_set_new(document, "mediaType", json_string(OCI_TYPE_MANIFEST));
    json_object_set_new(document, "artifactType", json_string(kinds[kind].artifact_type));
    json_object_set_new(document, "config",
                        compose_descriptor(OCI_TYPE_EMPTY, &empty, sizeof(REFERRER_CONFIG) - 1));
    json_object_set_new(document, "subject",
                        compose_descriptor(subject->media_type, &subject->digest, subject->size));
    json_object_set_new(compose_object(layer, "annotations"), "org.opencontainers.image.title",
                        json_string(kinds[kind].title));
    set_predicate(layer, kinds[kind].predicate);
    json_object_set_new(document, "layers", json_pack("[o]", layer));
    compose_set_time(compose_object(document, "annotations"), "org.opencontainers.image.created",
                     seconds);
    set_predicate(document, kinds[kind].predicate);
    compose_text(document, manifest, digest);
}

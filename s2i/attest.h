/* attest.h - shared by attest.c (what is to stand beside an image), rebase_attest.c (one that was
 * put on a newer base), attest_publish.c (it is published), attest_sbom.c (with the files of
 * layers) and attester.c (when).
 * Touches  nothing.
 * Never    included from elsewhere. */
#ifndef SLIPWAY_S2I_ATTEST_H
#define SLIPWAY_S2I_ATTEST_H

#include <jansson.h>

#include "s2i/contract/referrer.h"
#include "s2i/s2i_internal.h"

/* Whether builds.attest says so: "provenance", "sbom", "log". */
bool attest_wanted(const struct config *config, const char *kind);
/* A document of nothing yet; seconds: of the image's source. The caller's. */
json_t *attest_document(const struct referrer_subject *subject, int64_t seconds, bool log);
/* The statement, signed if that can be. */
void attest_add_provenance(struct builds *builds, struct slice statement, json_t *document)
    ON(worker_thread);
/* The list of parts; its server and version are set here. */
void attest_add_parts(const struct builds *builds, struct sbom *about, json_t *document);

/* The statement in an envelope; its public key is durable when this is back. UNAVAILABLE */
int attest_sign(struct builds *builds, struct slice statement, struct buffer *envelope,
                struct error *err) MUST_CHECK ON(worker_thread);

/* The SBOM of the document, with the files of its layers, as a blob. */
int attest_sbom(const struct publisher *publisher, const json_t *document, struct digest *digest,
                uint64_t *size, struct error *err) MUST_CHECK ON(worker_thread);

#endif

/* attest.h - shared by attest.c (what is to stand beside an image), attest_publish.c (it is
 * published), attest_sbom.c (with the files of layers) and attester.c (when).
 * Touches  nothing.
 * Never    included from elsewhere. */
#ifndef SLIPWAY_S2I_ATTEST_H
#define SLIPWAY_S2I_ATTEST_H

#include <jansson.h>

#include "s2i/s2i_internal.h"

/* The statement in an envelope; its public key is durable when this is back. UNAVAILABLE */
int attest_sign(struct builds *builds, struct slice statement, struct buffer *envelope,
                struct error *err) MUST_CHECK ON(worker_thread);

/* The SBOM of the document, with the files of its layers, as a blob. */
int attest_sbom(const struct publisher *publisher, const json_t *document, struct digest *digest,
                uint64_t *size, struct error *err) MUST_CHECK ON(worker_thread);

#endif

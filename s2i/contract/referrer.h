/* referrer.h - what stands beside an image that a build made: where it is from (SLSA provenance),
 * what is in it (SPDX), what the build said (its log).
 * Touches  memory only (pure).
 * Never    a secret: values of secret variables and injected files are not in the options it shows.
 *
 * Spec: s2i 7.12, 15.5. Each is a manifest with the image as its subject, the empty config
 * (REFERRER_CONFIG, a blob to be there too) and one layer, the text. */
#ifndef SLIPWAY_S2I_REFERRER_H
#define SLIPWAY_S2I_REFERRER_H

#include "s2i/spec.h"

#define REFERRER_CONFIG "{}" /* of media type application/vnd.oci.empty.v1+json */

enum referrer_kind { REFERRER_PROVENANCE, REFERRER_SBOM, REFERRER_LOG };

/* The image: what contract_result_make gave. */
struct referrer_subject {
    const char *media_type; /* of the manifest */
    struct digest digest;
    uint64_t size;
};

struct provenance {
    const struct s2i_spec *spec;
    const struct s2i_result *result;
    const struct referrer_subject *subject;
    const char *server;  /* its public URL; "" */
    const char *version; /* of this program */
    int64_t started_us, finished_us;
    const struct digest *log; /* of the log's text; NULL */
};
/* An in-toto statement with a SLSA v1 predicate. */
void provenance_make(const struct provenance *about, struct buffer *out);

struct sbom {
    const struct s2i_spec *spec;
    const struct s2i_result *result;
    const struct referrer_subject *subject;
    const char *server, *version;
};
/* SPDX 2.3 as JSON; the same image gives the same text. */
void sbom_make(const struct sbom *about, struct buffer *out);

/* The manifest of a text that is stored: digest and size are its. seconds: when it was made. */
void referrer_make(enum referrer_kind kind, const struct referrer_subject *subject,
                   const struct digest *text, uint64_t size, int64_t seconds,
                   struct buffer *manifest, struct digest *digest);

#endif

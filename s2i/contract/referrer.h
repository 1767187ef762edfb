/* referrer.h - what stands beside an image that a build or a rebase made: where it is from (SLSA
 * provenance), what is in it (SPDX), what the build said (its log). Touches  memory only (pure).
 * Never    a secret: of variables it shows the names, of URLs no user information; injected files
 *          are named by their secrets, whose values are not here.
 *
 * Spec: s2i 7.12, 15.5. Each is a manifest with the image as its subject, the empty config
 * (REFERRER_CONFIG, a blob to be there too) and one layer, the text. */
#ifndef SLIPWAY_S2I_REFERRER_H
#define SLIPWAY_S2I_REFERRER_H

#include "s2i/spec.h"

#define PROVENANCE_PREDICATE "https://slsa.dev/provenance/v1"
#define REFERRER_CONFIG "{}" /* of media type application/vnd.oci.empty.v1+json */

enum referrer_kind {
    REFERRER_STATEMENT,  /* provenance that nobody signed */
    REFERRER_PROVENANCE, /* signed: the statement in an envelope of DSSE */
    REFERRER_SBOM,
    REFERRER_LOG,
};

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
    const char *server;          /* its public URL; "" */
    const char *version;         /* of this program */
    const char *actor, *trigger; /* who asked for the build, and how */
    int64_t started_us, finished_us;
    const struct digest *log; /* of the log's text; NULL */
};
/* An in-toto statement with a SLSA v1 predicate. */
void provenance_make(const struct provenance *about, struct buffer *out);

/* The same of an image that was put on a newer base. */
struct provenance_rebase {
    struct slice repository;     /* of the image */
    const struct digest *before; /* what it was until then, in the same repository */
    const struct s2i_image *old_base, *new_base;
    const struct referrer_subject *subject;
    const char *server, *version; /* as above */
    struct slice actor;           /* who asked for it */
    int64_t started_us, finished_us;
};
void provenance_of_rebase(const struct provenance_rebase *about, struct buffer *out);

struct sbom {
    struct slice repository;             /* of the image */
    int64_t seconds;                     /* of its source, since 1970 */
    const struct s2i_image *base;        /* what it stands on */
    const struct s2i_made_layer *layers; /* its own */
    size_t layer_count;
    const struct s2i_list *packages; /* as s2i_result has them; NULL: nobody looked for them */
    const struct referrer_subject *subject;
    const char *server, *version;
};
/* Of an image as it was built. */
struct sbom sbom_of_build(const struct s2i_spec *spec, const struct s2i_result *result,
                          const struct referrer_subject *subject);
/* SPDX 2.3 as JSON, without the files of the image's own layers; the same image gives the same
 * text.
 */
void sbom_make(const struct sbom *about, struct buffer *out);

/* The same document with the files of its layers, which come one by one; what was written is given
 * away piece by piece, so that memory does not grow by more than 20 bytes a file. */
enum { SBOM_FILES_MAX = 100 * 1000 };
typedef int sbom_sink(void *arg, struct slice bytes, struct error *err);
struct sbom_writer;
/* text: as sbom_make gave it. without: why its files are not listed, for people; NULL: they are.
 * INVALID  it is no such text */
int sbom_writer_open(struct sbom_writer **out, struct slice text, const char *without,
                     sbom_sink *sink, void *arg, struct error *err) MUST_CHECK;
/* A regular file of a layer, from 0; layers come in their order. INVALID  there are more
 * than SBOM_FILES_MAX, or their names are too long: begin anew, without */
int sbom_writer_file(struct sbom_writer *writer, size_t layer, struct slice path,
                     const struct digest *sha256, const uint8_t sha1[SHA1_SIZE],
                     struct error *err) MUST_CHECK;
int sbom_writer_end(struct sbom_writer *writer, struct error *err) MUST_CHECK;
void sbom_writer_drop(struct sbom_writer **writer);

/* The manifest of a text that is stored: digest and size are its. seconds: when it was made. */
void referrer_make(enum referrer_kind kind, const struct referrer_subject *subject,
                   const struct digest *text, uint64_t size, int64_t seconds,
                   struct buffer *manifest, struct digest *digest);

#endif

/* transfer_internal.h - what the files of registry/transfer/ share: one run, its counters and
 * problems, and how images of any source come in.
 * Touches  nothing by itself.
 * Never    included outside of registry/transfer/ and its tests. */
#ifndef SLIPWAY_TRANSFER_INTERNAL_H
#define SLIPWAY_TRANSFER_INTERNAL_H

#include <jansson.h>

#include "registry/config.h"
#include "registry/core/document.h"
#include "registry/core/progress.h"
#include "registry/transfer/digest_set.h"
#include "registry/transfer/layout.h"
#include "storage/accounts.h"
#include "storage/adopt.h"
#include "storage/storage.h"

enum { TRANSFER_DEPTH_MAX = 8 }; /* indexes of indexes */

/* One run; the calling thread's. */
struct transfer {
    struct storage *storage;
    const struct config *config;
    const struct progress *progress;
    struct actor actor;
    enum adopt_mode mode;
    bool trusting;
    bool dry_run;   /* looks and counts; changes nothing */
    bool overwrite; /* tags that were changed here as well */
    json_t *result; /* borrowed: counters and problems */
};

/* Adds to a counter of the result and of the progress. */
void transfer_count(struct transfer *transfer, const char *counter, uint64_t amount);
/* What could not be brought; the run goes on. place: a tag, a digest, a path; "" for none. */
void transfer_problem(struct transfer *transfer, struct slice repository, const char *place,
                      const char *format, ...) PRINTF_LIKE(4, 5);
void transfer_problem_digest(struct transfer *transfer, struct slice repository,
                             const struct digest *digest, const char *message);
bool transfer_stopped(const struct transfer *transfer);

/* --- where images come from --- */

/* A manifest as its source has it. Freed with image_drop. */
struct image {
    struct digest digest;
    struct buffer payload;
    char *media_type;   /* as the source says; NULL: the document says it */
    int64_t created_at; /* when the source got it; 0: not known */
    struct document document;
};
void image_drop(struct image *image);

struct wanted {
    struct digest digest;
    uint64_t size; /* as the descriptor says */
    bool lost;     /* out: it is not in the repository now */
    bool dispensable;
};

struct source {
    /* The manifest's bytes, whose digest the caller checks; limit: bytes.
     * MANIFEST_UNKNOWN  the source does not have it */
    int (*manifest)(struct source *source, struct slice repository, struct image *image,
                    size_t limit, struct error *err);
    /* Brings blobs into the repository, tells problems of those it could not bring. */
    int (*blobs)(struct source *source, struct transfer *transfer, struct slice repository,
                 struct wanted *blobs, size_t count, struct error *err);
};

/* What is known of one repository while its images come in. Freed with intake_drop. */
struct intake {
    struct transfer *transfer;
    struct source *source;
    struct slice repository;
    struct digest_set done;   /* manifests that are here now */
    struct digest_set failed; /* manifests that could not be brought: told already */
    struct digest_set lost;   /* blobs that could not be brought: told already */
    struct digest_list came;  /* the same as done, in the order they came */
};
void intake_drop(struct intake *intake);
/* Manifests with all they name, children before those that name them. -1 only when the run cannot
 * go on; what single images lack is told as a problem. */
int intake_manifests(struct intake *intake, const struct digest *digests, size_t count,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* Tags whose manifests came in; those of the others are told. */
int intake_tags(struct intake *intake, struct adopt_tag *tags, size_t count,
                struct error *err) MUST_CHECK ON(worker_thread);

/* --- a source of files --- */

struct files {
    struct source source;
    /* Where the bytes of the digest lie. */
    void (*path)(const struct files *files, const struct digest *digest, struct buffer *out);
    const char *root;
};
void files_open(struct files *files);
int files_manifest(struct source *source, struct slice repository, struct image *image,
                   size_t limit, struct error *err) MUST_CHECK;
/* When it was written, in microseconds; 0: before 1970. */
struct stat;
int64_t file_time(const struct stat *file);
/* The whole file, at most limit bytes, and when it was written. MANIFEST_UNKNOWN  there is none */
int file_read(const char *path, size_t limit, struct buffer *out, int64_t *written_at,
              struct error *err) MUST_CHECK;
/* "sha256" and "ab..." of a digest we compute. */
const char *digest_hex(const struct digest *digest, char text[DIGEST_TEXT_MAX],
                       struct slice *algorithm);

/* A child of an index that is a manifest; caches of builds name blobs as well (MPUT-16). */
bool child_is_manifest(const struct document_link *child);

/* --- the imports, the export --- */

int import_distribution(struct transfer *transfer, const char *root, struct slice glob,
                        struct error *err) MUST_CHECK ON(worker_thread);
/* tag: SLICE_NONE for those that the layout names. */
int import_oci_layout(struct transfer *transfer, const char *root, struct slice repository,
                      struct slice tag, struct error *err) MUST_CHECK ON(worker_thread);
/* Of an image without tag and digest all tags. */
int export_oci_layout(struct transfer *transfer, const char *root, const struct image_name *images,
                      size_t count, bool referrers, struct error *err) MUST_CHECK ON(worker_thread);

struct import_remote {
    const char *url;
    const struct slice *repositories; /* names and patterns; none: all */
    size_t repository_count;
    struct slice tags;         /* a pattern; SLICE_NONE: all */
    const char *user;          /* NULL: nobody */
    const char *password_file; /* goes with user */
    const char *ca_file;       /* NULL: the system's */
    bool plain_http;
};
int import_remote(struct transfer *transfer, const struct import_remote *what,
                  struct error *err) MUST_CHECK ON(worker_thread);

/* oci_layout.c, for both. NOT_FOUND, INVALID */
int layout_read(const char *root, struct layout *out, struct error *err) MUST_CHECK;
void layout_path(const struct files *files, const struct digest *digest, struct buffer *out);

#endif

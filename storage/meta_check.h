/* meta_check.h - the check's view of the database: pages of rows with what is wrong among them, and
 * repairs.
 * Touches  rows that follow from others, marks of damage.
 * Never    files.
 *
 * meta_check.c has the pages, meta_check_manifest.c those of manifests, meta_check_file.c those
 * with files, meta_quota_count.c that of quotas, meta_check_repair.c the repairs.
 *
 * A page is one snapshot, so what is wrong in it is wrong: every transaction of ours leaves
 * references, sizes and the queue right. */
#ifndef SLIPWAY_STORAGE_META_CHECK_H
#define SLIPWAY_STORAGE_META_CHECK_H

#include "storage/check.h"
#include "storage/meta.h"

/* What is wrong with rows, and what a repair needs to know of it. */
struct check_fault {
    struct check_finding finding;
    int64_t repository, id, other; /* keys */
    struct digest digest;
    int64_t number;
    char platform[CHECK_TEXT_MAX];
};

/* A walk through a table by its key. Zero-initialised; freed with check_page_drop. */
struct check_page {
    struct slice glob; /* SLICE_NONE: every repository */
    bool done;         /* the end of the table was reached */
    uint64_t rows;     /* looked at in this page */
    struct check_fault *faults;
    size_t count, capacity;
    /* the key of the last row */
    int64_t after[2];
    char after_text[CHECK_TEXT_MAX];
};
void check_page_drop(struct check_page *page);
bool check_page_covers(const struct check_page *page, struct slice repository);
/* The next fault, zeroed but for its kind and sentence. */
struct check_fault *check_fault_add(struct check_page *page, enum check_kind kind,
                                    const char *format, ...) PRINTF_LIKE(3, 4);
/* Shortened when it does not fit. */
void check_text(char *out, size_t capacity, struct slice text);

/* The next page: at most some hundred rows and a fraction of a second; of quotas, one with all that
 * it counts. */
typedef int meta_check_page(struct meta *meta, struct check_page *page, struct error *err);
meta_check_page meta_check_locators_of_uploads, meta_check_locators_of_trash, meta_check_links,
    meta_check_manifests, meta_check_tags, meta_check_repositories, meta_check_blobs_leaked,
    meta_check_quotas;
/* All at once. */
int meta_check_database(struct meta *meta, bool deep, struct check_page *page,
                        struct error *err) MUST_CHECK;

/* Makes it right, after looking again; *repaired is false when it cannot be. `after` as in meta.h:
 * what was read may be wrong. */
int meta_check_repair(struct meta *meta, const struct check_fault *fault,
                      const struct meta_after *after, bool *repaired, struct error *err) MUST_CHECK;

/* --- rows that have files --- */

enum { CHECK_ROWS = 256 };
struct check_row {
    int64_t id; /* of a blob */
    char upload[OCI_UPLOAD_ID_SIZE + 1];
    char locator[LOCATOR_SIZE + 1];
    bool nowhere; /* the row names no locator: this one is nobody's */
    struct digest digest;
    uint64_t size; /* of a blob; received, of an upload */
    int64_t time;  /* of a blob: created; of trash: not before */
    int64_t verified_at;
    bool damaged;
};

/* CHECK_ROWS rows after the key: a blob's id, an upload's id, a locator of trash. */
int meta_check_blobs(struct meta *meta, int64_t after, struct check_row *rows, size_t *count,
                     struct error *err) MUST_CHECK;
int meta_check_uploads(struct meta *meta, const char *after, struct check_row *rows, size_t *count,
                       struct error *err) MUST_CHECK;
int meta_check_trash(struct meta *meta, const char *after, struct check_row *rows, size_t *count,
                     struct error *err) MUST_CHECK;
/* The row as it is now. *found is false when it is gone. */
int meta_check_blob_again(struct meta *meta, int64_t id, struct check_row *out, bool *found,
                          struct error *err) MUST_CHECK;
int meta_check_upload_again(struct meta *meta, const char *id, bool *found,
                            struct error *err) MUST_CHECK;
/* Whether a row of blobs, uploads or trash names it. */
int meta_check_locator(struct meta *meta, const char *locator, bool *known,
                       struct error *err) MUST_CHECK;
/* A repository the glob covers that links the blob; "" when there is none. */
int meta_check_blob_repository(struct meta *meta, int64_t id, struct slice glob,
                               char out[CHECK_TEXT_MAX], struct error *err) MUST_CHECK;
/* The mark of damage goes, while it still has this locator. */
int meta_check_blob_unflag(struct meta *meta, int64_t id, const char *locator,
                           struct error *err) MUST_CHECK;

/* --- the scrub --- */

/* Notes that these blobs were found right, and where the scrub stands (NULL: nothing of that). May
 * be lost. */
struct meta_verified {
    int64_t id;
    int64_t at;
};
int meta_verified(struct meta *meta, const struct meta_verified *blobs, size_t count,
                  const char *state_name, const char *state, struct error *err) MUST_CHECK;
/* Damaged blobs, and the largest id. */
int meta_scrub_counts(struct meta *meta, uint64_t *damaged, uint64_t *last,
                      struct error *err) MUST_CHECK;

#endif

/* check.h - does the store hold what it says it holds: metadata against files, both ways.
 * Touches  what it repairs when it is asked to: rows that follow from others, marks of damage, and
 *          files that belong to nothing, which it moves into <root>/quarantine.
 * Never    deletes a byte; takes work under way for damage.
 *
 * (1) Works beside requests and collection: rows are read in pages of one snapshot each, and what
 *     concerns a file is told only after a second look at its row, then at the file.
 * (2) A repair looks again in the transaction that makes it, so it may be cut off anywhere and
 *     run again. Bytes are moved after the row that named them is marked, durably.
 * (3) Memory is bounded by a shelf's names and a page of rows. */
#ifndef SLIPWAY_STORAGE_CHECK_H
#define SLIPWAY_STORAGE_CHECK_H

#include <stdbool.h>

#include "registry/core/digest.h"
#include "registry/core/progress.h"

struct storage;

enum check_kind {
    CHECK_DATABASE,      /* the database's own check of itself */
    CHECK_FOREIGN_KEY,   /* rows that point to nothing */
    CHECK_LOCATOR_TWICE, /* in two of blobs, uploads, trash */
    CHECK_TRASH_WITHOUT_FILE,
    CHECK_UPLOAD_WITHOUT_FILE,
    CHECK_FILE_EXTRA,    /* no row names it */
    CHECK_FILE_MISNAMED, /* no locator, or on another's shelf */
    CHECK_BLOB_MISSING,
    CHECK_BLOB_TRUNCATED,
    CHECK_BLOB_GROWN,
    CHECK_BLOB_ALTERED, /* hashes to something else */
    CHECK_BLOB_UNREADABLE,
    CHECK_BLOB_AWAITED,     /* known damaged: answers 404 until it is pushed again */
    CHECK_BLOB_FLAGGED,     /* marked damaged, but its bytes are right */
    CHECK_BLOB_MARK,        /* the file's digest attribute is another's */
    CHECK_BLOB_LEAKED,      /* no repository links it, and the collector does not know */
    CHECK_LINK_LEAKED,      /* the same of a link */
    CHECK_MANIFEST_ALTERED, /* its text hashes to something else */
    CHECK_MANIFEST_UNREADABLE,
    CHECK_MANIFEST_SIZE,
    CHECK_MANIFEST_TOTAL,
    CHECK_MANIFEST_REFERENCE, /* names content without a row that holds it */
    CHECK_CHILD_WRONG,        /* an index's row points to another manifest */
    CHECK_CHILD_UNLINKED,     /* the child is here, and its row does not say so */
    CHECK_MANIFEST_FORGOTTEN, /* set aside, and the collector does not know */
    CHECK_REPOSITORY_FORGOTTEN,
    CHECK_TAG_DANGLING,
    CHECK_QUOTA, /* what is counted as used is not what is linked */
    CHECK_KINDS
};

enum check_severity { CHECK_INFO, CHECK_WARNING, CHECK_ERROR };

enum { CHECK_NAME_MAX = 512, CHECK_TEXT_MAX = 256, CHECK_SENTENCE_MAX = 320 };

/* What was found; texts that do not apply are "". */
struct check_finding {
    enum check_kind kind;
    bool repaired;
    char repository[CHECK_TEXT_MAX];
    char tag[CHECK_TEXT_MAX];
    char digest[DIGEST_TEXT_MAX];
    char object[CHECK_NAME_MAX]; /* a locator, a file's name, an upload's id, a table */
    char sentence[CHECK_SENTENCE_MAX];
};

const char *check_kind_name(enum check_kind kind); /* "blob-missing" */
enum check_severity check_kind_severity(enum check_kind kind);
const char *check_severity_name(enum check_severity severity);

struct check_options {
    bool deep; /* hash every blob; the database's indexes too */
    bool repair;
    struct slice repositories; /* a glob; SLICE_NONE: the whole store */
    uint64_t rate;             /* bytes a second read of blobs; 0: no limit */
};

struct check_report {
    uint64_t files, blobs, bytes; /* looked at; bytes: hashed */
    uint64_t links, manifests, tags, uploads, trash;
    uint64_t found, repaired; /* warnings and errors */
    uint64_t left;            /* errors that were not repaired */
    uint64_t kinds[CHECK_KINDS];
    bool cancelled;
};

/* tell is called on the calling thread, once a finding. A cancelled check returns 0.
 * UNAVAILABLE, INTERNAL  it could not be finished; report says how far it came */
typedef void check_tell(void *arg, const struct check_finding *finding);
int storage_check(struct storage *store, const struct check_options *options,
                  const struct progress *progress, check_tell *tell, void *arg,
                  struct check_report *report, struct error *err) MUST_CHECK ON(worker_thread);

/* --- the scrub: reads every blob again, slowly, all the time --- */

struct scrub_status {
    uint64_t rate;             /* bytes a second it may read; 0: it does not run */
    bool running;              /* a pass is under way */
    uint64_t position, total;  /* blobs passed of this pass, blobs there are (both by their ids) */
    uint64_t damaged;          /* blobs known damaged now */
    int64_t started_at;        /* us; of the pass under way or the last; 0: none */
    int64_t finished_at;       /* us; of the last full pass; 0: none */
    int64_t next_at;           /* us; when the next one begins, unless one runs */
    uint64_t bytes_per_second; /* lately */
    /* since the start of the process */
    uint64_t blobs, bytes, found;
};
int storage_scrub_status(struct storage *store, struct scrub_status *out,
                         struct error *err) MUST_CHECK ON(worker_thread);
/* A pass begins now, from the first blob. CONFLICT  the scrub is off */
int storage_scrub_run(struct storage *store, struct error *err) MUST_CHECK ON(worker_thread);

#endif

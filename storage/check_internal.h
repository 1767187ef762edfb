/* check_internal.h - shared by the files of the check and by the scrub: reading blobs slowly, and
 * telling what was found.
 * Touches  nothing by itself.
 * Never    included by others. */
#ifndef SLIPWAY_STORAGE_CHECK_INTERNAL_H
#define SLIPWAY_STORAGE_CHECK_INTERNAL_H

#include "storage/check.h"
#include "storage/meta_check.h"
#include "storage/storage_internal.h"

/* --- blob_read.c: a blob's bytes, hashed at a rate --- */

/* So many bytes a second, in steps of a fraction of a second; what was not used is not saved up. */
struct pace {
    uint64_t rate; /* 0: no limit */
    uint64_t next_us;
    bool (*stopped)(void *arg); /* asked before each step */
    void *arg;
};

enum blob_state { BLOB_RIGHT, BLOB_WRONG, BLOB_GONE, BLOB_RESIZED, BLOB_UNREADABLE, BLOB_STOPPED };

/* Reads the whole object and compares it. What it brought into the page cache leaves it again; what
 * others have there stays. *bytes grows by what was read. -1: it could not be opened. */
int blob_read(const struct blob_store *blobs, const struct check_row *row, struct pace *pace,
              enum blob_state *state, uint64_t *bytes, struct error *err) MUST_CHECK
    ON(worker_thread);
/* The same, and what is not right is read once more: memory and disks have weak moments. */
int blob_read_twice(const struct blob_store *blobs, const struct check_row *row, struct pace *pace,
                    enum blob_state *state, uint64_t *bytes, struct error *err) MUST_CHECK
    ON(worker_thread);

/* --- check.c --- */

struct check {
    struct storage *store;
    const struct check_options *options;
    const struct progress *progress;
    check_tell *tell;
    void *arg;
    struct check_report *report;
    struct pace pace;
    bool marks; /* blobs that are damaged, or are no longer: repairs do, and the scrub */
};

bool check_stopped(void *check); /* also as the pace's question */
void check_found(struct check *check, const struct check_finding *finding);
/* A finding about an object with a file; texts may be "". */
struct check_finding check_finding_of(enum check_kind kind, const char *object,
                                      const char *sentence);

/* Moves it into quarantine when repairs are wanted: then it is repaired; what cannot be moved
 * stays, and the sentence says why. */
void check_quarantine(struct check *check, const char *name, struct check_finding *finding)
    ON(worker_thread);

/* --- check_files.c: phases --- */

int check_uploads(struct check *check, struct error *err) ON(worker_thread);
int check_trash(struct check *check, struct error *err) ON(worker_thread);
int check_files(struct check *check, struct error *err) ON(worker_thread);

/* --- check_blobs.c --- */

int check_blobs(struct check *check, struct error *err) ON(worker_thread);
/* One of them; *right: its bytes are, as far as they were looked at. */
int check_blob(struct check *check, const struct check_row *row, bool *right,
               struct error *err) MUST_CHECK ON(worker_thread);

#endif

/* job.h - rows of the table jobs, and the few texts that jobs remember between them.
 * Touches  the tables jobs, audit and server_state.
 * Never    runs a job; reads the JSON it is given.
 *
 * (1) A row is made before its job begins, and says how it ended, in transactions of their own.
 * (2) Of each kind the newest JOB_ROWS_MAX rows are kept, and none that is older than JOB_DAYS_MAX
 *     once it has ended; the next row of the kind takes them away. */
#ifndef SLIPWAY_STORAGE_JOB_H
#define SLIPWAY_STORAGE_JOB_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "storage/accounts.h"

enum { JOB_ROWS_MAX = 1000, JOB_DAYS_MAX = 90 };

/* As the column has it. */
enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED, JOB_INTERRUPTED };

const char *job_state_name(enum job_state state); /* "waiting", "running", ... */

struct job_record {
    int64_t id, created_at, started_at, finished_at;
    enum job_state state;
    char *kind, *actor, *phase, *error;
    char *spec, *progress, *result; /* JSON object texts */
};
void job_record_drop(struct job_record *record);
struct job_page {
    struct job_record *items;
    size_t count;
    bool more;
};
void job_page_drop(struct job_page *page);

/* A running job. event is given the row's id as its target; NULL: nobody asked for it. */
struct job_row_new {
    struct slice kind, actor, spec;
    const struct audit_event *event;
};
int job_row_add(struct storage *store, const struct job_row_new *row, int64_t *id,
                struct error *err) MUST_CHECK ON(worker_thread);
/* May be lost. */
int job_row_progress(struct storage *store, int64_t id, struct slice phase, struct slice progress,
                     struct error *err) MUST_CHECK ON(worker_thread);
/* How it ended. event as above. */
struct job_row_end {
    int64_t id;
    enum job_state state;
    struct slice phase, error, progress, result;
    const struct audit_event *event;
};
int job_row_finish(struct storage *store, const struct job_row_end *end,
                   struct error *err) MUST_CHECK ON(worker_thread);
/* What an earlier process left running, of a kind or (SLICE_NONE) of all, is interrupted from now
 * on; out: these rows, oldest first. */
int job_rows_interrupt(struct storage *store, struct slice kind, struct job_page *out,
                       struct error *err) MUST_CHECK ON(worker_thread);
/* NOT_FOUND */
int job_row_find(struct storage *store, int64_t id, struct job_record *out,
                 struct error *err) MUST_CHECK ON(worker_thread);
/* Newest first, older than before_id (0: from the newest); kind SLICE_NONE: all. */
int job_row_list(struct storage *store, struct slice kind, int64_t before_id, size_t limit,
                 struct job_page *out, struct error *err) MUST_CHECK ON(worker_thread);

/* A text by its name; *found is false and out "" when there is none. */
int job_state_get(struct storage *store, const char *name, char *out, size_t capacity, bool *found,
                  struct error *err) MUST_CHECK ON(worker_thread);
int job_state_put(struct storage *store, const char *name, const char *value,
                  struct error *err) MUST_CHECK ON(worker_thread);

#endif

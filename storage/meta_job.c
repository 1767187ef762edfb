/* meta_job.c - rows of jobs: what was asked, how far it is, how it ended.
 * Touches  jobs, audit, server_state.
 * Never    reads the JSON in them. */
#include "storage/job.h"

#include <stdlib.h>

#include "storage/meta_accounts.h"
#include "storage/meta_news.h"
#include "storage/storage_internal.h"

#define DAY_US (INT64_C(86400) * US_PER_S)

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"waiting", "running",   "done",
                                        "failed",  "cancelled", "interrupted"};

    return names[state];
}

void job_record_drop(struct job_record *record)
{
    free(record->kind);
    free(record->actor);
    free(record->phase);
    free(record->error);
    free(record->spec);
    free(record->progress);
    free(record->result);
    *record = (struct job_record){.kind = NULL};
}

void job_page_drop(struct job_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        job_record_drop(&page->items[i]);
    free(page->items);
    *page = (struct job_page){.items = NULL};
}

/* --- the audit --- */

/* "job/12" is known only once the row is there. */
static int tell(struct db_tx *tx, const struct audit_event *event, int64_t id, struct error *err)
{
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;

    if (event == NULL)
        return 0;
    struct audit_event told = *event;
    buffer_append_text(&target, "job/");
    buffer_append_u64(&target, (uint64_t)id);
    told.target = buffer_slice(&target);
    return meta_audit_add(tx, &told, err);
}

/* --- a row --- */

#define JOB_COLUMNS                                                                                \
    "id, created_at, started_at, finished_at, state, kind, actor, phase, error, spec, progress,"   \
    "       result"
static const char SQL_JOB_FIND[] = "SELECT " JOB_COLUMNS "  FROM jobs"
                                   " WHERE id = $1";
static struct job_record record_row(const struct db_query *query)
{
    return (struct job_record){
        .id = db_column_i64(query, 0),
        .created_at = db_column_i64(query, 1),
        .started_at = db_column_i64(query, 2), /* NULL is 0 */
        .finished_at = db_column_i64(query, 3),
        .state = (enum job_state)db_column_i64(query, 4),
        .kind = meta_text(query, 5),
        .actor = meta_text(query, 6),
        .phase = meta_text(query, 7),
        .error = meta_text(query, 8),
        .spec = meta_text(query, 9),
        .progress = meta_text(query, 10),
        .result = meta_text(query, 11),
    };
}

/* news.h */
static int tell_row(struct db_tx *tx, int64_t id, struct error *err)
{
    OWNED(job_record_drop) struct job_record record = {.kind = NULL};

    if (!db_hears(tx))
        return 0;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_FIND);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    record = record_row(&query);
    meta_news_job(tx, &record);
    return 0;
}

/* --- a new one --- */

static const char SQL_JOB_ADD[] =
    "INSERT INTO jobs(kind, state, spec, actor, created_at, started_at)"
    "     VALUES ($1, $2, $3, $4, $5, $6)"
    "  RETURNING id";
static const char SQL_JOB_TRIM[] = "DELETE FROM jobs"
                                   "      WHERE kind = $1 AND state > 1"
                                   "        AND (created_at < $2"
                                   "         OR id <= (SELECT id"
                                   "                     FROM jobs"
                                   "                    WHERE kind = $3"
                                   "                    ORDER BY id DESC"
                                   "                    LIMIT 1 OFFSET $4))";

struct add {
    const struct job_row_new *row;
    int64_t id;
};

/* job (2) */
static int trim(struct db_tx *tx, struct slice kind, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_TRIM);

    db_bind_text(&query, kind);
    db_bind_i64(&query, clock_now_us() - JOB_DAYS_MAX * DAY_US);
    db_bind_text(&query, kind);
    db_bind_i64(&query, JOB_ROWS_MAX);
    return db_finish(&query, err);
}

static int add(struct db_tx *tx, void *arg, struct error *err)
{
    struct add *with = arg;
    const struct job_row_new *row = with->row;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_ADD);
    int64_t now = clock_now_us();

    db_bind_text(&query, row->kind);
    db_bind_i64(&query, JOB_RUNNING);
    db_bind_text(&query, row->spec);
    db_bind_text(&query, meta_or_empty(row->actor));
    db_bind_i64(&query, now);
    db_bind_i64(&query, now);
    if (meta_number(&query, &with->id, err) < 0 || trim(tx, row->kind, err) < 0)
        return -1;
    return tell_row(tx, with->id, err) < 0 ? -1 : tell(tx, row->event, with->id, err);
}

int job_row_add(struct storage *store, const struct job_row_new *row, int64_t *id,
                struct error *err)
{
    struct add with = {row, 0};

    if (meta_write(store->meta, add, &with, err) < 0)
        return -1;
    *id = with.id;
    return 0;
}

/* --- progress and end --- */

static const char SQL_JOB_PROGRESS[] = "UPDATE jobs"
                                       "   SET phase = $1, progress = $2"
                                       " WHERE id = $3 AND state < 2"
                                       "   AND (phase <> $1 OR progress <> $2)";
static const char SQL_JOB_FINISH[] =
    "UPDATE jobs"
    "   SET state = $1, phase = $2, error = $3, progress = $4, result = $5, finished_at = $6"
    " WHERE id = $7";

struct progress_row {
    int64_t id;
    struct slice phase, progress;
};

static int progress(struct db_tx *tx, void *arg, struct error *err)
{
    const struct progress_row *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_PROGRESS);

    db_bind_text(&query, meta_or_empty(with->phase));
    db_bind_text(&query, with->progress);
    db_bind_i64(&query, with->id);
    if (db_finish(&query, err) < 0)
        return -1;
    return db_changes(&query) == 0 ? 0 : tell_row(tx, with->id, err);
}

int job_row_progress(struct storage *store, int64_t id, struct slice phase, struct slice counts,
                     struct error *err)
{
    struct progress_row with = {id, phase, counts};

    return meta_write_loosely(store->meta, progress, &with, DB_BACKGROUND, err);
}

static int finish(struct db_tx *tx, void *arg, struct error *err)
{
    const struct job_row_end *end = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_FINISH);

    db_bind_i64(&query, end->state);
    db_bind_text(&query, meta_or_empty(end->phase));
    db_bind_text(&query, meta_or_empty(end->error));
    db_bind_text(&query, end->progress);
    db_bind_text(&query, end->result);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, end->id);
    if (db_finish(&query, err) < 0 || tell_row(tx, end->id, err) < 0)
        return -1;
    return tell(tx, end->event, end->id, err);
}

int job_row_finish(struct storage *store, const struct job_row_end *end, struct error *err)
{
    struct job_row_end with = *end;

    return meta_write(store->meta, finish, &with, err);
}

/* --- reading --- */

static const char SQL_JOB_LIST[] = "SELECT " JOB_COLUMNS "  FROM jobs"
                                   " WHERE id < $1"
                                   " ORDER BY id DESC"
                                   " LIMIT $2";
static const char SQL_JOB_LIST_OF_KIND[] = "SELECT " JOB_COLUMNS "  FROM jobs"
                                           " WHERE kind = $1 AND id < $2"
                                           " ORDER BY id DESC"
                                           " LIMIT $3";
static const char SQL_JOB_LEFT[] = "SELECT " JOB_COLUMNS "  FROM jobs"
                                   " WHERE state < 2"
                                   " ORDER BY id";

static int page_rows(struct db_query *query, size_t limit, struct job_page *out, struct error *err)
{
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1 && out->count < limit) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = record_row(query);
    }
    out->more = row == 1;
    return row < 0 ? -1 : 0;
}

struct find {
    int64_t id;
    struct job_record *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_FIND);

    db_bind_i64(&query, with->id);
    int row = db_step(&query, err);
    if (row == 0)
        return error_set(err, ERROR_NOT_FOUND, "there is no such job");
    if (row < 0)
        return -1;
    job_record_drop(with->out);
    *with->out = record_row(&query);
    return 0;
}

int job_row_find(struct storage *store, int64_t id, struct job_record *out, struct error *err)
{
    struct find with = {id, out};

    *out = (struct job_record){.kind = NULL};
    return db_read(store->meta->db, find, &with, err);
}

struct list {
    struct slice kind;
    int64_t before_id;
    size_t limit;
    struct job_page *out;
};

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    const struct list *with = arg;
    bool of_kind = with->kind.at != NULL;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, of_kind ? SQL_JOB_LIST_OF_KIND : SQL_JOB_LIST);

    job_page_drop(with->out);
    if (of_kind)
        db_bind_text(&query, with->kind);
    db_bind_i64(&query, with->before_id == 0 ? INT64_MAX : with->before_id);
    db_bind_i64(&query, meta_one_more(with->limit));
    return page_rows(&query, with->limit, with->out, err);
}

int job_row_list(struct storage *store, struct slice kind, int64_t before_id, size_t limit,
                 struct job_page *out, struct error *err)
{
    struct list with = {kind, before_id, limit, out};

    *out = (struct job_page){.items = NULL};
    if (db_read(store->meta->db, list, &with, err) == 0)
        return 0;
    job_page_drop(out);
    return -1;
}

/* --- after the end of a process --- */

static const char SQL_JOB_INTERRUPT[] = "UPDATE jobs"
                                        "   SET state = $1, finished_at = $2"
                                        " WHERE id = $3";

static int interrupt(struct db_tx *tx, int64_t id, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_INTERRUPT);

    db_bind_i64(&query, JOB_INTERRUPTED);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, id);
    return db_finish(&query, err) < 0 ? -1 : tell_row(tx, id, err);
}

static int left(struct db_tx *tx, struct job_page *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_JOB_LEFT);

    job_page_drop(out);
    return page_rows(&query, SIZE_MAX, out, err);
}

struct left_over {
    struct slice kind;
    struct job_page *out;
};

/* Those of other kinds leave the page. */
static void only_kind(struct job_page *page, struct slice kind)
{
    size_t kept = 0;

    for (size_t i = 0; i < page->count; i++)
        if (kind.at == NULL || slice_equal_text(kind, page->items[i].kind))
            page->items[kept++] = page->items[i];
        else
            job_record_drop(&page->items[i]);
    page->count = kept;
}

static int interrupt_left(struct db_tx *tx, void *arg, struct error *err)
{
    const struct left_over *with = arg;

    if (left(tx, with->out, err) < 0)
        return -1;
    only_kind(with->out, with->kind);
    for (size_t i = 0; i < with->out->count; i++)
        if (interrupt(tx, with->out->items[i].id, err) < 0)
            return -1;
    return 0;
}

int job_rows_interrupt(struct storage *store, struct slice kind, struct job_page *out,
                       struct error *err)
{
    struct left_over with = {kind, out};

    *out = (struct job_page){.items = NULL};
    if (meta_write(store->meta, interrupt_left, &with, err) == 0)
        return 0;
    job_page_drop(out);
    return -1;
}

/* --- what is remembered --- */

int job_state_get(struct storage *store, const char *name, char *out, size_t capacity, bool *found,
                  struct error *err)
{
    return meta_state_get(store->meta, name, out, capacity, found, err);
}

int job_state_put(struct storage *store, const char *name, const char *value, struct error *err)
{
    return meta_state_put(store->meta, name, value, err);
}

/* db.h - the database as storage sees it: statements, short reads, and one queue of writes.
 * Touches  one database through a table of functions: SQLite now, others beside it.
 * Never    knows a table, a column or what a statement means.
 *
 * (1) db_write returned 0: the work is committed, and synced unless it said it may be lost.
 * (2) A failed work leaves nothing behind; others of the same commit are not touched by it.
 * (3) db_read sees one snapshot: everything committed before it began.
 * (4) After a failed sync nothing that was written since the last good one is believed: the
 *     database is closed, opened and recovered before anything else is read or written.
 * (5) What a work tells (db_tell) is told once its commit stands, in the order of commits, before
 *     the work is answered; of a work that failed nothing is told. */
#ifndef SLIPWAY_STORAGE_DB_H
#define SLIPWAY_STORAGE_DB_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"
#include "registry/core/progress.h"

struct db;
struct db_driver;

/* (5) The first member of what is told, which is one allocation, free(). */
struct db_news {
    struct db_news *next;
};
enum { DB_NEWS_MAX = 1000 }; /* of one work; more are counted */
/* What a work has told so far. */
struct db_bulletin {
    struct db_news *first, *last;
    size_t count;
    uint64_t lost;
};
void db_bulletin_drop(struct db_bulletin *bulletin); /* becomes empty */

/* A transaction under way; lives for one call of a db_run. An engine's connection begins with it.
 */
struct db_tx {
    const struct db_driver *driver;
    struct db_bulletin *bulletin; /* NULL: nobody listens, or it only reads */
};

/* Whether there is somebody to tell. */
static inline bool db_hears(const struct db_tx *tx)
{
    return tx->bulletin != NULL;
}
/* Consumes news. Only where db_hears. */
void db_tell(struct db_tx *tx, struct db_news *news);

/* What runs inside a transaction. -1 undoes it. For db_write it must be ready to run again from the
 * start, so it sets its results anew each time and changes nothing but the database and what `arg`
 * owns; db_read runs it once. */
typedef int db_run(struct db_tx *tx, void *arg, struct error *err);

enum db_priority {
    DB_FOREGROUND, /* somebody waits for it: first in every commit */
    DB_HEAVY,      /* the same, but takes long: a commit of its own, by turns with the others */
    DB_BACKGROUND, /* counters, sweeps, collection: at most 5 ms a commit, so keep each one short */
    DB_PRIORITIES
};

struct db_work {
    db_run *run;
    /* Called on the writer thread after COMMIT and before db_write returns; NULL: nothing. May not
     * call the database. */
    void (*after_commit)(void *arg);
    void *arg;
    enum db_priority priority;
    /* The work may be forgotten by a power cut (never by the death of the process). A commit whose
     * works all say so is not synced. Commits are lost from the newest backwards, never from the
     * middle: the next durable commit, or the checkpoint that runs within a second, carries it to
     * the disk. Only for what nobody may rely on: the start and the checkpoints of an upload
     * session (CONC-02 lets a session be gone), longer life of a session, pull counters, trash
     * rows whose bytes are gone. Never for a lease: a HEAD 200 promises the blob for half of
     * gc.grace, and an old lease that came back could be collected at once. */
    bool may_be_lost;
};

struct db_options {
    const char *path;
    int readers; /* connections that read, opened when needed; 0: 8 */
    /* (4) begins, and (4) ended: forget what was read before. Called on the writer thread, before
     * any failure is answered. NULL: nothing. */
    void (*recovered)(void *arg);
    void *recovered_arg;
    /* (5), on the writer thread, which everybody waits for: be brief. Takes the list out of the
     * bulletin, or leaves it to be dropped. NULL: nobody listens. */
    void (*told)(void *arg, struct db_bulletin *bulletin);
    void *told_arg;
    /* The file is a snapshot, which nobody changes: it is read only, and nothing is made beside it,
     * so it may lie where we cannot write. */
    bool sealed;
};

/* The words in which databases differ, for the schema files. */
struct db_dialect {
    const char *id;       /* @ID: a primary key the database numbers */
    const char *bytes;    /* @BYTES */
    const char *bigint;   /* BIGINT */
    const char *tight;    /* @TIGHT: a table stored in the order of its key */
    const char *strict;   /* @STRICT */
    const char *bytewise; /* @BYTEWISE: text that sorts by its bytes */
    const char *json;     /* text@JSON(name): of a JSON object, as text */
};

/* What a database finds wrong with itself: rows of `table` that point to rows of `parent` which are
 * not there, or, with SLICE_NONE for that, a sentence. */
typedef void db_fault(void *arg, struct slice table, struct slice parent, struct slice sentence);

/* A database engine. Functions with `statement` get what prepare gave. */
struct db_driver {
    struct db_dialect dialect;
    int (*open)(void **self, const struct db_options *options, struct error *err);
    void (*close)(void *self);
    int (*read)(void *self, db_run *run, void *arg, struct error *err);
    int (*write)(void *self, const struct db_work *work, struct error *err);
    int (*snapshot)(void *self, const char *path, const struct progress *progress,
                    struct error *err);
    int (*execute)(struct db_tx *tx, const char *script, struct error *err);
    /* Kept per connection under the address of the text. */
    int (*prepare)(struct db_tx *tx, const char *sql, void **statement, struct error *err);
    int (*bind_i64)(void *statement, int place, int64_t value);
    int (*bind_text)(void *statement, int place, struct slice value);
    int (*bind_bytes)(void *statement, int place, struct slice value);
    int (*bind_null)(void *statement, int place);
    int (*step)(struct db_tx *tx, void *statement, struct error *err); /* 1 row, 0 end, -1 */
    int64_t (*column_i64)(void *statement, int column);
    struct slice (*column_slice)(void *statement, int column);
    bool (*column_is_null)(void *statement, int column);
    int64_t (*changes)(struct db_tx *tx);
    void (*reset)(void *statement);
    int (*verify)(struct db_tx *tx, bool deep, db_fault *fault, void *arg, struct error *err);
};

extern const struct db_driver db_driver_sqlite;

/* Opens, and creates when there is none.
 * UNAVAILABLE  cannot be opened; the cause says why */
int db_open(struct db **out, const struct db_driver *driver, const struct db_options *options,
            struct error *err) MUST_CHECK;
/* Ends queued writes first. Accepts NULL. */
void db_close(struct db *db);
const struct db_dialect *db_dialect(const struct db *db);

/* Runs on the calling thread; keep it under a second.  UNAVAILABLE */
int db_read(struct db *db, db_run *run, void *arg, struct error *err) MUST_CHECK;
/* Queues the work for the writer and waits for its commit.
 * STORAGE_FULL, UNAVAILABLE, or what `run` set: then nothing of the work happened; only when
 * COMMIT itself failed on an I/O error may it turn out, after recovery, to have happened */
int db_write(struct db *db, const struct db_work *work, struct error *err) MUST_CHECK;

/* Copies what is committed now into a new file at path, which others cannot read: one whole
 * database, to be opened with `sealed`. Not synced. Writes go on meanwhile. On failure, or when it
 * is cancelled, a part of the file may be left.
 * UNAVAILABLE; also when the copy was cancelled, or the database went into recovery */
int db_snapshot(struct db *db, const char *path, const struct progress *progress,
                struct error *err) MUST_CHECK;

/* Several statements without parameters, separated by semicolons: schema files. */
int db_execute(struct db_tx *tx, const char *script, struct error *err) MUST_CHECK;

/* The database's own check: the structure of every table (deep: of the indexes too) and all foreign
 * keys. Reads whole tables, so it may take longer than a read should. A fault is told once a table
 * and parent. */
int db_verify(struct db_tx *tx, bool deep, db_fault *fault, void *arg,
              struct error *err) MUST_CHECK;

/* One run of a statement. What is bound is borrowed until the query ends.
 *
 *     OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_FIND);
 *     db_bind_i64(&query, repository);
 *     db_bind_text(&query, tag);
 *     int row = db_step(&query, err);     1 a row, 0 no more, -1 failed
 *
 * The text must be a constant: it is known by its address. A statement may not be begun again
 * before its query ended. Binding goes from $1 upwards; a failure to prepare or bind is kept and
 * told by db_step. */
struct db_query {
    struct db_tx *tx;
    void *statement;
    int bound;
    int failed;
    struct error error;
};

struct db_query db_query(struct db_tx *tx, const char *sql);
void db_query_end(struct db_query *query);
void db_bind_i64(struct db_query *query, int64_t value);
void db_bind_text(struct db_query *query, struct slice value);  /* SLICE_NONE is NULL */
void db_bind_bytes(struct db_query *query, struct slice value); /* SLICE_NONE is NULL */
void db_bind_null(struct db_query *query);
int db_step(struct db_query *query, struct error *err) MUST_CHECK;
/* Steps to the end; rows are passed over. */
int db_finish(struct db_query *query, struct error *err) MUST_CHECK;
/* Rows the statement changed, after its last step. */
int64_t db_changes(const struct db_query *query);

/* Of the row at hand, columns from 0. A slice is good until the next step. */
int64_t db_column_i64(const struct db_query *query, int column);
struct slice db_column_slice(const struct db_query *query, int column); /* NULL is SLICE_NONE */
bool db_column_is_null(const struct db_query *query, int column);

#endif

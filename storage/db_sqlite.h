/* db_sqlite.h - what the files of the SQLite engine share.
 * Touches  nothing by itself.
 * Never    included by others.
 *
 * db_sqlite.c is one connection and the table of functions, db_readers.c the connections that read
 * and the WAL, db_commit.c the one that writes and recovery, db_snapshot.c whole copies. */
#ifndef SLIPWAY_STORAGE_DB_SQLITE_H
#define SLIPWAY_STORAGE_DB_SQLITE_H

#include <pthread.h>

#include "storage/db_queue.h"

/* --- one connection, for one thread at a time: db_sqlite.c --- */

struct connection {
    struct db_tx tx;         /* first: a db_tx of ours is a connection */
    struct connection *next; /* in the pool */
    struct sqlite3 *handle;
    struct statement *statements; /* prepared ones by the address of their text */
    bool io_failed;               /* a write or sync failed: recovery is due */
    bool synced;                  /* synchronous is FULL now */
    int wal_pages;                /* of the WAL after the last commit of this connection */
};

/* Closing leaves the WAL to the next open: after a failed sync, a checkpoint on the way out would
 * believe what must not be believed; an ordinary end makes its own. */
int connection_open(struct connection **out, const struct db_options *options, const char *pragmas,
                    struct error *err) MUST_CHECK;
void connection_drop(struct connection **owned);
/* Statements without parameters; rows are passed over. The text of connection_run is a constant. */
int connection_execute(struct connection *connection, const char *script, struct error *err);
int connection_run(struct connection *connection, const char *sql, struct error *err);
/* Sets what SQLite said of the last call, and returns -1. */
int connection_fail(struct connection *connection, struct error *err);
/* A transaction is open. SQLite ends it by itself on some failures. */
bool connection_in_transaction(const struct connection *connection);
struct wal_state {
    int pages; /* in the WAL */
    int moved; /* of them, in the database file as well, synced */
};

/* Moves the WAL into the database file, syncing both, as far as readers of old snapshots let it.
 * truncate waits for them and empties the WAL. */
int connection_checkpoint(struct connection *connection, bool truncate, struct wal_state *out,
                          struct error *err);

/* --- the database --- */

struct database {
    struct db_options options; /* path is a copy; immutable, as is all to the next blank line */
    struct db_queue queue;
    pthread_t writer_thread;
    pthread_t checkpoint_thread;

    struct connection *writer; /* the writer thread's own */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct connection *idle;
    int opened; /* readers, idle or out */
    int out;    /* readers in use */
    bool down;
    bool closing;
    struct wal_state wal; /* as of the last commit and the last checkpoint */
    bool rewind_due;      /* the WAL has become long */
    bool stuck;           /* the last checkpoint failed or left much: no hurry with the next */
    bool unsynced;        /* commits nobody has synced */
    bool io_failed;       /* in the checkpointer */
};

/* db_readers.c. Checkpoints run in a thread whose main is checkpoint_main(database). */
int commit_read(void *self, db_run *run, void *arg, struct error *err);
/* A connection of the pool, given back soon, or when readers_wanted. */
int reader_take(struct database *db, struct connection **out, struct error *err) MUST_CHECK;
void reader_give(struct database *db, struct connection *reader);
/* Recovery waits for the readers in use. */
bool readers_wanted(struct database *db);
/* Waits for the readers in use and closes all; nobody may be given one meanwhile. */
void readers_close(struct database *db);
void *checkpoint_main(void *database);
/* So much of the WAL has not been moved that the checkpointer should not wait; under the lock. */
bool wal_is_due(const struct database *db);

/* db_commit.c */
int commit_open(void **self, const struct db_options *options, struct error *err);
void commit_close(void *self);
int commit_write(void *self, const struct db_work *work, struct error *err);

/* db_snapshot.c */
int sqlite_snapshot(void *self, const char *path, const struct progress *progress,
                    struct error *err);

#endif

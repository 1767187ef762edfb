/* db_sqlite.h - shared by db_sqlite.c (one connection, the table of functions) and db_commit.c
 * (which connection does what, and when).
 * Touches  nothing by itself.
 * Never    included by others. */
#ifndef SLIPWAY_STORAGE_DB_SQLITE_H
#define SLIPWAY_STORAGE_DB_SQLITE_H

#include "storage/db.h"

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
int connection_open(struct connection **out, const char *path, const char *pragmas,
                    struct error *err) MUST_CHECK;
void connection_drop(struct connection **owned);
/* Statements without parameters; rows are passed over. The text of connection_run is a constant. */
int connection_execute(struct connection *connection, const char *script, struct error *err);
int connection_run(struct connection *connection, const char *sql, struct error *err);
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

/* --- the database: db_commit.c; functions of struct db_driver --- */

int commit_open(void **self, const struct db_options *options, struct error *err);
void commit_close(void *self);
int commit_read(void *self, db_run *run, void *arg, struct error *err);
int commit_write(void *self, const struct db_work *work, struct error *err);

#endif

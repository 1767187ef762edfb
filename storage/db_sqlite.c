/* db_sqlite.c - SQLite: one connection with its prepared statements, and the table of functions.
 * Touches  the database file, its WAL and shared memory file.
 * Never    a table of ours; decides which connection does what (db_commit.c). */
#include "storage/db_sqlite.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

enum {
    STATEMENTS = 1024,       /* places of a connection's table; a power of two */
    BUSY_TIMEOUT_MS = 10000, /* only a truncating checkpoint or a recovery makes one wait */
};

struct statement {
    const char *text;
    sqlite3_stmt *prepared;
};

static struct connection *connection_of(struct db_tx *tx)
{
    return (struct connection *)(void *)tx;
}

static bool is_full(int code, int number)
{
    return (code & 0xff) == SQLITE_FULL ||
           ((code & 0xff) == SQLITE_IOERR && (number == ENOSPC || number == EDQUOT));
}

/* What SQLite said, for the client and for the log; notes when recovery is due. */
int connection_fail(struct connection *connection, struct error *err)
{
    int code = sqlite3_extended_errcode(connection->handle);
    bool sync = code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC;
    bool full = is_full(code, sqlite3_system_errno(connection->handle));

    if ((code & 0xff) == SQLITE_IOERR && (sync || !full))
        connection->io_failed = true;
    if (err->code != ERROR_NONE)
        return -1;
    switch (code & 0xff) {
    case SQLITE_ERROR:
    case SQLITE_CONSTRAINT:
    case SQLITE_CORRUPT:
    case SQLITE_MISMATCH:
    case SQLITE_MISUSE:
    case SQLITE_NOTADB:
    case SQLITE_RANGE:
        error_set(err, ERROR_INTERNAL, "internal error");
        break;
    default:
        error_set(err, full ? ERROR_STORAGE_FULL : ERROR_UNAVAILABLE,
                  full ? "no space left for metadata" : "metadata cannot be reached");
    }
    return error_set_cause(err, "sqlite %d, errno %d: %s", code,
                           sqlite3_system_errno(connection->handle),
                           sqlite3_errmsg(connection->handle));
}

int connection_execute(struct connection *connection, const char *script, struct error *err)
{
    if (sqlite3_exec(connection->handle, script, NULL, NULL, NULL) != SQLITE_OK)
        return connection_fail(connection, err);
    return 0;
}

static int prepare(struct connection *connection, const char *sql, sqlite3_stmt **out,
                   struct error *err)
{
    size_t place = ((uintptr_t)sql >> 4) * 0x9e3779b1u % STATEMENTS;
    size_t tried = 0;

    while (connection->statements[place].text != NULL &&
           connection->statements[place].text != sql) {
        place = (place + 1) % STATEMENTS;
        tried++;
        assert(tried < STATEMENTS);
    }
    if (connection->statements[place].text == NULL) {
        sqlite3_stmt *statement = NULL;
        if (sqlite3_prepare_v3(connection->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement,
                               NULL) != SQLITE_OK)
            return connection_fail(connection, err);
        connection->statements[place].text = sql;
        connection->statements[place].prepared = statement;
    }
    *out = connection->statements[place].prepared;
    assert(!sqlite3_stmt_busy(*out));
    return 0;
}

/* A statement without parameters and rows. */
int connection_run(struct connection *connection, const char *sql, struct error *err)
{
    sqlite3_stmt *statement = NULL;

    if (prepare(connection, sql, &statement, err) < 0)
        return -1;
    int code = sqlite3_step(statement);
    int result = code == SQLITE_DONE || code == SQLITE_ROW ? 0 : connection_fail(connection, err);
    sqlite3_reset(statement);
    return result;
}

static int note_wal(void *arg, sqlite3 *handle, const char *name, int pages)
{
    struct connection *connection = arg;

    (void)handle;
    (void)name;
    connection->wal_pages = pages;
    return SQLITE_OK;
}

void connection_drop(struct connection **owned)
{
    struct connection *connection = *owned;

    if (connection == NULL)
        return;
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(connection->statements[i].prepared);
    sqlite3_close(connection->handle);
    free(connection->statements);
    free(connection);
    *owned = NULL;
}

/* Memory statistics are counters behind a lock of the whole process. */
static void configure(void)
{
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* A path as SQLite reads names with parameters. */
static void print_sealed(struct buffer *out, const char *path)
{
    buffer_append_text(out, "file:");
    for (; *path != 0; path++)
        buffer_print(out, strchr("%?#", *path) == NULL ? "%c" : "%%%02X", *path);
    buffer_append_text(out, "?immutable=1");
    buffer_append(out, "", 1);
}

int connection_open(struct connection **out, const struct db_options *options, const char *pragmas,
                    struct error *err)
{
    OWNED(connection_drop) struct connection *connection = memory_new(sizeof(*connection));
    OWNED(buffer_drop) struct buffer sealed = BUFFER_NONE;
    static pthread_once_t configured = PTHREAD_ONCE_INIT;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;

    if (options->sealed) {
        print_sealed(&sealed, options->path);
        flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    }
    pthread_once(&configured, configure);
    connection->tx.driver = &db_driver_sqlite;
    connection->statements = memory_new(STATEMENTS * sizeof(*connection->statements));
    connection->synced = true;
    if (sqlite3_open_v2(options->sealed ? sealed.at : options->path, &connection->handle, flags,
                        NULL) != SQLITE_OK) {
        if (connection->handle == NULL)
            return error_set(err, ERROR_UNAVAILABLE, "metadata cannot be reached");
        return connection_fail(connection, err);
    }
    sqlite3_extended_result_codes(connection->handle, 1);
    sqlite3_busy_timeout(connection->handle, BUSY_TIMEOUT_MS);
    sqlite3_db_config(connection->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (connection_execute(connection, pragmas, err) < 0)
        return -1;
    sqlite3_wal_hook(connection->handle, note_wal, connection); /* wal_autocheckpoint clears it */
    *out = TAKE(connection);
    return 0;
}

bool connection_in_transaction(const struct connection *connection)
{
    return !sqlite3_get_autocommit(connection->handle);
}

int connection_checkpoint(struct connection *connection, bool truncate, struct wal_state *out,
                          struct error *err)
{
    int mode = truncate ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int pages = 0, moved = 0;
    int code = sqlite3_wal_checkpoint_v2(connection->handle, NULL, mode, &pages, &moved);

    if (code != SQLITE_OK && code != SQLITE_BUSY)
        return connection_fail(connection, err);
    *out = (struct wal_state){pages < 0 ? 0 : pages, moved < 0 ? 0 : moved};
    return 0;
}

/* --- the table of functions --- */

static int sqlite_execute(struct db_tx *tx, const char *script, struct error *err)
{
    return connection_execute(connection_of(tx), script, err);
}

static int sqlite_prepare(struct db_tx *tx, const char *sql, void **statement, struct error *err)
{
    sqlite3_stmt *prepared = NULL;

    if (prepare(connection_of(tx), sql, &prepared, err) < 0)
        return -1;
    *statement = prepared;
    return 0;
}

static int sqlite_bind_i64(void *statement, int place, int64_t value)
{
    return sqlite3_bind_int64(statement, place, value);
}

static int sqlite_bind_text(void *statement, int place, struct slice value)
{
    return sqlite3_bind_text64(statement, place, value.at, value.size, SQLITE_STATIC, SQLITE_UTF8);
}

static int sqlite_bind_bytes(void *statement, int place, struct slice value)
{
    return sqlite3_bind_blob64(statement, place, value.at, value.size, SQLITE_STATIC);
}

static int sqlite_bind_null(void *statement, int place)
{
    return sqlite3_bind_null(statement, place);
}

static int sqlite_step(struct db_tx *tx, void *statement, struct error *err)
{
    switch (sqlite3_step(statement)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return connection_fail(connection_of(tx), err);
    }
}

static int64_t sqlite_column_i64(void *statement, int column)
{
    return sqlite3_column_int64(statement, column);
}

static struct slice sqlite_column_slice(void *statement, int column)
{
    if (sqlite3_column_type(statement, column) == SQLITE_NULL)
        return SLICE_NONE;
    const char *at = sqlite3_column_blob(statement, column);
    return (struct slice){at == NULL ? "" : at, (size_t)sqlite3_column_bytes(statement, column)};
}

static bool sqlite_column_is_null(void *statement, int column)
{
    return sqlite3_column_type(statement, column) == SQLITE_NULL;
}

static int64_t sqlite_changes(struct db_tx *tx)
{
    return sqlite3_changes64(connection_of(tx)->handle);
}

static void sqlite_reset(void *statement)
{
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
}

/* --- its own check --- */

/* A statement that names a table; %Q is put in. */
static int verify_begin(struct connection *connection, const char *format, const char *table,
                        sqlite3_stmt **out, struct error *err)
{
    char *sql = sqlite3_mprintf(format, table);
    int code =
        sql == NULL ? SQLITE_NOMEM : sqlite3_prepare_v2(connection->handle, sql, -1, out, NULL);

    sqlite3_free(sql);
    return code == SQLITE_OK ? 0 : connection_fail(connection, err);
}

static void statement_drop(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

static struct slice text_of(sqlite3_stmt *statement, int column)
{
    return slice_of((const char *)sqlite3_column_text(statement, column));
}

/* One fault a table: where one row is wrong, thousands may be. */
static int verify_structure(struct db_tx *tx, const char *table, bool deep, db_fault *fault,
                            void *arg, struct error *err)
{
    OWNED(statement_drop) sqlite3_stmt *statement = NULL;
    OWNED(buffer_drop) struct buffer first = BUFFER_NONE;
    unsigned more = 0;
    int row;

    if (verify_begin(connection_of(tx),
                     deep ? "PRAGMA integrity_check(%Q)" : "PRAGMA quick_check(%Q)", table,
                     &statement, err) < 0)
        return -1;
    while ((row = sqlite_step(tx, statement, err)) == 1) {
        if (first.size > 0)
            more++;
        else if (!slice_equal_text(text_of(statement, 0), "ok"))
            buffer_append_slice(&first, text_of(statement, 0));
    }
    if (more > 0)
        buffer_print(&first, ", and %u more", more);
    if (row == 0 && first.size > 0)
        fault(arg, slice_of(table), SLICE_NONE, buffer_slice(&first));
    return row;
}

static int verify_keys(struct db_tx *tx, const char *table, db_fault *fault, void *arg,
                       struct error *err)
{
    OWNED(statement_drop) sqlite3_stmt *statement = NULL;
    int row;

    if (verify_begin(connection_of(tx), "SELECT DISTINCT parent FROM pragma_foreign_key_check(%Q)",
                     table, &statement, err) < 0)
        return -1;
    while ((row = sqlite_step(tx, statement, err)) == 1)
        fault(arg, slice_of(table), text_of(statement, 0), SLICE_NONE);
    return row;
}

static int sqlite_verify(struct db_tx *tx, bool deep, db_fault *fault, void *arg, struct error *err)
{
    OWNED(statement_drop) sqlite3_stmt *tables = NULL;
    int row;

    if (verify_begin(connection_of(tx),
                     "SELECT name FROM sqlite_schema WHERE type = 'table'"
                     " AND name NOT LIKE 'sqlite!_%%' ESCAPE '!'",
                     NULL, &tables, err) < 0)
        return -1;
    while ((row = sqlite_step(tx, tables, err)) == 1) {
        const char *table = (const char *)sqlite3_column_text(tables, 0);
        if (verify_structure(tx, table, deep, fault, arg, err) < 0 ||
            verify_keys(tx, table, fault, arg, err) < 0)
            return -1;
    }
    return row;
}

const struct db_driver db_driver_sqlite = {
    .dialect = {.id = "INTEGER PRIMARY KEY AUTOINCREMENT",
                .bytes = "BLOB",
                .bigint = "INTEGER",
                .tight = "WITHOUT ROWID, STRICT",
                .strict = "STRICT",
                .bytewise = "",
                .json = " ->> printf('$.\"%s\"', "},
    .open = commit_open,
    .close = commit_close,
    .read = commit_read,
    .write = commit_write,
    .snapshot = sqlite_snapshot,
    .execute = sqlite_execute,
    .prepare = sqlite_prepare,
    .bind_i64 = sqlite_bind_i64,
    .bind_text = sqlite_bind_text,
    .bind_bytes = sqlite_bind_bytes,
    .bind_null = sqlite_bind_null,
    .step = sqlite_step,
    .column_i64 = sqlite_column_i64,
    .column_slice = sqlite_column_slice,
    .column_is_null = sqlite_column_is_null,
    .changes = sqlite_changes,
    .reset = sqlite_reset,
    .verify = sqlite_verify,
};

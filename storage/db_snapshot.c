/* db_snapshot.c - SQLite: a copy of the whole database while it is written to.
 * Touches  the database through a connection that reads; the file of the copy.
 * Never    a table of ours; makes a writer wait.
 *
 * The copy is of one moment: it is made within one reading transaction, which leaves the WAL to
 * grow meanwhile and nothing else. Between two pieces recovery may ask for the connection: then the
 * copy is given up. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <sqlite3.h>

#include "storage/db_sqlite.h"

enum { PIECE_PAGES = 256, FILE_MODE = 0600 };

/* The file is ours alone until it is whole, and synced by who asked for it. */
static const char PRAGMAS_COPY[] = "PRAGMA journal_mode = OFF;"
                                   "PRAGMA synchronous = OFF;"
                                   "PRAGMA locking_mode = EXCLUSIVE;"
                                   "PRAGMA cache_size = -4096;";

static void backup_drop(sqlite3_backup **backup)
{
    if (*backup != NULL)
        sqlite3_backup_finish(*backup);
    *backup = NULL;
}

static int file_create(const char *path, struct error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, FILE_MODE);

    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno,
                               "a copy of the metadata cannot "
                               "be made");
    close(fd);
    return 0;
}

static int may_go_on(struct database *db, const struct progress *progress, struct error *err)
{
    if (progress_cancelled(progress))
        return error_set(err, ERROR_UNAVAILABLE, "it was cancelled");
    if (readers_wanted(db))
        return error_set(err, ERROR_UNAVAILABLE, "metadata is being recovered");
    return 0;
}

static int copy(struct database *db, struct connection *from, struct connection *to,
                const struct progress *progress, struct error *err)
{
    OWNED(backup_drop)
    sqlite3_backup *backup = sqlite3_backup_init(to->handle, "main", from->handle, "main");
    int code = SQLITE_OK;

    if (backup == NULL)
        return connection_fail(to, err);
    while (code == SQLITE_OK) {
        if (may_go_on(db, progress, err) < 0)
            return -1;
        code = sqlite3_backup_step(backup, PIECE_PAGES);
    }
    if (code != SQLITE_DONE)
        error_set(err, ERROR_UNAVAILABLE, "metadata cannot be copied: %s", sqlite3_errstr(code));
    code = sqlite3_backup_finish(TAKE(backup));
    return code != SQLITE_OK || err->code != ERROR_NONE ? connection_fail(to, err) : 0;
}

/* The transaction begins with its first read. */
static int copy_at_once(struct database *db, struct connection *from, struct connection *to,
                        const struct progress *progress, struct error *err)
{
    struct error ignored = {0};
    int result = connection_run(from, "BEGIN", err);

    if (result == 0)
        result = connection_run(from, "SELECT count(*) FROM sqlite_schema", err);
    if (result == 0)
        result = copy(db, from, to, progress, err);
    if (connection_in_transaction(from))
        connection_run(from, "ROLLBACK", &ignored);
    return result;
}

int sqlite_snapshot(void *self, const char *path, const struct progress *progress,
                    struct error *err)
{
    struct database *db = self;
    OWNED(connection_drop) struct connection *to = NULL;
    const struct db_options options = {.path = path};
    struct connection *from = NULL;

    if (file_create(path, err) < 0 || connection_open(&to, &options, PRAGMAS_COPY, err) < 0 ||
        reader_take(db, &from, err) < 0)
        return -1;
    int result = copy_at_once(db, from, to, progress, err);
    reader_give(db, from);
    return result;
}

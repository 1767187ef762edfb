/* db_commit.c - SQLite: one writer that shares its commits, and recovery.
 * Touches  the database through its connections; the directory it lies in.
 * Never    SQLite's own functions (db_sqlite.c), a table of ours.
 *
 * Three kinds of threads: callers read, each on a connection of the pool; the writer takes what
 * waits in the queue, gives each work a savepoint of one BEGIN IMMEDIATE ... COMMIT and answers
 * after it (group commit); the checkpointer moves the WAL into the database file.
 *
 *   UP --a write or sync fails with an I/O error--> DOWN: nothing is read or written, every
 *   connection is closed; the WAL is written and synced anew; opened, SQLite replays the part of it
 *   whose checksums hold, and a checkpoint moves and syncs that --> UP
 *
 * The WAL is a file written from its start again once all of it has been moved; while commits never
 * cease, that moment has to be made: the writer moves the last pages itself, between two commits.
 * The WAL is synced by each durable commit (synchronous=FULL). A commit whose works all may be lost
 * runs with NORMAL: then the checkpointer syncs it within a second. SQLite syncs the folder with
 * the first sync of the WAL in each connection, so the names of both files are durable as well. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "storage/db_sqlite.h"

enum {
    READERS_DEFAULT = 8,
    COMMIT_WORKS_MAX = 256,   /* of each priority */
    BACKGROUND_US_MAX = 5000, /* a commit */
    REOPEN_DELAY_MS = 1000,
    REWRITE_SIZE = 1 << 18, /* bytes at a time */
};

static const char PRAGMAS_WRITER[] = "PRAGMA journal_mode = WAL;"
                                     "PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 0;"
                                     "PRAGMA foreign_keys = ON;"
                                     "PRAGMA journal_size_limit = 67108864;"
                                     "PRAGMA secure_delete = OFF;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -4096;"
                                     "SELECT count(*) FROM sqlite_schema;";

/* --- the writer: group commit --- */

static void rollback(struct connection *writer)
{
    struct error ignored = {0};

    if (connection_in_transaction(writer))
        connection_run(writer, "ROLLBACK", &ignored);
}

static int begin(struct connection *writer, bool durable, struct error *err)
{
    if (writer->synced != durable) {
        if (connection_execute(
                writer, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
                err) < 0)
            return -1;
        writer->synced = durable;
    }
    return connection_run(writer, "BEGIN IMMEDIATE", err);
}

static void set_down(struct database *db, bool down)
{
    pthread_mutex_lock(&db->lock);
    db->down = down;
    db->io_failed = false;
    db->wal = (struct wal_state){0, 0}; /* recovery empties it */
    pthread_cond_broadcast(&db->changed);
    pthread_mutex_unlock(&db->lock);
}

static void forget_reads(const struct database *db)
{
    if (db->options.recovered != NULL)
        db->options.recovered(db->options.recovered_arg);
}

/* Before a failure is answered: what the client reads next must be what recovery made of it, not
 * the state that recovery may replace. */
static void hold_reads(struct database *db)
{
    if (!db->writer->io_failed)
        return;
    set_down(db, true);
    forget_reads(db);
}

/* After COMMIT: what the checkpointer has to know. */
static void committed(struct database *db, bool durable)
{
    pthread_mutex_lock(&db->lock);
    db->unsynced = !durable;
    db->wal.pages = db->writer->wal_pages;
    if (db->wal.moved > db->wal.pages)
        db->wal.moved = 0; /* it began anew */
    if (db->unsynced || wal_is_due(db))
        pthread_cond_broadcast(&db->changed);
    pthread_mutex_unlock(&db->lock);
}

/* db (5): after what the work itself has to do, so that who hears of it reads it. */
static void answer_committed(const struct database *db, struct db_member *member)
{
    if (member->result == 0 && member->work->after_commit != NULL)
        member->work->after_commit(member->work->arg);
    if (member->result == 0 && member->bulletin.first != NULL)
        db->options.told(db->options.told_arg, &member->bulletin);
    db_member_answer(member, member->result);
}

static void fail_all(struct db_members *members, const struct error *why)
{
    struct db_member *member;

    while ((member = db_members_shift(members)) != NULL) {
        *member->err = *why;
        db_member_answer(member, -1);
    }
}

static int run_work(const struct database *db, struct db_member *member)
{
    struct db_tx *tx = &db->writer->tx;

    error_clear(member->err);
    db_bulletin_drop(&member->bulletin);
    tx->bulletin = db->options.told == NULL ? NULL : &member->bulletin;
    int result = member->work->run(tx, member->work->arg, member->err);
    tx->bulletin = NULL;
    if (result < 0 && member->err->code == ERROR_NONE)
        error_set(member->err, ERROR_INTERNAL, "internal error");
    return result;
}

/* A commit of its own: no savepoint needed. */
static void commit_one(struct database *db, struct db_member *member)
{
    struct connection *writer = db->writer;
    bool durable = !member->work->may_be_lost;

    error_clear(member->err);
    member->result = begin(writer, durable, member->err);
    if (member->result == 0)
        member->result = run_work(db, member);
    if (member->result == 0)
        member->result = connection_run(writer, "COMMIT", member->err);
    if (member->result < 0) {
        rollback(writer);
        hold_reads(db);
    } else {
        committed(db, durable);
    }
    answer_committed(db, member);
}

/* Runs a member inside the common transaction. False when that transaction is gone, or may not be
 * trusted: long ones sync a part of the WAL before their COMMIT. */
static bool run_in_savepoint(const struct database *db, struct db_member *member)
{
    struct connection *writer = db->writer;
    struct error undo = {0};

    error_clear(member->err);
    member->result = connection_run(writer, "SAVEPOINT work", member->err);
    if (member->result == 0)
        member->result = run_work(db, member);
    if (member->result == 0)
        member->result = connection_run(writer, "RELEASE work", member->err);
    if (member->result == 0)
        return true;
    if (!connection_in_transaction(writer) || writer->io_failed)
        return false;
    return connection_run(writer, "ROLLBACK TO work", &undo) == 0 &&
           connection_run(writer, "RELEASE work", &undo) == 0;
}

/* The common transaction broke in its last member. Without an I/O error each is run again by
 * itself, that one too. With one, recovery comes first: the others go back into the queue. */
static void commit_apart(struct database *db, struct db_members *members)
{
    struct db_members again = {NULL, NULL};
    struct db_member *member;

    rollback(db->writer);
    hold_reads(db);
    while ((member = db_members_shift(members)) != NULL) {
        if (!db->writer->io_failed)
            commit_one(db, member);
        else if (members->first == NULL && member->result < 0)
            db_member_answer(member, -1);
        else
            db_members_add(&again, member);
    }
    db_queue_return(&db->queue, &again);
}

static bool any_durable(const struct db_members *members)
{
    for (const struct db_member *member = members->first; member != NULL; member = member->next)
        if (!member->work->may_be_lost)
            return true;
    return false;
}

/* Runs members into `ran` until none is left or the background has had its time; what was not begun
 * goes back into the queue. False when the transaction is gone. */
static bool run_members(struct database *db, struct db_members *members, struct db_members *ran)
{
    uint64_t background_end = 0;
    bool alive = true;

    while (alive && members->first != NULL) {
        if (members->first->work->priority == DB_BACKGROUND) {
            if (background_end == 0)
                background_end = clock_monotonic_us() + BACKGROUND_US_MAX;
            else if (clock_monotonic_us() >= background_end)
                break;
        }
        struct db_member *member = db_members_shift(members);
        alive = run_in_savepoint(db, member);
        db_members_add(ran, member);
    }
    db_queue_return(&db->queue, members);
    return alive;
}

static void commit_together(struct database *db, struct db_members *members)
{
    struct db_members ran = {NULL, NULL};
    struct db_member *member;
    struct error why = {0};
    bool durable = any_durable(members);

    if (begin(db->writer, durable, &why) < 0) {
        fail_all(members, &why);
        return;
    }
    if (!run_members(db, members, &ran)) {
        commit_apart(db, &ran);
        return;
    }
    if (connection_run(db->writer, "COMMIT", &why) < 0) {
        rollback(db->writer);
        hold_reads(db);
        fail_all(&ran, &why); /* those that failed by themselves too: they saw the others' rows */
        return;
    }
    committed(db, durable);
    while ((member = db_members_shift(&ran)) != NULL)
        answer_committed(db, member);
}

/* --- who may read the files --- */

/* Hashes of passwords are in them, and the folder may be one that others enter. SQLite makes the
 * files beside the database with the database's mode. */
static void file_create_private(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);

    if (fd >= 0) /* else it is there, or SQLite will say what is wrong */
        close(fd);
}

/* Made by an older version. A failure is no reason not to serve: the owner chose the folder. */
static void file_close_to_others(const char *path, const char *suffix)
{
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    struct stat status;

    buffer_print(&name, "%s%s", path, suffix);
    if (lstat(name.at, &status) == 0 && S_ISREG(status.st_mode) && (status.st_mode & S_IRWXO) != 0)
        (void)!chmod(name.at, status.st_mode & ~(mode_t)S_IRWXO & 07777);
}

static void files_keep_private(const char *path)
{
    file_create_private(path);
    file_close_to_others(path, "");
    file_close_to_others(path, "-wal");
    file_close_to_others(path, "-shm");
}

/* --- recovery --- */

static int rewrite(int fd)
{
    OWNED(memory_drop) char *piece = memory_new(REWRITE_SIZE);
    off_t at = 0;
    ssize_t got;

    while ((got = pread(fd, piece, REWRITE_SIZE, at)) > 0) {
        ssize_t put = pwrite(fd, piece, (size_t)got, at);
        if (put <= 0)
            return -1;
        at += put;
    }
    return got < 0 ? -1 : 0;
}

/* After a failed sync the kernel takes pages for written that never reached the disk, and the next
 * sync succeeds without them. A checkpoint on top of such a WAL could be torn by a power cut beyond
 * repair. So all of it is written again, the same bytes at the same place, while nobody has it
 * open; the checkpoint begins with its sync. So at each start too: the sync may have failed just
 * before a process died. */
static int wal_rewrite(const char *database, struct error *err)
{
    struct buffer path = BUFFER_NONE;

    buffer_print(&path, "%s-wal", database);
    int fd = open(path.at, O_RDWR | O_CLOEXEC);
    int failed = fd < 0 || rewrite(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    buffer_drop(&path);
    if (failed != 0 && failed != ENOENT)
        return error_set_errno(err, ERROR_UNAVAILABLE, failed, "metadata cannot be recovered");
    return 0;
}

/* Opens the writer, replays the WAL and syncs all of it into the database file. */
static int reopen(struct database *db, struct error *err)
{
    OWNED(connection_drop) struct connection *writer = NULL;
    struct wal_state wal = {0, 0};

    files_keep_private(db->options.path);
    if (wal_rewrite(db->options.path, err) < 0)
        return -1;
    if (connection_open(&writer, &db->options, PRAGMAS_WRITER, err) < 0 ||
        connection_checkpoint(writer, true, &wal, err) < 0)
        return -1;
    if (wal.pages > wal.moved)
        return error_set(err, ERROR_UNAVAILABLE, "metadata is being recovered");
    db->writer = TAKE(writer);
    return 0;
}

/* Fails what waits, so that nobody hangs on a dead disk. */
static void refuse_waiting(struct database *db, const struct error *why)
{
    struct db_members members;

    db_queue_take_all(&db->queue, &members);
    fail_all(&members, why);
}

static void recover(struct database *db)
{
    set_down(db, true);
    readers_close(db);
    connection_drop(&db->writer);
    while (db->writer == NULL) {
        struct error why = {0};
        if (reopen(db, &why) == 0)
            break;
        refuse_waiting(db, &why);
        if (db_queue_pause(&db->queue, REOPEN_DELAY_MS))
            return; /* closing; the WAL waits for the next start */
    }
    forget_reads(db);
    set_down(db, false);
}

static bool recovery_due(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    bool due = db->io_failed;
    pthread_mutex_unlock(&db->lock);
    return due || db->writer->io_failed;
}

/* Between two commits no page is added: once the rest is moved the next commit begins at the start
 * of the WAL, unless a reader still needs it. Never waits. */
static void rewind_if_due(struct database *db)
{
    struct wal_state wal = {0, 0};
    struct error ignored = {0}; /* a failed sync is noted in the connection */

    pthread_mutex_lock(&db->lock);
    bool due = db->rewind_due;
    db->rewind_due = false;
    pthread_mutex_unlock(&db->lock);
    if (due)
        connection_checkpoint(db->writer, false, &wal, &ignored);
}

static void *writer_main(void *arg)
{
    struct database *db = arg;
    struct db_members members;
    static const struct error gone = {
        .code = ERROR_UNAVAILABLE, .status = 503, .message = "metadata cannot be reached"};

    thread_role_current = ROLE_WORKER;
    while (db_queue_take(&db->queue, COMMIT_WORKS_MAX, &members)) {
        if (db->writer == NULL)
            fail_all(&members, &gone);
        else if (members.first != NULL && members.first->next == NULL)
            commit_one(db, members.first);
        else if (members.first != NULL)
            commit_together(db, &members);
        if (db->writer != NULL)
            rewind_if_due(db);
        if (db->writer != NULL && recovery_due(db))
            recover(db);
    }
    return NULL;
}

static void database_free(struct database *db)
{
    connection_drop(&db->writer);
    db_queue_drop(&db->queue);
    pthread_cond_destroy(&db->changed);
    pthread_mutex_destroy(&db->lock);
    memory_drop(&db->options.path);
    free(db);
}

static struct database *database_new(const struct db_options *options)
{
    struct database *db = memory_new(sizeof(*db));

    db->options = *options;
    db->options.path = memory_text(slice_of(options->path));
    if (db->options.readers <= 0)
        db->options.readers = READERS_DEFAULT;
    pthread_mutex_init(&db->lock, NULL);
    clock_condition_init(&db->changed);
    db_queue_open(&db->queue);
    return db;
}

/* A start is a recovery as well: what the last process left in the WAL is replayed and synced. */
int commit_open(void **self, const struct db_options *options, struct error *err)
{
    struct database *db = database_new(options);

    if (options->sealed) { /* readers are all it has */
        *self = db;
        return 0;
    }
    if (reopen(db, err) < 0) {
        database_free(db);
        return -1;
    }
    if (pthread_create(&db->writer_thread, NULL, writer_main, db) != 0 ||
        pthread_create(&db->checkpoint_thread, NULL, checkpoint_main, db) != 0)
        abort();
    *self = db;
    return 0;
}

static void end_threads(struct database *db)
{
    db_queue_close(&db->queue);
    pthread_join(db->writer_thread, NULL);
    pthread_mutex_lock(&db->lock);
    db->closing = true;
    pthread_cond_broadcast(&db->changed);
    pthread_mutex_unlock(&db->lock);
    pthread_join(db->checkpoint_thread, NULL);
}

void commit_close(void *self)
{
    struct database *db = self;
    struct error ignored = {0};
    struct wal_state wal;

    if (!db->options.sealed)
        end_threads(db);
    readers_close(db);
    if (db->writer != NULL && !db->writer->io_failed)
        connection_checkpoint(db->writer, true, &wal, &ignored);
    database_free(db);
}

int commit_write(void *self, const struct db_work *work, struct error *err)
{
    struct database *db = self;

    assert(!db->options.sealed);
    return db_queue_run(&db->queue, work, err);
}

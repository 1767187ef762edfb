/* db_readers.c - SQLite: the connections that read, and the thread that moves the WAL through one.
 * Touches  the database through its connections.
 * Never    writes a row. */
#include <pthread.h>

#include "registry/core/clock.h"
#include "storage/db_sqlite.h"

enum {
    CHECKPOINT_PAGES = 1000,    /* not moved yet: then the checkpointer starts at once */
    CHECKPOINT_DELAY_MS = 1000, /* at the latest after a commit that was not synced */
    REWIND_PAGES = 4000,        /* 16 MiB: the writer makes it begin anew */
    DOWN_READ_WAIT_MS = 1000,
};

static const char PRAGMAS_READER[] = "PRAGMA synchronous = FULL;"
                                     "PRAGMA wal_autocheckpoint = 0;"
                                     "PRAGMA query_only = ON;"
                                     "PRAGMA temp_store = MEMORY;"
                                     "PRAGMA cache_size = -2048;";

/* An idle reader, or NULL with the right to open one. False while the database stays down. */
static bool reader_claim(struct database *db, struct connection **out)
{
    struct timespec until = clock_monotonic_after(DOWN_READ_WAIT_MS);
    int waited = 0;

    pthread_mutex_lock(&db->lock);
    while (db->down && waited == 0)
        waited = pthread_cond_timedwait(&db->changed, &db->lock, &until);
    while (!db->down && db->idle == NULL && db->opened >= db->options.readers)
        pthread_cond_wait(&db->changed, &db->lock);
    bool up = !db->down;
    *out = NULL;
    if (up) {
        db->out++;
        if (db->idle == NULL) {
            db->opened++;
        } else {
            *out = db->idle;
            db->idle = (*out)->next;
        }
    }
    pthread_mutex_unlock(&db->lock);
    return up;
}

/* NULL: it could not be opened. */
void reader_give(struct database *db, struct connection *reader)
{
    pthread_mutex_lock(&db->lock);
    db->out--;
    if (reader == NULL) {
        db->opened--;
    } else {
        reader->next = db->idle;
        db->idle = reader;
    }
    pthread_cond_broadcast(&db->changed);
    pthread_mutex_unlock(&db->lock);
}

int reader_take(struct database *db, struct connection **out, struct error *err)
{
    if (!reader_claim(db, out))
        return error_set(err, ERROR_UNAVAILABLE, "metadata is being recovered");
    if (*out == NULL && connection_open(out, &db->options, PRAGMAS_READER, err) < 0) {
        reader_give(db, NULL);
        return -1;
    }
    return 0;
}

bool readers_wanted(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    bool down = db->down;
    pthread_mutex_unlock(&db->lock);
    return down;
}

int commit_read(void *self, db_run *run, void *arg, struct error *err)
{
    struct connection *reader = NULL;
    struct error ignored = {0};

    if (reader_take(self, &reader, err) < 0)
        return -1;
    int result = connection_run(reader, "BEGIN", err);
    if (result == 0)
        result = run(&reader->tx, arg, err);
    if (connection_in_transaction(reader))
        connection_run(reader, "ROLLBACK", &ignored);
    reader_give(self, reader);
    return result;
}

void readers_close(struct database *db)
{
    pthread_mutex_lock(&db->lock);
    while (db->out > 0)
        pthread_cond_wait(&db->changed, &db->lock);
    while (db->idle != NULL) {
        struct connection *reader = db->idle;
        db->idle = reader->next;
        connection_drop(&reader);
        db->opened--;
    }
    pthread_mutex_unlock(&db->lock);
}

/* --- checkpoints --- */

bool wal_is_due(const struct database *db)
{
    return db->wal.pages - db->wal.moved >= CHECKPOINT_PAGES;
}

/* Waits until there is something to do; false at the end. */
static bool checkpoint_wait(struct database *db)
{
    int waited = 0;

    pthread_mutex_lock(&db->lock);
    while (!db->closing && (db->down || (!db->unsynced && !wal_is_due(db))))
        pthread_cond_wait(&db->changed, &db->lock);
    struct timespec until = clock_monotonic_after(CHECKPOINT_DELAY_MS);
    while (!db->closing && waited == 0 && (db->stuck || !wal_is_due(db)))
        waited = pthread_cond_timedwait(&db->changed, &db->lock, &until);
    bool go_on = !db->closing;
    db->unsynced = false;
    pthread_mutex_unlock(&db->lock);
    return go_on;
}

/* Readers of an old snapshot, or a full disk, may keep pages from being moved: the next one moves
 * them, not at once when they are many. */
static void note_checkpoint(struct database *db, bool failed, struct wal_state wal)
{
    int left = wal.pages - wal.moved;

    pthread_mutex_lock(&db->lock);
    db->stuck = failed || left >= CHECKPOINT_PAGES;
    db->unsynced |= failed || left > 0;
    if (!failed) {
        db->wal.moved = wal.moved <= db->wal.pages ? wal.moved : 0;
        db->rewind_due = wal.pages >= REWIND_PAGES;
    }
    pthread_mutex_unlock(&db->lock);
}

static void checkpoint_once(struct database *db)
{
    struct connection *reader = NULL;
    struct wal_state wal = {0, 0};
    struct error err = {0};

    if (reader_take(db, &reader, &err) < 0) {
        note_checkpoint(db, true, wal);
        return;
    }
    bool failed = connection_checkpoint(reader, false, &wal, &err) < 0;
    note_checkpoint(db, failed, wal);
    if (reader->io_failed) {
        pthread_mutex_lock(&db->lock);
        db->io_failed = true;
        pthread_mutex_unlock(&db->lock);
        db_queue_poke(&db->queue);
    }
    reader_give(db, reader);
}

void *checkpoint_main(void *arg)
{
    thread_role_current = ROLE_WORKER;
    while (checkpoint_wait(arg))
        checkpoint_once(arg);
    return NULL;
}

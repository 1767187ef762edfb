/* database.h - for tests of db.h: a database with one table on a real file system, works that note
 * what happens, and the library's calls counted and made to fail. Define nothing else of their
 * names. */
#ifndef SLIPWAY_TESTS_SUPPORT_DATABASE_H
#define SLIPWAY_TESTS_SUPPORT_DATABASE_H

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <sqlite3.h>

#include "storage/db.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

/* --- syncs of this process: counted, and made to fail --- */

enum { PATIENCE_MS = 60000 }; /* with what comes by itself */

static atomic_int sync_count;
static atomic_int writer_sync_count; /* of them, by the thread that runs works */
static _Thread_local bool runs_works;
static atomic_int sync_fails; /* that many of the next ones; the kernel's trust is gone with them */

static inline int sync_or_fail(long number, int fd)
{
    sync_count++;
    if (runs_works)
        writer_sync_count++;
    if (sync_fails > 0) {
        sync_fails--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(number, fd);
}

int fsync(int fd)
{
    return sync_or_fail(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_or_fail(SYS_fdatasync, fd);
}

/* --- checkpoints that were tried --- */

static atomic_int checkpoint_count;

/* In the place of the library's. */
int sqlite3_wal_checkpoint_v2(sqlite3 *handle, const char *name, int mode, int *pages, int *moved)
{
    __typeof__(&sqlite3_wal_checkpoint_v2) real;

    *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_wal_checkpoint_v2");
    checkpoint_count++;
    return real(handle, name, mode, pages, moved);
}

/* --- connections that cannot be opened --- */

static atomic_int open_fails; /* that many of the next ones */

/* In the place of the library's. */
int sqlite3_open_v2(const char *name, sqlite3 **handle, int flags, const char *vfs)
{
    __typeof__(&sqlite3_open_v2) real;

    *(void **)&real = dlsym(RTLD_NEXT, "sqlite3_open_v2");
    if (open_fails > 0) {
        open_fails--;
        *handle = NULL;
        return SQLITE_CANTOPEN;
    }
    return real(name, handle, flags, vfs);
}

/* --- a database with one table, and works that note what happens --- */

static atomic_int recovered_count;

static inline void note_recovered(void *arg)
{
    (void)arg;
    recovered_count++;
}

struct bench {
    char root[FOLDER_MAX];
    char path[FOLDER_MAX + 16];
    struct db *db;
};

static const char SQL_ADD[] = "INSERT INTO item(name, bytes) VALUES ($1, $2)";
static const char SQL_COUNT[] = "SELECT count(*) FROM item";
static const char SQL_GET[] = "SELECT name, bytes, length(bytes) FROM item WHERE name = $1";

enum { NOTES_MAX = 256 };

/* The order in which things happened, as letters. */
static struct {
    pthread_mutex_t lock;
    char text[NOTES_MAX];
    size_t count;
} notes = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void note(char letter)
{
    pthread_mutex_lock(&notes.lock);
    if (notes.count < NOTES_MAX - 1)
        notes.text[notes.count++] = letter;
    pthread_mutex_unlock(&notes.lock);
}

struct work {
    const char *name;
    char letter; /* noted when it runs; its capital after the commit */
    bool refuse; /* fail after having written */
    int sleep_us;
    size_t size;    /* of the row */
    sem_t *running; /* posted when it runs */
    sem_t *go_on;   /* waited for before it ends */
    enum db_priority priority;
    bool may_be_lost;
    atomic_int runs;
    struct db *db;
    struct error err;
    int result;
    pthread_t thread;
    atomic_int thread_id;
};

static inline int add(struct db_tx *tx, const char *name, struct slice bytes, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADD);

    db_bind_text(&query, slice_of(name));
    db_bind_bytes(&query, bytes);
    return db_finish(&query, err);
}

static inline int run_work(struct db_tx *tx, void *arg, struct error *err)
{
    struct work *work = arg;
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;

    runs_works = true;
    work->runs++;
    if (work->letter != 0)
        note(work->letter);
    if (work->running != NULL)
        sem_post(work->running);
    if (work->go_on != NULL)
        sem_wait(work->go_on);
    if (work->sleep_us > 0)
        usleep((useconds_t)work->sleep_us);
    buffer_reserve(&bytes, work->size + 1);
    memset(bytes.at, 'x', work->size);
    if (add(tx, work->name, (struct slice){bytes.at, work->size}, err) < 0)
        return -1;
    return work->refuse ? error_set(err, ERROR_PRECONDITION, "refused") : 0;
}

static inline void after_work(void *arg)
{
    const struct work *work = arg;

    if (work->letter != 0)
        note((char)(work->letter - 'a' + 'A'));
}

static inline int write_work(struct work *work)
{
    const struct db_work with = {.run = run_work,
                                 .after_commit = after_work,
                                 .arg = work,
                                 .priority = work->priority,
                                 .may_be_lost = work->may_be_lost};

    work->err = (struct error){0};
    work->result = db_write(work->db, &with, &work->err);
    return work->result;
}

static inline void *write_thread(void *arg)
{
    struct work *work = arg;

    atomic_store(&work->thread_id, (int)gettid());
    write_work(work);
    return NULL;
}

/* Does the thread wait for something, or has it ended? */
static inline bool thread_rests(int id)
{
    char path[64], text[128] = "";

    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return true;
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    const char *name_end = strrchr(text, ')');
    return size == 0 || (name_end != NULL && name_end[2] == 'S');
}

/* Queues a work from a thread of its own; returns when it stands in the queue, or was done: its
 * thread has nothing else to wait for, save for an instant the queue's lock. */
static inline void begin(struct bench *bench, struct work *work)
{
    int rested = 0;

    work->db = bench->db;
    atomic_store(&work->thread_id, 0);
    assert_int_equal(pthread_create(&work->thread, NULL, write_thread, work), 0);
    while (rested < 5) {
        usleep(1000);
        int id = atomic_load(&work->thread_id);
        rested = id != 0 && thread_rests(id) ? rested + 1 : 0;
    }
}

static inline int end(struct work *work)
{
    pthread_join(work->thread, NULL);
    return work->result;
}

static inline int count_run(struct db_tx *tx, void *arg, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COUNT);

    if (db_step(&query, err) != 1)
        return -1;
    *(int64_t *)arg = db_column_i64(&query, 0);
    return 0;
}

static inline int64_t count_items(struct bench *bench)
{
    struct error err = {0};
    int64_t count = -1;

    if (db_read(bench->db, count_run, &count, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    return count;
}

static inline int create(struct db_tx *tx, void *arg, struct error *err)
{
    return db_execute(tx, arg, err);
}

static inline int execute(struct bench *bench, const char *script)
{
    char text[200];
    struct error err = {0};
    const struct db_work work = {.run = create, .arg = text};

    snprintf(text, sizeof(text), "%s", script);
    return db_write(bench->db, &work, &err);
}

static inline void open_db(struct bench *bench)
{
    const struct db_options options = {
        .path = bench->path, .readers = 2, .recovered = note_recovered};
    struct error err = {0};

    if (db_open(&bench->db, &db_driver_sqlite, &options, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
}

static inline int set_up(void **state)
{
    struct bench *bench = memory_new(sizeof(*bench));

    folder_new(bench->root);
    snprintf(bench->path, sizeof(bench->path), "%s/meta.db", bench->root);
    recovered_count = 0;
    sync_fails = 0;
    notes.count = 0;
    memset(notes.text, 0, sizeof(notes.text));
    open_db(bench);
    assert_int_equal(execute(bench, "CREATE TABLE item(name TEXT NOT NULL UNIQUE, bytes BLOB)"), 0);
    *state = bench;
    return 0;
}

static inline int tear_down(void **state)
{
    struct bench *bench = *state;

    sync_fails = 0;
    db_close(bench->db);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

/* A work that holds the writer while others queue up behind it. */
struct holder {
    struct work work;
    sem_t running, go_on;
};

static inline void hold(struct bench *bench, struct holder *holder)
{
    sem_init(&holder->running, 0, 0);
    sem_init(&holder->go_on, 0, 0);
    holder->work = (struct work){
        .name = "holder", .running = &holder->running, .go_on = &holder->go_on, .db = bench->db};
    assert_int_equal(pthread_create(&holder->work.thread, NULL, write_thread, &holder->work), 0);
    sem_wait(&holder->running);
}

static inline void let_go(struct holder *holder)
{
    sem_post(&holder->go_on);
    assert_int_equal(end(&holder->work), 0);
    sem_destroy(&holder->running);
    sem_destroy(&holder->go_on);
}

#define DB_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

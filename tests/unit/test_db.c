/* test_db.c - what db.h promises, over SQLite on a real file system: group commit, savepoints,
 * priorities, snapshots, a full disk, syncs that fail. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sqlite3.h>

#include "registry/core/clock.h"
#include "storage/db.h"
#include "tests/support/folder.h"
#include "tests/support/unit.h"

/* --- syncs of this process: counted, and made to fail --- */

enum { PATIENCE_MS = 60000 }; /* with what comes by itself */

static atomic_int sync_count;
static atomic_int writer_sync_count; /* of them, by the thread that runs works */
static _Thread_local bool runs_works;
static atomic_int sync_fails; /* that many of the next ones; the kernel's trust is gone with them */

static int sync_or_fail(long number, int fd)
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

static void note_recovered(void *arg)
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

static void note(char letter)
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

static int add(struct db_tx *tx, const char *name, struct slice bytes, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ADD);

    db_bind_text(&query, slice_of(name));
    db_bind_bytes(&query, bytes);
    return db_finish(&query, err);
}

static int run_work(struct db_tx *tx, void *arg, struct error *err)
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

static void after_work(void *arg)
{
    const struct work *work = arg;

    if (work->letter != 0)
        note((char)(work->letter - 'a' + 'A'));
}

static int write_work(struct work *work)
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

static void *write_thread(void *arg)
{
    struct work *work = arg;

    atomic_store(&work->thread_id, (int)gettid());
    write_work(work);
    return NULL;
}

/* Does the thread wait for something, or has it ended? */
static bool thread_rests(int id)
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
static void begin(struct bench *bench, struct work *work)
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

static int end(struct work *work)
{
    pthread_join(work->thread, NULL);
    return work->result;
}

static int count_run(struct db_tx *tx, void *arg, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_COUNT);

    if (db_step(&query, err) != 1)
        return -1;
    *(int64_t *)arg = db_column_i64(&query, 0);
    return 0;
}

static int64_t count_items(struct bench *bench)
{
    struct error err = {0};
    int64_t count = -1;

    if (db_read(bench->db, count_run, &count, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
    return count;
}

static int create(struct db_tx *tx, void *arg, struct error *err)
{
    return db_execute(tx, arg, err);
}

static int execute(struct bench *bench, const char *script)
{
    char text[200];
    struct error err = {0};
    const struct db_work work = {.run = create, .arg = text};

    snprintf(text, sizeof(text), "%s", script);
    return db_write(bench->db, &work, &err);
}

static void open_db(struct bench *bench)
{
    const struct db_options options = {
        .path = bench->path, .readers = 2, .recovered = note_recovered};
    struct error err = {0};

    if (db_open(&bench->db, &db_driver_sqlite, &options, &err) < 0)
        fail_msg("%s: %s", err.message, err.cause);
}

static int set_up(void **state)
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

static int tear_down(void **state)
{
    struct bench *bench = *state;

    sync_fails = 0;
    db_close(bench->db);
    folder_remove(bench->root);
    free(bench);
    return 0;
}

/* --- statements --- */

struct row {
    const char *name;
    char text[32];
    struct slice bytes;
    bool null;
    int64_t length;
};

static int get(struct db_tx *tx, void *arg, struct error *err)
{
    struct row *row = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GET);

    db_bind_text(&query, slice_of(row->name));
    int found = db_step(&query, err);
    if (found != 1)
        return found < 0 ? -1 : error_set(err, ERROR_NAME_UNKNOWN, "none");
    assert_true(slice_to_text(db_column_slice(&query, 0), row->text, sizeof(row->text)));
    row->null = db_column_is_null(&query, 1);
    assert_int_equal(row->null, db_column_slice(&query, 1).at == NULL);
    row->length = db_column_i64(&query, 2);
    return 0;
}

static int add_null(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return add(tx, "null", SLICE_NONE, err);
}

static int add_empty(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return add(tx, "empty", SLICE(""), err);
}

static void test_db_columns_keep_null_and_empty_apart(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};
    const struct db_work null = {.run = add_null}, empty = {.run = add_empty};
    struct row row = {.name = "null"};

    assert_int_equal(db_write(bench->db, &null, &err), 0);
    assert_int_equal(db_write(bench->db, &empty, &err), 0);
    assert_int_equal(db_read(bench->db, get, &row, &err), 0);
    assert_true(row.null);
    row.name = "empty";
    assert_int_equal(db_read(bench->db, get, &row, &err), 0);
    assert_false(row.null);
    assert_int_equal(row.length, 0);
    assert_string_equal(row.text, "empty");
}

static void test_db_read_refuses_to_write(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};

    assert_int_equal(db_read(bench->db, add_null, NULL, &err), -1);
    assert_int_equal(count_items(bench), 0);
}

static void test_db_bad_statement_is_told_by_step(void **state)
{
    struct bench *bench = *state;
    struct error err = {0};
    int64_t count;

    assert_int_equal(execute(bench, "DROP TABLE item"), 0);
    assert_int_equal(db_read(bench->db, count_run, &count, &err), -1);
    assert_int_equal(err.code, ERROR_INTERNAL);
    assert_non_null(strstr(err.cause, "item"));
    assert_null(strstr(err.message, "item"));
}

/* --- the writer --- */

/* A work that holds the writer while others queue up behind it. */
struct holder {
    struct work work;
    sem_t running, go_on;
};

static void hold(struct bench *bench, struct holder *holder)
{
    sem_init(&holder->running, 0, 0);
    sem_init(&holder->go_on, 0, 0);
    holder->work = (struct work){
        .name = "holder", .running = &holder->running, .go_on = &holder->go_on, .db = bench->db};
    assert_int_equal(pthread_create(&holder->work.thread, NULL, write_thread, &holder->work), 0);
    sem_wait(&holder->running);
}

static void let_go(struct holder *holder)
{
    sem_post(&holder->go_on);
    assert_int_equal(end(&holder->work), 0);
    sem_destroy(&holder->running);
    sem_destroy(&holder->go_on);
}

static void test_db_waiting_works_share_one_commit(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[] = {
        {.name = "a", .letter = 'a'}, {.name = "b", .letter = 'b'}, {.name = "c", .letter = 'c'}};

    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    int before = sync_count;
    let_go(&holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        assert_int_equal(end(&works[i]), 0);
    assert_string_equal(notes.text, "abcABC"); /* all ran before the first was committed */
    assert_true(sync_count - before <= 2);     /* the holder's commit and the shared one */
    assert_int_equal(count_items(bench), 4);
}

static void test_db_failed_work_leaves_nothing_and_harms_nobody(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[] = {{.name = "a", .letter = 'a'},
                           {.name = "b", .letter = 'b', .refuse = true},
                           {.name = "a", .letter = 'c'}, /* breaks UNIQUE */
                           {.name = "d", .letter = 'd'}};

    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    let_go(&holder);
    assert_int_equal(end(&works[0]), 0);
    assert_int_equal(end(&works[1]), -1);
    assert_int_equal(end(&works[2]), -1);
    assert_int_equal(end(&works[3]), 0);
    assert_int_equal(works[1].err.code, ERROR_PRECONDITION);
    assert_int_equal(works[2].err.code, ERROR_INTERNAL);
    assert_string_equal(notes.text, "abcdAD");
    assert_int_equal(count_items(bench), 3);
}

static void test_db_failed_work_alone_leaves_nothing(void **state)
{
    struct bench *bench = *state;
    struct work refused = {.name = "a", .letter = 'a', .refuse = true, .db = bench->db};
    struct work taken = {.name = "b", .letter = 'b', .db = bench->db};

    assert_int_equal(write_work(&refused), -1);
    assert_int_equal(count_items(bench), 0);
    assert_int_equal(write_work(&taken), 0);
    assert_string_equal(notes.text, "abB");
    assert_int_equal(count_items(bench), 1);
}

static void test_db_foreground_goes_first(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[] = {{.name = "a", .letter = 'a', .priority = DB_BACKGROUND},
                           {.name = "b", .letter = 'b', .priority = DB_BACKGROUND},
                           {.name = "c", .letter = 'c'}};

    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    let_go(&holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        assert_int_equal(end(&works[i]), 0);
    assert_memory_equal(notes.text, "cab", 3);
}

/* However many heavy works wait, another one waits for one of them at most. */
static void test_db_heavy_works_take_turns_with_the_others(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[] = {{.name = "x", .letter = 'x', .priority = DB_HEAVY},
                           {.name = "y", .letter = 'y', .priority = DB_HEAVY},
                           {.name = "z", .letter = 'z', .priority = DB_HEAVY},
                           {.name = "c", .letter = 'c'},
                           {.name = "d", .letter = 'd'}};

    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    let_go(&holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        assert_int_equal(end(&works[i]), 0);
    assert_string_equal(notes.text, "xXcdCDyYzZ"); /* capitals: after the commit */
}

static void test_db_background_keeps_to_its_time(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[8];
    char names[8][2];

    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++) {
        snprintf(names[i], sizeof(names[i]), "%zu", i);
        works[i] = (struct work){
            .name = names[i], .letter = 'b', .priority = DB_BACKGROUND, .sleep_us = 4000};
        begin(bench, &works[i]);
    }
    let_go(&holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        assert_int_equal(end(&works[i]), 0);
    assert_int_equal(notes.count, 16);
    assert_null(strstr(notes.text, "bbbb")); /* two, at most three of 4 ms, then a commit */
    assert_int_equal(count_items(bench), 9);
}

static void test_db_works_of_many_threads_all_arrive(void **state)
{
    struct bench *bench = *state;
    struct work works[32];
    char names[32][4];

    for (size_t i = 0; i < LENGTH(works); i++) {
        snprintf(names[i], sizeof(names[i]), "%zu", i);
        works[i] = (struct work){.name = names[i], .db = bench->db, .may_be_lost = i % 3 == 0};
        works[i].priority = i % 4 == 0 ? DB_BACKGROUND : DB_FOREGROUND;
        assert_int_equal(pthread_create(&works[i].thread, NULL, write_thread, &works[i]), 0);
    }
    for (size_t i = 0; i < LENGTH(works); i++)
        assert_int_equal(end(&works[i]), 0);
    assert_int_equal(count_items(bench), 32);
}

static void test_db_work_that_may_be_lost_is_not_synced_at_once(void **state)
{
    struct bench *bench = *state;
    struct work loose = {.name = "loose", .db = bench->db, .may_be_lost = true};
    struct work durable = {.name = "durable", .db = bench->db};

    int before = writer_sync_count; /* the checkpointer may have come meanwhile */
    assert_int_equal(write_work(&loose), 0);
    assert_int_equal(writer_sync_count, before);
    assert_int_equal(count_items(bench), 1);
    assert_int_equal(write_work(&durable), 0);
    assert_true(writer_sync_count > before);
}

static void test_db_loose_commit_is_synced_within_a_second(void **state)
{
    struct bench *bench = *state;
    struct work loose = {.name = "loose", .db = bench->db, .may_be_lost = true};

    int before = sync_count;
    assert_int_equal(write_work(&loose), 0);
    for (int i = 0; i < PATIENCE_MS && sync_count == before; i++)
        usleep(1000);
    assert_true(sync_count > before);
}

/* The checkpointer has no connection yet, and gets none at first. */
static void test_db_loose_commit_is_synced_when_a_connection_fails(void **state)
{
    struct bench *bench = *state;
    struct work loose = {.name = "loose", .db = bench->db, .may_be_lost = true};

    open_fails = 2;
    int before = sync_count;
    assert_int_equal(write_work(&loose), 0);
    for (int i = 0; i < PATIENCE_MS && sync_count == before; i++)
        usleep(1000);
    assert_int_equal(open_fails, 0);
    assert_true(sync_count > before);
}

static void wait_for_size(struct bench *bench, off_t size)
{
    struct stat file = {.st_size = 0};

    for (int i = 0; i < PATIENCE_MS && file.st_size < size; i++) {
        usleep(1000);
        assert_int_equal(stat(bench->path, &file), 0);
    }
    assert_true(file.st_size >= size);
}

/* Durable commits alone start the checkpointer too, or the WAL would grow for ever. */
static void test_db_long_wal_is_moved_into_the_database(void **state)
{
    struct bench *bench = *state;
    struct work large = {.name = "large", .db = bench->db, .size = 6 << 20};

    assert_int_equal(write_work(&large), 0);
    wait_for_size(bench, 6 << 20);
}

struct rest {
    struct bench *bench;
    int tried, seconds;
};

/* Keeps all pages in the WAL for as long as it lasts. */
static int rest_in_snapshot(struct db_tx *tx, void *arg, struct error *err)
{
    struct rest *rest = arg;
    struct work large = {.name = "large", .db = rest->bench->db, .size = 6 << 20};
    int64_t count;
    int before = checkpoint_count;

    if (count_run(tx, &count, err) < 0 || write_work(&large) < 0)
        return -1;
    for (int i = 0; i < PATIENCE_MS && checkpoint_count == before; i++)
        usleep(1000);
    uint64_t begun = clock_monotonic_ms();
    usleep(500000);
    rest->tried = checkpoint_count - before;
    rest->seconds = (int)(clock_monotonic_ms() - begun) / 1000;
    return 0;
}

static void test_db_checkpoint_that_cannot_go_on_rests(void **state)
{
    struct bench *bench = *state;
    struct rest rest = {.bench = bench};
    struct error err = {0};

    assert_int_equal(db_read(bench->db, rest_in_snapshot, &rest, &err), 0);
    assert_in_range(rest.tried, 1, 2 + rest.seconds); /* one a second */
    wait_for_size(bench, 6 << 20);                    /* goes on by itself */
}

/* --- readers --- */

struct look_twice {
    struct bench *bench;
    int64_t first, second;
};

static int look_twice(struct db_tx *tx, void *arg, struct error *err)
{
    struct look_twice *look = arg;
    struct work work = {.name = "between", .db = look->bench->db};

    if (count_run(tx, &look->first, err) < 0)
        return -1;
    assert_int_equal(write_work(&work), 0); /* does not wait for the reader */
    return count_run(tx, &look->second, err);
}

static void test_db_reader_sees_one_snapshot(void **state)
{
    struct bench *bench = *state;
    struct look_twice look = {.bench = bench};
    struct error err = {0};

    assert_int_equal(db_read(bench->db, look_twice, &look, &err), 0);
    assert_int_equal(look.first, 0);
    assert_int_equal(look.second, 0);
    assert_int_equal(count_items(bench), 1);
}

static void *read_thread(void *arg)
{
    for (int i = 0; i < 50; i++)
        count_items(arg);
    return NULL;
}

static void test_db_more_threads_than_readers_wait_for_their_turn(void **state)
{
    pthread_t threads[8];

    for (size_t i = 0; i < LENGTH(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_thread, *state), 0);
    for (size_t i = 0; i < LENGTH(threads); i++)
        pthread_join(threads[i], NULL);
}

/* --- a full disk --- */

static void test_db_full_harms_only_the_work_that_does_not_fit(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    struct work works[] = {{.name = "a", .letter = 'a'},
                           {.name = "b", .letter = 'b', .size = 1 << 20},
                           {.name = "c", .letter = 'c'}};

    assert_int_equal(execute(bench, "PRAGMA max_page_count = 20"), 0);
    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    let_go(&holder);
    assert_int_equal(end(&works[0]), 0);
    assert_int_equal(end(&works[1]), -1);
    assert_int_equal(end(&works[2]), 0);
    assert_int_equal(works[1].err.code, ERROR_STORAGE_FULL);
    assert_int_equal(works[1].err.status, 507);
    assert_int_equal(count_items(bench), 3);

    assert_int_equal(execute(bench, "PRAGMA max_page_count = 1000000"), 0);
    struct work again = {.name = "b", .size = 1 << 20, .db = bench->db};
    assert_int_equal(write_work(&again), 0);
    assert_int_equal(recovered_count, 0);
}

/* --- syncs that fail --- */

static void test_db_failed_sync_fails_the_commit_and_recovers(void **state)
{
    struct bench *bench = *state;
    struct work first = {.name = "first", .db = bench->db};
    struct work lost = {.name = "lost", .letter = 'l', .db = bench->db};
    struct work later = {.name = "later", .db = bench->db};

    assert_int_equal(write_work(&first), 0);
    sync_fails = 1;
    assert_int_equal(write_work(&lost), -1);
    assert_int_equal(lost.err.code, ERROR_UNAVAILABLE);
    assert_string_equal(notes.text, "l"); /* never told that it was committed */
    assert_int_equal(write_work(&later), 0);
    assert_int_equal(recovered_count, 2);
    assert_in_range(count_items(bench), 2,
                    3); /* the lost one may have come back; the others must */
}

static void test_db_failed_sync_fails_everyone_in_the_commit(void **state)
{
    struct bench *bench = *state;
    struct holder holder;
    sem_t running, go_on;
    struct work works[] = {{.name = "a", .letter = 'a', .running = &running, .go_on = &go_on},
                           {.name = "b", .letter = 'b', .refuse = true},
                           {.name = "c", .letter = 'c'}};

    sem_init(&running, 0, 0);
    sem_init(&go_on, 0, 0);
    hold(bench, &holder);
    for (size_t i = 0; i < LENGTH(works); i++)
        begin(bench, &works[i]);
    let_go(&holder);
    sem_wait(&running); /* the shared commit is under way, its sync is to come */
    sync_fails = 1;
    sem_post(&go_on);
    for (size_t i = 0; i < LENGTH(works); i++) {
        assert_int_equal(end(&works[i]), -1);
        assert_int_equal(works[i].err.code, ERROR_UNAVAILABLE);
    }
    assert_string_equal(notes.text, "abc");
    sem_destroy(&running);
    sem_destroy(&go_on);
}

static void test_db_stays_down_while_syncs_fail_then_goes_on(void **state)
{
    struct bench *bench = *state;
    struct work first = {.name = "first", .db = bench->db};
    struct work down = {.name = "down", .db = bench->db};
    struct work later = {.name = "later", .db = bench->db};

    assert_int_equal(write_work(&first), 0);
    sync_fails = 1000000;
    assert_int_equal(write_work(&down), -1);
    assert_int_equal(write_work(&down), -1);
    assert_int_equal(down.err.code, ERROR_UNAVAILABLE);
    sync_fails = 0;
    int result = -1;
    for (int i = 0; i < 50 && result < 0; i++)
        if ((result = write_work(&later)) < 0)
            usleep(100000);
    assert_int_equal(result, 0);
    assert_true(count_items(bench) >= 2);
    assert_int_equal(recovered_count, 2);
}

static void test_db_failed_checkpoint_recovers(void **state)
{
    struct bench *bench = *state;
    struct work first = {.name = "first", .db = bench->db};
    struct work loose = {.name = "loose", .db = bench->db, .may_be_lost = true};

    assert_int_equal(write_work(&first), 0);
    sync_fails = 1; /* the checkpointer's, within a second */
    assert_int_equal(write_work(&loose), 0);
    for (int i = 0; i < PATIENCE_MS && recovered_count == 0; i++)
        usleep(1000);
    assert_int_equal(recovered_count, 1);
    assert_int_equal(count_items(bench), 2);
    struct work later = {.name = "later", .db = bench->db};
    assert_int_equal(write_work(&later), 0);
}

static void test_db_reopened_has_all_that_was_acknowledged(void **state)
{
    struct bench *bench = *state;
    struct work work = {.name = "kept", .db = bench->db};
    char wal[FOLDER_MAX + 24];
    struct stat file;

    assert_int_equal(write_work(&work), 0);
    db_close(bench->db);
    snprintf(wal, sizeof(wal), "%s-wal", bench->path);
    assert_true(stat(wal, &file) < 0 || file.st_size == 0); /* an ordinary end leaves no work */
    open_db(bench);
    assert_int_equal(count_items(bench), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Hashes of passwords are in it. */
static void test_db_files_are_closed_to_others(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm"};
    char name[FOLDER_MAX + 32];
    struct bench *bench = *state;
    struct stat status;

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
            snprintf(name, sizeof(name), "%s%s", bench->path, suffixes[i]);
            assert_int_equal(stat(name, &status), 0);
            assert_int_equal(status.st_mode & 07777, round == 0 ? 0600 : 0640);
            assert_int_equal(chmod(name, 0644), 0); /* as older versions made them */
        }
        db_close(bench->db);
        open_db(bench);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_db_files_are_closed_to_others),
        TEST(test_db_columns_keep_null_and_empty_apart),
        TEST(test_db_read_refuses_to_write),
        TEST(test_db_bad_statement_is_told_by_step),
        TEST(test_db_waiting_works_share_one_commit),
        TEST(test_db_failed_work_leaves_nothing_and_harms_nobody),
        TEST(test_db_failed_work_alone_leaves_nothing),
        TEST(test_db_foreground_goes_first),
        TEST(test_db_heavy_works_take_turns_with_the_others),
        TEST(test_db_background_keeps_to_its_time),
        TEST(test_db_works_of_many_threads_all_arrive),
        TEST(test_db_work_that_may_be_lost_is_not_synced_at_once),
        TEST(test_db_loose_commit_is_synced_within_a_second),
        TEST(test_db_loose_commit_is_synced_when_a_connection_fails),
        TEST(test_db_long_wal_is_moved_into_the_database),
        TEST(test_db_checkpoint_that_cannot_go_on_rests),
        TEST(test_db_reader_sees_one_snapshot),
        TEST(test_db_more_threads_than_readers_wait_for_their_turn),
        TEST(test_db_full_harms_only_the_work_that_does_not_fit),
        TEST(test_db_failed_sync_fails_the_commit_and_recovers),
        TEST(test_db_failed_sync_fails_everyone_in_the_commit),
        TEST(test_db_stays_down_while_syncs_fail_then_goes_on),
        TEST(test_db_failed_checkpoint_recovers),
        TEST(test_db_reopened_has_all_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

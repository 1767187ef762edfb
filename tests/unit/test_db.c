/* test_db.c - what db.h promises, over SQLite on a real file system: statements, snapshots, a full
 * disk, files that nobody else reads. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/support/database.h"

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
        DB_TEST(test_db_files_are_closed_to_others),
        DB_TEST(test_db_columns_keep_null_and_empty_apart),
        DB_TEST(test_db_read_refuses_to_write),
        DB_TEST(test_db_bad_statement_is_told_by_step),
        DB_TEST(test_db_reader_sees_one_snapshot),
        DB_TEST(test_db_more_threads_than_readers_wait_for_their_turn),
        DB_TEST(test_db_full_harms_only_the_work_that_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

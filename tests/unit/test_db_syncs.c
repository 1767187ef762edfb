/* test_db_syncs.c - what a database does when syncs fail. */
#include <semaphore.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/database.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(test_db_failed_sync_fails_the_commit_and_recovers),
        DB_TEST(test_db_failed_sync_fails_everyone_in_the_commit),
        DB_TEST(test_db_stays_down_while_syncs_fail_then_goes_on),
        DB_TEST(test_db_failed_checkpoint_recovers),
        DB_TEST(test_db_reopened_has_all_that_was_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_db_writer.c - works that write: group commit, savepoints, whose turn it is, commits that
 * may be lost, the WAL. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "tests/support/database.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        DB_TEST(test_db_waiting_works_share_one_commit),
        DB_TEST(test_db_failed_work_leaves_nothing_and_harms_nobody),
        DB_TEST(test_db_failed_work_alone_leaves_nothing),
        DB_TEST(test_db_foreground_goes_first),
        DB_TEST(test_db_heavy_works_take_turns_with_the_others),
        DB_TEST(test_db_background_keeps_to_its_time),
        DB_TEST(test_db_works_of_many_threads_all_arrive),
        DB_TEST(test_db_work_that_may_be_lost_is_not_synced_at_once),
        DB_TEST(test_db_loose_commit_is_synced_within_a_second),
        DB_TEST(test_db_loose_commit_is_synced_when_a_connection_fails),
        DB_TEST(test_db_long_wal_is_moved_into_the_database),
        DB_TEST(test_db_checkpoint_that_cannot_go_on_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

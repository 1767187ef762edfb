/* test_backup.c - snapshots of an opened storage in a folder: what they say of themselves, what is
 * copied, and that it is of one moment. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/collect.h"
#include "tests/support/backups.h"

/* --- what a snapshot says of itself --- */

static void test_summary_is_read_as_it_was_written(void **state)
{
    OWNED(summary_drop)
    struct summary summary = {.created_at = 1795271175123456,
                              .repositories = 1,
                              .manifests = 2,
                              .blobs = 3,
                              .bytes = 4,
                              .copied_bytes = 5,
                              .damaged = 6};
    OWNED(summary_drop) struct summary found = {0};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    summary_add(&summary, &(struct summary_file){"meta.db", digest_text_of("a"), 7});
    summary_add(&summary, &(struct summary_file){"keys/a_B-9.pem", digest_text_of("b"), 8});
    summary_print(&summary, &text);
    assert_true(summary_parse(buffer_slice(&text), &found));
    assert_int_equal(found.created_at, summary.created_at);
    assert_int_equal(found.repositories, 1);
    assert_int_equal(found.manifests, 2);
    assert_int_equal(found.blobs, 3);
    assert_int_equal(found.bytes, 4);
    assert_int_equal(found.copied_bytes, 5);
    assert_int_equal(found.damaged, 6);
    assert_int_equal(found.file_count, 2);
    assert_string_equal(found.files[1].name, "keys/a_B-9.pem");
    assert_int_equal(found.files[1].size, 8);
    assert_true(digest_equal(&found.files[1].digest, &summary.files[1].digest));
}

#define SUM "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define META "file " SUM " 1 meta.db\n"

static void test_summary_refuses_what_is_not_whole_or_not_ours(void **state)
{
    static const char *const texts[] = {
        "",
        "slipway-backup 1\n",
        "slipway-backup 1\n" META,
        "slipway-backup 1\n" META "end",
        "slipway-backup 1\n" META "end\nmore",
        "slipway-backup 1\nend\n",
        "slipway-backup 2\n" META "end\n",
        "slipway-backup 1\n" META "blobs\nend\n",
        "slipway-backup 1\n" META "blobs -1\nend\n",
        "slipway-backup 1\n" META "blobs 1 \nend\n",
        "slipway-backup 1\n" META "sheep 1\nend\n",
        "slipway-backup 1\ncreated_at soon\n" META "end\n",
        "slipway-backup 1\nfile " SUM " 1 keys/a.pem\nend\n",
        "slipway-backup 1\n" META META "end\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/../meta.db\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/.a\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 /etc/shadow\nend\n",
        "slipway-backup 1\n" META "file " SUM " x keys/a\nend\n",
        "slipway-backup 1\n" META "file sha256:44 1 keys/a\nend\n",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(texts); i++) {
        OWNED(summary_drop) struct summary found = {0};
        if (summary_parse(slice_of(texts[i]), &found))
            fail_msg("taken: %s", texts[i]);
    }
}

/* --- what is copied --- */

static void test_backup_has_metadata_keys_and_bytes(void **state)
{
    struct fixture *fixture = *state;
    char mark[DIGEST_TEXT_MAX] = "", text[DIGEST_TEXT_MAX];

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/20260101T000000Z-x.pem"), "a key");
    write_file(in(fixture->root, "keys/.half"), "no key");
    struct digest digest = push_blob(fixture, "first");
    push_blob(fixture, "the second");
    struct backup_report report = backup(fixture);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(report.bytes, 15);
    assert_int_equal(report.copied, 2);
    assert_int_equal(report.copied_bytes, 15);
    assert_int_equal(report.damaged, 0);
    const char *file = file_of(fixture, place.backup, "first");
    assert_int_equal(stat_of(file).st_size, 5);
    assert_int_equal(stat_of(file).st_mode & 0777, 0600);
    if (getxattr(file, "user.slipway.digest", mark, sizeof(mark)) > 0)
        assert_string_equal(mark, digest_text(&digest, text));
    assert_int_equal(stat_of(place.backup).st_mode & 0777, 0700);
    OWNED(buffer_drop) struct buffer snapshot = BUFFER_NONE;
    buffer_print(&snapshot, "%s/snapshots/%s", place.backup, report.name);
    assert_int_equal(entries_of(snapshot.at), 3);
    assert_int_equal(entries_of(in(snapshot.at, "keys")), 1);
    assert_int_equal(stat_of(in(snapshot.at, "keys/20260101T000000Z-x.pem")).st_mode & 0777, 0600);
    assert_int_equal(stat_of(in(snapshot.at, "meta.db")).st_mode & 0777, 0600);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_further_backup_copies_what_is_new(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    struct stat before = stat_of(file_of(fixture, place.backup, "first"));
    push_blob(fixture, "the second");
    struct backup_report report = backup(fixture);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(report.copied, 1);
    assert_int_equal(report.copied_bytes, 10);
    struct stat after = stat_of(file_of(fixture, place.backup, "first"));
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
}

static void test_file_that_was_cut_off_is_copied_again(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    const char *file = file_of(fixture, place.backup, "first");
    assert_int_equal(truncate(file, 3), 0);
    assert_int_equal(backup(fixture).copied, 1);
    assert_int_equal(stat_of(file).st_size, 5);
}

static void test_links_are_one_file(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.backup);
    struct backup_report report;

    push_blob(fixture, "first");
    options.link = true;
    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    assert_int_equal(stat_of(file_of(fixture, place.backup, "first")).st_ino,
                     stat_of(file_of(fixture, fixture->root, "first")).st_ino);
    assert_int_equal(report.copied, 1);
}

static void test_copies_are_files_of_their_own(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    flip_bit(file_of(fixture, fixture->root, "first"));
    assert_int_equal(verify(fixture).damaged, 0);
}

/* (3) */
static void test_bytes_are_held_while_a_backup_runs(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.backup);
    struct collect_state collect;
    struct backup_report report;

    push_blob(fixture, "first");
    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    OK(storage_collect_state(fixture->store, &collect, &fixture->err));
    assert_false(collect.held); /* it was given back */
    place.cancel_after = 1;
    FAILS(storage_backup(fixture->store, &options, &progress, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    OK(storage_collect_state(fixture->store, &collect, &fixture->err));
    assert_false(collect.held);
}

struct held {
    struct fixture *fixture;
    bool seen;
};

static void look_whether_held(void *arg, const char *counter, uint64_t amount)
{
    struct held *held = arg;
    struct collect_state collect = {.held = false};
    struct error err = {0};

    (void)amount;
    if (strcmp(counter, "blobs_done") != 0)
        return;
    assert_int_equal(storage_collect_state(held->fixture->store, &collect, &err), 0);
    held->seen = collect.held;
}

static void test_bytes_are_held_at_every_blob(void **state)
{
    struct held held = {*state, false};
    struct fixture *fixture = *state;
    const struct backup_options options = options_to(place.backup);
    const struct progress looking = {.add = look_whether_held, .arg = &held};
    struct backup_report report;

    push_blob(fixture, "first");
    OK(storage_backup(fixture->store, &options, &looking, &report, &fixture->err));
    assert_true(held.seen);
}

/* (1) */
static void test_cancelled_backup_leaves_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    const struct backup_options options = options_to(place.backup);
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_report report;
    int cancelled = 0;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    for (int after = 0;; after++, cancelled++) {
        place.cancel_after = after;
        fixture->err = (struct error){0};
        if (storage_backup(fixture->store, &options, &progress, &report, &fixture->err) == 0)
            break;
        assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE);
        assert_int_equal(entries_of(in(place.backup, "snapshots")), 0);
    }
    assert_true(cancelled > 3);
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 1);
    assert_true(list.items[0].complete);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_what_a_killed_command_left_is_shown_and_goes(void **state)
{
    struct fixture *fixture = *state;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};

    backup(fixture);
    mkdir(in(place.backup, "snapshots/.new-20200101T000000.000Z"), 0700);
    mkdir(in(place.backup, "snapshots/.new-20200101T000000.000Z/keys"), 0700);
    write_file(in(place.backup, "snapshots/.new-20200101T000000.000Z/keys/a"), "half");
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 2);
    assert_false(list.items[0].complete);
    assert_string_equal(list.items[0].name, "20200101T000000.000Z");
    assert_true(list.items[1].complete);
    backup(fixture);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
}

/* --- a snapshot is of one moment --- */

struct pairs {
    struct fixture *fixture;
    atomic_bool end;
    atomic_int written;
};

static int pair_run(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return db_execute(tx,
                      "INSERT INTO server_state(name, value)"
                      "  SELECT 'a' || (SELECT count(*) FROM server_state), hex(randomblob(500));"
                      "INSERT INTO server_state(name, value)"
                      "  SELECT 'b' || (SELECT count(*) FROM server_state), hex(randomblob(500))",
                      err);
}

static void *write_pairs(void *arg)
{
    struct pairs *pairs = arg;
    struct error err = {0};

    thread_role_current = ROLE_WORKER;
    while (!atomic_load(&pairs->end)) {
        assert_int_equal(meta_write(pairs->fixture->meta, pair_run, NULL, &err), 0);
        pairs->written++;
    }
    return NULL;
}

static int count_pairs(struct db_tx *tx, void *arg, struct error *err)
{
    int64_t *counts = arg;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, "SELECT sum(name GLOB 'a*'), sum(name GLOB 'b*')"
                                         "  FROM server_state WHERE name GLOB '[ab][0-9]*'");

    if (db_step(&query, err) != 1)
        return -1;
    counts[0] = db_column_i64(&query, 0);
    counts[1] = db_column_i64(&query, 1);
    return 0;
}

static void test_snapshot_of_a_database_that_is_written_to_is_whole(void **state)
{
    struct fixture *fixture = *state;
    struct pairs pairs = {.fixture = fixture};
    pthread_t writer;

    for (int i = 0; i < 300; i++)
        OK(meta_write(fixture->meta, pair_run, NULL, &fixture->err));
    assert_int_equal(pthread_create(&writer, NULL, write_pairs, &pairs), 0);
    while (atomic_load(&pairs.written) == 0)
        sched_yield();
    for (int i = 0; i < 5; i++) {
        OWNED(meta_drop) struct meta *sealed = NULL;
        int64_t counts[2] = {0, 0};
        char name[32];
        snprintf(name, sizeof(name), "%d?%%#.db", i); /* means something in a file's URI */
        OK(meta_snapshot(fixture->meta, in(place.base, name), NULL, &fixture->err));
        OK(meta_open_sealed(&sealed, in(place.base, name), &fixture->err));
        OK(db_read(sealed->db, count_pairs, counts, &fixture->err));
        OK(meta_backup_examine(sealed, NULL, &fixture->err));
        assert_true(counts[0] >= 300);
        assert_int_equal(counts[0], counts[1]);
    }
    assert_int_equal(entries_of(place.base), 5); /* nothing beside them */
    atomic_store(&pairs.end, true);
    pthread_join(writer, NULL);
}

enum { ASKED_MAX = 20 };

struct restless {
    struct fixture *fixture;
    int asked;
};

/* Somebody writes between any two pieces. */
static bool write_and_go_on(void *arg)
{
    struct restless *restless = arg;
    struct error err = {0};

    assert_int_equal(meta_write(restless->fixture->meta, pair_run, NULL, &err), 0);
    return ++restless->asked > ASKED_MAX;
}

static void test_snapshot_does_not_begin_again_when_somebody_writes(void **state)
{
    struct fixture *fixture = *state;
    struct restless restless = {fixture, 0};
    const struct progress writing = {.cancelled = write_and_go_on, .arg = &restless};

    for (int i = 0; i < 600; i++)
        OK(meta_write_loosely(fixture->meta, pair_run, NULL, DB_FOREGROUND, &fixture->err));
    OK(meta_snapshot(fixture->meta, in(place.base, "a.db"), &writing, &fixture->err));
    assert_true(restless.asked > 1);
}

static void test_snapshot_takes_no_file_that_is_there(void **state)
{
    struct fixture *fixture = *state;

    write_file(in(place.base, "there"), "precious");
    FAILS(meta_snapshot(fixture->meta, in(place.base, "there"), NULL, &fixture->err),
          ERROR_UNAVAILABLE);
    assert_int_equal(stat_of(in(place.base, "there")).st_size, 8);
}

static void test_sealed_metadata_of_a_newer_program_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct meta *sealed = NULL;

    script(fixture, "INSERT INTO schema_version(version, applied_at) VALUES (99, 0)");
    OK(meta_snapshot(fixture->meta, in(place.base, "a.db"), NULL, &fixture->err));
    FAILS(meta_open_sealed(&sealed, in(place.base, "a.db"), &fixture->err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(fixture->err.message, "newer version"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summary_is_read_as_it_was_written),
        cmocka_unit_test(test_summary_refuses_what_is_not_whole_or_not_ours),
        BACKUP_TEST(test_backup_has_metadata_keys_and_bytes),
        BACKUP_TEST(test_further_backup_copies_what_is_new),
        BACKUP_TEST(test_file_that_was_cut_off_is_copied_again),
        BACKUP_TEST(test_links_are_one_file),
        BACKUP_TEST(test_copies_are_files_of_their_own),
        BACKUP_TEST(test_bytes_are_held_while_a_backup_runs),
        BACKUP_TEST(test_bytes_are_held_at_every_blob),
        BACKUP_TEST(test_cancelled_backup_leaves_no_snapshot),
        BACKUP_TEST(test_what_a_killed_command_left_is_shown_and_goes),
        BACKUP_TEST(test_snapshot_of_a_database_that_is_written_to_is_whole),
        BACKUP_TEST(test_snapshot_does_not_begin_again_when_somebody_writes),
        BACKUP_TEST(test_snapshot_takes_no_file_that_is_there),
        BACKUP_TEST(test_sealed_metadata_of_a_newer_program_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

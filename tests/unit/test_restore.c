/* test_restore.c - what a restored root has, what a restore refuses, and how it goes on. */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/backups.h"

static void test_restored_root_serves_what_was_there(void **state)
{
    struct fixture *fixture = *state;

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/a.pem"), "a key");
    push_blob(fixture, "first");
    push_text(fixture, "{\"schemaVersion\":2}", "v1");
    backup(fixture);
    push_blob(fixture, "after the snapshot");
    struct backup_report report = restore(fixture);
    assert_int_equal(report.copied, 1);
    assert_int_equal(stat_of(place.other).st_mode & 0777, 0700);
    assert_int_equal(stat_of(in(place.other, "meta.db")).st_mode & 0777, 0600);
    assert_int_equal(stat_of(in(place.other, "keys")).st_mode & 0777, 0700);
    assert_int_equal(stat_of(in(place.other, "keys/a.pem")).st_mode & 0777, 0600);
    assert_false(exists(in(place.other, BACKUP_RESTORING)));
    move_in(fixture);
    assert_blob(fixture, "first");
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags WHERE name = 'v1'"), 1);
}

/* Promises made after the snapshot, and before it, hold for a lease. */
static void test_restored_metadata_begins_its_leases_anew(void **state)
{
    struct fixture *fixture = *state;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    int64_t now = clock_now_us();

    push_blob(fixture, "first");
    push_text(fixture, "{\"schemaVersion\":2}", "v1");
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    script(fixture, "UPDATE repository_blobs SET touched_at = 1;"
                    "UPDATE manifests SET touched_at = 1;"
                    "UPDATE gc_queue SET due = 1;"
                    "INSERT INTO trash(locator, not_before)"
                    "     VALUES ('0123456789abcdef0123456789abcdef', 1)");
    backup(fixture);
    restore(fixture);
    move_in(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 0);
    assert_true(number(fixture, "SELECT min(touched_at) FROM repository_blobs") >= now);
    assert_true(number(fixture, "SELECT min(touched_at) FROM manifests") >= now);
    assert_true(number(fixture, "SELECT min(due) FROM gc_queue") >= now + INT64_C(3600) * US_PER_S);
    assert_int_equal(number(fixture, "SELECT count(*) FROM server_state"
                                     " WHERE name = 'orphans' AND value = 'due'"),
                     1); /* the boot was forgotten, so this start looks for files without rows */
}

static void test_blobs_that_a_backup_lacks_are_damaged(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = push_blob(fixture, "first");
    struct blob blob;

    push_blob(fixture, "the second");
    backup(fixture);
    flip_bit(file_of(fixture, place.backup, "first"));
    assert_int_equal(restore(fixture).damaged, 1);
    assert_string_equal(place.told[0].what, "changed");
    move_in(fixture);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    assert_blob(fixture, "the second");
    push_blob(fixture, "first");
    assert_blob(fixture, "first");
}

static void test_restore_refuses_roots_that_are_not_empty(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report report;

    backup(fixture);
    mkdir(place.other, 0700);
    write_file(in(place.other, "precious"), "x");
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    assert_int_equal(entries_of(place.other), 1);
    options.root = fixture->root;
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    options.root = place.other;
    unlink(in(place.other, "precious"));
    mkdir(in(place.other, "lost+found"), 0700);
    OK(backup_restore(&options, NULL, &report, &fixture->err));
}

static void test_dry_run_makes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report report;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    backup(fixture);
    unlink(file_of(fixture, place.backup, "first"));
    options.dry_run = true;
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.copied, 0);
    assert_false(exists(place.other));
}

/* (5), at every moment at which it can be asked to stop. */
static void test_restore_goes_on_where_it_was_cut_off(void **state)
{
    struct fixture *fixture = *state;
    const struct restore_options options = restore_to(place.other);
    struct storage_options opened = fixture->options;
    struct storage *store = NULL;
    struct backup_report report;
    int cut = 0;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    backup(fixture);
    opened.root = place.other;
    for (int after = 0;; after++, cut++) {
        place.cancel_after = after;
        fixture->err = (struct error){0};
        if (backup_restore(&options, &progress, &report, &fixture->err) == 0)
            break;
        assert_true(exists(in(place.other, BACKUP_RESTORING)));
        FAILS(storage_open(&store, &opened, &fixture->err), ERROR_UNAVAILABLE);
        assert_non_null(strstr(fixture->err.message, "cut off"));
    }
    assert_true(cut > 3);
    move_in(fixture);
    assert_blob(fixture, "first");
    assert_blob(fixture, "the second");
}

static void test_restore_of_another_snapshot_does_not_go_on(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report one, report;

    push_blob(fixture, "first");
    one = backup(fixture);
    backup(fixture);
    options.snapshot = one.name;
    place.cancel_after = 1;
    FAILS(backup_restore(&options, &progress, &report, &fixture->err), ERROR_UNAVAILABLE);
    place.cancel_after = -1;
    options.snapshot = NULL;
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    options.snapshot = one.name;
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    assert_string_equal(report.name, one.name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BACKUP_TEST(test_restored_root_serves_what_was_there),
        BACKUP_TEST(test_restored_metadata_begins_its_leases_anew),
        BACKUP_TEST(test_blobs_that_a_backup_lacks_are_damaged),
        BACKUP_TEST(test_restore_refuses_roots_that_are_not_empty),
        BACKUP_TEST(test_dry_run_makes_nothing),
        BACKUP_TEST(test_restore_goes_on_where_it_was_cut_off),
        BACKUP_TEST(test_restore_of_another_snapshot_does_not_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

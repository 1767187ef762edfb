/* test_backup_folder.c - the folder of backups: whose it is, who may change it, snapshots that go.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/backups.h"

/* --- whose folder --- */

static void test_folders_of_others_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.base);
    struct backup_report report;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_removed removed;

    write_file(in(place.base, "precious"), "x");
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    assert_int_equal(entries_of(place.base), 1);
    FAILS(backup_list(place.base, &list, &fixture->err), ERROR_NOT_FOUND);
    FAILS(backup_remove(fixture->root, NULL, 1, NULL, &removed, &fixture->err), ERROR_NOT_FOUND);
    options.directory = fixture->root; /* a root is none, whatever is in it */
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    options.directory = in(place.base, "none/below");
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    backup(fixture);
    write_file(in(place.backup, "format"), "slipway-backup 2\n");
    options.directory = place.backup;
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
}

static void test_commands_that_change_a_backup_exclude_each_other(void **state)
{
    static const struct {
        enum backup_use one, other;
        bool together;
    } table[] = {
        {BACKUP_MAKE, BACKUP_MAKE, false},   {BACKUP_MAKE, BACKUP_CHANGE, false},
        {BACKUP_MAKE, BACKUP_READ, true},    {BACKUP_CHANGE, BACKUP_READ, false},
        {BACKUP_READ, BACKUP_READ, true},    {BACKUP_CHANGE, BACKUP_LOOK, true},
        {BACKUP_READ, BACKUP_CHANGE, false},
    };
    struct fixture *fixture = *state;

    backup(fixture);
    for (size_t i = 0; i < LENGTH(table); i++) {
        OWNED(backup_folder_close) struct backup_folder one = {.path = NULL};
        OWNED(backup_folder_close) struct backup_folder other = {.path = NULL};
        OK(backup_folder_open(&one, place.backup, table[i].one, &fixture->err));
        if (table[i].together)
            OK(backup_folder_open(&other, place.backup, table[i].other, &fixture->err));
        else
            FAILS(backup_folder_open(&other, place.backup, table[i].other, &fixture->err),
                  ERROR_CONFLICT);
    }
}

/* (6) */
static void test_what_is_made_belongs_to_the_owner_of_the_folder(void **state)
{
    struct fixture *fixture = *state;

    if (geteuid() != 0)
        skip();
    push_blob(fixture, "first");
    assert_int_equal(mkdir(place.backup, 0700), 0);
    assert_int_equal(chown(place.backup, 12345, 12346), 0);
    struct backup_report report = backup(fixture);
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    buffer_print(&name, "snapshots/%s/meta.db", report.name);
    assert_int_equal(stat_of(in(place.backup, name.at)).st_uid, 12345);
    assert_int_equal(stat_of(in(place.backup, "blobs")).st_gid, 12346);
    assert_int_equal(stat_of(file_of(fixture, place.backup, "first")).st_uid, 12345);
    assert_int_equal(mkdir(place.other, 0700), 0);
    assert_int_equal(chown(place.other, 23456, 23456), 0);
    struct restore_options options = restore_to(place.other);
    options.from.link = true; /* not to files that the owner may be unable to read */
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    static const char *const names[] = {"meta.db", "lock", "blobs"};
    for (size_t i = 0; i < LENGTH(names); i++)
        assert_int_equal(stat_of(in(place.other, names[i])).st_uid, 23456);
    assert_int_equal(stat_of(file_of(fixture, place.other, "first")).st_uid, 23456);
}

/* --- removing --- */

static void test_removed_snapshot_takes_what_only_it_named(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;

    push_blob(fixture, "first");
    struct backup_report one = backup(fixture);
    push_blob(fixture, "the second");
    char *gone = strdup(file_of(fixture, place.backup, "first"));
    script(fixture, "DELETE FROM repository_blobs WHERE blob_id = 1;"
                    "DELETE FROM blobs WHERE id = 1");
    backup(fixture);
    OWNED(buffer_drop) struct buffer half = BUFFER_NONE;
    buffer_print(&half, "%s/blobs/%.2s/.%s", place.backup, strrchr(gone, '/') + 1,
                 strrchr(gone, '/') + 1);
    write_file(half.at, "cut off");
    FAILS(backup_remove(place.backup, "20200101T000000.000Z", 0, NULL, &removed, &fixture->err),
          ERROR_NOT_FOUND);
    assert_true(exists(gone));
    OK(backup_remove(place.backup, one.name, 0, NULL, &removed, &fixture->err));
    assert_int_equal(removed.snapshots, 1);
    assert_int_equal(removed.blobs, 1);
    assert_int_equal(removed.bytes, 5);
    assert_false(exists(gone));
    assert_false(exists(half.at));
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 1);
    assert_int_equal(verify(fixture).damaged, 0);
    free(gone);
}

static void test_prune_keeps_the_newest(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_report newest = {.damaged = 0};

    push_blob(fixture, "first");
    for (int i = 0; i < 4; i++)
        newest = backup(fixture);
    OK(backup_remove(place.backup, NULL, 2, NULL, &removed, &fixture->err));
    assert_int_equal(removed.snapshots, 2);
    assert_int_equal(removed.blobs, 0);
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].name, newest.name);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_nothing_is_removed_beside_damaged_metadata(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    push_blob(fixture, "first");
    struct backup_report one = backup(fixture), two = backup(fixture);
    buffer_print(&path, "%s/snapshots/%s/meta.db", place.backup, one.name);
    flip_bit_at(path.at, stat_of(path.at).st_size / 2); /* where the database does not look */
    assert_int_equal(backup_remove(place.backup, two.name, 0, NULL, &removed, &fixture->err), -1);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
    assert_true(exists(file_of(fixture, place.backup, "first")));
    OK(backup_remove(place.backup, one.name, 0, NULL, &removed, &fixture->err));
    assert_int_equal(verify(fixture).damaged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BACKUP_TEST(test_folders_of_others_are_refused),
        BACKUP_TEST(test_commands_that_change_a_backup_exclude_each_other),
        BACKUP_TEST(test_what_is_made_belongs_to_the_owner_of_the_folder),
        BACKUP_TEST(test_removed_snapshot_takes_what_only_it_named),
        BACKUP_TEST(test_prune_keeps_the_newest),
        BACKUP_TEST(test_nothing_is_removed_beside_damaged_metadata),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

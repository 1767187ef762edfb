/* test_backup_damage.c - damage that backups tell of, carry on or not, and find in themselves. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/backups.h"

static void test_damaged_bytes_are_told_and_not_carried_on(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = push_blob(fixture, "first");
    struct blob blob;

    push_blob(fixture, "the second");
    push_blob(fixture, "a third one");
    flip_bit(file_of(fixture, fixture->root, "first"));
    assert_int_equal(unlink(file_of(fixture, fixture->root, "the second")), 0);
    struct backup_report report = backup(fixture);
    assert_int_equal(report.damaged, 2);
    assert_int_equal(report.copied, 1);
    assert_int_equal(place.told_count, 2);
    assert_true(digest_equal(&place.told[0].digest, &digest));
    assert_string_equal(place.told[0].what, "changed");
    assert_false(exists(file_of(fixture, place.backup, "first")));
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE damaged = 1"), 2);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    assert_int_equal(backup(fixture).damaged, 2); /* known by now, and told again */
    assert_int_equal(verify(fixture).damaged, 2);
    push_blob(fixture, "first"); /* heals */
    report = backup(fixture);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.copied, 1);
}

static void test_good_copy_stays_when_the_source_rots(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    flip_bit(file_of(fixture, fixture->root, "first"));
    script(fixture, "UPDATE blobs SET damaged = 1");
    assert_int_equal(backup(fixture).damaged, 0);
    restore(fixture);
    move_in(fixture);
    assert_blob(fixture, "first");
}

static void test_verify_finds_what_is_wrong_with_bytes(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    push_blob(fixture, "a third one");
    push_blob(fixture, "one that is whole");
    backup(fixture);
    flip_bit(file_of(fixture, place.backup, "first"));
    unlink(file_of(fixture, place.backup, "the second"));
    assert_int_equal(truncate(file_of(fixture, place.backup, "a third one"), 2), 0);
    assert_int_equal(verify(fixture).damaged, 3);
    assert_int_equal(place.told_count, 3);
    assert_string_equal(place.told[0].what, "changed");
    assert_string_equal(place.told[1].what, "missing");
    assert_string_equal(place.told[2].what, "of another size");
}

static void test_pipes_in_a_backup_make_nobody_wait(void **state)
{
    struct fixture *fixture = *state;
    const char *file;

    push_blob(fixture, "");
    backup(fixture);
    file = file_of(fixture, place.backup, "");
    unlink(file);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(verify(fixture).damaged, 1);
    assert_string_equal(place.told[0].what, "unreadable");
}

static void test_verify_finds_what_is_wrong_with_metadata(void **state)
{
    struct fixture *fixture = *state;
    static const char *const files[] = {"meta.db", "keys/a.pem", "summary"};

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/a.pem"), "a key");
    for (size_t i = 0; i < LENGTH(files); i++) {
        const struct backup_options options = options_to(place.backup);
        struct backup_report report = backup(fixture);
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s/snapshots/%s/%s", place.backup, report.name, files[i]);
        flip_bit(path.at);
        fixture->err = (struct error){0};
        assert_int_equal(backup_verify(NULL, &options, NULL, &report, &fixture->err), -1);
        assert_non_null(strstr(fixture->err.message, "damaged"));
    }
}

/* A copy at `name`, found whole or not. */
static int examine_copy(struct fixture *fixture, const char *name)
{
    OWNED(meta_drop) struct meta *sealed = NULL;

    fixture->err = (struct error){0};
    OK(meta_open_sealed(&sealed, in(place.base, name), &fixture->err));
    return meta_backup_examine(sealed, NULL, &fixture->err);
}

/* One letter of the first place where the text stands. */
static void misspell(const char *path, const char *text)
{
    int fd = open(path, O_RDWR);
    OWNED(memory_drop) char *all = memory_new(4 << 20);

    assert_true(fd >= 0);
    ssize_t size = read(fd, all, 4 << 20);
    const char *found = size <= 0 ? NULL : memmem(all, (size_t)size, text, strlen(text));
    assert_non_null(found);
    assert_int_equal(pwrite(fd, "X", 1, found - all), 1);
    close(fd);
}

static void test_examination_finds_wrong_manifests_and_rows(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "{\"schemaVersion\":2}", "a-tag-of-its-own");
    OK(meta_snapshot(fixture->meta, in(place.base, "whole"), NULL, &fixture->err));
    OK(meta_snapshot(fixture->meta, in(place.base, "row"), NULL, &fixture->err));
    script(fixture, "UPDATE manifests SET payload = x'7b7d'");
    OK(meta_snapshot(fixture->meta, in(place.base, "payload"), NULL, &fixture->err));
    assert_int_equal(examine_copy(fixture, "whole"), 0);
    assert_int_equal(examine_copy(fixture, "payload"), -1);
    assert_non_null(strstr(fixture->err.message, "has other bytes"));
    misspell(in(place.base, "row"), "a-tag-of-its-own"); /* in an index, or not in the index */
    assert_int_equal(examine_copy(fixture, "row"), -1);
    assert_non_null(strstr(fixture->err.message, "damaged"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BACKUP_TEST(test_damaged_bytes_are_told_and_not_carried_on),
        BACKUP_TEST(test_good_copy_stays_when_the_source_rots),
        BACKUP_TEST(test_verify_finds_what_is_wrong_with_bytes),
        BACKUP_TEST(test_pipes_in_a_backup_make_nobody_wait),
        BACKUP_TEST(test_verify_finds_what_is_wrong_with_metadata),
        BACKUP_TEST(test_examination_finds_wrong_manifests_and_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_check_repair.c - what a repair leaves, and what heals by being pushed again. */
#include <sys/stat.h>

#include "tests/support/checks.h"

static bool is_quarantined(struct fixture *fixture, const char *name, size_t size)
{
    char path[FOLDER_MAX + 64 + CHECK_NAME_MAX];
    struct stat file;

    snprintf(path, sizeof(path), "%s/quarantine/%s", fixture->root, name);
    return stat(path, &file) == 0 && (size_t)file.st_size == size;
}

static void test_check_heals_what_is_pushed_again(void **state)
{
    struct fixture *fixture = *state;
    const struct digest layer = digest_text_of(LAYER);
    const struct check_options deep = {.deep = true};
    char locator[CHECK_NAME_MAX];
    struct blob blob;

    fill(fixture);
    text_of(fixture, LAYER_LOCATOR, locator);
    blob_altered(fixture);
    OK(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err));
    assert_int_equal(
        check_with(fixture, (struct check_options){.deep = true, .repair = true}).report.left, 0);
    assert_true(is_quarantined(fixture, locator, 45));
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    push_blob(fixture, REPOSITORY, LAYER);
    OK(storage_blob_open(fixture->store, OTHER, &layer, false, &blob, &fixture->err));
    storage_blob_close(&blob);
    const struct told told = check_with(fixture, deep);
    assert_int_equal(told.report.found, 0); /* its old locator waits in trash without a file */
    assert_true(is_quarantined(fixture, locator, 45));
}

static void test_check_heals_a_manifest_that_is_pushed_again(void **state)
{
    struct fixture *fixture = *state;
    OWNED(memory_drop) char *image = image_text("first", LAYER, NULL);

    fill(fixture);
    manifest_altered(fixture);
    assert_int_equal(check_with(fixture, (struct check_options){.repair = true}).report.left, 1);
    push_image(fixture, REPOSITORY, image, LAYER, NULL, "v1");
    assert_int_equal(check_with(fixture, (struct check_options){.deep = true}).count, 0);
}

/* Between the mark of damage and the move of the bytes. */
static void test_check_ends_a_repair_that_was_cut_off(void **state)
{
    struct fixture *fixture = *state;
    char locator[CHECK_NAME_MAX];

    fill(fixture);
    text_of(fixture, LAYER_LOCATOR, locator);
    blob_truncated(fixture);
    blob_flagged(fixture);
    const struct told told = check_with(fixture, (struct check_options){.repair = true});
    assert_int_equal(told.report.kinds[CHECK_BLOB_AWAITED], 1);
    assert_true(is_quarantined(fixture, locator, 10));
}

/* A name that is taken in quarantine is not written over. */
static void test_check_keeps_every_quarantined_byte(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 3; i++) {
        file_misnamed(fixture);
        assert_int_equal(
            check_with(fixture, (struct check_options){.repair = true}).report.repaired, 1);
    }
    assert_true(is_quarantined(fixture, "0f_notes.txt", 0));
    assert_true(is_quarantined(fixture, "0f_notes.txt.1", 0));
    assert_true(is_quarantined(fixture, "0f_notes.txt.2", 0));
}

static void test_check_tells_history_of_dangling_tags(void **state)
{
    struct fixture *fixture = *state;

    fill(fixture);
    tag_of_deleted(fixture);
    check_with(fixture, (struct check_options){.repair = true});
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags WHERE name = 'sparse'"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM deleted_tags WHERE name = 'sparse'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history"
                                     " WHERE name = 'sparse' AND new_digest IS NULL"),
                     1);
}

static void test_check_looks_at_some_repositories_only(void **state)
{
    struct fixture *fixture = *state;
    const struct check_options other = {.repositories = SLICE("*/other")};
    const struct check_options app = {.repositories = SLICE("team/a*")};

    fill(fixture);
    manifest_size(fixture);
    file_extra(fixture);
    edit(fixture, "UPDATE blobs SET size = 30 WHERE size = 29"); /* team/app's alone */
    assert_int_equal(check_with(fixture, other).count, 0);
    const struct told told = check_with(fixture, app);
    assert_int_equal(told.count, 2);
    assert_int_equal(told.report.kinds[CHECK_MANIFEST_SIZE], 1);
    assert_int_equal(told.report.kinds[CHECK_BLOB_TRUNCATED], 1);
    assert_string_equal(told.items[1].repository, "team/app");
}

/* After all the others: see test_check.c. */
static void test_check_repair_statements_scan_nothing(void **state)
{
    assert_true(plans_check(*state, "r.deleted_name >= $2") >= 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_check_heals_what_is_pushed_again),
        FIXTURE_TEST(test_check_heals_a_manifest_that_is_pushed_again),
        FIXTURE_TEST(test_check_ends_a_repair_that_was_cut_off),
        FIXTURE_TEST(test_check_keeps_every_quarantined_byte),
        FIXTURE_TEST(test_check_tells_history_of_dangling_tags),
        FIXTURE_TEST(test_check_looks_at_some_repositories_only),
        FIXTURE_TEST(test_check_repair_statements_scan_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_collect.c - what the collector removes and what it keeps, on a real database and real files.
 * Storage rests in the fixture: reviews happen when a test asks for them. */
#include "storage/content.h"
#include "tests/support/collect.h"

/* --- what goes, and what stays --- */

/* CONC-05: not before the lease is over; rows first, bytes when they are late enough */
static void test_collect_blob_nobody_named_goes_after_its_lease(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    struct collect_report report = collect(fixture);
    assert_int_equal(report.reviewed, 0);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    report = collect_later(fixture);
    assert_int_equal(report.reviewed, 2);
    assert_int_equal(report.links, 1);
    assert_int_equal(report.blobs, 1);
    assert_int_equal(report.bytes, 5);
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    assert_int_equal(ROWS("blobs"), 0);
    assert_int_equal(ROWS("gc_queue"), 0);
    assert_int_equal(report.trash_removed, 0);
    assert_int_equal(files(fixture), 1);
    report = collect_later(fixture);
    assert_int_equal(report.trash_removed, 1);
    assert_int_equal(report.trash_bytes, 5);
    assert_int_equal(files(fixture), 0);
    assert_int_equal(ROWS("trash"), 0);
}

/* CONC-04 */
static void test_collect_keeps_what_is_reachable(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "config");
    blob(fixture, REPOSITORY, "layer");
    blob(fixture, REPOSITORY, "signature");
    PUSH("child", NULL, .blobs = {"config", "layer"});
    PUSH("index", "v1", .children = {"child"});
    PUSH("referrer", NULL, .subject = "index", .blobs = {"signature"});
    PUSH("its referrer", NULL, .subject = "referrer");
    PUSH("untagged", NULL);
    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.manifests, 1);
    assert_false(has_manifest(fixture, "untagged"));
    assert_true(has_manifest(fixture, "its referrer"));
    assert_true(has_blob(fixture, REPOSITORY, "signature"));
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    assert_int_equal(ROWS("gc_queue"), 0);
}

static void test_collect_deleted_manifest_goes_with_all_it_held(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    blob(fixture, REPOSITORY, "signature");
    PUSH("child", NULL, .blobs = {"layer"});
    PUSH("index", "v1", .children = {"child"});
    PUSH("referrer", NULL, .subject = "index", .blobs = {"signature"});
    collect_later(fixture);
    delete_manifest(fixture, "index");
    collect(fixture);
    assert_int_equal(ROWS("manifests"), 3); /* it can be taken back */
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.manifests, 3);
    assert_int_equal(report.links, 2);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(ROWS("manifests"), 0);
    assert_int_equal(ROWS("repository_blobs"), 0);
    assert_int_equal(ROWS("gc_queue"), 0);
    collect_later(fixture);
    assert_int_equal(files(fixture), 0);
}

/* --- what holds --- */

/* An index that went takes its children only as far as nothing else holds them. */
static void test_collect_child_stays_where_something_else_holds_it(void **state)
{
    struct fixture *fixture = *state;

    PUSH("tagged", "v1");
    PUSH("shared", NULL);
    PUSH("lone", NULL);
    PUSH("one", "one", .children = {"tagged", "shared", "lone"});
    PUSH("two", "two", .children = {"shared"});
    collect_later(fixture);
    delete_manifest(fixture, "one");
    assert_int_equal(collect_later(fixture).manifests, 2);
    assert_false(has_manifest(fixture, "lone"));
    assert_true(has_manifest(fixture, "tagged"));
    assert_true(has_manifest(fixture, "shared"));
    delete_manifest(fixture, "two");
    assert_int_equal(collect_later(fixture).manifests, 2);
    assert_false(has_manifest(fixture, "shared"));
    /* nothing brings a task of what stays for a tag's sake back, but the tag's end: then it is one
     * more untagged manifest, which stays */
    delete_tag(fixture, "v1");
    collect_later(fixture);
    assert_true(has_manifest(fixture, "tagged"));
}

/* A push since is a wish of its own. */
static void test_collect_child_pushed_again_stands_for_itself(void **state)
{
    struct fixture *fixture = *state;

    PUSH("child", NULL);
    PUSH("index", "v1", .children = {"child"});
    delete_manifest(fixture, "index");
    hours_pass(fixture, 2);
    PUSH("child", NULL); /* its lease is young: the review of the index's end postpones it */
    assert_int_equal(collect(fixture).manifests, 1);
    PUSH("child", NULL);
    collect_later(fixture);
    assert_true(has_manifest(fixture, "child"));
}

/* Whatever brings the review early. */
static void test_collect_deleted_manifest_can_be_taken_back_until_then(void **state)
{
    struct fixture *fixture = *state;

    PUSH("one", NULL);
    delete_manifest(fixture, "one");
    script(fixture, "UPDATE gc_queue SET due = 1; UPDATE manifests SET touched_at = 1");
    assert_int_equal(collect(fixture).postponed, 1);
    assert_int_equal(ROWS("manifests"), 1);
    assert_true(number(fixture, "SELECT due FROM gc_queue") ==
                number(fixture, "SELECT deleted_at FROM manifests") + fixture->meta->undo_us);
}

/* A child that was deleted by hand leaves the index's name for it, and comes back by a push. */
static void test_collect_deleted_child_leaves_a_sparse_index(void **state)
{
    struct fixture *fixture = *state;

    PUSH("child", NULL);
    PUSH("index", "v1", .children = {"child"});
    delete_manifest(fixture, "child");
    assert_int_equal(collect_later(fixture).manifests, 1);
    assert_true(has_manifest(fixture, "index"));
    assert_int_equal(ROWS("manifest_refs WHERE child_id IS NULL"), 1);
    PUSH("child", NULL);
    assert_int_equal(ROWS("manifest_refs WHERE child_id IS NOT NULL"), 1);
    delete_manifest(fixture, "index");
    assert_int_equal(collect_later(fixture).manifests, 2);
}

static void test_collect_untagged_goes_at_its_age(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 3 * 3600000;
    fixture_reopen(fixture);
    PUSH("old", "v1");
    hours_pass(fixture, 10);
    collect(fixture);
    PUSH("new", "v1"); /* its age counts from now */
    collect_later(fixture);
    assert_true(has_manifest(fixture, "old"));
    collect_later(fixture);
    assert_false(has_manifest(fixture, "old"));
    assert_true(has_manifest(fixture, "new"));
    assert_int_equal(ROWS("gc_queue"), 0);
}

/* What was pushed before the setting: no task names it any more. */
static void test_collect_untagged_of_before_the_setting_goes_too(void **state)
{
    struct fixture *fixture = *state;

    PUSH("old", NULL);
    PUSH("tagged", "v1");
    collect_later(fixture);
    assert_true(has_manifest(fixture, "old"));
    assert_int_equal(ROWS("gc_queue"), 0);
    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    assert_int_equal(collect(fixture).manifests, 1);
    assert_false(has_manifest(fixture, "old"));
    fixture_reopen(fixture);
    assert_int_equal(collect(fixture).reviewed, 0); /* once is enough */
}

/* While a tag can be brought back its manifest is there. */
static void test_collect_deleted_tag_holds_until_it_ends(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 1;
    fixture->options.gc_undo_ms = 4 * 3600000;
    fixture_reopen(fixture);
    PUSH("one", "v1");
    delete_tag(fixture, "v1");
    collect_later(fixture);
    assert_true(has_manifest(fixture, "one"));
    assert_int_equal(ROWS("deleted_tags"), 1);
    hours_pass(fixture, 2);
    collect_later(fixture);
    assert_false(has_manifest(fixture, "one"));
    assert_int_equal(ROWS("deleted_tags"), 0);
}

static void test_collect_pin_holds_until_it_ends(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    blob(fixture, REPOSITORY, "layer");
    PUSH("one", NULL, .blobs = {"layer"});
    script(fixture,
           "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
           " SELECT repo_id, 'cluster', id, touched_at + 4 * " HOUR_US ", 0, 'ana' FROM manifests");
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.manifests, 0);
    assert_int_equal(report.postponed, 1);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    hours_pass(fixture, 2);
    assert_int_equal(collect_later(fixture).manifests, 1);
    assert_int_equal(ROWS("pins"), 0);
}

/* What a pin held of an index that is gone goes with the pin, however that ends. */
static void test_collect_pinned_child_follows_when_the_pin_is_taken_back(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_reference child = {.digest = digest_text_of("child")};
    const struct content_change change = {.actor = NULL};
    bool created = false;

    PUSH("child", NULL);
    PUSH("index", "v1", .children = {"child"});
    delete_manifest(fixture, "index");
    OK(content_pin_put(fixture->store, REPOSITORY, SLICE("cluster"), &child, INT64_MAX, &change,
                       &created, &fixture->err));
    assert_int_equal(collect_later(fixture).manifests, 1);
    assert_true(has_manifest(fixture, "child"));
    OK(content_pin_delete(fixture->store, REPOSITORY, SLICE("cluster"), &change, &fixture->err));
    assert_int_equal(collect_later(fixture).manifests, 1);
    assert_false(has_manifest(fixture, "child"));
}

/* An ended pin that nobody has swept yet does not keep a deleted manifest. */
static void test_collect_ended_pin_does_not_stop_a_removal(void **state)
{
    struct fixture *fixture = *state;
    struct meta_batch batch = {.meta = fixture->meta, .limit = 1};

    PUSH("one", "v1");
    delete_manifest(fixture, "one");
    hours_pass(fixture, 2);
    script(fixture, "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
                    " SELECT repo_id, 'cluster', id, 1, 0, 'ana' FROM manifests");
    OK(meta_collect(&batch, &fixture->err));
    assert_int_equal(batch.report.manifests, 1);
    assert_int_equal(ROWS("pins"), 0);
}

/* UPL-36: one copy, as long as any repository links it */
static void test_collect_blob_of_two_repositories_goes_with_the_last(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");
    bool mounted = false;

    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &digest, NULL, &mounted,
                          &fixture->err));
    assert_true(mounted);
    OK(image_push(fixture, OTHER, IMAGE("one", "v1", .blobs = {"layer"})));
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.links, 1);
    assert_int_equal(report.blobs, 0);
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    assert_true(has_blob(fixture, OTHER, "layer"));
}

/* A blob set aside by hand while a manifest uses it: seen by nobody, kept until the manifest goes.
 */
static void test_collect_deleted_link_stays_while_a_manifest_uses_it(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");

    PUSH("one", "v1", .blobs = {"layer"});
    OK(storage_blob_delete(fixture->store, REPOSITORY, &digest, &fixture->err));
    assert_int_equal(collect_later(fixture).links, 0);
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    assert_int_equal(ROWS("repository_blobs WHERE deleted_at IS NOT NULL"), 1);
    delete_manifest(fixture, "one");
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.links, 1);
    assert_int_equal(report.blobs, 1);
}

/* A set-aside link that nothing uses goes when it can be taken back no longer, lease or not. */
static void test_collect_deleted_link_goes_after_undo(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");

    fixture->options.gc_grace_ms = 100 * 3600000ull;
    fixture_reopen(fixture);
    OK(storage_blob_delete(fixture->store, REPOSITORY, &digest, &fixture->err));
    assert_int_equal(collect(fixture).reviewed, 0);
    assert_int_equal(collect_later(fixture).links, 1);
}

/* What many references hang on goes in several transactions, and is seen by nobody between them. */
static void test_collect_large_manifest_goes_in_steps(void **state)
{
    struct fixture *fixture = *state;
    struct meta_batch batch = {.meta = fixture->meta, .limit = 1};

    PUSH("one", "v1");
    PUSH("index", "v2", .children = {"one"});
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)"
                    "INSERT INTO blobs(id, digest, size, locator, created_at)"
                    " SELECT i, CAST(x'01' || printf('%032d', i) AS BLOB), 1,"
                    "        printf('%032x', i), 1 FROM n;"
                    "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                    " SELECT 1, b.id, 1 FROM blobs b;"
                    "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                    " SELECT 1, 1, b.id FROM blobs b;"
                    "DELETE FROM gc_queue");
    delete_manifest(fixture, "one");
    hours_pass(fixture, 2);
    OK(meta_collect(&batch, &fixture->err));
    assert_int_equal(batch.report.manifests, 0);
    assert_int_equal(ROWS("manifest_blobs"), 600 - 256);
    assert_int_equal(ROWS("manifest_refs WHERE child_id IS NULL"), 1);
    assert_int_equal(ROWS("gc_queue WHERE kind = 2"), 256);
    assert_false(has_manifest(fixture, "one"));
    /* pushed between two steps it is whole again */
    PUSH("one", "v1");
    script(fixture, "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                    " SELECT 1, 1, b.id FROM blobs b WHERE true"
                    " ON CONFLICT DO NOTHING");
    assert_int_equal(collect(fixture).links, 0);
    delete_manifest(fixture, "one");
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.manifests, 1);
    assert_int_equal(report.links, 600);
    assert_int_equal(report.blobs, 600);
    assert_int_equal(ROWS("gc_queue"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_collect_blob_nobody_named_goes_after_its_lease),
        FIXTURE_TEST(test_collect_keeps_what_is_reachable),
        FIXTURE_TEST(test_collect_deleted_manifest_goes_with_all_it_held),
        FIXTURE_TEST(test_collect_child_stays_where_something_else_holds_it),
        FIXTURE_TEST(test_collect_child_pushed_again_stands_for_itself),
        FIXTURE_TEST(test_collect_deleted_manifest_can_be_taken_back_until_then),
        FIXTURE_TEST(test_collect_deleted_child_leaves_a_sparse_index),
        FIXTURE_TEST(test_collect_untagged_goes_at_its_age),
        FIXTURE_TEST(test_collect_untagged_of_before_the_setting_goes_too),
        FIXTURE_TEST(test_collect_deleted_tag_holds_until_it_ends),
        FIXTURE_TEST(test_collect_pin_holds_until_it_ends),
        FIXTURE_TEST(test_collect_pinned_child_follows_when_the_pin_is_taken_back),
        FIXTURE_TEST(test_collect_ended_pin_does_not_stop_a_removal),
        FIXTURE_TEST(test_collect_blob_of_two_repositories_goes_with_the_last),
        FIXTURE_TEST(test_collect_deleted_link_stays_while_a_manifest_uses_it),
        FIXTURE_TEST(test_collect_deleted_link_goes_after_undo),
        FIXTURE_TEST(test_collect_large_manifest_goes_in_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

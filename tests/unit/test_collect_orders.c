/* test_collect_orders.c - every row of the protocol's table of interleavings that is an order of
 * transactions: what a client was told stays true, and nothing is left over. */
#include "storage/content.h"
#include "tests/support/collect.h"

/* --- orders of transactions: the table of the protocol --- */

/* CONC-05: the lease of a HEAD 200 outlasts a review, and the manifest finds what it was told. */
static void test_order_head_then_collection_then_manifest_put(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    OK(head(fixture, REPOSITORY, "layer"));
    assert_int_equal(collect(fixture).postponed, 1);
    PUSH("one", "v1", .blobs = {"layer"});
    assert_int_equal(collect_later(fixture).links, 0);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

/* Without a HEAD in time the push is refused, and works once the blob was pushed again. */
static void test_order_collection_then_manifest_put(void **state)
{
    struct fixture *fixture = *state;
    const struct image *image = IMAGE("one", "v1", .blobs = {"layer"});

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).links, 1);
    FAILS(image_push(fixture, REPOSITORY, image), ERROR_MANIFEST_BLOB_UNKNOWN);
    assert_int_equal(ROWS("manifests"), 0);
    blob(fixture, REPOSITORY, "layer");
    OK(image_push(fixture, REPOSITORY, image));
    collect(fixture);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

static void test_order_review_then_head(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).links, 1);
    FAILS(head(fixture, REPOSITORY, "layer"), ERROR_BLOB_UNKNOWN);
}

static void test_order_manifest_put_then_review(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    PUSH("one", "v1", .blobs = {"layer"});
    assert_int_equal(review_one(fixture).kept, 1);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

/* P3 finds the row that G3 would have removed: the new link keeps it; the loser's bytes go. */
static void test_order_link_review_then_finish_then_blob_review(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).links, 1);
    blob(fixture, OTHER, "layer");
    assert_int_equal(review_one(fixture).kept, 1);
    assert_int_equal(ROWS("blobs"), 1);
    assert_int_equal(ROWS("trash"), 1);
    collect(fixture);
    assert_true(has_blob(fixture, OTHER, "layer"));
    assert_int_equal(files(fixture), 1);
}

/* After G3 the same digest gets its own bytes; those of the old row go without harm. */
static void test_order_blob_review_then_finish_then_sweep(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    assert_int_equal(collect_later(fixture).blobs, 1);
    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1", .blobs = {"layer"});
    assert_int_equal(files(fixture), 2);
    assert_int_equal(collect_later(fixture).trash_removed, 1);
    assert_int_equal(files(fixture), 1);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

/* UPL-24 */
static void test_order_two_uploads_of_one_digest(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    blob(fixture, OTHER, "layer");
    PUSH("one", "v1", .blobs = {"layer"});
    OK(image_push(fixture, OTHER, IMAGE("one", "v1", .blobs = {"layer"})));
    collect_later(fixture);
    assert_int_equal(ROWS("blobs"), 1);
    assert_int_equal(files(fixture), 1);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    assert_true(has_blob(fixture, OTHER, "layer"));
}

static bool mount(struct fixture *fixture, const char *text)
{
    struct digest digest = digest_text_of(text);
    bool mounted = false;

    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &digest, NULL, &mounted,
                          &fixture->err));
    return mounted;
}

static void test_order_mount_then_review_of_the_source(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    assert_true(mount(fixture, "layer"));
    collect(fixture);
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    assert_true(has_blob(fixture, OTHER, "layer"));
}

static void test_order_review_of_the_source_then_mount(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).links, 1);
    assert_false(mount(fixture, "layer"));
    assert_int_equal(collect(fixture).blobs, 1);
}

static void started(struct fixture *fixture, struct upload **upload)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];

    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, REPOSITORY, slice_of(id), upload, &fixture->err));
    OK(storage_upload_append(*upload, SLICE("layer"), &fixture->err));
}

/* One owner: the locator goes to the blob or to trash. */
static void test_order_expiry_then_finish(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = digest_text_of("layer");
    struct upload *upload = NULL;
    struct descriptor out;

    started(fixture, &upload);
    assert_int_equal(collect_later(fixture).uploads, 1);
    FAILS(storage_upload_finish(upload, &digest, &out, &fixture->err), ERROR_BLOB_UPLOAD_UNKNOWN);
    assert_int_equal(ROWS("blobs"), 0);
    collect_later(fixture);
    assert_int_equal(files(fixture), 0);
}

static void test_order_finish_then_expiry(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = digest_text_of("layer");
    struct upload *upload = NULL;
    struct descriptor out;

    started(fixture, &upload);
    hours_pass(fixture, 2);
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
    assert_int_equal(collect(fixture).uploads, 0);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

static void test_order_tag_then_review_of_its_manifest(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("one", NULL);
    hours_pass(fixture, 2);
    PUSH("one", "v1");
    hours_pass(fixture, 2);
    assert_int_equal(collect(fixture).manifests, 0);
    assert_true(has_manifest(fixture, "one"));
}

static void test_order_review_then_tag(void **state)
{
    struct fixture *fixture = *state;
    const struct manifest_reference reference = {.tag = SLICE("v1")};

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("one", NULL);
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).manifests, 1);
    FAILS(storage_manifest_delete(fixture->store, REPOSITORY, &reference, NULL, &fixture->err),
          ERROR_MANIFEST_UNKNOWN);
    PUSH("one", "v1");
    collect(fixture);
    assert_true(has_manifest(fixture, "one"));
}

/* CONC-06 */
static void test_order_index_put_then_review_of_its_child(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("child", NULL);
    hours_pass(fixture, 2);
    PUSH("index", "v1", .children = {"child"});
    assert_int_equal(review_one(fixture).kept, 1);
    assert_true(has_manifest(fixture, "child"));
}

static void test_order_review_of_a_child_then_index_put(void **state)
{
    struct fixture *fixture = *state;
    const struct image *index = IMAGE("index", "v1", .children = {"child"});

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("child", NULL);
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).manifests, 1);
    FAILS(image_push(fixture, REPOSITORY, index), ERROR_MANIFEST_BLOB_UNKNOWN);
    assert_int_equal(ROWS("manifests"), 0);
}

/* It dangles as the specification allows, and nobody takes it for one that hung on the subject. */
static void test_order_subject_collected_then_referrer_pushed(void **state)
{
    struct fixture *fixture = *state;

    PUSH("subject", "v1");
    delete_manifest(fixture, "subject");
    collect_later(fixture);
    PUSH("referrer", NULL, .subject = "subject");
    collect_later(fixture);
    assert_true(has_manifest(fixture, "referrer"));
    /* it came before its subject, which comes and goes */
    PUSH("subject", "v1");
    delete_manifest(fixture, "subject");
    assert_int_equal(collect_later(fixture).manifests, 2);
}

static void test_order_referrer_pushed_then_subject_collected(void **state)
{
    struct fixture *fixture = *state;

    PUSH("subject", "v1");
    delete_manifest(fixture, "subject");
    hours_pass(fixture, 2);
    PUSH("referrer", NULL, .subject = "subject");
    assert_int_equal(review_one(fixture).manifests, 1);
    collect(fixture); /* the lease of its push */
    assert_true(has_manifest(fixture, "referrer"));
    collect_later(fixture);
    assert_false(has_manifest(fixture, "referrer"));
}

/* The task that a review dropped comes anew with the removal of the manifest. */
static void test_order_link_review_then_manifest_removed(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1", .blobs = {"layer"});
    delete_manifest(fixture, "one");
    hours_pass(fixture, 2);
    script(fixture, "UPDATE gc_queue SET due = due - 1 WHERE kind = 2");
    assert_int_equal(review_one(fixture).kept, 1);
    assert_int_equal(ROWS("gc_queue WHERE kind = 2"), 0);
    assert_int_equal(review_one(fixture).manifests, 1);
    assert_int_equal(ROWS("gc_queue WHERE kind = 2"), 1);
    assert_int_equal(collect(fixture).blobs, 1);
}

static void test_order_manifest_deleted_then_put(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1", .blobs = {"layer"});
    delete_manifest(fixture, "one");
    hours_pass(fixture, 2);
    PUSH("one", "v1", .blobs = {"layer"});
    collect_later(fixture);
    assert_true(has_manifest(fixture, "one"));
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    assert_int_equal(ROWS("gc_queue"), 0);
}

/* A file that is being read stays readable; who asks again is told the truth. */
static void test_order_pull_then_sweep(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");
    struct blob pulled;
    char bytes[5];

    OK(storage_blob_open(fixture->store, REPOSITORY, &digest, false, &pulled, &fixture->err));
    collect_later(fixture);
    collect_later(fixture);
    assert_int_equal(files(fixture), 0);
    assert_int_equal(pread(pulled.fd, bytes, sizeof(bytes), 0), 5);
    assert_memory_equal(bytes, "layer", 5);
    storage_blob_close(&pulled);
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    /* a reader that meets the end in the middle marks nothing that came since */
    blob(fixture, REPOSITORY, "layer");
    storage_blob_damaged(fixture->store, &pulled);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

/* Taken back in time: pushed again, while its file waits for nothing any more. */
static void test_order_restore_then_review(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");

    OK(storage_blob_delete(fixture->store, REPOSITORY, &digest, &fixture->err));
    hours_pass(fixture, 2);
    blob(fixture, REPOSITORY, "layer");
    assert_int_equal(collect(fixture).links, 0);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

/* A bare retag has no push behind it: the same as the row of retagging. */
static int retag(struct fixture *fixture, const char *tag, const char *text)
{
    const struct content_tag_set set = {.tag = slice_of(tag), .digest = digest_text_of(text)};
    const struct content_change change = {.actor = NULL};
    bool created = false;

    return content_tag_set(fixture->store, REPOSITORY, &set, &change, &created, &fixture->err);
}

static void test_order_bare_retag_against_review(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("one", NULL);
    PUSH("two", NULL);
    hours_pass(fixture, 2);
    OK(retag(fixture, "v1", "one"));
    assert_int_equal(collect(fixture).manifests, 1);
    assert_true(has_manifest(fixture, "one"));
    assert_int_equal(retag(fixture, "v1", "two"), -1);
    assert_int_equal(fixture->err.status, 404);
    assert_true(has_manifest(fixture, "one"));
}

/* A deletion that is taken back before the collector comes leaves nothing to collect. */
static void test_order_tag_restored_then_review(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};

    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1", .blobs = {"layer"});
    delete_manifest(fixture, "one");
    script(fixture,
           "UPDATE repository_blobs SET touched_at = 1; UPDATE manifests SET touched_at = 1");
    OK(content_tag_restore(fixture->store, REPOSITORY, SLICE("v1"), &(struct digest){.size = 0},
                           false, &change, &fixture->err));
    script(fixture, "UPDATE gc_queue SET due = 1");
    struct collect_report report = collect(fixture);
    assert_int_equal(report.manifests + report.links, 0);
    assert_true(has_manifest(fixture, "one"));
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
}

static void test_order_review_then_tag_restored(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};

    PUSH("one", "v1");
    delete_manifest(fixture, "one");
    hours_pass(fixture, 2);
    assert_int_equal(review_one(fixture).manifests, 1);
    FAILS(content_tag_restore(fixture->store, REPOSITORY, SLICE("v1"), &(struct digest){.size = 0},
                              false, &change, &fixture->err),
          ERROR_NOT_FOUND);
}

/* Its name is free at once: what is pushed there is another repository's. */
static void test_order_repository_deleted_while_pushed_to(void **state)
{
    struct fixture *fixture = *state;
    const struct content_change change = {.actor = NULL};
    struct content_repository_size size;
    struct digest digest = digest_text_of("layer");
    struct upload *upload = NULL;
    struct descriptor out;

    blob(fixture, REPOSITORY, "config");
    PUSH("one", "v1", .blobs = {"config"});
    started(fixture, &upload);
    OK(content_repository_delete(fixture->store, REPOSITORY, &change, &size, &fixture->err));
    FAILS(storage_upload_finish(upload, &digest, &out, &fixture->err), ERROR_BLOB_UPLOAD_UNKNOWN);
    FAILS(image_push(fixture, REPOSITORY, IMAGE("two", "v2", .blobs = {"config"})),
          ERROR_MANIFEST_BLOB_UNKNOWN);
    blob(fixture, REPOSITORY, "config");
    PUSH("two", "v2", .blobs = {"config"});
    assert_int_equal(collect_later(fixture).repositories, 1);
    assert_true(has_manifest(fixture, "two"));
    assert_true(has_blob(fixture, REPOSITORY, "config"));
    collect_later(fixture);
    assert_int_equal(files(fixture), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_order_head_then_collection_then_manifest_put),
        FIXTURE_TEST(test_order_collection_then_manifest_put),
        FIXTURE_TEST(test_order_review_then_head),
        FIXTURE_TEST(test_order_manifest_put_then_review),
        FIXTURE_TEST(test_order_link_review_then_finish_then_blob_review),
        FIXTURE_TEST(test_order_blob_review_then_finish_then_sweep),
        FIXTURE_TEST(test_order_two_uploads_of_one_digest),
        FIXTURE_TEST(test_order_mount_then_review_of_the_source),
        FIXTURE_TEST(test_order_review_of_the_source_then_mount),
        FIXTURE_TEST(test_order_expiry_then_finish),
        FIXTURE_TEST(test_order_finish_then_expiry),
        FIXTURE_TEST(test_order_tag_then_review_of_its_manifest),
        FIXTURE_TEST(test_order_review_then_tag),
        FIXTURE_TEST(test_order_index_put_then_review_of_its_child),
        FIXTURE_TEST(test_order_review_of_a_child_then_index_put),
        FIXTURE_TEST(test_order_subject_collected_then_referrer_pushed),
        FIXTURE_TEST(test_order_referrer_pushed_then_subject_collected),
        FIXTURE_TEST(test_order_link_review_then_manifest_removed),
        FIXTURE_TEST(test_order_manifest_deleted_then_put),
        FIXTURE_TEST(test_order_pull_then_sweep),
        FIXTURE_TEST(test_order_restore_then_review),
        FIXTURE_TEST(test_order_bare_retag_against_review),
        FIXTURE_TEST(test_order_tag_restored_then_review),
        FIXTURE_TEST(test_order_review_then_tag_restored),
        FIXTURE_TEST(test_order_repository_deleted_while_pushed_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

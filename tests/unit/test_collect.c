/* test_collect.c - the collector on a real database and real files: what it removes, what it keeps,
 * every order of transactions of the protocol's table, and what its work costs. Storage rests in
 * the fixture: reviews happen when a test asks for them. */
#include "tests/support/plans.h"

#include <sys/stat.h>

#include "storage/meta_collect.h"

#define OTHER SLICE("team/other")

/* --- the clock: everything that waits is made older --- */

#define HOUR_US "3600000000"

/* As if so many hours had passed: leases, undo windows, tasks. */
static void hours_pass(struct fixture *fixture, int hours)
{
    static const char *const SQL[] = {
        "UPDATE gc_queue SET due = due - " HOUR_US,
        "UPDATE repository_blobs SET touched_at = touched_at - " HOUR_US
        ", deleted_at = deleted_at - " HOUR_US,
        "UPDATE manifests SET touched_at = touched_at - " HOUR_US
        ", deleted_at = deleted_at - " HOUR_US,
        "UPDATE deleted_tags SET until = until - " HOUR_US,
        "UPDATE pins SET until = until - " HOUR_US,
        "UPDATE repositories SET deleted_at = deleted_at - " HOUR_US,
        "UPDATE uploads SET expires_at = expires_at - " HOUR_US,
        "UPDATE trash SET not_before = not_before - " HOUR_US,
    };

    for (; hours > 0; hours--)
        for (size_t i = 0; i < LENGTH(SQL); i++)
            script(fixture, SQL[i]);
    cache_invalidate_all(fixture->store->cache); /* its leases have a clock of their own */
}

static struct collect_report collect(struct fixture *fixture)
{
    struct collect_report report;

    OK(storage_collect(fixture->store, false, NULL, &report, &fixture->err));
    return report;
}

static struct collect_report collect_later(struct fixture *fixture)
{
    hours_pass(fixture, 2);
    return collect(fixture);
}

#define ROWS(table) number(fixture, "SELECT count(*) FROM " table)

static int files_seen;

static int file_count_one(const char *path, const struct stat *file, int kind, struct FTW *place)
{
    (void)path;
    (void)place;
    files_seen += kind == FTW_F && S_ISREG(file->st_mode);
    return 0;
}

/* How many objects lie in the store. */
static int files(struct fixture *fixture)
{
    char path[FOLDER_MAX + 8];

    files_seen = 0;
    snprintf(path, sizeof(path), "%s/blobs", fixture->root);
    assert_int_equal(nftw(path, file_count_one, 16, FTW_PHYS), 0);
    return files_seen;
}

/* --- filling: blobs with bytes --- */

static struct digest blob(struct fixture *fixture, struct slice repository, const char *text)
{
    struct digest digest = digest_text_of(text);
    struct descriptor out;
    struct upload *upload = NULL;
    char id[OCI_UPLOAD_ID_SIZE + 1];

    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, slice_of(text), &fixture->err));
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
    return digest;
}

static bool has_blob(struct fixture *fixture, struct slice repository, const char *text)
{
    struct digest digest = digest_text_of(text);
    struct blob found;

    if (storage_blob_open(fixture->store, repository, &digest, false, &found, &fixture->err) < 0)
        return false;
    storage_blob_close(&found);
    return true;
}

/* --- filling: manifests --- */

enum { LINKS_MAX = 8 };

/* What a manifest of a test names; texts end at NULL. */
struct image {
    const char *text; /* its payload */
    const char *tag;  /* NULL: none */
    const char *blobs[LINKS_MAX];
    const char *children[LINKS_MAX];
    const char *subject; /* NULL: none */
};

static size_t links_of(const char *const *texts, struct manifest_link *out)
{
    size_t count = 0;

    for (; count < LINKS_MAX && texts[count] != NULL; count++)
        out[count] = (struct manifest_link){.digest = digest_text_of(texts[count]),
                                            .size = strlen(texts[count])};
    return count;
}

static int image_push(struct fixture *fixture, struct slice repository, const struct image *image)
{
    struct manifest_link blobs[LINKS_MAX], children[LINKS_MAX];
    struct push push = push_of(image->text, image->tag);

    push.put.blobs = blobs;
    push.put.blob_count = links_of(image->blobs, blobs);
    push.put.children = children;
    push.put.child_count = links_of(image->children, children);
    if (image->subject != NULL)
        push.put.subject = digest_text_of(image->subject);
    int result = push_run(fixture, repository, &push);
    missing_drop(&push.missing);
    return result;
}

#define IMAGE(text_, tag_, ...)                                                                    \
    (&(const struct image){.text = (text_), .tag = (tag_), ##__VA_ARGS__})
#define PUSH(...) OK(image_push(fixture, REPOSITORY, IMAGE(__VA_ARGS__)))

static bool has_manifest(struct fixture *fixture, const char *text)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};
    const struct manifest *found = NULL;

    if (storage_manifest_get(fixture->store, REPOSITORY, &reference, false, &found, &fixture->err) <
        0)
        return false;
    storage_manifest_release(found);
    return true;
}

static void delete_manifest(struct fixture *fixture, const char *text)
{
    const struct manifest_reference reference = {.digest = digest_text_of(text)};

    OK(storage_manifest_delete(fixture->store, REPOSITORY, &reference, NULL, &fixture->err));
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_collect_blob_nobody_named_goes_after_its_lease),
        FIXTURE_TEST(test_collect_keeps_what_is_reachable),
        FIXTURE_TEST(test_collect_deleted_manifest_goes_with_all_it_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

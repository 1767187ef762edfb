/* test_check.c - the check finds each kind of damage, names it once and nothing else, and repairs
 * what can be repaired. */
#include <errno.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/quota.h"
#include "tests/support/checks.h"

/* --- a disk that cannot be read: reads of blobs fail while this is set --- */

static bool reads_fail;

static bool fails(int fd)
{
    char link[64], path[512];

    if (!reads_fail)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof(path) - 1);
    path[size < 0 ? 0 : size] = 0;
    return strstr(path, "/blobs/") != NULL;
}

ssize_t pread(int fd, void *out, size_t size, off_t offset)
{
    if (fails(fd)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, out, size, offset);
}

ssize_t preadv2(int fd, const struct iovec *into, int count, off_t offset, int flags)
{
    (void)fd, (void)into, (void)count, (void)offset, (void)flags;
    errno = EOPNOTSUPP;
    return -1;
}

static void test_check_finds_nothing_in_a_good_store(void **state)
{
    struct fixture *fixture = *state;

    fill(fixture);
    for (int deep = 0; deep < 2; deep++) {
        const struct told told = check_with(fixture, (struct check_options){.deep = deep});
        print_told(&told);
        assert_int_equal(told.count, 0);
        assert_int_equal(told.report.found + told.report.repaired + told.report.left, 0);
        assert_int_equal(told.report.blobs, 3);
        assert_int_equal(told.report.files, 4); /* and the open session's */
        assert_int_equal(told.report.links, 5);
        assert_int_equal(told.report.manifests, 5);
        assert_int_equal(told.report.tags, 4);
        assert_int_equal(told.report.uploads, 1);
        assert_int_equal(told.report.bytes, deep ? 45 + 24 + 29 : 0);
    }
}

/* --- damages --- */

static void blob_missing(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    assert_int_equal(unlink(path), 0);
}

static void blob_grown(struct fixture *fixture)
{
    write_at(fixture, 45, "more");
}

static void blob_unreadable(struct fixture *fixture)
{
    (void)fixture;
    reads_fail = true;
}

static void blob_awaited(struct fixture *fixture)
{
    blob_missing(fixture);
    blob_flagged(fixture);
}

static void blob_mark(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64], text[DIGEST_TEXT_MAX];
    const struct digest wrong = digest_text_of("other bytes");

    path_of(fixture, LAYER_LOCATOR, path);
    digest_text(&wrong, text);
    if (setxattr(path, "user.slipway.digest", text, strlen(text), 0) < 0)
        skip(); /* a file system that has no such attributes */
}

static void file_on_wrong_shelf(struct fixture *fixture)
{
    new_file(fixture, "0f/aa112233445566778899aabbccddeeff");
}

static void file_beside_shelves(struct fixture *fixture)
{
    new_file(fixture, "stray");
}

static void upload_without_file(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, "SELECT locator FROM uploads", path);
    assert_int_equal(unlink(path), 0);
}

static void trash_without_file(struct fixture *fixture)
{
    edit(fixture, "INSERT INTO trash(locator, not_before) VALUES('" EXTRA "', " FAR ")");
}

static void trash_of_blob(struct fixture *fixture)
{
    edit(fixture, "INSERT INTO trash(locator, not_before) SELECT locator, " FAR
                  "  FROM blobs WHERE size = 45");
}

static void upload_of_blob(struct fixture *fixture)
{
    edit(fixture, "INSERT INTO uploads(id, repo_id, locator, algorithm, started_at, expires_at)"
                  "  SELECT '00000000-0000-4000-8000-000000000000', 1, locator, 1, 1, " FAR
                  "  FROM blobs WHERE size = 45");
}

static void blob_leaked(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM repository_blobs WHERE blob_id = " BLOB(LOOSE_SIZE));
}

static void link_leaked(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM gc_queue WHERE kind = 2 AND ref_id = " BLOB(LOOSE_SIZE));
}

static void manifest_unreadable(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests SET media_type = 'application/x-nothing'"
                  " WHERE id = " MANIFEST_OF("v1"));
}

static void manifest_total(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests SET total_size = 7 WHERE id = " MANIFEST_OF("v1"));
}

static void manifest_reference(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM manifest_blobs WHERE repo_id = 1 AND blob_id = " BLOB(
                      LAYER_SIZE) " AND manifest_id = " MANIFEST_OF("v1"));
}

/* What waits and is here is not held. */
static void manifest_reference_waits(struct fixture *fixture)
{
    manifest_reference(fixture);
    edit(fixture, "INSERT INTO missing_refs(repo_id, digest, manifest_id)"
                  "  SELECT 1, digest, " MANIFEST_OF("v1") "  FROM blobs WHERE size = 45");
}

static void manifest_reference_missing(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM missing_refs");
}

static void index_reference(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM manifest_refs");
}

static void child_wrong(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifest_refs SET child_id = " MANIFEST_OF("sparse"));
}

static void child_unlinked(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifest_refs SET child_id = NULL");
}

static void manifest_forgotten(struct fixture *fixture)
{
    edit(fixture, "DELETE FROM gc_queue WHERE kind = 1 AND ref_id = " DELETED);
}

static void repository_forgotten(struct fixture *fixture)
{
    edit(fixture, "UPDATE repositories"
                  "   SET deleted_at = 1, deleted_name = name, name = '~2' WHERE id = 2");
}

static void blob_locator_odd(struct fixture *fixture)
{
    blob_missing(fixture);
    edit(fixture, "UPDATE blobs SET locator = '../../etc/passwd' WHERE size = 45");
}

static void quota_wrong(struct fixture *fixture)
{
    struct quota quota;

    OK(quota_create(fixture->store, QUOTA_REPOSITORIES, SLICE("team/*"), 1 << 20, NULL, &quota,
                    &fixture->err));
    quota_drop(&quota);
    script(fixture, "UPDATE quota_usage SET bytes = bytes + 1");
}

static void quota_links_wrong(struct fixture *fixture)
{
    struct quota quota;

    OK(quota_create(fixture->store, QUOTA_REPOSITORIES, SLICE("team/*"), 1 << 20, NULL, &quota,
                    &fixture->err));
    quota_drop(&quota);
    script(fixture, "UPDATE quota_blobs SET links = links + 1"
                    " WHERE blob_id = (SELECT min(blob_id) FROM quota_blobs)");
}

static void tag_of_nothing(struct fixture *fixture)
{
    edit(fixture, "UPDATE tags SET manifest_id = 99999 WHERE name = 'sparse'");
}

static void tag_of_another_repository(struct fixture *fixture)
{
    edit(fixture, "UPDATE tags SET manifest_id = (SELECT id FROM manifests WHERE repo_id = 2)"
                  " WHERE name = 'sparse'");
}

static void foreign_key(struct fixture *fixture)
{
    edit(fixture, "INSERT INTO missing_refs(repo_id, digest, manifest_id) VALUES (1, x'01', 999)");
}

/* The index's own condition is turned round, so its rows are the wrong ones. */
static void database(struct fixture *fixture)
{
    edit(fixture, "PRAGMA writable_schema = ON;"
                  "UPDATE sqlite_schema SET sql = replace(sql, 'damaged = 1', 'damaged = 0')"
                  " WHERE name = 'blobs_damaged'");
    fixture_reopen(fixture);
}

enum named { OBJECT, DIGEST, TAG, REPOSITORY_NAME };
enum afterwards { CLEAN, AWAITED, THE_SAME };

static const struct damage {
    const char *name;
    void (*plant)(struct fixture *fixture);
    enum check_kind kind;
    enum named named;
    const char *name_sql; /* asked before the damage */
    bool deep;            /* only a deep check can see it */
    bool repaired;
    enum afterwards afterwards; /* what the check after a repair tells */
} damages[] = {
    {"a missing file", blob_missing, CHECK_BLOB_MISSING, DIGEST, LAYER_DIGEST, false, true,
     AWAITED},
    {"a truncated file", blob_truncated, CHECK_BLOB_TRUNCATED, OBJECT, LAYER_LOCATOR, false, true,
     AWAITED},
    {"a file that grew", blob_grown, CHECK_BLOB_GROWN, OBJECT, LAYER_LOCATOR, false, true, AWAITED},
    {"a flipped bit", blob_altered, CHECK_BLOB_ALTERED, DIGEST, LAYER_DIGEST, true, true, AWAITED},
    {"a right blob marked damaged", blob_flagged, CHECK_BLOB_FLAGGED, DIGEST, LAYER_DIGEST, true,
     true, CLEAN},
    {"a blob known damaged", blob_awaited, CHECK_BLOB_AWAITED, DIGEST, LAYER_DIGEST, false, false,
     AWAITED},
    {"another digest's mark", blob_mark, CHECK_BLOB_MARK, OBJECT, LAYER_LOCATOR, false, true,
     CLEAN},
    {"a file without a row", file_extra, CHECK_FILE_EXTRA, OBJECT, "SELECT '" EXTRA "'", false,
     true, CLEAN},
    {"a file that is no locator", file_misnamed, CHECK_FILE_MISNAMED, OBJECT,
     "SELECT '0f/notes.txt'", false, true, CLEAN},
    {"a locator on a wrong shelf", file_on_wrong_shelf, CHECK_FILE_MISNAMED, OBJECT,
     "SELECT '0f/aa112233445566778899aabbccddeeff'", false, true, CLEAN},
    {"a file beside the shelves", file_beside_shelves, CHECK_FILE_MISNAMED, OBJECT,
     "SELECT 'stray'", false, true, CLEAN},
    {"a session without its bytes", upload_without_file, CHECK_UPLOAD_WITHOUT_FILE, OBJECT,
     "SELECT id FROM uploads", false, true, CLEAN},
    {"trash without its file", trash_without_file, CHECK_TRASH_WITHOUT_FILE, OBJECT,
     "SELECT '" EXTRA "'", false, false, THE_SAME},
    {"a blob in trash", trash_of_blob, CHECK_LOCATOR_TWICE, OBJECT, LAYER_LOCATOR, false, true,
     CLEAN},
    {"a session with a blob's bytes", upload_of_blob, CHECK_LOCATOR_TWICE, OBJECT, LAYER_LOCATOR,
     false, true, CLEAN},
    {"a blob without links and task", blob_leaked, CHECK_BLOB_LEAKED, OBJECT,
     "SELECT locator FROM blobs WHERE size = " LOOSE_SIZE, false, true, CLEAN},
    {"a link without use and task", link_leaked, CHECK_LINK_LEAKED, DIGEST,
     "SELECT 'sha256:' || lower(substr(hex(digest), 3)) FROM blobs WHERE size = " LOOSE_SIZE, false,
     true, CLEAN},
    {"an altered manifest", manifest_altered, CHECK_MANIFEST_ALTERED, DIGEST, MANIFEST_DIGEST("v1"),
     false, false, THE_SAME},
    {"a manifest of a strange type", manifest_unreadable, CHECK_MANIFEST_UNREADABLE, DIGEST,
     MANIFEST_DIGEST("v1"), false, false, THE_SAME},
    {"a manifest's size", manifest_size, CHECK_MANIFEST_SIZE, DIGEST, MANIFEST_DIGEST("v1"), false,
     true, CLEAN},
    {"an image's size", manifest_total, CHECK_MANIFEST_TOTAL, DIGEST, MANIFEST_DIGEST("v1"), false,
     true, CLEAN},
    {"a blob that nothing holds", manifest_reference, CHECK_MANIFEST_REFERENCE, OBJECT,
     LAYER_DIGEST, false, true, CLEAN},
    {"a blob that waits and is here", manifest_reference_waits, CHECK_MANIFEST_REFERENCE, DIGEST,
     MANIFEST_DIGEST("v1"), false, true, CLEAN},
    {"a missing blob nobody waits for", manifest_reference_missing, CHECK_MANIFEST_REFERENCE,
     DIGEST, MANIFEST_DIGEST("sparse"), false, true, CLEAN},
    {"a child that nothing holds", index_reference, CHECK_MANIFEST_REFERENCE, OBJECT,
     MANIFEST_DIGEST("v1"), false, true, CLEAN},
    {"a child of another digest", child_wrong, CHECK_CHILD_WRONG, OBJECT, MANIFEST_DIGEST("v1"),
     false, true, CLEAN},
    {"a child that is not linked", child_unlinked, CHECK_CHILD_UNLINKED, OBJECT,
     MANIFEST_DIGEST("v1"), false, true, CLEAN},
    {"a deleted manifest without task", manifest_forgotten, CHECK_MANIFEST_FORGOTTEN, DIGEST,
     "SELECT 'sha256:' || lower(substr(hex(digest), 3)) FROM manifests WHERE id = " DELETED, false,
     true, CLEAN},
    {"a deleted repository without task", repository_forgotten, CHECK_REPOSITORY_FORGOTTEN,
     REPOSITORY_NAME, "SELECT 'team/other'", false, true, CLEAN},
    {"a tag of nothing", tag_of_nothing, CHECK_TAG_DANGLING, TAG, "SELECT 'sparse'", false, true,
     CLEAN},
    {"a tag of another repository", tag_of_another_repository, CHECK_TAG_DANGLING, TAG,
     "SELECT 'sparse'", false, true, CLEAN},
    {"a tag of a deleted manifest", tag_of_deleted, CHECK_TAG_DANGLING, TAG, "SELECT 'sparse'",
     false, true, CLEAN},
    {"a locator that is none", blob_locator_odd, CHECK_BLOB_MISSING, DIGEST, LAYER_DIGEST, false,
     false, THE_SAME},
    {"a quota's bytes", quota_wrong, CHECK_QUOTA, OBJECT, "SELECT 'team/*'", false, true, CLEAN},
    {"a quota's links", quota_links_wrong, CHECK_QUOTA, OBJECT, "SELECT 'team/*'", false, true,
     CLEAN},
    {"a row that points to nothing", foreign_key, CHECK_FOREIGN_KEY, OBJECT,
     "SELECT 'missing_refs'", false, false, THE_SAME},
    {"an index of the database", database, CHECK_DATABASE, OBJECT, "SELECT 'blobs'", true, false,
     THE_SAME},
};

static const char *name_in(const struct check_finding *finding, enum named named)
{
    switch (named) {
    case OBJECT:
        return finding->object;
    case DIGEST:
        return finding->digest;
    case TAG:
        return finding->tag;
    default:
        return finding->repository;
    }
}

static void expect_one(const struct damage *damage, const struct told *told, enum check_kind kind,
                       const char *name, bool repaired)
{
    bool error = check_kind_severity(kind) == CHECK_ERROR;

    if (told->count != 1 || told->items[0].kind != kind || told->items[0].repaired != repaired ||
        strcmp(name_in(&told->items[0], damage->named), name) != 0) {
        print_told(told);
        fail_msg("%s: wanted one %s about %s, repaired %d; got %zu, repaired %d", damage->name,
                 check_kind_name(kind), name, repaired, told->count, told->items[0].repaired);
    }
    assert_int_equal(told->report.found, check_kind_severity(kind) != CHECK_INFO);
    assert_int_equal(told->report.kinds[kind], 1);
    assert_int_equal(told->report.repaired, repaired);
    assert_int_equal(told->report.left, error && !repaired);
    assert_true(told->items[0].sentence[0] != 0);
}

/* Found by the least that can find it, found again, repaired, and then as it should be. */
static void plant_and_check(struct fixture *fixture, const struct damage *damage)
{
    const struct check_options look = {.deep = damage->deep};
    const struct check_options repair = {.deep = damage->deep, .repair = true};
    char name[CHECK_NAME_MAX];

    text_of(fixture, damage->name_sql, name);
    damage->plant(fixture);
    for (int i = 0; i < 2; i++) {
        const struct told told = check_with(fixture, look);
        expect_one(damage, &told, damage->kind, name, false);
    }
    const struct told repaired = check_with(fixture, repair);
    expect_one(damage, &repaired, damage->kind, name, damage->repaired);
    const struct told after = check_with(fixture, (struct check_options){.deep = true});
    if (damage->afterwards == THE_SAME)
        expect_one(damage, &after, damage->kind, name, false);
    else if (damage->afterwards == AWAITED)
        expect_one(damage, &after, CHECK_BLOB_AWAITED, name, false);
    else if (after.count != 0) {
        print_told(&after);
        fail_msg("%s: something is wrong after the repair", damage->name);
    }
}

static void test_check_finds_and_names_each_damage_once(void **state)
{
    for (size_t i = 0; i < LENGTH(damages); i++) {
        void *fresh = NULL;
        if (damages[i].plant == blob_mark)
            continue; /* not every file system can: a test of its own */
        fixture_set_up(&fresh);
        fill(fresh);
        plant_and_check(fresh, &damages[i]);
        fixture_tear_down(&fresh);
    }
    (void)state;
}

static const struct damage *damage_of(void (*plant)(struct fixture *fixture))
{
    for (size_t i = 0; i < LENGTH(damages); i++)
        if (damages[i].plant == plant)
            return &damages[i];
    fail();
    return NULL;
}

static void test_check_mends_a_wrong_mark(void **state)
{
    fill(*state);
    plant_and_check(*state, damage_of(blob_mark));
}

static void test_check_marks_what_cannot_be_read(void **state)
{
    struct fixture *fixture = *state;
    const struct damage damage = {.name = "a blob that cannot be read", .named = DIGEST};
    char digest[CHECK_NAME_MAX];

    push_blob(fixture, REPOSITORY, LAYER);
    text_of(fixture, LAYER_DIGEST, digest);
    blob_unreadable(fixture);
    const struct told told =
        check_with(fixture, (struct check_options){.deep = true, .repair = true});
    reads_fail = false;
    expect_one(&damage, &told, CHECK_BLOB_UNREADABLE, digest, true);
    assert_int_equal(number(fixture, "SELECT damaged FROM blobs"), 1);
}

/* --- stopping, and the rate --- */

static bool always(void *arg)
{
    (void)arg;
    return true;
}

static void test_check_stops_when_it_is_asked_to(void **state)
{
    struct fixture *fixture = *state;
    const struct progress progress = {.cancelled = always};
    const struct check_options options = {.deep = true};
    struct check_report report;

    fill(fixture);
    OK(storage_check(fixture->store, &options, &progress, NULL, NULL, &report, &fixture->err));
    assert_true(report.cancelled);
    assert_int_equal(report.blobs, 0);
}

static void test_check_reads_no_faster_than_its_rate(void **state)
{
    struct fixture *fixture = *state;
    const struct check_options options = {.deep = true, .rate = 1000};

    push_blob(fixture, REPOSITORY, LAYER);
    push_blob(fixture, REPOSITORY, CONFIG);
    push_blob(fixture, REPOSITORY, LOOSE);
    uint64_t before = clock_monotonic_ms();
    assert_int_equal(check_with(fixture, options).report.bytes, 98);
    assert_true(clock_monotonic_ms() - before >= 95);
}

/* After all the others: every statement goes by a key, so a page costs what its rows cost; but a
 * quota is counted anew by all it counts. */
static void test_check_statements_scan_nothing(void **state)
{
    assert_true(plans_check(*state, "r.deleted_name >= $2") > 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_check_finds_nothing_in_a_good_store),
        cmocka_unit_test(test_check_finds_and_names_each_damage_once),
        FIXTURE_TEST(test_check_mends_a_wrong_mark),
        FIXTURE_TEST(test_check_marks_what_cannot_be_read),
        FIXTURE_TEST(test_check_stops_when_it_is_asked_to),
        FIXTURE_TEST(test_check_reads_no_faster_than_its_rate),
        FIXTURE_TEST(test_check_statements_scan_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

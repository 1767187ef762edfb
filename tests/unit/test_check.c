/* test_check.c - the check finds each kind of damage, names it once and nothing else, and repairs
 * what can be repaired. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/check.h"
#include "storage/quota.h"
#include "tests/support/plans.h"

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

/* --- editing behind storage's back, without foreign keys --- */

static void edit(struct fixture *fixture, const char *sql)
{
    char path[FOLDER_MAX + 16];
    sqlite3 *handle = NULL;
    char *why = NULL;

    snprintf(path, sizeof(path), "%s/meta.db", fixture->root);
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    if (sqlite3_exec(handle, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
    sqlite3_close(handle);
}

/* The first column of the first row, as text. */
static void text_of(struct fixture *fixture, const char *sql, char out[CHECK_NAME_MAX])
{
    char path[FOLDER_MAX + 16];
    sqlite3 *handle = NULL;
    sqlite3_stmt *statement = NULL;

    snprintf(path, sizeof(path), "%s/meta.db", fixture->root);
    assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(handle, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(out, CHECK_NAME_MAX, "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(handle);
}

/* --- a store with some of everything --- */

#define OTHER SLICE("team/other")
#define LAYER "a layer of some bytes, and a few more of them"
#define CONFIG "{\"architecture\":\"amd64\"}"
#define LOOSE "a blob that no manifest names"
#define ELSEWHERE "bytes that are somewhere else"

/* In SQL: the row of a blob by its size, which differs for each. */
#define BLOB(size) "(SELECT id FROM blobs WHERE size = " size ")"
#define LAYER_SIZE "45"
#define CONFIG_SIZE "24"
#define LOOSE_SIZE "29"
#define FAR "9000000000000000"

static void push_blob(struct fixture *fixture, struct slice repository, const char *text)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    const struct digest digest = digest_text_of(text);
    struct upload *upload = NULL;
    struct descriptor out;

    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, slice_of(text), &fixture->err));
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
}

static void open_session(struct fixture *fixture)
{
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload *upload = NULL;

    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, REPOSITORY, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, SLICE("some bytes of an upload"), &fixture->err));
    storage_upload_release(upload);
    while (upload_table_checkpoint(fixture->store->uploads, 0))
        continue;
}

static void descriptor(struct buffer *out, const char *type, const char *text)
{
    char digest[DIGEST_TEXT_MAX];
    const struct digest value = digest_text_of(text);

    buffer_print(out, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}", type,
                 digest_text(&value, digest), strlen(text));
}

#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"
#define FOREIGN_TYPE "application/vnd.oci.image.layer.nondistributable.v1.tar"

/* An image of CONFIG and these layers; note makes it another one. free() */
static char *image_text(const char *note, const char *layer, const char *foreign)
{
    struct buffer out = BUFFER_NONE;

    buffer_append_text(&out, "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_MANIFEST "\","
                             "\"config\":");
    descriptor(&out, "application/vnd.oci.image.config.v1+json", CONFIG);
    buffer_append_text(&out, ",\"layers\":[");
    descriptor(&out, LAYER_TYPE, layer);
    if (foreign != NULL) {
        buffer_append_text(&out, ",");
        descriptor(&out, FOREIGN_TYPE, foreign);
    }
    buffer_print(&out, "],\"annotations\":{\"note\":\"%s\"}}", note);
    buffer_append(&out, "", 1);
    return out.at;
}

static void push_image(struct fixture *fixture, struct slice repository, const char *text,
                       const char *layer, const char *foreign, const char *tag)
{
    const struct manifest_link links[] = {
        {.digest = digest_text_of(CONFIG), .size = strlen(CONFIG)},
        {.digest = digest_text_of(layer), .size = strlen(layer)},
        {.digest = digest_text_of(foreign == NULL ? "" : foreign),
         .size = foreign == NULL ? 0 : strlen(foreign),
         .may_be_missing = true},
    };
    struct push push = push_of(text, tag);

    push.put.blobs = links;
    push.put.blob_count = foreign == NULL ? 2 : 3;
    OK(push_run(fixture, repository, &push));
    missing_drop(&push.missing);
}

static void push_index(struct fixture *fixture, const char *image, const char *tag)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    const struct manifest_link child = {.digest = digest_text_of(image), .size = strlen(image)};

    buffer_append_text(&text, "{\"schemaVersion\":2,\"mediaType\":\"" OCI_TYPE_INDEX "\","
                              "\"manifests\":[");
    descriptor(&text, OCI_TYPE_MANIFEST, image);
    buffer_append_text(&text, "]}");
    buffer_append(&text, "", 1);
    struct push push = push_of(text.at, tag);
    push.put.media_type = SLICE(OCI_TYPE_INDEX);
    push.put.children = &child;
    push.put.child_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    missing_drop(&push.missing);
}

static void fill(struct fixture *fixture)
{
    OWNED(memory_drop) char *image = image_text("first", LAYER, NULL);
    OWNED(memory_drop) char *sparse = image_text("sparse", LAYER, ELSEWHERE);
    OWNED(memory_drop) char *deleted = image_text("deleted", LAYER, NULL);
    const struct manifest_reference gone = {.digest = digest_text_of(deleted)};
    bool mounted = false;

    push_blob(fixture, REPOSITORY, LAYER);
    push_blob(fixture, REPOSITORY, CONFIG);
    push_blob(fixture, REPOSITORY, LOOSE);
    push_image(fixture, REPOSITORY, image, LAYER, NULL, "v1");
    push_image(fixture, REPOSITORY, sparse, LAYER, ELSEWHERE, "sparse");
    push_image(fixture, REPOSITORY, deleted, LAYER, NULL, "deleted");
    push_index(fixture, image, "index");
    OK(storage_manifest_delete(fixture->store, REPOSITORY, &gone, NULL, &fixture->err));
    const struct digest config = digest_text_of(CONFIG), layer = digest_text_of(LAYER);
    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &config, NULL, &mounted,
                          &fixture->err));
    OK(storage_blob_mount(fixture->store, OTHER, REPOSITORY, &layer, NULL, &mounted,
                          &fixture->err));
    push_image(fixture, OTHER, image, LAYER, NULL, "v1");
    open_session(fixture);
}

/* --- what a check tells --- */

enum { FINDINGS_KEPT = 16 };

struct told {
    struct check_finding items[FINDINGS_KEPT];
    size_t count;
    struct check_report report;
};

static void keep(void *arg, const struct check_finding *finding)
{
    struct told *told = arg;

    if (told->count < FINDINGS_KEPT)
        told->items[told->count] = *finding;
    told->count++;
}

static struct told check_with(struct fixture *fixture, struct check_options options)
{
    struct told told = {.count = 0};

    OK(storage_check(fixture->store, &options, NULL, keep, &told, &told.report, &fixture->err));
    return told;
}

static void print_told(const struct told *told)
{
    for (size_t i = 0; i < told->count && i < FINDINGS_KEPT; i++)
        print_message("    %s: %s | %s | %s | %s: %s\n", check_kind_name(told->items[i].kind),
                      told->items[i].repository, told->items[i].tag, told->items[i].digest,
                      told->items[i].object, told->items[i].sentence);
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

static void path_of(struct fixture *fixture, const char *locator_sql, char out[FOLDER_MAX + 64])
{
    char locator[CHECK_NAME_MAX];

    text_of(fixture, locator_sql, locator);
    snprintf(out, FOLDER_MAX + 64, "%s/blobs/%.2s/%.32s", fixture->root, locator, locator);
}

#define LAYER_LOCATOR "SELECT locator FROM blobs WHERE size = " LAYER_SIZE
#define LAYER_DIGEST "SELECT 'sha256:' || lower(substr(hex(digest), 3)) FROM blobs WHERE size = 45"
#define MANIFEST_DIGEST(tag)                                                                       \
    "SELECT 'sha256:' || lower(substr(hex(m.digest), 3)) FROM manifests m"                         \
    "  JOIN tags t ON t.manifest_id = m.id AND t.repo_id = 1 WHERE t.name = '" tag "'"
#define MANIFEST_OF(tag) "(SELECT manifest_id FROM tags WHERE repo_id = 1 AND name = '" tag "')"
#define DELETED "(SELECT id FROM manifests WHERE deleted_at IS NOT NULL)"

static void write_at(struct fixture *fixture, off_t offset, const char *bytes)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), offset), (ssize_t)strlen(bytes));
    close(fd);
}

static void blob_missing(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    assert_int_equal(unlink(path), 0);
}

static void blob_truncated(struct fixture *fixture)
{
    char path[FOLDER_MAX + 64];

    path_of(fixture, LAYER_LOCATOR, path);
    assert_int_equal(truncate(path, 10), 0);
}

static void blob_grown(struct fixture *fixture)
{
    write_at(fixture, 45, "more");
}

static void blob_altered(struct fixture *fixture)
{
    write_at(fixture, 7, "X");
}

static void blob_unreadable(struct fixture *fixture)
{
    (void)fixture;
    reads_fail = true;
}

static void blob_flagged(struct fixture *fixture)
{
    edit(fixture, "UPDATE blobs SET damaged = 1 WHERE size = 45");
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

static void new_file(struct fixture *fixture, const char *name)
{
    char path[FOLDER_MAX + 128];

    snprintf(path, sizeof(path), "%s/blobs/0f", fixture->root);
    mkdir(path, 0700);
    snprintf(path, sizeof(path), "%s/blobs/%s", fixture->root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

#define EXTRA "0f112233445566778899aabbccddeeff"

static void file_extra(struct fixture *fixture)
{
    new_file(fixture, "0f/" EXTRA);
}

static void file_misnamed(struct fixture *fixture)
{
    new_file(fixture, "0f/notes.txt");
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

static void manifest_altered(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests"
                  "   SET payload = CAST(replace(CAST(payload AS TEXT), 'first', 'fifth') AS BLOB)"
                  " WHERE id = " MANIFEST_OF("v1"));
}

static void manifest_unreadable(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests SET media_type = 'application/x-nothing'"
                  " WHERE id = " MANIFEST_OF("v1"));
}

static void manifest_size(struct fixture *fixture)
{
    edit(fixture, "UPDATE manifests SET size = size + 1 WHERE id = " MANIFEST_OF("v1"));
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

static void tag_of_deleted(struct fixture *fixture)
{
    edit(fixture, "UPDATE tags SET manifest_id = " DELETED " WHERE name = 'sparse'");
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

/* --- what a repair leaves --- */

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

/* --- the scrub --- */

static struct scrub_status scrub_after_pass(struct fixture *fixture)
{
    struct scrub_status status;
    int64_t before;

    OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    before = status.finished_at;
    OK(storage_scrub_run(fixture->store, &fixture->err));
    do {
        usleep(2000);
        OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    } while (status.running || status.finished_at == before);
    return status;
}

/* With threads: nothing of the collector's is due within the hour. */
static void scrub_on(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture->options.resting = false;
    fixture->options.scrub_rate = 100 << 20;
    fixture->options.scrub_interval_ms = 3600000;
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
}

static void test_scrub_marks_what_is_damaged(void **state)
{
    struct fixture *fixture = *state;
    const struct digest layer = digest_text_of(LAYER);
    struct blob blob;

    fill(fixture);
    scrub_on(fixture);
    struct scrub_status status = scrub_after_pass(fixture);
    assert_int_equal(status.damaged, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE verified_at IS NOT NULL"),
                     3);
    blob_altered(fixture);
    OK(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err));
    status = scrub_after_pass(fixture);
    assert_int_equal(status.damaged, 1);
    assert_int_equal(status.found, 1);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &layer, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    push_blob(fixture, REPOSITORY, LAYER);
    assert_int_equal(scrub_after_pass(fixture).damaged, 0);
}

static void test_scrub_goes_on_where_it_stood(void **state)
{
    struct fixture *fixture = *state;
    int64_t began = clock_now_us() - 60 * INT64_C(1000000);
    char sql[128];
    struct scrub_status status;

    push_blob(fixture, REPOSITORY, LAYER);
    push_blob(fixture, REPOSITORY, CONFIG);
    /* A pass that began, and passed the first blob, before the process ended. */
    edit(fixture, "UPDATE blobs SET created_at = 1, verified_at = NULL");
    snprintf(sql, sizeof(sql), "INSERT INTO server_state(name, value) VALUES('scrub', '1 %lld 2')",
             (long long)began);
    edit(fixture, sql);
    scrub_on(fixture);
    do {
        usleep(2000);
        OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    } while (status.running);
    assert_int_equal(status.started_at, began);
    assert_true(status.finished_at > began);
    assert_true(status.next_at == began + 3600 * INT64_C(1000000));
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE verified_at IS NULL"), 1);
    assert_int_equal(number(fixture, "SELECT id FROM blobs WHERE verified_at IS NULL"), 1);
}

static void test_scrub_is_off_without_a_rate(void **state)
{
    struct fixture *fixture = *state;
    struct scrub_status status;

    OK(storage_scrub_status(fixture->store, &status, &fixture->err));
    assert_int_equal(status.rate, 0);
    assert_false(status.running);
    FAILS(storage_scrub_run(fixture->store, &fixture->err), ERROR_CONFLICT);
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
        FIXTURE_TEST(test_check_heals_what_is_pushed_again),
        FIXTURE_TEST(test_check_heals_a_manifest_that_is_pushed_again),
        FIXTURE_TEST(test_check_ends_a_repair_that_was_cut_off),
        FIXTURE_TEST(test_check_marks_what_cannot_be_read),
        FIXTURE_TEST(test_check_keeps_every_quarantined_byte),
        FIXTURE_TEST(test_check_tells_history_of_dangling_tags),
        FIXTURE_TEST(test_check_looks_at_some_repositories_only),
        FIXTURE_TEST(test_check_stops_when_it_is_asked_to),
        FIXTURE_TEST(test_check_reads_no_faster_than_its_rate),
        FIXTURE_TEST(test_scrub_marks_what_is_damaged),
        FIXTURE_TEST(test_scrub_goes_on_where_it_stood),
        FIXTURE_TEST(test_scrub_is_off_without_a_rate),
        FIXTURE_TEST(test_check_statements_scan_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

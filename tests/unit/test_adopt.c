/* test_adopt.c - files and tags that were elsewhere, through adopt.h, over the real database; and
 * the plan of every statement that ran on the way. */
#include "storage/adopt.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/meta_adopt.h"
#include "tests/support/plans.h"

#define OTHER SLICE("team/other")

/* --- helpers --- */

struct source {
    char path[FOLDER_MAX + 64];
};

static struct source file_of(const struct fixture *fixture, const char *name, const char *text)
{
    struct source source;

    snprintf(source.path, sizeof(source.path), "%s/source-%s", fixture->root, name);
    FILE *file = fopen(source.path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return source;
}

static void file_is(const char *path, const char *text)
{
    char content[128] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    assert_int_equal(fread(content, 1, sizeof(content), file), strlen(text));
    assert_string_equal(content, text);
    fclose(file);
}

static struct stat status_of(const char *path)
{
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    return status;
}

static struct adopt_blob blob_of(const char *text, const char *path)
{
    return (struct adopt_blob){.digest = digest_text_of(text), .path = path};
}

/* One file into a repository. */
static enum adopt_outcome adopt(struct fixture *fixture, struct slice repository,
                                enum adopt_mode mode, struct adopt_blob *blob)
{
    const struct adopt_options options = {.mode = mode};

    OK(storage_adopt_blobs(fixture->store, repository, blob, 1, &options, &fixture->err));
    return blob->outcome;
}

static void blob_is(struct fixture *fixture, struct slice repository, const char *text)
{
    const struct digest digest = digest_text_of(text);
    char content[128] = "";
    struct blob blob;

    OK(storage_blob_open(fixture->store, repository, &digest, true, &blob, &fixture->err));
    assert_int_equal(read(blob.fd, content, sizeof(content)), strlen(text));
    assert_string_equal(content, text);
    storage_blob_close(&blob);
}

static void nothing_waits(struct fixture *fixture)
{
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 0);
}

static int locator_run(struct db_tx *tx, void *arg, struct error *err)
{
    static const char sql[] = "SELECT locator FROM blobs ORDER BY id DESC LIMIT 1";
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);

    assert_int_equal(db_step(&query, err), 1);
    assert_true(slice_to_text(db_column_slice(&query, 0), arg, LOCATOR_SIZE + 1));
    return 0;
}

/* Where the bytes of the newest blob are. */
static struct source newest(struct fixture *fixture)
{
    char locator[LOCATOR_SIZE + 1];
    struct source file;

    OK(db_read(fixture->meta->db, locator_run, locator, &fixture->err));
    snprintf(file.path, sizeof(file.path), "%s/blobs/%.2s/%s", fixture->root, locator, locator);
    return file;
}

/* --- blobs --- */

static void test_adopt_modes(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        enum adopt_mode mode;
        const char *text;
        nlink_t names;
    } cases[] = {{ADOPT_COPY, "a copy", 1}, {ADOPT_LINK, "a link", 2}};

    for (size_t i = 0; i < LENGTH(cases); i++) {
        const struct source source = file_of(fixture, "mode", cases[i].text);
        struct adopt_blob blob = blob_of(cases[i].text, source.path);
        enum adopt_outcome outcome = adopt(fixture, REPOSITORY, cases[i].mode, &blob);
        assert_int_equal(outcome, cases[i].mode == ADOPT_COPY ? ADOPT_COPIED : ADOPT_LINKED);
        assert_int_equal(blob.size, strlen(cases[i].text));
        assert_int_equal(status_of(source.path).st_nlink, cases[i].names);
        assert_true(getxattr(source.path, "user.slipway.digest", NULL, 0) < 0);
        blob_is(fixture, REPOSITORY, cases[i].text);
        nothing_waits(fixture);
        unlink(source.path);
    }
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 2"), 2);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 0);
}

/* Nobody who keeps the old folder can change what came in, unless he asked for links. */
static void test_adopt_auto_shares_no_file(void **state)
{
    struct fixture *fixture = *state;
    const struct source own = file_of(fixture, "own", "mine");
    struct adopt_blob mine = blob_of("mine", own.path);

    assert_true(adopt(fixture, REPOSITORY, ADOPT_AUTO, &mine) >= ADOPT_LINKED);
    assert_int_not_equal(mine.outcome, ADOPT_LINKED);
    assert_int_equal(status_of(own.path).st_nlink, 1);
    blob_is(fixture, REPOSITORY, "mine");
}

/* Without a byte read: the file of the second time is not there. adopt (2) */
static void test_adopt_what_is_here(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "here", "content");
    struct adopt_blob blob = blob_of("content", source.path);

    assert_int_equal(adopt(fixture, REPOSITORY, ADOPT_COPY, &blob), ADOPT_COPIED);
    unlink(source.path);
    assert_int_equal(adopt(fixture, REPOSITORY, ADOPT_COPY, &blob), ADOPT_PRESENT);
    assert_int_equal(adopt(fixture, OTHER, ADOPT_COPY, &blob), ADOPT_MOUNTED);
    blob_is(fixture, OTHER, "content");
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 1);
    OK(storage_adopt_look(fixture->store, SLICE("new"), &blob, 1, &fixture->err));
    assert_int_equal(blob.outcome, ADOPT_MOUNTED);
    assert_int_equal(number(fixture, "SELECT count(*) FROM repositories"), 2);
}

/* P4: what is present has a lease as long as any push's. */
static void test_adopt_renews_the_lease(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "lease", "leased");
    struct adopt_blob blob = blob_of("leased", source.path);

    adopt(fixture, REPOSITORY, ADOPT_COPY, &blob);
    script(fixture, "UPDATE repository_blobs SET touched_at = 1");
    assert_int_equal(adopt(fixture, REPOSITORY, ADOPT_COPY, &blob), ADOPT_PRESENT);
    assert_true(number(fixture, "SELECT touched_at FROM repository_blobs") > 1);
}

static void test_adopt_heals_damaged_bytes(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "heal", "whole");
    struct adopt_blob blob = blob_of("whole", source.path);

    adopt(fixture, REPOSITORY, ADOPT_COPY, &blob);
    assert_int_equal(truncate(newest(fixture).path, 2), 0);
    assert_int_equal(adopt(fixture, REPOSITORY, ADOPT_COPY, &blob), ADOPT_COPIED);
    blob_is(fixture, REPOSITORY, "whole");
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 1);
}

static void test_adopt_refuses(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "wrong", "other bytes");
    static const enum adopt_mode modes[] = {ADOPT_COPY, ADOPT_LINK, ADOPT_AUTO};

    for (size_t i = 0; i < LENGTH(modes); i++) {
        struct adopt_blob blob = blob_of("bytes", source.path);
        assert_int_equal(adopt(fixture, REPOSITORY, modes[i], &blob), ADOPT_FAILED);
        assert_int_equal(blob.why.code, ERROR_DIGEST_INVALID);
        nothing_waits(fixture);
        assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), i + 1);
        file_is(source.path, "other bytes");
    }
    struct adopt_blob sized = blob_of("bytes", source.path);
    sized.size_known = true;
    sized.size = 5;
    adopt(fixture, REPOSITORY, ADOPT_COPY, &sized);
    assert_int_equal(sized.why.code, ERROR_SIZE_INVALID);
    struct adopt_blob none = blob_of("none", "/nowhere/at/all"), folder = blob_of("f", "/");
    adopt(fixture, REPOSITORY, ADOPT_COPY, &none);
    assert_int_equal(none.why.code, ERROR_BLOB_UNKNOWN);
    adopt(fixture, REPOSITORY, ADOPT_COPY, &folder);
    assert_int_equal(folder.why.code, ERROR_BLOB_UNKNOWN);
    nothing_waits(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 0);
}

static void test_adopt_trusts_when_told(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "trusted", "unread");
    const struct adopt_options options = {.mode = ADOPT_COPY, .trusting = true};
    struct adopt_blob blob = blob_of("named so", source.path);

    OK(storage_adopt_blobs(fixture->store, REPOSITORY, &blob, 1, &options, &fixture->err));
    assert_int_equal(blob.outcome, ADOPT_COPIED);
}

/* Where nothing is hashed, a link could make a blob of any file. */
static void test_adopt_trusts_no_links(void **state)
{
    struct fixture *fixture = *state;
    const struct source secret = file_of(fixture, "secret", "a secret");
    const struct adopt_options options = {.mode = ADOPT_AUTO, .trusting = true};
    struct source link;

    snprintf(link.path, sizeof(link.path), "%s/link", fixture->root);
    assert_int_equal(symlink(secret.path, link.path), 0);
    struct adopt_blob blob = blob_of("named so", link.path);
    OK(storage_adopt_blobs(fixture->store, REPOSITORY, &blob, 1, &options, &fixture->err));
    assert_int_equal(blob.outcome, ADOPT_FAILED);
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 0);
    struct adopt_blob hashed = blob_of("a secret", link.path);
    assert_int_equal(adopt(fixture, REPOSITORY, ADOPT_COPY, &hashed), ADOPT_COPIED);
    unlink(link.path);
}

/* More than one batch; each has one folder to sync. */
static void test_adopt_many_share_folders(void **state)
{
    enum { MANY = 150, BATCHES = 3 };
    struct fixture *fixture = *state;
    OWNED(memory_drop) struct source *sources = memory_new(MANY * sizeof(*sources));
    OWNED(memory_drop) struct adopt_blob *blobs = memory_new(MANY * sizeof(*blobs));
    const struct adopt_options options = {.mode = ADOPT_AUTO};
    char text[32];

    for (size_t i = 0; i < MANY; i++) {
        snprintf(text, sizeof(text), "blob %zu", i);
        sources[i] = file_of(fixture, text, text);
        blobs[i] = blob_of(text, sources[i].path);
    }
    unlink(sources[70].path);
    OK(storage_adopt_blobs(fixture->store, REPOSITORY, blobs, MANY, &options, &fixture->err));
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(blobs[i].outcome == ADOPT_FAILED, i == 70);
    assert_int_equal(number(fixture, "SELECT count(*) FROM repository_blobs"), MANY - 1);
    assert_in_range(number(fixture, "SELECT count(DISTINCT substr(locator, 1, 2)) FROM blobs"), 1,
                    BATCHES);
    nothing_waits(fixture);
}

static bool at_once(void *arg)
{
    (void)arg;
    return true;
}

static void test_adopt_stops_when_asked(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "stop", "never read");
    const struct progress progress = {.cancelled = at_once};
    const struct adopt_options options = {.mode = ADOPT_COPY, .progress = &progress};
    struct adopt_blob blob = blob_of("never read", source.path);

    OK(storage_adopt_blobs(fixture->store, REPOSITORY, &blob, 1, &options, &fixture->err));
    assert_int_equal(blob.outcome, ADOPT_FAILED);
    nothing_waits(fixture);
}

/* A second name of a file that others own stands in the blob folder when the power goes: the start
 * after it takes the name away, and leaves the file as it is. */
static void test_adopt_power_cut_spares_linked_files(void **state)
{
    struct fixture *fixture = *state;
    const struct source source = file_of(fixture, "theirs", "what others own");
    const struct source boot = file_of(fixture, "boot", "first");
    struct meta_adopt item = {.blob = {.digest = digest_text_of("what others own")}};
    const struct blob_store *blobs;
    struct blob_writer *writer = NULL;

    fixture->options.boot_id_path = boot.path;
    fixture_reopen(fixture);
    oci_upload_id_new(item.id);
    locator_new(item.locator);
    OK(meta_adopt_start(fixture->meta, REPOSITORY, &item, 1, NULL, &fixture->err));
    blobs = &fixture->store->blobs;
    int fd = open(source.path, O_RDONLY);
    OK(blobs->driver->adopt(blobs->self, item.locator, fd, true, &writer, &fixture->err));
    blobs->driver->writer_close(writer);
    close(fd);
    file_of(fixture, "boot", "second");
    fixture_reopen(fixture);
    file_is(source.path, "what others own");
    nothing_waits(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 1);
}

/* --- tags --- */

static enum adopt_tag_outcome set_tag(struct fixture *fixture, const struct adopt_past *past,
                                      size_t count, bool overwrite, struct error *why)
{
    struct adopt_tag tag = {.name = SLICE("v1"), .past = past, .past_count = count};

    OK(storage_adopt_tags(fixture->store, REPOSITORY, &tag, 1, overwrite, NULL, &fixture->err));
    if (why != NULL)
        *why = tag.why;
    return tag.outcome;
}

static int64_t moves(struct fixture *fixture)
{
    return number(fixture, "SELECT count(*) FROM tag_history WHERE name = 'v1'");
}

static void test_adopt_tags_with_their_past(void **state)
{
    struct fixture *fixture = *state;
    const struct adopt_past past[] = {{digest_text_of("gone long ago"), 1000},
                                      {digest_text_of("one"), 2000},
                                      {digest_text_of("two"), 3000}};
    struct error why;

    push_text(fixture, "one", NULL);
    assert_int_equal(set_tag(fixture, past, 2, false, NULL), ADOPT_TAG_SET);
    assert_int_equal(moves(fixture), 2);
    assert_int_equal(number(fixture, "SELECT updated_at FROM tags"), 2000);
    assert_int_equal(number(fixture, "SELECT max(at) FROM tag_history WHERE cause = 6"), 2000);
    assert_int_equal(set_tag(fixture, past, 2, false, NULL), ADOPT_TAG_PRESENT);
    assert_int_equal(set_tag(fixture, past, 3, false, &why), ADOPT_TAG_FAILED);
    assert_int_equal(why.code, ERROR_MANIFEST_UNKNOWN);
    push_text(fixture, "two", NULL);
    assert_int_equal(set_tag(fixture, past, 3, false, NULL), ADOPT_TAG_SET);
    assert_int_equal(moves(fixture), 3);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 1 AND ref_id ="
                                     " (SELECT id FROM manifests ORDER BY id LIMIT 1)"),
                     1);
}

/* adopt (3) */
static void test_adopt_tags_leaves_what_was_changed_here(void **state)
{
    struct fixture *fixture = *state;
    const struct adopt_past one = {digest_text_of("one"), 0};
    const struct manifest_reference tag = {.tag = SLICE("v1")};
    const struct manifest *manifest = NULL;
    struct error why;

    push_text(fixture, "one", NULL);
    push_text(fixture, "here", "v1");
    OK(storage_manifest_get(fixture->store, REPOSITORY, &tag, false, &manifest, &fixture->err));
    storage_manifest_release(manifest); /* memory knows it now */
    assert_int_equal(set_tag(fixture, &one, 1, false, NULL), ADOPT_TAG_KEPT);
    assert_int_equal(set_tag(fixture, &one, 1, true, NULL), ADOPT_TAG_SET);
    assert_false(storage_peek_manifest(fixture->store, REPOSITORY, &tag, false, &manifest));
    OK(storage_manifest_delete(fixture->store, REPOSITORY, &tag, NULL, &fixture->err));
    assert_int_equal(set_tag(fixture, &one, 1, false, NULL), ADOPT_TAG_KEPT);
    assert_int_equal(set_tag(fixture, &one, 1, true, NULL), ADOPT_TAG_SET);
    script(fixture, "INSERT INTO protections(pattern, tags, bits, created_at)"
                    "     VALUES ('*', 'v*', 1, 1)");
    const struct adopt_past other = {digest_text_of("here"), 0};
    assert_int_equal(set_tag(fixture, &other, 1, true, &why), ADOPT_TAG_FAILED);
    assert_int_equal(why.code, ERROR_PROTECTED);
}

static void test_adopt_plans(void **state)
{
    assert_true(plans_check(*state, "FROM protections") >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_adopt_modes),
        FIXTURE_TEST(test_adopt_auto_shares_no_file),
        FIXTURE_TEST(test_adopt_what_is_here),
        FIXTURE_TEST(test_adopt_renews_the_lease),
        FIXTURE_TEST(test_adopt_heals_damaged_bytes),
        FIXTURE_TEST(test_adopt_refuses),
        FIXTURE_TEST(test_adopt_trusts_when_told),
        FIXTURE_TEST(test_adopt_trusts_no_links),
        FIXTURE_TEST(test_adopt_many_share_folders),
        FIXTURE_TEST(test_adopt_stops_when_asked),
        FIXTURE_TEST(test_adopt_power_cut_spares_linked_files),
        FIXTURE_TEST(test_adopt_tags_with_their_past),
        FIXTURE_TEST(test_adopt_tags_leaves_what_was_changed_here),
        FIXTURE_TEST(test_adopt_plans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

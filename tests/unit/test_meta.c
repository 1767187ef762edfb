/* test_meta.c - rows of sessions, blobs and trash: the protocol's transactions P1 to P5, G4, G5,
 * and the schema. Bytes do not matter here. */
#include <unistd.h>

#include "tests/support/store.h"

#define OTHER SLICE("team/other")

static int64_t after_count;

static void note_after(void *arg)
{
    ++*(int64_t *)arg;
}

static const struct meta_after noting = {note_after, &after_count};

struct session {
    char id[OCI_UPLOAD_ID_SIZE + 1];
    char locator[LOCATOR_SIZE + 1];
};

static struct session start(struct fixture *fixture)
{
    struct session session;

    oci_upload_id_new(session.id);
    locator_new(session.locator);
    OK(meta_upload_start(fixture->meta, REPOSITORY, session.id, session.locator, DIGEST_SHA256,
                         NULL, &fixture->err));
    return session;
}

static int finish(struct fixture *fixture, const struct session *session, const char *text)
{
    const struct descriptor blob = {digest_text_of(text), strlen(text)};

    fixture->err = (struct error){0};
    return meta_upload_finish(fixture->meta, REPOSITORY, slice_of(session->id), &blob, &noting,
                              &fixture->err);
}

static int find(struct fixture *fixture, const char *text, bool may_push, struct meta_blob *out)
{
    struct digest digest = digest_text_of(text);

    fixture->err = (struct error){0};
    return meta_blob_find(fixture->meta, REPOSITORY, &digest, may_push, out, &fixture->err);
}

static int delete (struct fixture *fixture, const char *text)
{
    struct digest digest = digest_text_of(text);

    fixture->err = (struct error){0};
    return meta_blob_delete(fixture->meta, REPOSITORY, &digest, &noting, &fixture->err);
}

static size_t trash_count(struct fixture *fixture)
{
    struct meta_counts counts = {0, 0};

    OK(meta_count(fixture->meta, &counts, &fixture->err));
    return counts.trash;
}

static bool is_due(struct fixture *fixture, const char *locator)
{
    char due[8][LOCATOR_SIZE + 1];
    size_t count = 0;

    OK(meta_trash_due(fixture->meta, due, LENGTH(due), &count, &fixture->err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(due[i], locator) == 0)
            return true;
    return false;
}

/* --- sessions --- */

/* UPL-03 */
static void test_meta_session_belongs_to_its_repository(void **state)
{
    struct fixture *fixture = *state;
    struct session session = start(fixture);
    struct meta_upload row;

    OK(meta_upload_find(fixture->meta, REPOSITORY, slice_of(session.id), &row, &fixture->err));
    assert_string_equal(row.id, session.id);
    assert_string_equal(row.locator, session.locator);
    assert_int_equal(row.algorithm, DIGEST_SHA256);
    assert_int_equal(row.received + row.synced + row.hash_size, 0);
    FAILS(meta_upload_find(fixture->meta, OTHER, slice_of(session.id), &row, &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
    FAILS(meta_upload_cancel(fixture->meta, OTHER, slice_of(session.id), &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
}

static void test_meta_checkpoint_is_what_find_gives(void **state)
{
    struct fixture *fixture = *state;
    struct session session = start(fixture);
    struct meta_upload row, again;

    OK(meta_upload_find(fixture->meta, REPOSITORY, slice_of(session.id), &row, &fixture->err));
    row.received = 20;
    row.synced = 10;
    row.hash_size = 3;
    memcpy(row.hash_state, "abc", 3);
    OK(meta_upload_checkpoint(fixture->meta, &row, &fixture->err));
    OK(meta_upload_find(fixture->meta, REPOSITORY, slice_of(session.id), &again, &fixture->err));
    assert_int_equal(again.received, 20);
    assert_int_equal(again.synced, 10);
    assert_int_equal(again.hash_size, 3);
    assert_memory_equal(again.hash_state, "abc", 3);
    OK(meta_upload_cancel(fixture->meta, REPOSITORY, slice_of(session.id), &fixture->err));
    FAILS(meta_upload_checkpoint(fixture->meta, &row, &fixture->err), ERROR_BLOB_UPLOAD_UNKNOWN);
    FAILS(meta_upload_touch(fixture->meta, row.id, &fixture->err), ERROR_BLOB_UPLOAD_UNKNOWN);
}

/* P3, UPL-23 */
static void test_meta_finish_makes_a_blob_and_remembers(void **state)
{
    struct fixture *fixture = *state;
    struct session session = start(fixture);
    struct meta_blob blob;
    struct digest digest, expected = digest_text_of("one");
    bool found = false;

    after_count = 0;
    OK(finish(fixture, &session, "one"));
    assert_int_equal(after_count, 1);
    OK(find(fixture, "one", true, &blob));
    assert_string_equal(blob.locator, session.locator);
    assert_int_equal(blob.size, 3);
    assert_true(blob.lease_until > clock_now_us());
    FAILS(finish(fixture, &session, "one"), ERROR_BLOB_UPLOAD_UNKNOWN);
    OK(meta_upload_finished(fixture->meta, REPOSITORY, slice_of(session.id), &found, &digest,
                            &fixture->err));
    assert_true(found && digest_equal(&digest, &expected));
    OK(meta_upload_finished(fixture->meta, OTHER, slice_of(session.id), &found, &digest,
                            &fixture->err));
    assert_false(found);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 2"), 1);
    /* CONC-05: the collector looks at it after the grace time */
    assert_int_equal(number(fixture, "SELECT due - touched_at FROM gc_queue, repository_blobs"),
                     fixture->meta->grace_us);
    assert_int_equal(trash_count(fixture), 0);

    script(fixture, "UPDATE finished_uploads SET forget_at = 1");
    OK(meta_upload_finished(fixture->meta, REPOSITORY, slice_of(session.id), &found, &digest,
                            &fixture->err));
    assert_false(found);
    char locator[LOCATOR_SIZE + 1];
    bool more = false;
    OK(meta_upload_expire(fixture->meta, clock_now_us(), locator, &more, &fixture->err));
    assert_string_equal(locator, "");
    assert_true(more);
    assert_int_equal(number(fixture, "SELECT count(*) FROM finished_uploads"), 0);
    OK(meta_upload_expire(fixture->meta, clock_now_us(), locator, &more, &fixture->err));
    assert_false(more);
}

/* UPL-24: one copy; the loser's bytes are trash at once */
static void test_meta_finish_of_a_known_blob_trashes_the_loser(void **state)
{
    struct fixture *fixture = *state;
    struct session first = start(fixture), second = start(fixture);
    struct meta_blob blob;

    OK(finish(fixture, &first, "one"));
    OK(finish(fixture, &second, "one"));
    OK(find(fixture, "one", false, &blob));
    assert_string_equal(blob.locator, first.locator);
    assert_true(is_due(fixture, second.locator));
    assert_false(is_due(fixture, first.locator));
    OK(meta_trash_done(fixture->meta, (const char(*)[LOCATOR_SIZE + 1]) & second.locator, 1,
                       &fixture->err));
    assert_int_equal(trash_count(fixture), 0);
}

/* CONC-03: damaged bytes are replaced by the next push, in every repository */
static void test_meta_damage_hides_until_a_push_heals(void **state)
{
    struct fixture *fixture = *state;
    struct session first = start(fixture), second = start(fixture);
    struct digest digest = digest_text_of("one");
    struct meta_blob blob;

    OK(finish(fixture, &first, "one"));
    OK(meta_blob_damage(fixture->meta, &digest, second.locator, &noting, &fixture->err));
    OK(find(fixture, "one", false, &blob)); /* other bytes than the reader saw */
    OK(meta_blob_damage(fixture->meta, &digest, first.locator, &noting, &fixture->err));
    FAILS(find(fixture, "one", false, &blob), ERROR_BLOB_UNKNOWN);
    OK(finish(fixture, &second, "one"));
    OK(find(fixture, "one", false, &blob));
    assert_string_equal(blob.locator, second.locator);
    assert_int_equal(trash_count(fixture), 1);
    assert_false(is_due(fixture, first.locator)); /* late: somebody may be reading it */
}

/* UPL-27, and the recovery at start */
static void test_meta_session_that_ends_goes_to_trash(void **state)
{
    struct fixture *fixture = *state;
    struct session cancelled = start(fixture), discarded = start(fixture);

    OK(meta_upload_cancel(fixture->meta, REPOSITORY, slice_of(cancelled.id), &fixture->err));
    FAILS(meta_upload_cancel(fixture->meta, REPOSITORY, slice_of(cancelled.id), &fixture->err),
          ERROR_BLOB_UPLOAD_UNKNOWN);
    FAILS(finish(fixture, &cancelled, "one"), ERROR_BLOB_UPLOAD_UNKNOWN);
    OK(meta_upload_discard(fixture->meta, discarded.id, &fixture->err));
    OK(meta_upload_discard(fixture->meta, discarded.id, &fixture->err));
    assert_true(is_due(fixture, cancelled.locator));
    assert_true(is_due(fixture, discarded.locator));
    assert_int_equal(trash_count(fixture), 2);
}

/* G5, UPL-29 */
static void test_meta_only_idle_sessions_expire(void **state)
{
    struct fixture *fixture = *state;
    struct session idle = start(fixture), busy = start(fixture);
    char locator[LOCATOR_SIZE + 1];

    script(fixture, "UPDATE uploads SET expires_at = 7");
    OK(meta_upload_touch(fixture->meta, busy.id, &fixture->err));
    bool more = false;
    OK(meta_upload_expire(fixture->meta, clock_now_us(), locator, &more, &fixture->err));
    assert_string_equal(locator, idle.locator);
    assert_true(more);
    assert_true(is_due(fixture, idle.locator));
    OK(meta_upload_expire(fixture->meta, clock_now_us(), locator, &more, &fixture->err));
    assert_string_equal(locator, "");
    assert_false(more);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 1);
}

/* Or trash that comes faster would fill the disk. */
static void test_meta_sweep_does_not_rest_before_all_is_done(void **state)
{
    struct fixture *fixture = *state;

    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4200)"
                    "INSERT INTO trash(locator, not_before) SELECT printf('%032x', i), 1 FROM n");
    fixture->store->sweep = sweep_open(fixture->store); /* its interval is an hour */
    for (int i = 0; i < 1000 && number(fixture, "SELECT count(*) FROM trash") > 0; i++)
        usleep(20000);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 0);
}

static void test_meta_sessions_are_walked_once_each(void **state)
{
    struct fixture *fixture = *state;
    struct meta_upload row = {.id = ""};
    bool found = true;
    int walked = 0;

    for (int i = 0; i < 5; i++)
        start(fixture);
    while (true) {
        OK(meta_upload_next(fixture->meta, row.id, &found, &row, &fixture->err));
        if (!found)
            break;
        walked++;
    }
    assert_int_equal(walked, 5);
}

/* --- blobs --- */

/* P4: at most one write a link and half grace, and none for those who only pull */
static void test_meta_lease_is_renewed_for_pushers_once(void **state)
{
    struct fixture *fixture = *state;
    struct meta_blob blob;

    blob_row(fixture, REPOSITORY, "one");
    script(fixture, "UPDATE repository_blobs SET touched_at = 5");
    OK(find(fixture, "one", false, &blob));
    assert_int_equal(number(fixture, "SELECT touched_at FROM repository_blobs"), 5);
    assert_true(blob.lease_until < clock_now_us());
    OK(find(fixture, "one", true, &blob));
    int64_t touched = number(fixture, "SELECT touched_at FROM repository_blobs");
    assert_true(touched > 5);
    assert_true(blob.lease_until == touched + fixture->meta->grace_us / 2);
    OK(find(fixture, "one", true, &blob));
    assert_int_equal(number(fixture, "SELECT touched_at FROM repository_blobs"), touched);
    /* what was confirmed has half the grace left at least */
    touched -= fixture->meta->grace_us * 3 / 4;
    script(fixture, "UPDATE repository_blobs"
                    "   SET touched_at = touched_at - (SELECT (due - touched_at) * 3 / 4"
                    "                                    FROM gc_queue WHERE kind = 2)");
    OK(find(fixture, "one", true, &blob));
    assert_true(number(fixture, "SELECT touched_at FROM repository_blobs") > touched);
    assert_true(blob.lease_until > clock_now_us());
}

/* DEL-03, DEL-04, DEL-07, DEL-09, UPL-36 */
static void test_meta_deleted_blob_is_gone_here_only(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = digest_text_of("one");
    struct meta_blob blob;

    blob_row(fixture, REPOSITORY, "one");
    blob_row(fixture, OTHER, "one");
    after_count = 0;
    OK(delete (fixture, "one"));
    assert_int_equal(after_count, 1);
    FAILS(find(fixture, "one", true, &blob), ERROR_BLOB_UNKNOWN);
    FAILS(delete (fixture, "one"), ERROR_BLOB_UNKNOWN);
    assert_int_equal(after_count, 1);
    OK(meta_blob_find(fixture->meta, OTHER, &digest, true, &blob, &fixture->err));
    assert_int_equal(number(fixture, "SELECT count(*) FROM repository_blobs"), 2);
    blob_row(fixture, REPOSITORY, "one");
    OK(find(fixture, "one", true, &blob));
}

static void test_meta_delete_without_undo_removes_the_link(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.gc_undo_ms = 0;
    fixture_reopen(fixture);
    blob_row(fixture, REPOSITORY, "one");
    OK(delete (fixture, "one"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM repository_blobs"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM gc_queue WHERE kind = 3"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 1);
}

/* DEL-06 */
static void test_meta_used_blob_can_be_protected(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link link = {.digest = blob_row(fixture, REPOSITORY, "one")};
    struct push push = push_of("manifest", "v1");
    struct meta_blob blob;

    push.put.blobs = &link;
    push.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    fixture->options.protect_referenced = true;
    fixture_reopen(fixture);
    FAILS(delete (fixture, "one"), ERROR_UNSUPPORTED);
    assert_int_equal(fixture->err.status, 405);
    fixture->options.protect_referenced = false;
    fixture->options.gc_undo_ms = 0;
    fixture_reopen(fixture);
    OK(delete (fixture, "one"));
    FAILS(find(fixture, "one", false, &blob), ERROR_BLOB_UNKNOWN);
    assert_int_equal(number(fixture, "SELECT count(*) FROM manifest_blobs"), 1);
}

static bool mount(struct fixture *fixture, struct slice from, const char *text)
{
    struct digest digest = digest_text_of(text);
    bool mounted = false;

    OK(meta_blob_mount(fixture->meta, REPOSITORY, from, &digest, NULL, &mounted, &noting,
                       &fixture->err));
    return mounted;
}

/* The names, with a blank after each and a '+' when there are more. */
static const char *sources(struct fixture *fixture, const char *text, size_t limit)
{
    static char names[200];
    OWNED(page_drop) struct page page = {0};
    OWNED(buffer_drop) struct buffer all = BUFFER_NONE;
    struct digest digest = digest_text_of(text);

    OK(meta_blob_sources(fixture->meta, &digest, limit, &page, &fixture->err));
    for (size_t i = 0; i < page.count; i++)
        buffer_print(&all, "%s ", page.names[i]);
    buffer_append_text(&all, page.more ? "+" : "");
    assert_true(slice_to_text(buffer_slice(&all), names, sizeof(names)));
    return names;
}

/* UPL-34: where a blob can be taken from; TOK-73 is its reader's to judge. */
static void test_meta_sources_are_those_that_have_the_blob(void **state)
{
    struct fixture *fixture = *state;

    assert_string_equal(sources(fixture, "one", 10), "");
    blob_row(fixture, SLICE("b"), "one");
    blob_row(fixture, SLICE("a"), "one");
    blob_row(fixture, SLICE("c"), "two");
    assert_string_equal(sources(fixture, "one", 10), "b a ");
    assert_string_equal(sources(fixture, "one", 1), "b +");
    script(fixture, "UPDATE repository_blobs SET deleted_at = 1 WHERE repo_id ="
                    " (SELECT id FROM repositories WHERE name = 'b')");
    assert_string_equal(sources(fixture, "one", 10), "a ");
    script(fixture, "UPDATE blobs SET damaged = 1");
    assert_string_equal(sources(fixture, "one", 10), "");
}

/* P5: UPL-31, UPL-32 */
static void test_meta_mount_needs_a_visible_source(void **state)
{
    struct fixture *fixture = *state;
    struct meta_blob blob;

    assert_false(mount(fixture, OTHER, "one"));
    assert_int_equal(number(fixture, "SELECT count(*) FROM repositories"), 0);
    blob_row(fixture, OTHER, "one");
    assert_false(mount(fixture, SLICE("third"), "one"));
    FAILS(find(fixture, "one", false, &blob), ERROR_BLOB_UNKNOWN);
    assert_true(mount(fixture, OTHER, "one"));
    OK(find(fixture, "one", false, &blob));
    blob_row(fixture, OTHER, "two");
    assert_true(mount(fixture, OTHER, "two"));
    OK(delete (fixture, "two"));
    assert_true(mount(fixture, OTHER, "two")); /* clears what was set aside */
    OK(find(fixture, "two", false, &blob));
    script(fixture, "UPDATE blobs SET damaged = 1");
    assert_false(mount(fixture, OTHER, "one"));
    script(fixture, "UPDATE blobs SET damaged = 0;"
                    "UPDATE repository_blobs SET deleted_at = 1");
    assert_false(mount(fixture, OTHER, "one"));
}

/* --- the database --- */

static void test_meta_remembers_small_things(void **state)
{
    struct fixture *fixture = *state;
    char value[16];
    bool found = true;

    OK(meta_state_get(fixture->meta, "test", value, sizeof(value), &found, &fixture->err));
    assert_false(found);
    OK(meta_state_put(fixture->meta, "test", "one", &fixture->err));
    OK(meta_state_put(fixture->meta, "test", "two", &fixture->err));
    fixture_reopen(fixture);
    OK(meta_state_get(fixture->meta, "test", value, sizeof(value), &found, &fixture->err));
    assert_true(found);
    assert_string_equal(value, "two");
    OK(meta_ready(fixture->meta, &fixture->err));
}

static void test_meta_refuses_a_newer_schema(void **state)
{
    struct fixture *fixture = *state;
    struct storage *store = NULL;

    script(fixture, "INSERT INTO schema_version SELECT max(version) + 1, 0 FROM schema_version");
    storage_close(fixture->store);
    fixture->store = NULL;
    FAILS(storage_open(&store, &fixture->options, &fixture->err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(fixture->err.message, "newer"));
}

/* Foreign keys are the second net: what the protocol must never do, the database refuses. */
static void test_meta_keys_refuse_what_must_not_happen(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link link = {.digest = blob_row(fixture, REPOSITORY, "one")};
    struct push push = push_of("manifest", "v1");
    const char *const forbidden[] = {
        "DELETE FROM blobs",
        "DELETE FROM repository_blobs",
        "DELETE FROM manifests",
        "DELETE FROM repositories",
        "INSERT INTO tags VALUES (1, 'v2', 99, 0)",
        "INSERT INTO manifest_blobs VALUES (1, 1, 99)",
    };

    push.put.blobs = &link;
    push.put.blob_count = 1;
    OK(push_run(fixture, REPOSITORY, &push));
    for (size_t i = 0; i < LENGTH(forbidden); i++) {
        const char *sql = forbidden[i];
        FAILS(meta_write(fixture->meta, fixture_script_run, &sql, &fixture->err), ERROR_INTERNAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_meta_session_belongs_to_its_repository),
        FIXTURE_TEST(test_meta_checkpoint_is_what_find_gives),
        FIXTURE_TEST(test_meta_finish_makes_a_blob_and_remembers),
        FIXTURE_TEST(test_meta_finish_of_a_known_blob_trashes_the_loser),
        FIXTURE_TEST(test_meta_damage_hides_until_a_push_heals),
        FIXTURE_TEST(test_meta_session_that_ends_goes_to_trash),
        FIXTURE_TEST(test_meta_only_idle_sessions_expire),
        FIXTURE_TEST(test_meta_sweep_does_not_rest_before_all_is_done),
        FIXTURE_TEST(test_meta_sessions_are_walked_once_each),
        FIXTURE_TEST(test_meta_lease_is_renewed_for_pushers_once),
        FIXTURE_TEST(test_meta_deleted_blob_is_gone_here_only),
        FIXTURE_TEST(test_meta_delete_without_undo_removes_the_link),
        FIXTURE_TEST(test_meta_used_blob_can_be_protected),
        FIXTURE_TEST(test_meta_mount_needs_a_visible_source),
        FIXTURE_TEST(test_meta_sources_are_those_that_have_the_blob),
        FIXTURE_TEST(test_meta_remembers_small_things),
        FIXTURE_TEST(test_meta_refuses_a_newer_schema),
        FIXTURE_TEST(test_meta_keys_refuse_what_must_not_happen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_collect_runs.c - runs of the collector: dry ones, repositories that were deleted, pauses,
 * holds, failures, what memory forgets, records of long ago, threads; and what the work costs. */
#include "tests/support/plans.h"

#include <errno.h>

#include "tests/support/collect.h"

/* --- dry runs --- */

static struct collect_report dry(struct fixture *fixture)
{
    struct collect_report report;

    OK(storage_collect(fixture->store, true, NULL, &report, &fixture->err));
    return report;
}

/* What it counted is what the run does. */
static void expect_as_dry(struct fixture *fixture)
{
    struct collect_report told = dry(fixture);
    int64_t tasks = ROWS("gc_queue"), manifests = ROWS("manifests");

    assert_int_equal(ROWS("gc_queue"), tasks); /* it changed nothing */
    assert_int_equal(ROWS("manifests"), manifests);
    struct collect_report done = collect(fixture);
    assert_int_equal(done.repositories, told.repositories);
    assert_int_equal(done.manifests, told.manifests);
    assert_int_equal(done.links, told.links);
    assert_int_equal(done.blobs, told.blobs);
    assert_int_equal(done.bytes, told.bytes);
    assert_int_equal(done.uploads, told.uploads);
    assert_int_equal(done.trash_removed, told.trash_removed);
    assert_int_equal(done.trash_bytes, told.trash_bytes);
}

/* Children, referrers, and a link of which only one of two manifests goes. */
static void test_run_dry_counts_what_is_set_free(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "shared");
    blob(fixture, REPOSITORY, "layer");
    blob(fixture, REPOSITORY, "signature");
    blob(fixture, REPOSITORY, "nobody's");
    PUSH("child", NULL, .blobs = {"layer", "shared"});
    PUSH("index", "v1", .children = {"child"});
    PUSH("referrer", NULL, .subject = "index", .blobs = {"signature"});
    PUSH("its referrer", NULL, .subject = "referrer");
    PUSH("other", "v2", .blobs = {"shared"});
    collect(fixture);
    delete_manifest(fixture, "index");
    hours_pass(fixture, 2);
    struct collect_report told = dry(fixture);
    assert_int_equal(told.manifests, 4);
    assert_int_equal(told.links, 3);
    assert_int_equal(told.blobs, 3);
    assert_int_equal(told.bytes, strlen("layer") + strlen("signature") + strlen("nobody's"));
    expect_as_dry(fixture);
    hours_pass(fixture, 2);
    assert_int_equal(dry(fixture).trash_removed, 3);
    expect_as_dry(fixture);
}

/* Many of everything: pages of tasks, of trash. */
static void test_run_dry_counts_in_pages(void **state)
{
    struct fixture *fixture = *state;

    PUSH("one", "v1");
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 700)"
                    "INSERT INTO blobs(id, digest, size, locator, created_at)"
                    " SELECT i, CAST(x'01' || printf('%032d', i) AS BLOB), 10,"
                    "        printf('%032x', i), 1 FROM n;"
                    "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                    " SELECT 1, id, 1 FROM blobs;"
                    "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                    " SELECT 2, 1, id, 5 FROM blobs;"
                    "INSERT INTO trash(locator, not_before)"
                    " SELECT printf('%032x', 1000 + id), 5 FROM blobs");
    assert_int_equal(dry(fixture).bytes, 7000);
    assert_int_equal(dry(fixture).trash_removed, 700);
    expect_as_dry(fixture);
    assert_int_equal(ROWS("blobs"), 0);
}

/* --- repositories --- */

/* As the management API does it: a name that nobody can ask for. */
static void delete_repository(struct fixture *fixture)
{
    script(fixture, "UPDATE repositories SET deleted_name = name, name = '~' || id,"
                    "       first_manifest_at = NULL,"
                    "       deleted_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
                    " WHERE name = 'team/app';"
                    "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                    " SELECT 4, id, id, deleted_at FROM repositories WHERE deleted_at IS NOT NULL");
}

static void fill_repository(struct fixture *fixture)
{
    struct digest digest = blob(fixture, REPOSITORY, "layer");
    struct upload *upload = NULL;
    char id[OCI_UPLOAD_ID_SIZE + 1];

    blob(fixture, REPOSITORY, "shared");
    blob(fixture, OTHER, "shared");
    PUSH("child", NULL, .blobs = {"layer", "shared"});
    PUSH("index", "v1", .children = {"child"});
    PUSH("referrer", NULL, .subject = "index");
    PUSH("deleted", "v2");
    delete_manifest(fixture, "deleted");
    PUSH("two", "v3");
    PUSH("three", "v3");
    OK(storage_blob_delete(fixture->store, REPOSITORY, &digest, &fixture->err));
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, REPOSITORY, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, SLICE("some"), &fixture->err));
    storage_upload_release(upload);
    script(fixture, "INSERT INTO pull_counts(repo_id, reference, day, kind, pulls)"
                    " SELECT id, 'v1', 1, 0, 1 FROM repositories;"
                    "INSERT INTO missing_refs(repo_id, digest, manifest_id)"
                    " SELECT repo_id, x'01', id FROM manifests;"
                    "INSERT INTO pins(repo_id, name, manifest_id, until, created_at, actor)"
                    " SELECT repo_id, 'p' || id, id, 9e18, 0, 'ana' FROM manifests");
}

struct column {
    char tables[32][64];
    size_t count;
};

static int repository_tables(struct db_tx *tx, void *arg, struct error *err)
{
    static const char SQL[] = "SELECT m.name FROM sqlite_schema m, pragma_table_info(m.name) c"
                              " WHERE m.type = 'table' AND c.name = 'repo_id'"
                              "   AND m.name <> 'gc_queue'";
    struct column *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL);

    for (out->count = 0; db_step(&query, err) == 1; out->count++)
        assert_true(slice_to_text(db_column_slice(&query, 0), out->tables[out->count], 64));
    return 0;
}

static char texts[64][128];
static size_t text_count;

/* Every table that has rows of a repository, those of later schemas too. */
static void expect_no_row_of(struct fixture *fixture, int64_t repository)
{
    struct column column;

    OK(db_read(fixture->meta->db, repository_tables, &column, &fixture->err));
    assert_true(column.count >= 10);
    for (size_t i = 0; i < column.count; i++) {
        char *sql = texts[text_count++]; /* statements are known by their address */
        assert_true(text_count < LENGTH(texts));
        snprintf(sql, sizeof(texts[0]), "SELECT count(*) FROM %s WHERE repo_id = %lld",
                 column.tables[i], (long long)repository);
        int64_t left = number(fixture, sql);
        if (left != 0)
            fail_msg("%lld rows left in %s", (long long)left, column.tables[i]);
    }
}

static void test_run_deleted_repository_goes_whole(void **state)
{
    struct fixture *fixture = *state;

    fill_repository(fixture);
    int64_t id = number(fixture, "SELECT id FROM repositories WHERE name = 'team/app'");
    delete_repository(fixture);
    assert_int_equal(collect(fixture).repositories, 0); /* it can be taken back */
    assert_int_equal(ROWS("tags WHERE repo_id = 1"), 2);
    hours_pass(fixture, 2);
    assert_int_equal(dry(fixture).repositories, 1);
    assert_int_equal(dry(fixture).manifests, 6);
    struct collect_report report = collect(fixture);
    assert_int_equal(report.repositories, 1);
    assert_int_equal(report.manifests, 6);
    assert_int_equal(ROWS("repositories"), 1);
    expect_no_row_of(fixture, id);
    assert_int_equal(ROWS("gc_queue"), 0);
    collect_later(fixture);
    assert_int_equal(files(fixture), 0); /* the other one's blob had no manifest */
}

static void test_run_repository_brought_back_is_left_alone(void **state)
{
    struct fixture *fixture = *state;

    PUSH("one", "v1");
    delete_repository(fixture);
    script(fixture, "UPDATE repositories SET name = deleted_name, deleted_name = NULL,"
                    "       deleted_at = NULL");
    collect_later(fixture);
    assert_true(has_manifest(fixture, "one"));
    assert_int_equal(ROWS("gc_queue"), 0);
}

/* Each transaction takes a bounded piece, and what a push that slipped in left goes as well. */
static void test_run_deleted_repository_goes_in_steps(void **state)
{
    struct fixture *fixture = *state;
    struct meta_batch batch = {.meta = fixture->meta, .limit = 1};
    int steps = 0;

    PUSH("one", "v1");
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
                    "INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
                    " SELECT repo_id, printf('t%d', i), id, 0 FROM manifests, n;"
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 450)"
                    "INSERT INTO blobs(id, digest, size, locator, created_at)"
                    " SELECT i, CAST(x'01' || printf('%032d', i) AS BLOB), 10,"
                    "        printf('%032x', i), 1 FROM n;"
                    "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                    " SELECT 1, id, 1 FROM blobs");
    delete_repository(fixture);
    hours_pass(fixture, 2);
    for (bool done = false; !done; steps++) {
        OK(meta_collect(&batch, &fixture->err));
        done = batch.report.repositories == 1;
        assert_true(done || number(fixture, "SELECT deleted_at FROM repositories") == 1);
        if (steps == 3)
            script(fixture, "INSERT INTO manifests(repo_id, digest, media_type, size, total_size,"
                            "                      created_at, touched_at, payload)"
                            " VALUES (1, x'01ff', 'a/b', 1, 1, 1, 1, x'00')");
    }
    assert_true(steps > 6);
    assert_int_equal(ROWS("repositories"), 0);
    expect_no_row_of(fixture, 1);
}

/* --- pause, holds, state --- */

static struct collect_state state_of(struct fixture *fixture)
{
    struct collect_state now;

    OK(storage_collect_state(fixture->store, &now, &fixture->err));
    return now;
}

static void test_run_state_tells_what_waits(void **state)
{
    struct fixture *fixture = *state;

    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1");
    struct collect_state now = state_of(fixture);
    assert_int_equal(now.candidates, 2);
    assert_int_equal(now.due, 0);
    assert_int_equal(now.leases, 2);
    assert_int_equal(now.oldest_due_at, 0);
    hours_pass(fixture, 2);
    now = state_of(fixture);
    assert_int_equal(now.due, 2);
    assert_true(now.oldest_due_at > 0 && now.oldest_due_at < clock_now_us());
    collect(fixture);
    hours_pass(fixture, 1);
    now = state_of(fixture);
    assert_int_equal(now.candidates, 0);
    assert_int_equal(now.trash_due, 1);
    assert_true(now.oldest_trash_at > 0);
    assert_int_equal(now.totals.links, 1);
    assert_int_equal(now.totals.bytes, 5);
    assert_int_equal(now.totals.reviewed, 3);
}

static bool collected_by_threads(struct fixture *fixture, int rounds)
{
    for (int i = 0; i < rounds && ROWS("gc_queue") > 0; i++)
        usleep(5000);
    return ROWS("gc_queue") == 0;
}

static void open_awake(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture->options.resting = false;
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
}

/* CONC-07: without a run, beside whoever pushes and pulls */
static void test_run_threads_collect_by_themselves(void **state)
{
    struct fixture *fixture = *state;

    fixture->options.sweep_interval_ms = 20;
    blob(fixture, REPOSITORY, "layer");
    PUSH("one", "v1");
    hours_pass(fixture, 2);
    open_awake(fixture);
    assert_true(collected_by_threads(fixture, 12000));
    assert_false(has_blob(fixture, REPOSITORY, "layer"));
    assert_true(has_manifest(fixture, "one"));
    script(fixture, "UPDATE trash SET not_before = 1");
    for (int i = 0; i < 12000 && state_of(fixture).totals.trash_bytes == 0; i++)
        usleep(5000);
    assert_int_equal(files(fixture), 0);
    assert_int_equal(state_of(fixture).totals.trash_bytes, 5);
}

/* Remembered by the root, not by the process. */
static void test_run_pause_outlives_a_restart_and_runs_still_run(void **state)
{
    struct fixture *fixture = *state;

    OK(storage_collect_pause(fixture->store, true, &fixture->err));
    assert_true(state_of(fixture).paused);
    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    open_awake(fixture);
    assert_true(state_of(fixture).paused);
    assert_false(collected_by_threads(fixture, 20));
    assert_int_equal(collect(fixture).blobs, 1);
    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    OK(storage_collect_pause(fixture->store, false, &fixture->err));
    assert_true(collected_by_threads(fixture, 12000));
}

/* Backups: rows go, bytes stay. */
static void test_run_hold_keeps_bytes_until_it_ends(void **state)
{
    struct fixture *fixture = *state;
    uint64_t hold = storage_bytes_hold(fixture->store, 3600000);
    uint64_t second = storage_bytes_hold(fixture->store, 3600000);

    assert_true(hold != 0 && second != 0 && second != hold);
    assert_true(state_of(fixture).held);
    blob(fixture, REPOSITORY, "layer");
    assert_int_equal(collect_later(fixture).blobs, 1);
    assert_int_equal(dry(fixture).trash_removed, 0);
    assert_int_equal(collect_later(fixture).trash_removed, 0);
    storage_bytes_release(fixture->store, hold);
    storage_bytes_release(fixture->store, hold);
    assert_false(storage_bytes_renew(fixture->store, hold, 1));
    assert_int_equal(collect_later(fixture).trash_removed, 0);
    assert_int_equal(files(fixture), 1);
    assert_true(storage_bytes_renew(fixture->store, second, 1));
    usleep(3000); /* it ends by itself */
    assert_false(state_of(fixture).held);
    assert_false(storage_bytes_renew(fixture->store, second, 3600000));
    assert_int_equal(collect(fixture).trash_removed, 1);
    assert_int_equal(files(fixture), 0);
}

static void test_run_holds_are_counted(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 64; i++)
        assert_true(storage_bytes_hold(fixture->store, UINT64_MAX) != 0);
    assert_int_equal(storage_bytes_hold(fixture->store, 1), 0);
    storage_bytes_release(fixture->store, 7);
    assert_true(storage_bytes_hold(fixture->store, 1) != 0);
}

/* --- failures --- */

/* One file that cannot be removed waits, longer each time; the others go. */
static void test_run_trash_that_stays_is_postponed(void **state)
{
    struct fixture *fixture = *state;
    char path[FOLDER_MAX + 64];

    script(fixture, "INSERT INTO trash(locator, not_before)"
                    " VALUES ('00000000000000000000000000000001', 1),"
                    "        ('00000000000000000000000000000002', 1)");
    snprintf(path, sizeof(path), "%s/blobs/00", fixture->root);
    assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    snprintf(path, sizeof(path), "%s/blobs/00/%032d", fixture->root, 1);
    assert_int_equal(mkdir(path, 0700), 0); /* nothing can unlink a folder */
    int64_t before = clock_now_us();
    assert_int_equal(collect(fixture).trash_removed, 1);
    assert_int_equal(number(fixture, "SELECT attempts FROM trash"), 1);
    assert_true(number(fixture, "SELECT not_before FROM trash") >= before + 60000000);
    script(fixture, "UPDATE trash SET not_before = 1");
    before = clock_now_us();
    assert_int_equal(collect(fixture).trash_removed, 0);
    assert_true(number(fixture, "SELECT not_before FROM trash") >= before + 120000000);
    assert_int_equal(rmdir(path), 0);
    hours_pass(fixture, 1);
    assert_int_equal(collect(fixture).trash_removed, 1);
}

/* A task whose review fails is put off alone; a key it would break undoes all of its batch. */
static void test_run_review_that_fails_does_not_stop_the_others(void **state)
{
    struct fixture *fixture = *state;

    PUSH("one", "v1");
    blob(fixture, REPOSITORY, "layer");
    script(fixture, "CREATE TABLE holder(manifest BIGINT REFERENCES manifests(id));"
                    "INSERT INTO holder SELECT id FROM manifests");
    delete_manifest(fixture, "one");
    int64_t before = clock_now_us();
    struct collect_report report = collect_later(fixture);
    assert_int_equal(report.blobs, 1);
    assert_int_equal(report.manifests, 0);
    assert_int_equal(ROWS("manifests"), 1);
    assert_true(number(fixture, "SELECT attempts FROM gc_queue") >= 1); /* again, after a second */
    assert_true(number(fixture, "SELECT due FROM gc_queue") >= before + US_PER_S);
    script(fixture, "DROP TABLE holder");
    assert_int_equal(collect_later(fixture).manifests, 1);
}

static bool cancel_at_once(void *arg)
{
    (void)arg;
    return true;
}

static void count_phase(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
}

static void test_run_that_is_cancelled_ends_early(void **state)
{
    struct fixture *fixture = *state;
    int phases = 0;
    const struct progress progress = {
        .phase = count_phase, .cancelled = cancel_at_once, .arg = &phases};
    struct collect_report report;

    blob(fixture, REPOSITORY, "layer");
    hours_pass(fixture, 2);
    OK(storage_collect(fixture->store, false, &progress, &report, &fixture->err));
    assert_int_equal(report.reviewed, 0);
    assert_int_equal(phases, 3);
    assert_int_equal(ROWS("gc_queue"), 1);
    OK(storage_collect(fixture->store, true, &progress, &report, &fixture->err));
    assert_int_equal(report.reviewed, 0);
}

/* --- memory --- */

/* collect (4): for who may push and who may not */
static void test_run_memory_forgets_what_went(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");
    const struct manifest_reference reference = {.digest = digest_text_of("one")};
    const struct manifest *manifest = NULL;
    uint64_t size = 0;

    fixture->options.untagged_ms = 1;
    fixture_reopen(fixture);
    PUSH("one", NULL);
    hours_pass(fixture, 2);
    assert_true(has_blob(fixture, REPOSITORY, "layer"));
    assert_true(has_manifest(fixture, "one"));
    assert_true(storage_peek_blob(fixture->store, REPOSITORY, &digest, false, &size));
    assert_true(storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &manifest));
    storage_manifest_release(manifest);
    collect(fixture);
    assert_false(storage_peek_blob(fixture->store, REPOSITORY, &digest, false, &size));
    assert_false(storage_peek_manifest(fixture->store, REPOSITORY, &reference, false, &manifest));
}

/* Whatever memory tells a pusher holds for half the grace: a review in between finds the lease. */
static void test_run_memory_never_outlives_a_lease(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob(fixture, REPOSITORY, "layer");
    uint64_t size = 0;

    OK(head(fixture, REPOSITORY, "layer"));
    assert_true(storage_peek_blob(fixture->store, REPOSITORY, &digest, true, &size));
    script(fixture, "UPDATE repository_blobs SET touched_at = touched_at - 2000000000;"
                    "UPDATE gc_queue SET due = 1");
    cache_invalidate_all(fixture->store->cache);
    assert_true(has_blob(fixture, REPOSITORY, "layer")); /* a reader fills memory */
    assert_true(storage_peek_blob(fixture->store, REPOSITORY, &digest, false, &size));
    assert_false(storage_peek_blob(fixture->store, REPOSITORY, &digest, true, &size));
    assert_int_equal(collect(fixture).postponed, 1);
}

/* --- records --- */

static void records_expire(struct fixture *fixture)
{
    int64_t cursor = 0;
    bool more = true;

    while (more)
        OK(meta_records_expire(fixture->meta, &cursor, &more, &fixture->err));
    assert_int_equal(cursor, 0);
}

/* Old moves of a tag beyond its newest hundred, and pulls of more than 400 days ago. */
static void test_run_old_records_are_forgotten(void **state)
{
    struct fixture *fixture = *state;

    script(fixture, "INSERT INTO repositories(id, name, created_at) VALUES (1, 'a', 1);"
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 350)"
                    "INSERT INTO tag_history(repo_id, name, at)"
                    " SELECT 1, CASE i % 2 WHEN 0 THEN 'busy' ELSE 'x' || (i % 7) END, i FROM n;"
                    "INSERT INTO tag_history(repo_id, name, at) VALUES (1, 'busy', 9e15);"
                    "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                    "INSERT INTO pull_counts(repo_id, reference, day, kind, pulls)"
                    " SELECT 1, 'v1', strftime('%s', 'now') / 86400 - i, 0, 1 FROM n");
    records_expire(fixture);
    int64_t past = number(fixture, "SELECT strftime('%s', 'now') / 86400 - max(day)"
                                   "  FROM pull_counts"); /* midnights since */
    assert_int_equal(ROWS("tag_history WHERE name = 'busy'"), 100);
    assert_int_equal(number(fixture, "SELECT min(at) FROM tag_history WHERE name = 'busy'"), 154);
    assert_int_equal(ROWS("tag_history WHERE name <> 'busy'"), 175);
    assert_in_range(ROWS("pull_counts"), 401 - past, 401);
    records_expire(fixture);
    assert_int_equal(ROWS("tag_history"), 275);
}

/* --- cost --- */

static void fill_blobs(struct fixture *fixture, const char *many)
{
    script(fixture, many);
    script(fixture, "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                    " SELECT m.repo_id, b.id, 1 FROM manifests m, blobs b"
                    " WHERE b.id NOT IN (SELECT blob_id FROM repository_blobs)");
}

/* 500 dead links among those that a manifest uses. */
static uint64_t cost_of_the_dead(struct fixture *fixture)
{
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
                    "INSERT INTO blobs(digest, size, locator, created_at)"
                    " SELECT CAST(x'01' || printf('%032d', 2000000 + seq + i) AS BLOB), 1,"
                    "        lower(hex(randomblob(16))), 1 FROM n, sqlite_sequence"
                    "  WHERE name = 'blobs';"
                    "INSERT INTO repository_blobs(repo_id, blob_id, touched_at)"
                    " SELECT 1, id, 1 FROM blobs"
                    "  WHERE id NOT IN (SELECT blob_id FROM repository_blobs);"
                    "INSERT INTO gc_queue(kind, repo_id, ref_id, due)"
                    " SELECT 2, 1, id, 1 FROM blobs"
                    "  WHERE id NOT IN (SELECT blob_id FROM manifest_blobs)");
    uint64_t before = atomic_load(&machine_steps);
    struct collect_report report = collect(fixture);
    assert_int_equal(report.blobs, 500);
    assert_int_equal(report.reviewed, 1000);
    return atomic_load(&machine_steps) - before;
}

/* It follows what died, not what lives. */
static void test_run_costs_the_same_among_20000_blobs(void **state)
{
    struct fixture *fixture = *state;

    PUSH("one", "v1");
    blob(fixture, REPOSITORY, "layer");
    collect_later(fixture);
    uint64_t alone = cost_of_the_dead(fixture);
    fill_blobs(fixture,
               "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
               "INSERT INTO blobs(digest, size, locator, created_at)"
               " SELECT CAST(x'01' || printf('%032d', i) AS BLOB), 1,"
               "        lower(hex(randomblob(16))), 1 FROM n");
    script(fixture, "INSERT INTO manifest_blobs(repo_id, manifest_id, blob_id)"
                    " SELECT m.repo_id, m.id, b.id FROM manifests m, blobs b");
    uint64_t among = cost_of_the_dead(fixture);
    assert_true(alone > 10000); /* it is counted */
    assert_true(among < alone + alone / 10);
    assert_int_equal(ROWS("blobs"), 20000);
}

/* Runs last: every statement that the tests above have run. */
static void test_run_no_statement_scans_or_sorts(void **state)
{
    struct fixture *fixture = *state;

    assert_true(plans_check(fixture, NULL) >= 80);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_run_dry_counts_what_is_set_free),
        FIXTURE_TEST(test_run_dry_counts_in_pages),
        FIXTURE_TEST(test_run_deleted_repository_goes_whole),
        FIXTURE_TEST(test_run_repository_brought_back_is_left_alone),
        FIXTURE_TEST(test_run_deleted_repository_goes_in_steps),
        FIXTURE_TEST(test_run_state_tells_what_waits),
        FIXTURE_TEST(test_run_threads_collect_by_themselves),
        FIXTURE_TEST(test_run_pause_outlives_a_restart_and_runs_still_run),
        FIXTURE_TEST(test_run_hold_keeps_bytes_until_it_ends),
        FIXTURE_TEST(test_run_holds_are_counted),
        FIXTURE_TEST(test_run_trash_that_stays_is_postponed),
        FIXTURE_TEST(test_run_review_that_fails_does_not_stop_the_others),
        FIXTURE_TEST(test_run_that_is_cancelled_ends_early),
        FIXTURE_TEST(test_run_memory_forgets_what_went),
        FIXTURE_TEST(test_run_memory_never_outlives_a_lease),
        FIXTURE_TEST(test_run_old_records_are_forgotten),
        FIXTURE_TEST(test_run_costs_the_same_among_20000_blobs),
        FIXTURE_TEST(test_run_no_statement_scans_or_sorts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

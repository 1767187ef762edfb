/* test_usage.c - quotas: what links count, what uploads reserve, and that no limit is passed. */
#include "storage/meta_quota.h"
#include "storage/session.h"
#include "tests/support/accounts.h"
#include "tests/support/still_clock.h"

#include <pthread.h>

#define FIRST SLICE("team/app")
#define SECOND SLICE("team/web")
#define OTHER SLICE("other/app")

static struct quota quota_new(struct fixture *fixture, enum quota_kind kind, const char *subject,
                              uint64_t bytes)
{
    struct quota quota;

    OK(quota_create(fixture->store, kind, slice_of(subject), bytes, NULL, &quota, &fixture->err));
    return quota;
}

static uint64_t used(struct fixture *fixture, const struct quota *quota)
{
    OWNED(quota_drop) struct quota now = {.id = 0};

    OK(quota_find(fixture->store, quota->id, &now, &fixture->err));
    return now.used;
}

static uint64_t reserved(struct fixture *fixture, const struct quota *quota)
{
    return quota_reserved(fixture->store->quotas, quota->id);
}

struct one {
    struct slice repository;
    struct digest digest;
};

static int unlink_run(struct db_tx *tx, void *arg, struct error *err)
{
    const struct one *one = arg;
    const struct meta_key key = meta_key(&one->digest);
    OWNED(db_query_end)
    struct db_query query = db_query(tx, "SELECT id FROM blobs WHERE digest = $1");
    int64_t repository = 0, blob = 0;

    db_bind_bytes(&query, meta_key_slice(&key));
    if (meta_repository_find(tx, one->repository, &repository, err) < 0)
        return -1;
    return meta_number(&query, &blob, err) < 0 ? 0 : meta_unlink(tx, repository, blob, err);
}

/* As the collector does. */
static void unlink_blob(struct fixture *fixture, struct slice repository, const char *text)
{
    struct one one = {repository, digest_text_of(text)};

    OK(meta_write(fixture->meta, unlink_run, &one, &fixture->err));
}

static void test_usage_of_a_pattern_counts_each_blob_once(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 1000);
    OWNED(quota_drop) struct quota all = quota_new(fixture, QUOTA_REPOSITORIES, "*", 1000);
    OWNED(quota_drop) struct quota app = quota_new(fixture, QUOTA_REPOSITORIES, "team/app", 1000);

    blob_row(fixture, FIRST, "0123456789");
    blob_row(fixture, FIRST, "0123456789");
    blob_row(fixture, SECOND, "0123456789");
    blob_row(fixture, OTHER, "abcde");
    assert_int_equal(used(fixture, &team), 10);
    assert_int_equal(used(fixture, &all), 15);
    assert_int_equal(used(fixture, &app), 10);
    unlink_blob(fixture, FIRST, "0123456789");
    assert_int_equal(used(fixture, &team), 10);
    assert_int_equal(used(fixture, &app), 0);
    unlink_blob(fixture, FIRST, "0123456789"); /* absent: nothing */
    unlink_blob(fixture, SECOND, "0123456789");
    assert_int_equal(used(fixture, &team), 0);
    assert_int_equal(used(fixture, &all), 5);
    assert_int_equal(number(fixture, "SELECT count(*) FROM quota_blobs"), 1);
}

static void test_usage_keeps_what_waits_for_undo(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = blob_row(fixture, FIRST, "0123456789");
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 1000);

    OK(storage_blob_delete(fixture->store, FIRST, &digest, &fixture->err));
    assert_int_equal(used(fixture, &team), 10);
    script(fixture, "UPDATE repositories SET deleted_name = name, name = '~' || id");
    OWNED(quota_drop) struct quota app = quota_new(fixture, QUOTA_REPOSITORIES, "team/app", 1000);
    assert_int_equal(used(fixture, &app), 10);
    script(fixture, "UPDATE repositories SET name = 'aside'"); /* for unlink_blob to find it */
    unlink_blob(fixture, SLICE("aside"), "0123456789");
    assert_int_equal(used(fixture, &team), 0);
    assert_int_equal(used(fixture, &app), 0);
}

static void push_as(struct fixture *fixture, struct slice repository, int64_t account,
                    const char *text, int expected)
{
    const struct actor actor = {.account = account};
    const struct digest digest = digest_text_of(text);
    struct descriptor stored;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload *upload;

    OK(storage_upload_start(fixture->store, repository, DIGEST_SHA256, &actor, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, repository, slice_of(id), &upload, &fixture->err));
    int result = storage_upload_append(upload, slice_of(text), &fixture->err);
    if (result == 0)
        result = storage_upload_finish(upload, &digest, &stored, &fixture->err);
    else
        storage_upload_release(upload);
    assert_int_equal(result, expected);
}

static void test_usage_of_an_account_is_what_it_linked_first(void **state)
{
    struct fixture *fixture = *state;
    bool mounted;
    struct digest digest = digest_text_of("0123456789");

    int64_t ana = user_new(fixture, "ana"), bob = user_new(fixture, "bob");
    const struct actor by_ana = {.account = ana};
    push_as(fixture, FIRST, ana, "0123456789", 0);
    OWNED(quota_drop) struct quota of_ana = quota_new(fixture, QUOTA_ACCOUNT, "ana", 30);
    OWNED(quota_drop) struct quota of_bob = quota_new(fixture, QUOTA_ACCOUNT, "bob", 30);
    assert_int_equal(used(fixture, &of_ana), 10);
    push_as(fixture, FIRST, bob, "0123456789", 0);
    assert_int_equal(used(fixture, &of_bob), 0);
    push_as(fixture, SECOND, bob, "0123456789", 0);
    assert_int_equal(used(fixture, &of_bob), 10);
    OK(storage_blob_mount(fixture->store, OTHER, FIRST, &digest, &by_ana, &mounted, &fixture->err));
    assert_true(mounted);
    assert_int_equal(used(fixture, &of_ana), 20);
    unlink_blob(fixture, FIRST, "0123456789");
    assert_int_equal(used(fixture, &of_ana), 10);
    script(fixture, "DELETE FROM accounts WHERE name = 'ana'");
    assert_int_equal(number(fixture, "SELECT count(*) FROM quotas"), 1);
}

/* Spec: LIM-04. */
static void test_usage_refuses_with_the_numbers(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 15);
    struct digest digest = digest_text_of("0123456789");
    bool mounted = true;

    push_as(fixture, FIRST, 0, "0123456789", 0);
    OK(storage_blob_mount(fixture->store, SECOND, FIRST, &digest, NULL, &mounted, &fixture->err));
    assert_true(mounted);                          /* the same blob: nothing more */
    push_as(fixture, SECOND, 0, "0123456789", -1); /* while it comes, nobody knows what it is */
    push_as(fixture, SECOND, 0, "abcdef", -1);
    assert_int_equal(fixture->err.code, ERROR_QUOTA);
    assert_string_equal(fixture->err.message,
                        "quota exceeded: limit 15 bytes, used 10 bytes, uploads under way 0 bytes, "
                        "asked 6 bytes; of team/*");
    push_as(fixture, SECOND, 0, "abcde", 0);
    assert_int_equal(used(fixture, &team), 15);
    push_as(fixture, OTHER, 0, "elsewhere, and long", 0);
    OWNED(quota_drop) struct quota web = quota_new(fixture, QUOTA_REPOSITORIES, "other/web", 5);
    OK(storage_blob_mount(fixture->store, SLICE("other/web"), FIRST, &digest, NULL, &mounted,
                          &fixture->err));
    assert_false(mounted);
    assert_int_equal(used(fixture, &web), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM repositories WHERE name = 'other/web'"),
                     0);
}

static void test_usage_lowered_limit_is_asked_at_the_end(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 15);
    OWNED(quota_drop) struct quota now = {.id = 0};
    const struct digest digest = digest_text_of("0123456789");
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct descriptor stored;
    struct upload *upload;

    OK(storage_upload_start(fixture->store, FIRST, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, FIRST, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, SLICE("0123456789"), &fixture->err));
    OK(quota_update(fixture->store, team.id, 9, team.version, NULL, &now, &fixture->err));
    assert_int_equal(now.reserved, 10);
    FAILS(storage_upload_finish(upload, &digest, &stored, &fixture->err), ERROR_QUOTA);
    assert_int_equal(used(fixture, &team), 0);
    assert_int_equal(reserved(fixture, &team), 0);
}

static void test_usage_uploads_reserve_what_they_receive(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 15);
    char ids[2][OCI_UPLOAD_ID_SIZE + 1];
    struct upload *uploads[2];

    for (int i = 0; i < 2; i++) {
        OK(storage_upload_start(fixture->store, FIRST, DIGEST_SHA256, NULL, ids[i], &fixture->err));
        OK(storage_upload_claim(fixture->store, FIRST, slice_of(ids[i]), &uploads[i],
                                &fixture->err));
    }
    OK(storage_upload_expect(uploads[0], 9, &fixture->err));
    OK(storage_upload_append(uploads[0], SLICE("12345"), &fixture->err));
    assert_int_equal(reserved(fixture, &team), 9);
    OK(storage_upload_append(uploads[1], SLICE("123456"), &fixture->err));
    FAILS(storage_upload_append(uploads[1], SLICE("7"), &fixture->err), ERROR_QUOTA);
    FAILS(storage_upload_expect(uploads[1], UINT64_MAX, &fixture->err), ERROR_QUOTA);
    assert_int_equal(storage_upload_offset(uploads[1]), 6);
    storage_upload_release(uploads[0]);
    OK(storage_upload_cancel(fixture->store, FIRST, slice_of(ids[0]), &fixture->err));
    assert_int_equal(reserved(fixture, &team), 6);
    OK(storage_upload_append(uploads[1], SLICE("789"), &fixture->err));
    storage_upload_release(uploads[1]);
    while (upload_table_checkpoint(fixture->store->uploads, 0))
        continue;
    assert_int_equal(reserved(fixture, &team), 0); /* it left memory */
    OK(storage_upload_claim(fixture->store, FIRST, slice_of(ids[1]), &uploads[1], &fixture->err));
    OK(storage_upload_append(uploads[1], SLICE("0"), &fixture->err));
    assert_int_equal(reserved(fixture, &team), 10);
    storage_upload_release(uploads[1]);
}

/* Whether anybody has to be asked is known from the start. */
static void test_usage_uploads_reserve_after_a_restart(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 15);
    OWNED(quota_hold_drop) struct quota_hold *hold = NULL;

    fixture_reopen(fixture);
    OK(quota_reserve(fixture->store->quotas, FIRST, 0, 10, &hold, &fixture->err));
    assert_int_equal(reserved(fixture, &team), 10);
    FAILS(quota_reserve(fixture->store->quotas, FIRST, 0, 16, &hold, &fixture->err), ERROR_QUOTA);
}

/* --- at the same time --- */

static void *settle_soon(void *hold)
{
    const struct timespec moment = {.tv_nsec = 50000000};

    nanosleep(&moment, NULL);
    quota_settle_end(hold);
    return NULL;
}

/* Between a commit and the end of its reservation both count: nobody is refused for that. */
static void test_usage_refuses_nobody_while_another_settles(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 15);
    OWNED(quota_hold_drop) struct quota_hold *first = NULL;
    OWNED(quota_hold_drop) struct quota_hold *second = NULL;
    struct quota_table *table = fixture->store->quotas;
    pthread_t thread;

    OK(quota_reserve(table, FIRST, 0, 10, &first, &fixture->err));
    quota_settle_begin(first);
    script(fixture, "UPDATE quota_usage SET bytes = 10");
    assert_int_equal(pthread_create(&thread, NULL, settle_soon, first), 0);
    clock_stop();
    clock_move(3600000); /* it waits for a time: for as long as the machine needs */
    OK(quota_reserve(table, SECOND, 0, 5, &second, &fixture->err));
    clock_go_on();
    pthread_join(thread, NULL);
    assert_int_equal(reserved(fixture, &team), 5);
    FAILS(quota_reserve(table, SECOND, 0, 6, &second, &fixture->err), ERROR_QUOTA);
}

enum { THREADS = 6, EACH = 12, SIZE = 7, ROOM = 30 };

struct pusher {
    struct fixture *fixture;
    int number;
    int done, refused;
};

static bool push_one(struct fixture *fixture, int pusher, int i)
{
    char text[SIZE + 1], id[OCI_UPLOAD_ID_SIZE + 1];
    struct error err = {0};
    struct upload *upload;
    struct descriptor stored;

    snprintf(text, sizeof(text), "%02d-%04d", pusher, i);
    const struct digest digest = digest_text_of(text);
    if (storage_upload_start(fixture->store, FIRST, DIGEST_SHA256, NULL, id, &err) < 0 ||
        storage_upload_claim(fixture->store, FIRST, slice_of(id), &upload, &err) < 0)
        abort();
    int result = storage_upload_append(upload, slice_of(text), &err);
    if (result == 0)
        result = storage_upload_finish(upload, &digest, &stored, &err);
    else
        storage_upload_release(upload);
    if (result < 0 && err.code != ERROR_QUOTA)
        abort();
    return result == 0;
}

static void *push_many(void *arg)
{
    struct pusher *pusher = arg;

    thread_role_current = ROLE_WORKER;
    for (int i = 0; i < EACH; i++)
        if (push_one(pusher->fixture, pusher->number, i))
            pusher->done++;
        else
            pusher->refused++;
    return NULL;
}

/* None too many; and none too few, once those that were refused beside others come again. */
static void test_usage_is_exact_among_threads(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop)
    struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", SIZE * ROOM);
    struct pusher pushers[THREADS];
    pthread_t threads[THREADS];
    int done = 0;

    for (int i = 0; i < THREADS; i++) {
        pushers[i] = (struct pusher){.fixture = fixture, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        done += pushers[i].done;
    }
    assert_int_equal(done, ROOM);
    assert_int_equal(used(fixture, &team), SIZE * ROOM);
    assert_int_equal(reserved(fixture, &team), 0);
}

/* --- what links count, against counting anew --- */

static const char SQL_PATTERN_TRUTH[] =
    "SELECT coalesce(sum(size), 0) FROM blobs WHERE id IN (SELECT blob_id FROM repository_blobs l"
    "  JOIN repositories r ON r.id = l.repo_id WHERE r.name LIKE 'team/%')";
static const char SQL_ACCOUNT_TRUTH[] =
    "SELECT coalesce(sum(size), 0) FROM repository_blobs l JOIN blobs b ON b.id = l.blob_id"
    " WHERE l.account_id = (SELECT id FROM accounts WHERE name = 'ana')";

static void test_usage_follows_random_changes(void **state)
{
    static const char *const texts[] = {"a", "bb", "ccc", "dddd", "eeeee"};
    const struct slice repositories[] = {FIRST, SECOND, OTHER};
    struct fixture *fixture = *state;
    uint32_t seed = 7;
    bool mounted;

    int64_t ana = user_new(fixture, "ana");
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 1000);
    OWNED(quota_drop) struct quota of_ana = quota_new(fixture, QUOTA_ACCOUNT, "ana", 1000);
    const struct actor by_ana = {.account = ana};
    for (int i = 0; i < 300; i++) {
        seed = seed * 1103515245 + 12345;
        const char *text = texts[(seed >> 8) % 5];
        struct slice repository = repositories[(seed >> 12) % 3];
        struct digest digest = digest_text_of(text);
        if ((seed >> 16) % 3 == 0)
            push_as(fixture, repository, (seed >> 20) % 2 ? ana : 0, text, 0);
        else if ((seed >> 16) % 3 == 1)
            OK(storage_blob_mount(fixture->store, repository, repositories[(seed >> 20) % 3],
                                  &digest, &by_ana, &mounted, &fixture->err));
        else
            unlink_blob(fixture, repository, text);
        assert_int_equal(used(fixture, &team), number(fixture, SQL_PATTERN_TRUTH));
        assert_int_equal(used(fixture, &of_ana), number(fixture, SQL_ACCOUNT_TRUTH));
    }
}

static void test_usage_of_a_repository_and_of_all(void **state)
{
    struct fixture *fixture = *state;
    struct repository_usage usage;
    struct usage total;
    struct digest digest;

    blob_row(fixture, FIRST, "0123456789");
    blob_row(fixture, SECOND, "0123456789");
    digest = blob_row(fixture, FIRST, "abc");
    OK(storage_blob_delete(fixture->store, FIRST, &digest, &fixture->err));
    OK(usage_of_repository(fixture->store, FIRST, &usage, &fixture->err));
    assert_int_equal(usage.blobs, 2);
    assert_int_equal(usage.bytes, 13);
    assert_int_equal(usage.own_bytes, 3);
    assert_int_equal(usage.set_aside_bytes, 3);
    OK(usage_total(fixture->store, &total, &fixture->err));
    assert_int_equal(total.bytes, 13);
    assert_int_equal(total.linked_bytes, 23);
    assert_true(total.disk_size > total.disk_free);
    FAILS(usage_of_repository(fixture->store, SLICE("none"), &usage, &fixture->err),
          ERROR_NOT_FOUND);
}

static void test_usage_quotas_have_one_row_a_subject(void **state)
{
    struct fixture *fixture = *state;
    OWNED(quota_drop) struct quota team = quota_new(fixture, QUOTA_REPOSITORIES, "team/*", 1);
    OWNED(quota_page_drop) struct quota_page page = {.items = NULL};
    struct quota out;

    FAILS(quota_create(fixture->store, QUOTA_REPOSITORIES, SLICE("team/*"), 2, NULL, &out,
                       &fixture->err),
          ERROR_CONFLICT);
    FAILS(
        quota_create(fixture->store, QUOTA_ACCOUNT, SLICE("nobody"), 2, NULL, &out, &fixture->err),
        ERROR_NOT_FOUND);
    FAILS(quota_update(fixture->store, team.id, 2, team.version + 1, NULL, &out, &fixture->err),
          ERROR_PRECONDITION);
    OK(quota_covering(fixture->store, FIRST, 0, &page, &fixture->err));
    assert_int_equal(page.count, 1);
    OK(quota_delete(fixture->store, team.id, 0, NULL, &fixture->err));
    FAILS(quota_delete(fixture->store, team.id, 0, NULL, &fixture->err), ERROR_NOT_FOUND);
    push_as(fixture, FIRST, 0, "0123456789", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_usage_of_a_pattern_counts_each_blob_once),
        FIXTURE_TEST(test_usage_keeps_what_waits_for_undo),
        FIXTURE_TEST(test_usage_of_an_account_is_what_it_linked_first),
        FIXTURE_TEST(test_usage_refuses_with_the_numbers),
        FIXTURE_TEST(test_usage_lowered_limit_is_asked_at_the_end),
        FIXTURE_TEST(test_usage_uploads_reserve_what_they_receive),
        FIXTURE_TEST(test_usage_uploads_reserve_after_a_restart),
        FIXTURE_TEST(test_usage_refuses_nobody_while_another_settles),
        FIXTURE_TEST(test_usage_is_exact_among_threads),
        FIXTURE_TEST(test_usage_follows_random_changes),
        FIXTURE_TEST(test_usage_of_a_repository_and_of_all),
        FIXTURE_TEST(test_usage_quotas_have_one_row_a_subject),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_audit.c - the audit through accounts.h: lists, expiry, and events that are gathered in
 * memory first. */
#include <pthread.h>

#include "storage/notes.h"
#include "tests/support/accounts.h"
#include "tests/support/plans.h"

static struct audit_event refusal(const char *actor, const char *remote)
{
    return (struct audit_event){.actor = slice_of(actor),
                                .action = SLICE("login.refused"),
                                .target = SLICE("user/ana"),
                                .outcome = SLICE("refused"),
                                .remote = slice_of(remote),
                                .request_id = SLICE("r-1")};
}

static void note(struct fixture *fixture, const char *actor)
{
    const struct audit_event event = refusal(actor, "192.0.2.1");

    audit_note(fixture->store, &event);
}

static void flush(struct fixture *fixture)
{
    OK(notes_flush(fixture->store->notes, &fixture->err));
}

/* --- notes --- */

/* notes (1) */
static void test_audit_equal_notes_become_one_row(void **state)
{
    struct fixture *fixture = *state;
    struct audit_event other = refusal("ana", "192.0.2.2");
    struct audit_event again = refusal("ana", "192.0.2.1");

    for (int i = 0; i < 5; i++)
        note(fixture, "ana");
    again.request_id = SLICE("r-2");
    audit_note(fixture->store, &again);
    audit_note(fixture->store, &other);
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 2);
    assert_int_equal(number(fixture, "SELECT repeats FROM audit WHERE remote = '192.0.2.1'"), 6);
    assert_int_equal(number(fixture, "SELECT repeats FROM audit WHERE remote = '192.0.2.2'"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE request_id = 'r-1'"), 2);
    note(fixture, "ana"); /* after it was written: the same row */
    note(fixture, "ana");
    flush(fixture);
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 2);
    assert_int_equal(number(fixture, "SELECT repeats FROM audit WHERE remote = '192.0.2.1'"), 8);
    script(fixture, "DELETE FROM audit"); /* expired meanwhile */
    note(fixture, "ana");
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT sum(repeats) FROM audit"), 1);
}

static void test_audit_notes_differ_in_every_text(void **state)
{
    struct fixture *fixture = *state;
    struct audit_event events[8];

    for (size_t i = 0; i < LENGTH(events); i++)
        events[i] = refusal("ana", "192.0.2.1");
    events[1].actor = SLICE("anal");
    events[1].action = SLICE("ogin.refused"); /* the same bytes, split elsewhere */
    events[2].actor_id = 3;
    events[3].action = SLICE("token.refused");
    events[4].target = SLICE("user/bob");
    events[5].outcome = SLICE("done");
    events[6].remote = SLICE("");
    events[7].detail = SLICE("{}");
    for (size_t i = 0; i < LENGTH(events); i++)
        audit_note(fixture->store, &events[i]);
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), LENGTH(events));
    assert_int_equal(number(fixture, "SELECT max(repeats) FROM audit"), 1);
}

/* notes (3) */
static void test_audit_notes_are_written_at_a_clean_end(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 100; i++) {
        char actor[16];
        snprintf(actor, sizeof(actor), "user%d", i);
        note(fixture, actor);
    }
    fixture_reopen(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 100);
}

static void test_audit_notes_are_written_within_seconds(void **state)
{
    struct fixture *fixture = *state;
    const struct timespec pause = {0, 100000000};
    uint64_t begun = clock_monotonic_ms();

    note(fixture, "ana");
    int64_t written = number(fixture, "SELECT count(*) FROM audit");
    if (clock_monotonic_ms() - begun < 1000)
        assert_int_equal(written, 0); /* not by the caller */
    for (int i = 0; i < 600 && written == 0; i++) {
        nanosleep(&pause, NULL);
        written = number(fixture, "SELECT count(*) FROM audit");
    }
    assert_int_equal(written, 1);
}

/* notes (2) */
static void test_audit_notes_are_bounded_and_say_what_they_dropped(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < NOTES_MAX + 10; i++) {
        char actor[16];
        snprintf(actor, sizeof(actor), "user%d", i);
        note(fixture, actor);
    }
    note(fixture, "user3"); /* known ones still count */
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit WHERE action = 'login.refused'"),
                     NOTES_MAX);
    assert_int_equal(number(fixture, "SELECT repeats FROM audit WHERE actor = 'user3'"), 2);
    assert_int_equal(
        number(fixture, "SELECT sum(repeats) FROM audit WHERE action = 'audit.dropped'"), 10);
}

static void test_audit_notes_are_cleaned_and_cut(void **state)
{
    struct fixture *fixture = *state;
    char longer[2000];
    struct audit_event event = refusal("a\001\xff\xc3\xa9", "192.0.2.1");
    OWNED(audit_page_drop) struct audit_page page = {.items = NULL};

    memset(longer, 'x', sizeof(longer));
    memcpy(longer + 255, "\xc3\xa9", 2); /* would be cut in its middle */
    event.target = (struct slice){longer, sizeof(longer)};
    event.detail = (struct slice){longer, sizeof(longer)};
    audit_note(fixture->store, &event);
    flush(fixture);
    OK(audit_list(fixture->store, &(struct audit_query){.limit = 1}, &page, &fixture->err));
    assert_string_equal(page.items[0].actor, "a??\xc3\xa9");
    assert_int_equal(strlen(page.items[0].target), 255);
    assert_string_equal(page.items[0].detail, "");
    assert_string_equal(page.items[0].request_id, "r-1");
}

/* What cannot be written now is written later. */
static void test_audit_notes_survive_a_failed_flush(void **state)
{
    struct fixture *fixture = *state;

    note(fixture, "ana");
    script(fixture, "ALTER TABLE audit RENAME TO elsewhere");
    FAILS(notes_flush(fixture->store->notes, &fixture->err), ERROR_INTERNAL);
    note(fixture, "ana");
    script(fixture, "ALTER TABLE elsewhere RENAME TO audit");
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT repeats FROM audit"), 2);
}

enum { THREADS = 4, NOTES = 500 };

static void *note_many(void *arg)
{
    thread_role_current = ROLE_WORKER;
    for (int i = 0; i < NOTES; i++)
        note(arg, i % 2 == 0 ? "ana" : "bob");
    return NULL;
}

static void test_audit_notes_of_many_threads_are_all_counted(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, note_many, fixture), 0);
    for (int i = 0; i < 10; i++)
        flush(fixture);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    flush(fixture);
    assert_int_equal(number(fixture, "SELECT sum(repeats) FROM audit"), THREADS * NOTES);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 2);
}

/* --- lists --- */

static void rows_fill(struct fixture *fixture)
{
    script(fixture, "INSERT INTO audit(at, actor, action, target, outcome, remote, request_id,"
                    "                  detail)"
                    " VALUES (10, 'root', 'user.create', 'user/ana', 'done', '', '', ''),"
                    "        (20, 'ana', 'token.create', 'token/1', 'done', '', '', ''),"
                    "        (30, 'root', 'user.delete', 'user/ana2', 'done', '', '', ''),"
                    "        (15, 'root', 'users', 'user/ana', 'done', '', '', ''),"
                    "        (50, '', 'login.refused', 'user/ana', 'refused', '', '', '')");
}

static void test_audit_list_keeps_to_the_query(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        struct audit_query query;
        const char *ids;
        bool more;
    } cases[] = {
        {{.limit = 9}, "5 4 3 2 1 ", false},
        {{.limit = 5}, "5 4 3 2 1 ", false},
        {{.limit = 2}, "5 4 ", true},
        {{.limit = 2, .before_id = 4}, "3 2 ", true},
        {{.limit = 2, .before_id = 3}, "2 1 ", false},
        {{.limit = 9, .after_id = 3}, "5 4 ", false},
        {{.limit = 9, .since = 20}, "5 3 2 ", false},
        {{.limit = 9, .until = 20}, "4 1 ", false},
        {{.limit = 9, .since = 15, .until = 30}, "4 2 ", false},
        {{.limit = 9, .actor = {"root", 4}}, "4 3 1 ", false},
        {{.limit = 1, .actor = {"root", 4}, .before_id = 4}, "3 ", true},
        {{.limit = 9, .actor = {"", 0}}, "5 ", false},
        {{.limit = 9, .action = {"user.create", 11}}, "1 ", false},
        {{.limit = 9, .action = {"user.*", 6}}, "3 1 ", false},
        {{.limit = 9, .action = {"user*", 5}}, "4 3 1 ", false},
        {{.limit = 9, .action = {"user", 4}}, "", false},
        {{.limit = 9, .action = {"%", 1}}, "", false},
        {{.limit = 9, .action = {"*", 1}}, "5 4 3 2 1 ", false},
        {{.limit = 9, .target = {"user/ana", 8}}, "5 4 1 ", false},
        {{.limit = 9, .target = {"user/ana*", 9}}, "5 4 3 1 ", false},
        {{.limit = 9, .target = {"user/*", 6}, .actor = {"root", 4}, .action = {"user.*", 6}},
         "3 1 ",
         false},
    };

    rows_fill(fixture);
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(audit_page_drop) struct audit_page page = {.items = NULL};
        OWNED(buffer_drop) struct buffer ids = BUFFER_NONE;
        OK(audit_list(fixture->store, &cases[i].query, &page, &fixture->err));
        for (size_t j = 0; j < page.count; j++)
            buffer_print(&ids, "%d ", (int)page.items[j].id);
        buffer_append(&ids, "", 1);
        if (strcmp(ids.at, cases[i].ids) != 0 || page.more != cases[i].more)
            fail_msg("case %zu: %s", i, ids.at);
    }
}

static void test_audit_expires(void **state)
{
    struct fixture *fixture = *state;
    bool more = false;

    rows_fill(fixture);
    STAYS(audit_expire(fixture->store, 20, &more, &fixture->err));
    assert_true(more);
    assert_int_equal(number(fixture, "SELECT min(at) FROM audit"), 20);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 3);
    STAYS(audit_expire(fixture->store, 20, &more, &fixture->err));
    assert_false(more);
    script(fixture,
           "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1200)"
           "INSERT INTO audit(at, actor, action, target, outcome, remote, request_id, detail)"
           " SELECT 1, '', '', '', '', '', '', '' FROM n");
    int rounds = 0;
    do {
        OK(audit_expire(fixture->store, 20, &more, &fixture->err));
        rounds++;
    } while (more);
    assert_int_equal(rounds, 4); /* 500 a round, and one that finds nothing */
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 3);
}

/* The sweep does both, by the options. */
static void test_audit_and_sessions_are_swept(void **state)
{
    struct fixture *fixture = *state;
    const struct timespec pause = {0, 20000000};
    int64_t left = -1;

    rows_fill(fixture);
    session_make(fixture, user_new(fixture, "ana"), 1);
    session_make(fixture, user_new(fixture, "bob"), 2);
    session_make(fixture, user_new(fixture, "cid"), 3);
    script(fixture, "UPDATE sessions SET used_at = used_at - 100000000 WHERE id = 1;"
                    "UPDATE sessions SET created_at = created_at - 700000000 WHERE id = 2");
    fixture->options.audit_retention_s = 3600;
    fixture->options.session_idle_s = 60;
    fixture->options.session_max_s = 600;
    fixture->options.resting = false;
    storage_close(fixture->store);
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
    for (int i = 0; i < 3000 && left != 1; i++) {
        nanosleep(&pause, NULL);
        left = number(fixture, "SELECT (SELECT count(*) FROM audit WHERE at < 100)"
                               "     + (SELECT count(*) FROM sessions)");
    }
    assert_int_equal(left, 1);
    assert_int_equal(number(fixture, "SELECT id FROM sessions"), 3);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 6);
}

static void test_audit_is_kept_without_a_limit(void **state)
{
    struct fixture *fixture = *state;
    const struct timespec pause = {0, 300000000};

    rows_fill(fixture);
    session_make(fixture, user_new(fixture, "ana"), 1);
    script(fixture, "UPDATE sessions SET used_at = 1, created_at = 1");
    storage_close(fixture->store);
    OK(storage_open(&fixture->store, &fixture->options, &fixture->err));
    fixture->meta = fixture->store->meta;
    nanosleep(&pause, NULL);
    assert_int_equal(number(fixture, "SELECT count(*) FROM audit"), 7);
    assert_int_equal(number(fixture, "SELECT count(*) FROM sessions"), 1);
}

/* Runs last: statements of the tests above. The audit without an actor is read from its newest row
 * backwards: a range of its key. */
static void test_audit_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_audit_equal_notes_become_one_row),
        FIXTURE_TEST(test_audit_notes_differ_in_every_text),
        FIXTURE_TEST(test_audit_notes_are_written_at_a_clean_end),
        FIXTURE_TEST(test_audit_notes_are_written_within_seconds),
        FIXTURE_TEST(test_audit_notes_are_bounded_and_say_what_they_dropped),
        FIXTURE_TEST(test_audit_notes_are_cleaned_and_cut),
        FIXTURE_TEST(test_audit_notes_survive_a_failed_flush),
        FIXTURE_TEST(test_audit_notes_of_many_threads_are_all_counted),
        FIXTURE_TEST(test_audit_list_keeps_to_the_query),
        FIXTURE_TEST(test_audit_expires),
        FIXTURE_TEST(test_audit_and_sessions_are_swept),
        FIXTURE_TEST(test_audit_is_kept_without_a_limit),
        FIXTURE_TEST(test_audit_no_statement_scans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_build_moves.c - tags of a build: all of them move, or none; with its end, or, of a push,
 * with a ref: they go back unless it moved, whatever came in between. Spec: s2i 7.10, 13.a */
#include "tests/support/plans.h"

#include "storage/builds.h"
#include "storage/content.h"

#define REF SLICE("refs/heads/main")
#define NEW SLICE("2222222222222222222222222222222222222222")
static const struct actor ana = {.account = 0, .name = {"ana", 3}};
static const struct content_change quietly = {.actor = NULL};

enum { TAGS_MAX = 4 };
static struct slice names[TAGS_MAX];

static struct build_move move_of(int64_t build, const char *text, const char *first,
                                 const char *second)
{
    names[0] = slice_of(first);
    names[1] = slice_of(second);
    return (struct build_move){.build = build,
                               .repository = REPOSITORY,
                               .ref = REF,
                               .ref_id = NEW,
                               .image = digest_text_of(text),
                               .tags = names,
                               .tag_count = second == NULL ? 1 : 2,
                               .actor = &ana};
}

static void begin(struct fixture *fixture, const struct build_move *move)
{
    OK(build_move_begin(fixture->store, move, &fixture->err));
}

static void end(struct fixture *fixture, int64_t build, bool moved)
{
    OK(build_move_end(fixture->store, build, moved, &ana, &fixture->err));
}

/* text NULL: there is no such tag. Looked at as clients do, through what memory keeps. */
static void stands(struct fixture *fixture, const char *tag, const char *text)
{
    const struct manifest_reference reference = {.tag = slice_of(tag)};
    const struct manifest *manifest = NULL;
    struct error err = {0};

    if (storage_manifest_get(fixture->store, REPOSITORY, &reference, false, &manifest, &err) < 0) {
        if (text != NULL)
            fail_msg("%s: %s", tag, err.message);
        return;
    }
    struct digest digest = manifest->digest;
    storage_manifest_release(manifest);
    assert_non_null(text);
    struct digest wanted = digest_text_of(text);
    assert_true(digest_equal(&digest, &wanted));
}

static void kept(struct fixture *fixture, int64_t moves, int64_t tags)
{
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_moves"), moves);
    assert_int_equal(number(fixture, "SELECT count(*) FROM build_move_tags"), tags);
}

/* "{}" stands under old; "{ }" is the image of the build. */
static void fill(struct fixture *fixture)
{
    push_text(fixture, "{}", "old");
    push_text(fixture, "{ }", NULL);
    stands(fixture, "old", "{}");
    stands(fixture, "new", NULL);
}

static void test_moves_stay_with_the_ref(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_move move = move_of(7, "{ }", "old", "new");

    begin(fixture, &move);
    stands(fixture, "old", "{ }");
    stands(fixture, "new", "{ }");
    kept(fixture, 1, 2);
    FAILS(build_move_begin(fixture->store, &move, &fixture->err), ERROR_CONFLICT);
    end(fixture, 7, true);
    kept(fixture, 0, 0);
    end(fixture, 7, false); /* nothing is kept: nothing is done */
    stands(fixture, "old", "{ }");
    stands(fixture, "new", "{ }");
}

static void test_moves_go_back_without_the_ref(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_move move = move_of(7, "{ }", "old", "new");

    begin(fixture, &move);
    stands(fixture, "old", "{ }");
    fixture_reopen(fixture);
    end(fixture, 7, false);
    stands(fixture, "old", "{}");
    stands(fixture, "new", NULL);
    kept(fixture, 0, 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tag_history WHERE actor = 'ana'"), 4);
}

static void test_moves_are_all_or_none(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_move move = move_of(7, "{ }", "new", "old");

    OK(content_tag_protect(fixture->store, REPOSITORY, SLICE("old"), TAG_IMMUTABLE, TAG_IMMUTABLE,
                           &quietly, &fixture->err));
    FAILS(build_move_begin(fixture->store, &move, &fixture->err), ERROR_PROTECTED);
    const struct build_move gone = move_of(8, "?", "a", "b");
    FAILS(build_move_begin(fixture->store, &gone, &fixture->err), ERROR_NOT_FOUND);
    stands(fixture, "old", "{}");
    stands(fixture, "new", NULL);
    kept(fixture, 0, 0);
}

/* Protection, other moves, a manifest that goes: between the move and the way back. */
static void test_moves_go_back_over_what_came_between(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_move move = move_of(7, "{ }", "old", "new");
    uint64_t tags = 0;

    begin(fixture, &move);
    OK(content_tag_protect(fixture->store, REPOSITORY, SLICE("old"), TAG_IMMUTABLE, TAG_IMMUTABLE,
                           &quietly, &fixture->err));
    push_text(fixture, "{  }", "new"); /* somebody else's now */
    end(fixture, 7, false);
    stands(fixture, "old", "{}");
    stands(fixture, "new", "{  }");

    const struct build_move next = move_of(9, "{ }", "new", NULL);
    const struct digest lost = digest_text_of("{  }");
    begin(fixture, &next);
    OK(content_manifest_delete(fixture->store, REPOSITORY, &lost, &quietly, &tags, &fixture->err));
    end(fixture, 9, false); /* where it stood is gone */
    stands(fixture, "new", NULL);
}

static void test_moves_of_a_deleted_repository_are_nobodys(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_move move = move_of(7, "{ }", "old", NULL);
    struct content_repository_size size;

    begin(fixture, &move);
    OK(content_repository_delete(fixture->store, REPOSITORY, &quietly, &size, &fixture->err));
    kept(fixture, 0, 0);
    end(fixture, 7, false);
    FAILS(build_move_begin(fixture->store, &move, &fixture->err), ERROR_NOT_FOUND);
}

static void test_moves_are_listed(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_moves_drop) struct build_moves found = {.items = NULL};
    fill(fixture);

    for (int64_t build = 3; build < 6; build++) {
        const struct build_move move = move_of(build, "{ }", build == 4 ? "old" : "new", NULL);
        begin(fixture, &move);
    }
    OK(build_move_list(fixture->store, 3, 1, &found, &fixture->err));
    assert_int_equal(found.count, 1);
    assert_int_equal(found.items[0].build, 4);
    assert_string_equal(found.items[0].repository, "team/app");
    assert_string_equal(found.items[0].ref, "refs/heads/main");
    assert_true(slice_equal_text(NEW, found.items[0].ref_id));
    build_moves_drop(&found);
    OK(build_move_list(fixture->store, 0, 100, &found, &fixture->err));
    assert_int_equal(found.count, 3);
}

/* --- of a build that nobody pushed: with its end --- */

/* A build of REPOSITORY that runs. */
static struct build_end running(struct fixture *fixture)
{
    const struct build_new build = {.repository = REPOSITORY,
                                    .trigger = SLICE("api"),
                                    .actor = SLICE("ana"),
                                    .spec = SLICE("{}"),
                                    .tags = SLICE("[]"),
                                    .state = BUILD_PENDING,
                                    .source = BUILD_FROM_NOTHING};
    OWNED(build_record_drop) struct build_record record = {.id = 0};
    OWNED(memory_drop) int64_t *superseded = NULL;
    size_t count;
    int64_t id;
    bool found;

    OK(build_add(fixture->store, &build, &id, &superseded, &count, &fixture->err));
    OK(build_claim(fixture->store, 0, &record, &found, &fixture->err));
    assert_true(found && record.id == id);
    return (struct build_end){
        .id = id, .epoch = record.epoch, .state = BUILD_COMPLETE, .exit_code = 0};
}

static struct build_tagging tagging_of(const char *text, const char *first, const char *second)
{
    const struct build_move move = move_of(0, text, first, second);

    return (struct build_tagging){move.repository, move.image, move.tags, move.tag_count, &ana};
}

static void is_in(struct fixture *fixture, int64_t id, enum build_state state)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    OK(build_find(fixture->store, id, &record, &fixture->err));
    assert_int_equal(record.state, state);
}

/* Spec: s2i 7.10 */
static void test_tags_move_with_the_end(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_tagging tags = tagging_of("{ }", "old", "new");
    struct build_end done = running(fixture);

    done.tags = &tags;
    OK(build_tags_check(fixture->store, &tags, &fixture->err));
    OK(build_finish(fixture->store, &done, &fixture->err));
    is_in(fixture, done.id, BUILD_COMPLETE);
    stands(fixture, "old", "{ }");
    stands(fixture, "new", "{ }");
    FAILS(build_finish(fixture->store, &done, &fixture->err), ERROR_CONFLICT);
}

static void test_no_end_without_its_tags(void **state)
{
    struct fixture *fixture = *state;
    fill(fixture);
    const struct build_tagging tags = tagging_of("{ }", "new", "old");
    struct build_end done = running(fixture);

    done.tags = &tags;
    OK(content_tag_protect(fixture->store, REPOSITORY, SLICE("old"), TAG_IMMUTABLE, TAG_IMMUTABLE,
                           &quietly, &fixture->err));
    FAILS(build_tags_check(fixture->store, &tags, &fixture->err), ERROR_PROTECTED);
    FAILS(build_finish(fixture->store, &done, &fixture->err), ERROR_PROTECTED);
    const struct build_tagging gone = tagging_of("?", "a", "b");
    done.tags = &gone;
    FAILS(build_finish(fixture->store, &done, &fixture->err), ERROR_PROTECTED);
    is_in(fixture, done.id, BUILD_RUNNING);
    stands(fixture, "old", "{}");
    stands(fixture, "new", NULL);
    const struct build_tagging same = tagging_of("{}", "old", NULL); /* it need not move */
    OK(build_tags_check(fixture->store, &same, &fixture->err));
}

/* Runs last: statements of the tests above. */
static void test_moves_no_statement_scans(void **state)
{
    assert_true(plans_check(*state, NULL) >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIXTURE_TEST(test_moves_stay_with_the_ref),
        FIXTURE_TEST(test_moves_go_back_without_the_ref),
        FIXTURE_TEST(test_moves_are_all_or_none),
        FIXTURE_TEST(test_moves_go_back_over_what_came_between),
        FIXTURE_TEST(test_moves_of_a_deleted_repository_are_nobodys),
        FIXTURE_TEST(test_moves_are_listed),
        FIXTURE_TEST(test_tags_move_with_the_end),
        FIXTURE_TEST(test_no_end_without_its_tags),
        FIXTURE_TEST(test_moves_no_statement_scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

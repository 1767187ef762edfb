/* test_news.c - what commits tell: each change once, with what it changed, in their order; of what
 * failed, was tried only, or went unseen, nothing. */
#include "tests/support/plans.h"

#include "storage/builds.h"
#include "storage/content.h"
#include "storage/job.h"
#include "storage/news.h"

/* A line each: "push tag team/app 1.0 push ana", "build 1 Pending", "job 1 running". */
static struct buffer told = {.size = 0};
static uint64_t lost;

static const char *cause_of(const struct news *news)
{
    static const char *const names[] = {"push",    "set",     "delete", "manifest",
                                        "retired", "restore", "import"};

    return news->cause == NEWS_COLLECTED ? "collected" : names[news->cause];
}

static void hear(void *arg, struct news *news, uint64_t more)
{
    static const char *const objects[] = {"tag", "manifest", "repository"};

    (void)arg;
    lost += more;
    if (news == NULL)
        return;
    if (news->kind == NEWS_BUILD)
        buffer_print(&told, "build %.*s %s\n", SLICE_ARG(news->repository),
                     build_state_name((enum build_state)news->state));
    else if (news->kind == NEWS_JOB)
        buffer_print(&told, "job %.*s %s %.*s\n", SLICE_ARG(news->name),
                     job_state_name((enum job_state)news->state), SLICE_ARG(news->phase));
    else
        buffer_print(&told, "%s %s %.*s '%.*s' %s '%.*s'%s\n",
                     news->kind == NEWS_PUSH ? "push" : "delete", objects[news->object],
                     SLICE_ARG(news->repository), SLICE_ARG(news->tag), cause_of(news),
                     SLICE_ARG(news->actor), digest_is_set(&news->from) ? " moved" : "");
    news_drop(news);
}

static int set_up(void **state)
{
    fixture_set_up(state);
    struct fixture *fixture = *state;
    storage_close(fixture->store);
    fixture->options.told = hear;
    fixture_open(fixture);
    buffer_drop(&told);
    lost = 0;
    return 0;
}

#define TOLD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

/* All that was told since the last time. */
static void expect(const char *wanted)
{
    buffer_append(&told, "", 1);
    assert_string_equal(told.at, wanted);
    buffer_drop(&told);
}

static const struct actor ana = {.account = 7, .name = {"ana", 3}};
static const struct content_change by_ana = {.actor = &ana};

static void test_pushes_are_told(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "one", NULL);
    expect("push manifest team/app '' push ''\n");
    push_text(fixture, "one", "1.0");
    expect("push tag team/app '1.0' push ''\n");
    push_text(fixture, "one", "1.0"); /* again: it was pushed, though nothing moved */
    expect("push tag team/app '1.0' push ''\n");
    push_text(fixture, "two", "1.0");
    expect("push tag team/app '1.0' push '' moved\n");
}

static void test_what_fails_is_not_told(void **state)
{
    struct fixture *fixture = *state;
    struct manifest_link layer = {.digest = digest_text_of("not here")};
    struct push push = push_of("wants", "1.0");

    push.put.blobs = &layer;
    push.put.blob_count = 1;
    FAILS(push_run(fixture, REPOSITORY, &push), ERROR_MANIFEST_BLOB_UNKNOWN);
    missing_drop(&push.missing);
    expect("");
    push_text(fixture, "one", "1.0");
    expect("push tag team/app '1.0' push ''\n");
    struct slice names[] = {SLICE("1.0"), SLICE("2.0")};
    const struct content_tags_delete what = {.tags = names, .count = 2, .expect = 2};
    uint64_t deleted;
    FAILS(content_tags_delete(fixture->store, REPOSITORY, &what, &by_ana, &deleted, &fixture->err),
          ERROR_CONFLICT); /* after the first was taken away */
    expect("");
    const struct content_change dry = {.actor = &ana, .dry_run = true};
    const struct content_tags_delete one = {.tags = names, .count = 1, .expect = 1};
    OK(content_tags_delete(fixture->store, REPOSITORY, &one, &dry, &deleted, &fixture->err));
    expect("");
}

static void test_what_goes_and_comes_back_is_told(void **state)
{
    struct fixture *fixture = *state;
    struct slice name = SLICE("1.0");
    const struct content_tags_delete what = {.tags = &name, .count = 1, .expect = 1};
    const struct digest any = {0}, one = digest_text_of("one");
    uint64_t deleted;

    push_text(fixture, "one", "1.0");
    push_text(fixture, "one", "1.1");
    buffer_drop(&told);
    OK(content_tags_delete(fixture->store, REPOSITORY, &what, &by_ana, &deleted, &fixture->err));
    expect("delete tag team/app '1.0' delete 'ana'\n");
    OK(content_tag_restore(fixture->store, REPOSITORY, name, &any, false, &by_ana, &fixture->err));
    expect("push tag team/app '1.0' restore 'ana'\n");
    OK(content_manifest_delete(fixture->store, REPOSITORY, &one, &by_ana, &deleted, &fixture->err));
    expect("delete tag team/app '1.0' manifest 'ana'\n"
           "delete tag team/app '1.1' manifest 'ana'\n"
           "delete manifest team/app '' manifest 'ana'\n");
    OK(content_manifest_restore(fixture->store, REPOSITORY, &one, true, &by_ana, &fixture->err));
    expect("push manifest team/app '' restore 'ana'\n"
           "push tag team/app '1.0' restore 'ana'\n"
           "push tag team/app '1.1' restore 'ana'\n");
}

static void test_a_repository_goes_with_its_builds(void **state)
{
    struct fixture *fixture = *state;
    struct content_repository_size size;
    const struct build_new build = {
        .repository = REPOSITORY, .state = BUILD_PENDING, .source = BUILD_FROM_URL};
    int64_t *superseded = NULL, id;
    size_t count;

    push_text(fixture, "one", "1.0");
    OK(build_add(fixture->store, &build, &id, &superseded, &count, &fixture->err));
    expect("push tag team/app '1.0' push ''\nbuild team/app Pending\n");
    OK(content_repository_delete(fixture->store, REPOSITORY, &by_ana, &size, &fixture->err));
    expect("build team/app Cancelled\ndelete repository team/app '' delete 'ana'\n");
    OK(content_repository_restore(fixture->store, REPOSITORY, 0, &by_ana, &fixture->err));
    expect("push repository team/app '' restore 'ana'\n");
    free(superseded);
}

static void test_builds_are_told_in_order(void **state)
{
    struct fixture *fixture = *state;
    OWNED(build_record_drop) struct build_record claimed = {.id = 0};
    const struct build_new build = {
        .repository = REPOSITORY, .state = BUILD_NEW, .source = BUILD_FROM_URL};
    int64_t *superseded = NULL, id;
    size_t count;
    bool found;

    OK(build_add(fixture->store, &build, &id, &superseded, &count, &fixture->err));
    free(superseded);
    OK(build_ready(fixture->store, id, &superseded, &count, &fixture->err));
    free(superseded);
    OK(build_claim(fixture->store, 0, &claimed, &found, &fixture->err));
    const struct build_progress progress = {
        .id = id, .epoch = claimed.epoch, .stages = SLICE("[]"), .log_size = -1};
    OK(build_progress_put(fixture->store, &progress, &fixture->err));
    const struct build_progress logged = {.id = id, .epoch = claimed.epoch, .log_size = 5};
    OK(build_progress_put(fixture->store, &logged, &fixture->err)); /* no event */
    const struct build_end end = {
        .id = id, .epoch = claimed.epoch, .state = BUILD_FAILED, .exit_code = -1};
    OK(build_finish(fixture->store, &end, &fixture->err));
    FAILS(build_finish(fixture->store, &end, &fixture->err), ERROR_CONFLICT);
    expect("build team/app New\nbuild team/app Pending\nbuild team/app Running\n"
           "build team/app Running\nbuild team/app Failed\n");
}

static void test_jobs_are_told(void **state)
{
    struct fixture *fixture = *state;
    const struct job_row_new row = {.kind = SLICE("gc"), .spec = SLICE("{}")};
    int64_t id;

    OK(job_row_add(fixture->store, &row, &id, &fixture->err));
    OK(job_row_progress(fixture->store, id, SLICE("sweep"), SLICE("{}"), &fixture->err));
    const struct job_row_end end = {.id = id,
                                    .state = JOB_DONE,
                                    .phase = SLICE("sweep"),
                                    .progress = SLICE("{}"),
                                    .result = SLICE("{}")};
    OK(job_row_finish(fixture->store, &end, &fixture->err));
    OK(job_row_progress(fixture->store, id, SLICE("late"), SLICE("{}"), &fixture->err));
    expect("job gc running \njob gc running sweep\njob gc done sweep\n");
}

static void test_many_at_once_are_bounded(void **state)
{
    struct fixture *fixture = *state;
    const struct digest one = digest_text_of("one");
    uint64_t deleted;
    size_t lines = 0;

    push_text(fixture, "one", "0");
    script(fixture, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)"
                    " INSERT INTO tags(repo_id, name, manifest_id, updated_at)"
                    " SELECT 1, 't' || i, (SELECT id FROM manifests), 1 FROM n");
    buffer_drop(&told);
    OK(content_manifest_delete(fixture->store, REPOSITORY, &one, &by_ana, &deleted, &fixture->err));
    for (size_t i = 0; i < told.size; i++)
        lines += told.at[i] == '\n';
    assert_int_equal(lines, DB_NEWS_MAX);
    assert_int_equal(lost, 1501 + 1 - DB_NEWS_MAX);
    buffer_drop(&told);
}

/* The same to who follows all jobs and to who looks at one. */
static void test_row_of_a_job_as_news(void **state)
{
    char kind[] = "gc", actor[] = "ana", phase[] = "sweep", why[] = "no disk", at[] = "{\"n\":1}";
    const struct job_record job = {.id = 7,
                                   .state = JOB_FAILED,
                                   .kind = kind,
                                   .actor = actor,
                                   .phase = phase,
                                   .error = why,
                                   .progress = at};

    (void)state;
    struct news news = news_of_job(&job);
    assert_int_equal(news.kind, NEWS_JOB);
    assert_int_equal(news.id, 7);
    assert_int_equal(news.state, JOB_FAILED);
    assert_true(news.at > 0 && news.repository.size == 0);
    assert_true(slice_equal_text(news.name, kind) && slice_equal_text(news.actor, actor));
    assert_true(slice_equal_text(news.phase, phase) && slice_equal_text(news.message, why));
    assert_true(slice_equal_text(news.detail, at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TOLD_TEST(test_pushes_are_told),
        TOLD_TEST(test_what_fails_is_not_told),
        TOLD_TEST(test_what_goes_and_comes_back_is_told),
        TOLD_TEST(test_a_repository_goes_with_its_builds),
        TOLD_TEST(test_builds_are_told_in_order),
        TOLD_TEST(test_jobs_are_told),
        TOLD_TEST(test_many_at_once_are_bounded),
        cmocka_unit_test(test_row_of_a_job_as_news),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* test_queue_submit.c - asking for builds and for retries: rows, and the archives they need. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "tests/support/queue.h"

static int try_submit(struct stage *stage, enum build_source source, int archive, int64_t *id)
{
    const struct slice tags[] = {SLICE("latest"), SLICE("v\"1")};
    char policy[] = "SerialLatestOnly";
    const struct s2i_options options = {.run_policy = policy};
    const struct actor actor = {.account = 7, .name = SLICE("ana")};
    const struct build_request request = {.repository = REPOSITORY,
                                          .source = source,
                                          .trigger = SLICE("api"),
                                          .actor = &actor,
                                          .actor_name = SLICE("ana"),
                                          .options = &options,
                                          .url = SLICE("https://ana@host/x.git"),
                                          .ref = SLICE("main"),
                                          .tags = tags,
                                          .tag_count = 2,
                                          .archive = archive};

    stage->fixture->err = (struct error){0};
    return builds_submit(&stage->builds, &request, id, &stage->fixture->err);
}

static void test_queue_submit_makes_a_row_and_supersedes(void **state)
{
    struct stage *stage = *state;
    struct fixture *fixture = stage->fixture;
    int64_t first = 0, second = 0, third = 0;

    set_hold(stage, true);
    queue_begin(stage, 1);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &first), -1);
    assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE); /* builds are off */
    assert_int_equal(number(fixture, "SELECT count(*) FROM builds"), 0);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &first), 0);
    AWAIT(stage, stage->running == 1);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &second), 0);
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &third), 0);
    AWAIT(stage, stage->ends[second] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, second);
    assert_int_equal(record.state, BUILD_CANCELLED);
    assert_string_equal(record.reason, "Superseded");
    assert_string_equal(record.url, "https://host/x.git"); /* s2i 7.5 */
    assert_string_equal(record.tags, "[\"latest\",\"v\\\"1\"]");
    assert_int_equal(record.account, 7);
    stage->config.builds_queue_max = 1;
    script(fixture, "UPDATE builds SET policy = 0, repository = 'b' WHERE id = 3");
    assert_int_equal(try_submit(stage, BUILD_FROM_URL, -1, &third), -1);
    assert_int_equal(fixture->err.code, ERROR_TOOMANYREQUESTS);
    assert_true(fixture->err.retry_after_s > 0);
    close(builder);
}

static void read_archive(struct stage *stage, int64_t id, const char *expected)
{
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, id);
    char bytes[64] = "";
    FILE *file = fopen(path, "r");

    if (expected == NULL) {
        assert_null(file);
        return;
    }
    assert_non_null(file);
    assert_int_equal(fread(bytes, 1, sizeof(bytes) - 1, file), strlen(expected));
    assert_string_equal(bytes, expected);
    fclose(file);
}

static int retry(struct stage *stage, int64_t id, int64_t *out)
{
    const struct actor actor = {.account = 8};

    stage->fixture->err = (struct error){0};
    return builds_retry(&stage->builds, id, &actor, SLICE("eva"), NULL, out, &stage->fixture->err);
}

/* The bytes of one upload are stored once: a file without a name gets one. */
static void test_queue_archives_are_not_copied_without_need(void **state)
{
    struct stage *stage = *state;
    int source = open(stage->fixture->root, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct stat first, second;
    int64_t id = 0, again = 0;

    assert_int_equal(write(source, "a tar", 5), 5);
    stage->becomes = BUILD_FAILED;
    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, source, &id), 0);
    assert_int_equal(fstat(source, &first), 0);
    close(source);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(retry(stage, id, &again), 0);
    AWAIT(stage, stage->ends[again] == 1);
    read_archive(stage, again, "a tar");
    OWNED(memory_drop) char *path = builds_archive_path(&stage->builds, again);
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    unlink(path);
    read_archive(stage, id, "a tar");
    close(builder);
}

static void test_queue_archives_live_as_long_as_they_are_needed(void **state)
{
    struct stage *stage = *state;
    FILE *source = tmpfile();
    int64_t id = 0, again = 0, third = 0;

    fputs("a tar", source);
    fflush(source);
    set_hold(stage, true);
    stage->becomes = BUILD_FAILED;
    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, fileno(source), &id), 0);
    read_archive(stage, id, "a tar");
    AWAIT(stage, stage->running == 1);
    assert_int_equal(retry(stage, id, &again), -1); /* it runs */
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    set_hold(stage, false);
    AWAIT(stage, stage->ends[id] == 1);
    read_archive(stage, id, "a tar"); /* for a retry */
    stage->becomes = BUILD_COMPLETE;
    stage->imageless = true;
    assert_int_equal(retry(stage, id, &again), 0);
    AWAIT(stage, stage->ends[again] == 1);
    OWNED(build_record_drop) struct build_record record = find(stage, again);
    assert_int_equal(record.state, BUILD_COMPLETE);
    assert_int_equal(record.retry_of, id);
    assert_string_equal(record.trigger, "retry");
    assert_string_equal(record.tags, "[\"latest\",\"v\\\"1\"]");
    assert_int_equal(record.policy, BUILD_SERIAL_LATEST);
    read_archive(stage, again, "a tar"); /* for a verification */
    stage->config.builds_keep_archives = 0;
    builds_archives_trim(&stage->builds);
    read_archive(stage, again, NULL);
    assert_int_equal(retry(stage, again, &third), -1);
    assert_int_equal(stage->fixture->err.code, ERROR_CONFLICT);
    assert_non_null(strstr(stage->fixture->err.message, "not kept"));
    fclose(source);
    close(builder);
}

static void test_queue_a_source_that_cannot_be_kept_ends_its_build(void **state)
{
    struct stage *stage = *state;
    int64_t id = 0;

    queue_begin(stage, 1);
    int builder = builder_connect(stage->fixture, &stage->config, &stage->builds.link);
    assert_int_equal(try_submit(stage, BUILD_FROM_ARCHIVE, 9999, &id), -1);
    AWAIT(stage, stage->ends[id] == 1);
    assert_int_equal(state_of(stage, id), BUILD_ERROR);
    read_archive(stage, id, NULL);
    assert_int_equal(stage->started, 0);
    close(builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        QUEUE_TEST(test_queue_submit_makes_a_row_and_supersedes),
        QUEUE_TEST(test_queue_archives_live_as_long_as_they_are_needed),
        QUEUE_TEST(test_queue_archives_are_not_copied_without_need),
        QUEUE_TEST(test_queue_a_source_that_cannot_be_kept_ends_its_build),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
